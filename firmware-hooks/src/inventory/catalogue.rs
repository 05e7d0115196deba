//! Every field of every part: its unit, where it comes from, what it means. `docs/inventory.md` is made of this.

use serde::{Deserialize, Serialize};

use super::fact::Component;

macro_rules! sources {
    ($($(#[doc = $doc:literal])* $variant:ident = $words:literal,)*) => {
        /// Where a fact comes from. What could not be looked at is kept by source.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum Source {
            $($(#[doc = $doc])* $variant,)*
        }

        impl Source {
            /// For people.
            pub const fn words(self) -> &'static str {
                match self {
                    $(Self::$variant => $words,)*
                }
            }
        }
    };
}

sources! {
    /// The tables of the firmware, which only root may read.
    Smbios = "SMBIOS, through the collector",
    /// The boot event log, which only root may read.
    EventLog = "boot event log, through the collector",
    /// Files of sysfs.
    Sysfs = "sysfs",
    /// Files of sysfs that wake the device.
    Link = "sysfs, not of a sleeping device",
    /// Files of procfs.
    Procfs = "procfs",
    /// The driver's files in procfs, of one GPU.
    DriverProcfs = "procfs of the driver, not of a sleeping GPU",
    /// NVML, through the sampler.
    Nvml = "NVML, through the sampler",
    /// The baseboard management controller, over the network.
    Redfish = "Redfish, of the BMC",
    /// The file that NVML is.
    Library = "the library's file",
    /// The driver of a network interface, which answers while the card is awake.
    Ethtool = "ethtool's question to the driver",
    /// What people told the agent.
    Declared = "`rackmark swap`",
}

/// One field of one kind of part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field {
    /// Of which kind of part.
    pub component: Component,
    /// Its stable name.
    pub name: &'static str,
    /// What its value is counted in, or how it is written.
    pub unit: &'static str,
    /// Where it comes from.
    pub source: Source,
    /// The file, the table's type and offset, or the reading.
    pub place: &'static str,
    /// What it means, in one sentence.
    pub meaning: &'static str,
}

/// The field of that name.
pub(super) fn field(component: Component, name: &str) -> Option<&'static Field> {
    FIELDS.iter().find(|field| field.component == component && field.name == name)
}

macro_rules! fields {
    ($($component:ident $source:ident { $($name:literal, $unit:literal, $place:literal, $meaning:literal;)* })*) => {
        /// All fields, part by part.
        pub const FIELDS: &[Field] = &[
            $($(Field {
                component: Component::$component,
                name: $name,
                unit: $unit,
                source: Source::$source,
                place: $place,
                meaning: $meaning,
            },)*)*
        ];
    };
}

