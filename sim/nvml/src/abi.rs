//! The C types of NVML that this library reads and writes, with their sizes checked at compile time.
//!
//! Layouts are facts of the NVML 13.0 header; the independent Python client checks them from outside.
#![allow(missing_docs, reason = "field names are NVML's own; its documentation is the reference")]

use std::ffi::{c_char, c_int, c_uint, c_ulonglong};

/// `nvmlReturn_t`.
pub type Ret = c_uint;

pub const SUCCESS: Ret = 0;
pub const UNINITIALIZED: Ret = 1;
pub const INVALID_ARGUMENT: Ret = 2;
pub const NOT_SUPPORTED: Ret = 3;
pub const NO_PERMISSION: Ret = 4;
pub const NOT_FOUND: Ret = 6;
pub const INSUFFICIENT_SIZE: Ret = 7;
pub const DRIVER_NOT_LOADED: Ret = 9;
pub const TIMEOUT: Ret = 10;
pub const CORRUPTED_INFOROM: Ret = 14;
pub const GPU_IS_LOST: Ret = 15;
pub const INSUFFICIENT_RESOURCES: Ret = 23;
pub const NO_DATA: Ret = 21;
pub const ARGUMENT_VERSION_MISMATCH: Ret = 25;
pub const DEPRECATED: Ret = 26;
pub const UNKNOWN: Ret = 999;

/// `nvmlDevice_t`: an opaque number here, never an address (see `world::Handle`).
pub type Device = *mut std::ffi::c_void;
/// `nvmlEventSet_t`: an opaque number here.
pub type EventSetHandle = *mut std::ffi::c_void;
/// `nvmlGpmSample_t`: an opaque number here.
pub type GpmSampleHandle = *mut std::ffi::c_void;

/// NVML's version word: size in the low 24 bits, version in the top 8.
pub const fn version_word<T>(version: u32) -> u32 {
    (size_of::<T>() as u32) | (version << 24)
}

