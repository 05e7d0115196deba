//! `rackmark check-config`.

use std::path::PathBuf;

use clap::Args;

use super::WebConfigFile;
use super::one_shot::print;
use crate::config::{DEFAULT_PATH, Source};
use crate::exit::{Code, Failure};
use crate::exporter::web_config;

#[derive(Debug, Args)]
pub struct Options {
    /// The file to check, with the web configuration that it names.
    #[arg(default_value = DEFAULT_PATH)]
    file: PathBuf,
    #[command(flatten)]
    web: WebConfigFile,
}

pub fn run(options: &Options) -> Result<Code, Failure> {
    let source = Source { path: options.file.clone(), web_config_file: options.web.web_config_file.clone() };
    let config = source.load().map_err(|error| Failure::new(Code::Usage, error))?;
    print(&format!("{} is valid\n", options.file.display()));
    if let Some(file) = &config.metrics_web_config_file {
        web_config::load(file).0.map_err(|error| Failure::new(Code::Usage, error))?;
        print(&format!("{} is valid\n", file.display()));
    }
    Ok(Code::Ok)
}
