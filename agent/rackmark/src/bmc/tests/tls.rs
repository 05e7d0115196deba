//! Who the BMC is: each of these would pass if its check were gone.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rackmark_e2e::certificates::{Authority, Identity, Use};
use ring::digest::{SHA256, digest};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{ServerConfig, SupportedProtocolVersion};

use super::{Fake, PATIENCE, Reply, Site, documents, words};
use crate::bmc::{Bmc, BmcError, Turn};
use crate::config::BmcSettings;
use crate::tls::provider;

fn served(identity: &Identity) -> Fake {
    let fake = Fake::start(identity);
    for (path, document) in documents::server() {
        fake.put(&path, Reply::json(&document));
    }
    fake
}

fn pin(identity: &Identity) -> [u8; 32] {
    let der = CertificateDer::from_pem_slice(identity.certificate.as_bytes()).expect("certificate");
    digest(&SHA256, &der).as_ref().try_into().expect("32 bytes")
}

async fn look(settings: BmcSettings) -> Result<usize, BmcError> {
    Bmc::new(settings, PATIENCE, Turn::default()).facts().await.map(|seen| seen.facts.len())
}

/// The handshake is refused for this reason, and not one request was heard.
async fn refused(fake: &Fake, settings: BmcSettings, reason: &str) {
    let error = look(settings).await.expect_err(reason);
    assert!(matches!(error, BmcError::Handshake(_) | BmcError::AnotherCertificate { .. }), "{error:?}");
    assert_eq!(error.reason(), "tls");
    assert!(words(&error).contains(reason), "{}", words(&error));
    assert_eq!(fake.heard(), []);
}

fn authority() -> Authority {
    Authority::new("site").expect("authority")
}

fn expired(authority: &Authority) -> Identity {
    let last = SystemTime::now() - Duration::from_secs(60);
    authority.issue_until(Use::Server, &["127.0.0.1"], last).expect("certificate")
}

#[tokio::test]
async fn an_authority_that_is_named_vouches() {
    let site = Site::new();
    let fake = served(&site.identity);
    assert!(look(site.settings(fake.port)).await.expect("facts") > 10);
}

#[tokio::test]
async fn another_authority_does_not() {
    let site = Site::new();
    let fake = served(&site.identity);
    std::fs::write(&site.ca_file, authority().pem()).expect("write");
    refused(&fake, site.settings(fake.port), "BadSignature").await;
    std::fs::write(&site.ca_file, Authority::new("another").expect("authority").pem()).expect("write");
    refused(&fake, site.settings(fake.port), "UnknownIssuer").await;
}

#[tokio::test]
async fn a_certificate_that_has_expired_is_refused() {
    let authority = authority();
    let site = Site::with(&authority, expired(&authority));
    let fake = served(&site.identity);
    refused(&fake, site.settings(fake.port), "expired").await;
}

#[tokio::test]
async fn a_certificate_of_another_host_is_refused() {
    let authority = authority();
    let names = ["127.0.0.2", "other.example"];
    let site = Site::with(&authority, authority.issue(Use::Server, &names).expect("certificate"));
    let fake = served(&site.identity);
    refused(&fake, site.settings(fake.port), "not valid for name").await;
}

#[tokio::test]
async fn a_certificate_of_a_client_is_refused() {
    let authority = authority();
    let site = Site::with(&authority, authority.issue(Use::Client, &["127.0.0.1"]).expect("certificate"));
    let fake = served(&site.identity);
    refused(&fake, site.settings(fake.port), "extended key usage").await;
}

#[tokio::test]
async fn a_certificate_that_is_named_itself_needs_no_authority_no_name_and_no_date() {
    let site = Site::with(&authority(), expired(&authority()));
    let fake = served(&site.identity);
    let settings = BmcSettings {
        ca_file: None,
        certificate_sha256: Some(pin(&site.identity)),
        ..site.settings(fake.port)
    };
    assert!(look(settings).await.expect("facts") > 10);
}

#[tokio::test]
async fn another_certificate_than_the_named_one_is_refused_and_shown() {
    let site = Site::new();
    let fake = served(&site.identity);
    let mut wrong = pin(&site.identity);
    wrong[31] ^= 1;
    let found: String = pin(&site.identity).iter().map(|byte| format!("{byte:02x}")).collect();
    for ca_file in [None, Some(site.ca_file.clone())] {
        let settings = BmcSettings { ca_file, certificate_sha256: Some(wrong), ..site.settings(fake.port) };
        refused(&fake, settings, &found).await;
    }
}

#[tokio::test]
async fn authority_and_certificate_must_agree_where_both_are_named() {
    let site = Site::new();
    let fake = served(&site.identity);
    let settings = BmcSettings { certificate_sha256: Some(pin(&site.identity)), ..site.settings(fake.port) };
    assert!(look(settings.clone()).await.is_ok());
    let heard = fake.heard().len();
    std::fs::write(&site.ca_file, Authority::new("another").expect("authority").pem()).expect("write");
    let error = look(settings).await.expect_err("authority");
    assert!(words(&error).contains("UnknownIssuer"), "{}", words(&error));
    assert_eq!(fake.heard().len(), heard);
}

/// Shows a certificate without having its key.
#[derive(Debug)]
struct Copied(Arc<CertifiedKey>);

impl ResolvesServerCert for Copied {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.clone())
    }
}

#[tokio::test]
async fn whoever_copied_the_certificate_has_not_its_key() {
    let authority = authority();
    let site = Site::new();
    let other = authority.issue(Use::Server, &["127.0.0.1"]).expect("certificate");
    let versions: [&'static SupportedProtocolVersion; 2] = [&rustls::version::TLS13, &rustls::version::TLS12];
    for version in versions {
        let chain =
            CertificateDer::from_pem_slice(site.identity.certificate.as_bytes()).expect("certificate");
        let key = PrivateKeyDer::from_pem_slice(other.key.as_bytes()).expect("key");
        let key = provider().key_provider.load_private_key(key).expect("key");
        let copied = Copied(Arc::new(CertifiedKey::new(vec![chain], key)));
        let config = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[version])
            .expect("version")
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(copied));
        let fake = Fake::start_with(config);
        let settings = BmcSettings {
            ca_file: None,
            certificate_sha256: Some(pin(&site.identity)),
            ..site.settings(fake.port)
        };
        refused(&fake, settings, "BadSignature").await;
    }
}

#[tokio::test]
async fn without_authority_and_certificate_nobody_is_asked() {
    let site = Site::new();
    let fake = served(&site.identity);
    let settings = BmcSettings { ca_file: None, ..site.settings(fake.port) };
    assert!(matches!(look(settings).await, Err(BmcError::Tls(_))));
    let settings = BmcSettings { ca_file: Some("/no/such/file".into()), ..site.settings(fake.port) };
    assert!(matches!(look(settings).await, Err(BmcError::Authorities(_))));
    assert_eq!(fake.heard(), []);
}
