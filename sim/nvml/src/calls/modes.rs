//! Modes that an operator or the platform sets.

use super::device_calls;
use crate::abi::{self, AddressingMode, C2cModeInfo, put, take_version, version_word};
use crate::fields::Field;
use std::ffi::c_uint;

device_calls! {
    nvmlDeviceGetComputeMode |here| (mode: *mut c_uint) { here.put_u32(mode, Field::COMPUTE_MODE) }
    nvmlDeviceGetPersistenceMode |here| (mode: *mut c_uint) { here.put_u32(mode, Field::PERSISTENCE_MODE) }
    nvmlDeviceGetDisplayMode |here| (mode: *mut c_uint) { here.put_u32(mode, Field::DISPLAY_MODE) }
    nvmlDeviceGetDisplayActive |here| (mode: *mut c_uint) { here.put_u32(mode, Field::DISPLAY_ACTIVE) }
    nvmlDeviceGetAccountingMode |here| (mode: *mut c_uint) { here.put_u32(mode, Field::ACCOUNTING_MODE) }
    nvmlDeviceGetAccountingBufferSize |here| (size: *mut c_uint) { here.put_u32(size, Field::ACCOUNTING_BUFFER) }
    nvmlDeviceGetVirtualizationMode |here| (mode: *mut c_uint) { here.put_u32(mode, Field::VIRTUALIZATION_MODE) }
    nvmlDeviceGetAddressingMode |here| (mode: *mut AddressingMode) {
        let version = take_version(mode)?;
        if version != version_word::<AddressingMode>(1) {
            return Err(abi::ARGUMENT_VERSION_MISMATCH);
        }
        put(mode, AddressingMode { version, value: here.u32(Field::ADDRESSING_MODE)? })
    }
    nvmlDeviceGetC2cModeInfoV |here| (info: *mut C2cModeInfo) {
        put(info, C2cModeInfo { enabled: here.u32(Field::C2C_MODE)? })
    }
    nvmlDeviceGetNumaNodeId |here| (node: *mut c_uint) { here.put_u32(node, Field::GPU_NUMA_NODE) }
}
