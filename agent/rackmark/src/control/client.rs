//! Asks a running agent.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, sockopt};
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
    ask_within(path, verb, PATIENCE)
}

/// The same, for a caller with less time.
///
/// # Errors
/// [`AskError`].
pub fn ask_within(path: &Path, verb: &Verb, patience: Duration) -> Result<Json, AskError> {
    let failed = |source| AskError::Connect { path: path.to_owned(), source: timely(source, patience) };
    let broke_off = |source| AskError::Talk(timely(source, patience));
    let mut stream = connect(path, patience).map_err(failed)?;
    stream.set_read_timeout(Some(patience)).map_err(failed)?;
    let mut request = serde_json::to_vec(verb).map_err(AskError::Parse)?;
    request.push(b'\n');
    stream.write_all(&request).map_err(broke_off)?;
    let mut line = String::new();
    BufReader::new(stream.take(ANSWER_BYTES_MAX)).read_line(&mut line).map_err(broke_off)?;
    match serde_json::from_str(&line).map_err(AskError::Parse)? {
        Answer::Ok(value) => Ok(value),
        Answer::Refused(why) => Err(AskError::Refused(why)),
    }
}

/// A socket whose time is up says that it would block; that tells a person nothing.
fn timely(error: io::Error, patience: Duration) -> io::Error {
    match error.kind() {
        io::ErrorKind::WouldBlock => {
            io::Error::new(io::ErrorKind::TimedOut, format!("not within {:.1} s", patience.as_secs_f64()))
        }
        _ => error,
    }
}

/// Connects without waiting for longer than `patience`: an agent that hangs takes no connections, and after some
/// the kernel lets a plain connect wait for good.
fn connect(path: &Path, patience: Duration) -> io::Result<UnixStream> {
    let socket =
        rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    sockopt::set_socket_timeout(&socket, sockopt::Timeout::Send, Some(patience))?;
    rustix::net::connect(&socket, &SocketAddrUnix::new(path)?)?;
    Ok(UnixStream::from(socket))
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;
    use std::time::Instant;

    use super::*;

    #[test]
    fn an_agent_that_hangs_is_not_waited_for() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("control.sock");
        let _listener = UnixListener::bind(&path).expect("socket");
        let patience = Duration::from_millis(20);
        let began = Instant::now();
        let error = ask_within(&path, &Verb::Status, patience).expect_err("nobody answers");
        assert_eq!(crate::exit::chain(&error), "the agent did not answer: not within 0.0 s");
        // Until its queue is full, which is a matter of the system's limit.
        let mut waiting = Vec::new();
        let full = loop {
            match connect(&path, patience) {
                Ok(stream) => waiting.push(stream),
                Err(error) => break error,
            }
            assert!(waiting.len() < 10_000, "the queue has no end");
        };
        assert_eq!(full.kind(), io::ErrorKind::WouldBlock, "{full}");
        assert!(began.elapsed() < Duration::from_secs(5));
    }
}
