//! GPUs: what the driver says of them in procfs, what NVML says, and the driver itself.

use std::path::Path;

use rackmark_hardware::host::nvidia_driver_version;
use rackmark_model::readings::Inventory as Readings;
use rackmark_model::{NoData, PciAddress, Value};

use super::digest;
use super::fact::{Component, Facts};
use super::file;
use super::pci::sysfs_name;

/// The one driver of its kind.
pub(super) const DRIVER: &str = "nvidia";

/// Readings of NVML that say what a GPU is, and not how it is set up or doing.
pub(super) const READINGS: [&str; 24] = [
    "name",
    "brand",
    "architecture",
    "memory_total_bytes",
    "uuid",
    "serial",
    "pci_device_id",
    "pci_subsystem_id",
    "minor_number",
    "board_id",
    "board_part_number",
    "vbios_version",
    "inforom_image_version",
    "inforom_oem_version",
    "inforom_ecc_version",
    "inforom_power_version",
    "inforom_checksum",
    "gsp_firmware_version",
    "pcie_generation_max",
    "pcie_width_max_lanes",
    "chassis_serial",
    "slot_number",
    "tray_index",
    "module_id",
];

/// A GPU as the driver describes it in `/proc/driver/nvidia/gpus`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ProcGpu {
    /// Where it sits; absent where the folder is not named after a place.
    pub address: Option<PciAddress>,
    /// Product name.
    pub model: Option<String>,
    /// UUID; the driver knows it once the GPU was started.
    pub uuid: Option<String>,
    /// VBIOS version, likewise.
    pub vbios: Option<String>,
    /// The `N` of `/dev/nvidiaN`.
    pub minor: Option<String>,
}

/// The GPUs of procfs, by address. Those in `asleep` are not read, as the driver may wake them for it.
pub(super) fn of_procfs(proc_root: &Path, asleep: &[PciAddress]) -> Vec<ProcGpu> {
    let folder = proc_root.join("driver/nvidia/gpus");
    let mut gpus: Vec<ProcGpu> = file::names(&folder)
        .iter()
        .filter_map(|name| name.parse().ok().map(|address: PciAddress| (address, name)))
        .filter(|(address, _)| !asleep.contains(address))
        .filter_map(|(address, name)| {
            let text = file::attribute(&folder.join(name).join("information"))?;
            Some(ProcGpu { address: Some(address), ..information(&text) })
        })
        .collect();
    gpus.sort_unstable_by_key(|gpu| gpu.address);
    gpus
}

/// Lines of a name, a colon and a value. Question marks stand for what the driver does not know yet.
fn information(text: &str) -> ProcGpu {
    let value = |wanted: &str| {
        let mut pairs = text.lines().filter_map(|line| line.split_once(':'));
        let (_, value) = pairs.find(|(key, _)| key.trim() == wanted)?;
        let value = value.trim();
        (!value.is_empty() && !value.contains('?')).then(|| value.to_owned())
    };
    ProcGpu {
        address: None,
        model: value("Model").filter(|model| model != "Unknown"),
        uuid: value("GPU UUID"),
        vbios: value("Video BIOS"),
        minor: value("Device Minor"),
    }
}

pub(super) fn put_procfs(gpus: &[ProcGpu], facts: &mut Facts) {
    for gpu in gpus {
        let Some(name) = gpu.address.map(sysfs_name) else { continue };
        let mut put = |field, value: &Option<String>| {
            facts.put_some(Component::Gpu, &name, field, value.as_ref());
        };
        put("procfs_model", &gpu.model);
        put("procfs_uuid", &gpu.uuid);
        put("procfs_vbios_version", &gpu.vbios);
        put("procfs_minor_number", &gpu.minor);
    }
}

pub(super) fn put_nvml(address: PciAddress, readings: &Readings, facts: &mut Facts) {
    let name = sysfs_name(address);
    readings.each(|position, reading: Result<Value<'_>, NoData>| {
        let Some(descriptor) = Readings::DESCRIPTORS.get(position) else { return };
        let field = descriptor.edge_name();
        let (true, Ok(value)) = (READINGS.contains(&field.as_str()), reading) else { return };
        let text = match value {
            // Ids are read in hexadecimal digits, everywhere.
            Value::Unsigned(id) if field.ends_with("_id") && field.starts_with("pci_") => format!("{id:08x}"),
            Value::Unsigned(number) => number.to_string(),
            Value::Signed(number) => number.to_string(),
            Value::Text(text) => text.to_owned(),
            Value::Flag(flag) => if flag { "yes" } else { "no" }.to_owned(),
        };
        facts.put(Component::Gpu, &name, &field, text);
    });
}

