//! What a device signs about itself, judged: its report, its certificates, its firmware.
//!
//! A GPU has two keys. One is in the chip for good and certified by the maker (NVIDIA's "GSP BROM" certificate, the
//! second of the chain); it certifies another one for the firmware that was started, the *alias*, which signs
//! reports. So the alias changes with every firmware, and the device is known by the first.

use std::collections::BTreeMap;

use x509_cert::der::asn1::{ObjectIdentifier, PrintableStringRef, Utf8StringRef};
use x509_cert::ext::pkix::{BasicConstraints, KeyUsage};

use super::certificate::{Certificate, CertificateError};
use super::chain::{self, walk_in_order};
use super::der::{self, Der};
use super::ocsp::{self, Answer, Revocation, Status};
use super::outcome::{Outcome, Reason};
use super::signatures::Checked;
use super::spdm::{self, Exchange, SpdmError};
use crate::body::evidence::DeviceKind;
use crate::ids::sha256;

/// Extension of an alias with the firmware it is for (`tcg-dice-TcbInfo`; NVIDIA's GPUs have a composite of the
/// device's key and the firmware's id under the same number).
const FIRMWARE: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.23.133.5.4.1");
const COMMON_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.3");
const SERIAL_NUMBER: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.5");
/// How the names of NVIDIA's GPU chips begin (GA100, GH100, GB202; AD102). Its switches and network cards have
/// certificates of the same maker, and must not pass for GPUs.
const GPU_CHIPS: [&str; 2] = ["G", "AD"];
/// Longest name taken from a certificate, in bytes.
const NAME_BYTES: usize = 64;

/// What a device signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedDevice {
    /// SHA-256 over the device's own public key (`SubjectPublicKeyInfo`, DER): it survives firmware updates and moves.
    pub key: [u8; 32],
    /// Serial number that the maker's certificate gives it; empty where it has none. It is not the board's.
    pub serial: String,
    /// What the maker's certificate calls it: chip, stepping, part (`GH100 A01 GSP BROM`).
    pub model: String,
    /// Id of the firmware that the alias is for: a digest, 48 bytes from NVIDIA; empty where there is none.
    pub firmware_id: Vec<u8>,
    /// Version of the driver.
    pub driver_version: Option<String>,
    /// Version of the VBIOS, as NVML writes it.
    pub vbios_version: Option<String>,
    /// True when the issuers that were asked for say that nothing is revoked; false where nobody asked.
    pub revocation_answered: bool,
}

/// Why a device is not shown to have signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Not established, or contradicted.
    pub outcome: Outcome,
    /// Why.
    pub reason: Reason,
    /// The same for people.
    pub detail: String,
}

impl Refusal {
    fn open(reason: Reason, detail: impl Into<String>) -> Self {
        Self { outcome: Outcome::NotEstablished, reason, detail: detail.into() }
    }

    fn too_many_signatures() -> Self {
        Self::open(Reason::TooManySignatures, "the bundle has more signatures than are checked")
    }

    fn against(reason: Reason, detail: impl Into<String>) -> Self {
        Self { outcome: Outcome::Contradicted, reason, detail: detail.into() }
    }
}

/// Judges the devices of one bundle; what they share is checked once.
pub struct Judge<'a> {
    anchors: &'a [Certificate],
    answers: Vec<Answer<'a>>,
    unix_ms: u64,
    checked: Checked,
    revoked: BTreeMap<[u8; 32], Revocation>,
}

