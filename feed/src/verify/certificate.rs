//! Certificates and chains of TPMs and devices.
//!
//! Their profiles differ from those of the web: leaves without a name of a host, extended key usages of their own,
//! validity without end. So the chain is walked here, with `x509-cert` for the structures and `ring` for the
//! signatures. What counts: issuer and subject, signature, validity, who may issue and how deep.

use ring::signature as rs;
use x509_cert::Certificate as Parsed;
use x509_cert::der::asn1::ObjectIdentifier;
use x509_cert::der::{Decode, Encode, Reader, SliceReader};
use x509_cert::ext::pkix::{BasicConstraints, ExtendedKeyUsage, KeyUsage};
use x509_cert::spki::SubjectPublicKeyInfoRef;

/// Longest certificate in bytes.
pub const CERTIFICATE_BYTES: usize = 8192;
/// Longest chain, leaf and root included. TPMs and GPUs have three to five.
pub const DEPTH: usize = 8;
/// Most certificates to look for issuers among, so that the walk ends soon.
pub const POOL: usize = 512;

const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
const EC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const P256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
const P384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.34");
const SHA256_RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.11");
const SHA384_RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.12");
const SHA512_RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.13");
const ECDSA_SHA256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.2");
const ECDSA_SHA384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.3");

/// Why a certificate or a chain is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CertificateError {
    /// It does not parse, is too long, or bytes follow.
    #[error("certificate does not parse")]
    Malformed,
    /// It is not valid at the time asked for.
    #[error("certificate {at} of the chain is not valid at the time")]
    Expired {
        /// Its place in the chain, 0 for the leaf.
        at: usize,
    },
    /// Nobody among those given issued it and is trusted.
    #[error("certificate {at} of the chain has no issuer that is trusted")]
    Untrusted {
        /// Its place in the chain, 0 for the leaf.
        at: usize,
    },
    /// The chain is deeper than [`DEPTH`], or more than [`POOL`] certificates are given.
    #[error("chain is too long")]
    TooLong,
    /// More signatures would have to be checked than are for one bundle.
    #[error("too many signatures to check")]
    TooManySignatures,
}

/// A public key of a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CertifiedKey {
    /// RSA.
    Rsa {
        /// Modulus, big-endian without leading zeros.
        modulus: Vec<u8>,
        /// Exponent, likewise.
        exponent: Vec<u8>,
    },
    /// NIST P-256, uncompressed point.
    P256(Vec<u8>),
    /// NIST P-384, uncompressed point.
    P384(Vec<u8>),
}

/// A certificate, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    raw: Vec<u8>,
    /// The signed part within `raw`.
    tbs: std::ops::Range<usize>,
    parsed: Parsed,
    spki: Vec<u8>,
    key: CertifiedKey,
}

impl Certificate {
    /// Reads one certificate in DER. Bytes that follow it are refused.
    ///
    /// # Errors
    /// [`CertificateError::Malformed`].
    pub fn parse(der: &[u8]) -> Result<Self, CertificateError> {
        let malformed = CertificateError::Malformed;
        if der.len() > CERTIFICATE_BYTES {
            return Err(malformed);
        }
        let parsed = Parsed::from_der(der).map_err(|_| malformed)?;
        let tbs = signed_part(der).ok_or(malformed)?;
        let spki = parsed.tbs_certificate().subject_public_key_info().to_der().map_err(|_| malformed)?;
        let key = public_key(&spki).ok_or(malformed)?;
        Ok(Self { raw: der.to_vec(), tbs, parsed, spki, key })
    }

    /// Its bytes.
    pub fn der(&self) -> &[u8] {
        &self.raw
    }

    /// What x509-cert makes of it.
    pub fn parsed(&self) -> &Parsed {
        &self.parsed
    }

    /// Its public key.
    pub fn key(&self) -> &CertifiedKey {
        &self.key
    }

    /// Its public key as it stands in it (`SubjectPublicKeyInfo`, DER).
    pub fn spki(&self) -> &[u8] {
        &self.spki
    }

