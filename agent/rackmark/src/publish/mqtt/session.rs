//! The rules of one connection: what to send next, and what an answer means.
//!
//! No I/O and no clock: the caller says what time it is. Times are
//! [`tokio::time::Instant`], so that tests can move them.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use tokio::time::Instant;

use super::backlog::{Class, GivenUp, Reader, StreamIndex};
use super::holds::{Hold, HoldCause};
use super::lanes::{Around, Lanes};
use super::outbox::{Outbox, State};
use super::pace::Pace;
use super::stats::{PublisherStats, add, set};
use super::transport::ConnAckFacts;

/// Most publishes in flight. 64 fill a link of 50 ms round trip with 1,280 messages per second.
pub(super) const WINDOW: u16 = 64;
/// Packet identifiers kept free for SUBSCRIBE.
const WINDOW_SLACK: u16 = 4;
/// Most payload bytes in flight, so that a flush cannot keep the connection's task for long.
const BYTES_IN_FLIGHT: usize = 1 << 20;
/// MQTT's largest Remaining Length: four bytes of seven bits.
const LARGEST_REMAINING: usize = 268_435_455;

/// PUBACK reason codes that this module tells apart (MQTT 5, table 3-4; 0x95 as brokers use it).
pub(super) mod reason {
    pub(crate) const NO_MATCHING_SUBSCRIBERS: u8 = 0x10;
    pub(crate) const NOT_AUTHORIZED: u8 = 0x87;
    pub(crate) const TOPIC_NAME_INVALID: u8 = 0x90;
    pub(crate) const PACKET_TOO_LARGE: u8 = 0x95;
    pub(crate) const QUOTA_EXCEEDED: u8 = 0x97;
    pub(crate) const PAYLOAD_FORMAT_INVALID: u8 = 0x99;
}

/// Which message this is, across connections.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Identity {
    /// A payload of a level topic, by its version.
    Level { topic: Arc<str>, version: u64 },
    /// A record of a stream.
    Record { stream: StreamIndex, seq: u64 },
    /// A record that was asked for again; its answer changes nothing but holds.
    Again { stream: StreamIndex },
    /// An answer to a message.
    Reply,
}

#[derive(Debug)]
struct Flight {
    token: u64,
    topic: Arc<str>,
    identity: Identity,
    bytes: usize,
    /// When it left, for what the pace governs.
    paced: Option<Instant>,
}

/// A message to hand to the connection.
#[derive(Debug)]
pub(super) struct Send {
    pub(super) token: u64,
    pub(super) topic: Arc<str>,
    pub(super) payload: Bytes,
    pub(super) retain: bool,
    pub(super) correlation: Option<Bytes>,
}

/// What an answer changed.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Accepted. `released`: the topic was held and goes on.
    Accepted { topic: Arc<str>, released: bool },
    /// To be sent again later. `first`: the topic was not held before.
    Held { topic: Arc<str>, cause: HoldCause, first: bool },
    /// Given up: this message can never be accepted.
    Quarantined { topic: Arc<str>, reason: u8 },
    /// No such token is in flight: the connection is out of step.
    OutOfStep,
}

/// State of one connection. A new connection gets a new one.
#[derive(Debug)]
pub(super) struct Session {
    window: u64,
    maximum_packet_size: Option<u32>,
    retain_available: bool,
    next_token: u64,
    /// Ordered by token.
    in_flight: VecDeque<Flight>,
    bytes_in_flight: usize,
    lanes: Lanes,
    pace: Pace,
    /// Newest version of each level that went to this connection; 0: to be sent again.
    levels: Vec<(Arc<str>, u64)>,
    held_levels: Vec<(Arc<str>, Hold)>,
    /// Topic of a message given up for its size since the caller last asked.
    oversized: Option<Arc<str>>,
}

/// Window for a broker's Receive Maximum.
pub(super) fn window(receive_maximum: u16) -> u16 {
    receive_maximum.saturating_sub(WINDOW_SLACK).clamp(1, WINDOW)
}

