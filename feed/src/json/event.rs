//! JSON form of events.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value as Json, json};

use super::capacity::condition;
use super::{code, extensions, hex};
use crate::body::{Event, EventKind};

pub(super) fn event(event: &Event) -> Json {
    let gpu = event.gpu.as_ref().map(|gpu| {
        json!({
            "slot": gpu.slot,
            "index": gpu.index,
            "uuid": gpu.uuid,
            "serial": gpu.serial,
            "pci_address": gpu.pci_address,
        })
    });
    json!({
        "occurred_unix_ms": event.occurred_unix_ms,
        "kind": code(event.kind.name(), event.kind.code()),
        "details": details(&event.kind),
        "gpu": gpu,
        "extensions": extensions(&event.extensions),
    })
}

fn details(kind: &EventKind) -> Json {
    match kind {
        EventKind::Xid(xid) => json!({
            "code": xid.code,
            "source": code(xid.source.name(), xid.source.code()),
            "text": xid.text,
            "pid": xid.pid,
            "process": xid.process,
            "gpu_instance_id": xid.gpu_instance_id,
            "compute_instance_id": xid.compute_instance_id,
            "caused_by": xid.caused_by,
        }),
        EventKind::GpuUnresponsive { call, since_unix_ms } => {
            json!({ "call": call, "since_unix_ms": since_unix_ms })
        }
        EventKind::DriverBack { version } => json!({ "version": version }),
        EventKind::SamplerRestarted { reason } | EventKind::SpoolUnwritable { reason } => {
            json!({ "reason": reason })
        }
        EventKind::Paused { until_unix_ms } => json!({ "until_unix_ms": until_unix_ms }),
        EventKind::RecordsLost { stream, epoch, from_seq, to_seq, cause } => json!({
            "stream": code(stream.name(), stream.code()),
            "epoch": epoch.to_string(),
            "from_seq": from_seq,
            "to_seq": to_seq,
            "cause": code(cause.name(), cause.code()),
        }),
        EventKind::SpoolReplaced { old_epoch } => json!({ "old_epoch": old_epoch.to_string() }),
        EventKind::ConditionRaised { condition } => json!({ "condition": self::condition(condition) }),
        EventKind::ConditionCleared { code: condition, key, since_unix_ms, by } => json!({
            "code": condition,
            "key": key,
            "since_unix_ms": since_unix_ms,
            "by": code(by.name(), by.code()),
        }),
        EventKind::VerdictChanged { from, to, reason } => json!({
            "from": code(from.name(), from.code()),
            "to": code(to.name(), to.code()),
            "reason": reason,
        }),
        EventKind::StateChanged { from, to, cause, reason } => json!({
            "from": code(from.name(), from.code()),
            "to": code(to.name(), to.code()),
            "cause": code(cause.name(), cause.code()),
            "reason": reason,
        }),
        EventKind::IncidentEnded { xid, count, first_unix_ms, last_unix_ms, by_driver, by_kernel_log } => {
            json!({
                "xid": xid,
                "count": count,
                "first_unix_ms": first_unix_ms,
                "last_unix_ms": last_unix_ms,
                "by_driver": by_driver,
                "by_kernel_log": by_kernel_log,
            })
        }
        EventKind::MaintenanceStarted { until_unix_ms, reason } => {
            json!({ "until_unix_ms": until_unix_ms, "reason": reason })
        }
        EventKind::ClockStepped { by_ms } => json!({ "by_ms": by_ms }),
        EventKind::KernelLogLost { records } => json!({ "records": records }),
        EventKind::SxId { code, fatal, pci_address, text } => {
            json!({ "code": code, "fatal": fatal, "pci_address": pci_address, "text": text })
        }
        EventKind::LeaseStarted { lease, until_unix_ms } => {
            json!({ "lease": lease, "until_unix_ms": until_unix_ms })
        }
        EventKind::LeaseEnded { lease } => json!({ "lease": lease }),
        EventKind::Acknowledged { code, key, by } => json!({ "code": code, "key": key, "by": by }),
        EventKind::EvidenceMade { digest, cause, signed_by } => json!({
            "digest": hex(digest),
            "cause": code(cause.name(), cause.code()),
            "signed_by": signed_by,
        }),
        EventKind::InventoryChanged { component, instance, field, from, to } => {
            json!({ "component": component, "instance": instance, "field": field, "from": from, "to": to })
        }
        EventKind::CardReplaced { old_uuid, old_serial, new_uuid, new_serial, ticket } => json!({
            "old_uuid": old_uuid,
            "old_serial": old_serial,
            "new_uuid": new_uuid,
            "new_serial": new_serial,
            "ticket": ticket,
        }),
        EventKind::CardMoved { from_slot } => json!({ "from_slot": from_slot }),
        EventKind::SwapDeclared { ticket, by, expires_unix_ms } => {
            json!({ "ticket": ticket, "by": by, "expires_unix_ms": expires_unix_ms })
        }
        EventKind::HookRan { event, hook, exit, took_ms, message } => {
            json!({ "event": event, "hook": hook, "exit": exit, "took_ms": took_ms, "message": message })
        }
        EventKind::InventoryFinding { code, instance, detail } => {
            json!({ "code": code, "instance": instance, "detail": detail })
        }
        EventKind::BurnInEnded { mode, outcome, reason, took_ms, memory_bytes } => json!({
            "mode": mode,
            "outcome": outcome,
            "reason": reason,
            "took_ms": took_ms,
            "memory_bytes": memory_bytes,
        }),
        EventKind::Unrecognised { payload, .. } => json!({ "payload": STANDARD.encode(payload) }),
        EventKind::GpuLost
        | EventKind::GpuRestored
        | EventKind::GpuResponsive
        | EventKind::GpuSuspended
        | EventKind::GpuHandedOver
        | EventKind::DriverGone
        | EventKind::Resumed
        | EventKind::ConfigReloaded
        | EventKind::SpoolWritable
        | EventKind::MaintenanceEnded => json!({}),
    }
}
