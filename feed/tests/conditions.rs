//! Conditions, maintenance and the node's verdict: split over extensions, cut for audiences, total on hostile bytes.

mod messages;

use messages::conditions::{
    capacity_with_conditions, condition, conditions, events, maintenance, node_verdict,
};
use messages::downlink::{command, consumer_key};
use messages::{NOW, capacity, event, message, session_key};
use proptest::prelude::*;
use rackmark_feed::body::capacity::*;
use rackmark_feed::*;

fn sealed(capacity: Capacity) -> Result<Vec<u8>, EncodeError> {
    seal(&message(&session_key(), Some(1), Body::Capacity(capacity)), &session_key())
}

/// 64 GPUs with five conditions each, `detail` bytes of detail.
fn many(detail: usize) -> Vec<SlotCondition> {
    (0..64u8)
        .flat_map(|slot| {
            (0..5u32).map(move |key| SlotCondition {
                slot: Some(slot),
                condition: Condition {
                    detail: "d".repeat(detail),
                    ..condition("nvlink_errors", key, Severity::Warning, Action::InspectHardware)
                },
            })
        })
        .collect()
}

fn with(extensions: Vec<Extension>) -> Capacity {
    Capacity { groups: Vec::new(), gpus: Vec::new(), extensions, ..capacity() }
}

// --- split over extensions

#[test]
fn five_conditions_on_each_of_64_gpus_fit_and_keep_their_order() {
    let whole = many(100);
    let (extensions, left_out) = conditions_extensions(&whole);
    assert_eq!(left_out, 0);
    assert!(extensions.len() > 8 && extensions.len() <= CONDITION_EXTENSIONS, "{}", extensions.len());
    let bytes = sealed(with(extensions)).expect("every extension is within the limits");
    let Body::Capacity(read) = Frame::parse(&bytes).expect("frame").body().expect("body") else {
        panic!("another body")
    };
    assert_eq!(read.conditions().as_ref(), Ok(&whole));
}

#[test]
fn what_does_not_fit_is_counted_and_the_first_stay() {
    let whole = many(limits::TEXT_BYTES);
    let (extensions, left_out) = conditions_extensions(&whole);
    assert_eq!(extensions.len(), CONDITION_EXTENSIONS);
    assert!(left_out > 0);
    let kept = with(extensions.clone()).conditions().expect("own extensions");
    assert_eq!(kept.len() + left_out, whole.len());
    assert_eq!(kept, whole[..kept.len()]);
    assert!(sealed(with(extensions)).is_ok());
}

/// The room counts every byte that the extensions add to the body.
#[test]
fn a_given_room_is_never_exceeded_and_always_used() {
    let whole = many(100);
    let mut last = 0;
    for room in [0, 4, 200, 5_000, 20_000, 40_000, usize::MAX] {
        let (extensions, left_out) = conditions_extensions_within(&whole, room);
        let taken: usize =
            extensions.iter().map(|e| postcard::to_allocvec(e).expect("extension").len()).sum();
        assert!(taken <= room.max(4), "{taken} bytes in a room of {room}");
        let kept = whole.len() - left_out;
        assert_eq!(with(extensions).conditions(), Ok(whole[..kept].to_vec()));
        assert!(kept >= last && (room < 200 || kept > 0), "{kept} in {room}");
        if left_out > 0 && room >= 200 {
            assert!(taken + 300 > room, "only {taken} of {room} used");
        }
        last = kept;
    }
    assert_eq!(last, whole.len());
}

/// No extension and an empty list are two things: the second one says that nothing is wrong.
#[test]
fn nothing_wrong_is_said_and_silence_says_nothing() {
    let (extensions, left_out) = conditions_extensions(&[]);
    assert_eq!((extensions.len(), left_out), (1, 0));
    assert_eq!(extensions[0], Extension { tag: CONDITIONS, bytes: vec![0] });
    assert_eq!(with(extensions).conditions(), Ok(Vec::new()));
    assert_eq!(with(Vec::new()).node_verdict(), Ok(None));
}

