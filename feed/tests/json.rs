//! The JSON form says names, units and reasons, and gives the signed bytes back.

mod messages;

use rackmark_feed::json::{JsonError, downlink_to_json, from_json, to_json};
use rackmark_feed::*;
use serde_json::json;

fn document(name: &str) -> serde_json::Value {
    let (_, message, key) = messages::all().into_iter().find(|(n, _, _)| n == name).expect("a known name");
    let bytes = seal(&message, &key).expect("sealed");
    to_json(&Frame::parse(&bytes).expect("frame")).expect("body")
}

#[test]
fn telemetry_is_rows_by_sample_and_gpu_with_names_units_and_reasons() {
    let document = document("telemetry_training");
    let sample = &document["body"]["samples"][2];
    assert_eq!(sample["seq"], 102);
    assert_eq!(sample["gpus"][5]["slot"], 5);
    assert_eq!(sample["gpus"][5]["power_draw_milliwatts"], json!({ "no_data": "gpu_lost" }));
    let Some(power) = sample["gpus"][4]["power_draw_milliwatts"].as_u64() else { panic!("no power") };
    assert!((640_000..660_000).contains(&power));
    assert_eq!(document["units"]["power_draw_milliwatts"], "milliwatts");
}

#[test]
fn known_extensions_are_told_by_name_and_spoiled_ones_are_null() {
    let body = &document("capacity_conditions_operator")["body"];
    assert_eq!(body["conditions"][0]["slot"], 7);
    assert_eq!(body["conditions"][0]["condition"]["code"], "row_remap_failed");
    assert_eq!(body["conditions"][0]["condition"]["action"], "replace_hardware");
    assert_eq!(body["conditions"][1]["slot"], json!(null));
    assert_eq!(body["conditions"][3]["condition"]["severity"], json!({ "code": 9 }));
    assert_eq!(body["maintenance"][0]["reason"], "board swap, RMA 4711");
    assert_eq!(body["node_verdict"], json!({ "verdict": "draining", "reason": "the disk is nearly full" }));
    assert_eq!(body["extensions"][1]["tag"], 1);
    // Without the tag there is no key: nothing said is not "none".
    let silent = &document("capacity_operator")["body"];
    assert!(silent.get("conditions").is_none() && silent.get("node_verdict").is_none());

    // The count of the conditions is spoiled; the seal is not looked at by the JSON form.
    let (_, message, key) = messages::all()
        .into_iter()
        .find(|(n, _, _)| n == "capacity_conditions_operator")
        .expect("a known name");
    let Body::Capacity(capacity) = &message.body else { panic!("another kind") };
    let content = &capacity.extensions[1].bytes;
    let mut bytes = seal(&message, &key).expect("sealed");
    let at = bytes.windows(content.len()).position(|window| window == content).expect("its bytes");
    bytes[at] += 1;
    let spoiled = to_json(&Frame::parse(&bytes).expect("frame")).expect("the body parses all the same");
    assert_eq!(spoiled["body"].get("conditions"), Some(&json!(null)));
    assert_eq!(spoiled["body"]["maintenance"], body["maintenance"]);
}

#[test]
fn full_range_numbers_and_error_codes_survive() {
    let document = document("capacity_operator");
    let fields = &document["body"]["gpus"][0]["groups"][0]["fields"];
    assert_eq!(fields["field_999"], u64::MAX);
    assert_eq!(fields["numa_node"], -1);
    assert_eq!(fields["temperature_gpu_max_celsius"], json!({ "no_data": "error", "code": -7 }));
    assert_eq!(document["body"]["gpus"][2]["state"], json!({ "code": 77 }));
}

#[test]
fn a_document_that_was_tampered_with_still_gives_bytes_that_verify_and_nothing_claims_validity() {
    let mut document = document("status_online");
    document["body"]["state"] = "offline".into();
    let bytes = from_json(&document).expect("bytes");
    let verified =
        Frame::parse(&bytes).expect("frame").verify(&messages::session_key().public()).expect("signature");
    let Body::Status(status) = verified.message().expect("body").body else { panic!("another kind") };
    assert_eq!(status.state, NodeState::Online);
    assert!(!document.to_string().contains("valid"));
}

#[test]
fn a_body_of_unknown_schema_is_null_and_keeps_its_bytes() {
    let (_, message, key) = messages::all().remove(2);
    let mut bytes = seal(&message, &key).expect("sealed");
    bytes[4] ^= 1;
    let document = to_json(&Frame::parse(&bytes).expect("frame")).expect("document");
    assert!(document["body"].is_null() && document["kind"].is_null());
    assert_eq!(document["header"]["stream"], "status");
    assert_eq!(from_json(&document).expect("bytes"), bytes);
}

#[test]
fn documents_without_usable_bytes_are_refused() {
    assert!(matches!(from_json(&json!({})), Err(JsonError::Missing)));
    assert!(matches!(from_json(&json!({ "signed_bytes": 4 })), Err(JsonError::Missing)));
    assert!(matches!(from_json(&json!({ "signed_bytes": "%%" })), Err(JsonError::Base64(_))));
    let long = "A".repeat(limits::FRAME_BYTES * 2);
    assert!(matches!(from_json(&json!({ "signed_bytes": long })), Err(JsonError::TooLong)));
}

#[test]
fn downlink_documents_say_names_and_give_the_signed_bytes_back() {
    let documents: Vec<_> = messages::downlink::all()
        .into_iter()
        .map(|(name, body)| {
            let bytes = seal_downlink(&body, &messages::downlink::consumer_key()).expect("sealed");
            let document = downlink_to_json(&Downlink::parse(&bytes).expect("frame"));
            assert_eq!(from_json(&document).expect("bytes"), bytes, "{name}");
            document
        })
        .collect();
    assert_eq!(documents[0]["kind"], "watermark");
    assert_eq!(documents[0]["body"]["below"][1], json!({ "stream": "event", "below_seq": 17 }));
    assert_eq!(documents[2]["body"]["below"][3]["stream"], json!({ "code": 300 }));
    assert_eq!(documents[3]["body"]["verb"], "resend");
    assert_eq!(documents[3]["body"]["details"]["to_seq"], 163);
    assert_eq!(documents[4]["body"]["verb"], json!({ "code": 9_000 }));
}
