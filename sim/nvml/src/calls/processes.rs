//! Processes on a GPU.

use super::{any_device_calls, device_calls};
use crate::abi::{self, ProcessInfo, ProcessInfoV1, ProcessUtilization, Ret, put, take};
use crate::fields::Field;
use crate::profile::Process;
use crate::world::Here;
use std::ffi::{c_uint, c_ulonglong};

/// Lists the selected processes: their number first, and the list if there is room for it.
fn list<T>(
    here: &Here,
    count: *mut c_uint,
    out: *mut T,
    select: fn(&Process) -> bool,
    entry: fn(&Process) -> T,
) -> Result<(), Ret> {
    let mig = here.mig();
    let on = |process: &&Process| {
        select(process)
            && mig.is_none_or(|mig| {
                (mig.gpu_instance, mig.compute_instance) == (process.gpu_instance, process.compute_instance)
            })
    };
    let room = take(count)?;
    let found = here.state.processes.iter().filter(on).count() as c_uint;
    put(count, found)?;
    if found == 0 {
        return Ok(());
    }
    if room < found {
        return Err(abi::INSUFFICIENT_SIZE);
    }
    if out.is_null() {
        return Err(abi::INVALID_ARGUMENT);
    }
    for (at, process) in here.state.processes.iter().filter(on).enumerate() {
        put(out.wrapping_add(at), entry(process))?;
    }
    Ok(())
}

fn entry(process: &Process) -> ProcessInfo {
    ProcessInfo {
        pid: process.pid,
        used_memory: process.memory_bytes,
        gpu_instance: process.gpu_instance,
        compute_instance: process.compute_instance,
    }
}

fn entry_v1(process: &Process) -> ProcessInfoV1 {
    ProcessInfoV1 { pid: process.pid, used_memory: process.memory_bytes }
}

fn compute(process: &Process) -> bool {
    process.compute
}

fn graphics(process: &Process) -> bool {
    process.graphics
}

fn nobody(_: &Process) -> bool {
    false
}

any_device_calls! {
    nvmlDeviceGetComputeRunningProcesses_v3 |here| (count: *mut c_uint, infos: *mut ProcessInfo) {
        here.state.get(Field::PROCESSES_COMPUTE)?;
        list(&here, count, infos, compute, entry)
    }
    nvmlDeviceGetComputeRunningProcesses_v2 |here| (count: *mut c_uint, infos: *mut ProcessInfo) {
        here.state.get(Field::PROCESSES_COMPUTE)?;
        list(&here, count, infos, compute, entry)
    }
    nvmlDeviceGetComputeRunningProcesses |here| (count: *mut c_uint, infos: *mut ProcessInfoV1) {
        here.state.get(Field::PROCESSES_COMPUTE)?;
        list(&here, count, infos, compute, entry_v1)
    }
    nvmlDeviceGetGraphicsRunningProcesses_v3 |here| (count: *mut c_uint, infos: *mut ProcessInfo) {
        here.state.get(Field::PROCESSES_GRAPHICS)?;
        list(&here, count, infos, graphics, entry)
    }
    nvmlDeviceGetGraphicsRunningProcesses_v2 |here| (count: *mut c_uint, infos: *mut ProcessInfo) {
        here.state.get(Field::PROCESSES_GRAPHICS)?;
        list(&here, count, infos, graphics, entry)
    }
    nvmlDeviceGetGraphicsRunningProcesses |here| (count: *mut c_uint, infos: *mut ProcessInfoV1) {
        here.state.get(Field::PROCESSES_GRAPHICS)?;
        list(&here, count, infos, graphics, entry_v1)
    }
    nvmlDeviceGetMPSComputeRunningProcesses_v3 |here| (count: *mut c_uint, infos: *mut ProcessInfo) {
        list(&here, count, infos, nobody, entry)
    }
}

device_calls! {
    nvmlDeviceGetProcessUtilization |here| (out: *mut ProcessUtilization, count: *mut c_uint, last_seen: c_ulonglong) {
        let sm = here.u32(Field::UTILIZATION_GPU)?;
        let processes = &here.state.processes;
        let stamp = here.world.now_unix_ms() * 1000;
        // Like the driver: no sample since then is "not found", and so is an idle GPU.
        if sm == 0 || processes.is_empty() || last_seen >= stamp {
            return Err(abi::NOT_FOUND);
        }
        let found = processes.len() as c_uint;
        let room = take(count)?;
        put(count, found)?;
        if out.is_null() || room < found {
            return Err(abi::INSUFFICIENT_SIZE);
        }
        let share = |whole: u32| whole / found;
        let memory = share(here.u32(Field::UTILIZATION_MEMORY).unwrap_or(0));
        for (at, process) in processes.iter().enumerate() {
            let sample = ProcessUtilization {
                pid: process.pid,
                timestamp: stamp,
                sm: share(sm),
                memory,
                encoder: share(here.u32(Field::UTILIZATION_ENCODER).unwrap_or(0)),
                decoder: share(here.u32(Field::UTILIZATION_DECODER).unwrap_or(0)),
            };
            put(out.wrapping_add(at), sample)?;
        }
        Ok(())
    }
}
