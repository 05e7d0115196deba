//! Any bytes as the body of evidence, and as JSON: what parses has bytes and JSON that give it back, and one quote.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rackmark_feed::{
    Body, Evidence, Frame, Header, IdentityClass, Message, NodeId, SessionId, SigningKey, SpoolEpoch, json,
    seal,
};

fuzz_target!(|bytes: &[u8]| {
    if let Ok(text) = serde_json::from_slice::<serde_json::Value>(bytes) {
        let _ = json::from_json(&text);
    }
    let Ok(evidence) = postcard::from_bytes::<Evidence>(bytes) else { return };
    let node = NodeId::from_parts(IdentityClass::Software, [1; 32]);
    evidence.claim.qualifying_data(&node);
    let key = SigningKey::from_seed(&[1; 32]);
    let body = Body::Evidence(evidence);
    let header = Header {
        node,
        session: SessionId::of(&key.public()),
        epoch: SpoolEpoch(1),
        stream: body.stream(),
        seq: None,
        time_unix_ms: 1,
    };
    let Ok(frame) = seal(&Message { header, body: body.clone() }, &key) else { return };
    let parsed = Frame::parse(&frame).expect("own frame");
    assert_eq!(parsed.body().expect("own body"), body);
    let document = json::to_json(&parsed).expect("own document");
    assert_eq!(json::from_json(&document).expect("own document"), frame);
});
