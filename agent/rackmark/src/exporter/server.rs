//! Serves `/metrics` on a thread and runtime of its own.

use std::io;
use std::net::{SocketAddr, TcpListener as StdTcpListener};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{Builder, JoinHandle};

use axum::Router;
use axum::extract::State;
use axum::http::header::{ACCEPT, CONTENT_TYPE};
use axum::http::{HeaderMap, StatusCode};
use axum::response::IntoResponse;
use axum::routing::get;
use rackmark_hardware::process::ProcessUsage;
use thiserror::Error;
use tokio::sync::watch;

use super::collect::{Around, collect_live, collect_settled};
use super::names::Names;
use super::openmetrics::Collected;
use super::text::ClassicText;
use crate::clock;
use crate::config::Config;
use crate::publish::mqtt::PublisherStats;
use crate::sampling::task::SharedRoster;

const CLASSIC: &str = "text/plain; version=0.0.4; charset=utf-8";
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The endpoint could not be set up.
#[derive(Debug, Error)]
pub enum ExporterError {
    /// The address is taken or not ours.
    #[error("cannot listen for Prometheus on {address}")]
    Listen {
        /// The configured address.
        address: SocketAddr,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// No thread could be started.
    #[error("cannot start the thread of the Prometheus endpoint")]
    Thread(#[source] io::Error),
}

/// What the endpoint shows.
pub struct Exporter {
    roster: SharedRoster,
    config: watch::Receiver<Arc<Config>>,
    mqtt: Option<Arc<PublisherStats>>,
    names: Names,
    process: Mutex<Option<(u64, ProcessUsage)>>,
    /// The settled part of the classic text, and of which state it is.
    settled: Mutex<Option<(u64, String)>>,
}

/// What a scrape of eight GPUs needs, so that the text rarely grows.
const ROOM: usize = 64 * 1024;

/// Own memory is read at most this often: the kernel walks the page tables for it.
const PROCESS_USAGE_MS: u64 = 10_000;

impl Exporter {
    /// Gathers what is to be shown.
    pub fn new(
        roster: SharedRoster,
        config: watch::Receiver<Arc<Config>>,
        mqtt: Option<Arc<PublisherStats>>,
    ) -> Self {
        Self {
            roster,
            config,
            mqtt,
            names: Names::new(),
            process: Mutex::new(None),
            settled: Mutex::new(None),
        }
    }

    /// Binds the address now, so that a taken port is an error at start, and
    /// serves until `stop` is set or dropped.
    ///
    /// # Errors
    /// [`ExporterError::Listen`] and [`ExporterError::Thread`].
    pub fn serve(self, stop: watch::Receiver<bool>) -> Result<(SocketAddr, JoinHandle<()>), ExporterError> {
        let address = self.config.borrow().metrics_listen;
        let listen = |source| ExporterError::Listen { address, source };
        let listener = StdTcpListener::bind(address).map_err(listen)?;
        listener.set_nonblocking(true).map_err(listen)?;
        let bound = listener.local_addr().map_err(listen)?;
        let thread = Builder::new()
            .name("exporter".to_owned())
            .spawn(move || self.run(listener, stop))
            .map_err(ExporterError::Thread)?;
        Ok((bound, thread))
    }

    fn run(self, listener: StdTcpListener, mut stop: watch::Receiver<bool>) {
        let runtime = match tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build() {
            Ok(runtime) => runtime,
            Err(error) => {
                tracing::error!(%error, "the Prometheus endpoint has no runtime");
                return;
            }
        };
        let app =
            Router::new().route("/metrics", get(metrics)).route("/", get(index)).with_state(Arc::new(self));
        let served = runtime.block_on(async move {
            let listener = tokio::net::TcpListener::from_std(listener)?;
            tokio::select! {
                ended = axum::serve(listener, app).into_future() => ended,
                _ = stop.wait_for(|stop| *stop) => Ok(()),
            }
        });
        if let Err(error) = served {
            tracing::error!(%error, "the Prometheus endpoint ended");
        }
    }

    fn around<'a>(&self, config: &'a Config) -> Around<'a> {
        Around {
            now_boot_ms: clock::boot_ms(),
            now_unix_ms: clock::unix_ms(),
            mqtt: self.mqtt.as_ref().map(|stats| stats.snapshot()),
            expected_gpus: config.expected_gpus,
            process: self.process_usage(&config.proc_root),
            node: &config.node,
            site: &config.site,
        }
    }

    fn process_usage(&self, proc_root: &Path) -> Option<ProcessUsage> {
        let now = clock::boot_ms();
        let mut kept = self.process.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.is_none_or(|(read_at, _)| now.saturating_sub(read_at) > PROCESS_USAGE_MS) {
            *kept = ProcessUsage::read(proc_root, "self").ok().map(|usage| (now, usage));
        }
        kept.map(|(_, usage)| usage)
    }

    fn classic(&self) -> String {
        let config = self.config.borrow().clone();
        let around = self.around(&config);
        let roster = self.roster.read().unwrap_or_else(PoisonError::into_inner);
        let mut settled = self.settled.lock().unwrap_or_else(PoisonError::into_inner);
        if settled.as_ref().is_none_or(|(of, _)| *of != roster.settled) {
            let mut text = ClassicText::with_capacity(ROOM);
            collect_settled(&roster, &self.names, &mut text);
            *settled = Some((roster.settled, text.finish()));
        }
        let settled = settled.as_ref().map_or("", |(_, text)| text);
        let mut text = ClassicText::with_capacity(ROOM + settled.len());
        collect_live(&roster, &self.names, &around, &mut text);
        let mut text = text.finish();
        text.push_str(settled);
        text
    }

    fn openmetrics(&self) -> Result<String, std::fmt::Error> {
        let config = self.config.borrow().clone();
        let around = self.around(&config);
        let mut collected = Collected::default();
        {
            let roster = self.roster.read().unwrap_or_else(PoisonError::into_inner);
            collect_live(&roster, &self.names, &around, &mut collected);
            collect_settled(&roster, &self.names, &mut collected);
        }
        collected.into_text()
    }
}

async fn metrics(State(exporter): State<Arc<Exporter>>, headers: HeaderMap) -> impl IntoResponse {
    let wants_openmetrics = headers
        .get(ACCEPT)
        .and_then(|accept| accept.to_str().ok())
        .is_some_and(|accept| accept.contains("application/openmetrics-text"));
    if wants_openmetrics {
        return match exporter.openmetrics() {
            Ok(text) => (StatusCode::OK, [(CONTENT_TYPE, OPENMETRICS)], text),
            Err(_) => (StatusCode::INTERNAL_SERVER_ERROR, [(CONTENT_TYPE, CLASSIC)], String::new()),
        };
    }
    (StatusCode::OK, [(CONTENT_TYPE, CLASSIC)], exporter.classic())
}

async fn index() -> impl IntoResponse {
    (
        [(CONTENT_TYPE, "text/html; charset=utf-8")],
        "<!doctype html><title>rackmark</title><h1>rackmark</h1><p><a href=\"/metrics\">Metrics</a>\n",
    )
}
