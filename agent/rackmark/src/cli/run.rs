//! `rackmark run`.

use clap::Args;

use super::{ConfigPath, WebConfigFile};
use crate::config::Source;
use crate::exit::{Code, Failure};
use crate::{app, logging};

#[derive(Debug, Args)]
pub struct Options {
    #[command(flatten)]
    config: ConfigPath,
    #[command(flatten)]
    web: WebConfigFile,
}

pub fn run(options: &Options) -> Result<Code, Failure> {
    let source = Source { path: options.config.path(), web_config_file: options.web.web_config_file.clone() };
    let config = options.config.load()?.with_web_config_file(source.web_config_file.as_deref());
    let log_level = logging::init(config.log_level);
    app::run(&source, config, log_level)?;
    Ok(Code::Ok)
}
