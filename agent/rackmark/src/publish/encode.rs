//! From the agent's model to the public feed types. Only this file knows both,
//! so that a rename inside cannot change the feed.

use rackmark_feed::fields;
use rackmark_feed::telemetry::signed;
use rackmark_feed::{
    Audience, Capacity, Cell, ClaimClass, EventKind, FAST_FIELDS, Field, FieldGroup, GpuCapacity, GpuRef,
    GpuSlow, MigInstance, NoData, NvLink, NvLinkRemote, Process, ProcessKind, TelemetrySlow, Value,
};
use rackmark_firmware_hooks::inventory::{Changed, Finding};
use rackmark_hardware::host::HostInfo;
use rackmark_model as model;
use rackmark_model::Bytes;
use rackmark_model::readings::{Descriptor, Fast, Inventory, Slow};

use crate::config::Config;
use crate::sampling::roster::{Gpu, Roster};

/// Feed field ids of the readings of each class, in descriptor order. A
/// reading without a field would be a hole in the feed; a test holds that.
pub struct Ids {
    inventory: Vec<u16>,
    slow: Vec<u16>,
}

impl Ids {
    pub fn new() -> Self {
        let ids = |descriptors: &[Descriptor]| {
            let id = |descriptor: &Descriptor| fields::by_name(&descriptor.edge_name()).map(|field| field.id);
            descriptors.iter().filter_map(id).collect()
        };
        Self { inventory: ids(Inventory::DESCRIPTORS), slow: ids(Slow::DESCRIPTORS) }
    }
}

/// The capacity document for the operator, from which the others are cut.
pub fn capacity(roster: &Roster, config: &Config, host: Option<&HostInfo>, ids: &Ids) -> Capacity {
    let mut reported = Vec::new();
    if let Some(driver) = &roster.driver {
        push_text(&mut reported, "driver_version", &driver.driver_version);
        push_text(&mut reported, "nvml_version", &driver.nvml_version);
        push_text(&mut reported, "cuda_driver_version", &driver.cuda_driver_version);
        push_text(&mut reported, "driver_branch", &driver.driver_branch);
        let confidential = driver.confidential_computing.map(|state| state.name().to_owned());
        push_text(&mut reported, "confidential_computing", &confidential);
    }
    if let Some(host) = host {
        if let Some(model) = &host.cpu_model {
            push(&mut reported, "host_cpu_model", text(model));
        }
        push(&mut reported, "host_cpus_logical", Value::Unsigned(u64::from(host.cpu_logical)));
        push(&mut reported, "host_numa_nodes", Value::Unsigned(u64::from(host.numa_nodes)));
        push(&mut reported, "host_memory_total_bytes", Value::Unsigned(host.memory_total.0));
    }
    let mut declared = Vec::new();
    push(&mut declared, "site", text(&config.site));
    if let Some(place) = &config.place {
        push(&mut declared, "place", text(place));
    }
    Capacity {
        audience: Audience::Operator,
        simulated: roster.simulated(),
        groups: vec![
            FieldGroup { claim: ClaimClass::Reported, fields: reported },
            FieldGroup { claim: ClaimClass::Declared, fields: declared },
        ],
        gpus: roster.gpus.iter().map(|gpu| gpu_capacity(gpu, ids)).collect(),
        extensions: super::health::extensions(roster),
    }
}

fn gpu_capacity(gpu: &Gpu, ids: &Ids) -> GpuCapacity {
    let mut known = Vec::new();
    if let Some(inventory) = &gpu.inventory {
        inventory.each(|at, reading| known.push(Field { id: ids.inventory[at], value: value(reading) }));
    } else {
        // A GPU that was never read this time keeps the names of earlier runs.
        let names =
            [("uuid", &gpu.identity.uuid), ("serial", &gpu.identity.serial), ("name", &gpu.identity.name)];
        for (field, name) in names {
            if let Some(name) = name {
                push(&mut known, field, text(name));
            }
        }
        push(&mut known, "pci_address", text(&gpu.identity.address));
    }
    if let Some(slot) = &gpu.physical_slot {
        push(&mut known, "physical_slot", text(slot));
    }
    GpuCapacity {
        slot: gpu.identity.slot,
        state: state(gpu),
        verdict: verdict(gpu.verdict),
        no_data: gpu.absence().map(no_data),
        groups: vec![FieldGroup { claim: ClaimClass::Reported, fields: known }],
        mig: gpu.mig.iter().map(mig).collect(),
    }
}

