use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use thiserror::Error;

/// Most that is read of one file. `/proc/cpuinfo` is the largest of them, with
/// about 1.5 KB for each logical CPU.
const FILE_BYTES_MAX: u64 = 4 << 20;

/// A file that could not be read, or does not say what it should.
#[derive(Debug, Error)]
pub enum ReadError {
    /// The kernel refused.
    #[error("cannot read {}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What came back.
        #[source]
        source: io::Error,
    },
    /// The file is there, the value in it is not.
    #[error("{} has no {what}", path.display())]
    Missing {
        /// The file.
        path: PathBuf,
        /// What was looked for.
        what: &'static str,
    },
}

/// The text of `path`, without the white space at its ends.
pub(crate) fn text(path: &Path) -> Result<String, ReadError> {
    let read = || -> io::Result<String> {
        let mut bytes = Vec::new();
        File::open(path)?.take(FILE_BYTES_MAX).read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).trim().to_owned())
    };
    read().map_err(|source| ReadError::Io { path: path.to_owned(), source })
}
