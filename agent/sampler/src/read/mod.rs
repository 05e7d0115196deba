//! Turns NVML's answers into readings of the model. No unsafe, no threads.

mod fast;
mod inventory;
mod mig;
mod nvlink;
mod processes;
mod slow;

pub(crate) use fast::FastReader;
pub(crate) use inventory::read_inventory;
pub(crate) use slow::read_slow;

use rackmark_model::{Celsius, Count, NoData, Reading};

use crate::nvml::Status;

/// A number of things.
fn count(value: Result<u32, Status>) -> Reading<Count> {
    value.map(|value| Count(u64::from(value))).map_err(NoData::from)
}

/// A number of things that NVML counts in 64 bits.
fn count_wide(value: Result<u64, Status>) -> Reading<Count> {
    value.map(Count).map_err(NoData::from)
}

/// A 32-bit number in a unit.
fn narrow<T>(value: Result<u32, Status>, unit: impl FnOnce(u32) -> T) -> Reading<T> {
    value.map(unit).map_err(NoData::from)
}

/// A 64-bit number in a unit.
fn wide<T>(value: Result<u64, Status>, unit: impl FnOnce(u64) -> T) -> Reading<T> {
    value.map(unit).map_err(NoData::from)
}

/// A 64-bit field whose reading has 32 bits.
fn narrowed<T>(value: Result<u64, Status>, unit: impl FnOnce(u32) -> T) -> Reading<T> {
    u32::try_from(value?).map(unit).map_err(|_| NoData::NotSupported)
}

/// A temperature NVML gives without a sign.
fn celsius(value: Result<u32, Status>) -> Reading<Celsius> {
    i32::try_from(value?).map(Celsius).map_err(|_| NoData::NotSupported)
}

/// A temperature or margin from a field.
fn celsius_field(value: Result<i128, Status>) -> Reading<Celsius> {
    i32::try_from(value?).map(Celsius).map_err(|_| NoData::NotSupported)
}

/// NVML's yes and no (`nvmlEnableState_t` and flags).
fn flag(value: Result<u32, Status>) -> Reading<bool> {
    value.map(|value| value != 0).map_err(NoData::from)
}

/// A name from a list; a number that this list does not know yet keeps its number.
fn named(value: Result<u32, Status>, names: &[&str]) -> Reading<String> {
    let value = value?;
    let known = usize::try_from(value).ok().and_then(|position| names.get(position));
    Ok(known.map_or_else(|| format!("unknown:{value}"), |name| (*name).to_owned()))
}
