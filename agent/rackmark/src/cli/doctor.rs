//! `rackmark doctor`: is this machine set up? Every check runs, also after
//! another one failed.

mod brokers;
mod endpoint;

use std::net::{TcpStream, ToSocketAddrs};
use std::path::Path;
use std::time::Duration;

use clap::Args;
use rackmark_hardware::kmsg::{KERNEL_LOG, KernelLog, KernelReport, nvidia_report};
use serde_json::json;

use super::one_shot::{block_on, print, sample_once};
use super::table::{Cell, Tone, colour, render};
use super::{ConfigPath, WebConfigFile};
use crate::config::{Config, SamplerLaunch};
use crate::control::client::ask;
use crate::control::verbs::Verb;
use crate::exit::{Code, Failure, chain};

#[derive(Debug, Args)]
pub struct Options {
    /// Findings as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    config: ConfigPath,
    #[command(flatten)]
    web: WebConfigFile,
}

/// How a check ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Fine,
    Odd,
    Wrong,
}

/// One check and what it found.
struct Finding {
    check: &'static str,
    outcome: Outcome,
    found: String,
    hint: &'static str,
}

fn fine(check: &'static str, found: impl Into<String>) -> Finding {
    Finding { check, outcome: Outcome::Fine, found: found.into(), hint: "" }
}

fn odd(check: &'static str, found: impl Into<String>, hint: &'static str) -> Finding {
    Finding { check, outcome: Outcome::Odd, found: found.into(), hint }
}

fn wrong(check: &'static str, found: impl Into<String>, hint: &'static str) -> Finding {
    Finding { check, outcome: Outcome::Wrong, found: found.into(), hint }
}

/// Longest wait for anything on the network.
const PATIENCE: Duration = Duration::from_secs(3);

pub fn run(options: &Options) -> Result<Code, Failure> {
    let mut findings = Vec::new();
    let config = match options.config.load() {
        Ok(config) => {
            findings.push(fine("configuration", options.config.path().display().to_string()));
            config.with_web_config_file(options.web.web_config_file.as_deref())
        }
        Err(failure) => {
            findings.push(wrong(
                "configuration",
                failure.error.to_string(),
                "correct it; the other checks use the defaults",
            ));
            Config::parse("", Path::new("")).map_err(|error| Failure::new(Code::Internal, error))?
        }
    };
    findings.push(driver_module(&config));
    findings.push(kernel_log(Path::new(KERNEL_LOG)));
    findings.push(pci(&config));
    findings.extend(gpus(&config));
    findings.push(state_dir(&config));
    findings.push(agent(&config));
    findings.extend(endpoint::check(&config));
    findings.extend(brokers::brokers(&config));
    findings.push(clock());
    show(&findings, options.json);
    let any = findings.iter().any(|finding| finding.outcome == Outcome::Wrong);
    Ok(if any { Code::Findings } else { Code::Ok })
}

fn show(findings: &[Finding], as_json: bool) {
    let word = |outcome| match outcome {
        Outcome::Fine => ("ok", Tone::Good),
        Outcome::Odd => ("odd", Tone::Odd),
        Outcome::Wrong => ("WRONG", Tone::Bad),
    };
    if as_json {
        let all: Vec<_> = findings
            .iter()
            .map(|finding| json!({ "check": finding.check, "outcome": word(finding.outcome).0.to_lowercase(), "found": finding.found, "hint": finding.hint }))
            .collect();
        print(&format!("{:#}\n", json!(all)));
        return;
    }
    let rows: Vec<Vec<Cell>> = findings
        .iter()
        .map(|finding| {
            let (text, tone) = word(finding.outcome);
            let found = finding.found.lines().next().unwrap_or("");
            vec![Cell::text(text).tone(tone), Cell::text(finding.check), Cell::text(found)]
        })
        .collect();
    print(&render(&["", "CHECK", "FOUND"], &rows, colour()));
    for finding in findings.iter().filter(|finding| !finding.hint.is_empty()) {
        print(&format!("\n{}: {}\n  hint: {}\n", finding.check, finding.found, finding.hint));
    }
}

fn driver_module(config: &Config) -> Finding {
    match rackmark_hardware::host::nvidia_driver_version(&config.proc_root) {
        Some(version) => fine("kernel driver", version),
        None => odd(
            "kernel driver",
            format!("{}/driver/nvidia/version is not there", config.proc_root.display()),
            "the NVIDIA kernel module is not loaded; the agent waits for it",
        ),
    }
}

/// Most records looked at. The kernel has room for one in 32 bytes of its log
/// buffer (`PRB_AVGBITS`), so all of a buffer of 4 MiB.
const KERNEL_LOG_RECORDS_MAX: u64 = 200_000;

