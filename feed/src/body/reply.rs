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

/// Tag of the [`Refusal`] in a reply.
pub const REFUSAL: u16 = 17;

codes! {
    /// Why a node does not do what a command asks for. The reply's reason says the same in words, with the names.
    pub enum Refusal {
        /// It is for another node.
        ForeignNode = 0 "foreign_node",
        /// It is for another session than the current one.
        OtherSession = 1 "other_session",
        /// Its time is over.
        Expired = 2 "expired",
        /// It stays valid for longer than a command may.
        TooFarAhead = 3 "too_far_ahead",
        /// The last number that it asks for is below the first.
        EmptyRange = 4 "empty_range",
        /// Its verb is a later version's.
        UnknownVerb = 5 "unknown_verb",
        /// Its verb is not the one of the topic.
        OtherVerb = 6 "other_verb",
        /// Its consumer does not have the role that the verb is for.
        WrongRole = 7 "wrong_role",
        /// It was taken before: what became of it then counts.
        Replayed = 8 "replayed",
        /// Its consumer sends too many.
        RateLimited = 9 "rate_limited",
        /// The node is at too much else; the same may be asked again later.
        Busy = 10 "busy",
        /// What is asked for does not fit what the node has or how things stand.
        NotPossible = 11 "not_possible",
        /// The node does not have, or no longer has, what is asked for.
        NotKept = 12 "not_kept",
        /// The node has no TPM.
        NoTpm = 13 "no_tpm",
        /// The TPM does not do it now, or not for this.
        TpmFailed = 14 "tpm_failed",
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
    /// The node does, or has done, what was asked.
    pub const fn accepted(nonce: [u8; 16], extensions: Extensions) -> Self {
        Self { nonce, outcome: ReplyOutcome::Accepted, reason: String::new(), extensions }
    }

    /// The node does not do it. `reason` is for people, at most [`limits::TEXT_BYTES`].
    pub fn refused(nonce: [u8; 16], refusal: Refusal, reason: String) -> Self {
        // A number of 16 bits always has an encoding.
        let bytes = postcard::to_allocvec(&refusal).unwrap_or_default();
        let extensions = vec![Extension { tag: REFUSAL, bytes }];
        Self { nonce, outcome: ReplyOutcome::Refused, reason, extensions }
    }

    /// Why it was refused; none where the node did not say, as earlier versions did not, or where what it said does not
    /// parse.
    pub fn refusal(&self) -> Option<Refusal> {
        let said = self.extensions.iter().find(|extension| extension.tag == REFUSAL)?;
        match postcard::take_from_bytes(&said.bytes) {
            Ok((refusal, [])) => Some(refusal),
            _ => None,
        }
    }

    pub(crate) fn check(&self) -> Result<(), LimitError> {
        limits::check("bytes of the reply's reason", self.reason.len(), limits::TEXT_BYTES)?;
        extension::check(&self.extensions)
    }
}
