//! A folder of the file system.

use std::collections::HashMap;
use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::Medium;
use crate::error::SpoolError;

/// Files kept open: ledger, and per stream the segment written to, the draft and a segment read from.
const OPEN_FILES: usize = 24;

/// A real folder, locked for this process.
#[derive(Debug)]
pub struct Disk {
    folder: PathBuf,
    open: HashMap<String, File>,
    _lock: File,
}

impl Disk {
    /// Opens a folder, making it where it is missing (mode 0700), and locks it.
    ///
    /// # Errors
    /// [`SpoolError::InUse`] where another process has it, else [`SpoolError::Medium`].
    pub fn open(folder: &Path) -> Result<Self, SpoolError> {
        let failed = |source| SpoolError::Medium { what: "use folder", path: String::new(), source };
        DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(failed)?;
        let lock = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(folder.join("lock"))
            .map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { folder: folder.to_owned(), open: HashMap::new(), _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(SpoolError::InUse),
            Err(TryLockError::Error(source)) => Err(failed(source)),
        }
    }

    fn file(&mut self, path: &str, create: bool) -> io::Result<&File> {
        if !self.open.contains_key(path) {
            if self.open.len() >= OPEN_FILES {
                self.open.clear();
            }
            let file = OpenOptions::new()
                .read(true)
                .write(true)
                .create(create)
                .truncate(false)
                .mode(0o600)
                .open(self.folder.join(path))?;
            self.open.insert(path.to_owned(), file);
        }
        self.open.get(path).ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

impl Medium for Disk {
    fn read_at(&mut self, path: &str, offset: u64, into: &mut [u8]) -> io::Result<usize> {
        let file = self.file(path, false)?;
        let mut read = 0;
        while read < into.len() {
            match file.read_at(&mut into[read..], offset + read as u64) {
                Ok(0) => break,
                Ok(more) => read += more,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(read)
    }

    fn write_at(&mut self, path: &str, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.file(path, true)?.write_all_at(bytes, offset)
    }

    fn length(&mut self, path: &str) -> io::Result<u64> {
        Ok(self.file(path, false)?.metadata()?.len())
    }

    fn set_length(&mut self, path: &str, length: u64) -> io::Result<()> {
        self.file(path, true)?.set_len(length)
    }

    fn sync(&mut self, path: &str) -> io::Result<()> {
        self.file(path, false)?.sync_data()
    }

    fn make_folder(&mut self, path: &str) -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(0o700).create(self.folder.join(path))
    }

    fn sync_folder(&mut self, path: &str) -> io::Result<()> {
        File::open(self.folder.join(path))?.sync_all()
    }

    fn list(&mut self, path: &str) -> io::Result<Vec<(String, u64)>> {
        let mut found = Vec::new();
        for entry in fs::read_dir(self.folder.join(path))? {
            let entry = entry?;
            let metadata = entry.metadata()?;
            if let (true, Ok(name)) = (metadata.is_file(), entry.file_name().into_string()) {
                found.push((name, metadata.len()));
            }
        }
        Ok(found)
    }

    fn remove(&mut self, path: &str) -> io::Result<()> {
        self.open.remove(path);
        fs::remove_file(self.folder.join(path))
    }

    fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        self.open.remove(from);
        self.open.remove(to);
        fs::rename(self.folder.join(from), self.folder.join(to))
    }
}
