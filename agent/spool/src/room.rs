//! Room: what is freed when it is due, and what gives way when it is not.

use crate::error::SpoolError;
use crate::log::Segment;
use crate::medium::Medium;
use crate::spool::{Spool, failed};
use crate::{Class, LossCause, Now};

/// Zeros written at once when a file of events is allocated.
const ZEROS: [u8; 16 * 1024] = [0; 16 * 1024];

/// A segment by its stream's place and its first number.
#[derive(Debug, Clone, Copy)]
struct Place {
    index: usize,
    first: u64,
    /// Number behind its last record.
    below: u64,
    newest_mono_ms: i64,
}

impl<M: Medium> Spool<M> {
    /// Frees what is due: acknowledged records past their time, then what is over a budget or an age
    /// limit, the oldest first. What nobody acknowledged becomes a loss first and goes when it is
    /// [declared](Self::declared).
    ///
    /// # Errors
    /// [`SpoolError::Medium`]; what could be freed is.
    pub fn trim(&mut self, now: Now) -> Result<(), SpoolError> {
        for place in self.places() {
            let log = &self.logs[place.index];
            let age_ms = now.mono_ms as i64 - place.newest_mono_ms;
            let keep_ms = self.class_limits(place.index).keep_ms;
            if place.below <= log.released() && age_ms >= i64::try_from(keep_ms).unwrap_or(i64::MAX) {
                self.unlink(place.index, place.first)?;
            }
        }
        for place in self.places() {
            let age_ms = now.mono_ms as i64 - place.newest_mono_ms;
            if age_ms >= i64::try_from(self.class_limits(place.index).age_ms).unwrap_or(i64::MAX) {
                self.give_up(place)?;
            }
        }
        for class in [Class::Series, Class::Edge] {
            while self.staying(class) > self.limits.of(class).bytes {
                let Some(victim) = self.victim(class) else { break };
                self.give_up(victim)?;
            }
        }
        for index in 0..self.logs.len() {
            if self.logs[index].spec.class == Class::Edge && !self.logs[index].spare {
                self.make_spare(index)?;
            }
        }
        Ok(())
    }

    /// Every segment but the last of each stream and those that are leaving.
    fn places(&self) -> Vec<Place> {
        let of = |(index, log): (usize, &crate::log::Log)| {
            let pairs = log.segments.iter().zip(log.segments.iter().skip(1));
            let place = |(segment, next): (&Segment, &Segment)| Place {
                index,
                first: segment.first,
                below: next.first,
                newest_mono_ms: segment.newest_mono_ms,
            };
            pairs.filter(|(segment, _)| !segment.leaving).map(place).collect::<Vec<_>>()
        };
        self.logs.iter().enumerate().flat_map(of).collect()
    }

    /// Bytes of a class without what is leaving.
    fn staying(&self, class: Class) -> u64 {
        let logs = self.logs.iter().filter(|log| log.spec.class == class);
        let segments = logs.flat_map(|log| &log.segments).filter(|segment| !segment.leaving);
        segments.map(|segment| segment.file_bytes).sum()
    }

    /// What gives way first: acknowledged and confirmed, then acknowledged, then the rest; the oldest of each.
    fn victim(&self, class: Class) -> Option<Place> {
        let of_class = |place: &Place| self.logs[place.index].spec.class == class;
        let worth = |place: &Place| {
            let log = &self.logs[place.index];
            let worth = match place.below {
                below if below <= log.released() => 0,
                below if below <= log.acked.below() => 1,
                _ => 2,
            };
            (worth, place.newest_mono_ms, place.first)
        };
        self.places().into_iter().filter(of_class).min_by_key(worth)
    }

    /// Frees a segment now, or makes it leave when its losses are declared.
    fn give_up(&mut self, place: Place) -> Result<(), SpoolError> {
        let log = &mut self.logs[place.index];
        let before = log.losses.len();
        log.lose(place.first, place.below, LossCause::Evicted);
        let waits = log.losses.len() > before || Self::has_losses(log, place.first, place.below);
        if !waits {
            return self.unlink(place.index, place.first);
        }
        for segment in log.segments.iter_mut().filter(|segment| segment.first == place.first) {
            segment.leaving = true;
        }
        self.floors = true;
        Ok(())
    }

