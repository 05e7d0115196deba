//! Listens for Prometheus on a thread and runtime of its own. One connection is
//! one task; every wait for a client has an end.

mod activity;
mod answer;
mod counters;
mod limits;
#[cfg(test)]
mod tests;

use std::convert::Infallible;
use std::io;
use std::net::{SocketAddr, TcpListener as StdTcpListener};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Poll, ready};
use std::thread::{Builder, JoinHandle};

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_rustls::TlsAcceptor;

use self::activity::{Activity, Noted, Phase};
use self::answer::Answers;
use self::limits::{ACCEPT_PAUSE, HANDSHAKE_TIME, HEAD_BYTES_MAX};
use super::auth::Doorkeeper;
use super::scrape::Exporter;
use super::web_config::{InForce, Live};

pub use counters::{Counters, CountersSnapshot, Refusal};

/// The endpoint could not be set up.
#[derive(Debug, Error)]
pub enum ServeError {
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

/// Binds the address now, so that a taken port is an error at start, and serves
/// until `stop` is set or dropped.
///
/// # Errors
/// [`ServeError`].
pub fn serve(
    exporter: Exporter,
    stop: watch::Receiver<bool>,
) -> Result<(SocketAddr, JoinHandle<()>), ServeError> {
    let address = exporter.address();
    let listen = |source| ServeError::Listen { address, source };
    let listener = StdTcpListener::bind(address).map_err(listen)?;
    listener.set_nonblocking(true).map_err(listen)?;
    let bound = listener.local_addr().map_err(listen)?;
    let thread = Builder::new()
        .name("exporter".to_owned())
        .spawn(move || run(exporter, listener, stop))
        .map_err(ServeError::Thread)?;
    Ok((bound, thread))
}

fn run(exporter: Exporter, listener: StdTcpListener, mut stop: watch::Receiver<bool>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        // Passwords are checked one at a time.
        .max_blocking_threads(1)
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            tracing::error!(%error, "the Prometheus endpoint has no runtime");
            return;
        }
    };
    let answers = Arc::new(Answers { exporter, door: Doorkeeper::default() });
    let served = runtime.block_on(async move {
        let listener = TcpListener::from_std(listener)?;
        tokio::select! {
            () = accept(&listener, &answers) => {}
            _ = stop.wait_for(|stop| *stop) => {}
        }
        io::Result::Ok(())
    });
    if let Err(error) = served {
        tracing::error!(%error, "the Prometheus endpoint ended");
    }
    // A password that is being checked is not waited for.
    runtime.shutdown_background();
}

async fn accept(listener: &TcpListener, answers: &Arc<Answers>) {
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "the Prometheus endpoint cannot accept a connection");
                sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let Some(place) = answers.exporter.counters.place() else {
            answers.exporter.counters.refuse(Refusal::Connections);
            continue;
        };
        let answers = answers.clone();
        tokio::spawn(async move {
            let _held = place;
            if let Err(refusal) = connection(stream, &answers).await {
                answers.exporter.counters.refuse(refusal);
            }
        });
    }
}

/// Serves one connection until it ends; the error is why it was cut off.
async fn connection(stream: TcpStream, answers: &Answers) -> Result<(), Refusal> {
    // An answer is one write; there is nothing to gather.
    let _ = stream.set_nodelay(true);
    let in_force = answers.exporter.web.as_ref().map(Live::now);
    let tls = in_force.as_ref().and_then(|web| web.config.tls.as_ref());
    let Some(tls) = tls else { return requests(stream, answers, in_force.as_ref()).await };
    let accepting = TlsAcceptor::from(tls.config.clone()).accept(stream);
    match timeout(HANDSHAKE_TIME, accepting).await {
        Err(_) => Err(Refusal::Timeout),
        Ok(Err(error)) => {
            tracing::debug!(%error, "a TLS handshake of the Prometheus endpoint failed");
            Err(Refusal::Tls)
        }
        Ok(Ok(stream)) => requests(stream, answers, in_force.as_ref()).await,
    }
}

async fn requests<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    answers: &Answers,
    in_force: Option<&Arc<InForce>>,
) -> Result<(), Refusal> {
    let activity = Activity::begin();
    let service = service_fn(|request| async {
        activity.enter(Phase::Answering);
        let response = answers.answer(request, in_force).await;
        activity.enter(Phase::Sending);
        Ok::<_, Infallible>(response)
    });
    let stream = TokioIo::new(Noted { stream, activity: activity.clone() });
    let mut serving = pin!(
        http1::Builder::new()
            // Ours below tells an idle connection from a slow request.
            .header_read_timeout(None)
            .max_header_size(HEAD_BYTES_MAX)
            .max_buf_size(HEAD_BYTES_MAX)
            .serve_connection(stream, service)
    );
    let mut alarm = pin!(sleep_until(Instant::now() + limits::HEAD_TIME));
    std::future::poll_fn(|cx| {
        if let Poll::Ready(ended) = serving.as_mut().poll(cx) {
            return Poll::Ready(ended.err().and_then(|error| why(&error)).map_or(Ok(()), Err));
        }
        loop {
            let (phase, due) = activity.due();
            let Some(due) = due else { return Poll::Pending };
            // Put forward only: a kept connection then sets its alarm once in three minutes.
            if due < alarm.deadline() {
                alarm.as_mut().reset(due);
            }
            ready!(alarm.as_mut().poll(cx));
            if due <= Instant::now() {
                let cut = if phase == Phase::Idle { Ok(()) } else { Err(Refusal::Timeout) };
                return Poll::Ready(cut);
            }
            alarm.as_mut().reset(due);
        }
    })
    .await
}

/// What hyper's error means; none where the client just went away.
fn why(error: &hyper::Error) -> Option<Refusal> {
    if error.is_parse_too_large() {
        Some(Refusal::HeaderSize)
    } else if error.is_parse() {
        Some(Refusal::Malformed)
    } else {
        None
    }
}
