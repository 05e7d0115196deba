//! XIDs: two witnesses, one incident per cause, and the driver's own word.

use rackmark_health::{
    Action, ClearedBy, Code, Effect, Incident, Input, Instance, Recovery, Transition, Witness, XidReport,
};
use rackmark_model::{Celsius, Millijoules, Nanoseconds, NoData, Verdict};

use crate::world::{HOUR, MINUTE, SECOND, World, cleared, mig, raised};

fn incidents(said: &[Transition]) -> Vec<(Option<u8>, u32, Option<Instance>)> {
    let begun = |one: &Transition| match one {
        Transition::Incident { slot, incident } => Some((*slot, incident.code, incident.instance)),
        _ => None,
    };
    said.iter().filter_map(begun).collect()
}

fn ended(said: &[Transition]) -> Vec<&Incident> {
    let mut ended = Vec::new();
    for one in said {
        if let Transition::IncidentEnded { incident, .. } = one {
            ended.push(incident.as_ref());
        }
    }
    ended
}

fn errors(world: &World, code: u32) -> (u64, u64) {
    world.state.gpus[0].incidents.counts.get(&code).map_or((0, 0), |count| (count.errors, count.incidents))
}

fn report(world: &World, code: u32, witness: Witness, instance: Option<Instance>) -> XidReport {
    XidReport { instance, ..world.report(Some(0), code, witness) }
}

#[test]
fn two_witnesses_in_either_order_are_one_incident() {
    for (first, second) in [(Witness::Driver, Witness::KernelLog), (Witness::KernelLog, Witness::Driver)] {
        for apart in [0, 3, 999, 1000, 1001, 59_999] {
            let mut world = World::new(1);
            let one = world.report(Some(0), 79, first);
            let said = world.take(&one);
            assert_eq!((incidents(&said).len(), raised(&said, Code::Xid)), (1, 1));
            world.pass(apart);
            let other = world.report(Some(0), 79, second);
            let said = world.take(&other);
            assert!(incidents(&said).is_empty() && raised(&said, Code::Xid) == 0, "{apart} ms");
            assert_eq!(errors(&world, 79), (1, 1), "{apart} ms");
            assert_eq!(world.condition(Some(0), Code::Xid, 79).expect("stands").detail, "words on 79");
            let last_unix_ms = world.now.unix_ms;
            let said = world.after(MINUTE);
            let ended = ended(&said);
            assert_eq!(ended[0].last_unix_ms, last_unix_ms);
            assert_eq!((ended[0].by_driver, ended[0].by_kernel_log, ended[0].first_witness), (1, 1, first));
        }
    }
}

#[test]
fn a_witness_that_comes_after_the_incident_ended_begins_another() {
    let mut world = World::new(1);
    world.xid(0, 79);
    assert_eq!(ended(&world.after(MINUTE)).len(), 1);
    let late = world.report(Some(0), 79, Witness::Driver);
    assert_eq!(incidents(&world.take(&late)).len(), 1);
    assert_eq!(errors(&world, 79), (2, 2));
}

#[test]
fn a_storm_is_one_incident_per_cause_and_stays_small() {
    let mut world = World::new(1);
    for at in 0..10_000_u32 {
        let witness = if at % 2 == 0 { Witness::Driver } else { Witness::KernelLog };
        for code in [48, 13, 31] {
            let one = world.report(Some(0), code, witness);
            world.tell(Input::Xid(&one));
        }
        if at % 100 == 0 {
            world.after(SECOND);
        }
    }
    let begun = incidents(&world.said);
    assert_eq!(begun.len(), 3, "{begun:?}");
    assert_eq!([48, 13, 31].map(|code| errors(&world, code)), [(5000, 1); 3]);
    assert_eq!(world.conditions(Some(0)).len(), 3);
    assert!(serde_json::to_vec(&world.state).expect("json").len() < 10_000);
}

#[test]
fn every_code_that_there_is_and_more_keeps_memory_bounded_and_leaves_room_for_readings() {
    let mut world = World::new(1);
    for instance in 0..7 {
        for code in 1..2000 {
            let one = report(&world, code, Witness::KernelLog, mig(instance, Some(0)));
            world.tell(Input::Xid(&one));
        }
    }
    let gpu = &world.state.gpus[0];
    assert!(gpu.incidents.open().len() <= 192 && gpu.incidents.counts.len() <= 256);
    assert!(gpu.conditions.all().len() <= 192);
    world.cards[0].slow().remapped_rows_failed = Ok(true);
    world.after(SECOND);
    assert!(world.shows(Code::RowRemapFailed));
}

