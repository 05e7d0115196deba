//! A whole bundle, judged: session, freshness, TPM, boot log, inventory, devices.

mod devices;
mod successions;

use std::fmt;

use super::bundle::{BundleView, find};
use super::certificate::Certificate;
use super::endorsement::{TpmMake, verify_endorsement};
use super::event_log::EventLog;
use super::nvidia::SignedDevice;
use super::outcome::{Check, Outcome, Reason, Subject, worst};
use super::quote::{QuoteInput, verify_quote};
use super::store::{Observation, TpmClock};
use super::tpm::{ALG_SHA256, Selection};
use crate::body::evidence::{ArtefactRef, DeviceKind, Evidence, FreshnessSource};
use crate::body::{Body, SessionClaim, Succession};
use crate::frame::Frame;
use crate::ids::{IdentityClass, NodeId, hex, sha256};
use crate::inventory::Inventory;
use crate::keys::PublicKey;
use crate::limits;

/// The registers that a node quotes: 0 to 7 are the firmware's, 8 and 9 the boot loader's, 14 what lets its images
/// through.
pub const REGISTERS: u32 = 0x43ff;
/// Of these, the ones that the firmware's log replays to: what an operating system adds to others is not in it.
const FIRMWARE_REGISTERS: std::ops::Range<u8> = 0..8;

/// Findings of the inventory that no honest machine has: its GPUs, or what is said of them, are made up.
const FORGERIES: [&str; 8] = [
    "gpu_without_pci_device",
    "procfs_gpu_without_pci_device",
    "gpu_vendor_mismatch",
    "gpu_device_id_mismatch",
    "gpu_subsystem_id_mismatch",
    "gpu_uuid_mismatch",
    "gpu_uuid_duplicate",
    "sysfs_entry_not_link",
];

/// Whom a verifier believes.
#[derive(Debug, Clone, Copy, Default)]
pub struct Trust<'a> {
    /// Makers of TPMs.
    pub endorsement_anchors: &'a [Certificate],
    /// Issuers between them and a TPM's certificate.
    pub endorsement_pool: &'a [Certificate],
    /// Makers of devices: what their root, or an issuer below it, certifies is a device of theirs.
    pub device_anchors: &'a [Certificate],
    /// Other verifiers, whose word counts for an activation.
    pub verifiers: &'a [PublicKey],
    /// Operators, whose word counts for which id a machine had before.
    pub operators: &'a [PublicKey],
    /// Values that registers must have, by index.
    pub policy: &'a [(u8, Vec<u8>)],
    /// Simulated GPUs do not contradict: for demonstrations and tests of a node's identity.
    pub simulated: bool,
}

/// What a verifier asked, and what it has seen itself.
#[derive(Debug, Clone, Copy, Default)]
pub struct Question<'a> {
    /// Now, milliseconds since 1970 by the verifier's clock.
    pub now_unix_ms: u64,
    /// The nonce that it asked with.
    pub nonce: Option<&'a [u8; 32]>,
    /// Its epochs that are in force.
    pub epochs: &'a [[u8; 32]],
    /// Name of the attestation key that it saw the TPM open a credential for.
    pub activated: Option<&'a [u8]>,
}

/// What stands behind a node's word, in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Label {
    /// Nothing that holds.
    Nothing,
    /// A software key: whoever copies it is the node.
    SoftwareKey,
    /// A TPM that nobody who is trusted vouches for: virtual, software, or of an unknown maker.
    TpmUncertified,
    /// A TPM whose maker is trusted.
    TpmHardware,
}

impl Label {
    /// Stable name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Nothing => "nothing",
            Self::SoftwareKey => "software-key",
            Self::TpmUncertified => "tpm-uncertified",
            Self::TpmHardware => "tpm-hw",
        }
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What stands behind a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeviceLabel {
    /// The host says so.
    HostReported,
    /// The machine's management controller had it sign.
    BmcSigned,
    /// It signed itself, under a trusted maker, for the nonce of this evidence.
    DeviceSigned,
}

impl DeviceLabel {
    /// Stable name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::HostReported => "host-reported",
            Self::BmcSigned => "bmc-signed",
            Self::DeviceSigned => "device-signed",
        }
    }
}

/// One device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceReport {
    /// Slot of a GPU.
    pub slot: Option<u8>,
    /// UUID or id.
    pub name: String,
    /// What stands behind it.
    pub label: DeviceLabel,
    /// Id of the device by its own key, where it signed: it survives firmware updates and moves.
    pub key: Option<[u8; 32]>,
    /// What it signed.
    pub signed: Option<SignedDevice>,
}

