//! What the page says, before it is written: borrowed from the roster and those beside it.

use std::borrow::Cow;

use rackmark_health::{Action, Severity};
use rackmark_model::{
    Bytes, Celsius, Count, GpuState, Megahertz, MigInstance, Milliwatts, NoData, Percent, Reading, Verdict,
};

use crate::sampling::trends::Trends;

/// The whole page.
#[derive(Debug)]
pub struct View<'a> {
    /// Name of the site.
    pub site: &'a str,
    /// Name of the node.
    pub node: &'a str,
    /// Its id on the feed; empty where it has none.
    pub node_id: &'a str,
    /// Version of this agent.
    pub agent_version: &'a str,
    /// The GPUs are simulated.
    pub simulated: bool,
    /// Wall clock now, in ms since 1970.
    pub now_unix_ms: u64,
    /// `CLOCK_BOOTTIME` now, in ms.
    pub now_boot_ms: u64,
    /// The verdict on the node.
    pub verdict: Verdict,
    /// Why, in one clause; may be empty.
    pub reason: Cow<'a, str>,
    /// The NVIDIA driver.
    pub driver: DriverView<'a>,
    /// Age of the newest sample, in ms; none before the first.
    pub sample_age_ms: Option<u64>,
    /// The sampler process.
    pub sampler: SamplerView,
    /// The broker of the feed.
    pub broker: BrokerView<'a>,
    /// What waits for delivery; none where the feed is off.
    pub spool: Option<SpoolView<'a>>,
    /// The kernel log.
    pub kernel_log: KernelLogView<'a>,
    /// GPUs this node is declared to have.
    pub expected_gpus: Option<u32>,
    /// Conditions of the node and of its GPUs, worst first (see [`ConditionView::order`]).
    pub conditions: Vec<ConditionView<'a>>,
    /// GPUs by slot.
    pub gpus: Vec<GpuView<'a>>,
}

/// The NVIDIA driver.
#[derive(Debug, Clone, Copy)]
pub enum DriverView<'a> {
    /// It answers.
    Up {
        /// Kernel driver.
        version: Option<&'a str>,
        /// Library.
        nvml: Option<&'a str>,
        /// Newest CUDA it supports.
        cuda: Option<&'a str>,
    },
    /// It does not.
    Down {
        /// What was tried, in one line.
        cause: &'a str,
    },
    /// Not asked yet.
    NotAsked,
}

/// The sampler process.
#[derive(Debug, Clone, Copy, Default)]
pub struct SamplerView {
    /// Its pid while it runs.
    pub pid: Option<u32>,
    /// Samplers started after the first one.
    pub restarts: u64,
    /// Processes that outlived SIGKILL.
    pub stuck: usize,
}

/// The broker of the feed.
#[derive(Debug, Clone)]
pub enum BrokerView<'a> {
    /// The feed is off.
    Off,
    /// Connected.
    Connected {
        /// `host:port`.
        address: Cow<'a, str>,
    },
    /// Not connected.
    Away {
        /// The last one that was, as `host:port`.
        last: Option<Cow<'a, str>>,
    },
}

/// What waits for delivery.
#[derive(Debug, Clone)]
pub struct SpoolView<'a> {
    /// Records.
    pub records: u64,
    /// Bytes kept.
    pub bytes: Bytes,
    /// On disk, so they outlive the machine.
    pub durable: bool,
    /// Why nothing can be written now; empty while all is well.
    pub trouble: Cow<'a, str>,
}

/// The kernel log.
#[derive(Debug, Clone, Default)]
pub enum KernelLogView<'a> {
    /// Not said.
    #[default]
    Unsaid,
    /// It is read.
    Read,
    /// It is not.
    Unavailable {
        /// Why, in one clause.
        why: Cow<'a, str>,
    },
}

/// Where a condition is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// On the node as a whole.
    Node,
    /// On the GPU in this slot.
    Gpu(u8),
}

/// One condition.
#[derive(Debug, Clone)]
pub struct ConditionView<'a> {
    /// Where it is.
    pub place: Place,
    /// Its stable name in `snake_case`.
    pub code: &'a str,
    /// Which of its kind, such as an XID code; 0 where there is one only.
    pub key: u32,
    /// How much it matters.
    pub severity: Severity,
    /// What it is.
    pub title: Cow<'a, str>,
    /// What to do, in a sentence or two.
    pub text: Cow<'a, str>,
    /// The same in few words.
    pub action: Action,
    /// Figures or the line of the kernel log; may be empty.
    pub detail: Cow<'a, str>,
    /// Since when, in ms since 1970.
    pub since_unix_ms: u64,
    /// A person has seen it.
    pub acknowledged: bool,
}

impl ConditionView<'_> {
    /// The order of the page: what nobody has acknowledged first, then the worst, the node before
    /// its GPUs, GPUs by slot.
    pub fn order(&self) -> impl Ord + use<'_> {
        (self.acknowledged, std::cmp::Reverse(self.severity), self.place, self.code, self.key)
    }
}

/// One GPU.
#[derive(Debug)]
pub struct GpuView<'a> {
    /// Position on this node.
    pub slot: u8,
    /// NVML index.
    pub index: Option<u64>,
    /// Product name.
    pub name: Option<&'a str>,
    /// NVML UUID.
    pub uuid: Option<&'a str>,
    /// Serial number.
    pub serial: Option<&'a str>,
    /// PCI address as NVML writes it.
    pub pci_address: &'a str,
    /// What the chassis calls its place.
    pub physical_slot: Option<Cow<'a, str>>,
    /// The state it is in.
    pub state: GpuState,
    /// The verdict on it.
    pub verdict: Verdict,
    /// Why, in one clause; may be empty.
    pub reason: Cow<'a, str>,
    /// Why there are no readings, where there are none.
    pub absence: Option<NoData>,
    /// The driver call it hangs in.
    pub hangs_in: Option<&'a str>,
    /// Share of time with a kernel running.
    pub utilization: Reading<Percent>,
    /// Device memory in use.
    pub memory_used: Reading<Bytes>,
    /// Device memory.
    pub memory_total: Reading<Bytes>,
    /// GPU core.
    pub temperature: Reading<Celsius>,
    /// Slows down at this temperature.
    pub temperature_limit: Reading<Celsius>,
    /// Power.
    pub power: Reading<Milliwatts>,
    /// The limit in force.
    pub power_limit: Reading<Milliwatts>,
    /// Streaming multiprocessor clock.
    pub clock_sm: Reading<Megahertz>,
    /// Processes with a context on it.
    pub processes: Reading<Count>,
    /// MIG is on.
    pub mig_enabled: bool,
    /// MIG instances.
    pub mig: &'a [MigInstance],
    /// The last quarter of an hour.
    pub trends: &'a Trends,
}
