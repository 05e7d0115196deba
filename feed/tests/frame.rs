//! Frames: what is sealed, what is refused, and the traps of the serialization format.

mod messages;

use messages::*;
use proptest::prelude::*;
use rackmark_feed::frame::{BODY_BYTES, FRAME_DOMAIN};
use rackmark_feed::*;
use serde::{Deserialize, Serialize};

fn sealed(name: &str) -> (Vec<u8>, SigningKey) {
    let (_, message, key) = all().into_iter().find(|(n, _, _)| n == name).expect("a known name");
    (seal(&message, &key).expect("sealed"), key)
}

/// A frame around any schema, header and body bytes, with a true signature.
fn framed(schema: SchemaId, header: &[u8], body: &[u8], key: &SigningKey) -> Vec<u8> {
    let mut bytes = vec![frame::MAGIC, frame::FRAME_VERSION];
    bytes.extend(schema.0);
    bytes.extend(postcard::to_allocvec(&(header.len() + body.len())).expect("length"));
    bytes.extend(header);
    bytes.extend(body);
    let signature = key.sign(&[FRAME_DOMAIN, &bytes].concat());
    bytes.extend(signature.to_bytes());
    bytes
}

fn status_parts() -> (SchemaId, Vec<u8>, Vec<u8>) {
    let key = session_key();
    let body = Body::Status(status(&key, NodeState::Online));
    let header = header(&key, Stream::Status, Some(1));
    let id = schema::all()[4].id;
    (id, postcard::to_allocvec(&header).expect("header"), postcard::to_allocvec(&body).expect("body"))
}

fn body_of(bytes: &[u8]) -> Result<Body, DecodeError> {
    Frame::parse(bytes)?.body()
}

#[test]
fn every_kind_of_message_comes_back_verified() {
    for (name, message, key) in all() {
        let bytes = seal(&message, &key).unwrap_or_else(|error| panic!("{name}: {error}"));
        let verified = Frame::parse(&bytes).expect("frame").verify(&key.public()).expect("signature");
        assert_eq!(verified.message().expect("body"), message, "{name}");
    }
}

#[test]
fn the_longest_header_leaves_the_stated_room() {
    let key = session_key();
    let longest = Header {
        epoch: SpoolEpoch(u64::MAX),
        stream: Stream::Unrecognised(u16::MAX),
        time_unix_ms: u64::MAX,
        ..header(&key, Stream::Status, Some(u64::MAX))
    };
    let length = postcard::to_allocvec(&longest).expect("header").len();
    assert_eq!(BODY_BYTES, limits::FRAME_BYTES - 10 - 3 - length - 64);
}

// --- signature

#[test]
fn any_flipped_bit_is_refused() {
    for name in
        ["status_online", "session_first", "event_xid", "event_condition_raised", "capacity_conditions_buyer"]
    {
        let (bytes, key) = sealed(name);
        for bit in 0..bytes.len() * 8 {
            let mut bytes = bytes.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            let result = Frame::parse(&bytes).and_then(|frame| frame.verify(&key.public()));
            assert!(result.is_err(), "{name}: bit {bit} flipped and still accepted");
        }
    }
}

#[test]
fn another_key_and_another_domain_are_refused() {
    let (bytes, key) = sealed("status_online");
    let frame = Frame::parse(&bytes).expect("frame");
    assert!(matches!(frame.clone().verify(&next_session_key().public()), Err(DecodeError::Signature)));
    // Signed by the right key over the bytes without the domain.
    let mut bare = bytes[..bytes.len() - 64].to_vec();
    let signature = key.sign(&bare);
    bare.extend(signature.to_bytes());
    let frame = Frame::parse(&bare).expect("frame");
    assert!(matches!(frame.verify(&key.public()), Err(DecodeError::Signature)));
}

