//! A node that speaks to a consumer under test.
#![allow(dead_code, reason = "every test file uses a part of it")]

use rackmark_feed::consumer::{Accepted, Refusal};
use rackmark_feed::*;

use crate::messages::*;

/// A node with its keys, that seals what it is told to.
pub(crate) struct Speaker {
    pub(crate) identity: SigningKey,
    pub(crate) key: SigningKey,
    pub(crate) epoch: SpoolEpoch,
    pub(crate) site: &'static str,
    pub(crate) name: &'static str,
}

pub(crate) type Delivery = (String, Vec<u8>);

impl Speaker {
    pub(crate) fn new(identity: u8, session: u8) -> Self {
        Self {
            identity: SigningKey::from_seed(&[identity; 32]),
            key: SigningKey::from_seed(&[session; 32]),
            epoch: EPOCH,
            site: SITE,
            name: NODE,
        }
    }

    pub(crate) fn id(&self) -> NodeId {
        NodeId::software(&self.identity.public())
    }

    pub(crate) fn session(&self) -> SessionId {
        SessionId::of(&self.key.public())
    }

    pub(crate) fn send(&self, seq: Option<u64>, body: Body) -> Delivery {
        let header = Header {
            node: self.id(),
            session: self.session(),
            epoch: self.epoch,
            stream: body.stream(),
            seq,
            time_unix_ms: NOW,
        };
        let topic = match header.stream {
            Stream::Reply => topic::reply(self.site, self.name, "settlement"),
            stream => topic::of(stream, self.site, self.name),
        };
        let topic = topic.expect("good names");
        (topic, seal(&Message { header, body }, &self.key).expect("sealed"))
    }

    pub(crate) fn claim(&self, previous: Option<PreviousSession>) -> SessionClaim {
        SessionClaim {
            node: self.id(),
            site: self.site.into(),
            node_name: self.name.into(),
            identity_public_key: self.identity.public(),
            session_public_key: self.key.public(),
            spool_epoch: self.epoch,
            ..claim(&self.key, previous)
        }
    }

    pub(crate) fn record(&self, seq: u64, previous: Option<PreviousSession>) -> Delivery {
        let record = self.claim(previous).sign(&self.identity).expect("own identity");
        self.send(Some(seq), Body::Session(record))
    }

    pub(crate) fn event(&self, seq: u64) -> Delivery {
        self.send(Some(seq), Body::Event(event(EventKind::Resumed, None)))
    }

    pub(crate) fn status(&self, seq: Option<u64>, state: NodeState) -> Delivery {
        self.send(seq, Body::Status(status(&self.key, state)))
    }

    /// The session that ends with these events.
    pub(crate) fn ended(&self, last_event: u64) -> PreviousSession {
        PreviousSession {
            session: self.session(),
            spool_epoch: self.epoch,
            ends: vec![
                StreamEnd { stream: Stream::Session, last_seq: 0 },
                StreamEnd { stream: Stream::Event, last_seq: last_event },
            ],
        }
    }
}

pub(crate) fn give(consumer: &mut Consumer, (topic, payload): &Delivery) -> Result<Accepted, Refusal> {
    consumer.accept(topic, payload, NOW)
}

/// A consumer that knows the first session of a node.
pub(crate) fn met(speaker: &Speaker) -> Consumer {
    let mut consumer = Consumer::default();
    give(&mut consumer, &speaker.record(0, None)).expect("session record");
    consumer
}

/// Fails unless the result is this refusal.
macro_rules! refused {
    ($result:expr, $pattern:pat) => {
        match $result {
            Err($pattern) => {}
            other => panic!("expected {}, got {other:?}", stringify!($pattern)),
        }
    };
}

pub(crate) use refused;
