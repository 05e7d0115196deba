//! The command line.

use std::ffi::OsString;
use std::path::PathBuf;

use thiserror::Error;

/// The library's name as the driver packages install it.
const NVML_LIBRARY: &str = "libnvidia-ml.so.1";

/// What the command line says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arguments {
    /// NVML library: a path, or a name for the dynamic loader.
    pub nvml_library: OsString,
    /// Root of sysfs.
    pub sysfs_root: PathBuf,
}

/// A command line that cannot be followed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ArgumentError {
    /// Not one of the two options.
    #[error("{0:?} is not known; usage: rackmark-sampler [--nvml-library PATH] [--sysfs-root PATH]")]
    Unknown(OsString),
    /// An option at the end of the line.
    #[error("{0} needs a path")]
    PathMissing(&'static str),
}

impl Arguments {
    /// Parses what follows the program's name.
    ///
    /// # Errors
    /// [`ArgumentError`] for the first argument that cannot be followed.
    pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Self, ArgumentError> {
        let mut parsed = Self { nvml_library: NVML_LIBRARY.into(), sysfs_root: "/sys".into() };
        let mut arguments = arguments.into_iter();
        while let Some(argument) = arguments.next() {
            let mut path = |option| arguments.next().ok_or(ArgumentError::PathMissing(option));
            match argument.to_str() {
                Some("--nvml-library") => parsed.nvml_library = path("--nvml-library")?,
                Some("--sysfs-root") => parsed.sysfs_root = path("--sysfs-root")?.into(),
                _ => return Err(ArgumentError::Unknown(argument)),
            }
        }
        Ok(parsed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &[&str]) -> Result<Arguments, ArgumentError> {
        Arguments::parse(words.iter().map(OsString::from))
    }

    #[test]
    fn options_and_their_defaults() {
        let plain = parse(&[]).expect("defaults");
        assert_eq!((plain.nvml_library, plain.sysfs_root), ("libnvidia-ml.so.1".into(), "/sys".into()));
        let given = parse(&["--sysfs-root", "/a", "--nvml-library", "/b.so"]).expect("both");
        assert_eq!((given.nvml_library, given.sysfs_root), ("/b.so".into(), "/a".into()));
    }

    #[test]
    fn anything_else_is_refused() {
        assert_eq!(parse(&["--sysfs-root"]), Err(ArgumentError::PathMissing("--sysfs-root")));
        assert_eq!(parse(&["--verbose"]), Err(ArgumentError::Unknown("--verbose".into())));
    }
}
