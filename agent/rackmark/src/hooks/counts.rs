//! How runs went, for the metrics.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rackmark_model::hook::{HookEvent, HookResult};

/// Labels of `result`: what became of a hook, and of a run that did not come to its hooks.
pub struct Results;

impl Results {
    /// A file or folder is not as it has to be.
    pub const REFUSED: usize = HookResult::ALL.len();
    /// The process that runs hooks could not be reached, or went away.
    pub const UNAVAILABLE: usize = Self::REFUSED + 1;
    /// How many there are.
    pub const COUNT: usize = Self::UNAVAILABLE + 1;

    /// The label of a place.
    pub fn name(at: usize) -> &'static str {
        match at {
            Self::REFUSED => "refused",
            Self::UNAVAILABLE => "unavailable",
            at => HookResult::ALL.get(at).map_or("", |result| result.name()),
        }
    }

    /// The place of a result.
    pub fn place(result: HookResult) -> usize {
        HookResult::ALL.iter().position(|one| *one == result).unwrap_or(0)
    }
}

/// The figures of one event.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EventCounts {
    /// By result ([`Results`]).
    pub results: [u64; Results::COUNT],
    /// How long all hooks of the newest run took together.
    pub last: Duration,
    /// Runs that did not find a place to wait.
    pub dropped: u64,
    /// Runs that became one with another that waited.
    pub merged: u64,
}

#[derive(Default)]
pub(super) struct Counts(Mutex<[EventCounts; HookEvent::ALL.len()]>);

impl Counts {
    fn change(&self, event: HookEvent, change: impl FnOnce(&mut EventCounts)) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(at) = HookEvent::ALL.iter().position(|one| *one == event) {
            change(&mut all[at]);
        }
    }

    pub(super) fn result(&self, event: HookEvent, place: usize) {
        self.change(event, |counts| counts.results[place] += 1);
    }

    pub(super) fn took(&self, event: HookEvent, took: Duration) {
        self.change(event, |counts| counts.last = took);
    }

    pub(super) fn dropped(&self, event: HookEvent) {
        self.change(event, |counts| counts.dropped += 1);
    }

    pub(super) fn merged(&self, event: HookEvent) {
        self.change(event, |counts| counts.merged += 1);
    }

    /// Events that had any.
    pub(super) fn snapshot(&self) -> Vec<(HookEvent, EventCounts)> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let some = |counts: &&EventCounts| **counts != EventCounts::default();
        HookEvent::ALL
            .into_iter()
            .zip(all.iter())
            .filter(|(_, counts)| some(counts))
            .map(|(event, counts)| (event, counts.clone()))
            .collect()
    }
}
