//! Every check of the consumer, each with a message that only that check refuses.

mod messages;
mod speaker;

use messages::*;
use rackmark_feed::body::succession::successions_extension;
use rackmark_feed::consumer::{Gap, Refusal, Settings};
use rackmark_feed::*;
use speaker::*;

#[test]
fn a_node_is_met_heard_and_named() {
    let node = Speaker::new(1, 2);
    let mut consumer = met(&node);
    let accepted = give(&mut consumer, &node.status(Some(0), NodeState::Online)).expect("status");
    assert_eq!((accepted.site.as_str(), accepted.node_name.as_str()), (SITE, NODE));
    let view = consumer.node(&node.id()).expect("known");
    assert_eq!(view.session, node.session());
    assert_eq!(view.status.map(|status| status.state), Some(NodeState::Online));
    assert_eq!(consumer.counters().accepted, 2);
    assert_eq!(consumer.nodes().count(), 1);
}

// --- topic and frame

#[test]
fn topics_that_are_not_a_nodes_are_refused() {
    let node = Speaker::new(1, 2);
    let mut consumer = met(&node);
    let (_, payload) = node.event(0);
    for topic in ["rackmark/v1/berlin-1/r07-u12/cmd/drain", "rackmark/v1/epoch/x", "other", ""] {
        refused!(consumer.accept(topic, &payload, NOW), Refusal::Topic);
    }
}

#[test]
fn bytes_that_are_no_frame_are_refused() {
    let mut consumer = met(&Speaker::new(1, 2));
    let topic = topic::status(SITE, NODE).expect("good names");
    refused!(consumer.accept(&topic, b"{}", NOW), Refusal::Frame(DecodeError::Magic { .. }));
}

#[test]
fn the_topic_must_be_the_streams() {
    let node = Speaker::new(1, 2);
    let mut consumer = met(&node);
    let (_, payload) = node.event(0);
    let topic = topic::status(SITE, NODE).expect("good names");
    refused!(consumer.accept(&topic, &payload, NOW), Refusal::StreamMismatch { .. });
}

/// A signed message of a node, put on the topic of another name.
#[test]
fn attack_message_under_the_name_of_another_node() {
    let node = Speaker::new(1, 2);
    let mut consumer = met(&node);
    let (_, payload) = node.event(0);
    for (site, name) in [(SITE, "r07-u13"), ("berlin-2", NODE)] {
        let topic = topic::of(Stream::Event, site, name).expect("good names");
        refused!(consumer.accept(&topic, &payload, NOW), Refusal::NameMismatch);
    }
    let (_, record) = Speaker::new(1, 9).record(1, Some(node.ended(0)));
    for (site, name) in [(SITE, "r07-u13"), ("berlin-2", NODE)] {
        let topic = topic::of(Stream::Session, site, name).expect("good names");
        refused!(consumer.accept(&topic, &record, NOW), Refusal::NameMismatch);
    }
}

// --- signatures

#[test]
fn a_spoiled_message_is_refused_and_leaves_no_trace() {
    let node = Speaker::new(1, 2);
    let mut consumer = met(&node);
    let (topic, mut payload) = node.event(0);
    let last = payload.len() - 70;
    payload[last] ^= 1;
    refused!(consumer.accept(&topic, &payload, NOW), Refusal::Frame(DecodeError::Signature));
    give(&mut consumer, &node.event(0)).expect("the true one is no duplicate");
}

/// A body that names the right session but is signed with another session's key.
#[test]
fn a_session_key_signs_only_for_its_own_session() {
    let node = Speaker::new(1, 2);
    let other = Speaker { name: "r07-u13", ..Speaker::new(3, 4) };
    let mut consumer = met(&node);
    give(&mut consumer, &other.record(0, None)).expect("another node");
    // The other node speaks in the first one's name with its own session.
    let forged = Speaker { identity: SigningKey::from_seed(&[1; 32]), ..Speaker::new(1, 4) };
    refused!(give(&mut consumer, &forged.event(0)), Refusal::Held);
}

