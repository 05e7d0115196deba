//! The rules of one connection: what to send next, and what an answer means.
//!
//! No I/O and no clock: the caller says what time it is. Times are
//! [`tokio::time::Instant`], so that tests can move them.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use super::backlog::{Class, Record, Retain};
use super::outbox::{Outbox, State};
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

/// Why a topic is held back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum HoldCause {
    /// 0x10: the broker would accept the record and throw it away.
    NoSubscriber,
    /// 0x87: only a change of the broker's rules helps.
    NotAuthorized,
    /// 0x97.
    Quota,
    /// Any other failure that is not the message's own fault.
    Other(u8),
}

impl HoldCause {
    /// First and longest pause before the next probe.
    fn pauses(self) -> (Duration, Duration) {
        match self {
            Self::NoSubscriber => (Duration::from_millis(200), Duration::from_secs(30)),
            Self::Quota | Self::Other(_) => (Duration::from_secs(1), Duration::from_secs(30)),
            Self::NotAuthorized => (Duration::from_secs(30), Duration::from_secs(600)),
        }
    }

    fn counter(self, stats: &PublisherStats) -> &AtomicU64 {
        match self {
            Self::NoSubscriber => &stats.no_subscriber_total,
            Self::NotAuthorized => &stats.refused_not_authorized_total,
            Self::Quota => &stats.refused_quota_total,
            Self::Other(_) => &stats.refused_other_total,
        }
    }
}

/// A topic held back: one probe at a time, at growing intervals.
#[derive(Debug)]
struct Hold {
    topic: Arc<str>,
    cause: HoldCause,
    pause: Duration,
    until: Instant,
    probe: Option<u64>,
    /// Oldest record of the topic to be sent again; `u64::MAX` for a level.
    resume_at: u64,
}

/// Which message this is, across connections.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Identity {
    /// A payload of a level topic, by its version.
    Level { topic: Arc<str>, version: u64 },
    /// The record at this offset.
    Record { offset: u64 },
}

#[derive(Debug)]
struct Flight {
    token: u64,
    topic: Arc<str>,
    identity: Identity,
    retain: bool,
    bytes: usize,
}

/// A message to hand to the connection.
#[derive(Debug)]
pub(super) struct Send {
    pub(super) token: u64,
    pub(super) topic: Arc<str>,
    pub(super) payload: Bytes,
    pub(super) retain: bool,
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
    cursor: u64,
    /// Newest version of each level that went to this connection; 0: to be sent again.
    levels: Vec<(Arc<str>, u64)>,
    holds: Vec<Hold>,
    /// Topic of a message given up for its size since the caller last asked.
    oversized: Option<Arc<str>>,
}

/// Window for a broker's Receive Maximum.
pub(super) fn window(receive_maximum: u16) -> u16 {
    receive_maximum.saturating_sub(WINDOW_SLACK).clamp(1, WINDOW)
}

