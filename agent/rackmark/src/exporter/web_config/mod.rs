//! Prometheus' web configuration file: TLS, client certificates, passwords,
//! headers and the limit of requests, in the format that all exporters share.

mod live;
mod reader;
#[cfg(test)]
mod tests;
mod tls_settings;
mod yaml;

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use hyper::header::{HeaderName, HeaderValue};
use rustls::pki_types::CertificateDer;
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{RootCertStore, ServerConfig};
use thiserror::Error;

use self::reader::{Fields, SECRET};
use self::tls_settings::{ClientAuth, TlsSettings};
use self::yaml::{Node, YamlError};
use super::auth::{PasswordHash, Users};
use super::client_certificates::ClientPolicy;
use crate::config::Mistake;
use crate::exit::chain;
use crate::tls::{self, FileWatch};

pub use live::{InForce, Live};

/// Largest file that is read: a hundred thousand times what it needs is no configuration.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Response headers that may be set.
const HEADERS: &[&str] = &[
    "Content-Security-Policy",
    "X-Frame-Options",
    "X-Content-Type-Options",
    "X-XSS-Protection",
    "Strict-Transport-Security",
];

/// The values a header may have; any where none are listed.
fn header_values(name: &str) -> &'static [&'static str] {
    match name {
        "X-Frame-Options" => &["deny", "sameorigin"],
        "X-Content-Type-Options" => &["nosniff"],
        _ => &[],
    }
}

/// A web configuration that cannot be used.
#[derive(Debug, Error)]
pub enum WebConfigError {
    /// The file could not be read.
    #[error("cannot read web configuration {}", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The file is not YAML.
    #[error("web configuration {} is not valid YAML", path.display())]
    Syntax {
        /// Which file.
        path: PathBuf,
        /// Where and why.
        #[source]
        source: YamlError,
    },
    /// The file says things that make no sense.
    #[error("web configuration {} has {} {}:\n{}", path.display(), mistakes.len(), if mistakes.len() == 1 { "mistake" } else { "mistakes" }, list(mistakes))]
    Mistakes {
        /// Which file.
        path: PathBuf,
        /// All of them.
        mistakes: Vec<Mistake>,
    },
}

fn list(mistakes: &[Mistake]) -> String {
    mistakes.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

/// TLS as it is served.
#[derive(Debug)]
pub struct ServerTls {
    /// For rustls.
    pub config: Arc<ServerConfig>,
    /// The certificate that clients see.
    pub certificate: CertificateDer<'static>,
    /// Its last second, since 1970.
    pub not_after_unix_s: u64,
    /// A client without a certificate is refused.
    pub needs_client_certificate: bool,
}

/// How many requests are answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateLimit {
    /// One more request is allowed after this time.
    pub interval: Duration,
    /// So many are allowed at once.
    pub burst: u32,
}

/// A checked web configuration.
#[derive(Debug, Default)]
pub struct WebConfig {
    /// TLS; plain HTTP without it.
    pub tls: Option<ServerTls>,
    /// Users; nobody is asked for a password without them.
    pub users: Option<Arc<Users>>,
    /// Headers of every response.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// Limit of requests.
    pub rate_limit: Option<RateLimit>,
}

/// The files of one attempt to read a web configuration.
#[derive(Debug)]
pub struct Watches(Vec<FileWatch>);

impl Watches {
    /// Whether one of them differs from when this was asked last.
    pub fn changed(&mut self) -> bool {
        self.0.iter_mut().fold(false, |any, watch| watch.changed() | any)
    }
}

/// Reads a web configuration with all its files.
///
/// # Errors
/// [`WebConfigError`].
pub fn load(path: &Path) -> (Result<WebConfig, WebConfigError>, Watches) {
    // Every file is watched from before it is read: a change in between is seen later.
    let mut watches = vec![FileWatch::new([path.to_owned()])];
    let outcome = read(path, &mut watches);
    (outcome, Watches(watches))
}

