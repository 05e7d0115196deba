//! Events, extensions of capacity and verbs around conditions, maintenance and leases.

use rackmark_feed::body::capacity::{conditions_extensions, maintenance_extensions, node_verdict_extension};
use rackmark_feed::*;

use super::{NOW, capacity, event, gpu_ref};

pub(crate) fn condition(code: &str, key: u32, severity: Severity, action: Action) -> Condition {
    Condition {
        code: code.into(),
        key,
        severity,
        action,
        since_unix_ms: NOW - 90_000,
        acknowledged: false,
        detail: "3 rows, bank 7".into(),
    }
}

/// Two GPUs and the node, most severe first; the last of a later version.
pub(crate) fn conditions() -> Vec<SlotCondition> {
    let mut seen = condition("nvlink_errors", 17, Severity::Info, Action::None);
    seen.acknowledged = true;
    vec![
        SlotCondition {
            slot: Some(7),
            condition: condition("row_remap_failed", 0, Severity::Critical, Action::ReplaceHardware),
        },
        SlotCondition {
            slot: None,
            condition: condition("disk_low", 0, Severity::Warning, Action::ContactSupport),
        },
        SlotCondition { slot: Some(0), condition: seen },
        SlotCondition {
            slot: Some(1),
            condition: condition("later", u32::MAX, Severity::Unrecognised(9), Action::Unrecognised(300)),
        },
    ]
}

pub(crate) fn maintenance() -> Vec<Maintenance> {
    vec![
        Maintenance { slot: Some(7), until_unix_ms: NOW + 3_600_000, reason: "board swap, RMA 4711".into() },
        Maintenance { slot: None, until_unix_ms: NOW + 60_000, reason: String::new() },
    ]
}

pub(crate) fn node_verdict() -> NodeVerdict {
    NodeVerdict { verdict: Verdict::Draining, reason: "the disk is nearly full".into() }
}

/// The operator's capacity with all three.
pub(crate) fn capacity_with_conditions() -> Capacity {
    let mut capacity = capacity();
    capacity.extensions.extend(conditions_extensions(&conditions()).0);
    capacity.extensions.extend(maintenance_extensions(&maintenance()).0);
    capacity.extensions.push(node_verdict_extension(&node_verdict()).expect("a short reason"));
    capacity
}

pub(crate) fn events() -> Vec<(&'static str, Event)> {
    let gpu = || Some(gpu_ref());
    let raised = condition("xid", 79, Severity::Critical, Action::InspectHardware);
    vec![
        ("event_condition_raised", event(EventKind::ConditionRaised { condition: raised }, gpu())),
        (
            "event_condition_raised_on_the_node",
            event(
                EventKind::ConditionRaised {
                    condition: Condition {
                        detail: String::new(),
                        ..condition("clock_unsynchronised", 0, Severity::Warning, Action::None)
                    },
                },
                None,
            ),
        ),
        (
            "event_condition_cleared",
            event(
                EventKind::ConditionCleared {
                    code: "xid".into(),
                    key: 79,
                    since_unix_ms: NOW - 90_000,
                    by: ClearedBy::GpuReset,
                },
                gpu(),
            ),
        ),
        (
            "event_verdict_changed",
            event(
                EventKind::VerdictChanged {
                    from: Verdict::Schedulable,
                    to: Verdict::Unusable,
                    reason: "xid 79".into(),
                },
                gpu(),
            ),
        ),
        (
            "event_state_changed",
            event(
                EventKind::StateChanged {
                    from: GpuState::Leased,
                    to: GpuState::Faulted,
                    cause: StateCause::Health,
                    reason: "xid 79".into(),
                },
                gpu(),
            ),
        ),
        (
            "event_incident_ended",
            event(
                EventKind::IncidentEnded {
                    xid: 94,
                    count: 300,
                    first_unix_ms: NOW - 90_000,
                    last_unix_ms: NOW - 30_000,
                    by_driver: 2,
                    by_kernel_log: 299,
                },
                gpu(),
            ),
        ),
        (
            "event_maintenance_started",
            event(
                EventKind::MaintenanceStarted { until_unix_ms: NOW + 3_600_000, reason: "board swap".into() },
                gpu(),
            ),
        ),
        ("event_maintenance_ended", event(EventKind::MaintenanceEnded, None)),
        ("event_clock_stepped", event(EventKind::ClockStepped { by_ms: -3_600_000 }, None)),
        ("event_kernel_log_lost", event(EventKind::KernelLogLost { records: 1_200 }, None)),
        (
            "event_sxid",
            event(
                EventKind::SxId {
                    code: 20_034,
                    fatal: Some(true),
                    pci_address: "00000000:c4:00.0".into(),
                    text: "Fatal, Link 32 LTSSM Fault Up".into(),
                },
                None,
            ),
        ),
        (
            "event_sxid_of_unknown_weight",
            event(
                EventKind::SxId { code: 1, fatal: None, pci_address: String::new(), text: String::new() },
                None,
            ),
        ),
        (
            "event_lease_started",
            event(
                EventKind::LeaseStarted { lease: "l-0042".into(), until_unix_ms: Some(NOW + 86_400_000) },
                gpu(),
            ),
        ),
        (
            "event_lease_started_open_ended",
            event(EventKind::LeaseStarted { lease: "l-0043".into(), until_unix_ms: None }, gpu()),
        ),
        ("event_lease_ended", event(EventKind::LeaseEnded { lease: "l-0042".into() }, gpu())),
        (
            "event_acknowledged",
            event(EventKind::Acknowledged { code: "xid".into(), key: 79, by: "settlement".into() }, gpu()),
        ),
    ]
}

/// Every verb about the hardware, with and without a GPU where it may go without.
pub(crate) fn verbs() -> Vec<(&'static str, Verb)> {
    let gpu = || Some("GPU-00000000-0000-0000-0000-000000000005".to_owned());
    vec![
        ("command_acknowledge", Verb::Acknowledge { gpu: gpu(), code: "xid".into(), key: 79 }),
        ("command_acknowledge_on_the_node", Verb::Acknowledge { gpu: None, code: "disk_low".into(), key: 0 }),
        (
            "command_maintenance_start",
            Verb::MaintenanceStart {
                gpu: gpu(),
                until_unix_ms: NOW + 3_600_000,
                reason: "board swap".into(),
            },
        ),
        ("command_maintenance_end", Verb::MaintenanceEnd { gpu: gpu() }),
        (
            "command_lease_start",
            Verb::LeaseStart {
                gpu: "3".into(),
                lease: "l-0042".into(),
                until_unix_ms: Some(NOW + 86_400_000),
            },
        ),
        ("command_lease_end", Verb::LeaseEnd { lease: "l-0042".into() }),
        ("command_drain", Verb::Drain { gpu: None, reason: "kernel update".into() }),
        ("command_undrain", Verb::Undrain { gpu: None }),
        ("command_pause", Verb::Pause { gpu: gpu(), for_ms: 1_800_000 }),
        ("command_resume", Verb::Resume { gpu: None }),
    ]
}
