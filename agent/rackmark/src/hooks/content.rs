//! What a document says beyond what all documents say, for each event. `docs/hooks.md` shows one of each.

use rackmark_firmware_hooks::inventory::{Changed, Finding};
use rackmark_model::Verdict;
use rackmark_model::hook::HookEvent;
use serde_json::{Map, Value as Json, json};

use crate::sampling::roster::Roster;

/// Version of the documents; another one is not understood by scripts for this one. New fields make no new version.
pub const VERSION: u32 = 1;

/// Most changes and most findings of the inventory in one document.
const LISTED_MAX: usize = 64;

/// A GPU by all its names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GpuName {
    /// Its slot.
    pub slot: u8,
    uuid: Option<String>,
    serial: Option<String>,
    pci_address: String,
    name: Option<String>,
}

impl GpuName {
    /// The GPU in a slot; all names but the slot are left out where the roster has none.
    pub fn of(slot: u8, roster: &Roster) -> Self {
        let identity = roster.gpu(slot).map(|gpu| &gpu.identity);
        Self {
            slot,
            uuid: identity.and_then(|identity| identity.uuid.clone()),
            serial: identity.and_then(|identity| identity.serial.clone()),
            pci_address: identity.map(|identity| identity.address.clone()).unwrap_or_default(),
            name: identity.and_then(|identity| identity.name.clone()),
        }
    }

    fn json(&self) -> Json {
        json!({
            "slot": self.slot, "uuid": self.uuid, "serial": self.serial, "pci_address": self.pci_address,
            "name": self.name,
        })
    }
}

/// What happened.
#[derive(Debug, Clone, PartialEq)]
pub enum Content {
    /// The server is another one than before.
    Inventory {
        /// What changed.
        changes: Vec<Changed>,
        /// What contradicts itself now.
        findings: Vec<Finding>,
    },
    /// Another verdict.
    Verdict {
        /// On which GPU; on the node where absent.
        gpu: Option<GpuName>,
        /// Before.
        from: Verdict,
        /// Now.
        to: Verdict,
        /// Why.
        reason: String,
    },
    /// A burn-in is about to begin.
    BeforeBurnIn {
        /// Of which GPUs.
        gpus: Vec<GpuName>,
        /// How thorough.
        level: String,
    },
    /// A burn-in ended.
    AfterBurnIn {
        /// Of which GPUs.
        gpus: Vec<GpuName>,
        /// `pass`, `fail` or `inconclusive`.
        verdict: String,
        /// Why.
        reason: String,
    },
    /// Somebody drained GPUs.
    Quarantine {
        /// Which.
        gpus: Vec<GpuName>,
        /// Why.
        reason: String,
        /// Who.
        by: String,
    },
    /// Somebody ended a drain.
    Unquarantine {
        /// Of which GPUs.
        gpus: Vec<GpuName>,
        /// Who.
        by: String,
    },
    /// A lease began.
    LeaseStart {
        /// Its name.
        lease: String,
        /// On which GPUs.
        gpus: Vec<GpuName>,
        /// It is a promise only.
        reserved: bool,
        /// When it ends at the latest, milliseconds since 1970.
        until_unix_ms: Option<u64>,
    },
    /// A lease ended.
    LeaseEnd {
        /// Its name.
        lease: String,
        /// On which GPUs.
        gpus: Vec<GpuName>,
    },
    /// Planned work began or ended.
    Maintenance {
        /// On which GPU; on the whole node where absent.
        gpu: Option<GpuName>,
        /// When it ends by itself, milliseconds since 1970, and why it is done; absent where it ended.
        begun: Option<(u64, String)>,
    },
    /// What somebody wants to try.
    Given {
        /// The event.
        event: HookEvent,
        /// The document.
        document: Map<String, Json>,
    },
}

fn gpus_json(gpus: &[GpuName]) -> Json {
    gpus.iter().map(GpuName::json).collect()
}

impl Content {
    /// The event it is of.
    pub const fn event(&self) -> HookEvent {
        match self {
            Self::Inventory { .. } => HookEvent::InventoryChanged,
            Self::Verdict { .. } => HookEvent::VerdictChanged,
            Self::BeforeBurnIn { .. } => HookEvent::BeforeBurnIn,
            Self::AfterBurnIn { .. } => HookEvent::AfterBurnIn,
            Self::Quarantine { .. } => HookEvent::Quarantine,
            Self::Unquarantine { .. } => HookEvent::Unquarantine,
            Self::LeaseStart { .. } => HookEvent::LeaseStart,
            Self::LeaseEnd { .. } => HookEvent::LeaseEnd,
            Self::Maintenance { .. } => HookEvent::Maintenance,
            Self::Given { event, .. } => *event,
        }
    }

    /// The slots it is about; none for the node.
    pub fn slots(&self) -> Vec<u8> {
        let gpus: &[GpuName] = match self {
            Self::Verdict { gpu, .. } | Self::Maintenance { gpu, .. } => gpu.as_slice(),
            Self::BeforeBurnIn { gpus, .. }
            | Self::AfterBurnIn { gpus, .. }
            | Self::Quarantine { gpus, .. }
            | Self::Unquarantine { gpus, .. }
            | Self::LeaseStart { gpus, .. }
            | Self::LeaseEnd { gpus, .. } => gpus,
            Self::Inventory { .. } | Self::Given { .. } => &[],
        };
        gpus.iter().map(|gpu| gpu.slot).collect()
    }

