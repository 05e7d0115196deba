//! HTTP/1.1 to one BMC over one TLS connection, one request after the other, everything bounded.

use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Bytes};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{
    ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST, HeaderName, HeaderValue, LOCATION, USER_AGENT,
};
use hyper::{HeaderMap, Method, Request, Response, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use rackmark_firmware_hooks::inventory::redfish::{DOCUMENT_BYTES_MAX, ResourcePath, message};
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::error::BmcError;
use super::tls::{client_config, refused};
use crate::config::{BmcAddress, BmcSettings};
use crate::tls::handshake;

/// Room for the head of an answer, in bytes.
const HEAD_BYTES_MAX: usize = 64 << 10;

/// Redirections of one request that are followed, all of them on the same BMC: services that want a slash at the end
/// of a path say so by one.
const REDIRECTIONS_MAX: usize = 3;

/// Header with the token of a session (DSP0266, 13.3.4).
pub const TOKEN: HeaderName = HeaderName::from_static("x-auth-token");

/// How long a BMC may take. They are slow: a document takes 50 ms to some seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// For TCP and TLS.
    pub connect: Duration,
    /// For a request, from its first byte to the last one of its answer.
    pub request: Duration,
    /// For everything that is read in one look, and for all components together.
    pub look: Duration,
    /// For a component that signs measurements.
    pub component: Duration,
    /// Between two looks at a task that goes on.
    pub task: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(15),
            request: Duration::from_secs(30),
            look: Duration::from_secs(300),
            component: Duration::from_secs(120),
            task: Duration::from_secs(2),
        }
    }
}

/// What proves who asks.
pub enum Proof {
    /// Nothing: the service root is for everybody.
    None,
    /// A header for every request.
    Header(HeaderName, HeaderValue),
}

/// An answer that was read whole.
#[derive(Debug)]
pub struct Answer {
    /// Its status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body, at most [`DOCUMENT_BYTES_MAX`].
    pub body: Bytes,
}

struct Connection {
    sender: SendRequest<Full<Bytes>>,
    /// Ends with the connection.
    _driver: JoinSet<()>,
    used: bool,
}

/// The way to one BMC.
pub struct Client {
    address: BmcAddress,
    tls: std::sync::Arc<rustls::ClientConfig>,
    patience: Patience,
    connection: Option<Connection>,
    /// Sent with every request from now on.
    pub proof: Proof,
}

impl Client {
    /// Reads the files; nothing is connected yet.
    ///
    /// # Errors
    /// [`BmcError::Authorities`], [`BmcError::Tls`].
    pub fn new(settings: &BmcSettings, patience: Patience) -> Result<Self, BmcError> {
        let tls = client_config(settings)?;
        Ok(Self { address: settings.address.clone(), tls, patience, connection: None, proof: Proof::None })
    }

    /// A document. Redirections on the same BMC are followed.
    ///
    /// # Errors
    /// [`BmcError`]; any status but 200 is one.
    pub async fn get(&mut self, path: &ResourcePath) -> Result<Bytes, BmcError> {
        let what = format!("GET {}", path.as_str());
        let mut at = path.clone();
        for _ in 0..=REDIRECTIONS_MAX {
            let answer = self.send(Method::GET, &at, None).await?;
            match answer.status {
                StatusCode::OK => return Ok(answer.body),
                status if status.is_redirection() => at = self.location(&answer, &what)?,
                _ => return Err(answer.refused(what)),
            }
        }
        Err(BmcError::Redirected { what, to: at.as_str().to_owned() })
    }

    /// One request and its answer, whatever its status.
    ///
    /// # Errors
    /// [`BmcError`].
    pub async fn send(
        &mut self,
        method: Method,
        path: &ResourcePath,
        body: Option<Bytes>,
    ) -> Result<Answer, BmcError> {
        let what = format!("{method} {}", path.as_str());
        // A connection that was kept may have been closed meanwhile; what reads only is asked once more.
        let kept = self.connection.as_ref().is_some_and(|connection| connection.used);
        let answer = self.attempt(&method, path, body.clone(), &what).await;
        match answer {
            Err(BmcError::Http { .. }) if kept && method == Method::GET => {
                self.attempt(&method, path, body, &what).await
            }
            answer => answer,
        }
    }

    async fn attempt(
        &mut self,
        method: &Method,
        path: &ResourcePath,
        body: Option<Bytes>,
        what: &str,
    ) -> Result<Answer, BmcError> {
        let mut connection = match self.connection.take() {
            Some(connection) if !connection.sender.is_closed() => connection,
            _ => self.connect().await?,
        };
        let request = self.request(method, path, body, what)?;
        let after = self.patience.request;
        let exchanged = timeout(after, exchange(&mut connection.sender, request, what)).await;
        let answer = exchanged.map_err(|_| BmcError::Late { what: what.to_owned(), after })??;
        // A connection on which something failed is dropped.
        connection.used = true;
        self.connection = Some(connection);
        Ok(answer)
    }

