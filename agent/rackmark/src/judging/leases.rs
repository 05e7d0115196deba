//! The lease file: who has which GPU, written by a scheduler or a hypervisor's hook.
//!
//! ```json
//! {"leases": [{"gpu": "GPU-…", "lease": "job-17", "until_unix_ms": 1790000000000}]}
//! ```

use std::fs::{self, File};
use std::io::Read;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rackmark_health::FileLease;
use serde::Deserialize;
use tokio::sync::watch;

use super::Announcer;
use crate::config::{Config, LeaseSource};
use crate::sampling::roster::Roster;
use crate::sampling::task::Observer;

/// The file is looked at this often; only its time and size are read then.
const LOOK: Duration = Duration::from_secs(1);
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

/// Follows the lease file until `stop` is set.
pub async fn watch<O: Observer>(
    mut config: watch::Receiver<Arc<Config>>,
    mut announcer: Announcer<O>,
    mut stop: watch::Receiver<bool>,
) {
    let mut seen = None;
    loop {
        let file = match &config.borrow_and_update().leases {
            LeaseSource::File(path) => Some(path.clone()),
            LeaseSource::None | LeaseSource::Control => None,
        };
        if let Some(path) = &file {
            let stamp = stamp(path);
            if seen.as_ref() != Some(&(path.clone(), stamp)) {
                seen = Some((path.clone(), stamp));
                take(path, &mut announcer);
            }
        }
        tokio::select! {
            () = tokio::time::sleep(LOOK), if file.is_some() => {}
            changed = config.changed() => if changed.is_err() { return },
            _ = stop.wait_for(|stop| *stop) => return,
        }
    }
}

/// Time and size; none where there is no file, which is as good as an empty one.
fn stamp(path: &Path) -> Option<(SystemTime, u64)> {
    let metadata = fs::metadata(path).ok()?;
    Some((metadata.modified().ok()?, metadata.len()))
}

fn take<O: Observer>(path: &Path, announcer: &mut Announcer<O>) {
    let lines = match read(path) {
        Ok(lines) => lines,
        Err(error) => {
            tracing::error!(file = %path.display(), error, "the lease file is not used; earlier leases stay");
            return;
        }
    };
    announcer.announce(|roster, now, changes| {
        let (leases, unknown) = known(&lines, roster);
        if unknown > 0 {
            tracing::warn!(file = %path.display(), unknown, "the lease file names GPUs that this node does not have");
        }
        roster.take_leases(&leases, unknown, now, changes);
    });
}

fn read(path: &Path) -> Result<Vec<Line>, String> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error.to_string()),
    };
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
