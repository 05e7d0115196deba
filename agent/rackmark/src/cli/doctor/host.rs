//! The host around the GPUs: the state directory and its disk, the clock, the
//! TPM, processes that hang.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::time::{Duration, Instant};

use rackmark_hardware::clocks::{ClockSource, ClockState, clock as clock_state};
use rackmark_hardware::disk::DiskSpace;
use rackmark_hardware::services::{ProcessWatch, Services};

use super::gpus::{HIDDEN, HIDDEN_HINT};
use super::{Finding, fine, odd, wrong};
use crate::config::Config;
use crate::exit::chain;

/// Below this a file system is full for whoever else writes there.
const FREE_ODD_PERMILLE: u32 = 50;

/// Below this the agent cannot keep even the records of an hour.
const FREE_WRONG_BYTES: u64 = 16 << 20;

/// Most files of the spool that are looked at.
const SPOOL_FILES_MAX: usize = 10_000;

/// A process that waits for the disk has done something by then.
const BLOCKED_LOOKS_APART: Duration = Duration::from_secs(1);

pub(super) fn state_dir(config: &Config) -> Finding {
    let check = "state directory";
    let path = &config.state_dir;
    match fs::metadata(path) {
        Ok(metadata) if metadata.permissions().mode() & 0o077 == 0 => fine(check, path.display().to_string()),
        Ok(_) => wrong(
            check,
            format!("{} is open to others", path.display()),
            "it holds the identity key: chmod 0700",
        ),
        Err(error) => {
            odd(check, format!("{}: {error}", path.display()), "the agent makes it at its first start")
        }
    }
}

pub(super) fn state_disk(config: &Config) -> Finding {
    let check = "state disk";
    let path = &config.state_dir;
    let Some(folder) = path.ancestors().find(|folder| folder.exists()) else {
        return odd(check, format!("{} has no folder above it", path.display()), "see state.dir");
    };
    match DiskSpace::of(folder) {
        Ok(space) => {
            let budget = config.spool.series_bytes.saturating_add(config.spool.edge_bytes);
            judge_disk(space, budget.saturating_sub(folder_bytes(&path.join("spool"))))
        }
        Err(error) => odd(check, chain(&error), "see state.dir"),
    }
}

/// `to_come` is what the spool may still grow by, in bytes.
fn judge_disk(space: DiskSpace, to_come: u64) -> Finding {
    let check = "state disk";
    let mib = |bytes: u64| bytes >> 20;
    let percent = f64::from(space.free_permille()) / 10.0;
    let found = format!("{} MiB free, {percent:.1} %", mib(space.free.0));
    if space.read_only {
        wrong(check, "is mounted for reading only", "dmesg tells whether the kernel did so after an error")
    } else if space.free.0 < FREE_WRONG_BYTES || space.files_free == Some(0) {
        wrong(check, format!("{found}: full"), "make room, or move state.dir")
    } else if space.free.0 < to_come {
        odd(
            check,
            format!("{found}; the spool may grow by {} MiB", mib(to_come)),
            "make room, or lower spool.series_mb and spool.edges_mb",
        )
    } else if space.free_permille() < FREE_ODD_PERMILLE {
        odd(check, found, "make room: others fill this file system")
    } else {
        fine(check, found)
    }
}

/// Bytes in a folder and the folders in it; what cannot be read counts nothing.
fn folder_bytes(folder: &Path) -> u64 {
    let (mut folders, mut bytes, mut looked_at) = (vec![folder.to_owned()], 0, 0);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            looked_at += 1;
            if looked_at > SPOOL_FILES_MAX {
                return bytes;
            }
            match entry.metadata() {
                Ok(metadata) if metadata.is_dir() => folders.push(entry.path()),
                // What it takes on disk: a file may have holes.
                Ok(metadata) => bytes += metadata.blocks() * 512,
                Err(_) => {}
            }
        }
    }
    bytes
}

/// Signatures carry times; a clock from before this was written cannot be right.
const BUILT_AFTER_UNIX_MS: u64 = 1_760_000_000_000;

pub(super) fn clock(config: &Config, services: &Services) -> Finding {
    judge_clock(crate::clock::unix_ms(), clock_state(&config.run_root, services))
}

fn judge_clock(now_unix_ms: u64, state: ClockState) -> Finding {
    let check = "clock";
    if now_unix_ms <= BUILT_AFTER_UNIX_MS {
        return wrong(check, "is set to a time before this agent was built", "start time synchronisation");
    }
    match state {
        ClockState::Synchronised(ClockSource::Timesyncd) => fine(check, "synchronised by systemd-timesyncd"),
        ClockState::Synchronised(ClockSource::Chrony) => fine(check, "chronyd is running"),
        ClockState::Synchronised(ClockSource::Ntpd) => fine(check, "ntpd is running"),
        ClockState::Synchronised(ClockSource::Ptp) => fine(check, "linuxptp is running"),
        ClockState::NotSynchronised => odd(
            check,
            "plausible, but nothing keeps it right",
            "consumers refuse records from the future: install chrony, or timedatectl set-ntp true",
        ),
        ClockState::Unknown => odd(check, HIDDEN, HIDDEN_HINT),
    }
}

/// The processes of this machine, looked at twice.
pub(super) struct Processes {
    watch: ProcessWatch,
    began: Instant,
    readable: bool,
}

impl Processes {
    pub fn first_look(config: &Config) -> Self {
        let mut watch = ProcessWatch::new(&config.proc_root);
        let readable = watch.pass(Duration::ZERO).is_ok();
        Self { watch, began: Instant::now(), readable }
    }

    pub fn services(&self) -> &Services {
        self.watch.services()
    }

