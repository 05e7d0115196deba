//! What a configuration means, after everything in it was checked.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rackmark_feed::topic::is_name;
use rackmark_model::ipc::GPUS_MAX;
use rackmark_spool::Limits;
use thiserror::Error;
use toml::Table;

use super::attest::{Attest, attest};
use super::bmc::{BmcSettings, bmc};
use super::brokers::{BrokerAddress, Credentials, broker_tls, brokers, credentials};
use super::delivery::{self, Consumer};
use super::health::{LeaseSource, ignored, leases};
use super::hooks::{HookSettings, hooks};
use super::reader::{Mistake, Reader};
use crate::tls::TlsSettings;

/// A checked configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Site name in topics.
    pub site: String,
    /// Node name in topics.
    pub node: String,
    /// Declared place.
    pub place: Option<String>,
    /// Declared number of GPUs.
    pub expected_gpus: Option<u32>,
    /// Time between samples.
    pub period: Duration,
    /// Slow readings every this many samples.
    pub slow_every_ticks: u32,
    /// Measure PCIe traffic.
    pub pcie_throughput: bool,
    /// How a sampler comes to be.
    pub sampler: SamplerLaunch,
    /// How the collector comes to be.
    pub collect: CollectLaunch,
    /// How a process that works on a GPU comes to be.
    pub gpu: CollectLaunch,
    /// The TPM.
    pub attest: Attest,
    /// Folder of successions.
    pub succession_dir: PathBuf,
    /// The kernel log, for a collector started directly.
    pub kernel_log: PathBuf,
    /// Mount point of sysfs.
    pub sysfs_root: PathBuf,
    /// Mount point of procfs.
    pub proc_root: PathBuf,
    /// Where services keep what lasts until the next boot.
    pub run_root: PathBuf,
    /// Where device nodes are.
    pub dev_root: PathBuf,
    /// The BMC; absent where none is to be asked.
    pub bmc: Option<BmcSettings>,
    /// Brokers in order of preference; empty where the feed is off.
    pub brokers: Vec<BrokerAddress>,
    /// MQTT keep-alive.
    pub keep_alive: Duration,
    /// Longest pause between rounds of connection attempts.
    pub reconnect_max: Duration,
    /// Samples per telemetry message.
    pub batch_samples: usize,
    /// Broker credentials.
    pub credentials: Option<Credentials>,
    /// TLS to brokers that are reached by it.
    pub broker_tls: TlsSettings,
    /// What the spool keeps.
    pub spool: Limits,
    /// Consumers this node listens to.
    pub consumers: Vec<Consumer>,
    /// Folder of further consumers.
    pub keys_dir: Option<PathBuf>,
    /// Grace after a boot.
    pub boot_grace: Duration,
    /// Conditions that are not raised.
    pub ignored: Vec<rackmark_health::Code>,
    /// Who tells of leases.
    pub leases: LeaseSource,
    /// The hooks of the site.
    pub hooks: HookSettings,
    /// Prometheus endpoint.
    pub metrics_listen: SocketAddr,
    /// Web configuration of that endpoint; plain HTTP without one.
    pub metrics_web_config_file: Option<PathBuf>,
    /// `/metrics/dcgm` with the families that are left out by default.
    pub dcgm_extra: bool,
    /// Label of `/metrics/dcgm` with the node's name, one of [`HOSTNAME_LABELS`].
    pub dcgm_hostname_label: &'static str,
    /// Control socket.
    pub control_socket: PathBuf,
    /// Group that may use the control socket.
    pub admin_group: String,
    /// State directory.
    pub state_dir: PathBuf,
    /// Log level.
    pub log_level: tracing::Level,
}

/// How the daemon gets a sampler.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SamplerLaunch {
    /// Connect; systemd starts a fresh one per connection.
    Socket(PathBuf),
    /// Start this program.
    Program {
        /// The sampler binary.
        program: PathBuf,
        /// The NVML library it loads.
        nvml_library: String,
    },
}

/// How the daemon gets a collector.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CollectLaunch {
    /// Connect; systemd starts a fresh one per connection.
    Socket(PathBuf),
    /// Start this program.
    Program(PathBuf),
}

/// A configuration that cannot be used.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// The file could not be read.
    #[error("cannot read configuration {}", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The file is not TOML.
    #[error("configuration {} is not valid TOML", path.display())]
    Syntax {
        /// Which file.
        path: PathBuf,
        /// Where and why.
        #[source]
        source: Box<toml::de::Error>,
    },
    /// The file says things that make no sense.
    #[error("configuration {} has {} {}:\n{}", path.display(), mistakes.len(), if mistakes.len() == 1 { "mistake" } else { "mistakes" }, list(mistakes))]
    Mistakes {
        /// Which file.
        path: PathBuf,
        /// All of them.
        mistakes: Vec<Mistake>,
    },
}