impl Session {
    /// Begins at the oldest record that is not acknowledged. `barred` levels are not sent.
    pub(super) fn new(facts: &ConnAckFacts, window: u16, outbox: &Outbox, barred: &[Identity]) -> Self {
        let levels = barred.iter().filter_map(|identity| match identity {
            Identity::Level { topic, version } => Some((Arc::clone(topic), *version)),
            Identity::Record { .. } => None,
        });
        Self {
            window: u64::from(window),
            maximum_packet_size: facts.maximum_packet_size,
            retain_available: facts.retain_available,
            next_token: 1,
            in_flight: VecDeque::new(),
            bytes_in_flight: 0,
            cursor: outbox.offsets().0,
            levels: levels.collect(),
            holds: Vec::new(),
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
        self.holds.len()
    }

    /// When the next held topic's pause is over. A pause that is over already
    /// waits for room in the window, and an acknowledgement will say when there is some.
    pub(super) fn next_probe(&self, now: Instant) -> Option<Instant> {
        self.holds.iter().filter(|hold| hold.probe.is_none() && hold.until > now).map(|hold| hold.until).min()
    }

    /// Whether the broker has accepted the newest payload of every level.
    pub(super) fn levels_settled(&self, outbox: &Outbox) -> bool {
        let flying = self.in_flight.iter().any(|flight| matches!(flight.identity, Identity::Level { .. }));
        let state = outbox.lock();
        !flying && state.levels.iter().all(|level| self.level_version(&level.topic) == level.version)
    }

    /// The next message that may go now: levels first, then probes of held topics, then records in order.
    pub(super) fn next(&mut self, outbox: &Outbox, now: Instant) -> Option<Send> {
        let mut state = outbox.lock();
        let send = self.next_level_in(&state, outbox.stats_ref(), now).or_else(|| {
            self.next_probe_in(&mut state, outbox.stats_ref(), now)
                .or_else(|| self.next_record_in(&mut state, outbox.stats_ref()))
        });
        state.report(outbox.stats_ref());
        send
    }

    /// The next level that may go now; for the farewell.
    pub(super) fn next_level(&mut self, outbox: &Outbox, now: Instant) -> Option<Send> {
        self.next_level_in(&outbox.lock(), outbox.stats_ref(), now)
    }

    fn next_level_in(&mut self, state: &State, stats: &PublisherStats, now: Instant) -> Option<Send> {
        for level in &state.levels {
            if self.level_version(&level.topic) == level.version || self.level_in_flight(&level.topic) {
                continue;
            }
            let hold = self.holds.iter().position(|hold| hold.topic == level.topic);
            if hold.is_some_and(|at| self.holds[at].probe.is_some() || self.holds[at].until > now) {
                continue;
            }
            if !self.packet_fits(&level.topic, &level.payload) {
                add(&stats.quarantined_total);
                self.oversized = Some(Arc::clone(&level.topic));
                self.set_level_version(&level.topic, level.version);
                continue;
            }
            if !self.has_room(level.payload.len()) {
                return None;
            }
            self.set_level_version(&level.topic, level.version);
            add(&stats.published_level_total);
            let identity = Identity::Level { topic: Arc::clone(&level.topic), version: level.version };
            let send = self.fly(&level.topic, &level.payload, true, identity);
            if let Some(at) = hold {
                self.holds[at].probe = Some(send.token);
            }
            return Some(send);
        }
        None
    }

    /// The oldest record of a held topic whose pause is over.
    fn next_probe_in(&mut self, state: &mut State, stats: &PublisherStats, now: Instant) -> Option<Send> {
        let mut at = 0;
        while at < self.holds.len() {
            let hold = &self.holds[at];
            if hold.probe.is_some() || hold.until > now || hold.resume_at == u64::MAX {
                at += 1;
                continue;
            }
            let mut offset = hold.resume_at;
            let found = loop {
                match state.backlog.read(offset) {
                    None => break None,
                    Some((found, record)) if record.topic == hold.topic && !self.record_in_flight(found) => {
                        break Some((found, record));
                    }
                    Some((other, _)) => offset = other + 1,
                }
            };
            let Some((offset, record)) = found else {
                // Its records were given up meanwhile.
                self.holds.swap_remove(at);
                continue;
            };
            if !self.has_room(record.payload.len()) {
                return None;
            }
            self.holds[at].resume_at = offset;
            let send = self.send_record(offset, &record, stats);
            self.holds[at].probe = Some(send.token);
            return Some(send);
        }
        None
    }

    fn next_record_in(&mut self, state: &mut State, stats: &PublisherStats) -> Option<Send> {
        loop {
            let (offset, record) = state.backlog.read(self.cursor)?;
            if self.record_in_flight(offset) {
                self.cursor = offset + 1;
                continue;
            }
            if let Some(hold) = self.holds.iter_mut().find(|hold| hold.topic == record.topic) {
                hold.resume_at = hold.resume_at.min(offset);
                self.cursor = offset + 1;
                continue;
            }
            if !self.packet_fits(&record.topic, &record.payload) {
                add(&stats.quarantined_total);
                self.oversized = Some(record.topic);
                state.backlog.ack(offset);
                self.cursor = offset + 1;
                continue;
            }
            if !self.has_room(record.payload.len()) {
                return None;
            }
            self.cursor = offset + 1;
            return Some(self.send_record(offset, &record, stats));
        }
    }

    fn send_record(&mut self, offset: u64, record: &Record, stats: &PublisherStats) -> Send {
        add(match record.class {
            Class::Series => &stats.published_series_total,
            Class::Edge => &stats.published_edge_total,
        });
        let retain = record.retain == Retain::Yes;
        self.fly(&record.topic, &record.payload, retain, Identity::Record { offset })
    }

    fn fly(&mut self, topic: &Arc<str>, payload: &Bytes, retain: bool, identity: Identity) -> Send {
        let token = self.next_token;
        self.next_token += 1;
        self.bytes_in_flight += payload.len();
        let bytes = payload.len();
        self.in_flight.push_back(Flight { token, topic: Arc::clone(topic), identity, retain, bytes });
        // A broker without retained messages would close the connection.
        let retain = retain && self.retain_available;
        Send { token, topic: Arc::clone(topic), payload: payload.clone(), retain }
    }

    /// Takes back a message that the connection did not take for lack of room.
    pub(super) fn take_back(&mut self, token: u64) {
        let Some(flight) = self.land(token) else { return };
        match flight.identity {
            Identity::Level { topic, .. } => self.set_level_version(&topic, 0),
            Identity::Record { offset } => self.cursor = self.cursor.min(offset),
        }
        if let Some(hold) = self.holds.iter_mut().find(|hold| hold.probe == Some(token)) {
            hold.probe = None;
        }
    }

    /// Applies the broker's answer.
    pub(super) fn answered(&mut self, token: u64, reason: u8, outbox: &Outbox, now: Instant) -> Verdict {
        let Some(flight) = self.land(token) else { return Verdict::OutOfStep };
        let stats = outbox.stats_ref();
        let verdict = match reason {
            // A retained message is stored, subscribers or not.
            reason::NO_MATCHING_SUBSCRIBERS if !flight.retain => {
                self.hold(flight, HoldCause::NoSubscriber, stats, now)
            }
            0..0x80 => self.accept(flight, outbox),
            reason::TOPIC_NAME_INVALID | reason::PACKET_TOO_LARGE | reason::PAYLOAD_FORMAT_INVALID => {
                add(&stats.quarantined_total);
                if let Identity::Record { offset } = flight.identity {
                    outbox.release(offset);
                }
                if let Some(at) = self.holds.iter().position(|hold| hold.probe == Some(token)) {
                    // The topic may be fine: try its next record at once. A level has none.
                    let hold = &mut self.holds[at];
                    hold.probe = None;
                    hold.until = now;
                    if hold.resume_at == u64::MAX {
                        self.holds.swap_remove(at);
                    }
                }
                Verdict::Quarantined { topic: flight.topic, reason }
            }
            reason::NOT_AUTHORIZED => self.hold(flight, HoldCause::NotAuthorized, stats, now),
            reason::QUOTA_EXCEEDED => self.hold(flight, HoldCause::Quota, stats, now),
            other => self.hold(flight, HoldCause::Other(other), stats, now),
        };
        set(&stats.held_topics, self.holds.len() as u64);
        verdict
    }

    fn accept(&mut self, flight: Flight, outbox: &Outbox) -> Verdict {
        outbox.stats_ref().note_ack();
        if let Identity::Record { offset } = flight.identity {
            outbox.release(offset);
        }
        let held = self.holds.iter().position(|hold| hold.topic == flight.topic);
        if let Some(at) = held {
            let hold = self.holds.swap_remove(at);
            self.cursor = self.cursor.min(hold.resume_at);
        }
        Verdict::Accepted { topic: flight.topic, released: held.is_some() }
    }

    fn hold(&mut self, flight: Flight, cause: HoldCause, stats: &PublisherStats, now: Instant) -> Verdict {
        add(cause.counter(stats));
        let resume_at = match flight.identity {
            Identity::Record { offset } => offset,
            Identity::Level { .. } => {
                self.set_level_version(&flight.topic, 0);
                u64::MAX
            }
        };
        let (first_pause, longest_pause) = cause.pauses();
        let known = self.holds.iter_mut().find(|hold| hold.topic == flight.topic);
        let first = known.is_none();
        match known {
            Some(hold) => {
                hold.resume_at = hold.resume_at.min(resume_at);
                // The others were on their way when the first came back; only a probe says something new.
                if hold.probe == Some(flight.token) {
                    let pause = if hold.cause == cause { hold.pause * 2 } else { first_pause };
                    hold.pause = pause.clamp(first_pause, longest_pause);
                    hold.cause = cause;
                    hold.until = now + hold.pause;
                    hold.probe = None;
                }
            }
            None => self.holds.push(Hold {
                topic: Arc::clone(&flight.topic),
                cause,
                pause: first_pause,
                until: now + first_pause,
                probe: None,
                resume_at,
            }),
        }
        Verdict::Held { topic: flight.topic, cause, first }
    }

    fn land(&mut self, token: u64) -> Option<Flight> {
        let at = self.in_flight.binary_search_by_key(&token, |flight| flight.token).ok()?;
        let flight = self.in_flight.remove(at)?;
        self.bytes_in_flight -= flight.bytes;
        Some(flight)
    }

    /// The window counts the distance from the oldest message in flight, not
    /// the number in flight: so no packet identifier comes round to one that is
    /// still out, whatever the order of the acknowledgements.
    fn has_room(&self, bytes: usize) -> bool {
        match self.in_flight.front() {
            None => true,
            Some(oldest) => {
                self.next_token - oldest.token < self.window
                    && self.bytes_in_flight + bytes <= BYTES_IN_FLIGHT
            }
        }
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

    fn record_in_flight(&self, wanted: u64) -> bool {
        let wanted = Identity::Record { offset: wanted };
        self.in_flight.iter().any(|flight| flight.identity == wanted)
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
