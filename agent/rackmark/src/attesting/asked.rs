//! What consumers ask of the attester, and how it answers: later, and often in several messages.

use bytes::Bytes;
use rackmark_feed::{Body, Extension, Reply, Verb};

use crate::publish::feed::SharedFeed;
use crate::publish::inbox::{CommandCounts, Refused};
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
    /// What becomes of commands.
    pub counts: CommandCounts,
}

impl Ask {
    /// Says what became of the command.
    pub fn answer(&self, outcome: Result<Vec<Extension>, Refused>) {
        let (consumer, verb) = (&self.consumer, self.verb.name());
        self.way_back.counts.note(&self.verb, outcome.as_ref().err().map(|refused| refused.refusal));
        let reply = match outcome {
            Ok(extensions) => {
                tracing::info!(consumer, verb, outcome = "accepted", "command");
                Reply::accepted(self.nonce, extensions)
            }
            Err(refused) => {
                let reason = &refused.why;
                tracing::info!(consumer, verb, outcome = "refused", refusal = %refused.refusal, reason, "command");
                refused.reply(self.nonce)
            }
        };
        self.way_back.send(Body::Reply(reply));
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
