//! A GPU that falls off the bus keeps its name, and the others go on.

use std::time::Duration;

use rackmark_e2e::Outcome;
use rackmark_e2e::agent::{Agent, Setup};
use rackmark_e2e::broker::Mosquitto;
use rackmark_e2e::consumer::Buyer;
use rackmark_e2e::sim::Sim;
use rackmark_feed::{Body, EventKind};

#[test]
fn a_lost_gpu_is_named_within_two_seconds_and_nothing_is_renumbered() -> Outcome<()> {
    let (sim, broker) = (Sim::profile("h100-sxm-8", None)?, Mosquitto::start()?);
    let mut buyer = Buyer::subscribe(broker.port)?;
    let agent = Agent::sampling(&Setup::on(&sim).broker(broker.port))?;
    agent
        .wait("all GPUs", Duration::from_secs(5), |scrape| scrape.contains("rackmark_gpu_up{gpu=\"7\"} 1"))?;
    let before = agent.status()?;
    let names = ["uuid", "serial", "index", "pci_address", "name", "slot"];

    sim.command("lost 1")?;
    let (_, took) = agent.wait("the loss", Duration::from_secs(5), |scrape| {
        scrape.contains("rackmark_gpu_no_data{gpu=\"1\",reason=\"gpu_lost\"} 1")
    })?;
    assert!(took <= Duration::from_secs(2), "{took:?}");
    let after = agent.status()?;
    for gpu in 0..8 {
        for name in names {
            assert!(!before["gpus"][gpu][name].is_null(), "{name} of GPU {gpu}");
            assert_eq!(before["gpus"][gpu][name], after["gpus"][gpu][name], "{name} of GPU {gpu}");
        }
        let standing = if gpu == 1 { "gpu_lost" } else { "answering" };
        assert_eq!(after["gpus"][gpu]["standing"], standing, "GPU {gpu}");
    }
    assert_eq!(after["gpus"][1]["verdict"], "unusable");

    let event = buyer.wait_for("the event", Duration::from_secs(5), |_, body| match body {
        Body::Event(event) if event.kind == EventKind::GpuLost => event.gpu.clone(),
        _ => None,
    })?;
    assert_eq!(event.slot, 1);
    assert_eq!(event.uuid.as_deref(), before["gpus"][1]["uuid"].as_str());
    assert_eq!(event.serial.as_deref(), before["gpus"][1]["serial"].as_str());
    assert_eq!(event.pci_address.as_deref(), before["gpus"][1]["pci_address"].as_str());
    let log = agent.log();
    let uuid = before["gpus"][1]["uuid"].as_str().ok_or("uuid")?;
    assert!(log.lines().any(|line| line.contains("is lost") && line.contains(uuid)), "{log}");

    sim.command("restore 1")?;
    agent.wait("its return", Duration::from_secs(15), |scrape| {
        scrape.contains("rackmark_gpu_up{gpu=\"1\"} 1")
    })?;
    Ok(())
}

#[test]
fn a_lost_gpu_keeps_its_name_when_the_agent_restarts() -> Outcome<()> {
    let sim = Sim::profile("h100-sxm-8", Some(2))?;
    let setup = Setup::on(&sim);
    let mut first = Agent::sampling(&setup)?;
    first.wait("both GPUs", Duration::from_secs(5), |scrape| {
        scrape.contains("rackmark_gpu_up{gpu=\"1\"} 1")
    })?;
    let uuid = first.status()?["gpus"][1]["uuid"].as_str().ok_or("uuid")?.to_owned();
    first.process.terminate(Duration::from_secs(5))?;
    sim.command("lost 1")?;
    let again = first.again(&setup)?;
    again.wait("GPU 0", Duration::from_secs(10), |scrape| scrape.contains("rackmark_gpu_up{gpu=\"0\"} 1"))?;
    assert_eq!(again.status()?["gpus"][1]["uuid"], uuid.as_str());
    Ok(())
}

#[test]
fn xids_in_a_burst_are_one_incident_and_all_are_counted() -> Outcome<()> {
    let (sim, broker) = (Sim::profile("h100-sxm-8", Some(2))?, Mosquitto::start()?);
    let mut buyer = Buyer::subscribe(broker.port)?;
    let agent = Agent::sampling(&Setup::on(&sim).broker(broker.port))?;
    sim.command("xid 1 94 5")?;
    let (scrape, _) = agent.wait("five XIDs", Duration::from_secs(3), |scrape| {
        scrape.contains("rackmark_gpu_xid_errors_total{gpu=\"1\",xid=\"94\"} 5")
    })?;
    assert!(scrape.contains("rackmark_gpu_xid_incidents_total{gpu=\"1\",xid=\"94\"} 1"));
    let is_xid = |body: &Body| matches!(body, Body::Event(event) if matches!(&event.kind, EventKind::Xid(xid) if xid.code == 94));
    buyer.wait_for("its event", Duration::from_secs(5), |_, body| is_xid(body).then_some(()))?;
    let again = buyer.wait_for("another", Duration::from_secs(2), |_, body| is_xid(body).then_some(()));
    assert!(again.is_err(), "repeats are one incident");
    Ok(())
}
