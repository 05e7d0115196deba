//! The judgement on the feed: transitions are events, what stands is part of the capacity level.

use rackmark_feed as feed;
use rackmark_feed::{EventKind, Extension, SlotCondition, Xid, XidSource};
use rackmark_health as health;
use rackmark_health::{Severity, Transition};

use super::encode::{cut, gpu_state, verdict};
use crate::sampling::roster::Roster;

/// Bytes of one capacity message that conditions may take: with 64 GPUs their fields take the rest of a frame.
const CONDITIONS_ROOM: usize = 16 * 1024;

/// The event of a transition, its GPU, and when it happened (milliseconds since 1970); `now_unix_ms` where
/// the transition does not say.
pub fn event(transition: &Transition, now_unix_ms: u64) -> (EventKind, Option<u8>, u64) {
    let (kind, slot, at) = match transition {
        Transition::Raised { slot, condition: one } => {
            (EventKind::ConditionRaised { condition: condition(one) }, *slot, now_unix_ms)
        }
        Transition::Cleared { slot, condition, by } => {
            let kind = EventKind::ConditionCleared {
                code: condition.code.name().to_owned(),
                key: condition.key,
                since_unix_ms: condition.since_unix_ms,
                by: cleared_by(*by),
            };
            (kind, *slot, now_unix_ms)
        }
        Transition::Incident { slot, incident } => {
            (EventKind::Xid(xid(incident)), *slot, incident.first_unix_ms)
        }
        Transition::IncidentEnded { slot, incident } => {
            let kind = EventKind::IncidentEnded {
                xid: incident.code,
                count: incident.occurrences(),
                first_unix_ms: incident.first_unix_ms,
                last_unix_ms: incident.last_unix_ms,
                by_driver: incident.by_driver,
                by_kernel_log: incident.by_kernel_log,
            };
            (kind, *slot, now_unix_ms)
        }
        Transition::SxId { pci_text, code, fatal, text } => {
            let (pci_address, text) = (cut(pci_text), cut(text));
            (EventKind::SxId { code: *code, fatal: *fatal, pci_address, text }, None, now_unix_ms)
        }
        Transition::Verdict { slot, from, to, reason } => {
            let (from, to) = (verdict(*from), verdict(*to));
            (EventKind::VerdictChanged { from, to, reason: cut(reason) }, *slot, now_unix_ms)
        }
        Transition::State { slot, from, to, cause, reason } => {
            let (from, to, cause) = (gpu_state(*from), gpu_state(*to), state_cause(*cause));
            (EventKind::StateChanged { from, to, cause, reason: cut(reason) }, Some(*slot), now_unix_ms)
        }
        Transition::ClockStepped { by_ms } => (EventKind::ClockStepped { by_ms: *by_ms }, None, now_unix_ms),
        Transition::KernelLogLost { records } => {
            (EventKind::KernelLogLost { records: *records }, None, now_unix_ms)
        }
        Transition::MaintenanceStarted { slot, until_unix_ms, reason } => {
            let kind = EventKind::MaintenanceStarted { until_unix_ms: *until_unix_ms, reason: cut(reason) };
            (kind, *slot, now_unix_ms)
        }
        Transition::MaintenanceEnded { slot } => (EventKind::MaintenanceEnded, *slot, now_unix_ms),
        Transition::LeaseStarted { slot, lease, until_unix_ms } => {
            let kind = EventKind::LeaseStarted { lease: cut(lease), until_unix_ms: *until_unix_ms };
            (kind, Some(*slot), now_unix_ms)
        }
        Transition::LeaseEnded { slot, lease } => {
            (EventKind::LeaseEnded { lease: cut(lease) }, Some(*slot), now_unix_ms)
        }
        Transition::Acknowledged { slot, code, key, by } => {
            let kind = EventKind::Acknowledged { code: cut(code), key: *key, by: cut(by) };
            (kind, *slot, now_unix_ms)
        }
        Transition::CardChanged { slot, from, to, ticket } => {
            let text = |text: &Option<String>| text.as_deref().map(cut);
            let kind = EventKind::CardReplaced {
                old_uuid: text(&from.uuid),
                old_serial: text(&from.serial),
                new_uuid: text(&to.uuid),
                new_serial: text(&to.serial),
                ticket: text(ticket),
            };
            (kind, Some(*slot), now_unix_ms)
        }
        Transition::CardMoved { slot, from_slot } => {
            (EventKind::CardMoved { from_slot: *from_slot }, Some(*slot), now_unix_ms)
        }
        Transition::BurnInEnded { slot, mode, outcome, reason, took_ms, memory_bytes } => {
            let kind = EventKind::BurnInEnded {
                mode: mode.name().to_owned(),
                outcome: outcome.name().to_owned(),
                reason: cut(reason),
                took_ms: *took_ms,
                memory_bytes: *memory_bytes,
            };
            (kind, Some(*slot), now_unix_ms)
        }
        Transition::SwapDeclared { slot, ticket, by, until_unix_ms } => {
            let kind =
                EventKind::SwapDeclared { ticket: cut(ticket), by: cut(by), expires_unix_ms: *until_unix_ms };
            (kind, Some(*slot), now_unix_ms)
        }
    };
    (kind, slot, at)
}

