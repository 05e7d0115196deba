//! The queue of stream records that no broker has acknowledged yet.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;

/// What a record is worth when room runs out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// Samples and other telemetry: the oldest gives way first.
    Series,
    /// Transitions, reports, receipts: gives way only when no series record is left.
    Edge,
}

/// Whether the broker keeps the message for later subscribers (MQTT RETAIN flag).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retain {
    /// Delivered to present subscribers only.
    No,
    /// Kept by the broker as the topic's last message.
    Yes,
}

/// One stream message.
#[derive(Debug, Clone)]
pub struct Record {
    /// Topic name, shared between the records of a topic.
    pub topic: Arc<str>,
    /// Opaque bytes.
    pub payload: Bytes,
    /// Its worth when room runs out.
    pub class: Class,
    /// MQTT RETAIN flag.
    pub retain: Retain,
}

impl Record {
    /// Bytes that count against [`BacklogLimits::bytes`]: topic and payload.
    pub fn weight(&self) -> u64 {
        (self.topic.len() + self.payload.len()) as u64
    }
}

/// Upper limits of a backlog. Both hold.
#[derive(Debug, Clone, Copy)]
pub struct BacklogLimits {
    /// Largest number of records, at least 1.
    pub messages: usize,
    /// Largest sum of [`Record::weight`], in bytes.
    pub bytes: u64,
}

/// What a backlog holds now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Records.
    pub messages: usize,
    /// Sum of their weights in bytes.
    pub bytes: u64,
}

/// Records given up for want of room since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Dropped {
    /// Of [`Class::Series`].
    pub series: u64,
    /// Of [`Class::Edge`].
    pub edge: u64,
}

/// An ordered store of records, each at an offset that is never used twice.
///
/// Records are acknowledged one by one and in any order: a topic that nobody
/// subscribes to keeps its records while the topics around it go on. A store
/// that can only release a prefix (files on disk) notes the single
/// acknowledgements and releases the prefix when it is complete.
///
/// A record may be given up for want of room at any time, also while it is in
/// flight; acknowledging it later has no effect.
pub trait Backlog: Send {
    /// Appends a record behind all others, giving up older ones (or this one)
    /// when there is no room. Every record given up is counted.
    fn append(&mut self, record: Record);
    /// The first record at or behind `offset`, with its offset.
    fn read(&self, offset: u64) -> Option<(u64, Record)>;
    /// Releases the record at `offset`; an unknown offset has no effect.
    fn ack(&mut self, offset: u64);
    /// Offset of the oldest record that is not acknowledged, or [`Self::next_offset`] when there is none.
    fn oldest_offset(&self) -> u64;
    /// Offset that the next record will get.
    fn next_offset(&self) -> u64;
    /// What is held now.
    fn usage(&self) -> Usage;
    /// What was given up so far.
    fn dropped(&self) -> Dropped;
}

/// A backlog in memory: bounded, lost with the process.
#[derive(Debug)]
pub struct MemoryBacklog {
    limits: BacklogLimits,
    records: BTreeMap<u64, Record>,
    next: u64,
    bytes: u64,
    dropped: Dropped,
}

impl MemoryBacklog {
    /// An empty backlog.
    pub fn new(limits: BacklogLimits) -> Self {
        Self { limits, records: BTreeMap::new(), next: 0, bytes: 0, dropped: Dropped::default() }
    }

    fn fits(&self, weight: u64) -> bool {
        self.records.len() < self.limits.messages && self.bytes + weight <= self.limits.bytes
    }

    fn count_drop(&mut self, class: Class) {
        match class {
            Class::Series => self.dropped.series += 1,
            Class::Edge => self.dropped.edge += 1,
        }
    }

    fn oldest_of(&self, class: Class) -> Option<u64> {
        self.records.iter().find(|(_, record)| record.class == class).map(|(offset, _)| *offset)
    }

    fn remove(&mut self, offset: u64) -> Option<Record> {
        let record = self.records.remove(&offset)?;
        self.bytes -= record.weight();
        Some(record)
    }
}