#[test]
fn mig_instances_are_kept_apart() {
    let mut world = World::new(1);
    for instance in [mig(1, Some(0)), mig(2, Some(0)), mig(2, Some(1))] {
        for witness in [Witness::KernelLog, Witness::Driver] {
            let one = report(&world, 13, witness, instance);
            world.take(&one);
        }
    }
    assert_eq!(incidents(&world.said).len(), 3);
    assert_eq!(errors(&world, 13), (3, 3));
    let stands: Vec<_> = world.conditions(Some(0)).iter().map(|one| one.instance).collect();
    assert_eq!(stands, [mig(1, Some(0)), mig(2, Some(0)), mig(2, Some(1))]);
}

#[test]
fn a_witness_without_the_instance_is_merged_with_one_that_has_it() {
    let with = [Witness::KernelLog, Witness::Driver];
    for (first, second) in [(with[0], with[1]), (with[1], with[0])] {
        for (known, told) in
            [(mig(3, Some(0)), None), (None, mig(3, Some(0))), (mig(3, None), mig(3, Some(0)))]
        {
            let mut world = World::new(1);
            let one = report(&world, 13, first, known);
            world.tell(Input::Xid(&one));
            let other = report(&world, 13, second, told);
            world.take(&other);
            assert_eq!((incidents(&world.said).len(), errors(&world, 13)), (1, (1, 1)));
            let stands: Vec<_> = world.conditions(Some(0)).iter().map(|one| one.instance).collect();
            assert_eq!(stands, [mig(3, Some(0))], "{known:?}, then {told:?}");
        }
    }
}

#[test]
fn a_condition_that_was_announced_keeps_its_name_and_learns_the_words() {
    let mut world = World::new(1);
    let one = report(&world, 13, Witness::Driver, None);
    world.take(&one);
    let other = report(&world, 13, Witness::KernelLog, mig(3, Some(0)));
    world.take(&other);
    let another = report(&world, 13, Witness::KernelLog, mig(4, Some(0)));
    world.take(&another);
    let stands: Vec<_> = world.conditions(Some(0)).iter().map(|one| one.instance).collect();
    assert_eq!(stands, [None, mig(4, Some(0))]);
    let first = &world.conditions(Some(0))[0];
    assert_eq!(first.detail, "GPU instance 3, compute instance 0: words on 13");
}

#[test]
fn a_report_without_its_instance_goes_where_it_is_missing() {
    let mut world = World::new(1);
    for instance in [mig(1, Some(0)), mig(2, Some(0))] {
        let one = report(&world, 13, Witness::KernelLog, instance);
        world.take(&one);
    }
    for _ in 0..2 {
        let one = report(&world, 13, Witness::Driver, None);
        world.take(&one);
    }
    assert_eq!(errors(&world, 13), (2, 2), "each was seen by both");
}

#[test]
fn cleanup_belongs_to_its_cause() {
    let mut world = World::new(1);
    world.xid(0, 48);
    let by_kernel = world.report(Some(0), 45, Witness::KernelLog);
    let told = XidReport { caused_by: Some(48), ..by_kernel.clone() };
    for _ in 0..1000 {
        world.take(&told);
        world.take(&world.report(Some(0), 45, Witness::Driver));
    }
    assert_eq!(incidents(&world.said).len(), 1);
    assert_eq!(errors(&world, 45), (1000, 0), "counted once, and not as a fault");
    assert!(world.condition(Some(0), Code::Xid, 45).is_none());
    let said = world.after(2 * MINUTE);
    assert_eq!(ended(&said)[0].consequences, [1000, 1000]);
}

#[test]
fn cleanup_long_after_or_without_a_cause_is_one_of_its_own() {
    for (after, alone) in [(10 * SECOND, false), (10 * SECOND + 1, true)] {
        let mut world = World::new(1);
        world.xid(0, 48);
        world.pass(after);
        let said = world.xid(0, 45);
        assert_eq!(incidents(&said).len(), usize::from(alone), "{after} ms");
    }
    let mut world = World::new(1);
    assert_eq!(incidents(&world.xid(0, 45)).len(), 1);
    assert_eq!(world.verdict(0), Verdict::Schedulable);
    // The cause is told later: what names it goes there.
    world.xid(0, 48);
    let told = XidReport { caused_by: Some(48), ..world.report(Some(0), 45, Witness::KernelLog) };
    world.take(&told);
    world.pass(MINUTE);
    let said = world.look();
    let of_48 = ended(&said).into_iter().find(|one| one.code == 48).expect("48").consequences;
    assert_eq!(of_48, [0, 1]);
}

