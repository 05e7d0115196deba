//! The consumer's accounts: what came, what is missing, what the node gave up, and the watermark over it.

mod messages;
mod speaker;

use messages::downlink::consumer_key;
use messages::*;
use rackmark_feed::consumer::{Gap, Refusal, Settings};
use rackmark_feed::*;
use speaker::*;

fn strict() -> Consumer {
    Consumer::new(Settings { from_start: true, ..Settings::default() })
}

fn met_strict(node: &Speaker) -> Consumer {
    let mut consumer = strict();
    give(&mut consumer, &node.record(0, None)).expect("session record");
    consumer
}

fn gap(stream: Stream, from_seq: u64, to_seq: u64) -> Gap {
    Gap { epoch: EPOCH, stream, from_seq, to_seq }
}

fn missing(consumer: &Consumer, node: &Speaker) -> Vec<Gap> {
    consumer.accounts(&node.id()).flat_map(|account| account.missing()).collect()
}

fn declared(consumer: &Consumer, node: &Speaker) -> Vec<Gap> {
    consumer.accounts(&node.id()).flat_map(|account| account.declared()).collect()
}

fn below(consumer: &Consumer, node: &Speaker, stream: Stream) -> u64 {
    consumer.watermark(&node.id(), "settlement", NOW).expect("a known node").below(stream)
}

fn told(node: &Speaker, seq: u64, kind: EventKind) -> Delivery {
    node.send(Some(seq), Body::Event(event(kind, None)))
}

fn lost(node: &Speaker, seq: u64, gap: Gap) -> Delivery {
    let Gap { epoch, stream, from_seq, to_seq } = gap;
    let cause = LossCause::Evicted;
    told(node, seq, EventKind::RecordsLost { stream, epoch, from_seq, to_seq, cause })
}

fn slow_at(node: &Speaker, seq: u64) -> Delivery {
    node.send(Some(seq), Body::TelemetrySlow(slow()))
}

#[test]
fn a_declared_range_is_missing_no_longer_and_the_watermark_goes_past_it() {
    let node = Speaker::new(1, 2);
    let mut consumer = met_strict(&node);
    for seq in [0, 1, 7] {
        give(&mut consumer, &slow_at(&node, seq)).expect("slow telemetry");
    }
    let stream = Stream::TelemetrySlow;
    assert_eq!(missing(&consumer, &node), [gap(stream, 2, 6)]);
    assert_eq!(below(&consumer, &node, stream), 2);
    let accepted = give(&mut consumer, &lost(&node, 0, gap(stream, 3, 4))).expect("event");
    assert!(accepted.gaps.is_empty());
    assert_eq!(missing(&consumer, &node), [gap(stream, 2, 2), gap(stream, 5, 6)]);
    assert_eq!(declared(&consumer, &node), [gap(stream, 3, 4)]);
    assert_eq!(below(&consumer, &node, stream), 2);
    give(&mut consumer, &slow_at(&node, 2)).expect("late");
    assert_eq!(below(&consumer, &node, stream), 5);
    give(&mut consumer, &lost(&node, 1, gap(stream, 0, 6))).expect("event");
    // What came is not declared, whatever the event says.
    assert_eq!((missing(&consumer, &node), declared(&consumer, &node)), (vec![], vec![gap(stream, 3, 6)]));
    assert_eq!(below(&consumer, &node, stream), 8);
}

#[test]
fn a_declared_message_that_comes_all_the_same_is_taken_once() {
    let node = Speaker::new(1, 2);
    let mut consumer = met_strict(&node);
    let stream = Stream::TelemetrySlow;
    // Declared before anything of the stream came.
    let accepted = give(&mut consumer, &lost(&node, 0, gap(stream, 2, 4))).expect("event");
    assert_eq!(accepted.gaps, [gap(stream, 0, 1)]);
    let accepted = give(&mut consumer, &slow_at(&node, 3)).expect("all the same");
    assert!(accepted.late && accepted.gaps.is_empty());
    refused!(give(&mut consumer, &slow_at(&node, 3)), Refusal::Duplicate);
    assert_eq!(declared(&consumer, &node), [gap(stream, 2, 2), gap(stream, 4, 4)]);
    assert_eq!(missing(&consumer, &node), [gap(stream, 0, 1)]);
}

