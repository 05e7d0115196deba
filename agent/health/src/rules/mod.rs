//! The rules that turn readings into conditions. Each is a comparison; what is
//! remembered between looks is in [`Memory`].

mod heat;
mod links;
mod memory;
mod node;
mod presence;

use rackmark_model::{Celsius, Count, Megahertz, Milliwatts, NoData, Percent, Reading};

pub(crate) use links::replays_allowed;
pub(crate) use node::{Around, judge_node};

use crate::catalogue::Code;
use crate::clock::Now;
use crate::condition::{Conditions, Finding};
use crate::state::{Gpu, Memory};
use crate::transition::ClearedBy;
use crate::transition::Transition;
use crate::view::{GpuView, NodeView, Standing};

/// More than any GPU draws (ours): 5 kW.
const POWER_MAX_MILLIWATTS: u32 = 5_000_000;
/// More than any clock of a GPU (ours): 10 GHz.
const CLOCK_MAX_MEGAHERTZ: u32 = 10_000;

/// One GPU while it is judged.
pub(crate) struct Bench<'a, 'v> {
    pub gpu: &'a GpuView<'v>,
    pub memory: &'a mut Memory,
    pub links_seen: &'a mut u64,
    pub retired: &'a mut Vec<(u64, u64)>,
    conditions: &'a mut Conditions,
    node: &'a NodeView<'a>,
    /// A lease has it.
    pub leased: bool,
    /// Processes on it that are the agent's own work.
    pub own_processes: u64,
    now: Now,
    out: &'a mut Vec<Transition>,
    readings: Plausible,
}

/// Readings that are used only where they can be true.
#[derive(Debug, Clone, Copy, Default)]
struct Plausible {
    core: Option<i32>,
    memory: Option<i32>,
    margin: Option<i32>,
    /// Utilisation, in hundredths.
    busy: Option<u32>,
    /// How many were not used.
    unused: u32,
    /// The first of those.
    first: Option<(&'static str, i64)>,
}

/// What another driver does with a GPU is not ours to judge: these are over then. What belongs to the card stays.
const OF_THE_MOMENT: &[Code] = &[
    Code::PcieReplays,
    Code::PcieLinkDegraded,
    Code::ThrottleHwThermal,
    Code::ThrottlePowerBrake,
    Code::ThrottleSwThermal,
    Code::TemperatureHigh,
    Code::MemoryTemperatureHigh,
    Code::PowerUnreadable,
    Code::GhostUtilization,
    Code::ForeignProcess,
    Code::ImplausibleReading,
    Code::PersistenceOff,
];

/// Applies every rule to one GPU; how many readings could not be true.
pub(crate) fn judge_gpu(
    gpu: &GpuView<'_>,
    state: &mut Gpu,
    node: &NodeView<'_>,
    now: Now,
    out: &mut Vec<Transition>,
) -> u32 {
    let Gpu { conditions, memory, links_seen, retired, occupancy, .. } = state;
    let leased = occupancy.lease.is_some();
    let own_processes = u64::from(occupancy.burn_in.is_some());
    let answers = gpu.standing == Standing::Answering;
    let readings = if answers { Plausible::of(gpu) } else { Plausible::default() };
    let mut bench = Bench {
        gpu,
        memory,
        links_seen,
        retired,
        conditions,
        node,
        leased,
        own_processes,
        now,
        out,
        readings,
    };
    if answers {
        bench.memory.settling = false;
    }
    presence::judge(&mut bench);
    if gpu.standing == Standing::Absent(NoData::HandedOver) && !bench.conditions.is_empty() {
        let over = |one: &crate::Condition| OF_THE_MOMENT.contains(&one.code);
        bench.conditions.clear(Some(gpu.slot), ClearedBy::Expired, over, bench.out);
    }
    if answers {
        heat::judge(&mut bench);
        memory::judge(&mut bench);
        links::judge(&mut bench);
        bench.plausibility();
        bench.memory.complete |= gpu.slow.is_some() && gpu.inventory.is_some();
        if bench.slow_is_new() {
            bench.memory.slow = gpu.slow.map(|(_, taken)| (taken, now.boot_ms));
        }
    }
    readings.unused
}

impl Plausible {
    fn of(gpu: &GpuView<'_>) -> Self {
        let fast = gpu.fast;
        let mut seen = Self::default();
        seen.core = seen.celsius("temperature_gpu", &fast.temperature_gpu);
        seen.memory = seen.celsius("temperature_memory", &fast.temperature_memory);
        seen.margin = seen.celsius("temperature_margin", &fast.temperature_margin);
        seen.busy = seen.percent("utilization_gpu", &fast.utilization_gpu);
        seen.percent("utilization_memory", &fast.utilization_memory);
        let power = fast.power_draw.ok().map_or(0, |Milliwatts(power)| power);
        seen.check("power_draw", i64::from(power), power <= POWER_MAX_MILLIWATTS);
        for (what, clock) in [("clock_sm", &fast.clock_sm), ("clock_memory", &fast.clock_memory)] {
            let clock = clock.ok().map_or(0, |Megahertz(clock)| clock);
            seen.check(what, i64::from(clock), clock <= CLOCK_MAX_MEGAHERTZ);
        }
        seen
    }

