//! One stream to the process with the TPM. A TPM that takes its time delays only who asks it; one that hangs is
//! left behind, with its process.
//!
//! An order is answered within 60 s of being handed over. Before that, where a process is needed, it waits up to 10 s
//! for the one before to end and up to 30 s after failures, so that what fails at once is not started in a loop.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use rackmark_model::ipc::{self, FrameError, LENGTH_BYTES};
use rackmark_model::tpm::{KeptKey, TpmFault, TpmKeys, TpmOrder, TpmQuote, TpmReport};
use thiserror::Error;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::process::{Child, Command};
use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::config::{Attest, CollectLaunch};
use crate::sampling::beside_this_binary;

/// How long one order may take. Discrete TPMs make an RSA key in tens of seconds and sign in one.
const DEADLINE: Duration = Duration::from_secs(60);

/// How long a process may take to end after its stream was closed, before it is sent SIGKILL, and again before it is
/// called stuck. It gives its TPM 4 s to finish what it is at.
const LEAVE_GRACE: Duration = Duration::from_secs(5);

/// First rest after a process failed; doubles up to the longest with every further one.
const REST: Duration = Duration::from_millis(500);
const REST_MAX: Duration = Duration::from_secs(30);

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
    /// The process before hangs in the kernel, and another one would hang with it.
    #[error("process {0}, which has the TPM, hangs in the kernel")]
    Stuck(u32),
    /// The TPM, or its process, said why not.
    #[error("the TPM does not do it ({}): {words}", fault.name())]
    Refused {
        /// Of what sort.
        fault: TpmFault,
        /// In words.
        words: String,
    },
}

/// Labels of why an order to the TPM failed, [`TpmLinkError::reason`].
pub const REASONS: [&str; 12] = [
    "unreachable",
    "broken",
    "malformed",
    "late",
    "stuck",
    "absent",
    "no_permission",
    "lockout",
    "busy",
    "cleared",
    "wrong_credential",
    "other",
];

impl TpmLinkError {
    /// Which of [`REASONS`].
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Start { .. } | Self::Connect { .. } => "unreachable",
            Self::Broken(_) => "broken",
            Self::Malformed(_) | Self::OtherAnswer => "malformed",
            Self::Late(_) => "late",
            Self::Stuck(_) => "stuck",
            Self::Refused { fault, .. } => fault.name(),
        }
    }

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
    /// The process before, as long as it has not ended.
    before: Option<Leaving>,
    /// No other process is started earlier.
    rest_until: Option<Instant>,
    /// How long the next rest is.
    rest: Duration,
}

struct Open {
    stream: UnixStream,
    /// Where it was started here.
    child: Option<Child>,
}

/// A process that was left.
struct Leaving {
    pid: u32,
    ended: JoinHandle<()>,
}

impl TpmLink {
    /// Nothing is started yet.
    pub fn new(settings: Attest) -> Self {
        Self { settings, deadline: DEADLINE, open: None, before: None, rest_until: None, rest: REST }
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
        self.leave();
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
            TpmReport::Quoted(quote) => {
                tracing::debug!(took_ms = quote.took_ms, "quoted");
                Ok(*quote)
            }
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
            TpmReport::Failed { fault, words } => {
                if fault == TpmFault::Absent {
                    // A TPM that comes back is opened again.
                    self.leave();
                }
                TpmLinkError::Refused { fault, words }
            }
            _ => {
                self.leave();
                self.tire();
                TpmLinkError::OtherAnswer
            }
        }
    }

    async fn ask(&mut self, order: &TpmOrder) -> Result<TpmReport, TpmLinkError> {
        self.ready().await?;
        // It is put back with its answer: half a frame may be on its way otherwise, also where nobody waits any more,
        // and would be taken for the next one.
        let mut open = match self.open.take() {
            Some(open) => open,
            None => self.connect().await.inspect_err(|_| self.tire())?,
        };
        let answer = tokio::time::timeout(self.deadline, exchange(&mut open.stream, order)).await;
        let answer = answer.unwrap_or(Err(TpmLinkError::Late(self.deadline)));
        if answer.is_ok() {
            self.open = Some(open);
            (self.rest, self.rest_until) = (REST, None);
        } else {
            self.before = open.leave();
            self.tire();
        }
        answer
    }

    fn leave(&mut self) {
        if let Some(open) = self.open.take() {
            self.before = open.leave();
        }
    }

    /// The next process waits, longer each time.
    fn tire(&mut self) {
        self.rest_until = Some(Instant::now() + self.rest);
        self.rest = (self.rest * 2).min(REST_MAX);
    }

    /// Waits for the process before to end and for the rest to be over, where another one is needed.
    async fn ready(&mut self) -> Result<(), TpmLinkError> {
        if self.open.is_some() {
            return Ok(());
        }
        if let Some(Leaving { pid, ended }) = &mut self.before {
            // Without the kernel's resource manager a TPM has one client at a time; with it, a process that hangs in
            // the driver would be joined by another one.
            if tokio::time::timeout(LEAVE_GRACE * 2, ended).await.is_err() {
                return Err(TpmLinkError::Stuck(*pid));
            }
            self.before = None;
        }
        if let Some(until) = self.rest_until {
            tokio::time::sleep_until(until).await;
        }
        Ok(())
    }

    async fn connect(&self) -> Result<Open, TpmLinkError> {
        match &self.settings.launch {
            CollectLaunch::Socket(socket) => {
                let stream = UnixStream::connect(socket)
                    .await
                    .map_err(|source| TpmLinkError::Connect { socket: socket.clone(), source })?;
                Ok(Open { stream, child: None })
            }
            CollectLaunch::Program(program) => {
                let program = beside_this_binary(program);
                let started = start(&program, &self.settings.tcti);
                started.map_err(|source| TpmLinkError::Start { program, source })
            }
        }
    }
}

