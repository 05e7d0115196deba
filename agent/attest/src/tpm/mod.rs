//! Everything that is done with a TPM, through tpm2-tss. Nothing outside this module knows its types.
//!
//! Every transient object is flushed, on failure too: a TPM without a resource manager has three slots, and the
//! next process would find them taken.

mod fault;
mod keys;

use std::str::FromStr;

use rackmark_model::tpm::{KeptKey, TpmFault, TpmKeys, TpmQuote};
use tss_esapi::Context;
use tss_esapi::constants::PropertyTag;
use tss_esapi::constants::SessionType;
use tss_esapi::handles::{AuthHandle, KeyHandle, SessionHandle};
use tss_esapi::interface_types::algorithm::HashingAlgorithm;
use tss_esapi::interface_types::session_handles::{AuthSession, PolicySession};
use tss_esapi::structures::{
    Data, EncryptedSecret, IdObject, PcrSelectionList, PcrSelectionListBuilder, PcrSlot, SignatureScheme,
    SymmetricDefinition,
};
use tss_esapi::tcti_ldr::TctiNameConf;
use tss_esapi::traits::Marshall;

pub(crate) use fault::Failed;
use keys::Endorsement;

/// Registers that anybody can reset: a quote of them says nothing.
const RESETTABLE: u32 = 1 << 16 | 1 << 23;

/// Reads of the registers until they stand still. Between boot and login they change a few times a second at most.
const READS: usize = 5;

/// An open TPM with its two keys' handles made as they are needed.
pub(crate) struct Tpm {
    context: Context,
    endorsement: Endorsement,
    kept: KeptKey,
}

impl Tpm {
    /// Opens the TPM, finds its endorsement key, and loads or makes the attestation key.
    pub(crate) fn open(tcti: &str, kept: Option<KeptKey>) -> Result<(Self, TpmKeys), Failed> {
        let mut context = connect(tcti)?;
        let endorsement = Endorsement::find(&mut context)?;
        let description = describe(&mut context);
        let (made, kept) = keys::attestation(&mut context, &endorsement, kept)?;
        let keys = TpmKeys {
            endorsement: endorsement.public.clone(),
            certificate: endorsement.certificate.clone(),
            attestation: made.public,
            kept: kept.clone(),
            is_new: made.is_new,
            description,
        };
        Ok((Self { context, endorsement, kept }, keys))
    }

    /// A quote over registers of the SHA-256 bank, and the values that it covers.
    pub(crate) fn quote(&mut self, qualifying: [u8; 32], registers: u32) -> Result<TpmQuote, Failed> {
        if registers & RESETTABLE != 0 || registers >> 24 != 0 || registers == 0 {
            let words = format!("registers {registers:#x} are not quoted");
            return Err(Failed { fault: TpmFault::Other, words });
        }
        let slots: Vec<PcrSlot> = (0..24)
            .filter(|index| registers & 1 << index != 0)
            .filter_map(|index| PcrSlot::try_from(1_u32 << index).ok())
            .collect();
        let selection = selection(&slots)?;
        let Self { context, endorsement, kept } = self;
        keys::with_attestation(context, endorsement, kept, |context, key| {
            let mut before = read(context, &slots)?;
            for _ in 0..READS {
                let data = Data::try_from(qualifying.to_vec()).map_err(Failed::from)?;
                let (attest, signature) = context
                    .execute_with_nullauth_session(|context| {
                        context.quote(key, data, SignatureScheme::Null, selection.clone())
                    })
                    .map_err(Failed::from)?;
                let after = read(context, &slots)?;
                // What was read belongs to the quote only if nothing changed meanwhile.
                if after.counter == before.counter {
                    return Ok(TpmQuote {
                        quoted: attest.marshall().map_err(Failed::from)?,
                        signature: signature.marshall().map_err(Failed::from)?,
                        values: after.values,
                    });
                }
                before = after;
            }
            Err(Failed { fault: TpmFault::Busy, words: "the registers kept changing".to_owned() })
        })
    }

    /// The secret of a credential that a verifier made for the two keys.
    pub(crate) fn activate(&mut self, blob: &[u8], encrypted: &[u8]) -> Result<Vec<u8>, Failed> {
        let blob = IdObject::try_from(unsized_part(blob)?).map_err(Failed::from)?;
        let secret = EncryptedSecret::try_from(unsized_part(encrypted)?).map_err(Failed::from)?;
        let Self { context, endorsement, kept } = self;
        let loaded = keys::load(context, endorsement, kept)?;
        let opened = endorsement.with_handle(context, |context, parent| {
            let policy = endorsement.policy(context)?;
            let opened = authorised(context, policy, |context, plain| {
                context.execute_with_sessions((Some(plain), Some(policy), None), |context| {
                    context.activate_credential(loaded, parent, blob, secret)
                })
            });
            flush_session(context, policy);
            opened
        });
        keys::flush(context, loaded);
        match opened {
            Ok(secret) => Ok(secret.to_vec()),
            // The credential's integrity does not fit: it is for another key or another TPM.
            Err(failed) if failed.fault == TpmFault::Cleared => {
                Err(Failed { fault: TpmFault::WrongCredential, words: failed.words })
            }
            Err(failed) => Err(failed),
        }
    }
}

