//! A Redfish service on a thread of its own.

use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::thread::JoinHandle;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http_body_util::BodyExt;
use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use rackmark_e2e::certificates::Identity;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use super::{PASSWORD, USERNAME};
use crate::tls::provider;

pub const TOKEN: &str = "5f3c0b7e";
const SESSIONS: &str = "/redfish/v1/SessionService/Sessions";

/// What a request is answered with.
#[derive(Debug, Clone)]
pub struct Reply {
    pub status: u16,
    pub headers: Vec<(&'static str, String)>,
    pub pieces: VecDeque<Bytes>,
    pub then: Then,
}

/// What follows the pieces of a body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Then {
    /// The end, with the length known beforehand.
    End,
    /// The end, chunk by chunk.
    Chunked,
    /// The same for ever.
    Again(Bytes),
    /// Nothing for ever.
    Hang,
    /// The connection breaks.
    Break,
}

impl Reply {
    pub fn json(document: &serde_json::Value) -> Self {
        Self::bytes(document.to_string())
    }

    pub fn bytes(body: impl Into<Bytes>) -> Self {
        Self { status: 200, headers: Vec::new(), pieces: [body.into()].into(), then: Then::End }
    }

    pub fn status(status: u16) -> Self {
        let body = r#"{"error":{"code":"Base.1.8.GeneralError","message":"it does not want to"}}"#;
        Self { status, ..Self::bytes(body) }
    }

    pub fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    pub fn then(mut self, then: Then) -> Self {
        self.then = then;
        self
    }
}

impl Body for Reply {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        if let Some(piece) = self.pieces.pop_front() {
            return Poll::Ready(Some(Ok(Frame::data(piece))));
        }
        match &self.then {
            Then::End | Then::Chunked => Poll::Ready(None),
            Then::Again(piece) => Poll::Ready(Some(Ok(Frame::data(piece.clone())))),
            Then::Hang => Poll::Pending,
            Then::Break => Poll::Ready(Some(Err(io::ErrorKind::ConnectionAborted.into()))),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self.then {
            Then::End => SizeHint::with_exact(self.pieces.iter().map(|piece| piece.len() as u64).sum()),
            _ => SizeHint::default(),
        }
    }
}

/// A request that came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heard {
    pub method: String,
    pub path: String,
    pub body: String,
    pub token: Option<String>,
    pub authorization: Option<String>,
}

#[derive(Default)]
struct State {
    replies: Mutex<BTreeMap<String, VecDeque<Reply>>>,
    heard: Mutex<Vec<Heard>>,
    open: AtomicUsize,
    peak: AtomicUsize,
    connections: AtomicUsize,
}

/// The service; it ends when this is dropped.
pub struct Fake {
    pub port: u16,
    state: Arc<State>,
    end: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Fake {
    pub fn start(identity: &Identity) -> Self {
        let chain = CertificateDer::from_pem_slice(identity.certificate.as_bytes()).expect("certificate");
        let key = PrivateKeyDer::from_pem_slice(identity.key.as_bytes()).expect("key");
        let config = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(vec![chain], key);
        Self::start_with(config.expect("configuration"))
    }

    pub fn start_with(config: ServerConfig) -> Self {
        let state = Arc::new(State::default());
        let (end, ended) = oneshot::channel();
        let (told, port) = std::sync::mpsc::channel();
        let shared = state.clone();
        let serve = move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime");
            runtime.block_on(async {
                let listener = TcpListener::bind("127.0.0.1:0").await.expect("port");
                told.send(listener.local_addr().expect("address").port()).expect("test");
                tokio::select! {
                    () = accept(listener, TlsAcceptor::from(Arc::new(config)), shared) => {}
                    _ = ended => {}
                }
            });
        };
        let thread = std::thread::Builder::new().name("bmc".to_owned()).spawn(serve).expect("thread");
        Self { port: port.recv().expect("port"), state, end: Some(end), thread: Some(thread) }
    }

    /// From now on a GET of `path`, or `METHOD path`, is answered so.
    pub fn put(&self, path: &str, reply: Reply) {
        self.script(path, [reply]);
    }

