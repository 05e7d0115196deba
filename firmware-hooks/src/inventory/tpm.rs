//! The trusted platform module, and what was measured into it.

use std::path::Path;

use super::digest;
use super::fact::{Component, Facts};
use super::file;

/// The first TPM; the kernel uses this one.
const FIRST: &str = "tpm0";

pub(super) fn read(sysfs_root: &Path, boot_event_log: Option<&[u8]>, facts: &mut Facts) {
    let folder = sysfs_root.join("class/tpm").join(FIRST);
    let mut put = |field, value: Option<String>| facts.put_some(Component::Tpm, FIRST, field, value);
    if sysfs_root.join("class").is_dir() {
        put("present", Some(if folder.is_dir() { "yes" } else { "no" }.to_owned()));
    }
    put("version", file::attribute(&folder.join("tpm_version_major")));
    put("description", file::attribute(&folder.join("device/description")));
    let names = file::names(&folder);
    let banks: Vec<&str> = names.iter().filter_map(|name| name.strip_prefix("pcr-")).collect();
    put("pcr_banks", (!banks.is_empty()).then(|| banks.join(" ")));
    if let Some(log) = boot_event_log {
        put("event_log_bytes", Some(log.len().to_string()));
        put("event_log_sha256", Some(digest::hex(log)));
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{Tree, shown};
    use super::*;

    #[test]
    fn a_tpm_with_its_banks_and_its_log() {
        let tree = Tree::new();
        tree.write("class/tpm/tpm0/tpm_version_major", "2\n");
        tree.folder("class/tpm/tpm0/pcr-sha256");
        tree.folder("class/tpm/tpm0/pcr-sha1");
        let mut facts = Facts::default();
        read(tree.path(), Some(b"abc"), &mut facts);
        let expected = [
            "tpm tpm0 event_log_bytes=3".to_owned(),
            format!("tpm tpm0 event_log_sha256={}", digest::hex(b"abc")),
            "tpm tpm0 pcr_banks=sha1 sha256".to_owned(),
            "tpm tpm0 present=yes".to_owned(),
            "tpm tpm0 version=2".to_owned(),
        ];
        assert_eq!(shown(facts), expected);
    }

    #[test]
    fn a_machine_without_one_says_so() {
        let tree = Tree::new();
        tree.folder("class/net");
        let mut facts = Facts::default();
        read(tree.path(), None, &mut facts);
        assert_eq!(shown(facts), ["tpm tpm0 present=no"]);
    }
}
