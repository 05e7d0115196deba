//! A node's bundle, made without a node: session record, evidence with whatever devices show, and on request a TPM's
//! quote and a boot log of the size that servers have.

use rackmark_feed::body::evidence::{Pcr, device_nonce};
use rackmark_feed::inventory::{Claim, Fact, Inventory};
use rackmark_feed::verify::bundle::{Activation, Bundle};
use rackmark_feed::verify::report::{Question, REGISTERS};
use rackmark_feed::verify::tpm::Public;
use rackmark_feed::{
    ArtefactRef, Body, ClaimClass, DeviceEvidence, DeviceKind, Evidence, EvidenceCause, EvidenceClaim,
    Freshness, FreshnessSource, Header, IdentityClass, Message, NodeId, SessionClaim, SessionId, SigningKey,
    SpoolEpoch, Stream, TpmEvidence, seal,
};
use ring::digest::{SHA256, digest};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};

use crate::Outcome;

/// The verifier's clock: 28 December 2027, 13:20:00 UTC.
pub const NOW: u64 = 1_830_000_000_000;
/// Events of the boot log after the first; with 512 bytes of data each the log has 71 kB.
const LOG_EVENTS: u32 = 128;

/// What a device shows.
#[derive(Debug, Clone)]
pub struct Shown {
    /// Its kind.
    pub kind: DeviceKind,
    /// Its UUID or id.
    pub name: String,
    /// Its report.
    pub report: Vec<u8>,
    /// Its chain.
    pub chain: Vec<u8>,
}

/// What a node that lies says instead, with keys that are its own.
pub struct Lie<'a> {
    /// Of its claim, before its TPM signs that, and of the artefacts: inventory, boot log where there is one, then
    /// report and chain of each device.
    pub claim: &'a dyn Fn(&mut EvidenceClaim, &mut Vec<Vec<u8>>),
    /// Of its evidence, before its session signs that.
    pub evidence: &'a dyn Fn(&mut Evidence),
}

impl Default for Lie<'_> {
    fn default() -> Self {
        Self { claim: &|_, _| {}, evidence: &|_| {} }
    }
}

/// A node that answers one question.
pub struct Node {
    identity: SigningKey,
    session: SigningKey,
    verifier: SigningKey,
    /// The nonce that it was asked with.
    pub nonce: [u8; 32],
    tpm: Option<Tpm>,
}

impl Node {
    /// With a software key. Nodes with other seeds have other keys.
    pub fn software(seed: u8) -> Self {
        Self {
            identity: SigningKey::from_seed(&[seed; 32]),
            session: SigningKey::from_seed(&[seed ^ 0x80; 32]),
            verifier: SigningKey::from_seed(&[0xfe; 32]),
            nonce: [seed; 32],
            tpm: None,
        }
    }

    /// With a TPM, whose keys are software here.
    ///
    /// # Errors
    /// Where there is no randomness.
    pub fn with_tpm(seed: u8) -> Outcome<Self> {
        Ok(Self { tpm: Some(Tpm::new()?), ..Self::software(seed) })
    }

    /// The verifier that saw its TPM open a credential.
    pub fn verifier(&self) -> rackmark_feed::PublicKey {
        self.verifier.public()
    }

    /// The key of its session.
    pub fn session(&self) -> rackmark_feed::PublicKey {
        self.session.public()
    }

