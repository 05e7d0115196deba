//! The spool: append, commit, read, acknowledge.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::error::SpoolError;
use crate::ledger::{Entry, Ledger, SLOT_BYTES};
use crate::log::{Log, Segment};
use crate::medium::Medium;
use crate::numbers::Numbers;
use crate::record::{LABEL_BYTES_MAX, PAYLOAD_BYTES_MAX, RECORD_HEAD, Record, segment_head, write_record};
use crate::{Class, ClassLimits, Limits, Loss, LossCause, Now, Position, Usage};

/// What opening a spool found.
#[derive(Debug)]
pub struct Opened<M> {
    /// The spool.
    pub spool: Spool<M>,
    /// A new epoch was begun: there was nothing, or nothing was left.
    pub created: bool,
    /// Pieces that were drafted and did not become a record, by stream.
    pub drafts: Vec<(u8, Vec<Vec<u8>>)>,
}

/// Bytes that are written and not yet known to be durable.
#[derive(Debug)]
struct Unsynced {
    path: String,
    offset: u64,
    bytes: Vec<u8>,
}

/// A spool: see the documentation of this crate.
#[derive(Debug)]
pub struct Spool<M> {
    pub(crate) medium: M,
    pub(crate) limits: Limits,
    pub(crate) epoch: u64,
    pub(crate) logs: Vec<Log>,
    pub(crate) generation: u64,
    /// Slot of the ledger that may be written over.
    pub(crate) slot: u64,
    unsynced: Vec<Unsynced>,
    /// Folders with names that are not durable yet.
    pub(crate) unsynced_folders: BTreeSet<String>,
    /// The last commit failed: nobody knows what of `unsynced` is on the medium.
    doubtful: bool,
    /// Numbers were used up or declared since the last commit.
    pub(crate) floors: bool,
}

pub(crate) fn failed(what: &'static str, path: &str) -> impl FnOnce(std::io::Error) -> SpoolError {
    let path = path.to_owned();
    move |source| SpoolError::Medium { what, path, source }
}

impl<M: Medium> Spool<M> {
    pub(crate) fn with(
        medium: M,
        limits: Limits,
        epoch: u64,
        logs: Vec<Log>,
        generation: u64,
        slot: u64,
    ) -> Self {
        Self {
            medium,
            limits,
            epoch,
            logs,
            generation,
            slot,
            unsynced: Vec::new(),
            unsynced_folders: BTreeSet::new(),
            doubtful: false,
            floors: false,
        }
    }

    /// Names the space of numbers.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// How far a stream is; all zero for one that the spool does not have.
    pub fn position(&self, stream: u8) -> Position {
        let Ok(log) = self.log(stream) else {
            return Position { oldest: 0, released: 0, acked: 0, committed: 0, next: 0 };
        };
        Position {
            oldest: log.oldest(),
            released: log.released(),
            acked: log.acked.below(),
            committed: log.committed,
            next: log.next,
        }
    }

    /// Ranges `[from, to)` that are acknowledged above the prefix.
    pub fn acked_ranges(&self, stream: u8) -> &[(u64, u64)] {
        self.log(stream).map_or(&[], |log| log.acked.above())
    }

    /// What a class holds.
    pub fn usage(&self, class: Class) -> Usage {
        let logs = || self.logs.iter().filter(|log| log.spec.class == class);
        let spares = logs().filter(|log| log.spare).count() as u64 * self.limits.of(class).segment_bytes;
        Usage {
            records: logs().map(|log| log.acked.count_missing_in(log.oldest(), log.committed)).sum(),
            bytes: logs().map(Log::bytes).sum::<u64>() + spares,
        }
    }

    pub(crate) fn log(&self, stream: u8) -> Result<&Log, SpoolError> {
        self.logs.iter().find(|log| log.spec.id == stream).ok_or(SpoolError::Stream(stream))
    }