impl<'a> Judge<'a> {
    /// With the makers that are trusted, the answers about revocation (DER; what is none counts for nothing), and the
    /// verifier's clock.
    pub fn new(anchors: &'a [Certificate], answers: &[&'a [u8]], unix_ms: u64) -> Self {
        Self {
            anchors,
            answers: answers.iter().filter_map(|bytes| Answer::parse(bytes)).collect(),
            unix_ms,
            checked: Checked::default(),
            revoked: BTreeMap::new(),
        }
    }

    /// How many signatures were checked so far, at most [`super::signatures::SIGNATURES`].
    pub const fn signatures(&self) -> usize {
        self.checked.count()
    }

    /// Judges one device's report and chain; `nonce` is the one that the report must be made for.
    ///
    /// # Errors
    /// Why it is not shown that the device signed.
    pub fn device(
        &mut self,
        kind: DeviceKind,
        report: &[u8],
        chain: &[u8],
        nonce: &[u8; 32],
    ) -> Result<SignedDevice, Refusal> {
        let exchange = Exchange::parse(report).map_err(|error| match error {
            SpdmError::Version(_) => Refusal::open(Reason::FormatUnknown, error.to_string()),
            other => Refusal::open(Reason::Malformed, other.to_string()),
        })?;
        let chain = chain::parse(chain)
            .map_err(|error| Refusal::open(Reason::Malformed, format!("chain of the device: {error}")))?;
        let leaf = chain.first().ok_or_else(|| Refusal::open(Reason::NoCertificate, "the chain is empty"))?;
        if !signs(leaf) {
            return Err(Refusal::open(
                Reason::CertificatePurpose,
                "the first certificate is not for signing reports",
            ));
        }
        if !self.checked.is_reported_by(leaf, exchange.signed, exchange.signature) {
            if self.checked.is_exhausted() {
                return Err(Refusal::too_many_signatures());
            }
            let detail = "the key of the certificate did not sign the report";
            return Err(Refusal::against(Reason::SignatureMismatch, detail));
        }
        if exchange.nonce != nonce {
            let detail = "the report is for another question, session or device";
            return Err(Refusal::against(Reason::NonceMismatch, detail));
        }
        let issuers = walk_in_order(&chain, self.anchors, self.unix_ms, &mut self.checked);
        let issuers = issuers.map_err(|error| match error {
            CertificateError::Expired { .. } => Refusal::open(Reason::CertificateExpired, error.to_string()),
            CertificateError::TooManySignatures => Refusal::too_many_signatures(),
            _ => Refusal::open(Reason::ChainUntrusted, error.to_string()),
        })?;
        let issuer = issuers.first().copied().unwrap_or(leaf);
        let fields = match kind {
            DeviceKind::Component => exchange.fields().unwrap_or_default(),
            _ => exchange.fields().map_err(|error| Refusal::open(Reason::Malformed, error.to_string()))?,
        };
        let alias = firmware(leaf);
        if alias.is_none() && kind != DeviceKind::Component {
            let detail = "the first certificate does not say what firmware it is for";
            return Err(Refusal::open(Reason::FirmwareIdMismatch, detail));
        }
        let firmware = alias.clone().unwrap_or_default();
        if firmware.device.as_ref().is_some_and(|key| key != issuer.spki()) {
            let detail = "the first certificate names another device than its issuer";
            return Err(Refusal::open(Reason::CertificateKeyMismatch, detail));
        }
        let reported = spdm::field(&fields, spdm::OPAQUE_FIRMWARE_ID);
        if reported.is_some_and(|id| !firmware.ids.iter().any(|known| known == id)) {
            let detail = "report and certificate name different firmware";
            return Err(Refusal::open(Reason::FirmwareIdMismatch, detail));
        }
        // Without an alias the leaf is the device's own, and its issuer is the maker's.
        let device = if alias.is_some() { issuer } else { leaf };
        let signed = SignedDevice {
            key: sha256(&[], device.spki()),
            serial: attribute(device, SERIAL_NUMBER),
            model: attribute(device, COMMON_NAME),
            firmware_id: firmware.ids.into_iter().next().unwrap_or_default(),
            driver_version: spdm::field(&fields, spdm::OPAQUE_DRIVER_VERSION).and_then(spdm::text),
            vbios_version: spdm::field(&fields, spdm::OPAQUE_VBIOS_VERSION).and_then(spdm::vbios_version),
            revocation_answered: self.revocation(leaf, &issuers)?,
        };
        if kind == DeviceKind::Gpu && !GPU_CHIPS.iter().any(|chip| signed.model.starts_with(chip)) {
            let detail = format!("the maker's certificate is for {:?}, which is no GPU", signed.model);
            return Err(Refusal::open(Reason::OtherKindOfDevice, detail));
        }
        Ok(signed)
    }

    /// What the answers come to for all certificates below the anchor; true when there is any.
    fn revocation(&mut self, leaf: &Certificate, issuers: &[&Certificate]) -> Result<bool, Refusal> {
        let mut answered = false;
        let below = std::iter::once(leaf).chain(issuers.iter().copied());
        for (certificate, issuer) in below.zip(issuers) {
            let found = self.revoked.entry(sha256(&[], certificate.der())).or_insert_with(|| {
                let checked = &mut self.checked;
                ocsp::revocation(&self.answers, certificate, issuer, self.anchors, self.unix_ms, checked)
            });
            let subject = || certificate.subject();
            match found {
                Revocation::NotAsked => {}
                Revocation::Answered(Status::Good) => answered = true,
                Revocation::Answered(Status::Revoked) => {
                    let detail = format!("{} is revoked", subject());
                    return Err(Refusal::against(Reason::CertificateRevoked, detail));
                }
                Revocation::Answered(Status::OnHold) => {
                    let detail = format!("{} is suspended by its issuer", subject());
                    return Err(Refusal::open(Reason::CertificateOnHold, detail));
                }
                Revocation::Answered(Status::Unknown) => {
                    let detail = format!("the issuer does not know {}", subject());
                    return Err(Refusal::open(Reason::RevocationUnknown, detail));
                }
                Revocation::Unchecked => return Err(Refusal::too_many_signatures()),
                Revocation::Stale => {
                    let detail = format!("the answer about {} is not of this time", subject());
                    return Err(Refusal::open(Reason::RevocationUnknown, detail));
                }
                Revocation::Unsigned => {
                    let detail = format!("nobody who may signed the answer about {}", subject());
                    return Err(Refusal::open(Reason::RevocationUnknown, detail));
                }
            }
        }
        Ok(answered)
    }
}

