//! Whose turn it is among the records: what is new does not wait behind what
//! has waited long, edges come in order, and a held topic lets the others pass.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::backlog::{Again, Backlog, Class, Found, Reader, Record, StreamIndex};
use super::holds::{Hold, HoldCause};

/// A sample that has waited this long goes before all events: with the second
/// that what is in flight may take, it waits less than 2 s.
const OVERDUE: Duration = Duration::from_secs(1);

/// One stream on one connection.
#[derive(Debug)]
struct Lane {
    class: Class,
    /// Next of what waited when the connection began: below `split`.
    backlog: u64,
    split: u64,
    /// Next of what came since.
    live: u64,
    hold: Option<Hold>,
}

impl Lane {
    /// The record may have been sent and has to go again.
    fn rewind(&mut self, seq: u64) {
        if seq < self.split {
            self.backlog = self.backlog.min(seq);
        } else {
            self.live = self.live.min(seq);
        }
    }

    fn at(&mut self, reader: Reader) -> &mut u64 {
        if reader == Reader::Backlog { &mut self.backlog } else { &mut self.live }
    }
}

/// A record whose turn it is.
#[derive(Debug)]
pub(super) struct Pick {
    pub(super) stream: StreamIndex,
    pub(super) reader: Reader,
    pub(super) record: Record,
}

/// What the choice depends on besides the lanes.
pub(super) struct Around<'a> {
    pub(super) now: Instant,
    /// Whether more of the backlog may be on its way.
    pub(super) paced: bool,
    /// Whether a record is in flight.
    pub(super) flying: &'a dyn Fn(StreamIndex, u64) -> bool,
}

/// All streams on one connection.
#[derive(Debug)]
pub(super) struct Lanes {
    lanes: Vec<Lane>,
    edges: Arc<[StreamIndex]>,
    series: Arc<[StreamIndex]>,
    /// Series stream whose backlog goes next.
    turn: usize,
}

impl Lanes {
    /// Begins each stream at its first record that is not acknowledged.
    pub(super) fn new(backlog: &dyn Backlog) -> Self {
        let lane = |(stream, class): (usize, &Class)| {
            let split = backlog.next(stream);
            Lane { class: *class, backlog: backlog.acked(stream).min(split), split, live: split, hold: None }
        };
        let lanes: Vec<Lane> = backlog.classes().iter().enumerate().map(lane).collect();
        let of = |class| (0..lanes.len()).filter(|stream| lanes[*stream].class == class).collect();
        Self { edges: of(Class::Edge), series: of(Class::Series), lanes, turn: 0 }
    }

    pub(super) fn class(&self, stream: StreamIndex) -> Class {
        self.lanes[stream].class
    }

    pub(super) fn held(&self) -> usize {
        self.lanes.iter().filter(|lane| lane.hold.is_some()).count()
    }

    pub(super) fn next_probe(&self, now: Instant) -> Option<Instant> {
        self.lanes.iter().filter_map(|lane| lane.hold.as_ref()?.due(now)).min()
    }

    /// The record whose turn it is. It stays that until [`Self::sent`].
    pub(super) fn pick(&mut self, backlog: &mut dyn Backlog, around: &Around<'_>) -> Option<Pick> {
        let series = Arc::clone(&self.series);
        let overdue = |since: Option<Instant>| since.is_none_or(|since| around.now - since >= OVERDUE);
        for &stream in series.iter() {
            if self.lanes[stream].hold.is_none()
                && let Some(pick) = self.peek(backlog, stream, Reader::Live, around)
                && overdue(pick.record.since)
            {
                return Some(pick);
            }
        }
        for &stream in Arc::clone(&self.edges).iter() {
            if let Some(pick) = self.in_order(backlog, stream, around) {
                return Some(pick);
            }
        }
        for &stream in series.iter() {
            let lane = &self.lanes[stream];
            let pick = match &lane.hold {
                None => self.peek(backlog, stream, Reader::Live, around),
                Some(hold) if hold.blocks(around.now) => None,
                Some(_) => self.in_order(backlog, stream, around),
            };
            if pick.is_some() {
                return pick;
            }
        }
        if !around.paced {
            return None;
        }
        for n in 0..series.len() {
            let stream = series[(self.turn + n) % series.len()];
            if self.lanes[stream].hold.is_none()
                && let Some(pick) = self.peek(backlog, stream, Reader::Backlog, around)
            {
                return Some(pick);
            }
        }
        self.again(backlog)
    }

