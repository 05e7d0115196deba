//! Runs what waits, tries again what said that it was not the time, and tells how it went.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rackmark_feed::EventKind;
use rackmark_health::Verb;
use rackmark_model::hook::{
    DOCUMENT_BYTES_MAX, HookEnd, HookEvent, HookOrder, HookReport, HookResult, HookRun, HookTask, Skip,
    TIMEOUT_MS,
};
use tokio::sync::watch;

use super::Hooks;
use super::content::{Content, GpuName};
use super::counts::Results;
use super::link::ask;
use super::queue::{Class, Wanted};
use crate::config::{Config, HookSettings};
use crate::control::verbs::People;
use crate::exit::chain;
use crate::publish::encode::cut;
use crate::publish::feed::SharedFeed;
use crate::sampling::task::SharedRoster;

/// A hook that says *not now* is run again after these pauses, together with the others that said so. What comes
/// after it in its class waits.
const PAUSES: [Duration; 2] = [Duration::from_secs(5), Duration::from_secs(30)];

/// A folder is on a local disk; one that takes longer hangs, and the process that runs hooks may find out.
const LOOK_TIME: Duration = Duration::from_secs(2);

/// Most bytes of a hook's standard error in one line of the log.
const STDERR_IN_LOG: usize = 1024;

/// What became of a run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outcome {
    /// The hooks that ran, each as it ended last.
    pub runs: Vec<HookRun>,
    /// Files that were left alone, and why.
    pub skipped: Vec<(String, Skip)>,
    /// Why not all of them ran.
    pub trouble: Option<String>,
}

impl Outcome {
    /// Why what the event announces must not go on, where the event may be vetoed: the first hook that did not do what
    /// it is for, a file that was refused, or trouble. A file that may not be executed was set aside on purpose.
    pub fn veto(&self) -> Option<String> {
        let failed = self.runs.iter().find(|run| run.end.result() != HookResult::Done);
        let refused = self.skipped.iter().find(|(_, why)| counts(*why));
        failed
            .map(|run| format!("{} {}", run.name, words(&run.end)))
            .or_else(|| refused.map(|(name, why)| format!("{name} {}", why.words())))
            .or_else(|| self.trouble.clone())
    }
}

/// Whether a file that was left alone is a mistake.
const fn counts(why: Skip) -> bool {
    !matches!(why, Skip::Name | Skip::NotExecutable)
}

/// What an event would run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Listed {
    /// Hooks, in order.
    pub hooks: Vec<String>,
    /// Files that are left alone, and why.
    pub skipped: Vec<(String, Skip)>,
    /// Why none of them would run.
    pub trouble: Option<String>,
}

/// The far side: what runs the hooks.
#[derive(Clone)]
pub struct Runner {
    hooks: Hooks,
    config: watch::Receiver<Arc<Config>>,
    feed: SharedFeed,
    roster: SharedRoster,
    people: People,
    pauses: &'static [Duration],
}

impl Runner {
    /// Tells `feed`, and drains through `people` the GPUs of leases whose hooks say no.
    pub fn new(
        hooks: Hooks,
        config: watch::Receiver<Arc<Config>>,
        feed: SharedFeed,
        roster: SharedRoster,
        people: People,
    ) -> Self {
        Self { hooks, config, feed, roster, people, pauses: &PAUSES }
    }

    /// Runs what waits until `stop` is set. A hook that runs then is ended by the end of its stream.
    pub async fn run(self, stop: watch::Receiver<bool>) {
        tokio::join!(
            self.serve(Class::Inventory, stop.clone()),
            self.serve(Class::Verdict, stop.clone()),
            self.serve(Class::BurnIn, stop.clone()),
            self.serve(Class::Operator, stop.clone()),
            self.serve(Class::Lease, stop.clone()),
        );
    }

    async fn serve(&self, class: Class, mut stop: watch::Receiver<bool>) {
        loop {
            tokio::select! {
                () = async { self.carry_out(self.hooks.queue(class).next().await).await } => {}
                _ = stop.wait_for(|stop| *stop) => return,
            }
        }
    }

    async fn carry_out(&self, mut wanted: Wanted) {
        let answer = wanted.answer.take();
        let outcome = self.outcome(&wanted, answer.is_none()).await;
        match answer {
            // Whoever asked may be gone.
            Some(answer) => drop(answer.send(outcome)),
            None => self.mind(&wanted.content, &outcome),
        }
    }

