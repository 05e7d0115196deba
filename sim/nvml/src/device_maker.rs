//! A maker of devices with certificates and reports of the shape that NVIDIA's have: five certificates with P-384 and
//! SHA-384, a key of the device below an issuer per chip, an alias below that for each firmware, SPDM 1.1 reports.
//!
//! Bytes are made by hand with `ring` alone, so that what the verifier reads was not written by the library that reads
//! it, and so that wrong ones can be made as easily as good ones.

use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P384_SHA384_ASN1_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, KeyPair,
};

/// A result whose error is a sentence for the person who made the mistake.
type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

const EC: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1];
const P384: &[u8] = &[0x2b, 0x81, 4, 0, 0x22];
const ECDSA_SHA384: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 3];
const SHA1: &[u8] = &[0x2b, 0x0e, 3, 2, 0x1a];
const SHA384: &[u8] = &[0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, 2];
const COMMON_NAME: &[u8] = &[0x55, 4, 3];
const SERIAL_NUMBER: &[u8] = &[0x55, 4, 5];
const ORGANIZATION: &[u8] = &[0x55, 4, 10];
const BASIC_CONSTRAINTS: &[u8] = &[0x55, 0x1d, 0x13];
const KEY_USAGE: &[u8] = &[0x55, 0x1d, 0x0f];
const PURPOSES: &[u8] = &[0x55, 0x1d, 0x25];
const OCSP_SIGNING: &[u8] = &[0x2b, 6, 1, 5, 5, 7, 3, 9];
const OCSP_BASIC: &[u8] = &[0x2b, 6, 1, 5, 5, 7, 0x30, 1, 1];
const FIRMWARE: &[u8] = &[0x67, 0x81, 5, 5, 4, 1];

/// Serial number of every alias: devices do not count.
const ALIAS_SERIAL: &[u8] = &[0x45, 0x54, 0x72];

const INTEGER: u8 = 2;
const BIT_STRING: u8 = 3;
const OCTETS: u8 = 4;
const OID: u8 = 6;
const ENUMERATED: u8 = 10;
const UTF8: u8 = 12;
const PRINTABLE: u8 = 0x13;
const UTC_TIME: u8 = 0x17;
const TIME: u8 = 0x18;
const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;

/// One element of DER.
fn element(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    let bytes = length.to_be_bytes();
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    let mut out = vec![tag];
    match u8::try_from(length) {
        Ok(short @ 0..=0x7f) => out.push(short),
        _ => {
            out.push(0x80 | u8::try_from(bytes.len() - zeros).unwrap_or_default());
            out.extend_from_slice(&bytes[zeros..]);
        }
    }
    parts.iter().for_each(|part| out.extend_from_slice(part));
    out
}

fn sequence(parts: &[&[u8]]) -> Vec<u8> {
    element(SEQUENCE, parts)
}

fn oid(bytes: &[u8]) -> Vec<u8> {
    element(OID, &[bytes])
}

fn name(attributes: &[(&[u8], u8, &str)]) -> Vec<u8> {
    let attribute = |(kind, tag, text): &(&[u8], u8, &str)| {
        element(SET, &[&sequence(&[&oid(kind), &element(*tag, &[text.as_bytes()])])])
    };
    sequence(&[&attributes.iter().flat_map(attribute).collect::<Vec<u8>>()])
}

fn extension(kind: &[u8], critical: bool, value: &[u8]) -> Vec<u8> {
    let critical: &[u8] = if critical { &[1, 1, 0xff] } else { &[] };
    sequence(&[&oid(kind), critical, &element(OCTETS, &[value])])
}

/// A key that signs with P-384 and SHA-384.
pub struct Key {
    pkcs8: Vec<u8>,
    point: Vec<u8>,
}

