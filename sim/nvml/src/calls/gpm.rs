//! GPU performance monitoring: two samples, and the metrics between them.

use super::{answer, device_calls, system_calls};
use crate::abi::{
    self, Device, GpmMetric, GpmMetricInfo, GpmMetricsHead, GpmSampleHandle, GpmSupport, Ret, put, take,
};
use crate::cell::Cell;
use crate::fields::Field;
use crate::world::{Here, enter, ready};
use std::ffi::{CStr, c_uint};
use std::sync::{Mutex, PoisonError};

/// Marks a sample handle.
const HANDLE_BASE: usize = 0x51F0_0000_0000;
/// Most samples at a time.
const MAX_SAMPLES: usize = 4096;
/// Most metrics that one question asks for.
const MAX_METRICS: c_uint = 1024;

#[derive(Clone, Copy)]
struct Sample {
    gpu: usize,
    taken_ms: u64,
    /// Graphics, SM, occupancy, tensor, DRAM in permille; PCIe sent and received in bytes per second; NVLink bytes.
    figures: [Cell; 9],
    taken: bool,
}

const EMPTY: Sample = Sample { gpu: 0, taken_ms: 0, figures: [Cell::NOT_SUPPORTED; 9], taken: false };

static SAMPLES: Mutex<Vec<Option<Sample>>> = Mutex::new(Vec::new());

fn with_sample<T>(handle: GpmSampleHandle, act: impl FnOnce(&mut Sample) -> T) -> Result<T, Ret> {
    let at = (handle as usize).checked_sub(HANDLE_BASE).ok_or(abi::INVALID_ARGUMENT)?;
    let mut samples = SAMPLES.lock().unwrap_or_else(PoisonError::into_inner);
    samples.get_mut(at).and_then(Option::as_mut).map(act).ok_or(abi::INVALID_ARGUMENT)
}

system_calls! {
    nvmlGpmSampleAlloc |_world| (sample: *mut GpmSampleHandle) {
        let mut samples = SAMPLES.lock().unwrap_or_else(PoisonError::into_inner);
        let at = match samples.iter().position(Option::is_none) {
            Some(free) => free,
            None if samples.len() < MAX_SAMPLES => {
                samples.push(None);
                samples.len() - 1
            }
            None => return Err(abi::INSUFFICIENT_RESOURCES),
        };
        put(sample, (HANDLE_BASE + at) as GpmSampleHandle)?;
        samples[at] = Some(EMPTY);
        Ok(())
    }
}

/// NVML's `nvmlGpmSampleFree`: works without initialisation too.
#[unsafe(no_mangle)]
pub extern "C" fn nvmlGpmSampleFree(sample: GpmSampleHandle) -> Ret {
    answer(with_sample(sample, |_| ()).map(|()| {
        SAMPLES.lock().unwrap_or_else(PoisonError::into_inner)[sample as usize - HANDLE_BASE] = None;
    }))
}

fn sample(here: &Here) -> Result<Sample, Ret> {
    if here.state.get(Field::GPM_SUPPORTED)? != 1 {
        return Err(abi::NOT_SUPPORTED);
    }
    let cell = |field| here.state.get(field).map_or_else(Cell::error, Cell::value);
    let graphics =
        here.state.get(Field::UTILIZATION_GPU).map_or_else(Cell::error, |percent| Cell::value(percent * 10));
    Ok(Sample {
        gpu: here.index,
        taken_ms: here.now_ms,
        figures: [
            graphics,
            cell(Field::SM_ACTIVE),
            // Warps fill about half of the slots while the SMs are active.
            here.state.get(Field::SM_ACTIVE).map_or_else(Cell::error, |permille| Cell::value(permille / 2)),
            cell(Field::TENSOR_ACTIVE),
            cell(Field::DRAM_ACTIVE),
            cell(Field::PCIE_TRANSMIT),
            cell(Field::PCIE_RECEIVE),
            cell(Field::NVLINK_TRANSMIT),
            cell(Field::NVLINK_RECEIVE),
        ],
        taken: true,
    })
}

device_calls! {
    nvmlGpmQueryDeviceSupport |here| (support: *mut GpmSupport) {
        if take(support)?.version != 1 {
            return Err(abi::ARGUMENT_VERSION_MISMATCH);
        }
        let supported = here.u32(Field::GPM_SUPPORTED).unwrap_or(0);
        put(support, GpmSupport { version: 1, supported })
    }
}

