//! Bodies of messages: one type per kind, one enum over all.

pub mod capacity;
mod condition;
mod event;
pub mod evidence;
mod reply;
mod session;
mod slow;
mod status;
pub mod succession;

use serde::{Deserialize, Serialize};

pub use capacity::{
    Capacity, Field, FieldGroup, GpuCapacity, Maintenance, MigInstance, NodeVerdict, SlotCondition,
};
pub use condition::Condition;
pub use event::{Event, EventKind, GpuRef, LossCause, Xid, XidSource};
pub use evidence::{
    Artefact, ArtefactRef, DeviceEvidence, DeviceKind, Evidence, EvidenceCause, EvidenceClaim, Freshness,
    FreshnessSource, Pcr, TpmEvidence,
};
pub use reply::{REFUSAL, Refusal, Reply, ReplyOutcome};
pub use session::{
    PreviousSession, SESSION_IDENTITY_DOMAIN, SessionClaim, SessionRecord, SessionRecordError, StreamEnd,
};
pub use slow::{GpuSlow, NvLink, Process, TelemetrySlow};
pub use status::{GpuCounts, Status};
pub use succession::{Succession, SuccessionError, SuccessionReason};

use crate::error::EncodeError;
use crate::ids::Stream;
use crate::telemetry::TelemetryBatch;

/// The body of a message. Variant numbers are on the wire: append only, and a
/// released body type is never edited; a changed one is a new variant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[allow(clippy::large_enum_variant, reason = "one body lives at a time; boxing would only cost")]
pub enum Body {
    /// Who speaks, with which key, after whom.
    Session(SessionRecord),
    /// Something happened.
    Event(Event),
    /// Fast fields of all GPUs over some samples.
    Telemetry(TelemetryBatch),
    /// Slow fields of all GPUs, once.
    TelemetrySlow(TelemetrySlow),
    /// How the node is.
    Status(Status),
    /// What the node has, for one audience.
    Capacity(Capacity),
    /// The answer to a command.
    Reply(Reply),
    /// What the node says about itself so that a stranger can check it.
    Evidence(Evidence),
    /// A piece of what evidence refers to.
    Artefact(Artefact),
}

/// Whether a message has a sequence number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Numbering {
    /// It has.
    Required,
    /// A status that says offline: it has when the node says so itself, it has not as the will.
    Optional,
    /// What goes to one consumer: it has not.
    Forbidden,
}

impl Numbering {
    /// True when a number (`present`) or its absence fits.
    pub(crate) const fn fits(self, present: bool) -> bool {
        match self {
            Self::Required => present,
            Self::Optional => true,
            Self::Forbidden => !present,
        }
    }
}

impl Body {
    /// The kind's name in errors and in the JSON form.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Session(_) => "session",
            Self::Event(_) => "event",
            Self::Telemetry(_) => "telemetry",
            Self::TelemetrySlow(_) => "telemetry_slow",
            Self::Status(_) => "status",
            Self::Capacity(_) => "capacity",
            Self::Reply(_) => "reply",
            Self::Evidence(_) => "evidence",
            Self::Artefact(_) => "artefact",
        }
    }

    /// The stream that carries this body.
    pub const fn stream(&self) -> Stream {
        match self {
            Self::Session(_) => Stream::Session,
            Self::Event(_) => Stream::Event,
            Self::Telemetry(_) => Stream::Telemetry,
            Self::TelemetrySlow(_) => Stream::TelemetrySlow,
            Self::Status(_) => Stream::Status,
            Self::Capacity(capacity) => capacity.stream(),
            Self::Reply(_) | Self::Artefact(_) => Stream::Reply,
            Self::Evidence(evidence) => evidence.stream(),
        }
    }

    /// True for the body of a will: a status that says offline.
    pub const fn is_will(&self) -> bool {
        matches!(self, Self::Status(Status { state: crate::codes::NodeState::Offline, .. }))
    }

    /// What sequence number the body goes with.
    pub(crate) const fn numbering(&self) -> Numbering {
        match self {
            body if matches!(body.stream(), Stream::Reply) => Numbering::Forbidden,
            body if body.is_will() => Numbering::Optional,
            _ => Numbering::Required,
        }
    }

    /// Checks limits, names and audiences before sealing.
    pub(crate) fn check(&self) -> Result<(), EncodeError> {
        match self {
            Self::Session(record) => record.claim.check(),
            Self::Event(event) => Ok(event.check()?),
            Self::Telemetry(batch) => Ok(batch.check()?),
            Self::TelemetrySlow(slow) => slow.check(),
            Self::Status(status) => Ok(status.check()?),
            Self::Capacity(capacity) => capacity.check(),
            Self::Reply(reply) => Ok(reply.check()?),
            Self::Evidence(evidence) => Ok(evidence.check()?),
            Self::Artefact(artefact) => Ok(artefact.check()?),
        }
    }
}
