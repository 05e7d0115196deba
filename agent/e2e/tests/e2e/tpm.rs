//! A node whose identity is its TPM's, and a TPM that has a bad day.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rackmark_e2e::Outcome;
use rackmark_e2e::agent::{Agent, Setup};
use rackmark_e2e::broker::Mosquitto;
use rackmark_e2e::http::value;
use rackmark_e2e::process::{children, name, wait_for};
use rackmark_e2e::sim::Sim;
use rackmark_e2e::swtpm::{Certified, Chip, Swtpm};
use rackmark_e2e::tpm_proxy::{Fate, TpmProxy};

fn node(agent: &Agent) -> Outcome<String> {
    let status = wait_for("status", Duration::from_secs(10), || agent.status().ok())?;
    Ok(status["node"]["id"].as_str().unwrap_or_default().to_owned())
}

#[test]
fn a_tpm_that_falls_silent_holds_nobody_up() -> Outcome<()> {
    let sim = Sim::profile("h200", Some(1))?;
    let broker = Mosquitto::start()?;
    let chip = Chip::manufacture(Certified::ByItsMaker)?;
    let tpm = Swtpm::power(&chip)?;
    let proxy = TpmProxy::before(&tpm, |_| Fate::Pass)?;
    let setup = Setup::on(&sim).broker(broker.port).tpm(&proxy.tcti());
    let mut agent = Agent::sampling(&setup)?;
    let id = node(&agent)?;
    assert!(id.starts_with("tpm:"), "{id}");
    agent.wait("the TPM's figures", Duration::from_secs(40), |scrape| {
        value(scrape, "rackmark_tpm_up") == Some(1.0)
            && value(scrape, "rackmark_tpm_lockout") == Some(0.0)
            && scrape.contains(r#"rackmark_evidence_total{cause="start",outcome="made"} 1"#)
    })?;
    agent.process.terminate(Duration::from_secs(5))?;

    let asked = Arc::new(AtomicBool::new(false));
    let heard = asked.clone();
    proxy.rule(move |_| {
        heard.store(true, Ordering::SeqCst);
        Fate::Silence
    });
    let mut agent = agent.again(&setup)?;
    wait_for("a question to the TPM", Duration::from_secs(40), || {
        asked.load(Ordering::SeqCst).then_some(())
    })?;
    // Samples go on while nobody answers.
    let samples = |scrape: &str| value(scrape, "rackmark_samples_total").unwrap_or_default();
    let mut before = 0.0;
    agent.wait("a sample", Duration::from_secs(10), |scrape| {
        before = samples(scrape);
        before > 0.0
    })?;
    agent.wait("more samples", Duration::from_secs(10), |scrape| samples(scrape) >= before + 4.0)?;
    assert_eq!(node(&agent)?, id, "what it is does not depend on the TPM's mood");
    let mut with_the_tpm = children(agent.process.pid()).into_iter();
    let attester = with_the_tpm.find(|pid| name(*pid).as_deref() == Some("rackmark-attest"));
    let attester = attester.ok_or("no process with the TPM")?;
    let (status, took) = agent.process.terminate(Duration::from_secs(5))?;
    assert!(status.success() && took <= Duration::from_secs(2), "{status} after {took:?}");
    wait_for("the end of the process with the TPM", Duration::from_secs(10), || {
        name(attester).is_none().then_some(())
    })
}
