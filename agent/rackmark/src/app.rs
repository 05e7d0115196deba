//! The daemon: everything is wired here, from top to bottom, and nothing else
//! is done here.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, RwLock};
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use crate::config::Config;
use crate::control::server::ControlSocket;
use crate::control::verbs::Verbs;
use crate::exit::{Code, Failure, chain};
use crate::exporter::Exporter;
use crate::logging::LogLevel;
use crate::publish::feed::{Feed, HEARTBEAT, Machine, SharedFeed};
use crate::publish::identity::{Session, StateDir};
use crate::publish::mqtt::{BacklogLimits, Outbox};
use crate::publish::task as publishing;
use crate::sampling::narrator::Narrator;
use crate::sampling::roster::Roster;
use crate::sampling::task::{Sampling, SharedRoster};
use crate::service_manager::ServiceManager;

/// Everything must have ended this long after SIGTERM, driver and broker or not.
const STOP_MAX: Duration = Duration::from_millis(1800);

/// What waits for the broker in memory: an hour of telemetry at one message in
/// ten seconds, many times over, and a bound on its bytes.
const BACKLOG: BacklogLimits = BacklogLimits { messages: 4096, bytes: 4 << 20 };

/// Runs the daemon until it is told to stop.
///
/// # Errors
/// A [`Failure`] where it cannot start or a part of it gave up.
pub fn run(config_path: &Path, config: Config, log_level: LogLevel) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new(Code::Internal, error))?;
    let outcome = runtime.block_on(serve(config_path, config, log_level));
    // A name lookup or a child in the kernel may hang; the end does not wait for it.
    runtime.shutdown_background();
    outcome
}

async fn serve(config_path: &Path, config: Config, log_level: LogLevel) -> Result<(), Failure> {
    let mut signals = Signals::install()?;
    let state = StateDir::open(&config.state_dir).map_err(|error| Failure::new(Code::NoPermission, error))?;
    let session = Session::begin(&state).map_err(|error| Failure::new(Code::Unavailable, error))?;
    let node_id = session.node_id().to_string();
    let roster: SharedRoster = Arc::new(RwLock::new(Roster::remembering(state.known_gpus())));
    let (config_changed, config_now) = watch::channel(Arc::new(config.clone()));
    let (stop, stopping) = watch::channel(false);

    let outbox = Outbox::new(BACKLOG);
    let stats = (!config.brokers.is_empty()).then(|| outbox.stats());
    let feed =
        SharedFeed::new(Feed::begin(session, outbox.clone(), config_now.clone(), state, machine(&config)));

    let exporter = Exporter::new(roster.clone(), config_now.clone(), stats.clone());
    let (address, exporter_thread) = exporter.serve(stopping.clone()).map_err(|error| {
        Failure::new(Code::Unavailable, error).hint("set metrics.listen to a free address")
    })?;
    let control = ControlSocket::bind(&config.control_socket, &config.admin_group).map_err(|error| {
        Failure::new(Code::Unavailable, error).hint("is another agent running? see control.socket")
    })?;

    let (requests, requested) = mpsc::channel(8);
    let verbs = Arc::new(Verbs {
        roster: roster.clone(),
        config: config_now.clone(),
        sampling: requests,
        mqtt: stats,
        node_id: node_id.clone(),
    });
    let observer = Narrator::new(feed.clone());
    let sampling = Sampling::new(config_now.clone(), roster.clone(), observer, requested);

    let mut tasks = JoinSet::new();
    tasks.spawn(named("sampling", sampling.run(stopping.clone())));
    tasks.spawn(named("control", control.serve(verbs, stopping.clone())));
    tasks.spawn(named(
        "publishing",
        publishing::run(config_now.clone(), outbox, feed.clone(), roster.clone(), stopping.clone()),
    ));

    tasks.spawn(named("heartbeat", heartbeat(feed.clone(), roster.clone(), stopping.clone())));

    announce(&config, &node_id, address);
    let mut manager = ServiceManager::new();
    manager.ready(&format!("metrics on {address}"));
    let ended = loop {
        tokio::select! {
            () = manager.watchdog_due() => manager.alive(),
            _ = signals.terminate.recv() => break None,
            _ = signals.interrupt.recv() => break None,
            _ = signals.hangup.recv() => {
                manager.reloading();
                reload(config_path, &config_changed, &log_level);
                manager.ready(&format!("metrics on {address}"));
            }
            ended = tasks.join_next() => break Some(ended),
        }
    };

    manager.stopping();
    tracing::info!("stopping");
    feed.with(&roster, Feed::end);
    let _ = stop.send(true);
    let drained = tokio::time::timeout(STOP_MAX, async { while tasks.join_next().await.is_some() {} }).await;
    if drained.is_err() {
        tracing::warn!(tasks = tasks.len(), "stopped without waiting for all tasks");
    } else if exporter_thread.join().is_err() {
        tracing::error!("the Prometheus endpoint had panicked");
    }
    match ended {
        None => Ok(()),
        Some(ended) => Err(gave_up(ended)),
    }
}

