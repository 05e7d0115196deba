//! The command line.

use std::ffi::OsString;
use std::path::PathBuf;

use rackmark_firmware_hooks::hooks::find::DEFAULT_FOLDER;
use thiserror::Error;

/// What the command line says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Arguments {
    /// Has a folder for each event.
    pub(crate) folder: PathBuf,
}

/// A command line that cannot be followed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(crate) enum ArgumentError {
    /// Not the one option.
    #[error("{0:?} is not known; usage: rackmark-hook [--hooks-dir PATH]")]
    Unknown(OsString),
    /// The option without a path, or with one that depends on where the process was started.
    #[error("--hooks-dir needs an absolute path")]
    Path,
}

impl Arguments {
    /// Parses what follows the program's name.
    pub(crate) fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Self, ArgumentError> {
        let mut parsed = Self { folder: DEFAULT_FOLDER.into() };
        let mut arguments = arguments.into_iter();
        while let Some(argument) = arguments.next() {
            if argument != "--hooks-dir" {
                return Err(ArgumentError::Unknown(argument));
            }
            let path = arguments.next().map(PathBuf::from).filter(|path| path.is_absolute());
            parsed.folder = path.ok_or(ArgumentError::Path)?;
        }
        Ok(parsed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_folder_is_named_on_the_command_line() {
        let parse = |words: &[&str]| Arguments::parse(words.iter().map(OsString::from));
        let folder = |folder: &str| Ok(Arguments { folder: folder.into() });
        assert_eq!(parse(&[]), folder("/etc/rackmark/hooks.d"));
        assert_eq!(parse(&["--hooks-dir", "/x"]), folder("/x"));
        assert_eq!(parse(&["--hooks-dir"]), Err(ArgumentError::Path));
        assert_eq!(parse(&["--hooks-dir", "x"]), Err(ArgumentError::Path));
        assert_eq!(parse(&["/x"]), Err(ArgumentError::Unknown("/x".into())));
    }
}
