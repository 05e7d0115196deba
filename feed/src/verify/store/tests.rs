//! Clones, moves, rollbacks and successions, each shown by memory alone.

use proptest::prelude::*;

use super::*;
use crate::ids::IdentityClass;

pub(super) const DAY: u64 = LIVE_MS;

pub(super) fn node(byte: u8) -> NodeId {
    NodeId::from_parts(IdentityClass::Tpm, [byte; 32])
}

fn clock(reset_count: u32, restart_count: u32, clock_ms: u64) -> Option<TpmClock> {
    Some(TpmClock { reset_count, restart_count, clock_ms })
}

pub(super) fn seen(of: u8, evidence: u8, previous: Option<u8>) -> Observation {
    Observation {
        node: node(of),
        machine: Some(format!("SERIAL{of}")),
        identity: [of; 32],
        attestation_key: vec![0, 11, of],
        clock: clock(5, 0, 1_000 * u64::from(evidence)),
        devices: vec![vec![format!("serial:{of}")]],
        declared_away: Vec::new(),
        evidence: [evidence; 32],
        previous: previous.map(|byte| [byte; 32]),
        successions: Vec::new(),
    }
}

pub(super) fn names(flags: &[Flag]) -> Vec<&'static str> {
    flags.iter().map(Flag::name).collect()
}

#[test]
fn a_chain_goes_on_without_a_flag() {
    let mut store = Store::default();
    assert!(store.observe(&seen(1, 1, None), 0).is_empty());
    assert!(store.observe(&seen(1, 2, Some(1)), DAY).is_empty());
    assert!(store.observe(&seen(1, 3, Some(2)), 2 * DAY).is_empty());
    assert_eq!(store.accepted(&node(1)), Some([3; 32]));
    assert!(store.knows_attestation_key(&node(1), &[0, 11, 1]));
    assert!(!store.knows_attestation_key(&node(1), &[0, 11, 2]));
}

#[test]
fn attack_cloned_state_forks() {
    let mut store = Store::default();
    store.observe(&seen(1, 1, None), 0);
    store.observe(&seen(1, 2, Some(1)), 1);
    // The copy, taken before, goes on from where the original was.
    let flags = store.observe(&seen(1, 9, Some(1)), 2);
    assert_eq!(names(&flags), ["fork"]);
    assert_eq!(store.accepted(&node(1)), Some([2; 32]), "the first holder keeps the identity");
    assert_eq!(names(&store.observe(&seen(1, 9, None), 2)), ["fork"], "a copy that names nothing");
}

/// The node never heard that its evidence was accepted, so it names the one before; once.
#[test]
fn a_lost_word_of_acceptance_is_no_second_holder() {
    let mut store = Store::default();
    store.observe(&seen(1, 1, None), 0);
    store.doubt(&node(1), None);
    assert!(store.observe(&seen(1, 2, None), 1).is_empty(), "the first one was lost");
    store.doubt(&node(1), Some([1; 32]));
    assert_eq!(names(&store.observe(&seen(1, 3, None), 2)), ["fork"], "that one is over");
    assert!(store.observe(&seen(1, 3, Some(1)), 2).is_empty(), "the second one was lost");
    assert_eq!(names(&store.observe(&seen(1, 4, Some(1)), 3)), ["fork"], "nothing is in doubt");
    store.doubt(&node(1), Some([1; 32]));
    store.confirm(&node(1));
    assert_eq!(names(&store.observe(&seen(1, 4, Some(1)), 3)), ["fork"], "it heard");
}

#[test]
fn attack_one_endorsement_key_at_two_machines() {
    let mut store = Store::default();
    store.observe(&seen(1, 1, None), 0);
    let mut other = seen(1, 2, Some(1));
    other.machine = Some("ANOTHER".into());
    assert_eq!(names(&store.observe(&other, 1)), ["endorsement_key_at_two_machines"]);
}

#[test]
fn attack_one_gpu_at_two_nodes() {
    let mut store = Store::default();
    store.observe(&seen(1, 1, None), 0);
    let mut other = seen(2, 1, None);
    other.devices = vec![vec!["serial:1".into()]];
    assert_eq!(names(&store.observe(&other, DAY)), ["device_at_two_nodes"]);
    assert_eq!(store.accepted(&node(2)), None);
}

#[test]
fn attack_undeclared_card_move() {
    let mut store = Store::default();
    store.observe(&seen(1, 1, None), 0);
    let mut without = seen(1, 2, Some(1));
    without.devices.clear();
    store.observe(&without, 1);
    let mut other = seen(2, 1, None);
    other.devices = vec![vec!["serial:1".into()]];
    let flags = store.observe(&other, 2);
    assert_eq!(names(&flags), ["undeclared_move"]);
    assert!(!flags[0].contradicts(), "unexplained is not fraud");
    other.evidence = [2; 32];
    other.previous = Some([1; 32]);
    assert!(store.observe(&other, 3).is_empty(), "it is said once");
}