/// The slow readings of one GPU.
pub fn slow(gpu: &Gpu, ids: &Ids) -> Option<TelemetrySlow> {
    let known = gpu.slow.as_ref()?;
    let mut fields = Vec::with_capacity(ids.slow.len());
    known.slow.each(|at, reading| fields.push(Field { id: ids.slow[at], value: value(reading) }));
    Some(TelemetrySlow {
        taken_unix_ms: known.taken_unix_ms,
        gpus: vec![GpuSlow {
            slot: gpu.identity.slot,
            fields,
            nvlinks: known.nvlinks.iter().map(nvlink).collect(),
            mig: gpu.mig.iter().map(mig).collect(),
            processes: known.processes.iter().take(rackmark_feed::limits::PROCESSES).map(process).collect(),
        }],
        extensions: Vec::new(),
    })
}

/// The fast readings of one GPU, in the order of the feed's columns, which is
/// the order of the catalogue.
pub fn fast(fast: &Fast) -> [Cell; FAST_FIELDS] {
    let mut cells = [Err(NoData::NotSampled); FAST_FIELDS];
    fast.each(|at, reading| {
        cells[at] = match reading {
            Ok(model::Value::Unsigned(number)) => Ok(number),
            Ok(model::Value::Signed(number)) => Ok(signed(number)),
            Ok(model::Value::Flag(flag)) => Ok(u64::from(flag)),
            Ok(model::Value::Text(_)) => Err(NoData::NotSupported),
            Err(why) => Err(no_data(why)),
        };
    });
    cells
}

/// Names a GPU in an event.
pub fn gpu_ref(gpu: &Gpu) -> GpuRef {
    GpuRef {
        slot: gpu.identity.slot,
        index: gpu.identity.index.and_then(|index| u32::try_from(index).ok()),
        uuid: gpu.identity.uuid.clone(),
        serial: gpu.identity.serial.clone(),
        pci_address: Some(gpu.identity.address.clone()),
    }
}

/// State of a GPU on the feed.
pub fn state(gpu: &Gpu) -> rackmark_feed::GpuState {
    if gpu.absence() == Some(model::NoData::Suspended) && gpu.state == model::GpuState::Free {
        return rackmark_feed::GpuState::Suspended;
    }
    gpu_state(gpu.state)
}

/// A state of the state table on the feed.
pub const fn gpu_state(state: model::GpuState) -> rackmark_feed::GpuState {
    use model::GpuState as Inside;
    use rackmark_feed::GpuState as Outside;
    match state {
        Inside::Free => Outside::Free,
        Inside::Reserved => Outside::Reserved,
        Inside::Leased => Outside::Leased,
        Inside::InUse => Outside::InUse,
        Inside::Draining => Outside::Draining,
        Inside::BurnIn => Outside::BurnIn,
        Inside::Maintenance => Outside::Maintenance,
        Inside::Paused => Outside::Paused,
        Inside::HandedOver => Outside::HandedOver,
        Inside::Faulted => Outside::Faulted,
        Inside::Unknown => Outside::Unknown,
    }
}

/// A verdict on the feed.
pub const fn verdict(verdict: model::Verdict) -> rackmark_feed::Verdict {
    match verdict {
        model::Verdict::Schedulable => rackmark_feed::Verdict::Schedulable,
        model::Verdict::Draining => rackmark_feed::Verdict::Draining,
        model::Verdict::Unusable => rackmark_feed::Verdict::Unusable,
        model::Verdict::Unknown => rackmark_feed::Verdict::Unknown,
    }
}

fn no_data(why: model::NoData) -> NoData {
    match why {
        model::NoData::NotSupported => NoData::NotSupported,
        model::NoData::NoPermission => NoData::NoPermission,
        model::NoData::Timeout => NoData::Timeout,
        model::NoData::GpuLost => NoData::GpuLost,
        model::NoData::Suspended => NoData::Suspended,
        model::NoData::Paused => NoData::Paused,
        model::NoData::HandedOver => NoData::HandedOver,
        model::NoData::DriverGone => NoData::DriverGone,
        model::NoData::NotSampled => NoData::NotSampled,
        model::NoData::Error(code) => NoData::Error(code),
    }
}

fn value(reading: model::Reading<model::Value<'_>>) -> Value {
    match reading {
        Ok(model::Value::Unsigned(number)) => Value::Unsigned(number),
        Ok(model::Value::Signed(number)) => Value::Signed(number),
        Ok(model::Value::Flag(flag)) => Value::Flag(flag),
        Ok(model::Value::Text(words)) => text(words),
        Err(why) => Value::NoData(no_data(why)),
    }
}

fn text(words: &str) -> Value {
    Value::Text(cut(words))
}

/// Something about the machine is another than before.
pub fn inventory_changed(changed: &Changed) -> EventKind {
    EventKind::InventoryChanged {
        component: changed.component.name().to_owned(),
        instance: cut(&changed.instance),
        field: changed.field.clone(),
        from: changed.from.as_deref().map(cut),
        to: changed.to.as_deref().map(cut),
    }
}

/// Sources of the inventory contradict each other.
pub fn inventory_finding(finding: &Finding) -> EventKind {
    EventKind::InventoryFinding {
        code: finding.code.name().to_owned(),
        instance: cut(&finding.instance),
        detail: cut(&finding.detail),
    }
}

