//! NVML → sampler → daemon → broker → a consumer that verifies.

use std::time::Duration;

use rackmark_e2e::Outcome;
use rackmark_e2e::agent::{Agent, Setup};
use rackmark_e2e::broker::Mosquitto;
use rackmark_e2e::consumer::Buyer;
use rackmark_e2e::sim::Sim;
use rackmark_feed::{Audience, Body, NodeState, Value, fields};

const PATIENCE: Duration = Duration::from_secs(15);

#[test]
fn telemetry_of_eight_gpus_is_decoded_and_verified_by_a_stranger() -> Outcome<()> {
    let (sim, broker) = (Sim::profile("h100-sxm-8", None)?, Mosquitto::start()?);
    let mut buyer = Buyer::subscribe(broker.port)?;
    let setup = Setup::on(&sim).broker(broker.port).line("mqtt", "batch_samples = 2");
    let _agent = Agent::sampling(&setup)?;
    let batch = buyer.telemetry(PATIENCE)?;
    assert_eq!((batch.slots().len(), batch.samples().len(), batch.columns().len()), (8, 2, 42));
    let power = fields::by_name("power_draw_milliwatts").ok_or("power field")?;
    for gpu in 0..8 {
        assert!(
            matches!(batch.value(1, gpu, usize::from(power.id)), Some(Value::Unsigned(1..))),
            "GPU {gpu}"
        );
    }
    Ok(())
}

