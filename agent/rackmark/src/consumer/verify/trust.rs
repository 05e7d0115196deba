//! Whom a verifier believes: a folder of certificates and keys.
//!
//! `tpm/roots` and `tpm/issuers` hold the certificates of TPM makers, `devices/roots` those of makers of GPUs, each as
//! `*.pem`, `*.crt`, `*.cer` or `*.der`; `verifiers` and `operators` have a public key in hexadecimal digits per line,
//! `registers` an index and a value per line. What is not there is believed of nobody.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rackmark_feed::PublicKey;
use rackmark_feed::verify::certificate::{Certificate, POOL};
use rackmark_feed::verify::report::Trust;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use thiserror::Error;

/// Largest file taken.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// A folder that cannot be used.
#[derive(Debug, Error)]
pub enum TrustError {
    /// A file or folder cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file holds no certificate.
    #[error("{} holds no certificate", .0.display())]
    NoCertificate(PathBuf),
    /// There are more certificates in a folder than are looked at.
    #[error("{} holds more than {POOL} certificates", .0.display())]
    TooMany(PathBuf),
    /// A line is not what it should be.
    #[error("{}, line {line}, is not {wanted}", path.display())]
    Line {
        /// Which file.
        path: PathBuf,
        /// Which line, from 1.
        line: usize,
        /// What it should be.
        wanted: &'static str,
    },
}

/// What the folder holds.
#[derive(Debug, Default)]
pub struct TrustStore {
    endorsement_roots: Vec<Certificate>,
    endorsement_issuers: Vec<Certificate>,
    device_roots: Vec<Certificate>,
    verifiers: Vec<PublicKey>,
    operators: Vec<PublicKey>,
    registers: Vec<(u8, Vec<u8>)>,
    simulated: bool,
}

impl TrustStore {
    /// Reads a folder. One that is not there is an empty one.
    ///
    /// # Errors
    /// [`TrustError`]: nothing is left out silently.
    pub fn read(folder: &Path) -> Result<Self, TrustError> {
        Ok(Self {
            simulated: false,
            endorsement_roots: certificates(&folder.join("tpm/roots"))?,
            endorsement_issuers: certificates(&folder.join("tpm/issuers"))?,
            device_roots: certificates(&folder.join("devices/roots"))?,
            verifiers: keys(&folder.join("verifiers"))?,
            operators: keys(&folder.join("operators"))?,
            registers: lines(
                &folder.join("registers"),
                "a register and its value in hexadecimal digits",
                |line| {
                    let (index, value) = line.split_once(char::is_whitespace)?;
                    Some((index.parse().ok()?, from_hex(value.trim())?))
                },
            )?,
        })
    }

    /// With another verifier, whose word counts.
    pub fn believe(&mut self, verifier: PublicKey) {
        self.verifiers.push(verifier);
    }

    /// With another operator, who may say which id a node had before.
    pub fn believe_operator(&mut self, operator: PublicKey) {
        self.operators.push(operator);
    }

    /// Takes simulated GPUs for what they are instead of for a forgery.
    pub fn allow_simulated(&mut self) {
        self.simulated = true;
    }

    /// As the verifier takes it.
    pub fn trust(&self) -> Trust<'_> {
        Trust {
            endorsement_anchors: &self.endorsement_roots,
            endorsement_pool: &self.endorsement_issuers,
            device_anchors: &self.device_roots,
            verifiers: &self.verifiers,
            operators: &self.operators,
            policy: &self.registers,
            simulated: self.simulated,
        }
    }
}

fn certificates(folder: &Path) -> Result<Vec<Certificate>, TrustError> {
    let wrong = |path: &Path, source| TrustError::Read { path: path.to_owned(), source };
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(wrong(folder, error)),
    };
    let mut paths: Vec<PathBuf> = Vec::new();
    for entry in entries {
        let path = entry.map_err(|error| wrong(folder, error))?.path();
        let kind = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
        if ["pem", "crt", "cer", "der"].contains(&kind) {
            paths.push(path);
        }
    }
    paths.sort_unstable();
    let mut found = Vec::new();
    for path in paths {
        let bytes = read(&path)?;
        let before = found.len();
        if bytes.starts_with(b"-----") || bytes.windows(11).any(|window| window == b"-----BEGIN ") {
            for der in CertificateDer::pem_slice_iter(&bytes).flatten() {
                found.extend(Certificate::parse(&der));
            }
        } else {
            found.extend(Certificate::parse(&bytes));
        }
        if found.len() == before {
            return Err(TrustError::NoCertificate(path));
        }
        if found.len() > POOL {
            return Err(TrustError::TooMany(folder.to_owned()));
        }
    }
    Ok(found)
}

