//! Rules about the node.

use rackmark_health::{ClearedBy, Code, Disk, Input, Standing, Transition};
use rackmark_model::{NoData, Verdict};

use crate::world::{HOUR, MINUTE, SECOND, World, cleared, raised};

#[test]
fn fewer_gpus_than_declared() {
    for (expected, wrong) in [(1, false), (2, false), (3, true)] {
        let mut world = World::new(2);
        world.expected_gpus = Some(expected);
        world.after(SECOND);
        assert_eq!(world.node_shows(Code::GpuCount), wrong);
    }
    let mut world = World::new(2);
    world.expected_gpus = Some(2);
    world.cards[1].standing = Standing::Absent(NoData::GpuLost);
    world.after(SECOND);
    assert!(!world.node_shows(Code::GpuCount), "that one is named as lost");
    world.cards[1].standing = Standing::Absent(NoData::NotSampled);
    world.after(SECOND);
    assert!(world.node_shows(Code::GpuCount));
    world.driver_up = Some(false);
    world.after(SECOND);
    assert!(!world.node_shows(Code::GpuCount) && world.node_shows(Code::DriverGone), "hidden by its cause");
    world.driver_up = Some(true);
    let said = world.after(SECOND);
    assert!(world.node_shows(Code::GpuCount) && raised(&said, Code::GpuCount) == 0, "and seen again");
    world.cards[1].standing = Standing::Answering;
    assert_eq!(cleared(&world.after(SECOND), Code::GpuCount), Some(ClearedBy::Recovered));
}

#[test]
fn a_driver_that_is_gone_hides_what_follows_from_it() {
    let mut world = World::new(1);
    world.cards[0].standing = Standing::Absent(NoData::GpuLost);
    world.after(SECOND);
    world.driver_up = Some(false);
    world.sampled = false;
    world.looks(SECOND, MINUTE);
    assert!(world.node_shows(Code::DriverGone));
    assert!(!world.node_shows(Code::SamplingStale) && !world.shows(Code::GpuLost));
    assert_eq!(world.state.verdict.verdict, Verdict::Unknown);
    assert!(world.state.verdict.reason.contains("no library"), "{}", world.state.verdict.reason);
    assert_eq!(world.verdict(0), Verdict::Unusable, "a consequence counts, shown or not");
}

#[test]
fn samples_that_do_not_come() {
    let mut world = World::new(1);
    world.sampled = false;
    world.after(8 * SECOND);
    assert!(!world.node_shows(Code::SamplingStale), "three periods and 5 s");
    world.after(1);
    assert!(world.node_shows(Code::SamplingStale));
    world.paused = true;
    world.after(SECOND);
    assert!(!world.node_shows(Code::SamplingStale), "on request");

    let mut world = World::before_the_first_look(1);
    world.sampled = false;
    world.after(8 * SECOND);
    assert!(!world.node_shows(Code::SamplingStale));
    world.after(SECOND);
    assert!(world.node_shows(Code::SamplingStale), "no sample since the daemon began");

    let mut world = World::before_the_first_look(1);
    world.now.boot_ms = MINUTE;
    world.begin();
    world.sampled = false;
    world.looks(SECOND, MINUTE - SECOND);
    assert!(!world.node_shows(Code::SamplingStale), "a driver may take its time after a boot");
    world.after(SECOND);
    assert!(world.node_shows(Code::SamplingStale));
}

