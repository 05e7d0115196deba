//! The examples for schedulers and hypervisors, run against a `rackmark` that only writes down what it was asked.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use rackmark_e2e::Outcome;
use tempfile::TempDir;

fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../packaging/examples")
}

/// A search path with stand-ins that log their arguments.
struct Stage {
    folder: TempDir,
}

impl Stage {
    fn new() -> Outcome<Self> {
        let stage = Self { folder: TempDir::new()? };
        fs::create_dir(stage.path("bin"))?;
        stage.program("rackmark", "exit 0")?;
        stage.program("logger", "exit 0")?;
        Ok(stage)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A program that logs its call and then does `body`.
    fn program(&self, name: &str, body: &str) -> Outcome<()> {
        let (path, calls) = (self.path("bin").join(name), self.path("calls"));
        fs::write(&path, format!("#!/bin/bash\necho {name} \"$@\" >>'{}'\n{body}\n", calls.display()))?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
        Ok(())
    }

    /// Runs an example; standard input is `input`.
    fn run(
        &self,
        script: &str,
        arguments: &[&str],
        environment: &[(&str, &str)],
        input: &str,
    ) -> Outcome<Output> {
        let _ = fs::remove_file(self.path("calls"));
        let stdin = self.path("input");
        fs::write(&stdin, input)?;
        let output = Command::new(examples().join(script))
            .args(arguments)
            .env("PATH", format!("{}:/usr/bin:/bin", self.path("bin").display()))
            .env("SLURMD_NODENAME", "gpu-17")
            .env("RACKMARK_DOCKER_STATE", self.path("leases"))
            .env("RACKMARK_DOCKER_DRIVER", self.path("gpus"))
            .env("RACKMARK_SYSFS", self.path("sysfs"))
            .envs(environment.iter().copied())
            .stdin(Stdio::from(fs::File::open(stdin)?))
            .output()?;
        Ok(output)
    }

    /// What a program was called with, in order.
    fn calls(&self, program: &str) -> Vec<String> {
        let calls = fs::read_to_string(self.path("calls")).unwrap_or_default();
        calls
            .lines()
            .filter_map(|line| line.strip_prefix(&format!("{program} ")))
            .map(str::to_owned)
            .collect()
    }
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

#[test]
fn every_script_parses() -> Outcome<()> {
    let mut scripts = vec![examples().join("libvirt/qemu")];
    for folder in fs::read_dir(examples())?.flatten().filter(|entry| entry.path().is_dir()) {
        let files = fs::read_dir(folder.path())?.flatten().map(|entry| entry.path());
        scripts.extend(files.filter(|path| path.extension().is_some_and(|extension| extension == "sh")));
    }
    // Names of hooks have no dots.
    scripts.extend(fs::read_dir(examples().join("hooks"))?.flatten().map(|entry| entry.path()));
    assert_eq!(scripts.len(), 6 + 5, "{scripts:?}");
    for script in scripts {
        let shell = if fs::read_to_string(&script)?.starts_with("#!/bin/sh\n") { "dash" } else { "bash" };
        let output = Command::new(shell).arg("-n").arg(&script).output()?;
        assert!(output.status.success(), "{}: {output:?}", script.display());
        assert!(fs::metadata(&script)?.permissions().mode() & 0o111 != 0, "{} may not run", script.display());
        // Where it is installed it must be content; it is not needed to run the tests.
        if let Ok(output) = Command::new("shellcheck").arg(&script).output() {
            assert!(output.status.success(), "{}", stdout(&output));
        }
    }
    Ok(())
}

#[test]
fn slurm_drains_for_a_reason_and_resumes_only_its_own() -> Outcome<()> {
    let stage = Stage::new()?;
    let health = |code: u32, present: &str, from: &str| -> Outcome<Vec<String>> {
        stage.program("rackmark", &format!("echo 'GPU 3: \"lost\"'; exit {code}"))?;
        stage
            .program("scontrol", &format!("[ \"$1\" = update ] || printf '   State=IDLE\\n{present}\\n'"))?;
        let output = stage.run("slurm/rackmark-healthcheck.sh", &[], &[("RACKMARK_DRAIN_FROM", from)], "")?;
        assert!(output.status.success(), "{output:?}");
        assert_eq!(stage.calls("rackmark"), ["check"]);
        Ok(stage.calls("scontrol").into_iter().filter(|call| call.starts_with("update")).collect())
    };
    let drained = "update NodeName=gpu-17 State=DRAIN Reason=rackmark: GPU 3: lost";
    assert_eq!(health(2, "", "1")?, [drained]);
    assert_eq!(health(1, "", "1")?, [drained]);
    assert_eq!(health(1, "", "2")?, Vec::<String>::new());
    assert_eq!(health(0, "", "1")?, Vec::<String>::new());
    assert_eq!(
        health(0, "   Reason=rackmark: GPU 3: lost [root@2026-01-01T00:00:00]", "1")?,
        ["update NodeName=gpu-17 State=RESUME"]
    );
    // Somebody else's drain is neither renamed nor ended.
    assert_eq!(health(0, "   Reason=new fan [eve@2026-01-01T00:00:00]", "1")?, Vec::<String>::new());
    assert_eq!(health(2, "   Reason=new fan [eve@2026-01-01T00:00:00]", "1")?, Vec::<String>::new());
    Ok(())
}

#[test]
fn slurm_jobs_become_leases() -> Outcome<()> {
    let stage = Stage::new()?;
    let job = [("SLURM_JOB_ID", "71"), ("SLURM_JOB_GPUS", "0,3"), ("SLURM_JOB_END_TIME", "1790000000")];
    let output = stage.run("slurm/prolog.sh", &[], &job, "")?;
    assert!(output.status.success(), "{output:?}");
    assert_eq!(
        stage.calls("rackmark"),
        [
            "check --gpu 0",
            "check --gpu 3",
            "lease start --gpu 0 --id slurm-71-gpu0 --until 2026-09-21T14:13:20Z",
            "lease start --gpu 3 --id slurm-71-gpu3 --until 2026-09-21T14:13:20Z",
        ]
    );
    let output = stage.run("slurm/prolog.sh", &[], &job[..2], "")?;
    assert!(output.status.success());
    assert!(stage.calls("rackmark").iter().any(|call| call.ends_with("slurm-71-gpu3 --for 24h")));
    let output = stage.run("slurm/epilog.sh", &[], &job, "")?;
    assert!(output.status.success());
    assert_eq!(stage.calls("rackmark"), ["lease end slurm-71-gpu0", "lease end slurm-71-gpu3"]);
    // Without GPUs there is nothing to ask.
    let output = stage.run("slurm/prolog.sh", &[], &job[..1], "")?;
    assert!(output.status.success() && stage.calls("rackmark").is_empty());
    // An unusable GPU refuses the job before there is a lease.
    stage.program("rackmark", "[ \"$3\" != 3 ] || { echo 'lost'; exit 2; }")?;
    let output = stage.run("slurm/prolog.sh", &[], &job, "")?;
    assert_eq!((output.status.code(), stdout(&output).as_str()), (Some(1), "print GPU 3: lost"));
    assert_eq!(stage.calls("rackmark").len(), 2);
    // A degraded one does not, nor does an agent that takes no lease; an epilog never fails.
    stage.program("rackmark", "exit 1")?;
    assert!(stage.run("slurm/prolog.sh", &[], &job, "")?.status.success());
    assert_eq!(stage.calls("logger").len(), 2);
    assert!(stage.run("slurm/epilog.sh", &[], &job, "")?.status.success());
    Ok(())
}

#[test]
fn the_node_problem_detector_gets_its_own_codes() -> Outcome<()> {
    let stage = Stage::new()?;
    for (code, expected) in [(0, 0), (1, 1), (2, 1), (69, 2)] {
        stage.program("rackmark", &format!("echo 'GPU 3 is lost'; exit {code}"))?;
        let output = stage.run("node-problem-detector/rackmark-npd.sh", &[], &[], "")?;
        assert_eq!(output.status.code(), Some(expected), "{code}");
        assert_eq!(stdout(&output).lines().count(), 1);
        assert_eq!(stage.calls("rackmark"), ["check"]);
    }
    let plugin: serde_json::Value =
        serde_json::from_str(&fs::read_to_string(examples().join("node-problem-detector/rackmark.json"))?)?;
    // A rule without its condition never shows.
    assert_eq!(plugin["rules"][0]["condition"], plugin["conditions"][0]["type"]);
    assert!(plugin["rules"][0]["path"].as_str().is_some_and(|path| path.ends_with("/rackmark-npd.sh")));
    let nhc = fs::read_to_string(examples().join("nhc/rackmark.nhc"))?;
    assert!(nhc.lines().any(|line| line.ends_with("check_cmd_status -t 10 -r 0 /usr/bin/rackmark check")));
    Ok(())
}

#[test]
fn containers_become_leases() -> Outcome<()> {
    let stage = Stage::new()?;
    for gpu in ["0000:1b:00.0", "0000:43:00.0"] {
        fs::create_dir_all(stage.path("gpus").join(gpu))?;
    }
    // One container that ended while nobody looked, one that runs already, and two that come and go.
    fs::create_dir(stage.path("leases"))?;
    fs::write(stage.path("leases/gone"), "docker-gone-0\n")?;
    stage.program(
        "docker",
        r#"case "$1 ${*: -1}" in
  events*) printf 'start %s\n' alone plain; printf 'die %s\n' alone plain stranger ;;
  "ps "*) echo running ;;
  "inspect alone") case "$3" in *DeviceRequests*) echo GPU-1 ;; esac ;;
  "inspect running") case "$3" in *DeviceRequests*) echo 'count -1' ;; esac ;;
  "inspect plain") case "$3" in *Runtime*) echo runc ;; esac ;;
