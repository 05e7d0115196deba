//! What the judgement promises over time: cards, restarts, the same answer twice.

use rackmark_health::{ClearedBy, Code, Input, State, Transition, Verb, Witness};
use rackmark_model::{Celsius, GpuState, Verdict};

use crate::world::{Card, MINUTE, SECOND, World, cleared, mig, raised};

fn fatal_sxid(world: &mut World) {
    world.tell(Input::SxId { pci_text: "0000:05:00.0", code: 20034, fatal: Some(true), text: "x" });
}

#[test]
fn two_cards_that_change_places_take_their_conditions_along() {
    let mut world = World::new(3);
    world.xid(0, 79);
    world.xid(1, 48);
    world.cards[0].slow().remapped_rows_failed = Ok(true);
    world.after(SECOND);
    let (zero, one) = (world.cards[0].serial.take(), world.cards[1].serial.take());
    (world.cards[0].serial, world.cards[1].serial) = (one.clone(), zero.clone());
    world.cards[0].slow().remapped_rows_failed = Ok(false);
    world.cards[1].slow().remapped_rows_failed = Ok(true);
    let said = world.after(SECOND);
    let keys = |world: &World, slot| {
        let all = world.conditions(Some(slot)).iter();
        all.map(|one| (one.code, one.key)).collect::<Vec<_>>()
    };
    assert_eq!(keys(&world, 0), [(Code::Xid, 48)]);
    assert_eq!(keys(&world, 1), [(Code::Xid, 79), (Code::RowRemapFailed, 0)]);
    let ends = said.iter().filter(|one| matches!(one, Transition::Cleared { by: ClearedBy::Removed, .. }));
    assert_eq!((ends.count(), raised(&said, Code::Xid)), (3, 2), "over there, shown here: {said:?}");
    assert!(world.state.shelf.is_empty());
    let serials = |slot: usize| {
        let all = world.state.gpus[slot].occupants.iter();
        all.map(|one| one.card.serial.clone()).collect::<Vec<_>>()
    };
    assert_eq!((serials(0), serials(1)), (vec![zero.clone(), one.clone()], vec![one, zero]));
}

#[test]
fn a_card_on_the_shelf_comes_back_with_what_stood_against_it() {
    let mut world = World::new(1);
    world.xid(0, 79);
    let since = world.condition(Some(0), Code::Xid, 79).expect("stands").since_unix_ms;
    let old = world.cards[0].serial.replace("new".to_owned());
    let said = world.after(SECOND);
    assert_eq!(cleared(&said, Code::Xid), Some(ClearedBy::Removed));
    assert_eq!(world.verdict(0), Verdict::Unknown, "nobody tested the new one");
    world.restart();
    world.after(SECOND);
    world.cards[0].serial = old;
    let said = world.after(SECOND);
    assert_eq!(raised(&said, Code::Xid), 1);
    assert_eq!(world.condition(Some(0), Code::Xid, 79).expect("stands").since_unix_ms, since);
    assert_eq!(world.verdict(0), Verdict::Unusable);
}

#[test]
fn a_card_that_was_without_power_comes_back_clean() {
    let mut world = World::new(1);
    world.xid(0, 79);
    let old = world.cards[0].serial.replace("new".to_owned());
    world.after(SECOND);
    world.reboot();
    assert!(world.state.shelf.is_empty());
    world.cards[0].serial = old;
    world.look();
    assert!(world.conditions(Some(0)).is_empty());
}

#[test]
fn what_nobody_saw_is_not_told_as_over_when_the_card_leaves() {
    let mut world = World::new(1);
    world.cards[0].fast.temperature_margin = Ok(Celsius(0));
    world.after(SECOND);
    let report = world.report(Some(0), 79, Witness::KernelLog);
    world.tell(Input::Xid(&report));
    world.cards[0] = Card::healthy(7);
    let said = world.after(SECOND);
    assert!(!said.iter().any(|one| matches!(one, Transition::Cleared { .. })), "{said:?}");
}

#[test]
fn occupants_and_cards_on_the_shelf_stay_few() {
    let mut world = World::new(1);
    for card in 0..100 {
        world.cards[0].serial = Some(format!("card {card}"));
        world.after(SECOND);
        world.xid(0, 79);
    }
    assert_eq!((world.state.gpus[0].occupants.len(), world.state.shelf.len()), (16, 32));
    assert_eq!(world.state.gpus[0].serial(), Some("card 99"));
}

