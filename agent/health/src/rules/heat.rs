//! Heat, power and what holds the clocks back.

use rackmark_model::NoData;

use super::Bench;
use crate::catalogue::Code;
use crate::condition::Finding;
use crate::window::Share;

/// Thousandths of five minutes held back by hardware that are too much (ours).
const HARDWARE_SHARE_MAX: u64 = 50;
/// The same by the driver, which does that in daily work (ours).
const SOFTWARE_SHARE_MAX: u64 = 200;

pub(super) fn judge(bench: &mut Bench<'_, '_>) {
    temperatures(bench);
    throttles(bench);
    let power = match bench.gpu.fast.power_draw {
        Ok(_) => Finding::Fine,
        Err(NoData::Error(_) | NoData::Timeout | NoData::NoPermission) => Finding::Wrong,
        Err(_) => Finding::NoData,
    };
    let why = bench.gpu.fast.power_draw.err();
    bench.level(Code::PowerUnreadable, 0, power, || why.map(|why| why.to_string()).unwrap_or_default());
}

fn temperatures(bench: &mut Bench<'_, '_>) {
    let super::Plausible { core, memory, margin, .. } = bench.readings;
    let inventory = bench.gpu.inventory;
    let limit = |reading: Option<i32>| reading.filter(|limit| (20..=150).contains(limit));
    let core_limit = inventory.and_then(|inventory| {
        limit(inventory.temperature_gpu_max.ok().map(|limit| limit.0))
            .or(limit(inventory.temperature_slowdown.ok().map(|limit| limit.0)))
    });
    let memory_limit =
        inventory.and_then(|inventory| limit(inventory.temperature_memory_max.ok().map(|limit| limit.0)));
    let finding = match (margin, core, core_limit) {
        (Some(margin), ..) => Finding::wrong_if(margin <= 0),
        (None, Some(core), Some(limit)) => Finding::wrong_if(core >= limit),
        _ => Finding::NoData,
    };
    bench.level(Code::TemperatureHigh, 0, finding, || match (core, margin, core_limit) {
        (Some(core), Some(margin), _) => format!("{core} °C, margin {margin} °C"),
        (Some(core), None, Some(limit)) => format!("{core} °C, limit {limit} °C"),
        _ => String::new(),
    });
    let pair = memory.zip(memory_limit);
    bench.level(Code::MemoryTemperatureHigh, 0, Finding::of(pair, |(now, limit)| now >= limit), || {
        let (now, limit) = pair.unwrap_or_default();
        format!("{now} °C, limit {limit} °C")
    });
}

fn throttles(bench: &mut Bench<'_, '_>) {
    let fast = bench.gpu.fast;
    let boot_ms = bench.now.boot_ms;
    let share = |memory: &mut Share, counter: &Result<rackmark_model::Nanoseconds, NoData>| {
        counter.ok().and_then(|counter| memory.take(counter.0, boot_ms))
    };
    let memory = &mut bench.memory;
    let shares = [
        (Code::ThrottleHwThermal, share(&mut memory.hw_thermal, &fast.hw_thermal_time), HARDWARE_SHARE_MAX),
        (
            Code::ThrottlePowerBrake,
            share(&mut memory.power_brake, &fast.hw_power_brake_time),
            HARDWARE_SHARE_MAX,
        ),
        (Code::ThrottleSwThermal, share(&mut memory.sw_thermal, &fast.sw_thermal_time), SOFTWARE_SHARE_MAX),
    ];
    for (code, share, most) in shares {
        let (finding, permille) = match share {
            None => (Finding::NoData, 0),
            Some(held) if held.permille() >= most => (Finding::Wrong, held.permille()),
            Some(held) if held.is_whole() => (Finding::Fine, held.permille()),
            // What was seen so far is not enough, and not yet all.
            Some(_) => (Finding::NoData, 0),
        };
        bench.level(code, 0, finding, || {
            format!("{}.{} % of the last five minutes", permille / 10, permille % 10)
        });
    }
}
