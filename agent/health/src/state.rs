//! What is remembered from step to step, and over restarts.

use std::collections::BTreeMap;

use rackmark_model::{GpuState, Verdict};
use serde::{Deserialize, Serialize};

use crate::cards::{Declared, Occupant, Shelved, Swap};
use crate::clock::{MINUTE_MS, Now};
use crate::condition::Conditions;
use crate::incident::Incidents;
use crate::occupancy::{Cause, Maintenance, Occupancy, Stated};
use crate::window::{Growth, Share};

/// Everything the verdict remembers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct State {
    /// Boot id when the state was kept.
    pub boot_id: String,
    /// GPUs by slot.
    pub gpus: Vec<Gpu>,
    /// What stands against the node.
    pub conditions: Conditions,
    /// The node's verdict, and why.
    pub verdict: Judged,
    /// The whole node is in maintenance.
    pub maintenance: Option<Maintenance>,
    /// XIDs of addresses that are no GPU of this node.
    pub incidents: Incidents,
    /// SXids by address and code.
    pub sxids: BTreeMap<String, BTreeMap<u32, u64>>,
    /// Cards that left, with what stood against them.
    pub shelf: Vec<Shelved>,
    /// Cards that were replaced, oldest first.
    pub swaps: Vec<Swap>,
    /// Readings that could not be and were not used.
    pub implausible_total: u64,
    /// Newest kernel log record that was taken, of this boot.
    pub kernel_log_seq: Option<u64>,
    #[serde(skip)]
    pub(crate) clock_offset_ms: Option<i64>,
    #[serde(skip)]
    pub(crate) looked_boot_ms: Option<u64>,
    /// When this daemon began.
    #[serde(skip)]
    pub(crate) began_boot_ms: Option<u64>,
    /// When the wall clock was set last, on the clock since boot.
    #[serde(skip)]
    pub(crate) stepped_boot_ms: Option<u64>,
    /// The sample that was judged last.
    #[serde(skip)]
    pub(crate) judged_sample_boot_ms: Option<u64>,
    /// Something changed that is worth keeping.
    #[serde(skip)]
    pub revision: u64,
}

/// A verdict and its reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Judged {
    /// The verdict.
    pub verdict: Verdict,
    /// Why, in one line; empty where there is nothing to say.
    pub reason: String,
}

impl Default for Judged {
    fn default() -> Self {
        Self { verdict: Verdict::Unknown, reason: NOT_YET.to_owned() }
    }
}

/// The reason before the first complete look.
pub(crate) const NOT_YET: &str = "not judged yet";

/// What is remembered of one GPU.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Gpu {
    /// Cards that have been in this slot, the present one last.
    pub occupants: Vec<Occupant>,
    /// The present card is going to be swapped.
    pub declared: Option<Declared>,
    /// What stands against it.
    pub conditions: Conditions,
    /// Its verdict, and why.
    pub verdict: Judged,
    /// Its state and who caused it.
    pub state: StateNow,
    /// Who has it.
    pub occupancy: Occupancy,
    /// Its XIDs.
    pub incidents: Incidents,
    /// Time in each state, milliseconds, in the order of [`GpuState::ALL`].
    pub state_ms: [u64; 11],
    /// Time of each class, milliseconds, in the order of [`crate::Availability::ALL`].
    pub availability_ms: [u64; 5],
    /// NVLinks that have been up on this card, one per bit.
    pub links_seen: u64,
    /// Pages retired for double-bit errors: (milliseconds since 1970, count), oldest first, a week.
    pub retired: Vec<(u64, u64)>,
    #[serde(skip)]
    pub(crate) memory: Memory,
}

/// State and cause, as kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct StateNow(pub Stated);

impl Default for StateNow {
    fn default() -> Self {
        Self(Stated { state: GpuState::Unknown, cause: Cause::Observed })
    }
}

/// After the wall clock was set, ends by the clock wait this long: one that jumped may be set right again (ours).
const CLOCK_SETTLES_MS: u64 = 10 * MINUTE_MS;

impl State {
    /// Whether something may end because the wall clock says so.
    pub(crate) fn trusts_clock(&self, now: Now) -> bool {
        self.stepped_boot_ms.is_none_or(|stepped| now.since(stepped) >= CLOCK_SETTLES_MS)
    }
}

impl Gpu {
    /// Serial number of the present card, once it was read.
    pub fn serial(&self) -> Option<&str> {
        self.occupants.last().and_then(|occupant| occupant.card.serial.as_deref())
    }
}

/// What is remembered while the daemon runs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Memory {
    /// It was seen before: time is credited from the second look on.
    pub looked: bool,
    /// It was seen with slow readings and inventory since the daemon started.
    pub complete: bool,
    /// Something that settles after a boot has not settled yet.
    pub settling: bool,
    /// Counters at the last look that begin anew with a reset or a new driver only.
    pub since_reset: [Option<u64>; 2],
    /// The slow readings that were judged last: when they were taken (milliseconds since 1970) and when they were
    /// seen (since boot).
    pub slow: Option<(u64, u64)>,
    pub ecc_corrected: Growth,
    pub pcie_replays: Growth,
    pub hw_thermal: Share,
    pub power_brake: Share,
    pub sw_thermal: Share,
    pub links: Vec<Link>,
    /// What the driver asked for when it was read last, and when (milliseconds since 1970).
    pub recovery: Option<(Recovery, u64)>,
    /// Newest recovery action that an XID 154 told of, until a newer reading.
    pub told_recovery: Option<(Recovery, u64)>,
}

/// Counters of one NVLink at the last slow readings, and what became of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Link {
    /// In control flits and in data.
    pub crc: [Option<u64>; 2],
    /// Replays and retrainings.
    pub repeats: [Option<u64>; 2],
    pub crc_grew: bool,
    pub crc_per_second: u64,
    pub repeats_grew: bool,
}

/// What the driver asks for to bring a GPU back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Recovery {
    /// Nothing.
    None,
    /// Reset the GPU.
    Reset,
    /// Reboot the node.
    Reboot,
    /// End peer-to-peer work.
    DrainP2p,
    /// Let the work end, then reset.
    DrainAndReset,
    /// Recover the IMEX domain, which shares memory between nodes.
    RecoverImexDomain,
}

impl Recovery {
    /// From the reading's name.
    pub fn by_name(name: &str) -> Option<Self> {
        Some(match name {
            "none" => Self::None,
            "reset" => Self::Reset,
            "reboot" => Self::Reboot,
            "drain_p2p" => Self::DrainP2p,
            "drain_and_reset" => Self::DrainAndReset,
            _ => return None,
        })
    }
}
