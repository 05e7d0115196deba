//! The consumer over several sessions of a node, and what it holds back meanwhile.

mod messages;
mod speaker;

use messages::*;
use rackmark_feed::consumer::{Gap, Refusal, Settings};
use rackmark_feed::*;
use speaker::*;

#[test]
fn attack_message_beyond_a_closed_session() {
    let (first, second) = (Speaker::new(1, 2), Speaker::new(1, 5));
    let mut consumer = met(&first);
    give(&mut consumer, &first.event(0)).expect("event");
    let accepted = give(&mut consumer, &second.record(1, Some(first.ended(4)))).expect("later session");
    // The end of the first session shows what of it has not come.
    assert_eq!(accepted.gaps, [Gap { epoch: EPOCH, stream: Stream::Event, from_seq: 1, to_seq: 4 }]);
    give(&mut consumer, &first.event(4)).expect("within its range");
    refused!(give(&mut consumer, &first.event(5)), Refusal::OutsideSession);
    refused!(give(&mut consumer, &second.event(3)), Refusal::OutsideSession);
    refused!(give(&mut consumer, &second.event(4)), Refusal::OutsideSession);
    give(&mut consumer, &second.event(5)).expect("after the end of the first");
    // A stream without an entry had no messages.
    let slow = |speaker: &Speaker| speaker.send(Some(0), Body::TelemetrySlow(slow()));
    refused!(give(&mut consumer, &slow(&first)), Refusal::OutsideSession);
    give(&mut consumer, &slow(&second)).expect("a stream that begins now");
}

#[test]
fn attack_level_and_will_of_an_earlier_session() {
    let (first, second) = (Speaker::new(1, 2), Speaker::new(1, 5));
    let mut consumer = met(&first);
    give(&mut consumer, &first.status(Some(3), NodeState::Online)).expect("status");
    give(&mut consumer, &second.record(1, Some(first.ended(0)))).expect("later session");
    assert!(consumer.node(&first.id()).expect("known").status.is_none());
    // Level numbers begin again with the session.
    give(&mut consumer, &second.status(Some(0), NodeState::Online)).expect("status");
    refused!(give(&mut consumer, &first.status(None, NodeState::Offline)), Refusal::OlderSession);
    refused!(give(&mut consumer, &first.status(Some(9), NodeState::Draining)), Refusal::OlderSession);
    let view = consumer.node(&first.id()).expect("known");
    assert_eq!(view.status.map(|status| status.state), Some(NodeState::Online));
    assert_eq!(view.session, second.session());
}

/// The record of the session in between comes last: until then the first session cannot be judged.
#[test]
fn an_earlier_session_without_an_end_waits_for_the_record_that_closes_it() {
    let (first, second, third) = (Speaker::new(1, 2), Speaker::new(1, 5), Speaker::new(1, 6));
    let mut consumer = met(&first);
    give(&mut consumer, &first.event(0)).expect("event");
    let mut end_of_second = second.ended(7);
    end_of_second.ends[0].last_seq = 1;
    give(&mut consumer, &third.record(2, Some(end_of_second))).expect("third");
    refused!(give(&mut consumer, &first.event(4)), Refusal::Held);
    refused!(give(&mut consumer, &first.event(5)), Refusal::Held);
    let accepted = give(&mut consumer, &second.record(1, Some(first.ended(4)))).expect("second, late");
    assert!(accepted.late);
    let [released, outside] = &accepted.released[..] else { panic!("{:?}", accepted.released) };
    assert_eq!(released.as_ref().expect("within its range").header.seq, Some(4));
    assert!(matches!(outside, Err(Refusal::OutsideSession)));
    give(&mut consumer, &second.event(7)).expect("the second is closed by the third");
    refused!(give(&mut consumer, &second.event(8)), Refusal::OutsideSession);
    assert_eq!(consumer.node(&first.id()).expect("known").session, third.session());
}

#[test]
fn an_old_record_does_not_become_the_current_session() {
    let (first, second) = (Speaker::new(1, 2), Speaker::new(1, 5));
    // Same spool: the number in the session stream decides, not the clock.
    let mut consumer = Consumer::default();
    give(&mut consumer, &second.record(1, Some(first.ended(0)))).expect("the newest first");
    assert!(give(&mut consumer, &first.record(0, None)).expect("the older one").late);
    assert_eq!(consumer.node(&first.id()).expect("known").session, second.session());
    // Another spool and no link: the later clock decides.
    let elsewhere = Speaker { epoch: SpoolEpoch(7), ..Speaker::new(1, 6) };
    let with_start = |started_unix_ms| {
        let claim = SessionClaim { started_unix_ms, ..elsewhere.claim(None) };
        elsewhere.send(Some(0), Body::Session(claim.sign(&elsewhere.identity).expect("own identity")))
    };
    assert!(give(&mut consumer, &with_start(NOW - 1)).expect("an older one").late);
    let mut consumer = Consumer::default();
    give(&mut consumer, &second.record(1, None)).expect("record");
    assert!(!give(&mut consumer, &with_start(NOW + 1)).expect("a newer one").late);
    // A link decides over any clock.
    let claim = SessionClaim { started_unix_ms: 1, ..elsewhere.claim(Some(first.ended(0))) };
    let linked = claim.sign(&elsewhere.identity).expect("own identity");
    for order in [[0, 1], [1, 0]] {
        let mut consumer = Consumer::default();
        let records = [first.record(0, None), elsewhere.send(Some(0), Body::Session(linked.clone()))];
        for at in order {
            assert_eq!(give(&mut consumer, &records[at]).expect("record").late, order == [1, 0] && at == 0);
        }
        assert_eq!(consumer.node(&first.id()).expect("known").session, elsewhere.session());
    }
}

