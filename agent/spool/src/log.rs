//! One stream's segments: what is where, finding the end, reading past damage.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::draft::Draft;
use crate::error::SpoolError;
use crate::medium::Medium;
use crate::numbers::Numbers;
use crate::record::{
    At, PAYLOAD_BYTES_MAX, RECORD_HEAD, Record, SEGMENT_HEAD_MAX, Space, next_marker, parse_segment_head,
    record_at,
};
use crate::{Loss, LossCause, StreamSpec};

/// Bytes of a segment that are looked at together: a chunk of records, and one of the largest.
const LOOK_BYTES: usize = 256 * 1024;
// Whatever begins in the first half is whole.
const _: () = assert!(RECORD_HEAD + PAYLOAD_BYTES_MAX <= LOOK_BYTES / 2);

/// Places remembered for those who read on.
const CURSORS: usize = 4;

/// One file of records.
#[derive(Debug, Clone)]
pub(crate) struct Segment {
    /// Number of its first record.
    pub(crate) first: u64,
    pub(crate) file_bytes: u64,
    /// When its newest record was written, on the monotonic clock; below 0 for earlier runs.
    pub(crate) newest_mono_ms: i64,
    /// Its records are being given up: nobody reads them any more.
    pub(crate) leaving: bool,
}

/// Where the record after the one read last begins.
#[derive(Debug, Clone, Copy)]
struct Cursor {
    next: u64,
    segment: u64,
    offset: u64,
}

/// One stream.
#[derive(Debug)]
pub(crate) struct Log {
    pub(crate) spec: StreamSpec,
    pub(crate) space: Space,
    pub(crate) segments: VecDeque<Segment>,
    /// Label of the last segment.
    pub(crate) label: Arc<str>,
    /// Where the next record goes in the last segment; none where a new one has to be begun.
    pub(crate) end: Option<u64>,
    pub(crate) next: u64,
    pub(crate) committed: u64,
    pub(crate) acked: Numbers,
    pub(crate) hold: Option<u64>,
    /// Numbers whose loss was declared.
    pub(crate) settled: Numbers,
    pub(crate) losses: Vec<Loss>,
    pub(crate) draft: Draft,
    pub(crate) spare: bool,
    cursors: VecDeque<Cursor>,
}

impl Log {
    pub(crate) fn new(spec: StreamSpec, epoch: u64) -> Self {
        Self {
            spec,
            space: Space { epoch, stream: spec.id },
            segments: VecDeque::new(),
            label: Arc::from(""),
            end: None,
            next: 0,
            committed: 0,
            acked: Numbers::default(),
            hold: None,
            settled: Numbers::default(),
            losses: Vec::new(),
            draft: Draft::default(),
            spare: false,
            cursors: VecDeque::new(),
        }
    }

    pub(crate) fn path(&self, first: u64) -> String {
        format!("{}/{first:016x}.seg", self.spec.name)
    }

    pub(crate) fn spare_path(&self) -> String {
        format!("{}/spare", self.spec.name)
    }

    pub(crate) fn draft_path(&self) -> String {
        format!("{}/draft", self.spec.name)
    }

    /// Every record below may go.
    pub(crate) fn released(&self) -> u64 {
        self.acked.below().min(self.hold.unwrap_or(u64::MAX))
    }

