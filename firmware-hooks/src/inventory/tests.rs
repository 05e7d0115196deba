//! A small machine on disk, for the tests of the readers.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use super::fact::Facts;

/// A folder that stands for `/sys`, `/proc` or both.
pub(super) struct Tree(tempfile::TempDir);

impl Tree {
    pub(super) fn new() -> Self {
        Self(tempfile::tempdir().expect("folder"))
    }

    pub(super) fn path(&self) -> &Path {
        self.0.path()
    }

    pub(super) fn folder(&self, path: &str) {
        fs::create_dir_all(self.path().join(path)).expect("folder");
    }

    pub(super) fn write(&self, path: &str, text: &str) {
        let path = self.path().join(path);
        fs::create_dir_all(path.parent().expect("parent")).expect("folder");
        fs::write(path, text).expect("file");
    }

    pub(super) fn link(&self, path: &str, target: &str) {
        let path = self.path().join(path);
        fs::create_dir_all(path.parent().expect("parent")).expect("folder");
        symlink(target, path).expect("link");
    }

    /// A PCI device below `devices`, with its entry on the bus; its folder.
    pub(super) fn device(&self, path: &str, vendor: &str, device: &str, class: &str) -> String {
        let folder = format!("devices/{path}");
        for (name, text) in [("vendor", vendor), ("device", device), ("class", class)] {
            self.write(&format!("{folder}/{name}"), &format!("{text}\n"));
        }
        let name = path.rsplit('/').next().expect("name");
        self.link(&format!("bus/pci/devices/{name}"), &format!("../../../{folder}"));
        folder
    }
}

/// The facts as lines, in order.
pub(super) fn shown(facts: Facts) -> Vec<String> {
    let (list, left_out) = facts.finish();
    assert_eq!(left_out, 0);
    list.iter()
        .map(|fact| format!("{} {} {}={}", fact.component.name(), fact.instance, fact.field, fact.value))
        .collect()
}