    fn json(&self) -> Json {
        match self {
            Self::Inventory { changes, findings } => {
                let left_out = changes.len().saturating_sub(LISTED_MAX);
                let changes = changes.iter().take(LISTED_MAX).map(|change| {
                    json!({
                        "component": change.component.name(), "instance": change.instance, "field": change.field,
                        "from": change.from, "to": change.to,
                    })
                });
                let findings = findings.iter().take(LISTED_MAX).map(|finding| {
                    json!({ "code": finding.code.name(), "instance": finding.instance, "detail": finding.detail })
                });
                json!({
                    "changes": changes.collect::<Json>(), "changes_left_out": left_out,
                    "findings": findings.collect::<Json>(),
                })
            }
            Self::Verdict { gpu, from, to, reason } => {
                let gpu = gpu.as_ref().map(GpuName::json);
                json!({ "gpu": gpu, "from": from.name(), "to": to.name(), "reason": reason })
            }
            Self::BeforeBurnIn { gpus, level } => json!({ "gpus": gpus_json(gpus), "level": level }),
            Self::AfterBurnIn { gpus, verdict, reason } => {
                json!({ "gpus": gpus_json(gpus), "verdict": verdict, "reason": reason })
            }
            Self::Quarantine { gpus, reason, by } => {
                json!({ "gpus": gpus_json(gpus), "reason": reason, "by": by })
            }
            Self::Unquarantine { gpus, by } => json!({ "gpus": gpus_json(gpus), "by": by }),
            Self::LeaseStart { lease, gpus, reserved, until_unix_ms } => json!({
                "lease": lease, "gpus": gpus_json(gpus), "reserved": reserved, "until_unix_ms": until_unix_ms,
            }),
            Self::LeaseEnd { lease, gpus } => json!({ "lease": lease, "gpus": gpus_json(gpus) }),
            Self::Maintenance { gpu, begun } => {
                let phase = if begun.is_some() { "start" } else { "end" };
                let (until, reason) = begun.clone().unzip();
                let gpu = gpu.as_ref().map(GpuName::json);
                json!({ "gpu": gpu, "phase": phase, "until_unix_ms": until, "reason": reason })
            }
            Self::Given { document, .. } => Json::Object(document.clone()),
        }
    }

    /// One of each, for the documentation and for whoever tries a hook.
    pub fn sample(event: HookEvent) -> Self {
        use rackmark_firmware_hooks::inventory::{Component, FindingCode};
        let gpu = GpuName {
            slot: 3,
            uuid: Some("GPU-5f1c2b9e-0000-4000-8000-000000000003".to_owned()),
            serial: Some("1650324012345".to_owned()),
            pci_address: "00000000:5D:00.0".to_owned(),
            name: Some("NVIDIA H200".to_owned()),
        };
        let gpus = vec![gpu.clone()];
        let until_unix_ms = 1_796_126_400_000;
        match event {
            HookEvent::InventoryChanged => Self::Inventory {
                changes: vec![Changed {
                    component: Component::Memory,
                    instance: "DIMM_A1".to_owned(),
                    field: "serial".to_owned(),
                    from: Some("80CE01".to_owned()),
                    to: Some("80CE02".to_owned()),
                }],
                findings: vec![Finding {
                    code: FindingCode::GpuDeviceIdMismatch,
                    instance: "0000:5d:00.0".to_owned(),
                    detail: "NVML says 10de:2335, the PCI device is 10de:1db1".to_owned(),
                }],
            },
            HookEvent::VerdictChanged => Self::Verdict {
                gpu: Some(gpu),
                from: Verdict::Schedulable,
                to: Verdict::Unusable,
                reason: "XID 79: GPU has fallen off the bus".to_owned(),
            },
            HookEvent::BeforeBurnIn => Self::BeforeBurnIn { gpus, level: "standard".to_owned() },
            HookEvent::AfterBurnIn => Self::AfterBurnIn {
                gpus,
                verdict: "fail".to_owned(),
                reason: "2 of 4096 results differ".to_owned(),
            },
            HookEvent::Quarantine => {
                Self::Quarantine { gpus, reason: "card swap".to_owned(), by: "root".to_owned() }
            }
            HookEvent::Unquarantine => Self::Unquarantine { gpus, by: "root".to_owned() },
            HookEvent::LeaseStart => Self::LeaseStart {
                lease: "job-17".to_owned(),
                gpus,
                reserved: false,
                until_unix_ms: Some(until_unix_ms),
            },
            HookEvent::LeaseEnd => Self::LeaseEnd { lease: "job-17".to_owned(), gpus },
            HookEvent::Maintenance => {
                Self::Maintenance { gpu: None, begun: Some((until_unix_ms, "fans".to_owned())) }
            }
        }
    }
}

/// A document on one line, with what `around` says of all of them.
pub fn line<const N: usize>(content: &Content, around: [(&str, Json); N]) -> Vec<u8> {
    let mut document = content.json();
    for (name, value) in around {
        document[name] = value;
    }
    let mut line = document.to_string().into_bytes();
    line.push(b'\n');
    line
}

#[cfg(test)]
mod tests;
