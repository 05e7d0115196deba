//! Keeps one sampler alive, and leaves it behind when it hangs.

use std::collections::BTreeMap;
use std::sync::{Arc, RwLock};
use std::time::Duration;

use rackmark_model::ipc::{SamplePlan, SamplerOrder, SamplerReport};
use rackmark_model::{NoData, PciAddress};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep_until};

use super::link::{Link, LinkError};
use super::roster::{Change, Roster};
use crate::clock;
use crate::config::Config;
use crate::exit::chain;

/// The roster, as the exporter and the control socket see it.
pub type SharedRoster = Arc<RwLock<Roster>>;

/// A sampler that says nothing for three periods and this long is left behind.
const SILENCE_MAX: Duration = Duration::from_secs(5);

/// First wait before a sampler that failed is started again; doubles up to the maximum.
const RESTART_WAIT: Duration = Duration::from_millis(500);
const RESTART_WAIT_MAX: Duration = Duration::from_secs(30);

/// First wait before a GPU that hung is opened again; doubles up to the maximum.
const RETRY_HUNG: Duration = Duration::from_secs(60);
const RETRY_HUNG_MAX: Duration = Duration::from_secs(3600);

/// What sampling can be told to do.
#[derive(Debug)]
pub enum Request {
    /// Close the driver handles of one GPU or of all, for a time.
    Pause {
        /// One GPU, or all.
        gpu: Option<PciAddress>,
        /// For how long.
        length: Duration,
        /// Answered once no sampler holds the handles any more.
        done: oneshot::Sender<()>,
    },
    /// End a pause early.
    Resume {
        /// One GPU, or all.
        gpu: Option<PciAddress>,
    },
}

/// Gets every report after the roster took it, on the sampling task itself:
/// one plain call per report, so that no sample and no change is skipped.
pub trait Observer {
    /// `report` was taken and changed the roster in these ways.
    fn reported(&mut self, roster: &Roster, report: Option<&SamplerReport>, changes: &[Change]);
}

/// A GPU that hung and is left alone for now.
struct Hung {
    left_alone_until: Instant,
    wait: Duration,
}

/// The sampling task.
pub struct Sampling<O> {
    config: watch::Receiver<Arc<Config>>,
    roster: SharedRoster,
    observer: O,
    requests: mpsc::Receiver<Request>,
    paused_all: Option<Instant>,
    paused: BTreeMap<PciAddress, Instant>,
    hung: BTreeMap<PciAddress, Hung>,
}

/// Why a sampler was given up.
enum Outcome {
    /// A new order is due; start again at once.
    Reorder,
    /// It failed; start again after a wait.
    Failed(LinkError),
    /// It hangs; leave it behind and start again at once.
    Hangs,
    /// The daemon stops.
    Stop,
}

impl<O: Observer> Sampling<O> {
    /// Prepares the task.
    pub fn new(
        config: watch::Receiver<Arc<Config>>,
        roster: SharedRoster,
        observer: O,
        requests: mpsc::Receiver<Request>,
    ) -> Self {
        Self {
            config,
            roster,
            observer,
            requests,
            paused_all: None,
            paused: BTreeMap::new(),
            hung: BTreeMap::new(),
        }
    }

    /// Samples until `stop` is set or dropped.
    pub async fn run(mut self, mut stop: watch::Receiver<bool>) {
        let mut wait = RESTART_WAIT;
        while !*stop.borrow() {
            self.forget_what_is_over();
            self.note_pause();
            if self.paused_all.is_some() {
                self.announce(|roster| roster.not_sampled(NoData::Paused, clock::now()));
                if matches!(self.idle(None, &mut stop).await, Outcome::Stop) {
                    return;
                }
                continue;
            }
            let config = self.config.borrow_and_update().clone();
            let order = SamplerOrder::Sample(self.plan(&config));
            let outcome = match Link::open(&config, &order).await {
                Ok(mut link) => {
                    self.with_roster(|roster| roster.sampler.starts_total += 1);
                    let started = Instant::now();
                    let outcome = self.follow(&mut link, &config, &mut stop).await;
                    self.leave(link);
                    if started.elapsed() > RESTART_WAIT_MAX {
                        wait = RESTART_WAIT;
                    }
                    outcome
                }
                Err(error) => Outcome::Failed(error),
            };
            match outcome {
                Outcome::Stop => return,
                Outcome::Reorder => {}
                Outcome::Hangs => self.with_roster(|roster| roster.sampler.walked_away_total += 1),
                Outcome::Failed(error) => {
                    tracing::warn!(
                        error = chain(&error),
                        wait_ms = wait.as_millis(),
                        "sampler failed, starting another"
                    );
                    if matches!(error, LinkError::Malformed(_)) {
                        self.with_roster(|roster| roster.sampler.malformed_total += 1);
                    }
                    self.announce(|roster| roster.not_sampled(NoData::Timeout, clock::now()));
                    if matches!(self.idle(Some(Instant::now() + wait), &mut stop).await, Outcome::Stop) {
                        return;
                    }
                    wait = (wait * 2).min(RESTART_WAIT_MAX);
                }
            }
        }
    }

