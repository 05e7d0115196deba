//! Names of things: node, session, spool epoch, stream.

use std::fmt;
use std::str::FromStr;

use ring::digest;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::codes::codes;
use crate::fields::Audience;
use crate::keys::PublicKey;

/// Prefix of the hash that makes a software node id.
pub const NODE_ID_SOFTWARE_DOMAIN: &[u8] = b"rackmark/feed/v1/node-id/software\0";
/// Prefix of the hash that makes a session id.
pub const SESSION_ID_DOMAIN: &[u8] = b"rackmark/feed/v1/session-id\0";

/// Where the identity key of a node lives. Another class is another id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum IdentityClass {
    /// An Ed25519 key in a file of the agent.
    Software,
    /// The endorsement key of a TPM.
    Tpm,
}

impl IdentityClass {
    /// The byte on the wire: 1 software, 2 TPM. 0 is never used.
    pub const fn byte(self) -> u8 {
        match self {
            Self::Software => 1,
            Self::Tpm => 2,
        }
    }

    /// The class with this byte.
    pub const fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            1 => Some(Self::Software),
            2 => Some(Self::Tpm),
            _ => None,
        }
    }

    /// The prefix in the text form of a node id.
    pub const fn prefix(self) -> &'static str {
        match self {
            Self::Software => "sw",
            Self::Tpm => "tpm",
        }
    }
}

impl Serialize for IdentityClass {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u8(self.byte())
    }
}

impl<'de> Deserialize<'de> for IdentityClass {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::from_byte(u8::deserialize(deserializer)?)
            .ok_or_else(|| serde::de::Error::custom("unknown identity class"))
    }
}

/// Identity of a node: class byte and 32 hash bytes. Text form `sw:<64 hex>` or `tpm:<64 hex>`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct NodeId {
    class: IdentityClass,
    hash: [u8; 32],
}

impl NodeId {
    /// The id of a software identity: SHA-256 over [`NODE_ID_SOFTWARE_DOMAIN`] and the public key.
    pub fn software(identity: &PublicKey) -> Self {
        Self { class: IdentityClass::Software, hash: sha256(NODE_ID_SOFTWARE_DOMAIN, identity.as_bytes()) }
    }

    /// An id from its parts, for classes whose hash is made elsewhere.
    pub const fn from_parts(class: IdentityClass, hash: [u8; 32]) -> Self {
        Self { class, hash }
    }

    /// The class.
    pub const fn class(&self) -> IdentityClass {
        self.class
    }

    /// The 32 hash bytes.
    pub const fn hash(&self) -> &[u8; 32] {
        &self.hash
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.class.prefix())?;
        write_hex(f, &self.hash)
    }
}

impl fmt::Debug for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A text that is not an id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a {what}")]
pub struct ParseIdError {
    /// What was expected.
    pub what: &'static str,
    /// What was found.
    pub text: String,
}

impl FromStr for NodeId {
    type Err = ParseIdError;

    fn from_str(text: &str) -> Result<Self, ParseIdError> {
        let error = || ParseIdError { what: "node id", text: text.chars().take(96).collect() };
        let (prefix, hex) = text.split_once(':').ok_or_else(error)?;
        let class = match prefix {
            "sw" => IdentityClass::Software,
            "tpm" => IdentityClass::Tpm,
            _ => return Err(error()),
        };
        Ok(Self { class, hash: parse_hex(hex).ok_or_else(error)? })
    }
}

/// Identity of one run of the agent: the first 16 bytes of SHA-256 over
/// [`SESSION_ID_DOMAIN`] and the session public key, so it cannot be chosen freely.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct SessionId(pub [u8; 16]);

impl SessionId {
    /// The id that belongs to a session key.
    pub fn of(session: &PublicKey) -> Self {
        let hash = sha256(SESSION_ID_DOMAIN, session.as_bytes());
        let mut id = [0; 16];
        id.copy_from_slice(&hash[..16]);
        Self(id)
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(f, &self.0)
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for SessionId {
    type Err = ParseIdError;

    fn from_str(text: &str) -> Result<Self, ParseIdError> {
        parse_hex(text)
            .map(Self)
            .ok_or_else(|| ParseIdError { what: "session id", text: text.chars().take(96).collect() })
    }
}

/// Identity of one spool: random, made when the spool is created. Sequence
/// numbers of streams count within it and are never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct SpoolEpoch(pub u64);

impl fmt::Display for SpoolEpoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

codes! {
    /// The stream or level that a message belongs to.
    pub enum Stream {
        /// Session records. Spooled, and retained on the broker.
        Session = 0 "session",
        /// Events. Spooled, never dropped silently.
        Event = 1 "event",
        /// Fast telemetry batches. Spooled, oldest dropped first.
        Telemetry = 2 "telemetry",
        /// Slow telemetry. Spooled, oldest dropped first.
        TelemetrySlow = 3 "telemetry_slow",
        /// Level: node status, and the will.
        Status = 4 "status",
        /// Level: capacity for everybody.
        CapacityPublic = 5 "capacity_public",
        /// Level: capacity for buyers.
        CapacityBuyer = 6 "capacity_buyer",
        /// Level: capacity for the operator.
        CapacityOperator = 7 "capacity_operator",
        /// Answers to commands, and what they ask for. Neither numbered nor spooled: the nonce says what is answered.
        Reply = 8 "reply",
        /// Level: the newest evidence.
        Evidence = 9 "evidence",
    }
}

impl Stream {
    /// True for levels: newest wins, retained, never spooled; sequence numbers count within the session.
    pub const fn is_level(self) -> bool {
        matches!(
            self,
            Self::Status
                | Self::CapacityPublic
                | Self::CapacityBuyer
                | Self::CapacityOperator
                | Self::Evidence
        )
    }

    /// True for streams that the spool numbers: sequence numbers count within the spool epoch. False for
    /// levels, for replies, and for a stream that this version does not know.
    pub const fn is_spooled(self) -> bool {
        matches!(self, Self::Session | Self::Event | Self::Telemetry | Self::TelemetrySlow)
    }

    /// True when the broker keeps the newest message for late subscribers (all levels, and session records).
    pub const fn is_retained(self) -> bool {
        self.is_level() || matches!(self, Self::Session)
    }

    /// Who may read the topic; `None` for a stream that this version does not know.
    pub const fn audience(self) -> Option<Audience> {
        Some(match self {
            Self::Session | Self::Status | Self::CapacityPublic => Audience::Public,
            Self::CapacityBuyer | Self::Evidence => Audience::Buyer,
            Self::Telemetry => Audience::LeaseHolder,
            Self::Event | Self::TelemetrySlow | Self::CapacityOperator | Self::Reply => Audience::Operator,
            Self::Unrecognised(_) => return None,
        })
    }
}

pub(crate) fn sha256(domain: &[u8], bytes: &[u8]) -> [u8; 32] {
    let mut context = digest::Context::new(&digest::SHA256);
    context.update(domain);
    context.update(bytes);
    let mut out = [0; 32];
    out.copy_from_slice(context.finish().as_ref());
    out
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(crate) fn write_hex(f: &mut fmt::Formatter<'_>, bytes: &[u8]) -> fmt::Result {
    bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
}

pub(crate) fn parse_hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    fn digit(c: u8) -> Option<u8> {
        match c {
            b'0'..=b'9' => Some(c - b'0'),
            b'a'..=b'f' => Some(c - b'a' + 10),
            _ => None,
        }
    }
    let text = text.as_bytes();
    if text.len() != 2 * N {
        return None;
    }
    let mut out = [0; N];
    for (byte, pair) in out.iter_mut().zip(text.chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(out)
}
