//! The binary as the daemon uses it, on a software TPM, judged by the verifier that strangers use.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rackmark_e2e::Outcome;
use rackmark_e2e::swtpm::{Certified, Chip, Swtpm, no_tpm};
use rackmark_feed::verify::certificate::Certificate;
use rackmark_feed::verify::credential::make_credential;
use rackmark_feed::verify::endorsement::verify_endorsement;
use rackmark_feed::verify::outcome::{Outcome as Result3, worst};
use rackmark_feed::verify::quote::{QuoteInput, QuoteReport, verify_quote};
use rackmark_feed::verify::tpm::{ALG_SHA256, Public, Selection, attributes};
use rackmark_model::ipc;
use rackmark_model::tpm::{KeptKey, TpmFault, TpmKeys, TpmOrder, TpmQuote, TpmReport};
use ring::rand::SystemRandom;

const REGISTERS: u32 = 0xff;
const NOW: u64 = 1_830_000_000_000;

/// A running process with the TPM; killed when dropped.
struct Attester {
    child: Child,
    stream: UnixStream,
}

impl Drop for Attester {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Attester {
    fn start(tcti: &str) -> Outcome<Self> {
        let (stream, theirs) = UnixStream::pair()?;
        stream.set_read_timeout(Some(Duration::from_secs(30)))?;
        let child = Command::new(env!("CARGO_BIN_EXE_rackmark-attest"))
            .args(["--tpm", tcti])
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .env("TSS2_LOG", "all+NONE")
            .spawn()?;
        Ok(Self { child, stream })
    }

    fn ask(&mut self, order: &TpmOrder) -> Outcome<TpmReport> {
        let mut frame = Vec::new();
        ipc::encode(order, &mut frame)?;
        self.stream.write_all(&frame)?;
        let mut prefix = [0; ipc::LENGTH_BYTES];
        self.stream.read_exact(&mut prefix)?;
        let mut body = vec![0; ipc::body_length(prefix)?];
        self.stream.read_exact(&mut body)?;
        Ok(ipc::decode(&body)?)
    }

    fn open(&mut self, kept: Option<KeptKey>) -> Outcome<TpmKeys> {
        match self.ask(&TpmOrder::Open { kept })? {
            TpmReport::Opened(keys) => Ok(*keys),
            other => Err(format!("{other:?}").into()),
        }
    }

    fn quote(&mut self, qualifying: [u8; 32]) -> Outcome<TpmQuote> {
        match self.ask(&TpmOrder::Quote { qualifying, registers: REGISTERS })? {
            TpmReport::Quoted(quote) => Ok(*quote),
            other => Err(format!("{other:?}").into()),
        }
    }
}

fn opened(tpm: &Swtpm<'_>, kept: Option<KeptKey>) -> Outcome<(Attester, TpmKeys)> {
    let mut attester = Attester::start(&tpm.tcti())?;
    let keys = attester.open(kept)?;
    Ok((attester, keys))
}

fn judge(keys: &TpmKeys, quote: &TpmQuote, qualifying: &[u8; 32]) -> QuoteReport {
    let values: Vec<(u8, &[u8])> = quote.values.iter().map(|(index, value)| (*index, &value[..])).collect();
    verify_quote(&QuoteInput {
        attestation_key: &keys.attestation,
        quoted: &quote.quoted,
        signature: &quote.signature,
        qualifying,
        wanted: Selection { bank: ALG_SHA256, mask: REGISTERS },
        values: &values,
    })
}

fn activate(attester: &mut Attester, keys: &TpmKeys, name: &[u8], secret: &[u8]) -> Outcome<TpmReport> {
    let credential = make_credential(&Public::parse(&keys.endorsement)?, name, secret, &SystemRandom::new())?;
    attester
        .ask(&TpmOrder::Activate { credential_blob: credential.blob, encrypted_secret: credential.secret })
}

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
            rackmark_feed::verify::tpm::Key::Rsa { modulus, .. } => modulus.len(),
            rackmark_feed::verify::tpm::Key::Ecc { point, .. } => point.len(),
        };
        assert_eq!(found, length, "{certified:?}: the key that has a certificate");
        let attestation = Public::parse(&keys.attestation)?;
        assert!(attestation.has(attributes::NO_DA | attributes::RESTRICTED | attributes::FIXED_TPM));

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
    let said = String::from_utf8(tpm.tool("tpm2_getcap properties-variable")?)?;
    assert!(said.contains("inLockout:                 0"), "{said}");
    Ok(())
}

