//! What systemd sees: readiness, watchdog, a sampler that misbehaves, a driver
//! that comes and goes, and the units themselves.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::process::Command;
use std::time::Duration;

use rackmark_e2e::Outcome;
use rackmark_e2e::agent::{Agent, Setup};
use rackmark_e2e::http::value;
use rackmark_e2e::process::wait_for;
use rackmark_e2e::sim::Sim;

const UNITS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../systemd");

#[test]
fn readiness_watchdog_and_stopping_are_told() -> Outcome<()> {
    let sim = Sim::profile("h200", Some(1))?;
    // Not even a hanging driver keeps the watchdog from being fed.
    sim.command("block 0 * forever")?;
    let folder = tempfile::TempDir::new()?;
    let path = folder.path().join("notify");
    let socket = UnixDatagram::bind(&path)?;
    socket.set_read_timeout(Some(Duration::from_secs(5)))?;
    let setup = Setup::on(&sim)
        .environment("NOTIFY_SOCKET", path.display().to_string())
        .environment("WATCHDOG_USEC", "1000000");
    let mut agent = Agent::start(&setup)?;
    let mut told: Vec<String> = Vec::new();
    let read = |told: &mut Vec<String>| -> Outcome<()> {
        let mut buffer = [0; 1024];
        let length = socket.recv(&mut buffer)?;
        told.push(String::from_utf8_lossy(&buffer[..length]).into_owned());
        Ok(())
    };
    while !told.iter().any(|line| line.contains("READY=1")) {
        read(&mut told)?;
    }
    for _ in 0..6 {
        read(&mut told)?;
    }
    assert!(told.iter().filter(|line| line.contains("WATCHDOG=1")).count() >= 5, "{told:?}");
    let (status, took) = agent.process.terminate(Duration::from_secs(5))?;
    assert!(status.success() && took <= Duration::from_secs(2), "{status} after {took:?}");
    while !told.iter().any(|line| line.contains("STOPPING=1")) {
        read(&mut told)?;
    }
    Ok(())
}

#[test]
fn a_malformed_frame_ends_the_sampler_and_not_the_daemon() -> Outcome<()> {
    let sim = Sim::profile("h200", Some(1))?;
    let folder = tempfile::TempDir::new()?;
    let program = folder.path().join("garbage");
    fs::write(&program, "#!/bin/sh\nprintf '\\004\\000\\000\\000garbage' >&0\nsleep 30\n")?;
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755))?;
    let setup = Setup::on(&sim).line("sampler", format!("program = {program:?}"));
    let mut agent = Agent::start(&setup)?;
    agent.wait("two malformed frames", Duration::from_secs(20), |scrape| {
        value(scrape, "rackmark_sampler_malformed_frames_total").is_some_and(|count| count >= 2.0)
    })?;
    assert!(agent.process.child().try_wait()?.is_none(), "the daemon goes on");
    Ok(())
}

#[test]
fn a_driver_that_appears_later_is_used_without_a_restart() -> Outcome<()> {
    let sim = Sim::profile("h200", Some(2))?;
    let hidden = sim.path().join("hidden.so");
    fs::rename(sim.library(), &hidden)?;
    let agent = Agent::start(&Setup::on(&sim))?;
    agent.wait("the agent without a driver", Duration::from_secs(10), |scrape| {
        scrape.contains("rackmark_driver_up 0")
    })?;
    wait_for("the reason in the status", Duration::from_secs(5), || {
        agent.status().ok()?["driver"]["cause"].as_str().map(|_| ())
    })?;
    assert!(agent.log().contains("driver cannot be used"), "{}", agent.log());
    fs::rename(&hidden, sim.library())?;
    agent.wait("sampling", Duration::from_secs(15), |scrape| {
        scrape.contains("rackmark_driver_up 1") && scrape.contains("rackmark_gpu_up{gpu=\"1\"} 1")
    })?;
    Ok(())
}

#[test]
fn a_reloaded_driver_is_used_again_with_its_new_version() -> Outcome<()> {
    let sim = Sim::profile("h200", Some(2))?;
    let agent = Agent::sampling(&Setup::on(&sim))?;
    sim.command("driver unload")?;
    agent.wait("no driver", Duration::from_secs(10), |scrape| scrape.contains("rackmark_driver_up 0"))?;
    sim.command("driver load 999.99.01")?;
    agent.wait("the new driver", Duration::from_secs(15), |scrape| {
        scrape.contains("driver_version=\"999.99.01\"") && scrape.contains("rackmark_gpu_up{gpu=\"1\"} 1")
    })?;
    Ok(())
}

