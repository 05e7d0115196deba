//! PCIe, NVLink and the NVLink fabric.

use rackmark_model::{NoData, NvLink, Reading};

use super::{Bench, number};
use crate::catalogue::Code;
use crate::clock::MINUTE_MS;
use crate::condition::Finding;
use crate::state::Link;

/// Replays a minute that DCGM 4.6 allows per lane, in hundredths, for PCIe generations 1 to 6.
const REPLAYS_PER_LANE: [u64; 6] = [15, 30, 48, 96, 192, 384];
/// Utilisation from which on the link must run at its best (ours).
const UNDER_LOAD_PERCENT: u32 = 50;
/// CRC errors a second that DCGM 4.6 fails on.
const CRC_PER_SECOND_MAX: u64 = 100;
/// Most links of one GPU.
const LINKS_MAX: usize = 64;
/// Between two slow readings an hour may lie, not more; then their difference says nothing.
const SLOW_APART_MAX_MS: u64 = 2 * 3_600_000;

/// Fields of NVML's fabric health mask (`NVML_GPU_FABRIC_HEALTH_MASK_*`): position, width, and the
/// values that are bad. Two-bit fields say 1 for yes, 2 for no, 0 for not supported.
const FABRIC_HEALTH: [(&str, u32, u64, std::ops::RangeInclusive<u64>); 5] = [
    ("degraded bandwidth", 0, 0b11, 1..=1),
    ("route recovery", 2, 0b11, 1..=1),
    ("unhealthy route", 4, 0b11, 1..=1),
    ("access timeout recovery", 6, 0b11, 1..=1),
    ("wrong set-up", 8, 0b1111, 2..=15),
];

pub(super) fn judge(bench: &mut Bench<'_, '_>) {
    pcie(bench);
    fabric(bench);
    nvlinks(bench);
}

/// Replays a minute that a link may have.
pub(crate) fn replays_allowed(generation: u64, lanes: u64) -> Option<u64> {
    let at = usize::try_from(generation.checked_sub(1)?).ok()?;
    let hundredths = REPLAYS_PER_LANE.get(at)?.checked_mul(lanes)?;
    Some(hundredths.div_ceil(100))
}

fn pcie(bench: &mut Bench<'_, '_>) {
    let fast = bench.gpu.fast;
    let generation = number(&fast.pcie_link_generation);
    let width = fast.pcie_link_width.ok().map(|lanes| u64::from(lanes.0));
    if let Some(replays) = number(&fast.pcie_replays_total) {
        let rate = bench.memory.pcie_replays.take(replays, bench.now.boot_ms, MINUTE_MS);
        let allowed =
            generation.zip(width).and_then(|(generation, lanes)| replays_allowed(generation, lanes));
        let per_minute = rate.map(|rate| rate.per(MINUTE_MS));
        let finding = Finding::of(per_minute.zip(allowed), |(seen, allowed)| seen > allowed);
        bench.level(Code::PcieReplays, 0, finding, || {
            format!("{} a minute, {} are allowed", per_minute.unwrap_or(0), allowed.unwrap_or(0))
        });
    }
    let Some(inventory) = bench.gpu.inventory else { return };
    let busy = bench.readings.busy;
    let best = number(&inventory.pcie_generation_max)
        .zip(inventory.pcie_width_max.ok().map(|lanes| u64::from(lanes.0)));
    let now = generation.zip(width);
    let finding = match (busy, best, now) {
        (Some(busy), Some(best), Some(now)) if busy >= UNDER_LOAD_PERCENT => {
            Finding::wrong_if(now.0 < best.0 || now.1 < best.1)
        }
        // An idle link may slow down on purpose, and says nothing about how it runs under load.
        _ => Finding::NoData,
    };
    bench.level(Code::PcieLinkDegraded, 0, finding, || {
        let ((now, lanes), (best, most)) = (now.unwrap_or_default(), best.unwrap_or_default());
        format!("generation {now} with {lanes} lanes, could be generation {best} with {most}")
    });
}