    /// The question that it answers.
    pub fn question(&self) -> Question<'_> {
        Question { now_unix_ms: NOW, nonce: Some(&self.nonce), ..Question::default() }
    }

    /// The nonce that a device's report must carry.
    pub fn device_nonce(&self, name: &str) -> [u8; 32] {
        device_nonce(&self.nonce, &self.session.public(), name)
    }

    fn id(&self) -> NodeId {
        match &self.tpm {
            None => NodeId::software(&self.identity.public()),
            Some(tpm) => {
                let mut hash = [0; 32];
                hash.copy_from_slice(digest(&SHA256, &tpm.endorsement).as_ref());
                NodeId::from_parts(IdentityClass::Tpm, hash)
            }
        }
    }

    /// Its bundle. `versions` are those of driver and VBIOS in the inventory.
    ///
    /// # Errors
    /// Where a part is over a limit.
    pub fn bundle(&self, devices: &[Shown], versions: [&str; 2]) -> Outcome<Bundle> {
        self.lying(devices, versions, &Lie::default())
    }

    /// The bundle of a node that lies.
    ///
    /// # Errors
    /// Where a part is over a limit.
    pub fn lying(&self, devices: &[Shown], versions: [&str; 2], lie: &Lie<'_>) -> Outcome<Bundle> {
        let mut bundle = Bundle::default();
        let mut part = |bytes: &[u8]| {
            bundle.artefacts.push(bytes.to_vec());
            ArtefactRef::of(bytes)
        };
        let inventory = part(&inventory(devices, versions).to_bytes()?);
        let log = self.tpm.as_ref().map(|_| boot_log());
        let boot_log = log.as_ref().map(|(log, _)| part(log));
        let devices = (0..).zip(devices).map(|(slot, shown)| DeviceEvidence {
            kind: shown.kind,
            slot: (shown.kind == DeviceKind::Gpu).then_some(slot),
            name: shown.name.clone(),
            report: Some(part(&shown.report)),
            chain: Some(part(&shown.chain)),
            reason: String::new(),
        });
        let mut claim = EvidenceClaim {
            taken_unix_ms: NOW - 1_000,
            cause: EvidenceCause::Request,
            freshness: Freshness {
                source: FreshnessSource::Nonce,
                verifier: "settlement".into(),
                value: self.nonce,
            },
            identity_public_key: self.identity.public(),
            session_public_key: self.session.public(),
            boot_id: [0xb0; 16],
            inventory,
            boot_log,
            mqtt_key: None,
            devices: devices.collect(),
            previous: None,
        };
        (lie.claim)(&mut claim, &mut bundle.artefacts);
        let mut tpm = None;
        if let (Some(keys), Some((_, first))) = (&self.tpm, log) {
            tpm = Some(keys.evidence(&claim.qualifying_data(&self.id()), first)?);
            let name = Public::parse(&keys.attestation)?.name();
            bundle.activations.push(Activation::sign(self.id(), name, NOW, &self.verifier));
        }
        let session = SessionClaim {
            node: self.id(),
            site: "berlin-1".into(),
            node_name: "r07-u12".into(),
            identity_public_key: self.identity.public(),
            session_public_key: self.session.public(),
            boot_id: [0xb0; 16],
            spool_epoch: SpoolEpoch(7),
            started_unix_ms: NOW - 60_000,
            agent_version: "0.1.0".into(),
            previous: None,
            extensions: Vec::new(),
        };
        bundle.session = self.seal(Body::Session(session.sign(&self.identity)?), Stream::Session, Some(1))?;
        let mut evidence = Evidence { claim, tpm, extensions: Vec::new() };
        (lie.evidence)(&mut evidence);
        bundle.evidence = self.seal(Body::Evidence(evidence), Stream::Reply, None)?;
        Ok(bundle)
    }

    fn seal(&self, body: Body, stream: Stream, seq: Option<u64>) -> Outcome<Vec<u8>> {
        let session = SessionId::of(&self.session.public());
        let header =
            Header { node: self.id(), session, epoch: SpoolEpoch(7), stream, seq, time_unix_ms: NOW };
        Ok(seal(&Message { header, body }, &self.session)?)
    }
}

fn inventory(devices: &[Shown], [driver, vbios]: [&str; 2]) -> Inventory {
    let fact = |component: &str, instance: &str, field: &str, value: &str| Fact {
        component: component.into(),
        instance: instance.into(),
        field: field.into(),
        value: value.into(),
        claim: Claim(ClaimClass::Reported),
    };
    let mut facts = vec![fact("driver", "", "version", driver)];
    for (at, device) in devices.iter().enumerate().filter(|(_, device)| device.kind == DeviceKind::Gpu) {
        let address = format!("0000:{at:02x}:00.0");
        facts.push(fact("gpu", &address, "uuid", &device.name));
        facts.push(fact("gpu", &address, "vbios_version", vbios));
    }
    Inventory::new(facts, Vec::new())
}

