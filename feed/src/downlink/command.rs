//! Commands: something that a node shall do, once and soon.

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::DownlinkRefusal;
use crate::error::EncodeError;
use crate::extension::{self, Extension, Extensions};
use crate::ids::{NodeId, SessionId, SpoolEpoch, Stream};
use crate::kinds::{self, whole};
use crate::{limits, topic};

/// How far ahead of the node's clock a command may expire, milliseconds. A node remembers the nonce of each
/// command until it expires, so this bounds what it remembers.
pub const COMMAND_AHEAD_MS: u64 = 5 * 60 * 1000;

/// Something that the node shall do. It counts for one session of one node, until it expires, once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Command {
    /// The node that it is for.
    pub node: NodeId,
    /// The session that it is for.
    pub session: SessionId,
    /// The consumer that asks.
    #[serde(deserialize_with = "limits::text::<_, { limits::NAME_BYTES }>")]
    pub consumer: String,
    /// From when on the node refuses it, milliseconds since 1970.
    pub expires_unix_ms: u64,
    /// Random, new for each command. The reply repeats it; a node acts on it once.
    pub nonce: [u8; 16],
    /// What to do.
    pub verb: Verb,
    /// Data of later versions.
    #[serde(deserialize_with = "limits::list::<_, Extension, { limits::EXTENSIONS }>")]
    pub extensions: Extensions,
}

/// What to do. On the wire: verb number, length, payload; a reader keeps a verb that it does not know as
/// [`Verb::Unrecognised`], to refuse it by number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verb {
    /// 0: send messages of a stream again, as far as the spool still has them.
    Resend {
        /// The stream.
        stream: Stream,
        /// The spool epoch that the numbers count in.
        epoch: SpoolEpoch,
        /// First number.
        from_seq: u64,
        /// Last number.
        to_seq: u64,
    },
    /// A verb that this version does not know, with its payload.
    Unrecognised {
        /// The verb number.
        code: u16,
        /// The payload, at most [`limits::VERB_BYTES`].
        payload: Vec<u8>,
    },
}

impl Verb {
    /// The verb number on the wire.
    pub const fn code(&self) -> u16 {
        match self {
            Self::Resend { .. } => 0,
            Self::Unrecognised { code, .. } => *code,
        }
    }

    /// The name in the topic and in the JSON form; `unrecognised` for an unknown verb.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Resend { .. } => "resend",
            Self::Unrecognised { .. } => "unrecognised",
        }
    }

    fn payload(&self) -> Result<Vec<u8>, postcard::Error> {
        match self {
            Self::Resend { stream, epoch, from_seq, to_seq } => {
                postcard::to_allocvec(&(stream, epoch, from_seq, to_seq))
            }
            Self::Unrecognised { payload, .. } => Ok(payload.clone()),
        }
    }

    fn from_wire(code: u16, payload: &[u8]) -> Result<Self, &'static str> {
        Ok(match code {
            0 => {
                let (stream, epoch, from_seq, to_seq) = whole(payload)?;
                Self::Resend { stream, epoch, from_seq, to_seq }
            }
            _ => Self::Unrecognised { code, payload: payload.to_vec() },
        })
    }
}

impl Serialize for Verb {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        kinds::serialize(self.code(), self.payload(), serializer)
    }
}

impl<'de> Deserialize<'de> for Verb {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (code, payload) = kinds::deserialize(limits::VERB_BYTES, deserializer)?;
        Self::from_wire(code, payload).map_err(D::Error::custom)
    }
}

impl Command {
    /// The checks of a node before it acts on a command whose signature fits: is it for this node and session,
    /// is it in time, and is it something that can be done? Not among them: that the nonce is new (the node
    /// remembers nonces until they expire), the topic ([`Self::check_topic`]), and what the spool has.
    ///
    /// # Errors
    /// The first check that fails.
    pub fn check(&self, node: &NodeId, session: &SessionId, now_unix_ms: u64) -> Result<(), DownlinkRefusal> {
        let expires_unix_ms = self.expires_unix_ms;
        if self.node != *node {
            return Err(DownlinkRefusal::ForeignNode { found: self.node });
        }
        if self.session != *session {
            return Err(DownlinkRefusal::OtherSession { found: self.session });
        }
        if expires_unix_ms <= now_unix_ms {
            return Err(DownlinkRefusal::Expired { expires_unix_ms });
        }
        if expires_unix_ms - now_unix_ms > COMMAND_AHEAD_MS {
            return Err(DownlinkRefusal::TooFarAhead { expires_unix_ms });
        }
        match self.verb {
            Verb::Resend { from_seq, to_seq, .. } if from_seq > to_seq => {
                Err(DownlinkRefusal::EmptyRange { from_seq, to_seq })
            }
            Verb::Unrecognised { code, .. } => Err(DownlinkRefusal::UnknownVerb { code }),
            Verb::Resend { .. } => Ok(()),
        }
    }

    /// Checks that the command came on the topic of its verb, since a broker grants verbs by topic.
    ///
    /// # Errors
    /// [`DownlinkRefusal::OtherVerb`].
    pub fn check_topic(&self, verb_on_topic: &str) -> Result<(), DownlinkRefusal> {
        if self.verb.name() == verb_on_topic {
            Ok(())
        } else {
            Err(DownlinkRefusal::OtherVerb { found: self.verb.name() })
        }
    }

    pub(super) fn check_to_seal(&self) -> Result<(), EncodeError> {
        if !topic::is_name(&self.consumer) {
            return Err(EncodeError::Name { name: self.consumer.chars().take(limits::NAME_BYTES).collect() });
        }
        if let Verb::Unrecognised { payload, .. } = &self.verb {
            limits::check("bytes of the verb's payload", payload.len(), limits::VERB_BYTES)?;
        }
        Ok(extension::check(&self.extensions)?)
    }
}