    /// Takes reports until something ends this sampler.
    async fn follow(
        &mut self,
        link: &mut Link,
        config: &Config,
        stop: &mut watch::Receiver<bool>,
    ) -> Outcome {
        let silence_max = config.period * 3 + SILENCE_MAX;
        let mut silent_at = Instant::now() + silence_max;
        loop {
            let next_change = self.next_deadline();
            tokio::select! {
                report = link.next() => match report {
                    Ok(report) => {
                        silent_at = Instant::now() + silence_max;
                        if self.take(&report) {
                            return Outcome::Hangs;
                        }
                    }
                    Err(error) => return Outcome::Failed(error),
                },
                () = sleep_until(silent_at) => {
                    self.announce(|roster| roster.fell_silent(silence_max.as_millis() as u64, clock::now()));
                    return Outcome::Hangs;
                }
                () = sleep_until(next_change.unwrap_or(silent_at)), if next_change.is_some() => {
                    if self.forget_what_is_over() {
                        return Outcome::Reorder;
                    }
                }
                request = self.requests.recv() => match request {
                    Some(request) => {
                        // The stream is closed before the answer is given.
                        let (outcome, done) = self.obey(request);
                        if let Some(done) = done {
                            self.pause_takes_hold(link, done).await;
                        }
                        return outcome;
                    }
                    None => return Outcome::Stop,
                },
                _ = self.config.changed() => return Outcome::Reorder,
                _ = stop.changed() => return Outcome::Stop,
            }
        }
    }

    /// Waits without a sampler until `until`, a request, a new configuration or the end.
    async fn idle(&mut self, until: Option<Instant>, stop: &mut watch::Receiver<bool>) -> Outcome {
        let wake = [until, self.next_deadline()].into_iter().flatten().min();
        let far = Instant::now() + RETRY_HUNG_MAX;
        tokio::select! {
            () = sleep_until(wake.unwrap_or(far)) => Outcome::Reorder,
            request = self.requests.recv() => match request {
                Some(request) => {
                    let (outcome, done) = self.obey(request);
                    if let Some(done) = done {
                        let _ = done.send(());
                    }
                    outcome
                }
                None => Outcome::Stop,
            },
            _ = self.config.changed() => Outcome::Reorder,
            _ = stop.changed() => Outcome::Stop,
        }
    }

    fn obey(&mut self, request: Request) -> (Outcome, Option<oneshot::Sender<()>>) {
        let done = match request {
            Request::Pause { gpu, length, done } => {
                let until = Instant::now() + length;
                match gpu {
                    Some(address) => {
                        self.paused.insert(address, until);
                    }
                    None => self.paused_all = Some(until),
                }
                Some(done)
            }
            Request::Resume { gpu } => {
                match gpu {
                    Some(address) => {
                        self.paused.remove(&address);
                    }
                    None => {
                        self.paused_all = None;
                        self.paused.clear();
                    }
                }
                None
            }
        };
        (Outcome::Reorder, done)
    }

    /// Closes the stream and answers once the sampler has ended, which is when
    /// the driver handles are closed; at the latest after two seconds.
    async fn pause_takes_hold(&mut self, link: &mut Link, done: oneshot::Sender<()>) {
        link.close_and_wait(Duration::from_secs(2)).await;
        let _ = done.send(());
    }

