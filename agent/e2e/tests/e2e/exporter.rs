//! The Prometheus endpoint, judged by Prometheus.

use std::time::Duration;

use rackmark_e2e::Outcome;
use rackmark_e2e::agent::{Agent, Setup};
use rackmark_e2e::broker::Mosquitto;
use rackmark_e2e::http;
use rackmark_e2e::process::wait_for;
use rackmark_e2e::prometheus::{Prometheus, check_metrics};
use rackmark_e2e::sim::Sim;

fn whole() -> Outcome<(Sim, Mosquitto, Agent)> {
    let (sim, broker) = (Sim::profile("h100-sxm-8", None)?, Mosquitto::start()?);
    let agent = Agent::sampling(&Setup::on(&sim).broker(broker.port).line("node", "expected_gpus = 8"))?;
    sim.command("xid 1 94")?;
    sim.command("lost 7")?;
    agent.wait("everything that can be exported", Duration::from_secs(10), |scrape| {
        scrape.contains("rackmark_gpu_xid_errors_total") && scrape.contains("rackmark_gpu_no_data")
    })?;
    Ok((sim, broker, agent))
}

#[test]
fn promtool_finds_nothing_wrong() -> Outcome<()> {
    let (_sim, _broker, agent) = whole()?;
    let scrape = agent.scrape()?.body;
    assert!(scrape.lines().filter(|line| line.starts_with("rackmark_")).count() > 500, "not empty");
    let (status, said) = check_metrics(&scrape)?;
    assert!(status.success() && said.is_empty(), "{status}: {said}");
    Ok(())
}

#[test]
fn the_format_follows_the_accept_header() -> Outcome<()> {
    let (_sim, _broker, agent) = whole()?;
    let classic = http::get(agent.metrics, "/metrics", "text/plain")?;
    assert!(
        classic.head.to_lowercase().contains("content-type: text/plain; version=0.0.4"),
        "{}",
        classic.head
    );
    let open =
        http::get(agent.metrics, "/metrics", "application/openmetrics-text; version=1.0.0,text/plain;q=0.5")?;
    assert!(
        open.head.to_lowercase().contains("content-type: application/openmetrics-text; version=1.0.0"),
        "{}",
        open.head
    );
    assert!(open.body.ends_with("# EOF\n"));
    // Both say the same: every series of one is in the other.
    let names = |text: &str| {
        let mut names: Vec<String> = text
            .lines()
            .filter(|line| !line.starts_with('#'))
            .filter_map(|line| line.rsplit_once(' ').map(|(series, _)| series.to_owned()))
            .collect();
        names.sort();
        names
    };
    assert_eq!(names(&classic.body), names(&open.body));
    Ok(())
}

#[test]
fn a_real_prometheus_scrapes_it() -> Outcome<()> {
    let (_sim, _broker, agent) = whole()?;
    let prometheus = Prometheus::start(&[agent.metrics], None)?;
    wait_for("up in Prometheus", Duration::from_secs(20), || {
        let result = prometheus.query("up").ok()?;
        (result.first()?["value"][1] == "1").then_some(())
    })?;
    let powers = prometheus.query("rackmark_gpu_power_draw_watts")?;
    assert_eq!(powers.len(), 7, "seven GPUs answer, one is lost");
    let joined = prometheus.query("rackmark_gpu_up * on(gpu) group_left(uuid) rackmark_gpu_info")?;
    assert_eq!(joined.len(), 8);
    Ok(())
}
