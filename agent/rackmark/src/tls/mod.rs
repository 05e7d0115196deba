//! What every TLS end of the agent shares: files to certificates and keys, how
//! long a certificate is valid, and whether a file on disk was replaced.
//!
//! Nothing is cached: certificates and keys are read when a connection needs
//! them, so that a renewed file is used without a restart.

mod client;
mod files;
mod watch;

use std::sync::Arc;

use rustls::crypto::CryptoProvider;

pub use client::{CertificateFiles, TlsSettings, TlsSettingsError, handshake};
pub use files::{
    TlsFileError, certificates, certificates_in, key_digest, private_key, private_key_in, roots, roots_in,
    shown, validity, validity_of,
};
pub use watch::FileWatch;

/// The one provider of cryptography: ring, which also signs the feed.
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}
