//! The baseboard management controller, as the kernel's IPMI driver knows it.

use std::path::Path;

use super::fact::{Component, Facts};
use super::file;

/// Names of the attributes that are facts.
const NAMES: [&str; 7] = [
    "aux_firmware_revision",
    "device_id",
    "firmware_revision",
    "guid",
    "ipmi_version",
    "manufacturer_id",
    "product_id",
];

pub(super) fn read(sysfs_root: &Path, facts: &mut Facts) {
    let platform = sysfs_root.join("devices/platform");
    for name in file::names(&platform) {
        if let Some(number) = name.strip_prefix("ipmi_bmc.") {
            controller(&platform.join(&name), number, facts);
        }
    }
}

fn controller(folder: &Path, instance: &str, facts: &mut Facts) {
    for field in NAMES {
        let value = file::attribute(&folder.join(field));
        // A controller without a GUID gives zeros.
        let value = value.filter(|text| field != "guid" || text.chars().any(|c| !"0-".contains(c)));
        facts.put_some(Component::Bmc, instance, field, value);
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{Tree, shown};
    use super::*;

    #[test]
    fn a_controller_is_described_and_a_guid_of_zeros_is_none() {
        let tree = Tree::new();
        let folder = "devices/platform/ipmi_bmc.0";
        for (name, text) in [
            ("firmware_revision", "1.74\n"),
            ("manufacturer_id", "0x002a7c\n"),
            ("product_id", "0x1b58\n"),
            ("guid", "00000000-0000-0000-0000-000000000000\n"),
        ] {
            tree.write(&format!("{folder}/{name}"), text);
        }
        tree.folder("devices/platform/serial8250");
        let mut facts = Facts::default();
        read(tree.path(), &mut facts);
        let expected =
            ["bmc 0 firmware_revision=1.74", "bmc 0 manufacturer_id=0x002a7c", "bmc 0 product_id=0x1b58"];
        assert_eq!(shown(facts), expected);
    }
}