/// A key that fits the signature but not the session id in the header.
#[test]
fn a_key_that_is_not_the_sessions_is_refused_even_if_it_signed() {
    let (id, header, body) = status_parts();
    let bytes = framed(id, &header, &body, &next_session_key());
    let frame = Frame::parse(&bytes).expect("frame");
    assert!(matches!(frame.verify(&next_session_key().public()), Err(DecodeError::Signature)));
    let message = message(&session_key(), Some(1), Body::Status(status(&session_key(), NodeState::Online)));
    assert!(matches!(seal(&message, &next_session_key()), Err(EncodeError::WrongKey)));
}

// --- traps of the serialization format

/// An old reader takes new bytes and drops the tail, unless what is left over is looked at.
#[test]
fn trap_trailing_bytes_are_refused() {
    let (id, header, mut body) = status_parts();
    assert!(body_of(&framed(id, &header, &body, &session_key())).is_ok());
    body.push(0);
    let bytes = framed(id, &header, &body, &session_key());
    assert!(matches!(body_of(&bytes), Err(DecodeError::Trailing { part: "body", count: 1 })));
    let (mut bytes, _) = sealed("status_online");
    bytes.push(0);
    assert!(matches!(Frame::parse(&bytes), Err(DecodeError::Trailing { part: "signature", count: 1 })));
}

/// A new reader fails on old bytes: so a changed body is a new schema, and the old one stays readable.
#[test]
fn trap_old_bytes_under_a_new_schema_are_refused_by_name_not_misread() {
    let newer = SchemaId::of(&schema::STATUS.replace("simulated bool", "simulated bool, rack text"));
    let (_, header, body) = status_parts();
    let bytes = framed(newer, &header, &body, &session_key());
    let frame = Frame::parse(&bytes).expect("the frame is readable");
    assert_eq!(frame.header().stream, Stream::Status);
    assert!(matches!(frame.body(), Err(DecodeError::UnknownSchema(id)) if id == newer));
    assert!(frame.verify(&session_key().public()).is_ok());
}

/// An old reader meets new optional data: it skips what it does not know and keeps the rest.
#[test]
fn trap_new_data_reaches_old_readers_as_an_extension() {
    let (bytes, _) = sealed("status_of_a_later_version");
    let Ok(Body::Status(status)) = body_of(&bytes) else { panic!("refused") };
    assert_eq!(status.extensions.len(), 2);
    assert_eq!(status.time_to_live_ms, 30_000);
}

/// Swapped fields of one type decode without an error to wrong values; the schema id tells them apart.
#[test]
fn trap_swapped_fields_are_caught_by_the_schema_id() {
    #[derive(Serialize, Deserialize, PartialEq, Debug)]
    struct Counts {
        expected: u16,
        answering: u16,
    }
    #[derive(Serialize, Deserialize, PartialEq, Debug)]
    struct Swapped {
        answering: u16,
        expected: u16,
    }
    let bytes = postcard::to_allocvec(&Counts { expected: 8, answering: 7 }).expect("counts");
    let swapped: Swapped = postcard::from_bytes(&bytes).expect("no error: that is the trap");
    assert_eq!(swapped, Swapped { answering: 8, expected: 7 });
    let text = schema::STATUS.replace("expected u16, answering u16", "answering u16, expected u16");
    assert_ne!(text, schema::STATUS);
    assert!(schema::by_id(SchemaId::of(&text)).is_none());
}

/// A skipped field shifts all that follow, so nothing is ever skipped: absent options take their byte.
#[test]
fn trap_absent_options_still_take_their_byte() {
    let with = |serial: Option<String>| {
        let gpu = GpuRef { serial, ..gpu_ref() };
        postcard::to_allocvec(&event(EventKind::GpuLost, Some(gpu))).expect("event").len()
    };
    assert_eq!(with(Some("1234".into())) - with(None), 1 + 4);
}

