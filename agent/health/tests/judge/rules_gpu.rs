//! Rules about memory, heat, power and use of one GPU, each one step below, at and above its limit.

use rackmark_health::{Action, ClearedBy, Code, Standing};
use rackmark_model::{Celsius, Count, Megahertz, Milliwatts, Nanoseconds, NoData, Percent, Verdict};

use crate::world::{Card, DAY, MINUTE, SECOND, World, cleared, raised};

/// A rule on one reading that is shown at once and ends at once.
fn at_once(code: Code, wrong: fn(&mut Card), fine: fn(&mut Card), absent: fn(&mut Card), verdict: Verdict) {
    let mut world = World::new(1);
    fine(&mut world.cards[0]);
    world.after(SECOND);
    assert!(!world.shows(code), "{code:?} one below");
    wrong(&mut world.cards[0]);
    assert_eq!(raised(&world.after(SECOND), code), 1, "{code:?} at its limit");
    assert_eq!(world.verdict(0), verdict, "{code:?}");
    let since = world.condition(Some(0), code, 0).expect("stands").since_unix_ms;
    absent(&mut world.cards[0]);
    assert!(world.looks(MINUTE, 30 * MINUTE).is_empty(), "{code:?}: absence changes nothing");
    assert!(world.shows(code), "{code:?} stands where there is no reading");
    wrong(&mut world.cards[0]);
    world.after(SECOND);
    assert_eq!(
        world.condition(Some(0), code, 0).expect("stands").since_unix_ms,
        since,
        "{code:?} since is kept"
    );
    fine(&mut world.cards[0]);
    assert_eq!(cleared(&world.after(SECOND), code), Some(ClearedBy::Recovered), "{code:?}");
    assert_eq!(world.verdict(0), Verdict::Schedulable);
}

#[test]
fn memory_flags_and_counts() {
    use Verdict::{Draining, Schedulable, Unusable};
    at_once(
        Code::RowRemapPending,
        |card| card.slow().remapped_rows_pending = Ok(true),
        |card| card.slow().remapped_rows_pending = Ok(false),
        |card| card.slow().remapped_rows_pending = Err(NoData::Timeout),
        Draining,
    );
    at_once(
        Code::RowRemapFailed,
        |card| card.slow().remapped_rows_failed = Ok(true),
        |card| card.slow().remapped_rows_failed = Ok(false),
        |card| card.slow().remapped_rows_failed = Err(NoData::Timeout),
        Unusable,
    );
    at_once(
        Code::RowRemapExhausted,
        |card| card.slow().remapped_rows_uncorrected = Ok(Count(512)),
        |card| card.slow().remapped_rows_uncorrected = Ok(Count(511)),
        |card| card.slow().remapped_rows_uncorrected = Err(NoData::Timeout),
        Unusable,
    );
    at_once(
        Code::RowRemapSparesLow,
        |card| card.slow().remap_banks_none = Ok(Count(1)),
        |card| card.slow().remap_banks_none = Ok(Count(0)),
        |card| card.slow().remap_banks_none = Err(NoData::Timeout),
        Schedulable,
    );
    at_once(
        Code::RetiredPagesPending,
        |card| card.slow().retired_pages_pending = Ok(true),
        |card| card.slow().retired_pages_pending = Ok(false),
        |card| card.slow().retired_pages_pending = Err(NoData::Timeout),
        Draining,
    );
    at_once(
        Code::RetiredPagesLimit,
        |card| card.slow().retired_pages_single_bit = Ok(Count(63)),
        |card| card.slow().retired_pages_single_bit = Ok(Count(62)),
        |card| card.slow().retired_pages_single_bit = Err(NoData::Timeout),
        Unusable,
    );
    at_once(
        Code::EccUncorrected,
        |card| card.fast.ecc_uncorrected_volatile_total = Ok(Count(1)),
        |card| card.fast.ecc_uncorrected_volatile_total = Ok(Count(0)),
        |card| card.fast.ecc_uncorrected_volatile_total = Err(NoData::Timeout),
        Draining,
    );
    at_once(
        Code::SramThreshold,
        |card| card.slow().sram_threshold_exceeded = Ok(true),
        |card| card.slow().sram_threshold_exceeded = Ok(false),
        |card| card.slow().sram_threshold_exceeded = Err(NoData::Timeout),
        Unusable,
    );
    at_once(
        Code::RepairPending,
        |card| card.slow().repair_tpc_pending = Ok(true),
        |card| card.slow().repair_tpc_pending = Ok(false),
        |card| card.slow().repair_tpc_pending = Err(NoData::Timeout),
        Draining,
    );
    at_once(
        Code::InforomInvalid,
        |card| card.inventory().inforom_valid = Ok(false),
        |card| card.inventory().inforom_valid = Ok(true),
        |card| card.inventory().inforom_valid = Err(NoData::Timeout),
        Draining,
    );
}

