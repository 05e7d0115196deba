//! `rackmark`: the daemon and its command line.

mod app;
mod attesting;
mod bmc;
mod cli;
mod clock;
mod config;
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

use crate::exit::Code;

fn main() -> ExitCode {
    let arguments = match cli::Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            let _ = error.print();
            let asked = matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
            return ExitCode::from(if asked { Code::Ok } else { Code::Usage } as u8);
        }
    };
    match cli::run(arguments) {
        Ok(code) => ExitCode::from(code as u8),
        Err(failure) => {
            let _ = std::io::stderr().write_all(exit::report(&failure).as_bytes());
            ExitCode::from(failure.code as u8)
        }
    }
}
