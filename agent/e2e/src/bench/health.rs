//! From a line of the kernel log to a verdict at a subscriber; a burst of XIDs; a health check.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use rackmark_e2e::Outcome;
use rackmark_e2e::agent::{Agent, Setup};
use rackmark_e2e::broker::Mosquitto;
use rackmark_e2e::consumer::Buyer;
use rackmark_e2e::http::value;
use rackmark_e2e::kernel_log::{H100_ADDRESSES, KernelLog};
use rackmark_e2e::process::{binary, cpu_time, private_bytes};
use rackmark_e2e::sim::Sim;
use rackmark_e2e::stats::percentile;
use rackmark_feed::{Audience, Body, Verdict};

use super::figure;

/// Verdicts that are timed.
const ROUNDS: usize = 200;
/// XIDs of the burst.
const BURST: u64 = 10_000;
/// Health checks that are timed.
const CHECKS: usize = 50;
/// Codes of NVIDIA's catalogue.
const CODES: u32 = 172;
/// The catalogue's facts, as they are kept beside the crate that answers them.
const FACTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../health/tests/facts/xid_actions.csv");
/// Deliberate differences, with reasons.
const DIFFERENCES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/xids.md");

pub(crate) fn measure() -> Outcome<()> {
    lines()?;
    latency()?;
    burst()?;
    check()
}

/// Every code in every shape that the driver prints.
fn lines() -> Outcome<()> {
    let sim = Sim::profile("h100-sxm-8", None)?;
    let agent = Agent::sampling(&Setup::on(&sim))?;
    let mut log = KernelLog::of(&sim)?;
    let at = H100_ADDRESSES[0];
    let devices = [format!("PCI:{at}"), format!("PCI:{at} GPU-I:02"), format!("PCI:{at} GPU-I:02 GPU-CI:00")];
    let tails = [
        "words of the driver",
        "pid=4242, name=python3, words of the driver",
        "pid='<unknown>', name=<unknown>, words of the driver",
        "pid=4242, words of the driver",
        "",
    ];
    let mut written = 0;
    for code in 1..=CODES {
        for device in &devices {
            for tail in tails {
                log.write(&format!("NVRM: Xid ({device}): {code}, {tail}"))?;
                written += 1;
            }
        }
    }
    let errors = |scrape: &str| -> u64 {
        let counted =
            scrape.lines().filter(|line| line.starts_with("rackmark_gpu_xid_errors_total{gpu=\"0\""));
        counted.filter_map(|line| line.rsplit_once(' ')?.1.parse::<u64>().ok()).sum()
    };
    let read = format!("rackmark_kernel_log_records_total {written}");
    let (scrape, _) = agent.wait("all lines", Duration::from_secs(30), |scrape| scrape.contains(&read))?;
    figure("xid_lines_total", f64::from(written), "lines")?;
    figure("xid_lines_parsed", errors(&scrape) as f64, "lines")?;
    figure("xid_action_mismatches", mismatches(&scrape)? as f64, "codes")
}

/// Codes in use whose action is not the one of their class, but for those with a stated reason.
fn mismatches(scrape: &str) -> Outcome<usize> {
    let facts = std::fs::read_to_string(Path::new(FACTS))?;
    let stated = std::fs::read_to_string(Path::new(DIFFERENCES))?;
    let (_, stated) = stated.split_once("## Differences").ok_or("docs/xids.md has no differences")?;
    let actions: BTreeMap<&str, &str> = BTreeMap::from([
        ("IGNORE", "none"),
        ("RESTART_APP", "restart_application"),
        ("CONTACT_SUPPORT", "contact_support"),
        ("RESET_GPU", "reset_gpu"),
        ("RESTART_BM", "reboot_node"),
        ("RESTART_VM", "reboot_node"),
        ("WORKFLOW_XID_48", "reset_gpu"),
        ("WORKFLOW_NVLINK_ERR", "inspect_hardware"),
        ("WORKFLOW_NVLINK5_ERR", "inspect_hardware"),
        ("CHECK_MECHANICALS", "inspect_hardware"),
        ("UPDATE_SWFW", "contact_support"),
        ("CHECK_UVM", "restart_application"),
        ("XID_154", "none"),
        // Codes for which NVIDIA states no action yet.
        ("", "contact_support"),
    ]);
    let mut wrong = 0;
    for line in facts.lines().filter(|line| line.starts_with(|c: char| c.is_ascii_digit())) {
        let fields: Vec<&str> = line.split(',').collect();
        let [code, in_use, class, ..] = fields[..] else { return Err(format!("{line:?} is no fact").into()) };
        if in_use != "yes" || stated.lines().any(|row| row.starts_with(&format!("| {code} |"))) {
            continue;
        }
        let Some(action) = actions.get(class) else {
            wrong += 1;
            continue;
        };
        let key = format!("condition=\"xid\",key=\"{code}\",");
        let right = format!("action=\"{action}\"");
        let stands =
            scrape.lines().filter(|line| line.starts_with("rackmark_gpu_condition{") && line.contains(&key));
        if !stands.clone().any(|line| line.contains(&right)) {
            let found = stands.collect::<Vec<_>>().join("\n");
            writeln!(std::io::stderr(), "XID {code} of class {class} should say {action}:\n{found}")?;
            wrong += 1;
        }
    }
    Ok(wrong)
}

