//! Session record: binds a session key to a node id and to names.

use serde::{Deserialize, Serialize};

use crate::error::{EncodeError, KeyError};
use crate::extension::{self, Extension, Extensions};
use crate::ids::{IdentityClass, NodeId, SessionId, SpoolEpoch, Stream};
use crate::keys::{PublicKey, Signature, SigningKey};
use crate::{limits, topic};

/// Prefix of the bytes that the identity key signs: this, then the claim in postcard.
pub const SESSION_IDENTITY_DOMAIN: &[u8] = b"rackmark/feed/v1/session-identity\0";

/// First message of a session. The frame is signed by the session key, the
/// claim inside by the identity key. Retained, so that late consumers can verify.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionRecord {
    /// What the identity key signs.
    pub claim: SessionClaim,
    /// Signature over [`SESSION_IDENTITY_DOMAIN`] and the claim.
    pub identity_signature: Signature,
}

/// What a session says about itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionClaim {
    /// Node id; its class byte is the identity class.
    pub node: NodeId,
    /// Site name, as in the topic.
    #[serde(deserialize_with = "limits::text::<_, { limits::NAME_BYTES }>")]
    pub site: String,
    /// Node name, as in the topic.
    #[serde(deserialize_with = "limits::text::<_, { limits::NAME_BYTES }>")]
    pub node_name: String,
    /// Identity public key. For a software node the node id is its hash.
    pub identity_public_key: PublicKey,
    /// Session public key. The session id is its hash.
    pub session_public_key: PublicKey,
    /// `/proc/sys/kernel/random/boot_id`, as 16 bytes.
    pub boot_id: [u8; 16],
    /// The spool that sequence numbers count in.
    pub spool_epoch: SpoolEpoch,
    /// When the session began, milliseconds since 1970.
    pub started_unix_ms: u64,
    /// Version of the agent.
    #[serde(deserialize_with = "limits::text::<_, { limits::TEXT_BYTES }>")]
    pub agent_version: String,
    /// The session before, which this one closes.
    pub previous: Option<PreviousSession>,
    /// Data of later versions.
    #[serde(deserialize_with = "limits::list::<_, Extension, { limits::EXTENSIONS }>")]
    pub extensions: Extensions,
}

/// The session before this one, and where its streams ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PreviousSession {
    /// Its id.
    pub session: SessionId,
    /// Its spool epoch.
    pub spool_epoch: SpoolEpoch,
    /// The last sequence number used in each stream of that epoch when the
    /// session ended. A stream without an entry was never used.
    #[serde(deserialize_with = "limits::list::<_, StreamEnd, { limits::STREAMS }>")]
    pub ends: Vec<StreamEnd>,
}

/// Where a stream ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamEnd {
    /// The stream.
    pub stream: Stream,
    /// The last sequence number used in it.
    pub last_seq: u64,
}

/// Why a session record proves nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SessionRecordError {
    /// The node id is not the hash of the identity key.
    #[error("node id is not the hash of the identity key")]
    NodeId,
    /// The identity signature does not fit the claim.
    #[error("identity signature does not fit the session claim")]
    IdentitySignature,
    /// The class of the node id needs evidence that a session record does not carry.
    #[error("node id of class {} cannot be established from a session record", .0.prefix())]
    NotEstablished(IdentityClass),
    /// The node speaks with another identity key than the one that is established or was heard first.
    #[error("node {0} speaks with another identity key than before")]
    OtherIdentity(NodeId),
    /// A site or node name breaks the naming rule.
    #[error("session record carries a name that breaks the naming rule")]
    Name,
}

impl SessionClaim {
    /// The id of the session: the hash of its public key.
    pub fn session(&self) -> SessionId {
        SessionId::of(&self.session_public_key)
    }

    /// Signs the claim with the identity key of the node.
    ///
    /// # Errors
    /// [`KeyError::WrongIdentity`] when `identity` is not the key that the claim names.
    pub fn sign(self, identity: &SigningKey) -> Result<SessionRecord, KeyError> {
        if identity.public() != self.identity_public_key
            || (self.node.class() == IdentityClass::Software
                && self.node != NodeId::software(&self.identity_public_key))
        {
            return Err(KeyError::WrongIdentity);
        }
        let bytes = self.signed_bytes().map_err(|_| KeyError::Claim)?;
        let identity_signature = identity.sign(&bytes);
        Ok(SessionRecord { claim: self, identity_signature })
    }

    fn signed_bytes(&self) -> Result<Vec<u8>, postcard::Error> {
        postcard::to_extend(self, SESSION_IDENTITY_DOMAIN.to_vec())
    }

    pub(crate) fn check(&self) -> Result<(), EncodeError> {
        for name in [&self.site, &self.node_name] {
            if !topic::is_name(name) {
                return Err(EncodeError::Name { name: name.chars().take(limits::NAME_BYTES).collect() });
            }
        }
        limits::check("bytes of the agent version", self.agent_version.len(), limits::TEXT_BYTES)?;
        if let Some(previous) = &self.previous {
            limits::check("streams of the previous session", previous.ends.len(), limits::STREAMS)?;
        }
        Ok(extension::check(&self.extensions)?)
    }
}

impl SessionRecord {
    /// Checks that the identity key signed the claim and that the node id belongs to the identity key.
    ///
    /// The frame's own signature, by the session key, is checked by [`crate::Frame::verify`].
    ///
    /// # Errors
    /// What does not fit; [`SessionRecordError::NotEstablished`] last, where all else does.
    pub fn verify(&self) -> Result<(), SessionRecordError> {
        self.verify_claimed()?;
        match self.claim.node.class() {
            IdentityClass::Software => Ok(()),
            other => Err(SessionRecordError::NotEstablished(other)),
        }
    }

    /// As [`Self::verify`], without the question whether the identity key belongs to the node id where only
    /// evidence can say so (class TPM).
    ///
    /// # Errors
    /// What does not fit.
    pub fn verify_claimed(&self) -> Result<(), SessionRecordError> {
        let claim = &self.claim;
        if !topic::is_name(&claim.site) || !topic::is_name(&claim.node_name) {
            return Err(SessionRecordError::Name);
        }
        if claim.node.class() == IdentityClass::Software
            && claim.node != NodeId::software(&claim.identity_public_key)
        {
            return Err(SessionRecordError::NodeId);
        }
        let bytes = claim.signed_bytes().map_err(|_| SessionRecordError::IdentitySignature)?;
        if claim.identity_public_key.verifies(&bytes, &self.identity_signature) {
            Ok(())
        } else {
            Err(SessionRecordError::IdentitySignature)
        }
    }
}
