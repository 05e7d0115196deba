//! Sets of numbers that are mostly one run from the beginning.

/// Every number below `below`, and some ranges above it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Numbers {
    below: u64,
    /// Ranges `[from, to)` above `below`, rising, apart from each other.
    above: Vec<(u64, u64)>,
}

impl Numbers {
    /// Every number below `below`, and the ranges `[from, to)`.
    pub fn new(below: u64, above: &[(u64, u64)]) -> Self {
        let mut numbers = Self { below, above: Vec::new() };
        for &(from, to) in above {
            numbers.insert(from, to);
        }
        numbers
    }

    /// Every number below is in the set.
    pub fn below(&self) -> u64 {
        self.below
    }

    /// The ranges `[from, to)` above [`Self::below`], rising, apart from each other.
    pub fn above(&self) -> &[(u64, u64)] {
        &self.above
    }

    /// The first number at or above `from` that is not in the set.
    pub fn first_missing(&self, from: u64) -> u64 {
        let from = from.max(self.below);
        self.above.iter().find(|(start, end)| (*start..*end).contains(&from)).map_or(from, |(_, end)| *end)
    }

    /// Whether the number is in the set.
    pub fn contains(&self, number: u64) -> bool {
        self.first_missing(number) != number
    }

    /// The parts of `[from, to)` that are not in the set.
    pub fn missing_in(&self, from: u64, to: u64) -> Vec<(u64, u64)> {
        let mut missing = Vec::new();
        let mut at = self.first_missing(from);
        while at < to {
            let end =
                self.above.iter().map(|(start, _)| *start).find(|start| *start > at).unwrap_or(to).min(to);
            missing.push((at, end));
            at = self.first_missing(end);
        }
        missing
    }

    /// How many numbers of `[from, to)` are not in the set.
    pub fn count_missing_in(&self, from: u64, to: u64) -> u64 {
        self.missing_in(from, to).iter().map(|(from, to)| to - from).sum()
    }

    /// Adds `[from, to)`.
    pub fn insert(&mut self, from: u64, to: u64) {
        if from >= to {
            return;
        }
        let (mut from, mut to) = (from, to);
        self.above.retain(|&(start, end)| {
            let touches = start <= to && from <= end;
            if touches {
                (from, to) = (from.min(start), to.max(end));
            }
            !touches
        });
        if from <= self.below {
            self.below = self.below.max(to);
        } else {
            let at = self.above.partition_point(|&(start, _)| start < from);
            self.above.insert(at, (from, to));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Against the naive model: a set of numbers.
        #[test]
        fn it_is_a_set(inserts in prop::collection::vec((0_u64..60, 0_u64..6), 0..40), asked in 0_u64..70) {
            let mut numbers = Numbers::default();
            let mut model = BTreeSet::new();
            for (from, length) in inserts {
                numbers.insert(from, from + length);
                model.extend(from..from + length);
            }
            prop_assert_eq!(numbers.contains(asked), model.contains(&asked));
            let missing = (asked..).find(|number| !model.contains(number)).expect("the model is finite");
            prop_assert_eq!(numbers.first_missing(asked), missing);
            let in_range: u64 = (10..50).filter(|number| !model.contains(number)).count() as u64;
            prop_assert_eq!(numbers.count_missing_in(10, 50), in_range);
            let below = (0..).find(|number| !model.contains(number)).expect("the model is finite");
            prop_assert_eq!(numbers.below(), below);
            prop_assert!(numbers.above().windows(2).all(|pair| pair[0].1 < pair[1].0));
            prop_assert!(numbers.above().first().is_none_or(|first| first.0 > below));
        }
    }
}