fn read(path: &Path, watches: &mut Vec<FileWatch>) -> Result<WebConfig, WebConfigError> {
    let text = read_text(path).map_err(|source| WebConfigError::Read { path: path.to_owned(), source })?;
    let root =
        yaml::parse(&text).map_err(|source| WebConfigError::Syntax { path: path.to_owned(), source })?;
    let mut fields =
        Fields::new("", &["tls_server_config", "http_server_config", "basic_auth_users", "rate_limit"], root);
    let folder = path.parent().unwrap_or(Path::new(""));
    let mut mistakes = Vec::new();
    let tls = fields.take("tls_server_config").filter(|node| *node != Node::Table(Vec::new()));
    let settings = tls.and_then(|node| tls_settings::read(node, folder, &mut mistakes));
    let headers = http_server(fields.take("http_server_config").unwrap_or(Node::Nothing), &mut mistakes);
    let users = users(fields.take("basic_auth_users").unwrap_or(Node::Nothing), &mut mistakes);
    let rate_limit = rate_limit(fields.take("rate_limit").unwrap_or(Node::Nothing), &mut mistakes);
    mistakes.extend(fields.finish());
    let tls = settings.and_then(|settings| {
        watches.push(FileWatch::new(settings.files()));
        serve_tls(&settings, path, &mut mistakes)
    });
    if mistakes.is_empty() {
        return Ok(WebConfig { tls, users: Users::new(users).map(Arc::new), headers, rate_limit });
    }
    Err(WebConfigError::Mistakes { path: path.to_owned(), mistakes })
}

fn read_text(path: &Path) -> std::io::Result<String> {
    let mut text = String::new();
    let read = fs::File::open(path)?.take(FILE_BYTES_MAX + 1).read_to_string(&mut text)?;
    if read as u64 > FILE_BYTES_MAX {
        return Err(std::io::Error::new(std::io::ErrorKind::FileTooLarge, "file is larger than 1 MiB"));
    }
    Ok(text)
}

/// `http_server_config`: the headers. `http2` is taken and means nothing: HTTP/1.1 is spoken.
fn http_server(node: Node, mistakes: &mut Vec<Mistake>) -> Vec<(HeaderName, HeaderValue)> {
    let mut fields = Fields::new("http_server_config", &["http2", "headers"], node);
    fields.flag("http2", true);
    let table = fields.take("headers").unwrap_or(Node::Nothing);
    mistakes.extend(fields.finish());
    let mut fields = Fields::new("http_server_config.headers", HEADERS, table);
    let mut headers = Vec::new();
    for name in HEADERS {
        let values = header_values(name);
        let hint = if values.is_empty() { "a text".to_owned() } else { values.join(" or ") };
        let Some(text) = fields.text(name, &hint) else { continue };
        if !values.is_empty() && !values.contains(&text.as_str()) {
            fields.wrong(name, &text, "is not a value of this header", hint);
            continue;
        }
        match (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_str(&text)) {
            (Ok(name), Ok(value)) => headers.push((name, value)),
            _ => fields.wrong(name, &text, "cannot stand in a header", "visible ASCII characters"),
        }
    }
    mistakes.extend(fields.finish());
    headers
}

/// `basic_auth_users`: hashes by name.
fn users(node: Node, mistakes: &mut Vec<Mistake>) -> BTreeMap<String, PasswordHash> {
    const HINT: &str = "make one with: htpasswd -nBC 10 NAME";
    let mut users = BTreeMap::new();
    let entries = match node {
        Node::Table(entries) => entries,
        other => {
            mistakes.extend(Fields::new("basic_auth_users", &["NAME"], other).finish());
            return users;
        }
    };
    for (name, node) in entries {
        let mut wrong = |problem: String, hint: &str| {
            mistakes.push(Mistake {
                key: format!("basic_auth_users.{name}"),
                value: SECRET.to_owned(),
                problem,
                hint: hint.to_owned(),
            });
        };
        if name.contains(':') {
            wrong("has a colon in its name, which no client can send".to_owned(), "choose another name");
        }
        match node {
            Node::Text(hash) => match PasswordHash::parse(&hash) {
                Ok(hash) => {
                    users.insert(name, hash);
                }
                Err(problem) => wrong(problem, HINT),
            },
            other => wrong(format!("is {}, not a bcrypt hash", other.kind()), HINT),
        }
    }
    users
}

/// `rate_limit`: none where the interval is missing or zero.
fn rate_limit(node: Node, mistakes: &mut Vec<Mistake>) -> Option<RateLimit> {
    const INTERVAL: &str = "a time such as 1s, 500ms or 1m30s; 0 for no limit";
    let mut fields = Fields::new("rate_limit", &["interval", "burst"], node);
    let typed = fields.text("interval", INTERVAL);
    let interval = typed.as_deref().map(go_duration);
    if let (Some(None), Some(text)) = (interval, &typed) {
        fields.wrong("interval", text, "is not a time", INTERVAL);
    }
    let interval = interval.flatten().filter(|interval| !interval.is_zero());
    let burst = fields.text("burst", "a whole number from 1");
    let parsed = burst.as_deref().map_or(Some(0), |text| text.parse().ok());
    match parsed {
        None => fields.wrong(
            "burst",
            burst.as_deref().unwrap_or(""),
            "is not a whole number",
            "a whole number from 1",
        ),
        Some(0) if interval.is_some() => fields.wrong(
            "burst",
            burst.as_deref().unwrap_or(""),
            "allows no request at all",
            "a whole number from 1, or interval: 0",
        ),
        Some(_) => {}
    }
    mistakes.extend(fields.finish());
    Some(RateLimit { interval: interval?, burst: parsed? })
}

