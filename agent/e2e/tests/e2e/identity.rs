//! What a node is, checked by a stranger over a real broker, and who may ask it for anything.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use rackmark_e2e::Outcome;
use rackmark_e2e::agent::{Agent, Setup};
use rackmark_e2e::broker::Mosquitto;
use rackmark_e2e::process::{binary, wait_for};
use rackmark_e2e::sim::Sim;
use rackmark_e2e::swtpm::{Certified, Chip, Swtpm};
use rackmark_feed::verify::bundle::BundleView;
use rackmark_feed::verify::report::{Question, Trust, verify_bundle};
use rackmark_feed::{PublicKey, SigningKey};
use serde_json::Value as Json;
use tempfile::TempDir;

/// A consumer with a key, a verifier's memory and its trust.
pub(crate) struct Stranger {
    folder: TempDir,
    pub(crate) public: String,
}

pub(crate) fn rackmark(arguments: &[&str]) -> Outcome<Output> {
    Ok(Command::new(binary("rackmark")).args(arguments).output()?)
}

pub(crate) fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

impl Stranger {
    pub(crate) fn new() -> Outcome<Self> {
        let folder = TempDir::new()?;
        let file = folder.path().join("key").display().to_string();
        let made = rackmark(&["key", "make", "--private", &file])?;
        assert!(made.status.success(), "{}", said(&made));
        let public = String::from_utf8(made.stdout)?.trim().to_owned();
        Ok(Self { folder, public })
    }

    pub(crate) fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    /// Believes in the maker of a TPM.
    pub(crate) fn trust(&self, chip: &Chip) -> Outcome<()> {
        let trust = self.folder.path().join("trust/tpm");
        fs::create_dir_all(trust.join("roots"))?;
        fs::create_dir_all(trust.join("issuers"))?;
        let [root, issuer] = chip.maker()?;
        fs::write(trust.join("roots/maker.der"), root)?;
        fs::write(trust.join("issuers/maker.der"), issuer)?;
        Ok(())
    }

    pub(crate) fn ask(&self, port: u16, memory: &str, more: &[&str]) -> Outcome<(Option<i32>, Json)> {
        let (broker, key) = (format!("mqtt://127.0.0.1:{port}"), self.path("key"));
        let (memory, trust) = (self.path(memory), self.path("trust"));
        let mut arguments =
            vec!["feed", "verify", "--broker", &broker, "--node", "test/node", "--as", "acme"];
        arguments.extend(["--key", &key, "--memory", &memory, "--trust", &trust, "--simulated", "--json"]);
        arguments.extend(more);
        let output = rackmark(&arguments)?;
        let document =
            serde_json::from_slice(&output.stdout).map_err(|error| format!("{error}: {}", said(&output)))?;
        Ok((output.status.code(), document))
    }

    fn ctl(&self, port: u16, verb: &[&str]) -> Outcome<Output> {
        let (broker, key) = (format!("mqtt://127.0.0.1:{port}"), self.path("key"));
        let mut arguments =
            vec!["ctl", "--broker", &broker, "--node", "test/node", "--as", "acme", "--key", &key];
        arguments.extend(verb);
        rackmark(&arguments)
    }
}

fn keys(folder: &Path) -> PathBuf {
    folder.join("keys.d")
}

fn setup(sim: &Sim, port: u16, folder: &Path) -> Setup {
    Setup::on(sim).broker(port).line("consumers", format!("keys_dir = {:?}", keys(folder)))
}

fn allow(stranger: &Stranger, agent: &Agent, role: &str) -> Outcome<()> {
    let added = agent.cli(&["key", "add", "acme", "--public", &stranger.public, "--role", role])?;
    assert!(added.status.success(), "{}", said(&added));
    Ok(())
}

/// Outcome and reason of the checks of a subject.
fn checks(document: &Json, subject: &str) -> Vec<(String, String)> {
    let all = document["checks"].as_array().cloned().unwrap_or_default();
    let text = |value: &Json| value.as_str().unwrap_or_default().to_owned();
    all.iter()
        .filter(|check| check["subject"] == subject)
        .map(|check| (text(&check["outcome"]), text(&check["reason"])))
        .collect()
}

pub(crate) fn is(document: &Json, subject: &str, outcome: &str, reason: &str) {
    let found = checks(document, subject);
    assert!(found.contains(&(outcome.to_owned(), reason.to_owned())), "{subject}: {found:?}\n{document:#}");
}

