//! The folders that stand for `/sys/bus/pci` and `/proc/driver/nvidia`.

use crate::cell::Cell;
use crate::fields::Field;
use crate::gpu::Fixed;
use crate::profile::Text;
use crate::scenario::Scenario;
use std::io;
use std::path::{Path, PathBuf};

/// Transfer rate of a PCIe generation as sysfs spells it.
pub fn link_speed(generation: i64) -> &'static str {
    match generation {
        1 => "2.5 GT/s PCIe",
        2 => "5.0 GT/s PCIe",
        3 => "8.0 GT/s PCIe",
        4 => "16.0 GT/s PCIe",
        5 => "32.0 GT/s PCIe",
        6 => "64.0 GT/s PCIe",
        _ => "Unknown",
    }
}

/// An address as sysfs spells it: four digits of domain, lower case.
pub fn sysfs_address(pci_address: &str) -> String {
    pci_address.get(4..).unwrap_or(pci_address).to_lowercase()
}

/// The entry of a GPU on the bus, a link to its folder as on a real machine.
pub fn device_dir(dir: &Path, pci_address: &str) -> PathBuf {
    dir.join("sysfs/bus/pci/devices").join(sysfs_address(pci_address))
}

/// Makes the folder of a GPU, and its entry on the bus.
fn make_device(dir: &Path, pci_address: &str) -> io::Result<PathBuf> {
    let (entry, name) = (device_dir(dir, pci_address), sysfs_address(pci_address));
    let folder = Path::new("devices/pci0000:00").join(&name);
    std::fs::create_dir_all(dir.join("sysfs/bus/pci/devices"))?;
    std::fs::create_dir_all(dir.join("sysfs").join(&folder).join("power"))?;
    match std::os::unix::fs::symlink(Path::new("../../..").join(folder), &entry) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => Ok(entry),
    }
}

/// Writes the folders of one GPU.
///
/// # Errors
/// A file cannot be written.
pub fn write_gpu(dir: &Path, scenario: &Scenario, index: usize) -> io::Result<()> {
    let fixed = Fixed::new(scenario, index);
    let recorded = scenario.recorded.get(index).map(|recorded| recorded.cells.as_slice()).unwrap_or_default();
    let phase = if scenario.load_phase { &scenario.profile.load } else { &scenario.profile.idle };
    let number = |field: Field| {
        let own = recorded.iter().find(|(known, _)| *known == field).map(|(_, cell)| *cell);
        own.unwrap_or(phase.cells[field.position()]).ok().unwrap_or(0)
    };
    let device = make_device(dir, &fixed.pci_address)?;
    let (ids, subsystem) = (number(Field::PCI_DEVICE_ID), number(Field::PCI_SUBSYSTEM_ID));
    let class = (number(Field::PCI_BASE_CLASS) << 16) | (number(Field::PCI_SUB_CLASS) << 8);
    for (name, text) in [
        ("vendor", format!("0x{:04x}", ids & 0xFFFF)),
        ("device", format!("0x{:04x}", ids >> 16 & 0xFFFF)),
        ("class", format!("0x{class:06x}")),
        ("subsystem_vendor", format!("0x{:04x}", subsystem & 0xFFFF)),
        ("subsystem_device", format!("0x{:04x}", subsystem >> 16 & 0xFFFF)),
        ("current_link_speed", link_speed(number(Field::PCIE_LINK_GENERATION)).to_owned()),
        ("current_link_width", number(Field::PCIE_LINK_WIDTH).to_string()),
        ("max_link_speed", link_speed(number(Field::PCIE_GENERATION_MAX)).to_owned()),
        ("max_link_width", number(Field::PCIE_WIDTH_MAX).to_string()),
        ("numa_node", fixed.numa_node.to_string()),
        ("power/runtime_status", "active".to_owned()),
    ] {
        std::fs::write(device.join(name), text + "\n")?;
    }
    bind(dir, &fixed.pci_address, "nvidia")?;
    let proc = dir.join("proc/driver/nvidia/gpus").join(sysfs_address(&fixed.pci_address));
    std::fs::create_dir_all(&proc)?;
    let model = fixed.text(Text::Name).unwrap_or("Unknown");
    let information = format!(
        "Model: \t\t {model}\nIRQ:   \t\t 0\nGPU UUID: \t {}\nVideo BIOS: \t {}\nBus Type: \t PCIe\nBus Location: \t {}\nDevice Minor: \t {index}\n",
        fixed.uuid,
        fixed.text(Text::Vbios).unwrap_or("??.??.??.??.??"),
        sysfs_address(&fixed.pci_address),
    );
    std::fs::write(proc.join("information"), information)
}

/// Binds a GPU to a driver: moves the `driver` link.
///
/// # Errors
/// The link cannot be made.
pub fn bind(dir: &Path, pci_address: &str, driver: &str) -> io::Result<()> {
    let link = device_dir(dir, pci_address).join("driver");
    match std::fs::remove_file(&link) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    std::fs::create_dir_all(dir.join("sysfs/bus/pci/drivers").join(driver))?;
    std::os::unix::fs::symlink(format!("../../../bus/pci/drivers/{driver}"), link)
}

/// Sets the runtime power state of a GPU (`active` or `suspended`).
///
/// # Errors
/// The file cannot be written.
pub fn set_runtime_status(dir: &Path, pci_address: &str, status: &str) -> io::Result<()> {
    std::fs::write(device_dir(dir, pci_address).join("power/runtime_status"), format!("{status}\n"))
}

/// Follows a `pcie` command in the sysfs files.
///
/// # Errors
/// The file cannot be written.
pub fn set_link(dir: &Path, pci_address: &str, field: Field, value: Cell) -> io::Result<()> {
    let value = value.ok().unwrap_or(0);
    let device = device_dir(dir, pci_address);
    if field == Field::PCIE_LINK_GENERATION {
        std::fs::write(device.join("current_link_speed"), format!("{}\n", link_speed(value)))
    } else {
        std::fs::write(device.join("current_link_width"), format!("{value}\n"))
    }
}
