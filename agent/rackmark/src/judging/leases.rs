//! The lease file: who has which GPU, written by a scheduler or a hypervisor's hook.
//!
//! ```json
//! {"leases": [{"gpu": "GPU-…", "lease": "job-17", "until_unix_ms": 1790000000000}]}
//! ```

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rackmark_health::FileLease;
use rustix::fs::OFlags;
use serde::Deserialize;
use tokio::sync::watch;

use super::Announcer;
use crate::config::{Config, LeaseSource};
use crate::sampling::roster::Roster;
use crate::sampling::task::Observer;

/// The file is looked at this often; only its time and size are read then.
const LOOK: Duration = Duration::from_secs(1);
/// A file system that takes longer hangs.
const READ_TIME: Duration = Duration::from_secs(5);
/// Largest lease file: 64 GPUs with long names stay far below.
const FILE_BYTES_MAX: u64 = 256 << 10;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    leases: Vec<Line>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    gpu: String,
    lease: String,
    until_unix_ms: Option<u64>,
}

/// How a file looked: its path, and its time and size where there is one.
type Look = (PathBuf, Option<(SystemTime, u64)>);

/// Follows the lease file until `stop` is set.
pub async fn watch<O: Observer>(
    mut config: watch::Receiver<Arc<Config>>,
    mut announcer: Announcer<O>,
    mut stop: watch::Receiver<bool>,
) {
    let mut seen: Option<Look> = None;
    // What could not begin is tried again: a GPU may be found later, or another lease may end.
    let mut again = false;
    loop {
        let file = match &config.borrow_and_update().leases {
            LeaseSource::File(path) => Some(path.clone()),
            LeaseSource::None | LeaseSource::Control => None,
        };
        match &file {
            Some(path) => again = follow(path, &mut seen, again, &mut announcer).await,
            // Leases of a file that is no longer followed would have nobody to end them.
            None => {
                seen = None;
                announcer.announce(|roster, now, changes| roster.take_leases(&[], 0, now, changes));
            }
        }
        tokio::select! {
            () = tokio::time::sleep(LOOK), if file.is_some() => {}
            changed = config.changed() => if changed.is_err() { return },
            _ = stop.wait_for(|stop| *stop) => return,
        }
    }
}

/// Takes the file where it is new or something of it is still to begin; true where something still is.
async fn follow<O: Observer>(
    path: &Path,
    seen: &mut Option<Look>,
    again: bool,
    announcer: &mut Announcer<O>,
) -> bool {
    let (wanted, before) = (path.to_owned(), seen.clone().filter(|_| !again));
    let reading = tokio::task::spawn_blocking(move || {
        let look = (wanted.clone(), stamp(&wanted));
        (before.as_ref() != Some(&look)).then(|| (read(&wanted), look))
    });
    let lines = match tokio::time::timeout(READ_TIME, reading).await {
        Ok(Ok(None)) => return false,
        Ok(Ok(Some((lines, look)))) => {
            let new = seen.as_ref() != Some(&look);
            *seen = Some(look);
            lines.map(|lines| (lines, new)).map_err(|error| (error, new))
        }
        Ok(Err(error)) => Err((error.to_string(), true)),
        Err(_) => Err(("does not answer".to_owned(), true)),
    };
    match lines {
        Ok((lines, new)) => announcer.announce(|roster, now, changes| {
            let (leases, unknown) = known(&lines, roster);
            roster.take_leases(&leases, unknown, now, changes);
            let waiting = roster.around.lease_file_refused;
            if waiting > 0 && new {
                tracing::warn!(file = %path.display(), waiting, "leases of the file cannot begin yet: unknown GPUs, or other leases have them");
            }
            waiting > 0
        }),
        Err((error, new)) => {
            if new {
                tracing::error!(file = %path.display(), error, "the lease file is not used; earlier leases stay");
            }
            false
        }
    }
}

/// Time and size; none where there is no file, which is as good as an empty one.
fn stamp(path: &Path) -> Option<(SystemTime, u64)> {
    let metadata = fs::metadata(path).ok()?;
    Some((metadata.modified().ok()?, metadata.len()))
}

/// The lines of a file; whoever writes it must not be able to make the agent wait.
fn read(path: &Path) -> Result<Vec<Line>, String> {
    let not_waiting = OFlags::NONBLOCK.bits().cast_signed();
    let file = match File::options().read(true).custom_flags(not_waiting).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error.to_string()),
    };
    if !file.metadata().is_ok_and(|metadata| metadata.is_file()) {
        return Err("is not a file".to_owned());
    }
    let mut text = String::new();
    file.take(FILE_BYTES_MAX + 1).read_to_string(&mut text).map_err(|error| error.to_string())?;
    if text.len() as u64 > FILE_BYTES_MAX {
        return Err(format!("is larger than {FILE_BYTES_MAX} bytes"));
    }
    serde_json::from_str::<Written>(&text).map(|written| written.leases).map_err(|error| error.to_string())
}

fn known(lines: &[Line], roster: &Roster) -> (Vec<FileLease>, usize) {
    let leases: Vec<FileLease> = lines
        .iter()
        .filter_map(|line| {
            let slot = roster.find(&line.gpu)?.identity.slot;
            Some(FileLease { slot, id: line.lease.clone(), until_unix_ms: line.until_unix_ms })
        })
        .collect();
    let unknown = lines.len() - leases.len();
    (leases, unknown)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_file_says_who_has_what_and_nothing_else_is_taken() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("leases.json");
        assert!(read(&path).expect("no file is an empty one").is_empty());
        fs::write(&path, r#"{"leases": [{"gpu": "0", "lease": "job-17"}]}"#).expect("write");
        let lines = read(&path).expect("a lease");
        assert_eq!(
            (lines[0].gpu.as_str(), lines[0].lease.as_str(), lines[0].until_unix_ms),
            ("0", "job-17", None)
        );
        let wrong = [
            r#"{"leases": 3}"#,
            r#"{"leases": [], "more": 1}"#,
            r#"{"leases": [{"gpu": 0, "lease": "x"}]}"#,
            "",
            "\u{0}",
        ];
        for text in wrong {
            fs::write(&path, text).expect("write");
            assert!(read(&path).is_err(), "{text}");
        }
        fs::write(&path, " ".repeat(FILE_BYTES_MAX as usize + 1)).expect("write");
        assert!(read(&path).is_err_and(|error| error.contains("larger")));
    }

    #[test]
    fn what_is_no_file_makes_nobody_wait() {
        let folder = tempfile::tempdir().expect("folder");
        let fifo = folder.path().join("fifo");
        let made = std::process::Command::new("mkfifo").arg(&fifo).status().expect("mkfifo");
        assert!(made.success());
        assert!(read(&fifo).is_err_and(|error| error.contains("not a file")));
        assert!(read(folder.path()).is_err());
    }
}
