//! Reports of a child process, frame by frame.

use std::io;

use rackmark_model::ipc::{self, FrameError, LENGTH_BYTES};
use serde::de::DeserializeOwned;
use thiserror::Error;
use tokio::io::AsyncReadExt;
use tokio::net::UnixStream;

/// No report came.
#[derive(Debug, Error)]
pub enum ReadError {
    /// The other side closed the stream.
    #[error("the stream ended")]
    Ended,
    /// Reading failed.
    #[error("the stream cannot be read")]
    Read(#[source] io::Error),
    /// What came is no report.
    #[error("a frame is malformed")]
    Malformed(#[source] FrameError),
}

/// What was read of the next report.
#[derive(Debug, Default)]
pub struct Frames {
    frame: Vec<u8>,
    filled: usize,
}

impl Frames {
    /// The next report. Cancelling keeps what was read so far, so it may stand in a `select`.
    ///
    /// # Errors
    /// Any [`ReadError`].
    pub async fn next<T: DeserializeOwned>(&mut self, stream: &mut UnixStream) -> Result<T, ReadError> {
        loop {
            let wanted = if self.filled < LENGTH_BYTES {
                LENGTH_BYTES
            } else {
                let prefix = [self.frame[0], self.frame[1], self.frame[2], self.frame[3]];
                LENGTH_BYTES + ipc::body_length(prefix).map_err(ReadError::Malformed)?
            };
            if self.filled == wanted && wanted > LENGTH_BYTES {
                let report = ipc::decode(&self.frame[LENGTH_BYTES..wanted]).map_err(ReadError::Malformed)?;
                self.filled = 0;
                return Ok(report);
            }
            if self.frame.len() < wanted {
                self.frame.resize(wanted, 0);
            }
            match stream.read(&mut self.frame[self.filled..wanted]).await {
                Ok(0) => return Err(ReadError::Ended),
                Ok(read) => self.filled += read,
                Err(source) => return Err(ReadError::Read(source)),
            }
        }
    }
}
