//! The demo's broker, a program of its own that is never packaged.

use std::process::Stdio;

use tokio::process::{Child, Command};

use crate::exit::{Code, Failure};

/// Its name, beside this program.
const PROGRAM: &str = "demo-broker";

/// Starts it; it ends with the handle, or when this process does.
pub fn start(port: u16) -> Result<Child, Failure> {
    let own = std::env::current_exe().map_err(|error| Failure::new(Code::Internal, error))?;
    let program = own.with_file_name(PROGRAM);
    let mut command = Command::new(&program);
    command.arg(port.to_string()).stdin(Stdio::piped()).stdout(Stdio::null()).kill_on_drop(true);
    // Ctrl-C is for the demo.
    command.process_group(0);
    command.spawn().map_err(|error| {
        let words = format!("cannot start {}: {error}", program.display());
        Failure::new(Code::Unavailable, words).hint("`make demo` builds it; packages do not have it")
    })
}
