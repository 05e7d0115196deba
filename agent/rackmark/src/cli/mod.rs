//! The command line. Data goes to standard output, everything else to standard
//! error; `--json` is for machines, tables are for people.

mod burn_in;
mod check;
mod check_config;
mod conditions;
mod doctor;
pub mod duration;
mod explain;
mod history;
mod hook;
mod inventory;
pub mod key;
pub mod one_shot;
mod operate;
mod passed_on;
mod pause;
mod record;
mod rma;
mod run;
mod sample;
mod status;
pub mod table;
mod until;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::config::{Config, ConfigError, DEFAULT_PATH};
use crate::exit::{Code, Failure};

/// Health, utilisation and identity of the GPUs in this server.
#[derive(Debug, Parser)]
#[command(name = "rackmark", bin_name = "rackmark", version, after_help = EXIT_CODES)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

/// What exit codes mean, for the end of every help.
pub const EXIT_CODES: &str = "Exit codes: 0 done, 1 checks found something to look at (check: draining), \
2 checks found something wrong (check: unusable or not known), 64 usage or configuration, \
69 something is not available (driver, GPU, broker, agent), 70 internal, 75 try again, 77 not allowed.";

/// Where the configuration is.
#[derive(Debug, Args)]
pub struct ConfigPath {
    /// Configuration file; defaults apply where /etc/rackmark/rackmark.toml does not exist.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl ConfigPath {
    fn path(&self) -> PathBuf {
        self.config.clone().unwrap_or_else(|| DEFAULT_PATH.into())
    }

    /// The configuration; a file that was named must exist.
    pub fn load(&self) -> Result<Config, Failure> {
        let path = self.path();
        let loaded = match Config::load(&path) {
            Err(ConfigError::Read { source, .. })
                if self.config.is_none() && source.kind() == std::io::ErrorKind::NotFound =>
            {
                Config::parse("", &path)
            }
            loaded => loaded,
        };
        loaded
            .map_err(|error| Failure::new(Code::Usage, error).hint("rackmark default-config shows every key"))
    }
}

/// The web configuration of the Prometheus endpoint, under the name that all exporters give it.
#[derive(Debug, Args)]
struct WebConfigFile {
    /// TLS and passwords of the Prometheus endpoint; instead of `metrics.web_config_file`.
    #[arg(long = "web.config.file", value_name = "FILE")]
    web_config_file: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the agent (what the service does).
    Run(run::Options),
    /// Run the agent with a broker of its own and show what a consumer sees.
    Demo(passed_on::Rest),
    /// Read every GPU once, without a running agent.
    Sample(sample::Options),
    /// Show the GPUs of the running agent.
    Status(status::Options),
    /// Say in one line whether work should be placed here: exit code 0 yes, 1 draining, 2 no or not known.
    Check(check::Options),
    /// Show what happened to GPUs and node.
    History(history::Options),
    /// Show what this server is: parts, serial numbers, firmware, and what contradicts itself.
    Inventory(inventory::Options),
    /// Gather what the vendor of a faulty card wants to know, without names of people and work, in one archive.
    Rma(rma::Options),
    /// Say that a condition is known: one that lasts until then is over.
    Ack(operate::AckOptions),
    /// Begin or end planned work on one GPU or on the node.
    #[command(subcommand)]
    Maintenance(operate::MaintenanceCommand),
    /// Let running work finish on one GPU or on all, and place nothing new.
    Drain(operate::DrainOptions),
    /// End a drain.
    Undrain(operate::UndrainOptions),
    /// Tell the agent of leases, where leases.source is not "none".
    #[command(subcommand)]
    Lease(operate::LeaseCommand),
    /// Declare that the card in a slot is going to be swapped or was, or that the new one was tested.
    Swap(operate::SwapOptions),
    /// Test GPUs: whether they compute right, how fast, and why not.
    BurnIn(burn_in::Options),
    /// Record a trace that the simulator can replay.
    Record(record::Options),
    /// Judge a recording again: what would have been said, and when.
    Explain(explain::Options),
    /// Close the driver handles of one GPU or of all, for a time.
    Pause(pause::PauseOptions),
    /// End a pause early.
    Resume(pause::ResumeOptions),
    /// Name every mistake in a configuration file.
    CheckConfig(check_config::Options),
    /// Print a configuration file with every key and its default.
    DefaultConfig,
    /// Check that this machine is set up: goes on past failures.
    Doctor(doctor::Options),
    /// Show and try the hooks of this site.
    #[command(subcommand)]
    Hook(hook::HookCommand),
    /// Make keys of consumers, and say which of them this node listens to.
    #[command(subcommand)]
    Key(key::KeyCommand),
    /// Send a node a signed command over a broker.
    Ctl(passed_on::Rest),
    /// Judge a bundle of evidence: exit code 0 all is shown, 1 not all is, 2 something speaks against it.
    Verify(passed_on::Rest),
    /// Look at the feed.
    Feed(passed_on::Rest),
    /// Print completions for a shell.
    Completions(passed_on::Rest),
}

/// Carries out a command.
///
/// # Errors
/// A [`Failure`] with its exit code.
pub fn run(arguments: Arguments) -> Result<Code, Failure> {
    match arguments.command {
        Command::Run(options) => run::run(&options),
        Command::Demo(rest) => passed_on::run("demo", rest),
        Command::Sample(options) => sample::run(&options),
        Command::Status(options) => status::run(&options),
        Command::Check(options) => check::run(options),
        Command::History(options) => history::run(options),
        Command::Inventory(options) => inventory::run(&options),
        Command::Rma(options) => rma::run(&options),
        Command::Ack(options) => operate::ack(options),
        Command::Maintenance(command) => operate::maintenance(command),
        Command::Drain(options) => operate::drain(options),
        Command::Undrain(options) => operate::undrain(options),
        Command::Lease(command) => operate::lease(command),
        Command::Swap(options) => operate::swap(options),
        Command::BurnIn(options) => burn_in::run(&options),
        Command::Record(options) => record::run(&options),
        Command::Explain(options) => explain::run(&options),
        Command::Pause(options) => pause::pause(options),
        Command::Resume(options) => pause::resume(options),
        Command::CheckConfig(options) => check_config::run(&options),
        Command::DefaultConfig => {
            one_shot::print(&crate::config::default_file());
            Ok(Code::Ok)
        }
        Command::Doctor(options) => doctor::run(&options),
        Command::Hook(command) => hook::run(command),
        Command::Key(command) => key::run(command),
        Command::Ctl(rest) => passed_on::run("ctl", rest),
        Command::Verify(rest) => passed_on::run("verify", rest),
        Command::Feed(rest) => passed_on::run("feed", rest),
        Command::Completions(rest) => passed_on::run("completions", rest),
    }
}
