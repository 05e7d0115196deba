//! Child processes that do not outlive their handle, and what the kernel says
//! about them.

use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::Outcome;

/// The built binary of that name: beside this one, or one folder up from a test.
pub fn binary(name: &str) -> PathBuf {
    let own = std::env::current_exe().unwrap_or_default();
    let folders = own.ancestors().skip(1).take(2);
    folders.map(|folder| folder.join(name)).find(|path| path.exists()).unwrap_or_else(|| name.into())
}

/// A port nobody listens on at this moment.
pub fn free_port() -> Outcome<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

/// Waits until `ready` gives something, asking every 20 ms.
pub fn wait_for<T>(what: &str, longest: Duration, mut ready: impl FnMut() -> Option<T>) -> Outcome<T> {
    let end = Instant::now() + longest;
    loop {
        if let Some(found) = ready() {
            return Ok(found);
        }
        if Instant::now() > end {
            return Err(format!("{what}: not within {longest:?}").into());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A child that is killed when dropped.
#[derive(Debug)]
pub struct Process(Child);

impl Process {
    /// Starts it.
    ///
    /// # Errors
    /// Where it cannot be started.
    pub fn start(command: &mut Command) -> Outcome<Self> {
        let shown = format!("{command:?}");
        command.spawn().map(Self).map_err(|error| format!("cannot start {shown}: {error}").into())
    }

    /// The child.
    pub fn child(&mut self) -> &mut Child {
        &mut self.0
    }

    /// Its pid.
    pub fn pid(&self) -> u32 {
        self.0.id()
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        if let Some(pid) = i32::try_from(self.pid()).ok().and_then(Pid::from_raw) {
            let _ = kill_process(pid, signal);
        }
    }

    /// Asks it to end and waits; how it ended and how long that took.
    ///
    /// # Errors
    /// Where it has not ended after `longest`.
    pub fn terminate(&mut self, longest: Duration) -> Outcome<(ExitStatus, Duration)> {
        let asked = Instant::now();
        self.signal(Signal::TERM);
        let status = wait_for("end after SIGTERM", longest, || self.0.try_wait().ok().flatten())?;
        Ok((status, asked.elapsed()))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // A child in the kernel cannot be waited for; it is not.
        let _ = self.0.kill();
        let _ = wait_for("end after SIGKILL", Duration::from_secs(2), || self.0.try_wait().ok().flatten());
    }
}

/// Private memory of a process in bytes (`Private_Clean` + `Private_Dirty`).
pub fn private_bytes(pid: u32) -> Outcome<u64> {
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
    let private = rollup
        .lines()
        .filter(|line| line.starts_with("Private_Clean:") || line.starts_with("Private_Dirty:"));
    let kib = private.filter_map(|line| line.split_ascii_whitespace().nth(1)?.parse::<u64>().ok());
    Ok(kib.sum::<u64>() * 1024)
}

/// Bytes that a process has caused to be written to disks so far.
pub fn written_bytes(pid: u32) -> Outcome<u64> {
    let io = fs::read_to_string(format!("/proc/{pid}/io"))?;
    let written = io.lines().find_map(|line| line.strip_prefix("write_bytes: ")?.parse().ok());
    written.ok_or_else(|| format!("/proc/{pid}/io has no write_bytes").into())
}

/// Processor time of all threads of a process so far, by the scheduler's own account.
pub fn cpu_time(pid: u32) -> Outcome<Duration> {
    let mut nanoseconds = 0u64;
    for thread in fs::read_dir(format!("/proc/{pid}/task"))?.flatten() {
        let Ok(text) = fs::read_to_string(thread.path().join("schedstat")) else { continue };
        nanoseconds +=
            text.split_ascii_whitespace().next().and_then(|ran| ran.parse::<u64>().ok()).unwrap_or(0);
    }
    Ok(Duration::from_nanos(nanoseconds))
}

/// The children of a process.
pub fn children(pid: u32) -> Vec<u32> {
    let Ok(tasks) = fs::read_dir(format!("/proc/{pid}/task")) else { return Vec::new() };
    let lists = tasks.flatten().filter_map(|task| fs::read_to_string(task.path().join("children")).ok());
    lists
        .flat_map(|list| list.split_ascii_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<_>>())
        .collect()
}

/// The command name of a process; none once it is gone or only a zombie.
pub fn name(pid: u32) -> Option<String> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let field = |key: &str| status.lines().find_map(|line| line.strip_prefix(key)).map(str::trim);
    (!field("State:")?.starts_with('Z')).then(|| field("Name:").unwrap_or("").to_owned())
}

/// True where a thread of the process is in uninterruptible sleep (state D).
pub fn in_uninterruptible_sleep(pid: u32) -> bool {
    let Ok(tasks) = fs::read_dir(format!("/proc/{pid}/task")) else { return false };
    tasks.flatten().any(|task| {
        let stat = fs::read_to_string(task.path().join("stat")).unwrap_or_default();
        stat.rsplit_once(')').is_some_and(|(_, rest)| rest.trim_start().starts_with('D'))
    })
}

/// True where the process has a file mapped or open whose path contains `part`.
pub fn holds(pid: u32, part: &str) -> bool {
    let mapped = fs::read_to_string(format!("/proc/{pid}/maps")).is_ok_and(|maps| maps.contains(part));
    let open = fs::read_dir(format!("/proc/{pid}/fd")).is_ok_and(|files| {
        files
            .flatten()
            .any(|file| fs::read_link(file.path()).is_ok_and(|path| path.to_string_lossy().contains(part)))
    });
    mapped || open
}
