use std::collections::BTreeMap;

use rackmark_model::readings::{Fast, Inventory, Slow};
use rackmark_model::{Count, NoData, Reading};
use serde::{Deserialize, Serialize};

/// XIDs remembered of one burn-in.
pub const XID_LIST_MAX: usize = 64;

/// Samples further apart than this leave a hole, in milliseconds (ours: three periods of a sampler at its default).
const APART_MAX_MS: u64 = 3_500;
/// Utilisation from which on a GPU is under load, in percent; the same as for the condition of its PCIe link.
const LOAD_PERCENT: u32 = 50;
/// A clock below this many thousandths of the highest one is low (ours).
const LOW_CLOCK_PERMILLE: u64 = 900;

/// NVML's bits of `clock_event_reasons`.
mod bits {
    pub(super) const POWER_CAP: u64 = 0x4;
    pub(super) const HW_SLOWDOWN: u64 = 0x8;
    pub(super) const SYNC_BOOST: u64 = 0x10;
    pub(super) const SW_THERMAL: u64 = 0x20;
    pub(super) const HW_THERMAL: u64 = 0x40;
    pub(super) const POWER_BRAKE: u64 = 0x80;
    /// Every one that holds a clock down for a cause other than being told to.
    pub(super) const HOLDING: u64 =
        POWER_CAP | HW_SLOWDOWN | SYNC_BOOST | SW_THERMAL | HW_THERMAL | POWER_BRAKE;
}

/// Readings of one GPU at one moment.
#[derive(Debug, Clone, Copy)]
pub struct Sampled<'a> {
    /// `CLOCK_BOOTTIME`, in milliseconds.
    pub boot_ms: u64,
    /// Fast readings.
    pub fast: &'a Fast,
    /// Newest slow readings.
    pub slow: Option<&'a Slow>,
    /// What it is.
    pub inventory: Option<&'a Inventory>,
    /// The stage that runs, by its position in the plan.
    pub stage: Option<usize>,
    /// Processes with a compute context that are ours.
    pub own_processes: u64,
}

/// How much a counter grew while it was watched.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Grown {
    last: Option<u64>,
    /// Growth, over every restart of the counter.
    pub(super) by: u64,
    /// Times it was read.
    pub(super) reads: u32,
    /// It could not be read at some time though this GPU has it.
    pub(super) missed: bool,
}

impl Grown {
    fn take(&mut self, reading: Reading<u64>) {
        match reading {
            Ok(value) => {
                // A counter that went backwards began anew, and all that it counts came since.
                let more = self.last.map_or(0, |last| value.checked_sub(last).unwrap_or(value));
                self.by = self.by.saturating_add(more);
                self.last = Some(value);
                self.reads = self.reads.saturating_add(1);
            }
            Err(NoData::NotSupported) => {}
            Err(_) => self.missed = true,
        }
    }

    /// It is known by how much it grew, or this GPU does not have it.
    pub(super) fn is_known(&self) -> bool {
        self.reads >= 2 || (self.reads == 0 && !self.missed)
    }
}

/// Time in a state: by the bits of samples, and by the driver's own counter where there is one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Held {
    bits_ms: u64,
    counter: Grown,
}

impl Held {
    fn take(&mut self, held: bool, step_ms: u64, nanoseconds: Option<u64>) {
        self.bits_ms += if held { step_ms } else { 0 };
        if let Some(nanoseconds) = nanoseconds {
            self.counter.take(Ok(nanoseconds));
        }
    }

    /// The larger of both, in milliseconds: a bit may come and go between two samples.
    fn ms(&self) -> u64 {
        self.bits_ms.max(self.counter.by / 1_000_000)
    }
}

