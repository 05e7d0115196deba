//! The archive for the vendor of a faulty card, opened with the system's `tar`.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use rackmark_e2e::Outcome;
use rackmark_e2e::agent::{Agent, Setup};
use rackmark_e2e::kernel_log::{H100_ADDRESSES, KernelLog};
use rackmark_e2e::process::{binary, wait_for};
use rackmark_e2e::sim::Sim;
use serde_json::Value as Json;

const SOON: Duration = Duration::from_secs(15);

/// Runs `rackmark rma` in a folder of its own, where it finds the bug report that is there.
fn rma(agent: &Agent, folder: &Path, arguments: &[&str]) -> Outcome<Output> {
    let mut command = Command::new(binary("rackmark"));
    command.arg("rma").args(arguments).arg("--config").arg(agent.config());
    Ok(command.current_dir(folder).output()?)
}

fn tar(arguments: &[&str], folder: &Path) -> Outcome<String> {
    let output = Command::new("tar").args(arguments).current_dir(folder).output()?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned().into());
    }
    Ok(String::from_utf8(output.stdout)?)
}

#[test]
fn the_archive_of_a_faulty_card_has_its_facts_and_no_names() -> Outcome<()> {
    let sim = Sim::profile("h100-sxm-8", Some(2))?;
    let mut log = KernelLog::of(&sim)?;
    let setup = Setup::on(&sim).line("leases", "source = \"control\"");
    let mut agent = Agent::sampling(&setup)?;
    agent.wait("the kernel log", SOON, |scrape| scrape.contains("rackmark_kernel_log_up 1"))?;
    let lease = agent.cli(&["lease", "start", "--gpu", "1", "--id", "secret-lease"])?;
    assert!(lease.status.success(), "{}", String::from_utf8_lossy(&lease.stderr));
    let host = fs::read_to_string("/proc/sys/kernel/hostname")?.trim().to_owned();
    log.write(&format!(
        "NVRM: Xid (PCI:{}): 79, pid=4242, name=secret-python, GPU has fallen off the bus, says 10.9.8.7 to secret-lease at {host}.",
        H100_ADDRESSES[1]
    ))?;
    wait_for("the XID in the history", SOON, || {
        let output = agent.cli(&["history", "--gpu", "1"]).ok()?;
        String::from_utf8_lossy(&output.stdout).contains("XID 79").then_some(())
    })?;
    let status = agent.status()?;
    let serial = status["gpus"][1]["serial"].as_str().ok_or("no serial")?.to_owned();
    let uuid = status["gpus"][1]["uuid"].as_str().ok_or("no UUID")?.to_owned();
    let results = agent.state().join("burn-in");
    fs::create_dir_all(&results)?;
    fs::write(
        results.join(format!("{uuid}.json")),
        r#"{"verdict":"fail","processes":[{"name":"secret-python"}]}"#,
    )?;
    fs::write(results.join("GPU-other.json"), "{}")?;

    let folder = tempfile::tempdir()?;
    let here = folder.path();
    fs::write(here.join("nvidia-bug-report.log.gz"), "not opened")?;
    let output = rma(&agent, here, &["1", "--out", "card.tar", "--json"])?;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let manifest: Json = serde_json::from_slice(&output.stdout)?;
    tar(&["-xf", "card.tar", "--strip-components=1"], here)?;

    let card: Json = serde_json::from_slice(&fs::read(here.join("card.json"))?)?;
    assert_eq!(card["serial"].as_str(), Some(serial.as_str()));
    assert!(card["readings"]["vbios_version"].is_string(), "{card:#}");
    let conditions: Json = serde_json::from_slice(&fs::read(here.join("conditions.json"))?)?;
    assert_eq!(conditions[0]["id"], "xid_79", "{conditions:#}");
    let xids = fs::read_to_string(here.join("xids.txt"))?;
    assert!(xids.contains("XID 79: GPU has fallen off the bus"), "{xids}");
    let readme = fs::read_to_string(here.join("README.txt"))?;
    assert!(readme.contains("NOT redacted"), "{readme}");
    assert!(!here.join("burn-in/GPU-other.json").exists());

    let entries = manifest["entries"].as_array().ok_or("no entries")?;
    assert!(entries.len() >= 10, "{manifest:#}");
    for entry in entries {
        let path = entry["path"].as_str().ok_or("no path")?;
        let sum = Command::new("sha256sum").arg(here.join(path)).output()?;
        let sum = String::from_utf8(sum.stdout)?;
        assert_eq!(sum.split(' ').next(), entry["sha256"].as_str(), "{path}");
        let text = fs::read_to_string(here.join(path))?;
        for name in ["secret", "4242", "10.9.8.7"] {
            assert!(!text.contains(name), "{name} in {path}:\n{text}");
        }
        let mut words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '-' && c != '_');
        assert!(!words.any(|word| word == host), "the host's name in {path}:\n{text}");
    }

    let again = rma(&agent, here, &["1", "--out", "card.tar"])?;
    assert_eq!(again.status.code(), Some(64), "nothing is written over");
    let without = rma(&agent, here, &[serial.as_str(), "--out", "b.tar", "--without-bug-report"])?;
    assert!(without.status.success(), "{}", String::from_utf8_lossy(&without.stderr));
    assert!(!tar(&["-tf", "b.tar"], here)?.contains("bug-report"));
    let named = rma(&agent, here, &["1", "--out", "c.tar", "--with-names"])?;
    assert!(named.status.success(), "{}", String::from_utf8_lossy(&named.stderr));
    let xids = tar(&["-xOf", "c.tar", "--wildcards", "*/xids.txt"], here)?;
    assert!(xids.contains(&format!("at {host}")) && !xids.contains("secret"), "{xids}");
    assert_eq!(rma(&agent, here, &["GPU-none"])?.status.code(), Some(64));

    agent.process.terminate(SOON)?;
    let nobody = rma(&agent, here, &["1"])?;
    assert_eq!(nobody.status.code(), Some(69));
    assert!(String::from_utf8_lossy(&nobody.stderr).contains("hint: is the agent running?"));
    Ok(())
}
