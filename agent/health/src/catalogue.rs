//! The catalogue of conditions: what can be said about a GPU or a node, how much
//! it matters, what is to be done, and when it is said.
//!
//! Thresholds that are NVIDIA's stand here with their source; the others are ours
//! and are marked so.

use crate::advice::{Action, Effect, Severity};
use crate::clock::{MINUTE_MS, SECOND_MS};

/// What ends a condition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ends {
    /// Readings that say it is over, for this many milliseconds without a break.
    ReadingsFor(u64),
    /// Nothing new of the kind for this many milliseconds.
    QuietFor(u64),
    /// What the advice on its XID says.
    AsAdvised,
    /// A person who says that it is over.
    Acknowledged,
}

/// One kind of condition.
#[derive(Debug, Clone, Copy)]
pub struct Entry {
    /// Its stable name in metrics, JSON and on the feed.
    pub name: &'static str,
    /// How much it matters.
    pub severity: Severity,
    /// What is to be done.
    pub action: Action,
    /// What it does to the verdict.
    pub effect: Effect,
    /// How long it must hold before it is shown.
    pub visible_after_ms: u64,
    /// What ends it.
    pub ends: Ends,
    /// Part of a node that is still starting: not raised in the grace after a boot.
    pub settles: bool,
    /// While one of these is shown for the same GPU, or for the node, this one is a consequence and hidden.
    pub hidden_by: &'static [Code],
    /// A few words.
    pub title: &'static str,
    /// What to do, for a person.
    pub text: &'static str,
    /// The rule and where its figure is from.
    pub rule: &'static str,
}

macro_rules! catalogue {
    ($($(#[doc = $doc:literal])+ $code:ident = $name:literal {
        $severity:ident $action:ident $effect:ident, after $after:expr, ends $ends:expr, settles $settles:literal,
        hidden_by [$($cause:ident),*],
        $title:literal, $text:literal, $rule:literal
    })*) => {
        /// What can be wrong.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum Code { $($(#[doc = $doc])+ $code,)* }

        impl Code {
            /// All codes.
            pub const ALL: &'static [Self] = &[$(Self::$code,)*];
        }

        static ENTRIES: &[Entry] = &[$(Entry {
            name: $name,
            severity: Severity::$severity,
            action: Action::$action,
            effect: Effect::$effect,
            visible_after_ms: $after,
            ends: $ends,
            settles: $settles,
            hidden_by: &[$(Code::$cause),*],
            title: $title,
            text: $text,
            rule: $rule,
        },)*];
    };
}

const NOW: u64 = 0;

