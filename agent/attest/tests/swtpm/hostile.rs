//! Orders, TPMs and answers that are not as they should be.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener};
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::Builder;
use std::time::{Duration, Instant};

use rackmark_e2e::Outcome;
use rackmark_e2e::swtpm::{Certified, Chip, Swtpm, no_tpm};
use rackmark_e2e::tpm_proxy::{CC_FLUSH, CC_QUOTE, Fate, RC_FAILURE, TpmProxy};
use rackmark_feed::verify::credential::make_credential;
use rackmark_feed::verify::tpm::Public;
use rackmark_model::tpm::{TpmFault, TpmKeys, TpmOrder, TpmReport};
use ring::rand::SystemRandom;

use crate::attester::{Attester, REGISTERS, opened};

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
        let (data, control, port) = two_in_a_row()?;
        let answer = answer.to_vec();
        let talk = move || {
            for mut stream in data.incoming().take(2).flatten() {
                let _ = stream.read(&mut [0; 4096]);
                let _ = stream.write_all(&answer);
            }
        };
        Builder::new().name("nonsense".to_owned()).spawn(talk)?;
        let listen = move || control.incoming().take(2).for_each(drop);
        Builder::new().name("control".to_owned()).spawn(listen)?;
        let begun = Instant::now();
        let mut attester = Attester::start(&format!("swtpm:host=127.0.0.1,port={port}"))?;
        match attester.ask(&TpmOrder::Open { kept: None })? {
            TpmReport::Failed { .. } => {}
            other => return Err(format!("{other:?}").into()),
        }
        assert!(begun.elapsed() < Duration::from_secs(20));
    }
    Ok(())
}

fn two_in_a_row() -> Outcome<(TcpListener, TcpListener, u16)> {
    for _ in 0..20 {
        let data = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let port = data.local_addr()?.port();
        let Some(next) = port.checked_add(1) else { continue };
        if let Ok(control) = TcpListener::bind((Ipv4Addr::LOCALHOST, next)) {
            return Ok((data, control, port));
        }
    }
    Err("no two free ports in a row".into())
}

#[test]
fn an_order_that_is_no_frame_ends_the_process() -> Outcome<()> {
    let mut attester = Attester::start("device:/dev/null")?;
    attester.stream.write_all(&[3, 0, 0, 0, 1, 99, 0])?;
    let status = attester.child.wait()?;
    assert_eq!(status.code(), Some(64));
    Ok(())
}

/// The three orders, one after the other; true where all were followed.
fn orders(attester: &mut Attester, keys: &TpmKeys, credential: &(Vec<u8>, Vec<u8>)) -> Outcome<bool> {
    let (blob, secret) = credential.clone();
    let orders = [
        TpmOrder::Open { kept: Some(keys.kept.clone()) },
        TpmOrder::Quote { qualifying: [9; 32], registers: 0xffff },
        TpmOrder::Activate { credential_blob: blob, encrypted_secret: secret },
    ];
    let mut followed = true;
    for order in orders {
        match attester.ask(&order)? {
            TpmReport::Failed { .. } => followed = false,
            // A fault of a moment must not become another identity.
            TpmReport::Opened(now) => assert_eq!(now.endorsement, keys.endorsement),
            TpmReport::Activated(secret) => assert_eq!(secret, b"secret"),
            TpmReport::Quoted(quote) => assert_eq!(quote.values.len(), 16),
        }
    }
    Ok(followed)
}

