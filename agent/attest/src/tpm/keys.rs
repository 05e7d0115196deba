//! The two keys: the endorsement key, which the maker vouches for, and the attestation key, which signs quotes.

use rackmark_model::tpm::{KeptKey, TpmFault};
use tss_esapi::Context;
use tss_esapi::abstraction::{AsymmetricAlgorithmSelection, KeyCustomization, ak, ek};
use tss_esapi::attributes::{ObjectAttributesBuilder, SessionAttributesBuilder};
use tss_esapi::constants::SessionType;
use tss_esapi::handles::KeyHandle;
use tss_esapi::interface_types::algorithm::{HashingAlgorithm, SignatureSchemeAlgorithm};
use tss_esapi::interface_types::ecc::EccCurve;
use tss_esapi::interface_types::key_bits::RsaKeyBits;
use tss_esapi::interface_types::session_handles::{AuthSession, PolicySession};
use tss_esapi::structures::{Digest, DigestList, Private, Public, SymmetricDefinition};
use tss_esapi::traits::{Marshall, UnMarshall};

use super::fault::Failed;
use super::{flush_session, satisfy, with_flushed};

/// The kinds of endorsement key, in the order in which they are preferred: small and quick first. The first one that
/// has a certificate is the node's; where none has, the first one that the TPM can make.
const KINDS: [AsymmetricAlgorithmSelection; 3] = [
    AsymmetricAlgorithmSelection::Ecc(EccCurve::NistP256),
    AsymmetricAlgorithmSelection::Ecc(EccCurve::NistP384),
    AsymmetricAlgorithmSelection::Rsa(RsaKeyBits::Rsa2048),
];

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

/// The endorsement key.
pub(super) struct Endorsement {
    kind: AsymmetricAlgorithmSelection,
    /// `TPMT_PUBLIC`.
    pub(super) public: Vec<u8>,
    /// DER.
    pub(super) certificate: Option<Vec<u8>>,
}

impl Endorsement {
    /// Finds the key whose certificate is in the TPM's memory.
    pub(super) fn find(context: &mut Context) -> Result<Self, Failed> {
        let certified = KINDS.into_iter().find_map(|kind| Some((kind, certificate(context, kind)?)));
        if let Some((kind, certificate)) = certified {
            let public = public_of(context, kind)?;
            return Ok(Self { kind, public, certificate: Some(certificate) });
        }
        let mut why = None;
        for kind in KINDS {
            match public_of(context, kind) {
                Ok(public) => return Ok(Self { kind, public, certificate: None }),
                // A fault of the TPM as a whole is none of this kind of key.
                Err(failed) if failed.fault != TpmFault::Other => return Err(failed),
                Err(failed) => why = Some(failed),
            }
        }
        Err(why.unwrap_or_else(Failed::nothing))
    }

    /// Makes the key, which is the same each time, lends it, and lets it go.
    pub(super) fn with_handle<T>(
        &self,
        context: &mut Context,
        act: impl FnOnce(&mut Context, KeyHandle) -> Result<T, Failed>,
    ) -> Result<T, Failed> {
        let handle = ek::create_ek_object_2(context, self.kind, None).map_err(Failed::from)?;
        with_flushed(context, handle, act)
    }

    /// A session that may use the key. The caller flushes it.
    pub(super) fn policy(&self, context: &mut Context) -> Result<AuthSession, Failed> {
        let high_range = matches!(self.kind, AsymmetricAlgorithmSelection::Ecc(EccCurve::NistP384));
        let (hash, symmetric) = match high_range {
            true => (HashingAlgorithm::Sha384, SymmetricDefinition::AES_256_CFB),
            false => (HashingAlgorithm::Sha256, SymmetricDefinition::AES_128_CFB),
        };
        let session = context
            .start_auth_session(None, None, None, SessionType::Policy, symmetric, hash)
            .map_err(Failed::from)?
            .ok_or_else(Failed::nothing)?;
        let satisfied = (|| {
            let (attributes, mask) =
                SessionAttributesBuilder::new().with_decrypt(true).with_encrypt(true).build();
            context.tr_sess_set_attributes(session, attributes, mask).map_err(Failed::from)?;
            let policy = PolicySession::try_from(session).map_err(Failed::from)?;
            satisfy(context, policy)?;
            if high_range {
                let mut branches = DigestList::new();
                for branch in [POLICY_A_SHA384, POLICY_C_SHA384] {
                    branches
                        .add(Digest::try_from(branch.to_vec()).map_err(Failed::from)?)
                        .map_err(Failed::from)?;
                }
                context.policy_or(policy, branches).map_err(Failed::from)?;
            }
            Ok(())
        })();
        match satisfied {
            Ok(()) => Ok(session),
            Err(failed) => {
                flush_session(context, session);
                Err(failed)
            }
        }
    }
}