/// What came of a bundle.
#[derive(Debug, Clone)]
pub struct NodeReport {
    /// The node, where its session holds.
    pub node: Option<NodeId>,
    /// Its identity key.
    pub identity: Option<PublicKey>,
    /// Site and node name.
    pub names: Option<(String, String)>,
    /// What stands behind it.
    pub label: Label,
    /// Every check.
    pub checks: Vec<Check>,
    /// Its devices, in the order of the evidence.
    pub devices: Vec<DeviceReport>,
    /// Make of its TPM, where the maker is trusted.
    pub tpm: Option<TpmMake>,
    /// Its inventory, where it is what the evidence names.
    pub inventory: Option<Inventory>,
    /// How many signatures of its devices were checked, at most [`super::signatures::SIGNATURES`].
    pub signatures: usize,
    /// The ids that the machine had before, oldest first, by operators that are trusted.
    pub successions: Vec<Succession>,
    /// What a verifier's memory takes of it; only where its identity holds and nothing is contradicted.
    pub observation: Option<Observation>,
}

impl NodeReport {
    fn nothing(check: Check) -> Self {
        Self {
            node: None,
            identity: None,
            names: None,
            label: Label::Nothing,
            checks: vec![check],
            devices: Vec::new(),
            tpm: None,
            inventory: None,
            signatures: 0,
            successions: Vec::new(),
            observation: None,
        }
    }

    /// The worst of all checks.
    pub fn outcome(&self) -> Outcome {
        worst(&self.checks)
    }
}

/// Judges a bundle.
pub fn verify_bundle(bundle: &BundleView<'_>, trust: &Trust<'_>, question: &Question<'_>) -> NodeReport {
    let opened = match Opened::open(bundle) {
        Ok(opened) => opened,
        Err(check) => return NodeReport::nothing(check),
    };
    let claim = &opened.session;
    let mut report = NodeReport {
        node: Some(claim.node),
        identity: Some(claim.identity_public_key),
        names: Some((claim.site.clone(), claim.node_name.clone())),
        label: Label::Nothing,
        checks: vec![Check::verified(
            Subject::Session,
            Reason::Fits,
            format!("session {} of {}", claim.session(), claim.node),
        )],
        devices: Vec::new(),
        tpm: None,
        inventory: None,
        signatures: 0,
        successions: Vec::new(),
        observation: None,
    };
    successions::successions(claim, trust, &mut report);
    report.checks.push(freshness(&opened.evidence, question));
    let judged = tpm(&opened, bundle, trust, question, &mut report);
    let artefacts = bundle.by_digest();
    boot_log(&opened.evidence, &artefacts, trust, &mut report);
    report.inventory = inventory(&opened.evidence, &artefacts, trust, &mut report.checks);
    devices::devices(
        &opened.evidence,
        &artefacts,
        &bundle.revocations,
        trust,
        question.now_unix_ms,
        &mut report,
    );
    report.label = label(&report.checks, judged.label);
    // Whoever is not shown to be the node must not be remembered as it: a node id is public, and memory would take
    // a stranger's keys for the node's.
    if report.outcome() != Outcome::Contradicted && report.label != Label::Nothing {
        report.observation = Some(observation(&opened, bundle, judged, &report));
    }
    report
}

/// What the node's identity rests on holds, or nothing stands behind it. What its devices are is another question.
fn label(checks: &[Check], found: Label) -> Label {
    let identity = [Subject::Session, Subject::EndorsementKey, Subject::Quote, Subject::Freshness];
    let broken = checks.iter().any(|check| match check.outcome {
        Outcome::Contradicted => {
            identity.contains(&check.subject) || check.subject == Subject::AttestationKey
        }
        Outcome::NotEstablished => check.subject == Subject::AttestationKey,
        Outcome::Verified => false,
    });
    if broken { Label::Nothing } else { found }
}

/// A session record and evidence that belong together.
struct Opened {
    session: SessionClaim,
    evidence: Evidence,
}

