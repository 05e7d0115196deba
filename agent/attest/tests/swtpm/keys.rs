//! Which keys a TPM has, and whether they are the same next time.

use rackmark_e2e::Outcome;
use rackmark_e2e::swtpm::{Certified, Chip, Swtpm};
use rackmark_feed::verify::certificate::Certificate;
use rackmark_feed::verify::endorsement::verify_endorsement;
use rackmark_feed::verify::outcome::{Outcome as Result3, worst};
use rackmark_feed::verify::tpm::{Key, Public, attributes};
use rackmark_model::tpm::{KeptKey, TpmFault, TpmOrder, TpmReport};

use crate::attester::{Attester, REGISTERS, activate, judge, opened};

const NOW: u64 = 1_830_000_000_000;

/// What a verifier demands of an attestation key, no more and no less: fixedTPM, fixedParent, sensitiveDataOrigin,
/// userWithAuth, noDA, restricted, sign (TPM 2.0 Part 2, 8.3).
const ATTRIBUTES: u32 = 1 << 1 | 1 << 4 | 1 << 5 | 1 << 6 | 1 << 10 | 1 << 16 | 1 << 18;

#[test]
fn every_kind_of_endorsement_key_quotes_and_opens_its_credential() -> Outcome<()> {
    for (certified, without, length) in [
        (Certified::ByItsMaker, Some("0x1c00016"), 256),
        (Certified::ByItsMaker, Some("0x1c00002"), 97),
        (Certified::ByNobody, None, 65),
    ] {
        let chip = Chip::manufacture(certified)?;
        let tpm = Swtpm::power(&chip)?;
        if let Some(index) = without {
            tpm.tool(&format!("tpm2_nvundefine {index} -C p"))?;
        }
        let (mut attester, keys) = opened(&tpm, None)?;
        assert!(keys.is_new);
        let endorsement = Public::parse(&keys.endorsement)?;
        let found = match &endorsement.key {
            Key::Rsa { modulus, .. } => modulus.len(),
            Key::Ecc { point, .. } => point.len(),
        };
        assert_eq!(found, length, "{certified:?}: the key that has a certificate");
        let attestation = Public::parse(&keys.attestation)?;
        assert_eq!(attestation.attributes, ATTRIBUTES, "{:#x}", attestation.attributes);

        let quote = attester.quote([7; 32])?;
        let report = judge(&keys, &quote, &[7; 32]);
        assert_eq!(worst(&report.checks), Result3::Verified, "{certified:?} {:?}", report.checks);

        let secret = b"thirty-two bytes of fresh secret";
        assert_eq!(
            activate(&mut attester, &keys, &attestation.name(), secret)?,
            TpmReport::Activated(secret.to_vec()),
            "{certified:?}"
        );
        // For a key of another name the TPM keeps the secret.
        let mut other = attestation.name();
        other[5] ^= 1;
        match activate(&mut attester, &keys, &other, secret)? {
            TpmReport::Failed { fault: TpmFault::WrongCredential, .. } => {}
            report => return Err(format!("{certified:?} {report:?}").into()),
        }
        if certified != Certified::ByNobody {
            let [root, issuer] = chip.maker()?;
            let (check, make) = verify_endorsement(
                &keys.endorsement,
                keys.certificate.as_deref(),
                &[Certificate::parse(&issuer)?],
                &[Certificate::parse(&root)?],
                NOW,
            );
            assert_eq!(check.outcome, Result3::Verified, "{certified:?} {}", check.detail);
            assert_eq!(make.ok_or("make")?.model, "swtpm");
        } else {
            assert_eq!(keys.certificate, None);
        }
    }
    Ok(())
}

#[test]
fn the_keys_are_the_same_after_a_restart_and_a_power_cut() -> Outcome<()> {
    let chip = Chip::manufacture(Certified::ByItsMaker)?;
    let tpm = Swtpm::power(&chip)?;
    let (attester, first) = opened(&tpm, None)?;
    drop(attester);
    let (attester, second) = opened(&tpm, Some(first.kept.clone()))?;
    assert!(!second.is_new);
    assert_eq!((&second.endorsement, &second.attestation), (&first.endorsement, &first.attestation));
    drop(attester);
    tpm.cut_power()?;
    let tpm = Swtpm::power(&chip)?;
    let (_attester, third) = opened(&tpm, Some(first.kept.clone()))?;
    assert!(!third.is_new);
    assert_eq!((&third.endorsement, &third.attestation), (&first.endorsement, &first.attestation));
    Ok(())
}