#[test]
fn services_count_only_where_they_are_missed() {
    let mut world = World::new(2);
    let host = world.host.as_mut().expect("host");
    (host.persistenced, host.fabric_manager) = (Some(false), Some(false));
    world.looks(SECOND, 2 * MINUTE);
    assert!(world.conditions(None).is_empty(), "every GPU is in persistence mode, every fabric is completed");
    world.cards[1].inventory().persistence_enabled = Ok(false);
    world.cards[1].inventory().fabric_state = Ok("not_started".to_owned());
    world.after(SECOND);
    world.after(MINUTE - 1);
    assert!(!world.node_shows(Code::PersistencedDown) && !world.node_shows(Code::FabricManagerDown));
    world.after(1);
    assert!(world.node_shows(Code::PersistencedDown) && world.node_shows(Code::FabricManagerDown));
    assert_eq!(world.verdict(0), Verdict::Unusable, "no GPU works without it");
    let not_ready = world.condition(Some(1), Code::FabricNotReady, 0).expect("stands");
    assert!(not_ready.is_hidden() && not_ready.counts());
    let host = world.host.as_mut().expect("host");
    (host.persistenced, host.fabric_manager) = (None, Some(true));
    let said = world.after(SECOND);
    assert!(world.node_shows(Code::PersistencedDown), "not known is not mended");
    assert_eq!(cleared(&said, Code::FabricManagerDown), Some(ClearedBy::Recovered));
    assert_eq!(raised(&said, Code::FabricNotReady), 1, "the consequence is left, and shown now");
}

#[test]
fn a_clock_that_is_set_by_more_than_a_second() {
    for (by_ms, stepped) in [(1000, false), (1001, true), (-1000, false), (-1001, true)] {
        let mut world = World::new(1);
        world.now.unix_ms = world.now.unix_ms.saturating_add_signed(by_ms);
        let said = world.after(SECOND);
        assert_eq!(said.contains(&Transition::ClockStepped { by_ms }), stepped);
        assert_eq!(world.node_shows(Code::ClockStepped), stepped);
        world.after(10 * MINUTE - 1);
        assert_eq!(world.node_shows(Code::ClockStepped), stepped);
        let said = world.after(1);
        assert_eq!(cleared(&said, Code::ClockStepped), stepped.then_some(ClearedBy::Expired));
    }
    let mut world = World::new(1);
    for _ in 0..100 {
        world.now.unix_ms += 500;
        world.after(SECOND);
    }
    assert!(world.conditions(None).is_empty(), "a clock that is slewed does not step");
}

#[test]
fn a_clock_that_nobody_synchronises_for_ten_minutes() {
    let mut world = World::new(1);
    world.host.as_mut().expect("host").clock_synchronised = Some(false);
    world.after(SECOND);
    world.after(10 * MINUTE - 1);
    assert!(!world.node_shows(Code::ClockUnsynchronised));
    world.after(1);
    assert!(world.node_shows(Code::ClockUnsynchronised));
    world.host.as_mut().expect("host").clock_synchronised = Some(true);
    world.after(1);
    assert!(!world.node_shows(Code::ClockUnsynchronised));
}

#[test]
fn a_disk_with_little_room() {
    let (mib, gib) = (1 << 20, 1_u64 << 30);
    for (free_bytes, total_bytes, read_only, low) in [
        (512 * mib, 10 * gib, false, false),
        (512 * mib - 1, 10 * gib, false, true),
        (2 * gib, 100 * gib, false, false),
        (2 * gib - 1, 100 * gib, false, true),
        (50 * gib, 100 * gib, true, true),
        (0, 0, false, true),
    ] {
        let mut world = World::new(1);
        let host = world.host.as_mut().expect("host");
        host.disk = Some(Disk { free_bytes, total_bytes, read_only });
        world.spool_trouble = "no space";
        world.after(SECOND);
        assert_eq!(world.node_shows(Code::DiskLow), low, "{free_bytes} of {total_bytes}");
        assert_eq!(world.node_shows(Code::SpoolTrouble), !low, "hidden by its cause");
        world.host.as_mut().expect("host").disk =
            Some(Disk { free_bytes: 50 * gib, total_bytes: 100 * gib, read_only: false });
        world.after(SECOND);
        world.after(MINUTE - 1);
        assert_eq!(world.node_shows(Code::DiskLow), low, "there must be room for a minute");
        world.after(1);
        assert!(!world.node_shows(Code::DiskLow));
    }
}

