//! PEM files.

use std::io;
use std::path::{Path, PathBuf};

use rustls::RootCertStore;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use thiserror::Error;
use x509_cert::Certificate;
use x509_cert::der::{Decode, Encode};

/// Largest PEM file that is read: a bundle of all public roots has about 230 KB.
const PEM_BYTES_MAX: u64 = 4 << 20;

/// A file with certificates or a key cannot be used.
#[derive(Debug, Error)]
pub enum TlsFileError {
    /// It cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It is not PEM.
    #[error("{} is not PEM", path.display())]
    Pem {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: pem::Error,
    },
    /// It is PEM and holds nothing of the kind.
    #[error("{} holds no {what}", path.display())]
    Empty {
        /// Which.
        path: PathBuf,
        /// What was looked for.
        what: &'static str,
    },
    /// A certificate in it does not parse.
    #[error("a certificate in {} does not parse", path.display())]
    Certificate {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// When a certificate is valid, in seconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Validity {
    /// First second.
    pub not_before_unix_s: u64,
    /// Last second.
    pub not_after_unix_s: u64,
}

fn read(path: &Path) -> Result<Vec<u8>, TlsFileError> {
    let failed = |source| TlsFileError::Read { path: path.to_owned(), source };
    let size = std::fs::metadata(path).map_err(failed)?.len();
    if size > PEM_BYTES_MAX {
        return Err(failed(io::Error::new(io::ErrorKind::FileTooLarge, "file is larger than 4 MiB")));
    }
    std::fs::read(path).map_err(failed)
}

/// All certificates of a PEM file, in its order, at least one.
///
/// # Errors
/// [`TlsFileError`].
pub fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsFileError> {
    certificates_in(&read(path)?, path)
}

/// All certificates of a PEM text, in its order, at least one. `path` is what errors name.
///
/// # Errors
/// [`TlsFileError`].
pub fn certificates_in(pem: &[u8], path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsFileError> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let found = found.map_err(|source| TlsFileError::Pem { path: path.to_owned(), source })?;
    if found.is_empty() {
        return Err(TlsFileError::Empty { path: path.to_owned(), what: "certificate" });
    }
    Ok(found)
}

/// The first private key of a PEM file (PKCS#8, SEC1 or PKCS#1).
///
/// # Errors
/// [`TlsFileError`].
pub fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsFileError> {
    private_key_in(&read(path)?, path)
}

/// The first private key of a PEM text (PKCS#8, SEC1 or PKCS#1). `path` is what errors name.
///
/// # Errors
/// [`TlsFileError`].
pub fn private_key_in(pem: &[u8], path: &Path) -> Result<PrivateKeyDer<'static>, TlsFileError> {
    PrivateKeyDer::from_pem_slice(pem).map_err(|error| match error {
        pem::Error::NoItemsFound => TlsFileError::Empty { path: path.to_owned(), what: "private key" },
        source => TlsFileError::Pem { path: path.to_owned(), source },
    })
}

/// The certificates of a PEM file as the roots of trust.
///
/// # Errors
/// [`TlsFileError`].
pub fn roots(path: &Path) -> Result<RootCertStore, TlsFileError> {
    roots_in(&read(path)?, path)
}

/// The certificates of a PEM text as the roots of trust. `path` is what errors name.
///
/// # Errors
/// [`TlsFileError`].
pub fn roots_in(pem: &[u8], path: &Path) -> Result<RootCertStore, TlsFileError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates_in(pem, path)? {
        roots.add(certificate).map_err(|source| TlsFileError::Certificate {
            path: path.to_owned(),
            source: Box::new(source),
        })?;
    }
    Ok(roots)
}

/// The certificate that is shown to the broker, as its file is now; none where none is, or where it cannot be read, which
/// a connection says better.
pub fn shown(settings: &super::TlsSettings) -> Option<CertificateDer<'static>> {
    certificates(&settings.certificate.as_ref()?.cert_file).ok()?.into_iter().next()
}

/// SHA-256 over the public key (DER) of a certificate; none where it is none.
pub fn key_digest(certificate: &CertificateDer<'_>) -> Option<[u8; 32]> {
    let parsed = Certificate::from_der(certificate).ok()?;
    let key = parsed.tbs_certificate().subject_public_key_info().to_der().ok()?;
    let mut out = [0; 32];
    out.copy_from_slice(ring::digest::digest(&ring::digest::SHA256, &key).as_ref());
    Some(out)
}

/// When the first certificate of a PEM file, the one that is shown to the peer, is valid.
///
/// # Errors
/// [`TlsFileError`].
pub fn validity(path: &Path) -> Result<Validity, TlsFileError> {
    validity_of(&certificates(path)?[0], path)
}

/// When a certificate is valid. `path` is what errors name.
///
/// # Errors
/// [`TlsFileError::Certificate`].
pub fn validity_of(certificate: &CertificateDer<'_>, path: &Path) -> Result<Validity, TlsFileError> {
    let parsed = Certificate::from_der(certificate)
        .map_err(|source| TlsFileError::Certificate { path: path.to_owned(), source: Box::new(source) })?;
    let validity = parsed.tbs_certificate().validity();
    Ok(Validity {
        not_before_unix_s: validity.not_before.to_unix_duration().as_secs(),
        not_after_unix_s: validity.not_after.to_unix_duration().as_secs(),
    })
}
