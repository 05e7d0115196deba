//! The two clocks that a step is given. Nothing here reads a clock itself.

use serde::{Deserialize, Serialize};

/// What both clocks say at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Now {
    /// `CLOCK_BOOTTIME`, milliseconds: never set back. Durations are measured with it.
    pub boot_ms: u64,
    /// Wall clock, milliseconds since 1970. Shown to people, never subtracted.
    pub unix_ms: u64,
}

impl Now {
    /// How far the wall clock is ahead of the other one; changes only where it is set or slewed.
    pub(crate) fn offset_ms(self) -> i64 {
        i64::try_from(self.unix_ms).unwrap_or(i64::MAX).saturating_sub_unsigned(self.boot_ms)
    }

    /// Milliseconds since `earlier` on the clock that is never set back.
    pub const fn since(self, earlier_boot_ms: u64) -> u64 {
        self.boot_ms.saturating_sub(earlier_boot_ms)
    }
}

/// Milliseconds in a second.
pub const SECOND_MS: u64 = 1_000;
/// Milliseconds in a minute.
pub const MINUTE_MS: u64 = 60 * SECOND_MS;
