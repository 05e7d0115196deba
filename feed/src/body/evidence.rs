//! Evidence: what a node says about itself so that a stranger can check it, and the artefacts it refers to.
//!
//! The document is small: large parts (inventory, boot event log, device reports and chains) are named by
//! their digest and asked for with the verb `fetch`. Everything that matters enters
//! [`EvidenceClaim::qualifying_data`], which the TPM signs in its quote; without a TPM the session key
//! alone signs it, as the frame that carries it.

use serde::{Deserialize, Serialize};

use crate::codes::codes;
use crate::error::LimitError;
use crate::extension::{self, Extension, Extensions};
use crate::ids::{NodeId, Stream, sha256};
use crate::keys::PublicKey;
use crate::limits;

/// Prefix of the hash that a quote signs.
pub const QUALIFYING_DOMAIN: &[u8] = b"rackmark/feed/v1/evidence\0";
/// Prefix of the hash that makes the nonce of a device's report.
pub const DEVICE_NONCE_DOMAIN: &[u8] = b"rackmark/feed/v1/device-nonce\0";
/// Prefix of the hash that answers an activation.
pub const ACTIVATION_DOMAIN: &[u8] = b"rackmark/feed/v1/activation\0";
/// Tag of the answer to an activation in a reply: [`activation_proof`].
pub const ACTIVATION: u16 = 18;

codes! {
    /// Why evidence was made.
    pub enum EvidenceCause {
        /// The agent started.
        Start = 0 "start",
        /// A consumer asked, with a nonce of its own.
        Request = 1 "request",
        /// A verifier's epoch began.
        Epoch = 2 "epoch",
        /// Firmware or hardware changed.
        InventoryChanged = 3 "inventory_changed",
        /// A driver was loaded.
        DriverChanged = 4 "driver_changed",
        /// The certificate for the broker was replaced.
        CertificateChanged = 5 "certificate_changed",
    }
}

codes! {
    /// What says that evidence is not an old one.
    pub enum FreshnessSource {
        /// Nothing.
        None = 0 "none",
        /// A consumer's nonce.
        Nonce = 1 "nonce",
        /// A verifier's epoch.
        Epoch = 2 "epoch",
    }
}

codes! {
    /// Sort of device that a report comes from.
    pub enum DeviceKind {
        /// A GPU, by the driver's library.
        Gpu = 0 "gpu",
        /// A component of the machine, by its BMC.
        Component = 1 "component",
    }
}

/// What says that evidence is not an old one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Freshness {
    /// Where the value comes from.
    pub source: FreshnessSource,
    /// Name of the consumer or verifier; empty for none.
    #[serde(deserialize_with = "limits::text::<_, { limits::NAME_BYTES }>")]
    pub verifier: String,
    /// The nonce or epoch id; zeros for none.
    pub value: [u8; 32],
}

impl Freshness {
    /// Evidence that nobody asked for.
    pub const fn none() -> Self {
        Self { source: FreshnessSource::None, verifier: String::new(), value: [0; 32] }
    }
}

/// A part that is too large for the document, by its SHA-256 digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ArtefactRef {
    /// SHA-256 of the bytes.
    pub digest: [u8; 32],
    /// How many bytes, at most [`limits::ARTEFACT_BYTES`].
    pub length: u32,
}

impl ArtefactRef {
    /// The reference to these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self { digest: sha256(&[], bytes), length: u32::try_from(bytes.len()).unwrap_or(u32::MAX) }
    }

    /// True when these are the bytes.
    pub fn fits(&self, bytes: &[u8]) -> bool {
        *self == Self::of(bytes)
    }
}

/// What one device says about itself, or why it says nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceEvidence {
    /// Sort of device.
    pub kind: DeviceKind,
    /// Slot of a GPU.
    pub slot: Option<u8>,
    /// UUID of a GPU, id of a component. It enters the nonce of the report.
    #[serde(deserialize_with = "limits::text::<_, { limits::NAME_BYTES }>")]
    pub name: String,
    /// The signed report.
    pub report: Option<ArtefactRef>,
    /// The certificate chain, leaf first.
    pub chain: Option<ArtefactRef>,
    /// Why there is no report, for people.
    #[serde(deserialize_with = "limits::text::<_, { limits::TEXT_BYTES }>")]
    pub reason: String,
}

