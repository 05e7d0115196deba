//! Configuration and command line: mistakes, hints, exit codes.

use std::fs;
use std::process::{Command, Output};
use std::time::Duration;

use rackmark_e2e::Outcome;
use rackmark_e2e::agent::{Agent, Setup};
use rackmark_e2e::process::binary;
use rackmark_e2e::sim::Sim;

fn rackmark(arguments: &[&str]) -> Outcome<Output> {
    Ok(Command::new(binary("rackmark")).args(arguments).output()?)
}

#[test]
fn five_mistakes_are_five_reports() -> Outcome<()> {
    let folder = tempfile::TempDir::new()?;
    let file = folder.path().join("wrong.toml");
    let wrong = "[node]\nsite = \"Not A Name\"\n[sampling]\nperiod_ms = 1\n[mqtt]\nbrokers = [\"tcp://x\"]\nkeepalive_secs = 3\n[metrics]\nlisten = \"everywhere\"\n";
    fs::write(&file, wrong)?;
    for command in ["check-config", "run"] {
        let path = file.display().to_string();
        let output = if command == "run" {
            rackmark(&["run", "--config", &path])?
        } else {
            rackmark(&[command, &path])?
        };
        assert_eq!(output.status.code(), Some(64), "{command}");
        let text = String::from_utf8(output.stderr)?;
        assert!(text.contains("5 mistakes"), "{text}");
        for key in
            ["node.site", "sampling.period_ms", "mqtt.brokers", "mqtt.keepalive_secs", "metrics.listen"]
        {
            assert!(text.contains(key), "{key} in {text}");
        }
        assert_eq!(text.matches("  hint: ").count(), 5, "{text}");
        assert!(text.contains("keep_alive_secs"), "a near miss is named: {text}");
    }
    Ok(())
}

#[test]
fn every_configuration_file_that_is_shipped_is_valid() -> Outcome<()> {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
    let shipped = fs::read_to_string(format!("{root}/packaging/rackmark.toml"))?;
    let printed = String::from_utf8(rackmark(&["default-config"])?.stdout)?;
    assert_eq!(shipped, printed, "packaging/rackmark.toml is what `rackmark default-config` prints");
    let output = rackmark(&["check-config", &format!("{root}/packaging/rackmark.toml")])?;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

#[test]
fn what_cannot_be_reached_is_said_with_a_hint_and_its_code() -> Outcome<()> {
    let folder = tempfile::TempDir::new()?;
    let file = folder.path().join("c.toml");
    fs::write(
        &file,
        format!(
            "[control]\nsocket = {:?}\n[sampler]\nnvml_library = \"/nowhere/libnvidia-ml.so.1\"\n",
            folder.path().join("none")
        ),
    )?;
    let path = file.display().to_string();
    for (arguments, code) in
        [(&["status", "--config", &path][..], 69), (&["sample", "--config", &path][..], 69)]
    {
        let output = rackmark(arguments)?;
        let text = String::from_utf8(output.stderr)?;
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {text}");
        assert!(text.starts_with("error: ") && text.contains("hint: "), "{text}");
    }
    assert_eq!(rackmark(&["no-such-command"])?.status.code(), Some(64));
    assert_eq!(rackmark(&["--version"])?.status.code(), Some(0));
    for shell in ["bash", "zsh", "fish"] {
        let output = rackmark(&["completions", shell])?;
        assert!(String::from_utf8(output.stdout)?.contains("check-config"), "{shell}");
    }
    Ok(())
}

#[test]
fn only_administrators_may_ask_the_agent() -> Outcome<()> {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: not root, so no other user can be tried");
        return Ok(());
    }
    let sim = Sim::profile("h200", Some(1))?;
    let agent = Agent::sampling(&Setup::on(&sim))?;
    agent.open_folder()?;
    // Where another user can run it, wherever it was built.
    let program = agent.config().with_file_name("rackmark");
    fs::copy(binary("rackmark"), &program)?;
    let ask = |user: &[&str]| -> Outcome<Output> {
        Ok(Command::new("setpriv")
            .args(user)
            .arg(&program)
            .args(["pause", "--for", "1m", "--config"])
            .arg(agent.config())
            .output()?)
    };
    let refused = ask(&["--reuid=65534", "--regid=65534", "--clear-groups"])?;
    let text = String::from_utf8(refused.stderr)?;
    assert_eq!(refused.status.code(), Some(77), "{text}");
    assert!(text.contains("only root and the administrators' group"), "{text}");
    assert!(agent.scrape()?.body.contains("rackmark_gpu_up{gpu=\"0\"} 1"), "nothing was paused");
    // The control: root is let in by the same way.
    assert!(ask(&["--reuid=0"])?.status.success());
    Ok(())
}

#[test]
fn a_reload_takes_what_is_valid_and_refuses_what_is_not() -> Outcome<()> {
    let sim = Sim::profile("h200", Some(1))?;
    let agent = Agent::sampling(&Setup::on(&sim))?;
    let valid = fs::read_to_string(agent.config())?;
    let sampler = agent.sampler()?;

    fs::write(agent.config(), format!("{valid}[sampling]\nperiod_ms = 5\n"))?;
    agent.process.signal(rustix::process::Signal::HUP);
    rackmark_e2e::process::wait_for("the refusal", Duration::from_secs(3), || {
        agent.log().contains("configuration is not reloaded").then_some(())
    })?;
    assert!(agent.log().contains("sampling.period_ms"), "{}", agent.log());
    assert_eq!(agent.sampler()?, sampler, "the old configuration stays in force");

    fs::write(agent.config(), format!("{valid}[sampling]\nperiod_ms = 200\n"))?;
    agent.process.signal(rustix::process::Signal::HUP);
    rackmark_e2e::process::wait_for("the reload", Duration::from_secs(3), || {
        agent.log().contains("configuration is reloaded").then_some(())
    })?;
    let samples = || {
        agent
            .scrape()
            .ok()
            .and_then(|scrape| rackmark_e2e::http::value(&scrape.body, "rackmark_samples_total"))
    };
    std::thread::sleep(Duration::from_secs(1));
    let before = samples().ok_or("samples")?;
    std::thread::sleep(Duration::from_secs(2));
    let rate = (samples().ok_or("samples")? - before) / 2.0;
    assert!(rate > 3.0, "{rate} samples per second");
    Ok(())
}

#[test]
fn what_consumers_do_is_passed_on_to_their_program_or_said_to_be_missing() -> Outcome<()> {
    let folder = tempfile::TempDir::new()?;
    for program in ["rackmark", "rackmark-consumer"] {
        let alone = folder.path().join(program);
        fs::copy(binary(program), &alone)?;
        for command in ["verify", "feed", "ctl", "demo", "completions"] {
            let output = Command::new(folder.path().join("rackmark"))
                .args([command, "--help"])
                .env("PATH", "/nowhere")
                .output()?;
            let text = String::from_utf8([output.stdout, output.stderr].concat())?;
            if program == "rackmark" {
                assert_eq!(output.status.code(), Some(69), "{command}: {text}");
                assert!(text.contains("install it beside rackmark"), "{text}");
            } else {
                assert_eq!(output.status.code(), Some(0), "{command}: {text}");
                assert!(text.contains(&format!("Usage: rackmark {command}")), "{text}");
            }
        }
    }
    Ok(())
}
