//! What a scrape says, in both text formats.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use rackmark_hardware::process::ProcessUsage;
use tokio::sync::watch;

use super::collect::{Around, Certificate, collect_live, collect_settled};
use super::dcgm;
use super::names::Names;
use super::openmetrics::Collected;
use super::page::{self, GpuFacts, NodeFacts, Setting};
use super::server::Counters;
use super::text::ClassicText;
use super::web_config::Live;
use crate::attesting::Counts;
use crate::bmc::SharedBmc;
use crate::burn_in::Board;
use crate::clock;
use crate::config::Config;
use crate::hooks::Hooks;
use crate::publish::inbox::CommandCounts;
use crate::publish::mqtt::PublisherStats;
use crate::publish::spool::Spool;
use crate::sampling::task::SharedRoster;

/// What the endpoint shows.
pub struct Exporter {
    roster: SharedRoster,
    config: watch::Receiver<Arc<Config>>,
    mqtt: Option<Arc<PublisherStats>>,
    spool: Option<Spool>,
    bmc: SharedBmc,
    node_id: String,
    hooks: Option<Hooks>,
    attesting: Option<Counts>,
    burn_ins: Board,
    commands: CommandCounts,
    names: Names,
    process: Mutex<Option<(u64, ProcessUsage)>>,
    /// The settled part of the classic text, and of which state it is.
    settled: Mutex<Option<(u64, String)>>,
    /// The endpoint itself.
    pub counters: Counters,
    /// Its web configuration; plain HTTP without one.
    pub web: Option<Live>,
}

/// What a scrape of eight GPUs needs, so that the text rarely grows.
const ROOM: usize = 64 * 1024;

/// Own memory is read at most this often: the kernel walks the page tables for it.
const PROCESS_USAGE_MS: u64 = 10_000;

impl Exporter {
    /// Gathers what is to be shown.
    pub fn new(
        roster: SharedRoster,
        config: watch::Receiver<Arc<Config>>,
        mqtt: Option<Arc<PublisherStats>>,
        spool: Option<Spool>,
        web: Option<Live>,
    ) -> Self {
        Self {
            roster,
            config,
            mqtt,
            spool,
            bmc: SharedBmc::default(),
            node_id: String::new(),
            hooks: None,
            attesting: None,
            burn_ins: Board::default(),
            commands: CommandCounts::default(),
            names: Names::new(),
            process: Mutex::new(None),
            settled: Mutex::new(None),
            counters: Counters::default(),
            web,
        }
    }

    /// With the node id of the feed.
    #[must_use]
    pub fn with_node_id(mut self, node_id: impl Into<String>) -> Self {
        self.node_id = node_id.into();
        self
    }

    /// With what is known of the BMC.
    #[must_use]
    pub fn with_bmc(mut self, bmc: SharedBmc) -> Self {
        self.bmc = bmc;
        self
    }

    /// With the hooks of the site.
    #[must_use]
    pub fn with_hooks(mut self, hooks: Hooks) -> Self {
        self.hooks = Some(hooks);
        self
    }

    /// With how evidence, the TPM and commands fare.
    #[must_use]
    pub fn with_attesting(mut self, counts: Counts, commands: CommandCounts) -> Self {
        self.attesting = Some(counts);
        self.commands = commands;
        self
    }

    /// With what is known of burn-ins.
    #[must_use]
    pub fn with_burn_ins(mut self, board: Board) -> Self {
        self.burn_ins = board;
        self
    }

    /// Where it is to listen.
    pub fn address(&self) -> std::net::SocketAddr {
        self.config.borrow().metrics_listen
    }

