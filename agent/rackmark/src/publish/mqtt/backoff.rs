//! Pauses between attempts.

use std::time::Duration;

use crate::random;

/// First interval between connection attempts.
pub(super) const BASE: Duration = Duration::from_millis(500);
/// The longest interval unless configured.
#[cfg(test)]
pub(super) const CAP: Duration = Duration::from_secs(60);

/// Exponential back-off with full jitter: pause `n` is drawn evenly from zero
/// up to the longest interval or `BASE * 2^n`, whichever is less, so that agents that failed together do not return together.
#[derive(Debug)]
pub(super) struct Backoff {
    failures: u32,
    longest: Duration,
}

impl Backoff {
    pub(super) fn new(longest: Duration) -> Self {
        Self { failures: 0, longest }
    }

    /// The next pause; each call doubles the interval of the following one.
    pub(super) fn next(&mut self) -> Duration {
        let interval = interval(self.failures, self.longest);
        self.failures = self.failures.saturating_add(1);
        interval.mul_f64(random::share())
    }

    pub(super) fn reset(&mut self) {
        self.failures = 0;
    }
}

fn interval(failures: u32, longest: Duration) -> Duration {
    BASE.saturating_mul(2_u32.saturating_pow(failures)).min(longest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interval_doubles_up_to_the_cap() {
        let seconds: Vec<f64> = (0..9).map(|n| interval(n, CAP).as_secs_f64()).collect();
        assert_eq!(seconds, [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0]);
        assert_eq!(interval(u32::MAX, CAP), CAP);
    }

    #[test]
    fn the_jitter_covers_the_whole_interval() {
        let mut backoff = Backoff::new(CAP);
        for _ in 0..7 {
            backoff.next();
        }
        let pauses: Vec<Duration> = (0..400).map(|_| backoff.next()).collect();
        assert!(pauses.iter().all(|pause| *pause <= CAP));
        // 400 even draws miss a tenth of the interval with a chance of 0.9^400, below 1e-18.
        for tenth in 0..10 {
            let (low, high) =
                (CAP.mul_f64(f64::from(tenth) / 10.0), CAP.mul_f64(f64::from(tenth + 1) / 10.0));
            assert!(pauses.iter().any(|pause| (low..=high).contains(pause)), "no pause in tenth {tenth}");
        }
    }
}
