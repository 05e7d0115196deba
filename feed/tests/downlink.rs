//! Downlink frames: what is sealed, what is refused, and what a node checks before it acts.

mod messages;

use messages::downlink::*;
use messages::{EPOCH, NONCE, NOW, identity, session_key};
use proptest::prelude::*;
use rackmark_feed::downlink::{COMMAND_AHEAD_MS, DOWNLINK_DOMAIN, DOWNLINK_MAGIC, DOWNLINK_VERSION};
use rackmark_feed::*;

fn sealed(body: &DownlinkBody) -> Vec<u8> {
    seal_downlink(body, &consumer_key()).expect("sealed")
}

/// A frame around any body bytes, with a true signature.
fn framed(body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![DOWNLINK_MAGIC, DOWNLINK_VERSION];
    bytes.extend(postcard::to_allocvec(&body.len()).expect("length"));
    bytes.extend(body);
    let signature = consumer_key().sign(&[DOWNLINK_DOMAIN, &bytes].concat());
    bytes.extend(signature.to_bytes());
    bytes
}

fn node() -> NodeId {
    NodeId::software(&identity().public())
}

fn session() -> SessionId {
    SessionId::of(&session_key().public())
}

// --- frames

#[test]
fn every_message_comes_back_and_verifies() {
    for (name, body) in all() {
        let bytes = sealed(&body);
        let parsed = Downlink::parse(&bytes).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!((parsed.body(), parsed.bytes()), (&body, &bytes[..]), "{name}");
        assert_eq!(parsed.body().consumer(), CONSUMER);
        let verified = parsed.verify(&consumer_key().public()).expect(name);
        assert_eq!(verified.into_body(), body, "{name}");
    }
}

#[test]
fn no_flipped_bit_verifies() {
    for (name, body) in all() {
        let bytes = sealed(&body);
        for bit in 0..bytes.len() * 8 {
            let mut spoiled = bytes.clone();
            spoiled[bit / 8] ^= 1 << (bit % 8);
            let verified = Downlink::parse(&spoiled).and_then(|d| d.verify(&consumer_key().public()));
            assert!(verified.is_err(), "{name}, bit {bit}");
        }
    }
}

#[test]
fn another_key_or_another_domain_does_not_verify() {
    let bytes = sealed(&DownlinkBody::Watermark(watermark()));
    let other = SigningKey::from_seed(&[0x45; 32]);
    let parsed = Downlink::parse(&bytes).expect("own frame");
    assert!(matches!(parsed.verify(&other.public()), Err(DecodeError::Signature)));
    for domain in [&b""[..], frame::FRAME_DOMAIN] {
        let end = bytes.len() - Signature::BYTES;
        let signature = consumer_key().sign(&[domain, &bytes[..end]].concat());
        let forged = [&bytes[..end], &signature.to_bytes()].concat();
        let parsed = Downlink::parse(&forged).expect("a frame");
        assert!(matches!(parsed.verify(&consumer_key().public()), Err(DecodeError::Signature)));
    }
}

#[test]
fn an_uplink_frame_is_no_downlink_frame_and_the_other_way_round() {
    let (_, message, key) = messages::all().remove(0);
    let uplink = seal(&message, &key).expect("sealed");
    assert!(matches!(Downlink::parse(&uplink), Err(DecodeError::Magic { found: frame::MAGIC })));
    let downlink = sealed(&DownlinkBody::Watermark(watermark()));
    assert!(matches!(Frame::parse(&downlink), Err(DecodeError::Magic { found: DOWNLINK_MAGIC })));
}

