//! Attacks on messages that have no check of their own to be tested beside: what a broker, or another node, can do.

mod messages;
mod speaker;

use messages::downlink::{all as downlinks, consumer_key};
use messages::*;
use rackmark_feed::consumer::Refusal;
use rackmark_feed::*;
use speaker::*;

/// The second node of the site, which has no GPU to offer.
fn other() -> Speaker {
    Speaker { name: "r07-u13", ..Speaker::new(3, 4) }
}

/// A node sells what another one has: its signed capacity, under the own name, or in an own frame.
#[test]
fn attack_capacity_of_another_node() {
    let (owner, thief) = (Speaker::new(1, 2), other());
    let mut consumer = met(&owner);
    give(&mut consumer, &thief.record(0, None)).expect("another node");
    let (_, offer) = owner.send(Some(0), Body::Capacity(capacity()));
    let (own_topic, _) = thief.send(Some(0), Body::Capacity(capacity()));
    refused!(consumer.accept(&own_topic, &offer, NOW), Refusal::NameTaken { .. });
    // The owner's header below the thief's signature.
    let mut forged = offer.clone();
    let end = forged.len() - Signature::BYTES;
    forged.truncate(end);
    let signature = thief.key.sign(&[frame::FRAME_DOMAIN, &forged].concat());
    forged.extend(signature.to_bytes());
    let (topic, _) = owner.send(Some(0), Body::Capacity(capacity()));
    refused!(consumer.accept(&topic, &forged, NOW), Refusal::Frame(DecodeError::Signature));
    give(&mut consumer, &owner.send(Some(0), Body::Capacity(capacity()))).expect("the owner's own");
}

/// Of events every number comes once, in whatever order: none is lost, and none counts twice.
#[test]
fn attack_reordered_messages() {
    let node = Speaker::new(1, 2);
    let mut consumer = met(&node);
    for seq in [3, 0, 2, 1] {
        let accepted = give(&mut consumer, &node.event(seq)).expect("each once");
        assert_eq!(accepted.late, seq < 3, "{seq}");
    }
    for seq in 0..4 {
        refused!(give(&mut consumer, &node.event(seq)), Refusal::Duplicate);
    }
}

#[test]
fn attack_truncated_messages() {
    for (name, message, key) in all() {
        let bytes = seal(&message, &key).expect("sealed");
        for end in 0..bytes.len() {
            let whole = Frame::parse(&bytes[..end]).and_then(|frame| frame.verify(&key.public()).map(|_| ()));
            assert!(whole.is_err(), "{name} cut at {end}");
        }
    }
    for (name, body) in downlinks() {
        let bytes = seal_downlink(&body, &consumer_key()).expect("sealed");
        for end in 0..bytes.len() {
            assert!(Downlink::parse(&bytes[..end]).is_err(), "{name} cut at {end}");
        }
    }
}
