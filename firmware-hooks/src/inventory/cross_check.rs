//! Compares what different sources say of the same GPUs.
//!
//! None of this proves anything: root can fake every one of the sources. It catches a fake that covers
//! one of them only, and cards that are wrongly programmed or half broken.

use std::collections::BTreeMap;

use rackmark_model::PciAddress;
use rackmark_model::readings::Inventory as Readings;

use super::finding::{Finding, FindingCode};
use super::gpu::{DRIVER, ProcGpu};
use super::pci::{NVIDIA, PciDevice, sysfs_name};

/// The driver that hands a device over to a virtual machine.
const HANDED_OVER: &str = "vfio-pci";

/// How a GPU stands in NVML's list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Listed {
    /// It answers now.
    Answers,
    /// It is asleep, paused, lost or hanging, or was not asked yet: it is not compared and not missed.
    Silent,
    /// NVML does not have it.
    Missing,
}

/// A GPU as NVML knows it.
#[derive(Debug, Clone, Copy)]
pub struct NvmlGpu<'a> {
    /// Where it sits.
    pub address: PciAddress,
    /// How it stands in NVML's list.
    pub listed: Listed,
    /// What NVML said of it when it answered; absent where it has not yet.
    pub inventory: Option<&'a Readings>,
}

/// What is compared.
#[derive(Debug, Clone, Copy)]
pub struct Contradictions<'a> {
    /// The PCI bus, all of it.
    pub pci: &'a [PciDevice],
    /// The driver's files in procfs.
    pub procfs: &'a [ProcGpu],
    /// Version of the loaded kernel module.
    pub module: Option<&'a str>,
    /// NVML; absent while the driver does not answer.
    pub nvml: Option<&'a [NvmlGpu<'a>]>,
    /// Version of the driver, by NVML.
    pub nvml_driver: Option<&'a str>,
}

/// Everything that contradicts itself, in order.
pub fn cross_check(sources: &Contradictions<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for device in sources.pci.iter().filter(|device| device.folder.is_none()) {
        let detail = "it is no link to a folder below devices";
        findings.push(Finding::new(FindingCode::SysfsEntryNotLink, &sysfs_name(device.address), detail));
    }
    let on_bus = |address| sources.pci.iter().find(|device| device.address == address);
    for gpu in sources.procfs {
        if let Some(address) = gpu.address.filter(|address| on_bus(*address).is_none()) {
            let detail = format!("procfs has {}", gpu.model.as_deref().unwrap_or("a GPU"));
            let code = FindingCode::ProcfsGpuWithoutPciDevice;
            findings.push(Finding::new(code, &sysfs_name(address), detail));
        }
    }
    if let (Some(module), Some(nvml)) = (sources.module, sources.nvml_driver)
        && module != nvml
    {
        let detail = format!("the kernel module is {module}, NVML says {nvml}");
        findings.push(Finding::new(FindingCode::DriverVersionMismatch, DRIVER, detail));
    }
    if let Some(nvml) = sources.nvml {
        unlisted(sources.pci, nvml, &mut findings);
        let answering: Vec<(PciAddress, &Readings)> = nvml
            .iter()
            .filter(|gpu| gpu.listed == Listed::Answers)
            .filter_map(|gpu| Some((gpu.address, gpu.inventory?)))
            .collect();
        for (address, readings) in &answering {
            against_pci(*address, readings, on_bus(*address), &mut findings);
            let in_procfs = sources.procfs.iter().find(|gpu| gpu.address == Some(*address));
            if let Some(gpu) = in_procfs {
                against_procfs(*address, readings, gpu, &mut findings);
            }
        }
        duplicates(&answering, &mut findings);
    }
    findings.sort_unstable();
    findings
}

