//! What runs and what came of the last runs, for whoever wants to know.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use rackmark_health::burn_in::Mode;
use rackmark_model::gpu_work::BurnInTest;

use super::record::{Point, Record};

/// A run, as people are shown it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Running {
    /// How thorough.
    pub mode: Mode,
    /// When it began, milliseconds since 1970.
    pub began_unix_ms: u64,
    /// Time of all stages, in milliseconds.
    pub total_ms: u64,
    /// `waiting` or `running`.
    pub phase: &'static str,
    /// The stage that runs.
    pub stage: Option<usize>,
    /// Its test.
    pub test: Option<BurnInTest>,
    /// All stages.
    pub stages: usize,
    /// Wrong results so far.
    pub miscompares: u64,
    /// How the GPU is.
    pub point: Point,
}

/// A run that did not begin, or the outcome of the last one.
#[derive(Debug, Clone, PartialEq)]
pub enum Last {
    /// It was not begun, and why.
    NotBegun(String),
    /// It ended.
    Ended(Box<Record>),
}

#[derive(Debug, Default)]
struct Shown {
    running: BTreeMap<u8, Running>,
    last: BTreeMap<u8, Last>,
}

/// What runs and what came of the last runs, for whoever wants to know.
#[derive(Debug, Clone, Default)]
pub struct Board(Arc<Mutex<Shown>>);

impl Board {
    fn with<T>(&self, change: impl FnOnce(&mut Shown) -> T) -> T {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Shows a run as it is.
    pub fn show(&self, slot: u8, running: Running) {
        self.with(|shown| shown.running.insert(slot, running));
    }

    /// A run ended, or did not begin.
    pub fn end(&self, slot: u8, last: Last) {
        self.with(|shown| {
            shown.running.remove(&slot);
            shown.last.insert(slot, last);
        });
    }

    /// Shows the record of an earlier run, unless a newer one is shown.
    pub fn remember(&self, slot: u8, record: Record) {
        self.with(|shown| {
            shown.last.entry(slot).or_insert_with(|| Last::Ended(Box::new(record)));
        });
    }

    /// One GPU that is tested and was tested before.
    #[cfg(test)]
    pub fn sample() -> Self {
        use rackmark_health::burn_in::{Plan, Seen, Worked};

        use crate::burn_in::record::{Card, VERSION};

        let board = Self::default();
        let worked = Worked::new(Plan::of(Mode::Quick, 1));
        let judgement = rackmark_health::burn_in::judge("GPU-1", &worked, &Seen::default());
        let record = Record {
            version: VERSION,
            agent_version: String::new(),
            node: "node".to_owned(),
            simulated: true,
            card: Card { uuid: "GPU-1".to_owned(), ..Card::default() },
            driver_version: None,
            mode: Mode::Quick,
            by: "root".to_owned(),
            seed: 1,
            began_unix_ms: 1,
            ended_unix_ms: Some(2),
            gave_back_ms: None,
            worked,
            seen: Seen::default(),
            points: Vec::new(),
            judgement: Some(judgement),
        };
        board.remember(0, record);
        board.show(
            0,
            Running {
                mode: Mode::Quick,
                began_unix_ms: 3,
                total_ms: 1,
                phase: "running",
                stage: None,
                test: None,
                stages: 1,
                miscompares: 0,
                point: Point::default(),
            },
        );
        board
    }

    /// What runs, by slot.
    pub fn running(&self) -> BTreeMap<u8, Running> {
        self.with(|shown| shown.running.clone())
    }

    /// What came of the last run of a GPU.
    pub fn last(&self, slot: u8) -> Option<Last> {
        self.with(|shown| shown.last.get(&slot).cloned())
    }

    /// The last record of every GPU that has one, by slot; only what `look` makes of it is copied.
    pub fn records<T>(&self, look: impl Fn(u8, &Record) -> T) -> Vec<T> {
        self.with(|shown| {
            let ended = shown.last.iter().filter_map(|(slot, last)| match last {
                Last::Ended(record) => Some((*slot, record)),
                Last::NotBegun(_) => None,
            });
            ended.map(|(slot, record)| look(slot, record)).collect()
        })
    }
}
