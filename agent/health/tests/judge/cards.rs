//! Cards that are swapped: what was declared, and that the new one is unknown until somebody vouches for it.

use rackmark_health::{ClearedBy, Code, Refusal, Transition, Verb};
use rackmark_model::Verdict;

use crate::world::{MINUTE, SECOND, World, cleared, raised};

fn swap(world: &World, ticket: &'static str, tested_by: Option<&'static str>) -> Verb<'static> {
    Verb::Swap { slot: 0, ticket, until_unix_ms: world.now.unix_ms + 60 * MINUTE, tested_by }
}

fn ticket_of(said: &[Transition]) -> Option<Option<&str>> {
    said.iter().find_map(|one| match one {
        Transition::CardChanged { ticket, .. } => Some(ticket.as_deref()),
        _ => None,
    })
}

fn replace(world: &mut World, serial: &str) -> Vec<Transition> {
    world.cards[0].serial = Some(serial.to_owned());
    world.after(SECOND)
}

#[test]
fn a_new_card_is_unknown_until_somebody_vouches_for_it() {
    let mut world = World::new(2);
    world.after(SECOND);
    assert_eq!(world.verdict(0), Verdict::Schedulable);
    let announced = world.verb(&swap(&world, "T-1", None)).expect("declared");
    assert!(matches!(&announced[..], [Transition::SwapDeclared { ticket, .. }] if ticket == "T-1"));
    assert_eq!(world.verdict(0), Verdict::Schedulable, "a declaration changes nothing");
    let said = replace(&mut world, "new");
    assert_eq!(ticket_of(&said), Some(Some("T-1")));
    assert_eq!(raised(&said, Code::CardUntested), 1);
    assert_eq!((world.verdict(0), world.verdict(1)), (Verdict::Unknown, Verdict::Schedulable));
    for _ in 0..2 {
        world.reboot();
        world.after(60 * MINUTE);
        assert_eq!(world.verdict(0), Verdict::Unknown, "neither time nor a reboot tests a card");
    }
    assert_eq!(
        world.verb(&swap(&world, "T-2", Some("me"))),
        Err(Refusal::Nothing("the card came under another ticket"))
    );
    assert_eq!(world.verdict(0), Verdict::Unknown, "what is refused changes nothing");
    let said = world.verb(&swap(&world, "T-1", Some("the vendor's test"))).expect("tested");
    assert_eq!(cleared(&said, Code::CardUntested), Some(ClearedBy::Acknowledged));
    world.after(SECOND);
    assert_eq!(world.verdict(0), Verdict::Schedulable);
    assert_eq!(world.verb(&swap(&world, "T-1", Some("me"))), Err(Refusal::Nothing("the card needs no test")));
}

#[test]
fn a_swap_that_nobody_declared_can_be_explained_afterwards() {
    let mut world = World::new(1);
    world.after(SECOND);
    let said = replace(&mut world, "new");
    assert_eq!(ticket_of(&said), Some(None));
    assert_eq!(world.state.swaps[0].ticket, None);
    world.verb(&swap(&world, "T-9", None)).expect("explained");
    assert_eq!(world.state.swaps[0].ticket.as_deref(), Some("T-9"));
    assert_eq!(world.state.gpus[0].declared, None, "it announces nothing");
    world.verb(&swap(&world, "T-10", None)).expect("announced");
    assert_eq!(world.state.gpus[0].declared.as_ref().map(|one| one.ticket.as_str()), Some("T-10"));
}

#[test]
fn a_declaration_is_for_one_card_and_ends() {
    let mut world = World::new(1);
    world.after(SECOND);
    world.verb(&swap(&world, "T-1", None)).expect("declared");
    world.after(61 * MINUTE);
    assert_eq!(world.state.gpus[0].declared, None);
    assert_eq!(ticket_of(&replace(&mut world, "new")), Some(None));
    world.verb(&swap(&world, "T-2", None)).expect("explained");
    world.verb(&swap(&world, "T-3", None)).expect("declared");
    world.restart();
    assert_eq!(ticket_of(&replace(&mut world, "newer")), Some(Some("T-3")), "it outlives a restart");
    assert_eq!(ticket_of(&replace(&mut world, "newest")), Some(None), "and counts once");
}

#[test]
fn a_card_that_this_node_had_before_is_not_new() {
    let mut world = World::new(2);
    world.after(SECOND);
    let (zero, one) = (world.cards[0].serial.take(), world.cards[1].serial.take());
    (world.cards[0].serial, world.cards[1].serial) = (one, zero);
    let said = world.after(SECOND);
    let moves: Vec<(u8, u8)> = said
        .iter()
        .filter_map(|one| match one {
            Transition::CardMoved { slot, from_slot } => Some((*slot, *from_slot)),
            _ => None,
        })
        .collect();
    assert_eq!(moves, [(0, 1), (1, 0)]);
    assert_eq!((world.verdict(0), world.verdict(1)), (Verdict::Schedulable, Verdict::Schedulable));
}

#[test]
fn cards_without_serial_numbers_are_told_apart_by_uuid() {
    let mut world = World::new(1);
    (world.cards[0].serial, world.cards[0].uuid) = (None, Some("GPU-a".to_owned()));
    let mut world = {
        world.restart();
        world
    };
    world.state = rackmark_health::State::default();
    world.after(SECOND);
    world.cards[0].uuid = Some("GPU-b".to_owned());
    let said = world.after(SECOND);
    assert_eq!(raised(&said, Code::CardUntested), 1);
    // A serial number that is read late makes no new card.
    world.cards[0].serial = Some("late".to_owned());
    assert_eq!(ticket_of(&world.after(SECOND)), None);
    assert_eq!(world.state.gpus[0].serial(), Some("late"));
}
