//! Successions in memory: whose history goes where, and what is refused.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::tests::{DAY, names, node, seen};
use super::*;

/// As [`seen`], with the devices of another and steps from old ids to new ones.
fn succeeding(of: u8, evidence: u8, previous: Option<u8>, devices_of: u8, steps: &[(u8, u8)]) -> Observation {
    Observation {
        devices: vec![vec![format!("serial:{devices_of}")]],
        successions: steps.iter().map(|(old, new)| (node(*old), node(*new))).collect(),
        ..seen(of, evidence, previous)
    }
}

#[test]
fn a_successor_has_the_history_and_may_have_another_machine_and_other_keys() {
    let mut store = Store::default();
    store.observe(&seen(1, 1, None), 0);
    // Machine, identity key, attestation key and chain are others; the GPU was at the old id a moment ago.
    assert!(store.observe(&succeeding(2, 1, None, 1, &[(1, 2)]), 1).is_empty());
    assert_eq!((store.len(), store.accepted(&node(1)), store.accepted(&node(2))), (1, None, Some([1; 32])));
    // The node goes on showing the succession, and is held to its own chain, machine and keys.
    assert!(store.observe(&succeeding(2, 2, Some(1), 1, &[(1, 2)]), 2).is_empty());
    assert_eq!(names(&store.observe(&succeeding(2, 9, Some(1), 1, &[(1, 2)]), 3)), ["fork"]);
    let moved = Observation { machine: Some("ANOTHER".into()), ..succeeding(2, 3, Some(2), 1, &[(1, 2)]) };
    assert_eq!(names(&store.observe(&moved, 3)), ["endorsement_key_at_two_machines"]);
    // Its devices are its own: who has one within a day is found.
    assert_eq!(names(&store.observe(&succeeding(3, 1, None, 1, &[]), 4)), ["device_at_two_nodes"]);
}

#[test]
fn several_steps_at_once_and_one_by_one_come_to_the_same() {
    let (mut at_once, mut one_by_one) = (Store::default(), Store::default());
    for store in [&mut at_once, &mut one_by_one] {
        store.observe(&seen(1, 1, None), 0);
    }
    one_by_one.observe(&succeeding(2, 1, None, 1, &[(1, 2)]), 1);
    for store in [&mut at_once, &mut one_by_one] {
        assert!(store.observe(&succeeding(3, 1, None, 1, &[(1, 2), (2, 3)]), 2).is_empty());
    }
    assert_eq!(at_once, one_by_one);
    assert_eq!(at_once.superseded().count(), 2);
}

#[test]
fn attack_old_id_comes_back_after_its_succession() {
    let mut store = Store::default();
    store.observe(&seen(1, 1, None), 0);
    store.observe(&succeeding(2, 1, None, 1, &[(1, 2)]), 1);
    let flags = store.observe(&succeeding(1, 2, Some(1), 9, &[]), 2 * DAY);
    assert_eq!(flags, [Flag::SupersededNode { by: node(2).to_string() }]);
    assert_eq!(store.len(), 1, "it is not remembered again");
    // Also where the old id was never seen.
    store.observe(&succeeding(4, 1, None, 4, &[(3, 4)]), 2);
    assert_eq!(names(&store.observe(&seen(3, 1, None), 3)), ["superseded_node"]);
    // A person may decide otherwise.
    assert!(store.forget(&node(3)));
    assert!(store.observe(&seen(3, 1, None), 3).is_empty());
}

#[test]
fn attack_succession_over_a_history_of_its_own() {
    let mut store = Store::default();
    store.observe(&seen(1, 1, None), 0);
    store.observe(&seen(2, 1, None), 0);
    let flags = store.observe(&succeeding(2, 2, Some(1), 2, &[(1, 2)]), 1);
    assert_eq!(names(&flags), ["succession_refused"]);
    assert!(!flags[0].contradicts(), "a person looks at it");
    assert_eq!((store.len(), store.accepted(&node(1))), (2, Some([1; 32])), "both are kept");
    // After a person's decision it is taken.
    assert!(store.forget(&node(2)));
    assert!(store.observe(&succeeding(2, 3, None, 1, &[(1, 2)]), 2).is_empty());
    assert_eq!(store.successor(&node(1)), Some(&*node(2).to_string()));
}

#[test]
fn an_id_has_one_successor_and_never_succeeds_itself() {
    let mut store = Store::default();
    store.observe(&seen(1, 1, None), 0);
    assert_eq!(store.succeed(&node(1), &node(1)), Succeeded::Refused);
    assert_eq!(store.succeed(&node(1), &node(2)), Succeeded::Taken);
    assert_eq!(store.succeed(&node(1), &node(2)), Succeeded::Known);
    assert_eq!(store.succeed(&node(1), &node(3)), Succeeded::Refused);
    assert_eq!(store.succeed(&node(2), &node(3)), Succeeded::Taken);
    assert_eq!(store.succeed(&node(3), &node(1)), Succeeded::Refused);
    // Of ids that were never seen, too.
    assert_eq!(store.succeed(&node(7), &node(8)), Succeeded::Taken);
    assert_eq!(store.succeed(&node(8), &node(7)), Succeeded::Refused);
    assert_eq!(store.nodes().map(|known| known.node.to_owned()).collect::<Vec<_>>(), [node(3).to_string()]);
}

/// A memory that was written before there were successions is read.
#[cfg(feature = "json")]
#[test]
fn an_older_memory_is_read() {
    let mut store = Store::default();
    store.observe(&seen(1, 1, None), 0);
    let mut text = serde_json::to_value(&store).expect("json");
    text.as_object_mut().expect("object").remove("superseded");
    assert_eq!(serde_json::from_value::<Store>(text).expect("read"), store);
}

proptest! {
    /// However successions and sightings come: who is over is not remembered, holds no device and has one successor;
    /// a history is never lost to another one.
    #[test]
    fn nobody_is_over_and_remembered(steps in proptest::collection::vec((0_u8..6, 0_u8..6, any::<bool>()), 1..40)) {
        let mut store = Store::default();
        for (count, (one, other, succeeds)) in (1_u8..).zip(steps) {
            let before = store.clone();
            if succeeds {
                let came = store.succeed(&node(one), &node(other));
                let gone = before.len() - store.len();
                prop_assert_eq!(gone, 0);
                prop_assert_eq!(came == Succeeded::Taken, store != before);
            } else {
                let previous = store.accepted(&node(one)).map(|digest| digest[0]);
                store.observe(&succeeding(one, count, previous, other, &[]), u64::from(count) * DAY * 2);
            }
            let over: BTreeSet<&str> = store.superseded().map(|(old, _)| old).collect();
            prop_assert!(store.nodes().all(|known| !over.contains(known.node)));
            prop_assert!(store.devices.values().all(|holder| !over.contains(&**holder)));
            for old in &over {
                let mut at = *old;
                for _ in 0..over.len() {
                    at = store.superseded.get(at).map_or(at, String::as_str);
                }
                prop_assert!(!over.contains(at), "a circle");
            }
        }
    }
}
