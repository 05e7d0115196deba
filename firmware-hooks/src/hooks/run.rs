//! One hook as a process: what it is given, what is read from it, and how it is ended.
//!
//! It has a process group of its own, so that what it started ends with it: when its time is over the group gets
//! SIGTERM, [`GRACE_MS`] later SIGKILL, and so does what is left of the group when the hook itself has ended. Nothing
//! in here waits for anything but [`poll`], and never longer than the next of these times.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rackmark_model::hook::{GRACE_MS, HookEnd, HookRun};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};
use thiserror::Error;

use super::find::Hook;
use super::output::{STDERR_BYTES_MAX, STDOUT_BYTES_MAX, parse, words};

/// The search path of a hook: all of its environment.
pub const PATH: &str = "/usr/sbin:/usr/bin:/sbin:/bin";

/// Longest reason for which a hook did not start, in bytes.
const REASON_BYTES_MAX: usize = 256;

/// Bytes that are read or written at once.
const CHUNK: usize = 4096;

/// Whoever ordered the run went away; the hook was ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("whoever ordered the hooks went away")]
pub struct Gone;

/// Runs a hook with `document` on its standard input, for at most `timeout`. `orderer` is the stream of whoever
/// ordered it: its end, or anything more that comes from there, ends the hook.
///
/// # Errors
/// [`Gone`].
pub fn run(
    hook: &Hook,
    document: &[u8],
    timeout: Duration,
    orderer: BorrowedFd<'_>,
) -> Result<HookRun, Gone> {
    let begun = Instant::now();
    let mut run = HookRun {
        name: hook.name.clone(),
        end: HookEnd::NotStarted(String::new()),
        took_ms: 0,
        output: parse(&[], false),
        stderr: String::new(),
        stdout_cut: false,
        stderr_cut: false,
    };
    match Running::start(hook, document) {
        Ok(mut running) => {
            let ended = running.watch(begun + timeout, orderer);
            running.finish();
            run.end = ended?;
            run.output = parse(&running.stdout.kept, running.stdout.cut);
            run.stderr = words(&running.stderr.kept);
            run.stdout_cut = running.stdout.cut;
            run.stderr_cut = running.stderr.cut;
        }
        Err(error) => {
            let mut reason = error.to_string();
            reason.truncate(reason.floor_char_boundary(REASON_BYTES_MAX));
            run.end = HookEnd::NotStarted(reason);
        }
    }
    run.took_ms = u32::try_from(begun.elapsed().as_millis()).unwrap_or(u32::MAX);
    Ok(run)
}

/// A stream that is read up to a limit, and emptied beyond it, so that the hook does not wait for us.
struct Kept<S> {
    stream: Option<S>,
    kept: Vec<u8>,
    most: usize,
    cut: bool,
}

impl<S: Read + AsFd> Kept<S> {
    fn new(stream: Option<S>, most: usize) -> io::Result<Self> {
        stream.as_ref().map_or(Ok(()), never_wait)?;
        Ok(Self { stream, kept: Vec::new(), most, cut: false })
    }

    /// Reads what is there, once; false where nothing is.
    fn take(&mut self) -> bool {
        let Some(stream) = &mut self.stream else { return false };
        let mut chunk = [0; CHUNK];
        match stream.read(&mut chunk) {
            Ok(0) => self.stream = None,
            Ok(bytes) => {
                let room = (self.most - self.kept.len()).min(bytes);
                self.kept.extend_from_slice(&chunk[..room]);
                self.cut |= room < bytes;
                return true;
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return true,
            Err(_) => self.stream = None,
        }
        false
    }

    /// Reads what a hook that has ended left; no more than counts, for a process that escaped may go on writing.
    fn drain(&mut self) {
        while !self.cut && self.take() {}
    }
}

/// A hook that runs.
struct Running<'a> {
    child: Child,
    group: Pid,
    /// Readable as soon as the hook has ended.
    ended: OwnedFd,
    stdin: Option<ChildStdin>,
    left: &'a [u8],
    stdout: Kept<ChildStdout>,
    stderr: Kept<ChildStderr>,
}

impl<'a> Running<'a> {
    fn start(hook: &Hook, document: &'a [u8]) -> io::Result<Self> {
        let mut child = Command::new(&hook.path)
            .env_clear()
            .env("PATH", PATH)
            .current_dir("/")
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let group = Pid::from_child(&child);
        let watched = || -> io::Result<_> {
            let ended = pidfd_open(group, PidfdFlags::empty())?;
            let stdin = child.stdin.take();
            stdin.as_ref().map_or(Ok(()), never_wait)?;
            let stdout = Kept::new(child.stdout.take(), STDOUT_BYTES_MAX)?;
            let stderr = Kept::new(child.stderr.take(), STDERR_BYTES_MAX)?;
            Ok((ended, stdin, stdout, stderr))
        };
        match { watched }() {
            Ok((ended, stdin, stdout, stderr)) => {
                Ok(Self { child, group, ended, stdin, left: document, stdout, stderr })
            }
            Err(error) => {
                // What cannot be watched must not run.
                let _ = kill_process_group(group, Signal::KILL);
                let _ = child.try_wait();
                Err(error)
            }
        }
    }