impl Opened {
    fn open(bundle: &BundleView<'_>) -> Result<Self, Check> {
        let refuse = |reason, detail: String| Check::contradicted(Subject::Session, reason, detail);
        let malformed =
            |what: &str, error: &dyn fmt::Display| refuse(Reason::Malformed, format!("{what}: {error}"));
        let session = Frame::parse(bundle.session).map_err(|error| malformed("session record", &error))?;
        let Ok(Body::Session(record)) = session.body() else {
            return Err(refuse(Reason::Malformed, "the session record is none".into()));
        };
        record.verify_claimed().map_err(|error| refuse(Reason::NodeIdMismatch, error.to_string()))?;
        let claim = record.claim;
        let verified = session.verify(&claim.session_public_key);
        let verified = verified.map_err(|error| refuse(Reason::SignatureMismatch, error.to_string()))?;
        if verified.header().node != claim.node {
            return Err(refuse(Reason::SessionMismatch, "the session record speaks for another node".into()));
        }
        let evidence = Frame::parse(bundle.evidence).map_err(|error| malformed("evidence", &error))?;
        let evidence = evidence.verify(&claim.session_public_key).map_err(|_| {
            refuse(Reason::SignatureMismatch, "the session's key did not sign the evidence".into())
        })?;
        if evidence.header().node != claim.node {
            return Err(refuse(Reason::SessionMismatch, "the evidence speaks for another node".into()));
        }
        let Ok(Body::Evidence(evidence)) = evidence.frame().body() else {
            return Err(refuse(Reason::Malformed, "the evidence is none".into()));
        };
        let said = &evidence.claim;
        if (said.identity_public_key, said.session_public_key, said.boot_id)
            != (claim.identity_public_key, claim.session_public_key, claim.boot_id)
        {
            let detail = "evidence and session record name different keys or boots";
            return Err(refuse(Reason::SessionMismatch, detail.into()));
        }
        Ok(Self { session: claim, evidence })
    }
}

fn freshness(evidence: &Evidence, question: &Question<'_>) -> Check {
    let subject = Subject::Freshness;
    let freshness = &evidence.claim.freshness;
    match (freshness.source, question.nonce) {
        (FreshnessSource::Nonce, Some(nonce)) if *nonce == freshness.value => {
            Check::verified(subject, Reason::NonceFits, "made for this question")
        }
        (_, Some(_)) => {
            Check::contradicted(subject, Reason::NonceMismatch, "made for another question, or for none")
        }
        (FreshnessSource::Epoch, None) if question.epochs.contains(&freshness.value) => {
            Check::verified(subject, Reason::EpochFits, format!("made in an epoch of {}", freshness.verifier))
        }
        (FreshnessSource::Epoch, None) if !question.epochs.is_empty() => {
            Check::not_established(subject, Reason::EpochMismatch, "made in an epoch that is not in force")
        }
        _ => Check::not_established(subject, Reason::NotFresh, "nobody asked for it: it may be an old one"),
    }
}

/// What the TPM's part came to.
struct Judged {
    label: Label,
    key_name: Vec<u8>,
    clock: Option<TpmClock>,
}

fn tpm(
    opened: &Opened,
    bundle: &BundleView<'_>,
    trust: &Trust<'_>,
    question: &Question<'_>,
    report: &mut NodeReport,
) -> Judged {
    let node = opened.session.node;
    let mut judged = Judged { label: Label::Nothing, key_name: Vec::new(), clock: None };
    let evidence = match (node.class(), &opened.evidence.tpm) {
        (IdentityClass::Software, None) => {
            let detail = "no TPM: whoever copies the key is the node";
            report.checks.push(Check::not_established(Subject::EndorsementKey, Reason::SoftwareKey, detail));
            judged.label = Label::SoftwareKey;
            return judged;
        }
        (IdentityClass::Software, Some(_)) => {
            let detail = "a node of class software shows a TPM";
            report.checks.push(Check::contradicted(Subject::EndorsementKey, Reason::UnexpectedTpm, detail));
            return judged;
        }
        (IdentityClass::Tpm, None) => {
            let detail = "the node says that it has a TPM, and shows nothing of it";
            report.checks.push(Check::contradicted(Subject::EndorsementKey, Reason::NoTpmEvidence, detail));
            return judged;
        }
        (IdentityClass::Tpm, Some(evidence)) => evidence,
    };
    if *node.hash() != sha256(&[], &evidence.endorsement_key) {
        let detail = "the node id belongs to another endorsement key";
        report.checks.push(Check::contradicted(Subject::EndorsementKey, Reason::NodeIdMismatch, detail));
        return judged;
    }
    let certificate = evidence.endorsement_certificate.as_ref().map(|certificate| &certificate.0[..]);
    let (check, make) = verify_endorsement(
        &evidence.endorsement_key,
        certificate,
        trust.endorsement_pool,
        trust.endorsement_anchors,
        question.now_unix_ms,
    );
    judged.label = match check.outcome {
        Outcome::Verified => Label::TpmHardware,
        Outcome::NotEstablished => Label::TpmUncertified,
        Outcome::Contradicted => Label::Nothing,
    };
    report.tpm = make;
    report.checks.push(check);
    let values: Vec<(u8, &[u8])> = evidence.pcrs.iter().map(|pcr| (pcr.index, &pcr.digest[..])).collect();
    let quote = verify_quote(&QuoteInput {
        attestation_key: &evidence.attestation_key,
        quoted: &evidence.quoted,
        signature: &evidence.signature,
        qualifying: &opened.evidence.claim.qualifying_data(&node),
        // The bank is compared with the one that is signed, like the registers.
        wanted: Selection { bank: ALG_SHA256, mask: REGISTERS },
        values: &values,
    });
    report.checks.extend(quote.checks);
    report.checks.push(activation(&node, &quote.key_name, bundle, trust, question));
    judged.key_name = quote.key_name;
    judged.clock = quote.clock.map(|clock| TpmClock {
        reset_count: clock.reset_count,
        restart_count: clock.restart_count,
        clock_ms: clock.clock_ms,
    });
    judged
}

