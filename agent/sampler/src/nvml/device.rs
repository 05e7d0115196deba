use std::cell::Cell;
use std::ffi::{CString, c_char, c_uint, c_ulonglong};
use std::sync::Arc;

use nvml_wrapper_sys::bindings::{NvmlLib, nvmlDevice_t, nvmlPciInfo_t};
use rackmark_model::{NoData, PciAddress};

use super::{Library, Status, call, text};
use crate::watch::CallWatch;

/// One GPU, or one MIG device, as one thread holds it.
pub(crate) struct Device {
    pub(super) library: Arc<Library>,
    pub(super) watch: Arc<CallWatch>,
    pub(super) handle: nvmlDevice_t,
    fatal: Cell<Option<Status>>,
}

/// `nvmlClockType_t`.
#[derive(Debug, Clone, Copy)]
#[repr(u32)]
pub(crate) enum Clock {
    Graphics = 0,
    Sm = 1,
    Memory = 2,
    Video = 3,
}

/// `nvmlTemperatureThresholds_t`.
#[derive(Debug, Clone, Copy)]
#[repr(u32)]
pub(crate) enum Threshold {
    Shutdown = 0,
    Slowdown = 1,
    MemoryMax = 2,
    GpuMax = 3,
}

/// `nvmlMemoryErrorType_t`.
#[derive(Debug, Clone, Copy)]
#[repr(u32)]
pub(crate) enum EccKind {
    Corrected = 0,
    Uncorrected = 1,
}

/// `nvmlEccCounterType_t`.
#[derive(Debug, Clone, Copy)]
#[repr(u32)]
pub(crate) enum Counter {
    Volatile = 0,
    Aggregate = 1,
}

/// `nvmlMemoryLocation_t`; DRAM and device memory share a number.
#[derive(Debug, Clone, Copy)]
#[repr(u32)]
pub(crate) enum Location {
    L1Cache = 0,
    L2Cache = 1,
    Dram = 2,
    RegisterFile = 3,
    TextureMemory = 4,
    Cbu = 6,
    Sram = 7,
}

/// A mode now and after the next reset.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Enabled {
    pub(crate) current: bool,
    pub(crate) pending: bool,
}

/// All bits set is how NVML says "not available" in a number.
pub(super) trait Absent: Copy + Default {
    fn is_absent(self) -> bool;
}

impl Absent for c_uint {
    fn is_absent(self) -> bool {
        self == Self::MAX
    }
}

impl Absent for c_ulonglong {
    fn is_absent(self) -> bool {
        self == Self::MAX
    }
}

/// `call!` on this device: refused once the device is known to be lost, so that
/// no further call can block on it.
macro_rules! on {
    ($device:expr, $function:ident($($argument:expr),* $(,)?)) => {{
        match $device.fatal() {
            Some(status) => Err(status),
            None => $device.noted($crate::nvml::call!(
                $device.bindings(), $device.watch, $function($device.handle, $($argument),*)
            )),
        }
    }};
}
pub(super) use on;

/// Readings of one number and of one text.
macro_rules! readings {
    ($($name:ident($($argument:ident: $kind:ty),*) -> $out:ty = $function:ident;)*) => {$(
        #[doc = concat!("`", stringify!($function), "`")]
        pub(crate) fn $name(&self $(, $argument: $kind)*) -> Result<$out, Status> {
            let mut value = <$out>::default();
            on!(self, $function($($argument as u32,)* &mut value))?;
            if value.is_absent() { Err(Status::NOT_SUPPORTED) } else { Ok(value) }
        }
    )*};
}

macro_rules! texts {
    ($($name:ident = $function:ident;)*) => {$(
        #[doc = concat!("`", stringify!($function), "`")]
        pub(crate) fn $name(&self) -> Result<String, Status> {
            let mut buffer: [c_char; TEXT_BYTES] = [0; TEXT_BYTES];
            on!(self, $function(buffer.as_mut_ptr(), TEXT_BYTES as u32))?;
            text(&buffer)
        }
    )*};
}