#[test]
fn both_kinds_of_retired_pages_count_together_and_one_kind_may_not_exist() {
    let mut world = World::new(1);
    world.cards[0].slow().retired_pages_single_bit = Ok(Count(40));
    world.cards[0].slow().retired_pages_double_bit = Ok(Count(22));
    world.after(SECOND);
    assert!(!world.shows(Code::RetiredPagesLimit), "62");
    world.cards[0].slow().retired_pages_double_bit = Ok(Count(23));
    world.after(SECOND);
    assert!(world.shows(Code::RetiredPagesLimit), "63");
    world.cards[0].slow().retired_pages_double_bit = Err(NoData::Timeout);
    world.after(SECOND);
    assert!(world.shows(Code::RetiredPagesLimit), "half of the sum says nothing");
    world.cards[0].slow().retired_pages_double_bit = Err(NoData::NotSupported);
    world.after(SECOND);
    assert!(!world.shows(Code::RetiredPagesLimit), "all there is, is 40");
}

#[test]
fn pages_for_double_bit_errors_within_a_week() {
    let mut world = World::new(1);
    let pages = |world: &mut World, count: u64| {
        world.cards[0].slow().retired_pages_double_bit = Ok(Count(count));
        world.after(DAY);
        world.shows(Code::RetiredPagesRate)
    };
    assert!(!pages(&mut world, 14));
    for _ in 0..8 {
        pages(&mut world, 14);
    }
    assert!(!pages(&mut world, 15), "15 in all, 1 new");
    assert!(!pages(&mut world, 15));
    for _ in 0..8 {
        pages(&mut world, 15);
    }
    assert!(!pages(&mut world, 16), "16 in all, but only 1 new");
    assert!(pages(&mut world, 17), "17 in all, 2 new");
    for _ in 0..5 {
        assert!(pages(&mut world, 17));
    }
    world.restart();
    assert!(!pages(&mut world, 17), "a week after the first of the two, over a restart");
}

#[test]
fn more_than_fifteen_pages_means_sixteen() {
    let mut world = World::new(1);
    world.cards[0].slow().retired_pages_double_bit = Ok(Count(15));
    world.after(MINUTE);
    assert!(!world.shows(Code::RetiredPagesRate), "15 new, but only 15 in all");
    world.cards[0].slow().retired_pages_double_bit = Ok(Count(16));
    world.after(MINUTE);
    assert!(world.shows(Code::RetiredPagesRate));
}

#[test]
fn a_thousand_corrected_errors_in_ten_minutes() {
    for (errors, expected) in [(999, false), (1000, true), (1001, true)] {
        let mut world = World::new(1);
        world.cards[0].fast.ecc_corrected_volatile_total = Ok(Count(errors));
        world.looks(MINUTE, 9 * MINUTE);
        assert!(!world.shows(Code::EccCorrectedRate), "not before the ten minutes are over");
        world.after(MINUTE);
        assert_eq!(world.shows(Code::EccCorrectedRate), expected, "{errors}");
        // Quiet from now on: one window says so, and it must hold for half an hour.
        world.looks(MINUTE, 39 * MINUTE);
        assert_eq!(world.shows(Code::EccCorrectedRate), expected, "{errors}");
        world.looks(MINUTE, 2 * MINUTE);
        assert!(!world.shows(Code::EccCorrectedRate));
    }
}

#[test]
fn a_mode_change_is_shown_after_a_minute_and_not_forgotten_where_it_cannot_be_read() {
    let mut world = World::new(1);
    world.cards[0].inventory().mig_pending_enabled = Ok(true);
    world.after(SECOND);
    world.after(MINUTE - 1);
    assert!(!world.shows(Code::ModePending));
    world.after(1);
    assert!(world.shows(Code::ModePending));
    world.cards[0].inventory().mig_enabled = Err(NoData::Timeout);
    world.after(MINUTE);
    assert!(world.shows(Code::ModePending));
    world.cards[0].inventory().mig_enabled = Ok(true);
    world.after(SECOND);
    assert!(!world.shows(Code::ModePending));
    world.cards[0].inventory().mig_enabled = Err(NoData::NotSupported);
    world.cards[0].inventory().mig_pending_enabled = Err(NoData::NotSupported);
    world.cards[0].inventory().ecc_pending_enabled = Ok(false);
    world.looks(MINUTE, 2 * MINUTE);
    assert!(world.shows(Code::ModePending), "ECC on a GPU without MIG");
    world.cards[0].inventory().ecc_pending_enabled = Ok(true);
    world.after(SECOND);
    assert!(!world.shows(Code::ModePending));
}