impl Key {
    /// A new one.
    ///
    /// # Errors
    /// Where there is no randomness.
    pub fn generate() -> Outcome<Self> {
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P384_SHA384_ASN1_SIGNING, &SystemRandom::new())
            .map_err(|_| "no key")?;
        Self::kept(pkcs8.as_ref())
    }

    /// One that was kept.
    ///
    /// # Errors
    /// Where the bytes are none.
    pub fn kept(pkcs8: &[u8]) -> Outcome<Self> {
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P384_SHA384_ASN1_SIGNING, pkcs8, &SystemRandom::new())
            .map_err(|_| "no key")?;
        Ok(Self { pkcs8: pkcs8.to_vec(), point: pair.public_key().as_ref().to_vec() })
    }

    /// Itself, to be kept (PKCS #8).
    pub fn pkcs8(&self) -> &[u8] {
        &self.pkcs8
    }

    /// Its public key, `SubjectPublicKeyInfo`.
    pub fn public(&self) -> Vec<u8> {
        sequence(&[&sequence(&[&oid(EC), &oid(P384)]), &element(BIT_STRING, &[&[0], &self.point])])
    }

    fn sign(&self, message: &[u8], fixed: bool) -> Outcome<Vec<u8>> {
        let form = if fixed { &ECDSA_P384_SHA384_FIXED_SIGNING } else { &ECDSA_P384_SHA384_ASN1_SIGNING };
        let random = SystemRandom::new();
        let pair = EcdsaKeyPair::from_pkcs8(form, &self.pkcs8, &random).map_err(|_| "no key")?;
        Ok(pair.sign(&random, message).map_err(|_| "no signature")?.as_ref().to_vec())
    }
}

/// Who issues: its name and key.
pub struct Issuer {
    /// Its own certificate, DER.
    pub der: Vec<u8>,
    /// Its key.
    pub key: Key,
    name: Vec<u8>,
    serial: Vec<u8>,
}

/// What a certificate says.
struct Said<'a> {
    subject: Vec<u8>,
    serial: &'a [u8],
    public: &'a [u8],
    extensions: &'a [Vec<u8>],
}

fn certificate(said: &Said<'_>, issuer: &[u8], key: &Key) -> Outcome<Vec<u8>> {
    let algorithm = sequence(&[&oid(ECDSA_SHA384)]);
    // As NVIDIA's: without end.
    let validity =
        sequence(&[&element(UTC_TIME, &[b"201017000000Z"]), &element(TIME, &[b"99991231235959Z"])]);
    let extensions = element(0xa3, &[&sequence(&[&said.extensions.concat()])]);
    let signed = sequence(&[
        &[0xa0, 3, 2, 1, 2],
        &element(INTEGER, &[said.serial]),
        &algorithm,
        issuer,
        &validity,
        &said.subject,
        said.public,
        &extensions,
    ]);
    let signature = key.sign(&signed, false)?;
    Ok(sequence(&[&signed, &algorithm, &element(BIT_STRING, &[&[0], &signature])]))
}

fn ca() -> Vec<Vec<u8>> {
    vec![
        extension(BASIC_CONSTRAINTS, true, &sequence(&[&[1, 1, 0xff]])),
        extension(KEY_USAGE, true, &[3, 2, 1, 6]),
    ]
}

impl Issuer {
    fn new(common_name: &str, serial: u8, by: Option<&Self>, extensions: &[Vec<u8>]) -> Outcome<Self> {
        let subject = name(&[(COMMON_NAME, UTF8, common_name), (ORGANIZATION, UTF8, "rackmark tests")]);
        Self::named(subject, serial, by, extensions)
    }

    fn named(subject: Vec<u8>, serial: u8, by: Option<&Self>, extensions: &[Vec<u8>]) -> Outcome<Self> {
        let key = Key::generate()?;
        // Long and with a high first bit, as some are.
        let serial = [&[0, 0x80 | serial][..], &[serial; 14]].concat();
        let said = Said { subject: subject.clone(), serial: &serial, public: &key.public(), extensions };
        let (issuer, signer) = by.map_or((&subject, &key), |by| (&by.name, &by.key));
        let der = certificate(&said, issuer, signer)?;
        Ok(Self { der, key, name: subject, serial })
    }
}

/// A maker: root, identity of a chip, and the issuer that provisions it.
pub struct Maker {
    /// Its root, which verifiers trust.
    pub root: Issuer,
    /// Below the root.
    pub identity: Issuer,
    /// Below that: it certifies devices.
    pub provisioner: Issuer,
}

