//! The NVIDIA GPUs on the PCI bus, whatever driver holds them.

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::DirEntryExt;
use std::path::{Path, PathBuf};

use rackmark_model::PciAddress;
use rackmark_model::ipc::GPUS_MAX;

use crate::ReadError;
use crate::file::text;

/// PCI vendor id of NVIDIA (PCI-SIG).
const VENDOR_NVIDIA: &str = "0x10de";

/// PCI base class of display controllers (PCI Code and ID Assignment, class 03h).
const CLASS_DISPLAY: &str = "0x03";

/// Class and subclass of bridges that are neither PCI nor CXL (the same list, class
/// 06h, subclass 80h): NVSwitches show themselves so.
const CLASS_OTHER_BRIDGE: &str = "0x0680";

/// One NVIDIA GPU as sysfs shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PciGpu {
    /// Where it sits.
    pub address: PciAddress,
    /// The kernel driver bound to it (`nvidia`, `vfio-pci`), if any.
    pub driver: Option<String>,
    /// The kernel has put it to sleep.
    pub suspended: bool,
    /// The kernel may put it to sleep (`power/control` is `auto`).
    pub may_suspend: bool,
}

/// Lists GPUs and remembers which PCI devices are none.
///
/// A server has some hundred PCI devices; after the first listing only new
/// ones are opened. A device is known by name and inode, so that another
/// device in the same slot is looked at again.
#[derive(Debug)]
pub struct PciScanner {
    devices: PathBuf,
    seen: Vec<Seen>,
}

#[derive(Debug, Clone)]
struct Seen {
    inode: u64,
    name: String,
    gpu: Option<PciAddress>,
}

impl PciScanner {
    /// Reads below `sysfs_root`, which is `/sys` on a real machine.
    pub fn new(sysfs_root: &Path) -> Self {
        Self { devices: sysfs_root.join("bus/pci/devices"), seen: Vec::new() }
    }

    /// The GPUs there are now, by address, at most [`GPUS_MAX`].
    ///
    /// # Errors
    /// [`ReadError::Io`] where the PCI bus cannot be listed.
    pub fn scan(&mut self) -> Result<Vec<PciGpu>, ReadError> {
        let io = |source| ReadError::Io { path: self.devices.clone(), source };
        let mut now = Vec::with_capacity(self.seen.len());
        for entry in fs::read_dir(&self.devices).map_err(io)? {
            let entry = entry.map_err(io)?;
            let Ok(name) = entry.file_name().into_string() else { continue };
            let inode = entry.ino();
            let known = self.seen.iter().find(|seen| seen.inode == inode && seen.name == name);
            now.push(match known {
                Some(seen) => seen.clone(),
                None => Seen { inode, gpu: gpu_address(&self.devices, &name), name },
            });
        }
        self.seen = now;
        let mut gpus: Vec<PciGpu> = self.seen.iter().filter_map(|seen| self.describe(seen)).collect();
        gpus.sort_unstable_by_key(|gpu| gpu.address);
        gpus.truncate(GPUS_MAX);
        Ok(gpus)
    }

    fn describe(&self, seen: &Seen) -> Option<PciGpu> {
        let address = seen.gpu?;
        let folder = self.devices.join(&seen.name);
        let driver = fs::read_link(folder.join("driver"))
            .ok()
            .and_then(|target| Some(target.file_name()?.to_string_lossy().into_owned()));
        Some(PciGpu {
            address,
            driver,
            suspended: says(&folder.join("power/runtime_status"), "suspended"),
            may_suspend: says(&folder.join("power/control"), "auto"),
        })
    }
}

/// How many NVSwitches are on the PCI bus. From Blackwell on they are not on it.
///
/// # Errors
/// [`ReadError::Io`] where the PCI bus cannot be listed.
pub fn nvswitches(sysfs_root: &Path) -> Result<u32, ReadError> {
    let devices = sysfs_root.join("bus/pci/devices");
    let io = |source| ReadError::Io { path: devices.clone(), source };
    let mut count = 0;
    for entry in fs::read_dir(&devices).map_err(io)? {
        let folder = entry.map_err(io)?.path();
        count += u32::from(is_nvidia(&folder, CLASS_OTHER_BRIDGE));
    }
    Ok(count)
}

/// The file that says whether the kernel has put the GPU to sleep. Reading it
/// does not wake the GPU.
pub fn runtime_status_path(sysfs_root: &Path, address: PciAddress) -> PathBuf {
    let PciAddress { domain, bus, device, function } = address;
    sysfs_root
        .join("bus/pci/devices")
        .join(format!("{domain:04x}:{bus:02x}:{device:02x}.{function:x}"))
        .join("power/runtime_status")
}

/// Whether the file at `runtime_status` says that the GPU sleeps.
pub fn is_suspended(runtime_status: &Path) -> bool {
    says(runtime_status, "suspended")
}

