//! The two keys: the endorsement key, which the maker vouches for, and the attestation key, which signs quotes.

use rackmark_model::tpm::{KeptKey, TpmFault};
use tss_esapi::Context;
use tss_esapi::abstraction::{AsymmetricAlgorithmSelection, KeyCustomization, ak, ek};
use tss_esapi::attributes::ObjectAttributesBuilder;
use tss_esapi::handles::KeyHandle;
use tss_esapi::interface_types::algorithm::{HashingAlgorithm, SignatureSchemeAlgorithm};
use tss_esapi::interface_types::ecc::EccCurve;
use tss_esapi::interface_types::key_bits::RsaKeyBits;
use tss_esapi::interface_types::resource_handles::Hierarchy;
use tss_esapi::interface_types::session_handles::AuthSession;
use tss_esapi::structures::{Private, Public};
use tss_esapi::traits::{Marshall, UnMarshall};
use tss_esapi::utils::TpmsContext;

use super::fault::Failed;

/// The kinds of endorsement key, in the order in which they are preferred: small and quick first. The first one that
/// has a certificate is the node's; where none has, the first one that the TPM can make.
const KINDS: [AsymmetricAlgorithmSelection; 3] = [
    AsymmetricAlgorithmSelection::Ecc(EccCurve::NistP256),
    AsymmetricAlgorithmSelection::Ecc(EccCurve::NistP384),
    AsymmetricAlgorithmSelection::Rsa(RsaKeyBits::Rsa2048),
];

/// A key outside the TPM, encrypted by it until its next reset. Between orders the TPM's few slots are free, and
/// loading takes milliseconds, where making an RSA endorsement key again takes a discrete TPM many seconds.
pub(super) struct Saved(TpmsContext);

impl Saved {
    fn of(context: &mut Context, handle: KeyHandle) -> Result<Self, Failed> {
        context.context_save(handle.into()).map(Self).map_err(Failed::from)
    }

    /// Loads the key, lends it, and lets it go.
    pub(super) fn with_handle<T>(
        &self,
        context: &mut Context,
        act: impl FnOnce(&mut Context, KeyHandle) -> Result<T, Failed>,
    ) -> Result<T, Failed> {
        let handle = context.context_load(self.0.clone()).map_err(Failed::from)?;
        with_flushed(context, KeyHandle::from(handle), act)
    }
}

/// The endorsement key.
pub(super) struct Endorsement {
    /// One of those whose policy has branches (TCG EK Credential Profile 2.5, the high range of templates).
    pub(super) high_range: bool,
    /// `TPMT_PUBLIC`.
    pub(super) public: Vec<u8>,
    /// DER.
    pub(super) certificate: Option<Vec<u8>>,
    pub(super) saved: Saved,
}

impl Endorsement {
    /// Finds the key whose certificate is in the TPM's memory. Which one that is must never depend on the TPM's mood,
    /// since the node's identity does: only a lasting answer rules a kind out.
    pub(super) fn find(context: &mut Context) -> Result<Self, Failed> {
        for kind in KINDS {
            let Some(certificate) = certificate(context, kind)? else { continue };
            let key = Self::make(context, kind)?;
            // The certificate of another key, left behind by a firmware update for example, is as good as none.
            if names(&certificate, &key.public)? {
                return Ok(Self { certificate: Some(certificate), ..key });
            }
        }
        let mut why = None;
        for kind in KINDS {
            match Self::make(context, kind) {
                Ok(key) => return Ok(key),
                Err(failed) if !failed.lasting => return Err(failed),
                Err(failed) => why = why.or(Some(failed)),
            }
        }
        Err(why.unwrap_or_else(|| Failed::refused(TpmFault::Other, "the TPM makes no endorsement key")))
    }

    /// Makes the key, which is the same each time.
    fn make(context: &mut Context, kind: AsymmetricAlgorithmSelection) -> Result<Self, Failed> {
        let template = ek::create_ek_public_from_default_template_2(kind, None).map_err(Failed::from)?;
        let made = context
            .execute_with_session(Some(AuthSession::Password), |context| {
                context.create_primary(Hierarchy::Endorsement, template, None, None, None, None)
            })
            .map_err(Failed::from)?;
        let saved = with_flushed(context, made.key_handle, Saved::of)?;
        Ok(Self {
            high_range: matches!(kind, AsymmetricAlgorithmSelection::Ecc(EccCurve::NistP384)),
            public: made.out_public.marshall().map_err(Failed::from)?,
            certificate: None,
            saved,
        })
    }
}