catalogue! {
    // --- GPU: presence
    /// The GPU fell off the bus or vanished from the driver.
    GpuLost = "gpu_lost" {
        Critical RebootNode Unusable, after NOW, ends Ends::ReadingsFor(NOW), settles false, hidden_by [DriverGone],
        "GPU is lost",
        "The GPU no longer answers on the bus. Drain the node and reboot it; if the GPU is lost again, reseat it and check its power, then replace it.",
        "the driver answers `GPU is lost`, or a GPU that this node had does not appear while the driver works"
    }
    /// A driver call does not come back.
    GpuUnresponsive = "gpu_unresponsive" {
        Critical RebootNode Unusable, after NOW, ends Ends::ReadingsFor(NOW), settles false, hidden_by [GpuLost],
        "driver call does not come back",
        "A call into the driver for this GPU hangs. Work on it hangs too, as a rule. Drain the node and reboot it; kill -9 does not end a call that sleeps in the kernel.",
        "a call is out for 5 s, or for 60 s while the GPU is opened (measured by the agent)"
    }
    /// An XID: the driver's report of an error.
    Xid = "xid" {
        Warning ContactSupport Drain, after NOW, ends Ends::AsAdvised, settles false, hidden_by [],
        "XID reported", "See the advice on this XID.",
        "NVIDIA's XID catalogue (2025-10); the driver's own recovery action wins over it"
    }
    /// The driver itself asks for something.
    RecoveryAction = "recovery_action" {
        Critical ResetGpu Unusable, after NOW, ends Ends::ReadingsFor(NOW), settles false, hidden_by [GpuLost],
        "the driver asks for recovery", "Do what the driver asks for; it knows the GPU's state better than any table.",
        "NVML field 230, or the text of XID 154"
    }

    /// The card was never tested here.
    CardUntested = "card_untested" {
        Warning InspectHardware Unknown, after NOW, ends Ends::Acknowledged, settles false, hidden_by [],
        "the card is new and untested", "Another card is in the place of the one that was there. Test it: rackmark burn-in --gpu GPU. Where somebody else tested it, say so: rackmark swap GPU --ticket TICKET --tested-by NAME.",
        "a serial number, or a UUID where there is none, that this node never had, in the place of another (ours)"
    }

    /// The last burn-in of this card found it faulty.
    BurnInFailed = "burn_in_failed" {
        Critical InspectHardware Unusable, after NOW, ends Ends::Acknowledged, settles false, hidden_by [],
        "the card failed its burn-in", "Look at the report (rackmark burn-in --last --gpu GPU). Reseat the card, check power and cooling, and run the burn-in again; a card that fails again goes back to its maker (rackmark rma GPU).",
        "a burn-in of this card ended in fail; a passed one of 60 s or more, or somebody's word, ends it (ours)"
    }

    /// A process of the agent that works on the GPU cannot be ended.
    WorkerStuck = "worker_stuck" {
        Critical RebootNode Unusable, after NOW, ends Ends::ReadingsFor(NOW), settles false, hidden_by [GpuLost],
        "a process that works on the GPU cannot be ended",
        "A process that the agent started for its own work hangs in the driver, where SIGKILL does not reach it, and may hold memory of the GPU. Drain the node and reboot it.",
        "rackmark-gpu was told to end, sent SIGTERM, 2 s later SIGKILL, and was there 8 s after that; ends when no process of that id and start time is left (ours)"
    }

    // --- GPU: memory
    /// A row remapping waits for a reset.
    RowRemapPending = "row_remap_pending" {
        Warning ResetGpu Drain, after NOW, ends Ends::ReadingsFor(NOW), settles false, hidden_by [RowRemapFailed],
        "row remapping waits for a reset", "A memory row is to be replaced by a spare one. Drain the GPU and reset it.",
        "the driver's pending flag (NVML remapped rows)"
    }
    /// A row remapping failed.
    RowRemapFailed = "row_remap_failed" {
        Critical ReplaceHardware Unusable, after NOW, ends Ends::ReadingsFor(NOW), settles false, hidden_by [],
        "row remapping failed", "No spare row could be used. Take the GPU out of service, collect its report and replace it (RMA).",
        "the driver's failure flag (NVML remapped rows); NVIDIA's criterion for RMA"
    }
    /// As many rows are remapped as the DCGM limit allows.
    RowRemapExhausted = "row_remap_exhausted" {
        Critical ReplaceHardware Unusable, after NOW, ends Ends::ReadingsFor(NOW), settles false, hidden_by [RowRemapFailed],
        "too many rows are remapped", "Memory has worn beyond what DCGM accepts. Replace the GPU (RMA).",
        "512 or more rows remapped for uncorrected errors (DCGM 4.6 health rules)"
    }
    /// A bank has no spare row left.
    RowRemapSparesLow = "row_remap_spares_low" {
        Warning InspectHardware None, after NOW, ends Ends::ReadingsFor(NOW), settles false, hidden_by [RowRemapFailed, RowRemapExhausted],
        "a memory bank has no spare row left", "The next error in that bank cannot be remapped. Plan a replacement.",
        "one bank or more without spare rows (NVML remap histogram)"
    }
    /// Retired pages wait for a reset.
    RetiredPagesPending = "retired_pages_pending" {
        Warning ResetGpu Drain, after NOW, ends Ends::ReadingsFor(NOW), settles false, hidden_by [],
        "page retirement waits for a reset", "A memory page is to be retired. Drain the GPU and reset it.",
        "the driver's pending flag (NVML retired pages)"
    }
    /// Too many retired pages.
    RetiredPagesLimit = "retired_pages_limit" {
        Critical ReplaceHardware Unusable, after NOW, ends Ends::ReadingsFor(NOW), settles false, hidden_by [],
        "too many pages are retired", "Memory has worn beyond what DCGM accepts. Replace the GPU (RMA).",
        "63 or more retired pages (DCGM 4.6 health rules)"
    }
    /// Pages are retired too quickly.
    RetiredPagesRate = "retired_pages_rate" {
        Critical ReplaceHardware Unusable, after NOW, ends Ends::ReadingsFor(NOW), settles false, hidden_by [RetiredPagesLimit],
        "pages are retired quickly", "More than 15 pages are retired for double-bit errors and more than one of them in the last week. Replace the GPU (RMA).",
        "more than 15 pages for double-bit errors and more than 1 new one within 7 days (DCGM 4.6 health rules)"
    }
    /// Uncorrected ECC errors since the driver was loaded.
    EccUncorrected = "ecc_uncorrected" {
        Critical ResetGpu Drain, after NOW, ends Ends::ReadingsFor(NOW), settles false, hidden_by [],
        "uncorrected ECC errors", "Data in device memory or in a cache was lost. The work that ran is suspect. Drain the GPU and reset it; replace it if this comes again.",
        "one or more since the driver was loaded (NVML volatile counters)"
    }
    /// Many corrected ECC errors.
    EccCorrectedRate = "ecc_corrected_rate" {
        Warning InspectHardware None, after NOW, ends Ends::ReadingsFor(30 * MINUTE_MS), settles false, hidden_by [],
        "many corrected ECC errors", "Nothing is lost, but the memory is wearing. Watch the remapped rows; run a burn-in when the GPU is free.",
        "1,000 or more within 10 minutes (ours; XID 92 is the driver's own limit)"
    }
    /// SRAM errors passed the driver's threshold.
    SramThreshold = "sram_threshold" {
        Critical ReplaceHardware Unusable, after NOW, ends Ends::ReadingsFor(NOW), settles false, hidden_by [],
        "SRAM errors passed the threshold", "The driver says that this GPU should be replaced (RMA).",
        "the driver's threshold flag (NVML SRAM error status); NVIDIA's criterion for RMA"
    }
    /// A repair of a memory channel or TPC waits for a reset.
    RepairPending = "repair_pending" {
        Warning ResetGpu Drain, after NOW, ends Ends::ReadingsFor(NOW), settles false, hidden_by [],
        "a repair waits for a reset", "The driver wants to swap a memory channel or a TPC for a spare one. Drain the GPU and reset it.",
        "the driver's channel or TPC repair flag (NVML repair status)"
    }
    /// A mode change waits for a reset.
    ModePending = "mode_pending" {
        Info ResetGpu None, after MINUTE_MS, ends Ends::ReadingsFor(NOW), settles false, hidden_by [],
        "a mode change waits for a reset", "ECC or MIG was switched and takes effect after the next reset of the GPU.",
        "current and pending mode differ (NVML ECC mode, MIG mode)"
    }
    /// The InfoROM does not pass its own test.
    InforomInvalid = "inforom_invalid" {
        Warning ContactSupport Drain, after NOW, ends Ends::ReadingsFor(NOW), settles false, hidden_by [],
        "InfoROM is corrupt", "The board's own memory does not pass its checksum; counters and serial number may be wrong. Reset the GPU once; if it stays, contact support.",
        "nvmlDeviceValidateInforom says corrupt (DCGM fails on the same)"
    }

    // --- GPU: links
    /// An NVLink that was up is down.
    NvlinkDown = "nvlink_down" {
        Critical ResetGpu Drain, after NOW, ends Ends::ReadingsFor(NOW), settles true, hidden_by [GpuLost, FabricNotReady],
        "NVLink is down", "Work across GPUs is slow or fails. Drain the GPU and reset it; if the link stays down, inspect baseboard, bridge and cable.",
        "a link that was up on this card is not active (NVML link state)"
    }
    /// An NVLink was replayed or retrained.
    NvlinkErrors = "nvlink_errors" {
        Warning ResetGpu Drain, after NOW, ends Ends::ReadingsFor(10 * MINUTE_MS), settles true, hidden_by [NvlinkDown],
        "NVLink replays or retrains", "The link had to repeat data or to train again. Drain the GPU and reset it; if it comes again, inspect the link.",
        "replay or recovery counter rose by one or more (DCGM 4.6 health rules fail on that)"
    }
    /// Some CRC errors on an NVLink.
    NvlinkCrc = "nvlink_crc" {
        Warning InspectHardware None, after NOW, ends Ends::ReadingsFor(10 * MINUTE_MS), settles true, hidden_by [NvlinkCrcHigh, NvlinkDown],
        "CRC errors on an NVLink", "The link corrects them by itself. If they go on, inspect the link.",
        "CRC counters rose, by less than 100 a second (DCGM 4.6 health rules warn)"
    }
    /// Many CRC errors on an NVLink.
    NvlinkCrcHigh = "nvlink_crc_high" {
        Critical InspectHardware Drain, after NOW, ends Ends::ReadingsFor(10 * MINUTE_MS), settles true, hidden_by [NvlinkDown],
        "many CRC errors on an NVLink", "The link loses bandwidth to repeats. Drain the GPU and inspect the link.",
        "100 or more CRC errors a second (DCGM 4.6 health rules fail on that)"
    }
    /// More PCIe replays than the generation allows.
    PcieReplays = "pcie_replays" {
        Warning InspectHardware None, after NOW, ends Ends::ReadingsFor(5 * MINUTE_MS), settles true, hidden_by [],
        "many PCIe replays", "The slot's signal is poor. Reseat the card or the riser when the GPU is free.",
        "more a minute than 0.15, 0.3, 0.48, 0.96, 1.92 or 3.84 per lane for generation 1 to 6, rounded up (DCGM 4.6 health rules)"
    }
    /// The PCIe link is slower or narrower than it can be, under load.
    PcieLinkDegraded = "pcie_link_degraded" {
        Warning InspectHardware None, after MINUTE_MS, ends Ends::ReadingsFor(MINUTE_MS), settles true, hidden_by [],
        "PCIe link is degraded", "Under load the link runs with fewer lanes or at a lower generation than this GPU has in this system. Reseat the card or the riser when the GPU is free.",
        "generation or width below the maximum while utilisation is 50 % or more (ours; an idle link may slow down on purpose)"
    }
    /// The NVLink fabric has not taken the GPU in.
    FabricNotReady = "fabric_not_ready" {
        Critical RebootNode Unusable, after MINUTE_MS, ends Ends::ReadingsFor(NOW), settles true, hidden_by [FabricManagerDown],
        "NVLink fabric is not ready", "CUDA does not start on this GPU without the fabric. Start nvidia-fabricmanager; if it runs, reset the GPU, then reboot the node.",
        "fabric state is not `completed`, or completed with an error (NVML fabric info)"
    }
    /// The fabric is degraded.
    FabricUnhealthy = "fabric_unhealthy" {
        Warning ResetGpu Drain, after MINUTE_MS, ends Ends::ReadingsFor(MINUTE_MS), settles true, hidden_by [FabricNotReady],
        "NVLink fabric is degraded", "The fabric works with less bandwidth, recovers a route or is set up wrongly. Drain the GPU and reset it; if it stays, inspect the switch tray.",
        "degraded bandwidth, route recovery, unhealthy route, access timeout or wrong set-up in the fabric health mask (NVML)"
    }

    // --- GPU: heat, power, use
    /// The hardware slows the GPU down for heat.
    ThrottleHwThermal = "throttle_hw_thermal" {
        Warning InspectHardware None, after NOW, ends Ends::ReadingsFor(2 * MINUTE_MS), settles false, hidden_by [],
        "slowed down by heat", "The hardware cuts the clocks. Check fans, air flow, inlet temperature and the seating of the cooler.",
        "held back by the hardware's thermal control for 5 % or more of 5 minutes (ours), by the driver's counter"
    }
    /// The power brake signal slows the GPU down.
    ThrottlePowerBrake = "throttle_power_brake" {
        Warning InspectHardware None, after NOW, ends Ends::ReadingsFor(2 * MINUTE_MS), settles false, hidden_by [],
        "slowed down by the power brake", "The server asserts the power brake: check power supplies, feeds and the chassis' power cap.",
        "held back by the power brake signal for 5 % or more of 5 minutes (ours), by the driver's counter"
    }
    /// The driver slows the GPU down for heat.
    ThrottleSwThermal = "throttle_sw_thermal" {
        Info InspectHardware None, after NOW, ends Ends::ReadingsFor(2 * MINUTE_MS), settles false, hidden_by [ThrottleHwThermal],
        "runs at its thermal limit", "The driver lowers the clocks to hold the temperature. Work is slower than this GPU can be; check the cooling.",
        "held back by the driver's thermal control for 20 % or more of 5 minutes (ours), by the driver's counter"
    }
    /// Core temperature at its limit.
    TemperatureHigh = "temperature_high" {
        Warning InspectHardware None, after 30 * SECOND_MS, ends Ends::ReadingsFor(MINUTE_MS), settles false, hidden_by [],
        "GPU is at its temperature limit", "Check fans, air flow and inlet temperature before the GPU shuts down.",
        "margin to the slowdown limit is 0 or less, or temperature at or above the highest operating temperature (NVML)"
    }
    /// Memory temperature at its limit.
    MemoryTemperatureHigh = "memory_temperature_high" {
        Warning InspectHardware None, after 30 * SECOND_MS, ends Ends::ReadingsFor(MINUTE_MS), settles false, hidden_by [TemperatureHigh],
        "device memory is at its temperature limit", "Check fans, air flow and inlet temperature.",
        "at or above the memory's slowdown temperature (NVML)"
    }
    /// Power cannot be read.
    PowerUnreadable = "power_unreadable" {
        Warning InspectHardware Drain, after 30 * SECOND_MS, ends Ends::ReadingsFor(NOW), settles false, hidden_by [GpuLost, GpuUnresponsive],
        "power cannot be read", "The GPU answers, its power sensor does not; its power limit may not hold. Reset the GPU; if it stays, inspect the board.",
        "the power reading fails while others succeed (DCGM 4.6 health rules fail on that)"
    }
    /// Full utilisation without a process.
    GhostUtilization = "ghost_utilization" {
        Warning ResetGpu None, after 10 * MINUTE_MS, ends Ends::ReadingsFor(NOW), settles false, hidden_by [],
        "100 % busy with no process", "The driver says busy and nothing runs, as known from Blackwell. Opening and closing a context clears it as a rule; otherwise reset the GPU.",
        "utilisation 99 % or more for 10 minutes with no process (ours)"
    }
    /// Processes where no lease is.
    ForeignProcess = "foreign_process" {
        Warning None Drain, after 30 * SECOND_MS, ends Ends::ReadingsFor(NOW), settles false, hidden_by [],
        "a process without a lease", "Something runs on a GPU that is not leased. Find its owner (rackmark status --json, nvidia-smi) before the GPU is offered again.",
        "one process or more on a GPU that is free, for 30 s; only where leases are told to the agent"
    }
    /// Readings that cannot be.
    ImplausibleReading = "implausible_reading" {
        Info ContactSupport None, after 10 * SECOND_MS, ends Ends::ReadingsFor(MINUTE_MS), settles false, hidden_by [],
        "readings that cannot be true", "A figure of the driver is outside what is physically possible and was not used. Update the driver; contact support if it goes on.",
        "temperature outside -40 to 150 °C, power above 5 kW, share above 100 %, clock above 10 GHz (ours)"
    }
    /// Persistence mode is off.
    PersistenceOff = "persistence_off" {
        Info None None, after MINUTE_MS, ends Ends::ReadingsFor(NOW), settles true, hidden_by [PersistencedDown],
        "persistence mode is off", "The driver unloads the GPU's state when nothing uses it: starting work takes seconds and counters start anew. Start nvidia-persistenced.",
        "persistence mode (NVML)"
    }

    // --- node
    /// The driver cannot be used.
    DriverGone = "driver_gone" {
        Critical None None, after NOW, ends Ends::ReadingsFor(NOW), settles true, hidden_by [],
        "NVIDIA driver cannot be used", "Load the kernel module (modprobe nvidia) and look into dmesg. After an upgrade of the driver, reboot, so that library and module agree.",
        "the driver's library does not answer"
    }
    /// No sample for too long.
    SamplingStale = "sampling_stale" {
        Critical None None, after NOW, ends Ends::ReadingsFor(NOW), settles false, hidden_by [DriverGone],
        "no readings", "The agent gets no samples; every verdict is unknown until it does. See rackmark doctor and the log of rackmark-sampler.",
        "no sample for three periods and 5 s while sampling is not paused"
    }
    /// Fewer GPUs than the node should have.
    GpuCount = "gpu_count" {
        Critical InspectHardware None, after NOW, ends Ends::ReadingsFor(NOW), settles true, hidden_by [DriverGone],
        "a GPU is missing", "The node shows fewer GPUs than it is declared to have. Reboot once; then check seating, power and the BIOS.",
        "GPUs on the bus against node.expected_gpus"
    }
    /// The persistence daemon does not run.
    PersistencedDown = "persistenced_down" {
        Info None None, after MINUTE_MS, ends Ends::ReadingsFor(NOW), settles true, hidden_by [DriverGone],
        "nvidia-persistenced does not run", "Start it: systemctl enable --now nvidia-persistenced.",
        "no process of that name, and a GPU without persistence mode"
    }
    /// The fabric manager does not run.
    FabricManagerDown = "fabric_manager_down" {
        Critical None Unusable, after MINUTE_MS, ends Ends::ReadingsFor(NOW), settles true, hidden_by [DriverGone],
        "nvidia-fabricmanager does not run", "GPUs behind NVSwitches do not work without it. Start it: systemctl enable --now nvidia-fabricmanager; its version must be the driver's.",
        "no process of that name, and a GPU whose fabric is not completed"
    }
    /// The wall clock is not synchronised.
    ClockUnsynchronised = "clock_unsynchronised" {
        Warning None None, after 10 * MINUTE_MS, ends Ends::ReadingsFor(NOW), settles true, hidden_by [],
        "clock is not synchronised", "Signatures and leases carry times. Start chrony or systemd-timesyncd.",
        "no time service says that it is synchronised"
    }
    /// The wall clock was set.
    ClockStepped = "clock_stepped" {
        Info None None, after NOW, ends Ends::QuietFor(10 * MINUTE_MS), settles false, hidden_by [],
        "clock was set", "The wall clock moved by more than a second at once; times before and after do not compare.",
        "wall clock against the clock since boot, more than 1 s between two samples (ours)"
    }
    /// Little room for the agent's state.
    DiskLow = "disk_low" {
        Warning None None, after NOW, ends Ends::ReadingsFor(MINUTE_MS), settles false, hidden_by [],
        "disk is nearly full", "Make room on the file system of state.dir; when it is full, telemetry is given up and declared lost.",
        "less than 512 MiB or less than 2 % free, or read-only (ours)"
    }
    /// The spool has trouble with its disk.
    SpoolTrouble = "spool_trouble" {
        Warning None None, after NOW, ends Ends::ReadingsFor(NOW), settles false, hidden_by [DiskLow],
        "records are not kept on disk", "The disk under state.dir takes no records. Repair it.",
        "the spool's own report"
    }
    /// Processes that sleep in the kernel for long.
    BlockedProcesses = "blocked_processes" {
        Warning RebootNode None, after NOW, ends Ends::ReadingsFor(MINUTE_MS), settles false, hidden_by [],
        "processes hang in the kernel", "They cannot be killed. If they wait for the NVIDIA driver, drain the node and reboot it; if for a file server, mend that first.",
        "one process or more in state D for 120 s (ours)"
    }
    /// The kernel log cannot be read.
    KernelLogUnavailable = "kernel_log_unavailable" {
        Warning None None, after MINUTE_MS, ends Ends::ReadingsFor(NOW), settles false, hidden_by [],
        "kernel log cannot be read", "XIDs are seen through the driver's library only, which misses some. Start rackmark-collect.socket; see rackmark doctor.",
        "the log's descriptor could not be had"
    }
    /// Kernel log records were lost.
    KernelLogLost = "kernel_log_lost" {
        Warning None None, after NOW, ends Ends::QuietFor(60 * MINUTE_MS), settles false, hidden_by [],
        "kernel log records were lost", "The kernel overwrote records before they were read; XIDs may be among them. Enlarge log_buf_len if it goes on.",
        "gaps in the record numbers, or EPIPE"
    }
    /// An NVSwitch reported an error.
    SxId = "sxid" {
        Warning InspectHardware None, after NOW, ends Ends::AsAdvised, settles false, hidden_by [],
        "NVSwitch reported an error", "See the advice on this SXid.",
        "the kernel log; fatal ones need a reset of all GPUs and switches"
    }
}

