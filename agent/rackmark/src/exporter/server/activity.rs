//! What a connection is doing and until when it may: a stream that tells when a
//! request begins and when an answer has left.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use super::limits::{ANSWER_TIME, HEAD_TIME, IDLE_TIME};

/// What a connection is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// The client sends a request line and headers.
    Head,
    /// We look for the answer.
    Answering,
    /// The client takes the answer.
    Sending,
    /// Nothing, after at least one answer.
    Idle,
}

/// The phase of one connection and when it began.
#[derive(Debug, Clone)]
pub struct Activity(Arc<Mutex<(Phase, Instant)>>);

impl Activity {
    /// A connection whose first request is awaited.
    pub fn begin() -> Self {
        Self(Arc::new(Mutex::new((Phase::Head, Instant::now()))))
    }

    /// Goes on to a phase.
    pub fn enter(&self, phase: Phase) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = (phase, Instant::now());
    }

    /// Goes on to a phase from one other only.
    fn pass(&self, from: Phase, to: Phase) {
        let mut now = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if now.0 == from {
            *now = (to, Instant::now());
        }
    }

    /// The phase and when it is too long; never while it is our turn.
    pub fn due(&self) -> (Phase, Option<Instant>) {
        let (phase, since) = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let time = match phase {
            Phase::Head => HEAD_TIME,
            Phase::Answering => return (phase, None),
            Phase::Sending => ANSWER_TIME,
            Phase::Idle => IDLE_TIME,
        };
        (phase, Some(since + time))
    }
}

/// A stream whose reads and flushes are noted.
pub struct Noted<S> {
    /// The stream.
    pub stream: S,
    /// Where it is noted.
    pub activity: Activity,
}

impl<S: AsyncRead + Unpin> AsyncRead for Noted<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buffer);
        if buffer.filled().len() > before {
            self.activity.pass(Phase::Idle, Phase::Head);
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Noted<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(cx);
        if flushed.is_ready() {
            self.activity.pass(Phase::Sending, Phase::Idle);
        }
        flushed
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
