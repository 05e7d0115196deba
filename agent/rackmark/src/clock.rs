//! The two clocks that readings are stamped with.

use std::time::{SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, clock_gettime};

/// `CLOCK_BOOTTIME` in milliseconds: never set back, counts suspended time.
pub fn boot_ms() -> u64 {
    let now = clock_gettime(ClockId::Boottime);
    (now.tv_sec as u64) * 1000 + (now.tv_nsec as u64) / 1_000_000
}

/// `CLOCK_MONOTONIC` in microseconds: the clock of the kernel log.
pub fn monotonic_us() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    (now.tv_sec as u64) * 1_000_000 + (now.tv_nsec as u64) / 1000
}

/// Wall clock in milliseconds since 1970; 0 before that.
pub fn unix_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}

/// Both clocks, for a judgement.
pub fn now() -> rackmark_health::Now {
    rackmark_health::Now { boot_ms: boot_ms(), unix_ms: unix_ms() }
}