    /// Counts a reading that cannot be true.
    fn check(&mut self, what: &'static str, number: i64, fits: bool) -> bool {
        if !fits {
            self.unused += 1;
            self.first.get_or_insert((what, number));
        }
        fits
    }

    /// A temperature that silicon can have: -40 to 150 °C.
    fn celsius(&mut self, what: &'static str, reading: &Reading<Celsius>) -> Option<i32> {
        let Celsius(value) = reading.ok()?;
        self.check(what, i64::from(value), (-40..=150).contains(&value)).then_some(value)
    }

    /// A share in hundredths.
    fn percent(&mut self, what: &'static str, reading: &Reading<Percent>) -> Option<u32> {
        let Percent(value) = reading.ok()?;
        self.check(what, i64::from(value), value <= 100).then_some(value)
    }
}

impl Bench<'_, '_> {
    /// Hands a finding to the conditions, unless the node still settles or the operator does not want it.
    fn level(&mut self, code: Code, key: u32, finding: Finding, detail: impl FnOnce() -> String) {
        if self.node.ignored.contains(&code) {
            return;
        }
        if finding == Finding::Wrong && code.entry().settles && self.now.boot_ms < self.node.boot_grace_ms {
            self.memory.settling = true;
            return;
        }
        self.conditions.level(Some(self.gpu.slot), (code, key), finding, detail, self.now, self.out);
    }

    /// New slow readings since the last look.
    fn slow_is_new(&self) -> bool {
        self.gpu.slow.is_some_and(|(_, taken)| self.memory.slow.is_none_or(|(known, _)| taken != known))
    }

    fn plausibility(&mut self) {
        let first = self.readings.first;
        self.level(Code::ImplausibleReading, 0, Finding::wrong_if(first.is_some()), || {
            let (what, number) = first.unwrap_or(("", 0));
            format!("{what} is {number}")
        });
    }
}

/// Whether one of several flags is set. One that this GPU does not have says nothing; one that could not be read now
/// leaves open whether it is.
fn any_set(flags: [&Reading<bool>; 2]) -> Finding {
    if flags.contains(&&Ok(true)) {
        return Finding::Wrong;
    }
    let unread = |flag: &&Reading<bool>| flag.is_err_and(|why| why != NoData::NotSupported);
    let known = flags.iter().any(|flag| flag.is_ok()) && !flags.iter().any(unread);
    if known { Finding::Fine } else { Finding::NoData }
}

/// The number of a counter.
fn number(reading: &Reading<Count>) -> Option<u64> {
    reading.ok().map(|count| count.0)
}
