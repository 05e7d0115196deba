//! Notices that NVML says something else of a GPU than before, or somebody of its card.

use std::sync::Arc;

use rackmark_health::Transition;
use rackmark_model::ipc::SamplerReport;
use tokio::sync::Notify;

use crate::sampling::roster::{Change, Roster};
use crate::sampling::task::Observer;

/// An observer that asks for a new look where a GPU's inventory changed or a swap was declared, for another one.
#[derive(Clone)]
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
        let news = |change: &Change| {
            matches!(
                change,
                Change::Inventory { .. }
                    | Change::Health(Transition::SwapDeclared { .. } | Transition::CardChanged { .. })
            )
        };
        if changes.iter().any(news) {
            self.due.notify_one();
        }
        self.next.reported(roster, report, changes);
    }
}