/// A task that ends before it was told to is a fault: the process ends with it,
/// so that the service manager and the operator see it.
fn gave_up(ended: Option<Result<&'static str, tokio::task::JoinError>>) -> Failure {
    let what = match ended {
        Some(Ok(name)) => format!("task {name} ended by itself"),
        Some(Err(error)) => format!("a task ended abnormally: {error}"),
        None => "all tasks ended by themselves".to_owned(),
    };
    Failure::new(Code::Internal, what)
}

async fn heartbeat(feed: SharedFeed, roster: SharedRoster, mut stopping: watch::Receiver<bool>) {
    let mut due = tokio::time::interval(HEARTBEAT);
    loop {
        tokio::select! {
            _ = due.tick() => feed.with(&roster, Feed::heartbeat),
            _ = stopping.wait_for(|stop| *stop) => return,
        }
    }
}

async fn named(name: &'static str, task: impl Future<Output = ()>) -> &'static str {
    task.await;
    name
}

fn announce(config: &Config, node_id: &str, address: SocketAddr) {
    let brokers: Vec<String> = config.brokers.iter().map(ToString::to_string).collect();
    tracing::info!(
        site = config.site,
        node = config.node,
        %node_id,
        metrics = %format_args!("http://{address}/metrics"),
        brokers = brokers.join(" "),
        "rackmark {} runs",
        env!("CARGO_PKG_VERSION")
    );
}

fn machine(config: &Config) -> Machine {
    let boot_id = rackmark_hardware::host::boot_id(&config.proc_root)
        .inspect_err(|error| tracing::warn!(error = chain(error), "no boot id"))
        .ok()
        .and_then(|text| parse_boot_id(&text));
    let host = rackmark_hardware::host::host_info(&config.proc_root, &config.sysfs_root)
        .inspect_err(|error| tracing::warn!(error = chain(error), "the host is not described on the feed"))
        .ok();
    Machine { boot_id: boot_id.unwrap_or_default(), host }
}

/// `xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx` as 16 bytes.
fn parse_boot_id(text: &str) -> Option<[u8; 16]> {
    let digits: String = text.trim().chars().filter(|c| *c != '-').collect();
    let number = u128::from_str_radix(&digits, 16).ok().filter(|_| digits.len() == 32)?;
    Some(number.to_be_bytes())
}

/// Takes a changed configuration, or keeps the old one and says why.
fn reload(path: &Path, changed: &watch::Sender<Arc<Config>>, log_level: &LogLevel) {
    let mut new = match Config::load(path) {
        Ok(new) => new,
        Err(error) => {
            tracing::error!(
                error = chain(&error),
                "configuration is not reloaded, the old one stays in force"
            );
            return;
        }
    };
    let old = changed.borrow().clone();
    for key in new.keep_what_needs_a_restart(&old) {
        tracing::warn!(key, "takes effect at the next start only");
    }
    log_level.set(new.log_level);
    if *old == new {
        tracing::info!("configuration is unchanged");
        return;
    }
    tracing::info!("configuration is reloaded");
    let _ = changed.send(Arc::new(new));
}

/// The signals a service gets.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    fn install() -> Result<Self, Failure> {
        let install = |kind| signal(kind).map_err(|error| Failure::new(Code::Internal, error));
        Ok(Self {
            terminate: install(SignalKind::terminate())?,
            interrupt: install(SignalKind::interrupt())?,
            hangup: install(SignalKind::hangup())?,
        })
    }
}
