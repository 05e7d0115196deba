//! A burn-in from the command line to what is kept of it: the shipped programs on simulated GPUs that run the kernels'
//! own source.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Output;
use std::time::{Duration, Instant};

use rackmark_e2e::Outcome;
use rackmark_e2e::agent::{Agent, Setup};
use rackmark_e2e::broker::Mosquitto;
use rackmark_e2e::consumer::Buyer;
use rackmark_e2e::process::{children, in_uninterruptible_sleep, name, wait_for};
use rackmark_e2e::sim::Sim;
use rackmark_feed::{Body, EventKind};
use serde_json::Value as Json;

use crate::silent_file::SilentFile;
use crate::stranger::{self, Stranger, keys, said};

/// Exit codes of `rackmark burn-in`.
const PASS: i32 = 0;
const INCONCLUSIVE: i32 = 1;
const FAIL: i32 = 2;

const PATIENCE: Duration = Duration::from_secs(60);

fn sim() -> Outcome<Sim> {
    Sim::computing("h100-sxm-8", 2)
}

fn setup(sim: &Sim) -> Setup {
    Setup::on(sim).environment("LD_LIBRARY_PATH", sim.path().display().to_string())
}

/// An agent whose GPUs are judged.
fn agent(setup: &Setup) -> Outcome<Agent> {
    let agent = Agent::sampling(setup)?;
    judged(&agent)?;
    Ok(agent)
}

/// Waits until both GPUs are judged: one that answers may be unknown for a moment yet, and is refused then.
fn judged(agent: &Agent) -> Outcome<()> {
    let unknown = |gpu: &u8| format!("rackmark_gpu_verdict{{gpu=\"{gpu}\",verdict=\"unknown\"}} 0");
    agent.wait("two GPUs that are judged", Duration::from_secs(20), |scrape| {
        [0, 1].iter().all(|gpu| scrape.contains(&unknown(gpu)))
    })?;
    Ok(())
}

/// A probe of GPU 0: the exit code and the record, none where it did not begin.
fn probe(agent: &Agent) -> Outcome<(Option<i32>, Json)> {
    ended(&agent.cli(&["burn-in", "--gpu", "0", "--mode", "probe", "--json"])?)
}

fn ended(output: &Output) -> Outcome<(Option<i32>, Json)> {
    let said: Json = serde_json::from_slice(&output.stdout).map_err(|error| {
        let complaint = String::from_utf8_lossy(&output.stderr);
        format!("{error}: {} {complaint}", String::from_utf8_lossy(&output.stdout))
    })?;
    Ok((output.status.code(), said))
}

fn reasons(said: &Json) -> Vec<&str> {
    let reasons = said["records"][0]["judgement"]["reasons"].as_array();
    reasons.into_iter().flatten().filter_map(|reason| reason["code"].as_str()).collect()
}

fn verdict(agent: &Agent, verdict: &str) -> Outcome<()> {
    let wanted = format!("rackmark_gpu_verdict{{gpu=\"0\",verdict=\"{verdict}\"}} 1");
    agent.wait(&wanted, Duration::from_secs(10), |scrape| scrape.contains(&wanted))?;
    Ok(())
}

/// Processes that work on GPUs.
fn workers(agent: &Agent) -> Vec<u32> {
    let is = |pid: &u32| name(*pid).is_some_and(|name| name == "rackmark-gpu");
    children(agent.process.pid()).into_iter().filter(is).collect()
}

/// Begins a long burn-in of GPU 0 and waits until it works.
fn begin(agent: &Agent, mode: &str) -> Outcome<()> {
    begin_by(agent, || agent.cli(&["burn-in", "--gpu", "0", "--mode", mode, "--detach"]))
}

fn begin_by(agent: &Agent, order: impl FnOnce() -> Outcome<Output>) -> Outcome<()> {
    let output = order()?;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let works = || (!workers(agent).is_empty()).then_some(());
    wait_for("a process that works", PATIENCE, works).map_err(|error| format!("{error}; {}", agent.log()))?;
    let in_burn_in = "rackmark_gpu_state{gpu=\"0\",state=\"burn_in\"} 1";
    agent.wait(in_burn_in, Duration::from_secs(10), |scrape| scrape.contains(in_burn_in))?;
    Ok(())
}

