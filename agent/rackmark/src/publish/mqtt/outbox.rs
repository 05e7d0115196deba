//! What should be at the broker: the newest level of each topic, and the backlog.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::Notify;

use super::backlog::{Backlog, BacklogLimits, Class, MemoryBacklog, Record, Retain};
use super::stats::{PublisherStats, set};

/// Handle for those who have something to say. Clones share one outbox.
///
/// No call waits: not for the broker and not for the publisher.
#[derive(Clone)]
pub struct Outbox {
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    wake: Notify,
    stats: Arc<PublisherStats>,
}

/// What the mutex guards.
pub(super) struct State {
    pub(super) levels: Vec<Level>,
    pub(super) backlog: Box<dyn Backlog>,
    /// Stream topics seen so far, so that a record shares its topic's text.
    topics: Vec<Arc<str>>,
}

/// The newest payload of a level topic.
pub(super) struct Level {
    pub(super) topic: Arc<str>,
    pub(super) payload: Bytes,
    /// Counts the payloads of this topic from 1.
    pub(super) version: u64,
}

/// Stream topics whose text is shared; an agent uses about ten. Further ones work, with a text per record.
const SHARED_TOPICS: usize = 64;

impl Outbox {
    /// An outbox with a backlog in memory.
    pub fn new(limits: BacklogLimits) -> Self {
        Self::with_backlog(Box::new(MemoryBacklog::new(limits)))
    }

    /// An outbox over a backlog of one's own, which may already hold records.
    pub fn with_backlog(backlog: Box<dyn Backlog>) -> Self {
        let stats = Arc::new(PublisherStats::default());
        let state = State { levels: Vec::new(), backlog, topics: Vec::new() };
        state.report(&stats);
        Self { shared: Arc::new(Shared { state: Mutex::new(state), wake: Notify::new(), stats }) }
    }

    /// Sets the level of `topic`. The newest payload wins; it is published
    /// retained with QoS 1, and again after every connect.
    pub fn level(&self, topic: &str, payload: Bytes) {
        let mut state = self.lock();
        match state.levels.iter_mut().find(|level| &*level.topic == topic) {
            Some(level) => {
                level.payload = payload;
                level.version += 1;
            }
            None => state.levels.push(Level { topic: Arc::from(topic), payload, version: 1 }),
        }
        drop(state);
        self.shared.wake.notify_one();
    }

    /// Appends a record to the stream of `topic`. It is published with QoS 1
    /// in the order of appending and kept until a broker accepts it or room runs out.
    pub fn stream(&self, topic: &str, payload: Bytes, class: Class, retain: Retain) {
        let mut state = self.lock();
        let topic = state.shared_topic(topic);
        state.backlog.append(Record { topic, payload, class, retain });
        state.report(&self.shared.stats);
        drop(state);
        self.shared.wake.notify_one();
    }

    /// The counters of this outbox and of the publisher that empties it.
    pub fn stats(&self) -> Arc<PublisherStats> {
        Arc::clone(&self.shared.stats)
    }

    /// Offset of the oldest record not acknowledged, and of the next to come.
    pub(super) fn offsets(&self) -> (u64, u64) {
        let state = self.lock();
        (state.backlog.oldest_offset(), state.backlog.next_offset())
    }

    pub(super) fn stats_ref(&self) -> &PublisherStats {
        &self.shared.stats
    }

    /// Resolves when something was added since the last call resolved.
    pub(super) async fn changed(&self) {
        self.shared.wake.notified().await;
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        // No code under the lock leaves the state half-changed, so a panic elsewhere does not spoil it.
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Releases a record that a broker accepted or that no broker will ever accept.
    pub(super) fn release(&self, offset: u64) {
        let mut state = self.lock();
        state.backlog.ack(offset);
        state.report(&self.shared.stats);
    }
}

impl State {
    fn shared_topic(&mut self, topic: &str) -> Arc<str> {
        if let Some(known) = self.topics.iter().find(|known| &***known == topic) {
            return Arc::clone(known);
        }
        let new: Arc<str> = Arc::from(topic);
        if self.topics.len() < SHARED_TOPICS {
            self.topics.push(Arc::clone(&new));
        }
        new
    }

    pub(super) fn report(&self, stats: &PublisherStats) {
        let (usage, dropped) = (self.backlog.usage(), self.backlog.dropped());
        set(&stats.backlog_messages, usage.messages as u64);
        set(&stats.backlog_bytes, usage.bytes);
        set(&stats.dropped_series_total, dropped.series);
        set(&stats.dropped_edge_total, dropped.edge);
    }
}
