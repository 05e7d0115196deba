//! A careful reader of the feed: all checks in one place, in bounded memory.
//!
//! [`Consumer::accept`] takes every message that a broker delivers, with its
//! topic, in any order, and says what it is: accepted once, or refused with the
//! reason. It trusts the first node id that a name comes with; [`Consumer::bind`]
//! fixes names beforehand, [`Consumer::forget`] releases one, and a succession by an
//! operator that it trusts ([`Consumer::trust`]) hands one over.

mod account;
mod held;
mod node;
mod tracker;

use std::collections::HashMap;

use crate::body::{Body, EventKind, SessionClaim, SessionRecordError, Status};
use crate::downlink::{StreamBelow, Watermark};
use crate::error::DecodeError;
use crate::frame::{Frame, Header};
use crate::ids::{IdentityClass, NodeId, SessionId, SpoolEpoch, Stream};
use crate::keys::PublicKey;
use crate::topic::Topic;
pub use account::Account;
use held::{Held, Pending};
use node::{Node, Session};
use tracker::Seen;

/// Bounds of a consumer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Most nodes; further ones are refused.
    pub max_nodes: usize,
    /// Most messages held for one node until its session record comes.
    pub held_per_node: usize,
    /// Most bytes held in all.
    pub held_bytes: usize,
    /// How long a message is held before it may be thrown away for another.
    pub hold_ms: u64,
    /// Most sessions (and spool epochs) remembered per node, the current one included.
    pub sessions_per_node: usize,
    /// Most ranges remembered per stream that have not come, missing and declared ones together.
    pub missing_ranges: usize,
    /// True when every stream is wanted from number 0 on: what lies below the first one seen is then missing.
    /// False for a consumer that may join at any time: it is then not.
    pub from_start: bool,
    /// Time to live of a node that has sent no status yet.
    pub default_time_to_live_ms: u64,
    /// True: a node whose id only evidence can establish (class TPM) is heard all the same, with
    /// [`Identity::Claimed`]. False: it is refused until [`Consumer::establish`].
    pub accept_claimed: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            max_nodes: 4096,
            held_per_node: 16,
            held_bytes: 8 << 20,
            hold_ms: 300_000,
            sessions_per_node: 8,
            missing_ranges: 64,
            from_start: false,
            default_time_to_live_ms: 60_000,
            accept_claimed: false,
        }
    }
}

/// Why a message is refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// The topic is not one that a node sends to.
    #[error("topic is not a node's")]
    Topic,
    /// The payload is not a frame, its signature does not fit, or its body does not parse.
    #[error("payload is not a valid frame")]
    Frame(#[from] DecodeError),
    /// The header names another stream than the topic.
    #[error("topic is for {topic}, the header says {header}")]
    StreamMismatch {
        /// Stream of the topic.
        topic: Stream,
        /// Stream of the header.
        header: Stream,
    },
    /// The session record proves nothing.
    #[error("session record is refused")]
    Session(#[from] SessionRecordError),
    /// The session record speaks for another node id than its header.
    #[error("session record speaks for another node than its header")]
    NodeMismatch,
    /// The topic has other site or node names than the session record.
    #[error("topic names another site or node than the session record")]
    NameMismatch,
    /// The names belong to another node id.
    #[error("site and node name belong to {bound}")]
    NameTaken {
        /// The node id that they belong to.
        bound: NodeId,
    },
    /// The header names another spool epoch than the session record.
    #[error("header names another spool epoch than the session record")]
    EpochMismatch,
    /// The status speaks for another session than its header.
    #[error("status speaks for another session than its header")]
    StatusSession,
    /// The sequence number is not in the range of its session.
    #[error("sequence number is outside the range of its session")]
    OutsideSession,
    /// A level (or the will) of a session that a later one has replaced.
    #[error("level belongs to an earlier session")]
    OlderSession,
    /// Accepted before (a level: a newer one was).
    #[error("came before")]
    Duplicate,
    /// Too far back to know whether it came before.
    #[error("too far back to know whether it came before")]
    TooOld,
    /// Kept until the session record it needs comes; it is then among [`Accepted::released`].
    #[error("held until its session record comes")]
    Held,
    /// Its session record has not come and there is no room to hold more.
    #[error("session record has not come and no more messages can be held")]
    HeldFull,
    /// The consumer knows [`Settings::max_nodes`] nodes.
    #[error("no room for another node")]
    TooManyNodes,
}

/// A range of sequence numbers that did not come. Both ends are missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gap {
    /// Spool epoch.
    pub epoch: SpoolEpoch,
    /// Stream.
    pub stream: Stream,
    /// First missing number.
    pub from_seq: u64,
    /// Last missing number.
    pub to_seq: u64,
}