/// How a device is made.
#[derive(Debug, Clone, Copy)]
pub struct Make<'a> {
    /// Chip and part, as the device's certificate names it.
    pub model: &'a str,
    /// Serial number in the device's certificate.
    pub serial: &'a str,
    /// Digest of its firmware, for the alias; none leaves the extension out.
    pub firmware: Option<[u8; 48]>,
    /// The extension in the form of the TCG, without the device's key.
    pub tcb_info: bool,
    /// The device's key as the alias names it (`SubjectPublicKeyInfo`); none for the one that issues the alias.
    pub named: Option<&'a [u8]>,
    /// Its certificate may issue, as it must for the alias.
    pub may_issue: bool,
}

impl Default for Make<'_> {
    fn default() -> Self {
        Self {
            model: "GH100 A01 GSP BROM",
            serial: "416A5FAFCBD9FA5CA3",
            firmware: Some([0xf1; 48]),
            tcb_info: false,
            named: None,
            may_issue: true,
        }
    }
}

impl Maker {
    /// A new maker; all have the same names.
    ///
    /// # Errors
    /// Where there is no randomness.
    pub fn new() -> Outcome<Self> {
        let root = Issuer::new("Test Device Identity CA", 1, None, &ca())?;
        let identity = Issuer::new("Test GH100 Identity", 2, Some(&root), &ca())?;
        let provisioner = Issuer::new("Test GH100 Provisioner ICA 1", 3, Some(&identity), &ca())?;
        Ok(Self { root, identity, provisioner })
    }

    /// A device with its firmware started.
    ///
    /// # Errors
    /// Where there is no randomness.
    pub fn device(&self, make: &Make<'_>) -> Outcome<Device> {
        let subject = name(&[(SERIAL_NUMBER, PRINTABLE, make.serial), (COMMON_NAME, UTF8, make.model)]);
        let extensions = if make.may_issue { ca() } else { Vec::new() };
        let chip = Issuer::named(subject, 4, Some(&self.provisioner), &extensions)?;
        let above = [&self.provisioner.der, &self.identity.der, &self.root.der].map(Clone::clone);
        Device::start(chip, &above, make)
    }

    /// Somebody who answers about revocation for one of its issuers; without the purpose a mere certificate.
    ///
    /// # Errors
    /// Where there is no randomness.
    pub fn responder(&self, purpose: bool) -> Outcome<Issuer> {
        let purposes = extension(PURPOSES, false, &sequence(&[&oid(OCSP_SIGNING)]));
        let extensions: &[Vec<u8>] = if purpose { &[purposes] } else { &[] };
        Issuer::new("Test responder", 9, Some(&self.identity), extensions)
    }
}

/// A device.
pub struct Device {
    /// Its own key and certificate.
    pub chip: Issuer,
    alias: Key,
    firmware: Option<[u8; 48]>,
    /// Certificates, DER: leaf first, root last.
    pub chain: Vec<Vec<u8>>,
}

/// What a report says.
#[derive(Debug, Clone, Copy)]
pub struct Report<'a> {
    /// The nonce it was asked with.
    pub nonce: [u8; 32],
    /// Version of the driver; at most 30 bytes.
    pub driver: &'a str,
    /// The VBIOS, as NVML writes it: five bytes in hexadecimal digits with dots.
    pub vbios: &'a str,
    /// Digest of the firmware; none leaves the field out, as older drivers do.
    pub firmware: Option<[u8; 48]>,
    /// Number of measurements, 64 on Hopper.
    pub measurements: u8,
}

impl Default for Report<'_> {
    fn default() -> Self {
        Self {
            nonce: [0; 32],
            driver: "580.95.05",
            vbios: "96.00.5E.00.01",
            firmware: Some([0xf1; 48]),
            measurements: 64,
        }
    }
}

