//! PCI identity and PCIe link.

use super::{any_device_calls, device_calls};
use crate::abi::{self, PciInfo, PciInfoExt, Ret, fixed_text, put, take_version, version_word};
use crate::fields::Field;
use crate::world::{Here, enter};
use std::ffi::c_uint;
use std::time::Duration;

/// The driver counts for this long before it answers a throughput question.
const WINDOW: Duration = Duration::from_millis(20);

/// Transfer rate of a PCIe generation in millions of transfers per second.
fn speed(generation: u32) -> Result<u32, Ret> {
    match generation {
        1..=6 => Ok([2500, 5000, 8000, 16000, 32000, 64000][generation as usize - 1]),
        _ => Err(abi::NOT_SUPPORTED),
    }
}

fn info(here: &Here) -> Result<PciInfo, Ret> {
    let fixed = &here.gpu.fixed;
    let (domain, bus, device) = fixed.pci_numbers();
    Ok(PciInfo {
        bus_id_legacy: fixed_text(&format!("{domain:04X}:{bus:02X}:{device:02X}.0")),
        domain,
        bus,
        device,
        pci_device_id: here.u32(Field::PCI_DEVICE_ID)?,
        pci_subsystem_id: here.u32(Field::PCI_SUBSYSTEM_ID)?,
        bus_id: fixed_text(&fixed.pci_address),
    })
}

any_device_calls! {
    nvmlDeviceGetPciInfo_v3 |here| (pci: *mut PciInfo) { put(pci, info(&here)?) }
    nvmlDeviceGetPciInfo_v2 |here| (pci: *mut PciInfo) { put(pci, info(&here)?) }
}

device_calls! {
    nvmlDeviceGetPciInfoExt |here| (pci: *mut PciInfoExt) {
        let version = take_version(pci)?;
        if version != version_word::<PciInfoExt>(1) {
            return Err(abi::ARGUMENT_VERSION_MISMATCH);
        }
        let info = info(&here)?;
        put(pci, PciInfoExt {
            version,
            domain: info.domain,
            bus: info.bus,
            device: info.device,
            pci_device_id: info.pci_device_id,
            pci_subsystem_id: info.pci_subsystem_id,
            base_class: here.u32(Field::PCI_BASE_CLASS)?,
            sub_class: here.u32(Field::PCI_SUB_CLASS)?,
            bus_id: info.bus_id,
        })
    }
    nvmlDeviceGetMaxPcieLinkGeneration |here| (generation: *mut c_uint) {
        here.put_u32(generation, Field::PCIE_GENERATION_MAX)
    }
    nvmlDeviceGetGpuMaxPcieLinkGeneration |here| (generation: *mut c_uint) {
        here.put_u32(generation, Field::PCIE_GENERATION_GPU_MAX)
    }
    nvmlDeviceGetMaxPcieLinkWidth |here| (lanes: *mut c_uint) { here.put_u32(lanes, Field::PCIE_WIDTH_MAX) }
    nvmlDeviceGetCurrPcieLinkGeneration |here| (generation: *mut c_uint) {
        here.put_u32(generation, Field::PCIE_LINK_GENERATION)
    }
    nvmlDeviceGetCurrPcieLinkWidth |here| (lanes: *mut c_uint) { here.put_u32(lanes, Field::PCIE_LINK_WIDTH) }
    nvmlDeviceGetPcieSpeed |here| (megabits: *mut c_uint) {
        put(megabits, speed(here.u32(Field::PCIE_LINK_GENERATION)?)?)
    }
    // An enumeration whose values are the generations.
    nvmlDeviceGetPcieLinkMaxSpeed |here| (speed: *mut c_uint) { here.put_u32(speed, Field::PCIE_GENERATION_MAX) }
    nvmlDeviceGetPcieReplayCounter |here| (replays: *mut c_uint) { here.put_u32(replays, Field::PCIE_REPLAYS) }
}

/// NVML's `nvmlDeviceGetPcieThroughput`, in kilobytes per second. Takes 20 ms like the driver.
#[unsafe(no_mangle)]
pub extern "C" fn nvmlDeviceGetPcieThroughput(
    device: abi::Device,
    counter: c_uint,
    kilobytes: *mut c_uint,
) -> Ret {
    super::answer((|| {
        let field = match counter {
            0 => Field::PCIE_TRANSMIT,
            1 => Field::PCIE_RECEIVE,
            _ => return Err(abi::INVALID_ARGUMENT),
        };
        let value = {
            let here = enter("nvmlDeviceGetPcieThroughput", device)?.physical()?;
            here.u64(field)? / 1000
        };
        std::thread::sleep(WINDOW);
        put(kilobytes, u32::try_from(value).unwrap_or(u32::MAX))
    })())
}
