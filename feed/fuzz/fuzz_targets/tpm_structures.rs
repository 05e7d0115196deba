//! Any bytes as the structures of a TPM, alone and as one quote. The first two bytes say where the parts end.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rackmark_feed::verify::quote::{QuoteInput, verify_quote};
use rackmark_feed::verify::tpm::{ALG_SHA256, Attest, Public, Selection, Signature};

fuzz_target!(|bytes: &[u8]| {
    let [first, second, rest @ ..] = bytes else { return };
    let (attestation_key, rest) = rest.split_at(usize::from(*first).min(rest.len()));
    let (quoted, signature) = rest.split_at(usize::from(*second).min(rest.len()));
    for part in [attestation_key, quoted, signature, bytes] {
        if let Ok(public) = Public::parse(part) {
            public.name();
        }
        let _ = (Attest::parse(part), Signature::parse(part));
    }
    let qualifying = &[0x5a; 32];
    let wanted = Selection { bank: ALG_SHA256, mask: 1 };
    let value = [0; 32];
    let report = verify_quote(&QuoteInput {
        attestation_key,
        quoted,
        signature,
        qualifying,
        wanted,
        values: &[(0, &value)],
    });
    assert!(!report.checks.is_empty());
});
