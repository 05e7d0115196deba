//! Sequence numbers of one stream in one spool epoch: what came, what is missing, what was declared lost.

use super::Settings;

/// What a sequence number turned out to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Seen {
    /// Higher than all before; the range in between, if any, is missing from now on.
    New(Option<(u64, u64)>),
    /// Was missing or declared lost, or is older than the first one seen.
    Filled,
    /// Came before.
    Duplicate,
    /// Below the part that is remembered.
    TooOld,
}

/// Why numbers that have not come are absent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Absence {
    /// Nobody said why.
    Missing,
    /// The node said that they will not come.
    Declared,
    /// They lie before the first one seen by a consumer that joined late: no loss.
    Before,
}

/// Numbers that have not come, both ends inside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Span {
    from: u64,
    to: u64,
    absence: Absence,
}

/// Remembers the highest number and up to `limit` spans below it that have not come.
#[derive(Debug, Clone)]
pub(super) struct Tracker {
    /// Highest number that came or is known to exist.
    highest: Option<u64>,
    /// What has not come, rising; spans that touch have different absences.
    absent: Vec<Span>,
    /// Numbers below this are forgotten.
    floor: u64,
    /// From the first to the last forgotten number that was missing. What lies between may have come, but
    /// nobody remembers, so nothing is claimed about it.
    forgotten: Option<(u64, u64)>,
    from_start: bool,
    /// The spool was replaced: what is absent, now or later, will not come.
    closed: bool,
    limit: usize,
}

impl Tracker {
    /// A stream of which nothing came yet.
    pub(super) fn new(settings: &Settings, closed: bool) -> Self {
        Self {
            highest: None,
            absent: Vec::new(),
            floor: 0,
            forgotten: None,
            from_start: settings.from_start,
            closed,
            limit: settings.missing_ranges.max(1),
        }
    }

    /// What `seq` would be, without remembering it.
    pub(super) fn look(&self, seq: u64) -> Seen {
        if self.highest.is_none_or(|highest| seq > highest) {
            return Seen::New(self.gap_below(seq).filter(|_| self.absence_above() == Absence::Missing));
        }
        if seq < self.floor {
            return Seen::TooOld;
        }
        match self.absent.iter().any(|span| (span.from..=span.to).contains(&seq)) {
            true => Seen::Filled,
            false => Seen::Duplicate,
        }
    }

    /// Remembers `seq`.
    pub(super) fn take(&mut self, seq: u64) {
        match self.look(seq) {
            Seen::New(_) => {
                self.extend_below(seq);
                self.highest = Some(seq);
            }
            Seen::Filled => {
                let at = self.absent.partition_point(|span| span.to < seq);
                let span = self.absent.remove(at);
                if seq < span.to {
                    self.absent.insert(at, Span { from: seq + 1, ..span });
                }
                if span.from < seq {
                    self.absent.insert(at, Span { to: seq - 1, ..span });
                }
            }
            Seen::Duplicate | Seen::TooOld => {}
        }
        self.settle();
    }

    /// The stream is known to reach to `last`: what has not come of it is missing. Gives that range.
    pub(super) fn reaches(&mut self, last: u64) -> Option<(u64, u64)> {
        let from = self.next()?;
        if last < from {
            return None;
        }
        let absence = self.absence_above();
        self.absent.push(Span { from, to: last, absence });
        self.highest = Some(last);
        self.settle();
        (absence == Absence::Missing).then_some((from, last))
    }

