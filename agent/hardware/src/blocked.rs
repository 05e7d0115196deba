//! Processes that do not come back from the kernel (state D), such as one that
//! waits for a driver that hangs.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::stat::Stat;

/// Most blocked tasks that are remembered; the others are counted only.
const WAITS_MAX: usize = 1024;

/// Most blocked tasks that are named.
const SHOWN_MAX: usize = 5;

/// Open files of a process that are looked at.
const FILES_MAX: usize = 1024;

/// Beginnings of functions of NVIDIA's kernel modules in which a task waits
/// (`kernel-open/` of the open modules: `nvidia/os-interface.c`, `nvidia-uvm/`,
/// `nvidia-modeset/`; closed parts are `_nv` and a number).
const NVIDIA_FUNCTIONS: [&str; 7] = ["nvidia", "nv_", "_nv0", "nvkms", "uvm_", "os_acquire_", "nvswitch_"];

/// Processes in state D.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Blocked {
    /// Tasks in state D when last looked: a busy disk alone makes some.
    pub waiting: u32,
    /// Of them, the ones that have been so for longer than was asked and did
    /// nothing in between.
    pub stuck: u32,
    /// Up to five of the stuck ones, the longest first.
    pub shown: Vec<BlockedProcess>,
}

/// A process that is stuck in the kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlockedProcess {
    /// Process id.
    pub pid: u32,
    /// Name of the task that waits, as the kernel keeps it. The process chose it.
    pub name: String,
    /// For how long it was seen to wait, at least.
    pub waits: Duration,
    /// Whether it waits for the GPU driver or holds a GPU open; `None` where that
    /// cannot be read without the rights of root or the process's user.
    pub gpu: Option<bool>,
}

#[derive(Debug)]
struct Wait {
    pid: u32,
    task: u32,
    start_ticks: u64,
    progress: u64,
    since: Duration,
    name: String,
    gpu: Option<bool>,
    asked: bool,
    seen: bool,
}

/// Remembers from pass to pass who was blocked.
#[derive(Debug)]
pub(crate) struct Waits {
    proc_root: PathBuf,
    waits: Vec<Wait>,
    waiting: u32,
    now: Duration,
}

impl Waits {
    pub fn new(proc_root: &Path) -> Self {
        Self { proc_root: proc_root.to_owned(), waits: Vec::new(), waiting: 0, now: Duration::ZERO }
    }

    /// A pass begins at `now`.
    pub fn begin(&mut self, now: Duration) {
        self.now = now;
        self.waiting = 0;
        for wait in &mut self.waits {
            wait.seen = false;
        }
    }

    /// The pass has met a task in state D.
    pub fn saw(&mut self, pid: u32, task: u32, stat: &Stat<'_>) {
        self.waiting += 1;
        let Some(start_ticks) = stat.start_ticks() else { return };
        let progress = stat.progress();
        let known = self.waits.iter_mut().find(|wait| wait.task == task && wait.start_ticks == start_ticks);
        if let Some(wait) = known {
            wait.seen = true;
            if wait.progress != progress {
                (wait.progress, wait.since, wait.asked) = (progress, self.now, false);
            }
        } else if self.waits.len() < WAITS_MAX {
            self.waits.push(Wait {
                pid,
                task,
                start_ticks,
                progress,
                since: self.now,
                name: printable(stat.name),
                gpu: None,
                asked: false,
                seen: true,
            });
        }
    }

    /// The pass is over: who was not met is no longer blocked.
    pub fn end(&mut self) {
        self.waits.retain(|wait| wait.seen);
    }

    pub fn longer_than(&mut self, longest: Duration) -> Blocked {
        self.waits.sort_by_key(|wait| wait.since);
        let (now, proc_root) = (self.now, &self.proc_root);
        let waits = |wait: &Wait| now.saturating_sub(wait.since);
        let stuck = self.waits.iter().take_while(|wait| waits(wait) > longest).count();
        let shown = self.waits.iter_mut().take(stuck.min(SHOWN_MAX)).map(|wait| {
            if !wait.asked {
                (wait.gpu, wait.asked) = (waits_for_gpu(proc_root, wait.pid, wait.task), true);
            }
            BlockedProcess { pid: wait.pid, name: wait.name.clone(), waits: waits(wait), gpu: wait.gpu }
        });
        Blocked { waiting: self.waiting, stuck: stuck as u32, shown: shown.collect() }
    }
}

/// A name as it may be shown: without control characters.
fn printable(name: &[u8]) -> String {
    String::from_utf8_lossy(name).chars().take(64).map(|c| if c.is_control() { '?' } else { c }).collect()
}

/// Whether a blocked task has to do with a GPU. `wchan` and the links in `fd` are
/// answered without waiting for the task; `stack` is not, as it takes a lock that
/// a task keeps while it starts a program.
fn waits_for_gpu(proc_root: &Path, pid: u32, task: u32) -> Option<bool> {
    let folder = proc_root.join(pid.to_string());
    let function = crate::file::text(&folder.join(format!("task/{task}/wchan")))
        .or_else(|_| crate::file::text(&folder.join("wchan")))
        .unwrap_or_default();
    if is_nvidia_function(&function) {
        return Some(true);
    }
    // The kernel names no function to those who may not trace the task.
    let function_known = !function.is_empty() && function != "0";
    match fs::read_dir(folder.join("fd")) {
        Ok(files) => Some(
            files
                .take(FILES_MAX)
                .flatten()
                .filter_map(|file| fs::read_link(file.path()).ok())
                .any(|target| target.to_string_lossy().starts_with("/dev/nvidia")),
        ),
        // A zombie has no files left, and its function was told.
        Err(_) => function_known.then_some(false),
    }
}

