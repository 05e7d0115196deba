//! What a burn-in does to the state of its GPU and to what stands against the card.

use rackmark_health::burn_in::{MODES, Mode, Outcome};
use rackmark_health::{BurnInResult, Cause, ClearedBy, Code, Refusal, Transition, Verb};
use rackmark_model::{Count, GpuState, Verdict};

use crate::world::{HOUR, MINUTE, SECOND, World, cleared, raised};

fn start(world: &mut World) -> Result<Vec<Transition>, Refusal> {
    world.verb(&Verb::BurnInStart { slot: 0, mode: Mode::Quick })
}

fn result(mode: Mode, outcome: Outcome) -> Option<BurnInResult<'static>> {
    Some(BurnInResult { mode, outcome, reason: "a result is wrong", took_ms: 54_000, memory_bytes: 1 << 36 })
}

fn end(world: &mut World, mode: Mode, outcome: Outcome) -> Vec<Transition> {
    world.verb(&Verb::BurnInEnd { slot: 0, result: result(mode, outcome) }).expect("one runs")
}

/// A whole burn-in.
fn burn_in(world: &mut World, mode: Mode, outcome: Outcome) -> Vec<Transition> {
    start(world).expect("may begin");
    end(world, mode, outcome)
}

fn stated(world: &World) -> (GpuState, Cause) {
    let now = world.state.gpus[0].state.0;
    (now.state, now.cause)
}

fn lease(world: &mut World) {
    world.lease_source = true;
    world
        .verb(&Verb::LeaseStart { slot: 0, id: "job", reserved: false, until_unix_ms: None })
        .expect("leased");
}

#[test]
fn a_gpu_in_burn_in_is_in_that_state_and_free_again_afterwards() {
    let mut world = World::new(2);
    start(&mut world).expect("it is free");
    assert_eq!(stated(&world), (GpuState::BurnIn, Cause::Agent));
    assert_eq!(world.gpu_state(1), GpuState::Free);
    assert_eq!(start(&mut world), Err(Refusal::State(GpuState::BurnIn)), "one at a time");
    let said = end(&mut world, Mode::Quick, Outcome::Pass);
    let told = |one: &Transition| {
        matches!(one, Transition::BurnInEnded { slot: 0, mode: Mode::Quick, outcome: Outcome::Pass, .. })
    };
    assert!(said.iter().any(told), "{said:?}");
    assert_eq!((stated(&world).0, world.verdict(0)), (GpuState::Free, Verdict::Schedulable));
    let again = world.verb(&Verb::BurnInEnd { slot: 0, result: None });
    assert_eq!(again, Err(Refusal::Nothing("no burn-in runs")));
}

#[test]
fn a_customer_comes_first() {
    let mut world = World::new(1);
    lease(&mut world);
    assert_eq!(start(&mut world), Err(Refusal::Leased("job".to_owned())));
    world.verb(&Verb::LeaseEnd { id: "job" }).expect("ended");
    world
        .verb(&Verb::LeaseStart { slot: 0, id: "next", reserved: true, until_unix_ms: None })
        .expect("promised");
    assert_eq!(start(&mut world), Err(Refusal::Leased("next".to_owned())), "a promise counts");
    world.verb(&Verb::LeaseEnd { id: "next" }).expect("ended");
    start(&mut world).expect("free");
    lease(&mut world);
    assert_eq!(stated(&world).0, GpuState::BurnIn, "until the work has ended");
    let said = end(&mut world, Mode::Quick, Outcome::Inconclusive);
    assert_eq!(raised(&said, Code::BurnInFailed), 0);
    assert_eq!(stated(&world), (GpuState::Leased, Cause::Lease));
}

