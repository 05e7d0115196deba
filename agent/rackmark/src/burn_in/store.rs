//! Records on disk: the last one of each GPU and mode, and the one that runs.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rackmark_health::burn_in::Mode;
use rustix::fs::{FlockOperation, flock};

use super::record::{Record, VERSION};
use super::stuck::Stuck;

/// Largest record that is read back: 3,600 points and 2,900 stages of a week's soak stay below.
const RECORD_BYTES_MAX: u64 = 16 << 20;

/// The folder.
#[derive(Debug, Clone)]
pub struct Store {
    folder: PathBuf,
}

impl Store {
    /// `burn-in` in the state folder.
    pub fn new(state_dir: &Path) -> Self {
        Self { folder: state_dir.join("burn-in") }
    }

    fn path(&self, uuid: &str, what: &str) -> PathBuf {
        // A UUID has letters, digits and hyphens; nothing else becomes part of a path.
        let name: String = uuid.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '-').collect();
        self.folder.join(format!("{name}.{what}"))
    }

    /// Takes the GPU's lock, which ends with the value; none where another process has it.
    ///
    /// # Errors
    /// The folder or the file cannot be made.
    pub fn lock(&self, uuid: &str) -> io::Result<Option<File>> {
        fs::create_dir_all(&self.folder)?;
        let file = File::options().create(true).append(true).mode(0o600).open(self.path(uuid, "lock"))?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(file)),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn write(&self, path: &Path, text: &[u8]) -> io::Result<()> {
        fs::create_dir_all(&self.folder)?;
        let new = path.with_extension("new");
        let mut file = File::options().create(true).truncate(true).write(true).mode(0o640).open(&new)?;
        file.write_all(text)?;
        file.sync_all()?;
        fs::rename(new, path)
    }

    fn remove(path: &Path) -> io::Result<()> {
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    fn read(path: &Path) -> Option<Record> {
        let length = fs::metadata(path).ok()?.len();
        let text = (length <= RECORD_BYTES_MAX).then(|| fs::read(path).ok()).flatten()?;
        Record::of_json(&text).ok().filter(|record: &Record| record.version == VERSION)
    }

    /// Keeps a record that ended, in the place of the one before of the same mode.
    ///
    /// # Errors
    /// It could not be written.
    pub fn keep(&self, record: &Record) -> io::Result<()> {
        let mode = record.mode.name();
        self.write(&self.path(&record.card.uuid, &format!("{mode}.json")), &record.to_json()?)?;
        self.forget_running(&record.card.uuid)
    }

    /// Keeps a record that runs.
    ///
    /// # Errors
    /// It could not be written.
    pub fn keep_running(&self, record: &Record) -> io::Result<()> {
        self.write(&self.path(&record.card.uuid, "running"), &record.to_json()?)
    }

    /// Nothing runs any more on this GPU.
    ///
    /// # Errors
    /// The file could not be removed.
    pub fn forget_running(&self, uuid: &str) -> io::Result<()> {
        Self::remove(&self.path(uuid, "running"))
    }

    /// Keeps who cannot be ended on this GPU.
    ///
    /// # Errors
    /// It could not be written.
    pub fn keep_stuck(&self, uuid: &str, stuck: &Stuck) -> io::Result<()> {
        self.write(&self.path(uuid, "stuck"), &serde_json::to_vec(stuck)?)
    }

    /// Nobody hangs on this GPU any more.
    ///
    /// # Errors
    /// The file could not be removed.
    pub fn forget_stuck(&self, uuid: &str) -> io::Result<()> {
        Self::remove(&self.path(uuid, "stuck"))
    }

    /// Who could not be ended on this GPU when that was looked at last.
    pub fn stuck(&self, uuid: &str) -> Option<Stuck> {
        serde_json::from_slice(&fs::read(self.path(uuid, "stuck")).ok()?).ok()
    }

    /// What ran on this GPU when the agent ended.
    pub fn running(&self, uuid: &str) -> Option<Record> {
        Self::read(&self.path(uuid, "running"))
    }

    /// The last record of a GPU in a mode.
    pub fn last_in(&self, uuid: &str, mode: Mode) -> Option<Record> {
        Self::read(&self.path(uuid, &format!("{}.json", mode.name())))
    }

    /// The newest record of a GPU.
    pub fn last(&self, uuid: &str) -> Option<Record> {
        let records = rackmark_health::burn_in::MODES.into_iter().filter_map(|mode| self.last_in(uuid, mode));
        records.max_by_key(|record| record.ended_unix_ms)
    }
}