/// The certificate in the TPM's memory; none where there is none, or something else.
fn certificate(context: &mut Context, kind: AsymmetricAlgorithmSelection) -> Result<Option<Vec<u8>>, Failed> {
    let mut der = match ek::retrieve_ek_pubcert(context, kind).map_err(Failed::from) {
        Ok(der) => der,
        Err(failed) if failed.lasting => return Ok(None),
        Err(failed) => return Err(failed),
    };
    // Makers fill the rest of the area; a certificate says how long it is.
    let length = match der[..] {
        [0x30, 0x82, high, low, ..] => usize::from(u16::from_be_bytes([high, low])) + 4,
        _ => return Ok(None),
    };
    der.truncate(length);
    Ok((der.len() == length).then_some(der))
}

/// True where the certificate has the key's bytes in it. Whether it is a good one is for verifiers to say.
fn names(certificate: &[u8], public: &[u8]) -> Result<bool, Failed> {
    let part = match Public::unmarshall(public).map_err(Failed::from)? {
        Public::Rsa { unique, .. } => unique.value().to_vec(),
        Public::Ecc { unique, .. } => unique.x().value().to_vec(),
        _ => return Ok(false),
    };
    Ok(!part.is_empty() && certificate.windows(part.len()).any(|window| window == part))
}

/// The attestation key.
pub(super) struct Attestation {
    pub(super) kept: KeptKey,
    /// It was made now.
    pub(super) is_new: bool,
    pub(super) saved: Saved,
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

impl Attestation {
    /// Loads the kept attestation key, or makes one where there is none that loads.
    pub(super) fn find(
        context: &mut Context,
        endorsement: &Endorsement,
        kept: Option<KeptKey>,
    ) -> Result<Self, Failed> {
        endorsement.saved.with_handle(context, |context, parent| {
            let usable = kept.and_then(|kept| Some((readable(&kept)?, kept)));
            let Some(((public, private), kept)) = usable else { return Self::make(context, parent) };
            match ak::load_ak(context, parent, None, private, public).map_err(Failed::from) {
                Ok(handle) => {
                    let saved = with_flushed(context, handle, Saved::of)?;
                    Ok(Self { kept, is_new: false, saved })
                }
                // It is another TPM's, or this one was cleared, or the file is damaged: a new key, the same endorsement.
                Err(failed) if failed.lasting => Self::make(context, parent),
                Err(failed) => Err(failed),
            }
        })
    }

    fn make(context: &mut Context, parent: KeyHandle) -> Result<Self, Failed> {
        let mut why = None;
        for (kind, scheme) in [
            (AsymmetricAlgorithmSelection::Ecc(EccCurve::NistP256), SignatureSchemeAlgorithm::EcDsa),
            (AsymmetricAlgorithmSelection::Rsa(RsaKeyBits::Rsa2048), SignatureSchemeAlgorithm::RsaSsa),
        ] {
            let made =
                ak::create_ak_2(context, parent, HashingAlgorithm::Sha256, kind, scheme, None, &Patient)
                    .map_err(Failed::from);
            match made {
                Ok(made) => {
                    let public = made.out_public.marshall().map_err(Failed::from)?;
                    let kept = KeptKey { public, private: made.out_private.to_vec() };
                    let handle = ak::load_ak(context, parent, None, made.out_private, made.out_public)
                        .map_err(Failed::from)?;
                    let saved = with_flushed(context, handle, Saved::of)?;
                    return Ok(Self { kept, is_new: true, saved });
                }
                Err(failed) if !failed.lasting => return Err(failed),
                Err(failed) => why = why.or(Some(failed)),
            }
        }
        Err(why.unwrap_or_else(|| Failed::refused(TpmFault::Other, "the TPM makes no attestation key")))
    }
}

/// A kept key's two parts, where the public one is what a verifier demands of an attestation key, and does not lock
/// the TPM.
fn readable(kept: &KeptKey) -> Option<(Public, Private)> {
    let public = Public::unmarshall(&kept.public).ok()?;
    let private = Private::try_from(kept.private.clone()).ok()?;
    let attributes = public.object_attributes();
    let demanded = attributes.restricted()
        && attributes.sign_encrypt()
        && !attributes.decrypt()
        && attributes.fixed_tpm()
        && attributes.fixed_parent()
        && attributes.sensitive_data_origin()
        && attributes.user_with_auth()
        && attributes.no_da();
    // What is kept is reported as it is: not a byte beyond the structure.
    let whole = public.marshall().is_ok_and(|bytes| bytes == kept.public);
    (demanded && whole).then_some((public, private))
}

/// A handle to be flushed, whatever happens.
fn with_flushed<T>(
    context: &mut Context,
    handle: KeyHandle,
    act: impl FnOnce(&mut Context, KeyHandle) -> Result<T, Failed>,
) -> Result<T, Failed> {
    let done = act(context, handle);
    // What cannot be flushed now is tried again when the connection closes.
    let _ = context.flush_context(handle.into());
    done
}