/// Utilization of one engine in percent; its sampling period is not kept.
macro_rules! engines {
    ($($name:ident = $function:ident;)*) => {$(
        #[doc = concat!("`", stringify!($function), "`")]
        pub(crate) fn $name(&self) -> Result<u32, Status> {
            let (mut percent, mut period_us) = (0, 0);
            on!(self, $function(&mut percent, &mut period_us))?;
            Ok(percent)
        }
    )*};
}

/// At least as large as every `NVML_…_BUFFER_SIZE` for a device's texts (96).
const TEXT_BYTES: usize = 96;

impl Device {
    /// Opens the GPU at `address` and no other.
    pub(crate) fn open(
        library: Arc<Library>,
        watch: Arc<CallWatch>,
        address: PciAddress,
    ) -> Result<Self, NoData> {
        // A formatted address has no NUL byte in it.
        let name = CString::new(address.to_string()).unwrap_or_default();
        let mut handle: nvmlDevice_t = std::ptr::null_mut();
        let opened =
            call!(library.bindings(), watch, nvmlDeviceGetHandleByPciBusId_v2(name.as_ptr(), &mut handle));
        match opened {
            Ok(()) => Ok(Self { library, watch, handle, fatal: Cell::new(None) }),
            // The kernel has the device, the driver does not know it.
            Err(Status::NOT_FOUND | Status::INVALID_ARGUMENT) => Err(NoData::GpuLost),
            Err(status) => Err(status.into()),
        }
    }

    pub(super) fn with_handle(&self, handle: nvmlDevice_t) -> Self {
        let (library, watch) = (Arc::clone(&self.library), Arc::clone(&self.watch));
        Self { library, watch, handle, fatal: Cell::new(None) }
    }

    pub(super) fn address_by_index(
        library: &Library,
        index: u32,
        watch: &CallWatch,
    ) -> Result<PciAddress, Status> {
        let mut handle: nvmlDevice_t = std::ptr::null_mut();
        call!(library.bindings(), watch, nvmlDeviceGetHandleByIndex_v2(index, &mut handle))?;
        let mut info = EMPTY_PCI_INFO;
        call!(library.bindings(), watch, nvmlDeviceGetPciInfo_v3(handle, &mut info))?;
        text(&info.busId)?.parse().map_err(|_| Status::NOT_FOUND)
    }

    pub(crate) fn library(&self) -> &Library {
        &self.library
    }

    pub(crate) fn watch(&self) -> &CallWatch {
        &self.watch
    }

    pub(super) fn bindings(&self) -> &NvmlLib {
        self.library.bindings()
    }

    /// Why no further call makes sense: the GPU is lost or the driver is gone.
    pub(crate) fn fatal(&self) -> Option<Status> {
        self.fatal.get()
    }

    pub(super) fn noted(&self, answer: Result<(), Status>) -> Result<(), Status> {
        if let Err(status) = answer
            && status.is_fatal()
        {
            self.fatal.set(Some(status));
        }
        answer
    }

