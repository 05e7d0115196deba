//! One stream to one process that runs hooks.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use rackmark_model::hook::{GRACE_MS, HookOrder, HookReport};
use rackmark_model::ipc::{self, FrameError, LENGTH_BYTES};
use thiserror::Error;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::process::{Child, Command};

use crate::config::{CollectLaunch, HookSettings};
use crate::sampling::beside_this_binary;

/// What the process may take beyond the time of a hook: to start, to look at the folder, and to end one that does not
/// listen, twice [`GRACE_MS`].
const BEYOND: Duration = Duration::from_millis(2 * GRACE_MS as u64 + 5000);

/// How long the process may take to end after its last report.
const END: Duration = Duration::from_secs(2);

/// Most reports: every file of a folder, and the last one.
const REPORTS_MAX: usize = 2048;

/// The process that runs hooks could not be used.
#[derive(Debug, Error)]
pub enum HookError {
    /// The program could not be started.
    #[error("cannot start {}, which runs hooks", program.display())]
    Start {
        /// Which program.
        program: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Nothing listens on the socket.
    #[error("cannot reach {}, behind which hooks run", socket.display())]
    Connect {
        /// Which socket.
        socket: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The stream broke.
    #[error("the process that runs hooks went away")]
    Broken(#[source] io::Error),
    /// It sent something that is not a report.
    #[error("the process that runs hooks sent a malformed frame")]
    Malformed(#[source] FrameError),
    /// It took too long.
    #[error("the process that runs hooks sent nothing for {} s", .0.as_secs())]
    Late(Duration),
    /// It does not come to an end.
    #[error("the process that runs hooks sent more than {REPORTS_MAX} reports")]
    TooMany,
}

/// Gives an order to a process started or reached for it, and hands every report to `take` as it comes. A process that
/// is left early ends its hook by itself, at the end of the stream; it is never killed, which would leave the hook.
///
/// # Errors
/// Any [`HookError`]; what came before it counts all the same.
pub async fn ask(
    settings: &HookSettings,
    order: &HookOrder,
    mut take: impl FnMut(HookReport),
) -> Result<(), HookError> {
    let (mut stream, child) = connect(settings).await?;
    let mut frame = Vec::new();
    ipc::encode(order, &mut frame).map_err(HookError::Malformed)?;
    let deadline = settings.timeout(order.event) + BEYOND;
    within(deadline, async { stream.write_all(&frame).await.map_err(HookError::Broken) }).await?;
    for _ in 0..REPORTS_MAX {
        match within(deadline, report(&mut stream)).await? {
            HookReport::Done => {
                drop(stream);
                if let Some(mut child) = child {
                    let _ = tokio::time::timeout(END, child.wait()).await;
                }
                return Ok(());
            }
            report => take(report),
        }
    }
    Err(HookError::TooMany)
}

async fn within<T>(
    deadline: Duration,
    task: impl Future<Output = Result<T, HookError>>,
) -> Result<T, HookError> {
    tokio::time::timeout(deadline, task).await.unwrap_or(Err(HookError::Late(deadline)))
}

async fn report(stream: &mut UnixStream) -> Result<HookReport, HookError> {
    let mut prefix = [0; LENGTH_BYTES];
    stream.read_exact(&mut prefix).await.map_err(HookError::Broken)?;
    let mut body = vec![0; ipc::body_length(prefix).map_err(HookError::Malformed)?];
    stream.read_exact(&mut body).await.map_err(HookError::Broken)?;
    ipc::decode(&body).map_err(HookError::Malformed)
}

async fn connect(settings: &HookSettings) -> Result<(UnixStream, Option<Child>), HookError> {
    match &settings.launch {
        CollectLaunch::Socket(socket) => {
            let stream = UnixStream::connect(socket)
                .await
                .map_err(|source| HookError::Connect { socket: socket.clone(), source })?;
            Ok((stream, None))
        }
        CollectLaunch::Program(program) => {
            let program = beside_this_binary(program);
            let started = start(&program, &settings.dir);
            let (stream, child) = started.map_err(|source| HookError::Start { program, source })?;
            Ok((stream, Some(child)))
        }
    }
}

fn start(program: &Path, dir: &Path) -> io::Result<(UnixStream, Child)> {
    let (ours, theirs) = StdUnixStream::pair()?;
    ours.set_nonblocking(true)?;
    let child = Command::new(program)
        .arg("--hooks-dir")
        .arg(dir)
        .env_clear()
        .stdin(Stdio::from(OwnedFd::from(theirs)))
        .stdout(Stdio::null())
        .spawn()?;
    Ok((UnixStream::from_std(ours)?, child))
}
