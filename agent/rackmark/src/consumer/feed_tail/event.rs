//! An event in one line.

use rackmark_feed::{Event, EventKind};

/// What happened, to which GPU, and what the event says about it.
pub fn line(event: &Event) -> String {
    let mut line = event.kind.name().to_owned();
    if let Some(gpu) = &event.gpu {
        line += &format!(" on GPU {}", gpu.slot);
        if let Some(uuid) = &gpu.uuid {
            line += &format!(" {uuid}");
        }
    }
    let details = details(event);
    if !details.is_empty() {
        line += &format!(": {details}");
    }
    // Reasons and kernel lines are texts of others; none may move the cursor.
    line.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

fn details(event: &Event) -> String {
    let ahead = |until_unix_ms: u64| span(until_unix_ms.saturating_sub(event.occurred_unix_ms));
    match &event.kind {
        EventKind::Xid(xid) => with(format!("{} from {}", xid.code, xid.source), &xid.text),
        EventKind::ConditionRaised { condition } => with(
            format!(
                "{}, {}, {}",
                named(&condition.code, condition.key),
                condition.severity,
                condition.action
            ),
            &condition.detail,
        ),
        EventKind::ConditionCleared { code, key, since_unix_ms, by } => {
            let stood = span(event.occurred_unix_ms.saturating_sub(*since_unix_ms));
            format!("{}, {by}, after {stood}", named(code, *key))
        }
        EventKind::VerdictChanged { from, to, reason } => with(format!("{from} to {to}"), reason),
        EventKind::StateChanged { from, to, cause, reason } => {
            with(format!("{from} to {to} by {cause}"), reason)
        }
        EventKind::IncidentEnded { xid, count, first_unix_ms, last_unix_ms, by_driver, by_kernel_log } => {
            format!(
                "xid {xid} {count} times in {} (driver {by_driver}, kernel log {by_kernel_log})",
                span(last_unix_ms.saturating_sub(*first_unix_ms))
            )
        }
        EventKind::MaintenanceStarted { until_unix_ms, reason } => {
            with(format!("for {}", ahead(*until_unix_ms)), reason)
        }
        EventKind::ClockStepped { by_ms } => format!("by {by_ms} ms"),
        EventKind::KernelLogLost { records } => format!("{records} records"),
        EventKind::SxId { code, fatal, pci_address, text } => {
            let weight = match fatal {
                Some(true) => " fatal",
                Some(false) => " not fatal",
                None => "",
            };
            with(format!("{code}{weight} at {pci_address}"), text)
        }
        EventKind::LeaseStarted { lease, until_unix_ms: Some(until) } => {
            format!("{lease} for {}", ahead(*until))
        }
        EventKind::LeaseStarted { lease, until_unix_ms: None } => format!("{lease} without an end"),
        EventKind::LeaseEnded { lease } => lease.clone(),
        EventKind::Acknowledged { code, key, by } => format!("{} by {by}", named(code, *key)),
        EventKind::EvidenceMade { digest, cause, signed_by } => {
            let short: String = digest.iter().take(4).map(|byte| format!("{byte:02x}")).collect();
            format!("{short}… by {signed_by}, because of {cause}")
        }
        EventKind::InventoryChanged { component, instance, field, from, to } => {
            let value = |value: &Option<String>| value.clone().unwrap_or_else(|| "nothing".to_owned());
            let place =
                if instance.is_empty() { component.clone() } else { format!("{component} {instance}") };
            format!("{place}, {field}: {} to {}", value(from), value(to))
        }
        EventKind::CardReplaced { old_serial, new_serial, ticket, .. } => {
            let serial =
                |serial: &Option<String>| serial.clone().unwrap_or_else(|| "of unknown serial".to_owned());
            let declared = ticket.as_deref().unwrap_or("nobody declared it");
            format!("card {} by {}, {declared}", serial(old_serial), serial(new_serial))
        }
        EventKind::CardMoved { from_slot } => format!("from slot {from_slot}"),
        EventKind::SwapDeclared { ticket, by, expires_unix_ms } => {
            format!("{ticket} by {by}, for {}", ahead(*expires_unix_ms))
        }
        EventKind::HookRan { event, hook, exit, took_ms, message } => {
            with(format!("{event}/{hook} exit {exit} after {took_ms} ms"), message)
        }
        EventKind::BurnInEnded { mode, outcome, reason, took_ms, .. } => {
            with(format!("{mode} {outcome} after {} s", took_ms / 1000), reason)
        }
        EventKind::InventoryFinding { code, instance, detail } => with(format!("{code} {instance}"), detail),
        _ => String::new(),
    }
}

/// A condition by code and, where it has one, key.
fn named(code: &str, key: u32) -> String {
    if key == 0 { code.to_owned() } else { format!("{code} {key}") }
}

fn with(head: String, words: &str) -> String {
    if words.is_empty() { head } else { format!("{head}: {words}") }
}

/// A length of time in its two largest units.
fn span(ms: u64) -> String {
    let s = ms / 1000;
    match s {
        0..120 => format!("{s} s"),
        120..7200 => format!("{} min {} s", s / 60, s % 60),
        7200..172_800 => format!("{} h {} min", s / 3600, s % 3600 / 60),
        _ => format!("{} d {} h", s / 86_400, s % 86_400 / 3600),
    }
}

#[cfg(test)]
mod tests {
    use rackmark_feed::{
        Action, ClearedBy, Condition, GpuRef, GpuState, Severity, StateCause, Verdict, XidSource,
    };

    use super::*;

    const NOW: u64 = 1_795_000_000_000;

    fn said(kind: EventKind) -> String {
        line(&Event { occurred_unix_ms: NOW, kind, gpu: None, extensions: Vec::new() })
    }

    #[test]
    fn every_new_event_says_what_it_has_to_say() {
        let condition = Condition {
            code: "xid".into(),
            key: 79,
            severity: Severity::Critical,
            action: Action::InspectHardware,
            since_unix_ms: NOW,
            acknowledged: false,
            detail: "fell off the bus".into(),
        };
        let reason = || "kernel update".to_owned();
        for (kind, text) in [
            (
                EventKind::ConditionRaised { condition: condition.clone() },
                "condition_raised: xid 79, critical, inspect_hardware: fell off the bus",
            ),
            (
                EventKind::ConditionRaised {
                    condition: Condition {
                        code: "disk_low".into(),
                        key: 0,
                        detail: String::new(),
                        ..condition
                    },
                },
                "condition_raised: disk_low, critical, inspect_hardware",
            ),
            (
                EventKind::ConditionCleared {
                    code: "xid".into(),
                    key: 79,
                    since_unix_ms: NOW - 200_000,
                    by: ClearedBy::Reboot,
                },
                "condition_cleared: xid 79, reboot, after 3 min 20 s",
            ),
            (
                EventKind::VerdictChanged {
                    from: Verdict::Schedulable,
                    to: Verdict::Unusable,
                    reason: "xid 79".into(),
                },
                "verdict_changed: schedulable to unusable: xid 79",
            ),
            (
                EventKind::StateChanged {
                    from: GpuState::Leased,
                    to: GpuState::Faulted,
                    cause: StateCause::Health,
                    reason: String::new(),
                },
                "state_changed: leased to faulted by health",
            ),
            (
                EventKind::IncidentEnded {
                    xid: 94,
                    count: 300,
                    first_unix_ms: NOW - 60_000,
                    last_unix_ms: NOW,
                    by_driver: 2,
                    by_kernel_log: 299,
                },
                "incident_ended: xid 94 300 times in 60 s (driver 2, kernel log 299)",
            ),
            (
                EventKind::MaintenanceStarted { until_unix_ms: NOW + 9_000_000, reason: reason() },
                "maintenance_started: for 2 h 30 min: kernel update",
            ),
            (EventKind::MaintenanceEnded, "maintenance_ended"),
            (EventKind::ClockStepped { by_ms: -1500 }, "clock_stepped: by -1500 ms"),
            (EventKind::KernelLogLost { records: 12 }, "kernel_log_lost: 12 records"),
            (
                EventKind::SxId {
                    code: 20_034,
                    fatal: Some(false),
                    pci_address: "00000000:c4:00.0".into(),
                    text: "link 32".into(),
                },
                "sxid: 20034 not fatal at 00000000:c4:00.0: link 32",
            ),
            (
                EventKind::LeaseStarted { lease: "l-1".into(), until_unix_ms: Some(NOW + 259_200_000) },
                "lease_started: l-1 for 3 d 0 h",
            ),
            (
                EventKind::LeaseStarted { lease: "l-1".into(), until_unix_ms: None },
                "lease_started: l-1 without an end",
            ),
            (EventKind::LeaseEnded { lease: "l-1".into() }, "lease_ended: l-1"),
            (
                EventKind::Acknowledged { code: "xid".into(), key: 79, by: "night shift".into() },
                "acknowledged: xid 79 by night shift",
            ),
        ] {
            assert_eq!(said(kind), text);
        }
    }

    #[test]
    fn the_gpu_is_named_and_no_text_moves_the_cursor() {
        let gpu =
            GpuRef { slot: 5, index: Some(5), uuid: Some("GPU-5".into()), serial: None, pci_address: None };
        let event =
            Event { occurred_unix_ms: NOW, kind: EventKind::GpuLost, gpu: Some(gpu), extensions: Vec::new() };
        assert_eq!(line(&event), "gpu_lost on GPU 5 GPU-5");
        let hostile = EventKind::Xid(rackmark_feed::Xid {
            code: 79,
            source: XidSource::KernelLog,
            text: "a\u{1b}[2J\nb".into(),
            pid: None,
            process: None,
            gpu_instance_id: None,
            compute_instance_id: None,
            caused_by: None,
        });
        assert_eq!(said(hostile), "xid: 79 from kernel_log: a [2J b");
    }

    /// The clock may have been set between two times of an event.
    #[test]
    fn times_that_run_backwards_are_no_time() {
        let kind = EventKind::MaintenanceStarted { until_unix_ms: 0, reason: String::new() };
        assert_eq!(said(kind), "maintenance_started: for 0 s");
    }
}
