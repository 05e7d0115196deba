//! The GPUs: on the bus, through the sampler, and the services they need.

use std::time::Duration;

use rackmark_hardware::pci::{PciScanner, nvswitches};
use rackmark_hardware::services::{Program, ServiceState, Services};

use super::{Finding, driver, fine, odd, wrong};
use crate::cli::one_shot::{block_on, sample_once};
use crate::config::{Config, SamplerLaunch};
use crate::exit::chain;

/// Longest wait for a first sample of every GPU.
const SAMPLE_PATIENCE: Duration = Duration::from_secs(15);

/// NVML's words for status 18.
const MISMATCH_WORDS: &str = "version mismatch";

pub(super) fn on_the_bus(config: &Config) -> Finding {
    let check = "PCI devices";
    let gpus = match PciScanner::new(&config.sysfs_root).scan() {
        Ok(gpus) => gpus,
        Err(error) => return wrong(check, chain(&error), "sysfs cannot be read; see hardware.sysfs_root"),
    };
    let found = match gpus.len() {
        0 => "no NVIDIA GPU".to_owned(),
        1 => "1 NVIDIA GPU".to_owned(),
        more => format!("{more} NVIDIA GPUs"),
    };
    match config.expected_gpus.map(|expected| expected as usize) {
        Some(expected) if gpus.len() < expected => wrong(
            check,
            format!("{found}, {expected} expected"),
            "a card is missing on the bus: check seating and power",
        ),
        Some(expected) if gpus.len() > expected => {
            odd(check, format!("{found}, {expected} expected"), "correct node.expected_gpus")
        }
        Some(_) => fine(check, format!("{found}, as expected")),
        None if gpus.is_empty() => odd(check, found, "is this the right machine, and is the card seated?"),
        None => fine(check, found),
    }
}

/// Samples once with a sampler of its own; not while the agent's sampler is
/// reached by socket only, where this shows the same path.
pub(super) fn sampled(config: &Config) -> Vec<Finding> {
    let launch = match &config.sampler {
        SamplerLaunch::Socket(socket) => format!("by socket {}", socket.display()),
        SamplerLaunch::Program { program, nvml_library } => {
            format!("{} with {nvml_library}", program.display())
        }
    };
    let roster = match block_on(sample_once(config, SAMPLE_PATIENCE)) {
        Ok(roster) => roster,
        Err(failure) => {
            let cause = failure.error.source().map(|cause| format!(": {cause}")).unwrap_or_default();
            return vec![wrong(
                "sampler",
                format!("{launch}: {}{cause}", failure.error),
                "is rackmark-sampler installed, or its socket started?",
            )];
        }
    };
    let check = "NVML";
    let nvml = match &roster.driver_cause {
        Some(cause) if cause.to_lowercase().contains(MISMATCH_WORDS) => {
            wrong(check, cause.clone(), driver::MISMATCH)
        }
        Some(cause) => odd(check, cause.clone(), "install the driver's library, or wait for the driver"),
        None => {
            let answering = roster.gpus.iter().filter(|gpu| gpu.absence().is_none()).count();
            let note = if roster.simulated() { ", SIMULATED" } else { "" };
            let found = format!("{answering} of {} GPUs answer{note}", roster.gpus.len());
            if answering == roster.gpus.len() {
                fine(check, found)
            } else {
                wrong(check, found, "rackmark sample shows which GPU does not, and why")
            }
        }
    };
    vec![fine("sampler", launch), nvml]
}

pub(super) fn persistence_daemon(config: &Config, services: &Services) -> Finding {
    let check = "persistence daemon";
    let loaded = rackmark_hardware::host::nvidia_driver_version(&config.proc_root).is_some();
    match services.state(Program::Persistenced) {
        ServiceState::Running { unit } => fine(check, running(unit.as_deref())),
        ServiceState::Absent if !loaded => fine(check, "not running; no kernel driver, so none is needed"),
        ServiceState::Absent => odd(
            check,
            "nvidia-persistenced is not running",
            "without it the driver sets a GPU up anew for each program: systemctl enable --now nvidia-persistenced",
        ),
        ServiceState::Unknown => odd(check, HIDDEN, HIDDEN_HINT),
    }
}

