//! Events, evidence, artefacts, verbs and epochs around identity.

use rackmark_feed::body::evidence::{Certificate, Pcr};
use rackmark_feed::*;

use super::{NONCE, NOW, event, gpu_ref, identity, session_key};

pub(crate) const DIGEST: [u8; 32] = [0xd1; 32];

fn reference(byte: u8, length: u32) -> ArtefactRef {
    ArtefactRef { digest: [byte; 32], length }
}

pub(crate) fn claim() -> EvidenceClaim {
    EvidenceClaim {
        taken_unix_ms: NOW - 1_000,
        cause: EvidenceCause::Start,
        freshness: Freshness::none(),
        identity_public_key: identity().public(),
        session_public_key: session_key().public(),
        boot_id: *b"boot-id-16-bytes",
        inventory: reference(0xa1, 30_000),
        boot_log: None,
        mqtt_key: None,
        devices: vec![DeviceEvidence {
            kind: DeviceKind::Gpu,
            slot: Some(5),
            name: "GPU-00000000-0000-0000-0000-000000000005".into(),
            report: None,
            chain: None,
            reason: "not_supported".into(),
        }],
        previous: None,
    }
}

pub(crate) fn software_evidence() -> Evidence {
    Evidence { claim: claim(), tpm: None, extensions: Vec::new() }
}

/// Over a nonce, with a TPM and a device that signs; every option is there.
pub(crate) fn full_evidence() -> Evidence {
    let mut claim = claim();
    claim.cause = EvidenceCause::Request;
    claim.freshness =
        Freshness { source: FreshnessSource::Nonce, verifier: "settlement".into(), value: [0x5a; 32] };
    claim.boot_log = Some(reference(0xb1, 72_000));
    claim.mqtt_key = Some([0xc1; 32]);
    claim.devices[0].report = Some(reference(0xe1, 4_000));
    claim.devices[0].chain = Some(reference(0xe2, 5_000));
    claim.devices[0].reason = String::new();
    claim.devices.push(DeviceEvidence {
        kind: DeviceKind::Component,
        slot: None,
        name: "HGX_GPU_SXM_6".into(),
        report: Some(reference(0xf1, 900)),
        chain: None,
        reason: String::new(),
    });
    claim.previous = Some(DIGEST);
    let tpm = TpmEvidence {
        endorsement_key: b"TPMT_PUBLIC of the endorsement key".to_vec(),
        endorsement_certificate: Some(Certificate(b"DER".to_vec())),
        attestation_key: b"TPMT_PUBLIC of the attestation key".to_vec(),
        quoted: b"TPMS_ATTEST".to_vec(),
        signature: b"TPMT_SIGNATURE".to_vec(),
        pcr_bank: 0x000b,
        pcrs: vec![Pcr { index: 0, digest: vec![1; 32] }, Pcr { index: 7, digest: vec![2; 32] }],
    };
    let extensions = vec![Extension { tag: 7, bytes: b"skip me".to_vec() }];
    Evidence { claim, tpm: Some(tpm), extensions }
}

pub(crate) fn artefact() -> Artefact {
    Artefact::pieces(b"an artefact").remove(0)
}

pub(crate) fn operator_key() -> SigningKey {
    SigningKey::from_seed(&[0x44; 32])
}

/// From a TPM by way of another to the software key of every message here.
pub(crate) fn successions() -> Vec<Succession> {
    let tpm = |byte| NodeId::from_parts(IdentityClass::Tpm, [byte; 32]);
    let step = |old, new, reason, ticket: &str| {
        Succession::sign(old, new, reason, ticket.into(), NOW - 3_600_000, &operator_key())
    };
    vec![
        step(tpm(1), tpm(2), SuccessionReason::Mainboard, "RMA 4711"),
        step(tpm(2), NodeId::software(&identity().public()), SuccessionReason::Unrecognised(99), ""),
    ]
}