    readings! {
        clock(kind: Clock) -> u32 = nvmlDeviceGetClockInfo;
        clock_max(kind: Clock) -> u32 = nvmlDeviceGetMaxClockInfo;
        clock_customer_max(kind: Clock) -> u32 = nvmlDeviceGetMaxCustomerBoostClock;
        clock_application(kind: Clock) -> u32 = nvmlDeviceGetApplicationsClock;
        performance_state() -> u32 = nvmlDeviceGetPerformanceState;
        power_usage() -> u32 = nvmlDeviceGetPowerUsage;
        power_limit_enforced() -> u32 = nvmlDeviceGetEnforcedPowerLimit;
        power_limit_requested() -> u32 = nvmlDeviceGetPowerManagementLimit;
        power_limit_default() -> u32 = nvmlDeviceGetPowerManagementDefaultLimit;
        total_energy() -> u64 = nvmlDeviceGetTotalEnergyConsumption;
        fan_speed() -> u32 = nvmlDeviceGetFanSpeed;
        fans() -> u32 = nvmlDeviceGetNumFans;
        clocks_event_reasons() -> u64 = nvmlDeviceGetCurrentClocksEventReasons;
        clocks_throttle_reasons() -> u64 = nvmlDeviceGetCurrentClocksThrottleReasons;
        supported_clocks_event_reasons() -> u64 = nvmlDeviceGetSupportedClocksEventReasons;
        supported_clocks_throttle_reasons() -> u64 = nvmlDeviceGetSupportedClocksThrottleReasons;
        pcie_generation() -> u32 = nvmlDeviceGetCurrPcieLinkGeneration;
        pcie_generation_max() -> u32 = nvmlDeviceGetMaxPcieLinkGeneration;
        pcie_generation_device_max() -> u32 = nvmlDeviceGetGpuMaxPcieLinkGeneration;
        pcie_width() -> u32 = nvmlDeviceGetCurrPcieLinkWidth;
        pcie_width_max() -> u32 = nvmlDeviceGetMaxPcieLinkWidth;
        pcie_replays() -> u32 = nvmlDeviceGetPcieReplayCounter;
        pcie_throughput(direction: u32) -> u32 = nvmlDeviceGetPcieThroughput;
        ecc_total(kind: EccKind, counter: Counter) -> u64 = nvmlDeviceGetTotalEccErrors;
        ecc_at(kind: EccKind, counter: Counter, location: Location) -> u64 = nvmlDeviceGetMemoryErrorCounter;
        retired_pages_pending() -> u32 = nvmlDeviceGetRetiredPagesPendingStatus;
        temperature_of(sensor: u32) -> u32 = nvmlDeviceGetTemperature;
        temperature_threshold(threshold: Threshold) -> u32 = nvmlDeviceGetTemperatureThreshold;
        brand() -> u32 = nvmlDeviceGetBrand;
        architecture() -> u32 = nvmlDeviceGetArchitecture;
        cuda_cores() -> u32 = nvmlDeviceGetNumGpuCores;
        memory_bus_width() -> u32 = nvmlDeviceGetMemoryBusWidth;
        index() -> u32 = nvmlDeviceGetIndex;
        minor_number() -> u32 = nvmlDeviceGetMinorNumber;
        board_id() -> u32 = nvmlDeviceGetBoardId;
        multi_gpu_board() -> u32 = nvmlDeviceGetMultiGpuBoard;
        inforom_checksum() -> u32 = nvmlDeviceGetInforomConfigurationChecksum;
        persistence_mode() -> u32 = nvmlDeviceGetPersistenceMode;
        compute_mode() -> u32 = nvmlDeviceGetComputeMode;
        display_mode() -> u32 = nvmlDeviceGetDisplayMode;
        display_active() -> u32 = nvmlDeviceGetDisplayActive;
        accounting_mode() -> u32 = nvmlDeviceGetAccountingMode;
        accounting_buffer_size() -> u32 = nvmlDeviceGetAccountingBufferSize;
        virtualization_mode() -> u32 = nvmlDeviceGetVirtualizationMode;
        numa_node() -> u32 = nvmlDeviceGetNumaNodeId;
        module_id() -> u32 = nvmlDeviceGetModuleId;
        link_state(link: u32) -> u32 = nvmlDeviceGetNvLinkState;
        link_version(link: u32) -> u32 = nvmlDeviceGetNvLinkVersion;
        link_remote_type(link: u32) -> u32 = nvmlDeviceGetNvLinkRemoteDeviceType;
        link_errors(link: u32, counter: u32) -> u64 = nvmlDeviceGetNvLinkErrorCounter;
        gpu_instance_id() -> u32 = nvmlDeviceGetGpuInstanceId;
        compute_instance_id() -> u32 = nvmlDeviceGetComputeInstanceId;
    }

    texts! {
        name = nvmlDeviceGetName;
        uuid = nvmlDeviceGetUUID;
        serial = nvmlDeviceGetSerial;
        board_part_number = nvmlDeviceGetBoardPartNumber;
        vbios_version = nvmlDeviceGetVbiosVersion;
        inforom_image_version = nvmlDeviceGetInforomImageVersion;
    }