impl Open {
    /// Closes the stream, which tells the process to end, and sees to it that one started here does, without waiting.
    fn leave(self) -> Option<Leaving> {
        let Self { stream, child } = self;
        drop(stream);
        let mut child = child?;
        let pid = child.id()?;
        // Without a runtime the daemon is at its end, and the process is killed as its handle drops.
        let runtime = Handle::try_current().ok()?;
        let ended = runtime.spawn(async move {
            if tokio::time::timeout(LEAVE_GRACE, child.wait()).await.is_ok() {
                return;
            }
            if let Err(error) = child.start_kill() {
                tracing::debug!(pid, %error, "the process with the TPM could not be killed");
            }
            if tokio::time::timeout(LEAVE_GRACE, child.wait()).await.is_err() {
                tracing::error!(
                    pid,
                    "the process with the TPM does not end even after SIGKILL: it hangs in the driver"
                );
                let _ = child.wait().await;
            }
        });
        Some(Leaving { pid, ended })
    }
}

impl Drop for TpmLink {
    fn drop(&mut self) {
        self.leave();
    }
}

async fn exchange(stream: &mut UnixStream, order: &TpmOrder) -> Result<TpmReport, TpmLinkError> {
    let mut frame = Vec::new();
    ipc::encode(order, &mut frame).map_err(TpmLinkError::Malformed)?;
    stream.write_all(&frame).await.map_err(TpmLinkError::Broken)?;
    let mut prefix = [0; LENGTH_BYTES];
    stream.read_exact(&mut prefix).await.map_err(TpmLinkError::Broken)?;
    let mut body = vec![0; ipc::body_length(prefix).map_err(TpmLinkError::Malformed)?];
    stream.read_exact(&mut body).await.map_err(TpmLinkError::Broken)?;
    ipc::decode(&body).map_err(TpmLinkError::Malformed)
}