pub(crate) fn events() -> Vec<(&'static str, Event)> {
    let gpu = || Some(gpu_ref());
    let text = |text: &str| Some(text.to_owned());
    vec![
        (
            "event_evidence_made",
            event(
                EventKind::EvidenceMade {
                    digest: DIGEST,
                    cause: EvidenceCause::Epoch,
                    signed_by: "tpm".into(),
                },
                None,
            ),
        ),
        (
            "event_inventory_changed",
            event(
                EventKind::InventoryChanged {
                    component: "bios".into(),
                    instance: String::new(),
                    field: "version".into(),
                    from: text("1.4.2"),
                    to: text("1.5.0"),
                },
                None,
            ),
        ),
        (
            "event_inventory_changed_by_a_new_part",
            event(
                EventKind::InventoryChanged {
                    component: "nvme".into(),
                    instance: "nvme3".into(),
                    field: "serial".into(),
                    from: None,
                    to: text("S1"),
                },
                None,
            ),
        ),
        (
            "event_card_replaced",
            event(
                EventKind::CardReplaced {
                    old_uuid: text("GPU-old"),
                    old_serial: text("1650"),
                    new_uuid: text("GPU-new"),
                    new_serial: None,
                    ticket: text("RMA 4711"),
                },
                gpu(),
            ),
        ),
        ("event_card_moved", event(EventKind::CardMoved { from_slot: 3 }, gpu())),
        (
            "event_swap_declared",
            event(
                EventKind::SwapDeclared {
                    ticket: "RMA 4711".into(),
                    by: "root".into(),
                    expires_unix_ms: NOW + 28_800_000,
                },
                gpu(),
            ),
        ),
        (
            "event_hook_ran",
            event(
                EventKind::HookRan {
                    event: "verdict-changed".into(),
                    hook: "50-slurm".into(),
                    exit: -15,
                    took_ms: 30_002,
                    message: "node drained".into(),
                },
                None,
            ),
        ),
        (
            "event_inventory_finding",
            event(
                EventKind::InventoryFinding {
                    code: "gpu_without_pci_device".into(),
                    instance: "00000000:83:00.0".into(),
                    detail: "NVML names a GPU that sysfs does not have".into(),
                },
                None,
            ),
        ),
        (
            "event_burn_in_ended",
            event(
                EventKind::BurnInEnded {
                    mode: "acceptance".into(),
                    outcome: "fail".into(),
                    reason: "a result is wrong: 3 in gemm_hopper_bf16".into(),
                    took_ms: 871_250,
                    memory_bytes: 136_365_211_648,
                },
                gpu(),
            ),
        ),
    ]
}

pub(crate) fn verbs() -> Vec<(&'static str, Verb)> {
    let gpu = "GPU-00000000-0000-0000-0000-000000000005";
    vec![
        ("command_attest", Verb::Attest { nonce: [0x5a; 32], devices: true }),
        (
            "command_activate",
            Verb::Activate {
                credential_blob: b"TPM2B_ID_OBJECT".to_vec(),
                encrypted_secret: b"TPM2B_ENCRYPTED_SECRET".to_vec(),
            },
        ),
        ("command_fetch", Verb::Fetch { digest: DIGEST }),
        ("command_accepted", Verb::Accepted { digest: DIGEST }),
        (
            "command_swap",
            Verb::Swap {
                gpu: gpu.into(),
                ticket: "RMA 4711".into(),
                for_ms: Some(28_800_000),
                tested_by: Some("the vendor".into()),
            },
        ),
        (
            "command_swap_by_default",
            Verb::Swap { gpu: "5".into(), ticket: "RMA 4712".into(), for_ms: None, tested_by: None },
        ),
        (
            "command_burn_in_start",
            Verb::BurnInStart { gpu: Some("5".into()), mode: "soak".into(), hours: 12, one_by_one: true },
        ),
        ("command_burn_in_stop", Verb::BurnInStop { gpu: None }),
    ]
}

pub(crate) fn epoch() -> Epoch {
    Epoch {
        verifier: "settlement".into(),
        value: [0x77; 32],
        issued_unix_ms: NOW,
        expires_unix_ms: NOW + 3_600_000,
        extensions: Vec::new(),
    }
}

/// The reply to an activation.
pub(crate) fn activated() -> Reply {
    let proof = body::evidence::activation_proof(&NONCE, b"secret");
    let extension = Extension { tag: body::evidence::ACTIVATION, bytes: proof.to_vec() };
    Reply { extensions: vec![extension], ..super::reply(ReplyOutcome::Accepted, "") }
}