    fn around<'a>(&self, config: &'a Config) -> Around<'a> {
        Around {
            now_boot_ms: clock::boot_ms(),
            now_unix_ms: clock::unix_ms(),
            mqtt: self.mqtt.as_ref().map(|stats| stats.snapshot()),
            spool: self.spool.as_ref().map(Spool::health),
            expected_gpus: config.expected_gpus,
            process: self.process_usage(&config.proc_root),
            node: &config.node,
            site: &config.site,
            http: self.counters.snapshot(),
            certificates: self.certificates(),
            bmc: Some(self.bmc.read().unwrap_or_else(PoisonError::into_inner).clone())
                .filter(|bmc| bmc.configured),
            hooks: self.hooks.as_ref().map(Hooks::counts).unwrap_or_default(),
            burn_ins: self.burn_ins.clone(),
            attesting: self.attesting.as_ref().filter(|_| self.mqtt.is_some()).map(Counts::snapshot),
            commands: self.commands.snapshot(),
        }
    }

    /// Certificates that this daemon shows to others, by use.
    fn certificates(&self) -> Vec<Certificate> {
        let metrics = self.web.as_ref().map(Live::latest);
        let metrics = metrics.as_ref().and_then(|web| web.config.tls.as_ref());
        metrics
            .map(|tls| Certificate { used_for: "metrics", not_after_unix_s: tls.not_after_unix_s })
            .into_iter()
            .collect()
    }

    fn process_usage(&self, proc_root: &Path) -> Option<ProcessUsage> {
        let now = clock::boot_ms();
        let mut kept = self.process.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.is_none_or(|(read_at, _)| now.saturating_sub(read_at) > PROCESS_USAGE_MS) {
            *kept = ProcessUsage::read(proc_root, "self").ok().map(|usage| (now, usage));
        }
        kept.map(|(_, usage)| usage)
    }

    /// The classic text.
    pub fn classic(&self) -> String {
        let config = self.config.borrow().clone();
        let around = self.around(&config);
        let roster = self.roster.read().unwrap_or_else(PoisonError::into_inner);
        let mut settled = self.settled.lock().unwrap_or_else(PoisonError::into_inner);
        if settled.as_ref().is_none_or(|(of, _)| *of != roster.settled) {
            let mut text = ClassicText::with_capacity(ROOM);
            collect_settled(&roster, &self.names, &mut text);
            *settled = Some((roster.settled, text.finish()));
        }
        let settled = settled.as_ref().map_or("", |(_, text)| text);
        let mut text = ClassicText::with_capacity(ROOM + settled.len());
        collect_live(&roster, &self.names, &around, &mut text);
        let mut text = text.finish();
        text.push_str(settled);
        text
    }

    /// The text of `/metrics/dcgm`.
    pub fn dcgm(&self) -> String {
        let config = self.config.borrow().clone();
        let setting = dcgm::Setting {
            node: &config.node,
            hostname_label: config.dcgm_hostname_label,
            extra: config.dcgm_extra,
        };
        dcgm::text(&self.roster.read().unwrap_or_else(PoisonError::into_inner), &setting)
    }

    /// The OpenMetrics text.
    ///
    /// # Errors
    /// Where a metric cannot be written.
    pub fn openmetrics(&self) -> Result<String, std::fmt::Error> {
        let config = self.config.borrow().clone();
        let around = self.around(&config);
        let mut collected = Collected::default();
        {
            let roster = self.roster.read().unwrap_or_else(PoisonError::into_inner);
            collect_live(&roster, &self.names, &around, &mut collected);
            collect_settled(&roster, &self.names, &mut collected);
        }
        collected.into_text()
    }

    /// The status page.
    pub fn page(&self) -> String {
        let config = self.config.borrow().clone();
        let mqtt = self.mqtt.as_ref().map(|stats| stats.snapshot());
        let spool = self.spool.as_ref().map(Spool::health);
        let setting = Setting {
            site: &config.site,
            node: &config.node,
            node_id: &self.node_id,
            expected_gpus: config.expected_gpus,
            now_unix_ms: clock::unix_ms(),
            now_boot_ms: clock::boot_ms(),
            mqtt: mqtt.as_ref(),
            spool: spool.as_ref(),
        };
        let roster = self.roster.read().unwrap_or_else(PoisonError::into_inner);
        let of = |gpu| GpuFacts::of(&roster, gpu);
        page::render(&page::build(&roster, &setting, NodeFacts::of(&roster), of))
    }
}
