//! What is known of a stream without asking the disk: its numbers, its newest
//! records, and what was read ahead for those who read.

use std::collections::VecDeque;

use super::super::mqtt::{Found, Reader, Record};
use rackmark_spool::Numbers;

/// Payload bytes of a stream's newest records that stay in memory, so that what is new is sent without reading it back.
const TAIL_BYTES: usize = 64 * 1024;

/// Records read ahead at once, and their payload bytes: 160 turns for a day of telemetry.
pub const AHEAD_RECORDS: usize = 64;
pub const AHEAD_BYTES: usize = 96 * 1024;

const READERS: [Reader; 3] = [Reader::Backlog, Reader::Live, Reader::Again];

/// Records read back for one reader.
#[derive(Debug, Default)]
struct Ahead {
    /// What it covers: every record in `[from, to)` is in `records` or does not exist.
    from: u64,
    to: u64,
    records: VecDeque<Record>,
    wanted: Option<u64>,
}

/// One stream.
#[derive(Debug, Default)]
pub struct View {
    /// One past the last record on offer.
    offered: u64,
    acked: Numbers,
    /// Refused for ever by a broker, not yet declared lost.
    pub refused: Numbers,
    /// The newest records on offer, without holes.
    tail: VecDeque<Record>,
    tail_bytes: usize,
    ahead: [Ahead; 3],
    /// Acknowledged records since the start.
    pub acks: u64,
}

impl View {
    pub fn new(offered: u64, acked: Numbers) -> Self {
        Self { offered, acked, ..Self::default() }
    }

    pub fn offered(&self) -> u64 {
        self.offered
    }

    pub fn acked(&self) -> &Numbers {
        &self.acked
    }

    /// These numbers need no delivery: acknowledged, or they do not exist.
    pub fn settle(&mut self, from: u64, to: u64) {
        self.acked.insert(from, to);
        let below = self.acked.below();
        while self.tail.front().is_some_and(|record| record.seq < below) {
            self.tail_bytes -= self.tail.pop_front().map_or(0, |record| record.payload.len());
        }
    }

    pub fn ack(&mut self, seq: u64) {
        if seq < self.offered && !self.acked.contains(seq) {
            self.acks += 1;
            self.settle(seq, seq + 1);
        }
    }

    /// A record is durable and on offer from now on.
    pub fn offer(&mut self, record: Record) {
        if record.seq != self.offered {
            // Numbers in between were never written.
            self.tail.clear();
            self.tail_bytes = 0;
        }
        self.offered = record.seq + 1;
        self.tail_bytes += record.payload.len();
        self.tail.push_back(record);
        while self.tail_bytes > TAIL_BYTES && self.tail.len() > 1 {
            self.tail_bytes -= self.tail.pop_front().map_or(0, |record| record.payload.len());
        }
    }

    /// Numbers up to here are used up, with or without a record.
    pub fn skip_to(&mut self, next: u64) {
        if next > self.offered {
            self.tail.clear();
            self.tail_bytes = 0;
            self.offered = next;
        }
    }

    /// The first record at or above `from` that concerns the reader. Where it has to be read back, it is wanted from then on.
    pub fn read(&mut self, from: u64, reader: Reader) -> Found {
        let mut from = from;
        loop {
            if reader != Reader::Again {
                let next = self.refused.first_missing(self.acked.first_missing(from));
                if next != from {
                    from = next;
                    continue;
                }
            }
            if from >= self.offered {
                self.ahead[reader as usize] = Ahead::default();
                return Found::Nothing;
            }
            if self.tail.front().is_some_and(|first| first.seq <= from) {
                let at = self.tail.partition_point(|record| record.seq < from);
                if let Some(record) = self.tail.get(at) {
                    self.ahead[reader as usize] = Ahead::default();
                    return Found::Record(record.clone());
                }
            }
            let ahead = &mut self.ahead[reader as usize];
            if !(ahead.from..ahead.to).contains(&from) {
                ahead.wanted = Some(from);
                return Found::Loading;
            }
            while ahead.records.front().is_some_and(|record| record.seq < from) {
                ahead.records.pop_front();
                ahead.from = from;
            }
            let next = ahead.records.front().map_or(ahead.to, |record| record.seq);
            if next == from {
                return Found::Record(ahead.records[0].clone());
            }
            // Nothing lies between: those numbers will never be read.
            if reader != Reader::Again {
                self.settle(from, next);
            }
            from = next;
        }
    }

    /// What has to be read back, and for whom.
    pub fn wanted(&mut self) -> Option<(Reader, u64)> {
        READERS.into_iter().find_map(|reader| Some((reader, self.ahead[reader as usize].wanted.take()?)))
    }

    pub fn wants(&self) -> bool {
        self.ahead.iter().any(|ahead| ahead.wanted.is_some())
    }

    /// What was read back from `from` on; it is all there is up to the last record, or up to `end` where there is none.
    pub fn loaded(&mut self, reader: Reader, from: u64, records: Vec<Record>, end: u64) {
        let to = records.last().map_or(end, |last| last.seq + 1);
        let ahead = &mut self.ahead[reader as usize];
        if ahead.wanted.is_none() {
            *ahead = Ahead { from, to, records: records.into(), wanted: None };
        }
    }
}
