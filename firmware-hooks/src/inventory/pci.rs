//! The PCI bus: what is on it, and what a server is known by.

use std::path::{Path, PathBuf};

use rackmark_hardware::pci::{is_suspended, runtime_status_path};
use rackmark_hardware::pci_slots::PciSlots;
use rackmark_model::PciAddress;

use super::fact::{Component, Facts};
use super::file;

/// PCI vendor id of NVIDIA (PCI-SIG).
pub(super) const NVIDIA: u32 = 0x10de;

/// Base class of display controllers (PCI Code and ID Assignment, class 03h).
const CLASS_DISPLAY: u32 = 0x03;

/// Classes and subclasses of the same list: NVMe, Ethernet, InfiniBand, and bridges that are
/// neither PCI nor CXL, as which NVSwitches show themselves.
const CLASS_NVME: u32 = 0x0108;
const CLASS_ETHERNET: u32 = 0x0200;
const CLASS_INFINIBAND: u32 = 0x0207;
const CLASS_OTHER_BRIDGE: u32 = 0x0680;

/// A device on the PCI bus.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PciDevice {
    /// Where it sits.
    pub address: PciAddress,
    /// Maker of the chip.
    pub vendor: u32,
    /// The chip.
    pub device: u32,
    /// Base class, subclass and programming interface.
    pub class: u32,
    /// Maker of the board.
    pub subsystem_vendor: Option<u32>,
    /// The board.
    pub subsystem_device: Option<u32>,
    /// The driver that is bound.
    pub driver: Option<String>,
    /// The kernel has put it to sleep.
    pub suspended: bool,
    /// Its folder below `/sys/devices`; absent where the entry of the bus is no link to there.
    pub folder: Option<PathBuf>,
}

impl PciDevice {
    /// Whether it is a display device of NVIDIA.
    pub const fn is_gpu(&self) -> bool {
        self.vendor == NVIDIA && self.class >> 16 == CLASS_DISPLAY
    }

    /// Whether a server is known by it: GPUs, NVSwitches, NVMe, network.
    const fn counts(&self) -> bool {
        self.is_gpu()
            || matches!(self.class >> 8, CLASS_NVME | CLASS_ETHERNET | CLASS_INFINIBAND)
            || (self.vendor == NVIDIA && self.class >> 8 == CLASS_OTHER_BRIDGE)
    }
}

/// An address as sysfs writes it, with a domain of four digits.
pub(super) fn sysfs_name(address: PciAddress) -> String {
    let PciAddress { domain, bus, device, function } = address;
    format!("{domain:04x}:{bus:02x}:{device:02x}.{function:x}")
}

/// All devices, by address. Nothing is read that wakes a device.
pub(super) fn devices(sysfs_root: &Path) -> Vec<PciDevice> {
    let bus = sysfs_root.join("bus/pci/devices");
    let below = file::real(&sysfs_root.join("devices"));
    let mut devices: Vec<PciDevice> = file::names(&bus)
        .iter()
        .filter_map(|name| {
            let entry = bus.join(name);
            let address = name.parse().ok()?;
            // A folder that stands on the bus itself is not below devices either.
            let folder =
                file::real(&entry).filter(|real| below.as_ref().is_some_and(|below| real.starts_with(below)));
            Some(PciDevice {
                address,
                vendor: file::hex(&entry.join("vendor"))?,
                device: file::hex(&entry.join("device"))?,
                class: file::hex(&entry.join("class"))?,
                subsystem_vendor: file::hex(&entry.join("subsystem_vendor")),
                subsystem_device: file::hex(&entry.join("subsystem_device")),
                driver: file::link_name(&entry.join("driver")),
                suspended: is_suspended(&runtime_status_path(sysfs_root, address)),
                folder,
            })
        })
        .collect();
    devices.sort_unstable_by_key(|device| device.address);
    devices
}

/// Facts of the devices that count.
pub(super) fn read(sysfs_root: &Path, devices: &[PciDevice], facts: &mut Facts) {
    let slots = PciSlots::read(sysfs_root);
    for device in devices.iter().filter(|device| device.counts()) {
        let name = sysfs_name(device.address);
        let entry = sysfs_root.join("bus/pci/devices").join(&name);
        let mut put = |field, value: Option<String>| facts.put_some(Component::Pci, &name, field, value);
        let id = |id: u32| format!("{id:04x}");
        put("vendor", Some(id(device.vendor)));
        put("device", Some(id(device.device)));
        put("class", Some(format!("{:06x}", device.class)));
        put("subsystem_vendor", device.subsystem_vendor.map(id));
        put("subsystem_device", device.subsystem_device.map(id));
        put("revision", file::hex(&entry.join("revision")).map(|revision| format!("{revision:02x}")));
        put("driver", device.driver.clone());
        put("numa_node", numa_node(&entry));
        put("iommu_group", file::link_name(&entry.join("iommu_group")));
        put("iommu_domain", file::attribute(&entry.join("iommu_group/type")));
        put("slot", slots.slot_of(device.address).map(str::to_owned));
        if device.suspended {
            continue;
        }
        put("link_speed_max", link(&entry, "max_link_speed"));
        put("link_width_max", link(&entry, "max_link_width"));
        put("link_width", link(&entry, "current_link_width"));
        // A GPU slows its link down while it is idle, so that its speed says what it does and not what it is.
        put("link_speed", link(&entry, "current_link_speed").filter(|_| !device.is_gpu()));
    }
}

