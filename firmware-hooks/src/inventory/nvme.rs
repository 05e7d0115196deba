//! NVMe controllers.

use std::path::Path;

use super::fact::{Component, Facts, Names};
use super::file;

/// The kernel counts in sectors of so many bytes, whatever the disk does.
const SECTOR_BYTES: u64 = 512;

pub(super) fn read(sysfs_root: &Path, facts: &mut Facts) {
    let class = sysfs_root.join("class/nvme");
    let mut taken = Names::default();
    for name in file::names(&class) {
        let folder = class.join(&name);
        // The numbers of the kernel are given anew at each boot; the place stays.
        let place = file::attribute(&folder.join("address")).unwrap_or_else(|| name.clone());
        let instance = taken.unique(&place);
        let mut put = |field, value: Option<String>| facts.put_some(Component::Nvme, &instance, field, value);
        put("model", file::attribute(&folder.join("model")));
        put("serial", file::attribute(&folder.join("serial")));
        put("firmware_version", file::attribute(&folder.join("firmware_rev")));
        put("transport", file::attribute(&folder.join("transport")));
        put("capacity_bytes", capacity(&folder, &name).map(|bytes| bytes.to_string()));
    }
}

/// All namespaces together: `nvme0n1`, or `nvme0c0n1` where there may be several paths to one.
fn capacity(folder: &Path, name: &str) -> Option<u64> {
    let names = file::names(folder);
    let namespaces = names.iter().filter(|other| {
        let rest = other.strip_prefix(name).unwrap_or_default();
        rest.starts_with('n') || (rest.starts_with('c') && rest.contains('n'))
    });
    let sizes = namespaces.filter_map(|namespace| {
        let sectors: u64 = file::attribute(&folder.join(namespace).join("size"))?.parse().ok()?;
        sectors.checked_mul(SECTOR_BYTES)
    });
    sizes.reduce(u64::saturating_add)
}

#[cfg(test)]
mod tests {
    use super::super::tests::{Tree, shown};
    use super::*;

    #[test]
    fn a_controller_is_known_by_its_place() {
        let tree = Tree::new();
        for (name, text) in [
            ("model", "SAMSUNG MZWLO3T8HCLS-00A07              \n"),
            ("serial", "S7BUNE0X100001\n"),
            ("firmware_rev", "OPPA4B5Q\n"),
            ("address", "0000:41:00.0\n"),
            ("transport", "pcie\n"),
            ("nvme3n1/size", "7501476528\n"),
            ("nvme3c3n2/size", "8\n"),
            ("ng3n1/size", "9\n"),
            ("hwmon1/size", "9\n"),
        ] {
            tree.write(&format!("class/nvme/nvme3/{name}"), text);
        }
        let mut facts = Facts::default();
        read(tree.path(), &mut facts);
        assert_eq!(
            shown(facts),
            [
                format!("nvme 0000:41:00.0 capacity_bytes={}", (7_501_476_528_u64 + 8) * 512),
                "nvme 0000:41:00.0 firmware_version=OPPA4B5Q".to_owned(),
                "nvme 0000:41:00.0 model=SAMSUNG MZWLO3T8HCLS-00A07".to_owned(),
                "nvme 0000:41:00.0 serial=S7BUNE0X100001".to_owned(),
                "nvme 0000:41:00.0 transport=pcie".to_owned(),
            ]
        );
    }
}