#[test]
fn a_stranger_checks_a_tpm_over_the_broker() -> Outcome<()> {
    let (chip, sim, broker) =
        (Chip::manufacture(Certified::ByItsMaker)?, Sim::profile("h200", Some(2))?, Mosquitto::start()?);
    let tpm = Swtpm::power(&chip)?;
    let (stranger, folder) = (Stranger::new()?, TempDir::new()?);
    stranger.trust(&chip)?;
    let setup = setup(&sim, broker.port, folder.path()).tpm(&tpm.tcti());
    fs::create_dir_all(keys(folder.path()))?;
    let agent = Agent::sampling(&setup)?;
    allow(&stranger, &agent, "buyer")?;
    wait_for("the key to be heard of", Duration::from_secs(15), || {
        agent.log().contains("configuration is reloaded").then_some(())
    })?;

    let bundle = stranger.path("node.bundle");
    let (code, document) = stranger.ask(broker.port, "memory", &["--save", &bundle])?;
    assert_eq!(document["label"], "tpm-hw", "{document:#}");
    assert!(document["node"].as_str().is_some_and(|node| node.starts_with("tpm:")));
    is(&document, "session", "verified", "fits");
    is(&document, "freshness", "verified", "nonce_fits");
    is(&document, "endorsement_key", "verified", "chain_trusted");
    is(&document, "attestation_key", "verified", "activated");
    is(&document, "quote", "verified", "fits");
    is(&document, "inventory", "not_established", "simulated");
    is(&document, "device 0", "not_established", "host_reported");
    is(&document, "history", "verified", "history_fits");
    assert_eq!(code, Some(1), "not all is shown");

    // The second time the chain goes on, and no credential is needed.
    let (_, again) = stranger.ask(broker.port, "memory", &[])?;
    is(&again, "history", "verified", "history_fits");
    is(&again, "attestation_key", "verified", "activated");
    // A verifier that lost a step of the chain would take the next word for a fork; another one begins its own.
    let (_, other) = stranger.ask(broker.port, "another", &[])?;
    is(&other, "history", "verified", "history_fits");
    let (code, forked) = stranger.ask(broker.port, "memory", &[])?;
    is(&forked, "history", "contradicted", "history_contradicts");
    assert_eq!(code, Some(2));

    // Who was not seen to hold the TPM's key is not remembered as the node, whose id is public.
    let bytes = fs::read(&bundle)?;
    let view = BundleView::parse(&bytes)?;
    let trusted = SigningKey::from_pkcs8(&fs::read(stranger.path("key"))?)?.public();
    let remembered = |verifiers: &[PublicKey]| {
        let trust = Trust { verifiers, simulated: true, ..Trust::default() };
        let now_unix_ms = 1_830_000_000_000;
        let report = verify_bundle(&view, &trust, &Question { now_unix_ms, ..Question::default() });
        report.observation.is_some()
    };
    assert!(remembered(&[trusted]));
    assert!(!remembered(&[]), "a stranger would be taken for the node the next time");

    // The bundle alone: fresh for whoever knows the nonce, activated for whoever trusts the verifier.
    let trust = stranger.path("trust");
    let offline = |more: &[&str]| -> Outcome<Json> {
        let mut arguments = vec!["verify", &bundle, "--trust", &trust, "--simulated", "--json"];
        arguments.extend(more);
        Ok(serde_json::from_slice(&rackmark(&arguments)?.stdout)?)
    };
    let believed = offline(&["--verifier", &stranger.public])?;
    assert_eq!(believed["label"], "tpm-hw", "{believed:#}");
    is(&believed, "freshness", "not_established", "not_fresh");
    let unbelieved = offline(&[])?;
    is(&unbelieved, "attestation_key", "not_established", "not_activated");
    assert_eq!(unbelieved["label"], "nothing");
    Ok(())
}

/// Without a trusted maker the same TPM is labelled as uncertified.
#[test]
fn a_tpm_that_nobody_vouches_for_is_labelled_so() -> Outcome<()> {
    let (chip, sim, broker) =
        (Chip::manufacture(Certified::ByNobody)?, Sim::profile("h200", Some(1))?, Mosquitto::start()?);
    let tpm = Swtpm::power(&chip)?;
    let (stranger, folder) = (Stranger::new()?, TempDir::new()?);
    fs::create_dir_all(keys(folder.path()))?;
    let setup = setup(&sim, broker.port, folder.path())
        .tpm(&tpm.tcti())
        .line("consumers", format!("allowed = [\"acme={}\"]", stranger.public));
    let _agent = Agent::sampling(&setup)?;
    let (_, document) = stranger.ask(broker.port, "memory", &[])?;
    assert_eq!(document["label"], "tpm-uncertified", "{document:#}");
    is(&document, "endorsement_key", "not_established", "no_certificate");
    is(&document, "attestation_key", "verified", "activated");
    Ok(())
}

