//! What a consumer knows of one node: its sessions in order, its streams, its status.

use super::tracker::{Seen, Tracker};
use super::{Gap, Refusal, Settings};
use crate::body::{PreviousSession, SessionClaim, Status, StreamEnd};
use crate::frame::Header;
use crate::ids::{SessionId, SpoolEpoch, Stream};
use crate::keys::PublicKey;

/// Where the streams of a session end.
#[derive(Debug, Clone, PartialEq, Eq)]
enum End {
    /// It is the current session.
    Open,
    /// A later session said where.
    Closed(Vec<StreamEnd>),
    /// There is a later session, but the record that closes this one has not come.
    Unknown,
}

/// One session whose record has been verified.
#[derive(Debug, Clone)]
pub(super) struct Session {
    pub(super) id: SessionId,
    pub(super) key: PublicKey,
    pub(super) epoch: SpoolEpoch,
    pub(super) site: String,
    pub(super) node_name: String,
    record_seq: u64,
    started_unix_ms: u64,
    previous: Option<PreviousSession>,
    end: End,
}

impl Session {
    pub(super) fn new(claim: &SessionClaim, record_seq: u64) -> Self {
        Self {
            id: claim.session(),
            key: claim.session_public_key,
            epoch: claim.spool_epoch,
            site: claim.site.clone(),
            node_name: claim.node_name.clone(),
            record_seq,
            started_unix_ms: claim.started_unix_ms,
            previous: claim.previous.clone(),
            end: End::Open,
        }
    }

    fn follows(&self, other: &Self) -> bool {
        self.previous.as_ref().is_some_and(|previous| previous.session == other.id)
    }

    /// True when `self` began after `other`. A link decides; then the order in the spool; then the clock.
    fn is_after(&self, other: &Self) -> bool {
        if self.follows(other) {
            true
        } else if other.follows(self) {
            false
        } else if self.epoch == other.epoch {
            self.record_seq > other.record_seq
        } else {
            self.started_unix_ms > other.started_unix_ms
        }
    }

    /// Checks that a sequence number of a stream belongs to this session.
    fn owns(&self, stream: Stream, seq: u64) -> Result<(), Refusal> {
        let last = |ends: &[StreamEnd]| ends.iter().find(|end| end.stream == stream).map(|end| end.last_seq);
        let begun_after = match &self.previous {
            Some(previous) if previous.spool_epoch == self.epoch => last(&previous.ends),
            _ => None,
        };
        if begun_after.is_some_and(|before| seq <= before) {
            return Err(Refusal::OutsideSession);
        }
        match &self.end {
            End::Open => Ok(()),
            End::Unknown => Err(Refusal::Held),
            End::Closed(ends) if last(ends).is_some_and(|end| seq <= end) => Ok(()),
            End::Closed(_) => Err(Refusal::OutsideSession),
        }
    }
}

/// One node.
#[derive(Debug, Clone)]
pub(super) struct Node {
    /// The current session, then earlier ones, newest first.
    sessions: Vec<Session>,
    trackers: Vec<(SpoolEpoch, Stream, Tracker)>,
    /// Last sequence number of each level in the current session.
    levels: Vec<(Stream, u64)>,
    pub(super) status: Option<Status>,
    status_is_will: bool,
    pub(super) heard_unix_ms: u64,
}

impl Node {
    pub(super) fn new(session: Session) -> Self {
        Self {
            sessions: vec![session],
            trackers: Vec::new(),
            levels: Vec::new(),
            status: None,
            status_is_will: false,
            heard_unix_ms: 0,
        }
    }

    pub(super) fn current(&self) -> &Session {
        &self.sessions[0]
    }

    pub(super) fn session(&self, id: &SessionId) -> Option<&Session> {
        self.sessions.iter().find(|session| session.id == *id)
    }

    /// True when a session with this record would become the current one.
    pub(super) fn is_newer(&self, session: &Session) -> bool {
        session.is_after(self.current())
    }