#[test]
fn a_session_record_needs_the_identity_signature() {
    let node = Speaker::new(1, 2);
    let mut record = node.claim(None).sign(&node.identity).expect("own identity");
    record.claim.started_unix_ms += 1;
    let spoiled = node.send(Some(0), Body::Session(record));
    refused!(
        give(&mut Consumer::default(), &spoiled),
        Refusal::Session(SessionRecordError::IdentitySignature)
    );
}

/// A valid claim under another identity key, with the first node's id.
#[test]
fn attack_stolen_node_id() {
    let (node, thief) = (Speaker::new(1, 2), Speaker::new(3, 4));
    let mut claim = thief.claim(None);
    claim.node = node.id();
    assert!(matches!(claim.clone().sign(&thief.identity), Err(KeyError::WrongIdentity)));
    assert!(matches!(claim.clone().sign(&node.identity), Err(KeyError::WrongIdentity)));
    let mut record = thief.claim(None).sign(&thief.identity).expect("own identity");
    record.claim.node = node.id();
    let forged = thief.send(Some(0), Body::Session(record));
    refused!(give(&mut Consumer::default(), &forged), Refusal::Session(SessionRecordError::NodeId));
}

#[test]
fn attack_software_key_that_claims_a_tpm() {
    let node = Speaker::new(1, 2);
    let mut claim = node.claim(None);
    claim.node = NodeId::from_parts(IdentityClass::Tpm, [5; 32]);
    let record = claim.sign(&node.identity).expect("not a software id");
    let delivery = node.send(Some(0), Body::Session(record));
    refused!(
        give(&mut Consumer::default(), &delivery),
        Refusal::Session(SessionRecordError::NotEstablished(IdentityClass::Tpm))
    );
}

#[test]
fn a_record_with_a_name_that_breaks_the_rule_proves_nothing() {
    let node = Speaker::new(1, 2);
    for (site, name) in [("a/b", NODE), (SITE, "+")] {
        let claim = SessionClaim { site: site.into(), node_name: name.into(), ..node.claim(None) };
        let record = claim.sign(&node.identity).expect("own identity");
        assert_eq!(record.verify(), Err(SessionRecordError::Name));
    }
}

/// A true record of one node, in a frame that names another and is signed by the record's session key.
#[test]
fn attack_session_record_of_another_node() {
    let node = Speaker::new(1, 2);
    let record = node.claim(None).sign(&node.identity).expect("own identity");
    let other = Speaker { identity: SigningKey::from_seed(&[3; 32]), ..Speaker::new(1, 2) };
    refused!(
        give(&mut Consumer::default(), &other.send(Some(0), Body::Session(record))),
        Refusal::NodeMismatch
    );
}

/// A true record replayed in a frame that its session key did not sign.
#[test]
fn a_records_frame_must_be_signed_by_its_session_key() {
    let node = Speaker::new(1, 2);
    let (topic, mut payload) = node.record(0, None);
    let last = payload.len() - 1;
    payload[last - 40] ^= 1;
    let refusal = Consumer::default().accept(&topic, &payload, NOW);
    refused!(refusal, Refusal::Frame(DecodeError::Signature));
}

#[test]
fn the_epoch_is_the_one_of_the_session_record() {
    let node = Speaker::new(1, 2);
    let mut consumer = met(&node);
    let other = Speaker { epoch: SpoolEpoch(7), ..Speaker::new(1, 2) };
    refused!(give(&mut consumer, &other.event(0)), Refusal::EpochMismatch);
    refused!(give(&mut consumer, &other.status(Some(0), NodeState::Online)), Refusal::EpochMismatch);
    let record = node.claim(None).sign(&node.identity).expect("own identity");
    let delivery = other.send(Some(0), Body::Session(record));
    refused!(give(&mut Consumer::default(), &delivery), Refusal::EpochMismatch);
}

#[test]
fn a_status_speaks_for_its_own_session() {
    let node = Speaker::new(1, 2);
    let mut consumer = met(&node);
    let body = Body::Status(status(&SigningKey::from_seed(&[9; 32]), NodeState::Online));
    refused!(give(&mut consumer, &node.send(Some(0), body)), Refusal::StatusSession);
}