    pub(crate) fn index(&self, stream: u8) -> Result<usize, SpoolError> {
        self.logs.iter().position(|log| log.spec.id == stream).ok_or(SpoolError::Stream(stream))
    }

    pub(crate) fn class_limits(&self, index: usize) -> ClassLimits {
        self.limits.of(self.logs[index].spec.class)
    }

    /// Appends a record; it is durable, and can be read, after the next [`commit`](Self::commit).
    ///
    /// # Errors
    /// The record was not written. Of a series its number is used up all the same and becomes a loss; of
    /// an event it is not, and the caller tries again.
    pub fn append(
        &mut self,
        stream: u8,
        seq: u64,
        label: &str,
        payload: &[u8],
        now: Now,
    ) -> Result<(), SpoolError> {
        let index = self.index(stream)?;
        let expected = self.logs[index].next;
        if seq != expected {
            return Err(SpoolError::Number { expected, found: seq });
        }
        let appended = self.try_append(index, label, payload, now);
        if appended.is_err() && self.logs[index].spec.class == Class::Series {
            self.use_up(index);
        }
        appended
    }

    /// Uses the next number up without a record: it becomes a loss.
    ///
    /// # Errors
    /// [`SpoolError::Number`] where `seq` is not the next number.
    pub fn skip(&mut self, stream: u8, seq: u64) -> Result<(), SpoolError> {
        let index = self.index(stream)?;
        let expected = self.logs[index].next;
        if seq != expected {
            return Err(SpoolError::Number { expected, found: seq });
        }
        self.use_up(index);
        Ok(())
    }

    fn use_up(&mut self, index: usize) {
        let log = &mut self.logs[index];
        log.next += 1;
        let next = log.next;
        log.lose(next - 1, next, LossCause::NotWritten);
        self.floors = true;
    }

    fn try_append(&mut self, index: usize, label: &str, payload: &[u8], now: Now) -> Result<(), SpoolError> {
        if payload.len() > PAYLOAD_BYTES_MAX || label.len() > LABEL_BYTES_MAX {
            return Err(SpoolError::TooLarge);
        }
        let length = (RECORD_HEAD + payload.len()) as u64;
        let segment_bytes = self.class_limits(index).segment_bytes;
        let log = &self.logs[index];
        let fits = log.end.is_some_and(|end| end + length <= segment_bytes) && &*log.label == label;
        if !fits {
            self.begin_segment(index, label, now)?;
        }
        let log = &self.logs[index];
        let (Some(end), Some(segment)) = (log.end, log.segments.back()) else {
            return Err(SpoolError::NoRoom);
        };
        let path = log.path(segment.first);
        let mut bytes = Vec::with_capacity(length as usize);
        write_record(log.space, log.next, now.unix_ms, payload, &mut bytes);
        if let Err(error) = self.write(&path, end, bytes) {
            if self.logs[index].spec.class == Class::Series {
                // What was written of it must not stand before the next record.
                let _ = self.medium.set_length(&path, end);
            }
            return Err(error);
        }
        let log = &mut self.logs[index];
        log.next += 1;
        log.end = Some(end + length);
        if let Some(segment) = log.segments.back_mut() {
            segment.newest_mono_ms = now.mono_ms as i64;
            segment.file_bytes = segment.file_bytes.max(end + length);
        }
        Ok(())
    }

    fn begin_segment(&mut self, index: usize, label: &str, now: Now) -> Result<(), SpoolError> {
        let log = &self.logs[index];
        let (first, edge) = (log.next, log.spec.class == Class::Edge);
        if log.segments.back().is_some_and(|last| last.first == first) {
            // It was begun and got no record: its header is all it has.
            self.logs[index].forget(first);
        }
        let log = &self.logs[index];
        let path = log.path(first);
        let head = segment_head(log.space, first, now.unix_ms, label);
        let folder = log.spec.name;
        if edge {
            self.take_spare(index, &path)?;
        }
        let length = head.len() as u64;
        if let Err(error) = self.write(&path, 0, head) {
            if !edge {
                let _ = self.medium.remove(&path);
            }
            return Err(error);
        }
        self.unsynced_folders.insert(folder.to_owned());
        let segment_bytes = self.class_limits(index).segment_bytes;
        let log = &mut self.logs[index];
        log.label = Arc::from(label);
        log.end = Some(length);
        log.segments.push_back(Segment {
            first,
            file_bytes: if edge { segment_bytes } else { length },
            newest_mono_ms: now.mono_ms as i64,
            leaving: false,
        });
        Ok(())
    }