    fn plan(&self, config: &Config) -> SamplePlan {
        let paused = self.paused.keys().map(|address| (*address, NoData::Paused));
        let now = Instant::now();
        let hung = self.hung.iter().filter(|(_, hung)| hung.left_alone_until > now);
        let hung = hung.map(|(address, _)| (*address, NoData::Timeout));
        SamplePlan {
            period_ms: config.period.as_millis() as u32,
            slow_every_ticks: config.slow_every_ticks,
            pcie_throughput: config.pcie_throughput,
            leave_alone: paused.chain(hung).collect(),
        }
    }

    /// Leaves GPUs alone that were just found to hang, longer each time; true if there are any.
    fn note_hangs(&mut self, changes: &[(PciAddress, bool)]) -> bool {
        let now = Instant::now();
        let mut hangs = false;
        for (address, answering) in changes {
            if *answering {
                self.hung.remove(address);
                continue;
            }
            let wait = self.hung.get(address).map_or(RETRY_HUNG, |hung| (hung.wait * 2).min(RETRY_HUNG_MAX));
            self.hung.insert(*address, Hung { left_alone_until: now + wait, wait });
            hangs = true;
        }
        hangs
    }

    /// Drops pauses that ran out; true if a new order is due, also because a
    /// GPU that hung may be tried again.
    fn forget_what_is_over(&mut self) -> bool {
        let now = Instant::now();
        let before = (self.paused_all.is_some(), self.paused.len());
        self.paused_all = self.paused_all.filter(|until| *until > now);
        self.paused.retain(|_, until| *until > now);
        let mut due = before != (self.paused_all.is_some(), self.paused.len());
        // A process that is still stuck in the kernel holds the GPU it hung on;
        // another try would only leave a second one behind.
        let stuck = self.with_roster(|roster| !roster.sampler.stuck.is_empty());
        for hung in self.hung.values_mut().filter(|hung| hung.left_alone_until <= now) {
            if stuck {
                hung.left_alone_until = now + hung.wait;
            } else {
                due = true;
            }
        }
        due
    }

    fn next_deadline(&self) -> Option<Instant> {
        let now = Instant::now();
        let hung = self.hung.values().map(|hung| hung.left_alone_until).filter(|until| *until > now);
        self.paused_all.into_iter().chain(self.paused.values().copied()).chain(hung).min()
    }

    /// Hands a report to the roster and the observer; true if it tells of a GPU that hangs.
    fn take(&mut self, report: &SamplerReport) -> bool {
        let mut answers = Vec::new();
        {
            let mut roster = self.roster.write().unwrap_or_else(std::sync::PoisonError::into_inner);
            let changes = roster.take(report, clock::now());
            self.observer.reported(&roster, Some(report), &changes);
            for change in &changes {
                let (slot, answering) = match change {
                    Change::Answering { slot, .. } => (*slot, true),
                    Change::Unresponsive { slot, .. } => (*slot, false),
                    _ => continue,
                };
                answers.extend(roster.gpu(slot).map(|gpu| (gpu.address, answering)));
            }
        }
        self.note_hangs(&answers)
    }

    fn announce(&mut self, change: impl FnOnce(&mut Roster) -> Vec<Change>) {
        let mut roster = self.roster.write().unwrap_or_else(std::sync::PoisonError::into_inner);
        let changes = change(&mut roster);
        self.observer.reported(&roster, None, &changes);
    }

    /// Whether sampling is paused as a whole: silence is then no fault.
    fn note_pause(&self) {
        let paused = self.paused_all.is_some();
        self.with_roster(|roster| roster.around.paused = paused);
    }

    fn with_roster<T>(&self, change: impl FnOnce(&mut Roster) -> T) -> T {
        change(&mut self.roster.write().unwrap_or_else(std::sync::PoisonError::into_inner))
    }

    fn leave(&mut self, link: Link) {
        self.with_roster(|roster| roster.sampler.pid = None);
        let (stuck, gone) = (self.roster.clone(), self.roster.clone());
        link.walk_away(
            move |pid| {
                tracing::error!(pid, "sampler does not end even after SIGKILL; it hangs in the driver");
                stuck.write().unwrap_or_else(std::sync::PoisonError::into_inner).sampler.stuck.insert(pid);
            },
            move |pid| {
                tracing::info!(pid, "stuck sampler ended");
                gone.write().unwrap_or_else(std::sync::PoisonError::into_inner).sampler.stuck.remove(&pid);
            },
        );
    }
}