fn read(path: &Path) -> Result<Vec<u8>, TrustError> {
    let wrong = |source| TrustError::Read { path: path.to_owned(), source };
    let size = fs::metadata(path).map_err(wrong)?.len();
    if size > FILE_BYTES_MAX {
        return Err(wrong(io::Error::new(io::ErrorKind::InvalidData, format!("it has {size} bytes"))));
    }
    fs::read(path).map_err(wrong)
}

fn keys(path: &Path) -> Result<Vec<PublicKey>, TrustError> {
    lines(path, "a public key of 64 hexadecimal digits", PublicKey::from_hex)
}

/// The lines of a file that are neither empty nor comments.
fn lines<T>(
    path: &Path,
    wanted: &'static str,
    parse: impl Fn(&str) -> Option<T>,
) -> Result<Vec<T>, TrustError> {
    if !path.exists() {
        return Ok(Vec::new());
    }
    let text = String::from_utf8_lossy(&read(path)?).into_owned();
    let kept = (1..).zip(text.lines()).map(|(line, text)| (line, text.trim()));
    kept.filter(|(_, text)| !text.is_empty() && !text.starts_with('#'))
        .map(|(line, text)| {
            parse(text).ok_or_else(|| TrustError::Line { path: path.to_owned(), line, wanted })
        })
        .collect()
}

/// Bytes from hexadecimal digits.
fn from_hex(text: &str) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(2) || !text.is_ascii() {
        return None;
    }
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_is_not_there_believes_nobody() {
        let store = TrustStore::read(Path::new("/nowhere")).expect("empty");
        assert!(store.trust().endorsement_anchors.is_empty() && store.trust().verifiers.is_empty());
    }

    #[test]
    fn every_part_is_read_and_what_is_wrong_is_named() {
        let folder = tempfile::tempdir().expect("folder");
        let path = |name: &str| folder.path().join(name);
        for part in ["tpm/roots", "tpm/issuers", "devices/roots"] {
            fs::create_dir_all(path(part)).expect("folder");
        }
        let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).expect("key");
        let certificate = rcgen::CertificateParams::default().self_signed(&key).expect("certificate");
        fs::write(path("tpm/roots/one.pem"), certificate.pem()).expect("file");
        fs::write(path("tpm/issuers/two.der"), certificate.der()).expect("file");
        fs::write(path("devices/roots/three.pem"), certificate.pem()).expect("file");
        fs::write(path("tpm/roots/README"), "no certificate").expect("file");
        fs::write(path("verifiers"), format!("# known\n\n{}\n", "ab".repeat(32))).expect("file");
        fs::write(path("operators"), format!("{}\n{}\n", "12".repeat(32), "34".repeat(32))).expect("file");
        fs::write(path("registers"), format!("7 {}\n", "cd".repeat(32))).expect("file");
        let store = TrustStore::read(folder.path()).expect("good");
        let trust = store.trust();
        assert_eq!((trust.endorsement_anchors.len(), trust.endorsement_pool.len()), (1, 1));
        assert_eq!(trust.device_anchors.len(), 1);
        assert_eq!((trust.verifiers.len(), trust.policy), (1, &[(7, vec![0xcd; 32])][..]));
        assert_eq!(trust.operators.len(), 2);
        fs::write(path("operators"), "ab\n").expect("file");
        assert!(matches!(TrustStore::read(folder.path()), Err(TrustError::Line { line: 1, .. })));
        fs::write(path("operators"), "").expect("file");
        fs::write(path("verifiers"), "ab\n").expect("file");
        assert!(matches!(TrustStore::read(folder.path()), Err(TrustError::Line { line: 1, .. })));
        fs::write(path("verifiers"), "").expect("file");
        fs::write(path("tpm/issuers/broken.pem"), "nothing").expect("file");
        assert!(matches!(TrustStore::read(folder.path()), Err(TrustError::NoCertificate(_))));
    }
}