/// Old records replayed: they come late, once, and push nothing out.
#[test]
fn attack_replayed_session_records() {
    let mut consumer = Consumer::new(Settings { sessions_per_node: 2, ..Settings::default() });
    let speakers: Vec<Speaker> = (0..6).map(|n| Speaker::new(1, 100 + n)).collect();
    let records: Vec<Delivery> = (0..6)
        .map(|n| {
            speakers[n]
                .record(n as u64, n.checked_sub(1).map(|before| speakers[before].ended(10 * before as u64)))
        })
        .collect();
    for record in &records {
        give(&mut consumer, record).expect("in order");
    }
    for record in &records {
        refused!(give(&mut consumer, record), Refusal::Duplicate);
    }
    assert_eq!(consumer.node(&speakers[0].id()).expect("known").session, speakers[5].session());
    give(&mut consumer, &speakers[4].event(40)).expect("the session before is still known");
}

#[test]
fn sessions_and_epochs_per_node_are_bounded() {
    let first = Speaker::new(1, 2);
    let mut consumer = met(&first);
    let mut last = Speaker::new(1, 2);
    for n in 0..20 {
        let next = Speaker { epoch: SpoolEpoch(n), ..Speaker::new(1, 100 + n as u8) };
        give(&mut consumer, &next.record(0, Some(last.ended(9)))).expect("next session");
        give(&mut consumer, &next.event(0)).expect("event");
        last = next;
    }
    assert_eq!(consumer.node(&first.id()).expect("known").session, last.session());
    // The first session is forgotten, so its messages wait for a record again.
    refused!(give(&mut consumer, &first.event(0)), Refusal::Held);
    // So are its numbers: its record is late, not a duplicate.
    assert!(give(&mut consumer, &first.record(0, None)).expect("forgotten").late);
}

// --- held messages and bounds

#[test]
fn messages_before_their_session_record_are_held_and_then_judged() {
    let node = Speaker::new(1, 2);
    let mut consumer = Consumer::default();
    refused!(give(&mut consumer, &node.event(0)), Refusal::Held);
    refused!(give(&mut consumer, &node.status(Some(0), NodeState::Online)), Refusal::Held);
    // Held without being believed: a forgery is found out when the record comes.
    let (topic, mut forged) = node.event(1);
    let middle = forged.len() / 2;
    forged[middle] ^= 1;
    refused!(consumer.accept(&topic, &forged, NOW), Refusal::Held);
    assert_eq!(consumer.held(), 3);
    let accepted = give(&mut consumer, &node.record(0, None)).expect("record");
    let verdicts: Vec<bool> = accepted.released.iter().map(Result::is_ok).collect();
    assert_eq!(verdicts, [true, true, false]);
    assert_eq!(consumer.held(), 0);
    refused!(give(&mut consumer, &node.event(0)), Refusal::Duplicate);
}

#[test]
fn held_messages_are_bounded_by_node_by_bytes_and_by_age() {
    let node = Speaker::new(1, 2);
    let settings = Settings { held_per_node: 2, hold_ms: 1_000, ..Settings::default() };
    let mut consumer = Consumer::new(settings);
    let (topic, payload) = node.event(0);
    refused!(consumer.accept(&topic, &payload, NOW), Refusal::Held);
    refused!(consumer.accept(&topic, &payload, NOW), Refusal::Held);
    refused!(consumer.accept(&topic, &payload, NOW + 1_000), Refusal::HeldFull);
    refused!(consumer.accept(&topic, &payload, NOW + 1_001), Refusal::Held);
    assert_eq!((consumer.held(), consumer.counters().expired), (1, 2));

    let mut consumer = Consumer::new(Settings { held_bytes: 300, ..Settings::default() });
    refused!(consumer.accept(&topic, &payload, NOW), Refusal::Held);
    refused!(consumer.accept(&topic, &payload, NOW), Refusal::HeldFull);

    let mut consumer = Consumer::new(Settings { max_nodes: 1, ..Settings::default() });
    refused!(consumer.accept(&topic, &payload, NOW), Refusal::Held);
    let other = Speaker { name: "other", ..Speaker::new(3, 4) };
    refused!(give(&mut consumer, &other.event(0)), Refusal::HeldFull);
}

#[test]
fn nodes_are_bounded() {
    let mut consumer = Consumer::new(Settings { max_nodes: 1, ..Settings::default() });
    give(&mut consumer, &Speaker::new(1, 2).record(0, None)).expect("the first");
    let other = Speaker { name: "other", ..Speaker::new(3, 4) };
    refused!(give(&mut consumer, &other.record(0, None)), Refusal::TooManyNodes);
    give(&mut consumer, &Speaker::new(1, 5).record(1, None)).expect("a known node may go on");
}
