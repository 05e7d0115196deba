//! Opening a credential: what shows a verifier that both keys are in one TPM.

use rackmark_model::tpm::TpmFault;
use tss_esapi::Context;
use tss_esapi::attributes::SessionAttributesBuilder;
use tss_esapi::constants::SessionType;
use tss_esapi::handles::{AuthHandle, KeyHandle, SessionHandle};
use tss_esapi::interface_types::algorithm::HashingAlgorithm;
use tss_esapi::interface_types::session_handles::{AuthSession, PolicySession};
use tss_esapi::structures::{Digest, DigestList, EncryptedSecret, IdObject, Nonce, SymmetricDefinition};

use super::fault::Failed;
use super::keys::{Attestation, Endorsement};

/// Digests of the two branches of the policy of a P-384 endorsement key (TCG EK Credential Profile 2.5, B.6.6:
/// PolicyA and PolicyC for SHA-384).
const POLICY_A_SHA384: [u8; 48] = [
    0x8b, 0xbf, 0x22, 0x66, 0x53, 0x7c, 0x17, 0x1c, 0xb5, 0x6e, 0x40, 0x3c, 0x4d, 0xc1, 0xd4, 0xb6, 0x4f,
    0x43, 0x26, 0x11, 0xdc, 0x38, 0x6e, 0x6f, 0x53, 0x20, 0x50, 0xc3, 0x27, 0x8c, 0x93, 0x0e, 0x14, 0x3e,
    0x8b, 0xb1, 0x13, 0x38, 0x24, 0xcc, 0xb4, 0x31, 0x05, 0x38, 0x71, 0xc6, 0xdb, 0x53,
];
const POLICY_C_SHA384: [u8; 48] = [
    0xd6, 0x03, 0x2c, 0xe6, 0x1f, 0x2f, 0xb3, 0xc2, 0x40, 0xeb, 0x3c, 0xf6, 0xa3, 0x32, 0x37, 0xef, 0x2b,
    0x6a, 0x16, 0xf4, 0x29, 0x3c, 0x22, 0xb4, 0x55, 0xe2, 0x61, 0xcf, 0xfd, 0x21, 0x7a, 0xd5, 0xb4, 0x94,
    0x7c, 0x2d, 0x73, 0xe6, 0x30, 0x05, 0xee, 0xd2, 0xdc, 0x2b, 0x35, 0x93, 0xd1, 0x65,
];

/// The secret of a credential (`TPM2B_ID_OBJECT` and `TPM2B_ENCRYPTED_SECRET`, with their lengths).
///
/// The secret leaves the TPM encrypted under a session whose key only the endorsement key can recover, so that who
/// listens on the bus of a discrete TPM does not get it. That the endorsement key is the genuine one is for the
/// verifier to say, so this stops a listener and nobody who replaces the TPM.
pub(super) fn open(
    context: &mut Context,
    endorsement: &Endorsement,
    attestation: &Attestation,
    blob: &[u8],
    secret: &[u8],
) -> Result<Vec<u8>, Failed> {
    let malformed =
        |_| Failed::refused(TpmFault::WrongCredential, "a credential has a part that is too long");
    let blob = IdObject::try_from(content(blob)?).map_err(malformed)?;
    let secret = EncryptedSecret::try_from(content(secret)?).map_err(malformed)?;
    let opened = endorsement.saved.with_handle(context, |context, parent| {
        attestation.saved.with_handle(context, |context, key| {
            with_policy(context, endorsement, parent, |context, policy| {
                context
                    .execute_with_sessions((Some(AuthSession::Password), Some(policy), None), |context| {
                        context.activate_credential(key, parent, blob, secret)
                    })
                    .map_err(|error| not_for_us(Failed::from(error)))
            })
        })
    });
    opened.map(|secret| secret.to_vec())
}

/// A credential for another key or another TPM fails in the argument that it is, whichever of its checks is first.
fn not_for_us(failed: Failed) -> Failed {
    if failed.lasting { Failed { fault: TpmFault::WrongCredential, ..failed } } else { failed }
}

/// The content of a `TPM2B_…`, which must fill it.
fn content(bytes: &[u8]) -> Result<Vec<u8>, Failed> {
    match bytes.split_first_chunk::<2>() {
        Some((length, content)) if usize::from(u16::from_be_bytes(*length)) == content.len() => {
            Ok(content.to_vec())
        }
        _ => Err(Failed::refused(TpmFault::WrongCredential, "a credential is malformed")),
    }
}

/// Lends a session that may use the endorsement key and encrypts what goes in and out.
fn with_policy<T>(
    context: &mut Context,
    endorsement: &Endorsement,
    parent: KeyHandle,
    act: impl FnOnce(&mut Context, AuthSession) -> Result<T, Failed>,
) -> Result<T, Failed> {
    let (hash, symmetric) = match endorsement.high_range {
        true => (HashingAlgorithm::Sha384, SymmetricDefinition::AES_256_CFB),
        false => (HashingAlgorithm::Sha256, SymmetricDefinition::AES_128_CFB),
    };
    let session = context
        .start_auth_session(Some(parent), None, None, SessionType::Policy, symmetric, hash)
        .map_err(Failed::from)?
        .ok_or_else(|| Failed::passing(TpmFault::Other, "the TPM gave no session"))?;
    let done = satisfy(context, endorsement.high_range, session).and_then(|()| act(context, session));
    // What cannot be flushed now is tried again when the connection closes.
    let _ = context.flush_context(SessionHandle::from(session).into());
    done
}

/// Fulfils the endorsement key's policy: the endorsement hierarchy's own authorisation, as the first branch where
/// there are two.
fn satisfy(context: &mut Context, high_range: bool, session: AuthSession) -> Result<(), Failed> {
    let (attributes, mask) = SessionAttributesBuilder::new().with_decrypt(true).with_encrypt(true).build();
    context.tr_sess_set_attributes(session, attributes, mask).map_err(Failed::from)?;
    let policy = PolicySession::try_from(session).map_err(Failed::from)?;
    context
        .execute_with_session(Some(AuthSession::Password), |context| {
            let (nonce, nothing) = (Nonce::default(), Digest::default());
            context.policy_secret(policy, AuthHandle::Endorsement, nonce, nothing, Nonce::default(), None)
        })
        .map_err(Failed::from)?;
    if high_range {
        let mut branches = DigestList::new();
        for branch in [POLICY_A_SHA384, POLICY_C_SHA384] {
            let branch = Digest::try_from(branch.to_vec()).map_err(Failed::from)?;
            branches.add(branch).map_err(Failed::from)?;
        }
        context.policy_or(policy, branches).map_err(Failed::from)?;
    }
    Ok(())
}
