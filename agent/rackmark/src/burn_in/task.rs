//! Takes wishes for burn-ins and sees them through: permission, the GPU's lock, the hooks of the site, one run for each
//! GPU, and what comes of it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rackmark_health::burn_in::{Ending, Judgement, Mode, Outcome, Plan, Seen, Worked, compare_siblings};
use rackmark_health::{BurnInResult, Code, Verb};
use rackmark_model::gpu_work::BurnInTest;
use ring::rand::{SecureRandom, SystemRandom};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;

use super::board::{Board, Last, Running};
use super::gate;
use super::record::{Card, Point, Record, VERSION};
use super::run::{Left, Place, run};
use super::store::Store;
use super::stuck::Stuck;
use crate::clock;
use crate::config::Config;
use crate::control::verbs::People;
use crate::exit::chain;
use crate::hooks::{Content, GpuName, Hooks};
use crate::sampling::roster::Roster;
use crate::sampling::task::SharedRoster;

/// What is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// Which GPUs, by slot.
    pub slots: Vec<u8>,
    /// How thorough.
    pub mode: Mode,
    /// Hours of a soak.
    pub hours: u16,
    /// One after the other, not all together.
    pub one_by_one: bool,
    /// Who wants it.
    pub by: String,
}

/// A wish.
pub enum Request {
    /// Begin; answered at once, before anything runs.
    Start(Wanted, oneshot::Sender<Result<(), String>>),
    /// End on one GPU, or on all; answered with how many were told.
    Stop {
        /// Which.
        slot: Option<u8>,
        /// Who wants it.
        by: String,
        /// How many runs were told.
        told: oneshot::Sender<usize>,
    },
}

/// What every group of runs needs.
#[derive(Clone)]
struct Around {
    config: watch::Receiver<Arc<Config>>,
    roster: SharedRoster,
    people: People,
    hooks: Hooks,
    store: Store,
    board: Board,
    node: String,
    stops: Arc<Mutex<BTreeMap<u8, watch::Sender<Option<String>>>>>,
    /// Processes that cannot be ended: by slot, with the UUID of the GPU.
    stuck: Arc<Mutex<BTreeMap<u8, (String, Stuck)>>>,
}

/// Who ends what runs when the agent ends; a soak goes on after that.
const THE_AGENT_STOPS: &str = "the agent stops";

/// Between two looks at processes that could not be ended. Some end after all, when the driver comes back.
const LOOK_AT_STUCK: Duration = Duration::from_secs(5);

/// The task.
pub struct BurnIns {
    around: Around,
    requests: mpsc::Receiver<Request>,
}

impl BurnIns {
    /// Nothing runs yet; what is on disk of earlier runs is shown.
    pub fn new(
        config: watch::Receiver<Arc<Config>>,
        roster: SharedRoster,
        people: People,
        hooks: Hooks,
        board: Board,
        requests: mpsc::Receiver<Request>,
    ) -> Self {
        let (store, node) = {
            let config = config.borrow();
            (Store::new(&config.state_dir), config.node.clone())
        };
        let around = Around {
            config,
            roster,
            people,
            hooks,
            store,
            board,
            node,
            stops: Arc::default(),
            stuck: Arc::default(),
        };
        Self { around, requests }
    }

    /// Takes wishes until the daemon stops; then every run gives its GPU back.
    pub async fn run(mut self, mut stopping: watch::Receiver<bool>) {
        let mut groups = JoinSet::new();
        let mut remembered = false;
        let mut looks = tokio::time::interval(Duration::from_secs(1));
        let mut looks_at_stuck = tokio::time::interval(LOOK_AT_STUCK);
        loop {
            let (resumed, request) = tokio::select! {
                request = self.requests.recv() => match request {
                    // Before that, nobody knows who hangs on a GPU.
                    Some(request) if !remembered => (self.around.remember().await, Some(request)),
                    Some(request) => (None, Some(request)),
                    None => break,
                },
                _ = groups.join_next(), if !groups.is_empty() => (None, None),
                _ = looks.tick(), if !remembered => (self.around.remember().await, None),
                _ = looks_at_stuck.tick(), if remembered => {
                    self.around.look_at_stuck().await;
                    (None, None)
                }
                _ = stopping.changed() => break,
            };
            remembered |= resumed.is_some();
            for record in resumed.unwrap_or_default() {
                groups.spawn(resume(self.around.clone(), record));
            }
            match request {
                Some(Request::Start(wanted, answer)) => {
                    let unnamed = || "no GPU was sampled yet: try again in a few seconds".to_owned();
                    let begun = remembered.then_some(()).ok_or_else(unnamed);
                    let begun = begun.and_then(|()| self.around.admit(&wanted));
                    if begun.is_ok() {
                        groups.spawn(group(self.around.clone(), wanted));
                    }
                    let _ = answer.send(begun);
                }
                Some(Request::Stop { slot, by, told }) => {
                    let _ = told.send(self.around.stop(slot, &by));
                }
                None => {}
            }
        }
        self.around.stop(None, THE_AGENT_STOPS);
        while groups.join_next().await.is_some() {}
    }
}

