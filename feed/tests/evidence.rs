//! What a quote signs, how parts are cut, and how a consumer hears nodes whose id only evidence establishes.

mod messages;

use messages::identity::{claim, full_evidence, software_evidence};
use messages::{EPOCH, NODE, NOW, SITE, identity, session_key};
use rackmark_feed::body::SessionRecordError;
use rackmark_feed::body::evidence::device_nonce;
use rackmark_feed::consumer::{Identity, Refusal, Settings};
use rackmark_feed::*;

fn node() -> NodeId {
    NodeId::from_parts(IdentityClass::Tpm, [0x99; 32])
}

/// Each field, changed alone, makes other qualifying data.
#[test]
fn nothing_that_matters_is_left_out_of_what_a_quote_signs() {
    let base = full_evidence().claim;
    let mut variants: Vec<(&str, EvidenceClaim, NodeId)> = Vec::new();
    let mut add = |what: &'static str, change: &dyn Fn(&mut EvidenceClaim)| {
        let mut changed = base.clone();
        change(&mut changed);
        assert_ne!(changed, base, "{what}");
        variants.push((what, changed, node()));
    };
    add("time", &|c| c.taken_unix_ms += 1);
    add("cause", &|c| c.cause = EvidenceCause::Start);
    add("source", &|c| c.freshness.source = FreshnessSource::Epoch);
    add("verifier", &|c| c.freshness.verifier = "other".into());
    add("nonce", &|c| c.freshness.value[31] ^= 1);
    add("identity", &|c| c.identity_public_key = session_key().public());
    add("session", &|c| c.session_public_key = identity().public());
    add("boot", &|c| c.boot_id[0] ^= 1);
    add("inventory", &|c| c.inventory.digest[0] ^= 1);
    add("boot log", &|c| c.boot_log = None);
    add("mqtt key", &|c| c.mqtt_key = None);
    add("previous", &|c| c.previous = None);
    add("device kind", &|c| c.devices[0].kind = DeviceKind::Component);
    add("device slot", &|c| c.devices[0].slot = None);
    add("device name", &|c| c.devices[0].name.push('x'));
    add("report", &|c| c.devices[0].report = None);
    add("chain", &|c| c.devices[0].chain = None);
    add("order", &|c| c.devices.reverse());
    add("count", &|c| c.devices.truncate(1));
    variants.push(("node", base.clone(), NodeId::from_parts(IdentityClass::Tpm, [0x98; 32])));
    variants.push(("class", base.clone(), NodeId::from_parts(IdentityClass::Software, [0x99; 32])));
    let mut seen = vec![base.qualifying_data(&node())];
    for (what, changed, node) in variants {
        let data = changed.qualifying_data(&node);
        assert!(!seen.contains(&data), "{what}");
        seen.push(data);
    }
}

/// A boundary that moves between two fields must not give the same bytes.
#[test]
fn fields_do_not_run_into_each_other() {
    let (mut one, mut other) = (claim(), claim());
    one.devices[0].name = "ab".into();
    other.devices[0].name = "a".into();
    other.devices.push(DeviceEvidence { name: "b".into(), ..other.devices[0].clone() });
    assert_ne!(one.qualifying_data(&node()), other.qualifying_data(&node()));
}

#[test]
fn a_device_nonce_is_for_one_device_session_and_nonce() {
    let (nonce, session) = ([1; 32], session_key().public());
    let base = device_nonce(&nonce, &session, "GPU-0");
    assert_ne!(base, device_nonce(&[2; 32], &session, "GPU-0"));
    assert_ne!(base, device_nonce(&nonce, &identity().public(), "GPU-0"));
    assert_ne!(base, device_nonce(&nonce, &session, "GPU-1"));
}

#[test]
fn pieces_make_the_whole() {
    for length in [0, 1, limits::PIECE_BYTES, limits::PIECE_BYTES + 1, limits::ARTEFACT_BYTES] {
        let whole: Vec<u8> = (0..length).map(|at| u8::try_from(at % 251).expect("small")).collect();
        let mut back = Vec::new();
        for piece in Artefact::pieces(&whole) {
            assert_eq!(piece.offset as usize, back.len());
            let message = messages::message(&session_key(), None, Body::Artefact(piece.clone()));
            seal(&message, &session_key()).expect("a piece fits a frame");
            back.extend_from_slice(&piece.bytes);
        }
        assert_eq!(back, whole);
        assert!(ArtefactRef::of(&whole).fits(&back));
    }
}

