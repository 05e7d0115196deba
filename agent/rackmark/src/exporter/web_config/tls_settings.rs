//! `tls_server_config`: names of Go's `crypto/tls` to what rustls can do.

use std::path::{Path, PathBuf};

use rustls::crypto::{CryptoProvider, SupportedKxGroup};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::version::{TLS12, TLS13};
use rustls::{CipherSuite, NamedGroup, RootCertStore, SupportedProtocolVersion};

use super::reader::{Fields, SECRET};
use super::yaml::Node;
use crate::config::Mistake;
use crate::tls::{self, TlsFileError};

/// Keys of the table.
const KEYS: &[&str] = &[
    "cert",
    "key",
    "client_ca",
    "cert_file",
    "key_file",
    "client_auth_type",
    "client_ca_file",
    "client_allowed_sans",
    "min_version",
    "max_version",
    "cipher_suites",
    "prefer_server_cipher_suites",
    "curve_preferences",
];

/// Where PEM comes from. Not to be shown: it may be a private key.
pub enum Pem {
    /// A file, its path already relative to nothing.
    File(PathBuf),
    /// The web configuration itself, at this key.
    Inline {
        /// The key.
        key: &'static str,
        /// What stands there.
        pem: String,
    },
}

impl Pem {
    /// All certificates.
    ///
    /// # Errors
    /// [`TlsFileError`]; what stands in the web configuration has its path and key as a name.
    pub fn certificates(&self, web_config: &Path) -> Result<Vec<CertificateDer<'static>>, TlsFileError> {
        match self {
            Self::File(path) => tls::certificates(path),
            Self::Inline { key, pem } => tls::certificates_in(pem.as_bytes(), &inside(web_config, key)),
        }
    }

    /// The private key.
    ///
    /// # Errors
    /// As of [`Self::certificates`].
    pub fn private_key(&self, web_config: &Path) -> Result<PrivateKeyDer<'static>, TlsFileError> {
        match self {
            Self::File(path) => tls::private_key(path),
            Self::Inline { key, pem } => tls::private_key_in(pem.as_bytes(), &inside(web_config, key)),
        }
    }

    /// The certificates as roots of trust.
    ///
    /// # Errors
    /// As of [`Self::certificates`].
    pub fn roots(&self, web_config: &Path) -> Result<RootCertStore, TlsFileError> {
        match self {
            Self::File(path) => tls::roots(path),
            Self::Inline { key, pem } => tls::roots_in(pem.as_bytes(), &inside(web_config, key)),
        }
    }

    /// Its key in the file, where `file_key` names a file, and its value as far as it may be shown.
    pub fn told(&self, file_key: &'static str) -> (String, String) {
        match self {
            Self::File(path) => (format!("tls_server_config.{file_key}"), path.display().to_string()),
            Self::Inline { key, .. } => (format!("tls_server_config.{key}"), SECRET.to_owned()),
        }
    }
}

fn inside(web_config: &Path, key: &str) -> PathBuf {
    PathBuf::from(format!("{} ({key})", web_config.display()))
}

/// What is asked of a client, by the names of Go's `tls.ClientAuthType`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientAuth {
    /// No certificate is asked for.
    NoClientCert,
    /// One is asked for; none or any is accepted.
    RequestClientCert,
    /// One is needed; any is accepted.
    RequireAnyClientCert,
    /// One is asked for; if it comes, it must be of the CA.
    VerifyClientCertIfGiven,
    /// One of the CA is needed.
    RequireAndVerifyClientCert,
}

impl ClientAuth {
    const NAMES: &str = "one of NoClientCert, RequestClientCert, RequireAnyClientCert, \
                         VerifyClientCertIfGiven, RequireAndVerifyClientCert";

    fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "NoClientCert" => Self::NoClientCert,
            "RequestClientCert" => Self::RequestClientCert,
            // The second name is an old one of the same.
            "RequireAnyClientCert" | "RequireClientCert" => Self::RequireAnyClientCert,
            "VerifyClientCertIfGiven" => Self::VerifyClientCertIfGiven,
            "RequireAndVerifyClientCert" => Self::RequireAndVerifyClientCert,
            _ => return None,
        })
    }

    /// A client without a certificate is refused.
    pub fn mandatory(self) -> bool {
        matches!(self, Self::RequireAnyClientCert | Self::RequireAndVerifyClientCert)
    }

    /// A certificate must be of the CA.
    pub fn verifies(self) -> bool {
        matches!(self, Self::VerifyClientCertIfGiven | Self::RequireAndVerifyClientCert)
    }
}

