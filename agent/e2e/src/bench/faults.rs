//! How fast a lost and a hanging GPU are named, and what still answers then.

use std::time::{Duration, Instant};

use rackmark_e2e::Outcome;
use rackmark_e2e::agent::{Agent, Setup};
use rackmark_e2e::sim::Sim;

use super::figure;

pub(crate) fn measure() -> Outcome<()> {
    let sim = Sim::profile("h100-sxm-8", None)?;
    let mut agent = Agent::sampling(&Setup::on(&sim))?;
    agent
        .wait("all GPUs", Duration::from_secs(5), |scrape| scrape.contains("rackmark_gpu_up{gpu=\"7\"} 1"))?;

    sim.command("lost 1")?;
    let (_, took) = agent.wait("the loss", Duration::from_secs(10), |scrape| {
        scrape.contains("rackmark_gpu_no_data{gpu=\"1\",reason=\"gpu_lost\"} 1")
    })?;
    figure("gpu_lost_named_s", took.as_secs_f64(), "s")?;

    sim.command("block 3 nvmlDeviceGetTemperature forever")?;
    let began = Instant::now();
    let mut slowest = Duration::ZERO;
    loop {
        let scrape = agent.scrape()?;
        slowest = slowest.max(scrape.took);
        if scrape.body.contains("rackmark_gpu_state{gpu=\"3\",state=\"faulted\"} 1") {
            break;
        }
        if began.elapsed() > Duration::from_secs(30) {
            return Err("the hanging GPU is not named".into());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    figure("hang_named_s", began.elapsed().as_secs_f64(), "s")?;
    figure("hang_scrape_ms", slowest.as_secs_f64() * 1e3, "ms")?;
    let (_, took) = agent.process.terminate(Duration::from_secs(10))?;
    figure("hang_sigterm_s", took.as_secs_f64(), "s")
}
