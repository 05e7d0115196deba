//! Any bytes as a frame: parsed or refused, and what parses has a JSON form that gives the bytes back. A capacity
//! that is cut for an audience cannot be cut further. Successions of a session record are read or refused.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rackmark_feed::{Audience, Body, Frame, json};

fuzz_target!(|bytes: &[u8]| {
    let Ok(frame) = Frame::parse(bytes) else { return };
    if let Ok(document) = json::to_json(&frame) {
        assert_eq!(json::from_json(&document).expect("own document"), bytes);
    }
    match frame.body() {
        Ok(Body::Capacity(capacity)) => {
            for audience in [Audience::Public, Audience::Buyer] {
                let cut = capacity.for_audience(audience);
                assert_eq!(cut.for_audience(audience), cut);
            }
        }
        Ok(Body::Session(record)) => drop(record.claim.successions()),
        _ => {}
    }
});
