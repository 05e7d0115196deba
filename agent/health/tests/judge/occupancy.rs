//! The one state table: who may cause which state, and what it counts as.

use rackmark_health::{Availability, Cause, Code, FileLease, Refusal, Standing, Transition, Verb};
use rackmark_model::{Count, GpuState, NoData, Verdict};

use crate::world::{DAY, HOUR, MINUTE, SECOND, World};

fn stated(world: &World) -> (GpuState, Cause) {
    let now = world.state.gpus[0].state.0;
    (now.state, now.cause)
}

fn lease(world: &mut World, id: &str, reserved: bool) -> Result<Vec<Transition>, Refusal> {
    world.verb(&Verb::LeaseStart { slot: 0, id, reserved, until_unix_ms: None })
}

fn maintain(world: &mut World, slot: Option<u8>, ms: u64) -> Result<Vec<Transition>, Refusal> {
    let until_unix_ms = world.now.unix_ms + ms;
    world.verb(&Verb::MaintenanceStart { slot, until_unix_ms, reason: "new fans" })
}

/// Everything that can hold a GPU, from the bottom of the table to its top. Each one is put on top of all before it.
#[test]
fn the_first_line_that_holds_is_the_state() {
    let mut world = World::new(1);
    assert_eq!(stated(&world), (GpuState::Free, Cause::Observed));
    world.cards[0].slow().remapped_rows_pending = Ok(true);
    world.look();
    assert_eq!(stated(&world), (GpuState::Draining, Cause::Health));
    world.cards[0].slow().remapped_rows_pending = Ok(false);
    world.cards[0].fast.processes_graphics = Ok(Count(1));
    world.look();
    assert_eq!(stated(&world), (GpuState::InUse, Cause::Observed));
    lease(&mut world, "job", true).expect("reserved");
    assert_eq!(stated(&world), (GpuState::Reserved, Cause::Lease));
    lease(&mut world, "job", false).expect("leased");
    assert_eq!(stated(&world), (GpuState::Leased, Cause::Lease));
    world.cards[0].slow().remapped_rows_pending = Ok(true);
    world.look();
    assert_eq!(stated(&world), (GpuState::Leased, Cause::Lease), "its work may finish");
    world.verb(&Verb::Drain { slot: Some(0), reason: "soon" }).expect("drained");
    assert_eq!(stated(&world), (GpuState::Draining, Cause::Operator));
    world.cards[0].standing = Standing::Absent(NoData::Timeout);
    world.look();
    assert_eq!(stated(&world), (GpuState::Unknown, Cause::Observed));
    world.cards[0].standing = Standing::Absent(NoData::DriverGone);
    world.look();
    assert_eq!(stated(&world), (GpuState::Unknown, Cause::Driver));
    world.xid(0, 79);
    assert_eq!(stated(&world), (GpuState::Faulted, Cause::Health));
    maintain(&mut world, None, HOUR).expect("maintained");
    assert_eq!(stated(&world), (GpuState::Maintenance, Cause::Operator));
    world.cards[0].standing = Standing::Absent(NoData::Paused);
    world.look();
    assert_eq!(stated(&world), (GpuState::Paused, Cause::Operator));
    world.cards[0].standing = Standing::Absent(NoData::HandedOver);
    world.look();
    assert_eq!(stated(&world), (GpuState::HandedOver, Cause::Driver));
    // And down again.
    world.cards[0].standing = Standing::Answering;
    world.look();
    assert_eq!(stated(&world).0, GpuState::Maintenance);
    world.verb(&Verb::MaintenanceEnd { slot: None }).expect("ended");
    assert_eq!(stated(&world).0, GpuState::Faulted);
    world.verb(&Verb::Acknowledge { slot: Some(0), condition: "xid" }).expect("known");
    assert_eq!(stated(&world), (GpuState::Draining, Cause::Operator));
    world.verb(&Verb::Undrain { slot: None }).expect("undrained");
    assert_eq!(stated(&world).0, GpuState::Leased);
    world.verb(&Verb::LeaseEnd { id: "job" }).expect("ended");
    assert_eq!(stated(&world).0, GpuState::InUse);
}

