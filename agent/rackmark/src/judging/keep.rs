//! Keeps the judgement and the history on disk, on a thread of its own: nobody waits for the disk.

use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use rackmark_health::State;

use super::history;
use crate::exit::chain;
use crate::publish::identity::StateDir;

/// A judgement that changed is kept at most this often, in milliseconds.
const CHANGED_MS: u64 = 1_000;
/// Times in states grow all the time; they are kept this often, in milliseconds.
const UNCHANGED_MS: u64 = 300_000;
/// History that waits for the disk; what comes on top is counted and dropped.
const LINES_BYTES_MAX: usize = 1 << 20;
/// A disk that takes no history is tried again at this distance.
const RETRY: Duration = Duration::from_secs(1);
/// How long the end waits for the disk.
const END: Duration = Duration::from_millis(500);

/// Takes what is to be kept.
#[derive(Clone)]
pub struct Keeper(Arc<Shared>);

struct Shared {
    work: Mutex<Work>,
    wake: Condvar,
}

#[derive(Default)]
struct Work {
    state: Option<Vec<u8>>,
    lines: String,
    dropped: u64,
    stop: bool,
    stopped: bool,
    kept_revision: Option<u64>,
    kept_boot_ms: u64,
}

impl Keeper {
    /// Starts the thread.
    ///
    /// # Errors
    /// Where there can be no thread.
    pub fn start(state: StateDir) -> io::Result<(Self, JoinHandle<()>)> {
        let shared = Arc::new(Shared { work: Mutex::new(Work::default()), wake: Condvar::new() });
        let keeper = Self(shared.clone());
        let thread = Builder::new().name("keeper".to_owned()).spawn(move || run(&shared, &state))?;
        Ok((keeper, thread))
    }

    fn work(&self) -> MutexGuard<'_, Work> {
        self.0.work.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the judgement where it is due.
    pub fn look(&self, health: &State, boot_ms: u64) {
        let mut work = self.work();
        let changed = work.kept_revision != Some(health.revision);
        let due_ms = if changed { CHANGED_MS } else { UNCHANGED_MS };
        if work.kept_revision.is_some() && boot_ms.saturating_sub(work.kept_boot_ms) < due_ms {
            return;
        }
        work.take(health, boot_ms);
        drop(work);
        self.0.wake.notify_one();
    }

    /// Adds a line to the history.
    pub fn line(&self, line: &str) {
        let mut work = self.work();
        if work.lines.len() + line.len() > LINES_BYTES_MAX {
            work.dropped += 1;
            return;
        }
        work.lines.push_str(line);
        drop(work);
        self.0.wake.notify_one();
    }

    /// Keeps the judgement as it is now and ends the thread; a disk that hangs is not waited for.
    pub fn end(&self, health: &State, boot_ms: u64) {
        let mut work = self.work();
        work.take(health, boot_ms);
        work.stop = true;
        self.0.wake.notify_all();
        let ended = self.0.wake.wait_timeout_while(work, END, |work| !work.stopped);
        let (work, _) = ended.unwrap_or_else(PoisonError::into_inner);
        if !work.stopped {
            tracing::warn!("the judgement may not be kept: the disk does not answer");
        }
    }
}

impl Work {
    fn take(&mut self, health: &State, boot_ms: u64) {
        match serde_json::to_vec(health) {
            Ok(bytes) => self.state = Some(bytes),
            Err(error) => tracing::error!(%error, "the judgement cannot be written down"),
        }
        self.kept_revision = Some(health.revision);
        self.kept_boot_ms = boot_ms;
    }
}

impl Work {
    /// Lines that the disk did not take wait before those that came since. A line that was written in part is
    /// ended first, and then it is no entry.
    fn put_back(&mut self, lines: String) {
        if lines.len() + self.lines.len() > LINES_BYTES_MAX {
            self.dropped += lines.lines().count() as u64;
            return;
        }
        let newer = std::mem::replace(&mut self.lines, lines);
        if !self.lines.starts_with('\n') {
            self.lines.insert(0, '\n');
        }
        self.lines.push_str(&newer);
    }
}

fn run(shared: &Shared, folder: &StateDir) {
    let mut failed = false;
    loop {
        let (state, lines, dropped, stop) = {
            let work = shared.work.lock().unwrap_or_else(PoisonError::into_inner);
            let idle = |work: &mut Work| work.state.is_none() && work.lines.is_empty() && !work.stop;
            let mut work = shared.wake.wait_while(work, idle).unwrap_or_else(PoisonError::into_inner);
            let dropped = std::mem::take(&mut work.dropped);
            (work.state.take(), std::mem::take(&mut work.lines), dropped, work.stop)
        };
        if dropped > 0 {
            tracing::warn!(dropped, "history lines were dropped: the disk does not keep up");
        }
        let mut trouble = None;
        if let Some(state) = state
            && let Err(error) = folder.keep_health(&state)
        {
            trouble = Some(chain(&error));
            // Due again with the next sample.
            shared.work.lock().unwrap_or_else(PoisonError::into_inner).kept_revision = Some(u64::MAX);
        }
        if !lines.is_empty()
            && let Err(error) = history::append(folder.path(), &lines)
        {
            trouble = Some(format!("history: {error}"));
            std::thread::sleep(RETRY);
            let mut work = shared.work.lock().unwrap_or_else(PoisonError::into_inner);
            if !work.stop {
                work.put_back(lines);
            }
        }
        // Said once, not with every line.
        match (&trouble, failed) {
            (Some(error), false) => tracing::error!(error, "judgement and history are not kept on disk"),
            (None, true) => tracing::info!("judgement and history are kept on disk again"),
            _ => {}
        }
        failed = trouble.is_some();
        if stop {
            let mut work = shared.work.lock().unwrap_or_else(PoisonError::into_inner);
            work.stopped = true;
            shared.wake.notify_all();
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stood_when_the_daemon_ended_stands_when_it_begins() {
        let folder = tempfile::tempdir().expect("folder");
        let state = StateDir::open(folder.path()).expect("state");
        let mut health = State::default();
        health.boot_id = "one".to_owned();
        let (keeper, thread) = Keeper::start(state.clone()).expect("thread");
        keeper.look(&health, 0);
        health.implausible_total = 7;
        keeper.line("{}\n");
        keeper.end(&health, 1);
        thread.join().expect("thread");
        assert_eq!(state.known_health(), health);
        assert_eq!(std::fs::read_to_string(folder.path().join(history::FILE)).expect("history"), "{}\n");
    }

    #[test]
    fn a_judgement_that_does_not_parse_is_no_reason_not_to_start() {
        let folder = tempfile::tempdir().expect("folder");
        let state = StateDir::open(folder.path()).expect("state");
        std::fs::write(folder.path().join("health.json"), "{\"gpus\": 3}").expect("write");
        assert_eq!(state.known_health(), State::default());
    }
}
