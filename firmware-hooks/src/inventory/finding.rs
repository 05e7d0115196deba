//! What contradicts itself, and what a person does about it.

use serde::{Deserialize, Serialize};

macro_rules! codes {
    ($($variant:ident = $name:literal: $meaning:literal, $todo:literal;)*) => {
        /// What is wrong. Names are stable; `docs/inventory.md` has them all.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum FindingCode {
            $(#[doc = $meaning] $variant,)*
        }

        impl FindingCode {
            /// All of them, in order.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The stable name.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }

            /// What it means, in one sentence.
            pub const fn meaning(self) -> &'static str {
                match self {
                    $(Self::$variant => $meaning,)*
                }
            }

            /// What a technician does about it.
            pub const fn todo(self) -> &'static str {
                match self {
                    $(Self::$variant => $todo,)*
                }
            }
        }
    };
}

codes! {
    GpuWithoutPciDevice = "gpu_without_pci_device":
        "NVML lists a GPU at an address where the PCI bus has no device.",
        "Treat the node as not genuine until it is explained: look at the machine itself with `lspci -d 10de:`, and at which file `libnvidia-ml.so.1` is. A simulated library shows itself so.";
    PciGpuNotInNvml = "pci_gpu_not_in_nvml":
        "The PCI bus has an NVIDIA display device that NVML does not list, and it is not handed over to `vfio-pci`.",
        "Look for `NVRM` lines in the kernel log and at the driver that is bound (`lspci -k -s ADDRESS`). Bind the card to the NVIDIA driver, or reseat or replace it.";
    ProcfsGpuWithoutPciDevice = "procfs_gpu_without_pci_device":
        "The driver's files in procfs name a GPU where the PCI bus has no device.",
        "Look for mounts over `/proc/driver/nvidia` (`findmnt`). After a card fell off the bus, reboot.";
    GpuVendorMismatch = "gpu_vendor_mismatch":
        "NVML lists a GPU where the PCI device is of another maker than NVIDIA (10de).",
        "Treat the node as not genuine until it is explained: compare `lspci -nn -s ADDRESS` with `nvidia-smi -q`.";
    GpuDeviceIdMismatch = "gpu_device_id_mismatch":
        "The PCI device id that NVML gives is not that of the PCI device.",
        "Compare `lspci -nn -s ADDRESS` with `nvidia-smi -q -i ADDRESS`. If they stay different after a reboot, inspect the card: a product name can be faked in software.";
    GpuSubsystemIdMismatch = "gpu_subsystem_id_mismatch":
        "The PCI subsystem id that NVML gives is not that of the PCI device.",
        "As for `gpu_device_id_mismatch`: the board may be another product with the same chip.";
    GpuUuidMismatch = "gpu_uuid_mismatch":
        "The UUID in the driver's files in procfs is not the one that NVML gives.",
        "Look for mounts over `/proc/driver/nvidia` and at which file `libnvidia-ml.so.1` is; reinstall the driver's packages.";
    GpuModelMismatch = "gpu_model_mismatch":
        "The model in the driver's files in procfs is not the one that NVML gives.",
        "As for `gpu_uuid_mismatch`; then inspect the card.";
    GpuVbiosMismatch = "gpu_vbios_mismatch":
        "The VBIOS version in the driver's files in procfs is not the one that NVML gives.",
        "A VBIOS that was just written is in use after a reboot only: reboot. If it stays, as for `gpu_uuid_mismatch`.";
    GpuUuidDuplicate = "gpu_uuid_duplicate":
        "Two GPUs have the same UUID.",
        "One of them is faked or wrongly programmed. Take both out of use, inspect the cards, return the one whose label does not match.";
    GpuSerialDuplicate = "gpu_serial_duplicate":
        "Two GPUs that are not on one board have the same serial number.",
        "Compare with the labels on the cards; return the one that does not match.";
    SysfsEntryNotLink = "sysfs_entry_not_link":
        "An entry of the PCI bus in sysfs is not a link into `/sys/devices`, which the kernel always makes it.",
        "Something stands in for sysfs: look for mounts (`findmnt -R /sys`) and whether `hardware.sysfs_root` is set.";
    SourceOvermounted = "source_overmounted":
        "Something is mounted over files that the inventory is read from.",
        "`findmnt` names it. Inside a container, run the agent on the host; on a host, find out who mounted it.";
    SmbiosDamaged = "smbios_damaged":
        "The tables of the firmware do not add up or break off.",
        "Update the firmware of the board; what stands in front of the break is still shown.";
    SmbiosMismatch = "smbios_mismatch":
        "The kernel shows something else in `/sys/class/dmi/id` than what stands in the tables of the firmware.",
        "Look for mounts over `/sys/class/dmi` and `/sys/firmware`. Treat serial number and UUID of the system as unknown until it is explained.";
    IdentityPlaceholder = "identity_placeholder":
        "The firmware gives a placeholder as serial number or UUID of the system.",
        "Write them with the tool of the board's maker, or through the BMC; until then the machine is known by its other parts.";
    MicrocodeMixed = "microcode_mixed":
        "The processors run microcode of different versions.",
        "Update the firmware of the board or the microcode package, then reboot. Check that the processors are of one stepping.";
    DriverVersionMismatch = "driver_version_mismatch":
        "The version that NVML gives for the driver is not that of the loaded kernel module.",
        "After an upgrade under a loaded module: reboot, or `rackmark pause`, unload the NVIDIA modules and load them again. If it stays, look at which file `libnvidia-ml.so.1` is.";
    LibraryReplaced = "library_replaced":
        "The NVML library is another file than at the look before, and its driver version is the same; it stands until the next look.",
        "Reinstall the driver's packages and compare the file's SHA-256 with that of another node. Until then do not trust what this node says of its GPUs.";
}

/// Most findings that are told; what is more is left out, as those that are told are enough to act on.
pub const FINDINGS_MAX: usize = 256;

/// Something that contradicts itself.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Finding {
    /// What is wrong.
    pub code: FindingCode,
    /// With which part: a PCI address, a path, a name.
    pub instance: String,
    /// Both sides of it, in one sentence, at most 256 bytes.
    pub detail: String,
}

impl Finding {
    pub(super) fn new(code: FindingCode, instance: &str, detail: impl AsRef<str>) -> Self {
        let clean = |text: &str| super::fact::clean(text, super::fact::VALUE_BYTES_MAX);
        Self { code, instance: clean(instance), detail: clean(detail.as_ref()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_wire() {
        for code in FindingCode::ALL {
            assert_eq!(serde_json::to_string(code).expect("name"), format!("{:?}", code.name()));
        }
    }
}