// --- names

#[test]
fn attack_stolen_name() {
    let (node, thief) = (Speaker::new(1, 2), Speaker::new(3, 4));
    let mut consumer = met(&node);
    let bound = node.id();
    match give(&mut consumer, &thief.record(0, None)) {
        Err(Refusal::NameTaken { bound: found }) => assert_eq!(found, bound),
        other => panic!("{other:?}"),
    }
    // After a reimage the operator releases the name.
    assert!(consumer.forget(&bound) && !consumer.forget(&bound));
    give(&mut consumer, &thief.record(0, None)).expect("the name is free");
}

/// A record of a node that shows these successions.
fn succeeding(node: &Speaker, list: &[Succession]) -> Delivery {
    let extensions = vec![successions_extension(list).expect("fits")];
    let claim = SessionClaim { extensions, ..node.claim(None) };
    node.send(Some(0), Body::Session(claim.sign(&node.identity).expect("own identity")))
}

fn step(old: &Speaker, new: &Speaker, operator: &SigningKey) -> Succession {
    Succession::sign(old.id(), new.id(), SuccessionReason::Reimage, String::new(), NOW, operator)
}

#[test]
fn a_succession_by_a_trusted_operator_hands_the_name_over() {
    let (old, between, new) = (Speaker::new(1, 2), Speaker::new(5, 6), Speaker::new(3, 4));
    let (operator, other) = (SigningKey::from_seed(&[7; 32]), SigningKey::from_seed(&[8; 32]));
    let mut consumer = met(&old);
    let row = [step(&old, &between, &operator), step(&between, &new, &operator)];
    refused!(give(&mut consumer, &succeeding(&new, &row)), Refusal::NameTaken { .. });
    consumer.trust(operator.public());
    let accepted = give(&mut consumer, &succeeding(&new, &row)).expect("its name");
    let Some(Body::Session(record)) = accepted.body else { panic!("{:?}", accepted.body) };
    assert_eq!(record.claim.successions().expect("a row")[0].old, old.id());
    give(&mut consumer, &new.event(0)).expect("it speaks");
    refused!(give(&mut consumer, &old.event(0)), Refusal::NameTaken { .. });
    refused!(give(&mut consumer, &old.record(1, None)), Refusal::NameTaken { .. });
    // A step by a stranger, a step for another node, a forged one, and one from a node that the name is not of.
    let forged = Succession { old: old.id(), ..step(&between, &new, &operator) };
    for row in [
        vec![step(&old, &between, &operator), step(&between, &new, &other)],
        vec![step(&old, &between, &other), step(&between, &new, &operator)],
        vec![step(&old, &between, &operator)],
        vec![forged],
        vec![step(&between, &new, &operator)],
    ] {
        let mut consumer = met(&old);
        consumer.trust(operator.public());
        refused!(give(&mut consumer, &succeeding(&new, &row)), Refusal::NameTaken { .. });
    }
}

#[test]
fn a_bound_name_is_closed_to_others_before_the_node_is_heard() {
    let (node, thief) = (Speaker::new(1, 2), Speaker::new(3, 4));
    let mut consumer = Consumer::default();
    consumer.bind(SITE, NODE, node.id());
    refused!(give(&mut consumer, &thief.record(0, None)), Refusal::NameTaken { .. });
    give(&mut consumer, &node.record(0, None)).expect("its own name");
}

#[test]
fn a_later_session_may_bring_a_new_name_and_frees_the_old_one() {
    let node = Speaker::new(1, 2);
    let mut consumer = met(&node);
    let renamed = Speaker { name: "r07-u13", ..Speaker::new(1, 5) };
    give(&mut consumer, &renamed.record(1, Some(node.ended(0)))).expect("new name");
    assert_eq!(consumer.node(&node.id()).map(|view| view.node_name.to_owned()), Some("r07-u13".into()));
    give(&mut consumer, &Speaker::new(3, 4).record(0, None)).expect("the old name is free");
    // What the earlier session sent goes on under the name it had, unless another node has it now.
    refused!(give(&mut consumer, &node.event(0)), Refusal::NameTaken { .. });
}

