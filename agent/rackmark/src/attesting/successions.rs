//! Successions on disk: what an operator signed of this node's earlier ids, one file each.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rackmark_feed::body::succession::successions_extension;
use rackmark_feed::{NodeId, PublicKey, Signature, Succession, SuccessionReason, limits};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::exit::chain;

/// Most files looked at; a node needs four, and a folder may be the same for all nodes of a room.
const FILES: usize = 256;
/// Largest file: ids, keys and signature in digits have 500 bytes, a ticket has up to 512, twice that when escaped.
const FILE_BYTES: u64 = 4096;

/// A file that is no succession.
#[derive(Debug, Error)]
pub enum SuccessionFileError {
    /// It cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It is not what it should be.
    #[error("{}: {problem}", path.display())]
    Content {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
}

/// The file: a [`Succession`] in words.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    old: String,
    new: String,
    reason: String,
    ticket: String,
    issued_unix_ms: u64,
    operator: String,
    signature: String,
}

/// The text of a file.
///
/// # Errors
/// In words: a ticket that is too long, or an unknown reason, which has no name.
pub fn text(succession: &Succession) -> Result<String, String> {
    successions_extension(std::slice::from_ref(succession)).map_err(|error| chain(&error))?;
    let entry = Entry {
        old: succession.old.to_string(),
        new: succession.new.to_string(),
        reason: succession.reason.name().to_owned(),
        ticket: succession.ticket.clone(),
        issued_unix_ms: succession.issued_unix_ms,
        operator: succession.operator.to_string(),
        signature: succession.signature.to_string(),
    };
    toml::to_string(&entry).map_err(|error| error.to_string())
}

/// A reason by its name.
pub fn reason(name: &str) -> Option<SuccessionReason> {
    SuccessionReason::ALL.iter().copied().find(|reason| reason.name() == name)
}

/// Reads a file, and checks that the operator that it names signed it.
///
/// # Errors
/// [`SuccessionFileError`].
pub fn read(path: &Path) -> Result<Succession, SuccessionFileError> {
    let wrong = |source| SuccessionFileError::Read { path: path.to_owned(), source };
    let problem = |problem: String| SuccessionFileError::Content { path: path.to_owned(), problem };
    let size = fs::metadata(path).map_err(wrong)?.len();
    if size > FILE_BYTES {
        return Err(problem(format!("has {size} bytes, at most {FILE_BYTES} are taken")));
    }
    let text = fs::read_to_string(path).map_err(wrong)?;
    let entry: Entry = toml::from_str(&text).map_err(|error| problem(error.message().to_owned()))?;
    let no = |key: &str, what: &str| problem(format!("{key} is no {what}"));
    let succession = Succession {
        old: entry.old.parse().map_err(|_| no("old", "node id"))?,
        new: entry.new.parse().map_err(|_| no("new", "node id"))?,
        reason: reason(&entry.reason).ok_or_else(|| no("reason", "reason that is known"))?,
        ticket: entry.ticket,
        issued_unix_ms: entry.issued_unix_ms,
        operator: PublicKey::from_hex(&entry.operator).ok_or_else(|| no("operator", "public key"))?,
        signature: Signature::from_hex(&entry.signature).ok_or_else(|| no("signature", "signature"))?,
    };
    if !succession.verifies() {
        return Err(problem("is not signed by the operator that it names".to_owned()));
    }
    successions_extension(std::slice::from_ref(&succession)).map_err(|error| problem(chain(&error)))?;
    Ok(succession)
}

/// The successions of a folder that lead to this node, oldest first. What cannot be used is said in the log, and the
/// node starts all the same: without its history it is a new node, which is the truth. A folder that is not there is
/// empty.
pub fn of_node(folder: &Path, node: &NodeId) -> Vec<Succession> {
    let mut found = read_folder(folder);
    let mut row: Vec<Succession> = Vec::new();
    while row.len() < limits::SUCCESSIONS {
        let at = row.first().map_or(*node, |first| first.old);
        let is_next = |(_, next): &&(PathBuf, Succession)| {
            next.new == at && next.old != *node && row.iter().all(|later| later.old != next.old)
        };
        // Where an operator signed twice, the later word counts.
        let Some(next) = found.iter().filter(is_next).max_by_key(|(_, next)| next.issued_unix_ms).cloned()
        else {
            break;
        };
        found.retain(|other| *other != next);
        row.insert(0, next.1);
    }
    for (path, succession) in found {
        let file = path.display();
        if row.iter().any(|used| used.new == succession.new) {
            tracing::warn!(%file, new = %succession.new, "this succession is not used: a later one has the same new id");
        } else {
            tracing::warn!(%file, new = %succession.new, %node, "this succession is not used: it does not lead to this node");
        }
    }
    for succession in &row {
        let Succession { old, new, reason, ticket, .. } = succession;
        tracing::info!(%old, %new, %reason, ticket, "this node succeeds another");
    }
    row
}