    /// Feeds and reads the hook until it has ended.
    fn watch(&mut self, until: Instant, orderer: BorrowedFd<'_>) -> Result<HookEnd, Gone> {
        let grace = Duration::from_millis(u64::from(GRACE_MS));
        let mut until = until;
        let mut sent: Option<Signal> = None;
        let mut gone = false;
        loop {
            let ready = self.wait(until, (!gone).then_some(orderer));
            self.write(ready.stdin);
            if ready.stdout {
                self.stdout.take();
            }
            if ready.stderr {
                self.stderr.take();
            }
            if ready.ended {
                let status = self.reap();
                return if gone { Err(Gone) } else { Ok(end(status, sent)) };
            }
            gone |= ready.orderer;
            let over = Instant::now() >= until;
            sent = match sent {
                None if over || gone => Some(self.signal(Signal::TERM)),
                Some(Signal::TERM) if over => Some(self.signal(Signal::KILL)),
                // It hangs in the kernel, where no signal reaches; it is left behind.
                Some(_) if over => return if gone { Err(Gone) } else { Ok(HookEnd::TimedOut(9)) },
                _ => continue,
            };
            until = Instant::now() + grace;
        }
    }

    /// Waits until something can be done or `until` is reached.
    fn wait(&self, until: Instant, orderer: Option<BorrowedFd<'_>>) -> Ready {
        let streams = [
            (Who::Ended, Some(self.ended.as_fd()), PollFlags::IN),
            (Who::Orderer, orderer, PollFlags::IN | PollFlags::RDHUP),
            (Who::Stdin, self.stdin.as_ref().map(AsFd::as_fd), PollFlags::OUT),
            (Who::Stdout, self.stdout.stream.as_ref().map(AsFd::as_fd), PollFlags::IN),
            (Who::Stderr, self.stderr.stream.as_ref().map(AsFd::as_fd), PollFlags::IN),
        ];
        let (whose, mut fds): (Vec<Who>, Vec<PollFd<'_>>) = streams
            .into_iter()
            .filter_map(|(who, fd, flags)| Some((who, PollFd::from_borrowed_fd(fd?, flags))))
            .unzip();
        let left = until.saturating_duration_since(Instant::now());
        // A failing poll is as good as one in which nothing happened, but must not become a busy loop.
        match poll(&mut fds, Timespec::try_from(left).ok().as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(_) => std::thread::sleep(Duration::from_millis(10)),
        }
        let is = |who| fds.iter().zip(&whose).any(|(fd, of)| *of == who && !fd.revents().is_empty());
        Ready {
            ended: is(Who::Ended),
            orderer: is(Who::Orderer),
            stdin: is(Who::Stdin),
            stdout: is(Who::Stdout),
            stderr: is(Who::Stderr),
        }
    }

    /// Hands over more of the document. A hook that does not read it, or not to its end, is welcome to.
    fn write(&mut self, ready: bool) {
        let Some(stdin) = self.stdin.as_mut().filter(|_| ready) else { return };
        let chunk = &self.left[..self.left.len().min(CHUNK)];
        match stdin.write(chunk) {
            Ok(bytes) => self.left = &self.left[bytes..],
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {
                return;
            }
            Err(_) => self.left = &[],
        }
        if self.left.is_empty() {
            self.stdin = None;
        }
    }

    /// To everything in the hook's group.
    fn signal(&self, signal: Signal) -> Signal {
        // Where nobody is left there is nothing to do.
        let _ = kill_process_group(self.group, signal);
        signal
    }

    /// The status of a hook that has ended. Its group's number is its own until here, and so nobody else's.
    fn reap(&mut self) -> Option<ExitStatus> {
        self.signal(Signal::KILL);
        self.child.try_wait().ok().flatten()
    }

    fn finish(&mut self) {
        self.stdout.drain();
        self.stderr.drain();
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Who {
    Ended,
    Orderer,
    Stdin,
    Stdout,
    Stderr,
}

struct Ready {
    ended: bool,
    orderer: bool,
    stdin: bool,
    stdout: bool,
    stderr: bool,
}

fn never_wait(stream: &impl AsFd) -> io::Result<()> {
    let flags = fcntl_getfl(stream)?;
    Ok(fcntl_setfl(stream, flags | OFlags::NONBLOCK)?)
}

fn end(status: Option<ExitStatus>, sent: Option<Signal>) -> HookEnd {
    let signal = status.and_then(|status| status.signal()).and_then(|signal| u8::try_from(signal).ok());
    match (sent, signal) {
        (Some(sent), signal) => HookEnd::TimedOut(signal.unwrap_or(u8::try_from(sent.as_raw()).unwrap_or(0))),
        (None, Some(signal)) => HookEnd::Killed(signal),
        (None, None) => {
            let code = status.and_then(|status| status.code()).and_then(|code| u8::try_from(code).ok());
            HookEnd::Exited(code.unwrap_or(u8::MAX))
        }
    }
}