impl Around {
    /// Whether all of it may begin.
    fn admit(&self, wanted: &Wanted) -> Result<(), String> {
        let running = self.board.running();
        let stuck = self.stuck.lock().unwrap_or_else(PoisonError::into_inner);
        for slot in &wanted.slots {
            if running.contains_key(slot) {
                return Err(format!("a burn-in of GPU {slot} runs already"));
            }
            if let Some((_, stuck)) = stuck.get(slot) {
                let pid = stuck.pid;
                return Err(format!(
                    "process {pid} on GPU {slot} cannot be ended: drain the node and reboot it"
                ));
            }
        }
        for slot in &wanted.slots {
            self.waits(*slot, wanted);
        }
        Ok(())
    }

    fn waits(&self, slot: u8, wanted: &Wanted) {
        let plan = self.plan(wanted);
        self.board.show(
            slot,
            Running {
                mode: wanted.mode,
                began_unix_ms: clock::unix_ms(),
                total_ms: plan.total_ms(),
                phase: "waiting",
                stage: None,
                test: None,
                stages: plan.stages.len(),
                miscompares: 0,
                point: Point::default(),
            },
        );
        self.stops.lock().unwrap_or_else(PoisonError::into_inner).insert(slot, watch::channel(None).0);
    }

    fn stop(&self, slot: Option<u8>, by: &str) -> usize {
        let stops = self.stops.lock().unwrap_or_else(PoisonError::into_inner);
        let mut told = 0;
        for (_, stop) in stops.iter().filter(|(known, _)| slot.is_none_or(|slot| slot == **known)) {
            stop.send_replace(Some(by.to_owned()));
            told += 1;
        }
        told
    }

    /// Shows what is on disk; the soaks that were cut off by a restart are to go on. None before GPUs have names.
    async fn remember(&self) -> Option<Vec<Record>> {
        let cards: Vec<(u8, String)> = {
            let roster = self.roster.read().unwrap_or_else(PoisonError::into_inner);
            roster.taken?;
            let named = roster.gpus.iter().map(|gpu| &gpu.identity);
            named.filter_map(|identity| Some((identity.slot, identity.uuid.clone()?))).collect()
        };
        let (store, board) = (self.store.clone(), self.board.clone());
        let (stuck, proc_root) = (self.stuck.clone(), self.config.borrow().proc_root.clone());
        // Many GPUs have many records: nobody waits for the disk meanwhile.
        let read = tokio::task::spawn_blocking(move || {
            let mut resumed = Vec::new();
            for (slot, uuid) in cards {
                if let Some(record) = store.last(&uuid) {
                    board.remember(slot, record);
                }
                if let Some(mut record) = store.running(&uuid) {
                    record.card.slot = slot;
                    resumed.push(record);
                }
                match store.stuck(&uuid) {
                    Some(known) if known.is_there(&proc_root) => {
                        stuck.lock().unwrap_or_else(PoisonError::into_inner).insert(slot, (uuid, known));
                    }
                    Some(_) => forget_stuck(&store, slot, &uuid),
                    None => {}
                }
            }
            resumed
        });
        Some(read.await.unwrap_or_default())
    }