/// The loaded kernel module and the library that NVML is.
pub(super) fn put_driver(proc_root: &Path, library: Option<&Path>, facts: &mut Facts) {
    let mut put = |field, value: Option<String>| facts.put_some(Component::Driver, DRIVER, field, value);
    put("version", nvidia_driver_version(proc_root));
    let text = file::attribute(&proc_root.join("driver/nvidia/version"));
    let open = text.map(|text| text.lines().next().unwrap_or_default().contains("Open Kernel Module"));
    put("kernel_module", open.map(|open| if open { "open" } else { "closed" }.to_owned()));
    put("nvml_library_sha256", library.and_then(digest::of_file));
}

#[cfg(test)]
mod tests {
    use rackmark_model::{Bytes, Count};

    use super::super::tests::{Tree, shown};
    use super::*;

    const INFORMATION: &str = "Model: \t\t NVIDIA H100 80GB HBM3\nIRQ:   \t\t 401\nGPU UUID: \t GPU-1f2e\nVideo BIOS: \t 96.00.99.00.01\nBus Type: \t PCIe\nBus Location: \t 0000:1b:00.0\nDevice Minor: \t 3\n";

    #[test]
    fn the_driver_describes_its_gpus_but_is_not_asked_for_one_that_sleeps() {
        let tree = Tree::new();
        for name in ["0000:1b:00.0", "0000:2b:00.0", "odd"] {
            tree.write(&format!("driver/nvidia/gpus/{name}/information"), INFORMATION);
        }
        let asleep = ["0000:2b:00.0".parse().expect("address")];
        let mut facts = Facts::default();
        put_procfs(&of_procfs(tree.path(), &asleep), &mut facts);
        assert_eq!(
            shown(facts),
            [
                "gpu 0000:1b:00.0 procfs_minor_number=3",
                "gpu 0000:1b:00.0 procfs_model=NVIDIA H100 80GB HBM3",
                "gpu 0000:1b:00.0 procfs_uuid=GPU-1f2e",
                "gpu 0000:1b:00.0 procfs_vbios_version=96.00.99.00.01",
            ]
        );
    }

    #[test]
    fn what_the_driver_does_not_know_yet_is_absent() {
        let text = "Model: \t\t Unknown\nGPU UUID: \t GPU-????????-????-????-????-????????????\nVideo BIOS: \t ??.??.??.??.??\nDevice Minor:\n";
        assert_eq!(information(text), ProcGpu::default());
    }

    #[test]
    fn every_reading_that_is_a_fact_is_known_to_the_model() {
        for name in READINGS {
            assert!(Readings::position(name).is_some(), "{name}");
        }
    }

    #[test]
    fn readings_of_nvml_are_facts_where_they_say_what_a_gpu_is() {
        let mut readings = Readings::absent(NoData::NotSupported);
        readings.uuid = Ok("GPU-1f2e".to_owned());
        readings.pci_device_id = Ok(Count(0x2330_10de));
        readings.memory_total = Ok(Bytes(80 << 30));
        readings.persistence_enabled = Ok(true);
        let mut facts = Facts::default();
        put_nvml("0000:1b:00.0".parse().expect("address"), &readings, &mut facts);
        assert_eq!(
            shown(facts),
            [
                "gpu 0000:1b:00.0 memory_total_bytes=85899345920",
                "gpu 0000:1b:00.0 pci_device_id=233010de",
                "gpu 0000:1b:00.0 uuid=GPU-1f2e",
            ]
        );
    }

    #[test]
    fn the_driver_is_told_apart_by_version_kind_and_library() {
        let tree = Tree::new();
        let version = "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.95.05  Release Build\n";
        tree.write("driver/nvidia/version", version);
        tree.write("lib", "abc");
        let mut facts = Facts::default();
        put_driver(tree.path(), Some(&tree.path().join("lib")), &mut facts);
        assert_eq!(
            shown(facts),
            [
                "driver nvidia kernel_module=open".to_owned(),
                format!("driver nvidia nvml_library_sha256={}", digest::hex(b"abc")),
                "driver nvidia version=580.95.05".to_owned(),
            ]
        );
    }
}
