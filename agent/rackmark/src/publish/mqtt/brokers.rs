//! Which broker is next, and when.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::{sleep, timeout};
use tracing::debug;

use super::backoff::Backoff;
use super::dialer::Dialer;
use super::report::chain;
use super::stats::{PublisherStats, add};
use super::transport::{Connection, Credentials, Link, LinkEvent, Transport};
use crate::random;

/// A connection that lasted this long was a good one: the next failure starts
/// the back-off and the list of brokers afresh. Shorter ones count as failed
/// attempts, so that two clients with one identifier do not chase each other.
pub(super) const STABLE: Duration = Duration::from_secs(10);
/// Longest pause before the next broker of the same round: long enough to
/// spread a fleet whose broker died over half a second.
const WITHIN_ROUND: Duration = Duration::from_millis(500);
/// Mean time after which a later broker's connection looks for the first again;
/// with 50 % jitter to either side, so that a fleet does not return at once.
const RETURN_AFTER: Duration = Duration::from_secs(60);
/// Longest such time, reached by doubling while returns do not last.
const RETURN_AFTER_MAX: Duration = Duration::from_secs(3600);
/// How long a DISCONNECT that makes room for another connection may take to be written.
const LEAVE: Duration = Duration::from_millis(500);

/// The place in the list of brokers.
#[derive(Debug)]
pub(super) struct Choice {
    count: usize,
    at: usize,
    backoff: Backoff,
    attempts: u32,
    return_after: Duration,
}

impl Choice {
    /// Begins at the first of `count` brokers, at least one; a pause is never longer than `longest`.
    pub(super) fn new(count: usize, longest: Duration) -> Self {
        Self { count, at: 0, backoff: Backoff::new(longest), attempts: 0, return_after: RETURN_AFTER }
    }

    /// Place of the broker to try, from 0.
    pub(super) fn at(&self) -> usize {
        self.at
    }

    /// Attempts since the last good connection.
    pub(super) fn attempts(&self) -> u32 {
        self.attempts
    }

    /// An attempt failed: the next broker, after the pause that is returned.
    pub(super) fn failed(&mut self) -> Duration {
        self.attempts = self.attempts.saturating_add(1);
        self.at += 1;
        if self.at < self.count {
            return WITHIN_ROUND.mul_f64(random::share());
        }
        self.at = 0;
        self.backoff.next()
    }

    /// A connection ended unasked after `lasted`. One that lasted is followed
    /// by the first broker again, after the pause that is returned.
    pub(super) fn ended(&mut self, lasted: Duration, returned: bool) -> Duration {
        if lasted < STABLE {
            if returned {
                self.return_after = (self.return_after * 2).min(RETURN_AFTER_MAX);
            }
            return self.failed();
        }
        if self.at == 0 {
            self.return_after = RETURN_AFTER;
        }
        self.at = 0;
        self.attempts = 0;
        self.backoff.reset();
        self.backoff.next()
    }

    /// The first broker is connected again.
    pub(super) fn returned(&mut self) {
        self.at = 0;
    }

    /// Time until the first broker is to be tried beside a later one's connection; drawn afresh at each call.
    fn return_pause(&self) -> Duration {
        self.return_after.mul_f64(0.5 + random::share())
    }
}

/// The way back to the first broker, beside the connection to a later one.
#[derive(Debug, Default)]
pub(super) struct WayBack {
    attempting: AtomicBool,
    last: AtomicBool,
}

impl WayBack {
    /// Whether an attempt is under way.
    pub(super) fn is_attempting(&self) -> bool {
        self.attempting.load(Relaxed)
    }

    /// The connection beside it is gone: the attempt under way is the last.
    pub(super) fn make_last(&self) {
        self.last.store(true, Relaxed);
    }

    /// Tries the first broker from time to time until it is connected. Never
    /// ends while it is the one in use; `None` where the last attempt failed.
    pub(super) async fn walk<T: Transport>(
        &self,
        choice: &Choice,
        dialer: &Dialer<T>,
        stats: &PublisherStats,
    ) -> Option<Connection<T::Link>> {
        if choice.at() == 0 {
            return std::future::pending().await;
        }
        loop {
            sleep(choice.return_pause()).await;
            self.attempting.store(true, Relaxed);
            match dialer.connect(0).await {
                Ok(connection) => return Some(connection),
                Err(error) => {
                    add(&stats.connect_failures_total);
                    debug!(broker = %dialer.broker(0), error = chain(&error), "the first broker is still away");
                }
            }
            if self.last.load(Relaxed) {
                return None;
            }
            self.attempting.store(false, Relaxed);
        }
    }
}

/// Why a sound connection is left for another one.
pub(super) enum Leave<L> {
    /// The files it was made from were replaced.
    Renewed,
    /// The first broker is connected again.
    Back(Connection<L>),
}

/// Ends when `renewed` has changed, and leaves it so; never where nothing is renewed.
pub(super) async fn changed(renewed: &mut Option<watch::Receiver<Option<Credentials>>>) {
    if let Some(renewed) = renewed
        && renewed.changed().await.is_ok()
    {
        renewed.mark_changed();
        return;
    }
    std::future::pending::<()>().await;
}

/// DISCONNECT 0x00. What was not acknowledged is sent again on the next connection.
pub(super) async fn leave_without_will(mut link: impl Link, mut events: mpsc::Receiver<LinkEvent>) {
    link.disconnect(false);
    // Past the limit the connection is dropped, which ends it without DISCONNECT.
    let _ = timeout(LEAVE, until_closed(&mut events)).await;
}

pub(super) async fn until_closed(events: &mut mpsc::Receiver<LinkEvent>) {
    while let Some(event) = events.recv().await {
        if matches!(event, LinkEvent::Closed(_)) {
            break;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_round_is_walked_with_short_pauses_and_ends_with_a_growing_one() {
        let mut choice = Choice::new(3, super::super::backoff::CAP);
        for round in 0..12 {
            for at in 0..2 {
                assert_eq!(choice.at(), at);
                assert!(choice.failed() <= WITHIN_ROUND);
            }
            assert_eq!(choice.at(), 2);
            let limit = super::super::backoff::BASE * 2_u32.pow(round.min(7));
            let pause = choice.failed();
            assert!(pause <= limit.min(super::super::backoff::CAP), "{pause:?} after round {round}");
        }
        assert_eq!(choice.attempts(), 36);
    }

    #[test]
    fn returns_that_do_not_last_double_the_time_to_the_next_up_to_an_hour() {
        let mut choice = Choice::new(2, super::super::backoff::CAP);
        let mut means = Vec::new();
        for _ in 0..8 {
            choice.ended(Duration::from_secs(9), true);
            assert_eq!(choice.at(), 1, "the one that held is next");
            means.push(choice.return_after.as_secs());
            for _ in 0..100 {
                let pause = choice.return_pause();
                assert!(
                    pause >= choice.return_after / 2 && pause <= choice.return_after * 3 / 2,
                    "{pause:?}"
                );
            }
            choice.returned();
        }
        assert_eq!(means, [120, 240, 480, 960, 1920, 3600, 3600, 3600]);
        choice.ended(STABLE, true);
        assert_eq!((choice.return_after, choice.at()), (RETURN_AFTER, 0), "one that lasted starts afresh");
    }

    #[test]
    fn a_good_connection_to_a_later_broker_forgets_nothing_about_the_first() {
        let mut choice = Choice::new(2, super::super::backoff::CAP);
        choice.ended(Duration::from_secs(1), true);
        choice.ended(Duration::from_secs(100), false);
        assert_eq!((choice.return_after, choice.at()), (RETURN_AFTER * 2, 0));
    }
}
