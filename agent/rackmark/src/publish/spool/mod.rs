//! Between the feed that makes records, the disk that keeps them and the
//! publisher that sends them.
//!
//! Nobody waits for the disk: a thread of its own ([`writer`]) appends, makes
//! durable and reads back; the others see what is known in memory ([`view`]).
//! A record is on offer to the publisher when it is durable, not before.

mod open;
mod view;
mod writer;

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rackmark_feed::{LossCause, Stream};
use rackmark_spool as store;
use tokio::sync::Notify;

use super::mqtt::{Again, Backlog, Class, Found, GivenUp, Reader, StreamIndex};
use view::View;

#[cfg(test)]
pub use open::{ByHand, by_hand};
pub use open::{END, open, open_in_memory};
#[cfg(test)]
pub use writer::Writer as Work;

/// The streams that are kept, at the place of their number on the wire.
pub const STREAMS: [(Stream, store::StreamSpec); 4] = [
    (Stream::Session, spec(Stream::Session, "session", store::Class::Edge)),
    (Stream::Event, spec(Stream::Event, "event", store::Class::Edge)),
    (Stream::Telemetry, spec(Stream::Telemetry, "telemetry", store::Class::Series)),
    (Stream::TelemetrySlow, spec(Stream::TelemetrySlow, "telemetry-slow", store::Class::Series)),
];

const fn spec(stream: Stream, name: &'static str, class: store::Class) -> store::StreamSpec {
    store::StreamSpec { id: stream.code() as u8, name, class }
}

const CLASSES: [Class; 4] = [Class::Edge, Class::Edge, Class::Series, Class::Series];

/// Place of a stream in [`STREAMS`]; `None` for levels.
pub fn index_of(stream: Stream) -> Option<StreamIndex> {
    STREAMS.iter().position(|(known, _)| *known == stream)
}

/// Payload bytes that may wait for a disk that does not answer; what comes on top is lost and declared.
const PENDING_BYTES: usize = 2 << 20;

/// Ranges asked for again that wait; who asks for more is told to come back.
const AGAIN: usize = 16;

/// Records that will never come, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Loss {
    pub stream: StreamIndex,
    pub from_seq: u64,
    pub to_seq: u64,
    pub cause: LossCause,
}

impl Loss {
    fn overlaps(&self, other: &Self) -> bool {
        self.stream == other.stream && self.from_seq <= other.to_seq && other.from_seq <= self.to_seq
    }
}

/// One thing for the writer to do, in order.
enum Pending {
    Record {
        stream: StreamIndex,
        seq: u64,
        topic: Arc<str>,
        payload: Bytes,
        declares: Option<Loss>,
    },
    /// The number is used up and there is no record.
    Skip {
        stream: StreamIndex,
        seq: u64,
    },
    /// Samples of the batch that is being filled.
    Draft {
        stream: StreamIndex,
        bytes: Vec<u8>,
    },
}

impl Pending {
    fn weight(&self) -> usize {
        match self {
            Self::Record { payload, .. } => payload.len(),
            Self::Draft { bytes, .. } => bytes.len(),
            Self::Skip { .. } => 0,
        }
    }

    fn stream(&self) -> StreamIndex {
        match self {
            Self::Record { stream, .. } | Self::Skip { stream, .. } | Self::Draft { stream, .. } => *stream,
        }
    }
}

/// A durable declaration that nobody has acknowledged.
struct Told {
    stream: StreamIndex,
    seq: u64,
    loss: Loss,
}

/// How the spool is, for people and metrics.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Health {
    /// Records outlive the machine; false while they are kept in memory.
    pub durable: bool,
    /// Why nothing can be written now; empty while all is well.
    pub trouble: String,
    /// Records that wait for delivery, and bytes on disk: series, edges.
    pub waiting: [u64; 2],
    pub bytes: [u64; 2],
    /// Records lost and declared, by place in [`STREAMS`] and in `LossCause::ALL`.
    pub lost: [[u64; 4]; 4],
    /// How far each consumer has confirmed the streams.
    pub confirmed: Vec<(String, [Option<u64>; 4])>,
}

struct State {
    views: [View; 4],
    /// Number that the next record of a stream gets.
    next: [u64; 4],
    pending: VecDeque<Pending>,
    pending_bytes: usize,
    acks_noted: u64,
    acks_dirty: bool,
    holds: [Option<Option<u64>>; 4],
    again: VecDeque<Again>,
    /// Losses that nobody has taken up yet: what the store found, and what a broker refused or was said in vain.
    found: Vec<Loss>,
    losses: Vec<Loss>,
    /// Those on their way to being declared.
    declaring: Vec<Loss>,
    /// What was declared by records that are not delivered yet: if one of them is lost, it is said again.
    told: Vec<Told>,
    health: Health,
    stop: bool,
}