fn is_nvidia_function(function: &str) -> bool {
    NVIDIA_FUNCTIONS.iter().any(|begin| function.starts_with(begin))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use proptest::prelude::*;

    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn line(name: &str, start: u64, ticks: u64) -> String {
        format!("9 ({name}) D 1 9 9 0 -1 0 0 0 0 0 {ticks} 0 0 0 20 0 1 0 {start} 1\n")
    }

    fn pass(waits: &mut Waits, now: Duration, tasks: &[(u32, String)]) {
        waits.begin(now);
        for (pid, line) in tasks {
            waits.saw(*pid, *pid, &Stat::parse(line.as_bytes()).expect("stat"));
        }
        waits.end();
    }

    #[test]
    fn only_who_is_blocked_without_a_break_and_does_nothing_is_stuck() {
        let root = tempfile::tempdir().expect("folder");
        let mut waits = Waits::new(root.path());
        let stuck = |waits: &mut Waits| {
            let blocked = waits.longer_than(2 * MINUTE);
            blocked.shown.iter().map(|process| process.pid).collect::<Vec<_>>()
        };
        let always = (1, line("always", 10, 5));
        for minute in 0..3 {
            pass(
                &mut waits,
                MINUTE * minute,
                &[always.clone(), (2, line("busy disk", 20, u64::from(minute)))],
            );
            assert!(stuck(&mut waits).is_empty(), "two minutes are not yet longer than two minutes");
        }
        pass(&mut waits, MINUTE * 3, &[always.clone(), (2, line("busy disk", 20, 3))]);
        assert_eq!(stuck(&mut waits), [1]);
        // Another process with the same number.
        pass(&mut waits, MINUTE * 4, &[(1, line("another", 11, 5))]);
        assert!(stuck(&mut waits).is_empty());
        // It came back and is blocked once more.
        pass(&mut waits, MINUTE * 5, &[]);
        pass(&mut waits, MINUTE * 6, &[(1, line("another", 11, 5))]);
        pass(&mut waits, MINUTE * 8, &[(1, line("another", 11, 5))]);
        assert!(stuck(&mut waits).is_empty(), "it waits for two minutes only, not for four");
        pass(&mut waits, MINUTE * 9, &[(1, line("another", 11, 5))]);
        assert_eq!(stuck(&mut waits), [1]);
    }

    #[test]
    fn five_are_named_and_all_are_counted() {
        let root = tempfile::tempdir().expect("folder");
        let mut waits = Waits::new(root.path());
        let many: Vec<_> = (0..2000).map(|pid| (pid, line("\u{1b}[31mred", u64::from(pid), 0))).collect();
        pass(&mut waits, MINUTE, &many);
        pass(&mut waits, MINUTE * 9, &many);
        let blocked = waits.longer_than(MINUTE);
        assert_eq!((blocked.waiting, blocked.stuck, blocked.shown.len()), (2000, 1024, 5));
        assert_eq!(blocked.shown[0].name, "?[31mred", "a name is shown without control characters");
        assert_eq!(blocked.shown[0].waits, MINUTE * 8);
    }

    #[test]
    fn a_gpu_is_recognised_by_the_function_or_by_the_open_device() {
        let root = tempfile::tempdir().expect("folder");
        let file = |path: &str, content: &str| {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().expect("parent")).expect("folder");
            fs::write(path, content).expect("file");
        };
        let opens = |pid: u32, target: &str| {
            let folder = root.path().join(format!("{pid}/fd"));
            fs::create_dir_all(&folder).expect("folder");
            symlink(target, folder.join("3")).expect("link");
        };
        file("1/wchan", "uvm_va_space_mm_or_current_retain_lock");
        file("2/task/2/wchan", "os_acquire_semaphore");
        file("3/wchan", "0");
        file("4/wchan", "0");
        opens(4, "/dev/nvidia3");
        file("5/wchan", "nfs_wait_bit_killable");
        opens(5, "/mnt/data");
        file("6/wchan", "nvme_wait_freeze");
        let answers: Vec<_> = (1..=7).map(|pid| waits_for_gpu(root.path(), pid, pid)).collect();
        let expected = [Some(true), Some(true), None, Some(true), Some(false), Some(false), None];
        assert_eq!(answers, expected);
    }

    proptest! {
        /// A model that keeps the whole history agrees about who is stuck.
        #[test]
        fn the_tracker_agrees_with_its_history(
            history in proptest::collection::vec(proptest::collection::vec(proptest::option::of(0_u64..2), 4), 1..12),
        ) {
            let mut waits = Waits::new(Path::new("/nowhere"));
            for (minute, states) in history.iter().enumerate() {
                let tasks: Vec<_> = states.iter().enumerate()
                    .filter_map(|(pid, state)| Some((pid as u32, line("x", 7, (*state)?)))).collect();
                pass(&mut waits, MINUTE * minute as u32, &tasks);
            }
            let last = history.len() - 1;
            let stuck = |pid: usize| {
                let now = history[last][pid];
                let same = history.iter().rev().take_while(|states| states[pid] == now).count();
                now.is_some() && same > 3
            };
            let expected = (0..4).filter(|pid| stuck(*pid)).count();
            let blocked = waits.longer_than(2 * MINUTE);
            prop_assert_eq!(blocked.stuck as usize, expected);
            prop_assert_eq!(blocked.waiting as usize, history[last].iter().flatten().count());
        }
    }
}