#[test]
fn a_cleared_tpm_gets_a_new_attestation_key() -> Outcome<()> {
    let chip = Chip::manufacture(Certified::ByNobody)?;
    let tpm = Swtpm::power(&chip)?;
    let (mut attester, before) = opened(&tpm, None)?;
    tpm.tool("tpm2_clear -c p")?;
    // The kept key no longer loads, and that is told from a broken TPM.
    match attester.ask(&TpmOrder::Quote { qualifying: [1; 32], registers: REGISTERS })? {
        TpmReport::Failed { fault: TpmFault::Cleared, .. } => {}
        other => return Err(format!("{other:?}").into()),
    }
    let after = attester.open(Some(before.kept.clone()))?;
    assert!(after.is_new);
    assert_ne!(after.attestation, before.attestation);
    // TPM2_Clear keeps the endorsement seed: it is the same TPM.
    assert_eq!(after.endorsement, before.endorsement);
    let quote = attester.quote([2; 32])?;
    assert_eq!(worst(&judge(&after, &quote, &[2; 32]).checks), Result3::Verified);
    Ok(())
}

/// A virtual TPM is its state: whoever copies it is the node, and only a verifier's memory can tell.
#[test]
fn a_copied_state_answers_like_the_original() -> Outcome<()> {
    let chip = Chip::manufacture(Certified::ByNobody)?;
    let kept = {
        let tpm = Swtpm::power(&chip)?;
        opened(&tpm, None)?.1
    };
    let copy = chip.clone_state()?;
    let (original, thief) = (Swtpm::power(&chip)?, Swtpm::power(&copy)?);
    let (_one, first) = opened(&original, Some(kept.kept.clone()))?;
    let (_two, second) = opened(&thief, Some(kept.kept))?;
    assert_eq!((first.endorsement, first.attestation), (second.endorsement, second.attestation));
    assert!(!second.is_new);
    Ok(())
}

#[test]
fn the_kept_key_of_another_tpm_does_not_load() -> Outcome<()> {
    let (chip, other) = (Chip::manufacture(Certified::ByNobody)?, Chip::manufacture(Certified::ByNobody)?);
    let (tpm, elsewhere) = (Swtpm::power(&chip)?, Swtpm::power(&other)?);
    let foreign = opened(&elsewhere, None)?.1;
    let (_attester, keys) = opened(&tpm, Some(foreign.kept))?;
    assert!(keys.is_new);
    assert_ne!(keys.attestation, foreign.attestation);
    Ok(())
}

fn certificate_area(tpm: &Swtpm<'_>, index: &str, content: &[u8]) -> Outcome<()> {
    std::fs::write(tpm.path("area"), content)?;
    let length = content.len();
    tpm.tool(&format!(
        "tpm2_nvdefine {index} -C o -s {length} -a ownerread|ownerwrite|authread|authwrite|no_da"
    ))?;
    tpm.tool(&format!("tpm2_nvwrite {index} -C o -i area"))?;
    Ok(())
}

/// Something of the shape of a certificate that has these bytes in it, and what makers fill the area up with.
fn shape_of_a_certificate(bytes: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let mut certificate = vec![0x30, 0x82, 1, 0];
    certificate.extend_from_slice(bytes);
    certificate.resize(4 + 256, 0xaa);
    let filled = [&certificate[..], &[0xff; 100]].concat();
    (certificate, filled)
}