#[test]
fn temperatures_by_margin_and_by_limit() {
    for (margin, core, expected) in [(Some(1), 90, false), (Some(0), 60, true), (Some(-1), 60, true)]
        .into_iter()
        .chain([(None, 86, false), (None, 87, true), (None, 88, true)])
    {
        let mut world = World::new(1);
        world.cards[0].fast.temperature_margin = margin.map(Celsius).ok_or(NoData::NotSupported);
        world.cards[0].fast.temperature_gpu = Ok(Celsius(core));
        world.after(SECOND);
        world.after(30 * SECOND - 1);
        assert!(!world.shows(Code::TemperatureHigh), "not before 30 s");
        world.after(1);
        assert_eq!(world.shows(Code::TemperatureHigh), expected, "margin {margin:?}, {core} °C");
        world.cards[0] = Card::healthy(0);
        world.after(SECOND);
        world.after(MINUTE - 1);
        assert_eq!(world.shows(Code::TemperatureHigh), expected, "it must be cool for a minute");
        world.after(1);
        assert!(!world.shows(Code::TemperatureHigh));
    }
}

#[test]
fn memory_temperature_at_its_limit_is_hidden_behind_the_core_s() {
    for (memory, expected) in [(94, false), (95, true), (96, true)] {
        let mut world = World::new(1);
        world.cards[0].fast.temperature_memory = Ok(Celsius(memory));
        world.looks(10 * SECOND, 40 * SECOND);
        assert_eq!(world.shows(Code::MemoryTemperatureHigh), expected);
        world.cards[0].fast.temperature_margin = Ok(Celsius(0));
        world.looks(10 * SECOND, 40 * SECOND);
        assert!(world.shows(Code::TemperatureHigh) && !world.shows(Code::MemoryTemperatureHigh));
        world.cards[0].fast.temperature_margin = Ok(Celsius(30));
        let said = world.looks(10 * SECOND, 70 * SECOND);
        assert_eq!(world.shows(Code::MemoryTemperatureHigh), expected, "the consequence is seen again");
        assert_eq!(raised(&said, Code::MemoryTemperatureHigh), 0, "it was announced before");
    }
}

#[test]
fn a_temperature_is_high_only_without_a_break() {
    let mut world = World::new(1);
    world.cards[0].fast.temperature_margin = Ok(Celsius(0));
    world.looks(SECOND, 20 * SECOND);
    world.cards[0].fast.temperature_margin = Ok(Celsius(5));
    let said = world.after(SECOND);
    assert!(said.is_empty(), "what nobody saw is not announced as over: {said:?}");
    world.cards[0].fast.temperature_margin = Ok(Celsius(0));
    world.looks(SECOND, 30 * SECOND);
    assert!(!world.shows(Code::TemperatureHigh), "29 s");
    world.after(SECOND);
    assert!(world.shows(Code::TemperatureHigh), "30 s");
}

#[test]
fn time_without_a_reading_ripens_nothing() {
    let mut world = World::new(1);
    world.cards[0].fast.temperature_margin = Ok(Celsius(0));
    world.after(SECOND);
    world.cards[0].fast.temperature_margin = Err(NoData::Timeout);
    world.cards[0].fast.temperature_gpu = Err(NoData::Timeout);
    world.looks(SECOND, 5 * MINUTE);
    assert!(!world.shows(Code::TemperatureHigh), "it was seen hot once, for a moment");
    world.cards[0].fast.temperature_margin = Ok(Celsius(0));
    world.after(SECOND);
    assert!(world.shows(Code::TemperatureHigh), "hot at both ends of the gap, and nobody saw it cool");
}

