//! Eight simulated H100 at 1 Hz with the broker connected: memory, processor
//! time, scrapes, start.

use std::time::{Duration, Instant};

use rackmark_e2e::Outcome;
use rackmark_e2e::agent::{Agent, Setup};
use rackmark_e2e::broker::Mosquitto;
use rackmark_e2e::http::Scraper;
use rackmark_e2e::process::{binary, cpu_time, private_bytes, written_bytes};
use rackmark_e2e::sim::Sim;
use rackmark_e2e::stats::percentile;

use super::figure;

/// The scheduler's account is read over this time.
const WATCHED: Duration = Duration::from_secs(120);
/// Scrapes that are timed.
const SCRAPES: usize = 500;
/// Starts that are timed; the median counts.
const STARTS: usize = 7;

pub(crate) fn measure() -> Outcome<()> {
    let (sim, broker) = (Sim::scenario("load")?, Mosquitto::start()?);
    let binaries =
        ["rackmark", "rackmark-sampler"].map(|name| std::fs::metadata(binary(name)).map(|file| file.len()));
    let bytes: u64 = binaries.into_iter().collect::<Result<Vec<_>, _>>()?.iter().sum();
    figure("binaries_mb", bytes as f64 / 1e6, "MB")?;

    let setup = Setup::on(&sim).broker(broker.port);
    let mut starts = Vec::new();
    for _ in 0..STARTS {
        let agent = Agent::start(&setup)?;
        agent.wait("the first sample", Duration::from_secs(10), |scrape| {
            scrape.contains("rackmark_gpu_up{gpu=\"7\"} 1")
        })?;
        starts.push(agent.started.elapsed());
    }
    figure("first_sample_ms", percentile(&mut starts, 0.5).as_secs_f64() * 1e3, "ms")?;

    let agent = Agent::sampling(&setup)?;
    agent
        .wait("the broker", Duration::from_secs(10), |scrape| scrape.contains("rackmark_mqtt_connected 1"))?;
    std::thread::sleep(Duration::from_secs(15));
    let pids = [agent.process.pid(), agent.sampler()?];
    let used = || -> Outcome<Duration> { pids.iter().map(|pid| cpu_time(*pid)).sum() };
    let written = written_bytes(pids[0])?;
    let (began, before) = (Instant::now(), used()?);
    std::thread::sleep(WATCHED);
    let written = written_bytes(pids[0])? - written;
    figure("spool_write_kb_per_s", written as f64 / 1e3 / began.elapsed().as_secs_f64(), "kB/s")?;
    let share = (used()? - before).as_secs_f64() / began.elapsed().as_secs_f64();
    figure("cpu_percent", share * 100.0, "percent_of_a_core")?;

    let mut scraper = Scraper::connect(agent.metrics)?;
    let mut scrapes = |pause: Duration| -> Outcome<Vec<Duration>> {
        let mut times = Vec::with_capacity(SCRAPES);
        for _ in 0..SCRAPES {
            std::thread::sleep(pause);
            times.push(scraper.scrape()?.0);
        }
        Ok(times)
    };
    // One after the other, so that what is measured is the agent's work; with
    // pauses, a virtual machine's wake-ups from idle come on top.
    let mut busy = scrapes(Duration::ZERO)?;
    figure("scrape_p50_ms", percentile(&mut busy, 0.5).as_secs_f64() * 1e3, "ms")?;
    figure("scrape_p99_ms", percentile(&mut busy, 0.99).as_secs_f64() * 1e3, "ms")?;
    let mut spaced = scrapes(Duration::from_millis(20))?;
    figure("scrape_spaced_p50_ms", percentile(&mut spaced, 0.5).as_secs_f64() * 1e3, "ms")?;
    figure("scrape_spaced_p99_ms", percentile(&mut spaced, 0.99).as_secs_f64() * 1e3, "ms")?;
    let private: u64 = pids.iter().map(|pid| private_bytes(*pid)).sum::<Outcome<u64>>()?;
    figure("private_mb", private as f64 / 1e6, "MB")
}
