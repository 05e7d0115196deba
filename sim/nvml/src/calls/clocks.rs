//! Clocks, performance state and what holds them down.

use super::device_calls;
use crate::abi::{self, Ret, ViolationTime, put};
use crate::fields::Field;
use std::ffi::{c_int, c_uint, c_ulonglong};

/// The field of NVML's clock `kind` (graphics, SM, memory, video) in a family of four.
fn of_four(first: Field, kind: c_uint) -> Result<Field, Ret> {
    if kind < 4 { Ok(first.after(kind as usize)) } else { Err(abi::INVALID_ARGUMENT) }
}

/// Application clocks exist for graphics (and SM, which follows it) and memory.
fn of_two(first: Field, kind: c_uint) -> Result<Field, Ret> {
    match kind {
        0 | 1 => Ok(first),
        2 => Ok(first.after(1)),
        3 => Err(abi::NOT_SUPPORTED),
        _ => Err(abi::INVALID_ARGUMENT),
    }
}

fn boost(kind: c_uint) -> Result<Field, Ret> {
    match kind {
        0 | 1 => Ok(Field::CLOCK_BOOST_MAX),
        2 => Ok(Field::CLOCK_MEMORY_MAX),
        3 => Ok(Field::CLOCK_VIDEO_MAX),
        _ => Err(abi::INVALID_ARGUMENT),
    }
}

device_calls! {
    nvmlDeviceGetClockInfo |here| (kind: c_uint, clock: *mut c_uint) {
        here.put_u32(clock, of_four(Field::CLOCK_GRAPHICS, kind)?)
    }
    nvmlDeviceGetMaxClockInfo |here| (kind: c_uint, clock: *mut c_uint) {
        here.put_u32(clock, of_four(Field::CLOCK_MAX, kind)?)
    }
    nvmlDeviceGetClock |here| (kind: c_uint, id: c_uint, clock: *mut c_uint) {
        let field = match id {
            0 => of_four(Field::CLOCK_GRAPHICS, kind)?,
            1 => of_two(Field::CLOCK_APPLICATION, kind)?,
            2 => of_two(Field::CLOCK_APPLICATION_DEFAULT, kind)?,
            3 => boost(kind)?,
            _ => return Err(abi::INVALID_ARGUMENT),
        };
        here.put_u32(clock, field)
    }
    nvmlDeviceGetMaxCustomerBoostClock |here| (kind: c_uint, clock: *mut c_uint) {
        here.put_u32(clock, boost(kind)?)
    }
    nvmlDeviceGetApplicationsClock |here| (kind: c_uint, clock: *mut c_uint) {
        here.put_u32(clock, of_two(Field::CLOCK_APPLICATION, kind)?)
    }
    nvmlDeviceGetDefaultApplicationsClock |here| (kind: c_uint, clock: *mut c_uint) {
        here.put_u32(clock, of_two(Field::CLOCK_APPLICATION_DEFAULT, kind)?)
    }
    nvmlDeviceGetPerformanceState |here| (state: *mut c_uint) { here.put_u32(state, Field::PERFORMANCE_STATE) }
    nvmlDeviceGetPowerState |here| (state: *mut c_uint) { here.put_u32(state, Field::PERFORMANCE_STATE) }
    nvmlDeviceGetCurrentClocksEventReasons |here| (reasons: *mut c_ulonglong) {
        here.put_u64(reasons, Field::CLOCK_EVENT_REASONS)
    }
    nvmlDeviceGetCurrentClocksThrottleReasons |here| (reasons: *mut c_ulonglong) {
        here.put_u64(reasons, Field::CLOCK_EVENT_REASONS)
    }
    nvmlDeviceGetSupportedClocksEventReasons |here| (reasons: *mut c_ulonglong) {
        here.put_u64(reasons, Field::CLOCK_EVENT_REASONS_SUPPORTED)
    }
    nvmlDeviceGetSupportedClocksThrottleReasons |here| (reasons: *mut c_ulonglong) {
        here.put_u64(reasons, Field::CLOCK_EVENT_REASONS_SUPPORTED)
    }
    nvmlDeviceGetViolationStatus |here| (policy: c_uint, time: *mut ViolationTime) {
        let violation_ns = match policy {
            0 => here.u64(Field::SW_POWER_CAP_TIME)?,
            1 => here.u64(Field::SW_THERMAL_TIME)?,
            2 => here.u64(Field::SYNC_BOOST_TIME)?,
            // Board limit, low utilisation, reliability, application and base clocks: counted, never hit.
            3..=5 | 10 | 11 => here.u64(Field::SW_POWER_CAP_TIME).map(|_| 0)?,
            _ => return Err(abi::INVALID_ARGUMENT),
        };
        put(time, ViolationTime { reference_us: here.world.now_unix_ms() * 1000, violation_ns })
    }
    nvmlDeviceGetGpuOperationMode |here| (current: *mut c_int, pending: *mut c_int) {
        put(current, here.i32(Field::GPU_OPERATION_MODE)?)?;
        put(pending, here.i32(Field::GPU_OPERATION_MODE_PENDING)?)
    }
}