    pub(crate) fn write(&mut self, path: &str, offset: u64, bytes: Vec<u8>) -> Result<(), SpoolError> {
        self.medium.write_at(path, offset, &bytes).map_err(failed("write", path))?;
        match self.unsynced.last_mut() {
            Some(last) if last.path == path && last.offset + last.bytes.len() as u64 == offset => {
                last.bytes.extend_from_slice(&bytes);
            }
            _ => self.unsynced.push(Unsynced { path: path.to_owned(), offset, bytes }),
        }
        Ok(())
    }

    /// Makes all that was appended durable, and then what the ledger says.
    ///
    /// # Errors
    /// [`SpoolError::Medium`]: nothing more is committed than before; calling it again tries again.
    pub fn commit(&mut self) -> Result<(), SpoolError> {
        let idle = self.unsynced.is_empty() && self.unsynced_folders.is_empty() && !self.floors;
        if idle && self.logs.iter().all(|log| log.committed == log.next) {
            return Ok(());
        }
        if self.doubtful {
            // After a failed sync the system may hold for clean what never reached the medium.
            for Unsynced { path, offset, bytes } in &self.unsynced {
                self.medium.write_at(path, *offset, bytes).map_err(failed("write", path))?;
            }
        }
        self.doubtful = true;
        let paths: BTreeSet<&str> = self.unsynced.iter().map(|unsynced| unsynced.path.as_str()).collect();
        for path in paths {
            self.medium.sync(path).map_err(failed("sync", path))?;
        }
        for folder in &self.unsynced_folders {
            self.medium.sync_folder(folder).map_err(failed("sync", folder))?;
        }
        self.write_ledger(true)?;
        self.unsynced.clear();
        self.unsynced_folders.clear();
        self.doubtful = false;
        self.floors = false;
        for log in &mut self.logs {
            log.committed = log.next;
        }
        Ok(())
    }

    /// Writes the ledger as it is, or as it is after a commit, over the older slot.
    pub(crate) fn write_ledger(&mut self, commits: bool) -> Result<(), SpoolError> {
        let entry = |log: &Log| Entry {
            stream: log.spec.id,
            next: if commits { log.next } else { log.committed },
            committed: if commits { log.next } else { log.committed },
            acked: log.acked.clone(),
        };
        let ledger = Ledger {
            generation: self.generation + 1,
            epoch: self.epoch,
            entries: self.logs.iter().map(entry).collect(),
        };
        let bytes = ledger.to_bytes();
        self.medium.write_at("ledger", self.slot * SLOT_BYTES, &bytes).map_err(failed("write", "ledger"))?;
        self.generation += 1;
        if commits {
            self.medium.sync("ledger").map_err(failed("sync", "ledger"))?;
            self.slot ^= 1;
            // Both slots say the same before anything is on offer, so that one damaged slot costs nothing.
            let written = self.medium.write_at("ledger", self.slot * SLOT_BYTES, &bytes);
            written.map_err(failed("write", "ledger"))?;
            self.medium.sync("ledger").map_err(failed("sync", "ledger"))?;
        }
        Ok(())
    }

