//! The stream to the daemon.

use std::io::{self, Read, Write};
use std::thread;
use std::time::Duration;

use rackmark_model::ipc::{self, FrameError, LENGTH_BYTES};
use rackmark_model::tpm::{TpmOrder, TpmReport};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::stdio::stdin;
use thiserror::Error;

/// Largest order: a kept key, or a credential of an RSA 4096 key, and room.
const ORDER_BYTES_MAX: usize = 8192;

/// How long the TPM has to finish what it is at when the daemon goes away, so that nothing stays behind in a TPM
/// without a resource manager. The daemon itself kills what is there after 5 s.
const FINISH: Duration = Duration::from_secs(4);

/// Stack of the thread that waits for the end.
const END_STACK_BYTES: usize = 64 << 10;

/// A daemon that does not speak as agreed.
#[derive(Debug, Error)]
pub(crate) enum StreamError {
    #[error("standard input is no stream")]
    Standard(#[source] Errno),
    #[error("cannot start a thread")]
    Thread(#[source] io::Error),
    #[error("cannot read an order")]
    Read(#[source] io::Error),
    #[error("an order is not a valid frame")]
    Frame(#[source] FrameError),
    #[error("an order has {0} bytes, more than {ORDER_BYTES_MAX}")]
    TooLarge(usize),
    #[error("cannot send a report")]
    Send(#[source] io::Error),
    #[error("a report does not fit a frame")]
    Encode(#[source] FrameError),
}

/// Sees to it that the process ends with the stream, also while the TPM does not answer.
pub(crate) fn end_with_the_stream() -> Result<(), StreamError> {
    let end = || {
        // Asked for nothing, poll tells of the other side's going only.
        while let Err(Errno::INTR) = poll(&mut [PollFd::new(&stdin(), PollFlags::empty())], None) {}
        thread::sleep(FINISH);
        std::process::exit(0)
    };
    let builder = thread::Builder::new().name("end".to_owned()).stack_size(END_STACK_BYTES);
    builder.spawn(end).map(drop).map_err(StreamError::Thread)
}

/// Waits for the next order; `None` when the daemon goes away.
pub(crate) fn read_order(daemon: &mut impl Read) -> Result<Option<TpmOrder>, StreamError> {
    let mut prefix = [0; LENGTH_BYTES];
    match daemon.read_exact(&mut prefix) {
        Ok(()) => {}
        Err(error)
            if matches!(error.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset) =>
        {
            return Ok(None);
        }
        Err(error) => return Err(StreamError::Read(error)),
    }
    let length = ipc::body_length(prefix).map_err(StreamError::Frame)?;
    if length > ORDER_BYTES_MAX {
        return Err(StreamError::TooLarge(length));
    }
    let mut body = vec![0; length];
    daemon.read_exact(&mut body).map_err(StreamError::Read)?;
    ipc::decode(&body).map(Some).map_err(StreamError::Frame)
}

/// Sends a report; false where the daemon has gone meanwhile.
pub(crate) fn send(daemon: &mut impl Write, report: &TpmReport) -> Result<bool, StreamError> {
    let mut frame = Vec::new();
    ipc::encode(report, &mut frame).map_err(StreamError::Encode)?;
    match daemon.write_all(&frame) {
        Ok(()) => Ok(true),
        Err(error) if matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset) => {
            Ok(false)
        }
        Err(error) => Err(StreamError::Send(error)),
    }
}