#[test]
fn a_state_is_read_as_it_was_written() {
    let mut world = World::new(2);
    world.xid(0, 79);
    let report = rackmark_health::XidReport {
        instance: mig(2, Some(1)),
        ..world.report(Some(1), 31, Witness::Driver)
    };
    world.take(&report);
    world.cards[1].slow().retired_pages_double_bit = rackmark_model::Reading::Ok(rackmark_model::Count(20));
    fatal_sxid(&mut world);
    world.verb(&Verb::Drain { slot: Some(1), reason: "fans" }).expect("drained");
    world
        .verb(&Verb::MaintenanceStart { slot: None, until_unix_ms: world.now.unix_ms + 9, reason: "x" })
        .expect("m");
    world.cards[0].serial = Some("other".to_owned());
    world.after(SECOND);
    let kept = serde_json::to_string(&world.state).expect("json");
    let read: State = serde_json::from_str(&kept).expect("json");
    assert_eq!(serde_json::to_string(&read).expect("json"), kept);
    assert_eq!(read.shelf.len(), 1);
    assert_eq!(read.sxids, world.state.sxids);
    assert_eq!(read.gpus[1].incidents.counts, world.state.gpus[1].incidents.counts);
}

#[test]
fn a_state_of_a_newer_version_is_read_without_what_is_not_known() {
    let mut world = World::new(1);
    world.xid(0, 79);
    world.xid(0, 48);
    let old = world.cards[0].serial.replace("other".to_owned());
    world.after(SECOND);
    world.xid(0, 79);
    world.xid(0, 48);
    let mut kept = serde_json::to_value(&world.state).expect("json");
    // The first is that the card is untested.
    kept["gpus"][0]["conditions"][1]["code"] = "quantum_flux".into();
    kept["shelf"][0]["conditions"][1]["code"] = "quantum_flux".into();
    kept["gpus"][0]["conditions"].as_array_mut().expect("list").push("no condition at all".into());
    world.state = serde_json::from_value(kept).expect("read");
    let xids = |world: &World| {
        let all = world.conditions(Some(0)).iter().filter(|one| one.code == Code::Xid);
        all.map(|one| one.key).collect::<Vec<_>>()
    };
    assert_eq!(xids(&world), [48]);
    world.cards[0].serial = old;
    world.after(SECOND);
    assert_eq!(xids(&world), [79]);
    assert_eq!(serde_json::from_str::<State>("{}").expect("an empty one").gpus.len(), 0);
}

#[test]
fn before_a_complete_look_nothing_is_schedulable() {
    let mut world = World::before_the_first_look(1);
    let slow = world.cards[0].slow.take();
    world.look();
    assert_eq!((world.verdict(0), world.reason(0)), (Verdict::Unknown, "not judged yet"));
    world.cards[0].slow = slow;
    world.after(SECOND);
    assert_eq!((world.verdict(0), world.gpu_state(0)), (Verdict::Schedulable, GpuState::Free));
    world.restart();
    let slow = world.cards[0].slow.take();
    world.look();
    assert_eq!(world.verdict(0), Verdict::Unknown, "readings of an earlier daemon do not count");
    world.cards[0].slow = slow;
    world.after(SECOND);
    // A GPU that is not shown any more.
    world.cards.clear();
    world.after(SECOND);
    assert_eq!((world.verdict(0), world.gpu_state(0)), (Verdict::Unknown, GpuState::Unknown));
}

#[test]
fn the_same_inputs_give_the_same_answers() {
    let run = || {
        let mut world = World::new(4);
        world.xid(0, 79);
        fatal_sxid(&mut world);
        world.cards[2].fast.temperature_margin = Ok(Celsius(-3));
        world.looks(7 * SECOND, 3 * MINUTE);
        world.now.unix_ms += 5000;
        world.verb(&Verb::Acknowledge { slot: None, condition: "all" }).expect("it stands");
        world.looks(SECOND, 90 * SECOND);
        (world.state, world.said)
    };
    let (one, other) = (run(), run());
    assert_eq!(one.1, other.1);
    assert_eq!(one.0, other.0);
}