impl Session {
    /// Begins at the oldest records that are not acknowledged. `barred` levels are not sent.
    pub(super) fn new(facts: &ConnAckFacts, window: u16, outbox: &Outbox, barred: &[Identity]) -> Self {
        let levels = barred.iter().filter_map(|identity| match identity {
            Identity::Level { topic, version } => Some((Arc::clone(topic), *version)),
            _ => None,
        });
        Self {
            window: u64::from(window),
            maximum_packet_size: facts.maximum_packet_size,
            retain_available: facts.retain_available,
            next_token: 1,
            in_flight: VecDeque::new(),
            bytes_in_flight: 0,
            lanes: Lanes::new(&*outbox.lock().backlog),
            pace: Pace::new(window),
            levels: levels.collect(),
            held_levels: Vec::new(),
            oversized: None,
        }
    }

    /// The topic of a message just given up because the broker takes no packet of its size.
    pub(super) fn take_oversized(&mut self) -> Option<Arc<str>> {
        self.oversized.take()
    }

    pub(super) fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    /// The message in flight, if there is exactly one.
    pub(super) fn sole_in_flight(&self) -> Option<&Identity> {
        match self.in_flight.len() {
            1 => self.in_flight.front().map(|flight| &flight.identity),
            _ => None,
        }
    }

    pub(super) fn held(&self) -> usize {
        self.lanes.held() + self.held_levels.len()
    }

    /// When the next held topic's pause is over.
    pub(super) fn next_probe(&self, now: Instant) -> Option<Instant> {
        let levels = self.held_levels.iter().filter_map(|(_, hold)| hold.due(now)).min();
        levels.into_iter().chain(self.lanes.next_probe(now)).min()
    }

    /// Whether the broker has accepted the newest payload of every level.
    pub(super) fn levels_settled(&self, outbox: &Outbox) -> bool {
        let flying = self.in_flight.iter().any(|flight| matches!(flight.identity, Identity::Level { .. }));
        let state = outbox.lock();
        !flying && state.levels.iter().all(|level| self.level_version(&level.topic) == level.version)
    }

    /// The next message that may go now: answers, levels, then records.
    pub(super) fn next(&mut self, outbox: &Outbox, now: Instant) -> Option<Send> {
        let mut state = outbox.lock();
        let stats = outbox.stats_ref();
        self.next_reply_in(&mut state)
            .or_else(|| self.next_level_in(&state, stats, now))
            .or_else(|| self.next_record_in(&mut state, stats, now))
    }

    /// The next level that may go now; for the farewell.
    pub(super) fn next_level(&mut self, outbox: &Outbox, now: Instant) -> Option<Send> {
        self.next_level_in(&outbox.lock(), outbox.stats_ref(), now)
    }

    fn next_reply_in(&mut self, state: &mut State) -> Option<Send> {
        if !self.has_room(state.replies.front()?.payload.len(), 0) {
            return None;
        }
        let reply = state.replies.pop_front()?;
        if !self.packet_fits(&reply.topic, &reply.payload) {
            return None;
        }
        let mut send = self.fly(&reply.topic, &reply.payload, false, Identity::Reply, None);
        send.correlation = reply.correlation;
        Some(send)
    }

    fn next_level_in(&mut self, state: &State, stats: &PublisherStats, now: Instant) -> Option<Send> {
        for level in &state.levels {
            if self.level_version(&level.topic) == level.version || self.level_in_flight(&level.topic) {
                continue;
            }
            let hold = self.held_levels.iter().position(|(topic, _)| *topic == level.topic);
            if hold.is_some_and(|at| self.held_levels[at].1.blocks(now)) {
                continue;
            }
            if !self.packet_fits(&level.topic, &level.payload) {
                add(&stats.quarantined_total);
                self.oversized = Some(Arc::clone(&level.topic));
                self.set_level_version(&level.topic, level.version);
                continue;
            }
            if !self.has_room(level.payload.len(), 0) {
                return None;
            }
            self.set_level_version(&level.topic, level.version);
            add(&stats.published_level_total);
            let identity = Identity::Level { topic: Arc::clone(&level.topic), version: level.version };
            let send = self.fly(&level.topic, &level.payload, true, identity, None);
            if let Some(at) = hold {
                self.held_levels[at].1.probed_by(send.token);
            }
            return Some(send);
        }
        None
    }