/// What the spool's handles and its writer share.
pub struct Shared {
    state: Mutex<State>,
    work: Condvar,
    /// Tells the publisher.
    wake: Arc<Notify>,
    /// Tells whoever declares losses.
    lost: Notify,
}

/// Handle on the spool; clones share it.
#[derive(Clone)]
pub struct Spool {
    shared: Arc<Shared>,
}

impl Spool {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.shared.lock()
    }

    /// The number of the next record of a stream; each call uses one up.
    pub fn number(&self, stream: StreamIndex) -> u64 {
        let mut state = self.lock();
        state.next[stream] += 1;
        state.next[stream] - 1
    }

    /// One past the last number used in a stream.
    pub fn numbered(&self, stream: StreamIndex) -> u64 {
        self.lock().next[stream]
    }

    /// Waits until a record is durable and on offer, at most `limit`. For the start, when nothing else runs yet.
    pub fn wait_offered(&self, stream: StreamIndex, seq: u64, limit: Duration) -> bool {
        let until = Instant::now() + limit;
        while self.offered(stream) <= seq {
            if Instant::now() >= until {
                return false;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        true
    }

    /// Hands over the record with a number from [`Self::number`]; it is on offer as soon as it is durable.
    pub fn append(&self, stream: StreamIndex, seq: u64, topic: Arc<str>, payload: Bytes) {
        self.put(Pending::Record { stream, seq, topic, payload, declares: None });
    }

    /// The same for a record that declares a loss.
    pub fn append_declaring(
        &self,
        stream: StreamIndex,
        seq: u64,
        topic: Arc<str>,
        payload: Bytes,
        loss: Loss,
    ) {
        self.put(Pending::Record { stream, seq, topic, payload, declares: Some(loss) });
    }

    /// A number from [`Self::number`] gets no record.
    pub fn skip(&self, stream: StreamIndex, seq: u64) {
        self.put(Pending::Skip { stream, seq });
    }

    /// Keeps samples of the batch that is being filled; the next record of the stream takes their place.
    pub fn draft(&self, stream: StreamIndex, bytes: Vec<u8>) {
        self.put(Pending::Draft { stream, bytes });
    }

    fn put(&self, pending: Pending) {
        let mut state = self.lock();
        let mut pending = pending;
        if state.pending_bytes + pending.weight() > PENDING_BYTES {
            pending = match pending {
                Pending::Record { stream, seq, declares, .. } => {
                    if let Some(loss) = declares {
                        state.declaring.retain(|known| *known != loss);
                        state.losses.push(loss);
                    }
                    Pending::Skip { stream, seq }
                }
                Pending::Draft { .. } => return,
                skip @ Pending::Skip { .. } => skip,
            };
        }
        state.pending_bytes += pending.weight();
        state.pending.push_back(pending);
        drop(state);
        self.shared.work.notify_one();
    }

    /// Records of a stream from `seq` on are kept as long as the budget allows, delivered or not; `None` ends that.
    pub fn hold(&self, stream: StreamIndex, seq: Option<u64>) {
        self.lock().holds[stream] = Some(seq);
        self.shared.work.notify_one();
    }

    /// Notes how far a consumer has confirmed a stream, for whoever looks.
    pub fn note_confirmed(&self, consumer: &str, stream: StreamIndex, below: u64) {
        let mut state = self.lock();
        let known = state.health.confirmed.iter_mut().find(|(name, _)| name == consumer);
        match known {
            Some((_, streams)) => streams[stream] = Some(below),
            None => {
                let mut streams = [None; 4];
                streams[stream] = Some(below);
                state.health.confirmed.push((consumer.to_owned(), streams));
            }
        }
    }

    /// Every record of the stream below has been acknowledged by a broker.
    pub fn acknowledged(&self, stream: StreamIndex) -> u64 {
        self.lock().views[stream].acked().below()
    }

    /// One past the last record of the stream on offer.
    pub fn offered(&self, stream: StreamIndex) -> u64 {
        self.lock().views[stream].offered()
    }

    /// Sends a range again, as far as it is kept. False: too many wait already.
    pub fn send_again(&self, again: Again) -> bool {
        let mut state = self.lock();
        if state.again.contains(&again) {
            return true;
        }
        if state.again.len() == AGAIN {
            return false;
        }
        state.again.push_back(again);
        drop(state);
        self.shared.wake.notify_one();
        true
    }

    /// Waits until there are losses that nobody declared yet, and takes them up.
    pub async fn losses(&self) -> Vec<Loss> {
        loop {
            let told = self.shared.lost.notified();
            let losses = self.take_losses();
            if !losses.is_empty() {
                return losses;
            }
            told.await;
        }
    }

    /// Takes up the losses that nobody declared yet.
    pub fn take_losses(&self) -> Vec<Loss> {
        let mut state = self.lock();
        let mut losses = std::mem::take(&mut state.found);
        losses.append(&mut state.losses);
        state.declaring.extend(&losses);
        losses
    }

    /// Why records are not kept as they should be, if so.
    pub fn trouble(&self) -> Option<String> {
        let state = self.lock();
        (!state.health.trouble.is_empty()).then(|| state.health.trouble.clone())
    }

    /// How it is.
    pub fn health(&self) -> Health {
        self.lock().health.clone()
    }
}

/// The writer's thread.
pub struct Writer {
    shared: Arc<Shared>,
    thread: JoinHandle<()>,
}

impl Writer {
    /// Writes what is left and ends, within `limit`; a disk that does not answer is not waited for.
    pub fn end(self, limit: Duration) {
        self.shared.lock().stop = true;
        self.shared.work.notify_one();
        let until = Instant::now() + limit;
        while !self.thread.is_finished() {
            if Instant::now() >= until {
                tracing::error!("the disk does not answer: the last records may not be kept");
                return;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        if self.thread.join().is_err() {
            tracing::error!("the spool's thread had panicked");
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // No code under the lock leaves the state half-changed, so a panic elsewhere does not spoil it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Backlog for Spool {
    fn classes(&self) -> &[Class] {
        &CLASSES
    }

    fn acked(&self, stream: StreamIndex) -> u64 {
        self.lock().views[stream].acked().below()
    }

    fn next(&self, stream: StreamIndex) -> u64 {
        self.lock().views[stream].offered()
    }

    fn read(&mut self, stream: StreamIndex, from: u64, reader: Reader) -> Found {
        let found = self.lock().views[stream].read(from, reader);
        if matches!(found, Found::Loading) {
            self.shared.work.notify_one();
        }
        found
    }

    fn ack(&mut self, stream: StreamIndex, seq: u64) {
        let mut state = self.lock();
        state.views[stream].ack(seq);
        state.acks_dirty = true;
        drop(state);
        self.shared.work.notify_one();
    }

    fn give_up(&mut self, lost: GivenUp) {
        let mut state = self.lock();
        state.views[lost.stream].refused.insert(lost.seq, lost.seq + 1);
        let known = state.losses.iter_mut().find(|loss| {
            loss.stream == lost.stream && loss.cause == LossCause::Refused && loss.to_seq + 1 == lost.seq
        });
        match known {
            Some(loss) => loss.to_seq = lost.seq,
            None => state.losses.push(Loss {
                stream: lost.stream,
                from_seq: lost.seq,
                to_seq: lost.seq,
                cause: LossCause::Refused,
            }),
        }
        state.tell_again();
        drop(state);
        self.shared.lost.notify_one();
    }

    fn unnoted(&self) -> u64 {
        let state = self.lock();
        state.acks_total() - state.acks_noted
    }

    fn again(&self) -> Option<Again> {
        self.lock().again.front().copied()
    }

    fn again_done(&mut self, to_seq: u64) {
        let mut state = self.lock();
        if let Some(again) = state.again.front_mut() {
            again.from_seq = to_seq.saturating_add(1);
            if again.from_seq > again.to_seq {
                state.again.pop_front();
            }
        }
    }
}

impl State {
    /// Declares again what was declared by a record that is lost itself.
    fn tell_again(&mut self) {
        let lost =
            |told: &Told| {
                self.found.iter().chain(&self.losses).chain(&self.declaring).any(|loss| {
                    loss.stream == told.stream && (loss.from_seq..=loss.to_seq).contains(&told.seq)
                })
            };
        let again: Vec<usize> = (0..self.told.len()).filter(|at| lost(&self.told[*at])).collect();
        for at in again.into_iter().rev() {
            let told = self.told.swap_remove(at);
            self.losses.push(told.loss);
        }
        let views = &self.views;
        self.told.retain(|told| !views[told.stream].acked().contains(told.seq));
    }

    fn acks_total(&self) -> u64 {
        self.views.iter().map(|view| view.acks).sum()
    }
}