macro_rules! c_struct {
    ($($(#[$meta:meta])* $name:ident, $size:literal { $($field:ident : $ty:ty),+ $(,)? })+) => {
        $(
            $(#[$meta])*
            #[repr(C)]
            #[derive(Clone, Copy)]
            pub struct $name { $(pub $field: $ty),+ }
            const _: () = assert!(size_of::<$name>() == $size);
        )+
    };
}

c_struct! {
    PciInfo, 68 { bus_id_legacy: [c_char; 16], domain: c_uint, bus: c_uint, device: c_uint, pci_device_id: c_uint,
        pci_subsystem_id: c_uint, bus_id: [c_char; 32] }
    PciInfoExt, 64 { version: c_uint, domain: c_uint, bus: c_uint, device: c_uint, pci_device_id: c_uint,
        pci_subsystem_id: c_uint, base_class: c_uint, sub_class: c_uint, bus_id: [c_char; 32] }
    EccErrorCounts, 32 { l1: c_ulonglong, l2: c_ulonglong, device_memory: c_ulonglong, register_file: c_ulonglong }
    Utilization, 8 { gpu: c_uint, memory: c_uint }
    Memory, 24 { total: c_ulonglong, free: c_ulonglong, used: c_ulonglong }
    MemoryV2, 40 { version: c_uint, total: c_ulonglong, reserved: c_ulonglong, free: c_ulonglong, used: c_ulonglong }
    Bar1Memory, 24 { total: c_ulonglong, free: c_ulonglong, used: c_ulonglong }
    ProcessInfoV1, 16 { pid: c_uint, used_memory: c_ulonglong }
    ProcessInfo, 24 { pid: c_uint, used_memory: c_ulonglong, gpu_instance: c_uint, compute_instance: c_uint }
    ProcessUtilization, 32 { pid: c_uint, timestamp: c_ulonglong, sm: c_uint, memory: c_uint, encoder: c_uint, decoder: c_uint }
    DeviceAttributes, 40 { multiprocessors: c_uint, copy_engines: c_uint, decoders: c_uint, encoders: c_uint, jpegs: c_uint,
        ofas: c_uint, gpu_slices: c_uint, compute_slices: c_uint, memory_mib: c_ulonglong }
    C2cModeInfo, 4 { enabled: c_uint }
    AddressingMode, 8 { version: c_uint, value: c_uint }
    RepairStatus, 12 { version: c_uint, channel_pending: c_uint, tpc_pending: c_uint }
    UnrepairableMemory, 8 { version: c_uint, flag: c_uint }
    RowRemapperHistogram, 20 { max: c_uint, high: c_uint, partial: c_uint, low: c_uint, none: c_uint }
    ViolationTime, 16 { reference_us: c_ulonglong, violation_ns: c_ulonglong }
    ThermalSensor, 20 { controller: c_int, default_min: c_int, default_max: c_int, current: c_int, target: c_int }
    ThermalSettings, 64 { count: c_uint, sensors: [ThermalSensor; 3] }
    Temperature, 12 { version: c_uint, sensor: c_uint, celsius: c_int }
    MarginTemperature, 8 { version: c_uint, celsius: c_int }
    SramErrorStatus, 104 { version: c_uint, aggregate_parity: c_ulonglong, aggregate_secded: c_ulonglong,
        aggregate_corrected: c_ulonglong, volatile_parity: c_ulonglong, volatile_secded: c_ulonglong,
        volatile_corrected: c_ulonglong, l2: c_ulonglong, sm: c_ulonglong, pcie: c_ulonglong, mcu: c_ulonglong,
        other: c_ulonglong, threshold_exceeded: c_uint }
    SramUniqueEntry, 28 { unit: c_uint, location: c_uint, sublocation: c_uint, extlocation: c_uint, address: c_uint,
        is_parity: c_uint, count: c_uint }
    SramUniqueCounts, 16 { version: c_uint, entry_count: c_uint, entries: *mut SramUniqueEntry }
    PlatformInfo, 44 { version: c_uint, ib_guid: [u8; 16], chassis_serial: [u8; 16], slot: u8, tray: u8, host: u8,
        peer_type: u8, module: u8 }
    /// `value` is NVML's union of 8 bytes; smaller members live in its low bytes on the little-endian machines NVML runs on.
    FieldValue, 40 { field_id: c_uint, scope_id: c_uint, timestamp_us: i64, latency_us: i64, value_type: c_uint, ret: Ret,
        value: u64 }
    EventData, 32 { device: Device, event_type: c_ulonglong, event_data: c_ulonglong, gpu_instance: c_uint,
        compute_instance: c_uint }
    FbcStats, 12 { sessions: c_uint, rate: c_uint, latency: c_uint }
    ConfComputeCaps, 8 { cpu: c_uint, gpus: c_uint }
    ConfComputeState, 12 { environment: c_uint, feature: c_uint, dev_tools: c_uint }
    ConfComputeSettings, 20 { version: c_uint, environment: c_uint, feature: c_uint, dev_tools: c_uint, multi_gpu: c_uint }
    ConfComputeCertificate, 9224 { chain_size: c_uint, attestation_chain_size: c_uint, chain: [u8; 4096],
        attestation_chain: [u8; 5120] }
    ConfComputeReport, 12332 { cec_present: c_uint, size: c_uint, cec_size: c_uint, nonce: [u8; 32],
        report: [u8; 8192], cec_report: [u8; 4096] }
    ConfComputeMemSize, 16 { protected_kib: c_ulonglong, unprotected_kib: c_ulonglong }
    FabricInfo, 28 { cluster_uuid: [u8; 16], status: Ret, clique: c_uint, state: u32 }
    FabricInfoV2, 36 { version: c_uint, cluster_uuid: [u8; 16], status: Ret, clique: c_uint, state: u32,
        health_mask: c_uint }
    FabricInfoV3, 40 { version: c_uint, cluster_uuid: [u8; 16], status: Ret, clique: c_uint, state: u32,
        health_mask: c_uint, health_summary: u8 }
    DriverBranch, 84 { version: c_uint, branch: [c_char; 80] }
    GpuInstanceProfile, 48 { id: c_uint, p2p: c_uint, slices: c_uint, instances: c_uint, multiprocessors: c_uint,
        copy_engines: c_uint, decoders: c_uint, encoders: c_uint, jpegs: c_uint, ofas: c_uint, memory_mib: c_ulonglong }
    GpuInstanceProfileV2, 152 { version: c_uint, id: c_uint, p2p: c_uint, slices: c_uint, instances: c_uint,
        multiprocessors: c_uint, copy_engines: c_uint, decoders: c_uint, encoders: c_uint, jpegs: c_uint, ofas: c_uint,
        memory_mib: c_ulonglong, name: [c_char; 96] }
    GpuInstanceProfileV3, 152 { version: c_uint, id: c_uint, slices: c_uint, instances: c_uint, multiprocessors: c_uint,
        copy_engines: c_uint, decoders: c_uint, encoders: c_uint, jpegs: c_uint, ofas: c_uint, memory_mib: c_ulonglong,
        name: [c_char; 96], capabilities: c_uint }
    GpmMetricInfo, 24 { short_name: *const c_char, long_name: *const c_char, unit: *const c_char }
    GpmMetric, 40 { id: c_uint, ret: Ret, value: f64, info: GpmMetricInfo }
    /// The fixed head of `nvmlGpmMetricsGet_t`; the metrics follow it directly.
    GpmMetricsHead, 24 { version: c_uint, count: c_uint, sample1: GpmSampleHandle, sample2: GpmSampleHandle }
    GpmSupport, 8 { version: c_uint, supported: c_uint }
}

/// Writes an answer through a caller's out pointer; a null pointer is an invalid argument.
pub(crate) fn put<T>(out: *mut T, value: T) -> Result<(), Ret> {
    if out.is_null() {
        return Err(INVALID_ARGUMENT);
    }
    // SAFETY: NVML's contract: a non-null out pointer is aligned and valid for writing one T.
    unsafe { out.write(value) };
    Ok(())
}

/// Reads an in/out argument; a null pointer is an invalid argument.
pub(crate) fn take<T: Copy>(from: *const T) -> Result<T, Ret> {
    if from.is_null() {
        return Err(INVALID_ARGUMENT);
    }
    // SAFETY: NVML's contract: a non-null in pointer is aligned and valid for reading one initialised T.
    Ok(unsafe { from.read() })
}

/// Reads the leading version word of a versioned struct, whatever its size.
pub(crate) fn take_version<T>(from: *const T) -> Result<u32, Ret> {
    take(from.cast::<u32>())
}

/// Copies items into a caller's array that has room for them; counts were compared before.
pub(crate) fn put_array<T: Copy>(out: *mut T, items: &[T]) -> Result<(), Ret> {
    if items.is_empty() {
        return Ok(());
    }
    if out.is_null() {
        return Err(INVALID_ARGUMENT);
    }
    // SAFETY: NVML's contract: the array behind a non-null pointer has at least as many items as the count the caller
    // gave, which every call here has compared with `items.len()` before.
    unsafe { std::ptr::copy_nonoverlapping(items.as_ptr(), out, items.len()) };
    Ok(())
}

/// Copies a text and its terminating zero into a caller's buffer of `length` bytes, as NVML does.
pub(crate) fn put_text(out: *mut c_char, length: c_uint, text: &str) -> Result<(), Ret> {
    if out.is_null() {
        return Err(INVALID_ARGUMENT);
    }
    if (length as usize) <= text.len() {
        return Err(INSUFFICIENT_SIZE);
    }
    // SAFETY: the buffer has `length` bytes by NVML's contract, and text plus its zero was compared with it above.
    unsafe {
        std::ptr::copy_nonoverlapping(text.as_ptr().cast::<c_char>(), out, text.len());
        out.add(text.len()).write(0);
    }
    Ok(())
}

/// A caller's zero-terminated text of at most 96 bytes.
pub(crate) fn take_text<'a>(from: *const c_char) -> Result<&'a str, Ret> {
    if from.is_null() {
        return Err(INVALID_ARGUMENT);
    }
    // SAFETY: NVML's contract: a non-null text argument is zero-terminated and stays valid during the call.
    let text = unsafe { std::ffi::CStr::from_ptr(from) };
    text.to_str().ok().filter(|text| text.len() <= 96).ok_or(INVALID_ARGUMENT)
}

/// A text in a fixed C array, cut to fit, always terminated.
pub(crate) fn fixed_text<const N: usize>(text: &str) -> [c_char; N] {
    let mut array = [0; N];
    for (to, from) in array.iter_mut().zip(text.bytes().take(N.saturating_sub(1))) {
        *to = c_char::from_ne_bytes([from]);
    }
    array
}