/// What the table says, before any certificate is read.
pub struct TlsSettings {
    /// Certificate chain that is shown.
    pub certificate: Pem,
    /// Its key.
    pub key: Pem,
    /// What is asked of clients.
    pub client_auth: ClientAuth,
    /// Who may have issued their certificates.
    pub client_ca: Option<Pem>,
    /// Names of which a client's certificate must have one; no limit where empty.
    pub allowed_sans: Vec<String>,
    /// Protocol versions.
    pub versions: Vec<&'static SupportedProtocolVersion>,
    /// Cipher suites and curves, in order of preference.
    pub provider: CryptoProvider,
    /// The order of the suites is ours, not the client's.
    pub prefer_server_order: bool,
}

impl TlsSettings {
    /// Files that it names.
    pub fn files(&self) -> impl Iterator<Item = PathBuf> {
        [Some(&self.certificate), Some(&self.key), self.client_ca.as_ref()].into_iter().flatten().filter_map(
            |pem| match pem {
                Pem::File(path) => Some(path.clone()),
                Pem::Inline { .. } => None,
            },
        )
    }
}

/// Reads the table. Paths are relative to `folder`.
pub fn read(node: Node, folder: &Path, mistakes: &mut Vec<Mistake>) -> Option<TlsSettings> {
    let mut fields = Fields::new("tls_server_config", KEYS, node);
    let certificate = pem(&mut fields, folder, "cert_file", "cert", "PEM file of the certificate chain");
    let key = pem(&mut fields, folder, "key_file", "key", "PEM file of the private key");
    let client_ca = pem(&mut fields, folder, "client_ca_file", "client_ca", "PEM file of the clients' CA");
    let client_auth = client_auth(&mut fields);
    let allowed_sans = allowed_sans(&mut fields, client_auth);
    match (client_auth, client_ca.is_some()) {
        (Some(policy), false) if policy.verifies() => fields.wrong(
            "client_auth_type",
            &format!("{policy:?}"),
            "needs a CA to check certificates against",
            "add client_ca_file; the system's own roots are never used",
        ),
        (Some(ClientAuth::NoClientCert), true) => fields.wrong(
            "client_auth_type",
            "NoClientCert",
            "leaves the client CA without use",
            "set client_auth_type: RequireAndVerifyClientCert, or remove the CA",
        ),
        _ => {}
    }
    let versions = versions(&mut fields);
    let mut provider = CryptoProvider::clone(&tls::provider());
    cipher_suites(&mut fields, &mut provider);
    curves(&mut fields, &mut provider);
    let prefer_server_order = fields.flag("prefer_server_cipher_suites", true);
    mistakes.extend(fields.finish());
    let without_ca = client_auth.is_some_and(ClientAuth::verifies) && client_ca.is_none();
    if without_ca || versions.is_empty() {
        return None;
    }
    Some(TlsSettings {
        certificate: certificate?,
        key: key?,
        client_auth: client_auth?,
        client_ca,
        allowed_sans,
        versions,
        provider,
        prefer_server_order,
    })
}

/// A file or its content. The certificate and its key must be there.
fn pem(
    fields: &mut Fields,
    folder: &Path,
    file_key: &'static str,
    inline_key: &'static str,
    hint: &'static str,
) -> Option<Pem> {
    let file = fields.text(file_key, hint);
    let inline = fields.text(inline_key, "the PEM text itself");
    match (file, inline) {
        (Some(file), None) => Some(Pem::File(folder.join(file))),
        (None, Some(pem)) => Some(Pem::Inline { key: inline_key, pem }),
        (Some(file), Some(_)) => {
            fields.wrong(file_key, &file, format!("stands beside `{inline_key}`"), "keep one of the two");
            None
        }
        (None, None) => {
            // A key that was wrong in another way has been told already.
            let told = |name: &str| {
                fields.mistakes.iter().any(|mistake| mistake.key == format!("tls_server_config.{name}"))
            };
            if file_key != "client_ca_file" && !told(file_key) && !told(inline_key) {
                fields.wrong(file_key, "", "is missing", hint);
            }
            None
        }
    }
}

fn client_auth(fields: &mut Fields) -> Option<ClientAuth> {
    let Some(text) = fields.text("client_auth_type", ClientAuth::NAMES) else {
        return Some(ClientAuth::NoClientCert);
    };
    let parsed = ClientAuth::parse(&text);
    if parsed.is_none() {
        fields.wrong("client_auth_type", &text, "is not known", ClientAuth::NAMES);
    }
    parsed
}