    /// True at this time, both ends included.
    pub fn is_valid_at(&self, unix_ms: u64) -> bool {
        let validity = self.parsed.tbs_certificate().validity();
        let seconds = unix_ms / 1000;
        validity.not_before.to_unix_duration().as_secs() <= seconds
            && seconds <= validity.not_after.to_unix_duration().as_secs()
    }

    /// True when it may issue certificates with `below` further issuers under it.
    pub(super) fn may_issue(&self, below: usize) -> bool {
        let tbs = self.parsed.tbs_certificate();
        let Ok(Some((_, basic))) = tbs.get_extension::<BasicConstraints>() else { return false };
        let signs = match tbs.get_extension::<KeyUsage>() {
            Ok(Some((_, usage))) => usage.key_cert_sign(),
            Ok(None) => true,
            Err(_) => false,
        };
        basic.ca && signs && basic.path_len_constraint.is_none_or(|most| below <= usize::from(most))
    }

    /// The extended key usages; empty where it has none.
    ///
    /// # Errors
    /// [`CertificateError::Malformed`].
    pub fn purposes(&self) -> Result<Vec<ObjectIdentifier>, CertificateError> {
        match self.parsed.tbs_certificate().get_extension::<ExtendedKeyUsage>() {
            Ok(found) => Ok(found.map(|(_, usage)| usage.0).unwrap_or_default()),
            Err(_) => Err(CertificateError::Malformed),
        }
    }

    /// The subject for people.
    pub fn subject(&self) -> String {
        self.parsed.tbs_certificate().subject().to_string()
    }

    /// The issuer for people.
    pub fn issuer(&self) -> String {
        self.parsed.tbs_certificate().issuer().to_string()
    }

    /// True when `other` names its subject as issuer.
    pub(super) fn is_named_as_issuer_of(&self, other: &Self) -> bool {
        self.parsed.tbs_certificate().subject() == other.parsed.tbs_certificate().issuer()
    }

    /// True when the key of `issuer` signed it.
    pub fn is_signed_by(&self, issuer: &Self) -> bool {
        let algorithm = self.parsed.signature_algorithm();
        // The algorithm stands twice; the one that is signed must be the one that is used.
        if self.parsed.tbs_certificate().signature() != algorithm {
            return false;
        }
        let (Some(signature), Some(message)) =
            (self.parsed.signature().as_bytes(), self.raw.get(self.tbs.clone()))
        else {
            return false;
        };
        verifies(&issuer.key, algorithm.oid, message, signature)
    }
}

/// True when `key` made `signature` over `message` with this algorithm.
pub(super) fn verifies(
    key: &CertifiedKey,
    algorithm: ObjectIdentifier,
    message: &[u8],
    signature: &[u8],
) -> bool {
    match key {
        CertifiedKey::Rsa { modulus, exponent } => {
            let parameters: &rs::RsaParameters = match algorithm {
                SHA256_RSA => &rs::RSA_PKCS1_2048_8192_SHA256,
                SHA384_RSA => &rs::RSA_PKCS1_2048_8192_SHA384,
                SHA512_RSA => &rs::RSA_PKCS1_2048_8192_SHA512,
                _ => return false,
            };
            rs::RsaPublicKeyComponents { n: modulus, e: exponent }
                .verify(parameters, message, signature)
                .is_ok()
        }
        CertifiedKey::P256(point) => {
            let parameters: &dyn rs::VerificationAlgorithm = match algorithm {
                ECDSA_SHA256 => &rs::ECDSA_P256_SHA256_ASN1,
                ECDSA_SHA384 => &rs::ECDSA_P256_SHA384_ASN1,
                _ => return false,
            };
            rs::UnparsedPublicKey::new(parameters, point).verify(message, signature).is_ok()
        }
        CertifiedKey::P384(point) => {
            let parameters: &dyn rs::VerificationAlgorithm = match algorithm {
                ECDSA_SHA256 => &rs::ECDSA_P384_SHA256_ASN1,
                ECDSA_SHA384 => &rs::ECDSA_P384_SHA384_ASN1,
                _ => return false,
            };
            rs::UnparsedPublicKey::new(parameters, point).verify(message, signature).is_ok()
        }
    }
}

