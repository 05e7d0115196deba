//! Answers about revocation (OCSP, RFC 6960), as a verifier got them and put them into a bundle. Nothing is fetched
//! here.
//!
//! An answer counts when the issuer of the certificate signed it, or somebody whom a trusted maker certified for
//! that purpose, and when it is of its time. A revocation for good counts for as long as it is signed.

use ring::digest;
use x509_cert::der::asn1::{GeneralizedTime, ObjectIdentifier};
use x509_cert::der::{Decode, Encode};

use super::certificate::{Certificate, verifies};
use super::chain::walk_in_order;
use super::der::{self, Der, Element};
use super::signatures::Checked;
use crate::ids::sha256;

/// Longest answer in bytes; one with its signer's certificate has about 2,000.
pub const ANSWER_BYTES: usize = 16 * 1024;
/// Most certificates that one answer speaks of.
pub const SUBJECTS: usize = 64;
/// Most certificates that an answer brings with it.
pub const SIGNERS: usize = 4;
/// How far the clocks of responder and verifier may be apart, milliseconds.
pub const CLOCK_SKEW_MS: u64 = 300_000;

const BASIC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.48.1.1");
/// Extended key usage of whoever signs for the issuer (`id-kp-OCSPSigning`).
const PURPOSE: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.9");
const SHA1: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.14.3.2.26");
const SHA256: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.1");
const SHA384: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.2");
const SHA512: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.3");
/// `CRLReason` certificateHold: suspended, and may come back.
const CERTIFICATE_HOLD: u8 = 6;

/// What an answer says of a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// Not revoked.
    Good,
    /// Suspended by its issuer; it may come back.
    OnHold,
    /// Revoked for good.
    Revoked,
    /// The responder does not know it.
    Unknown,
}

/// What the answers at hand come to for one certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Revocation {
    /// No answer is about it.
    NotAsked,
    /// An answer is about it, but signed by nobody who may.
    Unsigned,
    /// An answer is about it, but too old, or from the future.
    Stale,
    /// An answer may be about it, but there are too many signatures to know.
    Unchecked,
    /// It is answered.
    Answered(Status),
}

struct Single<'a> {
    hash: &'static digest::Algorithm,
    issuer_name: &'a [u8],
    issuer_key: &'a [u8],
    serial: &'a [u8],
    status: Status,
    this_update_ms: u64,
    /// Without it nobody knows how long the answer is good.
    next_update_ms: Option<u64>,
}

/// An answer, taken apart.
pub struct Answer<'a> {
    /// Digest of all its bytes.
    digest: [u8; 32],
    signed: &'a [u8],
    algorithm: ObjectIdentifier,
    signature: &'a [u8],
    singles: Vec<Single<'a>>,
    signers: Vec<Certificate>,
}

impl<'a> Answer<'a> {
    /// Reads an `OCSPResponse` in DER; none where it is none, is a refusal, or is over a limit.
    pub fn parse(bytes: &'a [u8]) -> Option<Self> {
        if bytes.len() > ANSWER_BYTES {
            return None;
        }
        let mut response = Der::only(bytes, der::SEQUENCE)?;
        let successful = response.take(der::ENUMERATED)?.content == [0];
        let mut kind = Der::only(response.take(der::constructed(0))?.content, der::SEQUENCE)?;
        let basic = oid(kind.take(der::OBJECT_IDENTIFIER)?)? == BASIC;
        let content = kind.take(der::OCTET_STRING)?.content;
        if !successful || !basic || !kind.is_empty() || !response.is_empty() {
            return None;
        }
        let mut basic = Der::only(content, der::SEQUENCE)?;
        let data = basic.take(der::SEQUENCE)?;
        let algorithm = oid(basic.enter(der::SEQUENCE)?.take(der::OBJECT_IDENTIFIER)?)?;
        let signature = basic.take(der::BIT_STRING)?.content.strip_prefix(&[0])?;
        let mut signers = Vec::new();
        if let Some(certificates) = basic.take(der::constructed(0)) {
            let mut list = Der::only(certificates.content, der::SEQUENCE)?;
            while !list.is_empty() {
                if signers.len() == SIGNERS {
                    return None;
                }
                signers.push(Certificate::parse(list.take(der::SEQUENCE)?.whole).ok()?);
            }
        }
        let singles = singles(data.content)?;
        let (digest, signed) = (sha256(&[], bytes), data.whole);
        basic.is_empty().then_some(Self { digest, signed, algorithm, signature, singles, signers })
    }

    /// What it says of a certificate, by the verifier's clock.
    fn about(
        &self,
        certificate: &Certificate,
        issuer: &Certificate,
        anchors: &[Certificate],
        unix_ms: u64,
        checked: &mut Checked,
    ) -> Revocation {
        let Some(single) = self.singles.iter().find(|single| single.is_about(certificate, issuer)) else {
            return Revocation::NotAsked;
        };
        if !self.is_signed(issuer, anchors, unix_ms, checked) {
            return if checked.is_exhausted() { Revocation::Unchecked } else { Revocation::Unsigned };
        }
        let begun = single.this_update_ms <= unix_ms.saturating_add(CLOCK_SKEW_MS);
        let current = begun && single.next_update_ms.is_some_and(|next| unix_ms <= next);
        match single.status {
            Status::Revoked => Revocation::Answered(Status::Revoked),
            status if current => Revocation::Answered(status),
            _ => Revocation::Stale,
        }
    }

