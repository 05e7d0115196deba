//! Numbered records on disk until they are delivered.
//!
//! A [`Spool`] is one folder: up to 16 streams, each a log of records with
//! numbers from 0 that are never used twice, and a ledger that says what was
//! durable, what is acknowledged and which number comes next. It is written on
//! a [`Medium`]. It knows no network, no clock and no threads: the caller says
//! the time, calls from one thread, and gets the same again for the same calls.
//!
//! # What always holds
//!
//! * `oldest <= committed <= next` and `acked <= committed`, per stream; none of
//!   `committed`, `acked` and `next` ever falls, across crashes and power cuts either.
//! * A number is given to a record once. After a crash or a power cut the numbers of
//!   records that were never committed may be given again; those of committed records
//!   and of declared losses are not.
//! * [`Spool::read`] returns exactly what was appended, or nothing.
//! * Every number below `committed` can be read, or is acknowledged (and, where there
//!   is a hold, below it), or is in [`Spool::losses`], or was [declared](Spool::declared).
//! * The files of a class take at most its budget and one segment per stream.
//! * A commit writes each new record once and two pages of the ledger, and waits for the
//!   medium once per changed file and twice for the ledger. An acknowledgement writes
//!   one page and does not wait.
#![forbid(unsafe_code)]

mod draft;
mod error;
#[cfg(feature = "faults")]
pub mod faults;
mod ledger;
mod log;
mod medium;
mod numbers;
mod open;
mod record;
mod room;
mod spool;

pub use error::SpoolError;
pub use medium::{Disk, Medium, Memory};
pub use numbers::Numbers;
pub use record::{LABEL_BYTES_MAX, PAYLOAD_BYTES_MAX, Record};
pub use spool::{Opened, Spool};

/// What a stream carries, and so which budget it counts against.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// Samples. Files grow as they are written; a full medium costs records.
    Series,
    /// Events. Files are allocated before they are needed.
    Edge,
}

/// One stream.
#[derive(Debug, Clone, Copy)]
pub struct StreamSpec {
    /// Its number on the medium.
    pub id: u8,
    /// Its folder: 1 to 32 of `a-z 0-9 - _`.
    pub name: &'static str,
    /// Its class.
    pub class: Class,
}

/// How much is kept, and how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of all files of series, at least four segments.
    pub series_bytes: u64,
    /// Series older than this are given up.
    pub series_age_ms: u64,
    /// Bytes of all files of events, at least four segments.
    pub edge_bytes: u64,
    /// Events older than this are given up.
    pub edge_age_ms: u64,
    /// Length of a file of series, beyond which the next one is begun.
    pub series_segment_bytes: u64,
    /// Length of a file of events.
    pub edge_segment_bytes: u64,
    /// Acknowledged series are kept this long for whoever asks again, while the budget allows.
    pub keep_series_ms: u64,
    /// The same for events.
    pub keep_edges_ms: u64,
}

impl Limits {
    fn of(&self, class: Class) -> ClassLimits {
        match class {
            Class::Series => ClassLimits {
                bytes: self.series_bytes,
                age_ms: self.series_age_ms,
                segment_bytes: self.series_segment_bytes,
                keep_ms: self.keep_series_ms,
            },
            Class::Edge => ClassLimits {
                bytes: self.edge_bytes,
                age_ms: self.edge_age_ms,
                segment_bytes: self.edge_segment_bytes,
                keep_ms: self.keep_edges_ms,
            },
        }
    }
}

#[derive(Debug, Clone, Copy)]
struct ClassLimits {
    bytes: u64,
    age_ms: u64,
    segment_bytes: u64,
    keep_ms: u64,
}

/// What the caller's clocks say. Ages within one run are counted on `mono_ms`
/// alone, so that a step of the wall clock neither gives up nor keeps anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// A clock that is never set, in milliseconds.
    pub mono_ms: u64,
    /// The wall clock, milliseconds since 1970.
    pub unix_ms: u64,
}

/// Why records will never be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LossCause {
    /// The budget or the age limit.
    Evicted,
    /// The medium was full or failed.
    NotWritten,
    /// The medium lost or changed what was durable.
    Damaged,
}

/// Records that will never be read, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Loss {
    /// Stream.
    pub stream: u8,
    /// First number.
    pub from_seq: u64,
    /// Last number.
    pub to_seq: u64,
    /// Why.
    pub cause: LossCause,
}

/// How far a stream is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// First number that may still be read.
    pub oldest: u64,
    /// Every record below may be freed: acknowledged, and below the hold.
    pub released: u64,
    /// Every record below is acknowledged.
    pub acked: u64,
    /// Every record below is durable, or lost.
    pub committed: u64,
    /// Number that the next record must have.
    pub next: u64,
}

/// What a class holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// Committed records that are not acknowledged.
    pub records: u64,
    /// Bytes of files.
    pub bytes: u64,
}