#[test]
fn an_address_of_no_gpu_is_kept_at_the_node_and_judges_none() {
    let mut world = World::new(2);
    for (text, slot) in [("0000:f1:00", None), ("0000:f2:00", None), ("0000:f2:00", Some(200))] {
        let one = XidReport { address_text: text.to_owned(), ..world.report(slot, 79, Witness::KernelLog) };
        world.take(&one);
    }
    let begun: Vec<_> = world.state.incidents.open().iter().map(|one| one.address_text.as_str()).collect();
    assert!(begun.starts_with(&["0000:f1:00", "0000:f2:00"]), "{begun:?}");
    let stands = world.condition(None, Code::Xid, 79).expect("at the node");
    assert_eq!((stands.effect, stands.detail.as_str()), (Effect::None, "on 0000:f1:00: words on 79"));
    assert_eq!([world.verdict(0), world.verdict(1)], [Verdict::Schedulable; 2]);
    assert!(world.state.gpus.iter().all(|gpu| gpu.incidents.counts.is_empty()));
    assert!(world.state.incidents.counts[&79].errors >= 2);
}

#[test]
fn a_lost_gpu_with_and_without_its_xid() {
    let mut world = World::new(1);
    world.xid(0, 79);
    assert_eq!(world.verdict(0), Verdict::Unusable);
    world.cards[0].standing = rackmark_health::Standing::Absent(NoData::GpuLost);
    world.after(SECOND);
    assert!(world.shows(Code::Xid) && world.shows(Code::GpuLost));
    world.cards[0].standing = rackmark_health::Standing::Answering;
    world.after(SECOND);
    assert!(world.shows(Code::Xid) && !world.shows(Code::GpuLost));
    assert_eq!(world.verdict(0), Verdict::Unusable, "until the reboot, although it answers");
}

/// A driver that has no recovery action to tell: the table alone counts.
fn silent_driver() -> World {
    let mut world = World::new(1);
    world.cards[0].slow().recovery_action = Err(NoData::NotSupported);
    world
}

/// What ends the condition of an XID: code, minutes until it expires, and whether a reset and a reboot do.
const MATRIX: [(u32, Option<u64>, bool, bool); 4] =
    [(13, Some(10), true, true), (48, None, true, true), (79, None, false, true), (999, None, false, true)];