    /// The same with one reply after the other; the last one stays.
    pub fn script(&self, path: &str, replies: impl IntoIterator<Item = Reply>) {
        let key = if path.starts_with('/') { format!("GET {path}") } else { path.to_owned() };
        self.state.replies.lock().expect("lock").insert(key, replies.into_iter().collect());
    }

    pub fn heard(&self) -> Vec<Heard> {
        self.state.heard.lock().expect("lock").clone()
    }

    /// How often `METHOD path` was asked for.
    pub fn count(&self, request: &str) -> usize {
        self.heard().iter().filter(|heard| format!("{} {}", heard.method, heard.path) == request).count()
    }

    /// Most connections at one time, and all of them.
    pub fn connections(&self) -> (usize, usize) {
        (self.state.peak.load(Ordering::SeqCst), self.state.connections.load(Ordering::SeqCst))
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        drop(self.end.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

async fn accept(listener: TcpListener, acceptor: TlsAcceptor, state: Arc<State>) {
    let mut connections = JoinSet::new();
    loop {
        let Ok((socket, _)) = listener.accept().await else { return };
        let (acceptor, state) = (acceptor.clone(), state.clone());
        connections.spawn(async move {
            // A client that refuses us ends here.
            let Ok(stream) = acceptor.accept(socket).await else { return };
            state.connections.fetch_add(1, Ordering::SeqCst);
            let open = state.open.fetch_add(1, Ordering::SeqCst) + 1;
            state.peak.fetch_max(open, Ordering::SeqCst);
            let shared = state.clone();
            let service = service_fn(move |request| answer(request, shared.clone()));
            let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
            state.open.fetch_sub(1, Ordering::SeqCst);
        });
    }
}

async fn answer(request: Request<Incoming>, state: Arc<State>) -> Result<Response<Reply>, Infallible> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.expect("request").to_bytes();
    let header = |name: &str| head.headers.get(name).map(|value| value.to_str().expect("text").to_owned());
    let heard = Heard {
        method: head.method.to_string(),
        path: head.uri.path_and_query().map(ToString::to_string).unwrap_or_default(),
        body: String::from_utf8_lossy(&body).into_owned(),
        token: header("x-auth-token"),
        authorization: header("authorization"),
    };
    state.heard.lock().expect("lock").push(heard.clone());
    let reply = reply(&heard, &state);
    let mut response = Response::builder().status(reply.status);
    for (name, value) in &reply.headers {
        response = response.header(*name, value);
    }
    Ok(response.body(reply).expect("reply"))
}

fn reply(heard: &Heard, state: &State) -> Reply {
    let pair = STANDARD.encode(format!("{USERNAME}:{PASSWORD}"));
    let known = heard.token.as_deref() == Some(TOKEN)
        || heard.authorization.as_deref() == Some(format!("Basic {pair}").as_str());
    let signing_in = heard.method == "POST" && heard.path == SESSIONS;
    if !known && !signing_in && heard.path != "/redfish/v1/" {
        return Reply::status(401);
    }
    let key = format!("{} {}", heard.method, heard.path);
    if let Some(script) = state.replies.lock().expect("lock").get_mut(&key) {
        let next = if script.len() > 1 { script.pop_front() } else { script.front().cloned() };
        return next.expect("a script has a reply");
    }
    if signing_in {
        let asked: serde_json::Value = serde_json::from_str(&heard.body).unwrap_or_default();
        let right = asked == serde_json::json!({ "UserName": USERNAME, "Password": PASSWORD });
        return match right {
            true => Reply { status: 201, ..Reply::bytes("{}") }
                .with("X-Auth-Token", TOKEN)
                .with("Location", format!("{SESSIONS}/1")),
            false => Reply::status(401),
        };
    }
    match (heard.method.as_str(), heard.path.strip_prefix(SESSIONS)) {
        ("DELETE", Some("/1")) => Reply { status: 204, ..Reply::bytes("") },
        _ => Reply::status(404),
    }
}
