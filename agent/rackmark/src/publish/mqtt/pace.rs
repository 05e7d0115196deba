//! How much of the backlog is on its way at a time.
//!
//! What waits in the window and in the socket's buffer stands before anything
//! new. So the backlog keeps no more in flight than is acknowledged within
//! about a second: half as much after a slow answer, one more after a quick one.

use std::time::Duration;

use tokio::time::Instant;

/// An answer later than this halves the backlog's share: with it, what is new waits less than 2 s.
const SLOW: Duration = Duration::from_millis(800);
/// An answer sooner than this lets it grow.
const QUICK: Duration = Duration::from_millis(400);

#[derive(Debug)]
pub(super) struct Pace {
    share: u16,
    most: u16,
    /// Messages sent before this were sent before the last halving.
    halved: Option<Instant>,
}

impl Pace {
    /// Begins with the whole window.
    pub(super) fn new(window: u16) -> Self {
        Self { share: window, most: window, halved: None }
    }

    /// Whether one more may go while `flying` of the backlog are in flight.
    pub(super) fn allows(&self, flying: usize) -> bool {
        flying < usize::from(self.share)
    }

    /// An answer came to a message of the backlog.
    pub(super) fn answered(&mut self, sent: Instant, now: Instant) {
        let took = now.saturating_duration_since(sent);
        if took > SLOW {
            // The others that were on their way tell the same story.
            if self.halved.is_none_or(|halved| sent >= halved) {
                self.share = (self.share / 2).max(1);
                self.halved = Some(now);
            }
        } else if took < QUICK {
            self.share = (self.share + 1).min(self.most);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn slow_answers_halve_once_per_round_and_quick_ones_add_one() {
        let mut pace = Pace::new(64);
        let start = Instant::now();
        let late = start + Duration::from_secs(1);
        for _ in 0..64 {
            pace.answered(start, late);
        }
        assert!(pace.allows(31) && !pace.allows(32), "one round, one halving");
        pace.answered(late, late + Duration::from_secs(1));
        assert!(pace.allows(15) && !pace.allows(16));
        for n in 2..20 {
            let sent = late + Duration::from_secs(n);
            pace.answered(sent, sent + Duration::from_secs(1));
        }
        assert!(pace.allows(0) && !pace.allows(1), "one is always allowed");
        for _ in 0..100 {
            pace.answered(late, late + Duration::from_millis(10));
        }
        assert!(pace.allows(63) && !pace.allows(64), "never above the window");
    }
}
