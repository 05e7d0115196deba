//! The endpoint against real sockets and real TLS clients.

mod limits;
mod policies;
mod reload;
mod requests;

use std::fs;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::{Arc, RwLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rackmark_e2e::certificates::{Authority, Identity, Use};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use tempfile::TempDir;
use tokio::sync::watch;

use super::serve;
use crate::config::Config;
use crate::exporter::scrape::Exporter;
use crate::exporter::web_config::Live;
use crate::sampling::roster::Roster;
use crate::tls;

/// A running endpoint with the folder of its files.
struct Endpoint {
    address: SocketAddr,
    folder: TempDir,
    authority: Authority,
    stop: watch::Sender<bool>,
    thread: Option<JoinHandle<()>>,
}

/// An exporter of nothing, with the web configuration of `path`.
fn exporter(path: Option<&Path>) -> Exporter {
    let text = "[node]\nname = \"node\"\n[metrics]\nlisten = \"127.0.0.1:0\"\n";
    let config = Config::parse(text, Path::new("test.toml")).expect("configuration");
    let (_, config) = watch::channel(Arc::new(config));
    let web = path.map(|path| Live::start(path).unwrap_or_else(|error| panic!("{error}")));
    Exporter::new(Arc::new(RwLock::new(Roster::default())), config, None, None, web)
}

impl Endpoint {
    fn plain() -> Self {
        Self::start(None)
    }

    /// With a web configuration; `server.pem`, `server.key` and `ca.pem` lie beside it.
    fn with(web: &str) -> Self {
        Self::start(Some(web))
    }

    fn start(web: Option<&str>) -> Self {
        let folder = TempDir::new().expect("folder");
        let authority = Authority::new("test CA").expect("CA");
        let server = authority.issue(Use::Server, &["localhost", "127.0.0.1"]).expect("certificate");
        server.write(folder.path(), "server").expect("files");
        fs::write(folder.path().join("ca.pem"), authority.pem()).expect("file");
        let path = folder.path().join("web.yml");
        let exporter = match web {
            Some(text) => {
                fs::write(&path, text).expect("file");
                exporter(Some(&path))
            }
            None => exporter(None),
        };
        let (stop, stopping) = watch::channel(false);
        let (address, thread) = serve(exporter, stopping).expect("endpoint");
        Self { address, folder, authority, stop, thread: Some(thread) }
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).expect("connection");
        stream.set_read_timeout(Some(Duration::from_secs(10))).expect("timeout");
        stream
    }

    /// A TLS connection that trusts the CA of this endpoint, with a certificate of its own or none.
    fn tls(&self, identity: Option<&Identity>) -> StreamOwned<ClientConnection, TcpStream> {
        self.tls_with(client(&self.authority, identity))
    }

    fn tls_with(&self, config: impl Into<Arc<ClientConfig>>) -> StreamOwned<ClientConnection, TcpStream> {
        let name = ServerName::try_from("localhost").expect("name");
        StreamOwned::new(ClientConnection::new(config.into(), name).expect("client"), self.connect())
    }

    /// How often something was refused, as a plain scrape says.
    fn refused(&self, reason: &str) -> u64 {
        let scrape = get(&mut self.connect(), "/metrics", "").expect("scrape");
        counter(&scrape, reason)
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        let _ = self.stop.send(true);
        let ended = self.thread.take().map(JoinHandle::join);
        assert!(std::thread::panicking() || matches!(ended, Some(Ok(()))), "the endpoint had panicked");
    }
}

fn counter(scrape: &str, reason: &str) -> u64 {
    let series = format!("rackmark_http_refused_total{{reason=\"{reason}\"}} ");
    let value = scrape.lines().find_map(|line| line.strip_prefix(&series));
    value.and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("{reason} in {scrape}"))
}

fn client(authority: &Authority, identity: Option<&Identity>) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(authority.pem().as_bytes()).expect("PEM")).expect("root");
    let builder = ClientConfig::builder_with_provider(tls::provider())
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots);
    match identity {
        None => builder.with_no_client_auth(),
        Some(identity) => {
            let chain = vec![CertificateDer::from_pem_slice(identity.certificate.as_bytes()).expect("PEM")];
            let key = PrivateKeyDer::from_pem_slice(identity.key.as_bytes()).expect("PEM");
            builder.with_client_auth_cert(chain, key).expect("certificate and key")
        }
    }
}

/// Sends one GET with more header lines and reads one whole answer of a kept connection.
fn get(stream: &mut (impl Read + Write), path: &str, headers: &str) -> io::Result<String> {
    ask(stream, &format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n"))
}

fn ask(stream: &mut (impl Read + Write), request: &str) -> io::Result<String> {
    stream.write_all(request.as_bytes())?;
    stream.flush()?;
    answer(stream, !request.starts_with("HEAD"))
}

/// One whole answer: up to its stated length, or to its headers where there is no body.
fn answer(stream: &mut impl Read, with_body: bool) -> io::Result<String> {
    let mut text = Vec::new();
    let mut piece = [0; 16 * 1024];
    loop {
        if let Some(end) = text.windows(4).position(|four| four == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&text[..end]).to_lowercase();
            let length: usize = head
                .lines()
                .find_map(|line| line.strip_prefix("content-length: ")?.parse().ok())
                .unwrap_or_default();
            if !with_body || text.len() >= end + 4 + length {
                return Ok(String::from_utf8_lossy(&text).into_owned());
            }
        }
        match stream.read(&mut piece)? {
            0 => return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "closed")),
            read => text.extend_from_slice(&piece[..read]),
        }
    }
}

/// Whether the other end closes the connection, orderly or not, before the read times out.
fn is_closed(stream: &mut impl Read) -> bool {
    let mut piece = [0; 1024];
    loop {
        match stream.read(&mut piece) {
            Ok(0) => return true,
            Ok(_) => {}
            Err(error) => {
                return !matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut);
            }
        }
    }
}

/// Waits until `ready`, at most five seconds: files are looked at once a second.
fn wait(what: &str, mut ready: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(5);
    while !ready() {
        assert!(Instant::now() < end, "{what}: not within five seconds");
        std::thread::sleep(Duration::from_millis(50));
    }
}