esac"#,
    )?;
    let output = stage.run("docker/rackmark-docker-leases.sh", &[], &[], "")?;
    assert!(output.status.success(), "{output:?}");
    assert_eq!(
        stage.calls("rackmark"),
        [
            "lease end docker-gone-0",
            "lease start --gpu 0000:1b:00.0 --id docker-running-0000:1b:00.0 --for 720h",
            "lease start --gpu 0000:43:00.0 --id docker-running-0000:43:00.0 --for 720h",
            "lease start --gpu GPU-1 --id docker-alone-GPU-1 --for 720h",
            "lease end docker-alone-GPU-1",
        ]
    );
    assert_eq!(fs::read_dir(stage.path("leases"))?.count(), 1, "only the running one is known");
    // The older way: runtime and environment.
    stage.program(
        "docker",
        r#"case "$1 $3" in
  events*) echo 'start old' ;;
  *Runtime*) echo nvidia ;;
  *Env*) printf 'PATH=/bin\nNVIDIA_VISIBLE_DEVICES=0,1\n' ;;
esac"#,
    )?;
    stage.run("docker/rackmark-docker-leases.sh", &[], &[], "")?;
    let starts: Vec<String> =
        stage.calls("rackmark").into_iter().filter(|call| call.starts_with("lease start")).collect();
    assert_eq!(
        starts,
        [
            "lease start --gpu 0 --id docker-old-0 --for 720h",
            "lease start --gpu 1 --id docker-old-1 --for 720h"
        ]
    );
    Ok(())
}