    pub(crate) fn oldest(&self) -> u64 {
        self.segments.iter().find(|segment| !segment.leaving).map_or(self.next, |segment| segment.first)
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.file_bytes).sum()
    }

    /// Notes that numbers `[from, to)` will never be read, where somebody still waits for them.
    pub(crate) fn lose(&mut self, from: u64, to: u64, cause: LossCause) {
        let mut known = self.settled.clone();
        for loss in &self.losses {
            known.insert(loss.from_seq, loss.to_seq + 1);
        }
        // What was delivered is nobody's loss, unless a consumer is known that has not confirmed it.
        let acked = if self.hold.is_some() { Numbers::new(self.released(), &[]) } else { self.acked.clone() };
        for (from, to) in known.missing_in(from, to) {
            for (from, to) in acked.missing_in(from, to) {
                let loss = Loss { stream: self.spec.id, from_seq: from, to_seq: to - 1, cause };
                let grows = |last: &&mut Loss| last.cause == cause && last.to_seq + 1 == from;
                match self.losses.last_mut().filter(grows) {
                    Some(last) => last.to_seq = to - 1,
                    None => self.losses.push(loss),
                }
            }
        }
    }

    /// Reads a segment's header; `None` where it is damaged.
    fn head<M: Medium>(
        &self,
        medium: &mut M,
        first: u64,
    ) -> Result<Option<crate::record::SegmentHead>, SpoolError> {
        let path = self.path(first);
        let mut bytes = vec![0; SEGMENT_HEAD_MAX];
        let read = medium.read_at(&path, 0, &mut bytes).map_err(|source| SpoolError::Medium {
            what: "read",
            path,
            source,
        })?;
        let head = parse_segment_head(&bytes[..read], self.spec.id);
        Ok(head.filter(|head| head.epoch == self.space.epoch && head.first == first))
    }

    /// The whole records of a segment from `offset` on whose numbers lie in `[expected, below)`, handed to
    /// `take` with the offset behind them until it says no. `Some(offset)`: where something else than a
    /// record begins and no record follows; `None` where `take` ended it.
    fn scan<M: Medium>(
        &self,
        medium: &mut M,
        first: u64,
        offset: u64,
        expected: u64,
        below: u64,
        mut take: impl FnMut(u64, u64, &[u8], u64) -> bool,
    ) -> Result<Option<u64>, SpoolError> {
        let path = self.path(first);
        let mut bytes = vec![0; LOOK_BYTES];
        let (mut offset, mut expected) = (offset, expected);
        let mut odd_from = None;
        while expected < below {
            let read = medium.read_at(&path, offset, &mut bytes).map_err(|source| SpoolError::Medium {
                what: "read",
                path: path.clone(),
                source,
            })?;
            let last = read < bytes.len();
            let mut at = 0;
            while at < read && (last || at < LOOK_BYTES / 2) && expected < below {
                let step = match record_at(&bytes[at..read], self.space) {
                    At::Record { seq, unix_ms, payload } if (expected..below).contains(&seq) => {
                        let length = RECORD_HEAD + payload.len();
                        let behind = offset + (at + length) as u64;
                        if !take(seq, unix_ms, payload, behind) {
                            return Ok(None);
                        }
                        (expected, odd_from) = (seq + 1, None);
                        Some(at + length)
                    }
                    _ => {
                        odd_from.get_or_insert(offset + at as u64);
                        next_marker(&bytes[..read], at + 1)
                    }
                };
                at = step.unwrap_or(read);
            }
            if last {
                return Ok(Some(odd_from.unwrap_or(offset + at as u64)));
            }
            offset += at as u64;
        }
        Ok(Some(odd_from.unwrap_or(offset)))
    }

    /// Finds the end of the last segment. Records at or above `trusted` were never on offer: the first
    /// that is not whole ends the log there. Gives the number behind the last record and the newest time.
    pub(crate) fn find_end<M: Medium>(
        &mut self,
        medium: &mut M,
        trusted: u64,
    ) -> Result<Option<(u64, u64)>, SpoolError> {
        self.end = None;
        let Some(last) = self.segments.back().map(|segment| segment.first) else { return Ok(None) };
        let Some(head) = self.head(medium, last)? else { return Ok(Some((last, 0))) };
        let (mut next, mut newest, mut end) = (last, head.made_unix_ms, head.bytes as u64);
        let mut holes = Vec::new();
        self.scan(medium, last, end, last, u64::MAX, |seq, unix_ms, _, behind| {
            if seq != next && next >= trusted {
                return false;
            }
            if seq != next {
                holes.push((next, seq));
            }
            (next, newest, end) = (seq + 1, unix_ms, behind);
            true
        })?;
        for (from, to) in holes {
            self.lose(from, to, LossCause::Damaged);
        }
        self.label = head.label;
        self.end = Some(end);
        Ok(Some((next, newest)))
    }

    /// Committed records from `from` on, in order; numbers that are not there become losses.
    pub(crate) fn read<M: Medium>(
        &mut self,
        medium: &mut M,
        from: u64,
        max_records: usize,
        max_bytes: usize,
    ) -> Result<Vec<Record>, SpoolError> {
        let mut records: Vec<Record> = Vec::new();
        let (mut at, mut bytes) = (from, 0);
        let mut holes = Vec::new();
        while at < self.committed && records.len() < max_records && (records.is_empty() || bytes < max_bytes)
        {
            let Some(index) = self.segment_of(at) else {
                holes.push((at, self.committed));
                break;
            };
            let segment = self.segments[index].clone();
            let below =
                self.segments.get(index + 1).map_or(self.committed, |next| next.first.min(self.committed));
            if segment.first > at {
                holes.push((at, segment.first.min(self.committed)));
                at = segment.first;
                continue;
            }
            if segment.leaving {
                at = below;
                continue;
            }
            let cursor =
                self.cursors.iter().find(|cursor| cursor.next == at && cursor.segment == segment.first);
            let head = match cursor {
                Some(cursor) => Some((cursor.offset, at, None)),
                None => self
                    .head(medium, segment.first)?
                    .map(|head| (head.bytes as u64, segment.first, Some(head.label))),
            };
            let Some((offset, expected, label)) = head else {
                if index + 1 == self.segments.len() {
                    // Nothing more goes where nothing can be read.
                    self.end = None;
                }
                holes.push((at, below));
                at = below;
                continue;
            };
            let label = match label {
                Some(label) => label,
                None if index + 1 == self.segments.len() => Arc::clone(&self.label),
                None => match self.head(medium, segment.first)? {
                    Some(head) => head.label,
                    None => Arc::from(""),
                },
            };
            let mut behind = None;
            let over =
                self.scan(medium, segment.first, offset, expected, below, |seq, unix_ms, payload, end| {
                    if seq < at {
                        return true;
                    }
                    if records.len() >= max_records
                        || (!records.is_empty() && bytes + payload.len() > max_bytes)
                    {
                        return false;
                    }
                    if seq > at {
                        holes.push((at, seq));
                    }
                    bytes += payload.len();
                    records.push(Record {
                        seq,
                        label: Arc::clone(&label),
                        payload: payload.to_vec(),
                        written_unix_ms: unix_ms,
                    });
                    at = seq + 1;
                    behind = Some(end);
                    true
                })?;
            if let Some(offset) = behind {
                self.remember(Cursor { next: at, segment: segment.first, offset });
            }
            if over.is_none() {
                break;
            }
            if at < below {
                holes.push((at, below));
                at = below;
            }
        }
        for (from, to) in holes {
            self.lose(from, to, LossCause::Damaged);
        }
        Ok(records)
    }

    /// The segment that holds a number, or the first one above it.
    fn segment_of(&self, seq: u64) -> Option<usize> {
        let above = self.segments.partition_point(|segment| segment.first <= seq);
        match above {
            0 if self.segments.is_empty() => None,
            0 => Some(0),
            above => Some(above - 1),
        }
    }

    fn remember(&mut self, cursor: Cursor) {
        if self.cursors.len() == CURSORS {
            self.cursors.pop_front();
        }
        self.cursors.push_back(cursor);
    }

    /// Forgets a segment; what pointed into it points nowhere.
    pub(crate) fn forget(&mut self, first: u64) {
        self.segments.retain(|segment| segment.first != first);
        self.cursors.retain(|cursor| cursor.segment != first);
    }
}