impl Device {
    fn start(chip: Issuer, above: &[Vec<u8>; 3], make: &Make<'_>) -> Outcome<Self> {
        let alias = Key::generate()?;
        let mut extensions = vec![extension(KEY_USAGE, true, &[3, 2, 7, 0x80])];
        if let Some(firmware) = make.firmware {
            let id = sequence(&[&oid(SHA384), &element(OCTETS, &[&firmware])]);
            let value = if make.tcb_info {
                sequence(&[&element(0x80, &[b"rackmark"]), &element(0xa6, &[&id])])
            } else {
                let own = chip.key.public();
                sequence(&[&[INTEGER, 1, 1], make.named.unwrap_or(&own), &id])
            };
            extensions.push(extension(FIRMWARE, false, &value));
        }
        let said = Said {
            subject: name(&[(COMMON_NAME, UTF8, "GH100 A01 GSP FMC LF")]),
            serial: ALIAS_SERIAL,
            public: &alias.public(),
            extensions: &extensions,
        };
        let leaf = certificate(&said, &chip.name, &chip.key)?;
        let chain = [vec![leaf, chip.der.clone()], above.to_vec()].concat();
        Ok(Self { chip, alias, firmware: make.firmware, chain })
    }

    /// The same device after an update of its firmware: another alias, the same key of its own.
    ///
    /// # Errors
    /// Where there is no randomness.
    pub fn updated(self, firmware: [u8; 48]) -> Outcome<Self> {
        let [_, _, a, b, c] = <[Vec<u8>; 5]>::try_from(self.chain).map_err(|_| "five certificates")?;
        Self::start(self.chip, &[a, b, c], &Make { firmware: Some(firmware), ..Make::default() })
    }

    /// Digest of its firmware.
    pub fn firmware(&self) -> Option<[u8; 48]> {
        self.firmware
    }

    /// The chain as NVML gives it.
    pub fn pem(&self) -> Vec<u8> {
        pem(&self.chain)
    }

    /// A report: one exchange of SPDM 1.1.
    ///
    /// # Errors
    /// Where there is no randomness.
    pub fn report(&self, said: &Report<'_>) -> Outcome<Vec<u8>> {
        self.report_by(&self.alias, said)
    }

    /// The same, signed by another key than its alias.
    ///
    /// # Errors
    /// Where there is no randomness.
    pub fn report_by(&self, key: &Key, said: &Report<'_>) -> Outcome<Vec<u8>> {
        said.signed_by(key)
    }

    /// The key of its alias, which signs reports.
    pub fn alias(&self) -> &Key {
        &self.alias
    }
}

impl Report<'_> {
    /// The report, signed by this key.
    ///
    /// # Errors
    /// Where there is no randomness, or the VBIOS is none.
    pub fn signed_by(&self, key: &Key) -> Outcome<Vec<u8>> {
        let said = self;
        let bytes: Result<Vec<u8>, _> =
            said.vbios.split('.').map(|byte| u8::from_str_radix(byte, 16)).collect();
        let [a, b, c, d, e] = <[u8; 5]>::try_from(bytes?).map_err(|_| "a VBIOS version has five bytes")?;
        let field = |kind: u8, value: &[u8]| {
            [&[kind, 0, u8::try_from(value.len()).unwrap_or_default(), 0][..], value].concat()
        };
        let driver = [said.driver.as_bytes(), &[0]].concat();
        let mut opaque =
            [field(6, &[d, c, b, a, e, 0, 0, 0]), field(15, b"882\0"), field(3, &driver), field(11, b"U")]
                .concat();
        if let Some(firmware) = said.firmware {
            opaque.extend(field(20, &firmware));
        }
        // Each after DMTF: a digest of 48 bytes.
        let blocks: Vec<u8> = (1..=said.measurements)
            .flat_map(|index| [&[index, 1, 51, 0, 1, 48, 0][..], &[index; 48]].concat())
            .collect();
        let length = u32::try_from(blocks.len())?.to_le_bytes();
        let mut report = [
            &[0x11, 0xe0, 1, 0xff][..],
            &said.nonce,
            &[0, 0x11, 0x60, 0, 0, said.measurements],
            &length[..3],
            &blocks,
            &[0x77; 32],
            &u16::try_from(opaque.len())?.to_le_bytes(),
            &opaque,
        ]
        .concat();
        report.extend(key.sign(&report, true)?);
        Ok(report)
    }
}