#[test]
fn every_end_clears_what_it_is_said_to() {
    type End = (&'static str, fn(&mut World) -> Vec<Transition>, ClearedBy);
    let resets: [End; 4] = [
        (
            "energy",
            |world| {
                world.cards[0].fast.energy_total = Ok(Millijoules(10));
                world.after(SECOND)
            },
            ClearedBy::GpuReset,
        ),
        (
            "time held back, where energy is not counted",
            |world| {
                world.cards[0].fast.energy_total = Err(NoData::NotSupported);
                world.cards[0].fast.sw_power_cap_time = Ok(Nanoseconds(9_000_000));
                world.after(SECOND);
                world.cards[0].fast.sw_power_cap_time = Ok(Nanoseconds(0));
                world.after(SECOND)
            },
            ClearedBy::GpuReset,
        ),
        ("driver", |world| world.tell(Input::DriverLoaded), ClearedBy::GpuReset),
        (
            "recovery action",
            |world| {
                world.cards[0].slow().recovery_action = Ok("drain_p2p".to_owned());
                world.after(SECOND);
                world.cards[0].slow().recovery_action = Ok("none".to_owned());
                world.after(SECOND)
            },
            ClearedBy::GpuReset,
        ),
    ];
    for (code, minutes, by_reset, by_reboot) in MATRIX {
        for (name, reset, by) in &resets {
            if *name == "recovery action" && !by_reset {
                continue; // The driver's word changes the end of those, see below.
            }
            let mut world = silent_driver();
            world.xid(0, code);
            let said = reset(&mut world);
            assert_eq!(cleared(&said, Code::Xid), by_reset.then_some(*by), "{code} by {name}");
            world.after(SECOND);
            assert_eq!(world.shows(Code::Xid), !by_reset, "{code} by {name}");
        }
        let mut world = silent_driver();
        world.xid(0, code);
        let said = world.reboot();
        assert_eq!(cleared(&said, Code::Xid), by_reboot.then_some(ClearedBy::Reboot), "{code}");

        let mut world = silent_driver();
        world.xid(0, code);
        world.restart();
        world.look();
        assert!(world.shows(Code::Xid), "{code}: a restart of the daemon clears nothing");
        let verb = rackmark_health::Verb::Acknowledge { slot: Some(0), condition: &format!("xid_{code}") };
        let said = world.verb(&verb).expect("it stands");
        assert_eq!(cleared(&said, Code::Xid), Some(ClearedBy::Acknowledged), "{code}");

        let mut world = silent_driver();
        world.xid(0, code);
        world.after(minutes.unwrap_or(600) * MINUTE - 1);
        assert!(world.shows(Code::Xid), "{code}");
        assert_eq!(cleared(&world.after(1), Code::Xid), minutes.map(|_| ClearedBy::Expired), "{code}");
    }
}

#[test]
fn an_energy_counter_that_merely_trembles_is_no_reset() {
    let mut world = World::new(1);
    world.xid(0, 48);
    world.cards[0].fast.energy_total = Ok(Millijoules(500_000));
    world.after(SECOND);
    world.cards[0].fast.energy_total = Err(NoData::Timeout);
    world.after(SECOND);
    assert!(world.shows(Code::Xid));
    world.cards[0].fast.energy_total = Ok(Millijoules(249_999));
    world.after(SECOND);
    assert!(!world.shows(Code::Xid));
}

#[test]
fn readings_outlive_resets_and_reboots() {
    let mut world = World::new(1);
    world.cards[0].slow().remapped_rows_failed = Ok(true);
    world.after(SECOND);
    world.tell(Input::DriverLoaded);
    world.reboot();
    world.look();
    assert!(world.shows(Code::RowRemapFailed), "the readings say what they say");
}

#[test]
fn the_driver_asks_for_a_reset_where_the_table_says_restart_the_application() {
    let mut world = World::new(1);
    world.xid(0, 13);
    assert_eq!(world.verdict(0), Verdict::Schedulable);
    for (name, action, verdict) in [
        ("reset", Action::ResetGpu, Verdict::Unusable),
        ("reboot", Action::RebootNode, Verdict::Unusable),
        ("drain_and_reset", Action::ResetGpu, Verdict::Draining),
        ("drain_p2p", Action::Drain, Verdict::Draining),
    ] {
        world.cards[0].slow().recovery_action = Ok(name.to_owned());
        world.after(MINUTE);
        let asked = world.condition(Some(0), Code::RecoveryAction, 0).expect("the driver asks");
        assert_eq!((asked.action, world.verdict(0)), (action, verdict), "{name}");
    }
    world.cards[0].slow().recovery_action = Err(NoData::Timeout);
    world.after(MINUTE);
    assert!(world.shows(Code::RecoveryAction), "absence keeps it");
    world.cards[0].slow().recovery_action = Ok("none".to_owned());
    assert_eq!(cleared(&world.after(MINUTE), Code::RecoveryAction), Some(ClearedBy::Recovered));
}

#[test]
fn the_driver_asks_for_nothing_where_the_table_says_reset_and_was_read_later() {
    let mut world = World::new(1);
    world.xid(0, 79);
    world.pass(10 * SECOND);
    world.look();
    assert_eq!(world.verdict(0), Verdict::Unusable, "read, but not yet well after the XID");
    world.slow_is_new = false;
    world.looks(SECOND, MINUTE);
    assert_eq!(world.verdict(0), Verdict::Unusable, "no newer reading");
    world.slow_is_new = true;
    world.after(SECOND);
    let stands = world.condition(Some(0), Code::Xid, 79).expect("shown for an hour");
    assert_eq!((stands.effect, stands.action), (Effect::None, Action::None));
    assert_eq!(world.verdict(0), Verdict::Schedulable);
    // It comes again: the table counts until the driver is read again.
    world.xid(0, 79);
    let stands = world.condition(Some(0), Code::Xid, 79).expect("stands");
    assert_eq!((stands.action, world.verdict(0)), (Action::RebootNode, Verdict::Unusable));
    world.looks(SECOND, 11 * SECOND);
    assert_eq!(world.verdict(0), Verdict::Schedulable);
    world.after(HOUR);
    assert!(world.conditions(Some(0)).is_empty());
}

#[test]
fn the_text_of_xid_154_counts_until_a_later_reading() {
    let mut world = World::new(1);
    let said = world.driver_wants(0, Recovery::Reset);
    assert_eq!(raised(&said, Code::RecoveryAction), 1);
    assert_eq!(world.verdict(0), Verdict::Unusable);
    world.after(10 * SECOND);
    assert!(world.shows(Code::RecoveryAction), "a reading of the same moment may be older");
    world.xid(0, 48);
    let said = world.after(SECOND);
    assert_eq!(cleared(&said, Code::RecoveryAction), Some(ClearedBy::Recovered));
    assert_eq!(cleared(&said, Code::Xid), Some(ClearedBy::GpuReset), "back to none means that it was reset");
    assert_eq!(world.verdict(0), Verdict::Schedulable);
    world.driver_wants(0, Recovery::Reboot);
    world.slow_is_new = false;
    world.pass(11 * SECOND);
    assert_eq!(
        cleared(&world.driver_wants(0, Recovery::None), Code::RecoveryAction),
        Some(ClearedBy::Recovered)
    );
}

#[test]
fn a_clock_set_back_does_not_keep_the_driver_s_word_for_hours() {
    let mut world = World::new(1);
    world.driver_wants(0, Recovery::Reset);
    world.xid(0, 79);
    world.now.unix_ms -= 10 * HOUR;
    world.looks(SECOND, 12 * SECOND);
    assert!(!world.shows(Code::RecoveryAction));
    assert_eq!(world.verdict(0), Verdict::Schedulable);
}

#[test]
fn xid_counts_are_worth_keeping_and_looks_are_not() {
    let mut world = World::new(1);
    world.xid(0, 13);
    let before = world.state.revision;
    world.looks(SECOND, 30 * SECOND);
    assert_eq!(world.state.revision, before);
    world.xid(0, 13);
    assert!(world.state.revision > before, "one more of the same");
    let before = world.state.revision;
    let told = XidReport { caused_by: Some(13), ..world.report(Some(0), 45, Witness::Driver) };
    world.tell(Input::Xid(&told));
    assert!(world.state.revision > before, "a consequence");
    let before = world.state.revision;
    for _ in 0..2 {
        world.tell(Input::SxId { pci_text: "0000:05:00.0", code: 11001, fatal: None, text: "" });
    }
    assert!(world.state.revision >= before + 2);
    // A condition that nobody sees yet has its beginning to lose.
    world.look();
    let before = world.state.revision;
    world.cards[0].fast.temperature_margin = Ok(Celsius(0));
    world.look();
    assert!(world.state.revision > before);
}

#[test]
fn xids_of_days_leave_room_for_readings() {
    let mut world = World::new(1);
    world.cards[0].slow().recovery_action = Err(NoData::NotSupported);
    for instance in 0..7 {
        for code in 1..=172 {
            let one = report(&world, code, Witness::KernelLog, mig(instance, None));
            world.tell(Input::Xid(&one));
        }
        world.after(MINUTE);
    }
    assert_eq!(world.conditions(Some(0)).len(), 192);
    world.cards[0].nvlinks.iter_mut().for_each(|link| link.active = Ok(false));
    world.after(SECOND);
    assert_eq!(world.conditions(Some(0)).len(), 192 + 18);
}

#[test]
fn a_reading_of_the_same_moment_takes_nothing_back() {
    let mut world = World::new(1);
    world.cards[0].slow().recovery_action = Ok("reset".to_owned());
    world.after(MINUTE);
    world.driver_wants(0, Recovery::Reboot);
    world.xid(0, 48);
    world.cards[0].slow().recovery_action = Ok("none".to_owned());
    world.after(5 * SECOND);
    let asked = world.condition(Some(0), Code::RecoveryAction, 0).expect("it still asks");
    assert_eq!(asked.action, Action::RebootNode);
    assert!(world.shows(Code::Xid));
}

#[test]
fn what_the_driver_wanted_before_a_reset_is_forgotten_with_it() {
    let mut world = World::new(1);
    world.driver_wants(0, Recovery::Reset);
    world.cards[0].fast.energy_total = Ok(Millijoules(10));
    assert_eq!(cleared(&world.after(SECOND), Code::RecoveryAction), Some(ClearedBy::Recovered));
}

#[test]
fn cleanups_of_two_instances_are_not_each_other_s_cause() {
    let mut world = World::new(1);
    for instance in [mig(1, Some(0)), mig(2, Some(0))] {
        let one = report(&world, 45, Witness::KernelLog, instance);
        world.take(&one);
    }
    assert_eq!(errors(&world, 45), (2, 2));
}

#[test]
fn an_unknown_address_is_one_however_it_is_written() {
    let mut world = World::new(1);
    for (text, witness) in [("0000:f1:00", Witness::KernelLog), ("00000000:F1:00.0", Witness::Driver)] {
        let address = "00000000:F1:00.0".parse().ok();
        let one = XidReport { address, address_text: text.to_owned(), ..world.report(None, 79, witness) };
        world.take(&one);
    }
    assert_eq!((world.state.incidents.open().len(), world.state.incidents.counts[&79].errors), (1, 1));
}
