//! What people ask and tell the agent about health: conditions, verdicts, maintenance, leases, history.

use std::time::{Duration, Instant};

use rackmark_e2e::Outcome;
use rackmark_e2e::account::Account;
use rackmark_e2e::agent::{Agent, Setup};
use rackmark_e2e::asker::Asker;
use rackmark_e2e::broker::Mosquitto;
use rackmark_e2e::consumer::Buyer;
use rackmark_e2e::process::wait_for;
use rackmark_e2e::sim::Sim;
use rackmark_feed::Verb;
use serde_json::Value as Json;

/// Everything that this waits for comes with a sample, one each second.
const SOON: Duration = Duration::from_secs(10);

/// Slow readings come once, at the start: an XID is judged by its code as long as none of the driver is newer.
fn setup(sim: &Sim) -> Setup {
    slow(sim, 3600)
}

fn slow(sim: &Sim, every_secs: u32) -> Setup {
    Setup::on(sim).line("sampling", format!("slow_every_secs = {every_secs}"))
}

/// An agent whose GPUs are judged schedulable.
fn schedulable(setup: &Setup) -> Outcome<Agent> {
    let agent = Agent::sampling(setup)?;
    judged(&agent, &[], 0, "schedulable")?;
    Ok(agent)
}

/// Waits until `rackmark check` ends with a code; its line must begin with `verdict`.
fn judged(agent: &Agent, of: &[&str], code: i32, verdict: &str) -> Outcome<String> {
    let mut last = String::new();
    let line = wait_for("a verdict", SOON, || {
        let output = agent.cli(&[&["check"], of].concat()).ok()?;
        last = String::from_utf8_lossy(&output.stdout).into_owned();
        (output.status.code() == Some(code) && last.starts_with(verdict)).then(|| last.clone())
    });
    line.map_err(|error| {
        format!("{verdict}: {error}; the last one was {last:?}; log:\n{}", agent.log()).into()
    })
}

/// Waits until the status is as wanted.
fn shows(agent: &Agent, what: &str, want: impl Fn(&Json) -> bool) -> Outcome<Json> {
    let mut last = Json::Null;
    let found = wait_for(what, SOON, || {
        last = agent.status().ok()?;
        want(&last).then(|| last.clone())
    });
    found.map_err(|error| format!("{error}; gpus: {:#}", last["gpus"]).into())
}

/// Runs a command that must succeed; what it says.
fn tell(agent: &Agent, arguments: &[&str]) -> Outcome<String> {
    let output = agent.cli(arguments)?;
    if output.status.success() {
        return Ok(String::from_utf8(output.stdout)?);
    }
    Err(format!("{arguments:?}: {}", String::from_utf8_lossy(&output.stderr)).into())
}

/// Runs a command that must be refused; why.
fn refused(agent: &Agent, arguments: &[&str]) -> Outcome<String> {
    let output = agent.cli(arguments)?;
    assert_eq!(output.status.code(), Some(77), "{arguments:?}");
    Ok(String::from_utf8(output.stderr)?)
}

/// Entries of the history of a kind, about a GPU or the node.
fn entries(agent: &Agent, kind: &str, slot: Option<u64>) -> Outcome<Vec<Json>> {
    let history: Json = serde_json::from_str(&tell(agent, &["history", "--limit", "4000", "--json"])?)?;
    let all = history.as_array().ok_or("no list")?.iter();
    Ok(all.filter(|entry| entry["kind"] == kind && entry["slot"].as_u64() == slot).cloned().collect())
}

/// Waits until the history has something.
fn happened(agent: &Agent, kind: &str, slot: Option<u64>, text: &str) -> Outcome<Json> {
    wait_for(&format!("{kind}: {text}"), SOON, || {
        let found = entries(agent, kind, slot).ok()?;
        found.into_iter().find(|entry| entry["text"].as_str().is_some_and(|said| said.contains(text)))
    })
}

