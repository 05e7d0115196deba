//! Mounts over files that the inventory is read from.

use std::path::{Path, PathBuf};

use super::file;
use super::finding::{Finding, FindingCode};

/// Containers with many volumes have some thousand mounts, at about 200 bytes each.
const MOUNTINFO_BYTES_MAX: u64 = 4 << 20;

/// Folders below the roots at or under which nothing may be mounted.
const SYSFS_FOLDERS: [&str; 4] = ["bus/pci", "class", "devices", "firmware"];
const PROC_FOLDERS: [&str; 3] = ["driver", "cpuinfo", "cmdline"];

/// A mount, as `/proc/self/mountinfo` describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// Which folder of the file system is shown.
    pub root: String,
    /// Where.
    pub point: PathBuf,
    /// Kind of the file system.
    pub kind: String,
}

/// The mounts that this process sees.
pub(super) fn read(proc_root: &Path) -> Vec<Mount> {
    let text = file::long_text(&proc_root.join("self/mountinfo"), MOUNTINFO_BYTES_MAX).unwrap_or_default();
    text.lines().filter_map(mount).collect()
}

/// `36 35 98:0 /root /point options shared:1 - ext4 /dev/root rw`
fn mount(line: &str) -> Option<Mount> {
    let (left, right) = line.split_once(" - ")?;
    let mut words = left.split(' ').skip(3);
    Some(Mount {
        root: unescaped(words.next()?),
        point: unescaped(words.next()?).into(),
        kind: right.split(' ').next()?.to_owned(),
    })
}

/// The kernel writes white space and backslashes as `\` and three octal digits.
fn unescaped(word: &str) -> String {
    let mut parts = word.split('\\');
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let code = part.get(..3).and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match (code, part.get(3..)) {
            (Some(code), Some(rest)) => {
                out.push(char::from(code));
                out.push_str(rest);
            }
            _ => {
                out.push('\\');
                out.push_str(part);
            }
        }
    }
    out
}

/// Mounts that stand over a source. The file systems that the kernel itself puts there do not count.
pub(super) fn over_sources(sysfs_root: &Path, proc_root: &Path, mounts: &[Mount]) -> Vec<Finding> {
    let below = |root: &Path, folders: &[&str], mount: &Mount| {
        folders.iter().any(|folder| mount.point.starts_with(root.join(folder)))
    };
    let efivars = sysfs_root.join("firmware/efi/efivars");
    let expected = |mount: &Mount| mount.kind == "efivarfs" && mount.root == "/" && mount.point == efivars;
    // A root of its own kind, shown from its top: services see it once more, read-only.
    let foreign_root = |mount: &Mount| {
        [(sysfs_root, "sysfs"), (proc_root, "proc")]
            .iter()
            .any(|(root, kind)| mount.point == *root && (mount.kind != *kind || mount.root != "/"))
    };
    let mut findings: Vec<Finding> = mounts
        .iter()
        .filter(|mount| {
            let over = below(sysfs_root, &SYSFS_FOLDERS, mount) || below(proc_root, &PROC_FOLDERS, mount);
            (over && !expected(mount)) || foreign_root(mount)
        })
        .map(|mount| {
            let detail = format!("{} of {} is mounted there", mount.root, mount.kind);
            Finding::new(FindingCode::SourceOvermounted, &mount.point.to_string_lossy(), detail)
        })
        .collect();
    findings.sort_unstable();
    findings.dedup();
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(lines: &[&str]) -> Vec<String> {
        let mounts: Vec<Mount> = lines.iter().filter_map(|line| mount(line)).collect();
        assert_eq!(mounts.len(), lines.len());
        let findings = over_sources(Path::new("/sys"), Path::new("/proc"), &mounts);
        assert!(findings.iter().all(|finding| finding.code == FindingCode::SourceOvermounted));
        findings.into_iter().map(|finding| finding.instance).collect()
    }

    #[test]
    fn a_plain_machine_has_nothing_over_its_sources() {
        assert_eq!(
            found(&[
                "22 1 0:21 / /sys rw,nosuid shared:7 - sysfs sysfs rw",
                "23 1 0:22 / /proc rw,nosuid shared:14 - proc proc rw",
                "24 22 0:7 / /sys/kernel/security rw shared:8 - securityfs securityfs rw",
                "25 22 0:30 / /sys/firmware/efi/efivars rw shared:9 - efivarfs efivarfs rw",
                "26 22 0:31 / /sys/fs/cgroup rw shared:10 - cgroup2 cgroup2 rw",
                "27 23 0:32 / /proc/sys/fs/binfmt_misc rw - autofs systemd-1 rw",
                // What a hardened unit sees.
                "28 1 0:21 / /sys ro,nosuid - sysfs sysfs rw",
                "29 23 0:22 /sys /proc/sys ro,nosuid - proc proc rw",
            ]),
            [""; 0]
        );
    }

    #[test]
    fn whatever_stands_over_a_source_is_found() {
        for (line, point) in [
            ("1 1 0:5 / /proc/driver/nvidia rw - tmpfs tmpfs rw", "/proc/driver/nvidia"),
            ("1 1 0:5 / /proc/driver rw - tmpfs tmpfs rw", "/proc/driver"),
            (
                "1 1 8:1 /a /proc/driver/nvidia/gpus/0000:1b:00.0/information rw - ext4 d rw",
                "/proc/driver/nvidia/gpus/0000:1b:00.0/information",
            ),
            ("1 1 8:1 /f /proc/cpuinfo rw - ext4 /dev/sda rw", "/proc/cpuinfo"),
            ("1 1 0:5 / /sys/bus/pci/devices ro - overlay o rw", "/sys/bus/pci/devices"),
            ("1 1 0:5 / /sys/class/dmi\\040id rw - tmpfs tmpfs rw", "/sys/class/dmi id"),
            ("1 1 0:5 / /sys/firmware ro - tmpfs tmpfs ro", "/sys/firmware"),
            ("1 1 0:5 / /sys/firmware/efi/efivars rw - tmpfs tmpfs rw", "/sys/firmware/efi/efivars"),
            ("1 1 0:5 / /sys/devices/pci0000:00 rw - tmpfs tmpfs rw", "/sys/devices/pci0000:00"),
            ("1 1 0:5 / /sys rw - tmpfs tmpfs rw", "/sys"),
            ("1 1 0:5 /fake /sys rw - sysfs sysfs rw", "/sys"),
            ("1 1 0:5 / /proc rw - fuse.lxcfs lxcfs rw", "/proc"),
        ] {
            assert_eq!(found(&[line]), [point], "{line}");
        }
    }

    #[test]
    fn what_is_no_mount_is_left_out() {
        for line in ["", " - ", "1 2 3 4 5", "1 1 0:5 / - tmpfs", "1 1 0:5 /\\9 /\\1 - t"] {
            let _ = mount(line);
        }
        assert_eq!(unescaped("a\\040b\\134c\\9\\1"), "a b\\c\\9\\1");
    }
}
