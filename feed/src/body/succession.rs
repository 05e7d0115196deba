//! Successions: an operator's signed word that a node which is another id now is the same machine.
//!
//! A reimage, another mainboard or another TPM gives a node another id. What was known of the old one is kept by
//! whoever trusts the operator. The record travels in the session record of the new id, as an extension.

use serde::{Deserialize, Serialize};

use super::SessionClaim;
use crate::codes::codes;
use crate::error::{EncodeError, ExtensionError};
use crate::extension::Extension;
use crate::ids::NodeId;
use crate::keys::{PublicKey, Signature, SigningKey};
use crate::limits;

/// Tag of the list of [`Succession`]s in a session record; stands at most once.
pub const SUCCESSIONS: u16 = 16;
/// Prefix of the bytes that an operator signs: this, then the fields before the signature in postcard.
pub const SUCCESSION_DOMAIN: &[u8] = b"rackmark/feed/v1/succession\0";

codes! {
    /// Why a node has another id.
    pub enum SuccessionReason {
        /// Its disk was written anew, so a software key is gone, or another class of identity began.
        Reimage = 0 "reimage",
        /// Its mainboard was replaced.
        Mainboard = 1 "mainboard",
        /// Its TPM was replaced or cleared for good, or is used from now on.
        Tpm = 2 "tpm",
        /// Something else; the ticket says what.
        Other = 3 "other",
    }
}

/// One step from an old id to a new one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Succession {
    /// The id that the machine had.
    pub old: NodeId,
    /// The id that it has now.
    pub new: NodeId,
    /// Why.
    pub reason: SuccessionReason,
    /// The operator's ticket, for people, at most [`limits::TEXT_BYTES`] long; may be empty.
    #[serde(deserialize_with = "limits::text::<_, { limits::TEXT_BYTES }>")]
    pub ticket: String,
    /// When it was signed, milliseconds since 1970 by the operator's clock.
    pub issued_unix_ms: u64,
    /// The operator's key.
    pub operator: PublicKey,
    /// Its signature over [`SUCCESSION_DOMAIN`] and the fields before this one in postcard.
    pub signature: Signature,
}

/// Why successions do not lead to a node.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SuccessionError {
    /// They do not parse.
    #[error("successions do not parse")]
    Extension(#[from] ExtensionError),
    /// A signature does not fit.
    #[error("succession of {0} is not signed by the operator that it names")]
    Signature(NodeId),
    /// One does not begin where the one before it ends.
    #[error("succession of {0} does not follow the one before it")]
    Unlinked(NodeId),
    /// The last one ends at another node.
    #[error("successions lead to {0}, which is another node")]
    AnotherNode(NodeId),
    /// A node succeeds itself, at once or by way of others.
    #[error("successions come by {0} twice")]
    Circle(NodeId),
}

impl Succession {
    /// Signs that `new` is what `old` was.
    pub fn sign(
        old: NodeId,
        new: NodeId,
        reason: SuccessionReason,
        ticket: String,
        issued_unix_ms: u64,
        operator: &SigningKey,
    ) -> Self {
        let unsigned = Signature::from_bytes(&[0; Signature::BYTES]);
        let mut made = Self {
            old,
            new,
            reason,
            ticket,
            issued_unix_ms,
            operator: operator.public(),
            signature: unsigned,
        };
        made.signature = operator.sign(&made.signed_bytes());
        made
    }

    /// True when the operator that it names signed it. Whether that operator is trusted is the caller's question.
    pub fn verifies(&self) -> bool {
        self.operator.verifies(&self.signed_bytes(), &self.signature)
    }

    fn signed_bytes(&self) -> Vec<u8> {
        let fields = (&self.old, &self.new, self.reason, &self.ticket, self.issued_unix_ms, &self.operator);
        // Ids, a code, a text, a number and a key always serialize.
        postcard::to_extend(&fields, SUCCESSION_DOMAIN.to_vec()).unwrap_or_default()
    }
}

/// The extension with these successions, oldest first.
///
/// # Errors
/// [`EncodeError::Limit`]: more than [`limits::SUCCESSIONS`], or a ticket that is too long.
pub fn successions_extension(list: &[Succession]) -> Result<Extension, EncodeError> {
    limits::check("successions", list.len(), limits::SUCCESSIONS)?;
    for succession in list {
        limits::check("bytes of the succession's ticket", succession.ticket.len(), limits::TEXT_BYTES)?;
    }
    let bytes = postcard::to_allocvec(list).map_err(EncodeError::Serialize)?;
    Ok(Extension { tag: SUCCESSIONS, bytes })
}

/// Checks that successions, oldest first, follow each other, end at `node`, and are signed by whom they name.
///
/// # Errors
/// What does not fit; the first fault counts.
pub fn check_successions(list: &[Succession], node: &NodeId) -> Result<(), SuccessionError> {
    let Some(last) = list.last() else { return Ok(()) };
    if last.new != *node {
        return Err(SuccessionError::AnotherNode(last.new));
    }
    for (at, succession) in list.iter().enumerate() {
        let (before, after) = list.split_at(at);
        if before.last().is_some_and(|before| before.new != succession.old) {
            return Err(SuccessionError::Unlinked(succession.old));
        }
        if after.iter().any(|later| later.new == succession.old) {
            return Err(SuccessionError::Circle(succession.old));
        }
        if !succession.verifies() {
            return Err(SuccessionError::Signature(succession.old));
        }
    }
    Ok(())
}

impl SessionClaim {
    /// The successions that lead to this node, oldest first, at most [`limits::SUCCESSIONS`]; empty where the record
    /// has none. They follow each other, end here and are signed by whom they name; whether those operators are
    /// trusted is the caller's question.
    ///
    /// # Errors
    /// Successions that say something else.
    pub fn successions(&self) -> Result<Vec<Succession>, SuccessionError> {
        let list = self.said_successions()?;
        check_successions(&list, &self.node)?;
        Ok(list)
    }

    /// What stands in the record, unchecked.
    ///
    /// # Errors
    /// Content that does not parse.
    pub fn said_successions(&self) -> Result<Vec<Succession>, ExtensionError> {
        let tag = SUCCESSIONS;
        let mut found = self.extensions.iter().filter(|extension| extension.tag == tag);
        let Some(extension) = found.next() else { return Ok(Vec::new()) };
        if found.next().is_some() {
            return Err(ExtensionError::Twice { tag });
        }
        match postcard::take_from_bytes::<List>(&extension.bytes) {
            Ok((list, [])) => Ok(list.0),
            Ok((_, rest)) => Err(ExtensionError::Trailing { tag, count: rest.len() }),
            Err(source) => Err(ExtensionError::Content { tag, source }),
        }
    }
}

#[derive(Deserialize)]
struct List(
    #[serde(deserialize_with = "limits::list::<_, Succession, { limits::SUCCESSIONS }>")] Vec<Succession>,
);
