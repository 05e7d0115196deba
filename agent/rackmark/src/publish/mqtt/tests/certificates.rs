//! Authorities, certificates and keys, made when a test needs them.

use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};

use crate::tls::CertificateFiles;

/// An authority with a folder for what it issues.
pub(super) struct Authority {
    folder: PathBuf,
    name: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    pub(super) fn new(folder: &Path, name: &str) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        std::fs::write(folder.join(format!("{name}.pem")), params.self_signed(&key).unwrap().pem()).unwrap();
        Self { folder: folder.to_owned(), name: name.to_owned(), issuer: Issuer::new(params, key) }
    }

    /// Its own certificate.
    pub(super) fn file(&self) -> PathBuf {
        self.folder.join(format!("{}.pem", self.name))
    }

    /// A certificate for a name or an address, valid now.
    pub(super) fn issue(&self, name: &str) -> CertificateFiles {
        self.issue_until(name, 2100)
    }

    /// One that was valid.
    pub(super) fn issue_expired(&self, name: &str) -> CertificateFiles {
        self.issue_until(name, 2001)
    }

    fn issue_until(&self, name: &str, year: i32) -> CertificateFiles {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.not_before = date_time_ymd(2000, 1, 1);
        params.not_after = date_time_ymd(year, 1, 1);
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let file = |end: &str| self.folder.join(format!("{}-{name}-{year}.{end}", self.name));
        let files = CertificateFiles { cert_file: file("pem"), key_file: file("key") };
        std::fs::write(&files.cert_file, certificate.pem()).unwrap();
        std::fs::write(&files.key_file, key.serialize_pem()).unwrap();
        files
    }
}