#[test]
fn the_units_are_clean_and_tight() -> Outcome<()> {
    let units = [
        "rackmark.service",
        "rackmark-sampler.socket",
        "rackmark-sampler@.service",
        "rackmark-collect.socket",
        "rackmark-collect@.service",
        "rackmark-attest.socket",
        "rackmark-attest@.service",
        "rackmark-hook.socket",
        "rackmark-hook@.service",
        "rackmark-gpu.socket",
        "rackmark-gpu@.service",
    ];
    // A unit is verified with the binaries it names, which are not installed here.
    let folder = tempfile::TempDir::new()?;
    for unit in units {
        let text = fs::read_to_string(format!("{UNITS}/{unit}"))?;
        fs::write(
            folder.path().join(unit),
            text.replace("ExecStart=/usr/bin/rackmark-sampler", "ExecStart=/bin/true")
                .replace("ExecStart=/usr/bin/rackmark-collect", "ExecStart=/bin/true")
                .replace("ExecStart=/usr/bin/rackmark-attest", "ExecStart=/bin/true")
                .replace("ExecStart=/usr/bin/rackmark-hook", "ExecStart=/bin/true")
                .replace("ExecStart=/usr/bin/rackmark-gpu", "ExecStart=/bin/true")
                .replace("/usr/bin/rackmark", "/bin/true"),
        )?;
    }
    let verify = Command::new("systemd-analyze")
        .arg("verify")
        .args(
            units.map(|unit| folder.path().join(unit.replace('@', "@1"))).iter().filter(|path| path.exists()),
        )
        .args(
            [
                "rackmark.service",
                "rackmark-sampler@.service",
                "rackmark-collect@.service",
                "rackmark-attest@.service",
                "rackmark-hook@.service",
                "rackmark-gpu@.service",
            ]
            .map(|unit| folder.path().join(unit)),
        )
        .output()?;
    // An unknown key is only printed, so nothing may be printed about our units.
    let said =
        format!("{}{}", String::from_utf8_lossy(&verify.stdout), String::from_utf8_lossy(&verify.stderr));
    let ours: Vec<&str> = said.lines().filter(|line| line.contains("rackmark")).collect();
    assert!(ours.is_empty(), "{ours:?}");
    // What the collector is for must not be taken from it by a later hardening.
    let collector = fs::read_to_string(format!("{UNITS}/rackmark-collect@.service"))?;
    for needed in ["CapabilityBoundingSet=CAP_SYSLOG\n", "DeviceAllow=/dev/kmsg r\n"] {
        assert!(collector.contains(needed), "{needed}");
    }
    for hides_the_log in ["\nProtectKernelLogs=yes", "\nPrivateDevices=yes", "\nUser=rackmark"] {
        assert!(!collector.contains(hides_the_log), "{hides_the_log}");
    }
    // Nor the TPM from the process that talks to it, which in turn has no other device.
    let attester = fs::read_to_string(format!("{UNITS}/rackmark-attest@.service"))?;
    let devices: Vec<&str> = attester.lines().filter(|line| line.starts_with("DeviceAllow=")).collect();
    assert_eq!(devices, ["DeviceAllow=/dev/tpmrm0 rw"]);
    for needed in ["SupplementaryGroups=tss\n", "DevicePolicy=closed\n"] {
        assert!(attester.contains(needed), "{needed}");
    }
    assert!(!attester.contains("\nPrivateDevices=yes"));
    // Scripts of the site have nothing that the site did not give them, but networks.
    let hooks = fs::read_to_string(format!("{UNITS}/rackmark-hook@.service"))?;
    for needed in
        ["User=rackmark-hook\n", "CapabilityBoundingSet=\n", "PrivateDevices=yes\n", "ProtectSystem=strict\n"]
    {
        assert!(hooks.contains(needed), "{needed}");
    }
    assert!(!hooks.contains("\nPrivateNetwork=yes") && !hooks.contains("\nDeviceAllow="));
    // Who works on a GPU has the driver's devices, which PrivateDevices would take away, and goes near its GPU, which is a
    // call of @resources.
    let worker = fs::read_to_string(format!("{UNITS}/rackmark-gpu@.service"))?;
    for needed in [
        "DevicePolicy=closed\n",
        "DeviceAllow=char-nvidia-uvm rw\n",
        "CapabilityBoundingSet=\n",
        "PrivateNetwork=yes\n",
        "ProtectSystem=strict\n",
    ] {
        assert!(worker.contains(needed), "{needed}");
    }
    assert!(!worker.contains("\nPrivateDevices=yes") && !worker.contains("~@resources"));
    let daemon = fs::read_to_string(format!("{UNITS}/rackmark.service"))?;
    for socket in
        ["rackmark-collect.socket", "rackmark-attest.socket", "rackmark-hook.socket", "rackmark-gpu.socket"]
    {
        assert!(daemon.lines().any(|line| line.starts_with("Wants=") && line.contains(socket)), "{socket}");
    }
    for (unit, worst) in [
        ("rackmark.service", 20),
        ("rackmark-sampler@.service", 30),
        ("rackmark-collect@.service", 20),
        ("rackmark-attest@.service", 20),
        // The exception: scripts of the site need networks. That is all they get here.
        ("rackmark-hook@.service", 20),
        ("rackmark-gpu@.service", 20),
    ] {
        let output = Command::new("systemd-analyze")
            .args(["security", "--offline=true", "--no-pager"])
            .arg(format!("--threshold={worst}"))
            .arg(folder.path().join(unit))
            .output()?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        println!("{unit}: {}", text.lines().last().unwrap_or(""));
        assert!(output.status.success(), "{unit}: {text}");
    }
    Ok(())
}
