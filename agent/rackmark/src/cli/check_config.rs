//! `rackmark check-config`.

use std::path::PathBuf;

use clap::Args;

use super::one_shot::print;
use crate::config::{Config, DEFAULT_PATH};
use crate::exit::{Code, Failure};

#[derive(Debug, Args)]
pub struct Options {
    /// The file to check.
    #[arg(default_value = DEFAULT_PATH)]
    file: PathBuf,
}

pub fn run(options: &Options) -> Result<Code, Failure> {
    Config::load(&options.file).map_err(|error| Failure::new(Code::Usage, error))?;
    print(&format!("{} is valid\n", options.file.display()));
    Ok(Code::Ok)
}
