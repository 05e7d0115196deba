//! What UEFI tells the operating system.

use std::path::Path;

use super::fact::{Component, Facts};
use super::file;

/// A machine boots once.
const ONLY: &str = "";

/// Vendor GUID of the variables of the specification (UEFI 2.10, 3.3).
const GLOBAL: &str = "8be4df61-93ca-11d2-aa0d-00e098032b8c";

/// In front of every value stand its attributes.
const ATTRIBUTE_BYTES: usize = 4;

pub(super) fn read(sysfs_root: &Path, facts: &mut Facts) {
    let firmware = sysfs_root.join("firmware");
    if !firmware.is_dir() {
        return;
    }
    let efi = firmware.join("efi");
    facts.put(Component::Uefi, ONLY, "boot_mode", if efi.is_dir() { "uefi" } else { "legacy" });
    for (name, field) in [("SecureBoot", "secure_boot"), ("SetupMode", "setup_mode")] {
        let value = flag(&efi.join("efivars").join(format!("{name}-{GLOBAL}")));
        facts.put_some(Component::Uefi, ONLY, field, value);
    }
}

/// A variable of one byte that is 0 or 1.
fn flag(path: &Path) -> Option<&'static str> {
    match file::bytes(path, ATTRIBUTE_BYTES as u64 + 2)?.get(ATTRIBUTE_BYTES..)? {
        [0] => Some("off"),
        [1] => Some("on"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{Tree, shown};
    use super::*;

    fn facts(tree: &Tree) -> Vec<String> {
        let mut facts = Facts::default();
        read(tree.path(), &mut facts);
        shown(facts)
    }

    #[test]
    fn secure_boot_is_on_off_or_not_known() {
        let tree = Tree::new();
        let path = |name: &str| format!("firmware/efi/efivars/{name}-{GLOBAL}");
        tree.write(&path("SecureBoot"), "\u{6}\0\0\0\u{1}");
        tree.write(&path("SetupMode"), "\u{6}\0\0\0\0");
        let on = ["uefi  boot_mode=uefi", "uefi  secure_boot=on", "uefi  setup_mode=off"];
        assert_eq!(facts(&tree), on);
        for odd in ["", "\u{6}\0\0\0", "\u{6}\0\0\0\u{2}", "\u{6}\0\0\0\u{1}\u{1}"] {
            tree.write(&path("SecureBoot"), odd);
            assert_eq!(facts(&tree), [on[0], on[2]], "{odd:?}");
        }
    }

    #[test]
    fn a_machine_without_uefi_says_so_and_one_without_sysfs_says_nothing() {
        let tree = Tree::new();
        assert_eq!(facts(&tree), [""; 0]);
        tree.folder("firmware/acpi");
        assert_eq!(facts(&tree), ["uefi  boot_mode=legacy"]);
    }
}
