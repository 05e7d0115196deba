//! `rackmark doctor` on machines that are folders: what it finds, and its exit codes.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use rackmark_e2e::Outcome;
use rackmark_e2e::agent::{Agent, Setup};
use rackmark_e2e::process::binary;
use rackmark_e2e::sim::Sim;
use serde_json::Value as Json;
use tempfile::TempDir;

/// A running agent on simulated GPUs, and a machine around it that is a folder.
struct Machine {
    sim: Sim,
    agent: Agent,
    root: TempDir,
}

impl Machine {
    fn new(setup: impl FnOnce(&Sim) -> Setup) -> Outcome<Self> {
        let sim = Sim::profile("h200", Some(2))?;
        let agent = Agent::sampling(&setup(&sim))?;
        let machine = Self { sim, agent, root: TempDir::new()? };
        machine.process(1, "systemd", "init.scope")?;
        machine.process(70, "nvidia-persiste", "system.slice/nvidia-persistenced.service")?;
        machine.process(71, "chronyd", "system.slice/chrony.service")?;
        machine.put(
            "proc/driver/nvidia/version",
            "NVRM version: NVIDIA UNIX x86_64 Kernel Module  580.95.05  Tue\n",
        )?;
        symlink(machine.sim.path().join("proc/driver/nvidia/gpus"), machine.path("proc/driver/nvidia/gpus"))?;
        symlink("/proc/net", machine.path("proc/net"))?;
        for node in ["nvidia0", "nvidia1", "nvidiactl", "nvidia-uvm"] {
            machine.put(&format!("dev/{node}"), "")?;
            fs::set_permissions(machine.path("dev").join(node), fs::Permissions::from_mode(0o666))?;
        }
        machine.put("dev/kmsg", "6,0,100,-;Linux version 6.8.0\n")?;
        let config = fs::read_to_string(machine.agent.config())?;
        let roots: String =
            ["proc", "run", "dev"].map(|name| format!("{name}_root = {:?}\n", machine.path(name))).concat();
        machine.put("doctor.toml", &config.replace("[hardware]\n", &format!("[hardware]\n{roots}")))?;
        Ok(machine)
    }

    fn path(&self, path: &str) -> PathBuf {
        self.root.path().join(path)
    }

    fn put(&self, path: &str, content: &str) -> Outcome<()> {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap_or(Path::new("/")))?;
        Ok(fs::write(path, content)?)
    }

    fn process(&self, pid: u32, name: &str, cgroup: &str) -> Outcome<()> {
        let stat = format!("{pid} ({name}) S 0 1 1 0 -1 0 0 0 0 0 1 1 0 0 20 0 1 0 {pid} 1\n");
        self.put(&format!("proc/{pid}/stat"), &stat)?;
        self.put(&format!("proc/{pid}/cgroup"), &format!("0::/{cgroup}\n"))
    }

    fn run(&self, arguments: &[&str]) -> Outcome<Output> {
        Ok(Command::new(binary("rackmark"))
            .arg("doctor")
            .args(arguments)
            .arg("--config")
            .arg(self.path("doctor.toml"))
            .env("RACKMARK_SIM_DIR", self.sim.path())
            .output()?)
    }

    fn findings(&self) -> Outcome<Findings> {
        Findings::of(&self.run(&["--json"])?)
    }
}

struct Findings {
    all: Vec<Json>,
    code: Option<i32>,
}

impl Findings {
    fn of(output: &Output) -> Outcome<Self> {
        assert_eq!(String::from_utf8_lossy(&output.stderr), "", "progress is for terminals only");
        Ok(Self { all: serde_json::from_slice(&output.stdout)?, code: output.status.code() })
    }

    fn outcome(&self, check: &str) -> &str {
        let found = self.all.iter().find(|finding| finding["check"] == check);
        found.and_then(|finding| finding["outcome"].as_str()).unwrap_or("missing")
    }

    /// Checks that are not ok. How full the disk of this machine is stands apart.
    fn not_ok<'a>(&'a self) -> Vec<(&'a str, &'a str)> {
        let text = |finding: &'a Json, key| finding[key].as_str().unwrap_or("?");
        self.all
            .iter()
            .map(|finding| (text(finding, "check"), text(finding, "outcome")))
            .filter(|(check, outcome)| *check != "state disk" && *outcome != "ok")
            .collect()
    }

    /// The code by the worst outcome, as it is documented.
    fn code_is_by_the_worst(&self) {
        let any = |outcome: &str| self.all.iter().any(|finding| finding["outcome"] == outcome);
        let expected = if any("wrong") {
            2
        } else if any("odd") {
            1
        } else {
            0
        };
        assert_eq!(self.code, Some(expected), "{:?}", self.all);
    }
}

