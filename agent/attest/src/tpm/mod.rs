//! Everything that is done with a TPM, through tpm2-tss. Nothing outside this module knows its types.
//!
//! Every transient object is flushed, on failure too: a TPM without a resource manager has three slots, and the
//! next process would find them taken.

mod credential;
mod fault;
mod keys;
mod registers;

use std::path::Path;
use std::str::FromStr;
use std::thread::sleep;
use std::time::{Duration, Instant};

use rackmark_model::tpm::{KeptKey, TpmFault, TpmKeys, TpmQuote};
use tss_esapi::Context;
use tss_esapi::constants::PropertyTag;
use tss_esapi::interface_types::session_handles::AuthSession;
use tss_esapi::structures::{Data, SignatureScheme};
use tss_esapi::tcti_ldr::TctiNameConf;
use tss_esapi::traits::Marshall;

pub(crate) use fault::Failed;
use keys::{Attestation, Endorsement};
use registers::{READS, read, restless, selection, slots};

/// Pauses before what a busy TPM did not do is tried again: self-tests after a reset and limits on writes to its
/// memory last seconds. tpm2-tss itself repeats five times without a pause, and not for all of these codes.
const BUSY: [Duration; 4] = [
    Duration::from_millis(100),
    Duration::from_millis(300),
    Duration::from_millis(1000),
    Duration::from_millis(3000),
];

/// `TPMA_PERMANENT.inLockout` (TPM 2.0 Part 2, 8.6).
const IN_LOCKOUT: u32 = 1 << 9;

/// An open TPM with its two keys.
pub(crate) struct Tpm {
    context: Context,
    endorsement: Endorsement,
    attestation: Attestation,
}

impl Tpm {
    /// Opens the TPM, finds its endorsement key, and loads or makes the attestation key.
    pub(crate) fn open(tcti: &str, kept: Option<&KeptKey>) -> Result<(Self, TpmKeys), Failed> {
        let name = name(tcti)?;
        patiently(|| {
            let mut context = Context::new(name.clone()).map_err(|error| Failed::at_open(&error, tcti))?;
            let endorsement = Endorsement::find(&mut context)?;
            let (description, in_lockout) = describe(&mut context)?;
            let attestation = Attestation::find(&mut context, &endorsement, kept.cloned())?;
            let keys = TpmKeys {
                endorsement: endorsement.public.clone(),
                certificate: endorsement.certificate.clone(),
                attestation: attestation.kept.public.clone(),
                kept: attestation.kept.clone(),
                is_new: attestation.is_new,
                description,
                in_lockout,
            };
            Ok((Self { context, endorsement, attestation }, keys))
        })
    }

    /// A quote over registers of the SHA-256 bank, and the values that it covers.
    pub(crate) fn quote(&mut self, qualifying: [u8; 32], registers: u32) -> Result<TpmQuote, Failed> {
        let slots = slots(registers)?;
        let selection = selection(&slots)?;
        let data = Data::try_from(qualifying.to_vec()).map_err(Failed::from)?;
        let begun = Instant::now();
        let Self { context, attestation, .. } = self;
        let mut quote = patiently(|| {
            attestation.saved.with_handle(context, |context, key| {
                let mut before = read(context, &slots)?;
                for _ in 0..READS {
                    let (attest, signature) = context
                        .execute_with_session(Some(AuthSession::Password), |context| {
                            context.quote(key, data.clone(), SignatureScheme::Null, selection.clone())
                        })
                        .map_err(Failed::from)?;
                    let after = read(context, &slots)?;
                    // What was read belongs to the quote only if nothing changed meanwhile.
                    if after.counter == before.counter {
                        return Ok(TpmQuote {
                            quoted: attest.marshall().map_err(Failed::from)?,
                            signature: signature.marshall().map_err(Failed::from)?,
                            values: after.values,
                            took_ms: 0,
                        });
                    }
                    before = after;
                }
                Err(restless())
            })
        })?;
        quote.took_ms = u32::try_from(begun.elapsed().as_millis()).unwrap_or(u32::MAX);
        Ok(quote)
    }

    /// The secret of a credential that a verifier made for the two keys.
    pub(crate) fn activate(&mut self, blob: &[u8], secret: &[u8]) -> Result<Vec<u8>, Failed> {
        let Self { context, endorsement, attestation } = self;
        patiently(|| credential::open(context, endorsement, attestation, blob, secret))
    }
}

/// Does it again, a few times, while the TPM says that it is busy.
fn patiently<T>(mut act: impl FnMut() -> Result<T, Failed>) -> Result<T, Failed> {
    for pause in BUSY {
        match act() {
            Err(failed) if failed.fault == TpmFault::Busy => sleep(pause),
            done => return done,
        }
    }
    act()
}

/// The two kinds of name that are understood. The library's own parser ignores keys that it does not know, and would
/// go to its default port instead.
fn name(tcti: &str) -> Result<TctiNameConf, Failed> {
    let known = match tcti.split_once(':') {
        Some(("device", path)) => {
            if !Path::new(path).exists() {
                return Err(Failed::passing(TpmFault::Absent, format!("there is no {path}")));
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
        return Err(Failed::refused(TpmFault::Other, words));
    }
    TctiNameConf::from_str(tcti).map_err(Failed::from)
}

/// Maker and firmware, as the TPM says, which is no proof of anything; and whether it is in lockout.
fn describe(context: &mut Context) -> Result<(String, bool), Failed> {
    let mut property =
        |tag| context.get_tpm_property(tag).map(Option::unwrap_or_default).map_err(Failed::from);
    let text = |word: u32| -> String {
        word.to_be_bytes().iter().map(|byte| char::from(*byte)).filter(char::is_ascii_graphic).collect()
    };
    let maker = text(property(PropertyTag::Manufacturer)?);
    let mut vendor = String::new();
    for part in [
        PropertyTag::VendorString1,
        PropertyTag::VendorString2,
        PropertyTag::VendorString3,
        PropertyTag::VendorString4,
    ] {
        vendor.push_str(&text(property(part)?));
    }
    let version = property(PropertyTag::FirmwareVersion1)?;
    let in_lockout = property(PropertyTag::Permanent)? & IN_LOCKOUT != 0;
    Ok((format!("{maker} {vendor} firmware {}.{}", version >> 16, version & 0xffff), in_lockout))
}