    fn next_record_in(&mut self, state: &mut State, stats: &PublisherStats, now: Instant) -> Option<Send> {
        let backlog = &mut *state.backlog;
        loop {
            let paced = self.in_flight.iter().filter(|flight| flight.paced.is_some()).count();
            let flights = &self.in_flight;
            let flying = |stream, seq| {
                let wanted = Identity::Record { stream, seq };
                flights.iter().any(|flight| flight.identity == wanted)
            };
            let around = Around { now, paced: self.pace.allows(paced), flying: &flying };
            let pick = self.lanes.pick(backlog, &around)?;
            let (stream, seq) = (pick.stream, pick.record.seq);
            if !self.packet_fits(&pick.record.topic, &pick.record.payload) {
                if pick.reader != Reader::Again {
                    add(&stats.quarantined_total);
                    backlog.give_up(GivenUp { stream, seq });
                }
                self.lanes.sent(&pick, None, backlog);
                self.oversized = Some(pick.record.topic);
                continue;
            }
            if !self.has_room(pick.record.payload.len(), backlog.unnoted()) {
                return None;
            }
            add(match self.lanes.class(stream) {
                Class::Series => &stats.published_series_total,
                Class::Edge => &stats.published_edge_total,
            });
            let identity = match pick.reader {
                Reader::Again => Identity::Again { stream },
                Reader::Backlog | Reader::Live => Identity::Record { stream, seq },
            };
            let sent = (pick.reader != Reader::Live).then_some(now);
            let send = self.fly(&pick.record.topic, &pick.record.payload, false, identity, sent);
            self.lanes.sent(&pick, Some(send.token), backlog);
            return Some(send);
        }
    }

    fn fly(
        &mut self,
        topic: &Arc<str>,
        payload: &Bytes,
        retain: bool,
        identity: Identity,
        paced: Option<Instant>,
    ) -> Send {
        let token = self.next_token;
        self.next_token += 1;
        self.bytes_in_flight += payload.len();
        let bytes = payload.len();
        self.in_flight.push_back(Flight { token, topic: Arc::clone(topic), identity, bytes, paced });
        // A broker without retained messages would close the connection.
        let retain = retain && self.retain_available;
        Send { token, topic: Arc::clone(topic), payload: payload.clone(), retain, correlation: None }
    }

    /// Takes back a message that the connection did not take for lack of room.
    pub(super) fn take_back(&mut self, token: u64, now: Instant) {
        let Some(flight) = self.land(token) else { return };
        match flight.identity {
            Identity::Level { topic, .. } => {
                self.set_level_version(&topic, 0);
                if let Some((_, hold)) =
                    self.held_levels.iter_mut().find(|(_, hold)| hold.is_probed_by(token))
                {
                    hold.probe_again(now);
                }
            }
            Identity::Record { stream, seq } => self.lanes.take_back(stream, seq, token, now),
            // Whoever asked asks again.
            Identity::Again { .. } | Identity::Reply => {}
        }
    }

    /// Applies the broker's answer.
    pub(super) fn answered(&mut self, token: u64, reason: u8, outbox: &Outbox, now: Instant) -> Verdict {
        let Some(flight) = self.land(token) else { return Verdict::OutOfStep };
        if let Some(sent) = flight.paced {
            self.pace.answered(sent, now);
        }
        let retained = matches!(flight.identity, Identity::Level { .. });
        let stats = outbox.stats_ref();
        let verdict = match reason {
            _ if flight.identity == Identity::Reply => {
                Verdict::Accepted { topic: flight.topic, released: false }
            }
            // A retained message is stored, subscribers or not.
            reason::NO_MATCHING_SUBSCRIBERS if !retained => {
                self.hold(flight, HoldCause::NoSubscriber, stats, now)
            }
            0..0x80 => self.accept(flight, outbox),
            reason::TOPIC_NAME_INVALID | reason::PACKET_TOO_LARGE | reason::PAYLOAD_FORMAT_INVALID => {
                add(&stats.quarantined_total);
                match flight.identity {
                    Identity::Record { stream, seq } => {
                        outbox.lock().backlog.give_up(GivenUp { stream, seq });
                        self.lanes.given_up(stream, token, now);
                    }
                    // The topic has no other message to try.
                    _ => self.held_levels.retain(|(_, hold)| !hold.is_probed_by(token)),
                }
                Verdict::Quarantined { topic: flight.topic, reason }
            }
            reason::NOT_AUTHORIZED => self.hold(flight, HoldCause::NotAuthorized, stats, now),
            reason::QUOTA_EXCEEDED => self.hold(flight, HoldCause::Quota, stats, now),
            other => self.hold(flight, HoldCause::Other(other), stats, now),
        };
        set(&stats.held_topics, self.held() as u64);
        verdict
    }

