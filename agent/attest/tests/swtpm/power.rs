//! Power cuts, and the lockout that they lead to.

use rackmark_e2e::Outcome;
use rackmark_e2e::swtpm::{Certified, Chip, Swtpm};
use rackmark_e2e::tpm_proxy::{CC_QUOTE, Fate, RC_LOCKOUT, TpmProxy};
use rackmark_feed::verify::outcome::{Outcome as Result3, worst};
use rackmark_feed::verify::tpm::Public;
use rackmark_model::tpm::{TpmFault, TpmOrder, TpmReport};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::attester::{Attester, REGISTERS, activate, judge, opened};

fn in_lockout(tpm: &Swtpm<'_>) -> Outcome<bool> {
    let said = String::from_utf8(tpm.tool("tpm2_getcap properties-variable")?)?;
    let line = said.lines().find(|line| line.contains("inLockout")).ok_or("no inLockout")?;
    Ok(line.trim().ends_with('1'))
}

/// Each unclean power loss after the use of a key without *noDA* counts as a failed try.
#[test]
fn five_power_cuts_in_a_row_do_not_lock_the_tpm() -> Outcome<()> {
    let chip = Chip::manufacture(Certified::ByNobody)?;
    let mut kept = None;
    for cut in 0..5 {
        let tpm = Swtpm::power(&chip)?;
        let (mut attester, keys) = opened(&tpm, kept.clone())?;
        let quote = attester.quote([cut; 32])?;
        let report = judge(&keys, &quote, &[cut; 32]);
        assert_ne!(worst(&report.checks), Result3::Contradicted, "{:?}", report.checks);
        assert_eq!(keys.is_new, cut == 0);
        kept = Some(keys.kept);
        drop(attester);
        tpm.cut_power()?;
    }
    let tpm = Swtpm::power(&chip)?;
    assert!(!in_lockout(&tpm)?);
    assert!(!opened(&tpm, kept)?.1.in_lockout);
    Ok(())
}

/// The same with a key as tools make it by default: this is what *noDA* is for.
#[test]
fn power_cuts_after_the_use_of_a_key_that_is_not_exempt_lock_the_tpm() -> Outcome<()> {
    let chip = Chip::manufacture(Certified::ByNobody)?;
    let files = {
        let tpm = Swtpm::power(&chip)?;
        tpm.tool("tpm2_createek -c ek.ctx -G ecc -u ek.pub")?;
        tpm.tool("tpm2_createak -C ek.ctx -c ak.ctx -G ecc -g sha256 -s ecdsa -u ak.pub -r ak.priv")?;
        ["ak.pub", "ak.priv"].map(|name| (name, tpm.file(name)))
    };
    let mut cuts = 0;
    let tpm = loop {
        let tpm = Swtpm::power(&chip)?;
        if in_lockout(&tpm)? {
            break tpm;
        }
        assert!(cuts < 10, "ten power cuts and no lockout");
        for (name, content) in &files {
            std::fs::write(tpm.path(name), content.as_ref().map_err(ToString::to_string)?)?;
        }
        tpm.tool("tpm2_createek -c ek.ctx -G ecc -u ek.pub")?;
        tpm.tool("tpm2_startauthsession --policy-session -S s.ctx")?;
        tpm.tool("tpm2_policysecret -S s.ctx -c e")?;
        tpm.tool("tpm2_load -C ek.ctx -P session:s.ctx -u ak.pub -r ak.priv -c ak.ctx")?;
        tpm.tool("tpm2_flushcontext s.ctx")?;
        // The TPM says "retry" where it first notes that somebody tries.
        let _ = tpm.tool("tpm2_quote -c ak.ctx -l sha256:0 -m quoted -s signature");
        tpm.cut_power()?;
        cuts += 1;
    };
    println!("in lockout after {cuts} power cuts");
    // What others locked is not locked for us.
    let (mut attester, keys) = opened(&tpm, None)?;
    assert!(keys.in_lockout);
    let quote = attester.quote([3; 32])?;
    let report = judge(&keys, &quote, &[3; 32]);
    assert_ne!(worst(&report.checks), Result3::Contradicted, "{:?}", report.checks);
    Ok(())
}

#[test]
fn wrong_passwords_of_others_lock_the_tpm_and_not_our_keys() -> Outcome<()> {
    let chip = Chip::manufacture(Certified::ByNobody)?;
    let tpm = Swtpm::power(&chip)?;
    assert!(!opened(&tpm, None)?.1.in_lockout);
    tpm.tool("tpm2_dictionarylockout -s -n 1 -t 100000 -l 100000")?;
    tpm.tool("tpm2_createprimary -C o -c parent.ctx -G ecc -p right")?;
    assert!(tpm.tool("tpm2_create -C parent.ctx -P wrong -G ecc -u u -r r").is_err());
    assert!(in_lockout(&tpm)?);
    let (mut attester, keys) = opened(&tpm, None)?;
    assert!(keys.in_lockout);
    let quote = attester.quote([1; 32])?;
    assert_eq!(worst(&judge(&keys, &quote, &[1; 32]).checks), Result3::Verified);
    let name = Public::parse(&keys.attestation)?.name();
    assert_eq!(activate(&mut attester, &keys, &name, b"s")?, TpmReport::Activated(b"s".to_vec()));
    Ok(())
}

/// A lockout lasts minutes to hours: it is reported at once, and the TPM is left in peace.
#[test]
fn a_lockout_is_reported_and_not_tried_again() -> Outcome<()> {
    let chip = Chip::manufacture(Certified::ByNobody)?;
    let tpm = Swtpm::power(&chip)?;
    let proxy = TpmProxy::before(&tpm, |_| Fate::Pass)?;
    let mut attester = Attester::start(&proxy.tcti())?;
    attester.open(None)?;
    let tries = Arc::new(AtomicU32::new(0));
    let counted = tries.clone();
    proxy.rule(move |code| match code {
        CC_QUOTE => {
            counted.fetch_add(1, Ordering::SeqCst);
            Fate::Code(RC_LOCKOUT)
        }
        _ => Fate::Pass,
    });
    match attester.ask(&TpmOrder::Quote { qualifying: [0; 32], registers: REGISTERS })? {
        TpmReport::Failed { fault: TpmFault::Lockout, words } => assert!(words.contains("0x921"), "{words}"),
        other => return Err(format!("{other:?}").into()),
    }
    assert_eq!(tries.load(Ordering::SeqCst), 1);
    Ok(())
}
