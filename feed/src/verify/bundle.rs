//! A bundle: everything that a verifier needs to judge a node, in one file.
//!
//! Bytes: [`BUNDLE_MAGIC`], then postcard: session frame, evidence frame, artefacts, activations, answers about
//! revocation; nothing follows. Frames and artefacts are the signed bytes as they came. The order of artefacts
//! means nothing: they are found by digest.

use serde::{Deserialize, Serialize};

use super::ocsp::ANSWER_BYTES;
use crate::body::evidence::ArtefactRef;
use crate::extension;
use crate::ids::{NodeId, sha256};
use crate::keys::{PublicKey, Signature, SigningKey};
use crate::limits;

/// First bytes of every bundle of this version.
pub const BUNDLE_MAGIC: &[u8] = b"rackmark/bundle/v1\0";
/// Prefix of what a verifier signs about an activation.
pub const ACTIVATED_DOMAIN: &[u8] = b"rackmark/verify/v1/activated\0";

/// Longest bundle in bytes. A machine with 8 GPUs, 4 switches and a full event log has below 200,000.
pub const BUNDLE_BYTES: usize = 4 << 20;
/// Most artefacts: inventory, event log, and a report and a chain per device.
pub const ARTEFACTS: usize = 2 + 2 * limits::DEVICES;
/// Most activations.
pub const ACTIVATIONS: usize = 8;
/// Most answers about revocation, each at most [`ANSWER_BYTES`] long.
pub const ANSWERS: usize = 16;
/// Longest name of a TPM object in bytes: algorithm and SHA-512.
pub const OBJECT_NAME_BYTES: usize = 66;

/// A verifier's word that an attestation key is in the TPM of an endorsement key: it made a credential for
/// both and the TPM opened it. Whoever trusts the verifier need not do it again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Activation {
    /// The node, by its endorsement key.
    pub node: NodeId,
    /// Name of the attestation key (`TPM2B_NAME` without its length).
    #[serde(deserialize_with = "limits::bytes::<_, OBJECT_NAME_BYTES>", serialize_with = "extension::bytes")]
    pub attestation_key_name: Vec<u8>,
    /// When, milliseconds since 1970 by the verifier's clock.
    pub activated_unix_ms: u64,
    /// The verifier's key.
    pub verifier: PublicKey,
    /// Its signature over [`ACTIVATED_DOMAIN`] and the fields before `verifier` in postcard.
    pub signature: Signature,
}

impl Activation {
    /// Signs what a verifier has seen.
    pub fn sign(
        node: NodeId,
        attestation_key_name: Vec<u8>,
        activated_unix_ms: u64,
        verifier: &SigningKey,
    ) -> Self {
        let signature = verifier.sign(&signed(&node, &attestation_key_name, activated_unix_ms));
        Self { node, attestation_key_name, activated_unix_ms, verifier: verifier.public(), signature }
    }

    /// True when the verifier that it names signed it.
    pub fn verifies(&self) -> bool {
        let bytes = signed(&self.node, &self.attestation_key_name, self.activated_unix_ms);
        self.verifier.verifies(&bytes, &self.signature)
    }
}

fn signed(node: &NodeId, name: &[u8], activated_unix_ms: u64) -> Vec<u8> {
    // A node id, bytes and a number always serialize.
    postcard::to_extend(&(node, name, activated_unix_ms), ACTIVATED_DOMAIN.to_vec()).unwrap_or_default()
}

/// A bundle as it is made.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Bundle {
    /// Frame of the session record.
    #[serde(serialize_with = "extension::bytes")]
    pub session: Vec<u8>,
    /// Frame of the evidence.
    #[serde(serialize_with = "extension::bytes")]
    pub evidence: Vec<u8>,
    /// What the evidence names, in any order.
    #[serde(serialize_with = "byte_strings")]
    pub artefacts: Vec<Vec<u8>>,
    /// What other verifiers say.
    pub activations: Vec<Activation>,
    /// What issuers of devices' certificates answer about revocation (OCSP, DER), as a verifier asked them. A node
    /// brings none.
    #[serde(serialize_with = "byte_strings")]
    pub revocations: Vec<Vec<u8>>,
}

fn byte_strings<S: serde::Serializer>(list: &[Vec<u8>], serializer: S) -> Result<S::Ok, S::Error> {
    struct Bytes<'a>(&'a [u8]);
    impl Serialize for Bytes<'_> {
        fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            serializer.serialize_bytes(self.0)
        }
    }
    serializer.collect_seq(list.iter().map(|bytes| Bytes(bytes)))
}

impl Bundle {
    /// The bytes of the file.
    pub fn to_bytes(&self) -> Vec<u8> {
        // Byte strings and numbers always serialize.
        postcard::to_extend(self, BUNDLE_MAGIC.to_vec()).unwrap_or_default()
    }

    /// The bundle as it is read.
    pub fn view(&self) -> BundleView<'_> {
        BundleView {
            session: &self.session,
            evidence: &self.evidence,
            artefacts: self.artefacts.iter().map(Vec::as_slice).collect(),
            activations: self.activations.clone(),
            revocations: self.revocations.iter().map(Vec::as_slice).collect(),
        }
    }
}