    fn accept(&mut self, flight: Flight, outbox: &Outbox) -> Verdict {
        outbox.stats_ref().note_ack();
        let released = match flight.identity {
            Identity::Record { stream, seq } => {
                outbox.lock().backlog.ack(stream, seq);
                self.lanes.accepted(stream)
            }
            Identity::Again { stream } => self.lanes.accepted(stream),
            Identity::Level { .. } | Identity::Reply => {
                let held = self.held_levels.len();
                self.held_levels.retain(|(topic, _)| *topic != flight.topic);
                held != self.held_levels.len()
            }
        };
        Verdict::Accepted { topic: flight.topic, released }
    }

    fn hold(&mut self, flight: Flight, cause: HoldCause, stats: &PublisherStats, now: Instant) -> Verdict {
        add(cause.counter(stats));
        let (topic, token) = (flight.topic, flight.token);
        let first = match flight.identity {
            Identity::Record { stream, seq } => self.lanes.refused(stream, Some(seq), token, cause, now),
            Identity::Again { stream } => self.lanes.refused(stream, None, token, cause, now),
            Identity::Level { .. } | Identity::Reply => {
                self.set_level_version(&topic, 0);
                match self.held_levels.iter_mut().find(|(known, _)| *known == topic) {
                    Some((_, hold)) => {
                        hold.refused(token, cause, now);
                        false
                    }
                    None => {
                        self.held_levels.push((Arc::clone(&topic), Hold::new(cause, now)));
                        true
                    }
                }
            }
        };
        Verdict::Held { topic, cause, first }
    }

    fn land(&mut self, token: u64) -> Option<Flight> {
        let at = self.in_flight.binary_search_by_key(&token, |flight| flight.token).ok()?;
        let flight = self.in_flight.remove(at)?;
        self.bytes_in_flight -= flight.bytes;
        Some(flight)
    }

    /// The window counts the distance from the oldest message in flight, not
    /// the number in flight: so no packet identifier comes round to one that is
    /// still out, whatever the order of the acknowledgements. Acknowledgements
    /// that a crash would forget count too, so that a crash repeats no more than a window.
    fn has_room(&self, bytes: usize, unnoted: u64) -> bool {
        let distance = self.in_flight.front().map_or(0, |oldest| self.next_token - oldest.token);
        distance + unnoted < self.window && (distance == 0 || self.bytes_in_flight + bytes <= BYTES_IN_FLIGHT)
    }

    /// Whether the PUBLISH packet is within MQTT's and the broker's limit.
    fn packet_fits(&self, topic: &str, payload: &Bytes) -> bool {
        // Topic length (2), topic, packet identifier (2), property length (1), payload.
        let remaining = 5 + topic.len() + payload.len();
        let length_bytes = match remaining {
            0..128 => 1,
            128..16_384 => 2,
            16_384..2_097_152 => 3,
            _ => 4,
        };
        let packet = (1 + length_bytes + remaining) as u64;
        remaining <= LARGEST_REMAINING && self.maximum_packet_size.is_none_or(|max| packet <= u64::from(max))
    }

    fn level_in_flight(&self, wanted: &str) -> bool {
        let is_wanted =
            |identity: &Identity| matches!(identity, Identity::Level { topic, .. } if &**topic == wanted);
        self.in_flight.iter().any(|flight| is_wanted(&flight.identity))
    }

    fn level_version(&self, topic: &str) -> u64 {
        self.levels.iter().find(|(known, _)| &**known == topic).map_or(0, |(_, version)| *version)
    }

    fn set_level_version(&mut self, topic: &Arc<str>, version: u64) {
        match self.levels.iter_mut().find(|(known, _)| known == topic) {
            Some((_, known)) => *known = version,
            None => self.levels.push((Arc::clone(topic), version)),
        }
    }
}
