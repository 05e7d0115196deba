use std::ffi::c_uint;

use nvml_wrapper_sys::bindings::{nvmlDevice_t, nvmlProcessInfo_v2_st};
use rackmark_model::Bytes;

use super::device::{Absent, on};
use super::{Device, Status};

/// Most processes of one kind that are listed for one GPU.
const PROCESSES_MAX: usize = 1024;

/// Processes that fit on the stack; more are rare and cost an allocation.
const PROCESSES_FEW: usize = 32;

/// Times a list is asked for again because it grew in the meantime.
const RETRIES: usize = 4;

const NO_PROCESS: nvmlProcessInfo_v2_st =
    nvmlProcessInfo_v2_st { pid: 0, usedGpuMemory: 0, gpuInstanceId: u32::MAX, computeInstanceId: u32::MAX };

/// One process on a GPU as NVML lists it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RawProcess {
    pub(crate) pid: u32,
    pub(crate) memory_used: Result<Bytes, Status>,
    pub(crate) gpu_instance_id: Option<u32>,
    pub(crate) compute_instance_id: Option<u32>,
}

impl From<&nvmlProcessInfo_v2_st> for RawProcess {
    fn from(info: &nvmlProcessInfo_v2_st) -> Self {
        let id = |id: c_uint| (!id.is_absent()).then_some(id);
        let memory = info.usedGpuMemory;
        Self {
            pid: info.pid,
            memory_used: if memory.is_absent() { Err(Status::NOT_SUPPORTED) } else { Ok(Bytes(memory)) },
            gpu_instance_id: id(info.gpuInstanceId),
            compute_instance_id: id(info.computeInstanceId),
        }
    }
}

impl Device {
    /// Processes with a compute context.
    pub(crate) fn compute_processes(&self) -> Result<Vec<RawProcess>, Status> {
        list(|count, infos| on!(self, nvmlDeviceGetComputeRunningProcesses_v3(count, infos)))
    }

    /// Processes with a graphics context.
    pub(crate) fn graphics_processes(&self) -> Result<Vec<RawProcess>, Status> {
        list(|count, infos| on!(self, nvmlDeviceGetGraphicsRunningProcesses_v3(count, infos)))
    }

    /// How many processes have a compute context.
    pub(crate) fn compute_process_count(&self) -> Result<u32, Status> {
        count(|count, infos| on!(self, nvmlDeviceGetComputeRunningProcesses_v3(count, infos)))
    }

    /// How many processes have a graphics context.
    pub(crate) fn graphics_process_count(&self) -> Result<u32, Status> {
        count(|count, infos| on!(self, nvmlDeviceGetGraphicsRunningProcesses_v3(count, infos)))
    }

    /// The MIG devices of this GPU, each with its index; indices may have gaps.
    pub(crate) fn mig_devices(&self) -> Result<Vec<(u32, Self)>, Status> {
        let mut slots = 0;
        on!(self, nvmlDeviceGetMaxMigDeviceCount(&mut slots))?;
        let mut found = Vec::new();
        // No GPU has more than seven; the bound guards against a wild answer.
        for index in 0..slots.min(64) {
            let mut handle: nvmlDevice_t = std::ptr::null_mut();
            match on!(self, nvmlDeviceGetMigDeviceHandleByIndex(index, &mut handle)) {
                Ok(()) => found.push((index, self.with_handle(handle))),
                Err(Status::NOT_FOUND | Status::INVALID_ARGUMENT) => {}
                Err(status) => return Err(status),
            }
        }
        Ok(found)
    }
}

/// Counts with a small buffer: where it is too small, NVML says how many there are.
fn count(ask: impl Fn(&mut c_uint, *mut nvmlProcessInfo_v2_st) -> Result<(), Status>) -> Result<u32, Status> {
    let mut few = [NO_PROCESS; PROCESSES_FEW];
    let mut count = PROCESSES_FEW as c_uint;
    match ask(&mut count, few.as_mut_ptr()) {
        Ok(()) | Err(Status::INSUFFICIENT_SIZE) => Ok(count),
        // How NVML answers for an idle GPU in some drivers.
        Err(Status::NOT_FOUND) => Ok(0),
        Err(status) => Err(status),
    }
}

fn list(
    ask: impl Fn(&mut c_uint, *mut nvmlProcessInfo_v2_st) -> Result<(), Status>,
) -> Result<Vec<RawProcess>, Status> {
    let mut room = PROCESSES_FEW;
    for _ in 0..RETRIES {
        let mut infos = vec![NO_PROCESS; room];
        let mut count = room as c_uint;
        match ask(&mut count, infos.as_mut_ptr()) {
            Ok(()) => return Ok(infos.iter().take(count as usize).map(RawProcess::from).collect()),
            Err(Status::NOT_FOUND) => return Ok(Vec::new()),
            Err(Status::INSUFFICIENT_SIZE) if room < PROCESSES_MAX => {
                // Room for those that start while it is asked again.
                room = (count as usize).saturating_mul(2).clamp(room * 2, PROCESSES_MAX);
            }
            Err(status) => return Err(status),
        }
    }
    Err(Status::INSUFFICIENT_SIZE)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Answers like a driver with `running` processes.
    fn driver(running: usize) -> impl Fn(&mut c_uint, *mut nvmlProcessInfo_v2_st) -> Result<(), Status> {
        move |count, infos| {
            let room = *count as usize;
            *count = running as c_uint;
            if room < running {
                return Err(Status::INSUFFICIENT_SIZE);
            }
            for position in 0..running {
                // SAFETY: the caller says that `infos` has `room` entries, and
                // `position` is below `running`, which is at most `room`.
                unsafe { (*infos.add(position)).pid = position as u32 + 1 };
            }
            Ok(())
        }
    }

    #[test]
    fn counting_and_listing_agree_for_any_number() {
        for running in [0, 1, 31, 32, 33, 200, PROCESSES_MAX] {
            assert_eq!(count(driver(running)), Ok(running as u32));
            let listed = list(driver(running)).expect("list");
            assert_eq!(listed.len(), running);
            assert!(listed.iter().zip(1..).all(|(process, pid)| process.pid == pid));
        }
    }

    #[test]
    fn a_list_that_outgrows_its_bound_is_refused_not_cut() {
        assert_eq!(list(driver(PROCESSES_MAX + 1)), Err(Status::INSUFFICIENT_SIZE));
        assert_eq!(count(driver(PROCESSES_MAX + 1)), Ok(1025));
    }

    #[test]
    fn sentinels_are_absent_and_not_numbers() {
        let unknown = nvmlProcessInfo_v2_st { usedGpuMemory: u64::MAX, ..NO_PROCESS };
        let process = RawProcess::from(&unknown);
        assert_eq!(process.memory_used, Err(Status::NOT_SUPPORTED));
        assert_eq!((process.gpu_instance_id, process.compute_instance_id), (None, None));
    }
}