fn allowed_sans(fields: &mut Fields, client_auth: Option<ClientAuth>) -> Vec<String> {
    const HINT: &str = "DNS names, IP addresses, e-mail addresses or URIs as they stand in the certificate";
    let Some(sans) = fields.texts("client_allowed_sans", HINT) else { return Vec::new() };
    let value = sans.join(", ");
    if sans.is_empty() {
        fields.wrong("client_allowed_sans", "[]", "allows nobody", HINT);
    }
    if client_auth.is_some_and(|policy| !policy.mandatory()) {
        fields.wrong(
            "client_allowed_sans",
            &value,
            "needs clients that must show a certificate",
            "set client_auth_type: RequireAndVerifyClientCert",
        );
    }
    sans
}

fn versions(fields: &mut Fields) -> Vec<&'static SupportedProtocolVersion> {
    let mut read = |name, default| {
        let Some(text) = fields.text(name, "TLS12 or TLS13") else { return default };
        match text.as_str() {
            "TLS12" => 12,
            "TLS13" => 13,
            "TLS10" | "TLS11" => {
                fields.wrong(name, &text, "is not supported: it is broken", "TLS12 or TLS13");
                default
            }
            _ => {
                fields.wrong(name, &text, "is not a TLS version", "TLS12 or TLS13");
                default
            }
        }
    };
    let (least, most) = (read("min_version", 12), read("max_version", 13));
    if least > most {
        fields.wrong("min_version", &format!("TLS{least}"), "is above max_version", "TLS12 or TLS13");
    }
    let all: [(i32, &SupportedProtocolVersion); 2] = [(13, &TLS13), (12, &TLS12)];
    all.into_iter()
        .filter(|(version, _)| (least..=most).contains(version))
        .map(|(_, version)| version)
        .collect()
}

/// Names of Go for what rustls has.
const SUITES: &[(&str, CipherSuite)] = &[
    ("TLS_AES_128_GCM_SHA256", CipherSuite::TLS13_AES_128_GCM_SHA256),
    ("TLS_AES_256_GCM_SHA384", CipherSuite::TLS13_AES_256_GCM_SHA384),
    ("TLS_CHACHA20_POLY1305_SHA256", CipherSuite::TLS13_CHACHA20_POLY1305_SHA256),
    ("TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256", CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256),
    ("TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384", CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384),
    (
        "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
        CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
    ),
    ("TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256),
    ("TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384", CipherSuite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384),
    ("TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256", CipherSuite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256),
];

/// The list orders and limits the suites of TLS 1.2. As in Go, those of TLS 1.3
/// cannot be chosen: all of them stay.
fn cipher_suites(fields: &mut Fields, provider: &mut CryptoProvider) {
    let hint = || SUITES.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
    let Some(names) = fields.texts("cipher_suites", "a list of suites") else { return };
    if names.is_empty() {
        return;
    }
    let mut chosen: Vec<_> =
        provider.cipher_suites.iter().copied().filter(|suite| suite.tls13().is_some()).collect();
    for name in names {
        let suite = SUITES.iter().find(|(known, _)| *known == name).map(|(_, suite)| *suite);
        let supported = provider.cipher_suites.iter().find(|supported| Some(supported.suite()) == suite);
        match supported {
            Some(suite) if chosen.contains(suite) => {}
            Some(suite) => chosen.push(*suite),
            None => fields.wrong("cipher_suites", &name, "is not supported", format!("any of {}", hint())),
        }
    }
    provider.cipher_suites = chosen;
}

fn curves(fields: &mut Fields, provider: &mut CryptoProvider) {
    const HINT: &str = "any of X25519, CurveP256, CurveP384";
    let Some(names) = fields.texts("curve_preferences", HINT) else { return };
    if names.is_empty() {
        return;
    }
    let mut chosen: Vec<&'static dyn SupportedKxGroup> = Vec::new();
    for name in names {
        let group = match name.as_str() {
            "X25519" => Some(NamedGroup::X25519),
            "CurveP256" => Some(NamedGroup::secp256r1),
            "CurveP384" => Some(NamedGroup::secp384r1),
            _ => None,
        };
        match provider.kx_groups.iter().find(|known| Some(known.name()) == group) {
            Some(group) => chosen.push(*group),
            None => fields.wrong("curve_preferences", &name, "is not supported", HINT),
        }
    }
    provider.kx_groups = chosen;
}
