//! From what is known of the node to what the page says.

use std::borrow::Cow;

use rackmark_model::{Bytes, Count, NoData, Reading, Verdict};

use super::view::{
    BrokerView, ConditionView, DriverView, GpuView, KernelLogView, Place, SamplerView, SpoolView, View,
};
use crate::publish::mqtt::StatsSnapshot;
use crate::publish::spool::Health;
use crate::sampling::roster::{Gpu, Roster, Standing};

/// What is not in the roster.
pub struct Setting<'a> {
    /// Name of the site.
    pub site: &'a str,
    /// Name of the node.
    pub node: &'a str,
    /// The node id of the feed.
    pub node_id: &'a str,
    /// GPUs this node is declared to have.
    pub expected_gpus: Option<u32>,
    /// Wall clock now, in ms since 1970.
    pub now_unix_ms: u64,
    /// `CLOCK_BOOTTIME` now, in ms.
    pub now_boot_ms: u64,
    /// The publisher; absent where the feed is off.
    pub mqtt: Option<&'a StatsSnapshot>,
    /// The spool; absent where the feed is off.
    pub spool: Option<&'a Health>,
}

/// What was judged of the node.
#[derive(Debug)]
pub struct NodeFacts<'a> {
    /// The verdict on it.
    pub verdict: Verdict,
    /// Why, in one clause; may be empty.
    pub reason: Cow<'a, str>,
    /// Its own conditions, with [`super::view::Place::Node`], in any order.
    pub conditions: Vec<ConditionView<'a>>,
    /// The kernel log.
    pub kernel_log: KernelLogView<'a>,
}

impl<'a> NodeFacts<'a> {
    /// What the judge says.
    pub fn of(roster: &'a Roster) -> Self {
        let judged = &roster.health.verdict;
        Self {
            verdict: judged.verdict,
            reason: judged.reason.as_str().into(),
            conditions: conditions(Place::Node, &roster.health.conditions),
            kernel_log: match roster.around.kernel_log_trouble.as_deref() {
                None => KernelLogView::Unsaid,
                Some("") => KernelLogView::Read,
                Some(why) => KernelLogView::Unavailable { why: why.into() },
            },
        }
    }
}

fn conditions(place: Place, standing: &rackmark_health::Conditions) -> Vec<ConditionView<'_>> {
    standing.visible().map(|condition| view(place, condition)).collect()
}

fn view(place: Place, condition: &rackmark_health::Condition) -> ConditionView<'_> {
    ConditionView {
        place,
        code: condition.code.name(),
        key: condition.key,
        severity: condition.severity,
        title: condition.title().into(),
        text: condition.text().into(),
        action: condition.action,
        detail: condition.detail.as_str().into(),
        since_unix_ms: condition.since_unix_ms,
        acknowledged: condition.acknowledged.is_some(),
    }
}

/// What was judged of one GPU, and where it is.
#[derive(Debug)]
pub struct GpuFacts<'a> {
    /// The verdict on it.
    pub verdict: Verdict,
    /// Why, in one clause; may be empty.
    pub reason: Cow<'a, str>,
    /// Its conditions, with [`super::view::Place::Gpu`], in any order.
    pub conditions: Vec<ConditionView<'a>>,
    /// What the chassis calls its place.
    pub physical_slot: Option<Cow<'a, str>>,
}

impl<'a> GpuFacts<'a> {
    /// What the judge says.
    pub fn of(roster: &'a Roster, gpu: &'a Gpu) -> Self {
        let slot = gpu.identity.slot;
        let judged = roster.health.gpus.get(usize::from(slot));
        Self {
            verdict: gpu.verdict,
            reason: roster.reason(slot).into(),
            conditions: judged.map_or_else(Vec::new, |of| conditions(Place::Gpu(slot), &of.conditions)),
            physical_slot: gpu.physical_slot.as_deref().map(Cow::from),
        }
    }
}

