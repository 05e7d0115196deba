//! The rules that turn readings into conditions. Each is a comparison; what is
//! remembered between looks is in [`Memory`].

mod heat;
mod links;
mod memory;
mod node;
mod presence;

use rackmark_model::{Celsius, Count, Megahertz, Milliwatts, Percent, Reading};

pub(crate) use node::{Around, judge_node};

use crate::catalogue::Code;
use crate::clock::Now;
use crate::condition::{Conditions, Finding};
use crate::state::{Gpu, Memory};
use crate::transition::Transition;
use crate::view::{GpuView, NodeView, Standing};

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
    now: Now,
    out: &'a mut Vec<Transition>,
    /// Readings that cannot be true, seen in this look; the first one is named.
    implausible: Option<(&'static str, i64)>,
}

/// Applies every rule to one GPU; how many readings could not be true.
pub(crate) fn judge_gpu(
    gpu: &GpuView<'_>,
    state: &mut Gpu,
    node: &NodeView<'_>,
    now: Now,
    out: &mut Vec<Transition>,
) -> bool {
    let Gpu { conditions, memory, links_seen, retired, occupancy, .. } = state;
    memory.settling = false;
    let leased = occupancy.lease.is_some();
    let mut bench =
        Bench { gpu, memory, links_seen, retired, conditions, node, leased, now, out, implausible: None };
    presence::judge(&mut bench);
    if bench.gpu.standing == Standing::Answering {
        heat::judge(&mut bench);
        memory::judge(&mut bench);
        links::judge(&mut bench);
        bench.plausibility();
        bench.memory.complete |= gpu.slow.is_some() && gpu.inventory.is_some();
    }
    let implausible = bench.implausible.is_some();
    if let Some((_, taken)) = gpu.slow {
        state.memory.slow_unix_ms = taken;
    }
    implausible
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
        self.gpu.slow.is_some_and(|(_, taken)| taken != self.memory.slow_unix_ms)
    }

    fn plausible<T>(&mut self, what: &'static str, value: Option<T>, number: i64, fits: bool) -> Option<T> {
        if value.is_some() && !fits {
            self.implausible.get_or_insert((what, number));
            return None;
        }
        value
    }

    /// A temperature that silicon can have: -40 to 150 °C.
    fn celsius(&mut self, what: &'static str, reading: &Reading<Celsius>) -> Option<i32> {
        let value = reading.ok().map(|value| value.0);
        let number = i64::from(value.unwrap_or(0));
        self.plausible(what, value, number, (-40..=150).contains(&number))
    }

    /// Power that one GPU can draw: up to 5 kW.
    fn milliwatts(&mut self, what: &'static str, reading: &Reading<Milliwatts>) -> Option<u32> {
        let value = reading.ok().map(|value| value.0);
        let number = i64::from(value.unwrap_or(0));
        self.plausible(what, value, number, number <= 5_000_000)
    }

    /// A share in hundredths.
    fn percent(&mut self, what: &'static str, reading: &Reading<Percent>) -> Option<u32> {
        let value = reading.ok().map(|value| value.0);
        let number = i64::from(value.unwrap_or(0));
        self.plausible(what, value, number, number <= 100)
    }

    /// A clock below 10 GHz.
    fn megahertz(&mut self, what: &'static str, reading: &Reading<Megahertz>) -> Option<u32> {
        let value = reading.ok().map(|value| value.0);
        let number = i64::from(value.unwrap_or(0));
        self.plausible(what, value, number, number < 10_000)
    }

    fn plausibility(&mut self) {
        let fast = self.gpu.fast;
        self.milliwatts("power_draw", &fast.power_draw);
        self.percent("utilization_gpu", &fast.utilization_gpu);
        self.percent("utilization_memory", &fast.utilization_memory);
        self.megahertz("clock_sm", &fast.clock_sm);
        self.megahertz("clock_memory", &fast.clock_memory);
        let found = self.implausible;
        self.level(Code::ImplausibleReading, 0, Finding::wrong_if(found.is_some()), || {
            let (what, number) = found.unwrap_or(("", 0));
            format!("{what} is {number}")
        });
    }
}

/// The number of a counter.
fn number(reading: &Reading<Count>) -> Option<u64> {
    reading.ok().map(|count| count.0)
}
