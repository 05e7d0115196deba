//! Makes messages: headers, numbers of levels, signatures. One per start of the daemon.

use std::sync::Arc;

use bytes::Bytes;
use rackmark_feed::body::succession::successions_extension;
use rackmark_feed::{
    Body, Extension, Header, Message, PreviousSession, PublicKey, SessionClaim, SessionId, SpoolEpoch,
    Stream, seal, topic,
};

use super::identity::Session;
use crate::clock;
use crate::config::Config;
use crate::exit::chain;

/// The streams and levels that this agent fills.
const TOPICS: [Stream; 9] = [
    Stream::Session,
    Stream::Event,
    Stream::Telemetry,
    Stream::TelemetrySlow,
    Stream::Status,
    Stream::CapacityPublic,
    Stream::CapacityBuyer,
    Stream::CapacityOperator,
    Stream::Evidence,
];

/// Signs messages.
pub struct Signer {
    session: Session,
    header: Header,
    topics: Vec<(Stream, Arc<str>)>,
    levels: Vec<(Stream, u64)>,
    started_unix_ms: u64,
}

impl Signer {
    /// Begins a session under the names of `config`, in the spool epoch given.
    pub fn new(session: Session, epoch: SpoolEpoch, config: &Config) -> Self {
        let header = Header {
            node: session.node,
            session: SessionId::of(&session.key.public()),
            epoch,
            stream: Stream::Session,
            seq: None,
            time_unix_ms: 0,
        };
        let topics = TOPICS
            .into_iter()
            .filter_map(|stream| {
                let topic = topic::of(stream, &config.site, &config.node).ok()?;
                Some((stream, Arc::from(topic)))
            })
            .collect();
        Self { session, header, topics, levels: Vec::new(), started_unix_ms: clock::unix_ms() }
    }

    /// Identity key and session key.
    pub fn keys(&self) -> (PublicKey, PublicKey) {
        (self.session.identity.public(), self.session.key.public())
    }

    /// Node, session and spool epoch of all messages.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The topic of a stream or level.
    pub fn topic(&self, stream: Stream) -> Arc<str> {
        let known = self.topics.iter().find(|(known, _)| *known == stream);
        known.map_or_else(|| Arc::from(""), |(_, topic)| Arc::clone(topic))
    }

    /// The next number of a level; levels count within the session.
    pub fn level_number(&mut self, stream: Stream) -> u64 {
        match self.levels.iter_mut().find(|(known, _)| *known == stream) {
            Some((_, last)) => {
                *last += 1;
                *last
            }
            None => {
                self.levels.push((stream, 0));
                0
            }
        }
    }

    /// Signs `body`; the will and answers have no number.
    pub fn sign(&self, body: Body, seq: Option<u64>) -> Option<Bytes> {
        let stream = body.stream();
        let header = Header { stream, seq, time_unix_ms: clock::unix_ms(), ..self.header.clone() };
        match seal(&Message { header, body }, &self.session.key) {
            Ok(frame) => Some(frame.into()),
            Err(error) => {
                tracing::error!(error = chain(&error), %stream, "message could not be made and is not sent");
                None
            }
        }
    }

    /// What operators signed of the node's earlier ids; none where there is nothing.
    fn successions(&self) -> Option<Extension> {
        if self.session.successions.is_empty() {
            return None;
        }
        successions_extension(&self.session.successions)
            .inspect_err(|error| {
                tracing::error!(error = chain(error), "successions are over a limit and are not shown");
            })
            .ok()
    }

    /// The session record: the identity key's word for the session key.
    pub fn session_record(
        &self,
        config: &Config,
        boot_id: [u8; 16],
        previous: Option<PreviousSession>,
    ) -> Option<Body> {
        let claim = SessionClaim {
            node: self.header.node,
            site: config.site.clone(),
            node_name: config.node.clone(),
            identity_public_key: self.session.identity.public(),
            session_public_key: self.session.key.public(),
            boot_id,
            spool_epoch: self.header.epoch,
            started_unix_ms: self.started_unix_ms,
            agent_version: env!("CARGO_PKG_VERSION").to_owned(),
            previous,
            extensions: self.successions().into_iter().collect(),
        };
        match claim.sign(&self.session.identity) {
            Ok(record) => Some(Body::Session(record)),
            Err(error) => {
                tracing::error!(error = chain(&error), "session record could not be made");
                None
            }
        }
    }
}