/// A duration as Go writes it: numbers with units, one after the other. At most a day.
fn go_duration(text: &str) -> Option<Duration> {
    if text == "0" {
        return Some(Duration::ZERO);
    }
    let mut seconds = 0.0;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let value: f64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let end = rest.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(rest.len());
        let unit = match &rest[..end] {
            "ns" => 1e-9,
            "us" | "µs" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return None,
        };
        seconds += value * unit;
        rest = &rest[end..];
    }
    (!text.is_empty() && seconds <= 86_400.0).then(|| Duration::from_secs_f64(seconds))
}

/// Certificates, key and CA from their files to what rustls serves.
fn serve_tls(settings: &TlsSettings, path: &Path, mistakes: &mut Vec<Mistake>) -> Option<ServerTls> {
    let mut wrong = |(key, value): (String, String), problem: String, hint: &str| {
        mistakes.push(Mistake { key, value, problem, hint: hint.to_owned() });
    };
    const CHAIN: &str = "the chain as PEM, own certificate first";
    const KEY: &str = "its private key as PEM, readable for the agent's user";
    const CA: &str = "the CA of the clients as PEM";
    let certificates = settings.certificate.certificates(path).and_then(|certificates| {
        let validity = tls::validity_of(&certificates[0], path)?;
        Ok((certificates, validity))
    });
    let certificates = certificates
        .map_err(|error| wrong(settings.certificate.told("cert_file"), chain(&error), CHAIN))
        .ok();
    let key = settings.key.private_key(path);
    let key = key.map_err(|error| wrong(settings.key.told("key_file"), chain(&error), KEY)).ok();
    let roots = match &settings.client_ca {
        Some(ca) => {
            Some(ca.roots(path).map_err(|error| wrong(ca.told("client_ca_file"), chain(&error), CA)).ok()?)
        }
        None => None,
    };
    let ((certificates, validity), key) = (certificates?, key?);
    let certificate = certificates[0].clone();
    let provider = Arc::new(settings.provider.clone());
    let policy = client_policy(settings, roots, &provider);
    let built = policy.and_then(|policy| {
        let builder =
            ServerConfig::builder_with_provider(provider).with_protocol_versions(&settings.versions)?;
        let builder = match policy {
            Some(policy) => builder.with_client_cert_verifier(policy),
            None => builder.with_no_client_auth(),
        };
        Ok(builder.with_single_cert(certificates, key)?)
    });
    let mut config = match built {
        Ok(config) => config,
        Err(error) => {
            wrong(
                settings.key.told("key_file"),
                chain(error.as_ref()),
                "certificate and key must belong together",
            );
            return None;
        }
    };
    config.ignore_client_order = settings.prefer_server_order;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    // A resumed session would not show its certificate again, and Prometheus keeps its connection.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Some(ServerTls {
        config: Arc::new(config),
        certificate,
        not_after_unix_s: validity.not_after_unix_s,
        needs_client_certificate: settings.client_auth.mandatory(),
    })
}

type BoxedError = Box<dyn std::error::Error>;

/// The policy for clients; none where no certificate is asked for.
fn client_policy(
    settings: &TlsSettings,
    roots: Option<RootCertStore>,
    provider: &Arc<rustls::crypto::CryptoProvider>,
) -> Result<Option<Arc<dyn ClientCertVerifier>>, BoxedError> {
    if settings.client_auth == ClientAuth::NoClientCert {
        return Ok(None);
    }
    let chain = match (settings.client_auth.verifies(), roots) {
        (false, _) => None,
        (true, Some(roots)) => {
            Some(WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone()).build()?)
        }
        (true, None) => return Err("no CA to check certificates of clients against".into()),
    };
    Ok(Some(Arc::new(ClientPolicy {
        chain,
        mandatory: settings.client_auth.mandatory(),
        allowed_sans: settings.allowed_sans.clone(),
        provider: provider.clone(),
    })))
}
