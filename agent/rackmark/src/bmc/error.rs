//! What can go wrong between the agent and a BMC.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use hyper::StatusCode;
use rackmark_firmware_hooks::inventory::redfish::DocumentError;
use thiserror::Error;

use crate::tls::TlsFileError;

/// A BMC could not be asked, or did not answer as one.
#[derive(Debug, Error)]
pub enum BmcError {
    /// The authorities cannot be read.
    #[error("the authorities of the BMC cannot be used")]
    Authorities(#[from] TlsFileError),
    /// TLS cannot be prepared from the settings.
    #[error("tls to the BMC cannot be set up")]
    Tls(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A file of the account cannot be used.
    #[error("cannot read {} for the account on the BMC", path.display())]
    Account {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Nobody answers at its address.
    #[error("no connection to the BMC at {address}")]
    Connect {
        /// Where.
        address: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It is not the BMC that it should be, or speaks no TLS that is safe.
    #[error("the TLS handshake with the BMC failed")]
    Handshake(#[source] io::Error),
    /// It shows another certificate than the one that is named.
    #[error("the BMC's certificate has the SHA-256 {found}, not that of bmc.certificate_sha256")]
    AnotherCertificate {
        /// What it has, in hexadecimal digits.
        found: String,
    },
    /// It took too long.
    #[error("the BMC did not finish {what} within {} s", after.as_secs())]
    Late {
        /// What was waited for.
        what: String,
        /// How long.
        after: Duration,
    },
    /// The connection broke, or what came is not HTTP.
    #[error("the BMC did not answer {what} in HTTP")]
    Http {
        /// Which request.
        what: String,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The answer is too large.
    #[error("the BMC's answer to {what} is over {max} bytes")]
    TooLong {
        /// Which request.
        what: String,
        /// The limit.
        max: usize,
    },
    /// It wants to be asked elsewhere.
    #[error("the BMC redirects {what} to {to:?}, which is not followed")]
    Redirected {
        /// Which request.
        what: String,
        /// Where to.
        to: String,
    },
    /// It does not let this account in, or not this far.
    #[error("the BMC refuses {what} to this account ({status}{})", said(message))]
    NotAuthorised {
        /// Which request.
        what: String,
        /// 401 or 403; 400 where a session was to begin.
        status: StatusCode,
        /// What it says.
        message: Option<String>,
    },
    /// It refused this very account not long ago, and would lock it.
    #[error("the BMC refused this account within the last hour and is not asked again now")]
    Withheld,
    /// It does not do what it was asked for.
    #[error("the BMC answers {what} with {status}{}", said(message))]
    Status {
        /// Which request.
        what: String,
        /// Its status.
        status: StatusCode,
        /// What it says.
        message: Option<String>,
    },
    /// A document cannot be used.
    #[error("the BMC's document {path} cannot be used")]
    Document {
        /// Which.
        path: String,
        /// Why.
        #[source]
        source: DocumentError,
    },
    /// Its service has no such part.
    #[error("the BMC's service has no {0}")]
    NotOffered(&'static str),
}

fn said(message: &Option<String>) -> String {
    message.as_ref().map(|message| format!(": {message}")).unwrap_or_default()
}

impl BmcError {
    /// Whether it is about one document, and the others can be read: not where the connection or the session is gone.
    pub fn is_of_one_document(&self) -> bool {
        match self {
            Self::NotAuthorised { status, .. } => *status != StatusCode::UNAUTHORIZED,
            Self::Status { .. } | Self::Document { .. } | Self::Redirected { .. } => true,
            _ => false,
        }
    }

    /// One word, for metrics.
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Authorities(_) | Self::Tls(_) | Self::Account { .. } => REASONS[0],
            Self::Connect { .. } => REASONS[1],
            Self::Handshake(_) | Self::AnotherCertificate { .. } => REASONS[2],
            Self::NotAuthorised { .. } | Self::Withheld => REASONS[3],
            Self::Late { .. } => REASONS[4],
            Self::Http { .. } | Self::TooLong { .. } | Self::Redirected { .. } => REASONS[5],
            Self::Status { .. } | Self::Document { .. } | Self::NotOffered(_) => REASONS[6],
        }
    }
}

/// Every reason.
pub const REASONS: [&str; 7] = ["settings", "connection", "tls", "account", "late", "http", "redfish"];
