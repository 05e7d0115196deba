//! A folder with one file per consumer, for keys that come and go while the configuration stays.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rackmark_feed::PublicKey;
use rackmark_feed::topic::is_name;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use tokio::sync::watch;
use tokio::time::{Interval, interval};

use super::Config;
use super::delivery::Consumer;

/// Most files; each is a subscription or two.
const FILES: usize = 64;
/// Largest file.
const FILE_BYTES: u64 = 4096;

/// What a consumer may ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Records again, and evidence.
    Buyer,
    /// Leases, too.
    Lessor,
    /// Everything.
    Operator,
}

impl Role {
    /// The name in files.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Buyer => "buyer",
            Self::Lessor => "lessor",
            Self::Operator => "operator",
        }
    }
}

/// One file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// Ed25519, in hexadecimal digits.
    pub public_key: String,
    /// What it may ask for.
    pub roles: Vec<Role>,
    /// Records wait for its confirmation.
    #[serde(default)]
    pub required: bool,
    /// When it was added, for people.
    #[serde(default)]
    pub added: String,
    /// When and why it was revoked, for people. A key with this is not listened to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked: Option<String>,
    /// For people.
    #[serde(default)]
    pub comment: String,
}

/// A folder that cannot be used.
#[derive(Debug, Error)]
pub enum KeysError {
    /// It, or a file in it, cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file may be changed by others than its owner.
    #[error("{} may be written by group or others", .0.display())]
    Writable(PathBuf),
    /// A file is not what it should be.
    #[error("{}: {problem}", path.display())]
    Entry {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// There are too many.
    #[error("{} holds more than {FILES} keys", .0.display())]
    TooMany(PathBuf),
}

/// Every file of a folder by name, revoked ones too. A folder that is not there is empty.
///
/// # Errors
/// [`KeysError`]: a file that cannot be understood is not skipped, since it may be the one that revokes.
pub fn read_folder(folder: &Path) -> Result<Vec<(String, Entry)>, KeysError> {
    let wrong = |path: &Path, source| KeysError::Read { path: path.to_owned(), source };
    let files = match fs::read_dir(folder) {
        Ok(files) => files,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(wrong(folder, error)),
    };
    let mut found: Vec<(String, Entry)> = Vec::new();
    for file in files {
        let path = file.map_err(|error| wrong(folder, error))?.path();
        let name = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default().to_owned();
        if path.extension().is_none_or(|extension| extension != "toml") || name.starts_with('.') {
            continue;
        }
        if found.len() == FILES {
            return Err(KeysError::TooMany(folder.to_owned()));
        }
        let entry = read_entry(&path, &name)?;
        let problem = |problem: String| KeysError::Entry { path: path.clone(), problem };
        if let Some((other, _)) = found.iter().find(|(_, known)| known.public_key == entry.public_key) {
            return Err(problem(format!("has the key of {other}, too")));
        }
        found.push((name, entry));
    }
    found.sort_unstable_by(|a, b| a.0.cmp(&b.0));
    Ok(found)
}

fn read_entry(path: &Path, name: &str) -> Result<Entry, KeysError> {
    let wrong = |source| KeysError::Read { path: path.to_owned(), source };
    let problem = |problem: String| KeysError::Entry { path: path.to_owned(), problem };
    let found = fs::metadata(path).map_err(wrong)?;
    if found.mode() & 0o022 != 0 {
        return Err(KeysError::Writable(path.to_owned()));
    }
    if found.len() > FILE_BYTES {
        return Err(problem(format!("has {} bytes, at most {FILE_BYTES} are taken", found.len())));
    }
    if !is_name(name) {
        return Err(problem("has a name that cannot stand in a topic".to_owned()));
    }
    let text = fs::read_to_string(path).map_err(wrong)?;
    let entry: Entry = toml::from_str(&text).map_err(|error| problem(error.message().to_owned()))?;
    if PublicKey::from_hex(&entry.public_key).is_none() {
        return Err(problem("public_key is no Ed25519 key of 64 hexadecimal digits".to_owned()));
    }
    Ok(entry)
}

/// The consumers of a folder that are allowed.
///
/// # Errors
/// [`KeysError`].
pub fn consumers(folder: &Path) -> Result<Vec<Consumer>, KeysError> {
    let entries = read_folder(folder)?.into_iter().filter(|(_, entry)| entry.revoked.is_none());
    Ok(entries
        .filter_map(|(name, entry)| {
            let key = PublicKey::from_hex(&entry.public_key)?;
            let operator = entry.roles.contains(&Role::Operator);
            let lessor = entry.roles.contains(&Role::Lessor);
            Some(Consumer { name, key, required: entry.required, operator, lessor })
        })
        .collect())
}

/// How often the folder is looked at: a revoked key is out within twice this time.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// What tells that a folder is another than before: its files, when they were written, and which they are.
type Stamp = Vec<(PathBuf, SystemTime, u64)>;

fn stamp(folder: &Path) -> Stamp {
    let files = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut stamps: Stamp = files
        .filter_map(|file| {
            let found = file.metadata().ok()?;
            Some((file.path(), found.modified().ok()?, found.ino()))
        })
        .collect();
    stamps.sort();
    stamps
}

/// Notices that the folder of the configuration in force is another than before.
pub struct KeysWatch {
    config: watch::Receiver<Arc<Config>>,
    look: Interval,
    seen: Stamp,
}

impl KeysWatch {
    /// Notes how the folder is now.
    pub fn new(config: watch::Receiver<Arc<Config>>) -> Self {
        let mut watch = Self { config, look: interval(LOOK_EVERY), seen: Stamp::new() };
        watch.seen = watch.now();
        watch
    }

