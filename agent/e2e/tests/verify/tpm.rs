//! Quotes, keys and credentials of a software TPM, made by tpm2-tools.

use rackmark_e2e::Outcome;
use rackmark_e2e::swtpm::{Certified, Chip, Swtpm};
use rackmark_feed::verify::certificate::Certificate;
use rackmark_feed::verify::credential::make_credential;
use rackmark_feed::verify::endorsement::verify_endorsement;
use rackmark_feed::verify::outcome::{Check, Outcome as Result3, Reason, Subject, worst};
use rackmark_feed::verify::quote::{QuoteInput, QuoteReport, verify_quote};
use rackmark_feed::verify::tpm::{ALG_SHA1, ALG_SHA256, Attest, Public, Selection, Signature};
use ring::rand::SystemRandom;

/// December 2027: after every certificate that a test makes began.
const NOW: u64 = 1_830_000_000_000;
const NONCE: [u8; 32] = [0x5a; 32];
const WANTED: Selection = Selection { bank: ALG_SHA256, mask: 0b1000_0001 };

/// What a TPM said.
struct Quote {
    key: Vec<u8>,
    quoted: Vec<u8>,
    signature: Vec<u8>,
    values: Vec<(u8, Vec<u8>)>,
}

impl Quote {
    fn judge_with(&self, qualifying: &[u8; 32], wanted: Selection) -> QuoteReport {
        let values: Vec<(u8, &[u8])> =
            self.values.iter().map(|(index, value)| (*index, &value[..])).collect();
        verify_quote(&QuoteInput {
            attestation_key: &self.key,
            quoted: &self.quoted,
            signature: &self.signature,
            qualifying,
            wanted,
            values: &values,
        })
    }

    fn judge(&self) -> QuoteReport {
        self.judge_with(&NONCE, WANTED)
    }
}

/// Why it is not verified.
fn reasons(checks: &[Check]) -> Vec<&'static str> {
    checks
        .iter()
        .filter(|check| check.outcome != Result3::Verified)
        .map(|check| check.reason.name())
        .collect()
}

fn keys(tpm: &Swtpm<'_>, kind: &str) -> Outcome<()> {
    tpm.tool(&format!("tpm2_createek -c ek.ctx -G {kind} -u ek.pub"))?;
    let scheme = if kind == "rsa" { "rsassa" } else { "ecdsa" };
    tpm.tool(&format!(
        "tpm2_createak -C ek.ctx -c ak.ctx -G {kind} -g sha256 -s {scheme} -u ak.pub -n ak.name"
    ))?;
    tpm.tool("tpm2_readpublic -c ek.ctx -f tpmt -o ek.tpmt")?;
    tpm.tool("tpm2_readpublic -c ak.ctx -f tpmt -o ak.tpmt")?;
    Ok(())
}

fn quote(tpm: &Swtpm<'_>, bank: &str, indices: &[u8], key: &str) -> Outcome<Quote> {
    let list: Vec<String> = indices.iter().map(ToString::to_string).collect();
    let list = format!("{bank}:{}", list.join(","));
    let nonce: String = NONCE.iter().map(|byte| format!("{byte:02x}")).collect();
    tpm.tool(&format!("tpm2_quote -c {key}.ctx -l {list} -q {nonce} -m quoted -s signature -f tss"))?;
    tpm.tool(&format!("tpm2_pcrread {list} -o values"))?;
    let values = tpm.file("values")?;
    let length = values.len() / indices.len();
    Ok(Quote {
        key: tpm.file(&format!("{key}.tpmt"))?,
        quoted: tpm.file("quoted")?,
        signature: tpm.file("signature")?,
        values: indices.iter().copied().zip(values.chunks(length).map(<[u8]>::to_vec)).collect(),
    })
}

#[test]
fn quotes_of_rsa_and_elliptic_keys_verify() -> Outcome<()> {
    let chip = Chip::manufacture(Certified::ByNobody)?;
    let tpm = Swtpm::power(&chip)?;
    for kind in ["ecc", "rsa"] {
        keys(&tpm, kind)?;
        let quote = quote(&tpm, "sha256", &[0, 7], "ak")?;
        let report = quote.judge();
        assert_eq!(reasons(&report.checks), Vec::<&str>::new(), "{kind}: {:?}", report.checks);
        // The TPM computes the name of its key by itself.
        assert_eq!(report.key_name, tpm.file("ak.name")?, "{kind}");
        assert!(report.clock.is_some_and(|clock| clock.safe));
    }
    Ok(())
}

