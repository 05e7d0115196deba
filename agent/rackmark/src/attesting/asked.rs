//! What consumers ask of the attester, and how it answers: later, and often in several messages.

use bytes::Bytes;
use rackmark_feed::{Body, Extension, Reply, ReplyOutcome, Verb};

use crate::publish::encode;
use crate::publish::feed::SharedFeed;
use crate::publish::mqtt::{self, Outbox};
use crate::sampling::task::SharedRoster;

/// One command, and the way back.
pub struct Ask {
    /// What: `attest`, `activate`, `fetch` or `accepted`.
    pub verb: Verb,
    /// Who.
    pub consumer: String,
    /// The nonce of the command.
    pub nonce: [u8; 16],
    /// Where answers go.
    pub way_back: WayBack,
}

/// Sends signed answers to one consumer.
#[derive(Clone)]
pub struct WayBack {
    /// Signs.
    pub feed: SharedFeed,
    /// Goes with the feed.
    pub roster: SharedRoster,
    /// Sends.
    pub outbox: Outbox,
    /// The consumer's reply topic; none where the command named none, or another one.
    pub topic: Option<String>,
    /// Correlation data of the command.
    pub correlation: Option<Bytes>,
}

impl Ask {
    /// Says what became of the command.
    pub fn answer(&self, outcome: Result<Vec<Extension>, String>) {
        let (outcome, reason, extensions) = match outcome {
            Ok(extensions) => (ReplyOutcome::Accepted, String::new(), extensions),
            Err(why) => (ReplyOutcome::Refused, encode::cut(&why), Vec::new()),
        };
        tracing::info!(consumer = self.consumer, verb = self.verb.name(), %outcome, reason, "command");
        self.way_back.send(Body::Reply(Reply { nonce: self.nonce, outcome, reason, extensions }));
    }
}

impl WayBack {
    /// Sends one message; gives its bytes where it was made.
    pub fn send(&self, body: Body) -> Option<Bytes> {
        let topic = self.topic.as_ref()?;
        let payload = self.feed.with(&self.roster, |feed, _| feed.answer(body))?;
        self.outbox.reply(mqtt::Reply {
            topic: topic.as_str().into(),
            payload: payload.clone(),
            correlation: self.correlation.clone(),
        });
        Some(payload)
    }
}