fn condition<'a>(status: &'a Json, slot: usize, id: &str) -> Option<&'a Json> {
    status["gpus"][slot]["conditions"].as_array()?.iter().find(|condition| condition["id"] == id)
}

#[test]
fn an_xid_stands_until_it_is_acknowledged() -> Outcome<()> {
    let sim = Sim::profile("h100-sxm-8", Some(2))?;
    let agent = schedulable(&setup(&sim))?;
    sim.command("xid 1 79")?;
    let line = judged(&agent, &["--gpu", "1"], 2, "unusable: XID 79")?;
    assert!(line.len() <= 256 && line.lines().count() == 1, "{line:?}");
    judged(&agent, &[], 1, "draining: GPU 1 is unusable: XID 79")?;
    judged(&agent, &["--gpu", "0"], 0, "schedulable")?;
    let status = shows(&agent, "the condition", |status| condition(status, 1, "xid_79").is_some())?;
    let gpu = &status["gpus"][1];
    assert_eq!((&gpu["state"], &gpu["verdict"]), (&"faulted".into(), &"unusable".into()));
    assert_eq!(gpu["xids"][0]["xid"], 79);
    let shown = condition(&status, 1, "xid_79").ok_or("condition")?;
    assert_eq!(shown["severity"], "critical");
    let serial = gpu["serial"].as_str().ok_or("serial")?.to_owned();
    happened(&agent, "condition_raised", Some(1), "XID 79")?;
    let of_card = tell(&agent, &["history", "--gpu", &serial])?;
    assert!(of_card.contains("XID 79") && of_card.contains(&serial), "{of_card}");
    assert!(!tell(&agent, &["history", "--gpu", "0"])?.contains("XID"));
    let page = tell(&agent, &["status"])?;
    assert!(page.contains("xid_79") && page.contains("node is draining"), "{page}");

    let why = refused(&agent, &["ack", "xid_79"])?;
    assert!(why.contains("it does against GPU 1"), "{why}");
    tell(&agent, &["ack", "xid_79", "--gpu", "1", "--note", "reseated"])?;
    judged(&agent, &[], 0, "schedulable")?;
    let by = happened(&agent, "acknowledged", Some(1), "xid_79 is acknowledged by")?;
    assert!(by["text"].as_str().is_some_and(|text| text.ends_with(": reseated")), "{by}");
    assert_eq!(refused(&agent, &["ack", "xid_79", "--gpu", "1"])?.matches("does not stand").count(), 1);
    Ok(())
}

#[test]
fn maintenance_and_drains_take_gpus_out_and_give_them_back() -> Outcome<()> {
    let sim = Sim::profile("h100-sxm-8", Some(2))?;
    let agent = schedulable(&setup(&sim))?;
    tell(&agent, &["maintenance", "start", "--gpu", "1", "--for", "2h", "--reason", "fans"])?;
    judged(&agent, &[], 1, "draining: GPU 1 is draining: in maintenance")?;
    let status = agent.status()?;
    assert_eq!(status["gpus"][1]["state"], "maintenance");
    assert_eq!(status["gpus"][1]["maintenance"]["reason"], "fans");
    assert_eq!(status["gpus"][0]["state"], "free");
    assert!(tell(&agent, &["status"])?.contains("maintenance, 1 h 59 min left"));
    // A condition that stands meanwhile says so, for the alerts.
    sim.command("xid 1 79")?;
    agent.wait("the condition in maintenance", SOON, |scrape| {
        scrape.lines().any(|line| {
            line.starts_with("rackmark_gpu_condition{")
                && line.contains("gpu=\"1\"")
                && line.contains("condition=\"xid\"")
                && line.contains("maintenance=\"true\"")
        })
    })?;
    tell(&agent, &["ack", "all", "--gpu", "1"])?;
    tell(&agent, &["maintenance", "end", "--gpu", "1"])?;
    judged(&agent, &[], 0, "schedulable")?;
    assert!(refused(&agent, &["maintenance", "end", "--gpu", "1"])?.contains("there is no maintenance"));

    tell(&agent, &["maintenance", "start", "--for", "2s", "--reason", "a short one"])?;
    let status = agent.status()?;
    assert_eq!(
        (&status["gpus"][0]["state"], &status["gpus"][1]["state"]),
        (&"maintenance".into(), &"maintenance".into())
    );
    judged(&agent, &[], 0, "schedulable")?;
    happened(&agent, "maintenance_ended", None, "maintenance ended")?;
    assert!(agent.status()?["node"]["maintenance"].is_null());

    let past = agent.cli(&["maintenance", "start", "--until", "2020-01-01T00:00:00Z", "--reason", "x"])?;
    assert_eq!(past.status.code(), Some(77), "{}", String::from_utf8_lossy(&past.stderr));
    let no_end = agent.cli(&["maintenance", "start", "--reason", "x"])?;
    assert_eq!(no_end.status.code(), Some(64));

    tell(&agent, &["drain", "--gpu", "0", "--reason", "new firmware"])?;
    let line = judged(&agent, &["--gpu", "0"], 1, "draining: drained: new firmware")?;
    assert_eq!(line, "draining: drained: new firmware\n");
    assert_eq!(agent.status()?["gpus"][0]["state"], "draining");
    tell(&agent, &["undrain", "--gpu", "0"])?;
    judged(&agent, &[], 0, "schedulable")?;
    Ok(())
}