/// A hostile count is refused before memory is taken for it.
#[test]
fn trap_counts_are_capped_before_allocation() {
    let key = session_key();
    let mut body = postcard::to_allocvec(&(5u32, 3u16, true)).expect("number, audience, simulated");
    body.extend([0xff, 0xff, 0xff, 0xff, 0x0f]); // four thousand million groups
    let header = postcard::to_allocvec(&header(&key, Stream::CapacityOperator, Some(1))).expect("header");
    let bytes = framed(schema::all()[5].id, &header, &body, &key);
    assert!(matches!(body_of(&bytes), Err(DecodeError::Body { body: "capacity", .. })));

    // One more than the limit, with all the elements there.
    let over = |count: usize| {
        let mut status = status(&key, NodeState::Online);
        status.extensions = vec![Extension { tag: 1, bytes: Vec::new() }; count];
        let body = postcard::to_allocvec(&Body::Status(status)).expect("body");
        let (id, header, _) = status_parts();
        body_of(&framed(id, &header, &body, &key))
    };
    assert!(over(limits::EXTENSIONS).is_ok());
    assert!(over(limits::EXTENSIONS + 1).is_err());
}

#[test]
fn trap_long_texts_and_bytes_are_refused() {
    let key = session_key();
    let with = |reason: usize, extension: usize| {
        let mut status = status(&key, NodeState::Online);
        status.reason = "x".repeat(reason);
        status.extensions = vec![Extension { tag: 1, bytes: vec![0; extension] }];
        let body = postcard::to_allocvec(&Body::Status(status)).expect("body");
        let (id, header, _) = status_parts();
        body_of(&framed(id, &header, &body, &key)).is_ok()
    };
    assert!(with(limits::TEXT_BYTES, limits::EXTENSION_BYTES));
    assert!(!with(limits::TEXT_BYTES + 1, 0));
    assert!(!with(0, limits::EXTENSION_BYTES + 1));
}

#[test]
fn trap_a_body_number_that_is_not_the_schemas_is_refused() {
    let (_, header, body) = status_parts();
    let bytes = framed(schema::all()[5].id, &header, &body, &session_key());
    assert!(matches!(body_of(&bytes), Err(DecodeError::BodyMismatch { schema: "capacity" })));
}

#[test]
fn codes_of_later_versions_are_kept_as_numbers() {
    let (bytes, _) = sealed("status_of_a_later_version");
    let Ok(Body::Status(status)) = body_of(&bytes) else { panic!("refused") };
    assert_eq!(status.state, NodeState::Unrecognised(500));
    let (bytes, _) = sealed("event_of_a_later_version");
    let Ok(Body::Event(event)) = body_of(&bytes) else { panic!("refused") };
    assert_eq!(event.kind, EventKind::Unrecognised { code: 9_000, payload: b"later".to_vec() });
}

#[test]
fn an_event_payload_with_a_tail_is_refused() {
    let payload = |kind: u16, payload: &[u8]| {
        let mut body = postcard::to_allocvec(&(1u32, NOW, kind)).expect("number, time, kind");
        body.extend(postcard::to_allocvec(payload).expect("payload"));
        body.extend([0, 0]);
        let header = postcard::to_allocvec(&header(&session_key(), Stream::Event, Some(1))).expect("header");
        body_of(&framed(schema::all()[1].id, &header, &body, &session_key()))
    };
    assert!(payload(1, &[]).is_ok());
    assert!(payload(1, &[0]).is_err());
    assert!(payload(10, &[5]).is_ok());
    assert!(payload(10, &[5, 0]).is_err());
    assert!(payload(13, &[2, 9, 5, 6, 1]).is_ok());
    assert!(payload(13, &[2, 9, 5, 6]).is_err());
    assert!(payload(13, &[2, 9, 5, 6, 1, 0]).is_err());
    assert!(payload(16, &[]).is_ok());
    assert!(payload(16, &[0]).is_err());
    assert!(payload(9_000, &vec![0; limits::EVENT_BYTES]).is_ok());
    assert!(payload(9_000, &vec![0; limits::EVENT_BYTES + 1]).is_err());
}

// --- frame layout