/// A quote proves that some TPM signed. That it is the one of the endorsement key is shown by a credential alone.
fn activation(
    node: &NodeId,
    key_name: &[u8],
    bundle: &BundleView<'_>,
    trust: &Trust<'_>,
    question: &Question<'_>,
) -> Check {
    let subject = Subject::AttestationKey;
    if !key_name.is_empty() && question.activated == Some(key_name) {
        return Check::verified(subject, Reason::Activated, "the TPM opened a credential for it");
    }
    let witness = bundle.activations.iter().find(|activation| {
        activation.node == *node
            && activation.attestation_key_name == key_name
            && trust.verifiers.contains(&activation.verifier)
            && activation.verifies()
    });
    match witness {
        Some(activation) => {
            let detail = format!("verifier {} saw the TPM open a credential for it", activation.verifier);
            Check::verified(subject, Reason::Activated, detail)
        }
        None => Check::not_established(
            subject,
            Reason::NotActivated,
            "nobody who is trusted saw it in the TPM of the endorsement key",
        ),
    }
}

fn boot_log(
    evidence: &Evidence,
    artefacts: &[([u8; 32], &[u8])],
    trust: &Trust<'_>,
    report: &mut NodeReport,
) {
    let subject = Subject::BootLog;
    let Some(tpm) = &evidence.tpm else {
        if evidence.claim.boot_log.is_some() {
            let detail = "without a quote a log proves nothing";
            report.checks.push(Check::not_established(subject, Reason::SoftwareKey, detail));
        }
        return;
    };
    for (index, wanted) in trust.policy {
        let value = tpm.pcrs.iter().find(|pcr| pcr.index == *index).map(|pcr| &pcr.digest);
        if value != Some(wanted) {
            let detail = format!("register {index} has another value than the policy wants");
            report.checks.push(Check::not_established(Subject::Quote, Reason::PolicyMismatch, detail));
        }
    }
    let bytes = match &evidence.claim.boot_log {
        None => {
            let detail = "the firmware wrote no event log, or it cannot be read";
            report.checks.push(Check::not_established(subject, Reason::PartMissing, detail));
            return;
        }
        Some(part) => match find(artefacts, part) {
            Some(bytes) => bytes,
            None => {
                report.checks.push(missing(subject, part));
                return;
            }
        },
    };
    let log = match EventLog::parse(bytes) {
        Ok(log) => log,
        Err(error) => {
            report.checks.push(Check::contradicted(subject, Reason::Malformed, error.to_string()));
            return;
        }
    };
    let Some(values) = log.replay(ALG_SHA256) else {
        let detail = "the log has no digests of the bank that is quoted";
        report.checks.push(Check::not_established(subject, Reason::BankRefused, detail));
        return;
    };
    let mut firmware = tpm.pcrs.iter().filter(|pcr| FIRMWARE_REGISTERS.contains(&pcr.index));
    let differs = firmware.find(|pcr| values.get(usize::from(pcr.index)) != Some(&pcr.digest));
    if let Some(pcr) = differs {
        let detail = format!("the log does not lead to the value of register {}", pcr.index);
        report.checks.push(Check::contradicted(subject, Reason::ReplayMismatch, detail));
        return;
    }
    let secure_boot = match log.secure_boot() {
        Some(true) => "on",
        Some(false) => "off",
        None => "not shown",
    };
    report.checks.push(match log.after_separator() {
        None => Check::verified(
            subject,
            Reason::LogFits,
            format!("{} events, Secure Boot {secure_boot}", log.events().len()),
        ),
        Some(event) => Check::not_established(
            subject,
            Reason::EventAfterSeparator,
            format!("register {} has an event of type {:#x} after the firmware's end", event.pcr, event.kind),
        ),
    });
}