fields! {
    System Smbios {
        "manufacturer", "text", "type 1, 04h", "Who made the server.";
        "product", "text", "type 1, 05h", "Which product it is.";
        "version", "text", "type 1, 06h", "Its version.";
        "serial", "text", "type 1, 07h", "Its serial number.";
        "uuid", "UUID", "type 1, 08h", "Its UUID, as the kernel and the BMC write it.";
        "sku", "text", "type 1, 19h", "The maker's order number.";
        "family", "text", "type 1, 1Ah", "The family of products.";
    }
    Bios Smbios {
        "vendor", "text", "type 0, 04h", "Who made the firmware.";
        "version", "text", "type 0, 05h", "Its version.";
        "date", "text", "type 0, 08h", "Its release date, as the maker writes it.";
        "release", "major.minor", "type 0, 14h", "Its release.";
        "controller_release", "major.minor", "type 0, 16h", "Release of the embedded controller's firmware.";
    }
    Uefi Sysfs {
        "boot_mode", "`uefi`, `legacy`", "firmware/efi", "How the machine was started.";
        "secure_boot", "`on`, `off`", "firmware/efi/efivars/SecureBoot-*", "Whether signatures of what starts are checked.";
        "setup_mode", "`on`, `off`", "firmware/efi/efivars/SetupMode-*", "Whether keys can be enrolled without a signature.";
    }
    Board Smbios {
        "manufacturer", "text", "type 2, 04h", "Who made the board.";
        "product", "text", "type 2, 05h", "Which product it is.";
        "version", "text", "type 2, 06h", "Its version.";
        "serial", "text", "type 2, 07h", "Its serial number.";
        "asset_tag", "text", "type 2, 08h", "The owner's mark.";
        "location", "text", "type 2, 0Ah", "Where it sits in the chassis.";
    }
    Chassis Smbios {
        "manufacturer", "text", "type 3, 04h", "Who made the chassis.";
        "version", "text", "type 3, 06h", "Its version.";
        "serial", "text", "type 3, 07h", "Its serial number.";
        "asset_tag", "text", "type 3, 08h", "The owner's mark.";
    }
    Cpu Smbios {
        "populated", "`yes`, `no`", "type 4, 18h", "Whether there is a processor in the socket.";
        "manufacturer", "text", "type 4, 07h", "Who made it.";
        "version", "text", "type 4, 10h", "Its name.";
        "id", "16 hexadecimal digits", "type 4, 08h", "Its signature and features, by CPUID.";
        "serial", "text", "type 4, 20h", "Its serial number; most have none.";
        "asset_tag", "text", "type 4, 21h", "The owner's mark.";
        "part_number", "text", "type 4, 22h", "The maker's part number.";
        "cores", "number", "type 4, 23h", "Cores it has.";
        "cores_enabled", "number", "type 4, 24h", "Cores that the firmware lets run.";
        "threads", "number", "type 4, 25h", "Threads it has.";
    }
    Cpu Procfs {
        "model", "text", "cpuinfo", "Name of the processors.";
        "stepping", "number", "cpuinfo", "Their stepping.";
        "microcode", "hexadecimal number", "cpuinfo", "Version of the microcode they run; several where they differ.";
        "logical", "number", "cpuinfo", "Logical CPUs that are online.";
        "sockets", "number", "cpuinfo", "Sockets with a CPU that is online.";
    }
    Memory Smbios {
        "populated", "`yes`, `no`", "type 17, 0Ch", "Whether there is a module in the place.";
        "size_bytes", "bytes", "type 17, 0Ch and 1Ch", "Size of the module.";
        "type", "text", "type 17, 12h", "Kind of memory.";
        "speed_mts", "MT/s", "type 17, 15h and 54h", "What the module can do.";
        "configured_speed_mts", "MT/s", "type 17, 20h and 58h", "What it is run at.";
        "manufacturer", "text", "type 17, 17h", "Who made it.";
        "serial", "text", "type 17, 18h", "Its serial number.";
        "part_number", "text", "type 17, 1Ah", "Its part number.";
        "firmware_version", "text", "type 17, 2Bh", "Its firmware, where it has one.";
    }
    Slot Smbios {
        "usage", "`available`, `in_use`, `unavailable`", "type 9, 07h", "Whether there is a card in it.";
        "pci_address", "PCI address", "type 9, 0Dh", "Where a card in it is on the PCI bus.";
    }
    Tpm Sysfs {
        "present", "`yes`, `no`", "class/tpm/tpm0", "Whether the kernel has a TPM.";
        "version", "number", "class/tpm/tpm0/tpm_version_major", "Its major version.";
        "description", "text", "class/tpm/tpm0/device/description", "What the firmware calls it.";
        "pcr_banks", "names of hash algorithms", "class/tpm/tpm0/pcr-*", "Banks of platform configuration registers that are in use.";
    }
    Tpm EventLog {
        "event_log_bytes", "bytes", "kernel/security/tpm0/binary_bios_measurements", "Length of the log of what was measured at boot.";
        "event_log_sha256", "SHA-256", "kernel/security/tpm0/binary_bios_measurements", "Digest of that log.";
    }
    Pci Sysfs {
        "vendor", "4 hexadecimal digits", "bus/pci/devices/*/vendor", "Maker of the chip.";
        "device", "4 hexadecimal digits", "bus/pci/devices/*/device", "The chip.";
        "class", "6 hexadecimal digits", "bus/pci/devices/*/class", "Class, subclass and programming interface.";
        "subsystem_vendor", "4 hexadecimal digits", "bus/pci/devices/*/subsystem_vendor", "Maker of the board.";
        "subsystem_device", "4 hexadecimal digits", "bus/pci/devices/*/subsystem_device", "The board.";
        "revision", "2 hexadecimal digits", "bus/pci/devices/*/revision", "Revision of the chip.";
        "driver", "text", "bus/pci/devices/*/driver", "The driver that is bound.";
        "numa_node", "number", "bus/pci/devices/*/numa_node", "The memory that is nearest.";
        "iommu_group", "number", "bus/pci/devices/*/iommu_group", "What can only be handed over together.";
        "iommu_domain", "`DMA`, `DMA-FQ`, `identity`", "bus/pci/devices/*/iommu_group/type", "What the IOMMU does for it while the kernel has it: `identity` lets it reach all memory.";
        "slot", "text", "bus/pci/slots/*/address", "Name of the slot it sits in, or of the nearest bridge's.";
    }
    Pci Link {
        "link_speed", "GT/s", "bus/pci/devices/*/current_link_speed", "Transfer rate of the link now; not of GPUs, which slow it down while they idle.";
        "link_speed_max", "GT/s", "bus/pci/devices/*/max_link_speed", "Highest transfer rate of the device.";
        "link_width", "lanes", "bus/pci/devices/*/current_link_width", "Lanes in use.";
        "link_width_max", "lanes", "bus/pci/devices/*/max_link_width", "Lanes of the device.";
    }
    Gpu Nvml {
        "name", "text", "`nvmlDeviceGetName`", "Product name.";
        "brand", "text", "`nvmlDeviceGetBrand`", "Product line.";
        "architecture", "text", "`nvmlDeviceGetArchitecture`", "Architecture, in lower case.";
        "memory_total_bytes", "bytes", "`nvmlDeviceGetMemoryInfo_v2`", "Device memory.";
        "uuid", "text", "`nvmlDeviceGetUUID`", "UUID of the GPU.";
        "serial", "text", "`nvmlDeviceGetSerial`", "Serial number of the board.";
        "pci_device_id", "8 hexadecimal digits", "`nvmlDeviceGetPciInfo`", "Chip and its maker.";
        "pci_subsystem_id", "8 hexadecimal digits", "`nvmlDeviceGetPciInfo`", "Board and its maker.";
        "minor_number", "number", "`nvmlDeviceGetMinorNumber`", "The `N` of `/dev/nvidiaN`.";
        "board_id", "number", "`nvmlDeviceGetBoardId`", "Equal for GPUs of one board.";
        "board_part_number", "text", "`nvmlDeviceGetBoardPartNumber`", "Part number of the board.";
        "vbios_version", "text", "`nvmlDeviceGetVbiosVersion`", "Version of its firmware.";
        "inforom_image_version", "text", "`nvmlDeviceGetInforomImageVersion`", "Version of the InfoROM.";
        "inforom_oem_version", "text", "`nvmlDeviceGetInforomVersion`", "Version of its OEM object.";
        "inforom_ecc_version", "text", "`nvmlDeviceGetInforomVersion`", "Version of its ECC object.";
        "inforom_power_version", "text", "`nvmlDeviceGetInforomVersion`", "Version of its power object.";
        "inforom_checksum", "number", "`nvmlDeviceGetInforomConfigurationChecksum`", "Checksum of the InfoROM's configuration.";
        "gsp_firmware_version", "text", "`nvmlDeviceGetGspFirmwareVersion`", "Firmware of the system processor; the driver brings it.";
        "pcie_generation_max", "number", "`nvmlDeviceGetMaxPcieLinkGeneration`", "Highest PCIe generation in this server.";
        "pcie_width_max_lanes", "lanes", "`nvmlDeviceGetMaxPcieLinkWidth`", "Widest PCIe link in this server.";
        "chassis_serial", "text", "`nvmlDeviceGetPlatformInfo`", "Serial number of the rack's chassis.";
        "slot_number", "number", "`nvmlDeviceGetPlatformInfo`", "Slot in that chassis.";
        "tray_index", "number", "`nvmlDeviceGetPlatformInfo`", "Tray in that chassis.";
        "module_id", "number", "`nvmlDeviceGetModuleId`", "Place on the baseboard.";
    }
    Gpu DriverProcfs {
        "procfs_model", "text", "driver/nvidia/gpus/*/information", "Product name.";
        "procfs_uuid", "text", "driver/nvidia/gpus/*/information", "UUID of the GPU.";
        "procfs_vbios_version", "text", "driver/nvidia/gpus/*/information", "Version of its firmware.";
        "procfs_minor_number", "number", "driver/nvidia/gpus/*/information", "The `N` of `/dev/nvidiaN`.";
    }
    Nvme Sysfs {
        "model", "text", "class/nvme/*/model", "Product name.";
        "serial", "text", "class/nvme/*/serial", "Serial number.";
        "firmware_version", "text", "class/nvme/*/firmware_rev", "Its firmware.";
        "transport", "text", "class/nvme/*/transport", "`pcie`, or the network it is reached by.";
        "capacity_bytes", "bytes", "class/nvme/*/nvme*n*/size", "Size of all its namespaces together.";
    }
    Nic Sysfs {
        "name", "text", "class/net/*", "Name of the interface.";
        "mac", "MAC address", "class/net/*/address", "The address that the card was made with.";
        "driver", "text", "class/net/*/device/driver", "The driver that is bound.";
        "numa_node", "number", "class/net/*/device/numa_node", "The memory that is nearest.";
        "speed_mbps", "Mbit/s", "class/net/*/speed", "Speed of the link; none while it is down.";
        "nearest_gpus", "PCI addresses", "class/net/*/device", "GPUs with the shortest way on the PCI bus.";
    }
    Nic Ethtool {
        "firmware_version", "text", "`ETHTOOL_GDRVINFO`, `fw_version`", "Its firmware, as its driver writes it.";
    }
    Rdma Sysfs {
        "name", "text", "class/infiniband/*", "Name of the device.";
        "node_guid", "GUID", "class/infiniband/*/node_guid", "GUID of the device.";
        "firmware_version", "text", "class/infiniband/*/fw_ver", "Its firmware.";
        "hca_type", "text", "class/infiniband/*/hca_type", "Its product number.";
        "board_id", "text", "class/infiniband/*/board_id", "Which firmware fits it (PSID).";
        "numa_node", "number", "class/infiniband/*/device/numa_node", "The memory that is nearest.";
        "nearest_gpus", "PCI addresses", "class/infiniband/*/device", "GPUs with the shortest way on the PCI bus.";
        "port_state", "number and text", "class/infiniband/*/ports/*/state", "State of a port.";
        "port_rate", "Gb/s and lanes", "class/infiniband/*/ports/*/rate", "Rate of a port.";
        "link_layer", "text", "class/infiniband/*/ports/*/link_layer", "`InfiniBand` or `Ethernet`.";
    }
    Bmc Sysfs {
        "firmware_revision", "text", "devices/platform/ipmi_bmc.*/firmware_revision", "Its firmware.";
        "aux_firmware_revision", "text", "devices/platform/ipmi_bmc.*/aux_firmware_revision", "More of its firmware's version.";
        "ipmi_version", "text", "devices/platform/ipmi_bmc.*/ipmi_version", "Version of the protocol.";
        "manufacturer_id", "hexadecimal number", "devices/platform/ipmi_bmc.*/manufacturer_id", "Its maker, by the number that IANA gave.";
        "product_id", "hexadecimal number", "devices/platform/ipmi_bmc.*/product_id", "The maker's product number.";
        "device_id", "number", "devices/platform/ipmi_bmc.*/device_id", "The maker's device number.";
        "guid", "GUID", "devices/platform/ipmi_bmc.*/guid", "Its GUID.";
    }
    System Redfish {
        "redfish_manufacturer", "text", "Systems/*, Manufacturer", "Who made the server, by its BMC.";
        "redfish_model", "text", "Systems/*, Model", "Which product it is.";
        "redfish_serial", "text", "Systems/*, SerialNumber", "Its serial number.";
        "redfish_part_number", "text", "Systems/*, PartNumber", "Its part number.";
        "redfish_sku", "text", "Systems/*, SKU", "The maker's order number.";
        "redfish_uuid", "UUID", "Systems/*, UUID", "Its UUID.";
        "redfish_asset_tag", "text", "Systems/*, AssetTag", "The owner's mark.";
        "redfish_bios_version", "text", "Systems/*, BiosVersion", "Version of its firmware.";
    }
    Chassis Redfish {
        "redfish_type", "text", "Chassis/*, ChassisType", "What kind of enclosure or board it is.";
        "redfish_manufacturer", "text", "Chassis/*, Manufacturer", "Who made it.";
        "redfish_model", "text", "Chassis/*, Model", "Which product it is.";
        "redfish_serial", "text", "Chassis/*, SerialNumber", "Its serial number.";
        "redfish_part_number", "text", "Chassis/*, PartNumber", "Its part number.";
        "redfish_sku", "text", "Chassis/*, SKU", "The maker's order number.";
        "redfish_uuid", "UUID", "Chassis/*, UUID", "Its UUID.";
        "redfish_asset_tag", "text", "Chassis/*, AssetTag", "The owner's mark.";
    }
    Bmc Smbios {
        "smbios_interface", "`KCS`, `SMIC`, `BT`, `SSIF`", "type 38, 04h", "How the kernel speaks to it.";
        "smbios_ipmi_version", "major.minor", "type 38, 05h", "Version of IPMI that the firmware states.";
        "smbios_i2c_address", "hexadecimal number", "type 38, 06h", "Its address on the management bus.";
    }
    Bmc Redfish {
        "redfish_version", "text", "service root, RedfishVersion", "Version of the protocol.";
        "redfish_vendor", "text", "service root, Vendor", "Who made the service.";
        "redfish_product", "text", "service root, Product", "Which product it belongs to.";
        "redfish_type", "text", "Managers/*, ManagerType", "What kind of controller it is.";
        "redfish_manufacturer", "text", "Managers/*, Manufacturer", "Who made it.";
        "redfish_model", "text", "Managers/*, Model", "Which product it is.";
        "redfish_firmware_version", "text", "Managers/*, FirmwareVersion", "Its firmware.";
        "redfish_serial", "text", "Managers/*, SerialNumber", "Its serial number.";
        "redfish_part_number", "text", "Managers/*, PartNumber", "Its part number.";
        "redfish_uuid", "UUID", "Managers/*, UUID; service root, UUID", "Its UUID.";
    }
    Firmware Redfish {
        "name", "text", "UpdateService/FirmwareInventory/*, Name", "What it is called.";
        "version", "text", "UpdateService/FirmwareInventory/*, Version", "Its version.";
        "manufacturer", "text", "UpdateService/FirmwareInventory/*, Manufacturer", "Who made it.";
        "software_id", "text", "UpdateService/FirmwareInventory/*, SoftwareId", "What it is for, in the maker's numbering.";
        "release_date", "text", "UpdateService/FirmwareInventory/*, ReleaseDate", "When it was released.";
    }
    Kernel Procfs {
        "release", "text", "sys/kernel/osrelease", "Release of the kernel.";
        "build", "text", "sys/kernel/version", "Which build of it.";
        "command_line_sha256", "SHA-256", "cmdline", "Digest of the command line, which may hold secrets.";
    }
    Kernel Sysfs {
        "lockdown", "`none`, `integrity`, `confidentiality`", "kernel/security/lockdown", "What root may not do to the kernel.";
        "ima", "`yes`, `no`", "kernel/security/ima", "Whether the kernel measures files.";
        "iommu_groups", "number", "kernel/iommu_groups", "Groups of devices that the IOMMU keeps apart; 0 where it is off.";
        "iommu_units", "names", "class/iommu", "IOMMUs in use.";
    }
    Driver Procfs {
        "version", "text", "driver/nvidia/version", "Version of the loaded kernel module.";
        "kernel_module", "`open`, `closed`", "driver/nvidia/version", "Which of the two kinds of module it is.";
    }
    Driver Library {
        "nvml_library_sha256", "SHA-256", "libnvidia-ml.so.1", "Digest of the NVML library.";
    }
    Swap Declared {
        "removed_uuid", "UUID", "the card when it was declared", "UUID of a card that was taken out, or is going to be.";
        "removed_serial", "text", "the card when it was declared", "Its serial number.";
        "ticket", "text", "--ticket", "The ticket that explains it.";
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::gpu::READINGS;
    use super::*;

    #[test]
    fn every_field_stands_once_and_every_component_has_some() {
        let names: BTreeSet<_> = FIELDS.iter().map(|field| (field.component, field.name)).collect();
        assert_eq!(names.len(), FIELDS.len());
        let components: BTreeSet<_> = FIELDS.iter().map(|field| field.component).collect();
        assert_eq!(components.len(), Component::ALL.len());
    }

    #[test]
    fn every_reading_that_is_a_fact_is_a_field() {
        let of_nvml: BTreeSet<_> =
            FIELDS.iter().filter(|field| field.source == Source::Nvml).map(|field| field.name).collect();
        assert_eq!(of_nvml, BTreeSet::from(READINGS));
    }
}
