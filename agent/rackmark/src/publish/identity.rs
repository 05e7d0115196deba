//! The keys of this node.
//!
//! The identity key is made once and kept on disk; the node id is its hash. The
//! session key is made at every start, lives in memory only, and signs every
//! message; the session record, signed by the identity key, binds the two.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rackmark_feed::error::KeyError;
use rackmark_feed::{NodeId, PreviousSession, SigningKey, Succession};
use rackmark_model::tpm::KeptKey;
use ring::rand::{SecureRandom, SystemRandom};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::attesting::AcceptedBy;
use crate::inventory::Kept;
use crate::sampling::roster::Identity as GpuIdentity;

/// Largest state file that is read: the judgement of 64 GPUs with everything against them stays below.
const STATE_BYTES_MAX: u64 = 16 << 20;

/// Something about the state directory.
#[derive(Debug, Error)]
pub enum StateError {
    /// It cannot be made or used.
    #[error("cannot use state directory {}", path.display())]
    Folder {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file in it cannot be read or written.
    #[error("cannot read or write {}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A key cannot be made or read.
    #[error("identity key {} cannot be used", path.display())]
    Key {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: KeyError,
    },
    /// No session key could be made.
    #[error("no session key could be made")]
    SessionKey(#[source] KeyError),
}

/// What is kept of a session so that the next one can name its end.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeptSession {
    previous: Option<PreviousSession>,
}

/// The state directory.
#[derive(Debug, Clone)]
pub struct StateDir(PathBuf);

impl StateDir {
    /// Opens it, making it with mode 0700 where it is missing.
    ///
    /// # Errors
    /// [`StateError::Folder`].
    pub fn open(path: &Path) -> Result<Self, StateError> {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path)
            .map_err(|source| StateError::Folder { path: path.to_owned(), source })?;
        Ok(Self(path.to_owned()))
    }

    /// The identity key; made where there is none yet.
    ///
    /// # Errors
    /// [`StateError::File`] and [`StateError::Key`]. A damaged key is never
    /// replaced silently, since the node would become another node.
    pub fn identity_key(&self) -> Result<SigningKey, StateError> {
        let path = self.0.join("identity.pk8");
        let key = |source| StateError::Key { path: path.clone(), source };
        match fs::read(&path) {
            Ok(der) => SigningKey::from_pkcs8(&der).map_err(key),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let der = SigningKey::generate_pkcs8().map_err(key)?;
                self.write("identity.pk8", &der, Survives::PowerLoss)?;
                tracing::info!(file = %path.display(), "new identity key");
                SigningKey::from_pkcs8(&der).map_err(key)
            }
            Err(source) => Err(StateError::File { path, source }),
        }
    }

    /// Folder of the spool.
    pub fn spool(&self) -> PathBuf {
        self.0.join("spool")
    }

    /// The session before this one, as it stood when it began or ended in order.
    pub fn previous_session(&self) -> Option<PreviousSession> {
        self.read::<KeptSession>("session.json").and_then(|kept| kept.previous)
    }

    /// Notes which session this is, for the next one to close it.
    ///
    /// # Errors
    /// [`StateError::File`].
    pub fn keep_session(&self, session: PreviousSession) -> Result<(), StateError> {
        self.write_json("session.json", &KeptSession { previous: Some(session) }, Survives::Crash)
    }

    /// The GPUs of earlier runs.
    pub fn known_gpus(&self) -> Vec<GpuIdentity> {
        self.read("roster.json").unwrap_or_default()
    }

    /// Keeps the names of the GPUs.
    ///
    /// # Errors
    /// [`StateError::File`].
    pub fn keep_gpus(&self, gpus: &[GpuIdentity]) -> Result<(), StateError> {
        self.write_json("roster.json", gpus, Survives::PowerLoss)
    }

    /// The judgement as it stood when the daemon ended.
    pub fn known_health(&self) -> rackmark_health::State {
        self.read("health.json").unwrap_or_default()
    }

    /// Keeps the judgement, given as JSON.
    ///
    /// # Errors
    /// [`StateError::File`].
    pub fn keep_health(&self, json: &[u8]) -> Result<(), StateError> {
        self.write("health.json", json, Survives::PowerLoss)
    }

    /// What this server was when it was last looked at.
    pub fn known_inventory(&self) -> Option<Kept> {
        self.read("inventory.json")
    }

    /// Keeps what this server is.
    ///
    /// # Errors
    /// [`StateError::File`].
    pub fn keep_inventory(&self, kept: &Kept) -> Result<(), StateError> {
        self.write_json("inventory.json", kept, Survives::PowerLoss)
    }

    /// The node that this was before; none before the first start with one.
    ///
    /// # Errors
    /// [`StateError::File`] where the file is there and cannot be read or understood: the node would become another.
    pub fn known_node(&self) -> Result<Option<NodeId>, StateError> {
        let path = self.0.join("node-id");
        let wrong = |source| StateError::File { path: path.clone(), source };
        match fs::read_to_string(&path) {
            Ok(text) => text
                .trim()
                .parse()
                .map(Some)
                .map_err(|error| wrong(io::Error::new(io::ErrorKind::InvalidData, error))),
            // A state of a version that knew software keys only.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                match self.0.join("identity.pk8").exists() {
                    true => Ok(Some(NodeId::software(&self.identity_key()?.public()))),
                    false => Ok(None),
                }
            }
            Err(source) => Err(wrong(source)),
        }
    }

    /// Keeps which node this is.
    ///
    /// # Errors
    /// [`StateError::File`].
    pub fn keep_node(&self, node: &NodeId) -> Result<(), StateError> {
        self.write("node-id", format!("{node}\n").as_bytes(), Survives::PowerLoss)
    }

    /// The attestation key that the TPM wrapped in an earlier run.
    pub fn attestation_key(&self) -> Option<KeptKey> {
        self.read("attestation-key.json")
    }

    /// Keeps it.
    ///
    /// # Errors
    /// [`StateError::File`].
    pub fn keep_attestation_key(&self, key: &KeptKey) -> Result<(), StateError> {
        self.write_json("attestation-key.json", key, Survives::PowerLoss)
    }

    /// What verifiers accepted last.
    pub fn accepted(&self) -> AcceptedBy {
        self.read("accepted.json").unwrap_or_default()
    }

    /// Keeps it.
    ///
    /// # Errors
    /// [`StateError::File`].
    pub fn keep_accepted(&self, accepted: &AcceptedBy) -> Result<(), StateError> {
        self.write_json("accepted.json", accepted, Survives::PowerLoss)
    }

    /// The folder itself.
    pub fn path(&self) -> &Path {
        &self.0
    }

    fn read<T: DeserializeOwned>(&self, name: &str) -> Option<T> {
        let path = self.0.join(name);
        let size = fs::metadata(&path).ok()?.len();
        if size > STATE_BYTES_MAX {
            tracing::warn!(file = %path.display(), size, "state file is too large, starting without it");
            self.set_aside(name);
            return None;
        }
        let bytes = fs::read(&path).ok()?;
        serde_json::from_slice(&bytes)
            .inspect_err(|error| {
                tracing::warn!(file = %path.display(), %error, "state file does not parse, starting without it");
                self.set_aside(name);
            })
            .ok()
    }

    /// Keeps a file that cannot be used for whoever wants to know why, before it is written anew.
    fn set_aside(&self, name: &str) {
        if let Err(error) = fs::rename(self.0.join(name), self.0.join(format!("{name}.bad"))) {
            tracing::warn!(name, %error, "it cannot be set aside");
        }
    }

    fn write_json<T: Serialize + ?Sized>(
        &self,
        name: &str,
        value: &T,
        survives: Survives,
    ) -> Result<(), StateError> {
        let bytes = serde_json::to_vec(value)
            .map_err(|error| StateError::File { path: self.0.join(name), source: error.into() })?;
        self.write(name, &bytes, survives)
    }

    /// Replaces a file as a whole, readable for the agent only.
    fn write(&self, name: &str, bytes: &[u8], survives: Survives) -> Result<(), StateError> {
        let path = self.0.join(name);
        let new = self.0.join(format!("{name}.new"));
        let write = || {
            let mut file =
                OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
            file.write_all(bytes)?;
            if survives == Survives::PowerLoss {
                file.sync_data()?;
            }
            fs::rename(&new, &path)
        };
        write().map_err(|source| StateError::File { path: path.clone(), source })
    }
}