/// Only where there are NVSwitches.
pub(super) fn fabric_manager(config: &Config, services: &Services) -> Option<Finding> {
    let check = "fabric manager";
    let switches = nvswitches(&config.sysfs_root).ok().filter(|count| *count > 0)?;
    Some(match services.state(Program::FabricManager) {
        ServiceState::Running { unit } => {
            fine(check, format!("{}, {switches} NVSwitches", running(unit.as_deref())))
        }
        ServiceState::Absent => wrong(
            check,
            format!("nv-fabricmanager is not running, and there are {switches} NVSwitches"),
            "CUDA does not start without it: install the fabric manager of the driver's version, systemctl enable --now nvidia-fabricmanager",
        ),
        ServiceState::Unknown => odd(check, HIDDEN, HIDDEN_HINT),
    })
}

fn running(unit: Option<&str>) -> String {
    unit.map_or_else(|| "running".to_owned(), |unit| format!("running in {unit}"))
}

pub(super) const HIDDEN: &str = "processes of others cannot be seen";
pub(super) const HIDDEN_HINT: &str = "run doctor as root; see the mount option hidepid of /proc";

#[cfg(test)]
mod tests {
    use std::path::Path;

    use rackmark_hardware::services::ProcessWatch;

    use super::*;
    use crate::cli::doctor::{Outcome, fixture, put};

    fn gpu(root: &Path, address: &str, class: &str) {
        put(root, &format!("sys/bus/pci/devices/{address}/vendor"), "0x10de\n");
        put(root, &format!("sys/bus/pci/devices/{address}/class"), class);
    }

    fn services(root: &Path) -> Services {
        let mut watch = ProcessWatch::new(&root.join("proc"));
        watch.pass(Duration::ZERO).expect("pass");
        watch.services().clone()
    }

    #[test]
    fn fewer_gpus_than_declared_are_wrong_and_more_are_odd() {
        let root = tempfile::tempdir().expect("folder");
        let outcome = |more: &str| on_the_bus(&fixture(root.path(), more)).outcome;
        assert_eq!(outcome(""), Outcome::Wrong, "no bus at all");
        std::fs::create_dir_all(root.path().join("sys/bus/pci/devices")).expect("folder");
        assert_eq!(outcome(""), Outcome::Odd, "no GPU");
        gpu(root.path(), "0000:1b:00.0", "0x030200\n");
        gpu(root.path(), "0000:9b:00.0", "0x030200\n");
        assert_eq!(outcome(""), Outcome::Fine);
        let declared = |count: u32| {
            let mut config = fixture(root.path(), "");
            config.expected_gpus = Some(count);
            on_the_bus(&config).outcome
        };
        assert_eq!([1, 2, 3].map(declared), [Outcome::Odd, Outcome::Fine, Outcome::Wrong]);
    }

    #[test]
    fn a_fabric_manager_is_asked_for_only_where_there_are_nvswitches() {
        let root = tempfile::tempdir().expect("folder");
        let config = fixture(root.path(), "");
        put(root.path(), "proc/1/stat", "1 (systemd) S 0");
        gpu(root.path(), "0000:1b:00.0", "0x030200\n");
        assert!(fabric_manager(&config, &services(root.path())).is_none());
        gpu(root.path(), "0000:05:00.0", "0x068000\n");
        let absent = fabric_manager(&config, &services(root.path())).expect("finding");
        assert!(
            absent.outcome == Outcome::Wrong && absent.hint.contains("nvidia-fabricmanager"),
            "{absent:?}"
        );
        assert_eq!(fabric_manager(&config, &Services::default()).expect("finding").outcome, Outcome::Odd);
        put(root.path(), "proc/9/stat", "9 (nv-fabricmanage) S 1");
        put(root.path(), "proc/9/cgroup", "0::/system.slice/nvidia-fabricmanager.service\n");
        let running = fabric_manager(&config, &services(root.path())).expect("finding");
        assert_eq!(running.found, "running in nvidia-fabricmanager.service, 1 NVSwitches");
    }

    #[test]
    fn a_persistence_daemon_is_missed_once_the_driver_is_there() {
        let root = tempfile::tempdir().expect("folder");
        let config = fixture(root.path(), "");
        put(root.path(), "proc/1/stat", "1 (systemd) S 0");
        let outcome = || persistence_daemon(&config, &services(root.path())).outcome;
        assert_eq!(outcome(), Outcome::Fine);
        put(
            root.path(),
            "proc/driver/nvidia/version",
            "NVRM version: NVIDIA UNIX x86_64 Kernel Module  570.172.08  Tue\n",
        );
        assert_eq!(outcome(), Outcome::Odd);
        put(root.path(), "proc/9/stat", "9 (nvidia-persiste) S 1");
        assert_eq!(outcome(), Outcome::Fine);
        assert_eq!(persistence_daemon(&config, &Services::default()).outcome, Outcome::Odd);
    }
}