#[test]
fn throttles_by_their_share_of_five_minutes() {
    type Set = fn(&mut Card, u64);
    let rules: [(Code, Set, u64); 3] = [
        (Code::ThrottleHwThermal, |card, ns| card.fast.hw_thermal_time = Ok(Nanoseconds(ns)), 15_000),
        (Code::ThrottlePowerBrake, |card, ns| card.fast.hw_power_brake_time = Ok(Nanoseconds(ns)), 15_000),
        (Code::ThrottleSwThermal, |card, ns| card.fast.sw_thermal_time = Ok(Nanoseconds(ns)), 60_000),
    ];
    for (code, set, limit_ms) in rules {
        for (held_ms, expected) in [(limit_ms - 1000, false), (limit_ms, true), (limit_ms + 1000, true)] {
            let mut world = World::new(1);
            let mut wrong = false;
            for second in 1..=300 {
                set(&mut world.cards[0], held_ms * 1_000_000 * second / 300);
                world.after(SECOND);
                wrong |= world.shows(code);
            }
            assert_eq!(wrong, expected, "{code:?} held back for {held_ms} ms of five minutes");
            world.looks(SECOND, 8 * MINUTE);
            assert!(!world.shows(code), "{code:?} is over");
        }
    }
}

#[test]
fn a_short_throttle_at_the_start_is_no_share_of_five_minutes() {
    let mut world = World::new(1);
    world.cards[0].fast.hw_thermal_time = Ok(Nanoseconds(4_000_000_000));
    world.looks(SECOND, 10 * MINUTE);
    assert_eq!(raised(&world.said, Code::ThrottleHwThermal), 0, "4 s");
    world.cards[0].fast.hw_thermal_time = Ok(Nanoseconds(0));
    world.looks(SECOND, MINUTE);
    world.cards[0].fast.hw_thermal_time = Ok(Nanoseconds(20_000_000_000));
    world.looks(SECOND, 2 * MINUTE);
    assert!(world.shows(Code::ThrottleHwThermal), "20 s are more than 5 % of five minutes, whatever follows");
}

#[test]
fn a_throttle_that_goes_on_outlives_a_restart_of_the_daemon() {
    let mut world = World::new(1);
    let looks = |world: &mut World, seconds: std::ops::Range<u64>| {
        for second in seconds {
            world.cards[0].fast.hw_thermal_time = Ok(Nanoseconds(second * 60_000_000));
            world.after(SECOND);
        }
    };
    looks(&mut world, 1..400);
    assert!(world.shows(Code::ThrottleHwThermal), "6 %");
    world.restart();
    world.said.clear();
    looks(&mut world, 400..800);
    assert_eq!(cleared(&world.said, Code::ThrottleHwThermal), None, "a part of five minutes says nothing");
    assert!(world.shows(Code::ThrottleHwThermal));
}

#[test]
fn a_driver_throttle_is_hidden_behind_the_hardware_s() {
    let mut world = World::new(1);
    for second in 1..=120 {
        world.cards[0].fast.sw_thermal_time = Ok(Nanoseconds(second * 1_000_000_000));
        world.cards[0].fast.hw_thermal_time = Ok(Nanoseconds(second * 1_000_000_000));
        world.after(SECOND);
    }
    assert!(world.shows(Code::ThrottleHwThermal) && !world.shows(Code::ThrottleSwThermal));
    assert!(world.condition(Some(0), Code::ThrottleSwThermal, 0).expect("stands").is_hidden());
}

#[test]
fn power_that_cannot_be_read() {
    for why in [NoData::Error(999), NoData::Timeout, NoData::NoPermission] {
        let mut world = World::new(1);
        world.cards[0].fast.power_draw = Err(why);
        world.after(SECOND);
        world.after(30 * SECOND - 1);
        assert!(!world.shows(Code::PowerUnreadable));
        world.after(1);
        assert!(world.shows(Code::PowerUnreadable), "{why}");
        assert_eq!(world.verdict(0), Verdict::Draining);
        world.cards[0].fast.power_draw = Ok(Milliwatts(1));
        world.after(1);
        assert!(!world.shows(Code::PowerUnreadable));
    }
    let mut world = World::new(1);
    world.cards[0].fast.power_draw = Err(NoData::NotSupported);
    world.looks(10 * SECOND, 2 * MINUTE);
    assert!(world.conditions(Some(0)).is_empty(), "not every GPU has the sensor");
}

