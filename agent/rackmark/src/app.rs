//! The daemon: everything is wired here, from top to bottom, and nothing else
//! is done here.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use rackmark_feed::SpoolEpoch;
use rackmark_health::Input;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::task::JoinSet;

use crate::attesting::{self, Attester, Sources, Speaker};
use crate::bmc::{self, SharedBmc};
use crate::burn_in::{Board, BurnIns};
use crate::clock;
use crate::config::keys_dir::KeysWatch;
use crate::config::{Config, Source};
use crate::control::server::ControlSocket;
use crate::control::verbs::Verbs;
use crate::exit::{Code, Failure, chain};
use crate::exporter::web_config::Live;
use crate::exporter::{self, Exporter};
use crate::hooks::{self, Content, Hooks, Runner};
use crate::inventory::{Noticing, SharedInventory, Told, Watched, narrate, watch as watch_inventory};
use crate::judging::{Announcer, History, Keeper, listen, watch_host, watch_leases};
use crate::logging::LogLevel;
use crate::publish::feed::{Feed, HEARTBEAT, Machine, SharedFeed, Way};
use crate::publish::identity::{Session, StateDir};
use crate::publish::inbox::{self, CommandCounts, Doors, Inbox};
use crate::publish::mqtt::Outbox;
use crate::publish::spool::{self, Spool};
use crate::publish::task as publishing;
use crate::sampling::narrator::Narrator;
use crate::sampling::roster::Roster;
use crate::sampling::task::{Sampling, SharedRoster};
use crate::service_manager::ServiceManager;

/// Everything must have ended this long after SIGTERM, driver and broker or not.
const STOP_MAX: Duration = Duration::from_millis(1800);

/// Watermarks and commands that wait to be looked at; what comes on top is dropped and counted.
const INCOMING: usize = 32;

/// Commands and epochs that wait for the TPM; whoever comes on top is asked to come later.
const ASKS: usize = 16;

/// Losses are declared at this distance, so that a disk that is full for an hour does not make an event per sample.
const DECLARE: Duration = Duration::from_secs(10);

/// Runs the daemon until it is told to stop.
///
/// # Errors
/// A [`Failure`] where it cannot start or a part of it gave up.
pub fn run(source: &Source, config: Config, log_level: LogLevel) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new(Code::Internal, error))?;
    let outcome = runtime.block_on(serve(source, config, log_level));
    // A name lookup or a child in the kernel may hang; the end does not wait for it.
    runtime.shutdown_background();
    outcome
}