fn list(mistakes: &[Mistake]) -> String {
    mistakes.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

impl Config {
    /// Reads and checks a file.
    ///
    /// # Errors
    /// [`ConfigError`], with every mistake in the file at once.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
        Self::parse(&text, path)
    }

    /// Checks the text of a file; `path` is for messages only.
    ///
    /// # Errors
    /// [`ConfigError`], with every mistake in the text at once.
    pub fn parse(text: &str, path: &Path) -> Result<Self, ConfigError> {
        let typed: Table = text
            .parse()
            .map_err(|source| ConfigError::Syntax { path: path.to_owned(), source: Box::new(source) })?;
        let mut reader = Reader::new(typed);
        let config = Self::build(&mut reader);
        let mistakes = reader.finish();
        match config {
            Some(config) if mistakes.is_empty() => Ok(config),
            _ => Err(ConfigError::Mistakes { path: path.to_owned(), mistakes }),
        }
    }

    /// With the web configuration file of the command line, if one was named there.
    #[must_use]
    pub fn with_web_config_file(mut self, named: Option<&Path>) -> Self {
        if let Some(file) = named {
            self.metrics_web_config_file = Some(file.to_owned());
        }
        self
    }

    /// Takes over from the configuration in force what cannot change while
    /// running; names the keys where that made a difference.
    pub fn keep_what_needs_a_restart(&mut self, old: &Self) -> Vec<&'static str> {
        let mut kept = Vec::new();
        let mut keep = |key, differs: bool| {
            if differs {
                kept.push(key);
            }
        };
        keep("node.site", self.site != old.site);
        keep("node.name", self.node != old.node);
        keep("mqtt.enabled", self.brokers.is_empty() != old.brokers.is_empty());
        keep("spool", self.spool != old.spool);
        keep("metrics.listen", self.metrics_listen != old.metrics_listen);
        keep("metrics.web_config_file", self.metrics_web_config_file != old.metrics_web_config_file);
        keep("control.socket", self.control_socket != old.control_socket);
        keep("control.admin_group", self.admin_group != old.admin_group);
        keep("attest", self.attest != old.attest);
        keep("gpu", self.gpu != old.gpu);
        keep("attest.succession_dir", self.succession_dir != old.succession_dir);
        keep("state.dir", self.state_dir != old.state_dir);
        self.site.clone_from(&old.site);
        self.node.clone_from(&old.node);
        if self.brokers.is_empty() != old.brokers.is_empty() {
            self.brokers.clone_from(&old.brokers);
        }
        self.spool = old.spool;
        self.metrics_listen = old.metrics_listen;
        self.metrics_web_config_file.clone_from(&old.metrics_web_config_file);
        self.control_socket.clone_from(&old.control_socket);
        self.admin_group.clone_from(&old.admin_group);
        self.state_dir.clone_from(&old.state_dir);
        self.attest.clone_from(&old.attest);
        self.gpu.clone_from(&old.gpu);
        self.succession_dir.clone_from(&old.succession_dir);
        kept
    }

    /// Takes every key before giving up on any, so that all mistakes are seen.
    fn build(r: &mut Reader) -> Option<Self> {
        let site = name(r, "site");
        let node = if r.is_typed("node", "name") { name(r, "name") } else { host_name(r) };
        let place = r.text("node", "place");
        if let Some(text) = place.as_ref().filter(|text| text.chars().count() > 128) {
            r.wrong("node", "place", format!("{text:?}"), "is longer than 128 characters");
        }
        let expected_gpus = r.number("node", "expected_gpus", 0..=GPUS_MAX as u32);
        let period_ms = r.number("sampling", "period_ms", 100..=60_000);
        let slow_secs = r.number("sampling", "slow_every_secs", 1..=3600);
        let pcie_throughput = r.flag("sampling", "pcie_throughput");
        let sampler = sampler(r);
        let collect = launch(r, "collect");
        let attest = attest(r);
        let gpu = launch(r, "gpu");
        let succession_dir = r.text("attest", "succession_dir");
        let kernel_log = r.text("hardware", "kernel_log");
        let sysfs_root = r.text("hardware", "sysfs_root");
        let proc_root = r.text("hardware", "proc_root");
        let run_root = r.text("hardware", "run_root");
        let dev_root = r.text("hardware", "dev_root");
        let bmc = bmc(r);
        let enabled = r.flag("mqtt", "enabled");
        let brokers = brokers(r);
        let keep_alive_secs = r.number("mqtt", "keep_alive_secs", 5..=600);
        let reconnect_max_secs = r.number("mqtt", "reconnect_max_secs", 1..=3600);
        let batch_samples = r.number("mqtt", "batch_samples", 1..=60);
        let credentials = credentials(r);
        let broker_tls = broker_tls(r);
        let spool = delivery::spool(r);
        let mut consumers = delivery::consumers(r);
        let keys_dir = delivery::keys_dir(r, &mut consumers);
        let boot_grace_secs = r.number("health", "boot_grace_secs", 0..=3600);
        let ignored = ignored(r);
        let leases = leases(r);
        let hooks = hooks(r);
        let listen = listen(r);
        let web_config_file = r.text("metrics", "web_config_file");
        let dcgm_extra = r.flag("metrics", "dcgm_extra");
        let dcgm_hostname_label = hostname_label(r);
        let control_socket = r.text("control", "socket");
        let admin_group = r.text("control", "admin_group");
        let state_dir = r.text("state", "dir");
        let log_level = log_level(r);
        let (period_ms, slow_secs) = (period_ms?, slow_secs?);
        Some(Self {
            site: site?,
            node: node?,
            place,
            expected_gpus,
            period: Duration::from_millis(u64::from(period_ms)),
            slow_every_ticks: (slow_secs * 1000).div_ceil(period_ms).max(1),
            pcie_throughput,
            sampler: sampler?,
            collect: collect?,
            attest: attest?,
            gpu: gpu?,
            succession_dir: succession_dir?.into(),
            kernel_log: kernel_log?.into(),
            sysfs_root: sysfs_root?.into(),
            proc_root: proc_root?.into(),
            run_root: run_root?.into(),
            dev_root: dev_root?.into(),
            bmc,
            brokers: if enabled { brokers } else { Vec::new() },
            keep_alive: Duration::from_secs(u64::from(keep_alive_secs?)),
            reconnect_max: Duration::from_secs(u64::from(reconnect_max_secs?)),
            batch_samples: batch_samples? as usize,
            credentials,
            broker_tls: broker_tls?,
            spool: spool?,
            consumers,
            keys_dir,
            boot_grace: Duration::from_secs(boot_grace_secs?.into()),
            ignored,
            leases: leases?,
            hooks: hooks?,
            metrics_listen: listen?,
            metrics_web_config_file: web_config_file.map(PathBuf::from),
            dcgm_extra,
            dcgm_hostname_label: dcgm_hostname_label?,
            control_socket: control_socket?.into(),
            admin_group: admin_group?,
            state_dir: state_dir?.into(),
            log_level: log_level?,
        })
    }
}