    fn has_losses(log: &crate::log::Log, from: u64, below: u64) -> bool {
        log.losses.iter().any(|loss| loss.from_seq < below && from <= loss.to_seq)
    }

    /// Unlinks segments whose losses are all declared.
    pub(crate) fn unlink_left(&mut self, index: usize) -> Result<(), SpoolError> {
        let log = &self.logs[index];
        let pairs = log.segments.iter().zip(log.segments.iter().skip(1));
        let left = pairs
            .filter(|(segment, next)| segment.leaving && !Self::has_losses(log, segment.first, next.first));
        let left: Vec<u64> = left.map(|(segment, _)| segment.first).collect();
        for first in left {
            self.unlink(index, first)?;
        }
        Ok(())
    }

    fn unlink(&mut self, index: usize, first: u64) -> Result<(), SpoolError> {
        let path = self.logs[index].path(first);
        match self.medium.remove(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(failed("remove", &path)(error));
            }
            _ => {}
        }
        self.logs[index].forget(first);
        Ok(())
    }

    /// Gives the spare file of a stream of events the name `path`, making one first where there is none.
    pub(crate) fn take_spare(&mut self, index: usize, path: &str) -> Result<(), SpoolError> {
        if !self.logs[index].spare
            && let Err(error) = self.make_spare(index)
        {
            let Some(victim) = self.reusable(index) else { return Err(error) };
            let old = self.logs[index].path(victim);
            self.logs[index].forget(victim);
            self.clear(&old, self.class_limits(index).segment_bytes)?;
            return self.medium.rename(&old, path).map_err(failed("rename", &old));
        }
        let spare = self.logs[index].spare_path();
        self.medium.rename(&spare, path).map_err(failed("rename", &spare))?;
        self.logs[index].spare = false;
        // The next one is made while there is time; where it cannot be, the next trim tries again.
        let _ = self.make_spare(index);
        Ok(())
    }

    /// The oldest segment of the stream that nobody needs.
    fn reusable(&self, index: usize) -> Option<u64> {
        let released = self.logs[index].released();
        let places = self.places();
        let mut of = places.iter().filter(|place| place.index == index && place.below <= released);
        of.next().map(|place| place.first)
    }

    /// Allocates the spare file; a full medium costs the oldest segment of series.
    pub(crate) fn make_spare(&mut self, index: usize) -> Result<(), SpoolError> {
        let spare = self.logs[index].spare_path();
        let made = self.clear(&spare, self.class_limits(index).segment_bytes);
        match made.and_then(|()| self.medium.sync(&spare).map_err(failed("sync", &spare))) {
            Ok(()) => {
                self.logs[index].spare = true;
                self.unsynced_folders.insert(self.logs[index].spec.name.to_owned());
                Ok(())
            }
            Err(error) => {
                let _ = self.medium.remove(&spare);
                if full(&error)
                    && let Some(victim) = self.victim(Class::Series)
                {
                    self.give_up(victim)?;
                }
                Err(error)
            }
        }
    }

    /// Fills a file with zeros.
    pub(crate) fn clear(&mut self, path: &str, bytes: u64) -> Result<(), SpoolError> {
        let mut offset = 0;
        while offset < bytes {
            let length = (bytes - offset).min(ZEROS.len() as u64);
            let zeros = &ZEROS[..length as usize];
            self.medium.write_at(path, offset, zeros).map_err(failed("allocate", path))?;
            offset += length;
        }
        Ok(())
    }
}

fn full(error: &SpoolError) -> bool {
    use std::io::ErrorKind::{QuotaExceeded, StorageFull};
    matches!(error, SpoolError::Medium { source, .. } if matches!(source.kind(), StorageFull | QuotaExceeded))
}