#[test]
fn attack_replayed_quote_for_another_nonce() -> Outcome<()> {
    let chip = Chip::manufacture(Certified::ByNobody)?;
    let tpm = Swtpm::power(&chip)?;
    keys(&tpm, "ecc")?;
    let quote = quote(&tpm, "sha256", &[0, 7], "ak")?;
    assert_eq!(reasons(&quote.judge_with(&[0x5b; 32], WANTED).checks), ["qualifying_data_mismatch"]);
    Ok(())
}

#[test]
fn attack_swapped_register_selection() -> Outcome<()> {
    let chip = Chip::manufacture(Certified::ByNobody)?;
    let tpm = Swtpm::power(&chip)?;
    keys(&tpm, "ecc")?;
    // Registers 0 and 8 hold the same zeros as 0 and 7: only the signed selection tells them apart.
    let mut other = quote(&tpm, "sha256", &[0, 8], "ak")?;
    other.values[1].0 = 7;
    assert_eq!(reasons(&other.judge().checks), ["selection_mismatch"]);
    let more = quote(&tpm, "sha256", &[0, 7, 8], "ak")?;
    assert_eq!(reasons(&more.judge().checks), ["selection_mismatch"]);
    Ok(())
}

#[test]
fn attack_resettable_registers_and_a_weak_bank() -> Outcome<()> {
    let chip = Chip::manufacture(Certified::ByNobody)?;
    let tpm = Swtpm::power(&chip)?;
    keys(&tpm, "ecc")?;
    for index in [16, 23] {
        let quote = quote(&tpm, "sha256", &[0, index], "ak")?;
        let wanted = Selection { bank: ALG_SHA256, mask: 1 | 1 << index };
        assert_eq!(reasons(&quote.judge_with(&NONCE, wanted).checks), ["resettable_pcr"]);
    }
    let weak = quote(&tpm, "sha1", &[0, 7], "ak")?;
    let wanted = Selection { bank: ALG_SHA1, ..WANTED };
    assert_eq!(reasons(&weak.judge_with(&NONCE, wanted).checks), ["bank_refused"]);
    Ok(())
}

#[test]
fn attack_other_register_values() -> Outcome<()> {
    let chip = Chip::manufacture(Certified::ByNobody)?;
    let tpm = Swtpm::power(&chip)?;
    keys(&tpm, "ecc")?;
    let good = || quote(&tpm, "sha256", &[0, 7], "ak");
    let mut value = good()?;
    value.values[0].1[31] ^= 1;
    assert_eq!(reasons(&value.judge().checks), ["pcr_digest_mismatch"]);
    let mut order = good()?;
    order.values.reverse();
    assert_eq!(reasons(&order.judge().checks), ["pcr_digest_mismatch"]);
    let mut fewer = good()?;
    fewer.values.pop();
    assert_eq!(reasons(&fewer.judge().checks), ["pcr_digest_mismatch"]);
    Ok(())
}

/// A key without the restriction signs whatever its owner makes up, a quote included.
#[test]
fn attack_unrestricted_attestation_key_forges_a_quote() -> Outcome<()> {
    let chip = Chip::manufacture(Certified::ByNobody)?;
    let tpm = Swtpm::power(&chip)?;
    keys(&tpm, "ecc")?;
    let mut forged = quote(&tpm, "sha256", &[0, 7], "ak")?;
    tpm.tool("tpm2_createprimary -C o -c parent.ctx -G ecc")?;
    tpm.tool("tpm2_create -C parent.ctx -G ecc256:ecdsa-sha256 -u forger.pub -r forger.priv -a fixedtpm|fixedparent|sensitivedataorigin|userwithauth|sign")?;
    tpm.tool("tpm2_load -C parent.ctx -u forger.pub -r forger.priv -c forger.ctx")?;
    tpm.tool("tpm2_readpublic -c forger.ctx -f tpmt -o forger.tpmt")?;
    // Over a quote that never was: other register values, digested and signed.
    forged.values[1].1 = vec![0xee; 32];
    let mut context = ring::digest::Context::new(&ring::digest::SHA256);
    forged.values.iter().for_each(|(_, value)| context.update(value));
    let digest = context.finish();
    let at = forged.quoted.len() - 32;
    forged.quoted.truncate(at);
    forged.quoted.extend_from_slice(digest.as_ref());
    std::fs::write(tpm.path("forged"), &forged.quoted)?;
    tpm.tool("tpm2_sign -c forger.ctx -g sha256 -s ecdsa -o forged.sig -f tss forged")?;
    forged.key = tpm.file("forger.tpmt")?;
    forged.signature = tpm.file("forged.sig")?;
    let report = forged.judge();
    assert_eq!(reasons(&report.checks), ["attributes_refused"], "{:?}", report.checks);
    // A restricted key refuses to sign that.
    assert!(tpm.tool("tpm2_sign -c ak.ctx -g sha256 -s ecdsa -o no.sig forged").is_err());
    Ok(())
}

