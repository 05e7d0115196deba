//! What happened to GPUs and node, line by line, for `rackmark history`.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use rackmark_health::Transition;
use rackmark_model::ipc::SamplerReport;
use serde::{Deserialize, Serialize};

use super::{Keeper, kind_of, slot_of, words};
use crate::clock;
use crate::sampling::roster::{Change, Roster};
use crate::sampling::task::Observer;

/// Name of the file that is written now.
pub const FILE: &str = "history.jsonl";
/// Name of the one before it.
pub const FILE_BEFORE: &str = "history.1.jsonl";
/// Size from which on a new file is begun; two files are kept.
pub const FILE_BYTES_MAX: u64 = 2 << 20;
/// Longest line that is read back.
const LINE_BYTES_MAX: u64 = 8192;

/// One line of the history.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// When, milliseconds since 1970.
    pub at_unix_ms: u64,
    /// Slot of the GPU; none for the node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slot: Option<u8>,
    /// Serial number of the card that was there then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serial: Option<String>,
    /// UUID it had then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uuid: Option<String>,
    /// What kind of thing happened.
    pub kind: String,
    /// What happened, for people.
    pub text: String,
}

impl Entry {
    fn of(transition: &Transition, roster: &Roster) -> Self {
        let slot = slot_of(transition);
        let identity = slot.and_then(|slot| roster.gpu(slot)).map(|gpu| &gpu.identity);
        Self {
            at_unix_ms: match transition {
                // Found in a kernel log of days ago, it happened then.
                Transition::Incident { incident, .. } => incident.first_unix_ms,
                _ => clock::unix_ms(),
            },
            slot,
            serial: identity.and_then(|identity| identity.serial.clone()),
            uuid: identity.and_then(|identity| identity.uuid.clone()),
            kind: kind_of(transition).to_owned(),
            text: words(transition),
        }
    }

    /// Whether it is about this GPU: by slot, serial number or UUID as they were then.
    pub fn is_about(&self, gpu: &str) -> bool {
        self.slot.is_some_and(|slot| slot.to_string() == gpu)
            || self.serial.as_deref() == Some(gpu)
            || self.uuid.as_deref() == Some(gpu)
    }
}

/// An observer that writes the history and lets the judgement be kept, for another one.
#[derive(Clone)]
pub struct History<O> {
    keeper: Keeper,
    next: O,
}

impl<O> History<O> {
    /// Stands before `next`.
    pub const fn new(keeper: Keeper, next: O) -> Self {
        Self { keeper, next }
    }
}

impl<O: Observer> Observer for History<O> {
    fn reported(&mut self, roster: &Roster, report: Option<&SamplerReport>, changes: &[Change]) {
        for change in changes {
            if let Change::Health(transition) = change
                && let Ok(mut line) = serde_json::to_string(&Entry::of(transition, roster))
            {
                line.push('\n');
                self.keeper.line(&line);
            }
        }
        self.keeper.look(&roster.health, clock::boot_ms());
        self.next.reported(roster, report, changes);
    }
}

/// The newest `limit` entries about `gpu` (all where none is named), oldest first.
///
/// # Errors
/// Where a file is there and cannot be read.
pub fn read(folder: &Path, gpu: Option<&str>, limit: usize) -> std::io::Result<Vec<Entry>> {
    let mut entries = std::collections::VecDeque::new();
    for file in [FILE_BEFORE, FILE] {
        for line in lines(&folder.join(file))? {
            let Ok(entry) = serde_json::from_str::<Entry>(&line?) else { continue };
            if gpu.is_none_or(|gpu| entry.is_about(gpu)) {
                if entries.len() == limit {
                    entries.pop_front();
                }
                entries.push_back(entry);
            }
        }
    }
    Ok(entries.into())
}

/// Lines of a file that may not exist; one that is too long is cut, and then no entry.
fn lines(path: &PathBuf) -> std::io::Result<impl Iterator<Item = std::io::Result<String>>> {
    let file = match File::open(path) {
        Ok(file) => Some(file),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        Err(error) => return Err(error),
    };
    let mut reader = file.map(BufReader::new);
    Ok(std::iter::from_fn(move || {
        use std::io::Read;
        let mut bytes = Vec::new();
        let read = reader.as_mut()?.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', &mut bytes);
        match read {
            Ok(0) => None,
            Ok(_) => Some(Ok(String::from_utf8_lossy(&bytes).into_owned())),
            Err(error) => Some(Err(error)),
        }
    }))
}

/// Adds lines to the file in `folder`, beginning a new one where it has grown large.
pub(super) fn append(folder: &Path, text: &str) -> std::io::Result<()> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    let path = folder.join(FILE);
    if fs::metadata(&path).is_ok_and(|metadata| metadata.len() > FILE_BYTES_MAX) {
        fs::rename(&path, folder.join(FILE_BEFORE))?;
    }
    let mut file = File::options().append(true).create(true).mode(0o600).open(&path)?;
    file.write_all(text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(slot: u8, text: &str) -> String {
        let entry = Entry {
            at_unix_ms: 1,
            slot: Some(slot),
            serial: Some(format!("S{slot}")),
            uuid: None,
            kind: "verdict".to_owned(),
            text: text.to_owned(),
        };
        serde_json::to_string(&entry).expect("json") + "\n"
    }

    #[test]
    fn the_newest_lines_of_a_gpu_are_found_by_slot_and_serial() {
        let folder = tempfile::tempdir().expect("folder");
        assert_eq!(read(folder.path(), None, 10).expect("no file yet"), []);
        for number in 0..20 {
            append(folder.path(), &entry(number % 2, &number.to_string())).expect("append");
        }
        append(folder.path(), "no json\n").expect("append");
        let texts = |gpu: Option<&str>, limit| -> Vec<String> {
            read(folder.path(), gpu, limit).expect("read").into_iter().map(|entry| entry.text).collect()
        };
        assert_eq!(texts(Some("1"), 2), ["17", "19"]);
        assert_eq!(texts(Some("S0"), 1), ["18"]);
        assert_eq!(texts(None, 3), ["17", "18", "19"]);
    }

    #[test]
    fn two_files_are_kept_and_read_in_order() {
        let folder = tempfile::tempdir().expect("folder");
        append(folder.path(), &entry(0, "old")).expect("append");
        append(folder.path(), &"x".repeat(FILE_BYTES_MAX as usize)).expect("append");
        append(folder.path(), &entry(0, "new")).expect("append");
        assert!(folder.path().join(FILE_BEFORE).exists());
        let texts: Vec<_> =
            read(folder.path(), None, 10).expect("read").into_iter().map(|entry| entry.text).collect();
        assert_eq!(texts, ["old", "new"]);
    }
}
