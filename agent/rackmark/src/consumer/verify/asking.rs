//! Asking a node what it is: nonce, evidence, parts, credential, judgement, memory, word of acceptance.

use rackmark_feed::body::evidence::{ACTIVATION, activation_proof};
use rackmark_feed::verify::bundle::{Activation, Bundle};
use rackmark_feed::verify::credential::make_credential;
use rackmark_feed::verify::outcome::{Check, Reason, Subject};
use rackmark_feed::verify::report::{NodeReport, Question, verify_bundle};
use rackmark_feed::verify::store::Flag;
use rackmark_feed::verify::tpm::Public;
use rackmark_feed::{
    ArtefactRef, Body, Evidence, IdentityClass, Reply, ReplyOutcome, TpmEvidence, Verb, limits,
};
use ring::rand::SystemRandom;

use super::memory::Memory;
use super::trust::TrustStore;
use crate::clock;
use crate::consumer::conversation::{Conversation, random};
use crate::exit::{Code, Failure};

/// What came of it.
pub struct Verified {
    /// The judgement.
    pub report: NodeReport,
    /// What memory shows.
    pub flags: Vec<Flag>,
    /// Everything that was judged.
    pub bundle: Bundle,
}

/// Asks a node and judges it.
///
/// # Errors
/// Where the node does not answer, or refuses. What it answers is judged, not an error.
pub async fn ask(
    node: &mut Conversation,
    memory: &mut Memory,
    trust: &TrustStore,
) -> Result<Verified, Failure> {
    let unavailable = |error: super::memory::MemoryError| Failure::new(Code::Unavailable, error);
    let id = node.node();
    let nonce = memory
        .store
        .nonces
        .issue(random()?, id, clock::unix_ms())
        .map_err(|error| Failure::new(Code::Unavailable, error))?;
    // Remembered before it is sent: an answer to it counts once, whatever happens here.
    memory.keep().map_err(unavailable)?;
    accepted(node.command(Verb::Attest { nonce, devices: true }).await?, "evidence")?;
    let (evidence, frame) = node
        .wait(|body, bytes| match body {
            Body::Evidence(evidence) => Some((evidence.clone(), bytes.to_vec())),
            _ => None,
        })
        .await?;
    let redeemed = memory.store.nonces.redeem(&evidence.claim.freshness.value, &id, clock::unix_ms());
    memory.keep().map_err(unavailable)?;
    let mut bundle = Bundle { session: node.record().to_vec(), evidence: frame, ..Bundle::default() };
    for part in parts(&evidence) {
        if let Some(bytes) = fetch(node, part).await? {
            bundle.artefacts.push(bytes);
        }
    }
    let mut activated = None;
    if let (IdentityClass::Tpm, Some(tpm)) = (id.class(), &evidence.tpm) {
        activated = activate(node, memory, tpm).await?;
    }
    let now_unix_ms = clock::unix_ms();
    if let Some(name) = &activated {
        bundle.activations.push(Activation::sign(id, name.clone(), now_unix_ms, node.key()));
    }
    let question =
        Question { now_unix_ms, nonce: Some(&nonce), epochs: &[], activated: activated.as_deref() };
    let mut report = verify_bundle(&bundle.view(), &trust.trust(), &question);
    if let Err(error) = redeemed {
        report.checks.push(Check::contradicted(Subject::Freshness, Reason::NonceMismatch, error.to_string()));
        report.observation = None;
    }
    let mut flags = Vec::new();
    if let Some(observation) = &report.observation {
        let before = memory.store.accepted(&id);
        flags = memory.store.observe(observation, now_unix_ms);
        report.checks.push(history(&flags));
        let accepts = !flags.iter().any(Flag::contradicts);
        if accepts {
            memory.store.doubt(&id, before);
        }
        memory.keep().map_err(unavailable)?;
        if accepts {
            memory
                .archive(&id, &observation.evidence, now_unix_ms, &bundle.to_bytes())
                .map_err(unavailable)?;
            // Last: what the node hears must be remembered here already, or its next word would look like a fork.
            accepted(node.command(Verb::Accepted { digest: observation.evidence }).await?, "to be accepted")?;
            memory.store.confirm(&id);
            memory.keep().map_err(unavailable)?;
        }
    }
    Ok(Verified { report, flags, bundle })
}

