//! Asks a running agent.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value as Json;
use thiserror::Error;

use super::verbs::{Answer, Verb};

/// Longest answer: 64 GPUs with all their readings stay far below.
const ANSWER_BYTES_MAX: u64 = 4 << 20;
/// A pause is answered after at most two seconds.
const PATIENCE: Duration = Duration::from_secs(10);

/// The agent could not be asked, or said no.
#[derive(Debug, Error)]
pub enum AskError {
    /// Nothing listens there.
    #[error("cannot reach the agent at {}", path.display())]
    Connect {
        /// The control socket.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The conversation broke off.
    #[error("the agent did not answer")]
    Talk(#[source] io::Error),
    /// The answer is not one.
    #[error("the agent's answer does not parse")]
    Parse(#[source] serde_json::Error),
    /// The agent said no.
    #[error("the agent refused: {0}")]
    Refused(String),
}

/// Sends one verb and waits for its answer.
///
/// # Errors
/// [`AskError`].
pub fn ask(path: &Path, verb: &Verb) -> Result<Json, AskError> {
    let connect = |source| AskError::Connect { path: path.to_owned(), source };
    let mut stream = UnixStream::connect(path).map_err(connect)?;
    stream.set_read_timeout(Some(PATIENCE)).map_err(connect)?;
    let mut request = serde_json::to_vec(verb).map_err(AskError::Parse)?;
    request.push(b'\n');
    stream.write_all(&request).map_err(AskError::Talk)?;
    let mut line = String::new();
    BufReader::new(stream.take(ANSWER_BYTES_MAX)).read_line(&mut line).map_err(AskError::Talk)?;
    match serde_json::from_str(&line).map_err(AskError::Parse)? {
        Answer::Ok(value) => Ok(value),
        Answer::Refused(why) => Err(AskError::Refused(why)),
    }
}
