//! Hooks of the site: what runs them, what they say, what becomes of a no.

use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::thread::Builder;
use std::time::{Duration, Instant};

use rackmark_e2e::Outcome;
use rackmark_e2e::agent::{Agent, Setup};
use rackmark_e2e::broker::Mosquitto;
use rackmark_e2e::consumer::Buyer;
use rackmark_e2e::http::value;
use rackmark_e2e::process::{binary, name, wait_for};
use rackmark_e2e::sim::Sim;
use rackmark_feed::{Body, EventKind};
use serde_json::Value as Json;
use tempfile::TempDir;

const SOON: Duration = Duration::from_secs(10);

/// Hooks, and a folder for what they write down.
struct Site(TempDir);

impl Site {
    fn new() -> Outcome<Self> {
        let site = Self(TempDir::new()?);
        fs::create_dir(site.hooks())?;
        Ok(site)
    }

    fn hooks(&self) -> PathBuf {
        self.0.path().join("hooks.d")
    }

    fn place(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// A hook that does `body`; `$OUT` in it is the folder.
    fn hook(&self, event: &str, name: &str, body: &str) -> Outcome<()> {
        let folder = self.hooks().join(event);
        if !folder.exists() {
            fs::create_dir(&folder)?;
            fs::set_permissions(&folder, fs::Permissions::from_mode(0o755))?;
        }
        let path = folder.join(name);
        fs::write(&path, format!("#!/bin/sh\nOUT='{}'\n{body}\n", self.0.path().display()))?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
        Ok(())
    }

    fn setup(&self, sim: &Sim) -> Setup {
        Setup::on(sim)
            .line("hooks", format!("dir = {:?}", self.hooks()))
            .line("leases", "source = \"control\"")
    }

    /// The documents that a hook wrote down, once there are so many.
    fn documents(&self, name: &str, count: usize) -> Outcome<Vec<Json>> {
        let path = self.place(name);
        let text = wait_for(name, SOON, || {
            fs::read_to_string(&path).ok().filter(|text| text.lines().count() >= count)
        })?;
        Ok(text.lines().map(serde_json::from_str).collect::<Result<_, _>>()?)
    }
}

fn tell(agent: &Agent, arguments: &[&str]) -> Outcome<String> {
    let output = agent.cli(arguments)?;
    if output.status.success() {
        return Ok(String::from_utf8(output.stdout)?);
    }
    Err(format!("{arguments:?}: {}", String::from_utf8_lossy(&output.stderr)).into())
}

/// An agent whose GPUs are judged, so that leases may begin.
fn schedulable(setup: &Setup) -> Outcome<Agent> {
    let agent = Agent::sampling(setup)?;
    wait_for("a verdict", SOON, || agent.cli(&["check"]).ok().filter(|output| output.status.success()))?;
    Ok(agent)
}

#[test]
fn a_lease_runs_its_hooks_and_the_feed_tells_of_them() -> Outcome<()> {
    let site = Site::new()?;
    site.hook(
        "lease-start",
        "10-note",
        "cat >>$OUT/started; echo '{\"message\":\"noted\",\"facts\":{\"n\":1}}'",
    )?;
    site.hook("lease-start", "20-words", "echo not JSON")?;
    site.hook("lease-end", "10-note", "cat >>$OUT/ended")?;
    let sim = Sim::profile("h100-sxm-8", Some(2))?;
    let broker = Mosquitto::start()?;
    let mut buyer = Buyer::subscribe(broker.port)?;
    let agent = schedulable(&site.setup(&sim).broker(broker.port))?;
    tell(&agent, &["lease", "start", "--gpu", "1", "--id", "job-17"])?;
    let ran = buyer.wait_for("a hook", SOON, |_, body| match body {
        Body::Event(event) => match &event.kind {
            EventKind::HookRan { event: name, hook, exit, message, .. } => {
                let slot = event.gpu.as_ref().map(|gpu| gpu.slot);
                Some((name.clone(), hook.clone(), *exit, message.clone(), slot))
            }
            _ => None,
        },
        _ => None,
    })?;
    assert_eq!(ran, ("lease-start".to_owned(), "10-note".to_owned(), 0, "noted".to_owned(), Some(1)));

    let document = &site.documents("started", 1)?[0];
    assert_eq!((&document["event"], &document["test"]), (&"lease-start".into(), &false.into()));
    assert_eq!(
        (&document["site"], &document["node"], &document["version"]),
        (&"test".into(), &"node".into(), &1.into())
    );
    assert_eq!((&document["lease"], &document["reserved"]), (&"job-17".into(), &false.into()));
    let status = agent.status()?;
    assert_eq!(document["gpus"][0]["slot"], 1);
    for name in ["uuid", "serial", "pci_address"] {
        assert!(document["gpus"][0][name].is_string(), "{name}");
        assert_eq!(document["gpus"][0][name], status["gpus"][1][name], "{name}");
    }
    tell(&agent, &["lease", "end", "job-17"])?;
    let document = &site.documents("ended", 1)?[0];
    assert_eq!((&document["lease"], &document["gpus"][0]["slot"]), (&"job-17".into(), &1.into()));

    let of = |event: &str, result: &str| {
        format!("rackmark_hook_runs_total{{event=\"{event}\",result=\"{result}\"}}")
    };
    let (scrape, _) =
        agent.wait("the counts", SOON, |scrape| value(scrape, &of("lease-end", "done")) == Some(1.0))?;
    assert_eq!(value(&scrape, &of("lease-start", "done")), Some(2.0));
    assert_eq!(value(&scrape, &of("lease-start", "failed")), Some(0.0));
    assert!(scrape.contains("rackmark_hook_last_duration_seconds{event=\"lease-start\"}"));
    let log = agent.log();
    assert!(log.contains("a hook ran") && log.contains("not_json"), "{log}");
    // Output that is no JSON is no failure, and nobody is drained for it.
    assert_eq!(agent.status()?["gpus"][1]["verdict"], "schedulable");
    Ok(())
}

#[test]
fn a_lease_whose_end_is_vetoed_leaves_its_gpu_drained() -> Outcome<()> {
    let site = Site::new()?;
    site.hook("lease-end", "10-scrub", "echo 'disk does not answer' >&2; exit 1")?;
    site.hook("lease-end", "20-after", "cat >>$OUT/after")?;
    site.hook("quarantine", "50-note", "cat >>$OUT/quarantine")?;
    site.hook("unquarantine", "50-note", "cat >>$OUT/unquarantine")?;
    let sim = Sim::profile("h100-sxm-8", Some(2))?;
    let agent = schedulable(&site.setup(&sim))?;
    tell(&agent, &["lease", "start", "--gpu", "1", "--id", "job-17"])?;
    tell(&agent, &["lease", "end", "job-17"])?;
    let drained = site.documents("quarantine", 1)?;
    assert_eq!(drained[0]["reason"], "lease-end: 10-scrub failed (exit code 1)");
    assert_eq!(drained[0]["by"], "hooks of lease-end");
    assert_eq!(drained[0]["gpus"].as_array().map(Vec::len), Some(1));
    assert_eq!(site.documents("after", 1)?.len(), 1, "the others run all the same");
    let status = agent.status()?;
    assert_eq!(
        (&status["gpus"][1]["verdict"], &status["gpus"][0]["verdict"]),
        (&"draining".into(), &"schedulable".into())
    );
    assert!(agent.log().contains("disk does not answer"), "{}", agent.log());
    tell(&agent, &["undrain"])?;
    let undrained = site.documents("unquarantine", 1)?;
    assert_eq!(undrained[0]["gpus"].as_array().map(Vec::len), Some(1), "only what was drained");
    assert_eq!(undrained[0]["gpus"][0]["slot"], 1);
    Ok(())
}

#[test]
fn a_hook_that_says_not_now_runs_again_and_the_others_do_not() -> Outcome<()> {
    let site = Site::new()?;
    site.hook("maintenance", "10-once", "cat >>$OUT/once")?;
    site.hook("maintenance", "20-later", "cat >>$OUT/later; [ $(wc -l <$OUT/later) -ge 2 ] || exit 75")?;
    let sim = Sim::profile("h100-sxm-8", Some(1))?;
    let agent = schedulable(&site.setup(&sim))?;
    tell(&agent, &["maintenance", "start", "--for", "2h", "--reason", "fans"])?;
    let documents = site.documents("later", 2)?;
    assert_eq!(documents[0], documents[1]);
    assert_eq!((&documents[0]["phase"], &documents[0]["reason"]), (&"start".into(), &"fans".into()));
    tell(&agent, &["maintenance", "end"])?;
    assert_eq!(site.documents("once", 2)?[1]["phase"], "end");
    assert_eq!(site.documents("once", 2)?.len(), 2);
    Ok(())
}

#[test]
fn verdicts_reach_their_hooks() -> Outcome<()> {
    let site = Site::new()?;
    site.hook("verdict-changed", "50-note", "cat >>$OUT/verdicts")?;
    let sim = Sim::profile("h100-sxm-8", Some(2))?;
    let agent = schedulable(&site.setup(&sim))?;
    sim.command("xid 1 79")?;
    let told = |of: &dyn Fn(&Json) -> bool| {
        wait_for("a verdict", SOON, || {
            let text = fs::read_to_string(site.place("verdicts")).ok()?;
            text.lines().filter_map(|line| serde_json::from_str(line).ok()).find(|document| of(document))
        })
    };
    let unusable = told(&|document: &Json| document["to"] == "unusable")?;
    assert_eq!(unusable["gpu"]["slot"], 1);
    assert!(unusable["reason"].as_str().is_some_and(|reason| reason.contains("XID 79")), "{unusable}");
    told(&|document: &Json| document["gpu"].is_null() && document["to"] == "draining")?;
    drop(agent);
    Ok(())
}

/// A hook that never ends holds up neither samples nor verbs nor the end of the agent, and ends with it.
#[test]
fn a_hook_that_hangs_delays_nobody() -> Outcome<()> {
    let site = Site::new()?;
    site.hook("lease-start", "10-hangs", "trap '' TERM; echo $$ >>$OUT/pid; sleep 1000; sleep 1000")?;
    site.hook("maintenance", "10-note", "cat >>$OUT/maintenance")?;
    let sim = Sim::profile("h100-sxm-8", Some(2))?;
    let mut agent = schedulable(&site.setup(&sim).line("hooks", "timeouts = [\"lease-start=600\"]"))?;
    tell(&agent, &["lease", "start", "--gpu", "1", "--id", "job-17"])?;
    let pid = wait_for("the hook", SOON, || {
        fs::read_to_string(site.place("pid")).ok()?.trim().parse::<u32>().ok()
    })?;
    let samples = |scrape: &str| value(scrape, "rackmark_samples_total").unwrap_or(0.0);
    let before = samples(&agent.scrape()?.body);
    let begun = Instant::now();
    // Another one of its class waits, one of another class does not.
    tell(&agent, &["lease", "start", "--gpu", "0", "--id", "job-18"])?;
    tell(&agent, &["maintenance", "start", "--for", "1h", "--reason", "fans"])?;
    agent.status()?;
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    site.documents("maintenance", 1)?;
    agent.wait("samples", Duration::from_secs(5), |scrape| samples(scrape) >= before + 2.0)?;
    assert_eq!(fs::read_to_string(site.place("pid"))?.lines().count(), 1);
    let (status, took) = agent.process.terminate(Duration::from_secs(5))?;
    assert!(status.success() && took <= Duration::from_secs(2), "{status} after {took:?}");
    wait_for("the end of the hook", SOON, || name(pid).is_none().then_some(()))?;
    Ok(())
}

/// What cannot be run has not been done: no GPU is given away after a lease whose hooks nobody ran.
#[test]
fn hooks_that_cannot_be_run_are_a_no() -> Outcome<()> {
    let site = Site::new()?;
    site.hook("lease-end", "10-scrub", "exit 0")?;
    let sim = Sim::profile("h100-sxm-8", Some(2))?;
    let agent = schedulable(&site.setup(&sim).line("hooks", "socket = \"/no/such.sock\""))?;
    tell(&agent, &["lease", "start", "--gpu", "1", "--id", "job-17"])?;
    tell(&agent, &["lease", "end", "job-17"])?;
    let counted = "rackmark_hook_runs_total{event=\"lease-end\",result=\"unavailable\"}";
    agent.wait("the count", SOON, |scrape| value(scrape, counted) == Some(1.0))?;
    wait_for("the drain", SOON, || {
        let status = agent.status().ok()?;
        (status["gpus"][1]["verdict"] == "draining").then_some(())
    })?;
    assert!(agent.log().contains("/no/such.sock"), "{}", agent.log());
    Ok(())
}

/// As systemd does it: a process for each connection, with the connection as its standard input.
#[test]
fn hooks_run_behind_a_socket() -> Outcome<()> {
    let site = Site::new()?;
    site.hook("lease-start", "10-note", "cat >>$OUT/started")?;
    let socket = site.place("hook.sock");
    let listener = UnixListener::bind(&socket)?;
    let hooks = site.hooks();
    Builder::new().name("systemd".to_owned()).spawn(move || {
        for connection in listener.incoming().map_while(Result::ok) {
            let mut command = Command::new(binary("rackmark-hook"));
            command.arg("--hooks-dir").arg(&hooks).stdin(Stdio::from(OwnedFd::from(connection)));
            let Ok(mut child) = command.spawn() else { break };
            drop(command);
            let _ = child.wait();
        }
    })?;
    let sim = Sim::profile("h100-sxm-8", Some(1))?;
    let agent = schedulable(&site.setup(&sim).line("hooks", format!("socket = {socket:?}")))?;
    tell(&agent, &["lease", "start", "--gpu", "0", "--id", "job-17"])?;
    assert_eq!(site.documents("started", 1)?[0]["lease"], "job-17");
    assert!(tell(&agent, &["hook", "list"])?.contains("10-note"));
    Ok(())
}

#[test]
fn hooks_are_listed_and_tried() -> Outcome<()> {
    let site = Site::new()?;
    let sim = Sim::profile("h100-sxm-8", Some(1))?;
    let agent = Agent::start(&site.setup(&sim))?;
    wait_for("the agent", SOON, || agent.status().ok())?;
    let code = |arguments: &[&str]| -> Outcome<(Option<i32>, String)> {
        let output = agent.cli(arguments)?;
        let said = [output.stdout, output.stderr].concat();
        Ok((output.status.code(), String::from_utf8_lossy(&said).into_owned()))
    };
    let (none, page) = code(&["hook", "list"])?;
    assert!(none == Some(0) && page.contains("there are none"), "{page}");
    assert_eq!(
        code(&["hook", "test", "before-burn-in"])?,
        (Some(0), "before-burn-in has no hooks\n".to_owned())
    );

    site.hook("before-burn-in", "10-good", "cat >>$OUT/tried; echo '{\"message\":\"cool enough\"}'")?;
    site.hook("before-burn-in", "README.md", "")?;
    assert_eq!(code(&["hook", "list"])?.0, Some(0));
    let (done, page) = code(&["hook", "test", "before-burn-in"])?;
    assert!(done == Some(0) && page.contains("10-good") && page.contains("cool enough"), "{page}");
    let document = &site.documents("tried", 1)?[0];
    assert_eq!((&document["test"], &document["event"]), (&true.into(), &"before-burn-in".into()));
    assert_eq!(document["gpus"][0]["slot"], 3);
    let input = site.place("input");
    fs::write(&input, format!("{{\"gpus\": [], \"test\": false, \"mine\": \"{}\"}}", "x".repeat(20_000)))?;
    let input = input.display().to_string();
    assert_eq!(code(&["hook", "test", "before-burn-in", "--input", &input])?.0, Some(0));
    let document = &site.documents("tried", 2)?[1];
    assert_eq!((&document["test"], document["mine"].as_str().map(str::len)), (&true.into(), Some(20_000)));

    site.hook("before-burn-in", "20-no", "echo 'coolant is missing' >&2; exit 3")?;
    let open = site.hooks().join("before-burn-in/30-open");
    site.hook("before-burn-in", "30-open", "echo >>$OUT/open")?;
    fs::set_permissions(&open, fs::Permissions::from_mode(0o777))?;
    let (listed, page) = code(&["hook", "list"])?;
    assert!(listed == Some(1) && page.contains("30-open") && page.contains("may be written"), "{page}");
    let (wrong, text) = code(&["hook", "test", "before-burn-in", "--json"])?;
    let outcome: Json = serde_json::from_str(&text)?;
    assert_eq!((wrong, &outcome["veto"]), (Some(2), &"20-no failed (exit code 3)".into()));
    assert_eq!(outcome["runs"][1]["stderr"], "coolant is missing");
    assert_eq!(outcome["skipped"][0]["reason"], "writable");
    assert!(!site.place("open").exists());
    assert_eq!(code(&["hook", "test", "no-such"])?.0, Some(64));
    assert!(!agent.log().contains("are drained"), "a test drains nobody");

    // Nothing of a folder that others may change.
    fs::set_permissions(site.hooks(), fs::Permissions::from_mode(0o777))?;
    let (wrong, page) = code(&["hook", "test", "before-burn-in"])?;
    assert!(wrong == Some(2) && page.contains("may be written by its group or by everybody"), "{page}");
    Ok(())
}
