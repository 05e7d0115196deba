//! After `rackmark pause` nothing of ours holds the driver.

use std::time::Duration;

use rackmark_e2e::Outcome;
use rackmark_e2e::agent::{Agent, Setup};
use rackmark_e2e::process::{children, holds};
use rackmark_e2e::sim::Sim;

#[test]
fn a_pause_closes_every_handle_and_ends_by_itself() -> Outcome<()> {
    let sim = Sim::profile("h100-sxm-8", None)?;
    let agent = Agent::sampling(&Setup::on(&sim))?;
    let sampler = agent.sampler()?;
    // The control: while sampling, the library is held.
    assert!(holds(sampler, "libnvidia_ml") || holds(sampler, "libnvidia-ml"));

    let output = agent.cli(&["pause", "--for", "3s"])?;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    for pid in std::iter::once(agent.process.pid()).chain(children(agent.process.pid())) {
        for part in ["libnvidia_ml", "libnvidia-ml", "/dev/nvidia"] {
            assert!(!holds(pid, part), "{pid} holds {part}");
        }
    }
    let status = agent.status()?;
    assert_eq!(status["gpus"][0]["standing"], "paused");
    assert_eq!(status["gpus"][0]["state"], "paused");
    agent.wait("the end of the pause", Duration::from_secs(8), |scrape| {
        scrape.contains("rackmark_gpu_up{gpu=\"7\"} 1")
    })?;
    Ok(())
}

#[test]
fn one_paused_gpu_is_not_touched_and_the_others_go_on() -> Outcome<()> {
    let sim = Sim::profile("h100-sxm-8", Some(4))?;
    let agent = Agent::sampling(&Setup::on(&sim))?;
    agent
        .wait("all GPUs", Duration::from_secs(5), |scrape| scrape.contains("rackmark_gpu_up{gpu=\"3\"} 1"))?;
    let uuid = agent.status()?["gpus"][2]["uuid"].as_str().ok_or("uuid")?.to_owned();
    let output = agent.cli(&["pause", "--gpu", &uuid, "--for", "1h"])?;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    // Any call to it would hang, and would show.
    sim.command("block 2 * forever")?;
    agent.wait("the others", Duration::from_secs(5), |scrape| {
        ["0", "1", "3"].iter().all(|gpu| scrape.contains(&format!("rackmark_gpu_up{{gpu=\"{gpu}\"}} 1")))
    })?;
    std::thread::sleep(Duration::from_secs(7));
    let status = agent.status()?;
    assert_eq!(status["gpus"][2]["standing"], "paused");
    assert_eq!(status["sampler"]["walked_away_total"], 0);
    sim.command("clear 2")?;
    let output = agent.cli(&["resume", "--gpu", &uuid])?;
    assert!(output.status.success());
    agent.wait("its return", Duration::from_secs(5), |scrape| {
        scrape.contains("rackmark_gpu_up{gpu=\"2\"} 1")
    })?;
    Ok(())
}

#[test]
fn what_is_not_a_gpu_cannot_be_paused() -> Outcome<()> {
    let sim = Sim::profile("h200", Some(1))?;
    let agent = Agent::sampling(&Setup::on(&sim))?;
    let output = agent.cli(&["pause", "--gpu", "GPU-nowhere", "--for", "1m"])?;
    assert_eq!(output.status.code(), Some(77));
    let output = agent.cli(&["pause", "--for", "30"])?;
    assert_eq!(output.status.code(), Some(64));
    Ok(())
}

#[test]
fn sleeping_and_handed_over_gpus_are_left_alone() -> Outcome<()> {
    let sim = Sim::profile("h100-sxm-8", Some(3))?;
    sim.sysfs("suspend 1")?;
    sim.sysfs("vfio 2")?;
    // Any call to either would hang, and would show.
    sim.command("block 1 * forever")?;
    sim.command("block 2 * forever")?;
    let agent = Agent::sampling(&Setup::on(&sim))?;
    std::thread::sleep(Duration::from_secs(7));
    let status = agent.status()?;
    let standings: Vec<_> =
        (0..3).map(|gpu| status["gpus"][gpu]["standing"].as_str().unwrap_or("")).collect();
    assert_eq!(standings, ["answering", "suspended", "handed_over"]);
    sim.command("clear all")?;
    sim.sysfs("resume 1")?;
    sim.sysfs("nvidia 2")?;
    agent.wait("their return", Duration::from_secs(12), |scrape| {
        scrape.contains("rackmark_gpu_up{gpu=\"1\"} 1") && scrape.contains("rackmark_gpu_up{gpu=\"2\"} 1")
    })?;
    Ok(())
}