#[test]
fn a_lease_goes_on_while_one_answer_is_late_and_a_sleeping_gpu_is_free() {
    let mut world = World::new(1);
    world.cards[0].standing = Standing::Absent(NoData::Suspended);
    world.cards[0].fast = rackmark_model::readings::Fast::absent(NoData::Suspended);
    world.look();
    assert_eq!((stated(&world).0, world.verdict(0)), (GpuState::Free, Verdict::Schedulable));
    lease(&mut world, "job", false).expect("a sleeping GPU can be leased");
    world.cards[0].standing = Standing::Slow;
    world.look();
    assert_eq!(stated(&world).0, GpuState::Leased);
    world.restart();
    world.look();
    assert_eq!(stated(&world).0, GpuState::Unknown, "a late answer, and nothing was known");
}

#[test]
fn processes_that_cannot_be_counted_are_not_none() {
    let mut world = World::new(1);
    world.cards[0].fast.processes_compute = Err(NoData::Timeout);
    world.look();
    assert_eq!((stated(&world).0, world.verdict(0)), (GpuState::Unknown, Verdict::Schedulable));
    world.lease_source = true;
    world.cards[0].fast.processes_compute = Ok(Count(3));
    world.look();
    assert_eq!(stated(&world).0, GpuState::Free, "leases are told: a process is no lease");
}

#[test]
fn what_each_state_counts_as() {
    use Availability::{Offered, Planned, Sold, Unknown, Unplanned};
    for state in GpuState::ALL {
        for cause in
            [Cause::Observed, Cause::Operator, Cause::Lease, Cause::Health, Cause::Driver, Cause::Agent]
        {
            let expected = match state {
                GpuState::Free => Offered,
                GpuState::Reserved | GpuState::Leased | GpuState::InUse => Sold,
                GpuState::Draining if cause == Cause::Operator => Planned,
                GpuState::Draining | GpuState::Faulted => Unplanned,
                GpuState::BurnIn | GpuState::Maintenance | GpuState::Paused | GpuState::HandedOver => Planned,
                GpuState::Unknown => Unknown,
            };
            assert_eq!(Availability::of(state, cause), expected, "{state} by {cause:?}");
        }
    }
}

#[test]
fn leases_begin_only_where_the_state_allows_it_and_under_one_name() {
    let mut world = World::new(1);
    assert_eq!(lease(&mut world, "", false), Err(Refusal::Words));
    assert_eq!(lease(&mut world, &"x".repeat(129), false), Err(Refusal::Words));
    let no_gpu = world.verb(&Verb::LeaseStart { slot: 9, id: "job", reserved: false, until_unix_ms: None });
    assert!(matches!(no_gpu, Err(Refusal::Nothing(_))));
    for until in [0, world.now.unix_ms, world.now.unix_ms + 90 * DAY + 1] {
        let verb = Verb::LeaseStart { slot: 0, id: "job", reserved: false, until_unix_ms: Some(until) };
        assert_eq!(world.verb(&verb), Err(Refusal::Time));
    }
    lease(&mut world, &"x".repeat(128), true).expect("reserved");
    assert_eq!(lease(&mut world, "job", false), Err(Refusal::Leased("x".repeat(128))));
    assert_eq!(world.verb(&Verb::LeaseEnd { id: "job" }), Err(Refusal::NoLease("job".to_owned())));
    world.verb(&Verb::LeaseEnd { id: &"x".repeat(128) }).expect("ended");
    world.verb(&Verb::Drain { slot: None, reason: "soon" }).expect("drained");
    assert_eq!(lease(&mut world, "job", false), Err(Refusal::State(GpuState::Draining)));
    world.verb(&Verb::Undrain { slot: Some(0) }).expect("undrained");
    assert!(matches!(world.verb(&Verb::Undrain { slot: Some(0) }), Err(Refusal::Nothing(_))));
    world.xid(0, 79);
    assert_eq!(lease(&mut world, "job", false), Err(Refusal::State(GpuState::Faulted)));
    maintain(&mut world, Some(0), HOUR).expect("maintained");
    assert_eq!(lease(&mut world, "job", false), Err(Refusal::State(GpuState::Maintenance)));
    assert!(world.verb(&Verb::Drain { slot: None, reason: "" }).is_err());
    assert!(matches!(world.verb(&Verb::MaintenanceEnd { slot: None }), Err(Refusal::Nothing(_))));
    world.verb(&Verb::MaintenanceEnd { slot: Some(0) }).expect("ended");
}