/// What a quote signs by way of [`Self::qualifying_data`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EvidenceClaim {
    /// When it was made, milliseconds since 1970 by the node's clock. For people; freshness is elsewhere.
    pub taken_unix_ms: u64,
    /// Why it was made.
    pub cause: EvidenceCause,
    /// What says that it is not an old one.
    pub freshness: Freshness,
    /// The node's identity key.
    pub identity_public_key: PublicKey,
    /// The key of the session.
    pub session_public_key: PublicKey,
    /// The kernel's boot id.
    pub boot_id: [u8; 16],
    /// The inventory ([`crate::inventory`]).
    pub inventory: ArtefactRef,
    /// The measured-boot event log.
    pub boot_log: Option<ArtefactRef>,
    /// SHA-256 over the public key (DER) of the certificate that the node shows its broker.
    pub mqtt_key: Option<[u8; 32]>,
    /// Devices, GPUs first by rising slot.
    #[serde(deserialize_with = "limits::list::<_, DeviceEvidence, { limits::DEVICES }>")]
    pub devices: Vec<DeviceEvidence>,
    /// Digest of the last evidence of this node that the verifier named in `freshness` said it accepted.
    pub previous: Option<[u8; 32]>,
}

impl EvidenceClaim {
    /// The 32 bytes that the quote signs: SHA-256 over [`QUALIFYING_DOMAIN`] and the fields in this order, each
    /// as tag (one byte), length (four bytes, big-endian) and bytes. What is absent has length 0. Tags: 1 node
    /// id (class byte, hash), 2 freshness source (two bytes, big-endian), 3 verifier, 4 nonce or epoch id,
    /// 5 identity key, 6 session key, 7 boot id, 8 inventory digest, 9 boot log digest, 10 MQTT key digest,
    /// 11 previous evidence, 12 time and 13 cause (eight and two bytes, big-endian); then for each device
    /// 14 kind (two bytes, big-endian) and slot (one byte, 255 for none), 15 name, 16 report digest,
    /// 17 chain digest.
    pub fn qualifying_data(&self, node: &NodeId) -> [u8; 32] {
        let mut fields = Fields(Vec::with_capacity(512));
        let mut id = vec![node.class().byte()];
        id.extend_from_slice(node.hash());
        let digest = |part: &Option<ArtefactRef>| part.map(|part| part.digest.to_vec()).unwrap_or_default();
        let nonce: &[u8] = match self.freshness.source {
            FreshnessSource::None => &[],
            _ => &self.freshness.value,
        };
        fields.add(1, &id);
        fields.add(2, &self.freshness.source.code().to_be_bytes());
        fields.add(3, self.freshness.verifier.as_bytes());
        fields.add(4, nonce);
        fields.add(5, self.identity_public_key.as_bytes());
        fields.add(6, self.session_public_key.as_bytes());
        fields.add(7, &self.boot_id);
        fields.add(8, &self.inventory.digest);
        fields.add(9, &digest(&self.boot_log));
        fields.add(10, self.mqtt_key.as_ref().map_or(&[][..], |key| key));
        fields.add(11, self.previous.as_ref().map_or(&[][..], |previous| previous));
        fields.add(12, &self.taken_unix_ms.to_be_bytes());
        fields.add(13, &self.cause.code().to_be_bytes());
        for device in &self.devices {
            let [high, low] = device.kind.code().to_be_bytes();
            fields.add(14, &[high, low, device.slot.unwrap_or(u8::MAX)]);
            fields.add(15, device.name.as_bytes());
            fields.add(16, &digest(&device.report));
            fields.add(17, &digest(&device.chain));
        }
        sha256(QUALIFYING_DOMAIN, &fields.0)
    }