#[test]
fn leases_come_by_verb_and_by_file_and_not_on_a_faulted_gpu() -> Outcome<()> {
    let sim = Sim::profile("h100-sxm-8", Some(3))?;
    let file = sim.path().join("leases.json");
    let setup = setup(&sim).line("leases", "source = \"file\"").line("leases", format!("file = {file:?}"));
    let agent = schedulable(&setup)?;
    let state = |slot: usize, state: &'static str| {
        shows(&agent, &format!("GPU {slot} as {state}"), move |status| status["gpus"][slot]["state"] == state)
    };
    tell(&agent, &["lease", "start", "--gpu", "0", "--id", "job-1", "--reserved"])?;
    state(0, "reserved")?;
    tell(&agent, &["lease", "start", "--gpu", "0", "--id", "job-1", "--for", "1h"])?;
    let status = state(0, "leased")?;
    assert_eq!(status["gpus"][0]["lease"]["id"], "job-1");
    judged(&agent, &[], 0, "schedulable")?;
    let why = refused(&agent, &["lease", "start", "--gpu", "0", "--id", "job-2"])?;
    assert!(why.contains("job-1"), "{why}");

    let uuid = status["gpus"][2]["uuid"].as_str().ok_or("uuid")?;
    std::fs::write(&file, format!("{{\"leases\": [{{\"gpu\": {uuid:?}, \"lease\": \"vm-7\"}}]}}"))?;
    let status = state(2, "leased")?;
    assert_eq!(status["gpus"][2]["lease"]["from_file"], true);
    std::fs::write(&file, "{\"leases\": []}")?;
    state(2, "free")?;
    assert_eq!(agent.status()?["gpus"][0]["state"], "leased", "a lease by verb is not the file's to end");

    sim.command("xid 1 79")?;
    judged(&agent, &["--gpu", "1"], 2, "unusable")?;
    let why = refused(&agent, &["lease", "start", "--gpu", "1", "--id", "job-3"])?;
    assert!(why.contains("the GPU is faulted"), "{why}");
    tell(&agent, &["lease", "end", "job-1"])?;
    state(0, "free")?;
    assert!(refused(&agent, &["lease", "end", "job-1"])?.contains("there is no lease \"job-1\""));
    Ok(())
}

