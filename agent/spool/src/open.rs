//! Opening: what a folder holds, and what it should hold.

use crate::draft::{self, Draft};
use crate::error::SpoolError;
use crate::ledger::{FILE_BYTES, Ledger, SLOT_BYTES, STREAMS_MAX};
use crate::log::{Log, Segment};
use crate::medium::Medium;
use crate::numbers::Numbers;
use crate::record::{LABEL_BYTES_MAX, PAYLOAD_BYTES_MAX, RECORD_HEAD, SEGMENT_HEAD_MAX, parse_segment_head};
use crate::spool::{Opened, Spool, failed};
use crate::{Class, Limits, LossCause, Now, StreamSpec};

/// Numbers passed over at least where nothing tells how far a stream was: more than a stream writes in months.
const UNKNOWN: u64 = 1 << 20;
/// Up to so many more, drawn with the new epoch: it may not be the first time that nothing tells.
const UNKNOWN_SPREAD: u64 = 1 << 40;

/// Longest draft that is read back.
const DRAFT_BYTES_MAX: u64 = 4 << 20;

impl<M: Medium> Spool<M> {
    /// Opens the spool in a folder, or makes one with `new_epoch`. Reads the ledger and the last segment
    /// of each stream; older segments are checked when they are read.
    ///
    /// # Errors
    /// [`SpoolError::Settings`] and [`SpoolError::Medium`].
    pub fn open(
        mut medium: M,
        streams: &[StreamSpec],
        limits: Limits,
        new_epoch: u64,
        now: Now,
    ) -> Result<Opened<M>, SpoolError> {
        check(streams, &limits)?;
        let slots = read_slots(&mut medium)?;
        let newest = slots.iter().enumerate().filter_map(|(slot, ledger)| Some((slot, ledger.as_ref()?)));
        let newest = newest.max_by_key(|(_, ledger)| ledger.generation);
        let newest = newest.map(|(slot, ledger)| (slot as u64, ledger.clone()));
        let mut found = Vec::new();
        for spec in streams {
            medium.make_folder(spec.name).map_err(failed("make folder", spec.name))?;
            found.push(segments(&mut medium, spec)?);
        }
        let known = newest.as_ref().map(|(_, ledger)| ledger.epoch);
        let epoch = match known {
            Some(epoch) => Some(epoch),
            None => epoch_of(&mut medium, streams, &found)?,
        };
        let created = epoch.is_none();
        let epoch = epoch.unwrap_or(new_epoch);
        let logs: Vec<Log> = streams.iter().map(|spec| Log::new(*spec, epoch)).collect();
        let (slot, generation) =
            newest.as_ref().map_or((0, 0), |(slot, ledger)| (slot ^ 1, ledger.generation));
        let mut spool = Self::with(medium, limits, epoch, logs, generation, slot);
        if newest.is_none() {
            spool.clear("ledger", FILE_BYTES)?;
            spool.unsynced_folders.insert(String::new());
        }
        let named = found.iter().filter_map(|found| found.segments.last()).map(|(first, _)| *first).max();
        let mut drafts = Vec::new();
        for (index, found) in found.into_iter().enumerate() {
            let entry = newest.as_ref().and_then(|(_, ledger)| {
                ledger.entries.iter().find(|entry| entry.stream == streams[index].id).cloned()
            });
            let log = &mut spool.logs[index];
            if let Some(entry) = &entry {
                (log.next, log.committed) = (entry.next.max(entry.committed), entry.committed);
                log.acked.clone_from(&entry.acked);
            }
            let trusted = if entry.is_some() { log.committed } else { u64::MAX };
            spool.take_segments(index, &found, trusted, now)?;
            if let Some(pieces) = spool.take_draft(index)? {
                drafts.push((streams[index].id, pieces));
            }
        }
        if newest.is_none() && !created {
            // The ledger is gone: nothing says how far the streams were, and it may not be the first time. All pass over
            // the same numbers each time, so what one of them shows of an earlier time holds for those that show nothing.
            let furthest = spool.logs.iter().map(|log| log.next).chain(named).max().unwrap_or(0);
            for log in &mut spool.logs {
                let from = log.next;
                log.acked.insert(0, log.segments.front().map_or(0, |segment| segment.first));
                log.next = furthest + UNKNOWN + new_epoch % UNKNOWN_SPREAD;
                log.committed = log.next;
                log.lose(from, log.next, LossCause::Damaged);
                log.end = None;
            }
        }
        spool.floors = true;
        // A spare that cannot be had now is had when there is room; events begin a new file seldom.
        for index in 0..spool.logs.len() {
            if spool.logs[index].spec.class == Class::Edge && !spool.logs[index].spare {
                let _ = spool.make_spare(index);
            }
        }
        spool.commit()?;
        Ok(Opened { spool, created, drafts })
    }

