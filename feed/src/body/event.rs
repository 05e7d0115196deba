//! Events: things that happen once.

mod wire;

use serde::{Deserialize, Deserializer, Serialize};

use super::condition::{self, Condition};
use super::evidence::EvidenceCause;
use crate::codes::{ClearedBy, GpuState, StateCause, Verdict, codes};
use crate::error::LimitError;
use crate::extension::{self, Extension, Extensions};
use crate::ids::{SpoolEpoch, Stream};
use crate::kinds::Text;
use crate::limits;

/// Something happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// When it happened (or was first seen), milliseconds since 1970.
    pub occurred_unix_ms: u64,
    /// What happened.
    pub kind: EventKind,
    /// The GPU it happened to, if one.
    pub gpu: Option<GpuRef>,
    /// Data of later versions.
    #[serde(deserialize_with = "limits::list::<_, Extension, { limits::EXTENSIONS }>")]
    pub extensions: Extensions,
}

/// A GPU by every name it has, so that it can be found after it is gone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GpuRef {
    /// Slot in the node, stable within a session.
    pub slot: u8,
    /// Index as the driver numbered it last.
    pub index: Option<u32>,
    /// UUID, `GPU-…`.
    #[serde(deserialize_with = "text_option")]
    pub uuid: Option<String>,
    /// Serial number of the board.
    #[serde(deserialize_with = "text_option")]
    pub serial: Option<String>,
    /// PCI address, `domain:bus:device.function` in hex.
    #[serde(deserialize_with = "text_option")]
    pub pci_address: Option<String>,
}

codes! {
    /// Where an XID was read.
    pub enum XidSource {
        /// The driver library's event set.
        Driver = 0 "driver",
        /// The kernel log.
        KernelLog = 1 "kernel_log",
    }
}

codes! {
    /// Why messages of a stream will not come.
    pub enum LossCause {
        /// Dropped from a full spool before they were delivered.
        Evicted = 0 "evicted",
        /// Never reached the disk.
        NotWritten = 1 "not_written",
        /// On the disk, but no longer readable.
        Damaged = 2 "damaged",
        /// The broker will never take them (too large, invalid).
        Refused = 3 "refused",
    }
}

/// An XID: the driver's report of a GPU error.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Xid {
    /// XID number.
    pub code: u32,
    /// Where it was read.
    pub source: XidSource,
    /// The kernel's words, shortened; empty from the driver library.
    #[serde(deserialize_with = "limits::text::<_, { limits::TEXT_BYTES }>")]
    pub text: String,
    /// Process that it names.
    pub pid: Option<u32>,
    /// Name of that process.
    #[serde(deserialize_with = "text_option")]
    pub process: Option<String>,
    /// GPU instance that it names, under MIG.
    pub gpu_instance_id: Option<u32>,
    /// Compute instance that it names, under MIG.
    pub compute_instance_id: Option<u32>,
    /// The earlier XID that it says it follows from.
    pub caused_by: Option<u32>,
}