/// Runs something with a session for the plain authorisation of the attestation key beside the policy of the other.
fn authorised<T>(
    context: &mut Context,
    _policy: AuthSession,
    act: impl FnOnce(&mut Context, AuthSession) -> tss_esapi::Result<T>,
) -> Result<T, Failed> {
    let plain = context
        .start_auth_session(
            None,
            None,
            None,
            SessionType::Hmac,
            SymmetricDefinition::AES_128_CFB,
            HashingAlgorithm::Sha256,
        )
        .map_err(Failed::from)?
        .ok_or_else(Failed::nothing)?;
    let done = act(context, plain);
    flush_session(context, plain);
    done.map_err(Failed::from)
}

fn flush_session(context: &mut Context, session: AuthSession) {
    // A session that was used up is gone already.
    let _ = context.flush_context(SessionHandle::from(session).into());
}

/// The content of a `TPM2B_…`, which must fill it.
fn unsized_part(bytes: &[u8]) -> Result<Vec<u8>, Failed> {
    let malformed =
        || Failed { fault: TpmFault::WrongCredential, words: "a credential is malformed".to_owned() };
    let (length, content) = bytes.split_first_chunk::<2>().ok_or_else(malformed)?;
    if usize::from(u16::from_be_bytes(*length)) == content.len() {
        Ok(content.to_vec())
    } else {
        Err(malformed())
    }
}

fn connect(tcti: &str) -> Result<Context, Failed> {
    // tpm2-tss writes to standard error by itself; what it has to say comes as an error anyway.
    // Its parser of names ignores keys that it does not know, and would go to the default port instead.
    let known = match tcti.split_once(':') {
        Some(("device", path)) => {
            if !std::path::Path::new(path).exists() {
                return Err(Failed { fault: TpmFault::Absent, words: format!("there is no {path}") });
            }
            true
        }
        Some(("swtpm", options)) => options.split(',').all(|option| {
            option
                .split_once('=')
                .is_some_and(|(key, value)| ["host", "port"].contains(&key) && !value.is_empty())
        }),
        _ => false,
    };
    if !known {
        let words = format!("{tcti:?} is not device:PATH or swtpm:host=HOST,port=PORT");
        return Err(Failed { fault: TpmFault::Other, words });
    }
    let name = TctiNameConf::from_str(tcti).map_err(Failed::from)?;
    Context::new(name).map_err(|error| Failed::at_open(&error, tcti))
}

/// Maker and firmware, as the TPM says: no proof of anything.
fn describe(context: &mut Context) -> String {
    let mut property = |tag| context.get_tpm_property(tag).ok().flatten().unwrap_or_default();
    let text = |word: u32| -> String {
        word.to_be_bytes().iter().map(|byte| char::from(*byte)).filter(char::is_ascii_graphic).collect()
    };
    let maker = text(property(PropertyTag::Manufacturer));
    let vendor: String = [
        PropertyTag::VendorString1,
        PropertyTag::VendorString2,
        PropertyTag::VendorString3,
        PropertyTag::VendorString4,
    ]
    .into_iter()
    .map(|tag| text(property(tag)))
    .collect();
    let version = property(PropertyTag::FirmwareVersion1);
    format!("{maker} {vendor} firmware {}.{}", version >> 16, version & 0xffff)
}

fn selection(slots: &[PcrSlot]) -> Result<PcrSelectionList, Failed> {
    PcrSelectionListBuilder::new()
        .with_selection(HashingAlgorithm::Sha256, slots)
        .build()
        .map_err(Failed::from)
}

/// Registers at one moment.
struct Read {
    /// Moves with every change of any register.
    counter: u32,
    values: Vec<(u8, Vec<u8>)>,
}

/// One command gives eight registers at most, so there are several; the counter says whether they belong together.
fn read(context: &mut Context, slots: &[PcrSlot]) -> Result<Read, Failed> {
    'again: for _ in 0..READS {
        let mut values = Vec::with_capacity(slots.len());
        let mut first = None;
        for chunk in slots.chunks(8) {
            let wanted = selection(chunk)?;
            let (counter, _, digests) =
                context.execute_without_session(|context| context.pcr_read(wanted)).map_err(Failed::from)?;
            if digests.len() != chunk.len() {
                return Err(Failed {
                    fault: TpmFault::Other,
                    words: "the TPM has no SHA-256 bank".to_owned(),
                });
            }
            if *first.get_or_insert(counter) != counter {
                continue 'again;
            }
            for (slot, digest) in chunk.iter().zip(digests.value()) {
                let index = u32::from(*slot).trailing_zeros();
                values.push((u8::try_from(index).unwrap_or(u8::MAX), digest.to_vec()));
            }
        }
        return Ok(Read { counter: first.unwrap_or_default(), values });
    }
    Err(Failed { fault: TpmFault::Busy, words: "the registers kept changing".to_owned() })
}

/// The policy that lets the endorsement key be used: the endorsement hierarchy's own authorisation.
fn satisfy(context: &mut Context, session: PolicySession) -> Result<(), Failed> {
    context
        .execute_with_nullauth_session(|context| {
            context.policy_secret(
                session,
                AuthHandle::Endorsement,
                tss_esapi::structures::Nonce::default(),
                tss_esapi::structures::Digest::default(),
                tss_esapi::structures::Nonce::default(),
                None,
            )
        })
        .map(|_| ())
        .map_err(Failed::from)
}

/// A handle to be flushed, whatever happens.
fn with_flushed<T>(
    context: &mut Context,
    handle: KeyHandle,
    act: impl FnOnce(&mut Context, KeyHandle) -> Result<T, Failed>,
) -> Result<T, Failed> {
    let done = act(context, handle);
    keys::flush(context, handle);
    done
}
