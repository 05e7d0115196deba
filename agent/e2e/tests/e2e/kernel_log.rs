//! The kernel log as the second witness: what the driver writes there, what it
//! never would, and ten thousand lines of it.

use std::time::Duration;

use rackmark_e2e::Outcome;
use rackmark_e2e::agent::{Agent, Setup};
use rackmark_e2e::broker::Mosquitto;
use rackmark_e2e::consumer::Buyer;
use rackmark_e2e::http::value;
use rackmark_e2e::kernel_log::{H100_ADDRESSES, KernelLog};
use rackmark_e2e::sim::Sim;
use rackmark_feed::{Audience, Body, EventKind, Verdict, XidSource};

const SOON: Duration = Duration::from_secs(5);

fn errors(gpu: usize, xid: u32, count: u32) -> String {
    format!("rackmark_gpu_xid_errors_total{{gpu=\"{gpu}\",xid=\"{xid}\"}} {count}\n")
}

fn incidents(gpu: usize, xid: u32, count: u32) -> String {
    format!("rackmark_gpu_xid_incidents_total{{gpu=\"{gpu}\",xid=\"{xid}\"}} {count}\n")
}

/// An agent that listens to the kernel log.
fn listening(setup: &Setup) -> Outcome<Agent> {
    let agent = Agent::sampling(setup)?;
    agent.wait("the kernel log", SOON, |scrape| scrape.contains("rackmark_kernel_log_up 1"))?;
    Ok(agent)
}

/// Waits until the agent has read so many records.
fn read(agent: &Agent, records: u64) -> Outcome<String> {
    let wanted = format!("rackmark_kernel_log_records_total {records}\n");
    Ok(agent.wait("the kernel log", Duration::from_secs(20), |scrape| scrape.contains(&wanted))?.0)
}

#[test]
fn two_witnesses_of_one_xid_are_one_incident_and_the_buyer_sees_the_verdict() -> Outcome<()> {
    let (sim, broker) = (Sim::profile("h100-sxm-8", None)?, Mosquitto::start()?);
    let mut log = KernelLog::of(&sim)?;
    let mut buyer = Buyer::subscribe(broker.port)?;
    let agent = listening(&Setup::on(&sim).broker(broker.port))?;
    buyer.capacity(Audience::Buyer, Duration::from_secs(10), |capacity| {
        capacity.gpus.len() == 8 && capacity.gpus.iter().all(|gpu| gpu.verdict == Verdict::Schedulable)
    })?;
    log.write(&format!(
        "NVRM: Xid (PCI:{}): 79, pid=4242, name=python3, GPU has fallen off the bus.",
        H100_ADDRESSES[3]
    ))?;
    sim.command("xid 3 79")?;
    let both = [errors(3, 79, 1), incidents(3, 79, 1)];
    let (scrape, _) = agent.wait("the XID", SOON, |scrape| {
        scrape.contains("condition=\"xid\",key=\"79\"") && scrape.contains(&both[0])
    })?;
    assert!(both.iter().all(|line| scrape.contains(line)), "{scrape}");
    let mut wanted = (None, None, None);
    buyer.wait_for("event, condition and verdict", SOON, |_, body| {
        match body {
            Body::Event(event) => match &event.kind {
                EventKind::Xid(xid) => wanted.0 = Some(xid.clone()),
                EventKind::ConditionRaised { condition } => wanted.1 = Some(condition.clone()),
                _ => {}
            },
            Body::Capacity(capacity) if capacity.audience == Audience::Buyer => {
                let gpu = &capacity.gpus[3];
                let told = capacity.conditions().ok()?;
                let found = told.iter().find(|told| told.slot == Some(3) && told.condition.code == "xid");
                if let Some(found) = found.filter(|_| gpu.verdict == Verdict::Unusable) {
                    wanted.2 = Some(found.condition.clone());
                }
            }
            _ => {}
        }
        (wanted.0.is_some() && wanted.1.is_some() && wanted.2.is_some()).then_some(())
    })?;
    let (Some(xid), Some(raised), Some(told)) = wanted else { return Err("nothing".into()) };
    assert_eq!(xid.source, XidSource::KernelLog);
    assert_eq!((xid.pid, xid.process.as_deref()), (Some(4242), Some("python3")));
    assert_eq!(xid.text, "GPU has fallen off the bus.");
    assert_eq!((raised.code.as_str(), raised.key), ("xid", 79));
    assert_eq!((told.key, told.detail.as_str()), (79, ""), "the kernel's words are the operator's");
    Ok(())
}

#[test]
fn what_was_logged_before_the_start_counts_once_over_restarts() -> Outcome<()> {
    let sim = Sim::profile("h100-sxm-8", Some(2))?;
    let mut log = KernelLog::of(&sim)?;
    let setup = Setup::on(&sim);
    log.xid(0, 48)?;
    log.xid(0, 48)?;
    let mut agent = listening(&setup)?;
    let (scrape, _) = agent.wait("the look-back", SOON, |scrape| scrape.contains(&errors(0, 48, 2)))?;
    assert!(scrape.contains(&incidents(0, 48, 1)));
    log.xid(1, 31)?;
    agent.wait("a new line", SOON, |scrape| scrape.contains(&errors(1, 31, 1)))?;
    agent.process.terminate(SOON)?;
    let agent = agent.again(&setup)?;
    log.xid(1, 31)?;
    let (scrape, _) = agent.wait("one more", SOON, |scrape| scrape.contains(&errors(1, 31, 2)))?;
    assert!(scrape.contains(&errors(0, 48, 2)), "what was counted before the restart is not counted again");
    Ok(())
}

