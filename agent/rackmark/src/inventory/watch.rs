//! Looks from time to time, and tells what changed.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use rackmark_firmware_hooks::inventory::{Changed, Finding};
use tokio::sync::{Notify, oneshot, watch};
use tokio::task::JoinHandle;

use super::look::{Look, tables};
use super::{Kept, SharedInventory, Told};
use crate::bmc::SharedBmc;
use crate::clock;
use crate::config::Config;
use crate::exit::chain;
use crate::publish::identity::StateDir;
use crate::sampling::task::SharedRoster;

/// Time between two looks: parts are changed while a machine is off, firmware and drivers seldom otherwise.
const EVERY: Duration = Duration::from_secs(600);

/// GPUs are opened one after the other; so long after the first of them said something new, one look is for all.
const SETTLE: Duration = Duration::from_secs(2);

/// A look takes milliseconds, with a slow BMC seconds; one that takes longer hangs in the kernel.
const PATIENCE: Duration = Duration::from_secs(60);

/// What the task looks at, and where it leaves what it saw.
pub struct Watched {
    /// The configuration in force.
    pub config: watch::Receiver<Arc<Config>>,
    /// What NVML says.
    pub roster: SharedRoster,
    /// The newest look.
    pub inventory: SharedInventory,
    /// What the BMC says.
    pub bmc: SharedBmc,
    /// Keeps it for the next run.
    pub state: StateDir,
    /// A look is due.
    pub due: Arc<Notify>,
    /// Whoever waits for the first look.
    pub first: Option<oneshot::Sender<FirstLook>>,
}

/// What the first look found that is not kept.
#[derive(Debug)]
pub struct FirstLook {
    /// The measured-boot event log, as the firmware wrote it; absent where there is none, or no collector that reads it.
    pub boot_log: Option<Vec<u8>>,
}

/// Looks until `stop` is set. `tell` is called where something changed or other findings stand than before.
pub async fn watch(
    mut watched: Watched,
    mut tell: impl FnMut(&Told<'_>) + Send,
    mut stop: watch::Receiver<bool>,
) {
    let mut trouble = None;
    loop {
        let config = watched.config.borrow_and_update().clone();
        let looked = tokio::select! {
            looked = watched.look(&config, &mut trouble) => looked,
            _ = stop.wait_for(|stop| *stop) => return,
        };
        let (looked, boot_log) = looked;
        if let Some(looked) = looked {
            watched.take(looked, &mut tell);
        }
        if let Some(first) = watched.first.take() {
            let _ = first.send(FirstLook { boot_log });
        }
        tokio::select! {
            () = next(&watched.due) => {}
            _ = stop.wait_for(|stop| *stop) => return,
        }
    }
}

/// Waits until a look is due.
async fn next(due: &Notify) {
    if tokio::time::timeout(EVERY, due.notified()).await.is_ok() {
        tokio::time::sleep(SETTLE).await;
    }
}

/// A look, and what changed since the one before.
struct Looked {
    kept: Kept,
    changes: Vec<Changed>,
    appeared: Vec<Finding>,
    other_findings: bool,
}

impl Watched {
    /// Looks, compares and keeps, on a thread that may block: the driver's files and the disk can hang. The boot log goes
    /// with it where somebody waits for that.
    async fn look(&self, config: &Config, trouble: &mut Option<String>) -> (Option<Looked>, Option<Vec<u8>>) {
        let tables = tables(config, trouble).await;
        let boot_log = self.first.as_ref().and_then(|_| tables.boot_event_log.clone());
        let said = self.bmc.read().unwrap_or_else(PoisonError::into_inner).said();
        let look =
            Look::new(config, &self.roster.read().unwrap_or_else(PoisonError::into_inner), tables, said);
        let before = self.inventory.read().unwrap_or_else(PoisonError::into_inner).clone();
        let state = self.state.clone();
        let looking = tokio::task::spawn_blocking(move || {
            let inventory = look.take();
            compare(before, Kept { taken_unix_ms: clock::unix_ms(), inventory }, &state)
        });
        let looked = patient(looking).await;
        let looked = looked.inspect_err(|error| tracing::error!(%error, "the inventory was not made"));
        (looked.ok(), boot_log)
    }

    fn take(&self, looked: Looked, tell: &mut impl FnMut(&Told<'_>)) {
        let Looked { kept, changes, appeared, other_findings } = looked;
        let findings = kept.inventory.findings.clone();
        *self.inventory.write().unwrap_or_else(PoisonError::into_inner) = Some(kept);
        if other_findings || !changes.is_empty() {
            tell(&Told { changes: &changes, findings: &findings, appeared: &appeared });
        }
    }
}

/// Waits for a look, however long it takes: a second one would hang as the first.
async fn patient(mut looking: JoinHandle<Looked>) -> Result<Looked, tokio::task::JoinError> {
    if let Ok(looked) = tokio::time::timeout(PATIENCE, &mut looking).await {
        return looked;
    }
    tracing::warn!(
        seconds = PATIENCE.as_secs(),
        "a look at the inventory hangs in the kernel; it is waited for"
    );
    looking.await
}

fn compare(before: Option<Kept>, mut now: Kept, state: &StateDir) -> Looked {
    let changes = before.as_ref().map_or_else(Vec::new, |before| now.inventory.since(&before.inventory));
    let stood = before.as_ref().map_or(&[][..], |before| &before.inventory.findings);
    let findings = &now.inventory.findings;
    let appeared = findings.iter().filter(|finding| !stood.contains(finding)).cloned().collect();
    let other_findings = stood != findings.as_slice();
    // The time alone is not worth a write.
    if before.is_none_or(|before| before.inventory != now.inventory)
        && let Err(error) = state.keep_inventory(&now)
    {
        tracing::error!(error = chain(&error), "the inventory is not kept on disk");
    }
    Looked { kept: now, changes, appeared, other_findings }
}

#[cfg(test)]
mod tests;
