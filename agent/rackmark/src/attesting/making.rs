//! Making evidence: what is known of the node at this moment, put together so that a TPM can sign it at once.

use rackmark_feed::body::evidence::{Certificate, Pcr};
use rackmark_feed::{
    ArtefactRef, DeviceEvidence, DeviceKind, Evidence, EvidenceCause, EvidenceClaim, Freshness, NodeId,
    PublicKey, TpmEvidence, limits,
};
use rackmark_model::tpm::{BANK_SHA256, TpmKeys, TpmQuote};

use crate::publish::encode;
use crate::sampling::roster::{Gpu, Roster};

/// The registers that are quoted: 0 to 7 are the firmware's, 8 and 9 the boot loader's, 14 what lets its images through.
pub const REGISTERS: u32 = 0x43ff;

/// Who the node is in this session.
#[derive(Debug, Clone, Copy)]
pub struct Speaker {
    /// The node.
    pub node: NodeId,
    /// Its identity key.
    pub identity: PublicKey,
    /// The session's key.
    pub session: PublicKey,
    /// The kernel's boot id.
    pub boot_id: [u8; 16],
}

/// Why, and for whom.
#[derive(Debug, Clone)]
pub struct Occasion {
    /// Why.
    pub cause: EvidenceCause,
    /// What says that it is not an old one.
    pub freshness: Freshness,
    /// What this verifier accepted last.
    pub previous: Option<[u8; 32]>,
}

/// The parts that evidence names.
#[derive(Debug, Clone)]
pub struct Parts {
    /// The inventory.
    pub inventory: ArtefactRef,
    /// The boot event log.
    pub boot_log: Option<ArtefactRef>,
    /// Digest of the key of the certificate for the broker.
    pub mqtt_key: Option<[u8; 32]>,
    /// The devices.
    pub devices: Vec<DeviceEvidence>,
}

/// The claim that a quote is asked for.
pub fn claim(speaker: &Speaker, occasion: Occasion, parts: Parts, now_unix_ms: u64) -> EvidenceClaim {
    EvidenceClaim {
        taken_unix_ms: now_unix_ms,
        cause: occasion.cause,
        freshness: occasion.freshness,
        identity_public_key: speaker.identity,
        session_public_key: speaker.session,
        boot_id: speaker.boot_id,
        inventory: parts.inventory,
        boot_log: parts.boot_log,
        mqtt_key: parts.mqtt_key,
        devices: parts.devices,
        previous: occasion.previous,
    }
}

/// The evidence, with what the TPM said of the claim.
pub fn evidence(claim: EvidenceClaim, tpm: Option<(&TpmKeys, TpmQuote)>) -> Evidence {
    let tpm = tpm.map(|(keys, quote)| TpmEvidence {
        endorsement_key: keys.endorsement.clone(),
        // A certificate that no feed carries is as good as none.
        endorsement_certificate: keys
            .certificate
            .clone()
            .filter(|der| der.len() <= limits::CERTIFICATE_BYTES)
            .map(Certificate),
        attestation_key: keys.attestation.clone(),
        quoted: quote.quoted,
        signature: quote.signature,
        pcr_bank: BANK_SHA256,
        pcrs: quote.values.into_iter().map(|(index, digest)| Pcr { index, digest }).collect(),
    });
    Evidence { claim, tpm, extensions: Vec::new() }
}

/// What a GPU is called in evidence: its UUID, cut to what there is room for.
pub fn name(uuid: &str) -> String {
    uuid.chars().take(limits::NAME_BYTES).collect()
}

/// The GPUs that are known by name, as devices that say nothing themselves yet.
pub fn devices(roster: &Roster) -> Vec<DeviceEvidence> {
    let named = roster.gpus.iter().filter_map(|gpu| Some((gpu, gpu.identity.uuid.as_ref()?)));
    named.map(|(gpu, uuid)| device(gpu, uuid)).take(limits::DEVICES).collect()
}

fn device(gpu: &Gpu, uuid: &str) -> DeviceEvidence {
    let reason = match gpu.absence() {
        Some(why) => format!("the GPU does not answer: {why}"),
        None => "it was not asked to sign".to_owned(),
    };
    DeviceEvidence {
        kind: DeviceKind::Gpu,
        slot: Some(gpu.identity.slot),
        name: name(uuid),
        report: None,
        chain: None,
        reason: encode::cut(&reason),
    }
}
