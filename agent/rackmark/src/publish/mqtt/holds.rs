//! Topics that the broker refuses: one probe at a time, at growing intervals.

use std::sync::atomic::AtomicU64;
use std::time::Duration;

use tokio::time::Instant;

use super::stats::PublisherStats;

/// Why a topic is held back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum HoldCause {
    /// 0x10: the broker would accept the record and throw it away.
    NoSubscriber,
    /// 0x87: only a change of the broker's rules helps.
    NotAuthorized,
    /// 0x97.
    Quota,
    /// Any other failure that is not the message's own fault.
    Other(u8),
}

impl HoldCause {
    /// First and longest pause before the next probe.
    fn pauses(self) -> (Duration, Duration) {
        match self {
            Self::NoSubscriber => (Duration::from_millis(200), Duration::from_secs(30)),
            Self::Quota | Self::Other(_) => (Duration::from_secs(1), Duration::from_secs(30)),
            Self::NotAuthorized => (Duration::from_secs(30), Duration::from_secs(600)),
        }
    }

    pub(super) fn counter(self, stats: &PublisherStats) -> &AtomicU64 {
        match self {
            Self::NoSubscriber => &stats.no_subscriber_total,
            Self::NotAuthorized => &stats.refused_not_authorized_total,
            Self::Quota => &stats.refused_quota_total,
            Self::Other(_) => &stats.refused_other_total,
        }
    }
}

/// A topic held back.
#[derive(Debug)]
pub(super) struct Hold {
    cause: HoldCause,
    pause: Duration,
    until: Instant,
    probe: Option<u64>,
}

impl Hold {
    pub(super) fn new(cause: HoldCause, now: Instant) -> Self {
        let pause = cause.pauses().0;
        Self { cause, pause, until: now + pause, probe: None }
    }

    /// Whether nothing of the topic may go now.
    pub(super) fn blocks(&self, now: Instant) -> bool {
        self.probe.is_some() || self.until > now
    }

    /// When the pause is over. One that is over already waits for room in the
    /// window, and an acknowledgement will say when there is some.
    pub(super) fn due(&self, now: Instant) -> Option<Instant> {
        (self.probe.is_none() && self.until > now).then_some(self.until)
    }

    /// The message with this token is the probe.
    pub(super) fn probed_by(&mut self, token: u64) {
        self.probe = Some(token);
    }

    pub(super) fn is_probed_by(&self, token: u64) -> bool {
        self.probe == Some(token)
    }

    /// The probe did not leave, or said nothing about the topic: try the next at once.
    pub(super) fn probe_again(&mut self, now: Instant) {
        self.probe = None;
        self.until = now;
    }

    /// One more refusal. The others were on their way when the first came
    /// back; only a probe says something new.
    pub(super) fn refused(&mut self, token: u64, cause: HoldCause, now: Instant) {
        if self.probe != Some(token) {
            return;
        }
        let (first, longest) = cause.pauses();
        let pause = if self.cause == cause { self.pause * 2 } else { first };
        self.pause = pause.clamp(first, longest);
        self.cause = cause;
        self.until = now + self.pause;
        self.probe = None;
    }
}
