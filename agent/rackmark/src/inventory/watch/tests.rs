//! A small machine on disk, looked at by the task itself.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::RwLock;

use tokio::sync::mpsc;
use tokio::time::Instant;

use super::{watch as watch_inventory, *};
use crate::sampling::roster::Roster;

struct Machine(tempfile::TempDir);

impl Machine {
    fn new() -> Self {
        let machine = Self(tempfile::tempdir().expect("folder"));
        machine.firmware("OPPA4B5Q");
        machine
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().expect("parent")).expect("folder");
        fs::write(path, text).expect("file");
    }

    /// The firmware of its only disk.
    fn firmware(&self, version: &str) {
        self.write("sys/class/nvme/nvme0/address", "0000:41:00.0\n");
        self.write("sys/class/nvme/nvme0/firmware_rev", version);
    }

    fn run(&self) -> Run {
        let text = format!(
            "[hardware]\nsysfs_root = {:?}\nproc_root = {:?}\n[collect]\nprogram = \"/no/such/collector\"\n",
            self.path("sys"),
            self.path("proc")
        );
        let config = Arc::new(Config::parse(&text, Path::new("test.toml")).expect("configuration"));
        let (changed, config) = watch::channel(config);
        let state = StateDir::open(&self.path("state")).expect("state");
        let inventory: SharedInventory = Arc::new(RwLock::new(state.known_inventory()));
        let due = Arc::new(Notify::new());
        let (stop, stopping) = watch::channel(false);
        let (heard, told) = mpsc::channel(8);
        let (first, first_look) = oneshot::channel();
        let watched = Watched {
            config,
            roster: Arc::new(RwLock::new(Roster::default())),
            inventory: inventory.clone(),
            bmc: SharedBmc::default(),
            state,
            due: due.clone(),
            first: Some(first),
        };
        let tell = move |told: &Told<'_>| {
            let changes =
                told.changes.iter().map(|change| (change.from.clone(), change.to.clone())).collect();
            let names = |list: &[Finding]| list.iter().map(|finding| finding.code.name()).collect();
            heard.try_send((changes, names(told.findings), names(told.appeared))).expect("listener");
        };
        let task = tokio::spawn(watch_inventory(watched, tell, stopping));
        Run { inventory, due, told, stop, task, first_look, _changed: changed }
    }
}

type Heard = (Vec<(Option<String>, Option<String>)>, Vec<&'static str>, Vec<&'static str>);

struct Run {
    inventory: SharedInventory,
    due: Arc<Notify>,
    told: mpsc::Receiver<Heard>,
    first_look: oneshot::Receiver<FirstLook>,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
    _changed: watch::Sender<Arc<Config>>,
}

impl Run {
    fn taken(&self) -> Option<u64> {
        self.inventory.read().expect("lock").as_ref().map(|kept| kept.taken_unix_ms)
    }

    async fn first_look(&self) {
        while self.taken().is_none() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    async fn end(self) {
        self.stop.send(true).expect("task");
        self.task.await.expect("it ended");
    }
}

fn changed(from: &str, to: &str) -> Vec<(Option<String>, Option<String>)> {
    vec![(Some(from.to_owned()), Some(to.to_owned()))]
}

#[tokio::test(start_paused = true)]
async fn what_changed_while_the_daemon_was_away_is_told_and_the_first_look_is_no_change() {
    let machine = Machine::new();
    let mut first = machine.run();
    first.first_look().await;
    let looked = (&mut first.first_look).await.expect("whoever waits for it is told");
    assert_eq!(looked.boot_log, None, "there is no collector");
    assert!(first.told.try_recv().is_err());
    first.end().await;
    machine.firmware("OPPA9C7Q");
    let mut second = machine.run();
    let (changes, ..) = second.told.recv().await.expect("told");
    assert_eq!(changes, changed("OPPA4B5Q", "OPPA9C7Q"));
    second.end().await;
    let mut third = machine.run();
    let due = Instant::now();
    machine.firmware("OPPA9D1Q");
    let _ = third.told.recv().await.expect("told");
    assert!(due.elapsed() <= EVERY, "{:?}", due.elapsed());
    third.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_look_is_taken_every_ten_minutes_or_when_it_is_due() {
    let machine = Machine::new();
    let mut run = machine.run();
    run.first_look().await;
    machine.firmware("two");
    let began = Instant::now();
    let (changes, ..) = run.told.recv().await.expect("told");
    assert_eq!(changes, changed("OPPA4B5Q", "two"));
    let waited = began.elapsed();
    assert!(waited > EVERY - SETTLE && waited <= EVERY, "{waited:?}");
    machine.firmware("three");
    let began = Instant::now();
    run.due.notify_one();
    let (changes, ..) = run.told.recv().await.expect("told");
    assert_eq!(changes, changed("two", "three"));
    assert!(began.elapsed() >= SETTLE && began.elapsed() < 2 * SETTLE, "{:?}", began.elapsed());
    run.end().await;
}

#[tokio::test(start_paused = true)]
async fn findings_are_told_when_they_come_and_when_they_go() {
    let machine = Machine::new();
    for name in ["vendor", "device", "class"] {
        machine.write(&format!("sys/bus/pci/devices/0000:1b:00.0/{name}"), "0x1000\n");
    }
    let mut run = machine.run();
    let (changes, findings, appeared) = run.told.recv().await.expect("told");
    assert_eq!((changes.len(), findings.as_slice()), (0, &["sysfs_entry_not_link"][..]));
    assert_eq!(appeared, findings);
    machine.firmware("two");
    run.due.notify_one();
    let (changes, findings, appeared) = run.told.recv().await.expect("told");
    assert_eq!((changes.len(), findings.len(), appeared.len()), (1, 1, 0), "it stands and is not new");
    fs::remove_dir_all(machine.path("sys/bus")).expect("remove");
    run.due.notify_one();
    let (changes, findings, appeared) = run.told.recv().await.expect("told");
    assert_eq!((changes.len(), findings.len(), appeared.len()), (0, 0, 0));
    run.end().await;
}