/// Certificates as PEM, one after the other.
pub fn pem(chain: &[Vec<u8>]) -> Vec<u8> {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = Vec::new();
    for der in chain {
        let mut encoded = Vec::new();
        for three in der.chunks(3) {
            let bits = three.iter().fold(0_usize, |bits, byte| bits << 8 | usize::from(*byte))
                << (8 * (3 - three.len()));
            let digit = |at: usize| if at <= three.len() { DIGITS[bits >> (18 - 6 * at) & 63] } else { b'=' };
            encoded.extend((0..4).map(digit));
        }
        text.extend_from_slice(b"-----BEGIN CERTIFICATE-----\n");
        encoded.chunks(64).for_each(|line| text.extend([line, b"\n"].concat()));
        text.extend_from_slice(b"-----END CERTIFICATE-----\n");
    }
    text
}

/// What an issuer says of a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Word {
    /// Not revoked.
    Good,
    /// Revoked, with a `CRLReason` (1: key compromise, 6: on hold).
    Revoked(u8),
    /// Not known.
    Unknown,
}

/// An answer about revocation, in DER.
pub struct Answer<'a> {
    /// About whom.
    pub of: &'a Issuer,
    /// Who issued that.
    pub issuer: &'a Issuer,
    /// Who signs the answer; its certificate is in the answer where it is not the issuer.
    pub signer: &'a Issuer,
    /// What is said.
    pub word: Word,
    /// From when and until when, `YYYYMMDDHHMMSSZ`.
    pub between: [&'a str; 2],
}

impl Answer<'_> {
    /// Its bytes.
    ///
    /// # Errors
    /// Where there is no randomness.
    pub fn der(&self) -> Outcome<Vec<u8>> {
        let single = single(self.issuer, &self.of.serial, self.word, self.between);
        let with: &[&Issuer] = if self.signer.der == self.issuer.der { &[] } else { &[self.signer] };
        response(&[single], self.between[0], self.signer, with)
    }
}

/// An answer about the aliases of many devices, by whoever signs, with whatever certificates he likes.
///
/// # Errors
/// Where there is no randomness.
pub fn answer_about_aliases(
    devices: &[&Device],
    word: Word,
    between: [&str; 2],
    signer: &Issuer,
    with: &[&Issuer],
) -> Outcome<Vec<u8>> {
    let about = |device: &&Device| single(&device.chip, ALIAS_SERIAL, word, between);
    response(&devices.iter().map(about).collect::<Vec<_>>(), between[0], signer, with)
}

fn sha1(bytes: &[u8]) -> Vec<u8> {
    element(OCTETS, &[digest(&SHA1_FOR_LEGACY_USE_ONLY, bytes).as_ref()])
}

/// What is said of one certificate.
fn single(issuer: &Issuer, serial: &[u8], word: Word, between: [&str; 2]) -> Vec<u8> {
    let id = sequence(&[
        &sequence(&[&oid(SHA1), &[5, 0]]),
        &sha1(&issuer.name),
        &sha1(&issuer.key.point),
        &element(INTEGER, &[serial]),
    ]);
    let [from, until] = between.map(|time| element(TIME, &[time.as_bytes()]));
    let word = match word {
        Word::Good => vec![0x80, 0],
        Word::Unknown => vec![0x82, 0],
        Word::Revoked(reason) => element(0xa1, &[&from, &element(0xa0, &[&[ENUMERATED, 1, reason]])]),
    };
    sequence(&[&id, &word, &from, &element(0xa0, &[&until])])
}

fn response(singles: &[Vec<u8>], produced: &str, signer: &Issuer, with: &[&Issuer]) -> Outcome<Vec<u8>> {
    let by = element(0xa2, &[&sha1(&signer.key.point)]);
    let data = sequence(&[&by, &element(TIME, &[produced.as_bytes()]), &sequence(&[&singles.concat()])]);
    let signature = signer.key.sign(&data, false)?;
    let mut basic = vec![data, sequence(&[&oid(ECDSA_SHA384)]), element(BIT_STRING, &[&[0], &signature])];
    if !with.is_empty() {
        let certificates: Vec<u8> = with.iter().flat_map(|issuer| issuer.der.clone()).collect();
        basic.push(element(0xa0, &[&sequence(&[&certificates])]));
    }
    let basic = element(OCTETS, &[&sequence(&[&basic.concat()])]);
    let bytes = sequence(&[&oid(OCSP_BASIC), &basic]);
    Ok(sequence(&[&[ENUMERATED, 1, 0], &element(0xa0, &[&bytes])]))
}