/// Gathers the page. `of` gives what was judged of a GPU.
pub fn build<'a>(
    roster: &'a Roster,
    setting: &Setting<'a>,
    node: NodeFacts<'a>,
    of: impl Fn(&'a Gpu) -> GpuFacts<'a>,
) -> View<'a> {
    let mut conditions = node.conditions;
    let gpus = roster
        .gpus
        .iter()
        .map(|gpu| {
            let mut facts = of(gpu);
            conditions.append(&mut facts.conditions);
            one_gpu(gpu, facts)
        })
        .collect();
    conditions.sort_by(|one, other| one.order().cmp(&other.order()));
    View {
        site: setting.site,
        node: setting.node,
        node_id: setting.node_id,
        agent_version: env!("CARGO_PKG_VERSION"),
        simulated: roster.simulated(),
        now_unix_ms: setting.now_unix_ms,
        now_boot_ms: setting.now_boot_ms,
        verdict: node.verdict,
        reason: node.reason,
        driver: driver(roster),
        sample_age_ms: roster.taken.map(|taken| setting.now_boot_ms.saturating_sub(taken.boot_ms)),
        sampler: SamplerView {
            pid: roster.sampler.pid,
            restarts: roster.sampler.starts_total.saturating_sub(1),
            stuck: roster.sampler.stuck.len(),
        },
        broker: broker(setting.mqtt),
        spool: setting.spool.map(spool),
        kernel_log: node.kernel_log,
        expected_gpus: setting.expected_gpus,
        conditions,
        gpus,
    }
}

fn driver(roster: &Roster) -> DriverView<'_> {
    match (&roster.driver, &roster.driver_cause) {
        (Some(driver), _) => DriverView::Up {
            version: driver.driver_version.as_deref().ok(),
            nvml: driver.nvml_version.as_deref().ok(),
            cuda: driver.cuda_driver_version.as_deref().ok(),
        },
        (None, Some(cause)) => DriverView::Down { cause },
        (None, None) => DriverView::NotAsked,
    }
}

fn broker(mqtt: Option<&StatsSnapshot>) -> BrokerView<'_> {
    let Some(mqtt) = mqtt else { return BrokerView::Off };
    let address = mqtt.broker.as_ref().map(|broker| Cow::from(broker.address.as_str()));
    match address {
        Some(address) if mqtt.connected == 1 => BrokerView::Connected { address },
        last => BrokerView::Away { last },
    }
}

fn spool(health: &Health) -> SpoolView<'_> {
    SpoolView {
        records: health.waiting.iter().sum(),
        bytes: Bytes(health.bytes.iter().sum()),
        durable: health.durable,
        trouble: Cow::from(health.trouble.as_str()),
    }
}

fn one_gpu<'a>(gpu: &'a Gpu, facts: GpuFacts<'a>) -> GpuView<'a> {
    let identity = &gpu.identity;
    let inventory = gpu.inventory.as_ref();
    let fast = &gpu.fast;
    GpuView {
        slot: identity.slot,
        index: identity.index,
        name: identity.name.as_deref(),
        uuid: identity.uuid.as_deref(),
        serial: identity.serial.as_deref(),
        pci_address: &identity.address,
        physical_slot: facts.physical_slot,
        state: gpu.state,
        verdict: facts.verdict,
        reason: facts.reason,
        absence: gpu.absence(),
        hangs_in: match &gpu.standing {
            Standing::Unresponsive { function } => Some(function),
            Standing::Slow => gpu.in_call.as_ref().map(|call| call.function.as_str()),
            Standing::Answering | Standing::Absent(_) => None,
        },
        utilization: fast.utilization_gpu,
        memory_used: fast.memory_used,
        memory_total: inventory.map_or(Err(NoData::NotSampled), |inventory| inventory.memory_total),
        temperature: fast.temperature_gpu,
        temperature_limit: inventory
            .map_or(Err(NoData::NotSampled), |inventory| inventory.temperature_slowdown),
        power: fast.power_draw,
        power_limit: fast.power_limit,
        clock_sm: fast.clock_sm,
        processes: processes(fast.processes_compute, fast.processes_graphics),
        mig_enabled: inventory.is_some_and(|inventory| inventory.mig_enabled == Ok(true)),
        mig: &gpu.mig,
        trends: &gpu.trends,
    }
}

/// Compute contexts and graphics contexts; a GPU without graphics has none.
fn processes(compute: Reading<Count>, graphics: Reading<Count>) -> Reading<Count> {
    compute.map(|compute| Count(compute.0.saturating_add(graphics.map_or(0, |graphics| graphics.0))))
}

#[cfg(test)]
#[path = "build_tests.rs"]
mod tests;