/// Texts of the driver are cut to what the feed allows, on a character boundary.
pub fn cut(words: &str) -> String {
    let end = words.floor_char_boundary(rackmark_feed::limits::TEXT_BYTES);
    words[..end].to_owned()
}

fn push(fields: &mut Vec<Field>, name: &str, value: Value) {
    if let Some(field) = fields::by_name(name) {
        fields.push(Field { id: field.id, value });
    }
}

fn push_text(fields: &mut Vec<Field>, name: &str, reading: &model::Reading<String>) {
    let value = match reading {
        Ok(words) => text(words),
        Err(why) => Value::NoData(no_data(*why)),
    };
    push(fields, name, value);
}

fn mig(instance: &model::MigInstance) -> MigInstance {
    let mut fields = Vec::with_capacity(18);
    let counts = [
        ("mig_gpu_instance_id", instance.gpu_instance_id),
        ("mig_compute_instance_id", instance.compute_instance_id),
        ("mig_multiprocessors", instance.multiprocessors),
        ("mig_copy_engines", instance.copy_engines),
        ("mig_encoders", instance.encoders),
        ("mig_decoders", instance.decoders),
        ("mig_ofas", instance.ofas),
        ("mig_jpegs", instance.jpegs),
    ];
    for (name, reading) in counts {
        push(&mut fields, name, number(reading.map(u64::from)));
    }
    push_text(&mut fields, "mig_uuid", &instance.uuid);
    push_text(&mut fields, "mig_profile", &instance.name);
    let sizes = [
        ("mig_memory_total_bytes", instance.memory_total),
        ("mig_memory_reserved_bytes", instance.memory_reserved),
        ("mig_memory_used_bytes", instance.memory_used),
        ("mig_memory_free_bytes", instance.memory_free),
        ("mig_bar1_total_bytes", instance.bar1_total),
        ("mig_bar1_used_bytes", instance.bar1_used),
        ("mig_bar1_free_bytes", instance.bar1_free),
    ];
    for (name, reading) in sizes {
        push(&mut fields, name, number(reading.map(|Bytes(size)| size)));
    }
    push(&mut fields, "mig_ecc_uncorrected_sram_total", number(instance.ecc_uncorrected_sram));
    MigInstance { index: u16::try_from(instance.index).unwrap_or(u16::MAX), fields }
}

fn number(reading: model::Reading<u64>) -> Value {
    match reading {
        Ok(number) => Value::Unsigned(number),
        Err(why) => Value::NoData(no_data(why)),
    }
}

fn nvlink(link: &model::NvLink) -> NvLink {
    let remote = match link.remote_type.as_deref() {
        Ok("gpu") => NvLinkRemote::Gpu,
        Ok("switch") => NvLinkRemote::Switch,
        Ok("npu") => NvLinkRemote::Npu,
        _ => NvLinkRemote::Unknown,
    };
    let count = |reading: model::Reading<u64>| reading.map_err(no_data);
    NvLink {
        link: link.link,
        active: link.active.map_err(no_data),
        version: link.version.map_err(no_data),
        remote,
        crc_flit_errors: count(link.crc_flit_errors),
        crc_data_errors: count(link.crc_data_errors),
        replay_errors: count(link.replay_errors),
        recovery_errors: count(link.recovery_errors),
        transmit_bytes: count(link.transmit_bytes_total),
        receive_bytes: count(link.receive_bytes_total),
    }
}

fn process(process: &model::ProcessUse) -> Process {
    Process {
        pid: process.pid,
        kind: match process.kind {
            model::ProcessKind::Compute => ProcessKind::Compute,
            model::ProcessKind::Graphics => ProcessKind::Graphics,
            model::ProcessKind::ComputeAndGraphics => ProcessKind::ComputeAndGraphics,
        },
        name: process.name.as_deref().map(cut).unwrap_or_default(),
        memory_used_bytes: process.memory_used.map(|Bytes(size)| size).map_err(no_data),
        gpu_instance_id: process.gpu_instance_id,
        compute_instance_id: process.compute_instance_id,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reading_has_a_field_on_the_feed() {
        for descriptor in Inventory::DESCRIPTORS.iter().chain(Slow::DESCRIPTORS) {
            let name = descriptor.edge_name();
            let field = fields::by_name(&name);
            assert!(field.is_some(), "{name} has no field");
        }
    }

    #[test]
    fn fast_readings_are_the_columns_of_a_batch_in_their_order() {
        let ours: Vec<_> = Fast::DESCRIPTORS.iter().map(Descriptor::edge_name).collect();
        let theirs: Vec<_> =
            (0..FAST_FIELDS as u16).filter_map(fields::by_id).map(|field| field.name.to_owned()).collect();
        assert_eq!(ours, theirs);
    }
}
