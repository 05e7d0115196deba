//! Utilisation, encoder and frame-buffer capture.

use super::device_calls;
use crate::abi::{FbcStats, Utilization, put};
use crate::fields::Field;
use crate::world::Here;
use std::ffi::c_uint;

/// Sampling period that the engine figures name, in microseconds.
const PERIOD_US: c_uint = 167_000;

fn engine(
    here: &Here,
    field: Field,
    percent: *mut c_uint,
    period: *mut c_uint,
) -> Result<(), crate::abi::Ret> {
    put(percent, here.u32(field)?)?;
    put(period, PERIOD_US)
}

device_calls! {
    nvmlDeviceGetUtilizationRates |here| (utilization: *mut Utilization) {
        put(utilization, Utilization { gpu: here.u32(Field::UTILIZATION_GPU)?, memory: here.u32(Field::UTILIZATION_MEMORY)? })
    }
    nvmlDeviceGetEncoderUtilization |here| (percent: *mut c_uint, period: *mut c_uint) {
        engine(&here, Field::UTILIZATION_ENCODER, percent, period)
    }
    nvmlDeviceGetDecoderUtilization |here| (percent: *mut c_uint, period: *mut c_uint) {
        engine(&here, Field::UTILIZATION_DECODER, percent, period)
    }
    nvmlDeviceGetJpgUtilization |here| (percent: *mut c_uint, period: *mut c_uint) {
        engine(&here, Field::UTILIZATION_JPEG, percent, period)
    }
    nvmlDeviceGetOfaUtilization |here| (percent: *mut c_uint, period: *mut c_uint) {
        engine(&here, Field::UTILIZATION_OFA, percent, period)
    }
    nvmlDeviceGetEncoderStats |here| (sessions: *mut c_uint, rate: *mut c_uint, latency: *mut c_uint) {
        put(sessions, here.u32(Field::ENCODER_SESSIONS)?)?;
        put(rate, here.u32(Field::ENCODER_RATE)?)?;
        here.put_u32(latency, Field::ENCODER_LATENCY)
    }
    nvmlDeviceGetFBCStats |here| (stats: *mut FbcStats) {
        put(stats, FbcStats {
            sessions: here.u32(Field::FBC_SESSIONS)?,
            rate: here.u32(Field::FBC_RATE)?,
            latency: here.u32(Field::FBC_LATENCY)?,
        })
    }
}
