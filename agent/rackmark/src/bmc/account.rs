//! Who asks: an account of the BMC, and a session of it.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::header::HeaderValue;
use hyper::{Method, StatusCode};
use rackmark_firmware_hooks::inventory::redfish::{ResourcePath, ServiceRoot};
use serde_json::json;
use tokio::time::timeout;

use super::client::{Client, Proof, TOKEN, basic};
use super::error::BmcError;
use crate::config::BmcSettings;
use crate::exit::chain;

/// Longest file with a name or a password.
const FILE_BYTES_MAX: u64 = 4096;

/// Pause after the account was refused: BMCs lock accounts after a few attempts, for minutes to an hour.
pub const REFUSED: Duration = Duration::from_secs(3600);

/// How long the end of a session is waited for: somebody waits for what was read in it.
const SIGN_OUT: Duration = Duration::from_secs(10);

/// A user name and its password, as the files are now.
#[derive(PartialEq, Eq)]
pub struct Account {
    username: String,
    password: String,
}

impl Account {
    /// Reads the files.
    ///
    /// # Errors
    /// [`BmcError::Account`].
    pub fn read(settings: &BmcSettings) -> Result<Self, BmcError> {
        let username = first_line(&settings.username_file)?;
        // It would move the border between name and password.
        if username.contains(':') {
            let source = io::Error::new(io::ErrorKind::InvalidData, "the user name has a colon");
            return Err(BmcError::Account { path: settings.username_file.clone(), source });
        }
        Ok(Self { username, password: first_line(&settings.password_file)? })
    }

    /// The header of basic authentication (RFC 7617).
    fn header(&self) -> Option<HeaderValue> {
        let pair = STANDARD.encode(format!("{}:{}", self.username, self.password));
        let mut value = HeaderValue::try_from(format!("Basic {pair}")).ok()?;
        value.set_sensitive(true);
        Some(value)
    }
}

fn first_line(path: &Path) -> Result<String, BmcError> {
    let failed = |source| BmcError::Account { path: path.to_owned(), source };
    let mut text = String::new();
    let file = File::open(path).map_err(failed)?;
    file.take(FILE_BYTES_MAX).read_to_string(&mut text).map_err(failed)?;
    match text.lines().next() {
        Some(line) if !line.is_empty() => Ok(line.to_owned()),
        _ => Err(failed(io::Error::new(io::ErrorKind::InvalidData, "its first line is empty"))),
    }
}

/// Begins a session; gives where it is to be ended. A service without sessions gets name and password with every
/// request.
///
/// # Errors
/// [`BmcError`].
pub async fn sign_in(
    client: &mut Client,
    root: &ServiceRoot,
    account: &Account,
) -> Result<Option<ResourcePath>, BmcError> {
    let header =
        account.header().ok_or_else(|| BmcError::Tls("the account cannot stand in a header".into()))?;
    let Some(sessions) = &root.sessions else {
        client.proof = basic(header);
        return Ok(None);
    };
    let body = json!({ "UserName": account.username, "Password": account.password }).to_string();
    let what = "a session".to_owned();
    let answer = client.send(Method::POST, sessions, Some(body.into())).await?;
    match answer.status {
        StatusCode::OK | StatusCode::CREATED => {
            let token = answer.headers.get(TOKEN).cloned();
            let mut token = token.ok_or(BmcError::NotOffered("token in its session"))?;
            token.set_sensitive(true);
            client.proof = Proof::Header(TOKEN, token);
            Ok(client.location(&answer, &what).ok())
        }
        StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED | StatusCode::NOT_IMPLEMENTED => {
            client.proof = basic(header);
            Ok(None)
        }
        // Some services take a wrong password for a wrong request.
        StatusCode::BAD_REQUEST => {
            let message = rackmark_firmware_hooks::inventory::redfish::message(&answer.body);
            Err(BmcError::NotAuthorised { what, status: answer.status, message })
        }
        _ => Err(answer.refused(what)),
    }
}

/// Ends a session; one that cannot be ended ends by itself on the BMC.
pub async fn sign_out(client: &mut Client, session: Option<ResourcePath>) {
    if let Some(session) = session {
        match timeout(SIGN_OUT, client.send(Method::DELETE, &session, None)).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => {
                tracing::debug!(error = chain(&error), "a session on the BMC is left to itself");
            }
            Err(_) => tracing::debug!("a session on the BMC is left to itself: the BMC takes too long"),
        }
    }
    client.proof = Proof::None;
}