#[test]
fn readings_that_cannot_be_are_not_used() {
    type Set = fn(&mut Card);
    let impossible: [Set; 8] = [
        |card| card.fast.temperature_gpu = Ok(Celsius(151)),
        |card| card.fast.temperature_margin = Ok(Celsius(-41)),
        |card| card.fast.temperature_memory = Ok(Celsius(i32::MAX)),
        |card| card.fast.utilization_gpu = Ok(Percent(101)),
        |card| card.fast.utilization_memory = Ok(Percent(u32::MAX)),
        |card| card.fast.power_draw = Ok(Milliwatts(5_000_001)),
        |card| card.fast.clock_sm = Ok(Megahertz(10_001)),
        |card| card.fast.clock_memory = Ok(Megahertz(u32::MAX)),
    ];
    for (at, set) in impossible.into_iter().enumerate() {
        let mut world = World::new(1);
        set(&mut world.cards[0]);
        world.looks(SECOND, 15 * MINUTE);
        assert!(world.shows(Code::ImplausibleReading), "{at}");
        assert_eq!(world.conditions(Some(0)).len(), 1, "{at}: nothing is concluded from it");
        assert_eq!(world.verdict(0), Verdict::Schedulable);
        assert_eq!(world.state.implausible_total, 900, "one reading a sample");
        world.sampled = false;
        world.look();
        assert_eq!(world.state.implausible_total, 900, "a second look at a sample counts nothing");
    }
    let possible: [Set; 4] = [
        |card| card.fast.temperature_memory = Ok(Celsius(-40)),
        |card| card.fast.utilization_memory = Ok(Percent(100)),
        |card| card.fast.power_draw = Ok(Milliwatts(5_000_000)),
        |card| card.fast.clock_sm = Ok(Megahertz(10_000)),
    ];
    for set in possible {
        let mut world = World::new(1);
        set(&mut world.cards[0]);
        world.looks(SECOND, MINUTE);
        assert!(world.conditions(Some(0)).is_empty());
    }
}

#[test]
fn what_stands_is_not_ended_by_a_reading_that_cannot_be() {
    let mut world = World::new(1);
    world.cards[0].fast.temperature_margin = Ok(Celsius(0));
    world.looks(SECOND, MINUTE);
    world.cards[0].fast.temperature_margin = Ok(Celsius(9000));
    world.cards[0].fast.temperature_gpu = Ok(Celsius(9000));
    world.looks(SECOND, 10 * MINUTE);
    assert!(world.shows(Code::TemperatureHigh));
}

#[test]
fn ghosts_are_busy_for_ten_minutes_without_a_process() {
    let ghost = |busy, processes, mig| {
        let mut world = World::new(1);
        world.cards[0].fast.utilization_gpu = Ok(Percent(busy));
        world.cards[0].fast.processes_compute = Ok(Count(processes));
        world.cards[0].inventory().mig_enabled = Ok(mig);
        world.cards[0].inventory().mig_pending_enabled = Ok(mig);
        world.after(SECOND);
        world.after(10 * MINUTE - 1);
        assert!(!world.shows(Code::GhostUtilization));
        world.after(1);
        world
    };
    assert!(!ghost(98, 0, false).shows(Code::GhostUtilization));
    assert!(!ghost(99, 1, false).shows(Code::GhostUtilization));
    assert!(!ghost(99, 0, true).shows(Code::GhostUtilization));
    let mut world = ghost(99, 0, false);
    assert!(world.shows(Code::GhostUtilization));
    assert_eq!(world.verdict(0), Verdict::Schedulable);
    world.cards[0].fast.processes_compute = Err(NoData::Timeout);
    world.after(SECOND);
    assert!(world.shows(Code::GhostUtilization));
    world.cards[0].fast.processes_compute = Ok(Count(1));
    world.after(SECOND);
    assert!(!world.shows(Code::GhostUtilization));
}

#[test]
fn a_foreign_process_only_where_leases_are_told() {
    let mut world = World::new(1);
    world.cards[0].fast.processes_graphics = Ok(Count(1));
    world.looks(10 * SECOND, 2 * MINUTE);
    assert!(!world.shows(Code::ForeignProcess), "no lease source");
    world.lease_source = true;
    world.after(SECOND);
    world.after(30 * SECOND - 1);
    assert!(!world.shows(Code::ForeignProcess));
    world.after(1);
    assert!(world.shows(Code::ForeignProcess));
    assert_eq!(world.verdict(0), Verdict::Draining);
    world.cards[0].fast.processes_graphics = Ok(Count(0));
    world.after(1);
    assert!(!world.shows(Code::ForeignProcess));
}

