//! The machine itself: which boot this is, how it is called, what it is made of.

use std::fs;
use std::path::Path;
use std::time::Duration;

use rackmark_model::Bytes;

use crate::ReadError;
use crate::file::text;

/// What a host is made of, apart from its GPUs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostInfo {
    /// Processor name; absent on architectures whose `/proc/cpuinfo` has none.
    pub cpu_model: Option<String>,
    /// Logical CPUs.
    pub cpu_logical: u32,
    /// NUMA nodes; 1 where the kernel was built without NUMA.
    pub numa_nodes: u32,
    /// Memory the kernel manages.
    pub memory_total: Bytes,
}

/// The random id of this boot, as the kernel writes it.
///
/// # Errors
/// [`ReadError::Io`] where procfs does not have it.
pub fn boot_id(proc_root: &Path) -> Result<String, ReadError> {
    text(&proc_root.join("sys/kernel/random/boot_id"))
}

/// The host name.
///
/// # Errors
/// [`ReadError::Io`] where procfs does not have it.
pub fn hostname(proc_root: &Path) -> Result<String, ReadError> {
    text(&proc_root.join("sys/kernel/hostname"))
}

/// Time since boot, time asleep included.
///
/// # Errors
/// [`ReadError`] where procfs does not have it or it is no number.
pub fn uptime(proc_root: &Path) -> Result<Duration, ReadError> {
    let path = proc_root.join("uptime");
    let content = text(&path)?;
    content
        .split_ascii_whitespace()
        .next()
        .and_then(|seconds| Duration::try_from_secs_f64(seconds.parse().ok()?).ok())
        .ok_or(ReadError::Missing { path, what: "uptime in seconds" })
}

/// The version of the loaded NVIDIA kernel driver, or `None` where none is
/// loaded. It needs no library and no device.
pub fn nvidia_driver_version(proc_root: &Path) -> Option<String> {
    let content = text(&proc_root.join("driver/nvidia/version")).ok()?;
    let first = content.lines().next()?;
    first.split_ascii_whitespace().find(|word| is_version(word)).map(str::to_owned)
}

/// Processor, NUMA nodes and memory.
///
/// # Errors
/// [`ReadError`] where `cpuinfo` or `meminfo` cannot be read or lacks its value.
pub fn host_info(proc_root: &Path, sysfs_root: &Path) -> Result<HostInfo, ReadError> {
    let cpuinfo_path = proc_root.join("cpuinfo");
    let cpuinfo = text(&cpuinfo_path)?;
    let cpu_logical = cpuinfo.lines().filter(|line| key(line) == Some("processor")).count();
    if cpu_logical == 0 {
        return Err(ReadError::Missing { path: cpuinfo_path, what: "processor" });
    }
    let meminfo_path = proc_root.join("meminfo");
    let memory_total = text(&meminfo_path)?
        .lines()
        .find(|line| key(line) == Some("MemTotal"))
        .and_then(kibibytes)
        .ok_or(ReadError::Missing { path: meminfo_path, what: "MemTotal" })?;
    Ok(HostInfo {
        cpu_model: cpuinfo
            .lines()
            .find(|line| key(line) == Some("model name"))
            .and_then(value)
            .map(str::to_owned),
        cpu_logical: u32::try_from(cpu_logical).unwrap_or(u32::MAX),
        numa_nodes: numa_nodes(sysfs_root),
        memory_total,
    })
}

fn numa_nodes(sysfs_root: &Path) -> u32 {
    let Ok(entries) = fs::read_dir(sysfs_root.join("devices/system/node")) else { return 1 };
    let nodes = entries
        .flatten()
        .filter(|entry| {
            let name = entry.file_name();
            let digits = name.to_string_lossy();
            digits.strip_prefix("node").is_some_and(|rest| rest.parse::<u32>().is_ok())
        })
        .count();
    u32::try_from(nodes).unwrap_or(u32::MAX).max(1)
}

fn is_version(word: &str) -> bool {
    word.contains('.')
        && word.split('.').all(|part| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit()))
}

fn key(line: &str) -> Option<&str> {
    line.split_once(':').map(|(key, _)| key.trim())
}

fn value(line: &str) -> Option<&str> {
    line.split_once(':').map(|(_, value)| value.trim())
}

pub(crate) fn kibibytes(line: &str) -> Option<Bytes> {
    let number: u64 = value(line)?.strip_suffix("kB")?.trim().parse().ok()?;
    number.checked_mul(1024).map(Bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(root: &Path, name: &str, content: &str) {
        let path = root.join(name);
        fs::create_dir_all(path.parent().expect("parent")).expect("folder");
        fs::write(path, content).expect("file");
    }

    #[test]
    fn a_two_socket_server_is_described() {
        let root = tempfile::tempdir().expect("folder");
        let cpu = "processor\t: 0\nmodel name\t: Example 9654 96-Core Processor\nflags\t: fpu vme\n\n";
        write(root.path(), "cpuinfo", &cpu.repeat(384));
        write(root.path(), "meminfo", "MemTotal:       2113490452 kB\nMemFree:        1000 kB\n");
        for node in ["node0", "node1", "has_cpu", "nodes"] {
            write(root.path(), &format!("devices/system/node/{node}/x"), "");
        }
        let host = host_info(root.path(), root.path()).expect("host");
        assert_eq!(host.cpu_model.as_deref(), Some("Example 9654 96-Core Processor"));
        assert_eq!((host.cpu_logical, host.numa_nodes), (384, 2));
        assert_eq!(host.memory_total, Bytes(2_113_490_452 * 1024));
    }

    #[test]
    fn a_kernel_without_numa_has_one_node_and_arm_has_no_model_name() {
        let root = tempfile::tempdir().expect("folder");
        write(root.path(), "cpuinfo", "processor\t: 0\nCPU part\t: 0xd4f\n");
        write(root.path(), "meminfo", "MemTotal: 1024 kB\n");
        let host = host_info(root.path(), root.path()).expect("host");
        assert_eq!((host.cpu_model, host.numa_nodes), (None, 1));
    }

    #[test]
    fn a_missing_value_names_the_file_and_the_value() {
        let root = tempfile::tempdir().expect("folder");
        write(root.path(), "cpuinfo", "processor : 0\n");
        write(root.path(), "meminfo", "MemTotal: lots\n");
        let error = host_info(root.path(), root.path()).expect_err("no total");
        assert!(error.to_string().ends_with("meminfo has no MemTotal"), "{error}");
    }

    #[test]
    fn the_driver_version_is_found_for_open_and_closed_modules() {
        let root = tempfile::tempdir().expect("folder");
        assert_eq!(nvidia_driver_version(root.path()), None);
        write(
            root.path(),
            "driver/nvidia/version",
            "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.95.05  Release Build  (root@host)\nGCC version: 12\n",
        );
        assert_eq!(nvidia_driver_version(root.path()).as_deref(), Some("580.95.05"));
        write(
            root.path(),
            "driver/nvidia/version",
            "NVRM version: NVIDIA UNIX x86_64 Kernel Module  570.172.08  Tue\n",
        );
        assert_eq!(nvidia_driver_version(root.path()).as_deref(), Some("570.172.08"));
    }

    #[test]
    fn uptime_is_the_first_number() {
        let root = tempfile::tempdir().expect("folder");
        write(root.path(), "uptime", "12345.67 54321.00\n");
        assert_eq!(uptime(root.path()).expect("uptime"), Duration::from_millis(12_345_670));
        write(root.path(), "uptime", "-1 2\n");
        assert!(uptime(root.path()).is_err());
    }
}