/// Asks for everything with the first, the second, … command of the TPM meeting `fate`, until all commands had their
/// turn. How many there are.
fn each_command_in_turn(
    certified: Certified,
    fate: impl Fn(u32) -> Fate + Send + Sync + 'static,
) -> Outcome<u32> {
    let chip = Chip::manufacture(certified)?;
    let tpm = Swtpm::power(&chip)?;
    let (attester, keys) = opened(&tpm, None)?;
    drop(attester);
    let name = Public::parse(&keys.attestation)?.name();
    let made = make_credential(&Public::parse(&keys.endorsement)?, &name, b"secret", &SystemRandom::new())?;
    let credential = (made.blob, made.secret);
    let proxy = TpmProxy::before(&tpm, |_| Fate::Pass)?;
    let fate = Arc::new(fate);
    for unlucky in 0..1000 {
        let seen = Arc::new(AtomicU32::new(0));
        let (count, fate) = (seen.clone(), fate.clone());
        proxy.rule(move |code| match count.fetch_add(1, Ordering::SeqCst) {
            number if number == unlucky => fate(code),
            _ => Fate::Pass,
        });
        let mut attester = Attester::start(&proxy.tcti())?;
        let followed = orders(&mut attester, &keys, &credential)?;
        attester.stream.shutdown(Shutdown::Both)?;
        assert_eq!(attester.child.wait()?.code(), Some(0), "command {unlucky}");
        let left = String::from_utf8(tpm.look("tpm2_getcap handles-transient")?)?
            + &String::from_utf8(tpm.look("tpm2_getcap handles-loaded-session")?)?;
        assert_eq!(left.trim(), "", "left behind by command {unlucky}");
        if seen.load(Ordering::SeqCst) <= unlucky {
            assert!(followed, "without a fault all is well");
            return Ok(unlucky);
        }
    }
    Err("a thousand commands and no end".into())
}

#[test]
fn whichever_command_fails_nothing_stays_in_the_tpm() -> Outcome<()> {
    for certified in [Certified::ByNobody, Certified::ByItsMaker] {
        let commands = each_command_in_turn(certified, |_| Fate::Code(RC_FAILURE))?;
        println!("{certified:?}: {commands} commands");
        assert!(commands > 20);
    }
    Ok(())
}

#[test]
fn whichever_answer_is_cut_short_the_process_goes_on() -> Outcome<()> {
    // The size in the header says what comes, so that nobody waits for the rest.
    let cut = |_| {
        Fate::Instead(|answer| {
            let mut short = answer[..answer.len().min(12)].to_vec();
            let size = short.len() as u32;
            short[2..6].copy_from_slice(&size.to_be_bytes());
            short
        })
    };
    // An answer to a flush has no more than its header, and what a cut answer made stays until the connection ends.
    let code = move |code| if code == CC_FLUSH { Fate::Pass } else { cut(code) };
    answers_in_turn(code)
}

#[test]
fn whichever_answer_is_garbage_the_process_goes_on() -> Outcome<()> {
    answers_in_turn(|_| {
        Fate::Instead(|answer| {
            let mut garbage = answer.to_vec();
            garbage[10..].fill(0xff);
            garbage
        })
    })
}

/// Answers that hide handles from the process leave objects behind, which only a resource manager can find; so here
/// each turn has a TPM that was just switched on.
fn answers_in_turn(fate: impl Fn(u32) -> Fate + Send + Sync + 'static) -> Outcome<()> {
    let chip = Chip::manufacture(Certified::ByNobody)?;
    let fate = Arc::new(fate);
    let mut kept = None;
    for unlucky in 0..1000 {
        let tpm = Swtpm::power(&chip)?;
        let seen = Arc::new(AtomicU32::new(0));
        let (count, fate) = (seen.clone(), fate.clone());
        let proxy = TpmProxy::before(&tpm, move |code| match count.fetch_add(1, Ordering::SeqCst) {
            number if number == unlucky => fate(code),
            _ => Fate::Pass,
        })?;
        let mut attester = Attester::start(&proxy.tcti())?;
        for order in [
            TpmOrder::Open { kept: kept.clone() },
            TpmOrder::Quote { qualifying: [9; 32], registers: 0xffff },
        ] {
            if let TpmReport::Opened(keys) = attester.ask(&order)? {
                kept = Some(keys.kept);
            }
        }
        attester.stream.shutdown(Shutdown::Both)?;
        assert_eq!(attester.child.wait()?.code(), Some(0), "command {unlucky}");
        if seen.load(Ordering::SeqCst) <= unlucky {
            assert!(unlucky > 15);
            return Ok(());
        }
    }
    Err("a thousand commands and no end".into())
}

