//! The kernel, and what it lets happen.

use std::path::Path;

use super::digest;
use super::fact::{Component, Facts};
use super::file;

/// The kernel that runs is one.
const ONLY: &str = "";

/// Longest command line (`COMMAND_LINE_SIZE` of every architecture is at most this).
const COMMAND_LINE_BYTES_MAX: u64 = 64 << 10;

pub(super) fn read(proc_root: &Path, sysfs_root: &Path, facts: &mut Facts) {
    let mut put = |field, value: Option<String>| facts.put_some(Component::Kernel, ONLY, field, value);
    put("release", file::attribute(&proc_root.join("sys/kernel/osrelease")));
    put("build", file::attribute(&proc_root.join("sys/kernel/version")));
    // It may hold secrets, so that only what it is told apart by leaves the machine.
    let command_line = file::bytes(&proc_root.join("cmdline"), COMMAND_LINE_BYTES_MAX);
    put("command_line_sha256", command_line.map(|line| digest::hex(line.trim_ascii())));
    let security = sysfs_root.join("kernel/security");
    put("lockdown", file::attribute(&security.join("lockdown")).and_then(|text| chosen(&text)));
    let measures = security.is_dir() && !file::names(&security).is_empty();
    let present = |there| if there { "yes" } else { "no" }.to_owned();
    put("ima", measures.then(|| present(security.join("ima").is_dir())));
    let groups = sysfs_root.join("kernel/iommu_groups");
    put("iommu_groups", groups.is_dir().then(|| file::names(&groups).len().to_string()));
    let units = file::names(&sysfs_root.join("class/iommu"));
    put("iommu_units", (!units.is_empty()).then(|| units.join(" ")));
}

/// The word in brackets: `none [integrity] confidentiality`.
fn chosen(text: &str) -> Option<String> {
    let (_, rest) = text.split_once('[')?;
    Some(rest.split_once(']')?.0.to_owned())
}

#[cfg(test)]
mod tests {
    use super::super::tests::{Tree, shown};
    use super::*;

    #[test]
    fn a_locked_down_kernel_with_an_iommu() {
        let tree = Tree::new();
        tree.write("proc/sys/kernel/osrelease", "6.1.0-30-amd64\n");
        tree.write("proc/sys/kernel/version", "#1 SMP Debian 6.1.124-1\n");
        tree.write("proc/cmdline", "quiet luks=secret\n");
        tree.write("sys/kernel/security/lockdown", "none [integrity] confidentiality\n");
        tree.folder("sys/kernel/security/ima");
        tree.folder("sys/kernel/iommu_groups/0");
        tree.folder("sys/kernel/iommu_groups/1");
        tree.folder("sys/class/iommu/dmar0");
        tree.folder("sys/class/iommu/dmar1");
        let mut facts = Facts::default();
        read(&tree.path().join("proc"), &tree.path().join("sys"), &mut facts);
        let digest = digest::hex(b"quiet luks=secret");
        assert_eq!(
            shown(facts),
            [
                "kernel  build=#1 SMP Debian 6.1.124-1".to_owned(),
                format!("kernel  command_line_sha256={digest}"),
                "kernel  ima=yes".to_owned(),
                "kernel  iommu_groups=2".to_owned(),
                "kernel  iommu_units=dmar0 dmar1".to_owned(),
                "kernel  lockdown=integrity".to_owned(),
                "kernel  release=6.1.0-30-amd64".to_owned(),
            ]
        );
    }

    #[test]
    fn what_is_not_mounted_is_not_denied() {
        let tree = Tree::new();
        tree.folder("sys/kernel/security");
        let mut facts = Facts::default();
        read(&tree.path().join("proc"), &tree.path().join("sys"), &mut facts);
        assert_eq!(shown(facts), [""; 0]);
        assert_eq!(chosen("none integrity"), None);
    }
}
