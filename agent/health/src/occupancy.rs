//! Who has a GPU, and the one state table.
//!
//! | State | Comes from | Counts as |
//! |---|---|---|
//! | free | nothing else holds | offered |
//! | reserved | a lease source | sold |
//! | leased | a lease source | sold |
//! | in_use | processes were observed and nothing tells of leases | sold |
//! | draining | the operator / a condition | planned / unplanned |
//! | burn_in | the agent's own work | planned |
//! | maintenance | the operator | planned |
//! | paused | the operator | planned |
//! | handed_over | another driver has the GPU | planned |
//! | faulted | a condition says that it is unusable | unplanned |
//! | unknown | no trustworthy readings | unknown |
//!
//! The first line that holds, read from the bottom of this list up, is the state:
//! handed over, paused, maintenance, faulted, unknown, burn-in, draining, leased,
//! reserved, in use, free.

use rackmark_model::{GpuState, NoData, Verdict};
use serde::{Deserialize, Serialize};

use crate::burn_in::Mode;
use crate::clock::Now;
use crate::view::{GpuView, Standing};

/// Longest name of a lease, and longest reason, in bytes.
pub const WORDS_BYTES_MAX: usize = 128;

/// Who caused a state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// Seen in the readings.
    Observed,
    /// A person, by a verb.
    Operator,
    /// A lease source.
    Lease,
    /// A condition.
    Health,
    /// The driver, or who bound another one.
    Driver,
    /// The agent's own work.
    Agent,
}

impl Cause {
    /// The name used in JSON and the log.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Observed => "observed",
            Self::Operator => "operator",
            Self::Lease => "lease",
            Self::Health => "health",
            Self::Driver => "driver",
            Self::Agent => "agent",
        }
    }
}

/// What time in a state counts as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Availability {
    /// On offer.
    Offered,
    /// Earning.
    Sold,
    /// Out on purpose.
    Planned,
    /// Out for a fault.
    Unplanned,
    /// Nothing trustworthy is known.
    Unknown,
}

impl Availability {
    /// All.
    pub const ALL: [Self; 5] = [Self::Offered, Self::Sold, Self::Planned, Self::Unplanned, Self::Unknown];

    /// The name used in metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Offered => "offered",
            Self::Sold => "sold",
            Self::Planned => "planned",
            Self::Unplanned => "unplanned",
            Self::Unknown => "unknown",
        }
    }

    /// What a state counts as, given who caused it.
    pub const fn of(state: GpuState, cause: Cause) -> Self {
        match state {
            GpuState::Free => Self::Offered,
            GpuState::Reserved | GpuState::Leased | GpuState::InUse => Self::Sold,
            GpuState::Draining => match cause {
                Cause::Operator => Self::Planned,
                _ => Self::Unplanned,
            },
            GpuState::BurnIn | GpuState::Maintenance | GpuState::Paused | GpuState::HandedOver => {
                Self::Planned
            }
            GpuState::Faulted => Self::Unplanned,
            GpuState::Unknown => Self::Unknown,
        }
    }
}

/// A lease on a GPU.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// Its name, given by the source.
    pub id: String,
    /// Promised, not begun.
    pub reserved: bool,
    /// When it began, milliseconds since 1970.
    pub since_unix_ms: u64,
    /// When it ends at the latest, milliseconds since 1970.
    pub until_unix_ms: Option<u64>,
    /// It came from the lease file, which ends it by leaving it out.
    pub from_file: bool,
}

/// Planned work on a GPU or on the node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Maintenance {
    /// When it ends by itself, milliseconds since 1970.
    pub until_unix_ms: u64,
    /// Why, as told to buyers.
    pub reason: String,
    /// Who began it.
    pub by: String,
    /// When, milliseconds since 1970.
    pub since_unix_ms: u64,
}

/// The agent's own work on a GPU.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BurnInUse {
    /// How thorough.
    pub mode: Mode,
    /// Who asked for it.
    pub by: String,
    /// Since when, milliseconds since 1970.
    pub since_unix_ms: u64,
}

/// A GPU that takes nothing new, by request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drained {
    /// Why.
    pub reason: String,
    /// Who asked.
    pub by: String,
    /// When, milliseconds since 1970.
    pub since_unix_ms: u64,
}

/// What holds a GPU.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Occupancy {
    /// A lease.
    pub lease: Option<Lease>,
    /// Drained on request.
    pub drained: Option<Drained>,
    /// In maintenance by itself; see also that of the node.
    pub maintenance: Option<Maintenance>,
    /// The agent works on it; that ends with the agent.
    #[serde(skip)]
    pub burn_in: Option<BurnInUse>,
}

