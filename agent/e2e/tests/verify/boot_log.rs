//! Event logs of real machines, with the values that their registers had.

use std::path::PathBuf;

use rackmark_e2e::Outcome;
use rackmark_feed::verify::event_log::{EventLog, EventLogError, PCRS};
use rackmark_feed::verify::tpm;
use serde_json::Value;

fn vectors() -> Option<PathBuf> {
    let folder = std::env::var_os("RACKMARK_VECTORS").map_or_else(
        || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/vectors")),
        PathBuf::from,
    );
    let found = folder.join("tpm-eventlog").exists();
    if !found {
        println!("skipped: no vectors");
    }
    found.then_some(folder.join("tpm-eventlog"))
}

fn bank(name: &str) -> u16 {
    match name.to_lowercase().as_str() {
        "sha1" => tpm::ALG_SHA1,
        "sha256" => tpm::ALG_SHA256,
        "sha384" => tpm::ALG_SHA384,
        other => panic!("bank {other}"),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn every_bank_of_every_machine_replays_to_what_its_registers_had() -> Outcome<()> {
    let Some(folder) = vectors() else { return Ok(()) };
    let expected: Value = serde_json::from_slice(&std::fs::read(folder.join("expected-pcrs.json"))?)?;
    println!("{}", serde_json::to_string(&expected)?.chars().take(600).collect::<String>());
    let mut banks = 0;
    for (name, machine) in expected.as_object().ok_or("object")? {
        let bytes = std::fs::read(folder.join(name))?;
        let log = EventLog::parse(&bytes).map_err(|error| format!("{name}: {error}"))?;
        for (algorithm, registers) in machine.as_object().ok_or("object")? {
            let values = log.replay(bank(algorithm)).ok_or_else(|| format!("{name}: no bank {algorithm}"))?;
            assert_eq!(values.len(), PCRS);
            for (index, value) in registers.as_object().ok_or("object")? {
                let index: usize = index.parse()?;
                assert_eq!(Some(hex(&values[index]).as_str()), value.as_str(), "{name} {algorithm} {index}");
            }
            banks += 1;
        }
        println!(
            "{name}: {} events, Secure Boot {:?}, after separator {:?}",
            log.events().len(),
            log.secure_boot(),
            log.after_separator().map(|event| (event.pcr, event.kind))
        );
    }
    assert!(banks > 0);
    Ok(())
}

#[test]
fn attack_truncated_event_log() -> Outcome<()> {
    let Some(folder) = vectors() else { return Ok(()) };
    for entry in std::fs::read_dir(folder)?
        .flatten()
        .filter(|entry| entry.path().extension().is_some_and(|extension| extension == "bin"))
    {
        let bytes = std::fs::read(entry.path())?;
        let whole = EventLog::parse(&bytes)?.events().len();
        for end in 0..bytes.len() {
            match EventLog::parse(&bytes[..end]) {
                Ok(log) => {
                    assert!(log.events().len() <= whole);
                    log.replay(tpm::ALG_SHA256);
                }
                Err(EventLogError::Truncated(_)) => {}
                Err(other) => panic!("{:?} {end}: {other}", entry.path()),
            }
        }
    }
    Ok(())
}