async fn serve(source: &Source, config: Config, log_level: LogLevel) -> Result<(), Failure> {
    let mut signals = Signals::install()?;
    let state = StateDir::open(&config.state_dir).map_err(|error| Failure::new(Code::NoPermission, error))?;
    let node = attesting::decide(&config, &state).await.map_err(|error| {
        Failure::new(Code::Unavailable, error)
            .hint("rackmark doctor looks at the TPM; attest.tpm = \"off\" does without")
    })?;
    let mut session = Session::begin(&state, node).map_err(|error| Failure::new(Code::Unavailable, error))?;
    session.successions = attesting::successions::of_node(&config.succession_dir, &session.node);
    let successions = session.successions.clone();
    let node_id = session.node.to_string();
    let roster: SharedRoster = Arc::new(RwLock::new(remembered(&state, &config)));
    let inventory: SharedInventory = Arc::new(RwLock::new(state.known_inventory()));
    let bmc: SharedBmc = Arc::new(RwLock::new(bmc::BmcState::before(&config)));
    let bmc_turn = bmc::Turn::default();
    let (config_changed, config_now) = watch::channel(Arc::new(config.clone()));
    let (stop, stopping) = watch::channel(false);

    let mut delivery = if config.brokers.is_empty() { None } else { Some(Delivery::open(&state, &config)?) };
    let stats = delivery.as_ref().map(|delivery| delivery.outbox.stats());
    let spool = delivery.as_ref().map(|delivery| delivery.spool.clone());
    let way = delivery.as_mut().and_then(|delivery| delivery.way.take());
    let (keeper, keeper_thread) =
        Keeper::start(state.clone()).map_err(|error| Failure::new(Code::Internal, error))?;
    let machine = machine(&config);
    let boot_id = machine.boot_text.clone();
    let (looked_first, first_look) = oneshot::channel();
    let looking = Watched {
        config: config_now.clone(),
        roster: roster.clone(),
        inventory: inventory.clone(),
        bmc: bmc.clone(),
        state: state.clone(),
        due: Arc::new(Notify::new()),
        first: Some(looked_first),
    };
    let machine_boot_id = machine.boot_id;
    let feed = SharedFeed::new(Feed::begin(session, way, config_now.clone(), state.clone(), machine));
    let changes = attesting::Changes::default();
    let attesting_counts = attesting::Counts::default();
    let command_counts = CommandCounts::default();
    let hooks = Hooks::new(config_now.clone(), &node_id);
    let board = Board::default();
    let noticing =
        hooks::Noticing::new(hooks.clone(), attesting::Noticing::new(changes.clone(), feed.clone()));
    let observer = History::new(keeper.clone(), Narrator::new(noticing));
    let observer = Noticing::new(looking.due.clone(), observer);
    let mut announcer = Announcer::new(roster.clone(), observer.clone());
    announcer.announce(|roster, now, changes| roster.tell(Input::Begin { boot_id: &boot_id }, now, changes));

    let web = config.metrics_web_config_file.as_deref().map(Live::start).transpose();
    let web = web.map_err(|error| {
        Failure::new(Code::Usage, error).hint("rackmark check-config names every mistake of this file too")
    })?;
    let scheme =
        if web.as_ref().is_some_and(|web| web.latest().config.tls.is_some()) { "https" } else { "http" };
    let exporter = Exporter::new(roster.clone(), config_now.clone(), stats.clone(), spool.clone(), web)
        .with_node_id(node_id.clone())
        .with_bmc(bmc.clone())
        .with_hooks(hooks.clone())
        .with_attesting(attesting_counts.clone(), command_counts.clone())
        .with_burn_ins(board.clone());
    let (address, exporter_thread) = exporter::serve(exporter, stopping.clone()).map_err(|error| {
        Failure::new(Code::Unavailable, error).hint("set metrics.listen to a free address")
    })?;
    let control = ControlSocket::bind(&config.control_socket, &config.admin_group).map_err(|error| {
        Failure::new(Code::Unavailable, error).hint("is another agent running? see control.socket")
    })?;

    let (requests, requested) = mpsc::channel(8);
    let (burn_ins, wishes) = mpsc::channel(8);
    let verbs = Arc::new(Verbs {
        roster: roster.clone(),
        inventory,
        config: config_now.clone(),
        sampling: requests,
        mqtt: stats,
        spool: spool.clone(),
        node_id: node_id.clone(),
        attesting: delivery.is_some().then(|| attesting_counts.clone()),
        successions,
        people: announcer.clone(),
        hooks: hooks.clone(),
        state_dir: config.state_dir.clone(),
        burn_ins,
        board: board.clone(),
        reading: Arc::new(tokio::sync::Semaphore::new(1)),
    });
    let inventory_due = looking.due.clone();
    let sampling = Sampling::new(config_now.clone(), roster.clone(), observer, requested);

    let mut tasks = JoinSet::new();
    tasks.spawn(named("sampling", sampling.run(stopping.clone())));
    tasks.spawn(named("control", control.serve(verbs.clone(), stopping.clone())));
    if let Some(Delivery { outbox, spool, epoch, .. }) = &delivery {
        let (messages, incoming) = mpsc::channel(INCOMING);
        let publishing = publishing::run(
            config_now.clone(),
            outbox.clone(),
            messages,
            feed.clone(),
            roster.clone(),
            changes.clone(),
            stopping.clone(),
        );
        tasks.spawn(named("publishing", publishing));
        let (node, identity, session) = feed.with(&roster, |feed, _| feed.speaker());
        let sources = Sources {
            config: config_now.clone(),
            feed: feed.clone(),
            roster: roster.clone(),
            inventory: verbs.inventory.clone(),
            first_look,
            bmc: bmc_turn.clone(),
            changes: changes.clone(),
            counts: attesting_counts.clone(),
            state: state.clone(),
        };
        let speaker = Speaker { node, identity, session, boot_id: machine_boot_id };
        let (asks, asked) = mpsc::channel(ASKS);
        let (epochs, begun) = mpsc::channel(ASKS);
        let attester = Attester::new(sources, speaker).run(asked, begun, stopping.clone());
        tasks.spawn(named("attesting", attester));
        let inbox = Inbox::new(
            config_now.clone(),
            spool.clone(),
            outbox.clone(),
            feed.clone(),
            roster.clone(),
            *epoch,
            Doors { carrier: verbs.clone(), asks, epochs, counts: command_counts.clone() },
        );
        tasks.spawn(named("inbox", inbox::run(inbox, incoming, stopping.clone())));
        let declaring = declare(spool.clone(), feed.clone(), roster.clone(), stopping.clone());
        tasks.spawn(named("declaring", declaring));
    }
    let burn_ins =
        BurnIns::new(config_now.clone(), roster.clone(), announcer.clone(), hooks.clone(), board, wishes);
    tasks.spawn(named("burn-ins", burn_ins.run(stopping.clone())));
    let runner =
        Runner::new(hooks.clone(), config_now.clone(), feed.clone(), roster.clone(), announcer.clone());
    tasks.spawn(named("hooks", runner.run(stopping.clone())));
    let host = watch_host(config_now.clone(), announcer.clone(), spool, stopping.clone());
    tasks.spawn(named("host", host));
    let kernel = listen(config_now.clone(), announcer.clone(), roster.clone(), stopping.clone());
    tasks.spawn(named("kernel log", kernel));
    let leases = watch_leases(config_now.clone(), announcer, stopping.clone());
    tasks.spawn(named("leases", leases));
    let tell = {
        let (feed, roster) = (feed.clone(), roster.clone());
        move |told: &Told<'_>| {
            narrate(told);
            hooks.happened(Content::Inventory {
                changes: told.changes.to_vec(),
                findings: told.findings.to_vec(),
            });
            feed.with(&roster, |feed, roster| feed.inventory(told, roster));
            changes.inventory();
        }
    };
    tasks.spawn(named("inventory", watch_inventory(looking, tell, stopping.clone())));
    let patience = bmc::Patience::default();
    let looked = bmc::watch(config_now.clone(), bmc, (bmc_turn, patience), inventory_due, stopping.clone());
    tasks.spawn(named("bmc", looked));
    tasks.spawn(named("heartbeat", heartbeat(feed.clone(), roster.clone(), stopping.clone())));

    announce(&config, &node_id, &format!("{scheme}://{address}/metrics"));
    let mut manager = ServiceManager::new();
    manager.ready(&format!("metrics on {address}"));
    let mut keys = KeysWatch::new(config_now.clone());
    let ended = loop {
        tokio::select! {
            () = keys.changed() => reload(source, &config_changed, &log_level),
            () = manager.watchdog_due() => manager.alive(),
            _ = signals.terminate.recv() => break None,
            _ = signals.interrupt.recv() => break None,
            _ = signals.hangup.recv() => {
                manager.reloading();
                reload(source, &config_changed, &log_level);
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
    if let Some(delivery) = delivery {
        delivery.writer.end(spool::END);
    }
    keeper.end(&roster.read().unwrap_or_else(PoisonError::into_inner).health, clock::boot_ms());
    drop(keeper_thread);
    match ended {
        None => Ok(()),
        Some(ended) => Err(gave_up(ended)),
    }
}

/// What keeps records until they are delivered.
struct Delivery {
    outbox: Outbox,
    spool: Spool,
    epoch: SpoolEpoch,
    writer: spool::Writer,
    way: Option<Way>,
}

impl Delivery {
    /// Opens the spool. A node whose disk cannot be used goes on from memory, and says so.
    fn open(state: &StateDir, config: &Config) -> Result<Self, Failure> {
        let new_epoch = Session::new_epoch().map_err(|error| Failure::new(Code::Unavailable, error))?;
        let wake = Arc::new(Notify::new());
        let opened = match spool::open(&state.spool(), config.spool, new_epoch, wake.clone()) {
            Err(error) if error.in_use() => {
                let hint = "is another agent running? see state.dir";
                return Err(Failure::new(Code::Unavailable, error).hint(hint));
            }
            Err(error) => {
                let trouble = format!("records are not kept on disk: {}", chain(&error));
                tracing::error!(error = trouble, "records wait in memory only and end with the process");
                spool::open_in_memory(trouble, new_epoch, wake.clone())
            }
            opened => opened,
        };
        let opened = opened.map_err(|error| Failure::new(Code::Unavailable, error))?;
        let outbox = Outbox::new(Box::new(opened.spool.clone()), wake);
        let epoch = SpoolEpoch(opened.epoch);
        let way = Way { outbox: outbox.clone(), spool: opened.spool.clone(), epoch, drafts: opened.drafts };
        Ok(Self { outbox, spool: opened.spool, epoch, writer: opened.writer, way: Some(way) })
    }
}

/// Declares what is lost, so that no gap is silent.
async fn declare(spool: Spool, feed: SharedFeed, roster: SharedRoster, mut stopping: watch::Receiver<bool>) {
    loop {
        tokio::select! {
            losses = spool.losses() => feed.with(&roster, |feed, _| feed.declare(&losses)),
            _ = stopping.wait_for(|stop| *stop) => return,
        }
        tokio::select! {
            () = tokio::time::sleep(DECLARE) => {}
            _ = stopping.wait_for(|stop| *stop) => return,
        }
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

/// What earlier runs knew: the names of the GPUs, what stands against them, who has them.
fn remembered(state: &StateDir, config: &Config) -> Roster {
    let mut roster = Roster::remembering(state.known_gpus());
    roster.health = state.known_health();
    roster.around.set(config);
    roster
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

fn announce(config: &Config, node_id: &str, metrics: &str) {
    let brokers: Vec<String> = config.brokers.iter().map(ToString::to_string).collect();
    tracing::info!(
        site = config.site,
        node = config.node,
        %node_id,
        metrics,
        brokers = brokers.join(" "),
        "rackmark {} runs",
        env!("CARGO_PKG_VERSION")
    );
}

fn machine(config: &Config) -> Machine {
    let boot_text = rackmark_hardware::host::boot_id(&config.proc_root)
        .inspect_err(|error| tracing::warn!(error = chain(error), "no boot id"))
        .unwrap_or_default();
    let boot_id = parse_boot_id(&boot_text);
    let host = rackmark_hardware::host::host_info(&config.proc_root, &config.sysfs_root)
        .inspect_err(|error| tracing::warn!(error = chain(error), "the host is not described on the feed"))
        .ok();
    Machine { boot_id: boot_id.unwrap_or_default(), boot_text, host }
}

/// `xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx` as 16 bytes.
fn parse_boot_id(text: &str) -> Option<[u8; 16]> {
    let digits: String = text.trim().chars().filter(|c| *c != '-').collect();
    let number = u128::from_str_radix(&digits, 16).ok().filter(|_| digits.len() == 32)?;
    Some(number.to_be_bytes())
}

/// Takes a changed configuration, or keeps the old one and says why.
fn reload(source: &Source, changed: &watch::Sender<Arc<Config>>, log_level: &LogLevel) {
    let mut new = match source.load() {
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
