//! Reply: the node's answer to a command.

use serde::{Deserialize, Serialize};

use crate::codes::codes;
use crate::error::LimitError;
use crate::extension::{self, Extension, Extensions};
use crate::limits;

codes! {
    /// What became of a command.
    pub enum ReplyOutcome {
        /// The node does, or has done, what was asked.
        Accepted = 0 "accepted",
        /// The node does not do it; the reason says why.
        Refused = 1 "refused",
    }
}

/// The answer to one command. It has no sequence number: the nonce says what it answers. An answer that gets
/// lost is not sent again; who asked asks again with a new nonce.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reply {
    /// The nonce of the command.
    pub nonce: [u8; 16],
    /// What became of it.
    pub outcome: ReplyOutcome,
    /// Why, in words for people, at most [`limits::TEXT_BYTES`]; may be empty.
    #[serde(deserialize_with = "limits::text::<_, { limits::TEXT_BYTES }>")]
    pub reason: String,
    /// Data of later versions.
    #[serde(deserialize_with = "limits::list::<_, Extension, { limits::EXTENSIONS }>")]
    pub extensions: Extensions,
}

impl Reply {
    pub(crate) fn check(&self) -> Result<(), LimitError> {
        limits::check("bytes of the reply's reason", self.reason.len(), limits::TEXT_BYTES)?;
        extension::check(&self.extensions)
    }
}