    /// The nonce that the report of a device must carry: SHA-256 over [`DEVICE_NONCE_DOMAIN`], the nonce or
    /// epoch id (zeros for none), the session key, and the device's name. So one report serves one device of
    /// one session, once.
    pub fn device_nonce(&self, name: &str) -> [u8; 32] {
        device_nonce(&self.freshness.value, &self.session_public_key, name)
    }

    /// The level, or the answer to one consumer.
    const fn stream(&self) -> Stream {
        match self.freshness.source {
            FreshnessSource::Nonce => Stream::Reply,
            _ => Stream::Evidence,
        }
    }
}

/// As [`EvidenceClaim::device_nonce`], before there is a claim.
pub fn device_nonce(freshness: &[u8; 32], session: &PublicKey, name: &str) -> [u8; 32] {
    let mut bytes = freshness.to_vec();
    bytes.extend_from_slice(session.as_bytes());
    bytes.extend_from_slice(name.as_bytes());
    sha256(DEVICE_NONCE_DOMAIN, &bytes)
}

/// What a node that recovered the secret of a credential answers: SHA-256 over [`ACTIVATION_DOMAIN`], the
/// command's nonce and the secret.
pub fn activation_proof(nonce: &[u8; 16], secret: &[u8]) -> [u8; 32] {
    let mut bytes = nonce.to_vec();
    bytes.extend_from_slice(secret);
    sha256(ACTIVATION_DOMAIN, &bytes)
}

/// Tagged, length-prefixed fields.
struct Fields(Vec<u8>);

impl Fields {
    fn add(&mut self, tag: u8, bytes: &[u8]) {
        self.0.push(tag);
        self.0.extend_from_slice(&u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes());
        self.0.extend_from_slice(bytes);
    }
}

/// The value of one platform configuration register.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pcr {
    /// Its index, 0 to 23.
    pub index: u8,
    /// Its value, as long as the bank's digests.
    #[serde(deserialize_with = "limits::bytes::<_, 64>", serialize_with = "extension::bytes")]
    pub digest: Vec<u8>,
}

/// What the TPM says, in the TPM's own structures.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TpmEvidence {
    /// Endorsement key, `TPMT_PUBLIC`. The hash of the node id is SHA-256 over it.
    #[serde(
        deserialize_with = "limits::bytes::<_, { limits::TPM_BYTES }>",
        serialize_with = "extension::bytes"
    )]
    pub endorsement_key: Vec<u8>,
    /// Its certificate, DER, where the TPM has one.
    pub endorsement_certificate: Option<Certificate>,
    /// Attestation key, `TPMT_PUBLIC`.
    #[serde(
        deserialize_with = "limits::bytes::<_, { limits::TPM_BYTES }>",
        serialize_with = "extension::bytes"
    )]
    pub attestation_key: Vec<u8>,
    /// `TPMS_ATTEST` of the quote; its `extraData` is the claim's [`EvidenceClaim::qualifying_data`].
    #[serde(
        deserialize_with = "limits::bytes::<_, { limits::TPM_BYTES }>",
        serialize_with = "extension::bytes"
    )]
    pub quoted: Vec<u8>,
    /// `TPMT_SIGNATURE` of it.
    #[serde(
        deserialize_with = "limits::bytes::<_, { limits::TPM_BYTES }>",
        serialize_with = "extension::bytes"
    )]
    pub signature: Vec<u8>,
    /// Bank of the registers, `TPM_ALG_ID` (11: SHA-256).
    pub pcr_bank: u16,
    /// The registers quoted, by rising index.
    #[serde(deserialize_with = "limits::list::<_, Pcr, 24>")]
    pub pcrs: Vec<Pcr>,
}

/// A certificate, DER, at most [`limits::CERTIFICATE_BYTES`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Certificate(
    #[serde(
        deserialize_with = "limits::bytes::<_, { limits::CERTIFICATE_BYTES }>",
        serialize_with = "extension::bytes"
    )]
    pub Vec<u8>,
);

