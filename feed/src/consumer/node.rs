//! What a consumer knows of one node: its sessions in order, its streams, its status.

use super::account::Account;
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
    pub(super) identity: PublicKey,
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
            identity: claim.identity_public_key,
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
    /// Spools that the node has replaced, newest last.
    replaced: Vec<SpoolEpoch>,
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
            replaced: Vec::new(),
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
        let mut gaps = self.reach_before(&session, settings);
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
            closed.end = End::Closed(link.ends.clone());
            gaps.extend(self.reach(&link, settings));
        }
        // Newest first, so a replay of old records cannot push out later sessions.
        self.sessions.truncate(settings.sessions_per_node.max(1));
        gaps
    }

    /// Notes what a session says of the one before it, which need not be known, when every number is wanted.
    /// Gives the ranges that this shows to be missing.
    pub(super) fn reach_before(&mut self, session: &Session, settings: &Settings) -> Vec<Gap> {
        match &session.previous {
            Some(previous) if settings.from_start => self.reach(previous, settings),
            _ => Vec::new(),
        }
    }

    /// Notes where the streams of an ended session reach to. Gives what that shows to be missing.
    fn reach(&mut self, ended: &PreviousSession, settings: &Settings) -> Vec<Gap> {
        let epoch = ended.spool_epoch;
        let mut gaps = Vec::new();
        for end in ended.ends.iter().filter(|end| end.stream.is_spooled()) {
            // A consumer that joined late asks for nothing of a stream that it has not heard.
            let tracker = match settings.from_start {
                true => self.tracker(epoch, end.stream, settings),
                false => self.known_tracker(epoch, end.stream),
            };
            if let Some((from_seq, to_seq)) = tracker.and_then(|tracker| tracker.reaches(end.last_seq)) {
                gaps.push(Gap { epoch, stream: end.stream, from_seq, to_seq });
            }
        }
        gaps
    }

    /// Notes that the node gave messages up. Gives what that shows to be missing below them.
    pub(super) fn declare(&mut self, lost: &Gap, settings: &Settings) -> Option<Gap> {
        let Gap { epoch, stream, from_seq, to_seq } = *lost;
        // Only a spool that is known, so that an event cannot push another one's numbers out.
        let known = self.sessions.iter().any(|session| session.epoch == epoch)
            || self.trackers.iter().any(|(known, _, _)| *known == epoch);
        if !known || !stream.is_spooled() || from_seq > to_seq {
            return None;
        }
        let (from_seq, to_seq) = self.tracker(epoch, stream, settings)?.declare(from_seq, to_seq)?;
        Some(Gap { epoch, stream, from_seq, to_seq })
    }

    /// Notes that a spool was replaced: what has not come of it will not come.
    pub(super) fn replace(&mut self, old_epoch: SpoolEpoch, settings: &Settings) {
        if !self.replaced.contains(&old_epoch) {
            self.replaced.push(old_epoch);
            if self.replaced.len() > settings.sessions_per_node.max(1) {
                self.replaced.remove(0);
            }
        }
        for (_, _, tracker) in self.trackers.iter_mut().filter(|(epoch, _, _)| *epoch == old_epoch) {
            tracker.close();
        }
    }

    /// The accounts of every stream of every spool epoch that is remembered.
    pub(super) fn accounts(&self) -> impl Iterator<Item = Account<'_>> {
        self.trackers.iter().map(|(epoch, stream, tracker)| Account::new(*epoch, *stream, tracker))
    }

    fn known_tracker(&mut self, epoch: SpoolEpoch, stream: Stream) -> Option<&mut Tracker> {
        let found = self.trackers.iter_mut().find(|(e, s, _)| *e == epoch && *s == stream);
        found.map(|(_, _, tracker)| tracker)
    }

    /// The tracker of a stream, made when there is none; `None` when its spool epoch is too old to remember.
    fn tracker(&mut self, epoch: SpoolEpoch, stream: Stream, settings: &Settings) -> Option<&mut Tracker> {
        if self.known_tracker(epoch, stream).is_none() {
            self.trackers.push((epoch, stream, self.fresh_tracker(epoch, settings)));
            self.forget_epochs(settings);
        }
        self.known_tracker(epoch, stream)
    }

    fn fresh_tracker(&self, epoch: SpoolEpoch, settings: &Settings) -> Tracker {
        Tracker::new(settings, self.replaced.contains(&epoch))
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
    pub(super) fn check_stream(
        &self,
        session: &Session,
        header: &Header,
        seq: u64,
        settings: &Settings,
    ) -> Result<Seen, Refusal> {
        session.owns(header.stream, seq)?;
        let tracker = self.trackers.iter().find(|(e, s, _)| *e == header.epoch && *s == header.stream);
        let seen = match tracker {
            Some((_, _, tracker)) => tracker.look(seq),
            None => self.fresh_tracker(header.epoch, settings).look(seq),
        };
        match seen {
            Seen::Duplicate => Err(Refusal::Duplicate),
            Seen::TooOld => Err(Refusal::TooOld),
            seen => Ok(seen),
        }
    }

    /// Remembers a message of a stream.
    pub(super) fn take_stream(&mut self, header: &Header, seq: u64, settings: &Settings) {
        if let Some(tracker) = self.tracker(header.epoch, header.stream, settings) {
            tracker.take(seq);
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
