//! Rules about PCIe, NVLink and the fabric, and the grace after a boot.

use rackmark_health::{ClearedBy, Code, Severity};
use rackmark_model::{Bitmask, Count, Lanes, NoData, Percent, Verdict};

use crate::world::{HOUR, MINUTE, SECOND, World, cleared, link, raised};

#[test]
fn a_link_is_down_only_after_it_was_up() {
    let mut world = World::before_the_first_look(1);
    world.cards[0].nvlinks[3].active = Ok(false);
    world.look();
    world.looks(MINUTE, 10 * MINUTE);
    assert!(world.conditions(Some(0)).is_empty(), "a link that never was up on this board");
    world.cards[0].nvlinks[4].active = Ok(false);
    world.after(MINUTE);
    assert!(
        world.condition(Some(0), Code::NvlinkDown, 4).is_some_and(rackmark_health::Condition::is_visible)
    );
    assert_eq!((world.conditions(Some(0)).len(), world.verdict(0)), (1, Verdict::Draining));
    world.restart();
    world.after(MINUTE);
    assert!(world.condition(Some(0), Code::NvlinkDown, 4).is_some(), "which links were up is remembered");
    world.cards[0].nvlinks[4].active = Err(NoData::Timeout);
    world.after(MINUTE);
    assert!(world.condition(Some(0), Code::NvlinkDown, 4).is_some());
    world.cards[0].nvlinks[4].active = Ok(true);
    assert_eq!(cleared(&world.after(MINUTE), Code::NvlinkDown), Some(ClearedBy::Recovered));
}

#[test]
fn a_link_number_beyond_the_bits_is_passed_over() {
    let mut world = World::new(1);
    world.cards[0].nvlinks = vec![link(63), link(64), link(255)];
    world.after(MINUTE);
    for one in &mut world.cards[0].nvlinks {
        one.active = Ok(false);
    }
    world.after(MINUTE);
    let keys: Vec<u32> = world.conditions(Some(0)).iter().map(|one| one.key).collect();
    assert_eq!(keys, [63]);
}

#[test]
fn one_replay_or_one_recovery_is_an_error() {
    for recovery in [false, true] {
        let mut world = World::new(1);
        world.after(MINUTE);
        let one = &mut world.cards[0].nvlinks[7];
        *(if recovery { &mut one.recovery_errors } else { &mut one.replay_errors }) = Ok(1);
        world.after(MINUTE);
        assert!(
            world
                .condition(Some(0), Code::NvlinkErrors, 7)
                .is_some_and(rackmark_health::Condition::is_visible)
        );
        assert_eq!(world.conditions(Some(0)).len(), 1, "the other links are fine");
        world.looks(MINUTE, 10 * MINUTE);
        assert!(world.shows(Code::NvlinkErrors), "ten minutes without one are not over");
        world.after(MINUTE);
        assert!(!world.shows(Code::NvlinkErrors));
    }
}

#[test]
fn counters_of_before_the_daemon_or_of_before_a_reset_are_no_growth() {
    let mut world = World::before_the_first_look(1);
    world.cards[0].nvlinks[0].replay_errors = Ok(7);
    world.cards[0].nvlinks[0].crc_data_errors = Ok(1_000_000);
    world.look();
    world.after(MINUTE);
    world.cards[0].nvlinks[0].replay_errors = Ok(0);
    world.cards[0].nvlinks[0].crc_data_errors = Ok(0);
    world.after(MINUTE);
    assert!(world.conditions(Some(0)).is_empty());
}

#[test]
fn a_counter_that_could_not_be_read_for_once_is_no_growth() {
    let mut world = World::new(1);
    world.cards[0].nvlinks[0].crc_flit_errors = Ok(1_000_000);
    world.after(3 * HOUR);
    assert!(world.conditions(Some(0)).is_empty(), "three hours ago says nothing");
    world.cards[0].nvlinks[0].crc_flit_errors = Err(NoData::Timeout);
    world.after(MINUTE);
    world.cards[0].nvlinks[0].crc_flit_errors = Ok(1_000_000);
    world.after(MINUTE);
    assert!(world.conditions(Some(0)).is_empty());
}

