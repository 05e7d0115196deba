//! `/metrics/dcgm`: what dcgm-exporter says by default, under its names, units
//! and labels, for dashboards and alert rules that were made for it.
//!
//! `docs/metrics-dcgm.md` says what each family is read from and where it
//! differs. A reading that is absent has no series.

mod families;
#[cfg(test)]
mod reference_tests;
#[cfg(test)]
mod tests;

use std::fmt::Write as _;

use rackmark_health::Code;
use rackmark_model::MigInstance;

use self::families::{DEFAULT, EXTRA, Family, Source};
use super::Decimal;
use super::text::{RawText, write_label};
use crate::sampling::roster::{Gpu, Roster};

/// What is not in the roster.
pub struct Setting<'a> {
    /// Name of this node, value of the label below.
    pub node: &'a str,
    /// Name of the label that carries it: `Hostname` or `hostname`.
    pub hostname_label: &'static str,
    /// With the families that dcgm-exporter leaves out by default.
    pub extra: bool,
}

/// Help and type of a family; the texts in `families` take less.
const FAMILY_ROOM: usize = 256;
/// A line without its labels: the longest name, and a value.
const LINE_ROOM: usize = 72;

/// A GPU with the labels of its series.
struct Labelled<'a> {
    gpu: &'a Gpu,
    judged: Option<&'a rackmark_health::Gpu>,
    labels: String,
    /// GPU instances under MIG that tell their memory.
    instances: Vec<(&'a MigInstance, String)>,
}

/// The classic text, with the raw names of DCGM: counters have no `_total`.
pub fn text(roster: &Roster, setting: &Setting<'_>) -> String {
    let gpus = labelled(roster, setting);
    let extra: &[Family] = if setting.extra { &EXTRA } else { &[] };
    let families = || DEFAULT.iter().chain(extra);
    let lines: usize = gpus.iter().map(|of| of.labels.len() + LINE_ROOM).sum();
    let mut out = RawText::with_capacity(families().count() * (FAMILY_ROOM + lines));
    for family in families() {
        write_family(family, &gpus, &mut out);
    }
    out.finish()
}

fn write_family(family: &Family, gpus: &[Labelled<'_>], out: &mut RawText) {
    out.family(family.name, family.kind, family.help);
    for of in gpus {
        match family.source {
            Source::Reading(read) => {
                if let Some(value) = current(of.gpu).and_then(read) {
                    out.point(&of.labels, &[], value);
                }
            }
            Source::Memory { gpu, instance } => {
                for (mig, labels) in &of.instances {
                    if let Some(value) = current(of.gpu).and_then(|_| instance(mig)) {
                        out.point(labels, &[], value);
                    }
                }
                // Never both: a sum over the family would count the memory twice.
                if let Some(value) = current(of.gpu).filter(|_| of.instances.is_empty()).and_then(gpu) {
                    out.point(&of.labels, &[], value);
                }
            }
            Source::LastXid => {
                let code = of.judged.map_or(0, standing_xid);
                let text = code.to_string();
                out.point(&of.labels, &[("err_code", &text)], Decimal::whole(u64::from(code)));
            }
            Source::XidCounts => {
                let counts = of.judged.iter().flat_map(|judged| &judged.incidents.counts);
                for (code, count) in counts {
                    out.point(&of.labels, &[("xid", &code.to_string())], Decimal::whole(count.errors));
                }
            }
        }
    }
}

/// The GPU, where its readings are current.
fn current(gpu: &Gpu) -> Option<&Gpu> {
    Some(gpu).filter(|gpu| gpu.absence().is_none())
}

/// Code of the newest XID whose condition stands, otherwise 0. Known of lost GPUs too: that is when it matters.
fn standing_xid(judged: &rackmark_health::Gpu) -> u32 {
    let xids = judged.conditions.all().iter().filter(|condition| condition.code == Code::Xid);
    xids.max_by_key(|condition| condition.last_unix_ms).map_or(0, |condition| condition.key)
}

fn labelled<'a>(roster: &'a Roster, setting: &Setting<'_>) -> Vec<Labelled<'a>> {
    let driver = roster.driver.as_ref().and_then(|driver| driver.driver_version.as_deref().ok());
    let mut node = String::new();
    push_label(&mut node, setting.hostname_label, setting.node);
    push_label(&mut node, "DCGM_FI_DRIVER_VERSION", driver.unwrap_or(""));
    roster
        .gpus
        .iter()
        .enumerate()
        .map(|(at, gpu)| {
            let front = names_of(gpu);
            let instances = instances(gpu)
                .map(|mig| {
                    let mut labels = front.clone();
                    push_label(&mut labels, "GPU_I_PROFILE", profile(mig));
                    let id = mig.gpu_instance_id.unwrap_or_default().to_string();
                    push_label(&mut labels, "GPU_I_ID", &id);
                    labels.push_str(&node);
                    (mig, labels)
                })
                .collect();
            Labelled { gpu, judged: roster.health.gpus.get(at), labels: front + &node, instances }
        })
        .collect()
}

/// What a GPU is called; empty where that was never read.
fn names_of(gpu: &Gpu) -> String {
    let identity = &gpu.identity;
    let index = identity.index.unwrap_or(u64::from(identity.slot));
    let minor = gpu.inventory.as_ref().and_then(|inventory| inventory.minor_number.ok());
    let device = minor.map_or_else(String::new, |minor| format!("nvidia{}", minor.0));
    let at = &gpu.address;
    let mut labels = String::with_capacity(256);
    let _ = write!(labels, "gpu=\"{index}\"");
    push_label(&mut labels, "UUID", identity.uuid.as_deref().unwrap_or(""));
    let _ = write!(
        labels,
        ",pci_bus_id=\"{:08X}:{:02X}:{:02X}.{:X}\"",
        at.domain, at.bus, at.device, at.function
    );
    push_label(&mut labels, "device", &device);
    push_label(&mut labels, "modelName", identity.name.as_deref().unwrap_or(""));
    labels
}

/// One entry for each GPU instance that has a number and tells its memory: its
/// compute instances share the memory, and the first stands for them.
fn instances(gpu: &Gpu) -> impl Iterator<Item = &MigInstance> {
    gpu.mig.iter().enumerate().filter_map(|(at, mig)| {
        let id = mig.gpu_instance_id.ok()?;
        let first = gpu.mig[..at].iter().all(|other| other.gpu_instance_id != Ok(id));
        (first && mig.memory_used.is_ok()).then_some(mig)
    })
}

/// `3g.40gb` of `NVIDIA H100 80GB HBM3 MIG 3g.40gb`, and of `... MIG 1c.3g.40gb`,
/// which names a compute instance smaller than its GPU instance.
fn profile(mig: &MigInstance) -> &str {
    let name = mig.name.as_deref().unwrap_or("");
    let Some((_, profile)) = name.rsplit_once("MIG ") else { return "" };
    match profile.split_once("c.") {
        Some((slices, rest)) if slices.bytes().all(|byte| byte.is_ascii_digit()) => rest,
        _ => profile,
    }
}

fn push_label(labels: &mut String, name: &str, text: &str) {
    labels.push(',');
    write_label(labels, name, text);
}