#[test]
fn heads_and_tails_that_do_not_fit_are_refused_by_name() {
    let bytes = sealed(&DownlinkBody::Command(command(resend())));
    for end in 0..bytes.len() {
        assert!(Downlink::parse(&bytes[..end]).is_err(), "cut at {end}");
    }
    let with_tail = [&bytes[..], &[0]].concat();
    assert!(matches!(
        Downlink::parse(&with_tail),
        Err(DecodeError::Trailing { part: "signature", count: 1 })
    ));
    let mut version = bytes.clone();
    version[1] = 2;
    assert!(matches!(Downlink::parse(&version), Err(DecodeError::FrameVersion { found: 2 })));
    let long = vec![DOWNLINK_MAGIC; limits::DOWNLINK_BYTES + 1];
    assert!(matches!(Downlink::parse(&long), Err(DecodeError::TooLong { bytes: 8193, limit: 8192 })));
    let stated = [&[DOWNLINK_MAGIC, DOWNLINK_VERSION, 0x81, 0x40][..], &[0; 100]].concat();
    assert!(matches!(Downlink::parse(&stated), Err(DecodeError::TooLong { bytes: 8193, .. })));
}

#[test]
fn bodies_that_do_not_fit_are_refused_by_name() {
    let body = postcard::to_allocvec(&DownlinkBody::Watermark(watermark())).expect("body");
    assert!(Downlink::parse(&framed(&body)).is_ok());
    let with_tail = [&body[..], &[0]].concat();
    assert!(matches!(
        Downlink::parse(&framed(&with_tail)),
        Err(DecodeError::Trailing { part: "body", count: 1 })
    ));
    let later = [&[3], &body[1..]].concat();
    assert!(matches!(Downlink::parse(&framed(&later)), Err(DecodeError::UnknownBody { number: 3 })));
    assert!(matches!(Downlink::parse(&framed(&[])), Err(DecodeError::Body { body: "downlink", .. })));
    assert!(matches!(
        Downlink::parse(&framed(&body[..40])),
        Err(DecodeError::Body { body: "watermark", .. })
    ));
}

/// Types parse, but the names and the order are wrong: made without the sealing check.
#[test]
fn names_streams_and_counts_are_checked_by_the_parser_and_by_the_writer() {
    let parsed = |body: &DownlinkBody| {
        let bytes = framed(&postcard::to_allocvec(body).expect("body"));
        Downlink::parse(&bytes).map(|_| ())
    };
    for name in ["", "a/b", "#", "Settlement"] {
        let bad = DownlinkBody::Watermark(Watermark { consumer: name.into(), ..watermark() });
        assert!(matches!(parsed(&bad), Err(DecodeError::Name)), "{name}");
        assert!(matches!(seal_downlink(&bad, &consumer_key()), Err(EncodeError::Name { .. })), "{name}");
        let bad = DownlinkBody::Command(Command { consumer: name.into(), ..command(resend()) });
        assert!(matches!(parsed(&bad), Err(DecodeError::Name)), "{name}");
        assert!(matches!(seal_downlink(&bad, &consumer_key()), Err(EncodeError::Name { .. })), "{name}");
    }
    for at in [0, 1] {
        let mut bad = watermark();
        bad.below.insert(at, StreamBelow { stream: Stream::Event, below_seq: 9 });
        let bad = DownlinkBody::Watermark(bad);
        assert!(matches!(parsed(&bad), Err(DecodeError::StreamOrder)));
        assert!(matches!(seal_downlink(&bad, &consumer_key()), Err(EncodeError::StreamOrder)));
    }
    let streams = |count: u16| {
        let entry = |code| StreamBelow { stream: Stream::from_code(code), below_seq: 1 };
        DownlinkBody::Watermark(Watermark { below: (0..count).map(entry).collect(), ..watermark() })
    };
    let limit = u16::try_from(limits::STREAMS).expect("small");
    assert!(parsed(&streams(limit)).is_ok());
    assert!(matches!(parsed(&streams(limit + 1)), Err(DecodeError::Body { .. })));
    assert!(matches!(
        seal_downlink(&streams(limit + 1), &consumer_key()),
        Err(EncodeError::Limit(LimitError { found: 33, limit: 32, .. }))
    ));
    let verb =
        |bytes| DownlinkBody::Command(command(Verb::Unrecognised { code: 9_000, payload: vec![0; bytes] }));
    assert!(parsed(&verb(limits::VERB_BYTES)).is_ok());
    assert!(matches!(parsed(&verb(limits::VERB_BYTES + 1)), Err(DecodeError::Body { .. })));
    assert!(matches!(
        seal_downlink(&verb(limits::VERB_BYTES + 1), &consumer_key()),
        Err(EncodeError::Limit(_))
    ));
    let bytes = vec![0; limits::EXTENSION_BYTES];
    let extensions = vec![Extension { tag: 1, bytes: bytes.clone() }, Extension { tag: 2, bytes }];
    let fat = DownlinkBody::Watermark(Watermark { extensions, ..watermark() });
    assert!(matches!(seal_downlink(&fat, &consumer_key()), Err(EncodeError::TooLong { limit: 8192, .. })));
}

