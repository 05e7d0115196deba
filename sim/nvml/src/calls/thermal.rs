//! Temperatures, limits and fans.

use super::device_calls;
use crate::abi::{
    self, MarginTemperature, Temperature, ThermalSensor, ThermalSettings, put, take, version_word,
};
use crate::fields::Field;
use std::ffi::c_uint;

device_calls! {
    nvmlDeviceGetTemperature |here| (sensor: c_uint, celsius: *mut c_uint) {
        if sensor != 0 {
            return Err(abi::INVALID_ARGUMENT);
        }
        here.put_u32(celsius, Field::TEMPERATURE_GPU)
    }
    nvmlDeviceGetTemperatureV |here| (temperature: *mut Temperature) {
        let asked = take(temperature)?;
        if asked.version != version_word::<Temperature>(1) {
            return Err(abi::ARGUMENT_VERSION_MISMATCH);
        }
        if asked.sensor != 0 {
            return Err(abi::INVALID_ARGUMENT);
        }
        put(temperature, Temperature { celsius: here.i32(Field::TEMPERATURE_GPU)?, ..asked })
    }
    nvmlDeviceGetTemperatureThreshold |here| (kind: c_uint, celsius: *mut c_uint) {
        let field = match kind {
            0 => Field::TEMPERATURE_SHUTDOWN,
            1 => Field::TEMPERATURE_SLOWDOWN,
            2 => Field::TEMPERATURE_MEMORY_MAX,
            3 => Field::TEMPERATURE_GPU_MAX,
            5 => Field::TEMPERATURE_TARGET,
            4 | 6 | 7 => return Err(abi::NOT_SUPPORTED),
            _ => return Err(abi::INVALID_ARGUMENT),
        };
        here.put_u32(celsius, field)
    }
    nvmlDeviceGetMarginTemperature |here| (margin: *mut MarginTemperature) {
        let asked = take(margin)?;
        if asked.version != version_word::<MarginTemperature>(1) {
            return Err(abi::ARGUMENT_VERSION_MISMATCH);
        }
        put(margin, MarginTemperature { celsius: here.i32(Field::TEMPERATURE_MARGIN)?, ..asked })
    }
    nvmlDeviceGetThermalSettings |here| (sensor: c_uint, settings: *mut ThermalSettings) {
        // 15 asks for all sensors; there is one, the GPU's own.
        if sensor != 15 && sensor != 0 {
            return Err(abi::INVALID_ARGUMENT);
        }
        let none = ThermalSensor { controller: 0, default_min: 0, default_max: 0, current: 0, target: 0 };
        let own = ThermalSensor {
            controller: 1,
            default_max: here.i32(Field::TEMPERATURE_SHUTDOWN).unwrap_or(127),
            current: here.i32(Field::TEMPERATURE_GPU)?,
            target: 1,
            ..none
        };
        put(settings, ThermalSettings { count: 1, sensors: [own, none, none] })
    }
    nvmlDeviceGetFanSpeed |here| (percent: *mut c_uint) { here.put_u32(percent, Field::FAN_SPEED) }
    nvmlDeviceGetFanSpeed_v2 |here| (fan: c_uint, percent: *mut c_uint) {
        if fan >= here.u32(Field::FANS).unwrap_or(0) {
            // Boards without fans do not support the question; boards with fans know how many they have.
            return Err(here.state.get(Field::FAN_SPEED).err().unwrap_or(abi::INVALID_ARGUMENT));
        }
        here.put_u32(percent, Field::FAN_SPEED)
    }
    nvmlDeviceGetNumFans |here| (fans: *mut c_uint) { here.put_u32(fans, Field::FANS) }
}
