//! Any bytes as a frame: parsed or refused, and what parses has a JSON form that gives the bytes back.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rackmark_feed::{Frame, json};

fuzz_target!(|bytes: &[u8]| {
    let Ok(frame) = Frame::parse(bytes) else { return };
    if let Ok(document) = json::to_json(&frame) {
        assert_eq!(json::from_json(&document).expect("own document"), bytes);
    }
});