#[test]
fn the_event_that_declares_counts_in_its_own_stream() {
    let node = Speaker::new(1, 2);
    let mut consumer = met_strict(&node);
    // The node lost events 0 to 2 and says so with event 3.
    let accepted = give(&mut consumer, &lost(&node, 3, gap(Stream::Event, 0, 2))).expect("event");
    assert_eq!(accepted.gaps, [gap(Stream::Event, 0, 2)]);
    assert_eq!(missing(&consumer, &node), []);
    assert_eq!(below(&consumer, &node, Stream::Event), 4);
}

#[test]
fn a_consumer_from_the_start_misses_what_a_late_joiner_does_not() {
    let node = Speaker::new(1, 2);
    let (mut late, mut whole) = (met(&node), met_strict(&node));
    let delivery = node.event(5);
    assert_eq!(give(&mut late, &delivery).expect("event").gaps, []);
    assert_eq!(give(&mut whole, &delivery).expect("event").gaps, [gap(Stream::Event, 0, 4)]);
    assert_eq!((missing(&late, &node), below(&late, &node, Stream::Event)), (vec![], 6));
    assert_eq!(missing(&whole, &node), [gap(Stream::Event, 0, 4)]);
    assert_eq!(below(&whole, &node, Stream::Event), 0);
    // For both the numbers before may still come, once.
    for consumer in [&mut late, &mut whole] {
        assert!(give(consumer, &node.event(2)).expect("late").late);
        refused!(give(consumer, &node.event(2)), Refusal::Duplicate);
    }
}

#[test]
fn from_the_start_the_end_of_an_unheard_session_is_missing() {
    let (first, second) = (Speaker::new(1, 2), Speaker::new(1, 5));
    let mut consumer = strict();
    let accepted = give(&mut consumer, &second.record(1, Some(first.ended(4)))).expect("record");
    assert_eq!(accepted.gaps, [gap(Stream::Session, 0, 0), gap(Stream::Event, 0, 4)]);
    assert_eq!(missing(&consumer, &first), accepted.gaps);
    let mut late = Consumer::default();
    assert_eq!(give(&mut late, &second.record(1, Some(first.ended(4)))).expect("record").gaps, []);
    assert_eq!(missing(&late, &first), []);
}

#[test]
fn a_replaced_spool_leaves_nothing_missing_whenever_that_is_said() {
    let first = Speaker::new(1, 2);
    let second = Speaker { epoch: SpoolEpoch(7), ..Speaker::new(1, 5) };
    let mut consumer = met_strict(&first);
    give(&mut consumer, &first.event(2)).expect("event");
    give(&mut consumer, &second.record(0, Some(first.ended(9)))).expect("later session");
    assert_eq!(missing(&consumer, &first), [gap(Stream::Event, 0, 1), gap(Stream::Event, 3, 9)]);
    // An event cannot replace the spool that it comes from.
    give(&mut consumer, &told(&second, 0, EventKind::SpoolReplaced { old_epoch: second.epoch }))
        .expect("event");
    give(&mut consumer, &second.event(2)).expect("event");
    let of_second = Gap { epoch: second.epoch, ..gap(Stream::Event, 1, 1) };
    assert!(missing(&consumer, &first).contains(&of_second));
    give(&mut consumer, &told(&second, 3, EventKind::SpoolReplaced { old_epoch: EPOCH })).expect("event");
    assert_eq!(missing(&consumer, &first), [of_second]);
    assert_eq!(declared(&consumer, &first), [gap(Stream::Event, 0, 1), gap(Stream::Event, 3, 9)]);
}