/// What stands, as extensions of the operator's capacity; the others are cut from it.
pub fn extensions(roster: &Roster) -> Vec<Extension> {
    let node = roster.health.conditions.visible().map(|one| (None, one));
    let gpus = roster
        .health
        .gpus
        .iter()
        .zip(0..)
        .flat_map(|(gpu, slot)| gpu.conditions.visible().map(move |one| (Some(slot), one)));
    let mut standing: Vec<(Option<u8>, &health::Condition)> = node.chain(gpus).collect();
    standing
        .sort_by_key(|(slot, one)| (std::cmp::Reverse((one.effect, one.severity)), *slot, one.code, one.key));
    let conditions: Vec<SlotCondition> =
        standing.into_iter().map(|(slot, one)| SlotCondition { slot, condition: condition(one) }).collect();
    let (mut extensions, left_out) =
        feed::body::capacity::conditions_extensions_within(&conditions, CONDITIONS_ROOM);
    if left_out > 0 {
        tracing::warn!(left_out, "more conditions stand than a message has room for");
    }
    let work = |slot, work: &Option<health::Maintenance>| {
        work.as_ref().map(|work| feed::Maintenance {
            slot,
            until_unix_ms: work.until_unix_ms,
            reason: cut(&work.reason),
        })
    };
    let node = work(None, &roster.health.maintenance);
    let gpus = roster
        .health
        .gpus
        .iter()
        .zip(0..)
        .filter_map(|(gpu, slot)| work(Some(slot), &gpu.occupancy.maintenance));
    let maintenance: Vec<_> = node.into_iter().chain(gpus).collect();
    if !maintenance.is_empty() {
        extensions.extend(feed::body::capacity::maintenance_extensions(&maintenance).0);
    }
    let judged = &roster.health.verdict;
    let node_verdict = feed::NodeVerdict { verdict: verdict(judged.verdict), reason: cut(&judged.reason) };
    extensions.extend(feed::body::capacity::node_verdict_extension(&node_verdict).ok());
    extensions
}

fn condition(condition: &health::Condition) -> feed::Condition {
    feed::Condition {
        code: condition.code.name().to_owned(),
        key: condition.key,
        severity: match condition.severity {
            Severity::Info => feed::Severity::Info,
            Severity::Warning => feed::Severity::Warning,
            Severity::Critical => feed::Severity::Critical,
        },
        action: action(condition.action),
        since_unix_ms: condition.since_unix_ms,
        acknowledged: condition.acknowledged.is_some(),
        detail: cut(&condition.detail),
    }
}

fn xid(incident: &health::Incident) -> Xid {
    Xid {
        code: incident.code,
        source: match incident.first_witness {
            health::Witness::Driver => XidSource::Driver,
            health::Witness::KernelLog => XidSource::KernelLog,
        },
        text: match incident.address_text.as_str() {
            "" => cut(&incident.text),
            address => cut(&format!("{address}: {}", incident.text)),
        },
        pid: incident.pid,
        process: incident.process.as_deref().map(cut),
        gpu_instance_id: incident.instance.map(|instance| instance.gpu_instance),
        compute_instance_id: incident.instance.and_then(|instance| instance.compute_instance),
        caused_by: incident.caused_by,
    }
}

const fn action(action: health::Action) -> feed::Action {
    match action {
        health::Action::None => feed::Action::None,
        health::Action::RestartApplication => feed::Action::RestartApplication,
        health::Action::ContactSupport => feed::Action::ContactSupport,
        health::Action::Drain => feed::Action::Drain,
        health::Action::ResetGpu => feed::Action::ResetGpu,
        health::Action::RebootNode => feed::Action::RebootNode,
        health::Action::InspectHardware => feed::Action::InspectHardware,
        health::Action::ReplaceHardware => feed::Action::ReplaceHardware,
    }
}

const fn cleared_by(by: health::ClearedBy) -> feed::ClearedBy {
    match by {
        health::ClearedBy::Recovered => feed::ClearedBy::Recovered,
        health::ClearedBy::Reboot => feed::ClearedBy::Reboot,
        health::ClearedBy::GpuReset => feed::ClearedBy::GpuReset,
        health::ClearedBy::Acknowledged => feed::ClearedBy::Acknowledged,
        health::ClearedBy::Expired => feed::ClearedBy::Expired,
        health::ClearedBy::Removed => feed::ClearedBy::Removed,
    }
}

const fn state_cause(cause: health::Cause) -> feed::StateCause {
    match cause {
        health::Cause::Observed => feed::StateCause::Observed,
        health::Cause::Operator => feed::StateCause::Operator,
        health::Cause::Lease => feed::StateCause::Lease,
        health::Cause::Health => feed::StateCause::Health,
        health::Cause::Driver => feed::StateCause::Driver,
        health::Cause::Agent => feed::StateCause::Agent,
    }
}