#[test]
fn heads_that_are_not_ours_are_refused_by_name() {
    let (bytes, _) = sealed("status_online");
    let with = |at: usize, byte: u8| {
        let mut bytes = bytes.clone();
        bytes[at] = byte;
        bytes
    };
    assert!(matches!(Frame::parse(&[]), Err(DecodeError::Truncated)));
    assert!(matches!(Frame::parse(&with(0, b'{')), Err(DecodeError::Magic { found: b'{' })));
    assert!(matches!(Frame::parse(&with(1, 2)), Err(DecodeError::FrameVersion { found: 2 })));
    let long = vec![frame::MAGIC; limits::FRAME_BYTES + 1];
    assert!(matches!(Frame::parse(&long), Err(DecodeError::TooLong { .. })));
    for end in 0..bytes.len() {
        assert!(Frame::parse(&bytes[..end]).is_err(), "cut at {end}");
    }
}

#[test]
fn stream_and_body_must_agree_on_both_sides() {
    let key = session_key();
    let mut message = message(&key, Some(1), Body::Status(status(&key, NodeState::Online)));
    message.header.stream = Stream::Event;
    assert!(matches!(seal(&message, &key), Err(EncodeError::StreamMismatch { .. })));
    let (id, _, body) = status_parts();
    let wrong = postcard::to_allocvec(&message.header).expect("header");
    assert!(matches!(body_of(&framed(id, &wrong, &body, &key)), Err(DecodeError::StreamMismatch { .. })));
}

#[test]
fn only_a_will_goes_without_a_number() {
    let key = session_key();
    let will = message(&key, None, Body::Status(status(&key, NodeState::Offline)));
    assert!(seal(&will, &key).is_ok());
    let online = message(&key, None, Body::Status(status(&key, NodeState::Online)));
    assert!(matches!(seal(&online, &key), Err(EncodeError::Sequence { body: "status" })));
    let header = postcard::to_allocvec(&online.header).expect("header");
    let (id, _, body) = status_parts();
    assert!(matches!(body_of(&framed(id, &header, &body, &key)), Err(DecodeError::Sequence { .. })));
}

#[test]
fn a_reply_goes_without_a_number() {
    let key = session_key();
    let body = Body::Reply(reply(ReplyOutcome::Accepted, ""));
    assert!(seal(&message(&key, None, body.clone()), &key).is_ok());
    let numbered = message(&key, Some(1), body.clone());
    assert!(matches!(seal(&numbered, &key), Err(EncodeError::Sequence { body: "reply" })));
    let header = postcard::to_allocvec(&numbered.header).expect("header");
    let body = postcard::to_allocvec(&body).expect("body");
    let bytes = framed(schema::all()[6].id, &header, &body, &key);
    assert!(matches!(body_of(&bytes), Err(DecodeError::Sequence { body: "reply" })));
}

#[test]
fn a_frame_that_would_be_too_long_is_refused_and_its_halves_fit() {
    let key = session_key();
    let mut random = Random(3);
    let mut builder = BatchBuilder::new(&(0..64).collect::<Vec<u8>>()).expect("slots rise");
    for seq in 0..8 {
        let rows: Vec<[Cell; FAST_FIELDS]> =
            (0..64).map(|_| std::array::from_fn(|_| Ok(random.next()))).collect();
        builder.push(SampleTime { seq, taken_unix_ms: NOW, taken_mono_ms: seq }, &rows).expect("room");
    }
    let batch = builder.finish().expect("samples");
    let sealed = |batch: TelemetryBatch| seal(&message(&key, Some(1), Body::Telemetry(batch)), &key);
    assert!(matches!(sealed(batch.clone()), Err(EncodeError::TooLong { .. })));
    let mut pieces = vec![batch];
    let mut count = 0;
    while let Some(piece) = pieces.pop() {
        match sealed(piece.clone()) {
            Ok(_) => count += piece.samples().len(),
            Err(_) => pieces.extend(<[_; 2]>::from(piece.split().expect("more than one sample"))),
        }
    }
    assert_eq!(count, 8);
}