#[test]
fn attack_flipped_bits_and_truncations() -> Outcome<()> {
    let chip = Chip::manufacture(Certified::ByNobody)?;
    let tpm = Swtpm::power(&chip)?;
    for kind in ["ecc", "rsa"] {
        keys(&tpm, kind)?;
        let good = quote(&tpm, "sha256", &[0, 7], "ak")?;
        let refused = |quoted: &[u8], signature: &[u8], key: &[u8]| {
            let changed = Quote {
                quoted: quoted.to_vec(),
                signature: signature.to_vec(),
                key: key.to_vec(),
                values: good.values.clone(),
            };
            worst(&changed.judge().checks) == Result3::Contradicted
        };
        assert!(!refused(&good.quoted, &good.signature, &good.key));
        for bit in 0..good.quoted.len() * 8 {
            let mut quoted = good.quoted.clone();
            quoted[bit / 8] ^= 1 << (bit % 8);
            assert!(refused(&quoted, &good.signature, &good.key), "{kind} quote, bit {bit}");
        }
        for bit in 0..good.signature.len() * 8 {
            let mut signature = good.signature.clone();
            signature[bit / 8] ^= 1 << (bit % 8);
            assert!(refused(&good.quoted, &signature, &good.key), "{kind} signature, bit {bit}");
        }
        for end in 0..good.quoted.len() {
            assert!(Attest::parse(&good.quoted[..end]).is_err(), "{kind} quote, {end}");
        }
        for end in 0..good.signature.len() {
            assert!(Signature::parse(&good.signature[..end]).is_err(), "{kind} signature, {end}");
        }
        for end in 0..good.key.len() {
            assert!(Public::parse(&good.key[..end]).is_err(), "{kind} key, {end}");
        }
    }
    Ok(())
}

/// The key of the evidence is another TPM's: no credential for the claimed TPM opens it.
#[test]
fn attack_attestation_key_of_another_tpm() -> Outcome<()> {
    let random = SystemRandom::new();
    let chip = Chip::manufacture(Certified::ByNobody)?;
    let other_chip = Chip::manufacture(Certified::ByNobody)?;
    let (tpm, other) = (Swtpm::power(&chip)?, Swtpm::power(&other_chip)?);
    for kind in ["ecc", "rsa"] {
        keys(&tpm, kind)?;
        keys(&other, kind)?;
        let (endorsement, name) = (tpm.file("ek.tpmt")?, tpm.file("ak.name")?);
        let secret = *b"thirty-two bytes of fresh secret";
        let credential = make_credential(&Public::parse(&endorsement)?, &name, &secret, &random)?;
        assert_eq!(activate(&tpm, &credential.blob, &credential.secret)?, secret, "{kind}");
        assert!(
            activate(&other, &credential.blob, &credential.secret).is_err(),
            "{kind}: another TPM opens it"
        );
        let wrong =
            make_credential(&Public::parse(&endorsement)?, &other.file("ak.name")?, &secret, &random)?;
        assert!(activate(&tpm, &wrong.blob, &wrong.secret).is_err(), "{kind}: for another key");
    }
    Ok(())
}

fn activate(tpm: &Swtpm<'_>, blob: &[u8], secret: &[u8]) -> Outcome<Vec<u8>> {
    // The file format of tpm2-tools: magic, version, the two structures.
    let file = [&0xbadc_c0de_u32.to_be_bytes()[..], &1_u32.to_be_bytes(), blob, secret].concat();
    std::fs::write(tpm.path("credential"), file)?;
    tpm.tool("tpm2_startauthsession --policy-session -S session.ctx")?;
    tpm.tool("tpm2_policysecret -S session.ctx -c e")?;
    let opened = tpm
        .tool("tpm2_activatecredential -c ak.ctx -C ek.ctx -i credential -o opened -P session:session.ctx");
    tpm.tool("tpm2_flushcontext -l")?;
    opened?;
    tpm.file("opened")
}

// --- endorsement keys

struct Endorsement {
    public: Vec<u8>,
    certificate: Vec<u8>,
    issuer: Certificate,
    root: Certificate,
}

fn endorsement(tpm: &Swtpm<'_>) -> Outcome<Endorsement> {
    tpm.tool("tpm2_createek -c ek.ctx -G rsa -u ek.pub")?;
    tpm.tool("tpm2_readpublic -c ek.ctx -f tpmt -o ek.tpmt")?;
    tpm.tool("tpm2_nvread 0x1c00002 -C o -o ek.der")?;
    let [root, issuer] = tpm.chip().maker()?;
    Ok(Endorsement {
        public: tpm.file("ek.tpmt")?,
        certificate: tpm.file("ek.der")?,
        issuer: Certificate::parse(&issuer)?,
        root: Certificate::parse(&root)?,
    })
}

