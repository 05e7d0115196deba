//! Any bytes as a certificate and as a chain; what parses is walked, with a root that is not from here.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rackmark_feed::verify::certificate::{Certificate, walk};
use rackmark_feed::verify::chain::{self, walk_in_order};
use rackmark_feed::verify::endorsement::verify_endorsement;
use rackmark_feed::verify::outcome::Outcome;
use rackmark_feed::verify::signatures::Checked;

const ROOT: &[u8] = include_bytes!("../seeds/root.der");
const NOW: u64 = 1_830_000_000_000;

fuzz_target!(|bytes: &[u8]| {
    let roots = [Certificate::parse(ROOT).expect("own root")];
    if let Ok(certificate) = Certificate::parse(bytes) {
        assert_eq!(certificate.der(), bytes);
        let _ = (certificate.purposes(), certificate.subject(), certificate.is_signed_by(&roots[0]));
        let pool = [certificate.clone()];
        let _ = walk(&certificate, &pool, &roots, NOW);
    }
    if let Ok(chain) = chain::parse(bytes) {
        let _ = walk_in_order(&chain, &roots, NOW, &mut Checked::default());
    }
    let (key, certificate) = bytes.split_at(bytes.len().min(88));
    let (check, _) = verify_endorsement(key, Some(certificate), &[], &roots, NOW);
    assert_ne!(check.outcome, Outcome::Verified);
});