#[test]
fn the_reason_names_the_worst() {
    let mut world = World::new(1);
    world.cards[0].slow().remapped_rows_pending = Ok(true);
    world.after(SECOND);
    assert_eq!(world.reason(0), "row remapping waits for a reset");
    world.xid(0, 79);
    assert_eq!(world.reason(0), "XID 79: GPU has fallen off the bus (words on 79)");
    world.verb(&Verb::Acknowledge { slot: Some(0), condition: "xid" }).expect("it stands");
    assert_eq!((world.verdict(0), world.reason(0)), (Verdict::Draining, "row remapping waits for a reset"));
}

#[test]
fn acknowledging_marks_what_the_readings_say_and_refuses_what_does_not_stand() {
    let mut world = World::new(1);
    world.cards[0].slow().remapped_rows_pending = Ok(true);
    world.after(SECOND);
    let verb = Verb::Acknowledge { slot: Some(0), condition: "row_remap_pending" };
    let said = world.verb(&verb).expect("it stands");
    assert!(
        matches!(&said[0], Transition::Acknowledged { code, by, .. } if code == "row_remap_pending" && by == "ops")
    );
    let stands = world.condition(Some(0), Code::RowRemapPending, 0).expect("still stands");
    assert_eq!(stands.acknowledged.as_ref().expect("noted").by, "ops");
    assert_eq!(world.verdict(0), Verdict::Draining);
    for condition in ["xid", "row_remap", "", "ALL"] {
        assert!(world.verb(&Verb::Acknowledge { slot: Some(0), condition }).is_err(), "{condition}");
    }
    assert!(world.verb(&Verb::Acknowledge { slot: Some(1), condition: "all" }).is_err());
}

#[test]
fn the_reason_names_the_cause_and_then_what_matters_more() {
    let mut world = World::new(2);
    world.cards[0].inventory().fabric_state = Ok("not_started".to_owned());
    world.looks(SECOND, 2 * MINUTE);
    assert_eq!(world.reason(0), "NVLink fabric is not ready (not started)");
    world.host.as_mut().expect("host").fabric_manager = Some(false);
    world.looks(SECOND, 2 * MINUTE);
    assert_eq!(world.reason(0), "nvidia-fabricmanager does not run", "the younger one is the cause");

    let mut world = World::new(1);
    world.cards[0].slow().remapped_rows_pending = Ok(true);
    world.after(MINUTE);
    world.cards[0].nvlinks[2].active = Ok(false);
    world.after(MINUTE);
    assert_eq!(world.reason(0), "NVLink is down (link 2)", "critical before warning");
}

#[test]
fn a_card_on_the_shelf_does_not_keep_what_passes() {
    let mut world = World::new(1);
    world.xid(0, 13);
    let old = world.cards[0].serial.replace("new".to_owned());
    world.after(SECOND);
    world.restart();
    world.after(SECOND);
    world.cards[0].serial = old;
    world.after(SECOND);
    assert!(world.shows(Code::Xid));
    let said = world.looks(MINUTE, 10 * MINUTE);
    assert_eq!(cleared(&said, Code::Xid), Some(ClearedBy::Expired));
}

#[test]
fn another_card_is_not_measured_by_the_one_before() {
    let mut world = World::new(1);
    world.after(MINUTE);
    world.cards[0] = Card::healthy(9);
    world.cards[0].nvlinks[3].replay_errors = Ok(100);
    world.cards[0].nvlinks[4].active = Ok(false);
    world.cards[0].slow().retired_pages_double_bit = Ok(rackmark_model::Count(20));
    let revision = world.state.revision;
    world.after(MINUTE);
    let stands: Vec<_> = world.conditions(Some(0)).iter().map(|one| one.code).collect();
    assert_eq!(stands, [Code::CardUntested]);
    assert!(world.state.revision > revision);
}