#[test]
fn a_machine_in_order_is_ok_and_each_fault_is_found_by_its_check() -> Outcome<()> {
    let machine = Machine::new(Setup::on)?;
    let found = machine.findings()?;
    assert_eq!(found.not_ok(), [], "{:?}", found.all);
    found.code_is_by_the_worst();
    let checks: Vec<_> = found.all.iter().filter_map(|finding| finding["check"].as_str()).collect();
    assert_eq!(
        checks,
        [
            "configuration",
            "kernel driver",
            "NVML library",
            "device nodes",
            "PCI devices",
            "sampler",
            "NVML",
            "persistence daemon",
            "kernel log",
            "agent",
            "control socket",
            "metrics port",
            "metrics",
            "state directory",
            "state disk",
            "clock",
            "TPM",
            "blocked processes"
        ]
    );

    fs::remove_dir_all(machine.path("proc/71"))?;
    let found = machine.findings()?;
    assert_eq!(found.not_ok(), [("clock", "odd")]);
    found.code_is_by_the_worst();

    fs::remove_file(machine.path("dev/nvidia1"))?;
    machine
        .put("dev/kmsg", "3,9,100,-;NVRM: Xid (PCI:0000:83:00): 79, pid=0, GPU has fallen off the bus.\n")?;
    let found = machine.findings()?;
    assert_eq!(found.not_ok(), [("device nodes", "wrong"), ("kernel log", "odd"), ("clock", "odd")]);
    found.code_is_by_the_worst();
    assert_eq!(found.code, Some(2));
    for finding in &found.all {
        assert_eq!(finding["outcome"] == "ok", finding["hint"] == "", "a hint where it is needed: {finding}");
    }
    Ok(())
}

#[test]
fn an_nvswitch_without_its_manager_and_a_process_in_the_driver_are_found() -> Outcome<()> {
    let machine = Machine::new(Setup::on)?;
    let switch = machine.sim.path().join("sysfs/bus/pci/devices/0000:05:00.0");
    fs::create_dir_all(&switch)?;
    fs::write(switch.join("vendor"), "0x10de\n")?;
    fs::write(switch.join("class"), "0x068000\n")?;
    machine.put("proc/80/stat", "80 (python3) D 1 1 1 0 -1 0 0 0 0 0 1 1 0 0 20 0 1 0 80 1\n")?;
    machine.put("proc/80/wchan", "os_acquire_semaphore")?;
    let found = machine.findings()?;
    assert_eq!(found.not_ok(), [("fabric manager", "wrong"), ("blocked processes", "odd")]);
    machine.process(81, "nv-fabricmanage", "system.slice/nvidia-fabricmanager.service")?;
    machine.put("proc/80/stat", "80 (python3) S 1 1 1 0 -1 0 0 0 0 0 1 1 0 0 20 0 1 0 80 1\n")?;
    let found = machine.findings()?;
    assert_eq!((found.outcome("fabric manager"), found.not_ok()), ("ok", vec![]));
    Ok(())
}

/// Both are looked at where they are configured only.
#[test]
fn keys_and_hooks_that_others_may_change_are_found() -> Outcome<()> {
    let site = TempDir::new()?;
    let (keys, hooks) = (site.path().join("keys.d"), site.path().join("hooks.d"));
    let hook = hooks.join("lease-end/10-wipe");
    fs::create_dir_all(&keys)?;
    fs::create_dir_all(hooks.join("lease-end"))?;
    fs::write(&hook, "#!/bin/sh\n")?;
    let mode = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode));
    mode(&hook, 0o755)?;
    for folder in [site.path(), &keys, &hooks, &hooks.join("lease-end")] {
        mode(folder, 0o755)?;
    }
    let machine = Machine::new(|sim| {
        Setup::on(sim)
            .line("consumers", format!("keys_dir = {keys:?}"))
            .line("hooks", format!("dir = {hooks:?}"))
    })?;
    let found = machine.findings()?;
    assert_eq!(
        (found.outcome("consumer keys"), found.outcome("hooks"), found.not_ok()),
        ("ok", "ok", vec![]),
        "{:?}",
        found.all
    );
    mode(&keys, 0o777)?;
    mode(&hook, 0o777)?;
    let found = machine.findings()?;
    assert_eq!(found.not_ok(), [("consumer keys", "wrong"), ("hooks", "wrong")]);
    found.code_is_by_the_worst();
    Ok(())
}

#[test]
fn doctor_goes_on_past_failures() -> Outcome<()> {
    let machine = Machine::new(|sim| Setup::on(sim).broker(1))?;
    let found = machine.findings()?;
    assert_eq!(found.not_ok(), [("broker", "wrong")]);
    assert_eq!(found.code, Some(2), "the broker is not there");

    // Nothing of a configuration is left: every other check is still made.
    machine.put("doctor.toml", "[node]\nsite = \"Not A Name\"\n")?;
    let found = machine.findings()?;
    assert_eq!((found.outcome("configuration"), found.code), ("wrong", Some(2)));
    for check in ["kernel driver", "PCI devices", "agent", "broker", "state disk", "clock", "TPM"] {
        assert_ne!(found.outcome(check), "missing", "{check}: {:?}", found.all);
    }
    Ok(())
}

#[test]
fn the_page_has_a_line_for_each_check_and_ends_with_the_sum() -> Outcome<()> {
    let machine = Machine::new(Setup::on)?;
    fs::remove_file(machine.path("dev/nvidiactl"))?;
    let output = machine.run(&[])?;
    let page = String::from_utf8(output.stdout)?;
    assert_eq!(output.status.code(), Some(2), "{page}");
    assert!(!page.contains('\u{1b}'), "no colour outside a terminal: {page}");
    let row = page.lines().find(|line| line.starts_with("WRONG")).ok_or("no wrong check")?;
    assert!(row.contains("device nodes") && row.contains("nvidiactl missing"), "{row}");
    assert!(page.contains("\n  hint: install nvidia-modprobe"), "{page}");
    let last = page.lines().last().unwrap_or_default();
    assert!(last.starts_with("1 of 18 checks wrong, "), "{last}");
    Ok(())
}