#[test]
fn a_locked_tpm_says_so() -> Outcome<()> {
    let chip = Chip::manufacture(Certified::ByNobody)?;
    let tpm = Swtpm::power(&chip)?;
    // A key that counts tries, and tries.
    tpm.tool("tpm2_dictionarylockout -s -n 1 -t 100000 -l 100000")?;
    tpm.tool("tpm2_createprimary -C o -c parent.ctx -G ecc -p right")?;
    let _ = tpm.tool("tpm2_create -C parent.ctx -P wrong -G ecc -u u -r r");
    let mut attester = Attester::start(&tpm.tcti())?;
    // Keys that are exempt go on working: the lockout of others is not ours.
    match attester.ask(&TpmOrder::Open { kept: None })? {
        TpmReport::Opened(_) => {}
        TpmReport::Failed { fault, words } => assert_eq!(fault, TpmFault::Lockout, "{words}"),
        other => return Err(format!("{other:?}").into()),
    }
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
        TpmReport::Failed { .. } => {}
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

#[test]
fn registers_that_anybody_can_reset_are_not_quoted() -> Outcome<()> {
    let chip = Chip::manufacture(Certified::ByNobody)?;
    let tpm = Swtpm::power(&chip)?;
    let (mut attester, _) = opened(&tpm, None)?;
    for registers in [1 << 16, 1 << 23, 0, 1 << 24] {
        match attester.ask(&TpmOrder::Quote { qualifying: [0; 32], registers })? {
            TpmReport::Failed { .. } => {}
            other => return Err(format!("{registers:#x}: {other:?}").into()),
        }
    }
    Ok(())
}

#[test]
fn credentials_that_are_malformed_are_refused() -> Outcome<()> {
    let chip = Chip::manufacture(Certified::ByNobody)?;
    let tpm = Swtpm::power(&chip)?;
    let (mut attester, keys) = opened(&tpm, None)?;
    let good = make_credential(
        &Public::parse(&keys.endorsement)?,
        &Public::parse(&keys.attestation)?.name(),
        b"secret",
        &SystemRandom::new(),
    )?;
    for end in 0..good.blob.len() {
        let order = TpmOrder::Activate {
            credential_blob: good.blob[..end].to_vec(),
            encrypted_secret: good.secret.clone(),
        };
        assert!(matches!(attester.ask(&order)?, TpmReport::Failed { .. }), "blob cut at {end}");
    }
    let order = TpmOrder::Activate { credential_blob: good.blob, encrypted_secret: good.secret };
    assert_eq!(attester.ask(&order)?, TpmReport::Activated(b"secret".to_vec()), "and it goes on");
    Ok(())
}

#[test]
fn no_tpm_and_unknown_names_are_said() -> Outcome<()> {
    let folder = tempfile::tempdir()?;
    for (tcti, expected) in [
        (no_tpm(folder.path()), TpmFault::Absent),
        ("swtpm:host=127.0.0.1,port=1".to_owned(), TpmFault::Absent),
        // Names that the library would take for its default address.
        ("swtpm:path=/nowhere.sock".to_owned(), TpmFault::Other),
        ("mssim:host=127.0.0.1".to_owned(), TpmFault::Other),
    ] {
        let mut attester = Attester::start(&tcti)?;
        match attester.ask(&TpmOrder::Open { kept: None })? {
            TpmReport::Failed { fault, .. } => assert_eq!(fault, expected, "{tcti}"),
            other => return Err(format!("{tcti}: {other:?}").into()),
        }
    }
    Ok(())
}

/// Something that accepts and answers garbage, or nothing and closes.
#[test]
fn a_tpm_that_talks_nonsense_ends_in_an_error_and_not_in_a_hang() -> Outcome<()> {
    for answer in [&b""[..], b"garbage that is no TPM response", &[0x80, 1, 0, 0, 0, 10, 0, 0, 0, 0]] {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let port = listener.local_addr()?.port();
        let Ok(control) = TcpListener::bind((Ipv4Addr::LOCALHOST, port + 1)) else { continue };
        let answer = answer.to_vec();
        let speaks = std::thread::Builder::new().name("nonsense".to_owned());
        speaks.spawn(move || {
            for stream in listener.incoming().take(2).flatten() {
                let mut stream: TcpStream = stream;
                let mut command = [0; 4096];
                let _ = stream.read(&mut command);
                let _ = stream.write_all(&answer);
            }
        })?;
        let closes = std::thread::Builder::new().name("control".to_owned());
        closes.spawn(move || control.incoming().take(2).for_each(drop))?;
        let begun = Instant::now();
        let mut attester = Attester::start(&format!("swtpm:host=127.0.0.1,port={port}"))?;
        match attester.ask(&TpmOrder::Open { kept: None }) {
            Ok(TpmReport::Failed { .. }) | Err(_) => {}
            Ok(other) => return Err(format!("{other:?}").into()),
        }
        assert!(begun.elapsed() < Duration::from_secs(20));
    }
    Ok(())
}

#[test]
fn an_order_that_is_no_frame_ends_the_process() -> Outcome<()> {
    let mut attester = Attester::start("device:/dev/null")?;
    attester.stream.write_all(&[3, 0, 0, 0, 1, 99, 0])?;
    let status = attester.child.wait()?;
    assert_eq!(status.code(), Some(64));
    Ok(())
}