/// How it is known that a message comes from the node that its header names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Identity {
    /// The node id is the hash of the identity key.
    Proven,
    /// Evidence, checked by the caller, binds the identity key to the node id.
    Established,
    /// The node says so. The same key has spoken for it since it was first heard.
    Claimed,
}

/// A message that passed every check.
#[derive(Debug)]
pub struct Accepted {
    /// Site name, as the session record binds it.
    pub site: String,
    /// Node name, as the session record binds it.
    pub node_name: String,
    /// How the node is known.
    pub identity: Identity,
    /// The header.
    pub header: Header,
    /// The body; `None` when its schema is newer than this crate. The rest is verified all the same.
    pub body: Option<Body>,
    /// Numbers that this message shows to be missing. They may still come, or be declared lost later.
    pub gaps: Vec<Gap>,
    /// True when the message fills a gap, comes although it was declared lost, or lies before the first one seen.
    pub late: bool,
    /// Messages that were held until this session record, each judged now.
    pub released: Vec<Result<Self, Refusal>>,
}

/// What a consumer knows of a node.
#[derive(Debug, Clone, Copy)]
pub struct NodeView<'a> {
    /// Site name.
    pub site: &'a str,
    /// Node name.
    pub node_name: &'a str,
    /// Current session.
    pub session: SessionId,
    /// Spool epoch of the current session.
    pub epoch: SpoolEpoch,
    /// Newest status of the current session.
    pub status: Option<&'a Status>,
    /// When it was last heard, milliseconds since 1970; 0 for never.
    pub heard_unix_ms: u64,
}

/// Counters of a consumer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Messages accepted.
    pub accepted: u64,
    /// Messages refused as duplicates.
    pub duplicates: u64,
    /// Messages refused for another reason, held ones not counted.
    pub refused: u64,
    /// Messages put on hold.
    pub held: u64,
    /// Held messages thrown away because their session record did not come in time.
    pub expired: u64,
}

/// The consumer. See the module documentation.
#[derive(Debug, Default)]
pub struct Consumer {
    settings: Settings,
    nodes: HashMap<NodeId, Node>,
    names: HashMap<(String, String), NodeId>,
    /// Identity keys that evidence binds to node ids.
    established: HashMap<NodeId, PublicKey>,
    /// Operators whose successions hand names over.
    operators: Vec<PublicKey>,
    held: Held,
    counters: Counters,
}

impl Consumer {
    /// A consumer with these bounds.
    pub fn new(settings: Settings) -> Self {
        Self { settings, ..Self::default() }
    }

    /// Judges a message: the topic it came on, its bytes, and when it came.
    ///
    /// # Errors
    /// Why the message is refused. [`Refusal::Held`] is not final.
    pub fn accept(
        &mut self,
        topic: &str,
        payload: &[u8],
        received_unix_ms: u64,
    ) -> Result<Accepted, Refusal> {
        let result = self.judge(topic, payload, received_unix_ms);
        match &result {
            Ok(_) => self.counters.accepted += 1,
            Err(Refusal::Duplicate) => self.counters.duplicates += 1,
            Err(Refusal::Held) => self.counters.held += 1,
            Err(_) => self.counters.refused += 1,
        }
        let mut accepted = result?;
        if accepted.header.stream == Stream::Session {
            let pending = self.held.release(&accepted.header.node);
            accepted.released =
                pending.iter().map(|p| self.accept(&p.topic, &p.payload, p.received_unix_ms)).collect();
        }
        Ok(accepted)
    }

