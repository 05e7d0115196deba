//! The names of physical slots: what is printed on the chassis.

use std::fs;
use std::path::{Path, PathBuf};

use rackmark_model::PciAddress;

use crate::file::text;

/// Most slots that are read; servers have some tens.
const SLOTS_MAX: usize = 1024;

/// Longest slot name that is taken over.
const NAME_CHARS_MAX: usize = 64;

/// Slot names by PCI address, as firmware and hot-plug drivers give them.
#[derive(Debug, Clone, Default)]
pub struct PciSlots {
    devices: PathBuf,
    /// Domain, bus and device, and the slot's name.
    slots: Vec<(PciAddress, String)>,
}

impl PciSlots {
    /// Reads `bus/pci/slots` below `sysfs_root`, which is `/sys` on a real
    /// machine. A machine that does not name its slots has none.
    pub fn read(sysfs_root: &Path) -> Self {
        let mut slots = Vec::new();
        for entry in fs::read_dir(sysfs_root.join("bus/pci/slots")).into_iter().flatten().take(SLOTS_MAX) {
            let Ok(entry) = entry else { break };
            let Ok(name) = entry.file_name().into_string() else { continue };
            if name.chars().count() > NAME_CHARS_MAX || name.chars().any(char::is_control) {
                continue;
            }
            let address = text(&entry.path().join("address")).ok().and_then(|address| slot_address(&address));
            slots.extend(address.map(|address| (address, name)));
        }
        // Two names for one place: the same one wins each time.
        slots.sort_unstable();
        slots.dedup_by_key(|(address, _)| *address);
        Self { devices: sysfs_root.join("bus/pci/devices"), slots }
    }

    /// The slot that a device sits in: its own, or that of the nearest bridge
    /// above it, as a GPU behind a switch has none. GPUs on one board may so have
    /// the same slot.
    pub fn slot_of(&self, address: PciAddress) -> Option<&str> {
        if self.slots.is_empty() {
            return None;
        }
        if let Some(name) = self.own(address) {
            return Some(name);
        }
        let PciAddress { domain, bus, device, function } = address;
        let link = self.devices.join(format!("{domain:04x}:{bus:02x}:{device:02x}.{function:x}"));
        let real = fs::canonicalize(link).ok()?;
        real.ancestors()
            .skip(1)
            .map_while(|folder| folder.file_name()?.to_str()?.parse().ok())
            .find_map(|bridge| self.own(bridge))
    }

    fn own(&self, address: PciAddress) -> Option<&str> {
        let place = PciAddress { function: 0, ..address };
        let at = self.slots.binary_search_by_key(&place, |(address, _)| *address).ok()?;
        Some(&self.slots[at].1)
    }
}

/// A slot's address has no function; some are of a whole bus and have no device.
fn slot_address(text: &str) -> Option<PciAddress> {
    let address: PciAddress = match text.matches(':').count() {
        1 => format!("{text}:00.0").parse().ok()?,
        _ if text.contains('.') => return None,
        _ => format!("{text}.0").parse().ok()?,
    };
    Some(address)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use proptest::prelude::*;

    use super::*;

    fn slot(root: &Path, name: &str, address: impl AsRef<[u8]>) {
        let folder = root.join("bus/pci/slots").join(name);
        fs::create_dir_all(&folder).expect("folder");
        fs::write(folder.join("address"), address).expect("address");
    }

    fn device(root: &Path, path: &str) -> PciAddress {
        let folder = root.join("devices").join(path);
        fs::create_dir_all(&folder).expect("folder");
        let name = folder.file_name().expect("name").to_str().expect("text").to_owned();
        fs::create_dir_all(root.join("bus/pci/devices")).expect("folder");
        symlink(&folder, root.join("bus/pci/devices").join(&name)).expect("link");
        name.parse().expect("address")
    }

    #[test]
    fn a_gpu_has_its_own_slot_or_that_of_the_nearest_bridge() {
        let root = tempfile::tempdir().expect("folder");
        slot(root.path(), "5", "0000:1b:00\n");
        slot(root.path(), "PCIe Slot 7", "0000:40:00\n");
        slot(root.path(), "8-1", "0000:42:01\n");
        let own = device(root.path(), "pci0000:00/0000:00:01.0/0000:1b:00.0");
        let audio = device(root.path(), "pci0000:00/0000:00:01.0/0000:1b:00.1");
        let behind = device(root.path(), "pci0000:3f/0000:3f:01.0/0000:40:00.0/0000:41:00.0/0000:43:00.0");
        let nearer = device(root.path(), "pci0000:3f/0000:3f:01.1/0000:40:00.1/0000:42:01.0/0000:44:00.0");
        let none = device(root.path(), "pci0000:80/0000:80:01.0/0000:81:00.0");
        let slots = PciSlots::read(root.path());
        let found: Vec<_> =
            [own, audio, behind, nearer, none].iter().map(|address| slots.slot_of(*address)).collect();
        assert_eq!(found, [Some("5"), Some("5"), Some("PCIe Slot 7"), Some("8-1"), None]);
        assert_eq!(slots.slot_of("0000:99:00.0".parse().expect("address")), None, "not in sysfs");
    }

    #[test]
    fn what_is_no_slot_is_left_out() {
        let root = tempfile::tempdir().expect("folder");
        assert_eq!(PciSlots::read(root.path()).slot_of("0000:1b:00.0".parse().expect("address")), None);
        slot(root.path(), "huge", vec![b'0'; 8 << 20]);
        slot(root.path(), "binary", [0xFF, 0, 0xFE]);
        slot(root.path(), "function", "0000:1b:00.0");
        slot(root.path(), "\u{1b}[31m", "0000:1c:00");
        slot(root.path(), &"n".repeat(65), "0000:1d:00");
        fs::create_dir_all(root.path().join("bus/pci/slots/no address")).expect("folder");
        assert!(PciSlots::read(root.path()).slots.is_empty());
        // Two names for one place are one, and always the same one.
        slot(root.path(), "2", "0000:1b:00");
        slot(root.path(), "1", "0000:1b:00");
        let slots = PciSlots::read(root.path());
        assert_eq!(slots.slot_of("0000:1b:00.0".parse().expect("address")), Some("1"));
    }

    proptest! {
        #[test]
        fn a_slot_address_is_read_as_it_is_written(domain in 0_u32..0x1_0000, bus: u8, device in 0_u8..32) {
            let expected = PciAddress { domain, bus, device, function: 0 };
            prop_assert_eq!(slot_address(&format!("{domain:04x}:{bus:02x}:{device:02x}")), Some(expected));
            let whole = PciAddress { device: 0, ..expected };
            prop_assert_eq!(slot_address(&format!("{domain:04x}:{bus:02x}")), Some(whole));
        }

        #[test]
        fn any_text_is_taken_without_panic(text: String) {
            let _ = slot_address(&text);
        }
    }
}
