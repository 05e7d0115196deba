//! The stream to the daemon.

use std::io::{self, Read, Write};

use rackmark_model::ipc::{self, FrameError, LENGTH_BYTES};
use rackmark_model::tpm::{TpmOrder, TpmReport};
use thiserror::Error;

/// Largest order: a kept key, or a credential of an RSA 4096 key, and room.
const ORDER_BYTES_MAX: usize = 8192;

/// A daemon that does not speak as agreed.
#[derive(Debug, Error)]
pub(crate) enum StreamError {
    #[error("standard input is no stream")]
    Standard(#[source] rustix::io::Errno),
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

/// Waits for the next order; `None` when the daemon goes away.
pub(crate) fn read_order(daemon: &mut impl Read) -> Result<Option<TpmOrder>, StreamError> {
    let mut prefix = [0; LENGTH_BYTES];
    match daemon.read_exact(&mut prefix) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
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

/// Sends a report.
pub(crate) fn send(daemon: &mut impl Write, report: &TpmReport) -> Result<(), StreamError> {
    let mut frame = Vec::new();
    ipc::encode(report, &mut frame).map_err(StreamError::Encode)?;
    daemon.write_all(&frame).map_err(StreamError::Send)
}