/// The record of the last burn-in of GPU 0, once it ended.
fn last(agent: &Agent) -> Outcome<(Option<i32>, Json)> {
    wait_for("the end", PATIENCE, || {
        let output = agent.cli(&["burn-in", "--gpu", "0", "--last", "--json"]).ok()?;
        ended(&output).ok().filter(|(_, said)| said["records"][0]["judgement"].is_object())
    })
    .map_err(|error| format!("{error}; {}", agent.log()).into())
}

#[test]
fn a_sound_gpu_passes_and_its_result_outlives_a_restart() -> Outcome<()> {
    let (sim, broker) = (sim()?, Mosquitto::start()?);
    let mut buyer = Buyer::subscribe(broker.port)?;
    let mut agent = agent(&setup(&sim).broker(broker.port))?;
    let (code, said) = probe(&agent)?;
    assert_eq!(code, Some(PASS), "{:?}\n{}", reasons(&said), agent.log());
    let record = &said["records"][0];
    assert_eq!((record["simulated"].as_bool(), record["mode"].as_str()), (Some(true), Some("probe")));
    let figures = record["judgement"]["figures"].as_array().map_or(0, Vec::len);
    assert!(figures >= 4, "{figures} figures");
    verdict(&agent, "schedulable")?;
    assert!(workers(&agent).is_empty(), "the process is gone");
    let metric = "rackmark_burn_in_result{gpu=\"0\",mode=\"probe\",outcome=\"pass\"} 1";
    agent.wait(metric, Duration::from_secs(5), |scrape| scrape.contains(metric))?;
    let history = agent.cli(&["history", "--gpu", "0"])?;
    let history = String::from_utf8_lossy(&history.stdout).into_owned();
    assert!(history.contains("burn-in probe ended: pass"), "{history}");
    buyer.wait_for("the event", Duration::from_secs(20), |_, body| {
        let Body::Event(event) = body else { return None };
        let EventKind::BurnInEnded { mode, outcome, memory_bytes, .. } = &event.kind else { return None };
        assert_eq!((mode.as_str(), outcome.as_str()), ("probe", "pass"));
        assert!(*memory_bytes > 0 && event.gpu.as_ref().is_some_and(|gpu| gpu.slot == 0));
        Some(())
    })?;
    agent.process.terminate(Duration::from_secs(5))?;
    let agent = agent_again(agent, &sim)?;
    let (code, kept) = last(&agent)?;
    assert_eq!(code, Some(PASS));
    assert_eq!(kept["records"][0]["seed"], record["seed"]);
    Ok(())
}

fn agent_again(agent: Agent, sim: &Sim) -> Outcome<Agent> {
    let agent = agent.again(&setup(sim))?;
    judged(&agent)?;
    Ok(agent)
}

#[test]
fn one_that_is_asked_for_at_once_waits_for_the_first_judgement() -> Outcome<()> {
    let sim = sim()?;
    let agent = Agent::sampling(&setup(&sim))?;
    assert_eq!(probe(&agent)?.0, Some(PASS), "{}", agent.log());
    Ok(())
}

#[test]
fn one_flipped_bit_fails_the_gpu_and_takes_it_out() -> Outcome<()> {
    for fault in ["word 0 4096 17 stuck1", "product 0 gemm_bf16 0 3 5 7 always"] {
        let sim = sim()?;
        let agent = agent(&setup(&sim))?;
        sim.cuda(fault)?;
        let (code, said) = probe(&agent)?;
        assert_eq!(code, Some(FAIL), "{fault}: {:?}\n{}", reasons(&said), agent.log());
        assert_eq!(reasons(&said).first(), Some(&"miscompare"), "{fault}");
        verdict(&agent, "unusable")?;
        let condition = "rackmark_gpu_condition{gpu=\"0\",condition=\"burn_in_failed\"";
        agent.wait(condition, Duration::from_secs(5), |scrape| scrape.contains(condition))?;
    }
    Ok(())
}

