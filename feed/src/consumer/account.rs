//! What a consumer can say about the numbers of one stream.

use super::Gap;
use super::tracker::Tracker;
use crate::ids::{SpoolEpoch, Stream};

/// The account of one stream in one spool epoch. Every number up to the highest one is in one state: it came, it
/// is missing, the node declared that it will not come, or it lies before the first one seen by a consumer that
/// joined late.
#[derive(Debug, Clone, Copy)]
pub struct Account<'a> {
    /// Spool epoch.
    pub epoch: SpoolEpoch,
    /// Stream.
    pub stream: Stream,
    tracker: &'a Tracker,
}

impl<'a> Account<'a> {
    pub(super) const fn new(epoch: SpoolEpoch, stream: Stream, tracker: &'a Tracker) -> Self {
        Self { epoch, stream, tracker }
    }

    /// The highest number that came, or that the node said to exist.
    pub fn highest_seq(&self) -> Option<u64> {
        self.tracker.highest()
    }

    /// Ranges that have not come and that nobody explained, rising. When there were more than
    /// [`super::Settings::missing_ranges`], the oldest ones stand as one range that holds them all.
    pub fn missing(&self) -> impl Iterator<Item = Gap> + use<'a> {
        let (epoch, stream) = (self.epoch, self.stream);
        self.tracker.missing().map(move |(from_seq, to_seq)| Gap { epoch, stream, from_seq, to_seq })
    }

    /// Ranges that the node declared lost and that have not come all the same, rising, as far as they are
    /// remembered.
    pub fn declared(&self) -> impl Iterator<Item = Gap> + use<'a> {
        let (epoch, stream) = (self.epoch, self.stream);
        self.tracker.declared().map(move |(from_seq, to_seq)| Gap { epoch, stream, from_seq, to_seq })
    }

    /// Nothing below this number is missing.
    pub fn below_seq(&self) -> u64 {
        self.tracker.below()
    }
}