    /// Takes over the segments found, finds the end, cuts what is torn.
    fn take_segments(
        &mut self,
        index: usize,
        found: &Found,
        trusted: u64,
        now: Now,
    ) -> Result<(), SpoolError> {
        let (segment_bytes, edge) =
            (self.class_limits(index).segment_bytes, self.logs[index].spec.class == Class::Edge);
        if found.spare == Some(segment_bytes) {
            self.logs[index].spare = true;
        }
        let log = &mut self.logs[index];
        // Nothing tells when the records of older segments were written but the headers; they are read when needed.
        let segment = |&(first, file_bytes): &(u64, u64)| Segment {
            first,
            file_bytes,
            newest_mono_ms: 0,
            leaving: false,
        };
        log.segments = found.segments.iter().map(segment).collect();
        self.date_segments(index, now)?;
        let mut end = self.logs[index].find_end(&mut self.medium, trusted)?;
        // A segment that was begun and holds nothing: the one before it is the last.
        while let Some((next, newest_unix_ms)) = end {
            let log = &mut self.logs[index];
            let last = log.segments.back().map_or(0, |segment| segment.first);
            if next > last {
                let age_ms = now.unix_ms.saturating_sub(newest_unix_ms);
                if let Some(segment) = log.segments.back_mut() {
                    segment.newest_mono_ms = now.mono_ms as i64 - i64::try_from(age_ms).unwrap_or(i64::MAX);
                }
                break;
            }
            let path = log.path(last);
            self.medium.remove(&path).map_err(failed("remove", &path))?;
            self.logs[index].forget(last);
            // Or a power cut brings it back.
            self.unsynced_folders.insert(self.logs[index].spec.name.to_owned());
            end = self.logs[index].find_end(&mut self.medium, trusted)?;
        }
        let written = end.map_or(0, |(next, _)| next);
        if written > self.logs[index].committed {
            self.make_durable(index)?;
        }
        let log = &mut self.logs[index];
        if written < log.committed {
            log.lose(written, log.committed, LossCause::Damaged);
            // The next record's number is not the one behind the last: a new segment says so.
            log.end = None;
        }
        log.next = log.next.max(written);
        if log.next != written {
            log.end = None;
        }
        let (Some(end), Some(last)) = (log.end, log.segments.back().cloned()) else { return Ok(()) };
        let path = log.path(last.first);
        if edge {
            self.clear_behind(&path, end, segment_bytes)?;
        } else if last.file_bytes > end {
            self.medium.set_length(&path, end).map_err(failed("cut", &path))?;
            if let Some(last) = self.logs[index].segments.back_mut() {
                last.file_bytes = end;
            }
        }
        Ok(())
    }

    /// Writes the last segment once more, up to its end, for the commit that follows: whole records that a crash left
    /// count from now on, and nobody knows whether they ever reached the medium.
    fn make_durable(&mut self, index: usize) -> Result<(), SpoolError> {
        let log = &self.logs[index];
        let (Some(end), Some(last)) = (log.end, log.segments.back()) else { return Ok(()) };
        let path = log.path(last.first);
        let mut bytes = vec![0; usize::try_from(end).unwrap_or(0)];
        let read = self.medium.read_at(&path, 0, &mut bytes).map_err(failed("read", &path))?;
        bytes.truncate(read);
        self.write(&path, 0, bytes)
    }

    /// When the newest record of each older segment was written: when the next segment was begun.
    fn date_segments(&mut self, index: usize, now: Now) -> Result<(), SpoolError> {
        let firsts: Vec<u64> =
            self.logs[index].segments.iter().skip(1).map(|segment| segment.first).collect();
        for (at, next) in firsts.into_iter().enumerate() {
            let log = &self.logs[index];
            let path = log.path(next);
            let mut bytes = [0; SEGMENT_HEAD_MAX];
            let read = self.medium.read_at(&path, 0, &mut bytes).map_err(failed("read", &path))?;
            let made = parse_segment_head(&bytes[..read], log.spec.id).map(|head| head.made_unix_ms);
            let age_ms = now.unix_ms.saturating_sub(made.unwrap_or(now.unix_ms));
            self.logs[index].segments[at].newest_mono_ms =
                now.mono_ms as i64 - i64::try_from(age_ms).unwrap_or(i64::MAX);
        }
        Ok(())
    }