// --- sequence numbers

#[test]
fn attack_replayed_message() {
    let node = Speaker::new(1, 2);
    let mut consumer = met(&node);
    give(&mut consumer, &node.event(0)).expect("first");
    refused!(give(&mut consumer, &node.event(0)), Refusal::Duplicate);
    refused!(give(&mut consumer, &node.record(0, None)), Refusal::Duplicate);
    // The same session again under another number is no new session.
    refused!(give(&mut consumer, &node.record(5, None)), Refusal::Duplicate);
    // Other streams count on their own.
    give(&mut consumer, &node.send(Some(0), Body::TelemetrySlow(slow()))).expect("another stream");
    assert_eq!(consumer.counters().duplicates, 3);
}

#[test]
fn attack_dropped_messages() {
    let node = Speaker::new(1, 2);
    let mut consumer = met(&node);
    assert!(give(&mut consumer, &node.event(3)).expect("joins late").gaps.is_empty());
    let gaps = give(&mut consumer, &node.event(7)).expect("jumps").gaps;
    assert_eq!(gaps, [Gap { epoch: EPOCH, stream: Stream::Event, from_seq: 4, to_seq: 6 }]);
    for seq in [5, 1] {
        let accepted = give(&mut consumer, &node.event(seq)).expect("fills");
        assert!(accepted.late && accepted.gaps.is_empty());
        refused!(give(&mut consumer, &node.event(seq)), Refusal::Duplicate);
    }
    assert!(!give(&mut consumer, &node.event(8)).expect("next").late);
}

#[test]
fn what_lies_below_the_remembered_ranges_is_refused() {
    let node = Speaker::new(1, 2);
    let mut consumer = Consumer::new(Settings { missing_ranges: 2, ..Settings::default() });
    give(&mut consumer, &node.record(0, None)).expect("record");
    for seq in [0, 2, 4, 6] {
        give(&mut consumer, &node.event(seq)).expect("jumps");
    }
    refused!(give(&mut consumer, &node.event(1)), Refusal::TooOld);
    give(&mut consumer, &node.event(3)).expect("still remembered");
}

#[test]
fn attack_reordered_levels() {
    let node = Speaker::new(1, 2);
    let mut consumer = met(&node);
    give(&mut consumer, &node.status(Some(4), NodeState::Online)).expect("status");
    refused!(give(&mut consumer, &node.status(Some(4), NodeState::Draining)), Refusal::Duplicate);
    refused!(give(&mut consumer, &node.status(Some(3), NodeState::Draining)), Refusal::Duplicate);
    let accepted = give(&mut consumer, &node.status(Some(9), NodeState::Draining)).expect("newer");
    assert!(accepted.gaps.is_empty(), "a level has no gaps");
}

#[test]
fn a_will_counts_once_and_a_newer_status_ends_it() {
    let node = Speaker::new(1, 2);
    let mut consumer = met(&node);
    let state = |consumer: &Consumer| {
        consumer.node(&node.id()).and_then(|view| view.status.map(|status| status.state))
    };
    give(&mut consumer, &node.status(Some(0), NodeState::Online)).expect("status");
    give(&mut consumer, &node.status(None, NodeState::Offline)).expect("will");
    assert_eq!(state(&consumer), Some(NodeState::Offline));
    refused!(give(&mut consumer, &node.status(None, NodeState::Offline)), Refusal::Duplicate);
    refused!(give(&mut consumer, &node.status(Some(0), NodeState::Online)), Refusal::Duplicate);
    give(&mut consumer, &node.status(Some(1), NodeState::Online)).expect("it reconnected");
    assert_eq!(state(&consumer), Some(NodeState::Online));
    give(&mut consumer, &node.status(None, NodeState::Offline)).expect("the will of the next loss");
}

// --- silence

