use rackmark_model::readings::Inventory;
use rackmark_model::{
    Bitmask, Bits, Bytes, Count, GpuInventory, Lanes, Megahertz, Milliwatts, NoData, PciAddress, Reading,
};

use super::mig::read_mig;
use super::{celsius, celsius_field, count, flag, named, narrow, wide};
use crate::nvml::{Clock, Device, Fabric, FieldQuery, Platform, SCOPE_GPU, Status, Threshold};

/// `nvmlBrandType_t` by number.
const BRANDS: [&str; 17] = [
    "unknown",
    "quadro",
    "tesla",
    "nvs",
    "grid",
    "geforce",
    "titan",
    "nvidia_vapps",
    "nvidia_vpc",
    "nvidia_vcs",
    "nvidia_vws",
    "nvidia_cloud_gaming",
    "quadro_rtx",
    "nvidia_rtx",
    "nvidia",
    "geforce_rtx",
    "titan_rtx",
];

/// `NVML_DEVICE_ARCH_…` by number; 0 and 1 were never given out.
const ARCHITECTURES: [&str; 11] = [
    "unknown",
    "unknown",
    "kepler",
    "maxwell",
    "pascal",
    "volta",
    "turing",
    "ampere",
    "ada",
    "hopper",
    "blackwell",
];

/// `nvmlComputeMode_t` by number.
const COMPUTE_MODES: [&str; 4] = ["default", "exclusive_thread", "prohibited", "exclusive_process"];

/// `nvmlGpuVirtualizationMode_t` by number.
const VIRTUALIZATION_MODES: [&str; 5] = ["none", "passthrough", "vgpu", "host_vgpu", "host_vsga"];

/// `nvmlDeviceAddressingModeType_t` by number.
const ADDRESSING_MODES: [&str; 3] = ["none", "hmm", "ats"];

/// `nvmlGpuFabricState_t` by number.
const FABRIC_STATES: [&str; 4] = ["not_supported", "not_started", "in_progress", "completed"];

/// The last of [`FABRIC_STATES`]: only then do clique and cluster mean anything.
const FABRIC_COMPLETED: u32 = 3;

/// `peerType` of `nvmlPlatformInfo_t` by number.
const PEER_TYPES: [&str; 2] = ["direct", "switch"];

/// Reads what the GPU is and how it is set up.
pub(crate) fn read_inventory(device: &Device, address: PciAddress) -> GpuInventory {
    GpuInventory { address, inventory: inventory(device, address), mig: read_mig(device) }
}

