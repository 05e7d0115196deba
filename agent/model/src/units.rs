//! Units as types inside the agent; [`Unit::suffix`] is the name they carry at
//! its edges (config keys, JSON, feed field names).

use serde::{Deserialize, Serialize};

/// The unit a value is stated in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// No unit: an identifier, a name, a state or a flag.
    None,
    /// Hundredths.
    Percent,
    /// Thousandths.
    Permille,
    /// Degrees Celsius, or a difference of two such temperatures.
    Celsius,
    /// Thousandths of a watt.
    Milliwatts,
    /// Thousandths of a joule.
    Millijoules,
    /// Millions of cycles per second.
    Megahertz,
    /// Bytes.
    Bytes,
    /// Bytes in one second.
    BytesPerSecond,
    /// Bits (of a bus).
    Bits,
    /// PCIe lanes.
    Lanes,
    /// A set of flags, one per bit.
    Bitmask,
    /// Millionths of a second.
    Microseconds,
    /// Billionths of a second.
    Nanoseconds,
}

impl Unit {
    /// The last part of an edge name, without its leading underscore; empty for
    /// values that have no unit.
    pub const fn suffix(self) -> &'static str {
        match self {
            Self::None => "",
            Self::Percent => "percent",
            Self::Permille => "permille",
            Self::Celsius => "celsius",
            Self::Milliwatts => "milliwatts",
            Self::Millijoules => "millijoules",
            Self::Megahertz => "megahertz",
            Self::Bytes => "bytes",
            Self::BytesPerSecond => "bytes_per_second",
            Self::Bits => "bits",
            Self::Lanes => "lanes",
            Self::Bitmask => "bitmask",
            Self::Microseconds => "microseconds",
            Self::Nanoseconds => "nanoseconds",
        }
    }
}

/// A value stripped of its type, for code that treats all readings alike
/// (metrics, feed, recorder). The unit is in the descriptor beside it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Value<'a> {
    /// Counters, sizes and sets of flags.
    Unsigned(u64),
    /// Temperatures and other values that may be negative.
    Signed(i64),
    /// Names and named states.
    Text(&'a str),
    /// Yes or no.
    Flag(bool),
}

/// Something NVML can be asked for: a number with a unit, a text, or a flag.
pub trait Quantity {
    /// The unit its number is in.
    const UNIT: Unit;
    /// The value without its type.
    fn value(&self) -> Value<'_>;
    /// The way back; `None` where the value is of another kind or out of range. A number of either sign will do
    /// where it fits, and 0 or 1 for a flag.
    fn from_value(value: Value<'_>) -> Option<Self>
    where
        Self: Sized;
}

/// A number of any width from a value.
fn integer<T: TryFrom<u64> + TryFrom<i64>>(value: Value<'_>) -> Option<T> {
    match value {
        Value::Unsigned(number) => T::try_from(number).ok(),
        Value::Signed(number) => T::try_from(number).ok(),
        Value::Text(_) | Value::Flag(_) => None,
    }
}

macro_rules! unsigned {
    ($($(#[$doc:meta])* $name:ident($inner:ty) = $unit:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub $inner);

        impl Quantity for $name {
            const UNIT: Unit = Unit::$unit;
            fn value(&self) -> Value<'_> {
                Value::Unsigned(u64::from(self.0))
            }
            fn from_value(value: Value<'_>) -> Option<Self> {
                integer(value).map(Self)
            }
        }
    )*};
}

unsigned! {
    /// A share in hundredths; NVML gives 0 to 100.
    Percent(u32) = Percent;
    /// A share in thousandths, 0 to 1000.
    Permille(u32) = Permille;
    /// Power.
    Milliwatts(u32) = Milliwatts;
    /// Energy since the driver was loaded.
    Millijoules(u64) = Millijoules;
    /// A clock frequency.
    Megahertz(u32) = Megahertz;
    /// A size or an amount transferred.
    Bytes(u64) = Bytes;
    /// A transfer rate.
    BytesPerSecond(u64) = BytesPerSecond;
    /// Width of a bus.
    Bits(u32) = Bits;
    /// Width of a PCIe link.
    Lanes(u32) = Lanes;
    /// A set of flags as NVML defines them.
    Bitmask(u64) = Bitmask;
    /// A short duration.
    Microseconds(u64) = Microseconds;
    /// An accumulated duration.
    Nanoseconds(u64) = Nanoseconds;
    /// Bytes counted since some start; the name of such a reading says `bytes_total` itself.
    CounterBytes(u64) = None;
    /// A number of things, or an identifying number.
    Count(u64) = None;
}

/// A temperature, or the distance to a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Celsius(pub i32);

impl Quantity for Celsius {
    const UNIT: Unit = Unit::Celsius;
    fn value(&self) -> Value<'_> {
        Value::Signed(i64::from(self.0))
    }
    fn from_value(value: Value<'_>) -> Option<Self> {
        integer(value).map(Self)
    }
}

impl Quantity for String {
    const UNIT: Unit = Unit::None;
    fn value(&self) -> Value<'_> {
        Value::Text(self)
    }
    fn from_value(value: Value<'_>) -> Option<Self> {
        if let Value::Text(text) = value { Some(text.to_owned()) } else { None }
    }
}

impl Quantity for bool {
    const UNIT: Unit = Unit::None;
    fn value(&self) -> Value<'_> {
        Value::Flag(*self)
    }
    fn from_value(value: Value<'_>) -> Option<Self> {
        match value {
            Value::Flag(flag) => Some(flag),
            Value::Unsigned(0) | Value::Signed(0) => Some(false),
            Value::Unsigned(1) | Value::Signed(1) => Some(true),
            _ => None,
        }
    }
}

impl Quantity for i32 {
    const UNIT: Unit = Unit::None;
    fn value(&self) -> Value<'_> {
        Value::Signed(i64::from(*self))
    }
    fn from_value(value: Value<'_>) -> Option<Self> {
        integer(value)
    }
}