/// What happened. On the wire: kind number, length, payload; a reader keeps a
/// kind that it does not know as [`EventKind::Unrecognised`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EventKind {
    /// 0: the driver reported an XID.
    Xid(Xid),
    /// 1: a GPU fell off the bus or vanished from the driver.
    GpuLost,
    /// 2: a lost GPU is back.
    GpuRestored,
    /// 3: a driver call for the GPU does not come back.
    GpuUnresponsive {
        /// The call.
        call: String,
        /// When it began, milliseconds since 1970.
        since_unix_ms: u64,
    },
    /// 4: the GPU answers again.
    GpuResponsive,
    /// 5: the GPU is runtime-suspended and left alone.
    GpuSuspended,
    /// 6: the GPU is bound to another driver.
    GpuHandedOver,
    /// 7: the driver was unloaded.
    DriverGone,
    /// 8: a driver is loaded again.
    DriverBack {
        /// Its version.
        version: String,
    },
    /// 9: the sampling process was replaced.
    SamplerRestarted {
        /// Why.
        reason: String,
    },
    /// 10: the operator paused the agent.
    Paused {
        /// When it resumes by itself, milliseconds since 1970.
        until_unix_ms: u64,
    },
    /// 11: the agent resumed.
    Resumed,
    /// 12: a new configuration is in force.
    ConfigReloaded,
    /// 13: messages of a stream will not come.
    RecordsLost {
        /// The stream.
        stream: Stream,
        /// The spool epoch that the numbers count in.
        epoch: SpoolEpoch,
        /// First lost sequence number.
        from_seq: u64,
        /// Last lost sequence number.
        to_seq: u64,
        /// Why.
        cause: LossCause,
    },
    /// 14: a new spool was begun. What has not come of the old one will not come.
    SpoolReplaced {
        /// The epoch of the old spool.
        old_epoch: SpoolEpoch,
    },
    /// 15: the spool cannot be written; messages wait in memory only.
    SpoolUnwritable {
        /// Why.
        reason: String,
    },
    /// 16: the spool can be written again.
    SpoolWritable,
    /// 17: something is wrong with the GPU, or with the node when the event names none.
    ConditionRaised {
        /// What.
        condition: Condition,
    },
    /// 18: a condition has ended.
    ConditionCleared {
        /// The condition's code.
        code: String,
        /// The condition's key.
        key: u32,
        /// Since when it stood, milliseconds since 1970.
        since_unix_ms: u64,
        /// What ended it.
        by: ClearedBy,
    },
    /// 19: the health rules say something else about the GPU, or about the node when the event names none.
    VerdictChanged {
        /// The verdict before.
        from: Verdict,
        /// The verdict now.
        to: Verdict,
        /// Why, for people.
        reason: String,
    },
    /// 20: the GPU is in another state.
    StateChanged {
        /// The state before.
        from: GpuState,
        /// The state now.
        to: GpuState,
        /// What moved it.
        cause: StateCause,
        /// Why, for people.
        reason: String,
    },
    /// 21: one XID on one GPU has stopped repeating: all its repeats, both witnesses together.
    IncidentEnded {
        /// XID number.
        xid: u32,
        /// How often it happened.
        count: u64,
        /// The first time, milliseconds since 1970.
        first_unix_ms: u64,
        /// The last time, milliseconds since 1970.
        last_unix_ms: u64,
        /// How often the driver library said so.
        by_driver: u64,
        /// How often the kernel log said so.
        by_kernel_log: u64,
    },
    /// 22: the operator took the GPU (the node, when the event names none) out for work on it.
    MaintenanceStarted {
        /// When it is to end, milliseconds since 1970.
        until_unix_ms: u64,
        /// Why, for people.
        reason: String,
    },
    /// 23: that is over.
    MaintenanceEnded,
    /// 24: the node's clock was set.
    ClockStepped {
        /// How far, milliseconds; forward is positive.
        by_ms: i64,
    },
    /// 25: the kernel log was overwritten before it was read.
    KernelLogLost {
        /// How many records are gone.
        records: u64,
    },
    /// 26: an NVSwitch reported an error (SXid).
    SxId {
        /// SXid number.
        code: u32,
        /// Whether the driver calls it fatal, where it says.
        fatal: Option<bool>,
        /// PCI address of the switch.
        pci_address: String,
        /// The kernel's words, shortened.
        text: String,
    },
    /// 27: a lease on the GPU began.
    LeaseStarted {
        /// Name of the lease.
        lease: String,
        /// When it is to end, milliseconds since 1970, if that is agreed.
        until_unix_ms: Option<u64>,
    },
    /// 28: a lease on the GPU ended.
    LeaseEnded {
        /// Name of the lease.
        lease: String,
    },
    /// 29: a person has seen a condition.
    Acknowledged {
        /// The condition's code.
        code: String,
        /// The condition's key.
        key: u32,
        /// Who, as far as the agent knows.
        by: String,
    },
    /// 30: the node made evidence.
    EvidenceMade {
        /// Digest of its frame.
        digest: [u8; 32],
        /// Why.
        cause: EvidenceCause,
        /// What signs it: `tpm` or `software-key`.
        signed_by: String,
    },
    /// 31: firmware or hardware is another than before.
    InventoryChanged {
        /// Sort of part.
        component: String,
        /// Which one.
        instance: String,
        /// What of it.
        field: String,
        /// The value before; none where there was none.
        from: Option<String>,
        /// The value now; none where there is none.
        to: Option<String>,
    },
    /// 32: another card is in the slot of the GPU that the event names (by its new names).
    CardReplaced {
        /// UUID of the old card.
        old_uuid: Option<String>,
        /// Serial number of the old card.
        old_serial: Option<String>,
        /// UUID of the new card.
        new_uuid: Option<String>,
        /// Serial number of the new card.
        new_serial: Option<String>,
        /// The ticket it was declared under; none for a swap that nobody declared.
        ticket: Option<String>,
    },
    /// 33: a card that was in another slot is in the slot of the GPU that the event names.
    CardMoved {
        /// The slot that it was in.
        from_slot: u8,
    },
    /// 34: somebody said that the card in the slot is going to be swapped.
    SwapDeclared {
        /// The ticket.
        ticket: String,
        /// Who, as far as the agent knows.
        by: String,
        /// Until when it counts, milliseconds since 1970.
        expires_unix_ms: u64,
    },
    /// 35: a hook of the site ran.
    HookRan {
        /// The event that it ran for.
        event: String,
        /// Its file name.
        hook: String,
        /// Its exit code; negative for a signal.
        exit: i32,
        /// How long it took, milliseconds.
        took_ms: u32,
        /// What it said.
        message: String,
    },
    /// 37: a burn-in of the GPU ended.
    BurnInEnded {
        /// `probe`, `quick`, `acceptance` or `soak`.
        mode: String,
        /// `pass`, `fail` or `inconclusive`.
        outcome: String,
        /// The gravest reason; empty for a pass without one.
        reason: String,
        /// From the first stage to the last, milliseconds.
        took_ms: u64,
        /// Memory that was held and tested, in bytes.
        memory_bytes: u64,
    },
    /// 36: sources of the inventory contradict each other.
    InventoryFinding {
        /// Stable name of the finding.
        code: String,
        /// Where.
        instance: String,
        /// What was found, for people.
        detail: String,
    },
    /// A kind that this version does not know, with its payload.
    Unrecognised {
        /// The kind number.
        code: u16,
        /// The payload, at most [`limits::EVENT_BYTES`].
        payload: Vec<u8>,
    },
}