/// A leaf: it issues nothing, and may sign.
fn signs(leaf: &Certificate) -> bool {
    let tbs = leaf.parsed().tbs_certificate();
    let issues = match tbs.get_extension::<BasicConstraints>() {
        Ok(found) => found.is_some_and(|(_, basic)| basic.ca),
        Err(_) => true,
    };
    let signs = match tbs.get_extension::<KeyUsage>() {
        Ok(found) => found.is_none_or(|(_, usage)| usage.digital_signature()),
        Err(_) => false,
    };
    !issues && signs
}

/// What an alias says of the firmware it is for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Firmware {
    /// The device's key (`SubjectPublicKeyInfo`), in a composite.
    device: Option<Vec<u8>>,
    /// Digests of the firmware, one at least.
    ids: Vec<Vec<u8>>,
}

fn firmware(leaf: &Certificate) -> Option<Firmware> {
    let extensions = leaf.parsed().tbs_certificate().extensions()?;
    let extension = extensions.iter().find(|extension| extension.extn_id == FIRMWARE)?;
    parse_firmware(extension.extn_value.as_bytes())
}

/// NVIDIA: `SEQUENCE { INTEGER version, SubjectPublicKeyInfo, FWID }`. TCG DICE attestation architecture, `TcbInfo`:
/// a sequence of optional fields, of which `[6]` is a list of `FWID`. `FWID ::= SEQUENCE { OID hash, OCTET STRING }`.
fn parse_firmware(bytes: &[u8]) -> Option<Firmware> {
    let mut content = Der::only(bytes, der::SEQUENCE)?;
    if content.take(der::INTEGER).is_some() {
        let device = content.take(der::SEQUENCE)?.whole.to_vec();
        let id = firmware_id(content.enter(der::SEQUENCE)?)?;
        return content.is_empty().then(|| Firmware { device: Some(device), ids: vec![id] });
    }
    let mut ids = Vec::new();
    while !content.is_empty() {
        let element = content.next()?;
        if element.tag == der::constructed(6) {
            let mut list = Der(element.content);
            while !list.is_empty() {
                ids.push(firmware_id(list.enter(der::SEQUENCE)?)?);
            }
        }
    }
    (!ids.is_empty()).then_some(Firmware { device: None, ids })
}

fn firmware_id(mut id: Der<'_>) -> Option<Vec<u8>> {
    id.take(der::OBJECT_IDENTIFIER)?;
    let digest = id.take(der::OCTET_STRING)?.content;
    (id.is_empty() && !digest.is_empty()).then(|| digest.to_vec())
}

/// An attribute of the subject; empty where there is none.
fn attribute(certificate: &Certificate, kind: ObjectIdentifier) -> String {
    for attribute in certificate.parsed().tbs_certificate().subject().iter() {
        if attribute.oid != kind {
            continue;
        }
        let text = attribute.value.decode_as::<Utf8StringRef<'_>>().map(|text| text.as_str().to_owned());
        let text = text.or_else(|_| {
            attribute.value.decode_as::<PrintableStringRef<'_>>().map(|text| text.as_str().to_owned())
        });
        return text.map(|text| text.chars().take(NAME_BYTES).collect()).unwrap_or_default();
    }
    String::new()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: [u8; 15] = [0x30, 13, 6, 3, 0x2a, 3, 4, 4, 6, 1, 2, 3, 4, 5, 6];

    fn sequence(parts: &[&[u8]]) -> Vec<u8> {
        let content = parts.concat();
        [&[0x30, u8::try_from(content.len()).expect("short")][..], &content].concat()
    }

    #[test]
    fn both_forms_of_the_firmware_extension_are_read() {
        let key = [0x30, 2, 5, 0];
        let composite = sequence(&[&[2, 1, 1], &key, &ID]);
        let ids = vec![vec![1, 2, 3, 4, 5, 6]];
        let found = parse_firmware(&composite);
        assert_eq!(found, Some(Firmware { device: Some(key.to_vec()), ids: ids.clone() }));
        let info = sequence(&[&[0x80, 1, b'v'], &[0xa6, 15], &ID, &[0x87, 1, 0]]);
        assert_eq!(parse_firmware(&info), Some(Firmware { device: None, ids }));
        for bytes in [&composite, &info] {
            for end in 0..bytes.len() {
                assert_eq!(parse_firmware(&bytes[..end]), None, "{end}");
            }
        }
        assert_eq!(parse_firmware(&sequence(&[&[0x80, 1, b'v']])), None);
    }
}
