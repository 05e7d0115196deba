//! A node that becomes another: what a verifier keeps of it, by an operator's word and by nobody else's.

use std::fs;
use std::path::Path;
use std::time::Duration;

use rackmark_e2e::Outcome;
use rackmark_e2e::agent::{Agent, Setup};
use rackmark_e2e::broker::Mosquitto;
use rackmark_e2e::process::wait_for;
use rackmark_e2e::sim::Sim;
use rackmark_e2e::swtpm::{Certified, Chip, Swtpm};
use serde_json::Value as Json;
use tempfile::TempDir;

use crate::stranger::{Stranger, is, rackmark, said};

/// How long a restarted agent may take to be heard under its new id.
const SOON: Duration = Duration::from_secs(30);

/// The node id of an agent.
fn id(agent: &Agent) -> Outcome<String> {
    wait_for("its id", SOON, || {
        let status = agent.status().ok()?;
        status["node"]["id"].as_str().map(str::to_owned)
    })
}

/// Asks the node that has this id; the broker may still have the record of the one before.
fn ask(stranger: &Stranger, port: u16, id: &str) -> Outcome<(Option<i32>, Json)> {
    wait_for("an answer", SOON, || stranger.ask(port, "memory", &["--node-id", id]).ok())
}

/// Names of what memory shows.
fn flags(document: &Json) -> Vec<&str> {
    let all = document["flags"].as_array().into_iter().flatten();
    let mut names: Vec<&str> = all.filter_map(|flag| flag["flag"].as_str()).collect();
    names.dedup();
    names
}

/// An operator's record as a file.
fn succeed(old: &str, new: &str, key: &Path, out: &Path) -> Outcome<()> {
    let (key, out) = (key.display().to_string(), out.display().to_string());
    let reason = if new.starts_with("tpm:") { "tpm" } else { "reimage" };
    let mut arguments = vec!["key", "succeed", "--old", old, "--new", new, "--reason", reason];
    arguments.extend(["--ticket", "OPS-7", "--key", &key, "--out", &out]);
    let made = rackmark(&arguments)?;
    assert!(made.status.success(), "{}", said(&made));
    Ok(())
}

#[test]
fn a_reimaged_node_keeps_its_history_by_an_operators_word() -> Outcome<()> {
    let (sim, broker) = (Sim::profile("h200", Some(2))?, Mosquitto::start()?);
    let (stranger, folder) = (Stranger::new()?, TempDir::new()?);
    let records = folder.path().join("succession.d");
    fs::create_dir(&records)?;
    let setup = Setup::on(&sim)
        .broker(broker.port)
        .line("attest", format!("succession_dir = {records:?}"))
        .line("consumers", format!("allowed = [\"acme={}\"]", stranger.public));
    let agent = Agent::sampling(&setup)?;
    let old = id(&agent)?;
    let (_, first) = ask(&stranger, broker.port, &old)?;
    is(&first, "history", "verified", "history_fits");

    // Its disk is written anew: another key, another id, the same GPUs.
    let state = agent.state();
    let kept = folder.path().join("kept");
    let agent = agent.again_after(&setup, || fs::rename(&state, &kept))?;
    let new = id(&agent)?;
    assert_ne!(old, new);
    let (code, unexplained) = ask(&stranger, broker.port, &new)?;
    is(&unexplained, "history", "contradicted", "history_contradicts");
    assert_eq!((flags(&unexplained), code), (vec!["device_at_two_nodes"], Some(2)));

    // An operator signs; somebody else's ticket in it, and a record for another node, are refused with a word.
    let key = folder.path().join("operator.key");
    let operator = rackmark(&["key", "make", "--private", &key.display().to_string()])?;
    succeed(&old, &new, &key, &records.join("ops-7.toml"))?;
    succeed(&new, &old, &key, &records.join("wrong-way.toml"))?;
    let forged = fs::read_to_string(records.join("ops-7.toml"))?.replace("OPS-7", "OPS-8");
    fs::write(records.join("forged.toml"), forged)?;
    let agent = agent.again(&setup)?;
    assert_eq!(id(&agent)?, new);
    let shown = agent.status()?;
    assert_eq!(shown["node"]["successions"].as_array().map(Vec::len), Some(1), "{shown:#}");
    assert_eq!(shown["node"]["successions"][0]["ticket"], "OPS-7");
    let log = agent.log();
    assert!(log.contains("forged.toml: is not signed by the operator that it names"), "{log}");
    assert!(log.contains("wrong-way.toml") && log.contains("it does not lead to this node"), "{log}");

    // To who does not trust that operator it changes nothing.
    let (code, untrusted) = ask(&stranger, broker.port, &new)?;
    is(&untrusted, "succession", "not_established", "operator_untrusted");
    assert_eq!((flags(&untrusted), code), (vec!["device_at_two_nodes"], Some(2)));
    fs::create_dir_all(stranger.path("trust"))?;
    fs::write(stranger.path("trust/operators"), &operator.stdout)?;
    for _ in 0..2 {
        let (code, trusted) = ask(&stranger, broker.port, &new)?;
        is(&trusted, "succession", "verified", "succeeded");
        is(&trusted, "history", "verified", "history_fits");
        assert_eq!((&trusted["successions"][0]["old"], code), (&Json::from(old.clone()), Some(1)));
    }

    // The old id speaks again, from a copy of the disk.
    let agent = agent.again_after(&setup, || {
        fs::rename(&state, folder.path().join("newer"))?;
        fs::rename(&kept, &state)
    })?;
    assert_eq!(id(&agent)?, old);
    // With the record that was signed the wrong way it says that it is the later one.
    assert_eq!(agent.status()?["node"]["successions"][0]["old"], *new);
    let (code, back) = ask(&stranger, broker.port, &old)?;
    is(&back, "history", "contradicted", "history_contradicts");
    assert_eq!(flags(&back), ["succession_refused", "superseded_node", "device_at_two_nodes"]);
    assert_eq!(code, Some(2));

    people_look_at_memory(&stranger, &old, &new)
}