#[test]
fn refused_verbs_change_nothing() {
    let mut world = World::new(1);
    let before = world.state.clone();
    let late = world.now.unix_ms + 91 * DAY;
    for verb in [
        Verb::MaintenanceStart { slot: None, until_unix_ms: late, reason: "x" },
        Verb::MaintenanceStart { slot: Some(5), until_unix_ms: late - 2 * DAY, reason: "x" },
        Verb::MaintenanceEnd { slot: Some(0) },
        Verb::Drain { slot: Some(5), reason: "x" },
        Verb::Undrain { slot: None },
        Verb::LeaseEnd { id: "nobody" },
        Verb::Acknowledge { slot: None, condition: "all" },
    ] {
        assert!(world.verb(&verb).is_err(), "{verb:?}");
    }
    assert_eq!(world.state, before);
}

#[test]
fn maintenance_and_leases_end_by_the_clock() {
    let mut world = World::new(1);
    maintain(&mut world, Some(0), MINUTE).expect("maintained");
    assert_eq!(world.verdict(0), Verdict::Draining);
    world.after(MINUTE - 1);
    assert_eq!(stated(&world).0, GpuState::Maintenance);
    let said = world.after(1);
    assert!(said.contains(&Transition::MaintenanceEnded { slot: Some(0) }));
    let until_unix_ms = Some(world.now.unix_ms + MINUTE);
    world.verb(&Verb::LeaseStart { slot: 0, id: "job", reserved: false, until_unix_ms }).expect("leased");
    world.after(MINUTE - 1);
    assert_eq!(stated(&world).0, GpuState::Leased);
    let said = world.after(1);
    assert!(said.contains(&Transition::LeaseEnded { slot: 0, lease: "job".to_owned() }));
    assert_eq!(stated(&world).0, GpuState::Free);
}

#[test]
fn a_clock_that_jumps_ends_nothing_at_once() {
    let mut world = World::new(1);
    maintain(&mut world, None, HOUR).expect("maintained");
    let leased = FileLease { slot: 0, id: "job".to_owned(), until_unix_ms: Some(world.now.unix_ms + HOUR) };
    assert_eq!(world.lease_file(std::slice::from_ref(&leased)).0, 0);
    world.now.unix_ms += 400 * DAY;
    world.after(SECOND);
    assert_eq!(world.lease_file(std::slice::from_ref(&leased)).0, 0);
    world.now.unix_ms -= 400 * DAY;
    world.looks(MINUTE, 30 * MINUTE);
    assert!(world.state.maintenance.is_some() && world.state.gpus[0].occupancy.lease.is_some());
    world.now.unix_ms += 400 * DAY;
    world.after(SECOND);
    world.after(10 * MINUTE - 1);
    assert!(world.state.maintenance.is_some());
    world.after(1);
    assert!(world.state.maintenance.is_none(), "a clock that stays where it was set is believed");
    assert!(world.state.gpus[0].occupancy.lease.is_none());
    assert_eq!(world.lease_file(std::slice::from_ref(&leased)).0, 1, "over when it was written");
}