/// NVML's `nvmlGpmSampleGet`.
#[unsafe(no_mangle)]
pub extern "C" fn nvmlGpmSampleGet(device: Device, handle: GpmSampleHandle) -> Ret {
    answer((|| {
        let taken = sample(&enter("nvmlGpmSampleGet", device)?.physical()?)?;
        with_sample(handle, |sample| *sample = taken)
    })())
}

struct Metric {
    short: &'static CStr,
    long: &'static CStr,
    unit: &'static CStr,
    value: Result<f64, Ret>,
}

fn metric(id: c_uint, from: &Sample, to: &Sample) -> Metric {
    let share = |at: usize| {
        let (one, other) = (from.figures[at].get()?, to.figures[at].get()?);
        Ok((one + other) as f64 / 20.0)
    };
    let seconds = to.taken_ms.abs_diff(from.taken_ms) as f64 / 1000.0;
    let rate = |at: usize| {
        let bytes = to.figures[at].get()? - from.figures[at].get()?;
        Ok(if seconds > 0.0 { bytes.max(0) as f64 / seconds / 1_048_576.0 } else { 0.0 })
    };
    let mean_rate =
        |at: usize| Ok((from.figures[at].get()? + to.figures[at].get()?) as f64 / 2.0 / 1_048_576.0);
    let (short, long, unit, value) = match id {
        1 => (c"Graphics_Util", c"Graphics engine utilisation", c"%", share(0)),
        2 => (c"SM_Util", c"SM utilisation", c"%", share(1)),
        3 => (c"SM_Occupancy", c"SM occupancy", c"%", share(2)),
        5 => (c"Any_Tensor_Util", c"Tensor pipe utilisation", c"%", share(3)),
        7 => (c"HMMA_Tensor_Util", c"Tensor pipe utilisation, floating point", c"%", share(3)),
        4 | 6 | 9 | 11..=13 => (c"Pipe_Util", c"Pipe utilisation", c"%", share(1).map(|_| 0.0)),
        10 => (c"DRAM_BW_Util", c"DRAM bandwidth utilisation", c"%", share(4)),
        20 => (c"PCIe_TX", c"PCIe bytes sent", c"MiB/s", mean_rate(5)),
        21 => (c"PCIe_RX", c"PCIe bytes received", c"MiB/s", mean_rate(6)),
        60 => (c"NVLink_RX", c"NVLink bytes received", c"MiB/s", rate(8)),
        61 => (c"NVLink_TX", c"NVLink bytes sent", c"MiB/s", rate(7)),
        _ => (c"", c"", c"", Err(abi::NOT_SUPPORTED)),
    };
    Metric { short, long, unit, value }
}

/// NVML's `nvmlGpmMetricsGet`.
#[unsafe(no_mangle)]
pub extern "C" fn nvmlGpmMetricsGet(request: *mut GpmMetricsHead) -> Ret {
    answer((|| {
        ready()?;
        let head = take(request)?;
        if head.version != 1 {
            return Err(abi::ARGUMENT_VERSION_MISMATCH);
        }
        let from = with_sample(head.sample1, |sample| *sample)?;
        let to = with_sample(head.sample2, |sample| *sample)?;
        if head.count > MAX_METRICS || !from.taken || !to.taken || from.gpu != to.gpu {
            return Err(abi::INVALID_ARGUMENT);
        }
        // In NVML's struct the metrics follow the head directly, and the caller filled `count` of them.
        let metrics = request.wrapping_add(1).cast::<GpmMetric>();
        for at in 0..head.count as usize {
            let item = metrics.wrapping_add(at);
            let id = take(item)?.id;
            let found = metric(id, &from, &to);
            let info = GpmMetricInfo {
                short_name: found.short.as_ptr(),
                long_name: found.long.as_ptr(),
                unit: found.unit.as_ptr(),
            };
            put(
                item,
                GpmMetric {
                    id,
                    ret: found.value.err().unwrap_or(abi::SUCCESS),
                    value: found.value.unwrap_or(0.0),
                    info,
                },
            )?;
        }
        Ok(())
    })())
}