fn people_look_at_memory(stranger: &Stranger, old: &str, new: &str) -> Outcome<()> {
    let memory = stranger.path("memory");
    let command =
        |arguments: &[&str]| rackmark(&[&["feed", "memory"], arguments, &["--memory", &memory]].concat());
    let listed: Json = serde_json::from_slice(&command(&["list", "--json"])?.stdout)?;
    assert_eq!(listed["nodes"].as_array().map(Vec::len), Some(1), "{listed:#}");
    assert_eq!(listed["nodes"][0]["node"], *new);
    assert_eq!(listed["nodes"][0]["devices"].as_array().map(Vec::len), Some(2));
    assert_eq!(listed["superseded"], serde_json::json!([{ "old": old, "new": new }]));
    let table = said(&command(&["list"])?);
    assert!(table.contains(&format!("over: {new} succeeds it")), "{table}");
    // What was accepted under the old id stays: receipts rely on it.
    assert!(Path::new(&memory).join("bundles").join(old.replace(':', "-")).is_dir());
    assert!(command(&["forget", old])?.status.success());
    assert!(command(&["forget", new])?.status.success());
    let nobody = command(&["forget", new])?;
    assert_eq!(nobody.status.code(), Some(64), "{}", said(&nobody));
    let listed: Json = serde_json::from_slice(&command(&["list", "--json"])?.stdout)?;
    assert_eq!(listed, serde_json::json!({ "nodes": [], "superseded": [] }));
    let elsewhere = rackmark(&["feed", "memory", "list", "--memory", &stranger.path("mistyped")])?;
    assert_eq!(elsewhere.status.code(), Some(64));
    Ok(())
}

/// From a software key to the TPM's identity, which is of another class: the history goes with it, the label is the
/// TPM's own.
#[test]
fn a_node_that_takes_the_identity_of_its_tpm_keeps_its_history() -> Outcome<()> {
    let (chip, sim, broker) =
        (Chip::manufacture(Certified::ByItsMaker)?, Sim::profile("h200", Some(1))?, Mosquitto::start()?);
    let tpm = Swtpm::power(&chip)?;
    let (stranger, folder) = (Stranger::new()?, TempDir::new()?);
    stranger.trust(&chip)?;
    let shared = |setup: Setup| {
        setup
            .broker(broker.port)
            .line("attest", format!("succession_dir = {:?}", folder.path()))
            .line("consumers", format!("allowed = [\"acme={}\"]", stranger.public))
    };
    let agent = Agent::sampling(&shared(Setup::on(&sim)))?;
    let old = id(&agent)?;
    let (_, first) = ask(&stranger, broker.port, &old)?;
    assert_eq!(first["label"], "software-key", "{first:#}");

    let with_tpm = shared(Setup::on(&sim).tpm(&tpm.tcti())).line("attest", "tpm = \"required\"");
    let agent = agent.again(&with_tpm)?;
    let new = id(&agent)?;
    assert!(new.starts_with("tpm:"), "{new}");
    let key = folder.path().join("operator.key");
    let operator = rackmark(&["key", "make", "--private", &key.display().to_string()])?;
    fs::write(stranger.path("trust/operators"), &operator.stdout)?;
    succeed(&old, &new, &key, &folder.path().join("tpm.toml"))?;
    let agent = agent.again(&with_tpm)?;
    assert_eq!(id(&agent)?, new);
    let (_, document) = wait_for("an answer with the succession", SOON, || {
        let answer = ask(&stranger, broker.port, &new).ok()?;
        (answer.1["successions"] != serde_json::json!([])).then_some(answer)
    })?;
    is(&document, "succession", "verified", "succeeded");
    is(&document, "history", "verified", "history_fits");
    assert_eq!(
        (&document["label"], &document["successions"][0]["reason"]),
        (&"tpm-hw".into(), &"tpm".into())
    );
    Ok(())
}
