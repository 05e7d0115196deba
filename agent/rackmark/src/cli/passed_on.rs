//! Commands of those who consume the feed: `rackmark-consumer` carries them out.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use clap::Args;

use crate::exit::{Code, Failure};
use crate::sampling::beside_this_binary;

/// The program with these commands, beside this one or on the path.
const PROGRAM: &str = "rackmark-consumer";

/// Whatever follows the command: the other program reads it, `--help` too.
#[derive(Debug, Args)]
#[command(disable_help_flag = true, after_help = "Its --help shows its options.")]
pub struct Rest {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, hide = true)]
    arguments: Vec<OsString>,
}

/// Becomes the program that carries out `command`.
pub fn run(command: &str, rest: Rest) -> Result<Code, Failure> {
    let program = beside_this_binary(Path::new(PROGRAM));
    let error = Command::new(&program).arg(command).args(rest.arguments).exec();
    let failure = Failure::new(Code::Unavailable, format!("cannot start {}: {error}", program.display()));
    Err(failure.hint(format!("`rackmark {command}` needs {PROGRAM}: install it beside rackmark")))
}