#[test]
fn a_declared_move_is_told_from_an_unexplained_one() {
    let mut store = Store::default();
    store.observe(&seen(1, 1, None), 0);
    let mut without = seen(1, 2, Some(1));
    without.devices.clear();
    without.declared_away = vec![("serial:1".into(), "RMA 4711".into())];
    store.observe(&without, 1);
    let mut other = seen(2, 1, None);
    other.devices = vec![vec!["serial:1".into()]];
    let flags = store.observe(&other, 2);
    assert_eq!(
        flags,
        [Flag::DeclaredMove {
            device: "serial:1".into(),
            from: node(1).to_string(),
            ticket: "RMA 4711".into()
        }]
    );
}

#[test]
fn a_silent_node_does_not_hold_its_gpus_for_ever() {
    let mut store = Store::default();
    store.observe(&seen(1, 1, None), 0);
    let mut other = seen(2, 1, None);
    other.devices = vec![vec!["serial:1".into()]];
    assert_eq!(names(&store.observe(&other, DAY + 1)), ["undeclared_move"]);
}

#[test]
fn attack_replayed_quote_rolls_back() {
    let mut store = Store::default();
    let mut first = seen(1, 2, None);
    first.clock = clock(5, 3, 1_000);
    store.observe(&first, 0);
    for (reset, restart, ms) in [(4, 9, 9_000), (5, 2, 9_000), (5, 3, 999)] {
        let mut old = seen(1, 3, Some(2));
        old.clock = clock(reset, restart, ms);
        assert_eq!(names(&store.observe(&old, 1)), ["rollback"], "{reset} {restart} {ms}");
    }
    // An unclean power loss: the counter rises while the clock steps back.
    let mut unclean = seen(1, 3, Some(2));
    unclean.clock = clock(6, 0, 717);
    assert!(store.observe(&unclean, 1).is_empty());
}

#[test]
fn a_cleared_tpm_is_a_new_key_and_not_a_new_machine() {
    let mut store = Store::default();
    store.observe(&seen(1, 1, None), 0);
    let mut cleared = seen(1, 2, Some(1));
    cleared.attestation_key = vec![0, 11, 99];
    cleared.clock = clock(0, 0, 5);
    assert_eq!(names(&store.observe(&cleared, 1)), ["new_attestation_key"]);
}

proptest! {
    /// However sightings come, a device never counts at two live nodes, and only accepted evidence is the last.
    #[test]
    fn a_device_is_at_one_live_node(steps in proptest::collection::vec((1_u8..4, 0_u8..4, 0_u64..3), 1..60)) {
        let mut store = Store::default();
        let mut now = 0;
        // Naive: who had the device when.
        let mut holders: BTreeMap<u8, (u8, u64)> = BTreeMap::new();
        let mut last: BTreeMap<u8, u8> = BTreeMap::new();
        for (count, (of, device, hours)) in (1_u8..).zip(steps) {
            now += hours * DAY / 2;
            let mut observation = seen(of, count, last.get(&of).copied());
            observation.devices = vec![vec![format!("serial:{device}")]];
            let flags = store.observe(&observation, now);
            let taken = holders.iter().any(|(node, (held, at))| {
                *node != of && *held == device && now - at <= DAY
            });
            // Who was seen later with another device no longer has it.
            prop_assert_eq!(flags.iter().any(Flag::contradicts), taken, "{:?}", flags);
            if !taken {
                holders.retain(|_, (held, _)| *held != device);
                holders.insert(of, (device, now));
                last.insert(of, count);
            }
            prop_assert_eq!(store.accepted(&node(of)), last.get(&of).map(|count| [*count; 32]));
        }
    }
}

#[test]
fn attack_a_device_that_signs_at_one_node_only() {
    let ids = |signs: bool| {
        let key = signs.then(|| "key:1".to_owned());
        vec![key.into_iter().chain(["uuid:1".to_owned()]).collect::<Vec<_>>()]
    };
    for (first, then) in [(true, false), (false, true), (true, true)] {
        let mut store = Store::default();
        let (mut one, mut other) = (seen(1, 1, None), seen(2, 2, None));
        (one.devices, other.devices) = (ids(first), ids(then));
        assert!(store.observe(&one, 0).is_empty());
        let flags = store.observe(&other, 1);
        assert!(matches!(flags[..], [Flag::DeviceAtTwoNodes { .. }]), "{flags:?}");
        // Declared by its UUID, it may sign or not.
        let mut gave = seen(1, 3, Some(1));
        (gave.devices, gave.declared_away) = (Vec::new(), vec![("uuid:1".to_owned(), "T-1".to_owned())]);
        assert!(store.observe(&gave, 2).is_empty());
        let flags = store.observe(&other, 3);
        assert!(matches!(flags[..], [Flag::DeclaredMove { .. }]), "{flags:?}");
    }
}
