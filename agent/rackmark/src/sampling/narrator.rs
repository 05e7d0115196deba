//! Tells the operator, in the log, what changed; then hands it on.

use rackmark_health::{Severity, Transition};
use rackmark_model::NoData;
use rackmark_model::ipc::SamplerReport;

use super::roster::{Change, Roster};
use super::task::Observer;
use crate::judging::{slot_of, whom, words};

/// An observer that logs changes for another one.
#[derive(Clone)]
pub struct Narrator<O>(O);

impl<O> Narrator<O> {
    /// Stands before `observer`.
    pub fn new(observer: O) -> Self {
        Self(observer)
    }
}

impl<O: Observer> Observer for Narrator<O> {
    fn reported(&mut self, roster: &Roster, report: Option<&SamplerReport>, changes: &[Change]) {
        for change in changes {
            narrate(change, roster);
        }
        self.0.reported(roster, report, changes);
    }
}

/// WARN: odd, and someone may want to look. ERROR: a GPU or the driver does not
/// work and a person is needed.
fn narrate(change: &Change, roster: &Roster) {
    let gpu =
        |slot: &u8| roster.gpu(*slot).map_or_else(|| format!("GPU {slot}"), |gpu| gpu.identity.describe());
    match change {
        Change::DriverBack { version } => {
            tracing::info!(version, simulated = roster.simulated(), "NVIDIA driver answers");
        }
        Change::DriverGone { cause } => tracing::warn!(cause, "NVIDIA driver cannot be used, trying again"),
        Change::Appeared { slot } => tracing::debug!("{} found", gpu(slot)),
        Change::Answering { slot, again: false } => tracing::debug!("{} answers", gpu(slot)),
        Change::Answering { slot, again: true } => tracing::info!("{} answers again", gpu(slot)),
        Change::Unresponsive { slot, function, for_ms } if function.is_empty() => {
            tracing::error!(for_ms, "{} is unresponsive: its sampler fell silent", gpu(slot));
        }
        Change::Unresponsive { slot, function, for_ms } => {
            tracing::error!(for_ms, "{} is unresponsive: {function} does not come back", gpu(slot));
        }
        Change::Absent { slot, why: NoData::GpuLost } => tracing::error!("{} is lost", gpu(slot)),
        Change::Absent { slot, why: NoData::NotSampled | NoData::Timeout } => {
            tracing::debug!("{} is not sampled", gpu(slot));
        }
        Change::Absent { slot, why } => tracing::info!(reason = why.name(), "{} is not sampled", gpu(slot)),
        Change::Inventory { slot } => tracing::debug!("{} has a new inventory", gpu(slot)),
        Change::Slow { .. } => {}
        Change::Health(transition) => narrate_health(transition, roster),
    }
}

/// A transition in the log. WARN and ERROR follow the severity; what is only bookkeeping is INFO or below.
fn narrate_health(transition: &Transition, roster: &Roster) {
    let whom = whom(slot_of(transition), roster);
    let words = words(transition);
    match transition {
        Transition::Raised { condition, .. } => match condition.severity {
            Severity::Critical => tracing::error!("{whom}: {words}"),
            Severity::Warning => tracing::warn!("{whom}: {words}"),
            Severity::Info => tracing::info!("{whom}: {words}"),
        },
        Transition::Incident { .. } | Transition::SxId { .. } | Transition::KernelLogLost { .. } => {
            tracing::warn!("{whom}: {words}");
        }
        Transition::State { .. } => tracing::debug!("{whom}: {words}"),
        _ => tracing::info!("{whom}: {words}"),
    }
}
