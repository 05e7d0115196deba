//! One stream to the process with the TPM. A TPM that takes its time delays only who asks it; one that hangs is
//! left behind, with its process.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use rackmark_model::ipc::{self, FrameError, LENGTH_BYTES};
use rackmark_model::tpm::{KeptKey, TpmFault, TpmKeys, TpmOrder, TpmQuote, TpmReport};
use thiserror::Error;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::process::{Child, Command};

use crate::config::{Attest, CollectLaunch};
use crate::sampling::beside_this_binary;

/// How long one order may take. Discrete TPMs make an RSA key in tens of seconds and sign in one.
const DEADLINE: Duration = Duration::from_secs(60);

/// The TPM did not do it.
#[derive(Debug, Error)]
pub enum TpmLinkError {
    /// The program could not be started.
    #[error("cannot start {}, which talks to the TPM", program.display())]
    Start {
        /// Which program.
        program: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Nothing listens on the socket.
    #[error("cannot reach {}, behind which the TPM is", socket.display())]
    Connect {
        /// Which socket.
        socket: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The stream broke.
    #[error("the process with the TPM went away")]
    Broken(#[source] io::Error),
    /// It sent something that is not a report, or not the one that was asked for.
    #[error("the process with the TPM sent a malformed frame")]
    Malformed(#[source] FrameError),
    /// It answered something else.
    #[error("the process with the TPM answered something else")]
    OtherAnswer,
    /// It took too long.
    #[error("the TPM did not answer within {} s", .0.as_secs())]
    Late(Duration),
    /// The TPM, or its process, said why not.
    #[error("the TPM does not do it ({}): {words}", fault.name())]
    Refused {
        /// Of what sort.
        fault: TpmFault,
        /// In words.
        words: String,
    },
}

impl TpmLinkError {
    /// What the TPM said, where it did.
    pub fn fault(&self) -> Option<TpmFault> {
        match self {
            Self::Refused { fault, .. } => Some(*fault),
            _ => None,
        }
    }
}

/// The stream, made when it is needed and again after it broke.
pub struct TpmLink {
    settings: Attest,
    deadline: Duration,
    open: Option<Open>,
}

struct Open {
    stream: UnixStream,
    /// Killed when it is dropped.
    _child: Option<Child>,
}

impl TpmLink {
    /// Nothing is started yet.
    pub fn new(settings: Attest) -> Self {
        Self { settings, deadline: DEADLINE, open: None }
    }

    /// With another deadline.
    #[cfg(test)]
    pub fn within(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// The keys of the TPM.
    ///
    /// # Errors
    /// Any [`TpmLinkError`].
    pub async fn open(&mut self, kept: Option<KeptKey>) -> Result<TpmKeys, TpmLinkError> {
        // A fresh process: what an earlier one left in the TPM goes with it.
        self.open = None;
        match self.ask(&TpmOrder::Open { kept }).await? {
            TpmReport::Opened(keys) => Ok(*keys),
            other => Err(self.unexpected(other)),
        }
    }

    /// A quote over registers of the SHA-256 bank.
    ///
    /// # Errors
    /// Any [`TpmLinkError`].
    pub async fn quote(&mut self, qualifying: [u8; 32], registers: u32) -> Result<TpmQuote, TpmLinkError> {
        match self.ask(&TpmOrder::Quote { qualifying, registers }).await? {
            TpmReport::Quoted(quote) => Ok(*quote),
            other => Err(self.unexpected(other)),
        }
    }

    /// The secret of a credential.
    ///
    /// # Errors
    /// Any [`TpmLinkError`].
    pub async fn activate(
        &mut self,
        credential_blob: Vec<u8>,
        encrypted_secret: Vec<u8>,
    ) -> Result<Vec<u8>, TpmLinkError> {
        match self.ask(&TpmOrder::Activate { credential_blob, encrypted_secret }).await? {
            TpmReport::Activated(secret) => Ok(secret),
            other => Err(self.unexpected(other)),
        }
    }

    /// True while a process has its keys open.
    pub const fn is_open(&self) -> bool {
        self.open.is_some()
    }

    fn unexpected(&mut self, report: TpmReport) -> TpmLinkError {
        match report {
            TpmReport::Failed { fault, words } => TpmLinkError::Refused { fault, words },
            _ => {
                self.open = None;
                TpmLinkError::OtherAnswer
            }
        }
    }

    async fn ask(&mut self, order: &TpmOrder) -> Result<TpmReport, TpmLinkError> {
        let deadline = self.deadline;
        let answer = tokio::time::timeout(deadline, self.exchange(order)).await;
        let answer = answer.unwrap_or(Err(TpmLinkError::Late(deadline)));
        if answer.is_err() {
            // Half a frame may be on its way: another answer would be taken for the next.
            self.open = None;
        }
        answer
    }

    async fn exchange(&mut self, order: &TpmOrder) -> Result<TpmReport, TpmLinkError> {
        if self.open.is_none() {
            self.open = Some(self.connect().await?);
        }
        let Some(Open { stream, .. }) = &mut self.open else { return Err(TpmLinkError::OtherAnswer) };
        let mut frame = Vec::new();
        ipc::encode(order, &mut frame).map_err(TpmLinkError::Malformed)?;
        stream.write_all(&frame).await.map_err(TpmLinkError::Broken)?;
        let mut prefix = [0; LENGTH_BYTES];
        stream.read_exact(&mut prefix).await.map_err(TpmLinkError::Broken)?;
        let mut body = vec![0; ipc::body_length(prefix).map_err(TpmLinkError::Malformed)?];
        stream.read_exact(&mut body).await.map_err(TpmLinkError::Broken)?;
        ipc::decode(&body).map_err(TpmLinkError::Malformed)
    }

    async fn connect(&self) -> Result<Open, TpmLinkError> {
        match &self.settings.launch {
            CollectLaunch::Socket(socket) => {
                let stream = UnixStream::connect(socket)
                    .await
                    .map_err(|source| TpmLinkError::Connect { socket: socket.clone(), source })?;
                Ok(Open { stream, _child: None })
            }
            CollectLaunch::Program(program) => {
                let program = beside_this_binary(program);
                let started = || -> io::Result<Open> {
                    let (ours, theirs) = StdUnixStream::pair()?;
                    ours.set_nonblocking(true)?;
                    let child = Command::new(&program)
                        .args(["--tpm", &self.settings.tcti])
                        // tpm2-tss would write to standard error by itself.
                        .env("TSS2_LOG", "all+NONE")
                        .stdin(Stdio::from(OwnedFd::from(theirs)))
                        .stdout(Stdio::null())
                        .kill_on_drop(true)
                        .spawn()?;
                    Ok(Open { stream: UnixStream::from_std(ours)?, _child: Some(child) })
                };
                started().map_err(|source| TpmLinkError::Start { program: program.clone(), source })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use tokio::net::UnixListener;

    use super::*;
    use crate::config::TpmUse;

    fn settings(socket: PathBuf) -> Attest {
        Attest { tpm: TpmUse::Auto, launch: CollectLaunch::Socket(socket), tcti: String::new() }
    }

    async fn answered(stream: &mut UnixStream, bytes: &[u8]) {
        let mut prefix = [0; LENGTH_BYTES];
        stream.read_exact(&mut prefix).await.expect("an order");
        let mut body = vec![0; ipc::body_length(prefix).expect("length")];
        stream.read_exact(&mut body).await.expect("an order");
        ipc::decode::<TpmOrder>(&body).expect("an order");
        stream.write_all(bytes).await.expect("answer");
    }

    fn frame(report: &TpmReport) -> Vec<u8> {
        let mut frame = Vec::new();
        ipc::encode(report, &mut frame).expect("frame");
        frame
    }

    #[tokio::test]
    async fn a_silent_tpm_is_left_behind_and_the_next_order_gets_its_own_answer() {
        let folder = tempfile::tempdir().expect("folder");
        let socket = folder.path().join("attest.sock");
        let listener = UnixListener::bind(&socket).expect("socket");
        let mut link = TpmLink::new(settings(socket)).within(Duration::from_millis(100));
        let tpm = tokio::spawn(async move {
            // The first connection never answers; its late answer must not be taken for the second one's.
            let (mut slow, _) = listener.accept().await.expect("connection");
            let (mut quick, _) = listener.accept().await.expect("connection");
            answered(&mut quick, &frame(&TpmReport::Activated(b"right".to_vec()))).await;
            let _ = slow.write_all(&frame(&TpmReport::Activated(b"late".to_vec()))).await;
        });
        let begun = Instant::now();
        assert!(matches!(link.activate(Vec::new(), Vec::new()).await, Err(TpmLinkError::Late(_))));
        assert!(begun.elapsed() < Duration::from_secs(5));
        assert!(!link.is_open());
        assert_eq!(link.activate(Vec::new(), Vec::new()).await.expect("secret"), b"right");
        tpm.await.expect("tpm");
    }

    #[tokio::test]
    async fn garbage_and_other_answers_are_told_apart() {
        let folder = tempfile::tempdir().expect("folder");
        let socket = folder.path().join("attest.sock");
        let listener = UnixListener::bind(&socket).expect("socket");
        let mut link = TpmLink::new(settings(socket)).within(Duration::from_secs(5));
        let failed = TpmReport::Failed { fault: TpmFault::Lockout, words: "locked".to_owned() };
        tokio::spawn(async move {
            let answers = [b"\x02\x00\x00\x00\x01\x63".to_vec(), frame(&TpmReport::Activated(Vec::new()))];
            for answer in answers {
                let (mut stream, _) = listener.accept().await.expect("connection");
                answered(&mut stream, &answer).await;
                // Until the other side goes.
                let _ = stream.read(&mut [0]).await;
            }
            let (mut stream, _) = listener.accept().await.expect("connection");
            answered(&mut stream, &frame(&failed)).await;
            answered(&mut stream, &frame(&failed)).await;
        });
        assert!(matches!(link.quote([0; 32], 1).await, Err(TpmLinkError::Malformed(_))));
        assert!(matches!(link.quote([0; 32], 1).await, Err(TpmLinkError::OtherAnswer)));
        // What the TPM refuses leaves the stream as it is.
        for _ in 0..2 {
            let refused = link.quote([0; 32], 1).await.expect_err("refused");
            assert_eq!(refused.fault(), Some(TpmFault::Lockout));
            assert!(link.is_open());
        }
    }
}