impl Code {
    /// What the catalogue says.
    pub fn entry(self) -> &'static Entry {
        &ENTRIES[self as usize]
    }

    /// The stable name.
    pub fn name(self) -> &'static str {
        self.entry().name
    }

    /// The code of that name.
    pub fn by_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|code| code.name() == name)
    }

    /// Several of its kind may stand, told apart by a key.
    pub const fn has_key(self) -> bool {
        matches!(
            self,
            Self::Xid
                | Self::SxId
                | Self::NvlinkDown
                | Self::NvlinkErrors
                | Self::NvlinkCrc
                | Self::NvlinkCrcHigh
        )
    }

    /// Code and key in one word: `xid_79`, `nvlink_down_3`, `gpu_lost`.
    pub fn id(self, key: u32) -> String {
        if self.has_key() { format!("{}_{key}", self.name()) } else { self.name().to_owned() }
    }

    /// It is about a node, never about one GPU.
    pub fn is_of_node(self) -> bool {
        self >= Self::DriverGone
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_are_unique_and_lead_back_to_their_code() {
        let names: BTreeSet<_> = Code::ALL.iter().map(|code| code.name()).collect();
        assert_eq!(names.len(), Code::ALL.len());
        for code in Code::ALL {
            assert_eq!(Code::by_name(code.name()), Some(*code));
            assert!(code.name().bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'));
        }
    }

    #[test]
    fn no_condition_hides_itself_through_others() {
        fn causes(code: Code, depth: usize) -> Vec<Code> {
            assert!(depth < 8, "{} is hidden in a circle", code.name());
            let direct = code.entry().hidden_by.iter();
            direct.flat_map(|cause| [vec![*cause], causes(*cause, depth + 1)].concat()).collect()
        }
        for code in Code::ALL {
            assert!(!causes(*code, 0).contains(code));
        }
    }
}
