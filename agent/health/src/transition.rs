//! What changed in one step: the edges that go to the log, the history and the feed.

use rackmark_model::{GpuState, Verdict};
use serde::{Deserialize, Serialize};

use crate::burn_in::{Mode, Outcome};
use crate::cards::Card;
use crate::condition::Condition;
use crate::incident::Incident;
use crate::occupancy::Cause;

/// What ended a condition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClearedBy {
    /// The readings say that it is over.
    Recovered,
    /// The node was rebooted.
    Reboot,
    /// The GPU was reset, or its driver loaded anew.
    GpuReset,
    /// A person said so.
    Acknowledged,
    /// Nothing more of the kind came.
    Expired,
    /// The card was taken out.
    Removed,
}

impl ClearedBy {
    /// The name used in JSON and the log.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Recovered => "recovered",
            Self::Reboot => "reboot",
            Self::GpuReset => "gpu_reset",
            Self::Acknowledged => "acknowledged",
            Self::Expired => "expired",
            Self::Removed => "removed",
        }
    }
}

/// Something that changed. `slot` is the GPU, or none for the node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Transition {
    /// A condition is shown for the first time.
    Raised {
        /// Which GPU.
        slot: Option<u8>,
        /// What.
        condition: Box<Condition>,
    },
    /// A condition that had been shown is over.
    Cleared {
        /// Which GPU.
        slot: Option<u8>,
        /// What.
        condition: Box<Condition>,
        /// Why.
        by: ClearedBy,
    },
    /// An incident began: the first report of an XID.
    Incident {
        /// Which GPU; none where the address is of no GPU of this node.
        slot: Option<u8>,
        /// As known so far.
        incident: Box<Incident>,
    },
    /// An incident ended: nothing of it came for a while.
    IncidentEnded {
        /// Which GPU.
        slot: Option<u8>,
        /// What it came to.
        incident: Box<Incident>,
    },
    /// An NVSwitch reported an error.
    SxId {
        /// Address as printed.
        pci_text: String,
        /// Code.
        code: u32,
        /// As it said itself.
        fatal: Option<bool>,
        /// Its words.
        text: String,
    },
    /// Another verdict.
    Verdict {
        /// Which GPU.
        slot: Option<u8>,
        /// Before.
        from: Verdict,
        /// Now.
        to: Verdict,
        /// Why.
        reason: String,
    },
    /// Another state.
    State {
        /// Which GPU.
        slot: u8,
        /// Before.
        from: GpuState,
        /// Now.
        to: GpuState,
        /// Who caused it.
        cause: Cause,
        /// Why.
        reason: String,
    },
    /// The wall clock was set.
    ClockStepped {
        /// By how much, negative where it went back.
        by_ms: i64,
    },
    /// Kernel log records were lost.
    KernelLogLost {
        /// How many.
        records: u64,
    },
    /// Another card is in a slot.
    CardChanged {
        /// Which slot.
        slot: u8,
        /// The card before.
        from: Card,
        /// The card now.
        to: Card,
        /// The ticket it was declared under.
        ticket: Option<String>,
    },
    /// A card that was in another slot is in this one.
    CardMoved {
        /// Which slot.
        slot: u8,
        /// The slot that it was seen in last.
        from_slot: u8,
    },
    /// Somebody said that the card in a slot is, or was, swapped.
    SwapDeclared {
        /// Which slot.
        slot: u8,
        /// The ticket.
        ticket: String,
        /// Who said so.
        by: String,
        /// Until when it counts, milliseconds since 1970.
        until_unix_ms: u64,
    },
    /// Maintenance began.
    MaintenanceStarted {
        /// Which GPU; none for the whole node.
        slot: Option<u8>,
        /// When it ends by itself, milliseconds since 1970.
        until_unix_ms: u64,
        /// Why.
        reason: String,
    },
    /// Maintenance ended.
    MaintenanceEnded {
        /// Which GPU; none for the whole node.
        slot: Option<u8>,
    },
    /// A lease began.
    LeaseStarted {
        /// Which GPU.
        slot: u8,
        /// Its name.
        lease: String,
        /// When it ends at the latest, milliseconds since 1970.
        until_unix_ms: Option<u64>,
    },
    /// A lease ended.
    LeaseEnded {
        /// Which GPU.
        slot: u8,
        /// Its name.
        lease: String,
    },
    /// A burn-in of a GPU ended.
    BurnInEnded {
        /// Which GPU.
        slot: u8,
        /// In which mode.
        mode: Mode,
        /// How.
        outcome: Outcome,
        /// The gravest reason; empty for a pass without one.
        reason: String,
        /// From the first stage to the last, in milliseconds.
        took_ms: u64,
        /// Memory that was held and tested, in bytes.
        memory_bytes: u64,
    },
    /// A person acknowledged a condition.
    Acknowledged {
        /// Which GPU.
        slot: Option<u8>,
        /// Condition code.
        code: String,
        /// Condition key.
        key: u32,
        /// Who.
        by: String,
    },
}