#[test]
fn what_cannot_be_tested_is_inconclusive_and_changes_nothing() -> Outcome<()> {
    for (fault, code) in [
        ("module 0 222", "module_not_loaded"),
        ("idle 0", "self_test_missed"),
        ("init 100", "cuda_unavailable"),
    ] {
        let sim = sim()?;
        let agent = agent(&setup(&sim))?;
        sim.cuda(fault)?;
        let (exit, said) = probe(&agent)?;
        assert_eq!(exit, Some(INCONCLUSIVE), "{fault}: {:?}\n{}", reasons(&said), agent.log());
        assert!(reasons(&said).contains(&code), "{fault}: {:?}", reasons(&said));
        verdict(&agent, "schedulable")?;
    }
    Ok(())
}

#[test]
fn a_lease_gets_the_gpu_within_a_second() -> Outcome<()> {
    let sim = sim()?;
    let agent = agent(&setup(&sim).line("leases", "source = \"control\""))?;
    begin(&agent, "acceptance")?;
    let asked = Instant::now();
    let output = agent.cli(&["lease", "start", "--gpu", "0", "--id", "job-7"])?;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    wait_for("the end of the work", PATIENCE, || workers(&agent).is_empty().then_some(()))?;
    let took = asked.elapsed();
    assert!(took < Duration::from_secs(2), "given back after {took:?}, the command line included");
    let (code, said) = last(&agent)?;
    assert_eq!(code, Some(INCONCLUSIVE));
    assert!(reasons(&said).contains(&"preempted"), "{:?}", reasons(&said));
    let gave_back_ms = said["records"][0]["gave_back_ms"].as_u64();
    assert!(gave_back_ms.is_some_and(|ms| ms < 1_000), "{gave_back_ms:?}");
    let leased = "rackmark_gpu_state{gpu=\"0\",state=\"leased\"} 1";
    agent.wait(leased, Duration::from_secs(10), |scrape| scrape.contains(leased))?;
    Ok(())
}

#[test]
fn a_hang_is_ended_and_is_no_pass() -> Outcome<()> {
    let sim = sim()?;
    let agent = agent(&setup(&sim))?;
    begin(&agent, "acceptance")?;
    // Between stages half a minute of silence is allowed, within one a third of that: this only makes the test shorter.
    std::thread::sleep(Duration::from_secs(2));
    sim.cuda("hang 0")?;
    let (code, said) = last(&agent)?;
    assert_eq!(code, Some(INCONCLUSIVE));
    assert!(reasons(&said).contains(&"hung"), "{:?}", reasons(&said));
    assert!(workers(&agent).is_empty(), "the process was ended");
    Ok(())
}

#[test]
fn another_process_ends_it_although_the_driver_does_not_count_ours() -> Outcome<()> {
    let sim = sim()?;
    let agent = agent(&setup(&sim))?;
    begin(&agent, "acceptance")?;
    // The simulated driver never counts our own process, which is known once it worked for two seconds and was sampled
    // then: by the agent's own clock, however busy this machine is.
    let worked = |scrape: &str| {
        let name = "rackmark_gpu_state_seconds_total{gpu=\"0\",state=\"burn_in\"} ";
        let value = scrape.lines().find_map(|line| line.strip_prefix(name)?.parse::<f64>().ok());
        value.unwrap_or_default()
    };
    let mut until = None;
    agent.wait("ten seconds of work", PATIENCE, |scrape| {
        let now = worked(scrape);
        now >= *until.get_or_insert(now + 10.0)
    })?;
    sim.command("process 0 add 4242 python3 1048576")?;
    let (code, said) = last(&agent)?;
    assert_eq!(code, Some(INCONCLUSIVE));
    let reasons = reasons(&said);
    assert!(reasons.contains(&"preempted") && reasons.contains(&"foreign_process"), "{reasons:?}");
    assert!(workers(&agent).is_empty());
    Ok(())
}

