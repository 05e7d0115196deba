//! The command line.

use std::ffi::OsString;
use std::path::PathBuf;

use thiserror::Error;

/// What the command line says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Arguments {
    /// The kernel log, or a FIFO that stands in for it.
    pub(crate) kernel_log: PathBuf,
    /// Root of sysfs.
    pub(crate) sysfs_root: PathBuf,
}

/// A command line that cannot be followed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(crate) enum ArgumentError {
    /// Not one of the two options.
    #[error("{0:?} is not known; usage: rackmark-collect [--kernel-log PATH] [--sysfs-root PATH]")]
    Unknown(OsString),
    /// An option at the end of the line.
    #[error("{0} needs a path")]
    PathMissing(&'static str),
}

impl Arguments {
    /// Parses what follows the program's name.
    pub(crate) fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Self, ArgumentError> {
        let mut parsed = Self { kernel_log: "/dev/kmsg".into(), sysfs_root: "/sys".into() };
        let mut arguments = arguments.into_iter();
        while let Some(argument) = arguments.next() {
            let mut path = |option| arguments.next().ok_or(ArgumentError::PathMissing(option));
            match argument.to_str() {
                Some("--kernel-log") => parsed.kernel_log = path("--kernel-log")?.into(),
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
        assert_eq!((plain.kernel_log, plain.sysfs_root), ("/dev/kmsg".into(), "/sys".into()));
        let given = parse(&["--sysfs-root", "/a", "--kernel-log", "/b"]).expect("both");
        assert_eq!((given.kernel_log, given.sysfs_root), ("/b".into(), "/a".into()));
    }

    #[test]
    fn anything_else_is_refused() {
        assert_eq!(parse(&["--kernel-log"]), Err(ArgumentError::PathMissing("--kernel-log")));
        assert_eq!(parse(&["/dev/kmsg"]), Err(ArgumentError::Unknown("/dev/kmsg".into())));
    }
}