    /// Who is blocked now as at the first look.
    pub fn second_look(&mut self) -> Finding {
        let check = "blocked processes";
        if self.watch.blocked(Duration::ZERO).waiting > 0 {
            std::thread::sleep(BLOCKED_LOOKS_APART.saturating_sub(self.began.elapsed()));
        }
        if !self.readable || self.watch.pass(self.began.elapsed()).is_err() {
            return odd(check, HIDDEN, HIDDEN_HINT);
        }
        let blocked = self.watch.blocked(BLOCKED_LOOKS_APART.saturating_sub(Duration::from_millis(1)));
        if blocked.stuck == 0 {
            return fine(check, format!("none of {}", self.watch.processes()));
        }
        let names: Vec<String> = blocked
            .shown
            .iter()
            .map(|process| {
                let gpu = if process.gpu == Some(true) { ", at the GPU" } else { "" };
                format!("{} (pid {}{gpu})", process.name, process.pid)
            })
            .collect();
        odd(
            check,
            format!("{} wait in the kernel: {}", blocked.stuck, names.join(", ")),
            "they do not end, not even by SIGKILL; the kernel log may say for what they wait, and a reboot ends them",
        )
    }
}

#[cfg(test)]
mod tests {
    use rackmark_model::Bytes;

    use super::*;
    use crate::cli::doctor::{Outcome, fixture, put};

    const GIB: u64 = 1 << 30;

    fn space(free: u64, total: u64) -> DiskSpace {
        DiskSpace { free: Bytes(free), total: Bytes(total), files_free: Some(1000), read_only: false }
    }

    #[test]
    fn a_disk_is_judged_by_what_the_spool_may_still_need() {
        let outcome = |space, to_come| judge_disk(space, to_come).outcome;
        assert_eq!(outcome(space(10 * GIB, 20 * GIB), GIB), Outcome::Fine);
        assert_eq!(outcome(space(10 * GIB, 20 * GIB), 11 * GIB), Outcome::Odd);
        assert_eq!(outcome(space(4 * GIB, 100 * GIB), GIB), Outcome::Odd, "under 5 %");
        assert_eq!(outcome(space(FREE_WRONG_BYTES - 1, 20 * GIB), 0), Outcome::Wrong);
        let ample = space(10 * GIB, 20 * GIB);
        assert_eq!(outcome(DiskSpace { read_only: true, ..ample }, 0), Outcome::Wrong);
        assert_eq!(outcome(DiskSpace { files_free: Some(0), ..ample }, 0), Outcome::Wrong);
        assert_eq!(outcome(DiskSpace { files_free: None, ..ample }, 0), Outcome::Fine);
    }

    #[test]
    fn what_the_spool_holds_already_is_not_asked_for_again() {
        let root = tempfile::tempdir().expect("folder");
        assert_eq!(folder_bytes(root.path()), 0);
        put(root.path(), "series/1", &"x".repeat(1 << 20));
        put(root.path(), "edges/1", &"x".repeat(1 << 20));
        assert!((2 << 20..3 << 20).contains(&folder_bytes(root.path())), "{}", folder_bytes(root.path()));
        assert_eq!(folder_bytes(&root.path().join("none")), 0);
    }

    #[test]
    fn a_state_directory_is_the_agents_alone() {
        let root = tempfile::tempdir().expect("folder");
        let config = fixture(root.path(), "");
        assert_eq!(state_dir(&config).outcome, Outcome::Odd);
        assert_ne!(state_disk(&config).found, "", "of the folder above, before there is one");
        fs::create_dir(&config.state_dir).expect("folder");
        for (mode, outcome) in [(0o700, Outcome::Fine), (0o710, Outcome::Wrong), (0o704, Outcome::Wrong)] {
            fs::set_permissions(&config.state_dir, fs::Permissions::from_mode(mode)).expect("mode");
            assert_eq!(state_dir(&config).outcome, outcome, "{mode:o}");
        }
    }

    #[test]
    fn a_clock_is_plausible_and_kept_right() {
        let now = BUILT_AFTER_UNIX_MS + 1;
        let synchronised = ClockState::Synchronised(ClockSource::Chrony);
        assert_eq!(judge_clock(now, synchronised).outcome, Outcome::Fine);
        assert_eq!(judge_clock(now, ClockState::NotSynchronised).outcome, Outcome::Odd);
        assert_eq!(judge_clock(now, ClockState::Unknown).outcome, Outcome::Odd);
        assert_eq!(judge_clock(BUILT_AFTER_UNIX_MS, synchronised).outcome, Outcome::Wrong);
    }

    #[test]
    fn a_process_that_is_blocked_at_both_looks_is_named() {
        let root = tempfile::tempdir().expect("folder");
        let config = fixture(root.path(), "");
        assert_eq!(Processes::first_look(&config).second_look().outcome, Outcome::Odd, "no procfs");
        put(root.path(), "proc/1/stat", "1 (systemd) S 0");
        let stat = "8 (python3) D 1 1 1 0 -1 0 0 0 0 0 1 0 0 0 20 0 1 0 77 1";
        put(root.path(), "proc/8/stat", stat);
        put(root.path(), "proc/8/wchan", "os_acquire_semaphore");
        let found = Processes::first_look(&config).second_look();
        assert_eq!(found.outcome, Outcome::Odd);
        assert_eq!(found.found, "1 wait in the kernel: python3 (pid 8, at the GPU)");
        let mut processes = Processes::first_look(&config);
        put(root.path(), "proc/8/stat", &stat.replace(" D ", " S "));
        assert_eq!(processes.second_look().found, "none of 2");
    }
}
