//! Certificates made when a test needs them, so that none in the repository expires.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType, date_time_ymd,
};

use crate::Outcome;

/// A clock that is a little wrong must not matter.
const BACKDATED: Duration = Duration::from_secs(3600);

/// How long a certificate is good, from an hour ago.
pub const GOOD_FOR: Duration = Duration::from_secs(90 * 86_400);

/// Who uses a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Use {
    /// A server, known by its names.
    Server,
    /// A client.
    Client,
}

/// A certificate authority.
pub struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate with its key, both PEM.
#[derive(Debug, Clone)]
pub struct Identity {
    /// The certificate.
    pub certificate: String,
    /// Its private key, PKCS#8.
    pub key: String,
}

impl Authority {
    /// A new one of that name.
    ///
    /// # Errors
    /// Where it cannot be made.
    pub fn new(name: &str) -> Outcome<Self> {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate()?;
        let pem = params.self_signed(&key)?.pem();
        Ok(Self { pem, issuer: Issuer::new(params, key) })
    }

    /// Its own certificate as PEM.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// A certificate with these names: DNS, IP addresses, e-mail addresses, URIs.
    ///
    /// # Errors
    /// Where a name cannot stand in a certificate.
    pub fn issue(&self, for_use: Use, names: &[&str]) -> Outcome<Identity> {
        self.issue_until(for_use, names, SystemTime::now() + GOOD_FOR)
    }

    /// A certificate whose last second is given; it may have passed.
    ///
    /// # Errors
    /// Where a name cannot stand in a certificate.
    pub fn issue_until(&self, for_use: Use, names: &[&str], last: SystemTime) -> Outcome<Identity> {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, *names.first().unwrap_or(&"nobody"));
        for name in names {
            params.subject_alt_names.push(alternative_name(name)?);
        }
        params.extended_key_usages = vec![match for_use {
            Use::Server => ExtendedKeyUsagePurpose::ServerAuth,
            Use::Client => ExtendedKeyUsagePurpose::ClientAuth,
        }];
        let epoch = date_time_ymd(1970, 1, 1);
        let first = SystemTime::now().min(last) - BACKDATED;
        params.not_before = epoch + first.duration_since(UNIX_EPOCH)?;
        params.not_after = epoch + last.duration_since(UNIX_EPOCH)?;
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer)?.pem();
        Ok(Identity { certificate, key: key.serialize_pem() })
    }
}

impl Identity {
    /// Writes `NAME.pem` and `NAME.key` into a folder; their paths.
    ///
    /// # Errors
    /// Where they cannot be written.
    pub fn write(&self, folder: &Path, name: &str) -> Outcome<(PathBuf, PathBuf)> {
        let (certificate, key) = (folder.join(format!("{name}.pem")), folder.join(format!("{name}.key")));
        fs::write(&certificate, &self.certificate)?;
        fs::write(&key, &self.key)?;
        Ok((certificate, key))
    }
}

fn alternative_name(name: &str) -> Outcome<SanType> {
    Ok(if let Ok(address) = name.parse() {
        SanType::IpAddress(address)
    } else if name.contains("://") {
        SanType::URI(name.try_into()?)
    } else if name.contains('@') {
        SanType::Rfc822Name(name.try_into()?)
    } else {
        SanType::DnsName(name.try_into()?)
    })
}
