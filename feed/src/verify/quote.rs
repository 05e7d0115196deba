//! A quote, judged: by whom it is signed, what it signs, and over which registers.

use ring::digest;

use super::outcome::{Check, Reason, Subject};
use super::tpm::{self, Attest, ClockInfo, Key, Public, Selection, Signature, TpmError, attributes};

/// Registers that anybody can reset, so that equal values can be made there.
const RESETTABLE: u32 = 1 << 16 | 1 << 23;

/// A quote and what it should say.
#[derive(Debug, Clone, Copy)]
pub struct QuoteInput<'a> {
    /// `TPMT_PUBLIC` of the attestation key.
    pub attestation_key: &'a [u8],
    /// `TPMS_ATTEST`.
    pub quoted: &'a [u8],
    /// `TPMT_SIGNATURE`.
    pub signature: &'a [u8],
    /// What `extraData` must be.
    pub qualifying: &'a [u8; 32],
    /// The registers that must be covered, no more and no fewer.
    pub wanted: Selection,
    /// Their values, by rising index.
    pub values: &'a [(u8, &'a [u8])],
}

/// What came of it.
#[derive(Debug, Clone)]
pub struct QuoteReport {
    /// The checks.
    pub checks: Vec<Check>,
    /// The TPM's clock, where the quote parses.
    pub clock: Option<ClockInfo>,
    /// Name of the attestation key; empty where it does not parse.
    pub key_name: Vec<u8>,
}

/// Judges a quote.
pub fn verify_quote(input: &QuoteInput<'_>) -> QuoteReport {
    let mut report = QuoteReport { checks: Vec::new(), clock: None, key_name: Vec::new() };
    let key = match Public::parse(input.attestation_key) {
        Ok(key) => key,
        Err(error) => {
            report.checks.push(unreadable(Subject::AttestationKey, "attestation key", error));
            return report;
        }
    };
    report.key_name = key.name();
    report.checks.push(check_key(&key));
    match judge(input, &key, &mut report) {
        Ok(()) => {
            report.checks.push(Check::verified(
                Subject::Quote,
                Reason::Fits,
                "signature, nonce and registers",
            ));
        }
        Err(check) => report.checks.push(check),
    }
    if report.clock.is_some_and(|clock| !clock.safe) {
        let detail = "the TPM lost power without a shutdown; its clock may have stepped back";
        report.checks.push(Check::not_established(Subject::Freshness, Reason::ClockNotSafe, detail));
    }
    report
}

fn judge(input: &QuoteInput<'_>, key: &Public<'_>, report: &mut QuoteReport) -> Result<(), Check> {
    let refuse = |reason, detail: String| Check::contradicted(Subject::Quote, reason, detail);
    let signature =
        Signature::parse(input.signature).map_err(|error| unreadable(Subject::Quote, "signature", error))?;
    match signature.verify(key, input.quoted) {
        Ok(true) => {}
        Ok(false) => return Err(refuse(Reason::SignatureMismatch, "the key did not sign this".into())),
        Err(error) => return Err(refuse(Reason::AlgorithmRefused, error.to_string())),
    }
    let attest = match Attest::parse(input.quoted) {
        Ok(attest) => attest,
        Err(error @ TpmError::NotGenerated) => return Err(refuse(Reason::NotAQuote, error.to_string())),
        Err(error) => return Err(unreadable(Subject::Quote, "quote", error)),
    };
    report.clock = Some(attest.clock);
    // Nothing here is secret, so the comparisons need not hide where they end.
    if attest.extra_data != input.qualifying {
        let detail = "the quote was made over other claims or another nonce";
        return Err(refuse(Reason::QualifyingDataMismatch, detail.into()));
    }
    check_selection(&attest, input.wanted)?;
    check_values(input, &attest)
}

/// An attestation key signs nothing but what its TPM says, and cannot leave it. Without that, whoever has the key
/// signs any quote he likes.
fn check_key(key: &Public<'_>) -> Check {
    const NEEDED: u32 = attributes::RESTRICTED
        | attributes::SIGN
        | attributes::FIXED_TPM
        | attributes::FIXED_PARENT
        | attributes::SENSITIVE_DATA_ORIGIN;
    let subject = Subject::AttestationKey;
    if !key.has(NEEDED) || key.attributes & attributes::DECRYPT != 0 {
        let detail = format!("attributes {:#010x}", key.attributes);
        return Check::contradicted(subject, Reason::AttributesRefused, detail);
    }
    if key.scheme.is_none() {
        return Check::contradicted(subject, Reason::AlgorithmRefused, "the key is for no scheme");
    }
    let strength = match &key.key {
        Key::Rsa { modulus, .. } => format!("RSA {}", modulus.len() * 8),
        Key::Ecc { curve, .. } => format!("{curve:?}"),
    };
    let patience = if key.has(attributes::NO_DA) { "" } else { ", counts unclean resets as attacks" };
    Check::verified(subject, Reason::Fits, format!("{strength}, restricted{patience}"))
}

/// The selection that was signed is compared with the one that was asked: values of one register must not pass for
/// those of another.
fn check_selection(attest: &Attest<'_>, wanted: Selection) -> Result<(), Check> {
    let refuse = |reason, detail: String| Err(Check::contradicted(Subject::Quote, reason, detail));
    let signed: Vec<&Selection> = attest.selections.iter().filter(|s| s.mask != 0).collect();
    if signed.iter().any(|selection| selection.mask & RESETTABLE != 0) || wanted.mask & RESETTABLE != 0 {
        return refuse(Reason::ResettablePcr, "registers 16 and 23 can be reset by anybody".into());
    }
    if wanted.bank == tpm::ALG_SHA1 || tpm::hash_of(wanted.bank).is_err() {
        return refuse(Reason::BankRefused, format!("bank {:#06x}", wanted.bank));
    }
    match signed[..] {
        [only] if *only == wanted => Ok(()),
        _ => refuse(Reason::SelectionMismatch, format!("signed {signed:x?}, wanted {wanted:x?}")),
    }
}

fn check_values(input: &QuoteInput<'_>, attest: &Attest<'_>) -> Result<(), Check> {
    let refuse = |detail: String| Check::contradicted(Subject::Quote, Reason::PcrDigestMismatch, detail);
    let covered = input
        .values
        .iter()
        .try_fold(0_u32, |mask, (index, _)| Some(mask | 1_u32.checked_shl((*index).into())?));
    if covered != Some(input.wanted.mask) || !input.values.is_sorted_by(|a, b| a.0 < b.0) {
        return Err(refuse("the values are not those of the registers".into()));
    }
    let bank = tpm::hash_of(input.wanted.bank).map_err(|error| refuse(error.to_string()))?;
    if input.values.iter().any(|(_, value)| value.len() != bank.output_len()) {
        return Err(refuse("a value has another length than the bank's".into()));
    }
    // The hash over the values is that of the signing scheme, which is SHA-256 or SHA-384; both are tried by length.
    let hash = match attest.pcr_digest.len() {
        32 => &digest::SHA256,
        48 => &digest::SHA384,
        other => return Err(refuse(format!("a digest of {other} bytes"))),
    };
    let mut context = digest::Context::new(hash);
    for (_, value) in input.values {
        context.update(value);
    }
    if context.finish().as_ref() == attest.pcr_digest {
        Ok(())
    } else {
        Err(refuse("the values do not hash to what was signed".into()))
    }
}

fn unreadable(subject: Subject, what: &str, error: TpmError) -> Check {
    Check::contradicted(subject, Reason::Malformed, format!("{what}: {error}"))
}
