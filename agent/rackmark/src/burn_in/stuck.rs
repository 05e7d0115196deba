//! A process that cannot be ended, and whether it is still there: also by an agent that started later.

use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

/// A process, told from all others that ever have its id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stuck {
    /// Its id.
    pub pid: u32,
    /// When it began, in clock ticks since boot (proc(5), field 22 of `stat`).
    began_ticks: u64,
    /// The boot that it began in.
    boot_id: String,
}

impl Stuck {
    /// The process that has this id now; none where there is none, or only what is left of one that ended.
    pub fn of(proc_root: &Path, pid: u32) -> Option<Self> {
        let stat = fs::read_to_string(proc_root.join(pid.to_string()).join("stat")).ok()?;
        let began_ticks = began_ticks(&stat)?;
        let boot_id = rackmark_hardware::host::boot_id(proc_root).unwrap_or_default();
        Some(Self { pid, began_ticks, boot_id })
    }

    /// Whether it is still there. Reading of it never waits for the process itself.
    pub fn is_there(&self, proc_root: &Path) -> bool {
        Self::of(proc_root, self.pid).as_ref() == Some(self)
    }
}

/// Out of a line of `stat`: the name is in brackets and may have brackets and spaces itself, so fields count from the
/// last one. None for a zombie, which has given everything back.
fn began_ticks(stat: &str) -> Option<u64> {
    let (_, fields) = stat.rsplit_once(") ")?;
    let mut fields = fields.split(' ');
    let state = fields.next()?;
    // Fields 4 to 21 lie between.
    fields.nth(18)?.parse().ok().filter(|_| !matches!(state, "Z" | "X"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAT: &str = "71 (a) b (c) D 1 71 71 0 -1 4194560 9 0 0 0 1 2 0 0 20 0 1 0 8650 10 20 30";

    fn machine(boot: &str, stat: &str) -> tempfile::TempDir {
        let root = tempfile::tempdir().expect("a folder");
        fs::create_dir_all(root.path().join("sys/kernel/random")).expect("made");
        fs::write(root.path().join("sys/kernel/random/boot_id"), boot).expect("written");
        fs::create_dir(root.path().join("71")).expect("made");
        fs::write(root.path().join("71/stat"), stat).expect("written");
        root
    }

    #[test]
    fn a_process_is_known_by_its_start_and_its_boot() {
        let root = machine("one", STAT);
        let stuck = Stuck::of(root.path(), 71).expect("is there");
        assert_eq!((stuck.pid, stuck.began_ticks), (71, 8650));
        assert!(stuck.is_there(root.path()));
        for (boot, stat, what) in [
            ("two", STAT.to_owned(), "another boot"),
            ("one", STAT.replace("8650", "9000"), "another process of that id"),
            ("one", STAT.replace(" D ", " Z "), "a zombie"),
            ("one", "71 (a".to_owned(), "half a line"),
        ] {
            assert!(!stuck.is_there(machine(boot, &stat).path()), "{what}");
        }
        assert_eq!(Stuck::of(root.path(), 72), None);
    }

    #[test]
    fn this_process_is_there() {
        let me = Stuck::of(Path::new("/proc"), std::process::id()).expect("is there");
        assert!(me.is_there(Path::new("/proc")));
    }
}