/// What a node says about itself so that a stranger can check it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evidence {
    /// What is claimed, and what the quote signs.
    pub claim: EvidenceClaim,
    /// What the TPM says; none without one.
    pub tpm: Option<TpmEvidence>,
    /// Data of later versions.
    #[serde(deserialize_with = "limits::list::<_, Extension, { limits::EXTENSIONS }>")]
    pub extensions: Extensions,
}

impl Evidence {
    /// The digest by which later evidence names this one: SHA-256 over its whole frame.
    pub fn digest(frame: &[u8]) -> [u8; 32] {
        sha256(&[], frame)
    }

    /// Every artefact that the document names.
    pub fn artefacts(&self) -> impl Iterator<Item = ArtefactRef> {
        let claim = &self.claim;
        let devices = claim.devices.iter().flat_map(|device| [device.report, device.chain]);
        [Some(claim.inventory), claim.boot_log].into_iter().chain(devices).flatten()
    }

    pub(super) const fn stream(&self) -> Stream {
        self.claim.stream()
    }

    pub(super) fn check(&self) -> Result<(), LimitError> {
        let claim = &self.claim;
        limits::check("bytes of the verifier's name", claim.freshness.verifier.len(), limits::NAME_BYTES)?;
        limits::check("devices", claim.devices.len(), limits::DEVICES)?;
        for device in &claim.devices {
            limits::check("bytes of a device's name", device.name.len(), limits::NAME_BYTES)?;
            limits::check("bytes of a device's reason", device.reason.len(), limits::TEXT_BYTES)?;
        }
        for artefact in self.artefacts() {
            limits::check("bytes of an artefact", artefact.length as usize, limits::ARTEFACT_BYTES)?;
        }
        if let Some(tpm) = &self.tpm {
            let keys = [&tpm.endorsement_key, &tpm.attestation_key, &tpm.quoted, &tpm.signature];
            for part in keys {
                limits::check("bytes of a tpm structure", part.len(), limits::TPM_BYTES)?;
            }
            if let Some(Certificate(der)) = &tpm.endorsement_certificate {
                limits::check("bytes of a certificate", der.len(), limits::CERTIFICATE_BYTES)?;
            }
            limits::check("registers", tpm.pcrs.len(), 24)?;
            for pcr in &tpm.pcrs {
                limits::check("bytes of a register", pcr.digest.len(), 64)?;
            }
        }
        extension::check(&self.extensions)
    }
}

/// A piece of an artefact, the answer to `fetch`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Artefact {
    /// What it is a piece of.
    pub of: ArtefactRef,
    /// Where the piece begins.
    pub offset: u32,
    /// The piece, at most [`limits::PIECE_BYTES`].
    #[serde(
        deserialize_with = "limits::bytes::<_, { limits::PIECE_BYTES }>",
        serialize_with = "extension::bytes"
    )]
    pub bytes: Vec<u8>,
    /// Data of later versions.
    #[serde(deserialize_with = "limits::list::<_, Extension, { limits::EXTENSIONS }>")]
    pub extensions: Extensions,
}

impl Artefact {
    /// The pieces of an artefact, in order; one empty piece of an empty one.
    pub fn pieces(bytes: &[u8]) -> Vec<Self> {
        let of = ArtefactRef::of(bytes);
        let piece = |offset: usize, bytes: &[u8]| Self {
            of,
            offset: u32::try_from(offset).unwrap_or(u32::MAX),
            bytes: bytes.to_vec(),
            extensions: Vec::new(),
        };
        if bytes.is_empty() {
            return vec![piece(0, bytes)];
        }
        bytes
            .chunks(limits::PIECE_BYTES)
            .enumerate()
            .map(|(at, bytes)| piece(at * limits::PIECE_BYTES, bytes))
            .collect()
    }

    pub(super) fn check(&self) -> Result<(), LimitError> {
        limits::check("bytes of an artefact", self.of.length as usize, limits::ARTEFACT_BYTES)?;
        limits::check("bytes of a piece", self.bytes.len(), limits::PIECE_BYTES)?;
        extension::check(&self.extensions)
    }
}
