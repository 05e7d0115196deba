//! Names and figures as people read them.

use std::fmt::{self, Display};

use rackmark_health::Severity;
use rackmark_model::{Bytes, GpuState, MigInstance, NoData, Reading, Verdict};

/// Why a reading has no value, in few words.
pub struct Why(pub NoData);

impl Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            NoData::NotSupported => "not supported",
            NoData::NoPermission => "no permission",
            NoData::Timeout => "no answer in time",
            NoData::GpuLost => "GPU lost",
            NoData::Suspended => "asleep to save power",
            NoData::Paused => "sampling paused",
            NoData::HandedOver => "bound to another driver",
            NoData::DriverGone => "driver gone",
            NoData::NotSampled => "not sampled yet",
            NoData::Error(code) => return write!(f, "NVML error {code}"),
        })
    }
}

/// A value or why there is none.
pub struct OrWhy<T>(pub Reading<T>);

impl<T: Display> Display for OrWhy<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Ok(value) => value.fmt(f),
            Err(why) => Why(*why).fmt(f),
        }
    }
}

/// A text that may not be known.
pub struct OrUnknown<'a>(pub Option<&'a str>);

impl Display for OrUnknown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.unwrap_or("not known"))
    }
}

/// A verdict: `Schedulable`.
pub const fn verdict(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Schedulable => "Schedulable",
        Verdict::Draining => "Draining",
        Verdict::Unusable => "Unusable",
        Verdict::Unknown => "Unknown",
    }
}

/// A state: `in use`.
pub const fn state(state: GpuState) -> &'static str {
    match state {
        GpuState::InUse => "in use",
        GpuState::BurnIn => "burn-in",
        GpuState::HandedOver => "handed over",
        other => other.name(),
    }
}

/// A severity: `Critical`.
pub const fn severity(severity: Severity) -> &'static str {
    match severity {
        Severity::Info => "Info",
        Severity::Warning => "Warning",
        Severity::Critical => "Critical",
    }
}

/// Bytes in the binary unit that leaves them below 1,024, with one decimal from GiB on.
pub struct Size(pub Bytes);

impl Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.0 {
            bytes if bytes < 1 << 10 => write!(f, "{bytes} B"),
            bytes if bytes < 1 << 20 => write!(f, "{} KiB", bytes >> 10),
            bytes if bytes < 1 << 30 => write!(f, "{} MiB", bytes >> 20),
            bytes => write!(f, "{} GiB", Gib(Bytes(bytes))),
        }
    }
}

/// GiB with one decimal, rounded.
pub struct Gib(pub Bytes);

impl Display for Gib {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tenths = (u128::from(self.0.0) * 10 + (1 << 29)) >> 30;
        write!(f, "{}.{}", tenths / 10, tenths % 10)
    }
}

/// Tenths as a whole number, rounded away from zero at the half.
pub const fn whole(tenths: i32) -> i32 {
    (tenths + if tenths < 0 { -5 } else { 5 }) / 10
}

/// The MIG profile of an instance without the name of its GPU: NVML gives `NVIDIA H100 80GB HBM3
/// MIG 1g.10gb`.
pub fn profile(instance: &MigInstance) -> Reading<&str> {
    let name = instance.name.as_deref().map_err(|why| *why)?;
    Ok(name.rsplit_once("MIG ").map_or(name, |(_, profile)| profile))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_round_to_what_is_shown() {
        assert_eq!([-15, -14, -4, 4, 5, 649].map(whole), [-2, -1, 0, 0, 1, 65]);
        let sizes = [0, 1023, 1 << 20, (80 << 30) - 1, 81_559 << 20, u64::MAX];
        assert_eq!(
            sizes.map(|bytes| Size(Bytes(bytes)).to_string()),
            ["0 B", "1023 B", "1 MiB", "80.0 GiB", "79.6 GiB", "17179869184.0 GiB"]
        );
    }
}