#[test]
fn it_does_not_begin_where_it_would_mean_nothing() {
    let mut world = World::new(1);
    world.cards[0].fast.processes_compute = Ok(Count(1));
    world.look();
    assert_eq!(start(&mut world), Err(Refusal::State(GpuState::InUse)));
    world.cards[0].fast.processes_compute = Ok(Count(0));
    world.xid(0, 79);
    assert_eq!(
        start(&mut world),
        Err(Refusal::State(GpuState::Faulted)),
        "another fault than a failed burn-in"
    );
    let mut world = World::new(1);
    world.cards[0].standing = rackmark_health::Standing::Absent(rackmark_model::NoData::Timeout);
    world.look();
    assert_eq!(start(&mut world), Err(Refusal::State(GpuState::Unknown)), "nobody could watch it");
    let mut world = World::new(1);
    world.verb(&Verb::Drain { slot: Some(0), reason: "is it well?" }).expect("drained");
    start(&mut world).expect("whoever drained it wants to know");
}

#[test]
fn a_failed_burn_in_takes_the_gpu_out_until_a_passed_one_or_somebodys_word() {
    for mode in MODES {
        let mut world = World::new(1);
        let said = burn_in(&mut world, mode, Outcome::Fail);
        assert_eq!(raised(&said, Code::BurnInFailed), 1, "{}", mode.name());
        assert_eq!(world.verdict(0), Verdict::Unusable);
        let condition = world.condition(Some(0), Code::BurnInFailed, 0).expect("stands");
        assert!(condition.detail.contains("a result is wrong"), "{}", condition.detail);
        world.reboot();
        world.after(HOUR);
        assert_eq!(world.verdict(0), Verdict::Unusable, "neither time nor a reboot mends a card");
    }
    let mut world = World::new(1);
    burn_in(&mut world, Mode::Acceptance, Outcome::Fail);
    burn_in(&mut world, Mode::Probe, Outcome::Pass);
    assert!(world.shows(Code::BurnInFailed), "two seconds vouch for nothing");
    burn_in(&mut world, Mode::Soak, Outcome::Inconclusive);
    assert!(world.shows(Code::BurnInFailed), "what is not known changes nothing");
    let said = burn_in(&mut world, Mode::Quick, Outcome::Pass);
    assert_eq!(cleared(&said, Code::BurnInFailed), Some(ClearedBy::Recovered));
    assert_eq!(world.verdict(0), Verdict::Schedulable);
    burn_in(&mut world, Mode::Quick, Outcome::Fail);
    world.verb(&Verb::Acknowledge { slot: Some(0), condition: "burn_in_failed" }).expect("stands");
    assert_eq!(world.verdict(0), Verdict::Schedulable, "somebody's word");
}

#[test]
fn a_new_card_leaves_unknown_by_a_passed_quick_or_longer_one_and_by_nothing_less() {
    for (mode, outcome, vouches) in [
        (Mode::Probe, Outcome::Pass, false),
        (Mode::Quick, Outcome::Inconclusive, false),
        (Mode::Quick, Outcome::Fail, false),
        (Mode::Quick, Outcome::Pass, true),
        (Mode::Acceptance, Outcome::Pass, true),
        (Mode::Soak, Outcome::Pass, true),
    ] {
        let mut world = World::new(1);
        world.cards[0].serial = Some("new".to_owned());
        world.after(SECOND);
        assert_eq!(world.verdict(0), Verdict::Unknown);
        let said = burn_in(&mut world, mode, outcome);
        let what = format!("{} {}", mode.name(), outcome.name());
        assert_eq!(!world.shows(Code::CardUntested), vouches, "{what}");
        assert_eq!(world.verdict(0) == Verdict::Schedulable, vouches, "{what}");
        let by = said.iter().find_map(|one| match one {
            Transition::Acknowledged { by, .. } => Some(by.clone()),
            _ => None,
        });
        assert_eq!(by, vouches.then(|| format!("burn-in {}", mode.name())), "{what}: who vouches is kept");
    }
}