#[test]
fn what_a_card_is_and_had_is_worth_keeping() {
    let mut world = World::before_the_first_look(1);
    let serial = world.cards[0].serial.take();
    world.cards[0].nvlinks[17].active = Ok(false);
    world.look();
    world.after(SECOND);
    for change in 0..3 {
        let revision = world.state.revision;
        match change {
            0 => world.cards[0].serial.clone_from(&serial),
            1 => world.cards[0].nvlinks[17].active = Ok(true),
            _ => world.cards[0].slow().retired_pages_double_bit = Ok(rackmark_model::Count(1)),
        }
        world.after(SECOND);
        assert!(world.state.revision > revision, "change {change}");
        let revision = world.state.revision;
        world.after(SECOND);
        assert_eq!(world.state.revision, revision, "change {change}, once");
    }
}

#[test]
fn the_node_is_judged_by_its_gpus_and_by_what_stands_against_itself() {
    let node = |world: &World| (world.state.verdict.verdict, world.state.verdict.reason.clone());
    let mut world = World::new(2);
    assert_eq!(node(&world), (Verdict::Schedulable, String::new()));
    world.spool_trouble = "no space";
    world.look();
    let warned = "records are not kept on disk (no space)".to_owned();
    assert_eq!(node(&world), (Verdict::Schedulable, warned));
    world.expected_gpus = Some(3);
    world.look();
    assert_eq!(node(&world), (Verdict::Draining, "a GPU is missing (2 of 3)".to_owned()));
    world.verb(&Verb::Drain { slot: None, reason: "soon enough" }).expect("drained");
    assert_eq!(
        node(&world),
        (Verdict::Draining, "GPU 0 and 1 more are draining: drained: soon enough".to_owned())
    );
    assert_eq!(world.reason(1), "drained: soon enough");
    world.verb(&Verb::Drain { slot: None, reason: "soon" }).expect("drained");
    assert_eq!(world.reason(1), "drained: soon");
    world.xid(1, 79);
    let (verdict, reason) = node(&world);
    assert_eq!(verdict, Verdict::Draining);
    assert!(reason.starts_with("GPU 1 is unusable: XID 79: "), "{reason}");
    world.xid(0, 79);
    let (verdict, reason) = node(&world);
    assert_eq!(verdict, Verdict::Unusable);
    assert!(reason.starts_with("GPU 0 and 1 more are unusable: XID 79: "), "{reason}");
    world.driver_up = None;
    world.look();
    assert_eq!(world.state.verdict.verdict, Verdict::Unknown);
    let mut world = World::new(0);
    assert_eq!(node(&world), (Verdict::Unknown, "no GPU is known".to_owned()));
    world.driver_up = None;
    world.look();
    assert_eq!(node(&world), (Verdict::Unknown, "the driver does not answer".to_owned()));
}

#[test]
fn a_warning_is_named_on_a_schedulable_gpu_and_a_mere_note_is_not() {
    let mut world = World::new(1);
    world.cards[0].inventory().mig_pending_enabled = Ok(true);
    world.looks(SECOND, 2 * MINUTE);
    assert!(world.shows(Code::ModePending));
    assert_eq!((world.verdict(0), world.reason(0)), (Verdict::Schedulable, ""));
    world.cards[0].slow().remap_banks_none = Ok(rackmark_model::Count(3));
    world.after(SECOND);
    assert_eq!(world.reason(0), "a memory bank has no spare row left (3 banks)");
}

#[test]
fn what_is_hidden_is_not_acknowledged_unseen() {
    let mut world = World::new(1);
    world.cards[0].slow().remapped_rows_failed = Ok(true);
    world.cards[0].slow().remapped_rows_pending = Ok(true);
    world.after(SECOND);
    world.verb(&Verb::Acknowledge { slot: Some(0), condition: "all" }).expect("one is shown");
    let noted =
        |world: &World, code| world.condition(Some(0), code, 0).expect("stands").acknowledged.is_some();
    assert!(noted(&world, Code::RowRemapFailed) && !noted(&world, Code::RowRemapPending));
}

#[test]
fn a_clock_that_jumped_and_was_set_back_by_less_leaves_nothing_in_the_future() {
    let mut world = World::new(1);
    world.after(SECOND);
    world.now.unix_ms += 15_000_000_000;
    let report = world.report(Some(0), 13, Witness::KernelLog);
    world.tell(Input::Xid(&report));
    world.now.unix_ms -= 1;
    world.look();
    let last = world.condition(Some(0), Code::Xid, 13).expect("stands").last_unix_ms;
    assert!(last <= world.now.unix_ms, "{last}");
}