#[test]
fn an_entry_over_a_limit_is_left_out_not_sealed() {
    let mut list = conditions();
    list[0].condition.code = "x".repeat(limits::NAME_BYTES + 1);
    list[1].condition.detail = "x".repeat(limits::TEXT_BYTES + 1);
    let (extensions, left_out) = conditions_extensions(&list);
    assert_eq!(left_out, 2);
    assert_eq!(with(extensions).conditions(), Ok(list[2..].to_vec()));
    let long = "x".repeat(limits::TEXT_BYTES + 1);
    let (_, left_out) =
        maintenance_extensions(&[Maintenance { slot: None, until_unix_ms: NOW, reason: long.clone() }]);
    assert_eq!(left_out, 1);
    assert!(node_verdict_extension(&NodeVerdict { verdict: Verdict::Unknown, reason: long }).is_err());
}

#[test]
fn maintenance_of_every_gpu_fits_with_a_sentence_each() {
    let all: Vec<Maintenance> = (0..64u8)
        .map(|slot| Maintenance { slot: Some(slot), until_unix_ms: NOW, reason: "r".repeat(100) })
        .collect();
    let (extensions, left_out) = maintenance_extensions(&all);
    assert_eq!((extensions.len(), left_out), (MAINTENANCE_EXTENSIONS, 0));
    assert_eq!(with(extensions).maintenance(), Ok(all));
}

/// With all of them there is still room for one of a later version.
#[test]
fn the_writers_shares_leave_an_extension_free() {
    assert_eq!(CONDITION_EXTENSIONS + MAINTENANCE_EXTENSIONS + 1 + 1, limits::EXTENSIONS);
}

// --- audiences

#[test]
fn the_operator_sees_everything() {
    let cut = capacity_with_conditions().for_audience(Audience::Operator);
    assert_eq!(cut, capacity_with_conditions());
    assert_eq!(cut.conditions(), Ok(conditions()));
    assert_eq!(cut.maintenance(), Ok(maintenance()));
    assert_eq!(cut.node_verdict(), Ok(Some(node_verdict())));
}

#[test]
fn a_buyer_sees_what_is_wrong_but_no_details() {
    let cut = capacity_with_conditions().for_audience(Audience::Buyer);
    let seen = cut.conditions().expect("own extensions");
    let codes: Vec<_> = seen.iter().map(|entry| entry.condition.code.as_str()).collect();
    // No "nvlink_errors", which is for information; "later" has a severity that nobody knows yet.
    assert_eq!(codes, ["row_remap_failed", "disk_low", "later"]);
    assert!(seen.iter().all(|entry| entry.condition.detail.is_empty()));
    assert_eq!(seen[0].condition.since_unix_ms, conditions()[0].condition.since_unix_ms);
    assert_eq!(cut.maintenance(), Ok(maintenance()));
    assert_eq!(cut.node_verdict(), Ok(Some(node_verdict())));
    assert!(cut.extensions.iter().all(|e| e.tag < extension::PRIVATE_TAGS), "an unknown extension got out");
}

#[test]
fn the_public_sees_the_verdict_and_until_when_and_no_word() {
    let cut = capacity_with_conditions().for_audience(Audience::Public);
    assert!(cut.extensions.iter().all(|e| e.tag != CONDITIONS));
    assert_eq!(cut.node_verdict(), Ok(Some(NodeVerdict { reason: String::new(), ..node_verdict() })));
    let times: Vec<_> = maintenance().iter().map(|m| (m.slot, m.until_unix_ms)).collect();
    let seen = cut.maintenance().expect("own extensions");
    assert_eq!(seen.iter().map(|m| (m.slot, m.until_unix_ms)).collect::<Vec<_>>(), times);
    assert!(seen.iter().all(|m| m.reason.is_empty()));
    assert_eq!(cut.extensions, capacity_with_conditions().for_audience(Audience::Unrecognised(9)).extensions);
    // What was cut away stays away.
    let back = cut.for_audience(Audience::Operator);
    assert_eq!(back.extensions, cut.extensions);
}