/// A log after the TCG's PC client profile, and the value that register 0 has after it.
fn boot_log() -> (Vec<u8>, [u8; 32]) {
    let spec = [&b"Spec ID Event03\0"[..], &[0, 0, 0, 0, 0, 2, 0, 2, 1, 0, 0, 0, 11, 0, 32, 0, 0]].concat();
    let length = |bytes: &[u8]| u32::try_from(bytes.len()).unwrap_or_default().to_le_bytes();
    let mut log = [&[0, 0, 0, 0, 3, 0, 0, 0][..], &[0; 20], &length(&spec), &spec].concat();
    let mut register = [0; 32];
    for event in 0..LOG_EVENTS {
        let data: Vec<u8> = event.to_le_bytes().repeat(128);
        let hash = digest(&SHA256, &data);
        log.extend([&[0, 0, 0, 0][..], &5_u32.to_le_bytes(), &[1, 0, 0, 0, 11, 0], hash.as_ref()].concat());
        log.extend([&length(&data)[..], &data].concat());
        let extended = digest(&SHA256, &[&register[..], hash.as_ref()].concat());
        register.copy_from_slice(extended.as_ref());
    }
    (log, register)
}

/// Keys of a TPM that is none: P-256.
struct Tpm {
    endorsement: Vec<u8>,
    attestation: Vec<u8>,
    key: EcdsaKeyPair,
}

impl Tpm {
    fn new() -> Outcome<Self> {
        let [endorsement, attestation] = [p256()?, p256()?];
        // Attributes of TCG's templates; symmetric algorithm and scheme as for a storage and a signing key.
        let storage = [0, 6, 0, 0x80, 0, 0x43, 0, 0x10];
        Ok(Self {
            endorsement: public(0x0003_00b2, &storage, &endorsement),
            attestation: public(0x0005_0472, &[0, 0x10, 0, 0x18, 0, 11], &attestation),
            key: attestation,
        })
    }

    fn evidence(&self, qualifying: &[u8; 32], first: [u8; 32]) -> Outcome<TpmEvidence> {
        let registers = (0..24).filter(|index| REGISTERS & 1 << index != 0);
        let value = |index| if index == 0 { first.to_vec() } else { vec![0; 32] };
        let pcrs: Vec<Pcr> = registers.map(|index| Pcr { index, digest: value(index) }).collect();
        let values: Vec<u8> = pcrs.iter().flat_map(|pcr| pcr.digest.clone()).collect();
        let mut quoted = vec![0xff, b'T', b'C', b'G', 0x80, 0x18, 0, 2, 0, 11, 0, 32];
        quoted.extend_from_slice(qualifying);
        // Clock, resets, restarts, safe, firmware; one selection of SHA-256.
        quoted.extend([&[0; 8][..], &[0, 0, 0, 1, 0, 0, 0, 0, 1], &[0; 8], &[0, 0, 0, 1, 0, 11, 3]].concat());
        quoted.extend_from_slice(&REGISTERS.to_le_bytes()[..3]);
        quoted.extend([&[0, 32][..], digest(&SHA256, &values).as_ref()].concat());
        let signed = self.key.sign(&SystemRandom::new(), &quoted).map_err(|_| "no signature")?;
        let (r, s) = signed.as_ref().split_at(32);
        let signature = [&[0, 0x18, 0, 11, 0, 32][..], r, &[0, 32], s].concat();
        Ok(TpmEvidence {
            endorsement_key: self.endorsement.clone(),
            endorsement_certificate: None,
            attestation_key: self.attestation.clone(),
            quoted,
            signature,
            pcr_bank: 11,
            pcrs,
        })
    }
}

fn p256() -> Outcome<EcdsaKeyPair> {
    let (form, random) = (&ECDSA_P256_SHA256_FIXED_SIGNING, SystemRandom::new());
    let pkcs8 = EcdsaKeyPair::generate_pkcs8(form, &random).map_err(|_| "no key")?;
    Ok(EcdsaKeyPair::from_pkcs8(form, pkcs8.as_ref(), &random).map_err(|_| "no key")?)
}

/// `TPMT_PUBLIC` of a P-256 key.
fn public(attributes: u32, symmetric_and_scheme: &[u8], key: &EcdsaKeyPair) -> Vec<u8> {
    let (x, y) = key.public_key().as_ref().split_at(33);
    [
        &[0, 0x23, 0, 11][..],
        &attributes.to_be_bytes(),
        &[0, 0],
        symmetric_and_scheme,
        &[0, 3, 0, 0x10, 0, 32],
        &x[1..],
        &[0, 32],
        y,
    ]
    .concat()
}