#[test]
fn every_kind_of_line_reaches_what_it_is_about() -> Outcome<()> {
    let sim = Sim::profile("h100-sxm-8", None)?;
    let mut log = KernelLog::of(&sim)?;
    let agent = listening(&Setup::on(&sim))?;
    let at = H100_ADDRESSES;
    // A MIG instance, the driver's own word, an NVSwitch, a GPU that this node does not have.
    log.write(&format!(
        "NVRM: Xid (PCI:{} GPU-I:02 GPU-CI:00): 94, pid=7, name=a, Contained ECC error",
        at[1]
    ))?;
    log.write(&format!(
        "NVRM: Xid (PCI:{}): 154, GPU recovery action changed from 0x0 (None) to 0x2 (Node Reboot Required)",
        at[2]
    ))?;
    log.write("nvidia-nvswitch3: SXid (PCI:0000:05:00.0): 20034, Fatal, Link 30 LTSSM Fault Up")?;
    log.write("NVRM: Xid (PCI:0000:99:00): 79, pid=0, GPU has fallen off the bus.")?;
    let scrape = read(&agent, 4)?;
    let condition = |start: &str, parts: &[&str]| {
        let found = scrape
            .lines()
            .any(|line| line.starts_with(start) && parts.iter().all(|part| line.contains(part)));
        assert!(found, "{start} {parts:?}:\n{scrape}");
    };
    condition("rackmark_gpu_condition{gpu=\"1\"", &["condition=\"xid\"", "key=\"94\"", "gpu_instance=\"2\""]);
    condition(
        "rackmark_gpu_condition{gpu=\"2\"",
        &["condition=\"recovery_action\"", "action=\"reboot_node\""],
    );
    condition("rackmark_node_condition{", &["condition=\"sxid\"", "key=\"20034\"", "severity=\"critical\""]);
    condition("rackmark_node_condition{", &["condition=\"xid\"", "key=\"79\""]);
    condition("rackmark_nvswitch_sxid_errors_total{", &["sxid=\"20034\""]);
    let status = agent.status()?;
    let words = status.to_string();
    assert!(words.contains("0000:99:00"), "the address of a GPU that is not ours is kept");
    assert!(words.contains("GPU instance 2, compute instance 0"));
    Ok(())
}

#[test]
fn ten_thousand_lines_are_one_incident_per_cause() -> Outcome<()> {
    let sim = Sim::profile("h100-sxm-8", None)?;
    let mut log = KernelLog::of(&sim)?;
    let agent = listening(&Setup::on(&sim))?;
    // 31 tears channels down, and each of those says why.
    for number in 0..5_000 {
        let at = H100_ADDRESSES[number % 8];
        log.write(&format!("NVRM: Xid (PCI:{at}): 31, pid=7, name=a, Ch 00000008, MMU Fault"))?;
        log.write(&format!(
            "NVRM: Xid (PCI:{at}): 45, pid=7, name=a, Ch 0000000a caused by previous Xid 31"
        ))?;
    }
    let scrape = read(&agent, 10_000)?;
    for gpu in 0..8 {
        for line in [errors(gpu, 31, 625), incidents(gpu, 31, 1), errors(gpu, 45, 625), incidents(gpu, 45, 0)]
        {
            assert!(scrape.contains(&line), "{line}\n{scrape}");
        }
    }
    assert_eq!(value(&scrape, "rackmark_kernel_log_lost_total"), Some(0.0));
    Ok(())
}

#[test]
fn lines_of_any_bytes_harm_nothing_and_are_counted() -> Outcome<()> {
    let sim = Sim::profile("h100-sxm-8", Some(1))?;
    let mut log = KernelLog::of(&sim)?;
    let mut agent = listening(&Setup::on(&sim))?;
    let at = H100_ADDRESSES[0];
    let odd = [
        "\u{1b}[2J\u{7}\\x1b\\xff\\x00".to_owned(),
        format!("NVRM: Xid (PCI:{at}): 4294967296, too large"),
        format!("NVRM: Xid (PCI:{at}): 99999, pid=-1, name={}, x", "<script>".repeat(40)),
        "NVRM: Xid (PCI:".to_owned(),
        format!("NVRM: Xid (PCI:{at} GPU-I:zz GPU-CI:): 13, "),
        "nvidia-nvswitch99999999999: SXid (PCI:zz): 1, ".to_owned(),
        "x".repeat(7_000),
    ];
    for text in &odd {
        log.write(text)?;
    }
    log.raw(b"no record at all\n\n\xff\xfe;\n4,notanumber,1,-;x\n")?;
    log.raw(&[b'y'; 20_000])?;
    log.raw(b"\n")?;
    log.xid(0, 63)?;
    let (scrape, _) =
        agent.wait("the line after all that", SOON, |scrape| scrape.contains(&errors(0, 63, 1)))?;
    assert!(scrape.contains(&errors(0, 99999, 1)), "an unknown code is kept and shown");
    assert!(
        value(&scrape, "rackmark_kernel_log_unreadable_total").is_some_and(|count| count >= 4.0),
        "{scrape}"
    );
    let page = rackmark_e2e::http::get(agent.metrics, "/", "*/*")?.body;
    assert!(!page.contains("<script><script>"), "the kernel's words are escaped");
    let (status, _) = agent.process.terminate(Duration::from_secs(5))?;
    assert!(status.success());
    Ok(())
}