#[test]
fn a_soak_goes_on_after_a_restart_of_the_agent() -> Outcome<()> {
    let sim = sim()?;
    let mut agent = agent(&setup(&sim))?;
    begin(&agent, "soak")?;
    agent.process.terminate(Duration::from_secs(5))?;
    let running = fs::read_dir(agent.state().join("burn-in"))?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|path| path.extension().is_some_and(|ending| ending == "running"))
        .ok_or("nothing is kept of it")?;
    let kept: Json = serde_json::from_slice(&fs::read(&running)?)?;
    let agent = agent_again(agent, &sim)?;
    wait_for("the work to go on", PATIENCE, || (!workers(&agent).is_empty()).then_some(()))
        .map_err(|error| format!("{error}; {}", agent.log()))?;
    let output = agent.cli(&["burn-in", "--stop"])?;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let (code, said) = last(&agent)?;
    assert_eq!(code, Some(INCONCLUSIVE));
    let record = &said["records"][0];
    assert_eq!((&record["seed"], &record["began_unix_ms"]), (&kept["seed"], &kept["began_unix_ms"]));
    assert!(!running.exists(), "what ended does not go on at the next start");
    Ok(())
}

#[test]
fn a_gpu_that_somebody_uses_is_refused_at_the_gate() -> Outcome<()> {
    let sim = sim()?;
    let agent = agent(&setup(&sim))?;
    sim.command("process 0 add 4242 python3 1048576")?;
    let in_use = "rackmark_gpu_processes_compute{gpu=\"0\"} 1";
    agent.wait(in_use, Duration::from_secs(10), |scrape| scrape.contains(in_use))?;
    let (code, said) = probe(&agent)?;
    assert_ne!(code, Some(PASS), "{said}");
    assert!(said["records"].as_array().is_some_and(Vec::is_empty), "it did not begin: {said}");
    let why = said["not_begun"][0]["why"].as_str().unwrap_or("");
    assert!(why.contains("in_use"), "{said}");
    assert!(workers(&agent).is_empty());
    Ok(())
}

#[test]
fn a_hook_of_the_site_may_say_no() -> Outcome<()> {
    let sim = sim()?;
    let hooks = tempfile::TempDir::new()?;
    let folder = hooks.path().join("before-burn-in");
    fs::create_dir_all(&folder)?;
    let script = folder.join("10-no");
    fs::write(&script, "#!/bin/sh\necho 'the rack has no power to spare'\nexit 1\n")?;
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755))?;
    let agent = agent(&setup(&sim).line("hooks", format!("dir = {:?}", hooks.path())))?;
    let (code, said) = probe(&agent)?;
    assert_ne!(code, Some(PASS), "{said}");
    let why = said["not_begun"][0]["why"].as_str().unwrap_or("");
    assert!(why.contains("10-no"), "{said}\n{}", agent.log());
    Ok(())
}

#[test]
fn a_process_that_no_signal_reaches_takes_the_gpu_out_until_it_is_gone() -> Outcome<()> {
    let Some(mount) = SilentFile::mount()? else {
        println!("skipped: no FUSE");
        return Ok(());
    };
    let sim = sim()?;
    let mut agent = agent(&setup(&sim))?;
    begin(&agent, "acceptance")?;
    let worker = workers(&agent).first().copied().ok_or("a process that works")?;
    sim.cuda(&format!("read-file 0 {}", mount.file().display()))?;
    wait_for("sleep in the kernel", PATIENCE, || in_uninterruptible_sleep(worker).then_some(()))?;
    let (code, said) = last(&agent)?;
    assert_eq!(code, Some(INCONCLUSIVE));
    assert!(reasons(&said).contains(&"wedged"), "{:?}", reasons(&said));
    stuck(&agent, worker)?;
    // A new agent knows it, too, and nobody gets the GPU.
    agent.process.terminate(Duration::from_secs(5))?;
    let agent = agent.again(&setup(&sim).line("leases", "source = \"control\""))?;
    stuck(&agent, worker)?;
    let lease = agent.cli(&["lease", "start", "--gpu", "0", "--id", "job-7"])?;
    assert!(!lease.status.success(), "nobody gets a GPU with a process on it");
    // The other GPU goes on.
    let other = agent.cli(&["burn-in", "--gpu", "1", "--mode", "probe", "--json"])?;
    assert_eq!(ended(&other)?.0, Some(PASS), "{}", agent.log());
    mount.answer();
    wait_for("its end", PATIENCE, || (!in_uninterruptible_sleep(worker)).then_some(()))?;
    verdict(&agent, "schedulable")?;
    let kept = fs::read_dir(agent.state().join("burn-in"))?.flatten();
    let kept: Vec<_> = kept.map(|entry| entry.file_name()).collect();
    assert!(!kept.iter().any(|name| name.to_string_lossy().ends_with(".stuck")), "{kept:?}");
    sim.cuda("clear")?;
    assert_eq!(probe(&agent)?.0, Some(PASS), "{}", agent.log());
    Ok(())
}