/// The state of a GPU and who caused it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stated {
    /// The state.
    pub state: GpuState,
    /// Who caused it.
    pub cause: Cause,
}

/// The state table: one state for everything that is known of a GPU.
pub(crate) fn state(
    gpu: &GpuView<'_>,
    occupancy: &Occupancy,
    node_maintenance: bool,
    lease_source: bool,
    verdict: Verdict,
) -> Stated {
    let stated = |state, cause| Stated { state, cause };
    match gpu.standing {
        Standing::Absent(NoData::HandedOver) => return stated(GpuState::HandedOver, Cause::Driver),
        Standing::Absent(NoData::Paused) => return stated(GpuState::Paused, Cause::Operator),
        _ => {}
    }
    if node_maintenance || occupancy.maintenance.is_some() {
        return stated(GpuState::Maintenance, Cause::Operator);
    }
    match verdict {
        Verdict::Unusable => return stated(GpuState::Faulted, Cause::Health),
        // A lease goes on while one sample is late or nothing is known yet.
        Verdict::Unknown if gpu.standing != Standing::Answering => {
            let cause = match gpu.standing {
                Standing::Absent(NoData::DriverGone) => Cause::Driver,
                _ => Cause::Observed,
            };
            return stated(GpuState::Unknown, cause);
        }
        Verdict::Unknown | Verdict::Schedulable | Verdict::Draining => {}
    }
    if occupancy.burn_in.is_some() {
        return stated(GpuState::BurnIn, Cause::Agent);
    }
    if occupancy.drained.is_some() {
        return stated(GpuState::Draining, Cause::Operator);
    }
    match &occupancy.lease {
        Some(lease) if lease.reserved => return stated(GpuState::Reserved, Cause::Lease),
        Some(_) => return stated(GpuState::Leased, Cause::Lease),
        None => {}
    }
    // A GPU sleeps only while nothing holds it open.
    let asleep = gpu.standing == Standing::Absent(NoData::Suspended);
    let counted = asleep || gpu.fast.processes_compute.is_ok();
    let processes = [&gpu.fast.processes_compute, &gpu.fast.processes_graphics];
    let busy = processes.iter().any(|count| count.is_ok_and(|count| count.0 > 0));
    if busy && !asleep && !lease_source {
        return stated(GpuState::InUse, Cause::Observed);
    }
    match verdict {
        Verdict::Draining => stated(GpuState::Draining, Cause::Health),
        Verdict::Schedulable if counted => stated(GpuState::Free, Cause::Observed),
        _ => stated(GpuState::Unknown, Cause::Observed),
    }
}

/// Why a verb that changes who has a GPU is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// The GPU's state does not allow it.
    State(GpuState),
    /// Another lease has it.
    Leased(String),
    /// No such lease.
    NoLease(String),
    /// Nothing of the kind stands.
    Nothing(&'static str),
    /// A name or reason is empty or longer than [`WORDS_BYTES_MAX`].
    Words,
    /// A time that is over, or too far ahead.
    Time,
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::State(state) => write!(f, "the GPU is {state}"),
            Self::Leased(id) => write!(f, "lease {id:?} has the GPU"),
            Self::NoLease(id) => write!(f, "there is no lease {id:?}"),
            Self::Nothing(what) => f.write_str(what),
            Self::Words => write!(f, "a name or reason has 1 to {WORDS_BYTES_MAX} bytes"),
            Self::Time => f.write_str("the end lies in the past or more than 90 days ahead"),
        }
    }
}

impl std::error::Error for Refusal {}

/// Longest maintenance, so that a forgotten one ends: 90 days.
const AHEAD_MAX_MS: u64 = 90 * 24 * 3_600_000;

/// Whether `until_unix_ms` is ahead, and not too far.
pub(crate) fn check_until(until_unix_ms: u64, now: Now) -> Result<(), Refusal> {
    let ahead = until_unix_ms.checked_sub(now.unix_ms).filter(|ahead| *ahead > 0);
    ahead.filter(|ahead| *ahead <= AHEAD_MAX_MS).map(|_| ()).ok_or(Refusal::Time)
}

/// Whether a name or reason can be kept.
pub(crate) fn check_words(words: &str) -> Result<(), Refusal> {
    if (1..=WORDS_BYTES_MAX).contains(&words.len()) { Ok(()) } else { Err(Refusal::Words) }
}

/// Whether a lease may begin on a GPU in this state.
pub(crate) fn may_lease(state: GpuState) -> Result<(), Refusal> {
    match state {
        // A customer comes first: the agent's own work gives way to a lease.
        GpuState::Free | GpuState::Reserved | GpuState::Leased | GpuState::InUse | GpuState::BurnIn => Ok(()),
        state => Err(Refusal::State(state)),
    }
}
