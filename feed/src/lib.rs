//! The rackmark feed: what a node says, in bytes.
//!
//! This crate is the public contract between the agent and everybody who
//! reads it. It knows messages, frames, signatures and topics; it knows no
//! MQTT client and nothing of the agent. `docs/feed.md` describes the same
//! byte by byte for other languages.
//!
//! * [`seal`] makes a signed frame from a [`Message`]; [`Frame::parse`] and
//!   [`Frame::verify`] read one.
//! * [`topic`] names the topics; [`fields`] is the catalogue of fields.
//! * [`TelemetryBatch`] packs fast samples into columns.
//! * [`seal_downlink`] makes what a consumer sends to a node ([`Watermark`], [`Command`]);
//!   [`Downlink::parse`] and [`Downlink::verify`] read it.
//! * [`Consumer`] does all checks of a careful reader: session records,
//!   signatures, names, order, gaps, staleness.
#![forbid(unsafe_code)]

pub mod body;
pub mod codes;
pub mod consumer;
pub mod downlink;
pub mod error;
pub mod extension;
pub mod fields;
pub mod frame;
pub mod ids;
pub mod inventory;
#[cfg(feature = "json")]
pub mod json;
pub mod keys;
mod kinds;
pub mod limits;
pub mod schema;
pub mod telemetry;
pub mod topic;
pub mod value;
#[cfg(feature = "verify")]
pub mod verify;

pub use body::{
    Artefact, ArtefactRef, Body, Capacity, Condition, DeviceEvidence, DeviceKind, Event, EventKind, Evidence,
    EvidenceCause, EvidenceClaim, Field, FieldGroup, Freshness, FreshnessSource, GpuCapacity, GpuCounts,
    GpuRef, GpuSlow, LossCause, Maintenance, MigInstance, NodeVerdict, NvLink, PreviousSession, Process,
    Refusal, Reply, ReplyOutcome, SessionClaim, SessionRecord, SessionRecordError, SlotCondition, Status,
    StreamEnd, Succession, SuccessionError, SuccessionReason, TelemetrySlow, TpmEvidence, Xid, XidSource,
};
pub use codes::{
    Action, ClaimClass, ClearedBy, GpuState, NodeState, NvLinkRemote, ProcessKind, Severity, StateCause,
    Verdict,
};
pub use consumer::Consumer;
pub use downlink::{
    Command, Downlink, DownlinkBody, DownlinkRefusal, Epoch, StreamBelow, Verb, VerifiedDownlink, Watermark,
    seal_downlink,
};
pub use error::{DecodeError, EncodeError, ExtensionError, KeyError, LimitError};
pub use extension::{Extension, Extensions};
pub use fields::{Audience, FAST_FIELDS};
pub use frame::{Frame, Header, Message, Verified, seal};
pub use ids::{IdentityClass, NodeId, SessionId, SpoolEpoch, Stream};
pub use keys::{PublicKey, Signature, SigningKey};
pub use schema::SchemaId;
pub use telemetry::{BatchBuilder, Cell, SampleTime, TelemetryBatch};
pub use topic::Topic;
pub use value::{NoData, Reading, Value};
