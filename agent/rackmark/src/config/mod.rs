//! Configuration: what was typed (`keys`, `reader`) becomes what it means
//! ([`Config`]), and every mistake is reported at once.

mod attest;
mod bmc;
mod brokers;
mod delivery;
mod health;
mod hooks;
mod keys;
pub mod keys_dir;
mod reader;
mod validated;

use std::path::PathBuf;

pub use attest::{Attest, TpmUse};
pub use bmc::{BmcAddress, BmcSettings};
pub use brokers::BrokerAddress;
pub use delivery::Consumer;
pub use health::LeaseSource;
pub use hooks::HookSettings;
pub use keys::default_file;
pub use reader::{Mistake, nearest};
pub use validated::{CollectLaunch, Config, ConfigError, SamplerLaunch};

/// Where the configuration of a running daemon comes from, each time it is read.
#[derive(Debug)]
pub struct Source {
    /// The configuration file.
    pub path: PathBuf,
    /// `--web.config.file`, which wins over the file.
    pub web_config_file: Option<PathBuf>,
}

impl Source {
    /// Reads the file, then what was said on the command line.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn load(&self) -> Result<Config, ConfigError> {
        Config::load(&self.path).map(|config| config.with_web_config_file(self.web_config_file.as_deref()))
    }
}

/// Where the packaged agent looks for its configuration.
pub const DEFAULT_PATH: &str = "/etc/rackmark/rackmark.toml";
