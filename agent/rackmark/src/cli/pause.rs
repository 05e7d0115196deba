//! `rackmark pause` and `rackmark resume`.

use std::time::Duration;

use clap::Args;

use super::one_shot::print;
use super::{ConfigPath, duration};
use crate::control::client::{AskError, ask};
use crate::control::verbs::Verb;
use crate::exit::{Code, Failure};

#[derive(Debug, Args)]
pub struct PauseOptions {
    /// One GPU, by slot, UUID, serial number or PCI address; all GPUs if left out.
    #[arg(long)]
    gpu: Option<String>,
    /// For how long, such as 30m; sampling resumes by itself.
    #[arg(long = "for", value_name = "TIME", value_parser = duration::parse)]
    length: Duration,
    #[command(flatten)]
    config: ConfigPath,
}

#[derive(Debug, Args)]
pub struct ResumeOptions {
    /// One GPU, by slot, UUID, serial number or PCI address; all GPUs if left out.
    #[arg(long)]
    gpu: Option<String>,
    #[command(flatten)]
    config: ConfigPath,
}

pub fn pause(options: PauseOptions) -> Result<Code, Failure> {
    let config = options.config.load()?;
    let what = options.gpu.clone().map_or_else(|| "all GPUs".to_owned(), |gpu| format!("GPU {gpu}"));
    let verb = Verb::Pause { gpu: options.gpu, for_secs: options.length.as_secs().max(1) };
    ask(&config.control_socket, &verb).map_err(failure)?;
    print(&format!(
        "{what}: driver handles closed, sampling resumes in {} s\n",
        options.length.as_secs().max(1)
    ));
    Ok(Code::Ok)
}

pub fn resume(options: ResumeOptions) -> Result<Code, Failure> {
    let config = options.config.load()?;
    ask(&config.control_socket, &Verb::Resume { gpu: options.gpu }).map_err(failure)?;
    print("sampling resumes\n");
    Ok(Code::Ok)
}

/// What a failed question to the agent means to a person.
pub fn failure(error: AskError) -> Failure {
    match error {
        AskError::Connect { .. } => {
            Failure::new(Code::Unavailable, error).hint("is the agent running? systemctl status rackmark")
        }
        AskError::Refused(_) => Failure::new(Code::NoPermission, error),
        AskError::Talk(_) | AskError::Parse(_) => Failure::new(Code::TryAgain, error),
    }
}