    /// The node said that `from` to `to` will not come: what has not come of it is declared. Gives the range
    /// below it that this shows to be missing.
    pub(super) fn declare(&mut self, from: u64, to: u64) -> Option<(u64, u64)> {
        let gap = from.checked_sub(1).and_then(|last| self.reaches(last));
        if let Some(next) = self.next()
            && next <= to
        {
            self.absent.push(Span { from: next, to, absence: Absence::Declared });
            self.highest = Some(to);
        }
        let spans = std::mem::take(&mut self.absent);
        for span in spans {
            let (inner_from, inner_to) = (span.from.max(from), span.to.min(to));
            if inner_from > inner_to {
                self.absent.push(span);
                continue;
            }
            if span.from < inner_from {
                self.absent.push(Span { to: inner_from - 1, ..span });
            }
            self.absent.push(Span { from: inner_from, to: inner_to, absence: Absence::Declared });
            if inner_to < span.to {
                self.absent.push(Span { from: inner_to + 1, ..span });
            }
        }
        self.forgotten = self.forgotten.and_then(|(first, last)| match (from <= first, last <= to) {
            (true, true) => None,
            (true, false) => Some((first.max(to.saturating_add(1)), last)),
            (false, true) => Some((first, last.min(from - 1))),
            (false, false) => Some((first, last)),
        });
        self.settle();
        gap
    }

    /// The spool was replaced: whatever is missing, now or later, is declared.
    pub(super) fn close(&mut self) {
        self.closed = true;
        self.forgotten = None;
        for span in &mut self.absent {
            if span.absence == Absence::Missing {
                span.absence = Absence::Declared;
            }
        }
        self.settle();
    }

    /// Highest number that came or is known to exist.
    pub(super) const fn highest(&self) -> Option<u64> {
        self.highest
    }

    /// Everything below this number came, was declared, or lies before the first one seen by a consumer that
    /// joined late.
    pub(super) fn below(&self) -> u64 {
        let end = self.highest.map_or(0, |highest| highest.saturating_add(1));
        self.missing().map(|(from, _)| from).next().unwrap_or(end)
    }

    /// Ranges that have not come and were not declared, rising. Ranges that are no longer remembered one by
    /// one stand first, as one range that holds them all.
    pub(super) fn missing(&self) -> impl Iterator<Item = (u64, u64)> {
        self.forgotten.into_iter().chain(self.spans(Absence::Missing))
    }

    /// Ranges that were declared and have not come, rising, as far as they are remembered.
    pub(super) fn declared(&self) -> impl Iterator<Item = (u64, u64)> {
        self.spans(Absence::Declared)
    }

    fn spans(&self, absence: Absence) -> impl Iterator<Item = (u64, u64)> {
        self.absent.iter().filter(move |span| span.absence == absence).map(|span| (span.from, span.to))
    }

    /// The first number above all that are known to exist; `None` at the end of all numbers.
    fn next(&self) -> Option<u64> {
        self.highest.map_or(Some(0), |highest| highest.checked_add(1))
    }

    /// What lies between the numbers known so far and a higher one.
    fn gap_below(&self, seq: u64) -> Option<(u64, u64)> {
        self.next().filter(|from| *from < seq).map(|from| (from, seq - 1))
    }

    /// What an absence above everything known means.
    fn absence_above(&self) -> Absence {
        if self.highest.is_none() && !self.from_start {
            Absence::Before
        } else if self.closed {
            Absence::Declared
        } else {
            Absence::Missing
        }
    }

    fn extend_below(&mut self, seq: u64) {
        if let Some((from, to)) = self.gap_below(seq) {
            self.absent.push(Span { from, to, absence: self.absence_above() });
        }
    }