    /// By the issuer, or by somebody with the purpose who chains to a trusted maker by way of the issuer.
    fn is_signed(
        &self,
        issuer: &Certificate,
        anchors: &[Certificate],
        unix_ms: u64,
        checked: &mut Checked,
    ) -> bool {
        if self.is_signed_by(issuer, checked) {
            return true;
        }
        let makers = [anchors, std::slice::from_ref(issuer)].concat();
        self.signers.iter().any(|signer| {
            signer.purposes().is_ok_and(|purposes| purposes.contains(&PURPOSE))
                && self.is_signed_by(signer, checked)
                && walk_in_order(std::slice::from_ref(signer), &makers, unix_ms, checked).is_ok()
        })
    }

    fn is_signed_by(&self, signer: &Certificate, checked: &mut Checked) -> bool {
        checked.once([self.digest, sha256(&[], signer.spki())], || {
            verifies(signer.key(), self.algorithm, self.signed, self.signature)
        })
    }
}

/// What all answers come to for a certificate: a revocation wins, then what is current, then why nothing counts.
pub fn revocation(
    answers: &[Answer<'_>],
    certificate: &Certificate,
    issuer: &Certificate,
    anchors: &[Certificate],
    unix_ms: u64,
    checked: &mut Checked,
) -> Revocation {
    let found = answers.iter().map(|answer| answer.about(certificate, issuer, anchors, unix_ms, checked));
    found.max_by_key(|found| weight(*found)).unwrap_or(Revocation::NotAsked)
}

const fn weight(revocation: Revocation) -> u8 {
    match revocation {
        Revocation::NotAsked => 0,
        Revocation::Unsigned => 1,
        Revocation::Stale => 2,
        Revocation::Answered(Status::Unknown) => 3,
        Revocation::Answered(Status::Good) => 4,
        Revocation::Answered(Status::OnHold) => 5,
        // Whatever was not looked at may be a revocation.
        Revocation::Unchecked => 6,
        Revocation::Answered(Status::Revoked) => 7,
    }
}

impl Single<'_> {
    fn is_about(&self, certificate: &Certificate, issuer: &Certificate) -> bool {
        let hash = |bytes: &[u8]| digest::digest(self.hash, bytes);
        let serial = certificate.parsed().tbs_certificate().serial_number();
        // First, and cheap: every answer is compared with every certificate.
        if trimmed(serial.as_bytes()) != trimmed(self.serial) {
            return false;
        }
        let issuer = issuer.parsed().tbs_certificate();
        let (Ok(name), Some(key)) =
            (issuer.subject().to_der(), issuer.subject_public_key_info().subject_public_key.as_bytes())
        else {
            return false;
        };
        hash(&name).as_ref() == self.issuer_name && hash(key).as_ref() == self.issuer_key
    }
}

fn trimmed(serial: &[u8]) -> &[u8] {
    let zeros = serial.iter().take_while(|byte| **byte == 0).count();
    serial.get(zeros..).unwrap_or_default()
}

fn singles(data: &[u8]) -> Option<Vec<Single<'_>>> {
    let mut data = Der(data);
    // Version, responder's id by name or by key, time of production.
    data.take(der::constructed(0));
    data.take(der::constructed(1)).or_else(|| data.take(der::constructed(2)))?;
    data.take(der::GENERALIZED_TIME)?;
    let mut list = data.enter(der::SEQUENCE)?;
    let mut singles = Vec::new();
    while !list.is_empty() {
        if singles.len() == SUBJECTS {
            return None;
        }
        singles.push(single(list.enter(der::SEQUENCE)?)?);
    }
    Some(singles)
}

fn single(mut single: Der<'_>) -> Option<Single<'_>> {
    let mut id = single.enter(der::SEQUENCE)?;
    let hash = match oid(id.enter(der::SEQUENCE)?.take(der::OBJECT_IDENTIFIER)?)? {
        // It only names the issuer; what is signed is not hashed with it.
        SHA1 => &digest::SHA1_FOR_LEGACY_USE_ONLY,
        SHA256 => &digest::SHA256,
        SHA384 => &digest::SHA384,
        SHA512 => &digest::SHA512,
        _ => return None,
    };
    let issuer_name = id.take(der::OCTET_STRING)?.content;
    let issuer_key = id.take(der::OCTET_STRING)?.content;
    let serial = id.take(der::INTEGER)?.content;
    let status = single.next()?;
    let status = match status.tag {
        tag if tag == der::primitive(0) => Status::Good,
        tag if tag == der::constructed(1) => {
            let mut revoked = Der(status.content);
            revoked.take(der::GENERALIZED_TIME)?;
            let reason =
                revoked.take(der::constructed(0)).map(|reason| Der(reason.content).take(der::ENUMERATED));
            match reason {
                Some(reason) if reason?.content == [CERTIFICATE_HOLD] => Status::OnHold,
                _ => Status::Revoked,
            }
        }
        tag if tag == der::primitive(2) => Status::Unknown,
        _ => return None,
    };
    let this_update_ms = time(single.take(der::GENERALIZED_TIME)?)?;
    let next = single.take(der::constructed(0));
    let next_update_ms = match next {
        Some(next) => Some(time(Der(next.content).take(der::GENERALIZED_TIME)?)?),
        None => None,
    };
    Some(Single { hash, issuer_name, issuer_key, serial, status, this_update_ms, next_update_ms })
}

fn oid(element: Element<'_>) -> Option<ObjectIdentifier> {
    ObjectIdentifier::from_bytes(element.content).ok()
}

fn time(element: Element<'_>) -> Option<u64> {
    let time = GeneralizedTime::from_der(element.whole).ok()?;
    u64::try_from(time.to_unix_duration().as_millis()).ok()
}