#[test]
fn what_ran_on_one_card_says_nothing_of_the_next() {
    let mut world = World::new(1);
    start(&mut world).expect("free");
    world.cards[0].serial = Some("new".to_owned());
    world.after(SECOND);
    let late = world.verb(&Verb::BurnInEnd { slot: 0, result: result(Mode::Quick, Outcome::Pass) });
    assert_eq!(late, Err(Refusal::Nothing("no burn-in runs")));
    assert!(world.shows(Code::CardUntested), "the card that came was not tested");
    // A card that failed takes that along, and back.
    let mut world = World::new(1);
    let old = world.cards[0].serial.clone();
    burn_in(&mut world, Mode::Quick, Outcome::Fail);
    world.cards[0].serial = Some("new".to_owned());
    world.after(SECOND);
    assert!(!world.shows(Code::BurnInFailed));
    world.cards[0].serial = old;
    world.after(SECOND);
    assert!(world.shows(Code::BurnInFailed));
}

#[test]
fn a_restart_ends_the_use_and_keeps_no_result() {
    let mut world = World::new(1);
    start(&mut world).expect("free");
    world.restart();
    world.after(SECOND);
    assert_eq!(stated(&world).0, GpuState::Free);
    assert!(!world.shows(Code::BurnInFailed));
}

#[test]
fn our_own_process_is_not_foreign_and_a_second_one_is() {
    let mut world = World::new(1);
    world.lease_source = true;
    world.look();
    start(&mut world).expect("free");
    world.cards[0].fast.processes_compute = Ok(Count(1));
    world.looks(SECOND, 5 * MINUTE);
    assert!(!world.shows(Code::ForeignProcess));
    world.cards[0].fast.processes_compute = Ok(Count(2));
    world.looks(SECOND, MINUTE);
    assert!(world.shows(Code::ForeignProcess));
    let mut world = World::new(1);
    world.lease_source = true;
    world.cards[0].fast.processes_compute = Ok(Count(1));
    world.looks(SECOND, MINUTE);
    assert!(world.shows(Code::ForeignProcess), "without a burn-in one is enough");
}

fn stuck(world: &mut World, pid: Option<u32>) -> Vec<Transition> {
    world.verb(&Verb::WorkerStuck { slot: 0, pid }).expect("there is such a GPU")
}

#[test]
fn a_process_that_cannot_be_ended_takes_the_gpu_out_until_it_is_gone() {
    let mut world = World::new(2);
    world.lease_source = true;
    start(&mut world).expect("it is free");
    let mut said = stuck(&mut world, Some(4711));
    said.extend(end(&mut world, Mode::Quick, Outcome::Inconclusive));
    assert_eq!(raised(&said, Code::WorkerStuck), 1);
    assert_eq!(world.condition(Some(0), Code::WorkerStuck, 0).expect("stands").detail, "process 4711");
    assert_eq!(stated(&world), (GpuState::Faulted, Cause::Health));
    assert_eq!((world.verdict(0), world.verdict(1)), (Verdict::Unusable, Verdict::Schedulable));
    let lease = Verb::LeaseStart { slot: 0, id: "job", reserved: false, until_unix_ms: None };
    assert_eq!(world.verb(&lease), Err(Refusal::State(GpuState::Faulted)));
    // A failed burn-in is repeated to find out, maintenance is there for such work: not with this process on the GPU.
    let acknowledge = Verb::Acknowledge { slot: Some(0), condition: "worker_stuck" };
    world.verb(&acknowledge).expect("stands");
    assert!(world.shows(Code::WorkerStuck), "somebody's word ends no process");
    let work =
        Verb::MaintenanceStart { slot: Some(0), until_unix_ms: world.now.unix_ms + HOUR, reason: "look" };
    world.verb(&work).expect("planned");
    assert_eq!(start(&mut world), Err(Refusal::State(GpuState::Faulted)));
    world.verb(&Verb::MaintenanceEnd { slot: Some(0) }).expect("ended");
    assert_eq!(raised(&stuck(&mut world, Some(4711)), Code::WorkerStuck), 0, "once");
    world.reboot();
    world.after(HOUR);
    assert!(world.shows(Code::WorkerStuck), "until somebody looked");
    assert_eq!(cleared(&stuck(&mut world, None), Code::WorkerStuck), Some(ClearedBy::Recovered));
    assert_eq!(world.verdict(0), Verdict::Schedulable);
    assert_eq!(cleared(&stuck(&mut world, None), Code::WorkerStuck), None);
    start(&mut world).expect("it is free");
}
