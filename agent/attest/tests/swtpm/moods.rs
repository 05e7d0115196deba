//! A TPM that is busy, or slow, or whose registers change.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use rackmark_e2e::Outcome;
use rackmark_e2e::swtpm::{Certified, Chip, Swtpm};
use rackmark_e2e::tpm_proxy::{CC_NV_READ, CC_PCR_READ, CC_QUOTE, Fate, RC_NV_RATE, RC_RETRY, TpmProxy};
use rackmark_feed::verify::outcome::{Outcome as Result3, worst};
use rackmark_model::tpm::{TpmFault, TpmOrder, TpmReport};

use crate::attester::{Attester, REGISTERS, judge, judge_of, opened};

/// The first commands with this code get the code of a busy TPM.
fn busy(command: u32, answer: u32, times: u32) -> impl FnMut(u32) -> Fate + Send + 'static {
    let mut left = times;
    move |code| {
        if code == command && left > 0 {
            left -= 1;
            return Fate::Code(answer);
        }
        Fate::Pass
    }
}

#[test]
fn a_busy_tpm_is_asked_again() -> Outcome<()> {
    let chip = Chip::manufacture(Certified::ByItsMaker)?;
    let tpm = Swtpm::power(&chip)?;
    let expected = opened(&tpm, None)?.1;
    // NV_RATE reaches us at once; RETRY only after the library itself has tried a few times.
    let proxy = TpmProxy::before(&tpm, busy(CC_NV_READ, RC_NV_RATE, 2))?;
    let mut attester = Attester::start(&proxy.tcti())?;
    let keys = attester.open(Some(expected.kept.clone()))?;
    assert_eq!((&keys.endorsement, &keys.certificate), (&expected.endorsement, &expected.certificate));
    proxy.rule(busy(CC_QUOTE, RC_RETRY, 8));
    let quote = attester.quote([1; 32])?;
    assert_eq!(worst(&judge(&keys, &quote, &[1; 32]).checks), Result3::Verified);
    assert!(quote.took_ms >= 100, "a pause of at least 100 ms: {}", quote.took_ms);
    Ok(())
}

/// The certificate says which endorsement key is the node's. One that cannot be read now is not one that is missing.
#[test]
fn a_tpm_that_stays_busy_is_said_and_never_has_another_identity() -> Outcome<()> {
    let chip = Chip::manufacture(Certified::ByItsMaker)?;
    let tpm = Swtpm::power(&chip)?;
    let proxy = TpmProxy::before(&tpm, busy(CC_NV_READ, RC_NV_RATE, u32::MAX))?;
    let mut attester = Attester::start(&proxy.tcti())?;
    let begun = Instant::now();
    match attester.ask(&TpmOrder::Open { kept: None })? {
        TpmReport::Failed { fault: TpmFault::Busy, words } => assert!(words.contains("0x920"), "{words}"),
        other => return Err(format!("{other:?}").into()),
    }
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    Ok(())
}

/// Registers that change between the quote and the reads around it.
#[test]
fn values_belong_to_the_quote_even_while_registers_change() -> Outcome<()> {
    let chip = Chip::manufacture(Certified::ByNobody)?;
    let tpm = Swtpm::power(&chip)?;
    let proxy = TpmProxy::before(&tpm, |_| Fate::Pass)?;
    let mut attester = Attester::start(&proxy.tcti())?;
    let keys = attester.open(None)?;
    // Register 7 changes as the quote is made: the values from before do not belong to it.
    let quotes = Arc::new(AtomicU32::new(0));
    let counted = quotes.clone();
    proxy.rule(move |code| match code {
        CC_QUOTE if counted.fetch_add(1, Ordering::SeqCst) == 0 => Fate::AfterExtending(7),
        _ => Fate::Pass,
    });
    let quote = attester.quote([1; 32])?;
    assert_eq!(worst(&judge(&keys, &quote, &[1; 32]).checks), Result3::Verified);
    assert_eq!(quotes.load(Ordering::SeqCst), 2);
    assert_ne!(quote.values[7].1, [0; 32], "it did change");
    // One that never stands still.
    proxy.rule(|code| match code {
        CC_PCR_READ => Fate::AfterExtending(7),
        _ => Fate::Pass,
    });
    match attester.ask(&TpmOrder::Quote { qualifying: [1; 32], registers: REGISTERS })? {
        TpmReport::Failed { fault: TpmFault::Busy, words } => assert!(words.contains("registers"), "{words}"),
        other => return Err(format!("{other:?}").into()),
    }
    Ok(())
}

/// Sixteen registers take two commands, between which one of the second eight changes after it was quoted.
#[test]
fn values_of_several_reads_belong_together() -> Outcome<()> {
    const SIXTEEN: u32 = 0xffff;
    let chip = Chip::manufacture(Certified::ByNobody)?;
    let tpm = Swtpm::power(&chip)?;
    let proxy = TpmProxy::before(&tpm, |_| Fate::Pass)?;
    let mut attester = Attester::start(&proxy.tcti())?;
    let keys = attester.open(None)?;
    let mut reads = 0;
    proxy.rule(move |code| {
        reads += u32::from(code == CC_PCR_READ);
        // Two before the quote, two after it.
        if code == CC_PCR_READ && reads == 4 { Fate::AfterExtending(9) } else { Fate::Pass }
    });
    match attester.ask(&TpmOrder::Quote { qualifying: [1; 32], registers: SIXTEEN })? {
        TpmReport::Quoted(quote) => {
            assert_eq!(worst(&judge_of(SIXTEEN, &keys, &quote, &[1; 32]).checks), Result3::Verified);
            assert_ne!(quote.values[9].1, [0; 32], "it did change");
        }
        other => return Err(format!("{other:?}").into()),
    }
    Ok(())
}

/// All of them: one read gives eight at most.
#[test]
fn more_registers_than_one_read_gives() -> Outcome<()> {
    let chip = Chip::manufacture(Certified::ByNobody)?;
    let tpm = Swtpm::power(&chip)?;
    let (mut attester, _) = opened(&tpm, None)?;
    let registers = 0xff_ffff & !(1 << 16 | 1 << 23);
    match attester.ask(&TpmOrder::Quote { qualifying: [1; 32], registers })? {
        TpmReport::Quoted(quote) => {
            let indices: Vec<u8> = quote.values.iter().map(|(index, _)| *index).collect();
            let expected: Vec<u8> = (0..23).filter(|index| *index != 16).collect();
            assert_eq!(indices, expected);
            assert!(quote.values.iter().all(|(_, value)| value.len() == 32));
        }
        other => return Err(format!("{other:?}").into()),
    }
    Ok(())
}
