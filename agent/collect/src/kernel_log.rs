//! Opens the kernel log.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Mode, OFlags, fstat, open as open_file};
use rustix::io::Errno;
use thiserror::Error;

/// Why there is no kernel log to hand over.
#[derive(Debug, Error)]
pub(crate) enum KernelLogError {
    #[error("cannot open {}", .0.display())]
    Open(PathBuf, #[source] Errno),
    #[error("{} is neither a character device nor a FIFO", .0.display())]
    Kind(PathBuf),
}

/// Opens the log at `path` to be read without waiting. Whoever holds the
/// descriptor can read the log and not write it, also without rights of its own.
///
/// A FIFO, which stands in for the log in simulations, is opened for writing as
/// well: so it does not come to its end whenever its last writer leaves.
pub(crate) fn open(path: &Path) -> Result<OwnedFd, KernelLogError> {
    let opened = |access| {
        open_file(path, access | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY, Mode::empty())
            .map_err(|error| KernelLogError::Open(path.to_owned(), error))
    };
    let log = opened(OFlags::RDONLY)?;
    let status = fstat(&log).map_err(|error| KernelLogError::Open(path.to_owned(), error))?;
    match FileType::from_raw_mode(status.st_mode) {
        FileType::CharacterDevice => Ok(log),
        FileType::Fifo => opened(OFlags::RDWR),
        _ => Err(KernelLogError::Kind(path.to_owned())),
    }
}
