use rackmark_model::{Bytes, MigInstance, NoData};

use super::wide;
use crate::nvml::{Counter, Device, EccKind, Location};

/// The MIG instances of a GPU; empty where MIG is off or not offered.
pub(super) fn read_mig(device: &Device) -> Vec<MigInstance> {
    if !device.mig_mode().is_ok_and(|mode| mode.current) {
        return Vec::new();
    }
    let devices = device.mig_devices().unwrap_or_default();
    devices.iter().map(|(index, mig)| instance(*index, mig)).collect()
}

fn instance(index: u32, mig: &Device) -> MigInstance {
    let attributes = mig.attributes().map_err(NoData::from);
    let memory = mig.memory().map_err(NoData::from);
    let bar1 = mig.bar1().map_err(NoData::from);
    MigInstance {
        index,
        gpu_instance_id: mig.gpu_instance_id().map_err(NoData::from),
        compute_instance_id: mig.compute_instance_id().map_err(NoData::from),
        uuid: mig.uuid().map_err(NoData::from),
        name: mig.name().map_err(NoData::from),
        multiprocessors: attributes.map(|given| given.multiprocessors),
        copy_engines: attributes.map(|given| given.copy_engines),
        decoders: attributes.map(|given| given.decoders),
        encoders: attributes.map(|given| given.encoders),
        jpegs: attributes.map(|given| given.jpegs),
        ofas: attributes.map(|given| given.ofas),
        memory_total: memory.and_then(|memory| wide(memory.total, Bytes)),
        memory_reserved: memory.and_then(|memory| wide(memory.reserved, Bytes)),
        memory_used: memory.and_then(|memory| wide(memory.used, Bytes)),
        memory_free: memory.and_then(|memory| wide(memory.free, Bytes)),
        bar1_total: bar1.map(|(total, _, _)| Bytes(total)),
        bar1_free: bar1.map(|(_, free, _)| Bytes(free)),
        bar1_used: bar1.map(|(_, _, used)| Bytes(used)),
        ecc_uncorrected_sram: mig
            .ecc_at(EccKind::Uncorrected, Counter::Volatile, Location::Sram)
            .map_err(NoData::from),
    }
}
