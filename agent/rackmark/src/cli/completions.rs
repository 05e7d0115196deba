//! `rackmark completions`.

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::Arguments;
use super::one_shot::print;
use crate::exit::{Code, Failure};

#[derive(Debug, Args)]
pub struct Options {
    /// The shell to complete for.
    shell: Shell,
}

pub fn run(options: &Options) -> Result<Code, Failure> {
    let mut out = Vec::new();
    clap_complete::generate(options.shell, &mut Arguments::command(), "rackmark", &mut out);
    print(&String::from_utf8_lossy(&out));
    Ok(Code::Ok)
}