fn missing(subject: Subject, part: &ArtefactRef) -> Check {
    let short: String = part.digest.iter().take(4).map(|byte| format!("{byte:02x}")).collect();
    Check::not_established(subject, Reason::PartMissing, format!("part {short}… is not in the bundle"))
}

fn inventory(
    evidence: &Evidence,
    artefacts: &[([u8; 32], &[u8])],
    trust: &Trust<'_>,
    checks: &mut Vec<Check>,
) -> Option<Inventory> {
    let subject = Subject::Inventory;
    let part = &evidence.claim.inventory;
    let Some(bytes) = find(artefacts, part) else {
        checks.push(missing(subject, part));
        return None;
    };
    let inventory = match Inventory::parse(bytes) {
        Ok(inventory) => inventory,
        Err(error) => {
            checks.push(Check::contradicted(subject, Reason::Malformed, error.to_string()));
            return None;
        }
    };
    let before = checks.len();
    if inventory.values("driver", "simulated").any(|(_, value)| value == "true") {
        let detail = "the driver's library is a simulation: no such GPUs exist";
        checks.push(match trust.simulated {
            true => Check::not_established(subject, Reason::Simulated, detail),
            false => Check::contradicted(subject, Reason::Simulated, detail),
        });
    }
    for finding in inventory.findings.iter().take(limits::GPUS) {
        let detail = format!("{} {}: {}", finding.code, finding.instance, finding.detail);
        checks.push(match FORGERIES.contains(&finding.code.as_str()) {
            true => Check::contradicted(subject, Reason::InventoryFinding, detail),
            false => Check::not_established(subject, Reason::InventoryFinding, detail),
        });
    }
    if checks.len() == before {
        checks.push(Check::verified(
            subject,
            Reason::Fits,
            format!("{} facts, reported by the host and bound to its evidence", inventory.facts.len()),
        ));
    }
    Some(inventory)
}

fn observation(opened: &Opened, bundle: &BundleView<'_>, judged: Judged, report: &NodeReport) -> Observation {
    let fact = |component: &str, field: &str| {
        let inventory = report.inventory.as_ref()?;
        let found = inventory.values(component, field).next()?;
        Some(found.1.to_owned())
    };
    let machine = match (fact("system", "serial"), fact("system", "uuid")) {
        (None, None) => None,
        (serial, uuid) => Some(format!("{} {}", serial.unwrap_or_default(), uuid.unwrap_or_default())),
    };
    let gpus = opened.evidence.claim.devices.iter().filter(|device| device.kind == DeviceKind::Gpu);
    let devices = gpus.zip(&report.devices).map(|(device, judged)| {
        let key = judged.key.map(|key| format!("key:{}", hex(&key)));
        key.into_iter().chain([format!("uuid:{}", device.name)]).collect()
    });
    let declared_away =
        report.inventory.iter().flat_map(|inventory| inventory.values("swap", "removed_uuid"));
    let declared_away = declared_away.filter_map(|(instance, uuid)| {
        let inventory = report.inventory.as_ref()?;
        let ticket = inventory.values("swap", "ticket").find(|(of, _)| *of == instance)?;
        Some((format!("uuid:{uuid}"), ticket.1.to_owned()))
    });
    Observation {
        node: opened.session.node,
        machine,
        identity: *opened.session.identity_public_key.as_bytes(),
        attestation_key: judged.key_name,
        clock: judged.clock,
        devices: devices.collect(),
        declared_away: declared_away.collect(),
        evidence: Evidence::digest(bundle.evidence),
        previous: opened.evidence.claim.previous,
        successions: report.successions.iter().map(|succession| (succession.old, succession.new)).collect(),
    }
}
