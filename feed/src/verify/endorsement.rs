//! The endorsement key: whose TPM it is, by the certificate that its maker gave it.

use x509_cert::der::asn1::{ObjectIdentifier, PrintableStringRef, Utf8StringRef};
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;

use super::certificate::{Certificate, CertificateError, CertifiedKey, walk};
use super::outcome::{Check, Reason, Subject};
use super::tpm::{Curve, Key, Public};

/// Extended key usage of endorsement certificates (`tcg-kp-EKCertificate`).
const PURPOSE: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.23.133.8.1");
const MANUFACTURER: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.23.133.2.1");
const MODEL: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.23.133.2.2");
const VERSION: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.23.133.2.3");

/// What a maker's certificate says of the TPM.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TpmMake {
    /// Manufacturer, `id:` and eight hex digits (the TCG's vendor id).
    pub manufacturer: String,
    /// Model.
    pub model: String,
    /// Firmware version, `id:` and eight hex digits.
    pub version: String,
}

/// Judges an endorsement key (`TPMT_PUBLIC`) with its certificate. `anchors` are the makers that are trusted,
/// `pool` the issuers on the way.
pub fn verify_endorsement(
    public: &[u8],
    certificate: Option<&[u8]>,
    pool: &[Certificate],
    anchors: &[Certificate],
    unix_ms: u64,
) -> (Check, Option<TpmMake>) {
    match judge(public, certificate, pool, anchors, unix_ms) {
        Ok((make, anchor)) => {
            let detail = format!("{} {}, by {anchor}", make.manufacturer, make.model);
            (Check::verified(Subject::EndorsementKey, Reason::ChainTrusted, detail), Some(make))
        }
        Err(check) => (check, None),
    }
}

fn judge(
    public: &[u8],
    certificate: Option<&[u8]>,
    pool: &[Certificate],
    anchors: &[Certificate],
    unix_ms: u64,
) -> Result<(TpmMake, String), Check> {
    let subject = Subject::EndorsementKey;
    let public = Public::parse(public).map_err(|error| {
        Check::contradicted(subject, Reason::Malformed, format!("endorsement key: {error}"))
    })?;
    let der = certificate.ok_or_else(|| {
        let detail = "the TPM has none: a virtual or software TPM, or a maker who gives none";
        Check::not_established(subject, Reason::NoCertificate, detail)
    })?;
    let leaf = Certificate::parse(der)
        .map_err(|error| Check::not_established(subject, Reason::Malformed, error.to_string()))?;
    if !is_for(&leaf, &public.key) {
        let detail = "the certificate is for another key than the TPM's";
        return Err(Check::contradicted(subject, Reason::CertificateKeyMismatch, detail));
    }
    match leaf.purposes() {
        Ok(purposes) if purposes.is_empty() || purposes.contains(&PURPOSE) => {}
        _ => {
            let detail = "the certificate is not for an endorsement key";
            return Err(Check::contradicted(subject, Reason::CertificatePurpose, detail));
        }
    }
    let make = make(&leaf);
    match walk(&leaf, pool, anchors, unix_ms) {
        Ok(issuers) => Ok((make, issuers.last().map(|anchor| anchor.subject()).unwrap_or_default())),
        Err(error @ CertificateError::Expired { .. }) => {
            Err(Check::not_established(subject, Reason::CertificateExpired, error.to_string()))
        }
        Err(error) => {
            let detail = format!("{error}; {} {}, by {}", make.manufacturer, make.model, leaf.issuer());
            Err(Check::not_established(subject, Reason::ChainUntrusted, detail))
        }
    }
}

fn is_for(leaf: &Certificate, key: &Key<'_>) -> bool {
    match (leaf.key(), key) {
        (CertifiedKey::Rsa { modulus, exponent }, Key::Rsa { exponent: e, modulus: n }) => {
            modulus == n && exponent[..] == e.to_be_bytes()[1..]
        }
        (CertifiedKey::P256(point), Key::Ecc { curve: Curve::P256, point: p })
        | (CertifiedKey::P384(point), Key::Ecc { curve: Curve::P384, point: p }) => point == p,
        _ => false,
    }
}

/// The TCG's attributes in the subject's alternative name.
fn make(leaf: &Certificate) -> TpmMake {
    let mut make = TpmMake::default();
    let Ok(Some((_, SubjectAltName(names)))) =
        leaf.parsed().tbs_certificate().get_extension::<SubjectAltName>()
    else {
        return make;
    };
    for name in &names {
        let GeneralName::DirectoryName(name) = name else { continue };
        for attribute in name.iter() {
            let value = attribute.value.decode_as::<Utf8StringRef<'_>>().map(|text| text.as_str().to_owned());
            let value = value.or_else(|_| {
                attribute.value.decode_as::<PrintableStringRef<'_>>().map(|text| text.as_str().to_owned())
            });
            let Ok(value) = value else { continue };
            match attribute.oid {
                MANUFACTURER => make.manufacturer = value,
                MODEL => make.model = value,
                VERSION => make.version = value,
                _ => {}
            }
        }
    }
    make
}