#[test]
fn a_hundred_crc_errors_a_second() {
    for (errors, high) in [(1, false), (5999, false), (6000, true), (6001, true)] {
        let mut world = World::new(1);
        world.after(MINUTE);
        world.cards[0].nvlinks[2].crc_flit_errors = Ok(errors);
        world.after(MINUTE);
        assert_eq!(world.shows(Code::NvlinkCrcHigh), high, "{errors} in a minute");
        assert_eq!(world.shows(Code::NvlinkCrc), !high, "{errors} in a minute");
        assert_eq!(world.verdict(0), if high { Verdict::Draining } else { Verdict::Schedulable });
        world.looks(MINUTE, 12 * MINUTE);
        assert!(world.conditions(Some(0)).is_empty());
    }
}

#[test]
fn a_wall_clock_that_is_set_changes_no_rate() {
    let mut world = World::new(1);
    world.after(MINUTE);
    world.cards[0].nvlinks[2].crc_flit_errors = Ok(6000);
    world.now.unix_ms -= 10 * HOUR;
    world.after(MINUTE);
    assert!(world.shows(Code::NvlinkCrcHigh), "a minute passed, whatever the wall clock says");
}

#[test]
fn pcie_replays_by_generation_and_width() {
    let per_lane = [15, 30, 48, 96, 192, 384];
    for (generation, hundredths) in (1..).zip(per_lane) {
        for lanes in [1_u64, 2, 4, 8, 16] {
            let allowed = (hundredths * lanes).div_ceil(100);
            for (replays, expected) in [(allowed - 1, false), (allowed, false), (allowed + 1, true)] {
                let mut world = World::new(1);
                world.cards[0].fast.pcie_link_generation = Ok(Count(generation));
                world.cards[0].fast.pcie_link_width = Ok(Lanes(u32::try_from(lanes).expect("few")));
                world.cards[0].fast.pcie_replays_total = Ok(Count(replays));
                world.looks(MINUTE, MINUTE);
                assert_eq!(world.shows(Code::PcieReplays), expected, "{generation} x{lanes}: {replays}");
            }
        }
    }
}

#[test]
fn pcie_replays_are_over_after_five_minutes_and_unknown_generations_are_not_judged() {
    let mut world = World::new(1);
    world.cards[0].fast.pcie_replays_total = Ok(Count(32));
    world.after(MINUTE);
    assert!(world.shows(Code::PcieReplays), "32 a minute where 31 are allowed");
    world.looks(MINUTE, 5 * MINUTE);
    assert!(world.shows(Code::PcieReplays));
    world.after(MINUTE);
    assert!(!world.shows(Code::PcieReplays));
    world.cards[0].fast.pcie_link_generation = Ok(Count(7));
    world.cards[0].fast.pcie_replays_total = Ok(Count(1 << 40));
    world.looks(MINUTE, 2 * MINUTE);
    assert!(world.conditions(Some(0)).is_empty());
}

#[test]
fn a_slow_link_counts_under_load_only() {
    for (busy, generation, lanes, expected) in
        [(49, 1, 16, false), (50, 1, 16, true), (51, 5, 8, true), (100, 5, 16, false), (100, 4, 16, true)]
    {
        let mut world = World::new(1);
        let set = |world: &mut World, busy| {
            let fast = &mut world.cards[0].fast;
            fast.utilization_gpu = Ok(Percent(busy));
            fast.processes_compute = Ok(Count(1));
            fast.pcie_link_generation = Ok(Count(generation));
            fast.pcie_link_width = Ok(Lanes(lanes));
        };
        set(&mut world, busy);
        world.after(SECOND);
        world.after(MINUTE - 1);
        assert!(!world.shows(Code::PcieLinkDegraded), "not before a minute");
        world.after(1);
        assert_eq!(world.shows(Code::PcieLinkDegraded), expected, "{busy} %: {generation} x{lanes}");
        set(&mut world, 0);
        world.looks(SECOND, 5 * MINUTE);
        assert_eq!(world.shows(Code::PcieLinkDegraded), expected, "an idle link says nothing");
    }
}