    fn judge(&mut self, topic: &str, payload: &[u8], received_unix_ms: u64) -> Result<Accepted, Refusal> {
        let (site, node, stream) = match Topic::parse(topic) {
            Some(Topic::Node { site, node, stream }) => (site, node, stream),
            Some(Topic::Reply { site, node, .. }) => (site, node, Stream::Reply),
            _ => return Err(Refusal::Topic),
        };
        let frame = Frame::parse(payload)?;
        let header = frame.header();
        if header.stream != stream {
            return Err(Refusal::StreamMismatch { topic: stream, header: header.stream });
        }
        if let Some(bound) = self.names.get(&(site.to_owned(), node.to_owned()))
            && *bound != header.node
            && !self.succeeds(&frame, bound)
        {
            return Err(Refusal::NameTaken { bound: *bound });
        }
        if stream == Stream::Session {
            return self.judge_session(site, node, frame, received_unix_ms);
        }
        match self.judge_message(site, node, &frame, received_unix_ms) {
            Err(Refusal::Held) => {
                let pending =
                    Pending { topic: topic.to_owned(), payload: payload.to_vec(), received_unix_ms };
                let kept = self.held.keep(header.node, pending, &self.settings);
                Err(if kept { Refusal::Held } else { Refusal::HeldFull })
            }
            result => result,
        }
    }

    fn judge_session(
        &mut self,
        site: &str,
        node_name: &str,
        frame: Frame<'_>,
        received_unix_ms: u64,
    ) -> Result<Accepted, Refusal> {
        // The record carries the key that its own frame is verified with, so
        // it is read first and believed only when both signatures fit.
        let body = frame.body()?;
        let Body::Session(record) = &body else {
            return Err(Refusal::StreamMismatch { topic: Stream::Session, header: body.stream() });
        };
        record.verify_claimed()?;
        let claim = &record.claim;
        let identity = self.identify(claim)?;
        let header = frame.verify(&claim.session_public_key)?.header().clone();
        if claim.node != header.node {
            return Err(Refusal::NodeMismatch);
        }
        if claim.site != site || claim.node_name != node_name {
            return Err(Refusal::NameMismatch);
        }
        if claim.spool_epoch != header.epoch {
            return Err(Refusal::EpochMismatch);
        }
        // The body's kind needs a number, so a frame without one did not parse.
        let seq = header.seq.ok_or(DecodeError::Sequence { body: "session" })?;
        let session = Session::new(claim, seq);
        let name = (site.to_owned(), node_name.to_owned());
        let (mut gaps, late) = match self.nodes.get_mut(&header.node) {
            None => {
                if self.nodes.len() >= self.settings.max_nodes {
                    return Err(Refusal::TooManyNodes);
                }
                let mut node = Node::new(session.clone());
                let gaps = node.reach_before(&session, &self.settings);
                self.nodes.insert(header.node, node);
                self.names.insert(name, header.node);
                (gaps, false)
            }
            Some(known) => {
                let late = !known.is_newer(&session);
                // A session that would be the current one is never a duplicate by
                // number, so that a spool that lost its end does not silence a node.
                if known.session(&session.id).is_some() || late && known.has_seen(&header, seq) {
                    return Err(Refusal::Duplicate);
                }
                if !late {
                    let old = (known.current().site.clone(), known.current().node_name.clone());
                    if self.names.get(&old) == Some(&header.node) {
                        self.names.remove(&old);
                    }
                    self.names.insert(name, header.node);
                }
                (known.add(session, &self.settings), late)
            }
        };
        if let Some(known) = self.nodes.get_mut(&header.node) {
            // Its number counts in the session stream like any other.
            if let Some(session) = known.session(&header.session)
                && let Ok(Seen::New(Some((from_seq, to_seq)))) =
                    known.check_stream(session, &header, seq, &self.settings)
            {
                gaps.push(Gap { epoch: header.epoch, stream: header.stream, from_seq, to_seq });
            }
            known.take_stream(&header, seq, &self.settings);
            known.heard(&header, received_unix_ms);
        }
        Ok(Accepted {
            site: site.to_owned(),
            node_name: node_name.to_owned(),
            identity,
            header,
            body: Some(body),
            gaps,
            late,
            released: Vec::new(),
        })
    }

