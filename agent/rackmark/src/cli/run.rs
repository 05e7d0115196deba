//! `rackmark run`.

use clap::Args;

use super::ConfigPath;
use crate::exit::{Code, Failure};
use crate::{app, logging};

#[derive(Debug, Args)]
pub struct Options {
    #[command(flatten)]
    config: ConfigPath,
}

pub fn run(options: &Options) -> Result<Code, Failure> {
    let config = options.config.load()?;
    let log_level = logging::init(config.log_level);
    app::run(&options.config.path(), config, log_level)?;
    Ok(Code::Ok)
}