fn fabric(bench: &mut Bench<'_, '_>) {
    let Some(inventory) = bench.gpu.inventory else { return };
    let state = inventory.fabric_state.as_deref().ok().filter(|state| *state != "not_supported");
    let status = number(&inventory.fabric_status).unwrap_or(0);
    let unread = inventory.fabric_status.is_err_and(|why| why != NoData::NotSupported);
    let ready = match state {
        None => Finding::NoData,
        // Completed, and whether with an error could not be read.
        Some("completed") if unread => Finding::NoData,
        Some(state) => Finding::wrong_if(state != "completed" || status != 0),
    };
    bench.level(Code::FabricNotReady, 0, ready, || {
        let state = state.unwrap_or("").replace('_', " ");
        if status == 0 { state } else { format!("{state}, error {status}") }
    });
    let mask = inventory.fabric_health.ok().map(|mask| mask.0);
    let bad = |mask: u64| {
        FABRIC_HEALTH.iter().filter(move |(_, at, width, bad)| bad.contains(&(mask >> at & width)))
    };
    let finding = Finding::of(mask, |mask| bad(mask).next().is_some());
    bench.level(Code::FabricUnhealthy, 0, finding, || {
        let names: Vec<&str> = bad(mask.unwrap_or(0)).map(|(name, ..)| *name).collect();
        names.join(", ")
    });
}

fn nvlinks(bench: &mut Bench<'_, '_>) {
    let links = bench.gpu.nvlinks;
    if links.is_empty() {
        return;
    }
    if bench.slow_is_new() {
        let apart_ms = bench.memory.slow.map_or(0, |(_, seen)| bench.now.since(seen));
        remember(&mut bench.memory.links, links, apart_ms);
        for link in links.iter().filter(|link| link.active == Ok(true) && link.link < 64) {
            *bench.links_seen |= 1 << link.link;
        }
    }
    for link in links {
        let key = u32::from(link.link);
        let been_up = link.link < 64 && *bench.links_seen >> link.link & 1 == 1;
        let down = Finding::of(link.active.ok(), |active| !active && been_up);
        bench.level(Code::NvlinkDown, key, down, || format!("link {key}"));
        let Some(known) = bench.memory.links.get(usize::from(link.link)).copied() else { continue };
        let repeats = Finding::wrong_if(known.repeats_grew);
        bench.level(Code::NvlinkErrors, key, repeats, || format!("link {key}"));
        let high = known.crc_per_second >= CRC_PER_SECOND_MAX;
        let rate = || format!("link {key}, {} a second", known.crc_per_second);
        bench.level(Code::NvlinkCrcHigh, key, Finding::wrong_if(high), rate);
        bench.level(Code::NvlinkCrc, key, Finding::wrong_if(known.crc_grew && !high), rate);
    }
}

/// Takes the counters of new slow readings; a counter that went backwards begins anew.
fn remember(known: &mut Vec<Link>, links: &[NvLink], apart_ms: u64) {
    let count = links.iter().map(|link| usize::from(link.link) + 1).max().unwrap_or(0).min(LINKS_MAX);
    known.resize(known.len().max(count), Link::default());
    let comparable = apart_ms > 0 && apart_ms <= SLOW_APART_MAX_MS;
    // Each counter by itself: a sum would jump where one of them could not be read for once.
    let growth = |known: &mut [Option<u64>; 2], new: [&Reading<u64>; 2]| {
        let mut grown = 0_u64;
        for (known, new) in known.iter_mut().zip(new) {
            let Ok(new) = *new else { continue };
            let by = known.replace(new).map_or(0, |before| new.saturating_sub(before));
            grown = grown.saturating_add(by);
        }
        if comparable { grown } else { 0 }
    };
    for link in links {
        let Some(known) = known.get_mut(usize::from(link.link)) else { continue };
        let crc = growth(&mut known.crc, [&link.crc_flit_errors, &link.crc_data_errors]);
        known.crc_grew = crc > 0;
        known.crc_per_second = crc.saturating_mul(1000) / apart_ms.max(1);
        known.repeats_grew = growth(&mut known.repeats, [&link.replay_errors, &link.recovery_errors]) > 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replays_are_allowed_by_generation_and_width() {
        assert_eq!(replays_allowed(5, 16), Some(31), "generation 5 with 16 lanes: 30.72, rounded up");
        assert_eq!(replays_allowed(1, 1), Some(1));
        assert_eq!(replays_allowed(3, 16), Some(8));
        assert_eq!(replays_allowed(6, 16), Some(62));
        assert_eq!(replays_allowed(0, 16), None);
        assert_eq!(replays_allowed(7, 16), None);
    }
}