#[test]
fn slow_telemetry_splits_into_frames_and_loses_nothing() {
    let key = session_key();
    let mut whole = slow();
    let gpu = whole.gpus[0].clone();
    whole.gpus = (0..6)
        .map(|slot| {
            let mut gpu = GpuSlow { slot, ..gpu.clone() };
            gpu.processes = vec![Process { name: "x".repeat(400), ..gpu.processes[0].clone() }; 300];
            gpu
        })
        .collect();
    let parts = whole.clone().split(0);
    assert!(parts.len() > 6);
    let mut seen: Vec<(u8, usize, usize)> = Vec::new();
    for part in &parts {
        assert_eq!(part.taken_unix_ms, whole.taken_unix_ms);
        assert!(seal(&message(&key, Some(1), Body::TelemetrySlow(part.clone())), &key).is_ok());
        for gpu in &part.gpus {
            match seen.iter_mut().find(|(slot, _, _)| *slot == gpu.slot) {
                Some(entry) => {
                    entry.1 += gpu.fields.len();
                    entry.2 += gpu.processes.len();
                }
                None => seen.push((gpu.slot, gpu.fields.len(), gpu.processes.len())),
            }
        }
    }
    let expected: Vec<_> = (0..6).map(|slot| (slot, gpu.fields.len(), 300)).collect();
    assert_eq!(seen, expected);
    assert_eq!(slow().split(0), vec![slow()]);
}

// --- audiences and limits on the sending side

#[test]
fn a_field_never_leaves_for_a_wider_audience() {
    let key = session_key();
    let mut public = capacity().for_audience(Audience::Public);
    assert!(seal(&message(&key, Some(1), Body::Capacity(public.clone())), &key).is_ok());
    public.gpus[0].groups[0].fields.push(Field::new(110, "0000000000001"));
    let refused = seal(&message(&key, Some(1), Body::Capacity(public.clone())), &key);
    assert!(matches!(refused, Err(EncodeError::Audience { field: 110, audience: Audience::Public })));
    public.gpus[0].groups[0].fields.pop();
    public.gpus[0].mig[0].fields.push(Field::new(2002, "MIG-1"));
    assert!(seal(&message(&key, Some(1), Body::Capacity(public.clone())), &key).is_err());
    public.gpus[0].mig[0].fields.pop();
    // An id outside the catalogue has no known audience.
    public.groups.push(FieldGroup { claim: ClaimClass::Declared, fields: vec![Field::new(60_000, 1_u64)] });
    assert!(seal(&message(&key, Some(1), Body::Capacity(public)), &key).is_err());
}

#[test]
fn cutting_down_for_an_audience_keeps_what_it_may_see() {
    let ids = |capacity: &Capacity| -> Vec<u16> {
        let gpu = &capacity.gpus[0];
        gpu.groups.iter().flat_map(|g| &g.fields).chain(&gpu.mig[0].fields).map(|f| f.id).collect()
    };
    let whole = capacity();
    assert_eq!(ids(&whole.for_audience(Audience::Public)), [100, 105, 2003, 2010]);
    assert_eq!(ids(&whole.for_audience(Audience::Buyer)), [100, 105, 104, 150, 2003, 2010]);
    assert_eq!(whole.for_audience(Audience::Operator), whole);
    assert!(whole.for_audience(Audience::Public).extensions.is_empty());
    for audience in Audience::ALL {
        for field in fields::all() {
            assert_eq!(fields::may_see(field.id, *audience), field.audience.code() <= audience.code());
        }
    }
    assert!(
        !fields::may_see(110, Audience::Unrecognised(9)) && fields::may_see(100, Audience::Unrecognised(9))
    );
}