#[test]
fn what_shows_up_late_of_a_replaced_spool_is_declared_at_once() {
    let first = Speaker::new(1, 2);
    let second = Speaker { epoch: SpoolEpoch(7), ..Speaker::new(1, 5) };
    let mut consumer = Consumer::default();
    give(&mut consumer, &second.record(0, Some(first.ended(4)))).expect("the newest first");
    give(&mut consumer, &told(&second, 0, EventKind::SpoolReplaced { old_epoch: EPOCH })).expect("event");
    give(&mut consumer, &first.record(0, None)).expect("the older one");
    for seq in [1, 3] {
        assert_eq!(give(&mut consumer, &first.event(seq)).expect("event").gaps, []);
    }
    assert_eq!(missing(&consumer, &first), []);
    assert_eq!(declared(&consumer, &first), [gap(Stream::Event, 2, 2)]);
    assert!(give(&mut consumer, &first.event(2)).expect("all the same").late);
}

/// A node that talks nonsense about losses harms nobody's bounds, and no other account.
#[test]
fn senseless_losses_change_nothing() {
    let node = Speaker::new(1, 2);
    let mut consumer = met_strict(&node);
    give(&mut consumer, &slow_at(&node, 3)).expect("slow telemetry");
    let before = missing(&consumer, &node);
    let backwards = gap(Stream::TelemetrySlow, 9, 5);
    let elsewhere = Gap { epoch: SpoolEpoch(99), ..gap(Stream::TelemetrySlow, 0, 2) };
    let level = gap(Stream::Status, 0, 2);
    let unknown = gap(Stream::Unrecognised(900), 0, 2);
    for (seq, nonsense) in (0..).zip([backwards, elsewhere, level, unknown]) {
        assert_eq!(give(&mut consumer, &lost(&node, seq, nonsense)).expect("event").gaps, []);
    }
    assert_eq!((missing(&consumer, &node), declared(&consumer, &node)), (before, vec![]));
    assert_eq!(consumer.accounts(&node.id()).count(), 3, "session, event, slow telemetry");
}

#[test]
fn a_watermark_is_for_the_current_spool_and_can_be_sealed() {
    let (first, key) = (Speaker::new(1, 2), consumer_key());
    let second = Speaker { epoch: SpoolEpoch(7), ..Speaker::new(1, 5) };
    let mut consumer = met_strict(&first);
    assert!(consumer.watermark(&Speaker::new(8, 9).id(), "settlement", NOW).is_none());
    for delivery in [slow_at(&first, 0), first.event(0), first.event(1)] {
        give(&mut consumer, &delivery).expect("in order");
    }
    let watermark = consumer.watermark(&first.id(), "settlement", NOW).expect("known");
    assert_eq!(watermark.check(&first.id(), EPOCH, "settlement"), Ok(()));
    let entry = |stream, below_seq| StreamBelow { stream, below_seq };
    let all = [entry(Stream::Session, 1), entry(Stream::Event, 2), entry(Stream::TelemetrySlow, 1)];
    assert_eq!(watermark.below, all);
    seal_downlink(&DownlinkBody::Watermark(watermark), &key).expect("sealed");
    give(&mut consumer, &second.record(0, Some(first.ended(1)))).expect("new spool");
    let watermark = consumer.watermark(&first.id(), "settlement", NOW).expect("known");
    assert_eq!((watermark.epoch, watermark.below), (SpoolEpoch(7), vec![entry(Stream::Session, 1)]));
}

#[test]
fn a_reply_is_verified_on_the_consumers_own_topic_and_counts_in_no_account() {
    let node = Speaker::new(1, 2);
    let mut consumer = met_strict(&node);
    let body = Body::Reply(reply(ReplyOutcome::Refused, "command expired"));
    let (topic, payload) = node.send(None, body.clone());
    let accepted = consumer.accept(&topic, &payload, NOW).expect("reply");
    assert_eq!(accepted.body, Some(body));
    assert_eq!(consumer.accounts(&node.id()).count(), 1, "session");
    let (_, event) = node.event(0);
    refused!(consumer.accept(&topic, &event, NOW), Refusal::StreamMismatch { .. });
    let mut forged = payload.clone();
    let at = payload.len() - Signature::BYTES - 2;
    forged[at] ^= 1;
    refused!(consumer.accept(&topic, &forged, NOW), Refusal::Frame(_));
}
