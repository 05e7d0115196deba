//! Payloads of events on the wire.

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{EventKind, plain};
use crate::kinds::{self, Name, Text, whole};
use crate::limits;

impl EventKind {
    fn payload(&self) -> Result<Vec<u8>, postcard::Error> {
        match self {
            Self::Xid(xid) => postcard::to_allocvec(xid),
            Self::GpuLost
            | Self::GpuRestored
            | Self::GpuResponsive
            | Self::GpuSuspended
            | Self::GpuHandedOver
            | Self::DriverGone
            | Self::Resumed
            | Self::ConfigReloaded
            | Self::SpoolWritable
            | Self::MaintenanceEnded => Ok(Vec::new()),
            Self::GpuUnresponsive { call, since_unix_ms } => postcard::to_allocvec(&(call, since_unix_ms)),
            Self::DriverBack { version: text }
            | Self::SamplerRestarted { reason: text }
            | Self::SpoolUnwritable { reason: text } => postcard::to_allocvec(text),
            Self::Paused { until_unix_ms } => postcard::to_allocvec(until_unix_ms),
            Self::RecordsLost { stream, epoch, from_seq, to_seq, cause } => {
                postcard::to_allocvec(&(stream, epoch, from_seq, to_seq, cause))
            }
            Self::SpoolReplaced { old_epoch } => postcard::to_allocvec(old_epoch),
            Self::ConditionRaised { condition } => postcard::to_allocvec(condition),
            Self::ConditionCleared { code, key, since_unix_ms, by } => {
                postcard::to_allocvec(&(code, key, since_unix_ms, by))
            }
            Self::VerdictChanged { from, to, reason } => postcard::to_allocvec(&(from, to, reason)),
            Self::StateChanged { from, to, cause, reason } => {
                postcard::to_allocvec(&(from, to, cause, reason))
            }
            Self::IncidentEnded { xid, count, first_unix_ms, last_unix_ms, by_driver, by_kernel_log } => {
                postcard::to_allocvec(&(xid, count, first_unix_ms, last_unix_ms, by_driver, by_kernel_log))
            }
            Self::MaintenanceStarted { until_unix_ms, reason } => {
                postcard::to_allocvec(&(until_unix_ms, reason))
            }
            Self::ClockStepped { by_ms } => postcard::to_allocvec(by_ms),
            Self::KernelLogLost { records } => postcard::to_allocvec(records),
            Self::SxId { code, fatal, pci_address, text } => {
                postcard::to_allocvec(&(code, fatal, pci_address, text))
            }
            Self::LeaseStarted { lease, until_unix_ms } => postcard::to_allocvec(&(lease, until_unix_ms)),
            Self::LeaseEnded { lease } => postcard::to_allocvec(lease),
            Self::Acknowledged { code, key, by } => postcard::to_allocvec(&(code, key, by)),
            Self::EvidenceMade { digest, cause, signed_by } => {
                postcard::to_allocvec(&(digest, cause, signed_by))
            }
            Self::InventoryChanged { component, instance, field, from, to } => {
                postcard::to_allocvec(&(component, instance, field, from, to))
            }
            Self::CardReplaced { old_uuid, old_serial, new_uuid, new_serial, ticket } => {
                postcard::to_allocvec(&(old_uuid, old_serial, new_uuid, new_serial, ticket))
            }
            Self::CardMoved { from_slot } => postcard::to_allocvec(from_slot),
            Self::SwapDeclared { ticket, by, expires_unix_ms } => {
                postcard::to_allocvec(&(ticket, by, expires_unix_ms))
            }
            Self::HookRan { event, hook, exit, took_ms, message } => {
                postcard::to_allocvec(&(event, hook, exit, took_ms, message))
            }
            Self::InventoryFinding { code, instance, detail } => {
                postcard::to_allocvec(&(code, instance, detail))
            }
            Self::BurnInEnded { mode, outcome, reason, took_ms, memory_bytes } => {
                postcard::to_allocvec(&(mode, outcome, reason, took_ms, memory_bytes))
            }
            Self::Unrecognised { payload, .. } => Ok(payload.clone()),
        }
    }

