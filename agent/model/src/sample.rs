use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::readings::{Fast, Inventory, Slow};
use crate::{Bytes, NoData, Reading};

/// Where a GPU sits: the one name that survives when the GPU stops answering.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PciAddress {
    /// PCI domain.
    pub domain: u32,
    /// Bus.
    pub bus: u8,
    /// Device, 0 to 31.
    pub device: u8,
    /// Function, 0 to 7.
    pub function: u8,
}

/// A text that is not a PCI address.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{0:?} is not a PCI address of the form domain:bus:device.function")]
pub struct PciAddressError(String);

impl FromStr for PciAddress {
    type Err = PciAddressError;

    /// Reads the forms of sysfs (`0000:83:00.0`) and of NVML (`00000000:83:00.0`).
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parse = || {
            let (domain, rest) = text.split_once(':')?;
            let (bus, rest) = rest.split_once(':')?;
            let (device, function) = rest.split_once('.')?;
            let address = Self {
                domain: u32::from_str_radix(domain, 16).ok()?,
                bus: u8::from_str_radix(bus, 16).ok()?,
                device: u8::from_str_radix(device, 16).ok()?,
                function: u8::from_str_radix(function, 16).ok()?,
            };
            (address.device < 32 && address.function < 8).then_some(address)
        };
        parse().ok_or_else(|| PciAddressError(text.to_owned()))
    }
}

impl fmt::Display for PciAddress {
    /// The form of NVML, with a domain of eight digits.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}:{:02x}:{:02x}.{:x}", self.domain, self.bus, self.device, self.function)
    }
}

/// What is known of a GPU before any reading is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Presence {
    /// Open and being sampled.
    Open,
    /// Not sampled, for this reason.
    Absent(NoData),
}

/// A driver call that has not come back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InCall {
    /// The NVML function.
    pub function: String,
    /// For how long it has been waited for.
    pub for_ms: u64,
}

/// The fast readings of one GPU at one tick.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GpuSample {
    /// Which GPU.
    pub address: PciAddress,
    /// Whether it is open.
    pub presence: Presence,
    /// The call it hangs in, if it did not answer by the deadline of this tick.
    pub in_call: Option<InCall>,
    /// The readings; all absent for the same reason where it did not answer.
    pub fast: Fast,
}

/// One tick of the sampler.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sample {
    /// Counts ticks from the start of the sampler process.
    pub seq: u64,
    /// `CLOCK_BOOTTIME` when the tick was due, in milliseconds.
    pub taken_boot_ms: u64,
    /// Wall clock when the tick was due.
    pub taken_unix_ms: u64,
    /// From the tick until the last answer, in microseconds.
    pub took_us: u64,
    /// One entry for every GPU the sampler knows, ordered by address.
    pub gpus: Vec<GpuSample>,
}

/// Inventory of one GPU with its MIG instances.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GpuInventory {
    /// Which GPU.
    pub address: PciAddress,
    /// What it is.
    pub inventory: Inventory,
    /// MIG instances; empty where MIG is off.
    pub mig: Vec<MigInstance>,
}

/// The slow readings of one GPU.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GpuSlow {
    /// Which GPU.
    pub address: PciAddress,
    /// Wall clock when they were read.
    pub taken_unix_ms: u64,
    /// The readings.
    pub slow: Slow,
    /// One entry per NVLink that exists.
    pub nvlinks: Vec<NvLink>,
    /// Processes on the GPU.
    pub processes: Vec<ProcessUse>,
}

/// One NVLink of a GPU.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NvLink {
    /// Link number on this GPU.
    pub link: u8,
    /// Up.
    pub active: Reading<bool>,
    /// NVLink version.
    pub version: Reading<u32>,
    /// `gpu`, `switch`, `npu` or `unknown`.
    pub remote_type: Reading<String>,
    /// CRC errors in control flits.
    pub crc_flit_errors: Reading<u64>,
    /// CRC errors in data.
    pub crc_data_errors: Reading<u64>,
    /// Packets sent again.
    pub replay_errors: Reading<u64>,
    /// Times the link was retrained.
    pub recovery_errors: Reading<u64>,
    /// Payload sent.
    pub transmit_bytes_total: Reading<u64>,
    /// Payload received.
    pub receive_bytes_total: Reading<u64>,
}

