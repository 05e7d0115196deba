//! The clocks, each read in one place.

use std::time::{Duration, Instant, SystemTime};

use rustix::time::{ClockId, clock_gettime};

/// `CLOCK_BOOTTIME`: runs on while the machine sleeps.
pub(crate) fn boot_ms() -> u64 {
    milliseconds(ClockId::Boottime)
}

/// A monotonic clock of a few milliseconds' resolution that costs next to nothing.
pub(crate) fn coarse_ms() -> u64 {
    milliseconds(ClockId::MonotonicCoarse)
}

/// The wall clock; 0 where it stands before 1970.
pub(crate) fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

fn milliseconds(clock: ClockId) -> u64 {
    let now = clock_gettime(clock);
    let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
    let nanoseconds = u64::try_from(now.tv_nsec).unwrap_or(0);
    seconds * 1000 + nanoseconds / 1_000_000
}

/// The beat all threads keep: tick `n` is due at `start + n * period`. A tick
/// that was missed is skipped, never made up for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Beat {
    start: Instant,
    period: Duration,
}

impl Beat {
    pub(crate) fn new(start: Instant, period: Duration) -> Self {
        Self { start, period }
    }

    pub(crate) fn period(&self) -> Duration {
        self.period
    }

    /// When tick `tick` is due.
    pub(crate) fn due(&self, tick: u64) -> Instant {
        // A period is at most a minute, so 2^32 ticks last for millennia.
        self.start + self.period * u32::try_from(tick).unwrap_or(u32::MAX)
    }

    /// The latest tick that is due at `now`.
    pub(crate) fn latest(&self, now: Instant) -> u64 {
        let ticks = now.saturating_duration_since(self.start).as_nanos() / self.period.as_nanos().max(1);
        u64::try_from(ticks).unwrap_or(u64::MAX)
    }

    /// The tick to take after `tick`: the next one, or the latest where some
    /// were missed.
    pub(crate) fn after(&self, tick: u64, now: Instant) -> u64 {
        (tick + 1).max(self.latest(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missed_ticks_are_skipped() {
        let start = Instant::now();
        let beat = Beat::new(start, Duration::from_millis(100));
        assert_eq!(beat.after(0, start + Duration::from_millis(40)), 1);
        assert_eq!(beat.after(0, start + Duration::from_millis(199)), 1);
        assert_eq!(beat.after(0, start + Duration::from_millis(730)), 7);
        assert_eq!(beat.due(7), start + Duration::from_millis(700));
    }

    #[test]
    fn the_clocks_agree_with_the_system() {
        let uptime = rackmark_hardware::host::uptime(std::path::Path::new("/proc")).expect("uptime");
        assert!(boot_ms().abs_diff(u64::try_from(uptime.as_millis()).expect("fits")) < 1_000);
        assert!(coarse_ms() > 0 && unix_ms() > 1_700_000_000_000);
    }
}
