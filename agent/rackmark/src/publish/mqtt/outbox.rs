//! What should be at the broker: the newest level of each topic, answers to
//! those who asked, and the backlog.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::Notify;

use super::backlog::Backlog;
use super::stats::{PublisherStats, add};

/// Handle for those who have something to say. Clones share one outbox.
///
/// No call waits: not for the broker and not for the publisher.
#[derive(Clone)]
pub struct Outbox {
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    wake: Arc<Notify>,
    stats: Arc<PublisherStats>,
}

/// What the mutex guards.
pub(super) struct State {
    pub(super) levels: Vec<Level>,
    pub(super) replies: VecDeque<Reply>,
    pub(super) backlog: Box<dyn Backlog>,
}

/// The newest payload of a level topic.
pub(super) struct Level {
    pub(super) topic: Arc<str>,
    pub(super) payload: Bytes,
    /// Counts the payloads of this topic from 1.
    pub(super) version: u64,
}

/// An answer to a message: sent once on the connection that is up, never kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// Response topic of the message.
    pub topic: Arc<str>,
    /// Opaque bytes.
    pub payload: Bytes,
    /// Its correlation data.
    pub correlation: Option<Bytes>,
}

/// Answers that wait; who asks faster gets no answer.
const REPLIES: usize = 32;

impl Outbox {
    /// An outbox over a backlog, which may already hold records. `wake` is told by the backlog when it has news.
    pub fn new(backlog: Box<dyn Backlog>, wake: Arc<Notify>) -> Self {
        let state = State { levels: Vec::new(), replies: VecDeque::new(), backlog };
        Self { shared: Arc::new(Shared { state: Mutex::new(state), wake, stats: Arc::default() }) }
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

    /// Answers a message; the answer is lost where the connection is, and the asker asks again.
    pub fn reply(&self, reply: Reply) {
        let mut state = self.lock();
        if state.replies.len() == REPLIES {
            add(&self.shared.stats.replies_dropped_total);
            return;
        }
        state.replies.push_back(reply);
        drop(state);
        self.shared.wake.notify_one();
    }

    /// What was answered and not sent yet.
    #[cfg(test)]
    pub fn replies(&self) -> Vec<Reply> {
        self.lock().replies.iter().cloned().collect()
    }

    /// The counters of this outbox and of the publisher that empties it.
    pub fn stats(&self) -> Arc<PublisherStats> {
        Arc::clone(&self.shared.stats)
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

    /// What is left of earlier connections and concerns none after it.
    pub(in crate::publish) fn forget_replies(&self) {
        self.lock().replies.clear();
    }
}
