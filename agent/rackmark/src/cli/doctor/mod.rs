//! `rackmark doctor`: is this machine set up? Every check runs, also after
//! another one failed.

mod agent;
mod bmc;
mod brokers;
mod driver;
mod endpoint;
mod finding;
mod gpus;
mod holders;
mod hooks;
mod host;
mod kernel_log;
mod keys;
mod progress;
mod tpm;

use std::net::{TcpStream, ToSocketAddrs};
use std::path::Path;
use std::time::Duration;

use clap::Args;
#[cfg(test)]
use finding::Outcome;
use finding::{Finding, fine, odd, wrong};

use super::one_shot::print;
use super::table::colour;
use super::{ConfigPath, WebConfigFile};
use crate::config::Config;
use crate::exit::{Code, Failure};

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
    findings.extend(checks(&config));
    if options.json {
        print(&format!("{:#}\n", finding::as_json(&findings)));
    } else {
        print(&finding::as_page(&findings, colour()));
    }
    Ok(finding::code(&findings))
}

/// Every check but that of the configuration itself, causes before their effects.
fn checks(config: &Config) -> Vec<Finding> {
    let mut progress = progress::Progress::new();
    let mut processes = host::Processes::first_look(config);
    let mut findings = vec![driver::module(config), driver::library(config), driver::device_nodes(config)];
    findings.push(gpus::on_the_bus(config));
    progress.step("the sampler");
    findings.extend(gpus::sampled(config));
    findings.push(gpus::persistence_daemon(config, processes.services()));
    findings.extend(gpus::fabric_manager(config, processes.services()));
    progress.step("the kernel log");
    findings.push(kernel_log::check(&config.dev_root.join("kmsg")));
    progress.step("the agent");
    findings.extend(agent::checks(config));
    progress.step("the metrics endpoint");
    findings.extend(endpoint::check(config));
    progress.step("the brokers");
    findings.extend(brokers::brokers(config));
    if let Some(settings) = &config.bmc {
        progress.step("the BMC");
        findings.extend(bmc::check(settings));
    }
    findings.extend(config.keys_dir.as_deref().map(keys::check));
    progress.step("the hooks");
    findings.extend(hooks::check(config));
    findings.push(host::state_dir(config));
    findings.push(host::state_disk(config));
    findings.push(host::clock(config, processes.services()));
    progress.step("the TPM");
    findings.extend(tpm::checks(config));
    progress.step("blocked processes");
    findings.push(processes.second_look());
    findings
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

/// A configuration whose machine is a folder.
#[cfg(test)]
fn fixture(root: &Path, more: &str) -> Config {
    let text = format!(
        "[node]\nname = \"n\"\n[hardware]\nsysfs_root = {:?}\nproc_root = {:?}\nrun_root = {:?}\ndev_root = {:?}\n[state]\ndir = {:?}\n[control]\nsocket = {:?}\n{more}",
        root.join("sys"),
        root.join("proc"),
        root.join("run"),
        root.join("dev"),
        root.join("state"),
        root.join("control.sock"),
    );
    Config::parse(&text, Path::new("test.toml")).expect("configuration")
}

/// Writes a file of a fixture and the folders above it.
#[cfg(test)]
fn put(root: &Path, path: &str, content: &str) {
    let path = root.join(path);
    std::fs::create_dir_all(path.parent().expect("parent")).expect("folder");
    std::fs::write(path, content).expect("file");
}