    /// Runs the hooks of an event; with `again` also those that say *not now*, until they are tired of it.
    async fn outcome(&self, wanted: &Wanted, again: bool) -> Outcome {
        let settings = self.config.borrow().hooks.clone();
        let event = wanted.content.event();
        let mut outcome = Outcome::default();
        if !has_folder(&settings.dir, event).await {
            return outcome;
        }
        let document = self.hooks.document(wanted);
        if document.len() > DOCUMENT_BYTES_MAX {
            outcome.trouble = Some(format!("the document has more than {DOCUMENT_BYTES_MAX} bytes"));
            self.unavailable(event, &outcome);
            return outcome;
        }
        let begun = Instant::now();
        let timeout = settings.timeout(event).as_millis();
        let timeout_ms = u32::try_from(timeout).unwrap_or(*TIMEOUT_MS.end());
        let mut only: Option<Vec<String>> = None;
        let pauses = if again { self.pauses } else { &[] };
        for pause in pauses.iter().map(Some).chain([None]) {
            let task = HookTask::Run { document: document.clone(), timeout_ms, only: only.clone() };
            let order = HookOrder { event, task };
            let first = only.is_none();
            let asked =
                ask(&settings, &order, |report| self.take(report, event, wanted, first, &mut outcome));
            if let Err(error) = asked.await {
                outcome.trouble = Some(chain(&error));
                self.unavailable(event, &outcome);
                break;
            }
            let later: Vec<String> = outcome
                .runs
                .iter()
                .filter(|run| run.end.result() == HookResult::Later)
                .map(|run| run.name.clone())
                .collect();
            let Some(pause) = pause.filter(|_| !later.is_empty()) else { break };
            only = Some(later);
            tokio::time::sleep(*pause).await;
        }
        self.hooks.0.counts.took(event, begun.elapsed());
        outcome
    }

    /// Takes one report of a run; `first` unless hooks are tried again.
    fn take(
        &self,
        report: HookReport,
        event: HookEvent,
        wanted: &Wanted,
        first: bool,
        outcome: &mut Outcome,
    ) {
        match report {
            HookReport::Ran(run) => {
                self.hooks.0.counts.result(event, Results::place(run.end.result()));
                narrate(event, &run);
                if !wanted.test {
                    let slot = <[u8; 1]>::try_from(wanted.content.slots()).ok().map(|[slot]| slot);
                    self.feed
                        .with(&self.roster, |feed, roster| feed.hook_ran(edge(event, &run), slot, roster));
                }
                outcome.runs.retain(|known| known.name != run.name);
                outcome.runs.push(*run);
            }
            HookReport::Skipped { name, reason } if first => {
                if counts(reason) {
                    self.hooks.0.counts.result(event, Results::REFUSED);
                    let (event, why) = (event.name(), reason.words());
                    tracing::error!(event, hook = name, "a hook is not run: it {why}");
                }
                outcome.skipped.push((name, reason));
            }
            HookReport::Refused { folder, reason } => {
                self.hooks.0.counts.result(event, Results::REFUSED);
                let trouble = format!("{folder} {}", reason.words());
                tracing::error!(event = event.name(), "hooks are not run: {trouble}");
                outcome.trouble = Some(trouble);
            }
            HookReport::Skipped { .. } | HookReport::Would { .. } | HookReport::Done => {}
        }
    }

    fn unavailable(&self, event: HookEvent, outcome: &Outcome) {
        self.hooks.0.counts.result(event, Results::UNAVAILABLE);
        let trouble = outcome.trouble.as_deref().unwrap_or("");
        tracing::error!(event = event.name(), trouble, "hooks are not run, or not all of them");
    }

