//! Any bytes as a bundle, judged with fixed trust and a nonce that nobody was asked with: it is never fresh.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rackmark_feed::verify::bundle::BundleView;
use rackmark_feed::verify::certificate::Certificate;
use rackmark_feed::verify::outcome::Outcome;
use rackmark_feed::verify::report::{Question, Trust, verify_bundle};

const ROOT: &[u8] = include_bytes!("../seeds/root.der");

fuzz_target!(|bytes: &[u8]| {
    let Ok(bundle) = BundleView::parse(bytes) else { return };
    let roots = [Certificate::parse(ROOT).expect("own root")];
    let trust = Trust { device_anchors: &roots, endorsement_anchors: &roots, ..Trust::default() };
    let question =
        Question { now_unix_ms: 1_830_000_000_000, nonce: Some(&[0xff; 32]), ..Question::default() };
    let report = verify_bundle(&bundle, &trust, &question);
    assert_ne!(report.outcome(), Outcome::Verified);
    assert!(report.observation.is_none());
});
