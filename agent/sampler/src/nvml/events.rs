use std::sync::Arc;

use nvml_wrapper_sys::bindings::{nvmlEventData_t, nvmlEventSet_t};
use rackmark_model::GpuEventKind;

use super::device::{Absent, on};
use super::{Device, Library, Status, call};
use crate::watch::CallWatch;

/// `nvmlEventTypeXidCriticalError`.
const XID: u64 = 8;

/// Event types that come with every change of load (`nvmlEventTypePState`,
/// `nvmlEventTypeClock`): the readings show both, and each would wake the thread.
const EVERYDAY: u64 = 4 | 16;

/// The events of one GPU. Each GPU has its own set: registering a GPU that does
/// not support events may spoil the set it is registered in.
pub(crate) struct EventSet {
    library: Arc<Library>,
    watch: Arc<CallWatch>,
    set: nvmlEventSet_t,
}

/// One event, with NVML's type bits as they came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NvmlEvent {
    pub(crate) kind: GpuEventKind,
    pub(crate) gpu_instance_id: Option<u32>,
    pub(crate) compute_instance_id: Option<u32>,
}

impl EventSet {
    /// Registers for every event type this GPU supports, but for [`EVERYDAY`].
    pub(crate) fn open(device: &Device) -> Result<Self, Status> {
        let mut supported = 0;
        on!(device, nvmlDeviceGetSupportedEventTypes(&mut supported))?;
        let wanted = supported & !EVERYDAY;
        if wanted == 0 {
            return Err(Status::NOT_SUPPORTED);
        }
        let mut set: nvmlEventSet_t = std::ptr::null_mut();
        call!(device.bindings(), device.watch, nvmlEventSetCreate(&mut set))?;
        // From here on dropping `this` frees the set, registered or not.
        let this = Self { library: Arc::clone(&device.library), watch: Arc::clone(&device.watch), set };
        on!(device, nvmlDeviceRegisterEvents(wanted, set))?;
        Ok(this)
    }

    /// Waits for the next event, `timeout_ms` at most; `None` where none came.
    pub(crate) fn wait(&self, timeout_ms: u32) -> Result<Option<NvmlEvent>, Status> {
        let mut data = nvmlEventData_t {
            device: std::ptr::null_mut(),
            eventType: 0,
            eventData: 0,
            gpuInstanceId: u32::MAX,
            computeInstanceId: u32::MAX,
        };
        match call!(self.library.bindings(), self.watch, nvmlEventSetWait_v2(self.set, &mut data, timeout_ms))
        {
            Ok(()) => Ok(Some(NvmlEvent::from(&data))),
            Err(Status::TIMEOUT) => Ok(None),
            Err(status) => Err(status),
        }
    }
}

impl Drop for EventSet {
    fn drop(&mut self) {
        // A set that cannot be freed is lost with the library; nothing to do about it.
        let _ = call!(self.library.bindings(), self.watch, nvmlEventSetFree(self.set));
    }
}

impl From<&nvmlEventData_t> for NvmlEvent {
    fn from(data: &nvmlEventData_t) -> Self {
        let kind = match (data.eventType, u32::try_from(data.eventData)) {
            (XID, Ok(code)) => GpuEventKind::Xid { code },
            (event_type, _) => GpuEventKind::Other { event_type, data: data.eventData },
        };
        let id = |id: u32| (!id.is_absent()).then_some(id);
        Self {
            kind,
            gpu_instance_id: id(data.gpuInstanceId),
            compute_instance_id: id(data.computeInstanceId),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data(event_type: u64, event_data: u64, instances: (u32, u32)) -> nvmlEventData_t {
        nvmlEventData_t {
            device: std::ptr::null_mut(),
            eventType: event_type,
            eventData: event_data,
            gpuInstanceId: instances.0,
            computeInstanceId: instances.1,
        }
    }

    #[test]
    fn newer_event_bits_and_mig_ids_are_kept() {
        let recovery = NvmlEvent::from(&data(0x8000, 1, (u32::MAX, u32::MAX)));
        assert_eq!(recovery.kind, GpuEventKind::Other { event_type: 0x8000, data: 1 });
        assert_eq!(recovery.gpu_instance_id, None);
        let xid = NvmlEvent::from(&data(8, 94, (3, 0)));
        assert_eq!(xid.kind, GpuEventKind::Xid { code: 94 });
        assert_eq!((xid.gpu_instance_id, xid.compute_instance_id), (Some(3), Some(0)));
    }
}