/// In bytes: nothing that is the operator's alone is in a frame for others.
#[test]
fn no_word_of_the_operator_is_in_a_frame_for_others() {
    let holds = |audience, words: &str| {
        let bytes = sealed(capacity_with_conditions().for_audience(audience)).expect("sealed");
        bytes.windows(words.len()).any(|window| window == words.as_bytes())
    };
    for (words, buyer, public) in [
        ("3 rows, bank 7", false, false),
        ("nvlink_errors", false, false),
        ("row_remap_failed", true, false),
        ("board swap, RMA 4711", true, false),
        ("the disk is nearly full", true, false),
    ] {
        assert!(holds(Audience::Operator, words), "{words}");
        assert_eq!(holds(Audience::Buyer, words), buyer, "{words}");
        assert_eq!(holds(Audience::Public, words), public, "{words}");
    }
}

/// A writer that forgets to cut is stopped at the seal, extension by extension.
#[test]
fn an_extension_never_leaves_for_a_wider_audience() {
    let list = |list: &[SlotCondition]| conditions_extensions(list).0.remove(0);
    let warning = conditions().remove(1);
    let without_detail = SlotCondition {
        condition: Condition { detail: String::new(), ..warning.condition.clone() },
        ..warning.clone()
    };
    let mut information = without_detail.clone();
    information.condition.severity = Severity::Info;
    let reason = maintenance_extensions(&maintenance()).0.remove(0);
    let no_reason =
        maintenance_extensions(&[Maintenance { reason: String::new(), ..maintenance().remove(0) }])
            .0
            .remove(0);
    let verdict = node_verdict_extension(&node_verdict()).expect("short");
    let bare =
        node_verdict_extension(&NodeVerdict { reason: String::new(), ..node_verdict() }).expect("short");
    for (what, extension, buyer, public) in [
        ("a detail", list(&[warning]), false, false),
        ("information", list(&[information]), false, false),
        ("a condition", list(&[without_detail]), true, false),
        ("a reason", reason, true, false),
        ("a time", no_reason, true, true),
        ("why", verdict, true, false),
        ("a verdict", bare, true, true),
    ] {
        for (audience, may) in
            [(Audience::Operator, true), (Audience::Buyer, buyer), (Audience::Public, public)]
        {
            let result = sealed(Capacity { audience, ..with(vec![extension.clone()]) });
            match result {
                Ok(_) => assert!(may, "{what} left for {audience}"),
                Err(EncodeError::ExtensionAudience { tag, audience: named }) => {
                    assert!(
                        !may && tag == extension.tag && named == audience,
                        "{what} refused for {audience}"
                    );
                }
                Err(error) => panic!("{what} for {audience}: {error}"),
            }
        }
    }
}

// --- hostile bytes

#[test]
fn extensions_that_are_not_as_their_tag_says_are_refused_by_reader_and_writer() {
    let read = |tag, bytes: &[u8]| {
        let capacity = with(vec![Extension { tag, bytes: bytes.to_vec() }]);
        let sealed = sealed(capacity.clone());
        let error = capacity.conditions().map(drop).and_then(|()| capacity.maintenance().map(drop));
        let error = error.and_then(|()| capacity.node_verdict().map(drop)).err();
        match &error {
            Some(error) => {
                assert!(matches!(&sealed, Err(EncodeError::Extension(same)) if same == error), "{sealed:?}");
            }
            None => assert!(sealed.is_ok()),
        }
        // Whoever gets it all the same gets nothing of it.
        if error.is_some() {
            assert!(capacity.for_audience(Audience::Buyer).extensions.is_empty());
        }
        error
    };
    for tag in [CONDITIONS, MAINTENANCE] {
        assert_eq!(read(tag, &[0]), None);
        assert_eq!(read(tag, &[0, 0]), Some(ExtensionError::Trailing { tag, count: 1 }));
        // Four thousand million entries: refused before room is made for them.
        for bytes in [&[][..], &[1], &[0xff, 0xff, 0xff, 0xff, 0x0f], &[1, 2, 0, 0]] {
            assert!(matches!(read(tag, bytes), Some(ExtensionError::Content { .. })), "{bytes:?}");
        }
    }
    assert_eq!(read(NODE_VERDICT, &[0, 0]), None);
    assert_eq!(
        read(NODE_VERDICT, &[0, 0, 9]),
        Some(ExtensionError::Trailing { tag: NODE_VERDICT, count: 1 })
    );
    assert!(matches!(read(NODE_VERDICT, &[0, 5, b'x']), Some(ExtensionError::Content { .. })));
    // One more entry than a list may have, with all the entries there.
    let entries = |count: usize| {
        let mut bytes = vec![(count & 0x7f) as u8 | 0x80, (count >> 7) as u8];
        bytes.extend(std::iter::repeat_n([0, 0, 0], count).flatten());
        read(MAINTENANCE, &bytes)
    };
    assert_eq!(entries(limits::EXTENSION_ENTRIES), None);
    assert!(matches!(entries(limits::EXTENSION_ENTRIES + 1), Some(ExtensionError::Content { .. })));
}

