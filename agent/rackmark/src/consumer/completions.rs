//! `rackmark completions`: of both programs, as one command line.

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use crate::cli;
use crate::cli::one_shot::print;
use crate::exit::{Code, Failure};

#[derive(Debug, Args)]
pub struct Options {
    /// The shell to complete for.
    shell: Shell,
}

pub fn run(options: &Options) -> Result<Code, Failure> {
    // What `rackmark` passes on is known by name there; here is what stands behind the names.
    let mut whole = super::Arguments::command().get_subcommands().cloned().fold(
        cli::Arguments::command(),
        |whole, passed_on| {
            let name = passed_on.get_name().to_owned();
            whole.mut_subcommand(name, |_| passed_on)
        },
    );
    let mut out = Vec::new();
    clap_complete::generate(options.shell, &mut whole, "rackmark", &mut out);
    print(&String::from_utf8_lossy(&out));
    Ok(Code::Ok)
}
