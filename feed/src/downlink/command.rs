//! Commands: something that a node shall do, once and soon.

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::DownlinkRefusal;
use crate::error::{EncodeError, LimitError};
use crate::extension::{self, Extension, Extensions};
use crate::ids::{NodeId, SessionId, SpoolEpoch, Stream};
use crate::kinds::{self, Name, Text, whole};
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
    /// 1: a person has seen a condition.
    Acknowledge {
        /// The GPU by slot, UUID, serial number or PCI address; none for the whole node.
        gpu: Option<String>,
        /// The condition's code.
        code: String,
        /// The condition's key.
        key: u32,
    },
    /// 2: work on the GPU or node begins.
    MaintenanceStart {
        /// The GPU by slot, UUID, serial number or PCI address; none for the whole node.
        gpu: Option<String>,
        /// When it is to end, milliseconds since 1970.
        until_unix_ms: u64,
        /// Why, for people.
        reason: String,
    },
    /// 3: the work is over.
    MaintenanceEnd {
        /// The GPU by slot, UUID, serial number or PCI address; none for the whole node.
        gpu: Option<String>,
    },
    /// 4: a lease on the GPU begins.
    LeaseStart {
        /// The GPU by slot, UUID, serial number or PCI address.
        gpu: String,
        /// Name of the lease.
        lease: String,
        /// When it is to end, milliseconds since 1970, if that is agreed.
        until_unix_ms: Option<u64>,
    },
    /// 5: a lease ends, on every GPU that it is on.
    LeaseEnd {
        /// Name of the lease.
        lease: String,
    },
    /// 6: running work may finish, nothing new is placed.
    Drain {
        /// The GPU by slot, UUID, serial number or PCI address; none for the whole node.
        gpu: Option<String>,
        /// Why, for people.
        reason: String,
    },
    /// 7: new work may be placed again.
    Undrain {
        /// The GPU by slot, UUID, serial number or PCI address; none for the whole node.
        gpu: Option<String>,
    },
    /// 8: close the driver handles for a time.
    Pause {
        /// The GPU by slot, UUID, serial number or PCI address; none for the whole node.
        gpu: Option<String>,
        /// For how long, milliseconds.
        for_ms: u64,
    },
    /// 9: open them again.
    Resume {
        /// The GPU by slot, UUID, serial number or PCI address; none for the whole node.
        gpu: Option<String>,
    },
    /// 10: make evidence over this nonce and send it to the consumer that asks.
    Attest {
        /// Random, new for each request, remembered by who asks.
        nonce: [u8; 32],
        /// Ask the devices, too; without it the TPM alone speaks.
        devices: bool,
    },
    /// 11: recover the secret of a TPM credential, which shows that the attestation key is in the TPM of the
    /// endorsement key. The reply carries [`crate::body::evidence::ACTIVATION`].
    Activate {
        /// `TPM2B_ID_OBJECT`, at most [`limits::CREDENTIAL_BYTES`].
        credential_blob: Vec<u8>,
        /// `TPM2B_ENCRYPTED_SECRET`, at most [`limits::CREDENTIAL_BYTES`].
        encrypted_secret: Vec<u8>,
    },
    /// 12: send an artefact that evidence named.
    Fetch {
        /// Its digest.
        digest: [u8; 32],
    },
    /// 13: the consumer accepted this evidence: the next one for it says so.
    Accepted {
        /// Digest of its frame.
        digest: [u8; 32],
    },
    /// 14: the card in a slot is going to be swapped, or has just been.
    Swap {
        /// The GPU by slot, UUID, serial number or PCI address.
        gpu: String,
        /// The ticket.
        ticket: String,
        /// For how long the declaration counts, milliseconds; none for the node's default.
        for_ms: Option<u64>,
        /// Who or what tested the new card, where the operator vouches for it.
        tested_by: Option<String>,
    },
    /// 15: test GPUs. Accepted means that the wish was taken; what comes of it is the event `burn_in_ended`.
    BurnInStart {
        /// The GPU by slot, UUID, serial number or PCI address; none for all.
        gpu: Option<String>,
        /// `probe`, `quick`, `acceptance` or `soak`.
        mode: String,
        /// Hours of a soak.
        hours: u16,
        /// One GPU after the other, not all together.
        one_by_one: bool,
    },
    /// 16: end the test of GPUs, and give them back.
    BurnInStop {
        /// The GPU by slot, UUID, serial number or PCI address; none for all.
        gpu: Option<String>,
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
    /// The name of every verb that this version knows, by rising number: the topics to subscribe to.
    pub const NAMES: &'static [&'static str] = &[
        "resend",
        "acknowledge",
        "maintenance_start",
        "maintenance_end",
        "lease_start",
        "lease_end",
        "drain",
        "undrain",
        "pause",
        "resume",
        "attest",
        "activate",
        "fetch",
        "accepted",
        "swap",
        "burn_in_start",
        "burn_in_stop",
    ];

    /// The verb number on the wire.
    pub const fn code(&self) -> u16 {
        match self {
            Self::Resend { .. } => 0,
            Self::Acknowledge { .. } => 1,
            Self::MaintenanceStart { .. } => 2,
            Self::MaintenanceEnd { .. } => 3,
            Self::LeaseStart { .. } => 4,
            Self::LeaseEnd { .. } => 5,
            Self::Drain { .. } => 6,
            Self::Undrain { .. } => 7,
            Self::Pause { .. } => 8,
            Self::Resume { .. } => 9,
            Self::Attest { .. } => 10,
            Self::Activate { .. } => 11,
            Self::Fetch { .. } => 12,
            Self::Accepted { .. } => 13,
            Self::Swap { .. } => 14,
            Self::BurnInStart { .. } => 15,
            Self::BurnInStop { .. } => 16,
            Self::Unrecognised { code, .. } => *code,
        }
    }

    /// The name in the topic and in the JSON form; `unrecognised` for an unknown verb.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Resend { .. } => "resend",
            Self::Acknowledge { .. } => "acknowledge",
            Self::MaintenanceStart { .. } => "maintenance_start",
            Self::MaintenanceEnd { .. } => "maintenance_end",
            Self::LeaseStart { .. } => "lease_start",
            Self::LeaseEnd { .. } => "lease_end",
            Self::Drain { .. } => "drain",
            Self::Undrain { .. } => "undrain",
            Self::Pause { .. } => "pause",
            Self::Resume { .. } => "resume",
            Self::Attest { .. } => "attest",
            Self::Activate { .. } => "activate",
            Self::Fetch { .. } => "fetch",
            Self::Accepted { .. } => "accepted",
            Self::Swap { .. } => "swap",
            Self::BurnInStart { .. } => "burn_in_start",
            Self::BurnInStop { .. } => "burn_in_stop",
            Self::Unrecognised { .. } => "unrecognised",
        }
    }

    fn payload(&self) -> Result<Vec<u8>, postcard::Error> {
        match self {
            Self::Resend { stream, epoch, from_seq, to_seq } => {
                postcard::to_allocvec(&(stream, epoch, from_seq, to_seq))
            }
            Self::Acknowledge { gpu, code, key } => postcard::to_allocvec(&(gpu, code, key)),
            Self::MaintenanceStart { gpu, until_unix_ms, reason } => {
                postcard::to_allocvec(&(gpu, until_unix_ms, reason))
            }
            Self::MaintenanceEnd { gpu }
            | Self::Undrain { gpu }
            | Self::Resume { gpu }
            | Self::BurnInStop { gpu } => postcard::to_allocvec(gpu),
            Self::LeaseStart { gpu, lease, until_unix_ms } => {
                postcard::to_allocvec(&(gpu, lease, until_unix_ms))
            }
            Self::LeaseEnd { lease } => postcard::to_allocvec(lease),
            Self::Drain { gpu, reason } => postcard::to_allocvec(&(gpu, reason)),
            Self::Pause { gpu, for_ms } => postcard::to_allocvec(&(gpu, for_ms)),
            Self::Attest { nonce, devices } => postcard::to_allocvec(&(nonce, devices)),
            Self::Activate { credential_blob, encrypted_secret } => {
                postcard::to_allocvec(&(credential_blob, encrypted_secret))
            }
            Self::Fetch { digest } | Self::Accepted { digest } => postcard::to_allocvec(digest),
            Self::Swap { gpu, ticket, for_ms, tested_by } => {
                postcard::to_allocvec(&(gpu, ticket, for_ms, tested_by))
            }
            Self::BurnInStart { gpu, mode, hours, one_by_one } => {
                postcard::to_allocvec(&(gpu, mode, hours, one_by_one))
            }
            Self::Unrecognised { payload, .. } => Ok(payload.clone()),
        }
    }

    /// The limits that the parser of a payload holds, on the sending side.
    fn check(&self) -> Result<(), LimitError> {
        let (gpu, words): (Option<&str>, &str) = match self {
            Self::Resend { .. } => (None, ""),
            Self::Acknowledge { gpu, code, .. } => {
                limits::check("bytes of the condition's code", code.len(), limits::NAME_BYTES)?;
                (gpu.as_deref(), "")
            }
            Self::MaintenanceStart { gpu, reason, .. } | Self::Drain { gpu, reason } => {
                (gpu.as_deref(), reason)
            }
            Self::MaintenanceEnd { gpu }
            | Self::Undrain { gpu }
            | Self::Resume { gpu }
            | Self::BurnInStop { gpu }
            | Self::Pause { gpu, .. } => (gpu.as_deref(), ""),
            Self::BurnInStart { gpu, mode, .. } => {
                limits::check("bytes of the mode of a burn-in", mode.len(), limits::NAME_BYTES)?;
                (gpu.as_deref(), "")
            }
            Self::LeaseStart { gpu, lease, .. } => (Some(gpu), lease),
            Self::LeaseEnd { lease } => (None, lease),
            Self::Attest { .. } | Self::Fetch { .. } | Self::Accepted { .. } => (None, ""),
            Self::Activate { credential_blob, encrypted_secret } => {
                for part in [credential_blob, encrypted_secret] {
                    limits::check("bytes of a credential", part.len(), limits::CREDENTIAL_BYTES)?;
                }
                (None, "")
            }
            Self::Swap { gpu, ticket, tested_by, .. } => {
                let by = tested_by.as_deref().unwrap_or_default();
                limits::check("bytes of who tested the card", by.len(), limits::TEXT_BYTES)?;
                (Some(gpu), ticket)
            }
            Self::Unrecognised { payload, .. } => {
                limits::check("bytes of the verb's payload", payload.len(), limits::VERB_BYTES)?;
                (None, "")
            }
        };
        limits::check("bytes of the name of a gpu", gpu.unwrap_or_default().len(), limits::TEXT_BYTES)?;
        limits::check("bytes of a text of the verb", words.len(), limits::TEXT_BYTES)
    }

    fn from_wire(code: u16, payload: &[u8]) -> Result<Self, &'static str> {
        Ok(match code {
            0 => {
                let (stream, epoch, from_seq, to_seq) = whole(payload)?;
                Self::Resend { stream, epoch, from_seq, to_seq }
            }
            1 => {
                let (gpu, code, key): (Option<Text>, Name, u32) = whole(payload)?;
                Self::Acknowledge { gpu: plain(gpu), code: code.0, key }
            }
            2 => {
                let (gpu, until_unix_ms, reason): (Option<Text>, u64, Text) = whole(payload)?;
                Self::MaintenanceStart { gpu: plain(gpu), until_unix_ms, reason: reason.0 }
            }
            3 => Self::MaintenanceEnd { gpu: plain(whole(payload)?) },
            4 => {
                let (gpu, lease, until_unix_ms): (Text, Text, Option<u64>) = whole(payload)?;
                Self::LeaseStart { gpu: gpu.0, lease: lease.0, until_unix_ms }
            }
            5 => Self::LeaseEnd { lease: whole::<Text>(payload)?.0 },
            6 => {
                let (gpu, reason): (Option<Text>, Text) = whole(payload)?;
                Self::Drain { gpu: plain(gpu), reason: reason.0 }
            }
            7 => Self::Undrain { gpu: plain(whole(payload)?) },
            8 => {
                let (gpu, for_ms): (Option<Text>, u64) = whole(payload)?;
                Self::Pause { gpu: plain(gpu), for_ms }
            }
            9 => Self::Resume { gpu: plain(whole(payload)?) },
            10 => {
                let (nonce, devices) = whole(payload)?;
                Self::Attest { nonce, devices }
            }
            11 => {
                let (credential_blob, encrypted_secret): (Credential, Credential) = whole(payload)?;
                Self::Activate { credential_blob: credential_blob.0, encrypted_secret: encrypted_secret.0 }
            }
            12 => Self::Fetch { digest: whole(payload)? },
            13 => Self::Accepted { digest: whole(payload)? },
            14 => {
                let (gpu, ticket, for_ms, tested_by): (Text, Text, Option<u64>, Option<Text>) =
                    whole(payload)?;
                Self::Swap { gpu: gpu.0, ticket: ticket.0, for_ms, tested_by: plain(tested_by) }
            }
            15 => {
                let (gpu, mode, hours, one_by_one): (Option<Text>, Name, u16, bool) = whole(payload)?;
                Self::BurnInStart { gpu: plain(gpu), mode: mode.0, hours, one_by_one }
            }
            16 => Self::BurnInStop { gpu: plain(whole(payload)?) },
            _ => Self::Unrecognised { code, payload: payload.to_vec() },
        })
    }
}

/// A part of a TPM credential within the limit.
#[derive(Deserialize)]
struct Credential(#[serde(deserialize_with = "limits::bytes::<_, { limits::CREDENTIAL_BYTES }>")] Vec<u8>);

fn plain(text: Option<Text>) -> Option<String> {
    text.map(|text| text.0)
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
            _ => Ok(()),
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
        self.verb.check()?;
        Ok(extension::check(&self.extensions)?)
    }
}
