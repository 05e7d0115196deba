use rackmark_model::{NoData, ProcessKind, ProcessUse};

use crate::nvml::{Device, RawProcess};

/// The processes on a GPU. One that is listed for compute and for graphics is
/// one process with both; under MIG it is told apart by instance.
pub(super) fn read_processes(device: &Device) -> Vec<ProcessUse> {
    let compute = device.compute_processes().unwrap_or_default();
    let graphics = device.graphics_processes().unwrap_or_default();
    let mut merged = merge(&compute, &graphics);
    for process in &mut merged {
        process.name = device.library().process_name(process.pid, device.watch()).map_err(NoData::from);
    }
    merged
}

fn merge(compute: &[RawProcess], graphics: &[RawProcess]) -> Vec<ProcessUse> {
    let mut merged: Vec<ProcessUse> = Vec::with_capacity(compute.len() + graphics.len());
    let compute = compute.iter().map(|raw| (raw, ProcessKind::Compute));
    let graphics = graphics.iter().map(|raw| (raw, ProcessKind::Graphics));
    for (raw, kind) in compute.chain(graphics) {
        let same = |known: &&mut ProcessUse| {
            known.pid == raw.pid
                && known.gpu_instance_id == raw.gpu_instance_id
                && known.compute_instance_id == raw.compute_instance_id
        };
        match merged.iter_mut().find(same) {
            Some(known) if known.kind != kind => known.kind = ProcessKind::ComputeAndGraphics,
            Some(_) => {}
            None => merged.push(ProcessUse {
                pid: raw.pid,
                kind,
                name: Err(NoData::NotSampled),
                memory_used: raw.memory_used.map_err(NoData::from),
                gpu_instance_id: raw.gpu_instance_id,
                compute_instance_id: raw.compute_instance_id,
            }),
        }
    }
    merged
}

#[cfg(test)]
mod tests {
    use rackmark_model::Bytes;

    use super::*;

    fn raw(pid: u32, instance: Option<u32>) -> RawProcess {
        RawProcess {
            pid,
            memory_used: Ok(Bytes(1)),
            gpu_instance_id: instance,
            compute_instance_id: instance,
        }
    }

    #[test]
    fn a_process_in_both_lists_is_one_process() {
        let merged = merge(&[raw(1, None), raw(2, Some(1)), raw(2, Some(2))], &[raw(1, None), raw(3, None)]);
        let seen: Vec<_> = merged.iter().map(|process| (process.pid, process.kind)).collect();
        use ProcessKind::{Compute, ComputeAndGraphics, Graphics};
        assert_eq!(seen, [(1, ComputeAndGraphics), (2, Compute), (2, Compute), (3, Graphics)]);
    }
}
