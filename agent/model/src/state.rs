use std::fmt;

use serde::{Deserialize, Serialize};

/// The one state a GPU is in, shared by verdict, lease, capacity and
/// availability.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum GpuState {
    /// Idle and on offer.
    Free,
    /// Promised, not yet handed out.
    Reserved,
    /// Handed out.
    Leased,
    /// Processes were seen on it and no lease source says whose they are.
    InUse,
    /// Its work may finish, nothing new starts.
    Draining,
    /// Under load on purpose.
    BurnIn,
    /// Planned work by a person.
    Maintenance,
    /// Sampling was paused on request.
    Paused,
    /// Bound to another driver.
    HandedOver,
    /// Something is wrong with it.
    Faulted,
    /// Nothing trustworthy is known; never on offer.
    Unknown,
}

impl GpuState {
    /// All states, in the order in which they are declared.
    pub const ALL: [Self; 11] = [
        Self::Free,
        Self::Reserved,
        Self::Leased,
        Self::InUse,
        Self::Draining,
        Self::BurnIn,
        Self::Maintenance,
        Self::Paused,
        Self::HandedOver,
        Self::Faulted,
        Self::Unknown,
    ];

    /// The name used in JSON, tables and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Free => "free",
            Self::Reserved => "reserved",
            Self::Leased => "leased",
            Self::InUse => "in_use",
            Self::Draining => "draining",
            Self::BurnIn => "burn_in",
            Self::Maintenance => "maintenance",
            Self::Paused => "paused",
            Self::HandedOver => "handed_over",
            Self::Faulted => "faulted",
            Self::Unknown => "unknown",
        }
    }
}

impl fmt::Display for GpuState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Whether work should be placed on a GPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Verdict {
    /// Place work on it.
    Schedulable,
    /// Let its work finish, place nothing new.
    Draining,
    /// Do not use it.
    Unusable,
    /// Not known, so do not use it.
    Unknown,
}

impl Verdict {
    /// All verdicts, best first.
    pub const ALL: [Self; 4] = [Self::Schedulable, Self::Draining, Self::Unusable, Self::Unknown];

    /// The name used in JSON, tables and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Schedulable => "schedulable",
            Self::Draining => "draining",
            Self::Unusable => "unusable",
            Self::Unknown => "unknown",
        }
    }
}