impl EventKind {
    /// The kind number on the wire.
    pub const fn code(&self) -> u16 {
        match self {
            Self::Xid(_) => 0,
            Self::GpuLost => 1,
            Self::GpuRestored => 2,
            Self::GpuUnresponsive { .. } => 3,
            Self::GpuResponsive => 4,
            Self::GpuSuspended => 5,
            Self::GpuHandedOver => 6,
            Self::DriverGone => 7,
            Self::DriverBack { .. } => 8,
            Self::SamplerRestarted { .. } => 9,
            Self::Paused { .. } => 10,
            Self::Resumed => 11,
            Self::ConfigReloaded => 12,
            Self::RecordsLost { .. } => 13,
            Self::SpoolReplaced { .. } => 14,
            Self::SpoolUnwritable { .. } => 15,
            Self::SpoolWritable => 16,
            Self::ConditionRaised { .. } => 17,
            Self::ConditionCleared { .. } => 18,
            Self::VerdictChanged { .. } => 19,
            Self::StateChanged { .. } => 20,
            Self::IncidentEnded { .. } => 21,
            Self::MaintenanceStarted { .. } => 22,
            Self::MaintenanceEnded => 23,
            Self::ClockStepped { .. } => 24,
            Self::KernelLogLost { .. } => 25,
            Self::SxId { .. } => 26,
            Self::LeaseStarted { .. } => 27,
            Self::LeaseEnded { .. } => 28,
            Self::Acknowledged { .. } => 29,
            Self::EvidenceMade { .. } => 30,
            Self::InventoryChanged { .. } => 31,
            Self::CardReplaced { .. } => 32,
            Self::CardMoved { .. } => 33,
            Self::SwapDeclared { .. } => 34,
            Self::HookRan { .. } => 35,
            Self::InventoryFinding { .. } => 36,
            Self::BurnInEnded { .. } => 37,
            Self::Unrecognised { code, .. } => *code,
        }
    }

    /// The name in the JSON form.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Xid(_) => "xid",
            Self::GpuLost => "gpu_lost",
            Self::GpuRestored => "gpu_restored",
            Self::GpuUnresponsive { .. } => "gpu_unresponsive",
            Self::GpuResponsive => "gpu_responsive",
            Self::GpuSuspended => "gpu_suspended",
            Self::GpuHandedOver => "gpu_handed_over",
            Self::DriverGone => "driver_gone",
            Self::DriverBack { .. } => "driver_back",
            Self::SamplerRestarted { .. } => "sampler_restarted",
            Self::Paused { .. } => "paused",
            Self::Resumed => "resumed",
            Self::ConfigReloaded => "config_reloaded",
            Self::RecordsLost { .. } => "records_lost",
            Self::SpoolReplaced { .. } => "spool_replaced",
            Self::SpoolUnwritable { .. } => "spool_unwritable",
            Self::SpoolWritable => "spool_writable",
            Self::ConditionRaised { .. } => "condition_raised",
            Self::ConditionCleared { .. } => "condition_cleared",
            Self::VerdictChanged { .. } => "verdict_changed",
            Self::StateChanged { .. } => "state_changed",
            Self::IncidentEnded { .. } => "incident_ended",
            Self::MaintenanceStarted { .. } => "maintenance_started",
            Self::MaintenanceEnded => "maintenance_ended",
            Self::ClockStepped { .. } => "clock_stepped",
            Self::KernelLogLost { .. } => "kernel_log_lost",
            Self::SxId { .. } => "sxid",
            Self::LeaseStarted { .. } => "lease_started",
            Self::LeaseEnded { .. } => "lease_ended",
            Self::Acknowledged { .. } => "acknowledged",
            Self::EvidenceMade { .. } => "evidence_made",
            Self::InventoryChanged { .. } => "inventory_changed",
            Self::CardReplaced { .. } => "card_replaced",
            Self::CardMoved { .. } => "card_moved",
            Self::SwapDeclared { .. } => "swap_declared",
            Self::HookRan { .. } => "hook_ran",
            Self::InventoryFinding { .. } => "inventory_finding",
            Self::BurnInEnded { .. } => "burn_in_ended",
            Self::Unrecognised { .. } => "unrecognised",
        }
    }
}