#[test]
fn a_node_without_a_tpm_is_a_software_key() -> Outcome<()> {
    let (sim, broker) = (Sim::profile("h200", Some(1))?, Mosquitto::start()?);
    let (stranger, folder) = (Stranger::new()?, TempDir::new()?);
    let setup = setup(&sim, broker.port, folder.path())
        .line("consumers", format!("allowed = [\"acme={}\"]", stranger.public));
    let _agent = Agent::sampling(&setup)?;
    let (code, document) = stranger.ask(broker.port, "memory", &[])?;
    assert_eq!(document["label"], "software-key", "{document:#}");
    is(&document, "endorsement_key", "not_established", "software_key");
    assert_eq!(code, Some(1));
    Ok(())
}

/// A slow TPM, here one that never answers, delays nothing but evidence.
#[test]
fn a_tpm_that_hangs_delays_no_sample() -> Outcome<()> {
    let (chip, sim, broker) =
        (Chip::manufacture(Certified::ByNobody)?, Sim::profile("h200", Some(1))?, Mosquitto::start()?);
    let folder = TempDir::new()?;
    let tpm = Swtpm::power(&chip)?;
    let setup = setup(&sim, broker.port, folder.path()).tpm(&tpm.tcti());
    let agent = Agent::sampling(&setup)?;
    wait_for("first evidence", Duration::from_secs(20), || {
        agent.log().contains("evidence is made").then_some(())
    })?;
    tpm.stop();
    let agent = agent.again(&setup)?;
    // The node keeps its id, and samples as ever.
    agent.wait("a GPU that answers", Duration::from_secs(10), |scrape| {
        scrape.contains("rackmark_gpu_up{gpu=\"0\"} 1")
    })?;
    assert_eq!(agent.log().matches("evidence is made").count(), 0);
    tpm.go_on();
    wait_for("evidence", Duration::from_secs(90), || agent.log().contains("evidence is made").then_some(()))?;
    Ok(())
}

#[test]
fn a_key_is_made_allowed_used_and_revoked() -> Outcome<()> {
    let (sim, broker) = (Sim::profile("h200", Some(1))?, Mosquitto::start()?);
    let (stranger, folder) = (Stranger::new()?, TempDir::new()?);
    // Somebody else stays allowed, so that the node goes on listening.
    let other = Stranger::new()?;
    let setup = setup(&sim, broker.port, folder.path())
        .line("consumers", format!("allowed = [\"other={}\"]", other.public));
    fs::create_dir_all(keys(folder.path()))?;
    let agent = Agent::sampling(&setup)?;
    allow(&stranger, &agent, "operator")?;
    wait_for("the key to be heard of", Duration::from_secs(15), || {
        agent.log().contains("configuration is reloaded").then_some(())
    })?;
    let drained = stranger.ctl(broker.port, &["drain", "--reason", "an update"])?;
    assert_eq!(drained.status.code(), Some(0), "{}", said(&drained));
    let unknown = stranger.ctl(broker.port, &["lease-end", "--id", "no-such-lease"])?;
    assert_eq!(unknown.status.code(), Some(1), "{}", said(&unknown));
    assert!(said(&unknown).contains("refused by sw:"), "{}", said(&unknown));

    let listed = agent.cli(&["key", "list"])?;
    assert!(said(&listed).contains("operator") && said(&listed).contains("allowed"), "{}", said(&listed));
    let revoked = agent.cli(&["key", "revoke", "acme", "--reason", "lost laptop"])?;
    assert!(revoked.status.success(), "{}", said(&revoked));
    wait_for("the key to be forgotten", Duration::from_secs(15), || {
        (agent.log().matches("configuration is reloaded").count() > 1).then_some(())
    })?;
    assert!(said(&agent.cli(&["key", "list"])?).contains("revoked"));
    let mut asked = Command::new(binary("rackmark"))
        .args(["ctl", "--broker", &format!("mqtt://127.0.0.1:{}", broker.port), "--node", "test/node"])
        .args(["--as", "acme", "--key", &stranger.path("key"), "undrain"])
        .spawn()?;
    // Nobody answers a key that is not allowed, not even with a refusal.
    wait_for("the refusal in the log", Duration::from_secs(20), || {
        agent.log().contains("comes from acme, who is not allowed").then_some(())
    })?;
    asked.kill()?;
    asked.wait()?;
    Ok(())
}