    /// Zeros what a torn write left behind the end, so that it never comes back as a record.
    fn clear_behind(&mut self, path: &str, end: u64, bytes: u64) -> Result<(), SpoolError> {
        let mut rest = vec![0; usize::try_from(bytes.saturating_sub(end)).unwrap_or(0)];
        let read = self.medium.read_at(path, end, &mut rest).map_err(failed("read", path))?;
        if rest[..read].iter().all(|byte| *byte == 0) {
            return Ok(());
        }
        rest.fill(0);
        self.medium.write_at(path, end, &rest[..read]).map_err(failed("write", path))?;
        self.medium.sync(path).map_err(failed("sync", path))
    }

    fn take_draft(&mut self, index: usize) -> Result<Option<Vec<Vec<u8>>>, SpoolError> {
        let path = self.logs[index].draft_path();
        let length = match self.medium.length(&path) {
            Ok(length) => length.min(DRAFT_BYTES_MAX),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed("read", &path)(error)),
        };
        let mut bytes = vec![0; length as usize];
        let read = self.medium.read_at(&path, 0, &mut bytes).map_err(failed("read", &path))?;
        let (pieces, round) = draft::parse(&bytes[..read]);
        self.logs[index].draft = Draft { end: 0, round: round.wrapping_add(1) };
        Ok((!pieces.is_empty()).then_some(pieces))
    }
}

/// Files of one stream.
struct Found {
    /// First number and length, rising.
    segments: Vec<(u64, u64)>,
    spare: Option<u64>,
}

fn segments<M: Medium>(medium: &mut M, spec: &StreamSpec) -> Result<Found, SpoolError> {
    let mut found = Found { segments: Vec::new(), spare: None };
    for (name, length) in medium.list(spec.name).map_err(failed("list", spec.name))? {
        let first = name.strip_suffix(".seg").filter(|hex| hex.len() == 16);
        match first.and_then(|hex| u64::from_str_radix(hex, 16).ok()) {
            Some(first) => found.segments.push((first, length)),
            None if name == "spare" => found.spare = Some(length),
            None => {}
        }
    }
    found.segments.sort_unstable();
    Ok(found)
}

/// The epoch that the segments say, where the ledger says nothing.
fn epoch_of<M: Medium>(
    medium: &mut M,
    streams: &[StreamSpec],
    found: &[Found],
) -> Result<Option<u64>, SpoolError> {
    for (spec, found) in streams.iter().zip(found) {
        for (first, _) in &found.segments {
            let path = format!("{}/{first:016x}.seg", spec.name);
            let mut bytes = [0; SEGMENT_HEAD_MAX];
            let read = medium.read_at(&path, 0, &mut bytes).map_err(failed("read", &path))?;
            if let Some(head) = parse_segment_head(&bytes[..read], spec.id) {
                return Ok(Some(head.epoch));
            }
        }
    }
    Ok(None)
}

fn read_slots<M: Medium>(medium: &mut M) -> Result<[Option<Ledger>; 2], SpoolError> {
    let mut bytes = vec![0; FILE_BYTES as usize];
    let read = match medium.read_at("ledger", 0, &mut bytes) {
        Ok(read) => read,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => 0,
        Err(error) => return Err(failed("read", "ledger")(error)),
    };
    let slot = |slot: u64| {
        let from = (slot * SLOT_BYTES) as usize;
        bytes[..read].get(from..).and_then(Ledger::parse)
    };
    Ok([slot(0), slot(1)])
}

fn check(streams: &[StreamSpec], limits: &Limits) -> Result<(), SpoolError> {
    let named = |spec: &StreamSpec| {
        (1..=32).contains(&spec.name.len())
            && spec.name.bytes().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || b"-_".contains(&c))
    };
    if streams.is_empty() || streams.len() > STREAMS_MAX || !streams.iter().all(named) {
        return Err(SpoolError::Settings("these streams"));
    }
    let mut ids = Numbers::default();
    for spec in streams {
        if ids.contains(u64::from(spec.id)) {
            return Err(SpoolError::Settings("two streams of one number"));
        }
        ids.insert(u64::from(spec.id), u64::from(spec.id) + 1);
    }
    for class in [Class::Series, Class::Edge] {
        let class = limits.of(class);
        if class.bytes < 4 * class.segment_bytes {
            return Err(SpoolError::Settings("a budget below four segments"));
        }
    }
    let largest = (SEGMENT_HEAD_MAX + RECORD_HEAD + PAYLOAD_BYTES_MAX) as u64;
    if limits.edge_segment_bytes < largest && limits.edge_segment_bytes < LABEL_BYTES_MAX as u64 * 8 {
        return Err(SpoolError::Settings("segments too small for a record"));
    }
    Ok(())
}