    /// Keeps who cannot be ended, and takes the GPU out.
    async fn wedged(&self, slot: u8, uuid: &str, pid: Option<u32>) {
        let Some(pid) = pid else {
            tracing::error!(
                gpu = slot,
                "a process that works on the GPU cannot be ended and never said who it is"
            );
            return;
        };
        let (store, uuid) = (self.store.clone(), uuid.to_owned());
        let proc_root = self.config.borrow().proc_root.clone();
        let found = tokio::task::spawn_blocking(move || {
            let stuck = Stuck::of(&proc_root, pid)?;
            if let Err(error) = store.keep_stuck(&uuid, &stuck) {
                tracing::error!(
                    gpu = slot,
                    pid,
                    error = chain(&error),
                    "a process that cannot be ended is not kept"
                );
            }
            Some((uuid, stuck))
        });
        let Ok(Some(found)) = found.await else { return };
        tracing::error!(gpu = slot, pid, "a process that works on the GPU cannot be ended");
        self.stuck.lock().unwrap_or_else(PoisonError::into_inner).insert(slot, found);
        self.tell_stuck();
    }

    /// Lets go of processes that ended after all.
    async fn look_at_stuck(&self) {
        let known = self.stuck.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let (store, proc_root) = (self.store.clone(), self.config.borrow().proc_root.clone());
        let gone = tokio::task::spawn_blocking(move || {
            let mut gone = Vec::new();
            for (slot, (uuid, stuck)) in known {
                if !stuck.is_there(&proc_root) {
                    forget_stuck(&store, slot, &uuid);
                    gone.push(slot);
                }
            }
            gone
        });
        for slot in gone.await.unwrap_or_default() {
            tracing::info!(gpu = slot, "the process that could not be ended is gone");
            self.stuck.lock().unwrap_or_else(PoisonError::into_inner).remove(&slot);
        }
        self.tell_stuck();
    }

    /// The judgement says of each GPU what is known here, whatever it kept from before.
    fn tell_stuck(&self) {
        let stuck = self.stuck.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let stands: Vec<bool> = {
            let roster = self.roster.read().unwrap_or_else(PoisonError::into_inner);
            let conditions = roster.health.gpus.iter().map(|gpu| gpu.conditions.all());
            conditions.map(|all| all.iter().any(|one| one.code == Code::WorkerStuck)).collect()
        };
        for (slot, stands) in (0_u8..).zip(stands) {
            let pid = stuck.get(&slot).map(|(_, stuck)| stuck.pid);
            if stands != pid.is_some()
                && let Err(why) = self.change(&Verb::WorkerStuck { slot, pid }, "the agent")
            {
                tracing::warn!(gpu = slot, why, "that a process cannot be ended is not told");
            }
        }
    }

    fn change(&self, verb: &Verb<'_>, by: &str) -> Result<(), String> {
        let mut people = self.people.clone();
        people
            .announce(|roster, now, changes| roster.carry_out(verb, by, now, changes))
            .map_err(|refusal| refusal.to_string())
    }

    /// Links between GPUs are tested where all of them are: another one may be a customer's.
    fn plan(&self, wanted: &Wanted) -> Plan {
        let mut plan = Plan::of(wanted.mode, wanted.hours);
        let roster = self.roster.read().unwrap_or_else(PoisonError::into_inner);
        if wanted.one_by_one || !roster.gpus.iter().all(|gpu| wanted.slots.contains(&gpu.identity.slot)) {
            plan.stages.retain(|stage| stage.test != BurnInTest::PeerLink);
        }
        plan
    }

    fn names(&self, slots: &[u8]) -> Vec<GpuName> {
        let roster = self.roster.read().unwrap_or_else(PoisonError::into_inner);
        slots.iter().map(|slot| GpuName::of(*slot, &roster)).collect()
    }

    fn card(&self, slot: u8) -> Result<(Card, Option<String>, bool), String> {
        let roster = self.roster.read().unwrap_or_else(PoisonError::into_inner);
        let card = card(&roster, slot).ok_or_else(|| format!("GPU {slot} has no UUID yet"))?;
        Ok((card, roster.driver_version.clone(), roster.simulated()))
    }
}

fn card(roster: &Roster, slot: u8) -> Option<Card> {
    let gpu = roster.gpu(slot)?;
    let text = |reading: Option<&rackmark_model::Reading<String>>| reading.and_then(|text| text.clone().ok());
    Some(Card {
        slot,
        uuid: gpu.identity.uuid.clone()?,
        serial: gpu.identity.serial.clone(),
        name: gpu.identity.name.clone(),
        address: gpu.identity.address.clone(),
        physical_slot: gpu.physical_slot.clone(),
        vbios_version: text(gpu.inventory.as_ref().map(|inventory| &inventory.vbios_version)),
    })
}