/// Display devices of NVIDIA that NVML ought to have.
fn unlisted(pci: &[PciDevice], nvml: &[NvmlGpu<'_>], findings: &mut Vec<Finding>) {
    for device in pci.iter().filter(|device| device.is_gpu()) {
        let handed_over = device.driver.as_deref() == Some(HANDED_OVER);
        let listed = nvml.iter().any(|gpu| gpu.address == device.address && gpu.listed != Listed::Missing);
        if !handed_over && !listed {
            let driver = device.driver.as_deref().unwrap_or("no driver");
            let detail = format!("device {:04x}:{:04x}, bound to {driver}", device.vendor, device.device);
            findings.push(Finding::new(FindingCode::PciGpuNotInNvml, &sysfs_name(device.address), detail));
        }
    }
}

fn against_pci(
    address: PciAddress,
    readings: &Readings,
    device: Option<&PciDevice>,
    findings: &mut Vec<Finding>,
) {
    let name = sysfs_name(address);
    let mut found = |code, detail: String| findings.push(Finding::new(code, &name, detail));
    let Some(device) = device else {
        let model = readings.name.as_deref().unwrap_or("a GPU");
        found(FindingCode::GpuWithoutPciDevice, format!("NVML lists {model} there"));
        return;
    };
    if device.vendor != NVIDIA {
        found(FindingCode::GpuVendorMismatch, format!("the PCI device is of {:04x}", device.vendor));
        return;
    }
    // NVML packs two ids in one number, the maker in the lower half.
    let pack = |vendor: u32, device: u32| u64::from(device << 16 | vendor & 0xFFFF);
    let differ = |nvml: u64, pci: u64| format!("NVML says {nvml:08x}, the PCI device {pci:08x}");
    let own = pack(device.vendor, device.device);
    if let Ok(id) = &readings.pci_device_id
        && id.0 != own
    {
        found(FindingCode::GpuDeviceIdMismatch, differ(id.0, own));
    }
    let board = device.subsystem_vendor.zip(device.subsystem_device).map(|(vendor, id)| pack(vendor, id));
    if let (Ok(id), Some(board)) = (&readings.pci_subsystem_id, board)
        && id.0 != board
    {
        found(FindingCode::GpuSubsystemIdMismatch, differ(id.0, board));
    }
}

fn against_procfs(address: PciAddress, readings: &Readings, gpu: &ProcGpu, findings: &mut Vec<Finding>) {
    let pairs = [
        (FindingCode::GpuUuidMismatch, &readings.uuid, &gpu.uuid),
        (FindingCode::GpuModelMismatch, &readings.name, &gpu.model),
        (FindingCode::GpuVbiosMismatch, &readings.vbios_version, &gpu.vbios),
    ];
    for (code, nvml, procfs) in pairs {
        if let (Ok(nvml), Some(procfs)) = (nvml, procfs)
            && !nvml.eq_ignore_ascii_case(procfs)
        {
            let detail = format!("NVML says {nvml}, procfs {procfs}");
            findings.push(Finding::new(code, &sysfs_name(address), detail));
        }
    }
}

/// UUIDs and serial numbers that two GPUs have.
fn duplicates(gpus: &[(PciAddress, &Readings)], findings: &mut Vec<Finding>) {
    let mut holders: BTreeMap<&str, PciAddress> = BTreeMap::new();
    for (address, readings) in gpus {
        let Ok(uuid) = &readings.uuid else { continue };
        if let Some(other) = holders.insert(uuid, *address) {
            let detail = format!("{uuid} is also that of {}", sysfs_name(other));
            findings.push(Finding::new(FindingCode::GpuUuidDuplicate, &sysfs_name(*address), detail));
        }
    }
    let mut holders: BTreeMap<&str, (PciAddress, &Readings)> = BTreeMap::new();
    for (address, readings) in gpus {
        let Ok(serial) = &readings.serial else { continue };
        if let Some((other, others)) = holders.insert(serial, (*address, readings))
            && !on_one_board(readings, others)
        {
            let detail = format!("{serial} is also that of {}", sysfs_name(other));
            findings.push(Finding::new(FindingCode::GpuSerialDuplicate, &sysfs_name(*address), detail));
        }
    }
}

/// GPUs of one board share its serial number.
fn on_one_board(one: &Readings, other: &Readings) -> bool {
    one.multi_gpu_board == Ok(true) && other.multi_gpu_board == Ok(true)
        || one.board_id.is_ok() && one.board_id == other.board_id
}

#[cfg(test)]
mod tests;