/// What memory shows, as a check.
fn history(flags: &[Flag]) -> Check {
    let names: Vec<&str> = flags.iter().map(Flag::name).collect();
    let detail = names.join(", ");
    if flags.iter().any(Flag::contradicts) {
        Check::contradicted(Subject::History, Reason::HistoryContradicts, detail)
    } else if flags.is_empty() {
        Check::verified(
            Subject::History,
            Reason::HistoryFits,
            "nothing that was seen before speaks against it",
        )
    } else {
        Check::not_established(Subject::History, Reason::HistoryChanged, detail)
    }
}

fn accepted(reply: Reply, what: &str) -> Result<Reply, Failure> {
    match reply.outcome {
        ReplyOutcome::Accepted => Ok(reply),
        _ => {
            let words = format!("the node refuses {what}: a command that {}", reply.reason);
            Err(Failure::new(Code::TryAgain, words))
        }
    }
}

/// Each part once.
fn parts(evidence: &Evidence) -> Vec<ArtefactRef> {
    let mut parts: Vec<ArtefactRef> = evidence.artefacts().collect();
    parts.sort_unstable();
    parts.dedup();
    parts
}

/// A part, put together from its pieces; none where the node no longer has it, or sends something else.
async fn fetch(node: &mut Conversation, part: ArtefactRef) -> Result<Option<Vec<u8>>, Failure> {
    let reply = node.command(Verb::Fetch { digest: part.digest }).await?;
    if reply.outcome != ReplyOutcome::Accepted || part.length as usize > limits::ARTEFACT_BYTES {
        return Ok(None);
    }
    let mut whole = Vec::with_capacity(part.length as usize);
    loop {
        let piece = node
            .wait(|body, _| match body {
                Body::Artefact(piece) if piece.of == part => Some(piece.clone()),
                _ => None,
            })
            .await?;
        // Pieces come in order; one that came twice is left out.
        if piece.offset as usize == whole.len() {
            whole.extend_from_slice(&piece.bytes);
        }
        if whole.len() >= part.length as usize {
            return Ok(part.fits(&whole).then_some(whole));
        }
    }
}

/// Has the TPM open a credential for its attestation key, where this verifier has not seen that before. Gives the
/// key's name. A credential is made anew for each attempt, and there is one attempt.
async fn activate(
    node: &mut Conversation,
    memory: &Memory,
    tpm: &TpmEvidence,
) -> Result<Option<Vec<u8>>, Failure> {
    let (Ok(endorsement), Ok(attestation)) =
        (Public::parse(&tpm.endorsement_key), Public::parse(&tpm.attestation_key))
    else {
        return Ok(None);
    };
    let name = attestation.name();
    if memory.store.knows_attestation_key(&node.node(), &name) {
        return Ok(Some(name));
    }
    let secret = random()?;
    let credential = match make_credential(&endorsement, &name, &secret, &SystemRandom::new()) {
        Ok(credential) => credential,
        Err(_) => return Ok(None),
    };
    let verb = Verb::Activate { credential_blob: credential.blob, encrypted_secret: credential.secret };
    let reply = node.command(verb).await?;
    Ok(opened(&reply, &secret).then_some(name))
}

/// The answer to this command shows this secret: one of another attempt does not.
fn opened(reply: &Reply, secret: &[u8; 32]) -> bool {
    let proof = reply.extensions.iter().find(|extension| extension.tag == ACTIVATION);
    let expected = activation_proof(&reply.nonce, secret);
    reply.outcome == ReplyOutcome::Accepted && proof.is_some_and(|proof| proof.bytes == expected)
}

#[cfg(test)]
mod tests {
    use rackmark_feed::Extension;

    use super::*;

    /// What a node learned at an attempt before: the secret of that credential, and the proof that it sent.
    #[test]
    fn attack_credential_retried() {
        let (secret, earlier) = ([7; 32], [6; 32]);
        let reply = |nonce, outcome, proof: [u8; 32]| Reply {
            nonce,
            outcome,
            reason: String::new(),
            extensions: vec![Extension { tag: ACTIVATION, bytes: proof.to_vec() }],
        };
        let now = [2; 16];
        let good = activation_proof(&now, &secret);
        assert!(opened(&reply(now, ReplyOutcome::Accepted, good), &secret));
        let of_another_secret = activation_proof(&now, &earlier);
        assert!(!opened(&reply(now, ReplyOutcome::Accepted, of_another_secret), &secret));
        let of_another_command = activation_proof(&[1; 16], &secret);
        assert!(!opened(&reply(now, ReplyOutcome::Accepted, of_another_command), &secret));
        assert!(!opened(&reply(now, ReplyOutcome::Refused, good), &secret));
        let silent = Reply { extensions: Vec::new(), ..reply(now, ReplyOutcome::Accepted, good) };
        assert!(!opened(&silent, &secret));
    }
}