#[test]
fn virtual_machines_become_leases_of_their_gpus_alone() -> Outcome<()> {
    let stage = Stage::new()?;
    for (device, vendor) in
        [("0000:1b:00.0", "0x10de"), ("0000:43:00.0", "0x10de"), ("0000:81:00.1", "0x8086")]
    {
        fs::create_dir_all(stage.path("sysfs").join(device))?;
        fs::write(stage.path("sysfs").join(device).join("vendor"), vendor)?;
    }
    let device = |bus: &str, function: &str| {
        format!(
            "<hostdev mode='subsystem' type='pci' managed='yes'>\n  <driver name='vfio'/>\n  <source>\n    \
             <address domain='0x0000' bus='0x{bus}' slot='0x00' function='0x{function}'/>\n  </source>\n  \
             <address type='pci' domain='0x0000' bus='0x07' slot='0x00' function='0x0'/>\n</hostdev>\n"
        )
    };
    let guest = format!(
        "<domain type='kvm'><devices>\n{}{}{}</devices></domain>",
        device("1b", "0"),
        device("81", "1"),
        device("43", "0")
    );
    let told = |operation: &str| -> Outcome<Vec<String>> {
        let output = stage.run("libvirt/qemu", &["vm1", operation, "begin", "-"], &[], &guest)?;
        assert!(output.status.success(), "{output:?}");
        Ok(stage.calls("rackmark"))
    };
    assert_eq!(told("prepare")?, ["pause --gpu 0000:1b:00.0 --for 5m", "pause --gpu 0000:43:00.0 --for 5m"]);
    let started = [
        "lease start --gpu 0000:1b:00.0 --id libvirt-vm1-0000:1b:00.0 --for 720h",
        "lease start --gpu 0000:43:00.0 --id libvirt-vm1-0000:43:00.0 --for 720h",
    ];
    assert_eq!(told("started")?, started);
    assert_eq!(told("reconnect")?, started);
    assert_eq!(
        told("release")?,
        ["lease end libvirt-vm1-0000:1b:00.0", "lease end libvirt-vm1-0000:43:00.0"]
    );
    assert_eq!(told("migrate")?, Vec::<String>::new());
    // A hook that fails would keep the guest from starting.
    stage.program("rackmark", "exit 69")?;
    told("prepare")?;
    assert_eq!(stage.calls("logger").len(), 2);
    Ok(())
}