fn forget_stuck(store: &Store, slot: u8, uuid: &str) {
    if let Err(error) = store.forget_stuck(uuid) {
        tracing::error!(gpu = slot, error = chain(&error), "a process that is gone is not forgotten");
    }
}

fn seed() -> u64 {
    let mut bytes = [0; 8];
    // Any seed tests as well as another; one that nobody knows before is only harder to cheat.
    match SystemRandom::new().fill(&mut bytes) {
        Ok(()) => u64::from_le_bytes(bytes),
        Err(_) => clock::unix_ms(),
    }
}

/// All GPUs of one wish.
async fn group(around: Around, wanted: Wanted) {
    if around.vetoed(&wanted).await {
        return;
    }
    let mut records: Vec<Record> = Vec::new();
    if wanted.one_by_one {
        for slot in &wanted.slots {
            records.extend(one(around.clone(), *slot, wanted.clone(), None).await);
        }
    } else {
        let mut runs = JoinSet::new();
        for slot in &wanted.slots {
            runs.spawn(one(around.clone(), *slot, wanted.clone(), None));
        }
        while let Some(ended) = runs.join_next().await {
            records.extend(ended.ok().flatten());
        }
    }
    compare(&around, &mut records).await;
    told(&around, &records);
}

/// A soak that was cut off.
async fn resume(around: Around, mut record: Record) {
    let slot = record.card.slot;
    tracing::info!(gpu = slot, "a soak goes on where it was cut off");
    record.seen.resume();
    let wanted =
        Wanted { slots: vec![slot], mode: record.mode, hours: 1, one_by_one: false, by: record.by.clone() };
    around.waits(slot, &wanted);
    if around.vetoed(&wanted).await {
        return;
    }
    let records: Vec<Record> = one(around.clone(), slot, wanted, Some(record)).await.into_iter().collect();
    told(&around, &records);
}

fn told(around: &Around, records: &[Record]) {
    for record in records {
        let outcome = record.judgement.as_ref().map_or(Outcome::Inconclusive, |judgement| judgement.outcome);
        around.hooks.happened(Content::AfterBurnIn {
            gpus: around.names(&[record.card.slot]),
            verdict: outcome.name().to_owned(),
            reason: record.reason(),
        });
    }
}

impl Around {
    /// Whether a hook of the site says no; then none of it begins.
    async fn vetoed(&self, wanted: &Wanted) -> bool {
        let before =
            Content::BeforeBurnIn { gpus: self.names(&wanted.slots), level: wanted.mode.name().to_owned() };
        let enabled = self.config.borrow().hooks.enabled;
        let veto = match self.hooks.run(before, false).await {
            Ok(outcome) => outcome.veto(),
            // Whoever could not be asked did not say yes.
            Err(why) => enabled.then_some(why),
        };
        if let Some(why) = &veto {
            for slot in &wanted.slots {
                self.not_begun(*slot, format!("a hook of the site says no: {why}"));
            }
        }
        veto.is_some()
    }

    /// Keeps a record, on a thread that may wait for the disk.
    async fn write(&self, record: &Record, goes_on: bool) {
        let (store, record) = (self.store.clone(), record.clone());
        let slot = record.card.slot;
        let kept = tokio::task::spawn_blocking(move || {
            if goes_on { store.keep_running(&record) } else { store.keep(&record) }
        });
        if let Ok(Err(error)) = kept.await {
            tracing::error!(gpu = slot, error = chain(&error), "the result of a burn-in is not kept");
        }
    }

    fn not_begun(&self, slot: u8, why: String) {
        tracing::warn!(gpu = slot, why, "a burn-in does not begin");
        self.stops.lock().unwrap_or_else(PoisonError::into_inner).remove(&slot);
        self.board.end(slot, Last::NotBegun(why));
    }
}