    /// Committed records from `from` on, in order, at most `max_records`, and so many that their payloads
    /// have at most `max_bytes`, but at least one if there is one.
    ///
    /// Numbers that are not there are passed over; each becomes a loss unless it is acknowledged.
    ///
    /// # Errors
    /// [`SpoolError::Medium`].
    pub fn read(
        &mut self,
        stream: u8,
        from: u64,
        max_records: usize,
        max_bytes: usize,
    ) -> Result<Vec<Record>, SpoolError> {
        let index = self.index(stream)?;
        self.logs[index].read(&mut self.medium, from, max_records, max_bytes)
    }

    /// Notes acknowledgements: every record below `below`, and the ranges `[from, to)`, of which the
    /// longest 8 outlive the process. It survives a crash of the process; a power cut may forget it.
    ///
    /// # Errors
    /// [`SpoolError::Medium`]: noted in memory, not on the medium.
    pub fn ack(&mut self, stream: u8, below: u64, ranges_above: &[(u64, u64)]) -> Result<(), SpoolError> {
        let index = self.index(stream)?;
        let log = &mut self.logs[index];
        let before = log.acked.clone();
        log.acked.insert(0, below.min(log.committed));
        for &(from, to) in ranges_above {
            log.acked.insert(from, to.min(log.committed));
        }
        if log.acked == before { Ok(()) } else { self.write_ledger(false) }
    }

    /// Records at or above `seq` stay as long as the budget allows, acknowledged or not, and are lost when
    /// they go. `None`: acknowledged is enough.
    pub fn hold(&mut self, stream: u8, seq: Option<u64>) {
        if let Ok(index) = self.index(stream) {
            self.logs[index].hold = seq;
        }
    }

    /// Keeps a piece until the stream's next record; it survives a crash of the process.
    ///
    /// # Errors
    /// [`SpoolError::Medium`].
    pub fn draft(&mut self, stream: u8, bytes: &[u8]) -> Result<(), SpoolError> {
        let index = self.index(stream)?;
        let (path, draft) = (self.logs[index].draft_path(), self.logs[index].draft);
        let piece = draft.piece(bytes);
        self.medium.write_at(&path, draft.end, &piece).map_err(failed("write", &path))?;
        self.logs[index].draft.end += piece.len() as u64;
        Ok(())
    }

    /// What was drafted is a record now.
    ///
    /// # Errors
    /// [`SpoolError::Medium`].
    pub fn clear_draft(&mut self, stream: u8) -> Result<(), SpoolError> {
        let index = self.index(stream)?;
        let log = &mut self.logs[index];
        if log.draft.end == 0 {
            return Ok(());
        }
        log.draft.end = 0;
        log.draft.round = log.draft.round.wrapping_add(1);
        let path = log.draft_path();
        self.medium.write_at(&path, 0, &[0; 12]).map_err(failed("write", &path))
    }

    /// Losses that nobody has declared yet. Their numbers are used up for ever as of the next commit.
    pub fn losses(&self) -> Vec<Loss> {
        self.logs.iter().flat_map(|log| log.losses.iter().copied()).collect()
    }

    /// The caller has a durable record that declares these numbers lost.
    ///
    /// # Errors
    /// [`SpoolError::Medium`]: what was kept until now is still there, and may be declared again after a restart.
    pub fn declared(&mut self, loss: &Loss) -> Result<(), SpoolError> {
        let index = self.index(loss.stream)?;
        let log = &mut self.logs[index];
        let (from, to) = (loss.from_seq, loss.to_seq + 1);
        log.settled.insert(from, to);
        log.acked.insert(from, to.min(log.committed));
        let settled = Numbers::new(0, &[(from, to)]);
        let rest = |loss: &Loss| {
            let part = |(from, to): (u64, u64)| Loss { from_seq: from, to_seq: to - 1, ..*loss };
            settled.missing_in(loss.from_seq, loss.to_seq + 1).into_iter().map(part).collect::<Vec<_>>()
        };
        log.losses = log.losses.iter().flat_map(rest).collect();
        self.write_ledger(false)?;
        self.unlink_left(index)
    }
}
