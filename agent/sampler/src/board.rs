//! The state all threads share: which GPUs there are, who works on them, and
//! what they answered at the current tick.
//!
//! One mutex guards it. It is held for copies only, never across a driver call
//! or a write, so that nobody waits for a GPU by waiting for the board.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rackmark_hardware::pci::PciGpu;
use rackmark_model::ipc::GPUS_MAX;
use rackmark_model::readings::Fast;
use rackmark_model::{GpuSample, InCall, NoData, PciAddress, Presence};

use crate::nvml::Library;
use crate::watch::CallWatch;

/// The name under which the kernel knows the driver that NVML talks to.
const NVIDIA_DRIVER: &str = "nvidia";

pub(crate) struct Board {
    state: Mutex<State>,
    /// Signalled when the last awaited GPU answered.
    answered: Condvar,
    /// Signalled when a thread found the driver gone.
    driver_trouble: Condvar,
    /// The calls of the thread that opens the driver.
    pub(crate) driver_watch: CallWatch,
}

struct State {
    driver: Driver,
    gpus: Vec<Slot>,
    /// The tick being collected.
    tick: u64,
    /// Some GPU was seen in sysfs, so that its rules apply.
    seen_in_sysfs: bool,
    leave_alone: Vec<(PciAddress, NoData)>,
}

enum Driver {
    Starting,
    Up(Arc<Library>),
    Gone,
}

/// What was last found out by calling the driver.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// Not tried yet.
    Unopened,
    /// A thread answers for it.
    Answering(Presence),
    /// Tried, and this came back.
    Absent(NoData),
}

struct Slot {
    address: PciAddress,
    /// What the order and sysfs say, before any call: may it be touched?
    rule: Result<(), NoData>,
    standing: Standing,
    /// The calls of the thread that works on it; never more than one thread.
    tenant: Option<Arc<CallWatch>>,
    answered: Option<u64>,
    /// Ticks wait for it. Not so after a missed deadline, until it answers.
    awaited: bool,
    may_suspend: bool,
    fast: Fast,
}

/// A GPU that waits for a thread.
pub(crate) struct Vacancy {
    pub(crate) address: PciAddress,
    pub(crate) library: Arc<Library>,
    pub(crate) watch: Arc<CallWatch>,
    /// Position among the GPUs, to spread slow readings over ticks.
    pub(crate) position: u64,
}

/// What a thread may do with its GPU at this tick.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Permission {
    /// Read it; look first whether it sleeps where `may_suspend` is set.
    Read { may_suspend: bool },
    /// Leave it.
    Stop,
}

impl Slot {
    fn is_awaited(&self, tick: u64) -> bool {
        self.rule.is_ok()
            && self.awaited
            && !matches!(self.standing, Standing::Absent(_))
            && self.answered < Some(tick)
    }

    fn set_rule(&mut self, rule: Result<(), NoData>, driver: &Driver) {
        if self.rule != rule {
            self.rule = rule;
            if self.tenant.is_none() {
                self.standing = untried(driver);
            }
            self.awaited = true;
        }
    }

    fn sample(&self, tick: u64, driver: &CallWatch, overdue: Duration) -> GpuSample {
        let in_call = || match &self.tenant {
            Some(watch) => watch.now(),
            None => driver.now(),
        };
        let silent = |presence, why, in_call| GpuSample {
            address: self.address,
            presence,
            in_call,
            fast: Fast::absent(why),
        };
        let hanging = |call: &InCall| Duration::from_millis(call.for_ms) >= overdue;
        match (self.rule, self.standing) {
            (Err(why), _) | (Ok(()), Standing::Absent(why)) => {
                let stuck = self.tenant.as_ref().and_then(|watch| watch.now()).filter(hanging);
                silent(Presence::Absent(why), why, stuck)
            }
            (Ok(()), Standing::Answering(presence)) if self.answered >= Some(tick) => {
                GpuSample { address: self.address, presence, in_call: None, fast: self.fast.clone() }
            }
            (Ok(()), Standing::Answering(_)) => silent(Presence::Open, NoData::Timeout, in_call()),
            (Ok(()), Standing::Unopened) => {
                silent(Presence::Absent(NoData::Timeout), NoData::Timeout, in_call())
            }
        }
    }
}

