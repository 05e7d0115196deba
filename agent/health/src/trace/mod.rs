//! Recordings: text that people can read and compare, that the simulator replays, and that can be judged again.
//!
//! ```text
//! rackmark-trace 2
//! {"recorded_unix_ms":…,"period_ms":1000,"driver_version":"…","gpus":[{…inventory by edge name…}]}
//! t_ms,gpu,utilization_gpu_percent,…
//! 0,0,97,…
//! @0 {"slow":{"gpu":0,"remapped_rows_pending":false,…,"nvlinks":[{"link":0,…}],"processes":1}}
//! @1200 {"xid":{"gpu":0,"pci":"00000000:83:00.0","code":79,"source":"driver","text":"","gi":null,"ci":null}}
//! @1300 {"presence":{"gpu":0,"why":"gpu_lost","function":""}}
//! 2000,0,!gpu_lost,…
//! ```
//!
//! * A row holds the fast readings of one GPU at `t_ms` after the start. A cell that is empty repeats the row before
//!   of that GPU; `!reason` says why there is no value. Columns are found by their name.
//! * A line that begins with `@` holds anything else, as JSON: `slow`, `inventory`, `xid`, `presence`, `driver_gone`,
//!   `driver_back`. Kinds and names that a reader does not know are skipped, so that later versions may add some.
//! * Inside JSON a reading is a number, a text or a flag, or `{"no_data":"reason"}`; one that is missing was not sampled.
//! * Time never goes back, across all lines.
//!
//! Version 1 is the same without the lines that begin with `@`. An anonymous recording holds no name of a machine or
//! board ([`NAMES`]) and no free text.

mod read;
#[cfg(test)]
mod tests;
mod write;

use std::fmt;

use rackmark_model::readings::{Fast, Inventory, Slow};
use rackmark_model::{NoData, NvLink, PciAddress};

pub use read::Reader;
pub use write::Writer;

/// Largest recording, in bytes: a day of eight GPUs at one sample a second stays near it.
pub const BYTES_MAX: usize = 64 << 20;
/// Longest line, in bytes: line 2 names up to 64 GPUs with 84 figures each.
pub const LINE_BYTES_MAX: usize = 1 << 20;
/// Most lines after the first three.
pub const LINES_MAX: usize = 1_000_000;
/// Longest period, in ms.
pub const PERIOD_MS_MAX: u64 = 3_600_000;

/// Inventory that names one particular machine or board.
pub const NAMES: [&str; 7] =
    ["uuid", "serial", "chassis_serial", "fabric_cluster_uuid", "fabric_guid", "board_id", "pci_address"];

/// Line 2: what was recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct About {
    /// Wall clock at the start.
    pub recorded_unix_ms: u64,
    /// From sample to sample, 1 to [`PERIOD_MS_MAX`].
    pub period_ms: u64,
    /// Driver version; empty where it was not known.
    pub driver_version: String,
    /// GPUs by slot, at most [`rackmark_model::ipc::GPUS_MAX`].
    pub gpus: Vec<Inventory>,
}

/// Something that arrived at a time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TraceItem {
    /// Milliseconds since the start of the recording; up to `u32::MAX`, 49 days.
    pub t_ms: u64,
    /// What arrived.
    pub what: What,
}

/// What arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// Fast readings.
    Fast {
        /// Slot.
        gpu: u8,
        /// All of them, also those that repeat.
        fast: Box<Fast>,
    },
    /// Slow readings.
    Slow {
        /// Slot.
        gpu: u8,
        /// All of them.
        slow: Box<Slow>,
        /// Its NVLinks.
        nvlinks: Vec<NvLink>,
        /// Number of processes on it.
        processes: u32,
    },
    /// The inventory of a GPU changed.
    Inventory {
        /// Slot.
        gpu: u8,
        /// All of it.
        inventory: Box<Inventory>,
    },
    /// An XID.
    Xid(XidSeen),
    /// A GPU answers, or does not.
    Presence {
        /// Slot.
        gpu: u8,
        /// Why it does not answer; none while it does.
        absent: Option<NoData>,
        /// The driver call it hangs in; empty where there is none.
        function: String,
    },
    /// The driver cannot be used.
    DriverGone {
        /// What was tried and what came back; empty in an anonymous recording.
        cause: String,
    },
    /// The driver answers.
    DriverBack {
        /// Its version.
        version: String,
    },
}

/// Who reported an XID.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum XidSource {
    /// A line of the kernel's log.
    KernelLog,
    /// An NVML event.
    Driver,
}

impl XidSource {
    /// The name in a recording.
    pub const fn name(self) -> &'static str {
        match self {
            Self::KernelLog => "kernel_log",
            Self::Driver => "driver",
        }
    }
}

/// One XID as it was reported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct XidSeen {
    /// Slot; none where the address belongs to no GPU that is known.
    pub gpu: Option<u8>,
    /// Where the GPU sits; none in an anonymous recording.
    pub pci: Option<PciAddress>,
    /// The code.
    pub code: u32,
    /// Who reported it.
    pub source: XidSource,
    /// The kernel's line; empty from the driver and in an anonymous recording.
    pub text: String,
    /// GPU instance, under MIG.
    pub gpu_instance_id: Option<u32>,
    /// Compute instance, under MIG.
    pub compute_instance_id: Option<u32>,
}

/// Why a recording cannot be read.
#[derive(Debug)]
pub enum TraceError {
    /// Larger than [`BYTES_MAX`].
    TooLarge,
    /// A line is not as it must be.
    Line {
        /// Line number, from 1.
        line: usize,
        /// What is wrong.
        problem: String,
    },
    /// A line that must be JSON is not.
    Json {
        /// Line number, from 1.
        line: usize,
        /// What the parser says.
        source: serde_json::Error,
    },
}

impl fmt::Display for TraceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLarge => write!(f, "the recording is larger than {BYTES_MAX} bytes"),
            Self::Line { line, problem } => write!(f, "line {line} of the recording {problem}"),
            Self::Json { line, .. } => write!(f, "line {line} of the recording is not JSON"),
        }
    }
}

impl std::error::Error for TraceError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Json { source, .. } => Some(source),
            Self::TooLarge | Self::Line { .. } => None,
        }
    }
}
