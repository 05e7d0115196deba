//! Any bytes as the answer to a challenge of the smallest game: the first two say where the commitment ends. Nobody
//! computed anything, so nothing is verified; what parses is written back byte for byte.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rackmark_feed::verify::outcome::Outcome;
use rackmark_feed::verify::proof::judge::{Issued, Limits, Measured, judge};
use rackmark_feed::verify::proof::messages::{Challenge, Commitment, Opening};
use rackmark_feed::verify::proof::parameters::Set;

const LIMITS: Limits = Limits { tiles_p99_ms: 80, chains_p99_ms: 80, tolerance_percent: 25 };

fuzz_target!(|bytes: &[u8]| {
    let [low, high, rest @ ..] = bytes else { return };
    let end = usize::from(u16::from_le_bytes([*low, *high])).min(rest.len());
    let (commitment, opening) = rest.split_at(end);
    if let Some(parsed) = Commitment::parse(commitment) {
        assert_eq!(postcard::to_allocvec(&parsed).expect("was bytes"), commitment);
    }
    if let Some(parsed) = Opening::parse(opening) {
        assert_eq!(postcard::to_allocvec(&parsed).expect("was bytes"), opening);
    }
    let challenge = Challenge {
        set: Set::Test,
        memory_bytes: 0,
        nonce: [1; 32],
        beacon: [2; 32],
        gpu: "GPU-0".to_owned(),
        node_key: [3; 32],
        round: 1,
    };
    // Bytes that begin with its digest get past the first question.
    let issued = Issued { challenge, probe_nonce: [4; 32], opening_nonce: [5; 32], test: true };
    let measured = Measured { tiles_ms: 1, chains_ms: 1 };
    let answered = [&issued.challenge.digest(), commitment].concat();
    for commitment in [commitment, &answered] {
        let verdict = judge(&issued, commitment, opening, measured, Some(&LIMITS));
        assert_ne!(verdict.outcome(), Outcome::Verified);
    }
});
