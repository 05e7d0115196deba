//! Power draw, limits and energy.

use super::device_calls;
use crate::abi::put;
use crate::fields::Field;
use std::ffi::{c_uint, c_ulonglong};

device_calls! {
    nvmlDeviceGetPowerUsage |here| (milliwatts: *mut c_uint) { here.put_u32(milliwatts, Field::POWER_DRAW) }
    nvmlDeviceGetPowerManagementMode |here| (mode: *mut c_uint) { here.put_u32(mode, Field::POWER_MANAGEMENT) }
    nvmlDeviceGetPowerManagementLimit |here| (milliwatts: *mut c_uint) {
        here.put_u32(milliwatts, Field::POWER_LIMIT_REQUESTED)
    }
    nvmlDeviceGetPowerManagementLimitConstraints |here| (lowest: *mut c_uint, highest: *mut c_uint) {
        put(lowest, here.u32(Field::POWER_LIMIT_MIN)?)?;
        here.put_u32(highest, Field::POWER_LIMIT_MAX)
    }
    nvmlDeviceGetPowerManagementDefaultLimit |here| (milliwatts: *mut c_uint) {
        here.put_u32(milliwatts, Field::POWER_LIMIT_DEFAULT)
    }
    nvmlDeviceGetEnforcedPowerLimit |here| (milliwatts: *mut c_uint) { here.put_u32(milliwatts, Field::POWER_LIMIT) }
    nvmlDeviceGetTotalEnergyConsumption |here| (millijoules: *mut c_ulonglong) {
        here.put_u64(millijoules, Field::ENERGY_TOTAL)
    }
}