#[test]
fn a_certificate_counts_for_the_key_that_it_names_and_for_no_other() -> Outcome<()> {
    let chip = Chip::manufacture(Certified::ByItsMaker)?;
    let tpm = Swtpm::power(&chip)?;
    let by_its_maker = opened(&tpm, None)?.1;
    let Key::Ecc { point, .. } = &Public::parse(&by_its_maker.endorsement)?.key else {
        return Err("P-384 was expected".into());
    };
    assert_eq!(point.len(), 97);
    // In the place of P-256 stands what names another key: the one that has its own stays.
    let (_, foreign) = shape_of_a_certificate(&point[1..49]);
    certificate_area(&tpm, "0x1c0000a", &foreign)?;
    assert_eq!(opened(&tpm, None)?.1.endorsement, by_its_maker.endorsement);
    // With one that names the P-256 key that is preferred.
    tpm.tool("tpm2_createek -c ek.ctx -G ecc -u ek.pub")?;
    tpm.tool("tpm2_readpublic -c ek.ctx -f tpmt -o ek.tpmt")?;
    let p256 = tpm.file("ek.tpmt")?;
    let Key::Ecc { point, .. } = &Public::parse(&p256)?.key else { return Err("P-256 was expected".into()) };
    let (certificate, filled) = shape_of_a_certificate(&point[1..33]);
    tpm.tool("tpm2_nvundefine 0x1c0000a -C o")?;
    certificate_area(&tpm, "0x1c0000a", &filled)?;
    let (_attester, keys) = opened(&tpm, None)?;
    assert_eq!(keys.endorsement, p256);
    assert_eq!(keys.certificate, Some(certificate), "without what fills the area");
    Ok(())
}

/// A key that is kept from elsewhere, and loads, is used only if it is one that verifiers take and that locks nobody
/// out.
#[test]
fn a_kept_key_that_is_not_exempt_from_lockout_is_replaced() -> Outcome<()> {
    let chip = Chip::manufacture(Certified::ByNobody)?;
    let tpm = Swtpm::power(&chip)?;
    tpm.tool("tpm2_createek -c ek.ctx -G ecc -u ek.pub")?;
    tpm.tool("tpm2_createak -C ek.ctx -c ak.ctx -G ecc -g sha256 -s ecdsa -u ak.pub -r ak.priv")?;
    tpm.tool("tpm2_readpublic -c ak.ctx -f tpmt -o ak.tpmt")?;
    let kept = KeptKey { public: tpm.file("ak.tpmt")?, private: tpm.file("ak.priv")?[2..].to_vec() };
    let public = Public::parse(&kept.public)?;
    assert!(public.has(attributes::RESTRICTED) && !public.has(attributes::NO_DA));
    let (_attester, keys) = opened(&tpm, Some(kept.clone()))?;
    assert!(keys.is_new);
    assert_eq!(Public::parse(&keys.attestation)?.attributes, ATTRIBUTES);
    Ok(())
}

#[test]
fn a_kept_key_that_is_damaged_is_replaced() -> Outcome<()> {
    let chip = Chip::manufacture(Certified::ByNobody)?;
    let tpm = Swtpm::power(&chip)?;
    let (mut attester, first) = opened(&tpm, None)?;
    let good = first.kept;
    let damage: [fn(&mut KeptKey); 6] = [
        |kept| kept.public.clear(),
        |kept| kept.private.clear(),
        |kept| kept.public.truncate(20),
        |kept| kept.public.push(0),
        |kept| kept.private.truncate(50),
        |kept| kept.private[40] ^= 1,
    ];
    for (number, damage) in damage.into_iter().enumerate() {
        let mut kept = good.clone();
        damage(&mut kept);
        let keys = attester.open(Some(kept))?;
        assert!(keys.is_new, "damage {number}");
        assert_eq!(keys.endorsement, first.endorsement);
    }
    assert!(!attester.open(Some(good))?.is_new, "and the good one still loads");
    Ok(())
}

/// An operator who gave the endorsement hierarchy a password has closed it to us.
#[test]
fn an_endorsement_hierarchy_with_a_password_is_said() -> Outcome<()> {
    let chip = Chip::manufacture(Certified::ByNobody)?;
    let tpm = Swtpm::power(&chip)?;
    tpm.tool("tpm2_changeauth -c e secret")?;
    let mut attester = Attester::start(&tpm.tcti())?;
    match attester.ask(&TpmOrder::Open { kept: None })? {
        TpmReport::Failed { fault: TpmFault::Other, words } => assert!(words.contains("0x9a2"), "{words}"),
        other => return Err(format!("{other:?}").into()),
    }
    Ok(())
}
