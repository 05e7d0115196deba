//! Values of fields, and the reasons why a value may be absent.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::limits;

/// A reading: the value, or why there is none.
pub type Reading<T> = Result<T, NoData>;

/// Why a value is absent. Never replaced by zero.
///
/// On the wire one varint: a reason number below 256, or 256 + zigzag(code)
/// for [`NoData::Error`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum NoData {
    /// The device or driver does not have this.
    NotSupported,
    /// The agent may not read it.
    NoPermission,
    /// The call did not come back in time.
    Timeout,
    /// The GPU fell off the bus.
    GpuLost,
    /// The GPU is runtime-suspended and is not woken for a reading.
    Suspended,
    /// The operator paused the agent's use of the GPU.
    Paused,
    /// The GPU is bound to another driver.
    HandedOver,
    /// The driver is not loaded.
    DriverGone,
    /// The agent is configured not to read it, or has not read it yet.
    NotSampled,
    /// The driver answered with this return code (`nvmlReturn_t`).
    Error(i32),
    /// A reason that this version of the crate does not know (below 256).
    Unrecognised(u8),
}

/// First wire number of [`NoData::Error`]; smaller numbers are reasons.
const ERROR_BASE: u64 = 256;

impl NoData {
    /// Every reason without a code, in number order.
    pub const REASONS: &'static [Self] = &[
        Self::NotSupported,
        Self::NoPermission,
        Self::Timeout,
        Self::GpuLost,
        Self::Suspended,
        Self::Paused,
        Self::HandedOver,
        Self::DriverGone,
        Self::NotSampled,
    ];

    /// The number on the wire.
    pub const fn to_number(self) -> u64 {
        match self {
            Self::NotSupported => 0,
            Self::NoPermission => 1,
            Self::Timeout => 2,
            Self::GpuLost => 3,
            Self::Suspended => 4,
            Self::Paused => 5,
            Self::HandedOver => 6,
            Self::DriverGone => 7,
            Self::NotSampled => 8,
            Self::Error(code) => ERROR_BASE + (((code << 1) ^ (code >> 31)) as u32) as u64,
            Self::Unrecognised(n) => n as u64,
        }
    }

    /// The reason with this wire number; `None` above the largest error number.
    pub const fn from_number(number: u64) -> Option<Self> {
        Some(match number {
            0 => Self::NotSupported,
            1 => Self::NoPermission,
            2 => Self::Timeout,
            3 => Self::GpuLost,
            4 => Self::Suspended,
            5 => Self::Paused,
            6 => Self::HandedOver,
            7 => Self::DriverGone,
            8 => Self::NotSampled,
            n if n < ERROR_BASE => Self::Unrecognised(n as u8),
            n if n - ERROR_BASE <= u32::MAX as u64 => {
                let z = (n - ERROR_BASE) as u32;
                Self::Error((z >> 1) as i32 ^ -((z & 1) as i32))
            }
            _ => return None,
        })
    }

    /// The name in the JSON form.
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
            Self::Unrecognised(_) => "unrecognised",
        }
    }
}

impl std::fmt::Display for NoData {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Error(code) => write!(f, "error({code})"),
            Self::Unrecognised(number) => write!(f, "unrecognised({number})"),
            other => f.write_str(other.name()),
        }
    }
}

impl Serialize for NoData {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(self.to_number())
    }
}

impl<'de> Deserialize<'de> for NoData {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let number = u64::deserialize(deserializer)?;
        Self::from_number(number).ok_or_else(|| serde::de::Error::custom("no-data number out of range"))
    }
}

/// One value. The field's catalogue entry gives unit and meaning.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Value {
    /// A whole number, zero or more.
    Unsigned(u64),
    /// A whole number that may be negative.
    Signed(i64),
    /// UTF-8 text, at most [`limits::TEXT_BYTES`] bytes.
    Text(#[serde(deserialize_with = "limits::text::<_, { limits::TEXT_BYTES }>")] String),
    /// Yes or no.
    Flag(bool),
    /// Absent, with the reason.
    NoData(NoData),
}

impl From<u64> for Value {
    fn from(value: u64) -> Self {
        Self::Unsigned(value)
    }
}

impl From<i64> for Value {
    fn from(value: i64) -> Self {
        Self::Signed(value)
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self::Flag(value)
    }
}

impl From<String> for Value {
    fn from(value: String) -> Self {
        Self::Text(value)
    }
}

impl From<&str> for Value {
    fn from(value: &str) -> Self {
        Self::Text(value.to_owned())
    }
}

impl From<NoData> for Value {
    fn from(value: NoData) -> Self {
        Self::NoData(value)
    }
}

impl<T: Into<Value>> From<Reading<T>> for Value {
    fn from(reading: Reading<T>) -> Self {
        match reading {
            Ok(value) => value.into(),
            Err(no_data) => Self::NoData(no_data),
        }
    }
}
