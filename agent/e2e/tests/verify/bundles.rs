//! Attacks on a whole bundle: good signatures of good keys, over what is not so.

use rackmark_e2e::Outcome;
use rackmark_e2e::node_maker::{Lie, NOW, Node};
use rackmark_feed::inventory::{Claim, Fact, Inventory};
use rackmark_feed::verify::bundle::{Activation, Bundle};
use rackmark_feed::verify::outcome::{Outcome as Result3, Reason, Subject};
use rackmark_feed::verify::report::{Label, NodeReport, Question, Trust, verify_bundle};
use rackmark_feed::{ArtefactRef, ClaimClass, PublicKey, SigningKey};

const VERSIONS: [&str; 2] = ["580.95.05", "96.00.5E.00.01"];
/// Bytes of the last event of the boot log: head, digest of SHA-256, 512 bytes of data.
const EVENT_BYTES: usize = 14 + 32 + 4 + 512;

fn judge(node: &Node, bundle: &Bundle, verifiers: &[PublicKey]) -> NodeReport {
    let trust = Trust { verifiers, ..Trust::default() };
    verify_bundle(&bundle.view(), &trust, &node.question())
}

/// This is what a subject came to, and nobody is remembered.
fn is(report: &NodeReport, subject: Subject, outcome: Result3, reason: Reason) {
    let found =
        report.checks.iter().find(|check| check.subject == subject && check.outcome != Result3::Verified);
    assert_eq!(
        found.map(|check| (check.outcome, check.reason)),
        Some((outcome, reason)),
        "{:?}",
        report.checks
    );
    assert!(report.observation.is_none());
}

#[test]
fn attack_replayed_evidence() -> Outcome<()> {
    let node = Node::software(1);
    let bundle = node.bundle(&[], VERSIONS)?;
    assert_eq!(judge(&node, &bundle, &[]).label, Label::SoftwareKey);
    let later = Question { nonce: Some(&[0x77; 32]), ..node.question() };
    let report = verify_bundle(&bundle.view(), &Trust::default(), &later);
    is(&report, Subject::Freshness, Result3::Contradicted, Reason::NonceMismatch);
    Ok(())
}

#[test]
fn attack_evidence_of_another_node() -> Outcome<()> {
    let (node, other) = (Node::software(1), Node::software(2));
    let mut bundle = node.bundle(&[], VERSIONS)?;
    bundle.evidence = other.bundle(&[], VERSIONS)?.evidence;
    let report = judge(&node, &bundle, &[]);
    is(&report, Subject::Session, Result3::Contradicted, Reason::SignatureMismatch);
    Ok(())
}

#[test]
fn attack_software_key_with_the_id_of_a_tpm() -> Outcome<()> {
    let node = Node::with_tpm(1)?;
    let without = Lie { evidence: &|evidence| evidence.tpm = None, ..Lie::default() };
    let report = judge(&node, &node.lying(&[], VERSIONS, &without)?, &[node.verifier()]);
    is(&report, Subject::EndorsementKey, Result3::Contradicted, Reason::NoTpmEvidence);
    assert_eq!(report.label, Label::Nothing);
    Ok(())
}

/// The endorsement key is public: anybody can put it beside an attestation key of his own.
#[test]
fn attack_attestation_key_that_nobody_saw_in_the_tpm() -> Outcome<()> {
    let node = Node::with_tpm(1)?;
    let good = node.bundle(&[], VERSIONS)?;
    assert_eq!(judge(&node, &good, &[node.verifier()]).label, Label::TpmUncertified);
    let seen = good.activations[0].clone();
    let stranger = SigningKey::from_seed(&[9; 32]);
    let trusted = SigningKey::from_seed(&[8; 32]);
    let other_name = [&seen.attestation_key_name[..2], &[7; 32]].concat();
    let words = [
        vec![],
        vec![Activation::sign(seen.node, seen.attestation_key_name.clone(), NOW, &stranger)],
        vec![Activation::sign(seen.node, other_name, NOW, &trusted)],
        vec![Activation { activated_unix_ms: 1, ..seen }],
    ];
    for activations in words {
        let bundle = Bundle { activations, ..good.clone() };
        let report = judge(&node, &bundle, &[node.verifier(), trusted.public()]);
        is(&report, Subject::AttestationKey, Result3::NotEstablished, Reason::NotActivated);
        assert_eq!(report.label, Label::Nothing);
    }
    Ok(())
}

/// The node's TPM signs the digest of the forged log: it signs whatever it is given. The registers it does not.
#[test]
fn attack_forged_event_log() -> Outcome<()> {
    let node = Node::with_tpm(1)?;
    let shorter = Lie {
        claim: &|claim, artefacts| {
            let log = &mut artefacts[1];
            log.truncate(log.len() - EVENT_BYTES);
            claim.boot_log = Some(ArtefactRef::of(log));
        },
        ..Lie::default()
    };
    let report = judge(&node, &node.lying(&[], VERSIONS, &shorter)?, &[node.verifier()]);
    is(&report, Subject::BootLog, Result3::Contradicted, Reason::ReplayMismatch);
    Ok(())
}

#[test]
fn attack_simulated_library() -> Outcome<()> {
    let node = Node::software(1);
    let simulated = Lie {
        claim: &|claim, artefacts| {
            let fact = Fact {
                component: "driver".into(),
                instance: String::new(),
                field: "simulated".into(),
                value: "true".into(),
                claim: Claim(ClaimClass::Reported),
            };
            let bytes = Inventory::new(vec![fact], Vec::new()).to_bytes().unwrap_or_default();
            claim.inventory = ArtefactRef::of(&bytes);
            artefacts[0] = bytes;
        },
        ..Lie::default()
    };
    let report = judge(&node, &node.lying(&[], VERSIONS, &simulated)?, &[]);
    is(&report, Subject::Inventory, Result3::Contradicted, Reason::Simulated);
    Ok(())
}