/// 96 devices that all sign, the largest TPM structures.
#[test]
fn the_largest_evidence_fits_a_frame() {
    let mut evidence = full_evidence();
    let device = DeviceEvidence { name: "x".repeat(64), ..evidence.claim.devices[0].clone() };
    evidence.claim.devices = vec![device; limits::DEVICES];
    let tpm = evidence.tpm.as_mut().expect("tpm");
    for part in [&mut tpm.endorsement_key, &mut tpm.attestation_key, &mut tpm.quoted, &mut tpm.signature] {
        *part = vec![7; limits::TPM_BYTES];
    }
    let message = messages::message(&session_key(), None, Body::Evidence(evidence));
    let bytes = seal(&message, &session_key()).expect("fits");
    assert!(Frame::parse(&bytes).expect("frame").body().is_ok());
}

#[test]
fn evidence_over_a_nonce_is_a_reply_and_any_other_a_level() {
    let level = messages::message(&session_key(), None, Body::Evidence(software_evidence()));
    assert!(matches!(seal(&level, &session_key()), Err(EncodeError::Sequence { .. })));
    let reply = messages::message(&session_key(), Some(1), Body::Evidence(full_evidence()));
    assert!(matches!(seal(&reply, &session_key()), Err(EncodeError::Sequence { .. })));
}

// --- nodes of class TPM at a consumer

fn session_of(key: &SigningKey, identity: &SigningKey, seq: u64) -> Vec<u8> {
    let mut claim = messages::claim(key, None);
    claim.node = node();
    claim.identity_public_key = identity.public();
    claim.started_unix_ms += seq;
    let record = claim.sign(identity).expect("record");
    let header = Header {
        node: node(),
        session: SessionId::of(&key.public()),
        epoch: EPOCH,
        stream: Stream::Session,
        seq: Some(seq),
        time_unix_ms: NOW,
    };
    seal(&Message { header, body: Body::Session(record) }, key).expect("sealed")
}

fn topic() -> String {
    topic::of(Stream::Session, SITE, NODE).expect("topic")
}

#[test]
fn a_tpm_node_is_refused_until_evidence_establishes_it() {
    let mut consumer = Consumer::new(Settings::default());
    let record = session_of(&session_key(), &identity(), 0);
    let refused = consumer.accept(&topic(), &record, NOW).expect_err("not established");
    assert!(matches!(refused, Refusal::Session(SessionRecordError::NotEstablished(IdentityClass::Tpm))));
    consumer.establish(node(), identity().public());
    let accepted = consumer.accept(&topic(), &record, NOW).expect("established");
    assert_eq!(accepted.identity, Identity::Established);
}

#[test]
fn a_claimed_node_keeps_its_key() {
    let mut consumer = Consumer::new(Settings { accept_claimed: true, ..Settings::default() });
    let first = session_of(&session_key(), &identity(), 0);
    let accepted = consumer.accept(&topic(), &first, NOW).expect("claimed");
    assert_eq!(accepted.identity, Identity::Claimed);
    let thief = SigningKey::from_seed(&[0x66; 32]);
    let other = session_of(&messages::next_session_key(), &thief, 1);
    let refused = consumer.accept(&topic(), &other, NOW).expect_err("another key");
    assert!(matches!(refused, Refusal::Session(SessionRecordError::OtherIdentity(_))), "{refused}");
    // Evidence shows that the first one was the thief.
    consumer.establish(node(), thief.public());
    assert_eq!(consumer.accept(&topic(), &other, NOW).expect("proven").identity, Identity::Established);
    assert!(consumer.accept(&topic(), &first, NOW).is_err());
}

#[test]
fn a_claim_that_its_key_did_not_sign_is_refused() {
    let mut consumer = Consumer::new(Settings { accept_claimed: true, ..Settings::default() });
    let mut claim = messages::claim(&session_key(), None);
    claim.node = node();
    let mut record = claim.sign(&identity()).expect("record");
    record.claim.boot_id[0] ^= 1;
    let header = Header {
        node: node(),
        session: SessionId::of(&session_key().public()),
        epoch: EPOCH,
        stream: Stream::Session,
        seq: Some(0),
        time_unix_ms: NOW,
    };
    let frame = seal(&Message { header, body: Body::Session(record) }, &session_key()).expect("sealed");
    let refused = consumer.accept(&topic(), &frame, NOW).expect_err("forged");
    assert!(matches!(refused, Refusal::Session(SessionRecordError::IdentitySignature)), "{refused}");
}
