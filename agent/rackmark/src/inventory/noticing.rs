//! Notices that NVML says something else of a GPU than before.

use std::sync::Arc;

use rackmark_model::ipc::SamplerReport;
use tokio::sync::Notify;

use crate::sampling::roster::{Change, Roster};
use crate::sampling::task::Observer;

/// An observer that asks for a new look where a GPU's inventory changed, for another one.
pub struct Noticing<O> {
    due: Arc<Notify>,
    next: O,
}

impl<O> Noticing<O> {
    /// Stands before `next`.
    pub const fn new(due: Arc<Notify>, next: O) -> Self {
        Self { due, next }
    }
}

impl<O: Observer> Observer for Noticing<O> {
    fn reported(&mut self, roster: &Roster, report: Option<&SamplerReport>, changes: &[Change]) {
        if changes.iter().any(|change| matches!(change, Change::Inventory { .. })) {
            self.due.notify_one();
        }
        self.next.reported(roster, report, changes);
    }
}