/// One GPU, from the gate to the record that is kept. None where it did not begin.
async fn one(around: Around, slot: u8, wanted: Wanted, earlier: Option<Record>) -> Option<Record> {
    let stop = around
        .stops
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .get(&slot)
        .map(watch::Sender::subscribe)?;
    let begun = begin(&around, slot, &wanted, earlier).await;
    let (mut record, lock) = match begun {
        Ok(begun) => begun,
        Err(why) => {
            around.not_begun(slot, why);
            return None;
        }
    };
    tracing::info!(gpu = slot, mode = record.mode.name(), by = record.by, "a burn-in begins");
    let mut place = Place {
        config: around.config.clone(),
        roster: around.roster.clone(),
        store: around.store.clone(),
        board: around.board.clone(),
        stop,
    };
    let left = run(&mut place, &mut record).await;
    drop(lock);
    if let Left::Wedged(pid) = left {
        around.wedged(slot, &record.card.uuid, pid).await;
    }
    let reason = record.reason();
    let outcome = record.judgement.as_ref().map_or(Outcome::Inconclusive, |judgement| judgement.outcome);
    let result = BurnInResult {
        mode: record.mode,
        outcome,
        reason: &reason,
        took_ms: record.took_ms(),
        memory_bytes: record.memory_bytes(),
    };
    if let Err(why) = around.change(&Verb::BurnInEnd { slot, result: Some(result) }, &record.by) {
        tracing::warn!(gpu = slot, why, "the end of a burn-in is not told");
    }
    let goes_on = record.mode == Mode::Soak
        && matches!(&record.worked.ending, Ending::Preempted(by) if by == THE_AGENT_STOPS);
    around.write(&record, goes_on).await;
    tracing::info!(
        gpu = slot,
        mode = record.mode.name(),
        outcome = outcome.name(),
        reason,
        "a burn-in ended"
    );
    around.stops.lock().unwrap_or_else(PoisonError::into_inner).remove(&slot);
    around.board.end(slot, Last::Ended(Box::new(record.clone())));
    Some(record)
}

/// Whether the GPU came to rest, and nobody changed their mind meanwhile.
async fn admitted(around: &Around, slot: u8) -> Result<(), String> {
    gate::idle(&around.roster, slot).await?;
    let stops = around.stops.lock().unwrap_or_else(PoisonError::into_inner);
    match stops.get(&slot).and_then(|stop| stop.borrow().clone()) {
        Some(by) => Err(format!("it was stopped by {by}")),
        None => Ok(()),
    }
}

/// Permission, lock, state.
async fn begin(
    around: &Around,
    slot: u8,
    wanted: &Wanted,
    earlier: Option<Record>,
) -> Result<(Record, std::fs::File), String> {
    let (card, driver_version, simulated) = around.card(slot)?;
    let lock = around.store.lock(&card.uuid).map_err(|error| format!("cannot lock GPU {slot}: {error}"))?;
    let lock = lock.ok_or_else(|| format!("another agent works on GPU {slot}"))?;
    gate::judged(&around.roster, slot).await;
    // First whether it may be at all: nobody waits for a GPU that somebody has.
    around.change(&Verb::BurnInStart { slot, mode: wanted.mode }, &wanted.by)?;
    if let Err(why) = admitted(around, slot).await {
        around.change(&Verb::BurnInEnd { slot, result: None }, &wanted.by)?;
        return Err(why);
    }
    let mut record = earlier.unwrap_or_else(|| Record {
        version: VERSION,
        agent_version: env!("CARGO_PKG_VERSION").to_owned(),
        node: around.node.clone(),
        simulated,
        card,
        driver_version,
        mode: wanted.mode,
        by: wanted.by.clone(),
        seed: seed(),
        began_unix_ms: clock::unix_ms(),
        ended_unix_ms: None,
        gave_back_ms: None,
        worked: Worked::new(around.plan(wanted)),
        seen: Seen::default(),
        points: Vec::new(),
        judgement: None,
    });
    record.worked.simulated = simulated;
    Ok((record, lock))
}

/// GPUs of one model that were tested together are compared; what is found is kept with each.
async fn compare(around: &Around, records: &mut [Record]) {
    records.sort_by(|one, other| (&one.card.name, one.card.slot).cmp(&(&other.card.name, other.card.slot)));
    for same in records.chunk_by_mut(|one, other| one.card.name == other.card.name) {
        // Simulated GPUs share processors.
        if same.len() < 2 || same.iter().any(|record| record.simulated) {
            continue;
        }
        let mut judgements: Vec<&mut Judgement> =
            same.iter_mut().filter_map(|record| record.judgement.as_mut()).collect();
        compare_siblings(&mut judgements);
        for record in same {
            around.write(record, false).await;
            around.board.end(record.card.slot, Last::Ended(Box::new(record.clone())));
        }
    }
}