#[test]
fn a_verdict_that_stands_twice_is_no_verdict() {
    let verdict = node_verdict_extension(&node_verdict()).expect("short");
    let twice = with(vec![verdict.clone(), verdict]);
    assert_eq!(twice.node_verdict(), Err(ExtensionError::Twice { tag: NODE_VERDICT }));
    assert!(matches!(sealed(twice), Err(EncodeError::Extension(ExtensionError::Twice { tag: 3 }))));
}

/// A hostile extension spoils itself only: the rest of the message stays readable.
#[test]
fn a_frame_with_a_spoiled_extension_still_has_a_body() {
    let mut body = postcard::to_allocvec(&Body::Capacity(with(vec![Extension {
        tag: CONDITIONS,
        bytes: vec![0xff; 20],
    }])))
    .expect("body");
    let Ok((Body::Capacity(read), [])) = postcard::take_from_bytes::<Body>(&body) else {
        panic!("the body does not parse")
    };
    assert!(read.conditions().is_err() && read.maintenance().is_ok());
    body.truncate(body.len() - 1);
    assert!(postcard::take_from_bytes::<Body>(&body).is_err());
}

/// The payload of an event, as bytes: what follows it, is missing, or is too long is refused.
#[test]
fn hostile_event_payloads_are_refused() {
    let parse = |kind: u16, payload: &[u8]| {
        let mut body = postcard::to_allocvec(&(NOW, kind)).expect("time, kind");
        body.extend(postcard::to_allocvec(payload).expect("payload"));
        body.extend([0, 0]);
        postcard::from_bytes::<Event>(&body).map(|event| event.kind)
    };
    for (name, event) in events() {
        let wire = postcard::to_allocvec(&event.kind).expect("kind");
        let (code, payload): (u16, &[u8]) = postcard::from_bytes(&wire).expect("code and payload");
        assert_eq!(parse(code, payload).as_ref(), Ok(&event.kind), "{name}");
        for end in 0..payload.len() {
            assert!(parse(code, &payload[..end]).is_err(), "{name} cut at {end}");
        }
        assert!(parse(code, &[payload, &[0]].concat()).is_err(), "{name} with a tail");
    }
    let text = |bytes: usize| postcard::to_allocvec(&"x".repeat(bytes)).expect("text");
    for (kind, limit, tail) in [
        (17, limits::NAME_BYTES, &[0, 0, 0, 0, 0, 0][..]),
        (18, limits::NAME_BYTES, &[0, 0, 0]),
        (28, limits::TEXT_BYTES, &[]),
        (29, limits::NAME_BYTES, &[0, 0]),
    ] {
        assert!(parse(kind, &[&text(limit), tail].concat()).is_ok(), "{kind}");
        assert!(parse(kind, &[&text(limit + 1), tail].concat()).is_err(), "{kind}");
    }
    assert!(parse(26, &[0, 2, 0, 0]).is_err(), "an option is 0 or 1");
}

