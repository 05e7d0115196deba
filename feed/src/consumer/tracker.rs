//! Sequence numbers of one stream in one spool epoch: what came, what is missing.

/// What a sequence number turned out to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Seen {
    /// Higher than all before; the range in between, if any, is missing from now on.
    New(Option<(u64, u64)>),
    /// Was missing, or is older than the first one seen.
    Filled,
    /// Came before.
    Duplicate,
    /// Below the part that is remembered.
    TooOld,
}

/// Remembers the highest number and up to `limit` missing ranges below it.
#[derive(Debug, Clone)]
pub(super) struct Tracker {
    highest: u64,
    /// Missing ranges, rising, both ends inside.
    missing: Vec<(u64, u64)>,
    /// Numbers below this are forgotten.
    floor: u64,
    limit: usize,
}

impl Tracker {
    /// Begins with the first number seen. What lies below may still come, but is no gap: a consumer may
    /// join at any time.
    pub(super) fn first(seq: u64, limit: usize) -> Self {
        let missing = if seq > 0 { vec![(0, seq - 1)] } else { Vec::new() };
        Self { highest: seq, missing, floor: 0, limit: limit.max(1) }
    }

    /// What `seq` would be, without remembering it.
    pub(super) fn look(&self, seq: u64) -> Seen {
        if seq > self.highest {
            return Seen::New((seq - self.highest > 1).then(|| (self.highest + 1, seq - 1)));
        }
        if seq < self.floor {
            return Seen::TooOld;
        }
        match self.missing.iter().any(|&(from, to)| (from..=to).contains(&seq)) {
            true => Seen::Filled,
            false => Seen::Duplicate,
        }
    }

    /// Remembers `seq`.
    pub(super) fn take(&mut self, seq: u64) {
        match self.look(seq) {
            Seen::New(gap) => {
                self.missing.extend(gap);
                self.highest = seq;
            }
            Seen::Filled => {
                let at = self.missing.partition_point(|&(_, to)| to < seq);
                let (from, to) = self.missing.remove(at);
                if seq < to {
                    self.missing.insert(at, (seq + 1, to));
                }
                if from < seq {
                    self.missing.insert(at, (from, seq - 1));
                }
            }
            Seen::Duplicate | Seen::TooOld => {}
        }
        self.bound();
    }

    /// The stream is known to reach to `last`: what has not come of it is missing. Gives that range.
    pub(super) fn reaches(&mut self, last: u64) -> Option<(u64, u64)> {
        let gap = (last > self.highest).then(|| (self.highest + 1, last))?;
        self.missing.push(gap);
        self.highest = last;
        self.bound();
        Some(gap)
    }

    fn bound(&mut self) {
        while self.missing.len() > self.limit {
            let (_, to) = self.missing.remove(0);
            self.floor = to.saturating_add(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        /// Against the naive model: a set of everything that came.
        #[test]
        fn a_number_is_taken_once(seqs in prop::collection::vec(0u64..60, 1..120)) {
            let mut tracker = Tracker::first(seqs[0], 1000);
            let mut model = BTreeSet::from([seqs[0]]);
            for &seq in &seqs[1..] {
                let highest = *model.last().expect("not empty");
                let expected = if model.contains(&seq) {
                    Seen::Duplicate
                } else if seq > highest {
                    Seen::New((seq > highest + 1).then(|| (highest + 1, seq - 1)))
                } else {
                    Seen::Filled
                };
                prop_assert_eq!(tracker.look(seq), expected);
                tracker.take(seq);
                model.insert(seq);
            }
        }

        #[test]
        fn ranges_stay_within_the_limit_and_nothing_is_taken_twice(seqs in prop::collection::vec(any::<u64>(), 1..200)) {
            let mut tracker = Tracker::first(seqs[0], 4);
            let mut taken = BTreeSet::from([seqs[0]]);
            for &seq in &seqs[1..] {
                if matches!(tracker.look(seq), Seen::New(_) | Seen::Filled) {
                    prop_assert!(taken.insert(seq));
                }
                tracker.take(seq);
                prop_assert!(tracker.missing.len() <= 4);
            }
        }
    }

    #[test]
    fn the_end_of_a_session_shows_what_its_tail_lacks() {
        let mut tracker = Tracker::first(5, 8);
        assert_eq!(tracker.reaches(5), None);
        assert_eq!(tracker.reaches(8), Some((6, 8)));
        assert_eq!(tracker.look(7), Seen::Filled);
        assert_eq!(tracker.look(9), Seen::New(None));
    }

    #[test]
    fn numbers_below_the_forgotten_ranges_are_too_old() {
        let mut tracker = Tracker::first(0, 1);
        tracker.take(2);
        tracker.take(4);
        assert_eq!(tracker.look(1), Seen::TooOld);
        assert_eq!(tracker.look(3), Seen::Filled);
    }
}
