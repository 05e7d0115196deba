//! What a step looks at: borrowed readings of GPUs and facts of the node.

use rackmark_model::readings::{Fast, Inventory, Slow};
use rackmark_model::{NoData, NvLink};

use crate::catalogue::Code;

/// How a GPU stands towards its sampler.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing<'a> {
    /// Its readings are current.
    Answering,
    /// A call has not come back yet, but not for long.
    Slow,
    /// A call has been out for too long; the NVML function, empty where the whole sampler fell silent.
    Unresponsive(&'a str),
    /// Not sampled, for this reason.
    Absent(NoData),
}

/// One GPU.
#[derive(Debug, Clone, Copy)]
pub struct GpuView<'a> {
    /// Position on the node, given once.
    pub slot: u8,
    /// Serial number, once it was read: names the card.
    pub serial: Option<&'a str>,
    /// UUID, once it was read: names a card that has no serial number.
    pub uuid: Option<&'a str>,
    /// How it stands.
    pub standing: Standing<'a>,
    /// Newest fast readings.
    pub fast: &'a Fast,
    /// Newest slow readings, and the wall clock when they were taken, in milliseconds since 1970.
    pub slow: Option<(&'a Slow, u64)>,
    /// NVLinks, as of the slow readings.
    pub nvlinks: &'a [NvLink],
    /// What it is.
    pub inventory: Option<&'a Inventory>,
}

/// What the host says about itself; `None` is not known.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Host {
    /// nvidia-persistenced runs.
    pub persistenced: Option<bool>,
    /// nvidia-fabricmanager runs.
    pub fabric_manager: Option<bool>,
    /// A time service says that the clock is synchronised.
    pub clock_synchronised: Option<bool>,
    /// Room under the state directory.
    pub disk: Option<Disk>,
    /// Processes in state D for long.
    pub blocked: u32,
    /// Names and pids of some of them.
    pub blocked_names: String,
}

/// Room on a file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Disk {
    /// Bytes that may still be written.
    pub free_bytes: u64,
    /// Its size.
    pub total_bytes: u64,
    /// Nothing can be written.
    pub read_only: bool,
}

/// The node around its GPUs.
#[derive(Debug, Clone, Copy)]
pub struct NodeView<'a> {
    /// The driver answers; `None` before the first try ended.
    pub driver_up: Option<bool>,
    /// Why not.
    pub driver_cause: &'a str,
    /// `CLOCK_BOOTTIME` of the newest sample, in milliseconds.
    pub sampled_boot_ms: Option<u64>,
    /// Time between samples, in milliseconds.
    pub period_ms: u64,
    /// Samples received since the daemon started.
    pub samples: u64,
    /// All GPUs are paused on request.
    pub paused: bool,
    /// GPUs this node is declared to have.
    pub expected_gpus: Option<u32>,
    /// Something tells the agent of leases.
    pub lease_source: bool,
    /// The host, once it was looked at.
    pub host: Option<&'a Host>,
    /// Why the kernel log cannot be read; `None` before it was tried, empty while it can be.
    pub kernel_log_trouble: Option<&'a str>,
    /// Trouble of the spool; empty while there is none.
    pub spool_trouble: &'a str,
    /// After a boot, links train and the fabric settles: for this long nothing of the kind is raised, in milliseconds.
    pub boot_grace_ms: u64,
    /// Conditions that the operator does not want raised.
    pub ignored: &'a [Code],
}

/// The GPUs of a node, by position.
pub trait Gpus {
    /// How many there are.
    fn count(&self) -> usize;
    /// The one at a position below [`Self::count`].
    fn gpu(&self, at: usize) -> GpuView<'_>;
}

impl Gpus for [GpuView<'_>] {
    fn count(&self) -> usize {
        self.len()
    }

    fn gpu(&self, at: usize) -> GpuView<'_> {
        self[at]
    }
}