fn inventory(device: &Device, address: PciAddress) -> Inventory {
    let memory = device.memory().map_err(NoData::from);
    let pci_ids = device.pci_ids().map_err(NoData::from);
    let gsp_mode = device.gsp_firmware_mode().map_err(NoData::from);
    let power_range = device.power_limit_constraints().map_err(NoData::from);
    let margins = FieldQuery::ask(device, [193, 194, 195, 196].map(|field| (field, SCOPE_GPU)));
    let ecc = device.ecc_mode().map_err(NoData::from);
    let mig = device.mig_mode().map_err(NoData::from);
    let fabric = device.fabric().map_err(NoData::from);
    let joined = joined(fabric);
    let platform = device.platform().map_err(NoData::from);
    let of_platform = |part: fn(&Platform) -> u8| -> Reading<Count> {
        platform.as_ref().map(|platform| Count(u64::from(part(platform)))).map_err(|why| *why)
    };
    let text = |text: Result<String, Status>| text.map_err(NoData::from);
    Inventory {
        name: text(device.name()),
        brand: named(device.brand(), &BRANDS),
        architecture: named(device.architecture(), &ARCHITECTURES),
        compute_capability: text(
            device.compute_capability().map(|(major, minor)| format!("{major}.{minor}")),
        ),
        cuda_cores: count(device.cuda_cores()),
        memory_total: memory.and_then(|memory| wide(memory.total, Bytes)),
        memory_reserved: memory.and_then(|memory| wide(memory.reserved, Bytes)),
        memory_bus_width: narrow(device.memory_bus_width(), Bits),
        bar1_total: device.bar1().map(|(total, _, _)| Bytes(total)).map_err(NoData::from),
        uuid: text(device.uuid()),
        serial: text(device.serial()),
        pci_address: Ok(address.to_string()),
        pci_device_id: pci_ids.map(|(device, _)| Count(u64::from(device))),
        pci_subsystem_id: pci_ids.map(|(_, subsystem)| Count(u64::from(subsystem))),
        index: count(device.index()),
        minor_number: count(device.minor_number()),
        board_id: count(device.board_id()),
        board_part_number: text(device.board_part_number()),
        multi_gpu_board: flag(device.multi_gpu_board()),
        vbios_version: text(device.vbios_version()),
        inforom_image_version: text(device.inforom_image_version()),
        inforom_oem_version: text(device.inforom_version(0)),
        inforom_ecc_version: text(device.inforom_version(1)),
        inforom_power_version: text(device.inforom_version(2)),
        inforom_checksum: count(device.inforom_checksum()),
        inforom_valid: device.inforom_valid().map_err(NoData::from),
        gsp_firmware_version: text(device.gsp_firmware_version()),
        gsp_firmware_enabled: gsp_mode.map(|(enabled, _)| enabled),
        gsp_firmware_default_enabled: gsp_mode.map(|(_, default)| default),
        pcie_generation_max: count(device.pcie_generation_max()),
        pcie_generation_device_max: count(device.pcie_generation_device_max()),
        pcie_width_max: narrow(device.pcie_width_max(), Lanes),
        power_limit_default: narrow(device.power_limit_default(), Milliwatts),
        power_limit_min: power_range.map(|(min, _)| Milliwatts(min)),
        power_limit_max: power_range.map(|(_, max)| Milliwatts(max)),
        power_limit_requested: narrow(device.power_limit_requested(), Milliwatts),
        clock_graphics_max: narrow(device.clock_max(Clock::Graphics), Megahertz),
        clock_sm_max: narrow(device.clock_max(Clock::Sm), Megahertz),
        clock_memory_max: narrow(device.clock_max(Clock::Memory), Megahertz),
        clock_video_max: narrow(device.clock_max(Clock::Video), Megahertz),
        clock_graphics_customer_max: narrow(device.clock_customer_max(Clock::Graphics), Megahertz),
        clock_event_reasons_supported: wide(supported_clock_event_reasons(device), Bitmask),
        temperature_shutdown: celsius(device.temperature_threshold(Threshold::Shutdown)),
        temperature_slowdown: celsius(device.temperature_threshold(Threshold::Slowdown)),
        temperature_memory_max: celsius(device.temperature_threshold(Threshold::MemoryMax)),
        temperature_gpu_max: celsius(device.temperature_threshold(Threshold::GpuMax)),
        margin_shutdown: celsius_field(margins.signed(0)),
        margin_slowdown: celsius_field(margins.signed(1)),
        margin_memory_max: celsius_field(margins.signed(2)),
        margin_gpu_max: celsius_field(margins.signed(3)),
        ecc_enabled: ecc.map(|mode| mode.current),
        ecc_pending_enabled: ecc.map(|mode| mode.pending),
        mig_enabled: mig.map(|mode| mode.current),
        mig_pending_enabled: mig.map(|mode| mode.pending),
        persistence_enabled: flag(device.persistence_mode()),
        compute_mode: named(device.compute_mode(), &COMPUTE_MODES),
        display_attached: flag(device.display_mode()),
        display_active: flag(device.display_active()),
        accounting_enabled: flag(device.accounting_mode()),
        accounting_buffer_entries: count(device.accounting_buffer_size()),
        virtualization_mode: named(device.virtualization_mode(), &VIRTUALIZATION_MODES),
        addressing_mode: named(device.addressing_mode(), &ADDRESSING_MODES),
        c2c_enabled: device.c2c_enabled().map_err(NoData::from),
        numa_node: device
            .numa_node()
            .map_err(NoData::from)
            .and_then(|node| i32::try_from(node).map_err(|_| NoData::NotSupported)),
        fans: count(device.fans()),
        fabric_state: fabric.and_then(|fabric| named(Ok(fabric.state), &FABRIC_STATES)),
        fabric_status: joined.map(|fabric| Count(u64::from(fabric.status))),
        fabric_clique: joined.map(|fabric| Count(u64::from(fabric.clique))),
        fabric_cluster_uuid: joined.map(|fabric| uuid_text(fabric.cluster_uuid)),
        fabric_health: joined.and_then(|fabric| narrow(fabric.health, |mask| Bitmask(u64::from(mask)))),
        chassis_serial: platform
            .as_ref()
            .map_err(|why| *why)
            .and_then(|platform| platform.chassis_serial.clone().map_err(NoData::from)),
        slot_number: of_platform(|platform| platform.slot),
        tray_index: of_platform(|platform| platform.tray),
        host_id: of_platform(|platform| platform.host),
        peer_type: platform
            .as_ref()
            .map_err(|why| *why)
            .and_then(|platform| named(Ok(u32::from(platform.peer_type)), &PEER_TYPES)),
        module_id: match device.module_id() {
            Ok(module) => Ok(Count(u64::from(module))),
            Err(_) => of_platform(|platform| platform.module),
        },
        fabric_guid: platform.as_ref().map_err(|why| *why).and_then(fabric_guid),
        application_clock_graphics: narrow(device.clock_application(Clock::Graphics), Megahertz),
        application_clock_memory: narrow(device.clock_application(Clock::Memory), Megahertz),
    }
}

fn supported_clock_event_reasons(device: &Device) -> Result<u64, Status> {
    match device.supported_clocks_event_reasons() {
        Err(status) if status.wants_older_form() => device.supported_clocks_throttle_reasons(),
        answer => answer,
    }
}

/// What the fabric says once the GPU has joined it; before, there is nothing to say.
fn joined(fabric: Reading<Fabric>) -> Reading<Fabric> {
    match fabric {
        Ok(fabric) if fabric.state != FABRIC_COMPLETED => Err(NoData::NotSampled),
        other => other,
    }
}

/// The GUID is in the first eight bytes, most significant first.
fn fabric_guid(platform: &Platform) -> Reading<Count> {
    let [first, second, third, fourth, fifth, sixth, seventh, eighth, ..] = platform.guid;
    match u64::from_be_bytes([first, second, third, fourth, fifth, sixth, seventh, eighth]) {
        0 => Err(NoData::NotSupported),
        guid => Ok(Count(guid)),
    }
}

fn uuid_text(bytes: [u8; 16]) -> String {
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uuid_reads_as_people_write_it() {
        let bytes = std::array::from_fn(|position| position as u8);
        assert_eq!(uuid_text(bytes), "00010203-0405-0607-0809-0a0b0c0d0e0f");
    }

    #[test]
    fn names_that_are_newer_than_this_list_keep_their_number() {
        assert_eq!(named(Ok(9), &ARCHITECTURES), Ok("hopper".to_owned()));
        assert_eq!(named(Ok(11), &ARCHITECTURES), Ok("unknown:11".to_owned()));
        assert_eq!(named(Err(Status::NOT_SUPPORTED), &BRANDS), Err(NoData::NotSupported));
    }
}