    fn from_wire(code: u16, payload: &[u8]) -> Result<Self, &'static str> {
        Ok(match code {
            0 => Self::Xid(whole(payload)?),
            1 => whole(payload).map(|()| Self::GpuLost)?,
            2 => whole(payload).map(|()| Self::GpuRestored)?,
            3 => {
                let (call, since_unix_ms): (Text, u64) = whole(payload)?;
                Self::GpuUnresponsive { call: call.0, since_unix_ms }
            }
            4 => whole(payload).map(|()| Self::GpuResponsive)?,
            5 => whole(payload).map(|()| Self::GpuSuspended)?,
            6 => whole(payload).map(|()| Self::GpuHandedOver)?,
            7 => whole(payload).map(|()| Self::DriverGone)?,
            8 => Self::DriverBack { version: whole::<Text>(payload)?.0 },
            9 => Self::SamplerRestarted { reason: whole::<Text>(payload)?.0 },
            10 => Self::Paused { until_unix_ms: whole(payload)? },
            11 => whole(payload).map(|()| Self::Resumed)?,
            12 => whole(payload).map(|()| Self::ConfigReloaded)?,
            13 => {
                let (stream, epoch, from_seq, to_seq, cause) = whole(payload)?;
                Self::RecordsLost { stream, epoch, from_seq, to_seq, cause }
            }
            14 => Self::SpoolReplaced { old_epoch: whole(payload)? },
            15 => Self::SpoolUnwritable { reason: whole::<Text>(payload)?.0 },
            16 => whole(payload).map(|()| Self::SpoolWritable)?,
            17 => Self::ConditionRaised { condition: whole(payload)? },
            18 => {
                let (code, key, since_unix_ms, by): (Name, _, _, _) = whole(payload)?;
                Self::ConditionCleared { code: code.0, key, since_unix_ms, by }
            }
            19 => {
                let (from, to, reason): (_, _, Text) = whole(payload)?;
                Self::VerdictChanged { from, to, reason: reason.0 }
            }
            20 => {
                let (from, to, cause, reason): (_, _, _, Text) = whole(payload)?;
                Self::StateChanged { from, to, cause, reason: reason.0 }
            }
            21 => {
                let (xid, count, first_unix_ms, last_unix_ms, by_driver, by_kernel_log) = whole(payload)?;
                Self::IncidentEnded { xid, count, first_unix_ms, last_unix_ms, by_driver, by_kernel_log }
            }
            22 => {
                let (until_unix_ms, reason): (u64, Text) = whole(payload)?;
                Self::MaintenanceStarted { until_unix_ms, reason: reason.0 }
            }
            23 => whole(payload).map(|()| Self::MaintenanceEnded)?,
            24 => Self::ClockStepped { by_ms: whole(payload)? },
            25 => Self::KernelLogLost { records: whole(payload)? },
            26 => {
                let (code, fatal, pci_address, text): (_, _, Text, Text) = whole(payload)?;
                Self::SxId { code, fatal, pci_address: pci_address.0, text: text.0 }
            }
            27 => {
                let (lease, until_unix_ms): (Text, _) = whole(payload)?;
                Self::LeaseStarted { lease: lease.0, until_unix_ms }
            }
            28 => Self::LeaseEnded { lease: whole::<Text>(payload)?.0 },
            29 => {
                let (code, key, by): (Name, _, Text) = whole(payload)?;
                Self::Acknowledged { code: code.0, key, by: by.0 }
            }
            30 => {
                let (digest, cause, signed_by): (_, _, Text) = whole(payload)?;
                Self::EvidenceMade { digest, cause, signed_by: signed_by.0 }
            }
            31 => {
                let (component, instance, field, from, to): (Name, Text, Name, Option<Text>, Option<Text>) =
                    whole(payload)?;
                Self::InventoryChanged {
                    component: component.0,
                    instance: instance.0,
                    field: field.0,
                    from: plain(from),
                    to: plain(to),
                }
            }
            32 => {
                let (old_uuid, old_serial, new_uuid, new_serial, ticket) =
                    whole::<(Option<Text>, Option<Text>, Option<Text>, Option<Text>, Option<Text>)>(payload)?;
                Self::CardReplaced {
                    old_uuid: plain(old_uuid),
                    old_serial: plain(old_serial),
                    new_uuid: plain(new_uuid),
                    new_serial: plain(new_serial),
                    ticket: plain(ticket),
                }
            }
            33 => Self::CardMoved { from_slot: whole(payload)? },
            34 => {
                let (ticket, by, expires_unix_ms): (Text, Text, u64) = whole(payload)?;
                Self::SwapDeclared { ticket: ticket.0, by: by.0, expires_unix_ms }
            }
            35 => {
                let (event, hook, exit, took_ms, message): (Name, Text, _, _, Text) = whole(payload)?;
                Self::HookRan { event: event.0, hook: hook.0, exit, took_ms, message: message.0 }
            }
            36 => {
                let (code, instance, detail): (Name, Text, Text) = whole(payload)?;
                Self::InventoryFinding { code: code.0, instance: instance.0, detail: detail.0 }
            }
            37 => {
                let (mode, outcome, reason, took_ms, memory_bytes): (Name, Name, Text, _, _) =
                    whole(payload)?;
                let (mode, outcome, reason) = (mode.0, outcome.0, reason.0);
                Self::BurnInEnded { mode, outcome, reason, took_ms, memory_bytes }
            }
            _ => Self::Unrecognised { code, payload: payload.to_vec() },
        })
    }
}

impl Serialize for EventKind {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        kinds::serialize(self.code(), self.payload(), serializer)
    }
}

impl<'de> Deserialize<'de> for EventKind {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (code, payload) = kinds::deserialize(limits::EVENT_BYTES, deserializer)?;
        Self::from_wire(code, payload).map_err(D::Error::custom)
    }
}
