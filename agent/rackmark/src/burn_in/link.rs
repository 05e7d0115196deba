//! One stream to one process that works on a GPU. Nothing in here waits for the end of a process for longer than it
//! says: one that hangs in the driver may never end, not even by SIGKILL.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use rackmark_model::gpu_work::{GpuOrder, GpuReport};
use rackmark_model::ipc::{self, FrameError};
use rustix::process::{Pid, Signal, kill_process};
use thiserror::Error;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::process::{Child, Command};

use crate::config::CollectLaunch;
use crate::sampling::beside_this_binary;
use crate::sampling::frames::{Frames, ReadError};

/// From SIGTERM to SIGKILL, and from there to "it hangs in the kernel".
const GRACE: Duration = Duration::from_secs(2);
const KILLED_WITHIN: Duration = Duration::from_secs(8);

/// The process cannot be had, or does not speak as agreed.
#[derive(Debug, Error)]
pub enum LinkError {
    /// The program could not be started.
    #[error("cannot start {}, which works on GPUs", program.display())]
    Start {
        /// Which program.
        program: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Nothing listens on the socket.
    #[error("cannot reach {}, behind which GPUs are worked on", socket.display())]
    Connect {
        /// Which socket.
        socket: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The stream broke.
    #[error("the process that works on the GPU went away")]
    Broken(#[source] io::Error),
    /// It sent something that is not a report.
    #[error("the process that works on the GPU sent a malformed frame")]
    Malformed(#[source] FrameError),
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// It is gone.
    Gone,
    /// It had to be killed.
    Killed,
    /// It is still there; its process id, where that is known.
    Stuck(Option<u32>),
}

/// A process with its order.
pub struct Link {
    stream: UnixStream,
    child: Option<Child>,
    frames: Frames,
    pid: Option<u32>,
}

impl Link {
    /// Starts or reaches a process and gives it its order.
    ///
    /// # Errors
    /// Any [`LinkError`].
    pub async fn open(launch: &CollectLaunch, order: &GpuOrder) -> Result<Self, LinkError> {
        let (stream, child) = match launch {
            CollectLaunch::Socket(socket) => {
                let stream = UnixStream::connect(socket)
                    .await
                    .map_err(|source| LinkError::Connect { socket: socket.clone(), source })?;
                (stream, None)
            }
            CollectLaunch::Program(program) => {
                let program = beside_this_binary(program);
                let started = start(&program).map_err(|source| LinkError::Start { program, source })?;
                (started.0, Some(started.1))
            }
        };
        let pid = child.as_ref().and_then(Child::id);
        let mut link = Self { stream, child, frames: Frames::default(), pid };
        let mut frame = Vec::new();
        ipc::encode(order, &mut frame).map_err(LinkError::Malformed)?;
        link.stream.write_all(&frame).await.map_err(LinkError::Broken)?;
        Ok(link)
    }

    /// The next report. Cancelling keeps what was read so far, so it may stand in a `select`.
    ///
    /// # Errors
    /// [`LinkError::Broken`] or [`LinkError::Malformed`].
    pub async fn next(&mut self) -> Result<GpuReport, LinkError> {
        let report = self.frames.next(&mut self.stream).await.map_err(|error| match error {
            ReadError::Ended => LinkError::Broken(io::ErrorKind::UnexpectedEof.into()),
            ReadError::Read(source) => LinkError::Broken(source),
            ReadError::Malformed(source) => LinkError::Malformed(source),
        })?;
        // One that systemd started says who it is.
        if let GpuReport::Hello { pid } = report {
            self.pid.get_or_insert(pid);
        }
        Ok(report)
    }

    /// Closes the stream, which ends the process, and waits for that: politely, then less so.
    pub async fn close(self) -> End {
        let Self { mut stream, child, pid, .. } = self;
        let _ = stream.shutdown().await;
        let Some(mut child) = child else {
            // Started by systemd: the end of its stream is the end of the process, as far as can be seen from here.
            let mut rest = [0; 4096];
            let drained = async { while matches!(stream.read(&mut rest).await, Ok(read) if read > 0) {} };
            let ended = tokio::time::timeout(GRACE + KILLED_WITHIN, drained).await;
            return if ended.is_ok() { End::Gone } else { End::Stuck(pid) };
        };
        drop(stream);
        if tokio::time::timeout(GRACE / 2, child.wait()).await.is_ok() {
            return End::Gone;
        }
        if let Some(pid) = child.id().and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?)) {
            let _ = kill_process(pid, Signal::TERM);
        }
        if tokio::time::timeout(GRACE, child.wait()).await.is_ok() {
            return End::Killed;
        }
        let _ = child.start_kill();
        if tokio::time::timeout(KILLED_WITHIN, child.wait()).await.is_ok() {
            return End::Killed;
        }
        // Whoever waits for it would wait for good; the runtime reaps it if it ever ends.
        tokio::spawn(async move { child.wait().await });
        End::Stuck(pid)
    }
}

fn start(program: &Path) -> io::Result<(UnixStream, Child)> {
    let (ours, theirs) = StdUnixStream::pair()?;
    ours.set_nonblocking(true)?;
    let child =
        Command::new(program).stdin(Stdio::from(OwnedFd::from(theirs))).stdout(Stdio::null()).spawn()?;
    Ok((UnixStream::from_std(ours)?, child))
}