#[test]
fn what_is_simulated_says_so_everywhere() -> Outcome<()> {
    let (sim, broker) = (Sim::profile("h200", Some(2))?, Mosquitto::start()?);
    let mut buyer = Buyer::subscribe(broker.port)?;
    let agent = Agent::sampling(&Setup::on(&sim).broker(broker.port))?;
    for audience in [Audience::Public, Audience::Buyer, Audience::Operator] {
        let capacity = buyer.capacity(audience, PATIENCE, |capacity| !capacity.gpus.is_empty())?;
        assert!(capacity.simulated, "{audience}");
    }
    assert!(agent.scrape()?.body.contains("rackmark_simulated 1"));
    assert_eq!(agent.status()?["simulated"], true);
    for arguments in [&["status"][..], &["sample"][..]] {
        let output = std::process::Command::new(rackmark_e2e::process::binary("rackmark"))
            .args(arguments)
            .arg("--config")
            .arg(agent.config())
            .env("RACKMARK_SIM_DIR", sim.path())
            .output()?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(
            text.contains("SIMULATED"),
            "{arguments:?}: {text}{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
    Ok(())
}

#[test]
fn serials_and_uuids_reach_the_operator_only() -> Outcome<()> {
    let (sim, broker) = (Sim::profile("h200", Some(2))?, Mosquitto::start()?);
    let mut buyer = Buyer::subscribe(broker.port)?;
    let _agent = Agent::sampling(&Setup::on(&sim).broker(broker.port))?;
    let mut seen = Vec::new();
    for _ in 0..3 {
        let (audience, payload) = buyer.wait_for("capacity", PATIENCE, |judged, body| match body {
            Body::Capacity(capacity) if capacity.gpus.len() == 2 && !seen.contains(&capacity.audience) => {
                Some((capacity.audience, judged.payload.clone()))
            }
            _ => None,
        })?;
        seen.push(audience);
        let names_a_board = payload.windows(4).any(|bytes| bytes == b"GPU-" || bytes == b"SIM0");
        assert_eq!(names_a_board, audience == Audience::Operator, "{audience}");
    }
    Ok(())
}

#[test]
fn a_consumer_that_comes_late_verifies_from_what_is_retained() -> Outcome<()> {
    let (sim, broker) = (Sim::profile("h200", Some(1))?, Mosquitto::start()?);
    let _agent = Agent::sampling(&Setup::on(&sim).broker(broker.port))?;
    std::thread::sleep(Duration::from_secs(2));
    let mut late = Buyer::subscribe(broker.port)?;
    let state = late.wait_for("a retained status", PATIENCE, |judged, body| match body {
        Body::Status(status) if judged.retained => Some(status.state),
        _ => None,
    })?;
    assert_eq!(state, NodeState::Online);
    late.capacity(Audience::Public, PATIENCE, |capacity| capacity.gpus.len() == 1)?;
    Ok(())
}

#[test]
fn a_clean_stop_says_offline_and_a_crash_is_told_by_the_will() -> Outcome<()> {
    let (sim, broker) = (Sim::profile("h200", Some(1))?, Mosquitto::start()?);
    let mut buyer = Buyer::subscribe(broker.port)?;
    let offline = |buyer: &mut Buyer, longest| {
        buyer.wait_for("offline", longest, |_, body| match body {
            Body::Status(status) if status.state == NodeState::Offline => Some(status.reason.clone()),
            _ => None,
        })
    };
    let mut agent = Agent::sampling(&Setup::on(&sim).broker(broker.port))?;
    std::thread::sleep(Duration::from_secs(1));
    let (status, took) = agent.process.terminate(Duration::from_secs(5))?;
    assert!(status.success(), "{status}");
    assert!(took < Duration::from_secs(2), "{took:?}");
    assert_eq!(offline(&mut buyer, PATIENCE)?, "stopped");

    let agent = agent.again(&Setup::on(&sim).broker(broker.port))?;
    buyer.wait_for("online", PATIENCE, |_, body| match body {
        Body::Status(status) if status.state == NodeState::Online => Some(()),
        _ => None,
    })?;
    drop(agent);
    assert_eq!(offline(&mut buyer, Duration::from_secs(30))?, "connection lost");
    Ok(())
}

#[test]
fn a_node_without_telemetry_keeps_saying_that_it_lives() -> Outcome<()> {
    let (sim, broker) = (Sim::profile("h200", Some(1))?, Mosquitto::start()?);
    let mut buyer = Buyer::subscribe(broker.port)?;
    let agent = Agent::sampling(&Setup::on(&sim).broker(broker.port))?;
    assert!(agent.cli(&["pause", "--for", "1h"])?.status.success());
    let mut paused = |after: u64| {
        buyer.wait_for("a status", Duration::from_secs(30), |judged, body| {
            let sent = judged.outcome.as_ref().map_or(0, |accepted| accepted.header.time_unix_ms);
            match body {
                Body::Status(status) if status.state == NodeState::Paused && sent > after => {
                    Some((sent, status.time_to_live_ms))
                }
                _ => None,
            }
        })
    };
    let (first, time_to_live_ms) = paused(0)?;
    let (second, _) = paused(first)?;
    assert!(second - first < time_to_live_ms, "{} ms of silence, {time_to_live_ms} allowed", second - first);
    Ok(())
}

#[test]
fn a_status_says_why_the_driver_is_gone() -> Outcome<()> {
    let (sim, broker) = (Sim::profile("h200", Some(1))?, Mosquitto::start()?);
    std::fs::remove_file(sim.library())?;
    let mut buyer = Buyer::subscribe(broker.port)?;
    let _agent = Agent::start(&Setup::on(&sim).broker(broker.port))?;
    buyer.wait_for("the reason", PATIENCE, |_, body| match body {
        Body::Status(status) if status.reason.contains("libnvidia-ml.so.1") => Some(()),
        _ => None,
    })
}

#[test]
fn feed_tail_prints_verified_messages_and_their_signed_bytes() -> Outcome<()> {
    let (sim, broker) = (Sim::profile("h200", Some(1))?, Mosquitto::start()?);
    let agent = Agent::sampling(&Setup::on(&sim).broker(broker.port))?;
    let output = agent.cli(&["feed", "tail", "--json", "--count", "3"])?;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout)?;
    let documents: Vec<serde_json::Value> =
        text.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    assert!(documents.len() >= 3);
    for document in &documents {
        assert!(document["signed_bytes"].as_str().is_some_and(|bytes| bytes.len() > 100), "{document}");
    }
    Ok(())
}

#[test]
fn a_recorded_trace_can_be_replayed() -> Outcome<()> {
    let sim = Sim::profile("h100-sxm-8", None)?;
    let folder = tempfile::TempDir::new()?;
    let trace = folder.path().join("trace");
    let agent = Agent::sampling(&Setup::on(&sim))?;
    let output = std::process::Command::new(rackmark_e2e::process::binary("rackmark"))
        .args(["record", "--for", "3s"])
        .arg(&trace)
        .arg("--config")
        .arg(agent.config())
        .env("RACKMARK_SIM_DIR", sim.path())
        .output()?;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let replay = Sim::trace(&trace)?;
    let replayed = Agent::sampling(&Setup::on(&replay))?;
    let scrape = replayed.scrape()?.body;
    for gpu in 0..8 {
        assert!(scrape.contains(&format!("rackmark_gpu_power_draw_watts{{gpu=\"{gpu}\"}}")), "GPU {gpu}");
    }
    Ok(())
}