    async fn connect(&self) -> Result<Connection, BmcError> {
        let after = self.patience.connect;
        let late = || BmcError::Late { what: "a TLS connection".to_owned(), after };
        timeout(after, self.dial()).await.map_err(|_| late())?
    }

    async fn dial(&self) -> Result<Connection, BmcError> {
        let BmcAddress { host, port } = &self.address;
        let name = ServerName::try_from(host.clone()).map_err(|error| BmcError::Tls(Box::new(error)))?;
        let socket = TcpStream::connect((host.as_str(), *port))
            .await
            .map_err(|source| BmcError::Connect { address: self.address.authority(), source })?;
        let stream = handshake(self.tls.clone(), name, socket).await.map_err(refused)?;
        let (sender, connection) = http1::Builder::new()
            .max_buf_size(HEAD_BYTES_MAX)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|error| broke("a connection", error))?;
        let mut driver = JoinSet::new();
        // Its end is seen by the request that is under way.
        driver.spawn(async { drop(connection.await) });
        Ok(Connection { sender, _driver: driver, used: false })
    }

    fn request(
        &self,
        method: &Method,
        path: &ResourcePath,
        body: Option<Bytes>,
        what: &str,
    ) -> Result<Request<Full<Bytes>>, BmcError> {
        let mut request = Request::builder()
            .method(method)
            .uri(path.as_str())
            .header(HOST, self.address.authority())
            .header(USER_AGENT, concat!("rackmark/", env!("CARGO_PKG_VERSION")))
            .header(ACCEPT, "application/json")
            .header("odata-version", "4.0");
        if body.is_some() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        if let Proof::Header(name, value) = &self.proof {
            request = request.header(name, value);
        }
        request.body(Full::new(body.unwrap_or_default())).map_err(|error| broke(what, error))
    }

    /// Where an answer leads, on the same BMC.
    ///
    /// # Errors
    /// [`BmcError::Redirected`] where it leads elsewhere.
    pub fn location(&self, answer: &Answer, what: &str) -> Result<ResourcePath, BmcError> {
        let text = answer.headers.get(LOCATION).map(|value| String::from_utf8_lossy(value.as_bytes()));
        let text = text.unwrap_or_default();
        self.on_this_bmc(&text).ok_or_else(|| {
            let to = text.chars().filter(|c| !c.is_control()).take(200).collect();
            BmcError::Redirected { what: what.to_owned(), to }
        })
    }

    fn on_this_bmc(&self, text: &str) -> Option<ResourcePath> {
        let uri: Uri = text.parse().ok()?;
        if let Some(authority) = uri.authority() {
            let host = authority.host().trim_start_matches('[').trim_end_matches(']');
            let same = uri.scheme_str() == Some("https")
                && host.eq_ignore_ascii_case(&self.address.host)
                && authority.port_u16().unwrap_or(443) == self.address.port
                && !authority.as_str().contains('@');
            if !same {
                return None;
            }
        }
        ResourcePath::parse(uri.path_and_query()?.as_str())
    }
}

impl Answer {
    /// An answer whose status is not what was asked for.
    pub fn refused(&self, what: String) -> BmcError {
        let (status, message) = (self.status, message(&self.body));
        match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                BmcError::NotAuthorised { what, status, message }
            }
            _ => BmcError::Status { what, status, message },
        }
    }
}

/// The headers that a basic account sends.
pub fn basic(value: HeaderValue) -> Proof {
    Proof::Header(AUTHORIZATION, value)
}

fn broke(what: &str, error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> BmcError {
    BmcError::Http { what: what.to_owned(), source: error.into() }
}

async fn exchange(
    sender: &mut SendRequest<Full<Bytes>>,
    request: Request<Full<Bytes>>,
    what: &str,
) -> Result<Answer, BmcError> {
    sender.ready().await.map_err(|error| broke(what, error))?;
    let answer: Response<_> = sender.send_request(request).await.map_err(|error| broke(what, error))?;
    let (head, mut body) = answer.into_parts();
    let too_long = || BmcError::TooLong { what: what.to_owned(), max: DOCUMENT_BYTES_MAX };
    // What says that it is too large is not read at all.
    if body.size_hint().lower() > DOCUMENT_BYTES_MAX as u64 {
        return Err(too_long());
    }
    // Put together as it comes: a list of pieces of one byte each would take many times the document's size.
    let mut bytes = Vec::new();
    while let Some(frame) = body.frame().await {
        let Ok(piece) = frame.map_err(|error| broke(what, error))?.into_data() else { continue };
        if bytes.len() + piece.len() > DOCUMENT_BYTES_MAX {
            return Err(too_long());
        }
        bytes.extend_from_slice(&piece);
    }
    Ok(Answer { status: head.status, headers: head.headers, body: bytes.into() })
}