/// What a state file must outlive. Waiting for the disk is for what is written
/// once; a file that is written with every batch must not make sampling wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Survives {
    PowerLoss,
    Crash,
}

/// The keys of this start of the daemon.
pub struct Session {
    /// The node that speaks.
    pub node: NodeId,
    /// Signs the session record.
    pub identity: SigningKey,
    /// Signs everything.
    pub key: SigningKey,
    /// What operators signed of the node's earlier ids, oldest first.
    pub successions: Vec<Succession>,
}

impl Session {
    /// Makes this start's keys. The node is that of its TPM, if one is given, else that of its identity key. It has no
    /// successions yet.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn begin(state: &StateDir, tpm: Option<NodeId>) -> Result<Self, StateError> {
        let identity = state.identity_key()?;
        let key = SigningKey::generate().map_err(StateError::SessionKey)?;
        let node = tpm.unwrap_or_else(|| NodeId::software(&identity.public()));
        Ok(Self { node, identity, key, successions: Vec::new() })
    }

    /// A name for a new space of record numbers.
    ///
    /// # Errors
    /// [`StateError::SessionKey`] where the system gives no random bytes.
    pub fn new_epoch() -> Result<u64, StateError> {
        let mut epoch = [0; 8];
        SystemRandom::new().fill(&mut epoch).map_err(|_| StateError::SessionKey(KeyError::Random))?;
        Ok(u64::from_le_bytes(epoch))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn the_identity_survives_a_restart_and_the_session_does_not() {
        let folder = tempfile::tempdir().expect("folder");
        let state = StateDir::open(&folder.path().join("state")).expect("state");
        let first = Session::begin(&state, None).expect("first");
        let second = Session::begin(&state, None).expect("second");
        assert_eq!(first.node, second.node);
        assert_ne!(first.key.public(), second.key.public());
        assert_ne!(Session::new_epoch().expect("epoch"), Session::new_epoch().expect("epoch"));
    }

    #[test]
    fn only_the_agent_may_read_the_key() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("state");
        let state = StateDir::open(&path).expect("state");
        state.identity_key().expect("key");
        let mode = |path: &Path| fs::metadata(path).expect("metadata").permissions().mode() & 0o777;
        assert_eq!(mode(&path), 0o700);
        assert_eq!(mode(&path.join("identity.pk8")), 0o600);
    }

    #[test]
    fn a_damaged_key_is_an_error_and_stays() {
        let folder = tempfile::tempdir().expect("folder");
        let state = StateDir::open(folder.path()).expect("state");
        fs::write(folder.path().join("identity.pk8"), b"damaged").expect("write");
        assert!(matches!(state.identity_key(), Err(StateError::Key { .. })));
        assert_eq!(fs::read(folder.path().join("identity.pk8")).expect("read"), b"damaged");
    }
}
