//! Confidential computing: present, off.

use super::{device_calls, system_calls};
use crate::abi::{
    self, ConfComputeCaps, ConfComputeMemSize, ConfComputeSettings, ConfComputeState, Memory, put,
    take_version, version_word,
};
use crate::fields::Field;
use std::ffi::c_uint;

system_calls! {
    nvmlSystemGetConfComputeCapabilities |world| (caps: *mut ConfComputeCaps) {
        // The CPU has no such feature; Hopper (9) and later GPUs could.
        let capable = world.profile.load.cells[Field::ARCHITECTURE.position()].ok().is_some_and(|architecture| architecture >= 9);
        put(caps, ConfComputeCaps { cpu: 0, gpus: c_uint::from(capable) })
    }
    nvmlSystemGetConfComputeState |_world| (state: *mut ConfComputeState) {
        put(state, ConfComputeState { environment: 0, feature: 0, dev_tools: 0 })
    }
    nvmlSystemGetConfComputeSettings |_world| (settings: *mut ConfComputeSettings) {
        let version = take_version(settings)?;
        if version != version_word::<ConfComputeSettings>(1) {
            return Err(abi::ARGUMENT_VERSION_MISMATCH);
        }
        put(settings, ConfComputeSettings { version, environment: 0, feature: 0, dev_tools: 0, multi_gpu: 0 })
    }
    nvmlSystemGetConfComputeGpusReadyState |_world| (ready: *mut c_uint) { put(ready, 0) }
}

device_calls! {
    nvmlDeviceGetConfComputeMemSizeInfo |here| (info: *mut ConfComputeMemSize) {
        put(info, ConfComputeMemSize {
            protected_kib: here.u64(Field::PROTECTED_MEMORY_TOTAL)? / 1024,
            unprotected_kib: here.u64(Field::MEMORY_TOTAL)? / 1024,
        })
    }
    nvmlDeviceGetConfComputeProtectedMemoryUsage |here| (memory: *mut Memory) {
        put(memory, Memory {
            total: here.u64(Field::PROTECTED_MEMORY_TOTAL)?,
            free: here.u64(Field::PROTECTED_MEMORY_FREE)?,
            used: here.u64(Field::PROTECTED_MEMORY_USED)?,
        })
    }
}