#[test]
fn a_node_is_silent_after_its_time_to_live() {
    let node = Speaker::new(1, 2);
    let mut consumer = met(&node);
    give(&mut consumer, &node.status(Some(0), NodeState::Online)).expect("status");
    assert_eq!(consumer.silent(NOW + 30_000).count(), 0);
    assert_eq!(consumer.silent(NOW + 30_001).count(), 1);
    let (topic, payload) = node.event(0);
    consumer.accept(&topic, &payload, NOW + 40_000).expect("event");
    assert_eq!(consumer.silent(NOW + 70_000).count(), 0);
    assert_eq!(consumer.silent(NOW + 70_001).count(), 1);
}

#[test]
fn a_retained_message_is_as_old_as_it_says() {
    let node = Speaker::new(1, 2);
    let mut consumer = Consumer::default();
    for (topic, payload) in [node.record(0, None), node.status(Some(0), NodeState::Online)] {
        consumer.accept(&topic, &payload, NOW + 600_000).expect("kept by the broker");
    }
    assert_eq!(consumer.silent(NOW + 600_000).count(), 1);
    // A clock that runs ahead does not make a node immortal.
    assert_eq!(consumer.node(&node.id()).expect("known").heard_unix_ms, NOW);
    let mut consumer = Consumer::default();
    for (topic, payload) in [node.record(0, None), node.status(Some(0), NodeState::Online)] {
        consumer.accept(&topic, &payload, NOW - 600_000).expect("from the future");
    }
    assert_eq!(consumer.node(&node.id()).expect("known").heard_unix_ms, NOW - 600_000);
}

#[test]
fn a_will_and_an_earlier_session_are_no_sign_of_life() {
    let (first, second) = (Speaker::new(1, 2), Speaker::new(1, 5));
    let mut consumer = met(&first);
    let (topic, payload) = first.status(None, NodeState::Offline);
    consumer.accept(&topic, &payload, NOW + 50_000).expect("will");
    let heard = |consumer: &Consumer| consumer.node(&first.id()).expect("known").heard_unix_ms;
    assert_eq!(heard(&consumer), NOW);
    // Nor is the will of a node whose clock runs ahead.
    let mut ahead = Consumer::default();
    let (record_topic, record) = first.record(0, None);
    ahead.accept(&record_topic, &record, NOW - 600_000).expect("record");
    ahead.accept(&topic, &payload, NOW - 500_000).expect("will");
    assert_eq!(heard(&ahead), NOW - 600_000);

    give(&mut consumer, &second.record(1, Some(first.ended(4)))).expect("later session");
    let (topic, payload) = first.event(2);
    consumer.accept(&topic, &payload, NOW + 90_000).expect("late event");
    assert_eq!(heard(&consumer), NOW);
}

// --- newer agents

#[test]
fn a_body_of_unknown_schema_is_verified_and_counted() {
    let node = Speaker::new(1, 2);
    let mut consumer = met(&node);
    let (topic, payload) = node.event(0);
    let mut newer = payload[..payload.len() - 64].to_vec();
    newer[5] ^= 1;
    let signature = node.key.sign(&[frame::FRAME_DOMAIN, &newer].concat());
    newer.extend(signature.to_bytes());
    assert!(consumer.accept(&topic, &newer, NOW).expect("counted").body.is_none());
    refused!(consumer.accept(&topic, &newer, NOW), Refusal::Duplicate);
}

/// A signed body that does not parse takes no number away from a true one.
#[test]
fn a_body_that_does_not_parse_is_not_counted() {
    let node = Speaker::new(1, 2);
    let mut consumer = met(&node);
    let (topic, payload) = node.event(0);
    let mut broken = payload[..payload.len() - 64].to_vec();
    let last = broken.len() - 1;
    broken[last] = 0xff;
    let signature = node.key.sign(&[frame::FRAME_DOMAIN, &broken].concat());
    broken.extend(signature.to_bytes());
    refused!(consumer.accept(&topic, &broken, NOW), Refusal::Frame(DecodeError::Body { .. }));
    give(&mut consumer, &node.event(0)).expect("the number is free");
}