    /// Minds a hook's no to what has happened already: nothing new is placed on the GPUs of such a lease.
    fn mind(&self, content: &Content, outcome: &Outcome) {
        let event = content.event();
        let Some(why) = outcome.veto().filter(|_| event.may_veto()) else { return };
        tracing::warn!(event = event.name(), "its GPUs are drained: {why}");
        let by = format!("hooks of {}", event.name());
        let mut reason = format!("{}: {why}", event.name());
        reason.truncate(reason.floor_char_boundary(rackmark_health::WORDS_BYTES_MAX));
        let mut drained = Vec::new();
        self.people.clone().announce(|roster, now, changes| {
            for slot in content.slots() {
                let occupancy = roster.health.gpus.get(usize::from(slot)).map(|gpu| &gpu.occupancy);
                // An operator's reason stays.
                if occupancy.is_none_or(|occupancy| occupancy.drained.is_some()) {
                    continue;
                }
                let drain = Verb::Drain { slot: Some(slot), reason: &reason };
                if roster.carry_out(&drain, &by, now, changes).is_ok() {
                    drained.push(GpuName::of(slot, roster));
                }
            }
        });
        if !drained.is_empty() {
            self.hooks.happened(Content::Quarantine { gpus: drained, reason, by });
        }
    }
}

impl HookSettings {
    /// What every event would run.
    pub async fn list(&self) -> Vec<(HookEvent, Listed)> {
        let mut events = Vec::new();
        for event in HookEvent::ALL {
            let mut listed = Listed::default();
            if has_folder(&self.dir, event).await {
                let order = HookOrder { event, task: HookTask::List };
                let asked = ask(self, &order, |report| match report {
                    HookReport::Would { name } => listed.hooks.push(name),
                    HookReport::Skipped { name, reason } => listed.skipped.push((name, reason)),
                    HookReport::Refused { folder, reason } => {
                        listed.trouble = Some(format!("{folder} {}", reason.words()));
                    }
                    HookReport::Ran(_) | HookReport::Done => {}
                });
                if let Err(error) = asked.await {
                    listed.trouble = Some(chain(&error));
                }
            }
            events.push((event, listed));
        }
        events
    }
}

/// Whether an event has a folder, as far as that can be seen from here. Where it cannot, the process that runs hooks
/// looks.
async fn has_folder(dir: &Path, event: HookEvent) -> bool {
    let folder = dir.join(event.name());
    let looking = tokio::task::spawn_blocking(move || folder.try_exists().unwrap_or(true));
    match tokio::time::timeout(LOOK_TIME, looking).await {
        Ok(Ok(looked)) => looked,
        Ok(Err(_)) | Err(_) => true,
    }
}

fn narrate(event: HookEvent, run: &HookRun) {
    let (event, hook, took_ms) = (event.name(), run.name.as_str(), run.took_ms);
    let message = run.output.message.as_str();
    if let Some(fault) = run.output.fault {
        tracing::warn!(event, hook, fault = fault.name(), "the output of a hook is not as it should be");
    }
    match run.end.result() {
        HookResult::Done => tracing::info!(event, hook, took_ms, message, "a hook ran"),
        _ => {
            let stderr = &run.stderr[..run.stderr.floor_char_boundary(STDERR_IN_LOG)];
            let stderr = stderr.replace('\n', " | ");
            tracing::warn!(event, hook, took_ms, message, stderr, "a hook {}", words(&run.end));
        }
    }
}

/// How a hook ended, after its name.
pub(super) fn words(end: &HookEnd) -> String {
    match (end, end.result()) {
        (HookEnd::Exited(code), HookResult::Later) => {
            format!("said that it is not the time (exit code {code})")
        }
        (HookEnd::Exited(code), HookResult::NotPermitted) => format!("lacks rights (exit code {code})"),
        (HookEnd::Exited(code), HookResult::NotConfigured) => format!("is not configured (exit code {code})"),
        (HookEnd::Exited(0), _) => "is done".to_owned(),
        (HookEnd::Exited(code), _) => format!("failed (exit code {code})"),
        (HookEnd::Killed(signal), _) => format!("was ended by signal {signal}"),
        (HookEnd::TimedOut(_), _) => "took too long".to_owned(),
        (HookEnd::NotStarted(why), _) => format!("could not be started: {why}"),
    }
}

/// The same for the feed: what the hook said, or how it ended.
fn edge(event: HookEvent, run: &HookRun) -> EventKind {
    let message = if run.output.message.is_empty() && run.end.result() != HookResult::Done {
        words(&run.end)
    } else {
        run.output.message.clone()
    };
    EventKind::HookRan {
        event: event.name().to_owned(),
        hook: run.name.clone(),
        exit: run.end.code(),
        took_ms: run.took_ms,
        message: cut(&message),
    }
}