    fn now(&self) -> Stamp {
        self.config.borrow().keys_dir.as_deref().map(stamp).unwrap_or_default()
    }

    /// Waits until it is another.
    pub async fn changed(&mut self) {
        loop {
            self.look.tick().await;
            let now = self.now();
            if now != self.seen {
                self.seen = now;
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn write(folder: &Path, name: &str, text: &str) -> PathBuf {
        let path = folder.join(name);
        fs::write(&path, text).expect("file");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).expect("mode");
        path
    }

    fn entry(digit: &str, more: &str) -> String {
        format!("public_key = \"{}\"\nroles = [\"buyer\"]\n{more}", digit.repeat(64))
    }

    #[test]
    fn roles_and_revocations_are_read() {
        let folder = tempfile::tempdir().expect("folder");
        write(folder.path(), "bob.toml", &entry("a", ""));
        write(folder.path(), "eve.toml", &entry("b", "revoked = \"lost\"\n"));
        let operator = entry("c", "required = true\n").replace("buyer", "operator");
        write(folder.path(), "olga.toml", &operator);
        write(folder.path(), "README", "not a key");
        let found = consumers(folder.path()).expect("good");
        let names: Vec<&str> = found.iter().map(|consumer| consumer.name.as_str()).collect();
        assert_eq!(names, ["bob", "olga"]);
        assert!(found[1].operator && found[1].required && !found[0].operator);
        assert_eq!(consumers(Path::new("/nowhere")).expect("empty"), []);
    }

    /// Nothing that could be the file of a revoked key is skipped.
    #[test]
    fn what_cannot_be_understood_or_trusted_is_an_error() {
        let folder = tempfile::tempdir().expect("folder");
        let cases = [
            ("bob.toml", entry("a", "shoe_size = 43\n")),
            ("bob.toml", "public_key = \"ab\"\nroles = []\n".to_owned()),
            ("bob.toml", entry("a", "").replace("buyer", "king")),
            ("bob.toml", "x".repeat(5000)),
            ("Bob Smith.toml", entry("a", "")),
        ];
        for (name, text) in cases {
            let path = write(folder.path(), name, &text);
            assert!(read_folder(folder.path()).is_err(), "{name}: {text}");
            fs::remove_file(path).expect("removed");
        }
        let path = write(folder.path(), "bob.toml", &entry("a", ""));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o664)).expect("mode");
        assert!(matches!(read_folder(folder.path()), Err(KeysError::Writable(_))));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).expect("mode");
        write(folder.path(), "twin.toml", &entry("a", ""));
        assert!(read_folder(folder.path()).is_err(), "one key under two names");
    }
}