fn name(r: &mut Reader, key: &str) -> Option<String> {
    let text = r.text("node", key)?;
    if is_name(&text) {
        return Some(text);
    }
    r.wrong("node", key, format!("{text:?}"), "cannot stand in a topic");
    None
}

/// The host name, made fit for a topic.
fn host_name(r: &mut Reader) -> Option<String> {
    let _ = r.text("node", "name");
    let host = rustix::system::uname().nodename().to_string_lossy().to_lowercase();
    let fit: String = host
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '-' })
        .take(64)
        .collect();
    if is_name(&fit) {
        return Some(fit);
    }
    r.wrong("node", "name", "unset", format!("cannot be taken from the host name {host:?}"));
    None
}

fn sampler(r: &mut Reader) -> Option<SamplerLaunch> {
    let nvml_library = r.text("sampler", "nvml_library");
    match launch(r, "sampler")? {
        CollectLaunch::Socket(socket) => Some(SamplerLaunch::Socket(socket)),
        CollectLaunch::Program(program) => {
            Some(SamplerLaunch::Program { program, nvml_library: nvml_library? })
        }
    }
}

/// One of the two keys that say how a process of ours comes to be.
pub(super) fn launch(r: &mut Reader, section: &'static str) -> Option<CollectLaunch> {
    let both = r.is_typed(section, "socket") && r.is_typed(section, "program");
    let socket = r.text(section, "socket");
    let program = r.text(section, "program");
    if both {
        let problem = format!("stands beside `{section}.program`");
        r.wrong(section, "socket", format!("{:?}", socket.unwrap_or_default()), problem);
        return None;
    }
    match socket {
        Some(path) => Some(CollectLaunch::Socket(path.into())),
        None => Some(CollectLaunch::Program(program?.into())),
    }
}

fn listen(r: &mut Reader) -> Option<SocketAddr> {
    let text = r.text("metrics", "listen")?;
    let parsed = text.parse().ok();
    if parsed.is_none() {
        r.wrong("metrics", "listen", format!("{text:?}"), "is not an address with a port");
    }
    parsed
}