fn untried(driver: &Driver) -> Standing {
    match driver {
        Driver::Gone => Standing::Absent(NoData::DriverGone),
        Driver::Starting | Driver::Up(_) => Standing::Unopened,
    }
}

impl State {
    fn slot(&mut self, address: PciAddress) -> Option<&mut Slot> {
        let position = self.gpus.binary_search_by_key(&address, |slot| slot.address).ok()?;
        self.gpus.get_mut(position)
    }

    fn is_pending(&self) -> bool {
        self.gpus.iter().any(|slot| slot.is_awaited(self.tick))
    }

    /// Makes room for a GPU; one that is known keeps its place for ever.
    fn add(&mut self, address: PciAddress) {
        let Err(position) = self.gpus.binary_search_by_key(&address, |slot| slot.address) else { return };
        if self.gpus.len() >= GPUS_MAX {
            return;
        }
        let slot = Slot {
            address,
            rule: Ok(()),
            standing: untried(&self.driver),
            tenant: None,
            answered: None,
            awaited: true,
            may_suspend: false,
            fast: Fast::absent(NoData::NotSampled),
        };
        self.gpus.insert(position, slot);
    }
}

impl Board {
    /// A board that knows only the GPUs to leave alone.
    pub(crate) fn new(leave_alone: Vec<(PciAddress, NoData)>) -> Self {
        let mut state =
            State { driver: Driver::Starting, gpus: Vec::new(), tick: 0, seen_in_sysfs: false, leave_alone };
        for (address, why) in state.leave_alone.clone() {
            state.add(address);
            if let Some(slot) = state.slot(address) {
                slot.rule = Err(why);
            }
        }
        Self {
            state: Mutex::new(state),
            answered: Condvar::new(),
            driver_trouble: Condvar::new(),
            driver_watch: CallWatch::default(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A thread that panicked left at worst one answer missing.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes over what sysfs shows. A GPU that was seen before and is missing
    /// now is lost, not forgotten.
    pub(crate) fn apply_scan(&self, found: &[PciGpu]) {
        let mut state = self.lock();
        state.seen_in_sysfs |= !found.is_empty();
        if !state.seen_in_sysfs {
            return;
        }
        for gpu in found {
            state.add(gpu.address);
        }
        let State { driver, gpus, leave_alone, .. } = &mut *state;
        for slot in gpus {
            if leave_alone.iter().any(|(address, _)| *address == slot.address) {
                continue;
            }
            let seen = found.iter().find(|gpu| gpu.address == slot.address);
            slot.may_suspend = seen.is_some_and(|gpu| gpu.may_suspend);
            // Once it is open, its own thread looks before every tick.
            let watched = slot.tenant.is_some() && slot.may_suspend;
            slot.set_rule(seen.map_or(Err(NoData::GpuLost), |gpu| rule(gpu, watched)), driver);
        }
        self.notify_if_complete(state);
    }

    /// Whether GPUs have to be listed by the driver because sysfs shows none.
    /// Listing may touch all of them, so not where some are to be left alone.
    pub(crate) fn wants_listing(&self) -> bool {
        let state = self.lock();
        !state.seen_in_sysfs && state.leave_alone.is_empty()
    }

    /// Takes over what the driver lists.
    pub(crate) fn add_listed(&self, addresses: &[PciAddress]) {
        let mut state = self.lock();
        for address in addresses {
            state.add(*address);
        }
    }

    /// The driver answers.
    pub(crate) fn driver_up(&self, library: &Arc<Library>) {
        let mut state = self.lock();
        state.driver = Driver::Up(Arc::clone(library));
        for slot in &mut state.gpus {
            if slot.standing == Standing::Absent(NoData::DriverGone) {
                slot.standing = Standing::Unopened;
                slot.awaited = true;
            }
        }
    }

    /// The driver does not answer; threads that still work on a GPU find out
    /// for themselves.
    pub(crate) fn driver_gone(&self) {
        let mut state = self.lock();
        state.driver = Driver::Gone;
        for slot in &mut state.gpus {
            if slot.tenant.is_none() {
                slot.standing = Standing::Absent(NoData::DriverGone);
            }
        }
        self.notify_if_complete(state);
    }

    /// Wakes the driver's thread: `library` is of no more use.
    pub(crate) fn report_driver_gone(&self, library: &Library) {
        library.mark_gone();
        let _state = self.lock();
        self.driver_trouble.notify_all();
    }

    /// Waits until `library` is gone, for `limit` at most.
    pub(crate) fn wait_for_driver_trouble(&self, library: &Library, limit: Duration) {
        let state = self.lock();
        let waited = self.driver_trouble.wait_timeout_while(state, limit, |_| !library.is_gone());
        drop(waited);
    }

    /// GPUs that may be touched and have no thread; each is taken by this call.
    pub(crate) fn take_vacancies(&self) -> Vec<Vacancy> {
        let mut state = self.lock();
        let Driver::Up(library) = &state.driver else { return Vec::new() };
        if library.is_gone() {
            return Vec::new();
        }
        let library = Arc::clone(library);
        let free =
            state.gpus.iter_mut().zip(0..).filter(|(slot, _)| slot.rule.is_ok() && slot.tenant.is_none());
        free.map(|(slot, position)| {
            let watch = Arc::new(CallWatch::default());
            slot.tenant = Some(Arc::clone(&watch));
            Vacancy { address: slot.address, library: Arc::clone(&library), watch, position }
        })
        .collect()
    }

    /// Asked by a GPU's thread at every tick, before it touches the GPU.
    pub(crate) fn permission(&self, address: PciAddress) -> Permission {
        match self.lock().slot(address) {
            Some(Slot { rule: Ok(()), may_suspend, .. }) => Permission::Read { may_suspend: *may_suspend },
            _ => Permission::Stop,
        }
    }

    /// A GPU's answer to tick `tick`.
    pub(crate) fn answer(&self, address: PciAddress, tick: u64, presence: Presence, fast: Fast) {
        let mut state = self.lock();
        if let Some(slot) = state.slot(address) {
            slot.standing = Standing::Answering(presence);
            slot.answered = Some(tick);
            slot.awaited = true;
            slot.fast = fast;
        }
        self.notify_if_complete(state);
    }

    /// A GPU's thread ends; `why` is what it found, if it found anything.
    pub(crate) fn leave(&self, address: PciAddress, why: Option<NoData>) {
        let mut state = self.lock();
        let untried = untried(&state.driver);
        if let Some(slot) = state.slot(address) {
            slot.tenant = None;
            slot.standing = why.map_or(untried, Standing::Absent);
        }
        self.notify_if_complete(state);
    }

    /// Waits for tick `tick` until all awaited GPUs answered or `deadline` has
    /// passed, and returns what there is then; `None` where `interrupt` came first.
    pub(crate) fn collect(
        &self,
        tick: u64,
        due: Instant,
        deadline: Instant,
        interrupt: Instant,
    ) -> Option<Vec<GpuSample>> {
        let mut state = self.lock();
        state.tick = tick;
        loop {
            let now = Instant::now();
            let pending = state.is_pending();
            if now >= deadline || (now >= due && !pending) {
                break;
            }
            if now >= interrupt {
                return None;
            }
            let until = if pending { deadline } else { due }.min(interrupt);
            let waited = self.answered.wait_timeout(state, until.saturating_duration_since(now));
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        let overdue = deadline.saturating_duration_since(due);
        let gpus = state.gpus.iter().map(|slot| slot.sample(tick, &self.driver_watch, overdue)).collect();
        for slot in &mut state.gpus {
            slot.awaited &= !slot.is_awaited(tick);
        }
        Some(gpus)
    }

    /// Wakes the ticker where nobody is awaited any more; after the lock is
    /// given back, or it would wake only to wait for it.
    fn notify_if_complete(&self, state: MutexGuard<'_, State>) {
        let complete = !state.is_pending();
        drop(state);
        if complete {
            self.answered.notify_one();
        }
    }
}

fn rule(gpu: &PciGpu, watched_by_its_thread: bool) -> Result<(), NoData> {
    match gpu.driver.as_deref() {
        None => Err(NoData::DriverGone),
        Some(NVIDIA_DRIVER) if gpu.suspended && !watched_by_its_thread => Err(NoData::Suspended),
        Some(NVIDIA_DRIVER) => Ok(()),
        Some(_) => Err(NoData::HandedOver),
    }
}
