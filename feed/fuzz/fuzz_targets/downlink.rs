//! Any bytes as a downlink frame: parsed or refused; what parses can be sealed and gives its bytes back as JSON.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rackmark_feed::{Downlink, SigningKey, json, seal_downlink};

fuzz_target!(|bytes: &[u8]| {
    let Ok(downlink) = Downlink::parse(bytes) else { return };
    let document = json::downlink_to_json(&downlink);
    assert_eq!(json::from_json(&document).expect("own document"), bytes);
    let again =
        seal_downlink(downlink.body(), &SigningKey::from_seed(&[1; 32])).expect("what parses can be sealed");
    assert_eq!(Downlink::parse(&again).expect("own frame").body(), downlink.body());
});