    /// Joins spans that touch, then forgets the oldest ones above the limit.
    fn settle(&mut self) {
        self.absent.dedup_by(|next, span| {
            let joins = span.absence == next.absence && span.to.checked_add(1) == Some(next.from);
            if joins {
                span.to = next.to;
            }
            joins
        });
        while self.absent.len() > self.limit {
            let span = self.absent.remove(0);
            if span.absence == Absence::Missing {
                let first = self.forgotten.map_or(span.from, |(first, _)| first);
                self.forgotten = Some((first, span.to));
            }
            self.floor = span.to.saturating_add(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn tracker(missing_ranges: usize, from_start: bool) -> Tracker {
        Tracker::new(&Settings { missing_ranges, from_start, ..Settings::default() }, false)
    }

    #[derive(Debug, Clone, Copy)]
    enum Step {
        Take(u64),
        Reach(u64),
        Declare(u64, u64),
        Close,
    }

    fn steps(numbers: std::ops::Range<u64>) -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            8 => numbers.clone().prop_map(Step::Take),
            1 => numbers.clone().prop_map(Step::Reach),
            3 => (numbers.clone(), 0u64..9)
                .prop_map(move |(from, more)| Step::Declare(from, (from + more).min(numbers.end - 1))),
        ];
        // A spool is replaced at most once, so closing comes late if at all.
        (prop::collection::vec(step.clone(), 1..80), prop::option::of(prop::collection::vec(step, 0..20)))
            .prop_map(|(mut before, after)| {
                if let Some(after) = after {
                    before.push(Step::Close);
                    before.extend(after);
                }
                before
            })
    }

    /// The naive model: sets of numbers.
    #[derive(Debug, Default)]
    struct Model {
        came: BTreeSet<u64>,
        declared: BTreeSet<u64>,
        before: BTreeSet<u64>,
        highest: Option<u64>,
        closed: bool,
    }

    impl Model {
        fn extend(&mut self, to: u64, from_start: bool) {
            let from = self.highest.map_or(0, |highest| highest + 1);
            let first = self.highest.is_none();
            for seq in from..=to {
                if first && !from_start {
                    self.before.insert(seq);
                } else if self.closed {
                    self.declared.insert(seq);
                }
            }
            self.highest = self.highest.max(Some(to));
        }

        fn step(&mut self, step: Step, from_start: bool) {
            match step {
                Step::Take(seq) => {
                    if let Some(below) = seq.checked_sub(1) {
                        self.extend(below, from_start);
                    }
                    self.highest = self.highest.max(Some(seq));
                    self.came.insert(seq);
                    self.declared.remove(&seq);
                    self.before.remove(&seq);
                }
                Step::Reach(last) => self.extend(last, from_start),
                Step::Declare(from, to) => {
                    if let Some(below) = from.checked_sub(1) {
                        self.extend(below, from_start);
                    }
                    self.highest = self.highest.max(Some(to));
                    for seq in (from..=to).filter(|seq| !self.came.contains(seq)) {
                        self.declared.insert(seq);
                        self.before.remove(&seq);
                    }
                }
                Step::Close => {
                    self.declared.extend(self.missing());
                    self.closed = true;
                }
            }
        }

        fn accounted(&self, seq: u64) -> bool {
            self.came.contains(&seq) || self.declared.contains(&seq) || self.before.contains(&seq)
        }

        fn missing(&self) -> BTreeSet<u64> {
            let end = self.highest.map_or(0, |highest| highest + 1);
            (0..end).filter(|seq| !self.accounted(*seq)).collect()
        }

        fn below(&self) -> u64 {
            (0..)
                .find(|seq| self.highest.is_none_or(|highest| *seq > highest) || !self.accounted(*seq))
                .expect("the highest number is finite")
        }
    }

    fn apply(tracker: &mut Tracker, step: Step) {
        match step {
            Step::Take(seq) => tracker.take(seq),
            Step::Reach(last) => drop(tracker.reaches(last)),
            Step::Declare(from, to) => drop(tracker.declare(from, to)),
            Step::Close => tracker.close(),
        }
    }

    fn numbers(ranges: impl Iterator<Item = (u64, u64)>) -> BTreeSet<u64> {
        ranges.flat_map(|(from, to)| from..=to).collect()
    }

    proptest! {
        /// Against the naive model: what is new, missing and declared, and how far everything is accounted for.
        #[test]
        fn every_number_is_in_one_state_and_is_taken_once(steps in steps(0..60), from_start in any::<bool>()) {
            let (mut tracker, mut model) = (tracker(1000, from_start), Model::default());
            for step in steps {
                if let Step::Take(seq) = step {
                    let new = model.highest.is_none_or(|highest| seq > highest);
                    match tracker.look(seq) {
                        Seen::New(_) => prop_assert!(new),
                        Seen::Filled => prop_assert!(!new && !model.came.contains(&seq)),
                        Seen::Duplicate => prop_assert!(!new && model.came.contains(&seq)),
                        Seen::TooOld => prop_assert!(false, "nothing is forgotten"),
                    }
                }
                let before = model.missing();
                // A gap that is reported is what this step makes missing.
                let gap = match step {
                    Step::Take(seq) => match tracker.look(seq) {
                        Seen::New(gap) => gap,
                        _ => None,
                    },
                    Step::Reach(last) => tracker.clone().reaches(last),
                    Step::Declare(from, to) => tracker.clone().declare(from, to),
                    Step::Close => None,
                };
                apply(&mut tracker, step);
                model.step(step, from_start);
                let missing = model.missing();
                prop_assert_eq!(
                    numbers(gap.into_iter()),
                    missing.difference(&before).copied().collect::<BTreeSet<_>>()
                );
                prop_assert_eq!(numbers(tracker.missing()), missing);
                prop_assert_eq!(numbers(tracker.declared()), model.declared.clone());
                prop_assert_eq!(tracker.below(), model.below());
                prop_assert_eq!(tracker.highest(), model.highest);
            }
        }

        /// In little memory a tracker may know less, but it never says too much.
        #[test]
        fn a_bounded_tracker_takes_nothing_twice_and_claims_nothing_that_is_missing(
            steps in steps(0..200), from_start in any::<bool>()
        ) {
            let (mut tracker, mut model) = (tracker(4, from_start), Model::default());
            for step in steps {
                if let Step::Take(seq) = step
                    && matches!(tracker.look(seq), Seen::New(_) | Seen::Filled)
                {
                    prop_assert!(!model.came.contains(&seq));
                    model.step(step, from_start);
                } else if !matches!(step, Step::Take(_)) {
                    model.step(step, from_start);
                }
                apply(&mut tracker, step);
                prop_assert!(tracker.absent.len() <= 4);
                prop_assert!(tracker.below() <= model.below());
                prop_assert!(numbers(tracker.missing()).is_superset(&model.missing()));
            }
        }

        #[test]
        fn the_ends_of_the_number_range_are_numbers_like_others(
            seqs in prop::collection::vec((any::<bool>(), any::<u64>(), any::<u64>()), 1..100)
        ) {
            let mut tracker = tracker(4, true);
            let mut taken = BTreeSet::new();
            for (take, from, to) in seqs.into_iter().chain([(false, 0, u64::MAX), (true, u64::MAX, 0)]) {
                if take {
                    if matches!(tracker.look(from), Seen::New(_) | Seen::Filled) {
                        prop_assert!(taken.insert(from));
                    }
                    tracker.take(from);
                } else {
                    tracker.declare(from.min(to), from.max(to));
                }
                prop_assert!(tracker.absent.len() <= 4);
            }
            prop_assert_eq!(tracker.missing().count(), 0);
        }
    }

    #[test]
    fn the_end_of_a_session_shows_what_its_tail_lacks() {
        let mut tracker = tracker(8, false);
        tracker.take(5);
        assert_eq!(tracker.reaches(5), None);
        assert_eq!(tracker.reaches(8), Some((6, 8)));
        assert_eq!(tracker.look(7), Seen::Filled);
        assert_eq!(tracker.look(9), Seen::New(None));
    }

    #[test]
    fn numbers_below_the_forgotten_ranges_are_too_old_and_hold_the_watermark_back() {
        let mut tracker = tracker(1, false);
        for seq in [0, 2, 4] {
            tracker.take(seq);
        }
        assert_eq!(tracker.look(1), Seen::TooOld);
        assert_eq!(tracker.look(3), Seen::Filled);
        assert_eq!(tracker.below(), 1);
        tracker.declare(1, 1);
        assert_eq!(tracker.below(), 3);
        tracker.take(3);
        assert_eq!(tracker.below(), 5);
    }

    #[test]
    fn what_lies_before_a_late_joiner_is_no_loss_unless_it_begins_at_the_start() {
        let mut late = tracker(8, false);
        late.take(5);
        assert_eq!((late.missing().count(), late.below()), (0, 6));
        assert_eq!(late.look(2), Seen::Filled);
        let mut whole = tracker(8, true);
        assert_eq!(whole.look(5), Seen::New(Some((0, 4))));
        whole.take(5);
        assert_eq!((whole.missing().collect::<Vec<_>>(), whole.below()), (vec![(0, 4)], 0));
    }
}
