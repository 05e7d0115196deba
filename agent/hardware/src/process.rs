//! What a process uses: the agent measures itself and its children with this.

use std::path::Path;
use std::time::Duration;

use rackmark_model::Bytes;

use crate::ReadError;
use crate::file::text;
use crate::host::kibibytes;

/// Clock ticks per second in `/proc/<pid>/stat`: `USER_HZ`, fixed at 100 in the
/// kernel's interface to programs on x86-64 and arm64.
const TICKS_PER_SECOND: u64 = 100;

/// Position of `utime` among the fields after the command name (proc(5):
/// field 14, and the first one after the name is field 3).
const UTIME_AFTER_NAME: usize = 11;

/// Memory and processor time of one process with all its threads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProcessUsage {
    /// Resident memory, shared pages included.
    pub resident: Bytes,
    /// Resident memory that no other process shares.
    pub private: Bytes,
    /// Processor time, user and system, to a hundredth of a second.
    pub cpu_time: Duration,
}

impl ProcessUsage {
    /// Reads the process `pid`, a number or `self`.
    ///
    /// # Errors
    /// [`ReadError`] where the process is gone or belongs to another user.
    pub fn read(proc_root: &Path, pid: &str) -> Result<Self, ReadError> {
        let folder = proc_root.join(pid);
        let path = folder.join("smaps_rollup");
        let rollup = text(&path)?;
        let sum = |keys: &[&str]| {
            let found = rollup.lines().filter(|line| keys.iter().any(|key| line.starts_with(key)));
            Bytes(found.filter_map(kibibytes).map(|bytes| bytes.0).sum())
        };
        let (resident, private) = (sum(&["Rss:"]), sum(&["Private_Clean:", "Private_Dirty:"]));
        if resident == Bytes(0) {
            return Err(ReadError::Missing { path, what: "Rss" });
        }
        let path = folder.join("stat");
        let cpu_time = cpu_time(&text(&path)?).ok_or(ReadError::Missing { path, what: "utime" })?;
        Ok(Self { resident, private, cpu_time })
    }
}

fn cpu_time(stat: &str) -> Option<Duration> {
    // The name is in parentheses and may itself hold spaces and parentheses.
    let (_, after_name) = stat.rsplit_once(')')?;
    let mut fields = after_name.split_ascii_whitespace().skip(UTIME_AFTER_NAME);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(Duration::from_millis(user.checked_add(system)?.checked_mul(1000 / TICKS_PER_SECOND)?))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_process_with_an_awkward_name_is_read() {
        let root = tempfile::tempdir().expect("folder");
        fs::create_dir(root.path().join("7")).expect("folder");
        let stat = "7 (a) b ( c) S 1 7 7 0 -1 4194560 5 0 0 0 250 50 0 0 20 0 3 0 1 2 3";
        fs::write(root.path().join("7/stat"), stat).expect("stat");
        let rollup =
            "00400000-7ffd ---p 0 00:00 0 [rollup]\nRss: 100 kB\nPrivate_Clean: 8 kB\nPrivate_Dirty: 30 kB\n";
        fs::write(root.path().join("7/smaps_rollup"), rollup).expect("rollup");
        let usage = ProcessUsage::read(root.path(), "7").expect("usage");
        assert_eq!((usage.resident, usage.private), (Bytes(100 << 10), Bytes(38 << 10)));
        assert_eq!(usage.cpu_time, Duration::from_secs(3));
    }

    #[test]
    fn a_process_that_is_gone_is_an_error() {
        let root = tempfile::tempdir().expect("folder");
        assert!(ProcessUsage::read(root.path(), "7").is_err());
    }
}
