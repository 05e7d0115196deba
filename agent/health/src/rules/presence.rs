//! Whether a GPU is there at all, and what it is used for.

use rackmark_model::{NoData, Reading};

use super::{Bench, any_set, number};
use crate::catalogue::Code;
use crate::condition::Finding;
use crate::view::Standing;

/// Samples after which a GPU of earlier runs that has not appeared is called lost.
const APPEARS_WITHIN_SAMPLES: u64 = 15;

/// Busy, for the rule on ghosts: 99 % and more.
const BUSY_PERCENT: u32 = 99;

pub(super) fn judge(bench: &mut Bench<'_, '_>) {
    lost(bench);
    if bench.gpu.standing == Standing::Answering {
        ghost(bench);
        foreign(bench);
        modes(bench);
    }
}

fn lost(bench: &mut Bench<'_, '_>) {
    let standing = bench.gpu.standing;
    let never_came = bench.node.driver_up == Some(true) && bench.node.samples >= APPEARS_WITHIN_SAMPLES;
    let lost = match standing {
        Standing::Absent(NoData::GpuLost) => Finding::Wrong,
        Standing::Absent(NoData::NotSampled) if never_came => Finding::Wrong,
        Standing::Answering | Standing::Absent(NoData::HandedOver) => Finding::Fine,
        _ => Finding::NoData,
    };
    bench.level(Code::GpuLost, 0, lost, || match standing {
        Standing::Absent(NoData::GpuLost) => "the driver no longer reaches it".to_owned(),
        _ => "known from earlier, not on the bus now".to_owned(),
    });
    let unresponsive = match standing {
        Standing::Unresponsive(_) => Finding::Wrong,
        Standing::Answering | Standing::Absent(NoData::HandedOver | NoData::GpuLost) => Finding::Fine,
        _ => Finding::NoData,
    };
    bench.level(Code::GpuUnresponsive, 0, unresponsive, || match standing {
        Standing::Unresponsive("") => "its sampler fell silent".to_owned(),
        Standing::Unresponsive(function) => format!("{function} does not come back"),
        _ => String::new(),
    });
}

fn processes(bench: &Bench<'_, '_>) -> Option<u64> {
    let fast = bench.gpu.fast;
    let graphics = number(&fast.processes_graphics).unwrap_or(0);
    number(&fast.processes_compute).map(|compute| compute.saturating_add(graphics))
}

fn ghost(bench: &mut Bench<'_, '_>) {
    // Under MIG the whole GPU's utilisation says nothing about its instances.
    let mig = bench.gpu.inventory.is_some_and(|inventory| inventory.mig_enabled == Ok(true));
    let busy = bench.readings.busy;
    let finding = match (busy, processes(bench)) {
        (Some(busy), Some(processes)) => Finding::wrong_if(!mig && busy >= BUSY_PERCENT && processes == 0),
        _ => Finding::NoData,
    };
    bench.level(Code::GhostUtilization, 0, finding, || format!("{} % with no process", busy.unwrap_or(0)));
}

fn foreign(bench: &mut Bench<'_, '_>) {
    let processes = processes(bench).map(|count| count.saturating_sub(bench.own_processes));
    let without_lease = bench.node.lease_source && !bench.leased;
    let finding = match processes {
        Some(count) => Finding::wrong_if(without_lease && count > 0),
        None => Finding::NoData,
    };
    bench.level(Code::ForeignProcess, 0, finding, || format!("{} processes", processes.unwrap_or(0)));
}

fn modes(bench: &mut Bench<'_, '_>) {
    let Some(inventory) = bench.gpu.inventory else { return };
    let differs = |now: &Reading<bool>, pending: &Reading<bool>| match (now, pending) {
        (Ok(now), Ok(pending)) => Ok(now != pending),
        (Err(why), _) | (_, Err(why)) => Err(*why),
    };
    let ecc = differs(&inventory.ecc_enabled, &inventory.ecc_pending_enabled);
    let mig = differs(&inventory.mig_enabled, &inventory.mig_pending_enabled);
    bench.level(Code::ModePending, 0, any_set([&ecc, &mig]), || {
        let mode = if ecc == Ok(true) { "ECC" } else { "MIG" };
        format!("{mode} mode")
    });
    let persistence = Finding::of(inventory.persistence_enabled.ok(), |on| !on);
    bench.level(Code::PersistenceOff, 0, persistence, String::new);
    let inforom = Finding::of(inventory.inforom_valid.ok(), |valid| !valid);
    bench.level(Code::InforomInvalid, 0, inforom, String::new);
}
