//! What a node is, checked by a stranger over a real broker, and who may ask it for anything.

use std::fs;
use std::process::Command;
use std::time::Duration;

use rackmark_e2e::Outcome;
use rackmark_e2e::agent::{Agent, Setup};
use rackmark_e2e::asker::Asker;
use rackmark_e2e::broker::Mosquitto;
use rackmark_e2e::consumer::Buyer;
use rackmark_e2e::process::{binary, wait_for};
use rackmark_e2e::sim::Sim;
use rackmark_e2e::swtpm::{Certified, Chip, Swtpm};
use rackmark_feed::verify::bundle::BundleView;
use rackmark_feed::verify::report::{Question, Trust, verify_bundle};
use rackmark_feed::{Body, EvidenceCause, PublicKey, SigningKey};
use serde_json::Value as Json;
use tempfile::TempDir;

use crate::stranger::{Stranger, allow, is, keys, rackmark, said, setup};

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
    let agent = Agent::sampling(&setup)?;
    let (_, document) = stranger.ask(broker.port, "memory", &[])?;
    assert_eq!(document["label"], "tpm-uncertified", "{document:#}");
    is(&document, "endorsement_key", "not_established", "no_certificate");
    is(&document, "attestation_key", "verified", "activated");

    let output = Command::new(binary("rackmark"))
        .args(["doctor", "--json", "--config"])
        .arg(agent.config())
        .output()?;
    let findings: Json = serde_json::from_slice(&output.stdout)?;
    let findings = findings.as_array().ok_or("findings")?;
    let identity = findings.iter().find(|finding| finding["check"] == "identity").ok_or("identity")?;
    assert_eq!(identity["outcome"], "odd", "{identity}");
    assert!(identity["found"].as_str().is_some_and(|words| words.contains("no certificate")), "{identity}");
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
    let named = stranger.ctl(broker.port, &["--json", "lease-end", "--id", "no-such-lease"])?;
    let named: Json = serde_json::from_slice(&named.stdout)?;
    assert_eq!(
        (&named["outcome"], &named["refusal"]),
        (&"refused".into(), &"not_possible".into()),
        "{named}"
    );
    let refused = r#"rackmark_commands_total{verb="lease_end",outcome="not_possible"} 2"#;
    agent.wait("the refusals to be counted", Duration::from_secs(10), |scrape| scrape.contains(refused))?;

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

/// What GPUs sign is for one node, one device and one question.
#[test]
fn gpus_that_sign_are_known_by_their_own_key() -> Outcome<()> {
    let (sim, broker) = (Sim::signing("h200", 2)?, Mosquitto::start()?);
    let (stranger, folder) = (Stranger::new()?, TempDir::new()?);
    fs::create_dir_all(keys(folder.path()))?;
    let setup = setup(&sim, broker.port, folder.path())
        .line("consumers", format!("allowed = [\"acme={}\"]", stranger.public));
    let agent = Agent::sampling(&setup)?;
    agent.wait("both GPUs", Duration::from_secs(10), |scrape| {
        scrape.contains("rackmark_gpu_up{gpu=\"1\"} 1")
    })?;

    // Nobody trusts the maker yet.
    let (_, unknown) = stranger.ask(broker.port, "first", &[])?;
    assert_eq!(unknown["devices"][0]["label"], "host-reported", "{unknown:#}");

    let roots = stranger.folder.path().join("trust/devices/roots");
    fs::create_dir_all(&roots)?;
    fs::copy(sim.device_root(), roots.join("maker.der"))?;
    let bundle = stranger.path("signed.bundle");
    let (_, document) = stranger.ask(broker.port, "second", &["--save", &bundle])?;
    for gpu in 0..2 {
        is(&document, &format!("device {gpu}"), "verified", "device_signed");
        let device = &document["devices"][gpu];
        assert_eq!(device["label"], "device-signed", "{document:#}");
        assert_eq!(
            device["signed"]["driver_version"],
            agent.status()?["driver"]["driver_version"],
            "{document:#}"
        );
    }
    assert_ne!(document["devices"][0]["key"], document["devices"][1]["key"]);
    // A restart is another session: other reports, the same keys.
    let agent = agent.again(&setup)?;
    agent.wait("both GPUs", Duration::from_secs(10), |scrape| {
        scrape.contains("rackmark_gpu_up{gpu=\"1\"} 1")
    })?;
    let (_, again) = stranger.ask(broker.port, "third", &[])?;
    assert_eq!(again["devices"][0]["key"], document["devices"][0]["key"], "{again:#}");
    assert_ne!(again["label"], "nothing", "{again:#}");
    Ok(())
}

/// A fleet answers one question of a verifier, and its GPUs do.
#[test]
fn gpus_sign_for_a_verifiers_epoch() -> Outcome<()> {
    let (sim, broker, verifier) = (Sim::signing("h200", 2)?, Mosquitto::start()?, Asker::new("acme")?);
    let mut reader = Buyer::subscribe(broker.port)?;
    let setup = Setup::on(&sim).broker(broker.port).line("consumers", verifier.allowed());
    let agent = Agent::sampling(&setup)?;
    agent.wait("both GPUs", Duration::from_secs(10), |scrape| {
        scrape.contains("rackmark_gpu_up{gpu=\"1\"} 1")
    })?;
    let id = [0x5a; 32];
    verifier.begin_epoch(broker.port, id)?;
    // The node takes a moment of its own within the first tenth of the minute.
    let claim = reader.wait_for("evidence of the epoch", Duration::from_secs(30), |_, body| match body {
        Body::Evidence(evidence) if evidence.claim.freshness.value == id => Some(evidence.claim.clone()),
        _ => None,
    })?;
    assert_eq!(claim.cause, EvidenceCause::Epoch);
    let signed = claim.devices.iter().filter(|device| device.report.is_some() && device.chain.is_some());
    assert_eq!(signed.count(), 2, "{:?}", claim.devices);
    Ok(())
}