/// True when `key` made a signature of fixed length (`r` and `s`, big-endian) over `message`: P-256 with SHA-256, P-384
/// with SHA-384, and nothing else.
pub(super) fn verifies_fixed(key: &CertifiedKey, message: &[u8], signature: &[u8]) -> bool {
    let (parameters, point): (&dyn rs::VerificationAlgorithm, _) = match key {
        CertifiedKey::Rsa { .. } => return false,
        CertifiedKey::P256(point) => (&rs::ECDSA_P256_SHA256_FIXED, point),
        CertifiedKey::P384(point) => (&rs::ECDSA_P384_SHA384_FIXED, point),
    };
    rs::UnparsedPublicKey::new(parameters, point).verify(message, signature).is_ok()
}

/// Where the signed part stands: signatures are over the bytes as they came, never over what is made of them again.
fn signed_part(der: &[u8]) -> Option<std::ops::Range<usize>> {
    let mut outer = SliceReader::new(der).ok()?;
    let header = x509_cert::der::Header::decode(&mut outer).ok()?;
    let begin = usize::try_from(header.encoded_len().ok()?).ok()?;
    let tbs = outer.tlv_bytes().ok()?;
    Some(begin..begin + tbs.len())
}

fn public_key(spki: &[u8]) -> Option<CertifiedKey> {
    let spki = SubjectPublicKeyInfoRef::from_der(spki).ok()?;
    let bits = spki.subject_public_key.as_bytes()?;
    match spki.algorithm.oid {
        RSA => {
            let mut reader = SliceReader::new(bits).ok()?;
            let (modulus, exponent) = reader
                .sequence(|inner| {
                    let modulus = x509_cert::der::asn1::UintRef::decode(inner)?;
                    let exponent = x509_cert::der::asn1::UintRef::decode(inner)?;
                    Ok::<_, x509_cert::der::Error>((modulus, exponent))
                })
                .ok()?;
            reader.is_finished().then(|| CertifiedKey::Rsa {
                modulus: modulus.as_bytes().to_vec(),
                exponent: exponent.as_bytes().to_vec(),
            })
        }
        EC => match spki.algorithm.parameters_oid().ok()? {
            P256 => Some(CertifiedKey::P256(bits.to_vec())),
            P384 => Some(CertifiedKey::P384(bits.to_vec())),
            _ => None,
        },
        _ => None,
    }
}

/// Walks from a leaf to one of the `anchors`, by issuers among `pool`. The leaf itself may be an anchor's equal.
/// Gives the anchor, and the issuers on the way, the leaf's first.
///
/// # Errors
/// Where the walk ends, and why.
pub fn walk<'a>(
    leaf: &'a Certificate,
    pool: &'a [Certificate],
    anchors: &'a [Certificate],
    unix_ms: u64,
) -> Result<Vec<&'a Certificate>, CertificateError> {
    if pool.len() > POOL || anchors.len() > POOL {
        return Err(CertificateError::TooLong);
    }
    let mut issuers: Vec<&Certificate> = Vec::new();
    let mut current = leaf;
    loop {
        let at = issuers.len();
        if !current.is_valid_at(unix_ms) {
            return Err(CertificateError::Expired { at });
        }
        if at + 1 >= DEPTH {
            return Err(CertificateError::TooLong);
        }
        let issues = |candidate: &&'a Certificate| {
            candidate.is_named_as_issuer_of(current)
                && candidate.may_issue(at)
                && current.is_signed_by(candidate)
        };
        if let Some(anchor) = anchors.iter().find(issues) {
            if !anchor.is_valid_at(unix_ms) {
                return Err(CertificateError::Expired { at: at + 1 });
            }
            issuers.push(anchor);
            return Ok(issuers);
        }
        // A self-signed certificate that is no anchor leads nowhere.
        let next = pool.iter().filter(|candidate| candidate.raw != current.raw).find(issues);
        current = next.ok_or(CertificateError::Untrusted { at })?;
        issuers.push(current);
    }
}