fn judged(check: &Check) -> (Result3, Reason) {
    assert_eq!(check.subject, Subject::EndorsementKey);
    (check.outcome, check.reason)
}

#[test]
fn a_certificate_of_a_trusted_maker_is_shown_with_its_make() -> Outcome<()> {
    let chip = Chip::manufacture(Certified::ByItsMaker)?;
    let tpm = Swtpm::power(&chip)?;
    let e = endorsement(&tpm)?;
    let (check, make) = verify_endorsement(&e.public, Some(&e.certificate), &[e.issuer], &[e.root], NOW);
    assert_eq!(judged(&check), (Result3::Verified, Reason::ChainTrusted), "{}", check.detail);
    assert_eq!(make.ok_or("make")?.model, "swtpm");
    Ok(())
}

#[test]
fn attack_endorsement_key_without_a_chain() -> Outcome<()> {
    let chip = Chip::manufacture(Certified::ByItsMaker)?;
    let other_chip = Chip::manufacture(Certified::ByItsMaker)?;
    let (tpm, other) = (Swtpm::power(&chip)?, Swtpm::power(&other_chip)?);
    let (e, o) = (endorsement(&tpm)?, endorsement(&other)?);
    let judge = |certificate: Option<&[u8]>, pool: &[Certificate], anchors: &[Certificate], now| {
        judged(&verify_endorsement(&e.public, certificate, pool, anchors, now).0)
    };
    let issuer = std::slice::from_ref(&e.issuer);
    let root = std::slice::from_ref(&e.root);
    assert_eq!(judge(None, issuer, root, NOW), (Result3::NotEstablished, Reason::NoCertificate));
    let certificate = Some(&e.certificate[..]);
    assert_eq!(judge(certificate, issuer, &[], NOW), (Result3::NotEstablished, Reason::ChainUntrusted));
    assert_eq!(judge(certificate, &[], root, NOW), (Result3::NotEstablished, Reason::ChainUntrusted));
    // Another maker of the same name, whose certificates look the same.
    assert_eq!(
        judge(certificate, std::slice::from_ref(&o.issuer), std::slice::from_ref(&o.root), NOW),
        (Result3::NotEstablished, Reason::ChainUntrusted)
    );
    // A self-signed root in the pool is not trusted by being there.
    let pool = [e.issuer.clone(), e.root.clone()];
    assert_eq!(judge(certificate, &pool, &[], NOW), (Result3::NotEstablished, Reason::ChainUntrusted));
    // Before it was made.
    assert_eq!(
        judge(certificate, issuer, root, 1_000_000_000_000),
        (Result3::NotEstablished, Reason::CertificateExpired)
    );
    // The certificate of another TPM.
    assert_eq!(
        judge(Some(&o.certificate), &[o.issuer], &[o.root], NOW),
        (Result3::Contradicted, Reason::CertificateKeyMismatch)
    );
    Ok(())
}

#[test]
fn attack_endorsement_certificate_with_one_bit_flipped() -> Outcome<()> {
    let chip = Chip::manufacture(Certified::ByItsMaker)?;
    let tpm = Swtpm::power(&chip)?;
    let e = endorsement(&tpm)?;
    let (pool, anchors) = ([e.issuer], [e.root]);
    for bit in 0..e.certificate.len() * 8 {
        let mut flipped = e.certificate.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        let (check, _) = verify_endorsement(&e.public, Some(&flipped), &pool, &anchors, NOW);
        assert_ne!(check.outcome, Result3::Verified, "bit {bit}");
    }
    for end in 0..e.certificate.len() {
        let (check, _) = verify_endorsement(&e.public, Some(&e.certificate[..end]), &pool, &anchors, NOW);
        assert_ne!(check.outcome, Result3::Verified, "cut at {end}");
    }
    Ok(())
}

#[test]
fn a_p384_certificate_is_for_the_p384_key() -> Outcome<()> {
    let chip = Chip::manufacture(Certified::ByItsMaker)?;
    let tpm = Swtpm::power(&chip)?;
    tpm.tool("tpm2_nvread 0x1c00016 -C o -o ek.der")?;
    let certificate = Certificate::parse(&tpm.file("ek.der")?)?;
    assert!(matches!(certificate.key(), rackmark_feed::verify::certificate::CertifiedKey::P384(_)));
    let [root, issuer] = chip.maker()?;
    let (pool, anchors) = ([Certificate::parse(&issuer)?], [Certificate::parse(&root)?]);
    rackmark_feed::verify::certificate::walk(&certificate, &pool, &anchors, NOW)?;
    Ok(())
}
