//! Event sets.

use super::{device_calls, system_calls};
use crate::abi::{self, EventData, EventSetHandle, Ret, put};
use crate::events::SUPPORTED;
use crate::world::{Handle, ready};
use std::ffi::{c_uint, c_ulonglong};
use std::time::{Duration, Instant};

system_calls! {
    nvmlEventSetCreate |world| (set: *mut EventSetHandle) { put(set, world.sets.create()?) }
    nvmlEventSetFree |world| (set: EventSetHandle) { world.sets.free(set) }
}

device_calls! {
    nvmlDeviceGetSupportedEventTypes |_here| (types: *mut c_ulonglong) { put(types, SUPPORTED) }
    nvmlDeviceRegisterEvents |here| (types: c_ulonglong, set: EventSetHandle) {
        if types & !SUPPORTED != 0 {
            return Err(abi::NOT_SUPPORTED);
        }
        here.world.sets.register(set, here.index, types)
    }
}

/// Waits for the next event of a set. Sleeps in the kernel until a command arrives, a timeline event is due or time is up.
fn wait(set: EventSetHandle, data: *mut EventData, timeout_ms: c_uint) -> Result<(), Ret> {
    let end = Instant::now() + Duration::from_millis(timeout_ms.into());
    let world = ready()?;
    if let Some(gpu) = world.sets.registered(set, |_| true)? {
        match world.gpus[gpu].faults.pass(world, "nvmlEventSetWait_v2", false) {
            Ok(()) | Err(abi::GPU_IS_LOST) => {}
            Err(code) => return Err(code),
        }
    }
    loop {
        let seen = world.generation().now();
        ready()?;
        if let Some(event) = world.sets.next(set)? {
            let device = Handle { incarnation: world.incarnation(), gpu: event.gpu, mig: None }.to_device();
            return put(
                data,
                EventData {
                    device,
                    event_type: event.kind,
                    event_data: event.data,
                    gpu_instance: event.instances.gpu,
                    compute_instance: event.instances.compute,
                },
            );
        }
        if world.sets.registered(set, |gpu| world.gpus[gpu].faults.is_lost())?.is_some() {
            return Err(abi::GPU_IS_LOST);
        }
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(abi::TIMEOUT);
        }
        let due =
            world.next_due_ms().map(|due| Duration::from_millis(due.saturating_sub(world.now_ms()).max(1)));
        world.generation().wait(seen, Some(due.map_or(left, |due| due.min(left))));
    }
}

/// NVML's `nvmlEventSetWait_v2`.
#[unsafe(no_mangle)]
pub extern "C" fn nvmlEventSetWait_v2(set: EventSetHandle, data: *mut EventData, timeout_ms: c_uint) -> Ret {
    super::answer(wait(set, data, timeout_ms))
}
