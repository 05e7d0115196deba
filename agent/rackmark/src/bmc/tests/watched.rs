//! The task that looks from time to time.

use std::sync::Arc;
use std::sync::RwLock;
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::timeout;

use super::documents::server;
use super::{PATIENCE, Reply, World};
use crate::bmc::{BmcState, REASONS, SharedBmc, Turn, watch as watch_bmc};
use crate::config::{BmcSettings, Config};

/// For what is there at once, on a busy machine.
const SOON: Duration = Duration::from_secs(20);

fn config(bmc: Option<BmcSettings>) -> Arc<Config> {
    let mut config = Config::parse("[node]\nname = \"n\"\n", "test.toml".as_ref()).expect("configuration");
    config.bmc = bmc;
    Arc::new(config)
}

struct Run {
    shared: SharedBmc,
    changed: Arc<Notify>,
    config: watch::Sender<Arc<Config>>,
    stop: watch::Sender<bool>,
    task: tokio::task::JoinHandle<()>,
}

impl Run {
    fn start(bmc: Option<BmcSettings>) -> Self {
        let shared: SharedBmc = Arc::new(RwLock::new(BmcState::before(&config(bmc.clone()))));
        let changed = Arc::new(Notify::new());
        let (sender, receiver) = watch::channel(config(bmc));
        let (stop, stopping) = watch::channel(false);
        let task =
            watch_bmc(receiver, shared.clone(), (Turn::default(), PATIENCE), changed.clone(), stopping);
        Self { shared, changed, config: sender, stop, task: tokio::spawn(task) }
    }

    fn state(&self) -> BmcState {
        self.shared.read().expect("lock").clone()
    }

    /// Waits until the state is so.
    async fn until(&self, reached: impl Fn(&BmcState) -> bool) -> BmcState {
        let looking = async {
            while !reached(&self.state()) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(SOON, looking).await.unwrap_or_else(|_| panic!("{:?}", self.state()));
        self.state()
    }

    async fn end(self) {
        self.stop.send(true).expect("task");
        timeout(SOON, self.task).await.expect("it ends").expect("it ended");
    }
}

fn failed(state: &BmcState, reason: &str) -> u64 {
    state.failures[REASONS.iter().position(|known| *known == reason).expect("reason")]
}

#[tokio::test]
async fn what_the_bmc_says_is_kept_while_it_is_silent_and_told_when_it_is_other() {
    let world = World::new(server());
    let settings = world.site.settings(world.fake.port);
    let run = Run::start(Some(settings.clone()));
    assert_eq!(run.state().said(), None, "nothing is known yet, which is not nothing");
    let state = run.until(|state| state.up).await;
    timeout(SOON, run.changed.notified()).await.expect("told");
    let said = state.said().expect("facts");
    assert!(state.configured && said.len() > 10 && state.took_us > 0);

    // Another setting makes it look again, at once; nobody listens there.
    let nowhere = BmcSettings { every: Duration::from_secs(60), ..world.site.settings(1) };
    run.config.send(config(Some(nowhere.clone()))).expect("task");
    let state = run.until(|state| !state.up).await;
    assert_eq!(failed(&state, "connection"), 1);
    assert_eq!(
        (state.facts.as_deref(), state.said()),
        (Some(&*said), None),
        "kept, and not said to be so now"
    );

    world.fake.put("/redfish/v1/Managers/1/", Reply::bytes("{\"Model\":\"other\"}"));
    run.config.send(config(Some(settings))).expect("task");
    run.until(|state| state.up).await;
    timeout(SOON, run.changed.notified()).await.expect("told");
    assert_ne!(run.state().said().expect("facts"), said);

    run.config.send(config(None)).expect("task");
    let state = run.until(|state| !state.configured).await;
    assert_eq!(state.said().expect("nothing").len(), 0);
    run.end().await;
}

#[tokio::test]
async fn a_refused_account_is_not_tried_again_until_its_password_is_another() {
    let world = World::new(server());
    let right = std::fs::read(world.site.path("password")).expect("file");
    std::fs::write(world.site.path("password"), "wrong\n").expect("write");
    let run = Run::start(Some(world.site.settings(world.fake.port)));
    run.until(|state| failed(state, "account") == 1).await;
    std::fs::write(world.site.path("password"), right).expect("write");
    run.until(|state| state.up).await;
    assert_eq!(world.fake.count("POST /redfish/v1/SessionService/Sessions"), 2);
    run.end().await;
}

#[tokio::test]
async fn without_a_bmc_nothing_is_asked_and_nothing_is_missing() {
    let run = Run::start(None);
    assert_eq!(run.state().said().expect("nothing").len(), 0);
    run.config.send(config(None)).expect("task");
    run.end().await;
}