/// The GPU is out, and everybody is told why.
fn stuck(agent: &Agent, worker: u32) -> Outcome<()> {
    verdict(agent, "unusable")?;
    let condition = "rackmark_gpu_condition{gpu=\"0\",condition=\"worker_stuck\"";
    agent.wait(condition, Duration::from_secs(10), |scrape| scrape.contains(condition))?;
    let conditions = agent.status()?["gpus"][0]["conditions"].to_string();
    assert!(conditions.contains(&format!("process {worker}\"")), "{conditions}");
    let refused = agent.cli(&["burn-in", "--gpu", "0", "--mode", "probe"])?;
    let complaint = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success());
    assert!(complaint.contains(&format!("process {worker} on GPU 0 cannot be ended")), "{complaint}");
    Ok(())
}

#[test]
fn an_operator_begins_and_ends_a_burn_in_over_mqtt_and_a_buyer_does_not() -> Outcome<()> {
    let (sim, broker, folder) = (sim()?, Mosquitto::start()?, tempfile::TempDir::new()?);
    let (operator, buyer) = (Stranger::new()?, Stranger::new()?);
    fs::create_dir_all(keys(folder.path()))?;
    fs::write(
        keys(folder.path()).join("acme.toml"),
        format!("public_key = \"{}\"\nroles = [\"operator\"]\n", operator.public),
    )?;
    let library = sim.path().display().to_string();
    let setup = stranger::setup(&sim, broker.port, folder.path())
        .line("consumers", format!("allowed = [\"plain={}\"]", buyer.public))
        .environment("LD_LIBRARY_PATH", library);
    let mut feed = Buyer::subscribe(broker.port)?;
    let agent = agent(&setup)?;

    let start = ["burn-in-start", "--gpu", "0", "--mode", "probe"];
    let refused = buyer.ctl_as("plain", broker.port, &start)?;
    assert_eq!(refused.status.code(), Some(1), "{}", said(&refused));
    assert!(said(&refused).contains("refused by"), "{}", said(&refused));
    assert!(workers(&agent).is_empty());

    let begun = operator.ctl(broker.port, &start)?;
    assert_eq!(begun.status.code(), Some(0), "{}", said(&begun));
    feed.wait_for("the event", PATIENCE, |_, body| {
        let Body::Event(event) = body else { return None };
        let EventKind::BurnInEnded { mode, outcome, .. } = &event.kind else { return None };
        assert_eq!((mode.as_str(), outcome.as_str()), ("probe", "pass"));
        Some(())
    })?;
    assert_eq!(last(&agent)?.1["records"][0]["by"], "acme");

    let nothing = operator.ctl(broker.port, &["burn-in-stop"])?;
    assert!(said(&nothing).contains("no burn-in runs"), "{}", said(&nothing));
    let wrong = operator.ctl(broker.port, &["burn-in-start", "--mode", "forever"])?;
    assert!(said(&wrong).contains("there is no mode"), "{}", said(&wrong));
    begin_by(&agent, || operator.ctl(broker.port, &["burn-in-start", "--gpu", "0", "--mode", "acceptance"]))?;
    let again = operator.ctl(broker.port, &start)?;
    assert!(said(&again).contains("a burn-in of GPU 0 runs already"), "{}", said(&again));
    let stopped = operator.ctl(broker.port, &["burn-in-stop", "--gpu", "0"])?;
    assert_eq!(stopped.status.code(), Some(0), "{}", said(&stopped));
    wait_for("the end of the work", PATIENCE, || workers(&agent).is_empty().then_some(()))?;
    let free = "rackmark_gpu_state{gpu=\"0\",state=\"free\"} 1";
    agent.wait(free, Duration::from_secs(10), |scrape| scrape.contains(free))?;
    Ok(())
}
