//! The folder of consumers' keys: who may change it, and what is in it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::{Finding, fine, odd, wrong};
use crate::config::keys_dir::read_folder;
use crate::exit::chain;

const CHECK: &str = "consumer keys";

/// Most names of a finding.
const NAMES: usize = 5;

/// A folder that is configured.
pub(super) fn check(folder: &Path) -> Finding {
    let shown = folder.display();
    match fs::metadata(folder) {
        Err(error) => {
            return odd(
                CHECK,
                format!("{shown}: {error}"),
                "rackmark key add makes it; until then consumers.allowed alone counts",
            );
        }
        Ok(found) if found.permissions().mode() & 0o022 != 0 => {
            return wrong(
                CHECK,
                format!("{shown} may be written by group or others"),
                "whoever writes there makes operators: chmod go-w",
            );
        }
        Ok(_) => {}
    }
    let entries = match read_folder(folder) {
        Ok(entries) => entries,
        Err(error) => return wrong(CHECK, chain(&error), "mend that file; until then the old keys stay"),
    };
    let revoked = entries.iter().filter(|(_, entry)| entry.revoked.is_some()).count();
    let found = format!("{shown}: {} allowed, {revoked} revoked", entries.len() - revoked);
    let unknown = unknown(folder);
    if unknown.is_empty() {
        fine(CHECK, found)
    } else {
        let found = format!("{found}; not read: {}", unknown.join(", "));
        odd(CHECK, found, "a key counts in a file that ends in .toml; remove what is none")
    }
}

/// Files that nobody reads, the first few by name.
fn unknown(folder: &Path) -> Vec<String> {
    let files = fs::read_dir(folder).into_iter().flatten().flatten();
    let names = files.map(|file| file.file_name().to_string_lossy().into_owned());
    let mut names: Vec<String> =
        names.filter(|name| !name.starts_with('.') && !name.ends_with(".toml")).collect();
    names.sort_unstable();
    names.truncate(NAMES);
    names
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::doctor::{Outcome, put};

    #[test]
    fn each_fault_of_the_folder_is_found() {
        let root = tempfile::tempdir().expect("folder");
        let folder = root.path().join("keys.d");
        assert_eq!(check(&folder).outcome, Outcome::Odd, "it is not there");
        let entry = |digit: &str, more: &str| {
            format!("public_key = \"{}\"\nroles = [\"buyer\"]\n{more}", digit.repeat(64))
        };
        let mode = |path: &Path, mode| {
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("mode");
        };
        put(root.path(), "keys.d/bob.toml", &entry("a", ""));
        put(root.path(), "keys.d/eve.toml", &entry("b", "revoked = \"lost\"\n"));
        for name in ["bob.toml", "eve.toml"] {
            mode(&folder.join(name), 0o644);
        }
        mode(&folder, 0o755);
        let found = check(&folder);
        assert_eq!(found.outcome, Outcome::Fine, "{found:?}");
        assert!(found.found.ends_with("1 allowed, 1 revoked"), "{found:?}");
        put(root.path(), "keys.d/carol.pem", "");
        let found = check(&folder);
        assert!(found.outcome == Outcome::Odd && found.found.contains("carol.pem"), "{found:?}");
        mode(&folder.join("bob.toml"), 0o664);
        let found = check(&folder);
        assert!(found.outcome == Outcome::Wrong && found.found.contains("bob.toml"), "{found:?}");
        mode(&folder.join("bob.toml"), 0o644);
        mode(&folder, 0o775);
        assert_eq!(check(&folder).outcome, Outcome::Wrong, "anybody of the group adds keys");
    }
}