/// The daemon gives a TPM up by closing the stream; a process that waits for the TPM for good must not stay.
#[test]
fn a_process_whose_tpm_never_answers_ends_with_the_stream() -> Outcome<()> {
    let chip = Chip::manufacture(Certified::ByNobody)?;
    let tpm = Swtpm::power(&chip)?;
    // One says nothing, one promises more than comes.
    let promise: fn(&[u8]) -> Vec<u8> = |_| vec![0x80, 1, 0, 0, 1, 0, 0, 0, 0, 0];
    for fate in [Fate::Silence, Fate::Instead(promise)] {
        let proxy = TpmProxy::before(&tpm, move |_| fate.clone())?;
        let mut attester = Attester::start(&proxy.tcti())?;
        attester.stream.set_read_timeout(Some(Duration::from_millis(500)))?;
        assert!(attester.ask(&TpmOrder::Open { kept: None }).is_err(), "no answer");
        let begun = Instant::now();
        attester.stream.shutdown(Shutdown::Both)?;
        assert_eq!(attester.child.wait()?.code(), Some(0));
        assert!(begun.elapsed() < Duration::from_secs(8), "{:?}", begun.elapsed());
    }
    Ok(())
}

#[test]
fn a_tpm_that_vanishes_is_absent_and_comes_back() -> Outcome<()> {
    let chip = Chip::manufacture(Certified::ByNobody)?;
    let tpm = Swtpm::power(&chip)?;
    let proxy = TpmProxy::before(&tpm, |code| if code == CC_QUOTE { Fate::Break } else { Fate::Pass })?;
    let mut attester = Attester::start(&proxy.tcti())?;
    let keys = attester.open(None)?;
    let order = TpmOrder::Quote { qualifying: [0; 32], registers: REGISTERS };
    // In the middle of a command, and after that it is closed until it is opened again.
    for (expected, said) in [(TpmFault::Absent, "0xa"), (TpmFault::Other, "the TPM is not open")] {
        match attester.ask(&order)? {
            TpmReport::Failed { fault, words } => {
                assert!(fault == expected && words.contains(said), "{words}");
            }
            other => return Err(format!("{other:?}").into()),
        }
    }
    proxy.rule(|_| Fate::Pass);
    tpm.tool("tpm2_flushcontext -t")?;
    assert!(!attester.open(Some(keys.kept))?.is_new);
    attester.quote([0; 32])?;
    // The power goes while it is open.
    tpm.cut_power()?;
    match attester.ask(&order)? {
        TpmReport::Failed { fault: TpmFault::Absent, .. } => {}
        other => return Err(format!("{other:?}").into()),
    }
    Ok(())
}

#[test]
fn a_tpm_that_this_user_may_not_use_is_told_from_none() -> Outcome<()> {
    let nobody = 65534;
    let folder = tempfile::tempdir()?;
    let device = folder.path().join("tpmrm0");
    std::fs::write(&device, [])?;
    let open = |path: &std::path::Path, mode| {
        std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(mode))
    };
    open(folder.path(), 0o755)?;
    open(&device, 0o600)?;
    let program = folder.path().join("rackmark-attest");
    std::fs::copy(env!("CARGO_BIN_EXE_rackmark-attest"), &program)?;
    let mut command = Command::new(&program);
    command.uid(nobody).gid(nobody);
    let tcti = format!("device:{}", device.display());
    let Ok(mut attester) = Attester::start_as(command, &tcti) else {
        println!("skipped: only root becomes somebody else");
        return Ok(());
    };
    match attester.ask(&TpmOrder::Open { kept: None })? {
        TpmReport::Failed { fault: TpmFault::NoPermission, words } => {
            assert!(words.contains("tpmrm0"), "{words}");
        }
        other => return Err(format!("{other:?}").into()),
    }
    Ok(())
}