#[test]
fn the_lease_file_says_who_has_what() {
    let named = |slot, id: &str| FileLease { slot, id: id.to_owned(), until_unix_ms: None };
    let mut world = World::new(3);
    world
        .verb(&Verb::LeaseStart { slot: 2, id: "by hand", reserved: false, until_unix_ms: None })
        .expect("leased");
    let (refused, said) =
        world.lease_file(&[named(0, "a"), named(1, "b"), named(2, "c"), named(7, "d"), named(1, "e")]);
    assert_eq!(refused, 3, "taken by hand, no such GPU, two on one GPU");
    assert_eq!(said.iter().filter(|one| matches!(one, Transition::LeaseStarted { .. })).count(), 2);
    let revision = world.state.revision;
    assert_eq!(world.lease_file(&[named(0, "a"), named(1, "b")]), (0, vec![]));
    assert_eq!(world.state.revision, revision, "the same file again");
    world.restart();
    let since = world.state.gpus[0].occupancy.lease.as_ref().expect("a lease").since_unix_ms;
    world.after(HOUR);
    world.lease_file(&[named(0, "a"), named(1, "b")]);
    assert_eq!(world.state.gpus[0].occupancy.lease.as_ref().expect("a lease").since_unix_ms, since);
    let (refused, said) = world.lease_file(&[named(0, "b"), named(1, "a")]);
    let ends = said.iter().filter(|one| matches!(one, Transition::LeaseEnded { .. })).count();
    assert_eq!((refused, ends), (0, 2), "two that change places");
    world.lease_file(&[]);
    let left: Vec<_> = world.state.gpus.iter().map(|gpu| gpu.occupancy.lease.is_some()).collect();
    assert_eq!(left, [false, false, true], "only what came from the file goes with it");
    world.lease_source = true;
    world.look();
    assert!(!world.shows(Code::ForeignProcess));
}

#[test]
fn time_is_credited_to_the_state_that_held_and_gaps_to_none() {
    let mut world = World::new(1);
    let ms = |world: &World, state: GpuState| world.state.gpus[0].state_ms[state as usize];
    world.after(10 * SECOND);
    assert_eq!(ms(&world, GpuState::Free), 10_000);
    world.cards[0].fast.processes_compute = Ok(Count(1));
    world.after(5 * SECOND);
    assert_eq!(
        (ms(&world, GpuState::Free), ms(&world, GpuState::InUse)),
        (15_000, 0),
        "it was free until now"
    );
    world.after(7 * SECOND);
    assert_eq!((ms(&world, GpuState::Free), ms(&world, GpuState::InUse)), (15_000, 7_000));
    world.after(600 * SECOND);
    assert_eq!(ms(&world, GpuState::InUse), 607_000);
    world.after(600 * SECOND + 1);
    assert_eq!(ms(&world, GpuState::InUse), 607_000, "nobody looked for longer than ten minutes");
    world.now.unix_ms += DAY;
    world.after(SECOND);
    assert_eq!(ms(&world, GpuState::InUse), 608_000, "the wall clock counts nothing");
    world.restart();
    world.after(SECOND);
    assert_eq!(ms(&world, GpuState::InUse), 608_000, "while the daemon was away nobody knows");
    let gpu = &world.state.gpus[0];
    assert_eq!(gpu.availability_ms, [15_000, 608_000, 0, 0, 0]);
    assert_eq!(gpu.state_ms.iter().sum::<u64>(), gpu.availability_ms.iter().sum::<u64>());
}

#[test]
fn a_gpu_that_appears_later_is_credited_from_then_on() {
    let mut world = World::new(1);
    world.cards.push(crate::world::Card::healthy(1));
    world.after(10 * SECOND);
    assert_eq!(world.state.gpus[1].state_ms, [0; 11]);
    world.after(10 * SECOND);
    assert_eq!(world.state.gpus[1].state_ms[GpuState::Free as usize], 10_000);
}