#[test]
fn what_stands_and_what_happened_outlast_the_agent() -> Outcome<()> {
    let sim = Sim::profile("h100-sxm-8", Some(2))?;
    let setup = setup(&sim).line("leases", "source = \"control\"");
    let mut agent = schedulable(&setup)?;
    sim.command("xid 1 79")?;
    judged(&agent, &["--gpu", "1"], 2, "unusable")?;
    tell(&agent, &["lease", "start", "--gpu", "0", "--id", "job-1"])?;
    tell(&agent, &["drain", "--gpu", "0", "--reason", "later"])?;
    happened(&agent, "condition_raised", Some(1), "XID 79")?;
    let since = |status: &Json| condition(status, 1, "xid_79").map(|one| one["since_unix_ms"].clone());
    let before = since(&agent.status()?).ok_or("condition")?;
    agent.process.terminate(SOON)?;
    let agent = agent.again(&setup)?;
    let status = shows(&agent, "the condition after the restart", |status| {
        condition(status, 1, "xid_79").is_some() && status["gpus"][0]["standing"] == "answering"
    })?;
    assert_eq!(since(&status), Some(before));
    assert_eq!(status["gpus"][0]["lease"]["id"], "job-1");
    judged(&agent, &["--gpu", "0"], 1, "draining: drained: later")?;
    judged(&agent, &["--gpu", "1"], 2, "unusable: XID 79")?;
    let raised = entries(&agent, "condition_raised", Some(1))?;
    assert_eq!(raised.len(), 1, "it is the same one: {raised:?}");
    // One that ended while the agent was away would be gone; this one is still acknowledged by a person only.
    tell(&agent, &["ack", "xid", "--gpu", "1"])?;
    judged(&agent, &["--gpu", "1"], 0, "schedulable")?;
    Ok(())
}

#[test]
fn remapped_rows_drain_fail_and_recover() -> Outcome<()> {
    let sim = Sim::profile("h100-sxm-8", Some(2))?;
    let agent = schedulable(&slow(&sim, 1))?;
    sim.command("remap 0 pending on")?;
    judged(&agent, &["--gpu", "0"], 1, "draining: row remapping waits for a reset")?;
    sim.command("remap 0 failure on")?;
    judged(&agent, &["--gpu", "0"], 2, "unusable: row remapping failed")?;
    let status = agent.status()?;
    assert!(condition(&status, 0, "row_remap_pending").is_none(), "it is a consequence, and hidden");
    // What the readings say cannot be talked away, only noted.
    tell(&agent, &["ack", "row_remap_failed", "--gpu", "0"])?;
    let status = shows(&agent, "the note", |status| {
        condition(status, 0, "row_remap_failed").is_some_and(|one| !one["acknowledged"].is_null())
    })?;
    assert_eq!(status["gpus"][0]["verdict"], "unusable");
    sim.command("remap 0 failure off")?;
    judged(&agent, &["--gpu", "0"], 1, "draining: row remapping waits for a reset")?;
    sim.command("remap 0 pending off")?;
    judged(&agent, &[], 0, "schedulable")?;
    let cleared = happened(&agent, "condition_cleared", Some(0), "row remapping failed")?;
    assert!(cleared["text"].as_str().is_some_and(|text| text.contains("recovered")), "{cleared}");
    Ok(())
}

