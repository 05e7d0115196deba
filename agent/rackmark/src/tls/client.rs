//! The client's end of TLS: from files to a checked connection.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use thiserror::Error;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::{TlsFileError, certificates, private_key, provider, roots};

/// What a client needs for TLS. There is no way to leave the server unchecked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsSettings {
    /// PEM file with the authorities that may vouch for the server.
    pub ca_file: PathBuf,
    /// The client's own certificate and key, where the server asks for one.
    pub certificate: Option<CertificateFiles>,
    /// Name that the server's certificate must carry, where it is not the host connected to.
    pub server_name: Option<String>,
}

/// A certificate with the ones that lead to its authority, and its key, both PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateFiles {
    /// Certificate first, then the chain.
    pub cert_file: PathBuf,
    /// Private key of the first certificate.
    pub key_file: PathBuf,
}

/// No TLS connection can be prepared from the settings.
#[derive(Debug, Error)]
pub enum TlsSettingsError {
    /// A file cannot be used.
    #[error("tls files cannot be used")]
    File(#[from] TlsFileError),
    /// The library takes none of its protocol versions.
    #[error("tls cannot be set up")]
    Setup(#[source] rustls::Error),
    /// Certificate and key do not belong together, or the key is of an unknown kind.
    #[error("certificate {} and key {} do not fit together", certificate.cert_file.display(), certificate.key_file.display())]
    Pair {
        /// Which.
        certificate: CertificateFiles,
        /// Why.
        #[source]
        source: rustls::Error,
    },
    /// The name to check is neither a host name nor an address.
    #[error("{name:?} is no name that a certificate can carry")]
    Name {
        /// The name.
        name: String,
        /// Why.
        #[source]
        source: rustls::pki_types::InvalidDnsNameError,
    },
}

impl TlsSettings {
    /// Reads the files, as they are now, into a configuration for TLS 1.2 and 1.3.
    ///
    /// # Errors
    /// [`TlsSettingsError`] where a file cannot be used, or certificate and key do not fit.
    pub fn client_config(&self) -> Result<Arc<ClientConfig>, TlsSettingsError> {
        let builder = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
            .map_err(TlsSettingsError::Setup)?
            .with_root_certificates(roots(&self.ca_file)?);
        let Some(files) = &self.certificate else { return Ok(Arc::new(builder.with_no_client_auth())) };
        let chain = certificates(&files.cert_file)?;
        let key = private_key(&files.key_file)?;
        builder
            .with_client_auth_cert(chain, key)
            .map(Arc::new)
            .map_err(|source| TlsSettingsError::Pair { certificate: files.clone(), source })
    }

    /// The name to be found in the certificate of a server on `host`, a name or an address without brackets.
    ///
    /// # Errors
    /// [`TlsSettingsError::Name`].
    pub fn expected_name(&self, host: &str) -> Result<ServerName<'static>, TlsSettingsError> {
        let name = self.server_name.as_deref().unwrap_or(host);
        let name = name.trim_start_matches('[').trim_end_matches(']');
        ServerName::try_from(name.to_owned())
            .map_err(|source| TlsSettingsError::Name { name: name.to_owned(), source })
    }

    /// The files that are read, to be watched.
    pub fn files(&self) -> Vec<PathBuf> {
        let own = self.certificate.iter().flat_map(|own| [own.cert_file.clone(), own.key_file.clone()]);
        std::iter::once(self.ca_file.clone()).chain(own).collect()
    }
}

/// A handshake over a connected socket.
///
/// # Errors
/// What the socket or the handshake says; a refused certificate is a `rustls::Error` inside.
pub async fn handshake(
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
    socket: TcpStream,
) -> io::Result<TlsStream<TcpStream>> {
    TlsConnector::from(config).connect(name, socket).await
}
