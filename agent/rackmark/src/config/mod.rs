//! Configuration: what was typed (`keys`, `reader`) becomes what it means
//! ([`Config`]), and every mistake is reported at once.

mod keys;
mod reader;
mod validated;

pub use keys::default_file;
pub use validated::{BrokerAddress, Config, ConfigError, SamplerLaunch};

/// Where the packaged agent looks for its configuration.
pub const DEFAULT_PATH: &str = "/etc/rackmark/rackmark.toml";
