//! `rackmark-collect`: hands the daemon what only root may open.
//!
//! It talks over standard input, a Unix stream socket: one
//! [`rackmark_model::ipc::CollectOrder`] comes in, the
//! [`rackmark_model::ipc::CollectReport`] frames it asks for go out, then the
//! process ends. Which files are opened stands on the command line, never in
//! the order, so that the daemon can ask for nothing else.

#![forbid(unsafe_code)]

mod arguments;
mod kernel_log;
mod stream;
mod tables;

use std::error::Error;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::process::ExitCode;

use rackmark_model::ipc::CollectReport;
use rustix::stdio::stdin;

use arguments::Arguments;
use stream::StreamError;

/// Exit code of a command line or an order that cannot be followed.
const EXIT_USAGE: u8 = 64;

fn main() -> ExitCode {
    let outcome = Arguments::parse(std::env::args_os().skip(1))
        .map_err(|error| Box::new(error) as Box<dyn Error>)
        .and_then(|arguments| Ok(collect(&arguments)?));
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Where standard error is closed there is nobody to tell.
            let _ = writeln!(io::stderr(), "rackmark-collect: {}", chain(error.as_ref()));
            ExitCode::from(EXIT_USAGE)
        }
    }
}

fn collect(arguments: &Arguments) -> Result<(), StreamError> {
    let daemon = stdin();
    let Some(order) = stream::read_order(daemon)? else { return Ok(()) };
    if order.kernel_log {
        let path = arguments.kernel_log.display().to_string();
        match kernel_log::open(&arguments.kernel_log) {
            Ok(log) => {
                let report = CollectReport::KernelLog { path, error: None };
                stream::send(daemon, &report, Some(log.as_fd()))?;
            }
            Err(error) => {
                let report = CollectReport::KernelLog { path, error: Some(chain(&error)) };
                stream::send(daemon, &report, None)?;
            }
        }
    }
    if order.tables {
        stream::send(daemon, &tables::read(&arguments.sysfs_root), None)?;
    }
    match stream::send(daemon, &CollectReport::Done, None) {
        // It has what it wanted and went away.
        Err(StreamError::Send(error)) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        sent => sent,
    }
}

/// An error with everything that caused it.
fn chain(error: &dyn Error) -> String {
    let (mut line, mut cause) = (error.to_string(), error.source());
    while let Some(error) = cause {
        line.push_str(": ");
        line.push_str(&error.to_string());
        cause = error.source();
    }
    line
}