/// Whether a sysfs attribute holds this word. The kernel hands out an attribute
/// whole, so one read is enough; this runs for every GPU every few seconds.
fn says(path: &Path, word: &str) -> bool {
    let mut buffer = [0; 32];
    let read = File::open(path).and_then(|mut file| file.read(&mut buffer));
    read.is_ok_and(|length| buffer[..length].trim_ascii() == word.as_bytes())
}

fn gpu_address(devices: &Path, name: &str) -> Option<PciAddress> {
    let address = name.parse().ok()?;
    is_nvidia(&devices.join(name), CLASS_DISPLAY).then_some(address)
}

/// Whether a device is of NVIDIA and its class begins so.
fn is_nvidia(folder: &Path, class_begin: &str) -> bool {
    text(&folder.join("vendor")).is_ok_and(|vendor| vendor == VENDOR_NVIDIA)
        && text(&folder.join("class")).is_ok_and(|class| class.starts_with(class_begin))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn device(root: &Path, name: &str, vendor: &str, class: &str, driver: Option<&str>) -> PathBuf {
        let folder = root.join("bus/pci/devices").join(name);
        fs::create_dir_all(folder.join("power")).expect("folder");
        fs::write(folder.join("vendor"), format!("{vendor}\n")).expect("vendor");
        fs::write(folder.join("class"), format!("{class}\n")).expect("class");
        fs::write(folder.join("power/runtime_status"), "active\n").expect("status");
        fs::write(folder.join("power/control"), "on\n").expect("control");
        if let Some(driver) = driver {
            symlink(format!("../../../bus/pci/drivers/{driver}"), folder.join("driver")).expect("driver");
        }
        folder
    }

    #[test]
    fn only_nvidia_display_devices_are_gpus() {
        let root = tempfile::tempdir().expect("folder");
        device(root.path(), "0000:9b:00.0", "0x10de", "0x030200", Some("nvidia"));
        device(root.path(), "0000:1b:00.0", "0x10de", "0x030000", Some("vfio-pci"));
        device(root.path(), "0000:1b:00.1", "0x10de", "0x040300", Some("snd_hda_intel"));
        device(root.path(), "0000:05:00.0", "0x10de", "0x068000", Some("nvidia-nvswitch"));
        device(root.path(), "0000:00:02.0", "0x8086", "0x030000", Some("i915"));
        device(root.path(), "0000:c1:00.0", "0x10de", "0x030200", None);
        let gpus = PciScanner::new(root.path()).scan().expect("scan");
        let drivers: Vec<_> = gpus.iter().map(|gpu| gpu.driver.as_deref()).collect();
        assert_eq!(drivers, [Some("vfio-pci"), Some("nvidia"), None]);
        assert!(gpus.is_sorted_by_key(|gpu| gpu.address));
        assert!(gpus.iter().all(|gpu| !gpu.suspended && !gpu.may_suspend));
    }

    #[test]
    fn sleep_and_hot_changes_are_seen_by_the_next_scan() {
        let root = tempfile::tempdir().expect("folder");
        let folder = device(root.path(), "0000:1b:00.0", "0x10de", "0x030200", Some("nvidia"));
        let mut scanner = PciScanner::new(root.path());
        assert!(!scanner.scan().expect("scan")[0].suspended);
        fs::write(folder.join("power/runtime_status"), "suspended\n").expect("status");
        fs::write(folder.join("power/control"), "auto\n").expect("control");
        device(root.path(), "0000:2b:00.0", "0x10de", "0x030200", Some("nvidia"));
        let gpus = scanner.scan().expect("scan");
        assert_eq!(gpus.len(), 2);
        assert!(gpus[0].suspended && gpus[0].may_suspend);
        assert!(is_suspended(&runtime_status_path(root.path(), gpus[0].address)));
        fs::remove_dir_all(&folder).expect("remove");
        assert_eq!(scanner.scan().expect("scan").len(), 1);
    }

    #[test]
    fn another_device_in_the_same_slot_is_looked_at_again() {
        let root = tempfile::tempdir().expect("folder");
        let folder = device(root.path(), "0000:1b:00.0", "0x8086", "0x020000", None);
        let mut scanner = PciScanner::new(root.path());
        assert!(scanner.scan().expect("scan").is_empty());
        // The old folder is kept aside so that its inode is not given out again.
        fs::rename(&folder, root.path().join("removed")).expect("removed");
        device(root.path(), "0000:1b:00.0", "0x10de", "0x030200", None);
        assert_eq!(scanner.scan().expect("scan").len(), 1);
    }

    #[test]
    fn a_machine_without_a_pci_bus_is_an_error_that_names_the_folder() {
        let root = tempfile::tempdir().expect("folder");
        let error = PciScanner::new(root.path()).scan().expect_err("no bus");
        assert!(error.to_string().ends_with("bus/pci/devices"), "{error}");
    }
}