    /// The oldest record of the stream; also the probe of a held one.
    fn in_order(
        &mut self,
        backlog: &mut dyn Backlog,
        stream: StreamIndex,
        around: &Around<'_>,
    ) -> Option<Pick> {
        let lane = &self.lanes[stream];
        if lane.hold.as_ref().is_some_and(|hold| hold.blocks(around.now)) {
            return None;
        }
        if lane.backlog < lane.split {
            let pick = self.peek(backlog, stream, Reader::Backlog, around);
            if pick.is_some() || self.lanes[stream].backlog < self.lanes[stream].split {
                return pick.filter(|_| around.paced);
            }
        }
        let pick = self.peek(backlog, stream, Reader::Live, around);
        let lane = &mut self.lanes[stream];
        if pick.is_none() && lane.hold.is_some() && lane.live >= backlog.next(stream) {
            // What was refused has been given up meanwhile.
            lane.hold = None;
        }
        pick
    }

    fn peek(
        &mut self,
        backlog: &mut dyn Backlog,
        stream: StreamIndex,
        reader: Reader,
        around: &Around<'_>,
    ) -> Option<Pick> {
        let lane = &mut self.lanes[stream];
        let end = if reader == Reader::Backlog { lane.split } else { u64::MAX };
        loop {
            let from = *lane.at(reader);
            if from >= end {
                return None;
            }
            match backlog.read(stream, from, reader) {
                Found::Loading => return None,
                Found::Nothing => {
                    *lane.at(reader) = backlog.next(stream).clamp(from, end);
                    return None;
                }
                Found::Record(record) if record.seq >= end => *lane.at(reader) = end,
                Found::Record(record) if (around.flying)(stream, record.seq) => {
                    *lane.at(reader) = record.seq + 1;
                }
                Found::Record(record) => {
                    *lane.at(reader) = record.seq;
                    return Some(Pick { stream, reader, record });
                }
            }
        }
    }

    fn again(&mut self, backlog: &mut dyn Backlog) -> Option<Pick> {
        while let Some(Again { stream, from_seq, to_seq }) = backlog.again() {
            if self.lanes.get(stream).is_none_or(|lane| lane.hold.is_some()) {
                return None;
            }
            match backlog.read(stream, from_seq, Reader::Again) {
                Found::Loading => return None,
                Found::Record(record) if record.seq <= to_seq => {
                    return Some(Pick { stream, reader: Reader::Again, record });
                }
                Found::Record(_) | Found::Nothing => backlog.again_done(to_seq),
            }
        }
        None
    }

    /// The pick left with this token, or was given up.
    pub(super) fn sent(&mut self, pick: &Pick, token: Option<u64>, backlog: &mut dyn Backlog) {
        let lane = &mut self.lanes[pick.stream];
        match pick.reader {
            Reader::Again => backlog.again_done(pick.record.seq),
            reader => {
                *lane.at(reader) = pick.record.seq + 1;
                if let (Some(hold), Some(token)) = (&mut lane.hold, token) {
                    hold.probed_by(token);
                }
            }
        }
        if pick.reader == Reader::Backlog
            && let Some(at) = self.series.iter().position(|stream| *stream == pick.stream)
        {
            self.turn = at + 1;
        }
    }

    /// The record did not leave after all.
    pub(super) fn take_back(&mut self, stream: StreamIndex, seq: u64, token: u64, now: Instant) {
        let lane = &mut self.lanes[stream];
        lane.rewind(seq);
        if let Some(hold) = lane.hold.as_mut().filter(|hold| hold.is_probed_by(token)) {
            hold.probe_again(now);
        }
    }

    /// The broker took a record of the stream. Whether it was held.
    pub(super) fn accepted(&mut self, stream: StreamIndex) -> bool {
        self.lanes[stream].hold.take().is_some()
    }

    /// The broker will never take this record; the topic may be fine.
    pub(super) fn given_up(&mut self, stream: StreamIndex, token: u64, now: Instant) {
        if let Some(hold) = self.lanes[stream].hold.as_mut().filter(|hold| hold.is_probed_by(token)) {
            hold.probe_again(now);
        }
    }

    /// The broker refused the topic. Whether it was not held before.
    pub(super) fn refused(
        &mut self,
        stream: StreamIndex,
        seq: Option<u64>,
        token: u64,
        cause: HoldCause,
        now: Instant,
    ) -> bool {
        let lane = &mut self.lanes[stream];
        if let Some(seq) = seq {
            lane.rewind(seq);
        }
        match &mut lane.hold {
            Some(hold) => {
                hold.refused(token, cause, now);
                false
            }
            none => {
                *none = Some(Hold::new(cause, now));
                true
            }
        }
    }
}
