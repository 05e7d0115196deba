//! A verifier's memory on disk: what it saw of each node, the nonces that are out, and the bundles it accepted.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rackmark_feed::NodeId;
use rackmark_feed::verify::store::Store;
use thiserror::Error;

/// Largest memory that is read: 65,536 nodes with 8 GPUs each stay below.
const MEMORY_BYTES_MAX: u64 = 1 << 30;

/// A memory that cannot be used.
#[derive(Debug, Error)]
pub enum MemoryError {
    /// A file cannot be read or written.
    #[error("cannot read or write {}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It does not parse. It is not replaced: a verifier that forgets sees no clones.
    #[error("{} does not parse", path.display())]
    Parse {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// Another verifier uses it.
    #[error("{} is in use by another verifier", .0.display())]
    InUse(PathBuf),
}

/// The memory, held for one verifier at a time.
#[derive(Debug)]
pub struct Memory {
    folder: PathBuf,
    /// What is remembered.
    pub store: Store,
    _lock: fs::File,
}

impl Memory {
    /// Opens the memory in a folder, which is made where it is missing.
    ///
    /// # Errors
    /// [`MemoryError`].
    pub fn open(folder: &Path) -> Result<Self, MemoryError> {
        let wrong = |path: &Path| {
            let path = path.to_owned();
            move |source| MemoryError::File { path, source }
        };
        fs::create_dir_all(folder.join("bundles")).map_err(wrong(folder))?;
        let lock = folder.join("lock");
        let held = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&lock)
            .map_err(wrong(&lock))?;
        rustix::fs::flock(&held, rustix::fs::FlockOperation::NonBlockingLockExclusive)
            .map_err(|_| MemoryError::InUse(folder.to_owned()))?;
        let path = folder.join("nodes.json");
        let store = match fs::metadata(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Store::default(),
            Err(error) => return Err(wrong(&path)(error)),
            Ok(found) if found.len() > MEMORY_BYTES_MAX => {
                return Err(wrong(&path)(io::Error::new(io::ErrorKind::InvalidData, "it is too large")));
            }
            Ok(_) => {
                let bytes = fs::read(&path).map_err(wrong(&path))?;
                serde_json::from_slice(&bytes)
                    .map_err(|source| MemoryError::Parse { path: path.clone(), source })?
            }
        };
        Ok(Self { folder: folder.to_owned(), store, _lock: held })
    }

    /// Keeps what is remembered, before anything is sent that relies on it.
    ///
    /// # Errors
    /// [`MemoryError::File`].
    pub fn keep(&self) -> Result<(), MemoryError> {
        let path = self.folder.join("nodes.json");
        let bytes = serde_json::to_vec(&self.store)
            .map_err(|error| MemoryError::File { path: path.clone(), source: error.into() })?;
        self.write(&path, &bytes)
    }

    /// Archives a bundle that was accepted; receipts rely on it. Gives its path.
    ///
    /// # Errors
    /// [`MemoryError::File`].
    pub fn archive(
        &self,
        node: &NodeId,
        digest: &[u8; 32],
        unix_ms: u64,
        bundle: &[u8],
    ) -> Result<PathBuf, MemoryError> {
        let folder = self.folder.join("bundles").join(node.to_string().replace(':', "-"));
        fs::create_dir_all(&folder).map_err(|source| MemoryError::File { path: folder.clone(), source })?;
        let short: String = digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        let path = folder.join(format!("{unix_ms}-{short}.bundle"));
        self.write(&path, bundle)?;
        Ok(path)
    }

    fn write(&self, path: &Path, bytes: &[u8]) -> Result<(), MemoryError> {
        let new = path.with_extension("new");
        let write = || {
            let mut file =
                OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
            file.write_all(bytes)?;
            file.sync_data()?;
            fs::rename(&new, path)
        };
        write().map_err(|source| MemoryError::File { path: path.to_owned(), source })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nonces_outlive_a_restart_and_one_verifier_holds_it() {
        let folder = tempfile::tempdir().expect("folder");
        let node = NodeId::from_parts(rackmark_feed::IdentityClass::Tpm, [1; 32]);
        let mut memory = Memory::open(folder.path()).expect("memory");
        let random = core::array::from_fn(|at| u8::try_from(at).unwrap_or_default());
        memory.store.nonces.issue(random, node, 5).expect("fresh");
        memory.keep().expect("kept");
        assert!(matches!(Memory::open(folder.path()), Err(MemoryError::InUse(_))));
        drop(memory);
        let mut memory = Memory::open(folder.path()).expect("memory");
        assert!(memory.store.nonces.issue(random, node, 6).is_err(), "it was given out before");
        assert_eq!(memory.store.nonces.redeem(&random, &node, 6), Ok(()));
        let path = memory.archive(&node, &[0xab; 32], 7, b"bundle").expect("archived");
        assert_eq!(fs::read(path).expect("there"), b"bundle");
    }

    #[test]
    fn a_damaged_memory_is_an_error_and_stays() {
        let folder = tempfile::tempdir().expect("folder");
        fs::write(folder.path().join("nodes.json"), "{damaged").expect("file");
        assert!(matches!(Memory::open(folder.path()), Err(MemoryError::Parse { .. })));
        assert_eq!(fs::read(folder.path().join("nodes.json")).expect("there"), b"{damaged");
    }
}
