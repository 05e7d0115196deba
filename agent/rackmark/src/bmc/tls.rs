//! Who the BMC is. There is no way to leave that unchecked.

use std::io;
use std::sync::Arc;

use ring::digest::{SHA256, digest};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, OtherError, SignatureScheme};
use thiserror::Error as ThisError;

use super::error::BmcError;
use crate::config::BmcSettings;
use crate::tls::{provider, roots};

/// The certificate is not the one that the configuration names.
#[derive(Debug, ThisError)]
#[error("another certificate than the named one")]
struct AnotherCertificate {
    /// Its SHA-256.
    found: [u8; 32],
}

/// What a failed handshake is called.
pub fn refused(error: io::Error) -> BmcError {
    let inside = error.get_ref().and_then(|inside| inside.downcast_ref::<Error>());
    if let Some(Error::InvalidCertificate(CertificateError::Other(OtherError(other)))) = inside
        && let Some(AnotherCertificate { found }) = other.downcast_ref()
    {
        let found = found.iter().map(|byte| format!("{byte:02x}")).collect();
        return BmcError::AnotherCertificate { found };
    }
    BmcError::Handshake(error)
}

/// TLS 1.3 or 1.2 with a BMC whose certificate is checked as the settings say. Files are read as they are now.
///
/// # Errors
/// [`BmcError::Authorities`], [`BmcError::Tls`].
pub fn client_config(settings: &BmcSettings) -> Result<Arc<ClientConfig>, BmcError> {
    let prepared = |error: Error| BmcError::Tls(Box::new(error));
    let provider = provider();
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
        .map_err(prepared)?;
    let by_authority = match &settings.ca_file {
        Some(path) => {
            let verifier =
                WebPkiServerVerifier::builder_with_provider(Arc::new(roots(path)?), provider.clone());
            Some(verifier.build().map_err(|error| BmcError::Tls(Box::new(error)))?)
        }
        None => None,
    };
    let verifier: Arc<dyn ServerCertVerifier> = match (settings.certificate_sha256, by_authority) {
        (None, Some(by_authority)) => by_authority,
        (Some(sha256), by_authority) => Arc::new(Pinned { sha256, by_authority, provider }),
        (None, None) => return Err(BmcError::Tls("neither an authority nor a certificate is named".into())),
    };
    Ok(Arc::new(builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth()))
}

/// Accepts the one certificate that the configuration names, and only where an authority vouches for it too if one
/// is named. Without one, its names and dates count for nothing: BMCs make certificates for themselves before they
/// know either, and it is this very certificate that somebody compared. That the server has the certificate's key
/// is checked in any case.
#[derive(Debug)]
struct Pinned {
    sha256: [u8; 32],
    by_authority: Option<Arc<WebPkiServerVerifier>>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let mut found = [0; 32];
        found.copy_from_slice(digest(&SHA256, end_entity).as_ref());
        if found != self.sha256 {
            let other = OtherError(Arc::new(AnotherCertificate { found }));
            return Err(Error::InvalidCertificate(CertificateError::Other(other)));
        }
        match &self.by_authority {
            Some(verifier) => {
                verifier.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
            }
            None => Ok(ServerCertVerified::assertion()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