/// What the samples of a burn-in said. Kept on disk with [`super::Worked`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// Samples.
    pub samples: u32,
    /// Time between the first and the last, in milliseconds.
    pub over_ms: u64,
    /// Of it, without samples.
    pub unseen_ms: u64,
    /// Codes of XIDs that came meanwhile.
    pub xids: Vec<u32>,
    /// Codes of SXids that came meanwhile.
    pub sxids: Vec<u32>,
    /// Most foreign compute processes at once.
    pub foreign_processes: u64,
    /// The count of compute processes could be read, in so many samples.
    pub processes_read: u32,
    /// Power limit in force and the card's default, in milliwatts, where the former was the lower one.
    pub power_limit_low: Option<(u32, u32)>,
    /// Under load, in milliseconds.
    pub load_ms: u64,
    /// Of it, with a low clock that nothing held down.
    pub low_unheld_ms: u64,
    /// Worst PCIe generation and lanes under load.
    pub link_worst: Option<(u64, u64)>,
    /// Best PCIe generation and lanes in this system.
    pub link_best: Option<(u64, u64)>,
    /// Highest core temperature, in degrees Celsius.
    pub temperature_max_celsius: Option<i32>,
    /// Highest temperature of the device memory, in degrees Celsius.
    pub temperature_memory_max_celsius: Option<i32>,
    /// Highest power, in milliwatts.
    pub power_max_milliwatts: Option<u32>,
    /// A row remapping waits for a reset, by the newest slow readings.
    pub remap_pending: Option<bool>,
    /// A row remapping failed, by the newest slow readings.
    pub remap_failed: Option<bool>,
    /// Slow readings were taken after the work ended.
    pub slow_after_end: bool,
    pub(super) uncorrected: Grown,
    pub(super) corrected: Grown,
    pub(super) replays: Grown,
    pub(super) remapped: Grown,
    hw_slowdown: Held,
    hw_thermal: Held,
    power_brake: Held,
    sw_thermal: Held,
    power_cap: Held,
    /// SM clock times time, and time, for each stage: MHz · ms and ms.
    clocks: BTreeMap<usize, (u64, u64)>,
    last_boot_ms: Option<u64>,
}

fn count(reading: &Reading<Count>) -> Reading<u64> {
    reading.as_ref().map(|count| count.0).map_err(|why| *why)
}

fn raise<T: Ord>(most: &mut Option<T>, value: Option<T>) {
    if value > *most {
        *most = value;
    }
}

impl Seen {
    /// Takes one sample.
    pub fn take(&mut self, sampled: &Sampled<'_>) {
        let Sampled { boot_ms, fast, slow, inventory, stage, own_processes } = *sampled;
        let step_ms = self.last_boot_ms.map_or(0, |last| boot_ms.saturating_sub(last));
        self.last_boot_ms = Some(boot_ms);
        self.samples = self.samples.saturating_add(1);
        self.over_ms += step_ms;
        // A sample without readings shows as little as none.
        if step_ms > APART_MAX_MS || fast.clock_event_reasons.is_err_and(|why| why != NoData::NotSupported) {
            self.unseen_ms += step_ms;
        }
        if let Ok(processes) = fast.processes_compute {
            self.processes_read = self.processes_read.saturating_add(1);
            self.foreign_processes = self.foreign_processes.max(processes.0.saturating_sub(own_processes));
        }
        self.held(fast, step_ms);
        self.counters(fast, slow);
        let loaded = stage.is_some() && fast.utilization_gpu.is_ok_and(|share| share.0 >= LOAD_PERCENT);
        if let (Some(stage), Ok(clock)) = (stage, fast.clock_sm) {
            let (sum, time) = self.clocks.entry(stage).or_default();
            *sum += u64::from(clock.0) * step_ms.max(1);
            *time += step_ms.max(1);
        }
        if let Some(inventory) = inventory {
            if let (Ok(limit), Ok(default)) = (fast.power_limit, inventory.power_limit_default)
                && limit < default
                && self.power_limit_low.is_none_or(|(lowest, _)| limit.0 < lowest)
            {
                self.power_limit_low = Some((limit.0, default.0));
            }
            if loaded {
                self.load_ms += step_ms;
                let held = fast.clock_event_reasons.is_ok_and(|bits| bits.0 & bits::HOLDING != 0);
                if let (Ok(clock), Ok(most), false) = (fast.clock_sm, inventory.clock_sm_max, held)
                    && u64::from(clock.0) * 1_000 < u64::from(most.0) * LOW_CLOCK_PERMILLE
                {
                    self.low_unheld_ms += step_ms;
                }
            }
            self.link(fast, inventory, loaded);
        }
        raise(&mut self.temperature_max_celsius, fast.temperature_gpu.ok().map(|at| at.0));
        raise(&mut self.temperature_memory_max_celsius, fast.temperature_memory.ok().map(|at| at.0));
        raise(&mut self.power_max_milliwatts, fast.power_draw.ok().map(|power| power.0));
    }