fn text_option<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    let text = Option::<Text>::deserialize(deserializer)?;
    Ok(plain(text))
}

fn plain(text: Option<Text>) -> Option<String> {
    text.map(|text| text.0)
}

impl Event {
    pub(crate) fn check(&self) -> Result<(), LimitError> {
        let text = |what, text: &str| limits::check(what, text.len(), limits::TEXT_BYTES);
        match &self.kind {
            EventKind::Xid(xid) => {
                text("bytes of the xid text", &xid.text)?;
                text("bytes of the process name", xid.process.as_deref().unwrap_or_default())?;
            }
            EventKind::GpuUnresponsive { call, .. } => text("bytes of the call name", call)?,
            EventKind::DriverBack { version } => text("bytes of the driver version", version)?,
            EventKind::SamplerRestarted { reason } => text("bytes of the restart reason", reason)?,
            EventKind::SpoolUnwritable { reason } => text("bytes of the spool's reason", reason)?,
            EventKind::ConditionRaised { condition } => condition.check()?,
            EventKind::ConditionCleared { code, .. } => condition::check_code(code)?,
            EventKind::VerdictChanged { reason, .. } => text("bytes of the verdict's reason", reason)?,
            EventKind::StateChanged { reason, .. } => text("bytes of the state's reason", reason)?,
            EventKind::MaintenanceStarted { reason, .. } => text("bytes of the maintenance reason", reason)?,
            EventKind::SxId { pci_address, text: words, .. } => {
                text("bytes of the switch's pci address", pci_address)?;
                text("bytes of the sxid text", words)?;
            }
            EventKind::LeaseStarted { lease, .. } | EventKind::LeaseEnded { lease } => {
                text("bytes of the lease name", lease)?;
            }
            EventKind::Acknowledged { code, by, .. } => {
                condition::check_code(code)?;
                text("bytes of who acknowledges", by)?;
            }
            EventKind::EvidenceMade { signed_by, .. } => text("bytes of what signs evidence", signed_by)?,
            EventKind::InventoryChanged { component, instance, field, from, to } => {
                for name in [component, field] {
                    limits::check("bytes of a component or field", name.len(), limits::NAME_BYTES)?;
                }
                for value in [Some(instance), from.as_ref(), to.as_ref()].into_iter().flatten() {
                    text("bytes of an instance or value", value)?;
                }
            }
            EventKind::CardReplaced { old_uuid, old_serial, new_uuid, new_serial, ticket } => {
                for name in [old_uuid, old_serial, new_uuid, new_serial, ticket].into_iter().flatten() {
                    text("bytes of a card's name or ticket", name)?;
                }
            }
            EventKind::SwapDeclared { ticket, by, .. } => {
                text("bytes of the ticket", ticket)?;
                text("bytes of who declares", by)?;
            }
            EventKind::HookRan { event, hook, message, .. } => {
                limits::check("bytes of the hook's event", event.len(), limits::NAME_BYTES)?;
                text("bytes of the hook's name", hook)?;
                text("bytes of the hook's message", message)?;
            }
            EventKind::InventoryFinding { code, instance, detail } => {
                limits::check("bytes of the finding's code", code.len(), limits::NAME_BYTES)?;
                text("bytes of the finding's place", instance)?;
                text("bytes of the finding", detail)?;
            }
            EventKind::BurnInEnded { mode, outcome, reason, .. } => {
                limits::check("bytes of the burn-in's mode", mode.len(), limits::NAME_BYTES)?;
                limits::check("bytes of the burn-in's outcome", outcome.len(), limits::NAME_BYTES)?;
                text("bytes of the burn-in's reason", reason)?;
            }
            EventKind::Unrecognised { payload, .. } => {
                limits::check("bytes of the event payload", payload.len(), limits::EVENT_BYTES)?;
            }
            _ => {}
        }
        if let Some(gpu) = &self.gpu {
            for name in [&gpu.uuid, &gpu.serial, &gpu.pci_address] {
                text("bytes of a gpu name", name.as_deref().unwrap_or_default())?;
            }
        }
        extension::check(&self.extensions)
    }
}
