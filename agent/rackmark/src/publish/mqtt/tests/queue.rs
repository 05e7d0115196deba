//! A backlog in memory whose records the test appends and looks at.

use std::collections::BTreeSet;
use std::ops::Deref;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::super::backlog::{Again, Backlog, Class, Found, GivenUp, Reader, Record, StreamIndex};
use super::super::outbox::Outbox;

/// Streams that a test can use.
pub(super) const EDGES: [&str; 3] = ["events", "reports", "secret"];
pub(super) const SERIES: [&str; 3] = ["a", "b", "telemetry"];
const CLASSES: [Class; 6] =
    [Class::Edge, Class::Edge, Class::Edge, Class::Series, Class::Series, Class::Series];

#[derive(Default)]
struct Stream {
    records: Vec<Record>,
    acked: BTreeSet<u64>,
    given_up: BTreeSet<u64>,
}

/// What the backlog holds.
pub(super) struct Inner {
    streams: Vec<Stream>,
    again: Vec<Again>,
    /// Acknowledgements that a crash would forget.
    pub(super) unnoted: u64,
}

#[derive(Clone)]
struct Queue(Arc<Mutex<Inner>>);

/// An outbox over such a backlog.
#[derive(Clone)]
pub(super) struct Queued {
    outbox: Outbox,
    queue: Queue,
    wake: Arc<Notify>,
}

impl Deref for Queued {
    type Target = Outbox;

    fn deref(&self) -> &Outbox {
        &self.outbox
    }
}

fn index(topic: &str) -> StreamIndex {
    let known = EDGES.iter().chain(&SERIES).position(|known| *known == topic);
    known.unwrap_or_else(|| panic!("no stream {topic} in the test's backlog"))
}

impl Queued {
    pub(super) fn new() -> Self {
        let streams = CLASSES.iter().map(|_| Stream::default()).collect();
        let inner = Inner { streams, again: Vec::new(), unnoted: 0 };
        let queue = Queue(Arc::new(Mutex::new(inner)));
        let wake = Arc::new(Notify::new());
        Self { outbox: Outbox::new(Box::new(queue.clone()), Arc::clone(&wake)), queue, wake }
    }

    /// Appends a record to the stream of that name.
    pub(super) fn stream(&self, topic: &str, payload: impl Into<Bytes>) {
        let mut inner = self.queue.0.lock().unwrap();
        let records = &mut inner.streams[index(topic)].records;
        records.push(Record {
            seq: records.len() as u64,
            topic: Arc::from(topic),
            payload: payload.into(),
            since: Some(Instant::now()),
        });
        drop(inner);
        self.wake.notify_one();
    }

    /// Appends a record whose topic no broker can take.
    pub(super) fn stream_as(&self, stream: &str, topic: &str, payload: impl Into<Bytes>) {
        self.stream(stream, payload);
        let mut inner = self.queue.0.lock().unwrap();
        inner.streams[index(stream)].records.last_mut().unwrap().topic = Arc::from(topic);
    }

    pub(super) fn ask_again(&self, topic: &str, from_seq: u64, to_seq: u64) {
        self.queue.0.lock().unwrap().again.push(Again { stream: index(topic), from_seq, to_seq });
        self.wake.notify_one();
    }

    pub(super) fn note_acks(&self, unnoted: u64) {
        self.queue.0.lock().unwrap().unnoted = unnoted;
        self.wake.notify_one();
    }

    /// Records that are neither acknowledged nor given up.
    pub(super) fn waiting(&self) -> usize {
        let inner = self.queue.0.lock().unwrap();
        inner.streams.iter().map(|s| s.records.len() - s.acked.union(&s.given_up).count()).sum()
    }

    /// Payloads given up, in order.
    pub(super) fn given_up(&self) -> Vec<Bytes> {
        let inner = self.queue.0.lock().unwrap();
        let payloads = |s: &Stream| -> Vec<Bytes> {
            s.given_up.iter().map(|seq| s.records[*seq as usize].payload.clone()).collect()
        };
        inner.streams.iter().flat_map(payloads).collect()
    }
}

impl Backlog for Queue {
    fn classes(&self) -> &[Class] {
        &CLASSES
    }

    fn acked(&self, stream: StreamIndex) -> u64 {
        let inner = self.0.lock().unwrap();
        (0..).find(|seq| !inner.streams[stream].acked.contains(seq)).unwrap()
    }

    fn next(&self, stream: StreamIndex) -> u64 {
        self.0.lock().unwrap().streams[stream].records.len() as u64
    }

    fn read(&mut self, stream: StreamIndex, from: u64, reader: Reader) -> Found {
        let inner = self.0.lock().unwrap();
        let stream = &inner.streams[stream];
        let concerns = |seq: &u64| {
            reader == Reader::Again || !stream.acked.contains(seq) && !stream.given_up.contains(seq)
        };
        match stream.records.iter().skip(from as usize).find(|record| concerns(&record.seq)) {
            Some(record) => Found::Record(record.clone()),
            None => Found::Nothing,
        }
    }

    fn ack(&mut self, stream: StreamIndex, seq: u64) {
        self.0.lock().unwrap().streams[stream].acked.insert(seq);
    }

    fn give_up(&mut self, lost: GivenUp) {
        self.0.lock().unwrap().streams[lost.stream].given_up.insert(lost.seq);
    }

    fn unnoted(&self) -> u64 {
        self.0.lock().unwrap().unnoted
    }

    fn again(&self) -> Option<Again> {
        self.0.lock().unwrap().again.first().copied()
    }

    fn again_done(&mut self, to_seq: u64) {
        let mut inner = self.0.lock().unwrap();
        let first = &mut inner.again[0];
        first.from_seq = to_seq + 1;
        if first.from_seq > first.to_seq {
            inner.again.remove(0);
        }
    }
}
