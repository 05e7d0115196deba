//! How long the process takes, on a software TPM.

use std::time::{Duration, Instant};

use rackmark_e2e::Outcome;
use rackmark_e2e::swtpm::{Certified, Chip, Swtpm};

use crate::attester::{Attester, opened};

const ROUNDS: u32 = 20;

/// A quote must not make the endorsement key again, which takes discrete TPMs seconds.
#[test]
fn opening_and_quoting_take_their_time_once() -> Outcome<()> {
    for (certified, without, name) in [
        (Certified::ByNobody, None, "P-256"),
        (Certified::ByItsMaker, None, "P-384"),
        (Certified::ByItsMaker, Some("0x1c00016"), "RSA 2048"),
    ] {
        let chip = Chip::manufacture(certified)?;
        let tpm = Swtpm::power(&chip)?;
        if let Some(index) = without {
            tpm.tool(&format!("tpm2_nvundefine {index} -C p"))?;
        }
        let kept = opened(&tpm, None)?.1.kept;
        let mut attester = Attester::start(&tpm.tcti())?;
        let mean = |total: Duration| total.as_secs_f64() * 1e3 / f64::from(ROUNDS);
        let begun = Instant::now();
        for _ in 0..ROUNDS {
            attester.open(Some(kept.clone()))?;
        }
        let open = mean(begun.elapsed());
        let begun = Instant::now();
        for _ in 0..ROUNDS {
            attester.quote([1; 32])?;
        }
        let quote = mean(begun.elapsed());
        println!("{name}: open {open:.1} ms, quote {quote:.1} ms");
        assert!(quote < 500.0);
    }
    Ok(())
}
