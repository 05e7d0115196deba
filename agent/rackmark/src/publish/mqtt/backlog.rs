//! What waits to be published: numbered records in a few streams.

use std::sync::Arc;

use bytes::Bytes;
use tokio::time::Instant;

/// What a stream carries, and so when its turn comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// Samples: what is new goes before what waits.
    Series,
    /// Transitions, reports, receipts: in order, before all series.
    Edge,
}

/// A stream by its place in [`Backlog::classes`].
pub type StreamIndex = usize;

/// One record of a stream.
#[derive(Debug, Clone)]
pub struct Record {
    /// Its number in the stream.
    pub seq: u64,
    /// Topic name.
    pub topic: Arc<str>,
    /// Opaque bytes.
    pub payload: Bytes,
    /// Since when it has been on offer, as far as that is known: a record that was read back has waited long.
    pub since: Option<Instant>,
}

/// What a reader finds.
#[derive(Debug, Clone)]
pub enum Found {
    /// This one is next.
    Record(Record),
    /// There is one, and it is being read from disk; [`Outbox::changed`](super::Outbox) will tell.
    Loading,
    /// There is none yet.
    Nothing,
}

/// Who reads. Each reader has its own read-ahead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reader {
    /// What waited when the connection began; skips what is acknowledged.
    Backlog,
    /// What came since; skips what is acknowledged.
    Live,
    /// What was asked for again, acknowledged or not.
    Again,
}

/// Why a record is given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GivenUp {
    /// Stream.
    pub stream: StreamIndex,
    /// Number.
    pub seq: u64,
}

/// A range of records that somebody asked for again, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Again {
    /// Stream.
    pub stream: StreamIndex,
    /// First number.
    pub from_seq: u64,
    /// Last number.
    pub to_seq: u64,
}

/// Numbered records, kept until they are acknowledged and a while longer.
///
/// No call waits: what is not in memory is fetched elsewhere and the reader is told.
pub trait Backlog: Send {
    /// The streams, in order of precedence within their class.
    fn classes(&self) -> &[Class];
    /// Every record below is acknowledged.
    fn acked(&self, stream: StreamIndex) -> u64;
    /// One past the last record on offer.
    fn next(&self, stream: StreamIndex) -> u64;
    /// The first record at or above `from` that concerns the reader.
    fn read(&mut self, stream: StreamIndex, from: u64, reader: Reader) -> Found;
    /// Acknowledges one record; an unknown or acknowledged one has no effect.
    fn ack(&mut self, stream: StreamIndex, seq: u64);
    /// Gives a record up that no broker will take: it is not read again and is declared lost.
    fn give_up(&mut self, lost: GivenUp);
    /// Acknowledged records that would be sent again if the process ended now.
    fn unnoted(&self) -> u64;
    /// The next range that was asked for again; the same one until [`Backlog::again_done`].
    fn again(&self) -> Option<Again>;
    /// The range up to `to_seq` has been sent; what is left of the first range begins behind it.
    fn again_done(&mut self, to_seq: u64);
}