#[test]
fn a_driver_that_goes_and_comes_back_is_told_once_and_needs_no_restart() -> Outcome<()> {
    let sim = Sim::profile("h100-sxm-8", Some(2))?;
    let agent = schedulable(&setup(&sim))?;
    let pid = agent.process.pid();
    sim.command("driver unload")?;
    judged(&agent, &[], 2, "unknown: NVIDIA driver cannot be used")?;
    let (scrape, _) = agent.wait("no values", SOON, |scrape| !scrape.contains("rackmark_gpu_temperature"))?;
    assert!(scrape.contains("rackmark_gpu_up{gpu=\"1\"} 0"), "the GPUs keep their names");
    let status = agent.status()?;
    for gpu in status["gpus"].as_array().ok_or("gpus")? {
        assert_eq!((&gpu["verdict"], &gpu["state"]), (&"unknown".into(), &"unknown".into()), "{gpu:#}");
        assert!(gpu["readings"]["temperature_gpu_celsius"]["no_data"].is_string(), "{gpu:#}");
        assert!(gpu["uuid"].is_string());
    }
    sim.command("driver load")?;
    judged(&agent, &[], 0, "schedulable")?;
    assert_eq!(
        entries(&agent, "condition_raised", None)?
            .iter()
            .filter(|entry| {
                entry["text"].as_str().is_some_and(|text| text.contains("NVIDIA driver cannot be used"))
            })
            .count(),
        1
    );
    for slot in [0, 1] {
        let verdicts = entries(&agent, "verdict", Some(slot))?;
        let texts: Vec<_> = verdicts.iter().filter_map(|entry| entry["text"].as_str()).collect();
        let gone = texts.iter().filter(|text| text.starts_with("unknown after schedulable")).count();
        let back = texts.iter().filter(|text| text.starts_with("schedulable after unknown")).count();
        assert_eq!((gone, back, texts.len()), (1, 2, 3), "GPU {slot}: {texts:#?}");
        assert_eq!(entries(&agent, "condition_raised", Some(slot))?.len(), 0);
    }
    assert_eq!(agent.process.pid(), pid);
    Ok(())
}

#[test]
fn a_check_is_quick_and_an_agent_that_is_not_there_is_unknown() -> Outcome<()> {
    let sim = Sim::profile("h100-sxm-8", None)?;
    let mut agent = schedulable(&setup(&sim))?;
    let mut took: Vec<Duration> = (0..20)
        .map(|_| {
            let began = Instant::now();
            agent.cli(&["check"]).map(|_| began.elapsed())
        })
        .collect::<Outcome<_>>()?;
    took.sort_unstable();
    println!("check: median {:?}, slowest {:?} of 20", took[10], took[19]);
    assert!(took[10] <= Duration::from_millis(50), "{took:?}");
    let json: Json = serde_json::from_str(&tell(&agent, &["check", "--json"])?)?;
    assert_eq!((&json["verdict"], &json["exit"]), (&"schedulable".into(), &0.into()));
    let nobody = agent.cli(&["check", "--gpu", "99"])?;
    assert_eq!(nobody.status.code(), Some(2));
    assert!(String::from_utf8(nobody.stdout)?.starts_with("unknown: no GPU is called \"99\""));
    agent.process.terminate(SOON)?;
    let gone = agent.cli(&["check"])?;
    assert_eq!(gone.status.code(), Some(2));
    let said = String::from_utf8(gone.stdout)?;
    assert!(said.starts_with("unknown: cannot reach the agent at "), "{said}");
    Ok(())
}

#[test]
fn a_recording_is_judged_without_an_agent() -> Outcome<()> {
    let sim = Sim::profile("h100-sxm-8", Some(2))?;
    let agent = schedulable(&setup(&sim))?;
    let log = sim.path().join("recording");
    let file = log.to_str().ok_or("path")?.to_owned();
    let recording = std::thread::scope(|scope| {
        let recording = scope.spawn(|| {
            let mut command = std::process::Command::new(rackmark_e2e::process::binary("rackmark"));
            command
                .env("RACKMARK_SIM_DIR", sim.path())
                .arg("record")
                .arg(&log)
                .args(["--for", "6s", "--config"]);
            command.arg(agent.config()).output()
        });
        // Once it has taken its first rows.
        let begun = || std::fs::metadata(&log).ok().filter(|file| file.len() > 0);
        let fault = wait_for("a recording", SOON, begun).and_then(|_| {
            std::thread::sleep(Duration::from_secs(2));
            sim.command("xid 1 79")
        });
        (recording.join(), fault)
    });
    recording.1?;
    let output = recording.0.map_err(|_| "the recording panicked")??;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let explain = |arguments: &[&str]| {
        std::process::Command::new(rackmark_e2e::process::binary("rackmark"))
            .arg("explain")
            .args(arguments)
            .output()
    };
    let page = String::from_utf8(explain(&[&file])?.stdout)?;
    assert!(page.contains("XID 79") && page.contains("at the end, node is draining"), "{page}");
    let told: Json = serde_json::from_slice(&explain(&[&file, "--json"])?.stdout)?;
    assert_eq!(
        (&told["gpus"][0]["verdict"], &told["gpus"][1]["verdict"]),
        (&"schedulable".into(), &"unusable".into())
    );
    std::fs::write(&log, "rackmark-trace 2\n{}\n")?;
    let bad = explain(&[&file])?;
    assert_eq!(bad.status.code(), Some(64));
    assert!(String::from_utf8(bad.stderr)?.contains("line 2"));
    Ok(())
}