#[test]
fn what_a_reader_would_refuse_is_not_sealed() {
    let key = session_key();
    let refused = |body: Body| seal(&message(&key, Some(1), body), &key).is_err();
    let mut long = status(&key, NodeState::Online);
    long.reason = "x".repeat(limits::TEXT_BYTES + 1);
    assert!(refused(Body::Status(long)));
    let mut twice = capacity();
    twice.groups[0].fields.push(Field::new(1000, "again"));
    assert!(refused(Body::Capacity(twice)));
    let mut lease = capacity();
    lease.audience = Audience::LeaseHolder;
    assert!(refused(Body::Capacity(lease)));
    let mut many = capacity();
    many.gpus = vec![many.gpus[0].clone(); limits::GPUS + 1];
    assert!(refused(Body::Capacity(many)));
    let mut name = claim(&key, None);
    name.node_name = "a/b".into();
    assert!(refused(Body::Session(name.sign(&identity()).expect("identity"))));
    assert!(refused(Body::Event(event(EventKind::DriverBack { version: "x".repeat(513) }, None))));
    assert!(refused(Body::Event(event(EventKind::SpoolUnwritable { reason: "x".repeat(513) }, None))));
    let long = Body::Reply(reply(ReplyOutcome::Refused, &"x".repeat(513)));
    assert!(matches!(seal(&message(&key, None, long), &key), Err(EncodeError::Limit(_))));
}

// --- ids, keys, codes, topics

#[test]
fn ids_have_one_text_form() {
    let node = NodeId::software(&identity().public());
    assert_eq!(node.to_string().parse::<NodeId>(), Ok(node));
    assert!(node.to_string().starts_with("sw:") && node.to_string().len() == 67);
    let tpm = NodeId::from_parts(IdentityClass::Tpm, [0xab; 32]);
    assert_eq!(tpm.to_string().parse::<NodeId>(), Ok(tpm));
    assert_ne!(tpm, NodeId::from_parts(IdentityClass::Software, [0xab; 32]));
    for text in ["", "sw:", "SW:00", "tpm", &node.to_string().to_uppercase(), &format!("{node}0")] {
        assert!(text.parse::<NodeId>().is_err(), "{text}");
    }
    let session = SessionId::of(&session_key().public());
    assert_eq!(session.to_string().parse::<SessionId>(), Ok(session));
    assert_ne!(session, SessionId::of(&next_session_key().public()));
}

#[test]
fn keys_come_from_files_and_from_nowhere() {
    let der = SigningKey::generate_pkcs8().expect("random");
    let key = SigningKey::from_pkcs8(&der).expect("own document");
    assert!(key.public().verifies(b"text", &key.sign(b"text")));
    assert!(!key.public().verifies(b"other", &key.sign(b"text")));
    assert!(matches!(SigningKey::from_pkcs8(b"no"), Err(KeyError::Pkcs8)));
    assert_ne!(
        SigningKey::generate().expect("random").public(),
        SigningKey::generate().expect("random").public()
    );
    assert_eq!(format!("{key:?}"), format!("SigningKey({})", key.public()));
}