#[test]
fn the_fabric_must_be_completed_without_error() {
    for (state, status, expected) in [
        ("completed", Ok(Count(0)), false),
        ("completed", Err(NoData::NotSupported), false),
        ("completed", Ok(Count(1)), true),
        ("in_progress", Ok(Count(0)), true),
        ("not_started", Err(NoData::NotSupported), true),
        ("not_supported", Ok(Count(3)), false),
    ] {
        let mut world = World::new(1);
        world.cards[0].inventory().fabric_state = Ok(state.to_owned());
        world.cards[0].inventory().fabric_status = status;
        world.after(SECOND);
        world.after(MINUTE - 1);
        assert!(!world.shows(Code::FabricNotReady));
        world.after(1);
        assert_eq!(world.shows(Code::FabricNotReady), expected, "{state} {status:?}");
        assert_eq!(world.verdict(0) == Verdict::Unusable, expected);
    }
}

#[test]
fn an_error_of_the_fabric_that_cannot_be_read_any_more_stands() {
    let mut world = World::new(1);
    world.cards[0].inventory().fabric_status = Ok(Count(1));
    world.looks(SECOND, 62 * SECOND);
    world.cards[0].inventory().fabric_status = Err(NoData::Timeout);
    world.after(MINUTE);
    assert!(world.shows(Code::FabricNotReady));
}

#[test]
fn every_bad_field_of_the_fabric_health_mask() {
    let healthy = 0b1_1010_1010;
    for (mask, words) in [
        (0, ""),
        (healthy, ""),
        (healthy & !0b11 | 0b01, "degraded bandwidth"),
        (healthy & !0b1100 | 0b0100, "route recovery"),
        (healthy & !0b11_0000 | 0b01_0000, "unhealthy route"),
        (healthy & !0b1100_0000 | 0b0100_0000, "access timeout recovery"),
        (2 << 8, "wrong set-up"),
        (15 << 8 | 1, "degraded bandwidth, wrong set-up"),
    ] {
        let mut world = World::new(1);
        world.cards[0].inventory().fabric_health = Ok(Bitmask(mask));
        world.looks(SECOND, 62 * SECOND);
        let detail = world.condition(Some(0), Code::FabricUnhealthy, 0).map_or("", |one| &one.detail);
        assert_eq!(detail, words, "{mask:b}");
    }
}

#[test]
fn in_the_grace_after_a_boot_links_may_train() {
    let mut world = World::before_the_first_look(1);
    world.look();
    world.cards[0].nvlinks[0].active = Ok(false);
    world.now.boot_ms = 2 * MINUTE - SECOND;
    let said = world.look();
    assert_eq!(raised(&said, Code::NvlinkDown), 0);
    assert!(world.conditions(Some(0)).is_empty());
    assert_eq!((world.verdict(0), world.reason(0)), (Verdict::Unknown, "still settling after the boot"));
    world.cards[0].standing = rackmark_health::Standing::Slow;
    world.look();
    assert_eq!(world.verdict(0), Verdict::Unknown, "a late answer does not settle it");
    world.cards[0].standing = rackmark_health::Standing::Answering;
    world.after(SECOND);
    assert!(world.shows(Code::NvlinkDown), "the grace is over");
    assert_eq!(world.verdict(0), Verdict::Draining);
}

#[test]
fn a_link_that_comes_up_in_the_grace_was_never_down() {
    let mut world = World::before_the_first_look(1);
    world.now.boot_ms = MINUTE;
    world.begin();
    world.cards[0].inventory().fabric_state = Ok("in_progress".to_owned());
    world.look();
    assert_eq!(world.verdict(0), Verdict::Unknown);
    world.cards[0].inventory().fabric_state = Ok("completed".to_owned());
    world.after(SECOND);
    assert_eq!(world.verdict(0), Verdict::Schedulable);
    world.looks(SECOND, 5 * MINUTE);
    let any = world.said.iter().any(|one| matches!(one, rackmark_health::Transition::Raised { .. }));
    assert!(!any);
}

#[test]
fn what_does_not_settle_is_raised_in_the_grace_too() {
    let mut world = World::before_the_first_look(1);
    world.now.boot_ms = SECOND;
    world.cards[0].slow().remapped_rows_failed = Ok(true);
    world.look();
    assert!(world.shows(Code::RowRemapFailed));
    assert_eq!(world.verdict(0), Verdict::Unusable);
    let one = world.condition(Some(0), Code::RowRemapFailed, 0).expect("stands");
    assert_eq!(one.severity, Severity::Critical);
}