#[test]
fn a_signed_command_does_what_the_command_line_does() -> Outcome<()> {
    let (sim, asker) = (Sim::profile("h100-sxm-8", Some(2))?, Asker::new("acme")?);
    let broker = Mosquitto::start()?;
    let mut buyer = Buyer::subscribe(broker.port)?;
    let setup = setup(&sim)
        .broker(broker.port)
        .line("leases", "source = \"control\"")
        .line("consumers", asker.allowed())
        .line("consumers", "operators = [\"acme\"]");
    let agent = schedulable(&setup)?;
    let mut account = Account::default();
    account.follow(&mut buyer, SOON, |account| account.speaker.is_some());
    let speaker = account.speaker.clone().ok_or("no status")?;
    let mut answer = |verb: Verb| -> Outcome<(bool, String)> {
        account.answers.clear();
        asker.command(broker.port, &speaker, verb)?;
        account.follow(&mut buyer, SOON, |account| !account.answers.is_empty());
        Ok(account.answers.first().cloned().ok_or("no answer")?)
    };
    let gpu = |slot: &str| Some(slot.to_owned());
    let done = (true, String::new());

    let lease = |gpu: &str, lease: &str| Verb::LeaseStart {
        gpu: gpu.to_owned(),
        lease: lease.to_owned(),
        until_unix_ms: None,
    };
    assert_eq!(answer(lease("0", "buyer-1"))?, done);
    assert_eq!(agent.status()?["gpus"][0]["state"], "leased");
    assert_eq!(answer(Verb::Drain { gpu: gpu("0"), reason: "moving racks".to_owned() })?, done);
    let status = agent.status()?;
    assert_eq!(
        (&status["gpus"][0]["state"], &status["gpus"][0]["drained"]["by"]),
        (&"draining".into(), &"acme".into())
    );
    assert_eq!(answer(Verb::Undrain { gpu: gpu("0") })?, done);
    assert_eq!(answer(Verb::LeaseEnd { lease: "buyer-1".to_owned() })?, done);

    sim.command("xid 1 79")?;
    judged(&agent, &["--gpu", "1"], 2, "unusable: XID 79")?;
    let refused = |why: &str| (false, format!("is refused: {why}"));
    assert_eq!(answer(lease("1", "buyer-2"))?, refused("the GPU is faulted"));
    let ack = |slot: &str| Verb::Acknowledge { gpu: gpu(slot), code: "xid".to_owned(), key: 79 };
    let elsewhere = "xid_79 does not stand against GPU 0; it does against GPU 1";
    assert_eq!(answer(ack("0"))?, refused(elsewhere));
    assert_eq!(answer(ack("1"))?, done);
    judged(&agent, &[], 0, "schedulable")?;
    happened(&agent, "acknowledged", Some(1), "xid_79 is acknowledged by acme")?;

    assert_eq!(answer(Verb::Pause { gpu: gpu("1"), for_ms: 3_600_000 })?, done);
    shows(&agent, "the pause", |status| status["gpus"][1]["state"] == "paused")?;
    assert_eq!(answer(Verb::Resume { gpu: gpu("1") })?, done);
    judged(&agent, &[], 0, "schedulable")?;
    let (accepted, why) = answer(Verb::MaintenanceEnd { gpu: None })?;
    assert!(!accepted && why.contains("there is no maintenance"), "{why}");
    Ok(())
}