    engines! {
        encoder_utilization = nvmlDeviceGetEncoderUtilization;
        decoder_utilization = nvmlDeviceGetDecoderUtilization;
        jpeg_utilization = nvmlDeviceGetJpgUtilization;
        ofa_utilization = nvmlDeviceGetOfaUtilization;
    }

    /// `nvmlDeviceGetInforomVersion`: object 0 is OEM, 1 is ECC, 2 is power.
    pub(crate) fn inforom_version(&self, object: u32) -> Result<String, Status> {
        let mut buffer: [c_char; TEXT_BYTES] = [0; TEXT_BYTES];
        on!(self, nvmlDeviceGetInforomVersion(object, buffer.as_mut_ptr(), TEXT_BYTES as u32))?;
        text(&buffer)
    }

    /// `nvmlDeviceGetGspFirmwareVersion`, whose buffer has a fixed size of 64 bytes.
    pub(crate) fn gsp_firmware_version(&self) -> Result<String, Status> {
        let mut buffer: [c_char; TEXT_BYTES] = [0; TEXT_BYTES];
        on!(self, nvmlDeviceGetGspFirmwareVersion(buffer.as_mut_ptr()))?;
        text(&buffer)
    }

    /// `nvmlDeviceValidateInforom`: a damaged InfoROM is an answer, not an error.
    pub(crate) fn inforom_valid(&self) -> Result<bool, Status> {
        match on!(self, nvmlDeviceValidateInforom()) {
            Ok(()) => Ok(true),
            Err(Status::CORRUPTED_INFOROM) => Ok(false),
            Err(status) => Err(status),
        }
    }

    /// `nvmlDeviceGetPciInfo_v3`: device and vendor id, subsystem id.
    pub(crate) fn pci_ids(&self) -> Result<(u32, u32), Status> {
        let mut info = EMPTY_PCI_INFO;
        on!(self, nvmlDeviceGetPciInfo_v3(&mut info))?;
        Ok((info.pciDeviceId, info.pciSubSystemId))
    }

    /// `nvmlDeviceGetCudaComputeCapability`: major and minor.
    pub(crate) fn compute_capability(&self) -> Result<(i32, i32), Status> {
        let (mut major, mut minor) = (0, 0);
        on!(self, nvmlDeviceGetCudaComputeCapability(&mut major, &mut minor))?;
        Ok((major, minor))
    }

    /// `nvmlDeviceGetGspFirmwareMode`: in use, and in use by default.
    pub(crate) fn gsp_firmware_mode(&self) -> Result<(bool, bool), Status> {
        let (mut enabled, mut default) = (0, 0);
        on!(self, nvmlDeviceGetGspFirmwareMode(&mut enabled, &mut default))?;
        Ok((enabled != 0, default != 0))
    }

    /// `nvmlDeviceGetPowerManagementLimitConstraints`: lowest and highest.
    pub(crate) fn power_limit_constraints(&self) -> Result<(u32, u32), Status> {
        let (mut min, mut max) = (0, 0);
        on!(self, nvmlDeviceGetPowerManagementLimitConstraints(&mut min, &mut max))?;
        Ok((min, max))
    }

    /// `nvmlDeviceGetEccMode`.
    pub(crate) fn ecc_mode(&self) -> Result<Enabled, Status> {
        let (mut current, mut pending) = (0, 0);
        on!(self, nvmlDeviceGetEccMode(&mut current, &mut pending))?;
        Ok(Enabled { current: current != 0, pending: pending != 0 })
    }

    /// `nvmlDeviceGetMigMode`.
    pub(crate) fn mig_mode(&self) -> Result<Enabled, Status> {
        let (mut current, mut pending) = (0, 0);
        on!(self, nvmlDeviceGetMigMode(&mut current, &mut pending))?;
        Ok(Enabled { current: current != 0, pending: pending != 0 })
    }
}

const EMPTY_PCI_INFO: nvmlPciInfo_t = nvmlPciInfo_t {
    busIdLegacy: [0; 16],
    domain: 0,
    bus: 0,
    device: 0,
    pciDeviceId: 0,
    pciSubSystemId: 0,
    busId: [0; 32],
};