/// From the write to the kernel log until a subscriber has verified a capacity message with the verdict.
fn latency() -> Outcome<()> {
    let (sim, broker) = (Sim::scenario("load")?, Mosquitto::start()?);
    let agent = Agent::sampling(&Setup::on(&sim).broker(broker.port))?;
    let mut log = KernelLog::of(&sim)?;
    let mut buyer = Buyer::subscribe(broker.port)?;
    let mut wait = |slot: usize, wanted: Verdict| {
        buyer.wait_for("the verdict", Duration::from_secs(20), |_, body| match body {
            Body::Capacity(capacity) if capacity.audience == Audience::Buyer => {
                let gpu = capacity.gpus.iter().find(|gpu| usize::from(gpu.slot) == slot)?;
                (gpu.verdict == wanted).then(Instant::now)
            }
            _ => None,
        })
    };
    wait(7, Verdict::Schedulable)?;
    let mut times = Vec::with_capacity(ROUNDS);
    for round in 0..ROUNDS {
        let slot = round % 8;
        let began = Instant::now();
        log.xid(slot, 79)?;
        times.push(wait(slot, Verdict::Unusable)?.saturating_duration_since(began));
        let acknowledged = agent.cli(&["ack", "xid_79", "--gpu", &slot.to_string()])?;
        if !acknowledged.status.success() {
            return Err(String::from_utf8_lossy(&acknowledged.stderr).into_owned().into());
        }
        wait(slot, Verdict::Schedulable)?;
    }
    figure("verdict_latency_p50_ms", percentile(&mut times, 0.5).as_secs_f64() * 1e3, "ms")?;
    figure("verdict_latency_p99_ms", percentile(&mut times, 0.99).as_secs_f64() * 1e3, "ms")
}

/// Ten thousand XIDs as fast as the log takes them: eight GPUs, four causes each.
fn burst() -> Outcome<()> {
    let (sim, broker) = (Sim::scenario("load")?, Mosquitto::start()?);
    let agent = Agent::sampling(&Setup::on(&sim).broker(broker.port))?;
    agent
        .wait("the broker", Duration::from_secs(10), |scrape| scrape.contains("rackmark_mqtt_connected 1"))?;
    std::thread::sleep(Duration::from_secs(5));
    let mut log = KernelLog::of(&sim)?;
    let pid = agent.process.pid();
    let (cpu, memory) = (cpu_time(pid)?, private_bytes(pid)?);
    let codes = [13, 31, 48, 94];
    let began = Instant::now();
    for number in 0..BURST {
        log.xid((number % 8) as usize, codes[(number / 8 % 4) as usize])?;
    }
    let read = format!("rackmark_kernel_log_records_total {BURST}");
    let (scrape, _) = agent.wait("the burst", Duration::from_secs(60), |scrape| scrape.contains(&read))?;
    let took = began.elapsed();
    std::thread::sleep(Duration::from_secs(1));
    figure("xid_burst_cpu_s", (cpu_time(pid)? - cpu).as_secs_f64(), "s")?;
    let grown = private_bytes(pid)?.saturating_sub(memory);
    figure("xid_burst_mb", grown as f64 / 1e6, "MB")?;
    figure("xid_burst_s", took.as_secs_f64(), "s")?;
    let incidents: f64 = (0..8)
        .flat_map(|gpu| {
            codes.map(|code| format!("rackmark_gpu_xid_incidents_total{{gpu=\"{gpu}\",xid=\"{code}\"}}"))
        })
        .filter_map(|series| value(&scrape, &series))
        .sum();
    figure("xid_burst_incidents", incidents, "incidents")
}

/// The whole process of `rackmark check`, as a scheduler starts it.
fn check() -> Outcome<()> {
    let sim = Sim::profile("h100-sxm-8", None)?;
    let agent = Agent::sampling(&Setup::on(&sim))?;
    agent.wait("a verdict", Duration::from_secs(10), |scrape| {
        scrape.contains("rackmark_node_verdict{verdict=\"schedulable\"} 1")
    })?;
    let mut times = Vec::with_capacity(CHECKS);
    for _ in 0..CHECKS {
        let began = Instant::now();
        let output =
            Command::new(binary("rackmark")).arg("check").arg("--config").arg(agent.config()).output()?;
        times.push(began.elapsed());
        if output.status.code() != Some(0) {
            return Err(format!("check: {}", String::from_utf8_lossy(&output.stdout)).into());
        }
    }
    figure("check_ms", percentile(&mut times, 0.5).as_secs_f64() * 1e3, "ms")?;
    figure("check_p99_ms", percentile(&mut times, 0.99).as_secs_f64() * 1e3, "ms")
}