/// One MIG compute instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MigInstance {
    /// MIG device index on its GPU.
    pub index: u32,
    /// GPU instance.
    pub gpu_instance_id: Reading<u32>,
    /// Compute instance inside it.
    pub compute_instance_id: Reading<u32>,
    /// NVML UUID.
    pub uuid: Reading<String>,
    /// Profile name as the driver gives it.
    pub name: Reading<String>,
    /// Streaming multiprocessors.
    pub multiprocessors: Reading<u32>,
    /// Copy engines.
    pub copy_engines: Reading<u32>,
    /// Video decoders.
    pub decoders: Reading<u32>,
    /// Video encoders.
    pub encoders: Reading<u32>,
    /// JPEG engines.
    pub jpegs: Reading<u32>,
    /// Optical flow engines.
    pub ofas: Reading<u32>,
    /// Memory.
    pub memory_total: Reading<Bytes>,
    /// Of it, kept by the driver.
    pub memory_reserved: Reading<Bytes>,
    /// Of it, in use.
    pub memory_used: Reading<Bytes>,
    /// Of it, free.
    pub memory_free: Reading<Bytes>,
    /// BAR1 aperture.
    pub bar1_total: Reading<Bytes>,
    /// Of it, in use.
    pub bar1_used: Reading<Bytes>,
    /// Of it, free.
    pub bar1_free: Reading<Bytes>,
    /// Uncorrected SRAM errors since the driver was loaded.
    pub ecc_uncorrected_sram: Reading<u64>,
}

/// How a process uses a GPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ProcessKind {
    /// A compute context.
    Compute,
    /// A graphics context.
    Graphics,
    /// Both.
    ComputeAndGraphics,
}

impl ProcessKind {
    /// The name used in JSON and tables.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Compute => "compute",
            Self::Graphics => "graphics",
            Self::ComputeAndGraphics => "compute_and_graphics",
        }
    }
}

/// One process on a GPU.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessUse {
    /// Process id in the driver's namespace.
    pub pid: u32,
    /// What kind of context it holds.
    pub kind: ProcessKind,
    /// Name as the driver gives it.
    pub name: Reading<String>,
    /// Device memory it uses.
    pub memory_used: Reading<Bytes>,
    /// GPU instance it runs on, under MIG.
    pub gpu_instance_id: Option<u32>,
    /// Compute instance it runs on, under MIG.
    pub compute_instance_id: Option<u32>,
}

/// The driver as a whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DriverInfo {
    /// Kernel driver version.
    pub driver_version: Reading<String>,
    /// Library version.
    pub nvml_version: Reading<String>,
    /// CUDA version the driver supports (`13.1`).
    pub cuda_driver_version: Reading<String>,
    /// Driver branch (`r590_00`).
    pub driver_branch: Reading<String>,
    /// Confidential computing.
    pub confidential_computing: Reading<ConfidentialComputing>,
    /// The library is a simulation and says so.
    pub simulated: bool,
}

/// State of confidential computing on this host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ConfidentialComputing {
    /// Off.
    Off,
    /// On.
    On,
    /// On with developer tools, which void its promise.
    DevTools,
}

impl ConfidentialComputing {
    /// The name used in JSON and on the feed.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::On => "on",
            Self::DevTools => "devtools",
        }
    }
}

/// Something the driver announced.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GpuEvent {
    /// Which GPU.
    pub address: PciAddress,
    /// When the sampler received it.
    pub seen_unix_ms: u64,
    /// What it was.
    pub kind: GpuEventKind,
    /// GPU instance it belongs to, under MIG.
    pub gpu_instance_id: Option<u32>,
    /// Compute instance it belongs to, under MIG.
    pub compute_instance_id: Option<u32>,
}

/// The kinds of events NVML announces that matter here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum GpuEventKind {
    /// A critical XID error.
    Xid {
        /// Its code.
        code: u32,
    },
    /// ECC, clock, power or MIG configuration events, with NVML's type bits.
    Other {
        /// `nvmlEventType*` bits.
        event_type: u64,
        /// NVML's event data.
        data: u64,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pci_address_reads_sysfs_and_nvml_forms_alike() {
        let sysfs: PciAddress = "0000:83:00.0".parse().expect("sysfs form");
        let nvml: PciAddress = "00000000:83:00.0".parse().expect("nvml form");
        assert_eq!(sysfs, nvml);
        assert_eq!(nvml.to_string(), "00000000:83:00.0");
    }

    #[test]
    fn what_is_not_a_pci_address_is_refused() {
        for text in ["", "83:00.0", "0000:83:20.0", "0000:83:00.8", "0000:zz:00.0", "0000:83:00"] {
            assert!(text.parse::<PciAddress>().is_err(), "{text}");
        }
    }
}
