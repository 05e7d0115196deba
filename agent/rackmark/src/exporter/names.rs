//! From readings to metric names: one family per reading, in base units, by
//! one rule instead of a table that could lag behind.

use rackmark_model::readings::{Descriptor, Fast, Inventory, Slow};
use rackmark_model::{Unit, Value};

use super::{Decimal, Kind};

/// The family a reading is exported as.
pub struct Family {
    /// Name without `_total`.
    pub name: String,
    /// Counter or gauge.
    pub kind: Kind,
    /// Help text.
    pub help: &'static str,
    /// How many decimal places the reading's unit is below the base unit.
    decimals: i8,
}

/// Families of all three classes, in the order of their descriptors.
pub struct Names {
    pub fast: Vec<Family>,
    pub slow: Vec<Family>,
    pub inventory: Vec<Family>,
}

impl Names {
    pub fn new() -> Self {
        let all = |descriptors: &[Descriptor]| descriptors.iter().map(family).collect();
        Self {
            fast: all(Fast::DESCRIPTORS),
            slow: all(Slow::DESCRIPTORS),
            inventory: all(Inventory::DESCRIPTORS),
        }
    }
}

fn family(descriptor: &Descriptor) -> Family {
    let (unit, decimals) = base_unit(descriptor.unit);
    // A total in bytes is a size (`memory_total`); byte counters say `bytes_total` themselves.
    let counts = descriptor.stem.ends_with("_total") && descriptor.unit != Unit::Bytes;
    let counter = counts || descriptor.stem.ends_with("_time");
    let stem = if counter {
        descriptor.stem.strip_suffix("_total").unwrap_or(descriptor.stem)
    } else {
        descriptor.stem
    };
    let name = match unit {
        "" => format!("rackmark_gpu_{stem}"),
        unit => format!("rackmark_gpu_{stem}_{unit}"),
    };
    Family { name, kind: if counter { Kind::Counter } else { Kind::Gauge }, help: descriptor.help, decimals }
}

/// The base unit Prometheus asks for, and the decimal places to get there.
fn base_unit(unit: Unit) -> (&'static str, i8) {
    match unit {
        Unit::Percent => ("ratio", 2),
        Unit::Permille => ("ratio", 3),
        Unit::Milliwatts => ("watts", 3),
        Unit::Millijoules => ("joules", 3),
        Unit::Megahertz => ("hertz", -6),
        Unit::Microseconds => ("seconds", 6),
        Unit::Nanoseconds => ("seconds", 9),
        // Prometheus knows no bits, and a bus is not measured in bytes.
        Unit::Bits => ("", 0),
        same => (same.suffix(), 0),
    }
}

impl Family {
    /// The reading in the base unit; texts have no number.
    pub fn value(&self, value: Value<'_>) -> Option<Decimal> {
        Decimal::of(value, self.decimals)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(stem: &str) -> (String, Kind) {
        let names = Names::new();
        let all = Fast::DESCRIPTORS.iter().chain(Slow::DESCRIPTORS).chain(Inventory::DESCRIPTORS);
        let families = names.fast.into_iter().chain(names.slow).chain(names.inventory);
        all.zip(families).find(|(d, _)| d.stem == stem).map(|(_, f)| (f.name, f.kind)).expect("known reading")
    }

    #[test]
    fn names_are_in_base_units() {
        assert_eq!(named("power_draw"), ("rackmark_gpu_power_draw_watts".to_owned(), Kind::Gauge));
        assert_eq!(named("energy_total"), ("rackmark_gpu_energy_joules".to_owned(), Kind::Counter));
        assert_eq!(named("clock_sm"), ("rackmark_gpu_clock_sm_hertz".to_owned(), Kind::Gauge));
        assert_eq!(
            named("hw_thermal_time"),
            ("rackmark_gpu_hw_thermal_time_seconds".to_owned(), Kind::Counter)
        );
        assert_eq!(named("memory_total"), ("rackmark_gpu_memory_total_bytes".to_owned(), Kind::Gauge));
        assert_eq!(
            named("nvlink_transmit_bytes_total"),
            ("rackmark_gpu_nvlink_transmit_bytes".to_owned(), Kind::Counter)
        );
        assert_eq!(
            named("ecc_uncorrected_volatile_total"),
            ("rackmark_gpu_ecc_uncorrected_volatile".to_owned(), Kind::Counter)
        );
    }
}