/// dcgm-exporter had the first in all releases until it renamed it to the second in May 2026.
const HOSTNAME_LABELS: [&str; 2] = ["Hostname", "hostname"];

fn hostname_label(r: &mut Reader) -> Option<&'static str> {
    let text = r.text("metrics", "dcgm_hostname_label")?;
    let known = HOSTNAME_LABELS.into_iter().find(|label| *label == text);
    if known.is_none() {
        r.wrong("metrics", "dcgm_hostname_label", format!("{text:?}"), "is not a label of dcgm-exporter");
    }
    known
}

fn log_level(r: &mut Reader) -> Option<tracing::Level> {
    let text = r.text("log", "level")?;
    let known = ["error", "warn", "info", "debug", "trace"].contains(&text.as_str());
    let parsed = text.parse().ok().filter(|_| known);
    if parsed.is_none() {
        r.wrong("log", "level", format!("{text:?}"), "is not a log level");
    }
    parsed
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::default_file;

    fn parse(text: &str) -> Result<Config, Vec<Mistake>> {
        match Config::parse(text, Path::new("test.toml")) {
            Ok(config) => Ok(config),
            Err(ConfigError::Mistakes { mistakes, .. }) => Err(mistakes),
            Err(other) => panic!("{other}"),
        }
    }

    #[test]
    fn the_default_file_means_the_same_as_an_empty_one() {
        assert_eq!(parse(&default_file()).expect("default file"), parse("").expect("empty file"));
    }

    #[test]
    fn the_default_file_names_every_key_also_the_commented_ones() {
        let text: String = default_file()
            .lines()
            .map(|line| {
                let bare = line.strip_prefix("# ").filter(|rest| rest.split(' ').nth(1) == Some("="));
                format!("{}\n", bare.unwrap_or(line))
            })
            .collect();
        let mistakes = parse(&text).expect_err("socket and program together");
        let keys: Vec<_> = mistakes.iter().map(|mistake| mistake.key.as_str()).collect();
        assert_eq!(
            keys,
            ["sampler.socket", "collect.socket", "attest.socket", "gpu.socket", "hooks.socket"],
            "{mistakes:?}"
        );
    }

    #[test]
    fn five_mistakes_are_five_reports_with_key_value_and_hint() {
        let mistakes = parse(
            "[node]\nsite = \"Frankfurt 1\"\n[sampling]\nperiod_ms = 5\nslow_every_sec = 60\n[mqtt]\nbrokers = [\"tcp://x\"]\n[metrics]\nlisten = 9810\n",
        )
        .expect_err("five mistakes");
        let keys: Vec<_> = mistakes.iter().map(|mistake| mistake.key.as_str()).collect();
        assert_eq!(
            keys,
            ["node.site", "sampling.period_ms", "mqtt.brokers", "metrics.listen", "sampling.slow_every_sec"]
        );
        for mistake in &mistakes {
            assert!(!mistake.value.is_empty() && !mistake.hint.is_empty(), "{mistake}");
        }
        assert!(mistakes[4].hint.contains("slow_every_secs"), "{}", mistakes[4].hint);
    }

    #[test]
    fn the_label_of_the_node_in_dcgm_metrics_is_one_of_two() {
        let with = |text: &str| parse(&format!("[metrics]\ndcgm_hostname_label = \"{text}\"\n"));
        assert_eq!(parse("").expect("empty file").dcgm_hostname_label, "Hostname");
        assert_eq!(with("hostname").expect("the newer").dcgm_hostname_label, "hostname");
        let mistakes = with("HOSTNAME").expect_err("neither");
        assert_eq!(mistakes[0].key, "metrics.dcgm_hostname_label");
    }

    #[test]
    fn unknown_tables_are_refused() {
        let mistakes = parse("[mqqt]\nenabled = true\n").expect_err("unknown table");
        assert_eq!(mistakes[0].key, "mqqt");
        assert!(mistakes[0].hint.contains("mqtt"));
    }

    #[test]
    fn a_socket_replaces_the_program() {
        let config = parse("[sampler]\nsocket = \"/run/x.sock\"\n").expect("socket");
        assert_eq!(config.sampler, SamplerLaunch::Socket("/run/x.sock".into()));
        assert_eq!(config.collect, CollectLaunch::Program("rackmark-collect".into()));
        let config =
            parse("[collect]\nsocket = \"/run/y.sock\"\n[hardware]\nkernel_log = \"/x\"\n").expect("socket");
        assert_eq!(config.collect, CollectLaunch::Socket("/run/y.sock".into()));
        assert_eq!(config.kernel_log, Path::new("/x"));
    }
}
