//! JSON form of evidence and artefacts.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value as Json, json};

use super::{code, extensions, hex};
use crate::body::evidence::{Artefact, ArtefactRef, DeviceEvidence, Evidence, TpmEvidence};

pub(super) fn evidence(evidence: &Evidence) -> Json {
    let claim = &evidence.claim;
    json!({
        "taken_unix_ms": claim.taken_unix_ms,
        "cause": code(claim.cause.name(), claim.cause.code()),
        "freshness": {
            "source": code(claim.freshness.source.name(), claim.freshness.source.code()),
            "verifier": claim.freshness.verifier,
            "value": hex(&claim.freshness.value),
        },
        "identity_public_key": claim.identity_public_key.to_string(),
        "session_public_key": claim.session_public_key.to_string(),
        "boot_id": hex(&claim.boot_id),
        "inventory": reference(&claim.inventory),
        "boot_log": claim.boot_log.as_ref().map(reference),
        "mqtt_key": claim.mqtt_key.map(|key| hex(&key)),
        "devices": claim.devices.iter().map(device).collect::<Json>(),
        "previous": claim.previous.map(|digest| hex(&digest)),
        "tpm": evidence.tpm.as_ref().map(tpm),
        "extensions": extensions(&evidence.extensions),
    })
}

pub(super) fn artefact(artefact: &Artefact) -> Json {
    json!({
        "of": reference(&artefact.of),
        "offset": artefact.offset,
        "bytes": STANDARD.encode(&artefact.bytes),
        "extensions": extensions(&artefact.extensions),
    })
}

fn reference(part: &ArtefactRef) -> Json {
    json!({ "digest": hex(&part.digest), "length": part.length })
}

fn device(device: &DeviceEvidence) -> Json {
    json!({
        "kind": code(device.kind.name(), device.kind.code()),
        "slot": device.slot,
        "name": device.name,
        "report": device.report.as_ref().map(reference),
        "chain": device.chain.as_ref().map(reference),
        "reason": device.reason,
    })
}

fn tpm(tpm: &TpmEvidence) -> Json {
    let pcrs: Json =
        tpm.pcrs.iter().map(|pcr| json!({ "index": pcr.index, "digest": hex(&pcr.digest) })).collect();
    json!({
        "endorsement_key": STANDARD.encode(&tpm.endorsement_key),
        "endorsement_certificate":
            tpm.endorsement_certificate.as_ref().map(|certificate| STANDARD.encode(&certificate.0)),
        "attestation_key": STANDARD.encode(&tpm.attestation_key),
        "quoted": STANDARD.encode(&tpm.quoted),
        "signature": STANDARD.encode(&tpm.signature),
        "pcr_bank": tpm.pcr_bank,
        "pcrs": pcrs,
    })
}