/// The NUMA node of a device; the kernel says -1 where the firmware does not tell.
pub(super) fn numa_node(device: &Path) -> Option<String> {
    file::attribute(&device.join("numa_node")).filter(|node| !node.starts_with('-'))
}

/// What an attribute says of a link; devices without one have width 0 or 255 and no speed.
fn link(device: &Path, name: &str) -> Option<String> {
    let text = file::attribute(&device.join(name))?;
    let none = text.starts_with("Unknown") || text == "0" || text == "255";
    (!none).then(|| text.trim_end_matches(" PCIe").to_owned())
}

/// The PCI device that a folder of sysfs is, or is a part of: paravirtual devices have a folder below it. What
/// hangs on a PCI device by another bus, such as USB, is none.
pub(super) fn of_folder(folder: &Path) -> Option<PciAddress> {
    let real = file::real(folder)?;
    real.ancestors().take(2).find_map(|folder| folder.file_name()?.to_str()?.parse().ok())
}

/// The GPUs that are nearest to a device: those with which it shares the longest way down from the root
/// complex, and of these the ones with the fewest bridges in between. None where no GPU is below the same root.
pub(super) fn nearest_gpus(of: PciAddress, devices: &[PciDevice]) -> Option<String> {
    let way = |device: &PciDevice| -> Option<Vec<String>> {
        let parts = device.folder.as_ref()?.iter().filter_map(|part| part.to_str());
        let parts = parts.filter(|part| part.starts_with("pci") || part.parse::<PciAddress>().is_ok());
        Some(parts.map(str::to_owned).collect())
    };
    let own = way(devices.iter().find(|device| device.address == of)?)?;
    let ranked: Vec<((usize, usize), PciAddress)> = devices
        .iter()
        .filter(|device| device.is_gpu())
        .filter_map(|gpu| {
            let way = way(gpu)?;
            let shared = own.iter().zip(&way).take_while(|(one, other)| one == other).count();
            (shared > 0).then_some(((usize::MAX - shared, way.len() - shared), gpu.address))
        })
        .collect();
    let best = ranked.iter().map(|(rank, _)| *rank).min()?;
    let nearest = ranked.iter().filter(|(rank, _)| *rank == best);
    Some(nearest.map(|(_, address)| sysfs_name(*address)).collect::<Vec<_>>().join(" "))
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::tests::{Tree, shown};
    use super::*;

    fn facts(tree: &Tree) -> Vec<String> {
        let mut facts = Facts::default();
        read(tree.path(), &devices(tree.path()), &mut facts);
        shown(facts)
    }

    #[test]
    fn a_gpu_is_described_with_its_slot() {
        let tree = Tree::new();
        let gpu = tree.device("pci0000:15/0000:15:01.0/0000:1b:00.0", "0x10de", "0x2330", "0x030200");
        for (name, text) in [
            ("revision", "0xa1"),
            ("subsystem_vendor", "0x10de"),
            ("subsystem_device", "0x16c1"),
            ("numa_node", "0"),
            ("max_link_speed", "32.0 GT/s PCIe"),
            ("max_link_width", "16"),
            ("current_link_speed", "2.5 GT/s PCIe"),
            ("current_link_width", "16"),
        ] {
            tree.write(&format!("{gpu}/{name}"), &format!("{text}\n"));
        }
        tree.link(&format!("{gpu}/driver"), "../../../bus/pci/drivers/nvidia");
        tree.link(&format!("{gpu}/iommu_group"), "../../../../kernel/iommu_groups/17");
        tree.write("kernel/iommu_groups/17/type", "DMA-FQ\n");
        tree.write("bus/pci/slots/5/address", "0000:1b:00\n");
        let all = [
            "pci 0000:1b:00.0 class=030200",
            "pci 0000:1b:00.0 device=2330",
            "pci 0000:1b:00.0 driver=nvidia",
            "pci 0000:1b:00.0 iommu_domain=DMA-FQ",
            "pci 0000:1b:00.0 iommu_group=17",
            "pci 0000:1b:00.0 link_speed_max=32.0 GT/s",
            "pci 0000:1b:00.0 link_width=16",
            "pci 0000:1b:00.0 link_width_max=16",
            "pci 0000:1b:00.0 numa_node=0",
            "pci 0000:1b:00.0 revision=a1",
            "pci 0000:1b:00.0 slot=5",
            "pci 0000:1b:00.0 subsystem_device=16c1",
            "pci 0000:1b:00.0 subsystem_vendor=10de",
            "pci 0000:1b:00.0 vendor=10de",
        ];
        assert_eq!(facts(&tree), all);
        // The state of the link would wake it.
        tree.write(&format!("{gpu}/power/runtime_status"), "suspended\n");
        let asleep: Vec<&str> = all.into_iter().filter(|fact| !fact.contains("link_")).collect();
        assert_eq!(facts(&tree), asleep);
    }

    #[test]
    fn only_what_a_server_is_known_by_is_a_fact() {
        let tree = Tree::new();
        for (path, vendor, class) in [
            ("pci0000:00/0000:00:01.0", "0x8086", "0x060400"),
            ("pci0000:00/0000:00:02.0", "0x1a03", "0x030000"),
            ("pci0000:00/0000:00:03.0", "0x144d", "0x010802"),
            ("pci0000:00/0000:00:04.0", "0x15b3", "0x020700"),
            ("pci0000:00/0000:00:05.0", "0x8086", "0x020000"),
            ("pci0000:00/0000:00:06.0", "0x10de", "0x068000"),
            ("pci0000:00/0000:00:07.0", "0x8086", "0x068000"),
            ("pci0000:00/0000:00:08.0", "0x10de", "0x040300"),
        ] {
            tree.device(path, vendor, "0x0001", class);
        }
        assert_eq!(devices(tree.path()).len(), 8);
        let known: Vec<String> = facts(&tree)
            .iter()
            .filter(|fact| fact.contains(" vendor="))
            .map(|fact| fact.split(' ').nth(1).expect("address").to_owned())
            .collect();
        assert_eq!(known, ["0000:00:03.0", "0000:00:04.0", "0000:00:05.0", "0000:00:06.0"]);
    }

    #[test]
    fn an_entry_that_is_no_link_to_the_devices_has_no_folder() {
        let tree = Tree::new();
        let real = tree.device("pci0000:00/0000:00:01.0", "0x10de", "0x2330", "0x030200");
        let folder = |tree: &Tree| devices(tree.path()).last().expect("device").folder.clone();
        assert_eq!(folder(&tree), file::real(&tree.path().join(real)));
        for name in ["vendor", "device", "class"] {
            tree.write(&format!("bus/pci/devices/0000:00:02.0/{name}"), "0x10de\n");
            tree.write(&format!("elsewhere/{name}"), "0x10de\n");
        }
        assert_eq!(folder(&tree), None);
        tree.link("bus/pci/devices/0000:00:03.0", "../../../elsewhere");
        assert_eq!((folder(&tree), devices(tree.path()).len()), (None, 3));
    }

    #[test]
    fn the_gpus_behind_the_same_switch_are_nearest() {
        let tree = Tree::new();
        let gpu = |path: &str| {
            tree.device(path, "0x10de", "0x2330", "0x030200");
        };
        gpu("pci0000:15/0000:15:01.0/0000:16:00.0/0000:17:00.0/0000:18:00.0");
        gpu("pci0000:15/0000:15:01.0/0000:16:00.0/0000:17:01.0/0000:19:00.0");
        gpu("pci0000:15/0000:15:03.0/0000:26:00.0");
        gpu("pci0000:80/0000:80:01.0/0000:81:00.0");
        let nic = |path: &str| {
            tree.device(path, "0x15b3", "0x1021", "0x020700");
            let address = path.rsplit('/').next().expect("name").parse().expect("address");
            nearest_gpus(address, &devices(tree.path()))
        };
        let nearest = nic("pci0000:15/0000:15:01.0/0000:16:00.0/0000:17:02.0/0000:1a:00.0");
        assert_eq!(nearest.as_deref(), Some("0000:18:00.0 0000:19:00.0"));
        // Below the same root only: the one with fewer bridges.
        assert_eq!(nic("pci0000:15/0000:15:05.0/0000:30:00.0").as_deref(), Some("0000:26:00.0"));
        assert_eq!(nic("pci0000:90/0000:90:01.0/0000:91:00.0"), None);
        assert_eq!(nearest_gpus("0000:ff:00.0".parse().expect("address"), &devices(tree.path())), None);
    }
}
