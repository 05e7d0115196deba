//! What a GPU is: names, numbers, versions.

use super::{any_device_calls, device_calls};
use crate::abi::{self, put, put_text};
use crate::fields::Field;
use crate::profile::Text;
use std::ffi::{c_char, c_int, c_uint};

any_device_calls! {
    nvmlDeviceGetName |here| (name: *mut c_char, length: c_uint) {
        let product = here.gpu.fixed.text(Text::Name)?;
        match here.mig() {
            Some(mig) => put_text(name, length, &format!("{product} MIG {}", mig.profile)),
            None => put_text(name, length, product),
        }
    }
    nvmlDeviceGetUUID |here| (uuid: *mut c_char, length: c_uint) {
        match here.mig {
            Some(mig) => put_text(uuid, length, &here.gpu.fixed.mig_uuid(mig)),
            None => put_text(uuid, length, &here.gpu.fixed.uuid),
        }
    }
    nvmlDeviceGetIndex |here| (index: *mut c_uint) {
        put(index, here.mig().map_or(here.index as c_uint, |mig| mig.index))
    }
}

device_calls! {
    nvmlDeviceGetMinorNumber |here| (minor: *mut c_uint) { here.put_u32(minor, Field::MINOR_NUMBER) }
    nvmlDeviceGetBrand |here| (brand: *mut c_uint) { here.put_u32(brand, Field::BRAND) }
    nvmlDeviceGetSerial |here| (serial: *mut c_char, length: c_uint) {
        put_text(serial, length, here.gpu.fixed.text(Text::Serial)?)
    }
    nvmlDeviceGetBoardId |here| (id: *mut c_uint) { here.put_u32(id, Field::BOARD_ID) }
    nvmlDeviceGetBoardPartNumber |here| (number: *mut c_char, length: c_uint) {
        put_text(number, length, here.gpu.fixed.text(Text::BoardPartNumber)?)
    }
    nvmlDeviceGetMultiGpuBoard |here| (several: *mut c_uint) { here.put_u32(several, Field::MULTI_GPU_BOARD) }
    nvmlDeviceGetModuleId |here| (module: *mut c_uint) { here.put_u32(module, Field::MODULE_ID) }
    nvmlDeviceGetVbiosVersion |here| (version: *mut c_char, length: c_uint) {
        put_text(version, length, here.gpu.fixed.text(Text::Vbios)?)
    }
    nvmlDeviceGetInforomVersion |here| (object: c_uint, version: *mut c_char, length: c_uint) {
        let text = match object {
            0 => Text::InforomOem,
            1 => Text::InforomEcc,
            2 => Text::InforomPower,
            3 => return Err(abi::NOT_SUPPORTED),
            _ => return Err(abi::INVALID_ARGUMENT),
        };
        put_text(version, length, here.gpu.fixed.text(text)?)
    }
    nvmlDeviceGetInforomImageVersion |here| (version: *mut c_char, length: c_uint) {
        put_text(version, length, here.gpu.fixed.text(Text::InforomImage)?)
    }
    nvmlDeviceGetInforomConfigurationChecksum |here| (checksum: *mut c_uint) {
        here.put_u32(checksum, Field::INFOROM_CHECKSUM)
    }
    nvmlDeviceValidateInforom |here| () {
        match here.state.get(Field::INFOROM_VALID)? {
            1 => Ok(()),
            _ => Err(abi::CORRUPTED_INFOROM),
        }
    }
    nvmlDeviceGetArchitecture |here| (architecture: *mut c_uint) { here.put_u32(architecture, Field::ARCHITECTURE) }
    nvmlDeviceGetCudaComputeCapability |here| (major: *mut c_int, minor: *mut c_int) {
        put(major, here.i32(Field::COMPUTE_CAPABILITY_MAJOR)?)?;
        put(minor, here.i32(Field::COMPUTE_CAPABILITY_MINOR)?)
    }
    nvmlDeviceGetNumGpuCores |here| (cores: *mut c_uint) { here.put_u32(cores, Field::CORES) }
    nvmlDeviceGetMemoryBusWidth |here| (bits: *mut c_uint) { here.put_u32(bits, Field::MEMORY_BUS_WIDTH) }
    nvmlDeviceGetGspFirmwareVersion |here| (version: *mut c_char) {
        put_text(version, 64, here.gpu.fixed.text(Text::GspVersion)?)
    }
    nvmlDeviceGetGspFirmwareMode |here| (enabled: *mut c_uint, default: *mut c_uint) {
        put(enabled, here.u32(Field::GSP_MODE)?)?;
        here.put_u32(default, Field::GSP_MODE_DEFAULT)
    }
}
