//! What this server is, looked at from time to time: the readers of
//! [`rackmark_firmware_hooks::inventory`], what the collector hands over and
//! what NVML says, put together, compared with the last time and kept.

mod document;
mod library;
mod look;
mod noticing;
mod watch;

use std::sync::{Arc, RwLock};

use rackmark_firmware_hooks::inventory::{Changed, Finding, Inventory};
use serde::{Deserialize, Serialize};

pub use document::{digest_hex, document};
pub use library::library_path;
pub use noticing::Noticing;
pub use watch::{FirstLook, Watched, watch};

/// The newest look, as it is kept in the state directory.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kept {
    /// When it was taken, milliseconds since 1970.
    pub taken_unix_ms: u64,
    /// What was seen.
    pub inventory: Inventory,
}

/// The newest look, as the control socket sees it; absent before the first one of this machine.
pub type SharedInventory = Arc<RwLock<Option<Kept>>>;

/// What a look has to tell.
#[derive(Debug, Clone, Copy)]
pub struct Told<'a> {
    /// What changed since the look before, also since one of an earlier run.
    pub changes: &'a [Changed],
    /// Everything that contradicts itself now.
    pub findings: &'a [Finding],
    /// Of that, what did not at the look before.
    pub appeared: &'a [Finding],
}

/// Tells the log what changed, and what contradicts itself from now on.
pub fn narrate(told: &Told<'_>) {
    for change in told.changes {
        let Changed { component, instance, field, from, to } = change;
        let part = if instance.is_empty() {
            component.name().to_owned()
        } else {
            format!("{} {instance}", component.name())
        };
        match (from, to) {
            (Some(from), Some(to)) => tracing::info!("inventory: {field} of {part} is {to} after {from}"),
            (None, Some(to)) => tracing::info!("inventory: {field} of {part} is {to}, which is new"),
            (Some(from), None) => tracing::info!("inventory: {field} of {part} was {from} and is gone"),
            (None, None) => {}
        }
    }
    for finding in told.appeared {
        let Finding { code, instance, detail } = finding;
        tracing::warn!(finding = code.name(), instance, detail, "inventory: {}", code.meaning());
    }
    // Without changes the call is about findings.
    if told.changes.is_empty() && told.findings.is_empty() {
        tracing::info!("inventory: nothing contradicts itself any more");
    }
}