#[test]
fn a_verb_payload_is_used_up_whole() {
    let head = postcard::to_allocvec(&(
        1u32,
        node(),
        session(),
        CONSUMER,
        NOW,
        NONCE,
        // Verb 0, then its payload's length.
        (0u16, 4u32),
    ))
    .expect("command");
    let with = |payload: &[u8]| {
        let mut body = head.clone();
        *body.last_mut().expect("length") = u8::try_from(payload.len()).expect("short");
        body.extend(payload);
        body.push(0);
        Downlink::parse(&framed(&body)).map(|_| ())
    };
    assert!(with(&[2, 0, 0, 5]).is_ok());
    assert!(with(&[2, 0, 0, 5, 0]).is_err());
    assert!(with(&[2, 0, 0]).is_err());
}

// --- what a node checks

#[test]
fn a_watermark_counts_for_its_node_its_spool_and_its_topic_only() {
    let watermark = watermark();
    assert_eq!(watermark.check(&node(), EPOCH, CONSUMER), Ok(()));
    let foreign = NodeId::from_parts(IdentityClass::Software, [9; 32]);
    assert_eq!(
        watermark.check(&foreign, EPOCH, CONSUMER),
        Err(DownlinkRefusal::ForeignNode { found: node() })
    );
    assert_eq!(
        watermark.check(&node(), SpoolEpoch(1), CONSUMER),
        Err(DownlinkRefusal::OtherEpoch { found: EPOCH })
    );
    assert_eq!(
        watermark.check(&node(), EPOCH, "another"),
        Err(DownlinkRefusal::OtherConsumer { found: CONSUMER.into() })
    );
    assert_eq!((watermark.below(Stream::Event), watermark.below(Stream::TelemetrySlow)), (17, 0));
}

#[test]
fn a_command_counts_for_its_node_and_session_while_it_lasts() {
    let command = command(resend());
    let expires_unix_ms = command.expires_unix_ms;
    let at = |now_unix_ms| command.check(&node(), &session(), now_unix_ms);
    assert_eq!(at(NOW), Ok(()));
    let foreign = NodeId::from_parts(IdentityClass::Software, [9; 32]);
    assert_eq!(command.check(&foreign, &session(), NOW), Err(DownlinkRefusal::ForeignNode { found: node() }));
    assert_eq!(
        command.check(&node(), &SessionId([9; 16]), NOW),
        Err(DownlinkRefusal::OtherSession { found: session() })
    );
    assert_eq!(at(expires_unix_ms - 1), Ok(()));
    assert_eq!(at(expires_unix_ms), Err(DownlinkRefusal::Expired { expires_unix_ms }));
    assert_eq!(at(u64::MAX), Err(DownlinkRefusal::Expired { expires_unix_ms }));
    assert_eq!(at(expires_unix_ms - COMMAND_AHEAD_MS), Ok(()));
    assert_eq!(
        at(expires_unix_ms - COMMAND_AHEAD_MS - 1),
        Err(DownlinkRefusal::TooFarAhead { expires_unix_ms })
    );
}

#[test]
fn a_command_has_a_known_verb_a_range_and_the_topic_of_its_verb() {
    let check = |verb| command(verb).check(&node(), &session(), NOW);
    let empty = Verb::Resend { stream: Stream::Event, epoch: EPOCH, from_seq: 2, to_seq: 1 };
    assert_eq!(check(empty), Err(DownlinkRefusal::EmptyRange { from_seq: 2, to_seq: 1 }));
    let one = Verb::Resend { stream: Stream::Event, epoch: EPOCH, from_seq: 2, to_seq: 2 };
    assert_eq!(check(one), Ok(()));
    let later = Verb::Unrecognised { code: 9, payload: Vec::new() };
    assert_eq!(check(later), Err(DownlinkRefusal::UnknownVerb { code: 9 }));
    assert_eq!(command(resend()).check_topic("resend"), Ok(()));
    assert_eq!(command(resend()).check_topic("drain"), Err(DownlinkRefusal::OtherVerb { found: "resend" }));
}