#[test]
fn long_texts_of_events_and_verbs_are_not_sealed() {
    let long = || "x".repeat(limits::TEXT_BYTES + 1);
    let name = || "x".repeat(limits::NAME_BYTES + 1);
    let raised = condition("xid", 0, Severity::Info, Action::None);
    for kind in [
        EventKind::ConditionRaised { condition: Condition { code: name(), ..raised.clone() } },
        EventKind::ConditionRaised { condition: Condition { detail: long(), ..raised } },
        EventKind::ConditionCleared { code: name(), key: 0, since_unix_ms: 0, by: ClearedBy::Expired },
        EventKind::VerdictChanged { from: Verdict::Unknown, to: Verdict::Unknown, reason: long() },
        EventKind::StateChanged {
            from: GpuState::Free,
            to: GpuState::Free,
            cause: StateCause::Agent,
            reason: long(),
        },
        EventKind::MaintenanceStarted { until_unix_ms: 0, reason: long() },
        EventKind::SxId { code: 0, fatal: None, pci_address: long(), text: String::new() },
        EventKind::SxId { code: 0, fatal: None, pci_address: String::new(), text: long() },
        EventKind::LeaseStarted { lease: long(), until_unix_ms: None },
        EventKind::LeaseEnded { lease: long() },
        EventKind::Acknowledged { code: name(), key: 0, by: String::new() },
        EventKind::Acknowledged { code: String::new(), key: 0, by: long() },
    ] {
        let message = message(&session_key(), Some(1), Body::Event(event(kind.clone(), None)));
        assert!(matches!(seal(&message, &session_key()), Err(EncodeError::Limit(_))), "{kind:?}");
    }
    for verb in [
        Verb::Acknowledge { gpu: None, code: name(), key: 0 },
        Verb::Acknowledge { gpu: Some(long()), code: String::new(), key: 0 },
        Verb::MaintenanceStart { gpu: None, until_unix_ms: 0, reason: long() },
        Verb::MaintenanceEnd { gpu: Some(long()) },
        Verb::LeaseStart { gpu: long(), lease: String::new(), until_unix_ms: None },
        Verb::LeaseStart { gpu: String::new(), lease: long(), until_unix_ms: None },
        Verb::LeaseEnd { lease: long() },
        Verb::Drain { gpu: None, reason: long() },
        Verb::Undrain { gpu: Some(long()) },
        Verb::Pause { gpu: Some(long()), for_ms: 0 },
        Verb::Resume { gpu: Some(long()) },
    ] {
        let body = DownlinkBody::Command(command(verb.clone()));
        let result = seal_downlink(&body, &consumer_key());
        assert!(matches!(result, Err(EncodeError::Limit(_))), "{verb:?}");
    }
}

proptest! {
    #[test]
    fn any_bytes_under_a_known_tag_give_entries_or_an_error(
        tag in 1u16..4, first in prop::collection::vec(any::<u8>(), 0..80), second in prop::collection::vec(any::<u8>(), 0..8)
    ) {
        let capacity = with(vec![Extension { tag, bytes: first }, Extension { tag, bytes: second }]);
        let _ = (capacity.conditions(), capacity.maintenance(), capacity.node_verdict());
        for audience in [Audience::Public, Audience::Buyer] {
            let cut = capacity.for_audience(audience);
            // What is cut can be sealed, unless it is broken as a whole (a verdict that stands twice).
            let twice = cut.extensions.iter().filter(|e| e.tag == NODE_VERDICT).count() > 1;
            prop_assert_eq!(sealed(cut).is_ok(), !twice);
        }
    }

    #[test]
    fn any_flipped_byte_of_the_extensions_is_read_or_refused(at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut capacity = capacity_with_conditions();
        let which = at.index(3) + 1;
        let bytes = &mut capacity.extensions[which].bytes;
        let at = at.index(bytes.len());
        bytes[at] ^= byte;
        let _ = (capacity.conditions(), capacity.maintenance(), capacity.node_verdict());
        for audience in Audience::ALL {
            let _ = capacity.for_audience(*audience);
        }
    }

    #[test]
    fn whatever_is_packed_is_read_back(
        details in prop::collection::vec((0u8..64, 0usize..512), 0..200), room in 0usize..60_000
    ) {
        let list: Vec<SlotCondition> = details.iter().map(|(slot, detail)| SlotCondition {
            slot: (*slot != 63).then_some(*slot),
            condition: Condition {
                detail: "é".repeat(detail / 2),
                ..condition("xid", 79, Severity::Critical, Action::ResetGpu)
            },
        }).collect();
        let (extensions, left_out) = conditions_extensions_within(&list, room);
        let read = with(extensions).conditions().expect("own extensions");
        prop_assert_eq!(read.len() + left_out, list.len());
        // In order, with gaps where one did not fit.
        let mut rest = list.iter();
        prop_assert!(read.iter().all(|entry| rest.any(|given| given == entry)));
    }
}