#[test]
fn a_lost_gpu_keeps_its_place_and_the_others_go_on() {
    let mut world = World::new(3);
    world.cards[1].standing = Standing::Absent(NoData::GpuLost);
    let said = world.after(SECOND);
    assert_eq!(raised(&said, Code::GpuLost), 1);
    assert_eq!(
        [0, 1, 2].map(|slot| world.verdict(slot)),
        [Verdict::Schedulable, Verdict::Unusable, Verdict::Schedulable]
    );
    let lost = world.condition(Some(1), Code::GpuLost, 0).expect("lost");
    assert_eq!((lost.action, lost.detail.as_str()), (Action::RebootNode, "the driver no longer reaches it"));
    world.cards[1].standing = Standing::Absent(NoData::DriverGone);
    world.after(SECOND);
    assert!(world.condition(Some(1), Code::GpuLost, 0).is_some(), "an absent driver says nothing of the GPU");
    world.cards[1].standing = Standing::Answering;
    assert_eq!(cleared(&world.after(SECOND), Code::GpuLost), Some(ClearedBy::Recovered));
}

#[test]
fn a_gpu_of_earlier_that_does_not_appear_is_lost_after_fifteen_samples() {
    let mut world = World::before_the_first_look(2);
    world.samples = 0;
    world.cards[1].standing = Standing::Absent(NoData::NotSampled);
    for sample in 1..=14 {
        world.after(SECOND);
        assert!(world.condition(Some(1), Code::GpuLost, 0).is_none(), "sample {sample}");
        assert_eq!(world.verdict(1), Verdict::Unknown);
    }
    world.after(SECOND);
    assert!(world.condition(Some(1), Code::GpuLost, 0).is_some());
    assert_eq!(world.verdict(1), Verdict::Unusable);
}

#[test]
fn a_call_that_hangs_names_its_function_and_is_hidden_behind_the_loss() {
    let mut world = World::new(1);
    world.cards[0].standing = Standing::Slow;
    world.after(SECOND);
    assert_eq!((world.conditions(Some(0)).len(), world.verdict(0)), (0, Verdict::Schedulable));
    world.cards[0].standing = Standing::Unresponsive("nvmlDeviceGetPowerUsage");
    world.after(SECOND);
    let hangs = world.condition(Some(0), Code::GpuUnresponsive, 0).expect("hangs");
    assert_eq!(hangs.detail, "nvmlDeviceGetPowerUsage does not come back");
    assert_eq!(world.verdict(0), Verdict::Unusable);
    world.xid(0, 79);
    world.cards[0].standing = Standing::Absent(NoData::GpuLost);
    let said = world.after(SECOND);
    assert_eq!(cleared(&said, Code::GpuUnresponsive), Some(ClearedBy::Recovered), "{said:?}");
    assert!(world.shows(Code::GpuLost) && world.shows(Code::Xid));
}

#[test]
fn what_another_driver_has_is_judged_no_more() {
    let mut world = World::new(1);
    world.cards[0].fast.temperature_margin = Ok(Celsius(0));
    world.cards[0].slow().remapped_rows_pending = Ok(true);
    world.looks(SECOND, MINUTE);
    assert!(world.shows(Code::TemperatureHigh));
    world.cards[0].standing = Standing::Absent(NoData::HandedOver);
    let said = world.after(SECOND);
    assert_eq!(cleared(&said, Code::TemperatureHigh), Some(ClearedBy::Expired));
    assert!(world.shows(Code::RowRemapPending), "that belongs to the card");
    assert_eq!(world.verdict(0), Verdict::Unknown);
    for gone in [Standing::Absent(NoData::GpuLost), Standing::Unresponsive("nvmlDeviceGetName")] {
        world.cards[0].standing = gone;
        world.after(SECOND);
        assert_eq!(world.verdict(0), Verdict::Unusable);
        world.cards[0].standing = Standing::Absent(NoData::HandedOver);
        world.after(SECOND);
        assert_eq!(world.verdict(0), Verdict::Unknown, "it is not lost: another driver has it");
    }
}

#[test]
fn persistence_mode_that_is_off_is_shown_after_a_minute() {
    let mut world = World::new(1);
    world.cards[0].inventory().persistence_enabled = Ok(false);
    world.after(SECOND);
    world.after(MINUTE - 1);
    assert!(!world.shows(Code::PersistenceOff));
    world.after(1);
    assert!(world.shows(Code::PersistenceOff));
    world.host.as_mut().expect("host").persistenced = Some(false);
    world.looks(SECOND, 62 * SECOND);
    assert!(world.node_shows(Code::PersistencedDown) && !world.shows(Code::PersistenceOff));
}