    /// Adds a session that is not known yet. Gives the ranges that its record shows to be missing.
    pub(super) fn add(&mut self, mut session: Session, settings: &Settings) -> Vec<Gap> {
        let mut gaps = Vec::new();
        if self.is_newer(&session) {
            self.sessions[0].end = End::Unknown;
            self.levels.clear();
            self.status = None;
            self.status_is_will = false;
            self.sessions.insert(0, session);
        } else {
            session.end = End::Unknown;
            let at = self.sessions.iter().position(|known| session.is_after(known));
            self.sessions.insert(at.unwrap_or(self.sessions.len()), session);
        }
        let links: Vec<PreviousSession> = self.sessions.iter().filter_map(|s| s.previous.clone()).collect();
        for link in links {
            let Some(closed) =
                self.sessions.iter_mut().find(|s| s.id == link.session && s.end == End::Unknown)
            else {
                continue;
            };
            for end in &link.ends {
                let tracker =
                    self.trackers.iter_mut().find(|(e, s, _)| *e == link.spool_epoch && *s == end.stream);
                if let Some((_, _, tracker)) = tracker
                    && let Some((from_seq, to_seq)) = tracker.reaches(end.last_seq)
                {
                    gaps.push(Gap { epoch: link.spool_epoch, stream: end.stream, from_seq, to_seq });
                }
            }
            closed.end = End::Closed(link.ends);
        }
        // Newest first, so a replay of old records cannot push out later sessions.
        self.sessions.truncate(settings.sessions_per_node.max(1));
        gaps
    }

    /// True when a message with this number of this stream came before.
    pub(super) fn has_seen(&self, header: &Header, seq: u64) -> bool {
        self.trackers.iter().any(|(epoch, stream, tracker)| {
            *epoch == header.epoch
                && *stream == header.stream
                && matches!(tracker.look(seq), Seen::Duplicate | Seen::TooOld)
        })
    }

    /// Checks a message of a stream: the session's range, then whether it came before.
    pub(super) fn check_stream(&self, session: &Session, header: &Header, seq: u64) -> Result<Seen, Refusal> {
        session.owns(header.stream, seq)?;
        let tracker = self.trackers.iter().find(|(e, s, _)| *e == header.epoch && *s == header.stream);
        match tracker.map_or(Seen::New(None), |(_, _, tracker)| tracker.look(seq)) {
            Seen::Duplicate => Err(Refusal::Duplicate),
            Seen::TooOld => Err(Refusal::TooOld),
            seen => Ok(seen),
        }
    }

    /// Remembers a message of a stream.
    pub(super) fn take_stream(&mut self, header: &Header, seq: u64, settings: &Settings) {
        let at = self.trackers.iter().position(|(e, s, _)| *e == header.epoch && *s == header.stream);
        match at {
            Some(at) => self.trackers[at].2.take(seq),
            None => {
                self.trackers.push((
                    header.epoch,
                    header.stream,
                    Tracker::first(seq, settings.missing_ranges),
                ));
                self.forget_epochs(settings);
            }
        }
    }

    /// Keeps the trackers of the newest spool epochs only.
    fn forget_epochs(&mut self, settings: &Settings) {
        let mut epochs: Vec<SpoolEpoch> = Vec::new();
        for (epoch, _, _) in &self.trackers {
            if !epochs.contains(epoch) {
                epochs.push(*epoch);
            }
        }
        if epochs.len() > settings.sessions_per_node.max(1) {
            let current = self.current().epoch;
            if let Some(oldest) = epochs.into_iter().find(|epoch| *epoch != current) {
                self.trackers.retain(|(epoch, _, _)| *epoch != oldest);
            }
        }
    }

    /// Checks a level: newest wins, and only the current session speaks.
    pub(super) fn check_level(&self, session: &Session, header: &Header) -> Result<(), Refusal> {
        if session.id != self.current().id {
            return Err(Refusal::OlderSession);
        }
        let last = self.levels.iter().find(|(stream, _)| *stream == header.stream).map(|(_, seq)| *seq);
        match (header.seq, last) {
            (Some(seq), Some(last)) if seq <= last => Err(Refusal::Duplicate),
            (None, _) if self.status_is_will => Err(Refusal::Duplicate),
            _ => Ok(()),
        }
    }

    /// Remembers a level.
    pub(super) fn take_level(&mut self, header: &Header, status: Option<&Status>) {
        if let Some(seq) = header.seq {
            match self.levels.iter_mut().find(|(stream, _)| *stream == header.stream) {
                Some((_, last)) => *last = seq,
                None => self.levels.push((header.stream, seq)),
            }
        }
        if let Some(status) = status {
            self.status = Some(status.clone());
            self.status_is_will = header.seq.is_none();
        }
    }

    /// Remembers that the node was heard. A level or a session record may have been kept by the broker, so
    /// it counts no later than it says; anything else has just come from the node.
    pub(super) fn heard(&mut self, header: &Header, received_unix_ms: u64) {
        if header.session != self.current().id || header.seq.is_none() {
            return;
        }
        let heard = if header.stream.is_retained() {
            received_unix_ms.min(header.time_unix_ms)
        } else {
            received_unix_ms
        };
        self.heard_unix_ms = self.heard_unix_ms.max(heard);
    }
}