/// Every verb has a number, a name that can stand in a topic, and is one that a node checks and accepts.
#[test]
fn every_verb_is_listed_by_its_number_and_can_be_a_topic() {
    let mut seen = vec![false; Verb::NAMES.len()];
    let verbs = messages::conditions::verbs().into_iter().map(|(_, verb)| verb);
    let verbs = verbs.chain(identity::verbs().into_iter().map(|(_, verb)| verb));
    for verb in verbs.chain([resend()]) {
        let at = usize::from(verb.code());
        assert_eq!(Verb::NAMES[at], verb.name());
        assert!(topic::command("berlin-1", "r07-u12", verb.name()).is_ok(), "{}", verb.name());
        assert_eq!(command(verb.clone()).check(&node(), &session(), NOW), Ok(()));
        assert_eq!(command(verb.clone()).check_topic(verb.name()), Ok(()));
        seen[at] = true;
    }
    assert!(seen.iter().all(|seen| *seen), "{seen:?}");
    let page = include_str!("../../docs/feed.md");
    for (number, name) in Verb::NAMES.iter().enumerate() {
        assert!(page.contains(&format!("\n| {number} | `{name}` | ")), "no row for {name}");
    }
}

#[test]
fn every_verb_payload_is_used_up_whole_and_parsed_whole() {
    for (name, verb) in messages::conditions::verbs() {
        let wire = postcard::to_allocvec(&verb).expect("verb");
        let (code, payload): (u16, &[u8]) = postcard::from_bytes(&wire).expect("code and payload");
        let parse = |payload: &[u8]| {
            postcard::from_bytes::<Verb>(&postcard::to_allocvec(&(code, payload)).expect("bytes"))
        };
        assert_eq!(parse(payload).as_ref(), Ok(&verb), "{name}");
        for end in 0..payload.len() {
            assert!(parse(&payload[..end]).is_err(), "{name} cut at {end}");
        }
        assert!(parse(&[payload, &[0]].concat()).is_err(), "{name} with a tail");
    }
}

#[test]
fn replies_have_a_topic_of_their_own_for_each_consumer() {
    let topic = topic::reply("berlin-1", "r07-u12", CONSUMER).expect("good names");
    assert_eq!(topic, "rackmark/v1/berlin-1/r07-u12/reply/settlement");
    assert_eq!(
        Topic::parse(&topic),
        Some(Topic::Reply { site: "berlin-1", node: "r07-u12", consumer: CONSUMER })
    );
    assert!(topic::reply("berlin-1", "r07-u12", "../status").is_err());
    assert!(topic::of(Stream::Reply, "berlin-1", "r07-u12").is_err());
}

proptest! {
    #[test]
    fn any_bytes_give_a_downlink_frame_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = Downlink::parse(&bytes);
        let headed = [&[DOWNLINK_MAGIC, DOWNLINK_VERSION][..], &bytes].concat();
        let _ = Downlink::parse(&headed);
        for number in 0..3 {
            let _ = Downlink::parse(&framed(&[&[number][..], &bytes].concat()));
        }
    }

    #[test]
    fn any_mutated_frame_gives_a_message_that_seals_again_or_an_error(
        which in any::<prop::sample::Index>(), changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6)
    ) {
        let mut body = postcard::to_allocvec(&all()[which.index(all().len())].1).expect("body");
        for (at, byte) in changes {
            let at = at.index(body.len());
            body[at] = byte;
        }
        let bytes = framed(&body);
        if let Ok(parsed) = Downlink::parse(&bytes) {
            prop_assert!(seal_downlink(parsed.body(), &consumer_key()).is_ok());
        }
    }
}