proptest! {
    #[test]
    fn any_bytes_give_a_frame_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let _ = Frame::parse(&bytes).and_then(|frame| frame.body());
        let mut headed = vec![frame::MAGIC, frame::FRAME_VERSION];
        headed.extend(&bytes);
        let _ = Frame::parse(&headed).and_then(|frame| frame.body());
    }

    #[test]
    fn any_body_bytes_under_any_schema_give_a_body_or_an_error(
        number in 0usize..7, bytes in prop::collection::vec(any::<u8>(), 0..200)
    ) {
        let schema = schema::all()[number];
        let (_, header, _) = status_parts();
        let mut body = vec![schema.body as u8];
        body.extend(bytes);
        let _ = body_of(&framed(schema.id, &header, &body, &session_key()));
    }

    #[test]
    fn any_flipped_byte_of_any_message_never_panics(at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        static FRAMES: std::sync::OnceLock<Vec<Vec<u8>>> = std::sync::OnceLock::new();
        let frames = FRAMES.get_or_init(|| {
            all().iter().map(|(_, message, key)| seal(message, key).expect("sealed")).collect()
        });
        for frame in frames {
            let mut bytes = frame.clone();
            let at = at.index(bytes.len());
            bytes[at] ^= byte;
            let _ = Frame::parse(&bytes).and_then(|frame| frame.body());
        }
    }

    #[test]
    fn reasons_have_one_number_each(number in any::<u64>()) {
        if let Some(reason) = NoData::from_number(number) {
            prop_assert_eq!(reason.to_number(), number);
        } else {
            prop_assert!(number > 256 + u64::from(u32::MAX));
        }
    }

    #[test]
    fn codes_have_one_number_each(code in any::<u16>()) {
        prop_assert_eq!(GpuState::from_code(code).code(), code);
        prop_assert_eq!(Stream::from_code(code).code(), code);
        prop_assert_eq!(Audience::from_code(code).code(), code);
    }

    #[test]
    fn topics_read_back_and_nothing_else_does(site in "[a-z0-9._-]{1,64}", node in "[a-z0-9._-]{1,64}", junk in "[ -~/+#]{0,80}") {
        for stream in Stream::ALL.iter().filter(|stream| **stream != Stream::Reply) {
            let text = topic::of(*stream, &site, &node).expect("good names");
            prop_assert_eq!(Topic::parse(&text), Some(Topic::Node { site: &site, node: &node, stream: *stream }));
        }
        let text = topic::command(&site, &node, "drain").expect("good names");
        prop_assert_eq!(Topic::parse(&text), Some(Topic::Command { site: &site, node: &node, verb: "drain" }));
        let text = topic::watermark(&site, &node, "settle").expect("good names");
        prop_assert_eq!(Topic::parse(&text), Some(Topic::Watermark { site: &site, node: &node, consumer: "settle" }));
        let text = topic::reply(&site, &node, "settle").expect("good names");
        prop_assert_eq!(Topic::parse(&text), Some(Topic::Reply { site: &site, node: &node, consumer: "settle" }));
        let text = topic::epoch(&node).expect("good name");
        prop_assert_eq!(Topic::parse(&text), Some(Topic::Epoch { verifier: &node }));
        if let Some(Topic::Node { site, node, stream }) = Topic::parse(&junk) {
            prop_assert_eq!(topic::of(stream, site, node).expect("good names"), junk.clone());
        }
    }
}

#[test]
fn names_that_break_the_rule_are_refused() {
    for name in ["", "A", "a/b", "a+", "#", "ä", "a b", &"x".repeat(65)] {
        assert!(!topic::is_name(name), "{name}");
        assert!(topic::status(name, "node").is_err() && topic::status("site", name).is_err());
        assert!(topic::command("site", "node", name).is_err() && topic::epoch(name).is_err());
        assert!(topic::watermark("site", "node", name).is_err());
    }
    assert_eq!(topic::status("s", "n").as_deref(), Ok("rackmark/v1/s/n/status"));
    assert_eq!(
        topic::of(Stream::TelemetrySlow, "s", "n").as_deref(),
        Ok("rackmark/v1/s/n/telemetry/operator")
    );
    assert!(Topic::parse("rackmark/v2/s/n/status").is_none());
    assert!(Topic::parse("rackmark/v1/s/n/status/x").is_none());
    assert!(Topic::parse("rackmark/v1/s/+/status").is_none());
}

#[test]
fn the_catalogue_is_sound() {
    let all: Vec<_> = fields::all().collect();
    assert!(all.windows(2).all(|pair| pair[0].id < pair[1].id), "ids rise");
    for field in &all {
        assert_eq!(fields::by_id(field.id), Some(*field));
        assert_eq!(fields::by_name(field.name), Some(*field), "names are unique");
        assert!(field.doc.ends_with('.') && field.doc.len() > 10, "{}", field.name);
    }
    assert_eq!(fields::by_id(180), None);
    let fast: Vec<u16> = all.iter().filter(|f| f.class == fields::Class::Fast).map(|f| f.id).collect();
    assert_eq!(fast, (0..42).collect::<Vec<u16>>());
}
