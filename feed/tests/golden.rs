//! Golden payloads: made once per release, decoded by every later build.
//!
//! `UPDATE_GOLDEN=1 cargo test -p rackmark-feed --features json` writes new
//! ones. A released file never changes; a new release adds a folder.

mod messages;

use std::path::PathBuf;
use std::process::Command;

use rackmark_feed::{Downlink, Frame, fields, json, schema, seal, seal_downlink};

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("golden/v1")
}

fn update() -> bool {
    std::env::var_os("UPDATE_GOLDEN").is_some_and(|value| value == "1")
}

fn compare(name: &str, made: &[u8]) {
    let path = folder().join(name);
    if update() {
        std::fs::create_dir_all(path.parent().expect("in a folder")).expect("golden folder");
        std::fs::write(&path, made).expect("golden file");
    }
    let kept = std::fs::read(&path).unwrap_or_else(|error| panic!("{name}: {error}"));
    assert!(kept == made, "{name} differs from what this build makes");
}

fn text(document: &serde_json::Value) -> Vec<u8> {
    let mut text = serde_json::to_vec_pretty(document).expect("json");
    text.push(b'\n');
    text
}

#[test]
fn every_message_is_sealed_as_before() {
    for (name, message, key) in messages::all() {
        let bytes = seal(&message, &key).unwrap_or_else(|error| panic!("{name}: {error}"));
        let frame = Frame::parse(&bytes).expect("own frame");
        let document = json::to_json(&frame).expect("own body");
        compare(&format!("{name}.bin"), &bytes);
        compare(&format!("{name}.json"), &text(&document));
    }
}

#[test]
fn every_kept_payload_still_decodes_and_verifies() {
    let wanted: Vec<_> = messages::all();
    let mut found = 0;
    for entry in std::fs::read_dir(folder()).expect("golden folder") {
        let path = entry.expect("entry").path();
        if path.extension().is_none_or(|extension| extension != "bin") {
            continue;
        }
        let name = path.file_stem().and_then(|stem| stem.to_str()).expect("name").to_owned();
        let bytes = std::fs::read(&path).expect("golden file");
        let (_, message, key) = wanted.iter().find(|(n, _, _)| *n == name).expect("a known name");
        let frame = Frame::parse(&bytes).expect("frame");
        let document: serde_json::Value =
            serde_json::from_slice(&std::fs::read(path.with_extension("json")).expect("json")).expect("json");
        assert_eq!(json::to_json(&frame).expect("body"), document, "{name}");
        assert_eq!(json::from_json(&document).expect("signed bytes"), bytes, "{name}");
        let verified = frame.verify(&key.public()).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(verified.message().expect("body"), *message, "{name}");
        found += 1;
    }
    assert_eq!(found, wanted.len());
}

#[test]
fn every_downlink_message_is_sealed_as_before_and_still_decodes_and_verifies() {
    let key = messages::downlink::consumer_key();
    compare("downlink/sender.key", format!("{}\n", key.public()).as_bytes());
    for (name, body) in messages::downlink::all() {
        let bytes = seal_downlink(&body, &key).unwrap_or_else(|error| panic!("{name}: {error}"));
        let document = json::downlink_to_json(&Downlink::parse(&bytes).expect("own frame"));
        assert_eq!(json::from_json(&document).expect("signed bytes"), bytes, "{name}");
        compare(&format!("downlink/{name}.json"), &text(&document));
        compare(&format!("downlink/{name}.bin"), &bytes);
        let kept = std::fs::read(folder().join(format!("downlink/{name}.bin"))).expect("golden file");
        let verified = Downlink::parse(&kept).expect("frame").verify(&key.public()).expect("signature");
        assert_eq!(verified.into_body(), body, "{name}");
    }
}

/// A schema text of a released version never changes: its id is pinned here.
#[test]
fn released_schema_ids_are_pinned() {
    let listing: String = schema::all().iter().map(|s| format!("{} {} {}\n", s.body, s.name, s.id)).collect();
    compare("schemas.txt", listing.as_bytes());
}

/// Field ids are append-only: id, name, unit, kind, class and audience are pinned here.
#[test]
fn released_fields_are_pinned() {
    let mut listing = String::new();
    for f in fields::all() {
        let unit = if f.unit.is_empty() { "-" } else { f.unit };
        listing += &format!(
            "{} {} {} {} {} {}\n",
            f.id,
            f.name,
            unit.replace(' ', "_"),
            f.kind.name(),
            f.class.name(),
            f.audience
        );
    }
    if !update() {
        // New lines may come after or between; a kept line may not go.
        let kept = std::fs::read_to_string(folder().join("fields.txt")).expect("listing");
        for line in kept.lines() {
            assert!(listing.lines().any(|made| made == line), "field line is gone or changed: {line}");
        }
    }
    compare("fields.txt", listing.as_bytes());
}

/// A decoder written from `docs/feed.md` alone, in another language, agrees with every golden document.
#[test]
fn the_independent_decoder_agrees() {
    let python = std::env::var("RACKMARK_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/independent_decoder.py");
    let output = Command::new(&python)
        .arg("-B")
        .arg(&script)
        .arg(folder())
        .output()
        .unwrap_or_else(|error| panic!("cannot run {python} (set RACKMARK_PYTHON): {error}"));
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "independent decoder:\n{said}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let count = messages::all().len() + messages::downlink::all().len();
    assert!(said.contains(&format!("{count} payloads agree")), "{said}");
}
