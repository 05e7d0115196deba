//! Multi-Instance GPU.

use super::{any_device_calls, device_calls};
use crate::abi::{
    self, Device, DeviceAttributes, GpuInstanceProfile, GpuInstanceProfileV2, GpuInstanceProfileV3, Ret,
    fixed_text, put, take_version, version_word,
};
use crate::fields::Field;
use crate::profile::InstanceProfile;
use crate::world::{Handle, Here};
use std::ffi::c_uint;

/// Profiles that NVML numbers (`NVML_GPU_INSTANCE_PROFILE_COUNT`).
const PROFILES: c_uint = 17;

fn profile(here: &Here, slot: c_uint) -> Result<&InstanceProfile, Ret> {
    if slot >= PROFILES {
        return Err(abi::INVALID_ARGUMENT);
    }
    here.state.get(Field::MIG_MODE)?;
    here.world.profile.instance_profiles.iter().find(|profile| profile.slot == slot).ok_or(abi::NOT_SUPPORTED)
}

fn handle(here: &Here, mig: Option<usize>) -> Device {
    Handle { incarnation: here.world.incarnation(), gpu: here.index, mig }.to_device()
}

any_device_calls! {
    nvmlDeviceIsMigDeviceHandle |here| (is: *mut c_uint) { put(is, c_uint::from(here.mig.is_some())) }
    nvmlDeviceGetDeviceHandleFromMigDeviceHandle |here| (device: *mut Device) {
        here.mig().ok_or(abi::INVALID_ARGUMENT)?;
        put(device, handle(&here, None))
    }
    nvmlDeviceGetGpuInstanceId |here| (id: *mut c_uint) { put(id, here.mig().ok_or(abi::NOT_SUPPORTED)?.gpu_instance) }
    nvmlDeviceGetComputeInstanceId |here| (id: *mut c_uint) { put(id, here.mig().ok_or(abi::NOT_SUPPORTED)?.compute_instance) }
    nvmlDeviceGetAttributes_v2 |here| (attributes: *mut DeviceAttributes) {
        let mig = here.mig().ok_or(abi::NOT_SUPPORTED)?;
        let [slices, multiprocessors, copy_engines, encoders, decoders, ofas, jpegs] = mig.engines;
        put(attributes, DeviceAttributes {
            multiprocessors,
            copy_engines,
            decoders,
            encoders,
            jpegs,
            ofas,
            gpu_slices: slices,
            compute_slices: slices,
            memory_mib: mig.memory_bytes[0] >> 20,
        })
    }
}

device_calls! {
    nvmlDeviceGetMigMode |here| (current: *mut c_uint, pending: *mut c_uint) {
        put(current, here.u32(Field::MIG_MODE)?)?;
        here.put_u32(pending, Field::MIG_MODE_PENDING)
    }
    nvmlDeviceGetMaxMigDeviceCount |here| (count: *mut c_uint) {
        put(count, here.u32(Field::MIG_DEVICES_MAX).unwrap_or(0))
    }
    nvmlDeviceGetMigDeviceHandleByIndex |here| (index: c_uint, device: *mut Device) {
        if index >= here.u32(Field::MIG_DEVICES_MAX).unwrap_or(0) {
            return Err(abi::INVALID_ARGUMENT);
        }
        let found = here.state.mig.iter().position(|mig| mig.index == index);
        put(device, handle(&here, Some(found.ok_or(abi::NOT_FOUND)?)))
    }
    nvmlDeviceGetGpuInstanceProfileInfo |here| (slot: c_uint, info: *mut GpuInstanceProfile) {
        let profile = profile(&here, slot)?;
        let [id, p2p, slices, instances, multiprocessors, copy_engines, decoders, encoders, jpegs, ofas] = profile.numbers;
        let memory_mib = profile.memory_mib;
        put(info, GpuInstanceProfile {
            id, p2p, slices, instances, multiprocessors, copy_engines, decoders, encoders, jpegs, ofas, memory_mib,
        })
    }
    nvmlDeviceGetGpuInstanceProfileInfoV |here| (slot: c_uint, info: *mut GpuInstanceProfileV2) {
        let version = take_version(info)?;
        let profile = profile(&here, slot)?;
        let [id, p2p, slices, instances, multiprocessors, copy_engines, decoders, encoders, jpegs, ofas] = profile.numbers;
        let memory_mib = profile.memory_mib;
        let name = fixed_text(&format!("MIG {}", profile.name));
        if version == version_word::<GpuInstanceProfileV2>(2) {
            put(info, GpuInstanceProfileV2 {
                version, id, p2p, slices, instances, multiprocessors, copy_engines, decoders, encoders, jpegs, ofas, memory_mib, name,
            })
        } else if version == version_word::<GpuInstanceProfileV3>(3) {
            put(info.cast::<GpuInstanceProfileV3>(), GpuInstanceProfileV3 {
                version, id, slices, instances, multiprocessors, copy_engines, decoders, encoders, jpegs, ofas, memory_mib, name,
                capabilities: p2p,
            })
        } else {
            Err(abi::ARGUMENT_VERSION_MISMATCH)
        }
    }
}