fn kernel_log(path: &Path) -> Finding {
    let check = "kernel log";
    let mut log = match KernelLog::open(path) {
        Ok(log) => log,
        Err(error) => return odd(check, chain(&error), "run doctor as root to include the kernel log"),
    };
    let (mut records, mut overwritten, mut xids, mut newest) = (0, 0, 0_u64, None);
    while records < KERNEL_LOG_RECORDS_MAX {
        match log.next() {
            Ok(Some(record)) => {
                if records == 0 {
                    overwritten = record.seq;
                }
                records += 1;
                if let Some(KernelReport::Xid(xid)) = nvidia_report(&record) {
                    xids += 1;
                    newest = Some(xid);
                }
            }
            Ok(None) => break,
            Err(error) => return odd(check, chain(&error), "read it with dmesg and look for XIDs of NVIDIA"),
        }
    }
    let mut gap = String::new();
    if overwritten > 0 {
        gap = format!("; {overwritten} older records are gone");
    }
    if records == KERNEL_LOG_RECORDS_MAX {
        gap.push_str("; newer records are not looked at");
    }
    let Some(newest) = newest else {
        return fine(check, format!("{records} records, no NVIDIA XID{gap}"));
    };
    let gpu = newest.pci.map(|address| format!(" on {address}")).unwrap_or_default();
    odd(
        check,
        format!("{xids} NVIDIA XIDs since boot, newest: XID {}{gpu}{gap}", newest.code),
        "look the code up in NVIDIA's XID catalogue; rackmark sample shows how the GPU is now",
    )
}

fn pci(config: &Config) -> Finding {
    match rackmark_hardware::pci::PciScanner::new(&config.sysfs_root).scan() {
        Ok(gpus) if gpus.is_empty() => {
            odd("PCI devices", "no NVIDIA GPU", "is this the right machine, and is the card seated?")
        }
        Ok(gpus) => {
            let expected = config.expected_gpus.map_or(gpus.len(), |expected| expected as usize);
            let found = format!("{} NVIDIA GPUs", gpus.len());
            if gpus.len() < expected {
                wrong(
                    "PCI devices",
                    format!("{found}, {expected} expected"),
                    "a card is missing on the bus: check seating and power",
                )
            } else {
                fine("PCI devices", found)
            }
        }
        Err(error) => wrong("PCI devices", chain(&error), "sysfs cannot be read; see hardware.sysfs_root"),
    }
}

/// Samples once with a sampler of its own; not while the agent's sampler is
/// reached by socket only, where this shows the same path.
fn gpus(config: &Config) -> Vec<Finding> {
    let launch = match &config.sampler {
        SamplerLaunch::Socket(socket) => format!("by socket {}", socket.display()),
        SamplerLaunch::Program { program, nvml_library } => {
            format!("{} with {nvml_library}", program.display())
        }
    };
    match block_on(sample_once(config, Duration::from_secs(15))) {
        Err(failure) => {
            let cause = failure.error.source().map(|cause| format!(": {cause}")).unwrap_or_default();
            vec![wrong(
                "sampler",
                format!("{launch}: {}{cause}", failure.error),
                "is rackmark-sampler installed, or its socket started?",
            )]
        }
        Ok(roster) => {
            let mut findings = vec![fine("sampler", launch)];
            match &roster.driver_cause {
                Some(cause) => findings.push(odd(
                    "NVML",
                    cause.clone(),
                    "install the driver's library, or wait for the driver",
                )),
                None => {
                    let answering = roster.gpus.iter().filter(|gpu| gpu.absence().is_none()).count();
                    let note = if roster.simulated() { ", SIMULATED" } else { "" };
                    let found = format!("{answering} of {} GPUs answer{note}", roster.gpus.len());
                    findings.push(if answering == roster.gpus.len() {
                        fine("NVML", found)
                    } else {
                        wrong("NVML", found, "rackmark sample shows which GPU does not, and why")
                    });
                }
            }
            findings
        }
    }
}

fn state_dir(config: &Config) -> Finding {
    use std::os::unix::fs::PermissionsExt;
    let path = &config.state_dir;
    match std::fs::metadata(path) {
        Ok(metadata) if metadata.permissions().mode() & 0o077 == 0 => {
            fine("state directory", path.display().to_string())
        }
        Ok(_) => wrong(
            "state directory",
            format!("{} is open to others", path.display()),
            "it holds the identity key: chmod 0700",
        ),
        Err(error) => odd(
            "state directory",
            format!("{}: {error}", path.display()),
            "the agent makes it at its first start",
        ),
    }
}

fn agent(config: &Config) -> Finding {
    match ask(&config.control_socket, &Verb::Status) {
        Ok(status) => {
            let version = status["agent_version"].as_str().unwrap_or("unknown");
            match status.pointer("/spool/trouble").and_then(|text| text.as_str()) {
                Some(trouble) if !trouble.is_empty() => wrong(
                    "agent",
                    format!("runs, version {version}; {trouble}"),
                    "repair the disk under state.dir; the agent needs a restart only if it began without it",
                ),
                _ => fine("agent", format!("runs, version {version}")),
            }
        }
        Err(error) => wrong("agent", chain(&error), "start it: systemctl start rackmark"),
    }
}

fn connect(address: &str) -> std::io::Result<TcpStream> {
    let mut last = std::io::Error::new(std::io::ErrorKind::NotFound, "the name has no address");
    for candidate in address.to_socket_addrs()? {
        match TcpStream::connect_timeout(&candidate, PATIENCE) {
            Ok(stream) => {
                stream.set_read_timeout(Some(PATIENCE))?;
                return Ok(stream);
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// Signatures carry times; a clock from before this was written cannot be right.
fn clock() -> Finding {
    const BUILT_AFTER_UNIX_MS: u64 = 1_760_000_000_000;
    if crate::clock::unix_ms() > BUILT_AFTER_UNIX_MS {
        fine("clock", "plausible")
    } else {
        wrong("clock", "is set to a time before this agent was built", "start time synchronisation")
    }
}
