//! What can go wrong with a spool.

use std::error::Error;
use std::{fmt, io};

/// A call on a spool failed.
#[derive(Debug)]
pub enum SpoolError {
    /// Another process uses the folder.
    InUse,
    /// The medium refused.
    Medium {
        /// What was tried.
        what: &'static str,
        /// On which file, relative to the spool's folder.
        path: String,
        /// What the system says.
        source: io::Error,
    },
    /// A record is larger than [`PAYLOAD_BYTES_MAX`](crate::PAYLOAD_BYTES_MAX), or its label than
    /// [`LABEL_BYTES_MAX`](crate::LABEL_BYTES_MAX).
    TooLarge,
    /// No room for an event, although all that may give way did.
    NoRoom,
    /// The record has another number than the next.
    Number {
        /// The next number.
        expected: u64,
        /// The record's.
        found: u64,
    },
    /// The spool has no such stream.
    Stream(u8),
    /// Limits or streams that make no sense.
    Settings(&'static str),
}

impl fmt::Display for SpoolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InUse => f.write_str("another process uses the spool"),
            Self::Medium { what, path, .. } if path.is_empty() => write!(f, "cannot {what} of the spool"),
            Self::Medium { what, path, .. } => write!(f, "cannot {what} {path} of the spool"),
            Self::TooLarge => f.write_str("record is too large for the spool"),
            Self::NoRoom => f.write_str("no room in the spool"),
            Self::Number { expected, found } => write!(f, "record has number {found}, not {expected}"),
            Self::Stream(id) => write!(f, "spool has no stream {id}"),
            Self::Settings(what) => write!(f, "spool cannot work with {what}"),
        }
    }
}

impl Error for SpoolError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Medium { source, .. } => Some(source),
            _ => None,
        }
    }
}
