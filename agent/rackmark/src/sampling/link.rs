//! One stream to one sampler process.
//!
//! A sampler may hang in the kernel where not even SIGKILL reaches it, so
//! nothing in here ever waits for its end: the stream is closed, the process is
//! asked and then told to go, and a process that stays is reported by its pid.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use rackmark_model::ipc::{self, FrameError, SamplerOrder, SamplerReport};
use thiserror::Error;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::process::{Child, Command};

use super::frames::{Frames, ReadError};
use crate::config::{Config, SamplerLaunch};

/// How long a sampler may take to leave after its stream was closed, before it
/// is sent SIGKILL, and again before it is called stuck.
const LEAVE_GRACE: Duration = Duration::from_secs(2);

/// A sampler that cannot be had, or that does not speak as agreed.
#[derive(Debug, Error)]
pub enum LinkError {
    /// The program could not be started.
    #[error("cannot start sampler {}", program.display())]
    Start {
        /// Which program.
        program: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Nothing listens on the socket.
    #[error("cannot reach sampler socket {}", socket.display())]
    Connect {
        /// Which socket.
        socket: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The order could not be handed over.
    #[error("cannot hand the order to the sampler")]
    Order(#[source] io::Error),
    /// The sampler closed the stream.
    #[error("the sampler ended")]
    Ended,
    /// Reading failed.
    #[error("cannot read from the sampler")]
    Read(#[source] io::Error),
    /// It sent something that is not a report.
    #[error("the sampler sent a malformed frame")]
    Malformed(#[source] FrameError),
}

/// A running sampler.
pub struct Link {
    stream: UnixStream,
    child: Option<Child>,
    frames: Frames,
}

impl Link {
    /// Starts or reaches a sampler and gives it its order.
    ///
    /// # Errors
    /// [`LinkError::Start`], [`LinkError::Connect`] or [`LinkError::Order`].
    pub async fn open(config: &Config, order: &SamplerOrder) -> Result<Self, LinkError> {
        let (stream, child) = match &config.sampler {
            SamplerLaunch::Socket(socket) => {
                let stream = UnixStream::connect(socket)
                    .await
                    .map_err(|source| LinkError::Connect { socket: socket.clone(), source })?;
                (stream, None)
            }
            SamplerLaunch::Program { program, nvml_library } => {
                let program = beside_this_binary(program);
                let started = start(&program, nvml_library, &config.sysfs_root);
                let (stream, child) = started.map_err(|source| LinkError::Start { program, source })?;
                (stream, Some(child))
            }
        };
        let mut link = Self { stream, child, frames: Frames::default() };
        let mut frame = Vec::new();
        ipc::encode(order, &mut frame).map_err(LinkError::Malformed)?;
        link.stream.write_all(&frame).await.map_err(LinkError::Order)?;
        Ok(link)
    }

    /// The next report. Cancelling keeps what was read so far, so it may stand
    /// in a `select`.
    ///
    /// # Errors
    /// [`LinkError::Ended`], [`LinkError::Read`] or [`LinkError::Malformed`].
    pub async fn next(&mut self) -> Result<SamplerReport, LinkError> {
        self.frames.next(&mut self.stream).await.map_err(|error| match error {
            ReadError::Ended => LinkError::Ended,
            ReadError::Read(source) => LinkError::Read(source),
            ReadError::Malformed(source) => LinkError::Malformed(source),
        })
    }

    /// Tells the sampler to end and waits until it has, which is when its driver
    /// handles are closed; at the latest for `longest`.
    pub async fn close_and_wait(&mut self, longest: Duration) {
        let closed = async {
            if self.stream.shutdown().await.is_ok() {
                let mut rest = [0; 4096];
                while matches!(self.stream.read(&mut rest).await, Ok(read) if read > 0) {}
            }
            if let Some(child) = &mut self.child {
                let _ = child.wait().await;
            }
        };
        if tokio::time::timeout(longest, closed).await.is_err() {
            tracing::warn!("sampler has not ended yet; its driver handles may still be open");
        }
    }

    /// Closes the stream, which tells the sampler to end, and sees to it that a
    /// sampler started here goes, without making the caller wait. `stuck` is
    /// called with its pid if it outlives SIGKILL, and `gone` once it ends after all.
    pub fn walk_away(
        self,
        stuck: impl FnOnce(u32) + Send + 'static,
        gone: impl FnOnce(u32) + Send + 'static,
    ) {
        drop(self.stream);
        let Some(mut child) = self.child else { return };
        let Some(pid) = child.id() else { return };
        tokio::spawn(async move {
            if tokio::time::timeout(LEAVE_GRACE, child.wait()).await.is_ok() {
                return;
            }
            if let Err(error) = child.start_kill() {
                tracing::debug!(pid, %error, "sampler could not be killed");
            }
            if tokio::time::timeout(LEAVE_GRACE, child.wait()).await.is_ok() {
                return;
            }
            stuck(pid);
            if child.wait().await.is_ok() {
                gone(pid);
            }
        });
    }
}

fn start(program: &Path, nvml_library: &str, sysfs_root: &Path) -> io::Result<(UnixStream, Child)> {
    let (ours, theirs) = StdUnixStream::pair()?;
    ours.set_nonblocking(true)?;
    let child = Command::new(program)
        .arg("--nvml-library")
        .arg(nvml_library)
        .arg("--sysfs-root")
        .arg(sysfs_root)
        .stdin(Stdio::from(OwnedFd::from(theirs)))
        .stdout(Stdio::null())
        .spawn()?;
    Ok((UnixStream::from_std(ours)?, child))
}

/// A bare name means the binary beside this one, so that a build folder and an
/// installed package both work without a search path.
pub fn beside_this_binary(program: &Path) -> PathBuf {
    if program.components().count() > 1 {
        return program.to_owned();
    }
    let here = std::env::current_exe().ok().and_then(|exe| exe.parent().map(|folder| folder.join(program)));
    here.filter(|candidate| candidate.exists()).unwrap_or_else(|| program.to_owned())
}
