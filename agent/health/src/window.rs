//! Small memories of counters, for rules about rates and shares of time.
//!
//! Counters may go backwards (a reset, a new driver) and time may jump ahead (a
//! suspended machine): both begin a window anew and never give a rate.

use crate::clock::MINUTE_MS;

/// The growth of a counter over a window, told once per window.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Growth {
    began: Option<(u64, u64)>,
    last: Option<Rate>,
}

/// How much a counter grew, and in how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// Growth.
    pub by: u64,
    /// Over this many milliseconds, never 0.
    pub over_ms: u64,
}

impl Rate {
    /// Growth per `span_ms`, rounded down.
    pub fn per(self, span_ms: u64) -> u64 {
        let per = u128::from(self.by) * u128::from(span_ms) / u128::from(self.over_ms.max(1));
        u64::try_from(per).unwrap_or(u64::MAX)
    }
}

impl Growth {
    /// Takes the counter at `boot_ms`; gives the rate of the newest complete window of `window_ms`.
    pub fn take(&mut self, value: u64, boot_ms: u64, window_ms: u64) -> Option<Rate> {
        match self.began {
            Some((at, from)) if value >= from && boot_ms >= at && boot_ms - at <= window_ms * 10 => {
                if boot_ms - at >= window_ms {
                    self.last = Some(Rate { by: value - from, over_ms: boot_ms - at });
                    self.began = Some((boot_ms, value));
                }
            }
            _ => *self = Self { began: Some((boot_ms, value)), last: None },
        }
        self.last
    }
}

/// Minutes that a share of time is taken over.
const MINUTES: usize = 5;
/// The same in milliseconds.
const SPAN_MS: u64 = MINUTE_MS * MINUTES as u64;

/// How long a state held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held {
    /// This many milliseconds.
    by_ms: u64,
    /// Of this many that are known, never 0.
    over_ms: u64,
}

impl Held {
    /// The share of five minutes in thousandths: what was not seen yet counts as free of it.
    pub fn permille(self) -> u64 {
        self.by_ms.saturating_mul(1000) / self.over_ms.max(SPAN_MS)
    }

    /// All five minutes are known.
    pub const fn is_whole(self) -> bool {
        self.over_ms >= SPAN_MS
    }
}

/// Which share of the last five minutes a state held, from a counter of nanoseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Share {
    /// Counter at the beginning of each of the last minutes, oldest first; the time with it.
    marks: [(u64, u64); MINUTES + 1],
    filled: usize,
}

impl Share {
    /// Takes the counter at `boot_ms`; what was held, once a minute is known.
    pub fn take(&mut self, nanoseconds: u64, boot_ms: u64) -> Option<Held> {
        if let Some((at, value)) = self.filled.checked_sub(1).map(|last| self.marks[last]) {
            if nanoseconds < value || boot_ms < at || boot_ms - at > SPAN_MS {
                self.filled = 0;
            } else if boot_ms - at >= MINUTE_MS {
                if self.filled == self.marks.len() {
                    self.marks.rotate_left(1);
                    self.filled -= 1;
                }
                self.marks[self.filled] = (boot_ms, nanoseconds);
                self.filled += 1;
            }
        }
        if self.filled == 0 {
            self.marks[0] = (boot_ms, nanoseconds);
            self.filled = 1;
        }
        let (first_at, first) = self.marks[0];
        let (last_at, last) = self.marks[self.filled - 1];
        let over_ms = last_at - first_at;
        (over_ms > 0).then_some(Held { by_ms: (last - first) / 1_000_000, over_ms })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn growth_is_told_per_window_and_begins_anew_where_the_counter_goes_backwards() {
        let mut growth = Growth::default();
        assert_eq!(growth.take(10, 0, MINUTE_MS), None);
        assert_eq!(growth.take(20, 30_000, MINUTE_MS), None);
        let rate = growth.take(40, 60_000, MINUTE_MS).expect("a minute");
        assert_eq!((rate.by, rate.per(MINUTE_MS)), (30, 30));
        assert_eq!(growth.take(3, 61_000, MINUTE_MS), None, "a counter that went backwards");
        assert_eq!(growth.take(3, 2_000_000, MINUTE_MS), None, "time that jumped");
    }

    #[test]
    fn a_share_is_of_the_last_five_minutes() {
        let mut share = Share::default();
        for second in 0..=60 {
            share.take(second * 500_000_000, second * 1000);
        }
        let first = share.take(60 * 500_000_000, 60_000).expect("a minute");
        assert_eq!((first.permille(), first.is_whole()), (100, false), "30 s of five minutes");
        for second in 61..=360 {
            share.take(60 * 500_000_000, second * 1000);
        }
        let later = share.take(60 * 500_000_000, 360_000).expect("five minutes");
        assert_eq!((later.permille(), later.is_whole()), (0, true));
    }

    proptest! {
        #[test]
        fn nothing_panics_and_shares_stay_shares(steps in proptest::collection::vec((0..3_000_u64, 0..=1000_u64), 1..400)) {
            let (mut growth, mut share) = (Growth::default(), Share::default());
            let (mut boot_ms, mut counter) = (0, 0);
            for (step_ms, permille) in steps {
                boot_ms += step_ms;
                counter += step_ms * permille * 1000;
                prop_assert!(share.take(counter, boot_ms).is_none_or(|held| held.permille() <= 1000));
                growth.take(counter, boot_ms, MINUTE_MS);
            }
        }

        #[test]
        fn any_counter_and_any_time_is_taken(steps in proptest::collection::vec(any::<(u64, u64)>(), 1..50)) {
            let (mut growth, mut share) = (Growth::default(), Share::default());
            for (value, boot_ms) in steps {
                share.take(value, boot_ms);
                growth.take(value, boot_ms, MINUTE_MS);
            }
        }
    }
}