    fn judge_message(
        &mut self,
        site: &str,
        node_name: &str,
        frame: &Frame<'_>,
        received_unix_ms: u64,
    ) -> Result<Accepted, Refusal> {
        let known = self.nodes.get_mut(&frame.header().node).ok_or(Refusal::Held)?;
        let session = known.session(&frame.header().session).ok_or(Refusal::Held)?;
        let identity = identity_of(&frame.header().node, self.established.contains_key(&frame.header().node));
        let verified = frame.clone().verify(&session.key)?;
        let header = verified.header().clone();
        if session.site != site || session.node_name != node_name {
            return Err(Refusal::NameMismatch);
        }
        if session.epoch != header.epoch {
            return Err(Refusal::EpochMismatch);
        }
        let body = match verified.frame().body() {
            Ok(body) => Some(body),
            Err(DecodeError::UnknownSchema(_)) => None,
            Err(error) => return Err(error.into()),
        };
        let status = match &body {
            Some(Body::Status(status)) if status.session != header.session => {
                return Err(Refusal::StatusSession);
            }
            Some(Body::Status(status)) => Some(status),
            _ => None,
        };
        let (mut gaps, mut late) = (Vec::new(), false);
        if header.stream.is_level() {
            known.check_level(session, &header)?;
            known.take_level(&header, status);
        } else if header.stream.is_spooled() {
            let seq = header.seq.ok_or(DecodeError::Sequence { body: header.stream.name() })?;
            match known.check_stream(session, &header, seq, &self.settings)? {
                Seen::New(Some((from_seq, to_seq))) => {
                    gaps.push(Gap { epoch: header.epoch, stream: header.stream, from_seq, to_seq });
                }
                Seen::Filled => late = true,
                _ => {}
            }
            known.take_stream(&header, seq, &self.settings);
        }
        if let Some(Body::Event(event)) = &body {
            gaps.extend(account_losses(known, &event.kind, &header, &self.settings));
        }
        known.heard(&header, received_unix_ms);
        Ok(Accepted {
            site: site.to_owned(),
            node_name: node_name.to_owned(),
            identity,
            header,
            body,
            gaps,
            late,
            released: Vec::new(),
        })
    }

    /// Whether the identity key of a claim may speak for its node id.
    fn identify(&self, claim: &SessionClaim) -> Result<Identity, SessionRecordError> {
        let (node, key) = (claim.node, claim.identity_public_key);
        let expected = self.established.get(&node).copied();
        let identity = identity_of(&node, expected.is_some());
        if identity == Identity::Claimed && !self.settings.accept_claimed {
            return Err(SessionRecordError::NotEstablished(node.class()));
        }
        let expected = expected.or_else(|| Some(self.nodes.get(&node)?.current().identity));
        match expected {
            Some(expected) if expected != key => Err(SessionRecordError::OtherIdentity(node)),
            _ => Ok(identity),
        }
    }

    /// Notes that evidence binds an identity key to a node id of class TPM; the caller has verified it. Sessions
    /// that another key began under that id are forgotten.
    pub fn establish(&mut self, node: NodeId, identity: PublicKey) {
        if self.nodes.get(&node).is_some_and(|known| known.current().identity != identity) {
            self.forget(&node);
        }
        if self.established.len() < self.settings.max_nodes || self.established.contains_key(&node) {
            self.established.insert(node, identity);
        }
    }

    /// Fixes which node id a site and node name belong to, before or after it is heard. A node that
    /// holds the name now keeps what is known of it but cannot speak under that name any more.
    pub fn bind(&mut self, site: &str, node_name: &str, node: NodeId) {
        self.names.insert((site.to_owned(), node_name.to_owned()), node);
    }

    /// Trusts an operator: a node that shows an unbroken row of successions by operators that are trusted has the name
    /// of the node that it succeeds from then on. Its own successions are [`SessionClaim::successions`].
    pub fn trust(&mut self, operator: PublicKey) {
        if !self.operators.contains(&operator) {
            self.operators.push(operator);
        }
    }

    /// True for a session record that shows, by operators that are trusted, that its node is what `bound` was. The
    /// record's own signatures are checked afterwards, like those of any other.
    fn succeeds(&self, frame: &Frame<'_>, bound: &NodeId) -> bool {
        // Nothing large is decoded for a stranger.
        if frame.header().stream != Stream::Session || self.operators.is_empty() {
            return false;
        }
        let Ok(Body::Session(record)) = frame.body() else { return false };
        let Ok(successions) = record.claim.successions() else { return false };
        let since = successions.iter().position(|succession| succession.old == *bound);
        since.is_some_and(|since| {
            successions[since..].iter().all(|succession| self.operators.contains(&succession.operator))
        })
    }