impl Backlog for MemoryBacklog {
    fn append(&mut self, record: Record) {
        let weight = record.weight();
        if weight > self.limits.bytes {
            self.count_drop(record.class);
            return;
        }
        while !self.fits(weight) {
            let victim = match (self.oldest_of(Class::Series), record.class) {
                (Some(offset), _) => Some(offset),
                // A new sample does not push an event out.
                (None, Class::Series) => None,
                (None, Class::Edge) => self.records.keys().next().copied(),
            };
            let Some(given_up) = victim.and_then(|offset| self.remove(offset)) else {
                self.count_drop(record.class);
                return;
            };
            self.count_drop(given_up.class);
        }
        self.bytes += weight;
        self.records.insert(self.next, record);
        self.next += 1;
    }

    fn read(&self, offset: u64) -> Option<(u64, Record)> {
        let mut behind = self.records.range((Bound::Included(offset), Bound::Unbounded));
        behind.next().map(|(offset, record)| (*offset, record.clone()))
    }

    fn ack(&mut self, offset: u64) {
        self.remove(offset);
    }

    fn oldest_offset(&self) -> u64 {
        self.records.keys().next().copied().unwrap_or(self.next)
    }

    fn next_offset(&self) -> u64 {
        self.next
    }

    fn usage(&self) -> Usage {
        Usage { messages: self.records.len(), bytes: self.bytes }
    }

    fn dropped(&self) -> Dropped {
        self.dropped
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(class: Class, payload: &'static [u8]) -> Record {
        Record { topic: Arc::from("t"), payload: Bytes::from_static(payload), class, retain: Retain::No }
    }

    fn backlog(messages: usize, bytes: u64) -> MemoryBacklog {
        MemoryBacklog::new(BacklogLimits { messages, bytes })
    }

    #[test]
    fn the_oldest_series_record_gives_way_first() {
        let mut backlog = backlog(3, 1000);
        backlog.append(record(Class::Edge, b"e0"));
        backlog.append(record(Class::Series, b"s1"));
        backlog.append(record(Class::Series, b"s2"));
        backlog.append(record(Class::Edge, b"e3"));
        assert_eq!(backlog.dropped(), Dropped { series: 1, edge: 0 });
        assert_eq!(backlog.oldest_offset(), 0);
        assert_eq!(
            backlog.read(1).map(|(offset, r)| (offset, r.payload)),
            Some((2, Bytes::from_static(b"s2")))
        );
    }

    #[test]
    fn a_sample_never_pushes_an_event_out_but_an_event_does() {
        let mut backlog = backlog(2, 1000);
        backlog.append(record(Class::Edge, b"e0"));
        backlog.append(record(Class::Edge, b"e1"));
        backlog.append(record(Class::Series, b"s"));
        assert_eq!(backlog.dropped(), Dropped { series: 1, edge: 0 });
        backlog.append(record(Class::Edge, b"e2"));
        assert_eq!(backlog.dropped(), Dropped { series: 1, edge: 1 });
        assert_eq!(backlog.oldest_offset(), 1);
        assert_eq!(backlog.usage(), Usage { messages: 2, bytes: 6 });
    }

    #[test]
    fn bytes_are_a_limit_too() {
        let mut backlog = backlog(100, 10);
        backlog.append(record(Class::Series, b"1234"));
        backlog.append(record(Class::Series, b"1234"));
        assert_eq!(backlog.usage(), Usage { messages: 2, bytes: 10 });
        backlog.append(record(Class::Series, b"123456789"));
        assert_eq!(backlog.usage(), Usage { messages: 1, bytes: 10 });
        backlog.append(record(Class::Edge, b"1234567890"));
        assert_eq!(backlog.dropped(), Dropped { series: 2, edge: 1 });
        assert_eq!(backlog.usage().messages, 1, "a record that can never fit pushes nothing out");
    }

    #[test]
    fn acknowledgements_come_in_any_order() {
        let mut backlog = backlog(10, 1000);
        for _ in 0..3 {
            backlog.append(record(Class::Series, b"s"));
        }
        backlog.ack(1);
        backlog.ack(1);
        assert_eq!(backlog.oldest_offset(), 0);
        backlog.ack(0);
        assert_eq!(backlog.oldest_offset(), 2);
        backlog.ack(2);
        assert_eq!((backlog.oldest_offset(), backlog.next_offset()), (3, 3));
        assert_eq!(backlog.usage(), Usage::default());
    }
}
