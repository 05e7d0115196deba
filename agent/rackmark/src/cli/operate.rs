//! What people tell the agent: acknowledgements, maintenance, drains, leases.

use std::time::Duration;

use clap::{Args, Subcommand};

use super::ConfigPath;
use super::duration;
use super::one_shot::print;
use super::pause::failure;
use super::until::{PerhapsUntil, Until};
use crate::control::client::ask;
use crate::control::verbs::{SWAP_DECLARED_SECS, Verb};
use crate::exit::{Code, Failure};
use crate::utc::Utc;

#[derive(Debug, Args)]
pub struct AckOptions {
    /// Condition as rackmark status names it (xid_79), a code (xid) for all of its kind, or all.
    #[arg(value_name = "CONDITION")]
    condition: String,
    /// The GPU, by slot, UUID, serial number or PCI address; the node's own conditions if left out.
    #[arg(long)]
    gpu: Option<String>,
    /// A few words to be kept with it.
    #[arg(long, value_name = "TEXT")]
    note: Option<String>,
    #[command(flatten)]
    config: ConfigPath,
}

#[derive(Debug, Subcommand)]
pub enum MaintenanceCommand {
    /// Planned work begins: nothing new is placed, alerts are held back.
    Start {
        /// One GPU, by slot, UUID, serial number or PCI address; the whole node if left out.
        #[arg(long)]
        gpu: Option<String>,
        #[command(flatten)]
        until: Until,
        /// Why, as told to buyers.
        #[arg(long, value_name = "TEXT")]
        reason: String,
        #[command(flatten)]
        config: ConfigPath,
    },
    /// Planned work ends before its time.
    End {
        /// One GPU, by slot, UUID, serial number or PCI address; that of the whole node if left out.
        #[arg(long)]
        gpu: Option<String>,
        #[command(flatten)]
        config: ConfigPath,
    },
}

#[derive(Debug, Args)]
pub struct DrainOptions {
    /// One GPU, by slot, UUID, serial number or PCI address; all GPUs if left out.
    #[arg(long)]
    gpu: Option<String>,
    /// Why.
    #[arg(long, value_name = "TEXT")]
    reason: String,
    #[command(flatten)]
    config: ConfigPath,
}

#[derive(Debug, Args)]
pub struct UndrainOptions {
    /// One GPU, by slot, UUID, serial number or PCI address; all GPUs if left out.
    #[arg(long)]
    gpu: Option<String>,
    #[command(flatten)]
    config: ConfigPath,
}

#[derive(Debug, Subcommand)]
pub enum LeaseCommand {
    /// A lease on a GPU begins.
    Start {
        /// The GPU, by slot, UUID, serial number or PCI address.
        #[arg(long)]
        gpu: String,
        /// Name of the lease; it may be on several GPUs.
        #[arg(long, value_name = "NAME")]
        id: String,
        /// Promised only; the same lease without this begins it.
        #[arg(long)]
        reserved: bool,
        #[command(flatten)]
        until: PerhapsUntil,
        #[command(flatten)]
        config: ConfigPath,
    },
    /// A lease ends, on all its GPUs.
    End {
        /// Name of the lease.
        #[arg(value_name = "ID")]
        id: String,
        #[command(flatten)]
        config: ConfigPath,
    },
}

#[derive(Debug, Args)]
pub struct SwapOptions {
    /// The GPU, by slot, UUID, serial number or PCI address.
    #[arg(value_name = "GPU")]
    gpu: String,
    /// The ticket, work order or case number that explains it.
    #[arg(long, value_name = "TICKET")]
    ticket: String,
    /// For how long the word counts, such as 12h or 72h; a week if left out.
    #[arg(long = "for", value_name = "TIME", value_parser = duration::parse)]
    span: Option<Duration>,
    /// The card that is there now was tested, by this person or test: it may be used.
    #[arg(long, value_name = "NAME", conflicts_with = "span")]
    tested_by: Option<String>,
    #[command(flatten)]
    config: ConfigPath,
}

pub fn swap(options: SwapOptions) -> Result<Code, Failure> {
    let SwapOptions { gpu, ticket, span, tested_by, config } = options;
    let for_secs = span.map_or(SWAP_DECLARED_SECS, |span| span.as_secs());
    let said = match &tested_by {
        None => format!("GPU {gpu}: swap of its card is declared under {ticket}"),
        Some(tester) => format!("GPU {gpu}: its card counts as tested by {tester}, under {ticket}"),
    };
    tell(&config, &Verb::Swap { gpu, ticket, for_secs, tested_by }, &said)
}

pub fn ack(options: AckOptions) -> Result<Code, Failure> {
    let AckOptions { condition, gpu, note, config } = options;
    let said = format!("{}: {condition} is acknowledged", whom(gpu.as_deref(), "the node"));
    tell(&config, &Verb::Ack { gpu, condition, note }, &said)
}

pub fn maintenance(command: MaintenanceCommand) -> Result<Code, Failure> {
    match command {
        MaintenanceCommand::Start { gpu, until, reason, config } => {
            let until_unix_ms = until.unix_ms();
            let whom = whom(gpu.as_deref(), "the node");
            let said = format!("{whom}: in maintenance until {}", Utc(until_unix_ms));
            tell(&config, &Verb::MaintenanceStart { gpu, until_unix_ms, reason }, &said)
        }
        MaintenanceCommand::End { gpu, config } => {
            let said = format!("{}: maintenance ended", whom(gpu.as_deref(), "the node"));
            tell(&config, &Verb::MaintenanceEnd { gpu }, &said)
        }
    }
}

pub fn drain(options: DrainOptions) -> Result<Code, Failure> {
    let DrainOptions { gpu, reason, config } = options;
    let said = format!("{}: drained; running work may finish", whom(gpu.as_deref(), "all GPUs"));
    tell(&config, &Verb::Drain { gpu, reason }, &said)
}

pub fn undrain(options: UndrainOptions) -> Result<Code, Failure> {
    let UndrainOptions { gpu, config } = options;
    let said = format!("{}: no longer drained", whom(gpu.as_deref(), "all GPUs"));
    tell(&config, &Verb::Undrain { gpu }, &said)
}

pub fn lease(command: LeaseCommand) -> Result<Code, Failure> {
    match command {
        LeaseCommand::Start { gpu, id, reserved, until, config } => {
            let until_unix_ms = until.unix_ms();
            let what = if reserved { "reserved for" } else { "leased to" };
            let end = until_unix_ms.map_or_else(String::new, |until| format!(" until {}", Utc(until)));
            let said = format!("GPU {gpu}: {what} {id}{end}");
            tell(&config, &Verb::LeaseStart { gpu, lease: id, reserved, until_unix_ms }, &said)
        }
        LeaseCommand::End { id, config } => {
            let said = format!("lease {id} ended");
            tell(&config, &Verb::LeaseEnd { lease: id }, &said)
        }
    }
}

fn whom(gpu: Option<&str>, all: &str) -> String {
    gpu.map_or_else(|| all.to_owned(), |gpu| format!("GPU {gpu}"))
}

/// Hands a verb to the agent and says what was done, and what the GPU is now.
fn tell(config: &ConfigPath, verb: &Verb, said: &str) -> Result<Code, Failure> {
    let config = config.load()?;
    let answer = ask(&config.control_socket, verb).map_err(failure)?;
    let now = match (answer["state"].as_str(), answer["verdict"].as_str()) {
        (Some(state), Some(verdict)) => format!(" ({state}, {verdict})"),
        _ => String::new(),
    };
    print(&format!("{said}{now}\n"));
    Ok(Code::Ok)
}
