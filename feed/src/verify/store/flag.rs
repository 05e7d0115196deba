//! What memory shows, by name.

use serde::{Deserialize, Serialize};

use super::TpmClock;

/// Something that memory shows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "flag", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Flag {
    /// One endorsement key, two machines: a cloned TPM state, or a TPM that was carried over.
    EndorsementKeyAtTwoMachines {
        /// The machine that it was seen in before.
        before: String,
        /// The machine that it is in now.
        now: String,
    },
    /// A device that another node, which is live, has too.
    DeviceAtTwoNodes {
        /// The device.
        device: String,
        /// The other node.
        other: String,
    },
    /// A device that another node had, without a word from that node.
    UndeclaredMove {
        /// The device.
        device: String,
        /// The node that had it.
        from: String,
    },
    /// A device that another node had and said it gave away.
    DeclaredMove {
        /// The device.
        device: String,
        /// The node that had it.
        from: String,
        /// The ticket.
        ticket: String,
    },
    /// The evidence does not follow the one accepted last: two holders of one identity, or one restored from a copy.
    Fork {
        /// What it should name, hex.
        expected: String,
        /// What it names, hex; empty for nothing.
        found: String,
    },
    /// The TPM's counters went back: an old quote, or a TPM restored from a copy.
    Rollback {
        /// Before.
        before: TpmClock,
        /// Now.
        now: TpmClock,
    },
    /// A known endorsement key with another attestation key: it was cleared, or it is enrolled anew.
    NewAttestationKey,
    /// The same TPM with another identity key.
    NewIdentityKey,
    /// An operator signed that another id came after this one, and this one speaks again.
    SupersededNode {
        /// The id that came after it.
        by: String,
    },
    /// An operator's succession does not fit what is remembered and changed nothing: the new id is remembered with a
    /// history of its own, or is over itself, or the old one was succeeded by another. A person decides.
    SuccessionRefused {
        /// The old id.
        old: String,
        /// The new one.
        new: String,
    },
    /// There is no room to remember the node or all of its devices.
    NoRoom,
}

impl Flag {
    /// Stable name.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::EndorsementKeyAtTwoMachines { .. } => "endorsement_key_at_two_machines",
            Self::DeviceAtTwoNodes { .. } => "device_at_two_nodes",
            Self::UndeclaredMove { .. } => "undeclared_move",
            Self::DeclaredMove { .. } => "declared_move",
            Self::Fork { .. } => "fork",
            Self::Rollback { .. } => "rollback",
            Self::NewAttestationKey => "new_attestation_key",
            Self::NewIdentityKey => "new_identity_key",
            Self::SupersededNode { .. } => "superseded_node",
            Self::SuccessionRefused { .. } => "succession_refused",
            Self::NoRoom => "no_room",
        }
    }

    /// True where the node cannot be what it says, or not alone. Memory then keeps what it had.
    pub const fn contradicts(&self) -> bool {
        matches!(
            self,
            Self::EndorsementKeyAtTwoMachines { .. }
                | Self::DeviceAtTwoNodes { .. }
                | Self::Fork { .. }
                | Self::Rollback { .. }
                | Self::SupersededNode { .. }
        )
    }
}
