//! The stream to the daemon.

use std::os::fd::BorrowedFd;

use rackmark_model::hook::{DOCUMENT_BYTES_MAX, HOOK_NAME_BYTES_MAX, HOOKS_MAX, HookOrder, HookReport};
use rackmark_model::ipc::{self, FrameError, LENGTH_BYTES};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{Errno, read};
use rustix::net::{SendFlags, send as send_bytes};
use thiserror::Error;

/// Largest order: a document, the names of all hooks, and room for the rest.
const ORDER_BYTES_MAX: usize = DOCUMENT_BYTES_MAX + HOOKS_MAX * (HOOK_NAME_BYTES_MAX + 2) + 64;

/// How long the other side may take for anything, in seconds: the daemon hands over the order at once.
const PATIENCE: Timespec = Timespec { tv_sec: 5, tv_nsec: 0 };

/// A daemon that does not speak as agreed.
#[derive(Debug, Error)]
pub(crate) enum StreamError {
    #[error("cannot read the order from standard input")]
    Read(#[source] Errno),
    #[error("the order is not a valid frame")]
    Frame(#[source] FrameError),
    #[error("the order has {0} bytes, more than {ORDER_BYTES_MAX}")]
    TooLarge(usize),
    #[error("no order came within {} s", PATIENCE.tv_sec)]
    Late,
    #[error("cannot send a report")]
    Send(#[source] Errno),
    #[error("a report does not fit a frame")]
    Encode(#[source] FrameError),
}

/// Reads the one order; `None` where the daemon went away without one.
pub(crate) fn read_order(daemon: BorrowedFd<'_>) -> Result<Option<HookOrder>, StreamError> {
    let mut prefix = [0; LENGTH_BYTES];
    match fill(daemon, &mut prefix)? {
        0 => return Ok(None),
        LENGTH_BYTES => {}
        short => return Err(StreamError::Frame(FrameError::Length(short))),
    }
    let length = ipc::body_length(prefix).map_err(StreamError::Frame)?;
    if length > ORDER_BYTES_MAX {
        return Err(StreamError::TooLarge(length));
    }
    let mut body = vec![0; length];
    if fill(daemon, &mut body)? < length {
        return Err(StreamError::Frame(FrameError::Length(length)));
    }
    ipc::decode(&body).map(Some).map_err(StreamError::Frame)
}

/// Sends one report.
pub(crate) fn send(daemon: BorrowedFd<'_>, report: &HookReport) -> Result<(), StreamError> {
    let mut frame = Vec::new();
    ipc::encode(report, &mut frame).map_err(StreamError::Encode)?;
    let mut left = &frame[..];
    while !left.is_empty() {
        if !ready(daemon, PollFlags::OUT) {
            return Err(StreamError::Send(Errno::TIMEDOUT));
        }
        match send_bytes(daemon, left, SendFlags::NOSIGNAL | SendFlags::DONTWAIT) {
            Ok(bytes) => left = &left[bytes..],
            Err(Errno::INTR | Errno::AGAIN) => {}
            Err(error) => return Err(StreamError::Send(error)),
        }
    }
    Ok(())
}

/// Reads until `buffer` is full or the stream ends; how many bytes came.
fn fill(daemon: BorrowedFd<'_>, buffer: &mut [u8]) -> Result<usize, StreamError> {
    let mut filled = 0;
    while filled < buffer.len() {
        if !ready(daemon, PollFlags::IN) {
            return Err(StreamError::Late);
        }
        match read(daemon, &mut buffer[filled..]) {
            Ok(0) => break,
            Ok(bytes) => filled += bytes,
            Err(Errno::INTR | Errno::AGAIN) => {}
            Err(error) => return Err(StreamError::Read(error)),
        }
    }
    Ok(filled)
}

/// Waits until the stream takes or gives something; false where it does not in time.
fn ready(daemon: BorrowedFd<'_>, what: PollFlags) -> bool {
    loop {
        match poll(&mut [PollFd::new(&daemon, what)], Some(&PATIENCE)) {
            Err(Errno::INTR) => {}
            other => return other.is_ok_and(|ready| ready > 0),
        }
    }
}