/// The certificate in the TPM's memory; none where there is none, or where it cannot be read.
fn certificate(context: &mut Context, kind: AsymmetricAlgorithmSelection) -> Option<Vec<u8>> {
    let mut der = ek::retrieve_ek_pubcert(context, kind).ok()?;
    // Makers fill the rest of the area; a certificate says how long it is.
    let length = match der[..] {
        [0x30, 0x82, high, low, ..] => usize::from(u16::from_be_bytes([high, low])) + 4,
        _ => return None,
    };
    der.truncate(length);
    (der.len() == length).then_some(der)
}

fn public_of(context: &mut Context, kind: AsymmetricAlgorithmSelection) -> Result<Vec<u8>, Failed> {
    let handle = ek::create_ek_object_2(context, kind, None).map_err(Failed::from)?;
    with_flushed(context, handle, |context, handle| {
        let (public, _, _) = context.read_public(handle).map_err(Failed::from)?;
        public.marshall().map_err(Failed::from)
    })
}

/// The attestation key as it was loaded or made.
pub(super) struct Made {
    /// `TPMT_PUBLIC`.
    pub(super) public: Vec<u8>,
    pub(super) is_new: bool,
}

/// A power cut after the key was used counts as a failed try unless *noDA* is set, and a few of those lock the TPM.
/// The key has no password to guess.
#[derive(Clone, Copy)]
struct Patient;

impl KeyCustomization for &Patient {
    fn attributes(&self, attributes: ObjectAttributesBuilder) -> ObjectAttributesBuilder {
        attributes.with_no_da(true)
    }
}

/// Loads the kept attestation key, or makes one where there is none that loads.
pub(super) fn attestation(
    context: &mut Context,
    endorsement: &Endorsement,
    kept: Option<KeptKey>,
) -> Result<(Made, KeptKey), Failed> {
    if let Some(kept) = kept {
        match load(context, endorsement, &kept) {
            Ok(handle) => {
                flush(context, handle);
                let public = Public::unmarshall(&kept.public).map_err(Failed::from)?;
                let public = public.marshall().map_err(Failed::from)?;
                return Ok((Made { public, is_new: false }, kept));
            }
            // It is another TPM's, or this one was cleared, or the file is damaged: a new key, the same endorsement.
            Err(failed) if matches!(failed.fault, TpmFault::Cleared | TpmFault::Other) => {}
            Err(failed) => return Err(failed),
        }
    }
    let made = [
        (AsymmetricAlgorithmSelection::Ecc(EccCurve::NistP256), SignatureSchemeAlgorithm::EcDsa),
        (AsymmetricAlgorithmSelection::Rsa(RsaKeyBits::Rsa2048), SignatureSchemeAlgorithm::RsaSsa),
    ];
    let mut why = None;
    for (kind, scheme) in made {
        let result = endorsement.with_handle(context, |context, parent| {
            ak::create_ak_2(context, parent, HashingAlgorithm::Sha256, kind, scheme, None, &Patient)
                .map_err(Failed::from)
        });
        match result {
            Ok(key) => {
                let public = key.out_public.marshall().map_err(Failed::from)?;
                let kept = KeptKey { public: public.clone(), private: key.out_private.to_vec() };
                return Ok((Made { public, is_new: true }, kept));
            }
            Err(failed) if failed.fault != TpmFault::Other => return Err(failed),
            Err(failed) => why = Some(failed),
        }
    }
    Err(why.unwrap_or_else(Failed::nothing))
}

/// The attestation key in the TPM; the caller flushes it.
pub(super) fn load(
    context: &mut Context,
    endorsement: &Endorsement,
    kept: &KeptKey,
) -> Result<KeyHandle, Failed> {
    let public = Public::unmarshall(&kept.public).map_err(Failed::from)?;
    let private = Private::try_from(kept.private.clone()).map_err(Failed::from)?;
    endorsement.with_handle(context, |context, parent| {
        ak::load_ak(context, parent, None, private, public).map_err(Failed::from)
    })
}

/// Lends the attestation key.
pub(super) fn with_attestation<T>(
    context: &mut Context,
    endorsement: &Endorsement,
    kept: &KeptKey,
    act: impl FnOnce(&mut Context, KeyHandle) -> Result<T, Failed>,
) -> Result<T, Failed> {
    let handle = load(context, endorsement, kept)?;
    with_flushed(context, handle, act)
}

/// Lets a key go.
pub(super) fn flush(context: &mut Context, handle: KeyHandle) {
    // What cannot be flushed now is flushed by the kernel when the connection closes.
    let _ = context.flush_context(handle.into());
}