fn start(program: &Path, tcti: &str) -> io::Result<Open> {
    let (ours, theirs) = StdUnixStream::pair()?;
    ours.set_nonblocking(true)?;
    let child = Command::new(program)
        .args(["--tpm", tcti])
        // tpm2-tss would write to standard error by itself.
        .env("TSS2_LOG", "all+NONE")
        .stdin(Stdio::from(OwnedFd::from(theirs)))
        .stdout(Stdio::null())
        .kill_on_drop(true)
        .spawn()?;
    Ok(Open { stream: UnixStream::from_std(ours)?, child: Some(child) })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    use rackmark_e2e::process::{binary, name, wait_for};
    use rackmark_e2e::swtpm::{Certified, Chip, Swtpm};
    use rackmark_e2e::tpm_proxy::{Fate, TpmProxy};
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

    fn of_the_build(tcti: String) -> Attest {
        let program = binary("rackmark-attest");
        Attest { tpm: TpmUse::Auto, launch: CollectLaunch::Program(program), tcti }
    }

    fn script(folder: &Path, text: &str) -> Attest {
        let program = folder.join("attest");
        std::fs::write(&program, text).expect("script");
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).expect("script");
        Attest { launch: CollectLaunch::Program(program), ..of_the_build(String::new()) }
    }

    /// A program that ends at once, as the dynamic loader makes it do where tpm2-tss is not installed.
    #[tokio::test]
    async fn what_fails_at_once_is_not_started_in_a_loop() {
        let folder = tempfile::tempdir().expect("folder");
        let mut link = TpmLink::new(script(folder.path(), "#!/bin/sh\necho >>\"$0.starts\"\nexit 127\n"));
        let begun = Instant::now();
        for _ in 0..3 {
            assert!(matches!(link.open(None).await, Err(TpmLinkError::Broken(_))));
        }
        assert!(begun.elapsed() >= REST * 3, "500 ms and 1 s between three: {:?}", begun.elapsed());
        let starts = std::fs::read(folder.path().join("attest.starts")).expect("starts");
        assert_eq!(starts, b"\n\n\n");
    }

    #[tokio::test]
    async fn a_process_that_does_not_leave_is_killed_and_the_next_one_waits_for_that() {
        let folder = tempfile::tempdir().expect("folder");
        let text = "#!/bin/sh\necho $$ >>\"$0.pids\"\nexec sleep 1000\n";
        let mut link = TpmLink::new(script(folder.path(), text)).within(Duration::from_millis(100));
        assert!(matches!(link.open(None).await, Err(TpmLinkError::Late(_))));
        let pids = || std::fs::read_to_string(folder.path().join("attest.pids")).unwrap_or_default();
        let first: u32 = pids().trim().parse().expect("pid");
        assert!(name(first).is_some());
        assert!(matches!(link.open(None).await, Err(TpmLinkError::Late(_))));
        assert!(name(first).is_none(), "one at a time");
        assert_eq!(pids().lines().count(), 2);
    }

    #[tokio::test]
    async fn a_process_that_cannot_be_killed_is_not_joined_by_another() {
        let folder = tempfile::tempdir().expect("folder");
        let mut link = TpmLink::new(script(folder.path(), "#!/bin/sh\necho >\"$0.started\"\n"));
        let ended = tokio::spawn(std::future::pending());
        link.before = Some(Leaving { pid: 4711, ended });
        tokio::time::pause();
        assert!(matches!(link.open(None).await, Err(TpmLinkError::Stuck(4711))));
        assert!(!folder.path().join("attest.started").exists());
    }

    /// Every answer of this TPM takes 3 s, which is far beyond what it is given here.
    #[tokio::test]
    async fn a_slow_tpm_delays_nobody_else() {
        let chip = Chip::manufacture(Certified::ByNobody).expect("chip");
        let tpm = Swtpm::power(&chip).expect("TPM");
        let proxy = TpmProxy::before(&tpm, |_| Fate::Slow(Duration::from_secs(3))).expect("proxy");
        let mut link = TpmLink::new(of_the_build(proxy.tcti())).within(Duration::from_secs(1));
        let beats = Arc::new(AtomicU32::new(0));
        let heart = tokio::spawn({
            let beats = beats.clone();
            async move {
                loop {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                    beats.fetch_add(1, Ordering::SeqCst);
                }
            }
        });
        let begun = Instant::now();
        assert!(matches!(link.open(None).await, Err(TpmLinkError::Late(_))));
        assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
        assert!(beats.load(Ordering::SeqCst) > 50, "the runtime goes on: {beats:?}");
        heart.abort();
        // Once it is quick again it is used again, by a process of its own.
        proxy.rule(|_| Fate::Pass);
        link.deadline = DEADLINE;
        let keys = link.open(None).await.expect("keys");
        link.quote([1; 32], 0xff).await.expect("quote");
        assert!(keys.is_new);
    }

    #[tokio::test]
    async fn a_tpm_that_vanishes_and_comes_back_is_opened_again() {
        let chip = Chip::manufacture(Certified::ByNobody).expect("chip");
        let tpm = Swtpm::power(&chip).expect("TPM");
        let proxy = TpmProxy::before(&tpm, |_| Fate::Pass).expect("proxy");
        let mut link = TpmLink::new(of_the_build(proxy.tcti()));
        let keys = link.open(None).await.expect("keys");
        proxy.rule(|_| Fate::Break);
        let gone = link.quote([1; 32], 0xff).await.expect_err("gone");
        assert_eq!(gone.fault(), Some(TpmFault::Absent));
        assert!(!link.is_open());
        proxy.rule(|_| Fate::Pass);
        let again = link.open(Some(keys.kept)).await.expect("keys");
        assert!(!again.is_new);
        link.quote([1; 32], 0xff).await.expect("quote");
    }

    #[tokio::test]
    async fn the_process_goes_with_the_link() {
        let chip = Chip::manufacture(Certified::ByNobody).expect("chip");
        let tpm = Swtpm::power(&chip).expect("TPM");
        let mut link = TpmLink::new(of_the_build(tpm.tcti()));
        link.open(None).await.expect("keys");
        let child = link.open.as_ref().and_then(|open| open.child.as_ref());
        let pid = child.and_then(Child::id).expect("pid");
        drop(link);
        let gone = tokio::task::spawn_blocking(move || {
            wait_for("the end", Duration::from_secs(10), || name(pid).is_none().then_some(())).is_ok()
        });
        assert!(gone.await.expect("wait"));
    }
}
