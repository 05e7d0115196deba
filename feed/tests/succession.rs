//! Successions in a session record: linked, signed, within their limits, and total on any bytes.

mod messages;

use messages::identity::{operator_key, successions};
use messages::{NOW, identity, session_key};
use proptest::prelude::*;
use rackmark_feed::body::succession::{SUCCESSIONS, check_successions, successions_extension};
use rackmark_feed::*;

fn node() -> NodeId {
    NodeId::software(&identity().public())
}

fn tpm(byte: u8) -> NodeId {
    NodeId::from_parts(IdentityClass::Tpm, [byte; 32])
}

fn step(old: NodeId, new: NodeId) -> Succession {
    Succession::sign(old, new, SuccessionReason::Reimage, "OPS-1".into(), NOW, &operator_key())
}

fn claim_with(extensions: Vec<Extension>) -> SessionClaim {
    SessionClaim { extensions, ..messages::claim(&session_key(), None) }
}

#[test]
fn a_chain_that_leads_to_the_node_is_read() {
    let list = successions();
    let claim = claim_with(vec![successions_extension(&list).expect("fits")]);
    assert_eq!(claim.successions(), Ok(list));
    assert_eq!(claim_with(Vec::new()).successions(), Ok(Vec::new()));
    assert_eq!(claim_with(vec![successions_extension(&[]).expect("fits")]).successions(), Ok(Vec::new()));
}

#[test]
fn what_does_not_lead_to_the_node_step_by_step_is_an_error() {
    let (a, b, here) = (tpm(1), tpm(2), node());
    let other = SuccessionError::AnotherNode;
    for (list, wanted) in [
        (vec![step(a, b)], other(b)),
        (vec![step(a, here), step(here, b)], other(b)),
        (vec![step(a, b), step(a, here)], SuccessionError::Unlinked(a)),
        (vec![step(here, here)], SuccessionError::Circle(here)),
        (vec![step(here, a), step(a, here)], SuccessionError::Circle(here)),
        (vec![step(a, b), step(b, a), step(a, here)], SuccessionError::Circle(a)),
    ] {
        assert_eq!(check_successions(&list, &here), Err(wanted), "{list:?}");
    }
}

/// Each field, changed alone, spoils the signature.
#[test]
fn attack_forged_succession() {
    let good = step(tpm(1), node());
    assert!(good.verifies());
    let mut forged = Vec::new();
    let mut add = |change: &dyn Fn(&mut Succession)| {
        let mut changed = good.clone();
        change(&mut changed);
        assert_ne!(changed, good);
        forged.push(changed);
    };
    add(&|s| s.old = tpm(2));
    add(&|s| s.reason = SuccessionReason::Unrecognised(9));
    add(&|s| s.ticket.push('x'));
    add(&|s| s.issued_unix_ms += 1);
    add(&|s| s.operator = identity().public());
    add(&|s| s.signature = operator_key().sign(b"something else"));
    for changed in forged {
        let claim = claim_with(vec![successions_extension(&[changed]).expect("fits")]);
        assert!(matches!(claim.successions(), Err(SuccessionError::Signature(_))));
    }
    let elsewhere = Succession { new: tpm(3), ..good };
    assert_eq!(
        check_successions(std::slice::from_ref(&elsewhere), &tpm(3)),
        Err(SuccessionError::Signature(elsewhere.old))
    );
}

#[test]
fn limits_hold_on_both_sides() {
    let long = Succession { ticket: "x".repeat(limits::TEXT_BYTES + 1), ..step(tpm(1), node()) };
    assert!(successions_extension(std::slice::from_ref(&long)).is_err());
    assert!(successions_extension(&vec![step(tpm(1), node()); limits::SUCCESSIONS + 1]).is_err());
    // A writer that keeps to no limit.
    for list in [vec![long], vec![step(tpm(1), node()); limits::SUCCESSIONS + 1]] {
        let bytes = postcard::to_allocvec(&list).expect("bytes");
        let claim = claim_with(vec![Extension { tag: SUCCESSIONS, bytes }]);
        assert!(matches!(
            claim.successions(),
            Err(SuccessionError::Extension(ExtensionError::Content { .. }))
        ));
    }
    let twice = vec![successions_extension(&[step(tpm(1), node())]).expect("fits"); 2];
    assert!(matches!(claim_with(twice).said_successions(), Err(ExtensionError::Twice { tag: SUCCESSIONS })));
}

/// The longest record that the limits allow is sealed and read.
#[test]
fn four_with_the_longest_tickets_fit() {
    let ids = [tpm(1), tpm(2), tpm(3), tpm(4), node()];
    let list: Vec<Succession> = ids
        .windows(2)
        .map(|ids| {
            let ticket = "ü".repeat(limits::TEXT_BYTES / 2);
            let reason = SuccessionReason::Unrecognised(u16::MAX);
            Succession::sign(ids[0], ids[1], reason, ticket, u64::MAX, &operator_key())
        })
        .collect();
    let extension = successions_extension(&list).expect("fits");
    assert!(extension.bytes.len() <= limits::EXTENSION_BYTES);
    let record = claim_with(vec![extension]).sign(&identity()).expect("record");
    let message = messages::message(&session_key(), Some(0), Body::Session(record));
    let bytes = seal(&message, &session_key()).expect("sealed");
    let Ok(Body::Session(record)) = Frame::parse(&bytes).expect("frame").body() else { panic!("no record") };
    assert_eq!(record.claim.successions(), Ok(list));
}

proptest! {
    /// Any bytes give successions or an error, and what is read is written as it was.
    #[test]
    fn any_content_is_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let claim = claim_with(vec![Extension { tag: SUCCESSIONS, bytes }]);
        prop_assert!(claim.successions().is_err() || claim.said_successions().expect("parsed").is_empty());
    }

    /// A byte of a good list changed or cut off is never taken for another good list.
    #[test]
    fn no_damage_goes_unnoticed(at in any::<prop::sample::Index>(), flip in 1_u8.., cut in any::<bool>()) {
        let mut extension = successions_extension(&successions()).expect("fits");
        let at = at.index(extension.bytes.len());
        match cut {
            true => extension.bytes.truncate(at),
            false => extension.bytes[at] ^= flip,
        }
        prop_assert!(claim_with(vec![extension]).successions().is_err());
    }
}
