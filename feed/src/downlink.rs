//! Downlink: what a consumer says to a node, in signed frames of their own.
//!
//! [`seal_downlink`] makes a frame; [`Downlink::parse`] and [`Downlink::verify`]
//! read one. A signature proves who spoke. Whether the message is for this node,
//! now, is said by [`Watermark::check`] and [`Command::check`]; a node makes both.

mod command;
mod epoch;
mod frame;
mod watermark;

use serde::{Deserialize, Serialize};

pub use command::{COMMAND_AHEAD_MS, Command, Verb};
pub use epoch::Epoch;
pub use frame::{
    DOWNLINK_DOMAIN, DOWNLINK_MAGIC, DOWNLINK_VERSION, Downlink, VerifiedDownlink, seal_downlink,
};
pub use watermark::{StreamBelow, Watermark};

use crate::body::Refusal;
use crate::error::{DecodeError, EncodeError};
use crate::ids::{NodeId, SessionId, SpoolEpoch};

/// The body of a downlink frame. Variant numbers are on the wire: append only, and a released body type is
/// never edited; a changed one is a new variant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum DownlinkBody {
    /// How far a consumer has the streams of a node.
    Watermark(Watermark),
    /// Something that the node shall do.
    Command(Command),
    /// A verifier's epoch, for every node.
    Epoch(Epoch),
}

impl DownlinkBody {
    /// The kind's name in errors and in the JSON form.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Watermark(_) => "watermark",
            Self::Command(_) => "command",
            Self::Epoch(_) => "epoch",
        }
    }

    /// The consumer that says it speaks: its key is the one to verify with.
    pub fn consumer(&self) -> &str {
        match self {
            Self::Watermark(watermark) => &watermark.consumer,
            Self::Command(command) => &command.consumer,
            Self::Epoch(epoch) => &epoch.verifier,
        }
    }

    fn check_to_seal(&self) -> Result<(), EncodeError> {
        match self {
            Self::Watermark(watermark) => watermark.check_to_seal(),
            Self::Command(command) => command.check_to_seal(),
            Self::Epoch(epoch) => epoch.check_to_seal(),
        }
    }

    /// What the parser of the types cannot see: names and order.
    fn check_parsed(&self) -> Result<(), DecodeError> {
        if !crate::topic::is_name(self.consumer()) {
            return Err(DecodeError::Name);
        }
        match self {
            Self::Watermark(watermark) if !watermark.streams_rise() => Err(DecodeError::StreamOrder),
            _ => Ok(()),
        }
    }
}

/// Why a node does not act on a downlink message whose signature fits.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DownlinkRefusal {
    /// It is for another node.
    #[error("message is for node {found}")]
    ForeignNode {
        /// The node that it names.
        found: NodeId,
    },
    /// The watermark counts in another spool.
    #[error("watermark is for spool epoch {found}, which is not the current one")]
    OtherEpoch {
        /// The epoch that it names.
        found: SpoolEpoch,
    },
    /// The watermark names another consumer than its topic.
    #[error("watermark names consumer {found:?}, its topic names another")]
    OtherConsumer {
        /// The consumer that it names.
        found: String,
    },
    /// The command is for another session: one that has ended.
    #[error("command is for session {found}, which is not the current one")]
    OtherSession {
        /// The session that it names.
        found: SessionId,
    },
    /// The command names another verb than its topic.
    #[error("command has the verb {found}, its topic names another")]
    OtherVerb {
        /// The verb that it has.
        found: &'static str,
    },
    /// The time to act on the command is over.
    #[error("command expired at {expires_unix_ms} ms since 1970")]
    Expired {
        /// When it expired, milliseconds since 1970.
        expires_unix_ms: u64,
    },
    /// The command says that it stays valid for longer than [`COMMAND_AHEAD_MS`].
    #[error(
        "command expires at {expires_unix_ms} ms since 1970, more than {} s ahead",
        COMMAND_AHEAD_MS / 1000
    )]
    TooFarAhead {
        /// When it expires, milliseconds since 1970.
        expires_unix_ms: u64,
    },
    /// A verb that this version does not know.
    #[error("verb {code} is not known")]
    UnknownVerb {
        /// The code of the verb.
        code: u16,
    },
    /// The last number asked for is below the first.
    #[error("range from {from_seq} to {to_seq} holds no number")]
    EmptyRange {
        /// First number.
        from_seq: u64,
        /// Last number.
        to_seq: u64,
    },
}

impl DownlinkRefusal {
    /// The code in the reply to a command. What concerns watermarks alone, which are not answered, is none of them.
    pub const fn code(&self) -> Option<Refusal> {
        Some(match self {
            Self::ForeignNode { .. } => Refusal::ForeignNode,
            Self::OtherEpoch { .. } | Self::OtherConsumer { .. } => return None,
            Self::OtherSession { .. } => Refusal::OtherSession,
            Self::OtherVerb { .. } => Refusal::OtherVerb,
            Self::Expired { .. } => Refusal::Expired,
            Self::TooFarAhead { .. } => Refusal::TooFarAhead,
            Self::UnknownVerb { .. } => Refusal::UnknownVerb,
            Self::EmptyRange { .. } => Refusal::EmptyRange,
        })
    }

    /// The name in documents, logs and counters.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::ForeignNode { .. } => "foreign_node",
            Self::OtherEpoch { .. } => "other_epoch",
            Self::OtherConsumer { .. } => "other_consumer",
            Self::OtherSession { .. } => "other_session",
            Self::OtherVerb { .. } => "other_verb",
            Self::Expired { .. } => "expired",
            Self::TooFarAhead { .. } => "too_far_ahead",
            Self::UnknownVerb { .. } => "unknown_verb",
            Self::EmptyRange { .. } => "empty_range",
        }
    }
}