/// A bundle as it is read: nothing large is copied.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct BundleView<'a> {
    /// Frame of the session record.
    pub session: &'a [u8],
    /// Frame of the evidence.
    pub evidence: &'a [u8],
    /// What the evidence names, in any order.
    #[serde(borrow, deserialize_with = "limits::list::<_, &'a [u8], ARTEFACTS>")]
    pub artefacts: Vec<&'a [u8]>,
    /// What other verifiers say.
    #[serde(deserialize_with = "limits::list::<_, Activation, ACTIVATIONS>")]
    pub activations: Vec<Activation>,
    /// What issuers answer about revocation (OCSP, DER).
    #[serde(borrow, deserialize_with = "limits::list::<_, &'a [u8], ANSWERS>")]
    pub revocations: Vec<&'a [u8]>,
}

/// Why bytes are no bundle.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BundleError {
    /// Longer than [`BUNDLE_BYTES`].
    #[error("bundle has {0} bytes, at most {BUNDLE_BYTES} are taken")]
    TooLong(usize),
    /// Another magic, so another version or another thing.
    #[error("bundle has another magic")]
    Magic,
    /// Something does not parse.
    #[error("bundle does not parse")]
    Parse(#[source] postcard::Error),
    /// A part is over its limit.
    #[error("a part of the bundle is over its limit")]
    Part,
    /// Bytes follow.
    #[error("bundle has {0} bytes after its end")]
    Trailing(usize),
}

impl<'a> BundleView<'a> {
    /// Reads a bundle.
    ///
    /// # Errors
    /// Why the bytes are none.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, BundleError> {
        if bytes.len() > BUNDLE_BYTES {
            return Err(BundleError::TooLong(bytes.len()));
        }
        let content = bytes.strip_prefix(BUNDLE_MAGIC).ok_or(BundleError::Magic)?;
        let (view, rest) = postcard::take_from_bytes::<Self>(content).map_err(BundleError::Parse)?;
        if !rest.is_empty() {
            return Err(BundleError::Trailing(rest.len()));
        }
        let frames = view.session.len().max(view.evidence.len()) <= limits::FRAME_BYTES;
        let artefacts = view.artefacts.iter().all(|bytes| bytes.len() <= limits::ARTEFACT_BYTES);
        let answers = view.revocations.iter().all(|bytes| bytes.len() <= ANSWER_BYTES);
        if !frames || !artefacts || !answers {
            return Err(BundleError::Part);
        }
        Ok(view)
    }

    /// The artefacts with their digests, each hashed once.
    pub(super) fn by_digest(&self) -> Vec<([u8; 32], &'a [u8])> {
        self.artefacts.iter().map(|bytes| (sha256(&[], bytes), *bytes)).collect()
    }
}

/// The bytes that a reference names.
pub(super) fn find<'a>(artefacts: &[([u8; 32], &'a [u8])], part: &ArtefactRef) -> Option<&'a [u8]> {
    let found = artefacts.iter().find(|(digest, _)| *digest == part.digest)?;
    (found.1.len() == part.length as usize).then_some(found.1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::IdentityClass;

    fn bundle() -> Bundle {
        let key = SigningKey::from_seed(&[5; 32]);
        let node = NodeId::from_parts(IdentityClass::Tpm, [1; 32]);
        Bundle {
            session: b"session".to_vec(),
            evidence: b"evidence".to_vec(),
            artefacts: vec![b"one".to_vec(), Vec::new()],
            activations: vec![Activation::sign(node, vec![0, 11, 1], 7, &key)],
            revocations: vec![b"answer".to_vec()],
        }
    }

    #[test]
    fn attack_truncated_bundle() {
        let bytes = bundle().to_bytes();
        assert_eq!(BundleView::parse(&bytes), Ok(bundle().view()));
        for end in 0..bytes.len() {
            assert!(BundleView::parse(&bytes[..end]).is_err(), "{end}");
        }
        assert_eq!(BundleView::parse(&[&bytes[..], &[0]].concat()), Err(BundleError::Trailing(1)));
    }

    #[test]
    fn parts_over_their_limit_are_refused() {
        let mut large = bundle();
        large.artefacts[0] = vec![0; limits::ARTEFACT_BYTES + 1];
        assert_eq!(BundleView::parse(&large.to_bytes()), Err(BundleError::Part));
        let mut many = bundle();
        many.artefacts = vec![Vec::new(); ARTEFACTS + 1];
        assert!(matches!(BundleView::parse(&many.to_bytes()), Err(BundleError::Parse(_))));
        let mut answers = bundle();
        answers.revocations = vec![vec![0; ANSWER_BYTES + 1]];
        assert_eq!(BundleView::parse(&answers.to_bytes()), Err(BundleError::Part));
    }

    #[test]
    fn an_artefact_is_found_by_digest_and_length() {
        let bundle = bundle();
        let view = bundle.view();
        let artefacts = view.by_digest();
        assert_eq!(find(&artefacts, &ArtefactRef::of(b"one")), Some(&b"one"[..]));
        let wrong = ArtefactRef { length: 4, ..ArtefactRef::of(b"one") };
        assert_eq!(find(&artefacts, &wrong), None);
        assert_eq!(find(&artefacts, &ArtefactRef::of(b"two")), None);
    }

    #[test]
    fn an_activation_is_for_one_key_of_one_node() {
        let mut activation = bundle().activations.remove(0);
        assert!(activation.verifies());
        activation.attestation_key_name[2] ^= 1;
        assert!(!activation.verifies());
    }
}
