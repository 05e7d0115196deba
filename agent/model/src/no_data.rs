use std::fmt;

use serde::{Deserialize, Serialize};

/// A value, or the reason why there is none. Absence is never zero-filled.
pub type Reading<T> = Result<T, NoData>;

/// Why a reading has no value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum NoData {
    /// This GPU or driver does not offer the reading.
    NotSupported,
    /// The driver refused it to this user.
    NoPermission,
    /// The driver call did not come back in time.
    Timeout,
    /// The GPU fell off the bus or no longer answers the driver.
    GpuLost,
    /// The GPU sleeps (runtime power management) and was left asleep.
    Suspended,
    /// Sampling was paused on request.
    Paused,
    /// The GPU is bound to another driver (`vfio-pci`).
    HandedOver,
    /// The NVIDIA driver is not loaded, or its library cannot be used.
    DriverGone,
    /// The reading is switched off, or was not due yet.
    NotSampled,
    /// Any other NVML return code.
    Error(i32),
}

impl NoData {
    /// The name used in JSON, tables and traces; an error carries its code.
    pub const fn name(self) -> &'static str {
        match self {
            Self::NotSupported => "not_supported",
            Self::NoPermission => "no_permission",
            Self::Timeout => "timeout",
            Self::GpuLost => "gpu_lost",
            Self::Suspended => "suspended",
            Self::Paused => "paused",
            Self::HandedOver => "handed_over",
            Self::DriverGone => "driver_gone",
            Self::NotSampled => "not_sampled",
            Self::Error(_) => "error",
        }
    }

    /// The reason of a text as [`Display`](fmt::Display) writes it: a name, or `error:` and a code.
    pub fn from_name(text: &str) -> Option<Self> {
        Some(match text {
            "not_supported" => Self::NotSupported,
            "no_permission" => Self::NoPermission,
            "timeout" => Self::Timeout,
            "gpu_lost" => Self::GpuLost,
            "suspended" => Self::Suspended,
            "paused" => Self::Paused,
            "handed_over" => Self::HandedOver,
            "driver_gone" => Self::DriverGone,
            "not_sampled" => Self::NotSampled,
            other => Self::Error(other.strip_prefix("error:")?.parse().ok()?),
        })
    }
}

impl fmt::Display for NoData {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Error(code) => write!(f, "error:{code}"),
            other => f.write_str(other.name()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_is_found_by_its_text() {
        for reason in [
            NoData::NotSupported,
            NoData::NoPermission,
            NoData::Timeout,
            NoData::GpuLost,
            NoData::Suspended,
            NoData::Paused,
            NoData::HandedOver,
            NoData::DriverGone,
            NoData::NotSampled,
            NoData::Error(999),
            NoData::Error(-1),
        ] {
            assert_eq!(NoData::from_name(&reason.to_string()), Some(reason));
        }
        for wrong in ["", "error", "error:", "error:x", "lost"] {
            assert_eq!(NoData::from_name(wrong), None, "{wrong}");
        }
    }
}
