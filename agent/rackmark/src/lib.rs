//! Two programs that share what they know of the feed and of this machine: `rackmark`, the agent and what is done at
//! the server, and `rackmark-consumer`, what those do who consume its feed.

mod app;
mod attesting;
mod bmc;
mod burn_in;
mod cli;
mod clock;
mod config;
mod consumer;
mod control;
mod exit;
mod exporter;
mod hooks;
mod inventory;
mod judging;
mod logging;
mod publish;
mod random;
mod sampling;
mod service_manager;
mod tls;
mod utc;

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;
use clap::error::ErrorKind;

use crate::exit::{Code, Failure};

/// `rackmark`, from its command line to its exit code.
pub fn agent() -> ExitCode {
    program(cli::run)
}

/// `rackmark-consumer`, from its command line to its exit code.
pub fn consumer() -> ExitCode {
    program(consumer::run)
}

fn program<A: Parser>(run: impl FnOnce(A) -> Result<Code, Failure>) -> ExitCode {
    let arguments = match A::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            let _ = error.print();
            let asked = matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
            return ExitCode::from(if asked { Code::Ok } else { Code::Usage } as u8);
        }
    };
    match run(arguments) {
        Ok(code) => ExitCode::from(code as u8),
        Err(failure) => {
            let _ = std::io::stderr().write_all(exit::report(&failure).as_bytes());
            ExitCode::from(failure.code as u8)
        }
    }
}