    /// Forgets a node and releases every name bound to it (after a reimage or a mainboard swap the same
    /// name comes with another id). True when it was known.
    pub fn forget(&mut self, node: &NodeId) -> bool {
        self.names.retain(|_, bound| bound != node);
        self.held.release(node);
        self.nodes.remove(node).is_some()
    }

    /// What is known of a node.
    pub fn node(&self, node: &NodeId) -> Option<NodeView<'_>> {
        self.nodes.get(node).map(view)
    }

    /// Every node with what is known of it, in no order.
    pub fn nodes(&self) -> impl Iterator<Item = (&NodeId, NodeView<'_>)> {
        self.nodes.iter().map(|(id, node)| (id, view(node)))
    }

    /// The accounts of a node: one per spool epoch and stream that is remembered, in no order.
    pub fn accounts(&self, node: &NodeId) -> impl Iterator<Item = Account<'_>> {
        self.nodes.get(node).into_iter().flat_map(Node::accounts)
    }

    /// A watermark for a node's current spool, to be sealed with [`crate::seal_downlink`]: it says that nothing
    /// below the numbers is missing here. The caller stores what it accepted **before** it asks, since the node
    /// may then drop it. Without [`Settings::from_start`] it also speaks for what lies before the first message
    /// seen. `None` for a node that is not known.
    ///
    /// `consumer` is the caller's name on its watermark topic; `issued_unix_ms` is the time now.
    pub fn watermark(&self, node: &NodeId, consumer: &str, issued_unix_ms: u64) -> Option<Watermark> {
        let known = self.nodes.get(node)?;
        let epoch = known.current().epoch;
        let mut below: Vec<StreamBelow> = known
            .accounts()
            .filter(|account| account.epoch == epoch && account.below_seq() > 0)
            .map(|account| StreamBelow { stream: account.stream, below_seq: account.below_seq() })
            .collect();
        below.sort_unstable_by_key(|entry| entry.stream.code());
        Some(Watermark {
            node: *node,
            consumer: consumer.to_owned(),
            epoch,
            issued_unix_ms,
            below,
            extensions: Vec::new(),
        })
    }

    /// Nodes that have been silent for longer than their time to live.
    pub fn silent(&self, now_unix_ms: u64) -> impl Iterator<Item = &NodeId> {
        let default = self.settings.default_time_to_live_ms;
        self.nodes.iter().filter_map(move |(id, node)| {
            let time_to_live = node.status.as_ref().map_or(default, |status| status.time_to_live_ms);
            (now_unix_ms.saturating_sub(node.heard_unix_ms) > time_to_live).then_some(id)
        })
    }

    /// Counters since the consumer was made.
    pub fn counters(&self) -> Counters {
        Counters { expired: self.held.expired, ..self.counters }
    }

    /// Messages held now.
    pub fn held(&self) -> usize {
        self.held.len()
    }
}

fn identity_of(node: &NodeId, established: bool) -> Identity {
    match (node.class(), established) {
        (IdentityClass::Software, _) => Identity::Proven,
        (IdentityClass::Tpm, true) => Identity::Established,
        (IdentityClass::Tpm, false) => Identity::Claimed,
    }
}

/// Takes over what an event says about losses. Gives the range that this shows to be missing.
fn account_losses(node: &mut Node, kind: &EventKind, header: &Header, settings: &Settings) -> Option<Gap> {
    match *kind {
        EventKind::RecordsLost { stream, epoch, from_seq, to_seq, .. } => {
            node.declare(&Gap { epoch, stream, from_seq, to_seq }, settings)
        }
        // The spool that the event itself comes from cannot be the old one.
        EventKind::SpoolReplaced { old_epoch } if old_epoch != header.epoch => {
            node.replace(old_epoch, settings);
            None
        }
        _ => None,
    }
}

fn view(node: &Node) -> NodeView<'_> {
    let current = node.current();
    NodeView {
        site: &current.site,
        node_name: &current.node_name,
        session: current.id,
        epoch: current.epoch,
        status: node.status.as_ref(),
        heard_unix_ms: node.heard_unix_ms,
    }
}