/// Every good succession of a folder with its file, by name.
fn read_folder(folder: &Path) -> Vec<(PathBuf, Succession)> {
    let files = match fs::read_dir(folder) {
        Ok(files) => files,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Vec::new(),
        Err(error) => {
            tracing::warn!(folder = %folder.display(), %error, "successions cannot be read");
            return Vec::new();
        }
    };
    let mut paths: Vec<PathBuf> = files.flatten().map(|file| file.path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "toml"));
    paths.sort_unstable();
    if paths.len() > FILES {
        tracing::warn!(folder = %folder.display(), files = paths.len(), most = FILES, "there are too many successions: the first ones by name are looked at");
        paths.truncate(FILES);
    }
    let mut found = Vec::new();
    for path in paths {
        match read(&path) {
            Ok(succession) => found.push((path, succession)),
            Err(error) => tracing::warn!(error = chain(&error), "this succession is not used"),
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use rackmark_feed::{IdentityClass, SigningKey};

    use super::*;

    fn id(byte: u8) -> NodeId {
        NodeId::from_parts(IdentityClass::Software, [byte; 32])
    }

    fn step(old: u8, new: u8, issued_unix_ms: u64) -> Succession {
        let operator = SigningKey::from_seed(&[9; 32]);
        let reason = SuccessionReason::Mainboard;
        Succession::sign(id(old), id(new), reason, "RMA \"4711\"".into(), issued_unix_ms, &operator)
    }

    fn write(folder: &Path, name: &str, succession: &Succession) {
        fs::write(folder.join(name), text(succession).expect("text")).expect("file");
    }

    #[test]
    fn a_file_is_read_as_it_was_written_and_nothing_else_is() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("a.toml");
        let good = step(1, 2, 5);
        write(folder.path(), "a.toml", &good);
        assert_eq!(read(&path).expect("read"), good);
        let text = fs::read_to_string(&path).expect("text");
        for (from, to) in [
            ("mainboard", "tpm"),
            ("mainboard", "king"),
            ("4711", "4712"),
            ("issued_unix_ms = 5", "issued_unix_ms = 6"),
            ("sw:01", "sw:03"),
            ("ticket", "shoe_size"),
            ("signature = \"", "signature = \"ab"),
        ] {
            assert!(text.contains(from), "{from}");
            fs::write(&path, text.replacen(from, to, 1)).expect("file");
            assert!(read(&path).is_err(), "{from} → {to}");
        }
        fs::write(&path, "x".repeat(5000)).expect("file");
        assert!(read(&path).expect_err("long").to_string().contains("5000 bytes"));
        let long = Succession { ticket: "x".repeat(limits::TEXT_BYTES + 1), ..good };
        assert!(super::text(&long).is_err());
    }

    #[test]
    fn what_leads_here_is_used_the_newest_first() {
        let folder = tempfile::tempdir().expect("folder");
        assert_eq!(of_node(Path::new("/nowhere"), &id(3)), []);
        write(folder.path(), "z.toml", &step(1, 2, 5));
        write(folder.path(), "a.toml", &step(2, 3, 6));
        // Signed by mistake before, for another node, and one that nobody signed.
        write(folder.path(), "b.toml", &step(7, 3, 4));
        write(folder.path(), "c.toml", &step(8, 9, 9));
        let forged = Succession { old: id(8), ..step(1, 3, 9) };
        write(folder.path(), "d.toml", &forged);
        fs::write(folder.path().join("README"), "no succession").expect("file");
        assert_eq!(of_node(folder.path(), &id(3)), [step(1, 2, 5), step(2, 3, 6)]);
        assert_eq!(of_node(folder.path(), &id(4)), []);
    }

    #[test]
    fn a_row_ends_after_four_and_never_closes_a_circle() {
        let folder = tempfile::tempdir().expect("folder");
        for at in 1..7 {
            write(folder.path(), &format!("{at}.toml"), &step(at, at + 1, u64::from(at)));
        }
        let row = of_node(folder.path(), &id(7));
        assert_eq!(row, [3, 4, 5, 6].map(|at| step(at, at + 1, u64::from(at))));
        write(folder.path(), "back.toml", &step(3, 2, 99));
        let row = of_node(folder.path(), &id(3));
        assert_eq!(row, [step(1, 2, 1), step(2, 3, 2)]);
        rackmark_feed::body::succession::check_successions(&row, &id(3)).expect("a row");
    }
}
