//! Causes hide their consequences.

use rackmark_health::{Code, Transition};

use crate::world::{MINUTE, SECOND, World, cleared, raised};

#[test]
fn a_consequence_that_was_never_shown_ends_in_silence() {
    let mut world = World::new(1);
    world.cards[0].slow().remapped_rows_failed = Ok(true);
    world.cards[0].slow().remapped_rows_pending = Ok(true);
    let said = world.after(SECOND);
    assert_eq!((raised(&said, Code::RowRemapFailed), raised(&said, Code::RowRemapPending)), (1, 0));
    world.cards[0].slow().remapped_rows_pending = Ok(false);
    assert!(world.after(SECOND).is_empty());
}

#[test]
fn a_consequence_appears_when_its_cause_is_gone() {
    let mut world = World::new(1);
    world.cards[0].slow().remapped_rows_failed = Ok(true);
    world.cards[0].slow().remapped_rows_pending = Ok(true);
    world.after(SECOND);
    world.cards[0].slow().remapped_rows_failed = Ok(false);
    let said = world.after(SECOND);
    assert_eq!(raised(&said, Code::RowRemapPending), 1);
    assert!(world.shows(Code::RowRemapPending));
}

#[test]
fn cause_and_consequence_that_end_together_leave_one_end() {
    let mut world = World::new(1);
    world.cards[0].slow().remapped_rows_failed = Ok(true);
    world.cards[0].slow().remapped_rows_pending = Ok(true);
    world.after(SECOND);
    world.cards[0].slow().remapped_rows_failed = Ok(false);
    world.cards[0].slow().remapped_rows_pending = Ok(false);
    let said = world.after(SECOND);
    assert!(
        cleared(&said, Code::RowRemapFailed).is_some() && cleared(&said, Code::RowRemapPending).is_none()
    );
    assert_eq!(raised(&said, Code::RowRemapPending), 0);
}

#[test]
fn an_announced_one_that_ends_while_it_is_hidden_is_told_as_over() {
    let mut world = World::new(1);
    world.cards[0].slow().remapped_rows_pending = Ok(true);
    world.after(SECOND);
    world.cards[0].slow().remapped_rows_failed = Ok(true);
    world.after(SECOND);
    assert!(!world.shows(Code::RowRemapPending));
    world.cards[0].slow().remapped_rows_pending = Ok(false);
    assert!(cleared(&world.after(SECOND), Code::RowRemapPending).is_some());
}

#[test]
fn a_cause_that_nobody_sees_yet_hides_nothing() {
    let mut world = World::new(1);
    world.cards[0].inventory().persistence_enabled = Ok(false);
    world.looks(SECOND, 2 * MINUTE);
    world.host.as_mut().expect("host").persistenced = Some(false);
    world.after(SECOND);
    assert!(world.shows(Code::PersistenceOff), "the daemon is down for a second only");
}

#[test]
fn nothing_is_said_twice() {
    let mut world = World::new(1);
    world.cards[0].slow().remapped_rows_pending = Ok(true);
    world.after(SECOND);
    world.restart();
    let said = world.looks(SECOND, MINUTE);
    let again = said.iter().any(|one| matches!(one, Transition::Raised { .. }));
    assert!(!again, "it was announced before the restart");
}