    fn held(&mut self, fast: &Fast, step_ms: u64) {
        let bits = fast.clock_event_reasons.map_or(0, |bits| bits.0);
        let time = |reading: &Reading<rackmark_model::Nanoseconds>| reading.ok().map(|time| time.0);
        self.hw_slowdown.take(bits & bits::HW_SLOWDOWN != 0, step_ms, None);
        self.hw_thermal.take(bits & bits::HW_THERMAL != 0, step_ms, time(&fast.hw_thermal_time));
        self.power_brake.take(bits & bits::POWER_BRAKE != 0, step_ms, time(&fast.hw_power_brake_time));
        self.sw_thermal.take(bits & bits::SW_THERMAL != 0, step_ms, time(&fast.sw_thermal_time));
        self.power_cap.take(bits & bits::POWER_CAP != 0, step_ms, time(&fast.sw_power_cap_time));
    }

    fn counters(&mut self, fast: &Fast, slow: Option<&Slow>) {
        self.uncorrected.take(count(&fast.ecc_uncorrected_volatile_total));
        self.corrected.take(count(&fast.ecc_corrected_volatile_total));
        self.replays.take(count(&fast.pcie_replays_total));
        let Some(slow) = slow else { return };
        let rows = slow.remapped_rows_corrected.and_then(|corrected| {
            slow.remapped_rows_uncorrected.map(|uncorrected| corrected.0.saturating_add(uncorrected.0))
        });
        self.remapped.take(rows);
        if let Ok(pending) = slow.remapped_rows_pending {
            self.remap_pending = Some(pending);
        }
        if let Ok(failed) = slow.remapped_rows_failed {
            self.remap_failed = Some(failed);
        }
    }

    fn link(&mut self, fast: &Fast, inventory: &Inventory, loaded: bool) {
        let lanes = |reading: Reading<rackmark_model::Lanes>| reading.map(|lanes| u64::from(lanes.0));
        if let (Ok(generation), Ok(width)) = (inventory.pcie_generation_max, lanes(inventory.pcie_width_max))
        {
            self.link_best = Some((generation.0, width));
        }
        // An idle link may slow down on purpose.
        if let (true, Ok(generation), Ok(width)) =
            (loaded, fast.pcie_link_generation, lanes(fast.pcie_link_width))
        {
            let worst = self.link_worst.get_or_insert((generation.0, width));
            *worst = (worst.0.min(generation.0), worst.1.min(width));
        }
    }

    /// Takes an XID of the GPU.
    pub fn xid(&mut self, code: u32) {
        if self.xids.len() < XID_LIST_MAX {
            self.xids.push(code);
        }
    }

    /// Takes an SXid of the node.
    pub fn sxid(&mut self, code: u32) {
        if self.sxids.len() < XID_LIST_MAX {
            self.sxids.push(code);
        }
    }

    /// Begins to look again after the agent or the node was restarted: what happened in between is not of the burn-in.
    pub fn resume(&mut self) {
        self.last_boot_ms = None;
        for grown in [&mut self.uncorrected, &mut self.corrected, &mut self.replays, &mut self.remapped] {
            grown.last = None;
        }
        for held in [&mut self.hw_thermal, &mut self.power_brake, &mut self.sw_thermal, &mut self.power_cap] {
            held.counter.last = None;
        }
    }

    /// Mean SM clock of a stage, in MHz.
    pub fn clock_mhz(&self, stage: usize) -> Option<u64> {
        self.clocks.get(&stage).and_then(|(sum, time)| sum.checked_div(*time))
    }

    fn permille(&self, ms: u64) -> u64 {
        ms.saturating_mul(1_000) / self.over_ms.max(1)
    }

    /// Share of time that the hardware held the clocks down, in thousandths.
    pub fn hardware_permille(&self) -> u64 {
        self.permille(self.hw_slowdown.ms().max(self.hw_thermal.ms()))
    }

    /// Share of time with the power brake, in thousandths.
    pub fn power_brake_permille(&self) -> u64 {
        self.permille(self.power_brake.ms())
    }

    /// Share of time that the driver held the clocks down for heat, in thousandths.
    pub fn heat_permille(&self) -> u64 {
        self.permille(self.sw_thermal.ms())
    }

    /// Share of time at the power limit, in thousandths.
    pub fn power_cap_permille(&self) -> u64 {
        self.permille(self.power_cap.ms())
    }
}