#[test]
fn processes_that_hang_in_the_kernel() {
    let mut world = World::new(1);
    let host = world.host.as_mut().expect("host");
    (host.blocked, host.blocked_names) = (1, "python (4711)".to_owned());
    world.after(SECOND);
    let blocked = world.condition(None, Code::BlockedProcesses, 0).expect("blocked");
    assert_eq!(blocked.detail, "1: python (4711)");
    world.host.as_mut().expect("host").blocked = 0;
    world.after(SECOND);
    world.after(MINUTE - 1);
    assert!(world.node_shows(Code::BlockedProcesses));
    world.after(1);
    assert!(!world.node_shows(Code::BlockedProcesses));
}

#[test]
fn a_kernel_log_that_cannot_be_read_or_lost_records() {
    let mut world = World::new(1);
    world.kernel_log_trouble = Some("no socket");
    world.after(SECOND);
    world.after(MINUTE - 1);
    assert!(!world.node_shows(Code::KernelLogUnavailable));
    world.after(1);
    assert!(world.node_shows(Code::KernelLogUnavailable));
    world.kernel_log_trouble = None;
    world.after(1);
    assert!(world.node_shows(Code::KernelLogUnavailable), "not tried yet is not mended");
    world.kernel_log_trouble = Some("");
    world.after(1);
    assert!(!world.node_shows(Code::KernelLogUnavailable));

    world.tell(Input::KernelLogLost { records: 12 });
    let said = world.look();
    assert_eq!(raised(&said, Code::KernelLogLost), 1);
    world.looks(MINUTE, 30 * MINUTE);
    world.tell(Input::KernelLogLost { records: 1 });
    world.after(HOUR - 1);
    assert!(world.node_shows(Code::KernelLogLost), "an hour after the last loss");
    assert_eq!(cleared(&world.after(1), Code::KernelLogLost), Some(ClearedBy::Expired));
}

#[test]
fn a_fatal_sxid_takes_every_gpu_out_and_a_milder_repeat_changes_nothing() {
    let mut world = World::new(2);
    let sxid = |world: &mut World, pci_text: &str, fatal| {
        let input = Input::SxId { pci_text, code: 20034, fatal, text: "LTSSM Fault Up" };
        let mut said = world.tell(input);
        said.extend(world.look());
        said
    };
    let said = sxid(&mut world, "0000:05:00.0", Some(true));
    assert_eq!(raised(&said, Code::SxId), 1);
    assert_eq!([world.verdict(0), world.verdict(1)], [Verdict::Unusable; 2]);
    let before = world.condition(None, Code::SxId, 20034).expect("stands").clone();
    sxid(&mut world, "0000:05:00.0", Some(false));
    let after = world.condition(None, Code::SxId, 20034).expect("stands");
    assert_eq!((after.action, after.effect, after.lasts), (before.action, before.effect, before.lasts));
    world.looks(MINUTE, 2 * HOUR);
    assert_eq!(world.verdict(0), Verdict::Unusable, "until the reboot");
    let said = sxid(&mut world, "0000:06:00.0", Some(true));
    let told =
        said.iter().any(|one| matches!(one, Transition::SxId { pci_text, .. } if pci_text.contains("06")));
    assert!(told, "another switch with the same trouble");
    assert_eq!(world.state.sxids["0000:05:00.0"][&20034], 2);
    world.reboot();
    world.look();
    assert!(world.conditions(None).is_empty());
}

#[test]
fn ignored_conditions_are_not_raised_and_those_that_stand_end() {
    let mut world = World::new(1);
    world.cards[0].slow().remapped_rows_pending = Ok(true);
    world.spool_trouble = "no space";
    world.after(SECOND);
    world.xid(0, 79);
    world.ignored = vec![Code::RowRemapPending, Code::SpoolTrouble, Code::Xid];
    let said = world.after(SECOND);
    for code in [Code::RowRemapPending, Code::SpoolTrouble, Code::Xid] {
        assert_eq!(cleared(&said, code), Some(ClearedBy::Expired), "{code:?}");
    }
    let said = world.xid(0, 48);
    assert_eq!(raised(&said, Code::Xid), 0);
    assert!(world.conditions(Some(0)).is_empty() && world.conditions(None).is_empty());
    assert_eq!(world.verdict(0), Verdict::Schedulable);
}
