//! A driver call that does not come back: the GPU is named, the others go on,
//! scrapes and SIGTERM are answered.

use std::time::Duration;

use rackmark_e2e::Outcome;
use rackmark_e2e::agent::{Agent, Setup};
use rackmark_e2e::process::{in_uninterruptible_sleep, wait_for};
use rackmark_e2e::sim::Sim;

use crate::silent_file::SilentFile;

#[test]
fn a_call_that_blocks_in_user_space() -> Outcome<()> {
    let sim = Sim::profile("h100-sxm-8", None)?;
    let mut agent = Agent::sampling(&Setup::on(&sim))?;
    agent
        .wait("all GPUs", Duration::from_secs(5), |scrape| scrape.contains("rackmark_gpu_up{gpu=\"7\"} 1"))?;
    sim.command("block 3 nvmlDeviceGetTemperature forever")?;
    named_while_the_others_go_on(&agent, "nvmlDeviceGetTemperature")?;
    let (status, took) = agent.process.terminate(Duration::from_secs(5))?;
    assert!(status.success() && took <= Duration::from_secs(2), "{status} after {took:?}");
    Ok(())
}

#[test]
fn a_sampler_in_uninterruptible_sleep() -> Outcome<()> {
    let Some(mount) = SilentFile::mount()? else {
        println!("skipped: no FUSE");
        return Ok(());
    };
    let sim = Sim::profile("h100-sxm-8", None)?;
    let mut agent = Agent::sampling(&Setup::on(&sim))?;
    agent
        .wait("all GPUs", Duration::from_secs(5), |scrape| scrape.contains("rackmark_gpu_up{gpu=\"7\"} 1"))?;
    let sampler = agent.sampler()?;
    sim.command(&format!("read-file 3 nvmlDeviceGetTemperature {}", mount.file().display()))?;
    named_while_the_others_go_on(&agent, "nvmlDeviceGetTemperature")?;
    // The one left behind is beyond SIGKILL, and is reported as such.
    wait_for("a stuck sampler", Duration::from_secs(10), || in_uninterruptible_sleep(sampler).then_some(()))?;
    agent.wait("the report", Duration::from_secs(10), |scrape| {
        scrape.contains("rackmark_sampler_stuck_processes 1")
    })?;
    let (status, took) = agent.process.terminate(Duration::from_secs(5))?;
    assert!(status.success() && took <= Duration::from_secs(2), "{status} after {took:?}");
    mount.answer();
    wait_for("the end of the stuck sampler", Duration::from_secs(5), || {
        (!in_uninterruptible_sleep(sampler)).then_some(())
    })
}

fn named_while_the_others_go_on(agent: &Agent, function: &str) -> Outcome<()> {
    let mut slowest = Duration::ZERO;
    let began = std::time::Instant::now();
    wait_for("unresponsive", Duration::from_secs(10), || {
        let scrape = agent.scrape().ok()?;
        slowest = slowest.max(scrape.took);
        scrape.body.contains("rackmark_gpu_state{gpu=\"3\",state=\"faulted\"} 1").then_some(())
    })?;
    println!("named after {:?}, slowest scrape {slowest:?}", began.elapsed());
    assert!(slowest < Duration::from_millis(50), "{slowest:?}");
    let status = agent.status()?;
    assert_eq!(status["gpus"][3]["standing"], "unresponsive");
    assert_eq!(status["gpus"][3]["hangs_in"], function);
    let log = agent.log();
    let uuid = status["gpus"][3]["uuid"].as_str().ok_or("uuid")?;
    assert!(
        log.lines()
            .any(|line| line.contains("unresponsive") && line.contains(uuid) && line.contains(function)),
        "{log}"
    );
    // A fresh sampler goes on without it.
    agent.wait("the other seven", Duration::from_secs(5), |scrape| {
        scrape.contains("rackmark_sampler_walked_away_total 1")
            && [0, 1, 2, 4, 5, 6, 7]
                .iter()
                .all(|gpu| scrape.contains(&format!("rackmark_gpu_up{{gpu=\"{gpu}\"}} 1")))
    })?;
    Ok(())
}
