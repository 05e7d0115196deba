//! Everything known now, as JSON.

use std::sync::PoisonError;

use rackmark_health::{Condition, Conditions, Lease, Maintenance};
use rackmark_model::readings::{Descriptor, Fast, Inventory, Slow};
use rackmark_model::{Bytes, GpuSlow, MigInstance, NvLink, ProcessUse, Reading, Value};
use serde_json::{Map, Value as Json, json};

use super::Verbs;
use crate::attesting::Counts;
use crate::clock;
use crate::config::LeaseSource;
use crate::sampling::roster::{Gpu, Roster, Standing};

impl Verbs {
    pub(super) fn status(&self) -> Json {
        let config = self.config.borrow().clone();
        let roster = self.roster.read().unwrap_or_else(PoisonError::into_inner);
        let now = clock::boot_ms();
        let driver = roster.driver.as_ref();
        json!({
            "node": {
                "site": config.site,
                "name": config.node,
                "id": self.node_id,
                "successions": self.successions.iter().map(|succession| json!({
                    "old": succession.old.to_string(),
                    "new": succession.new.to_string(),
                    "reason": succession.reason.name(),
                    "ticket": succession.ticket,
                    "issued_unix_ms": succession.issued_unix_ms,
                    "operator": succession.operator.to_string(),
                })).collect::<Json>(),
                "verdict": roster.health.verdict.verdict.name(),
                "reason": roster.health.verdict.reason,
                "conditions": conditions_json(&roster.health.conditions),
                "maintenance": roster.health.maintenance.as_ref().map(maintenance_json),
            },
            "identity": self.attesting.as_ref().map(identity_json),
            "now_unix_ms": clock::unix_ms(),
            "agent_version": env!("CARGO_PKG_VERSION"),
            "simulated": roster.simulated(),
            "driver": {
                "up": driver.is_some(),
                "driver_version": driver.and_then(|driver| driver.driver_version.as_deref().ok()),
                "cuda_driver_version": driver.and_then(|driver| driver.cuda_driver_version.as_deref().ok()),
                "cause": roster.driver_cause,
            },
            "sample": roster.taken.map(|taken| json!({
                "seq": taken.seq,
                "age_ms": now.saturating_sub(taken.boot_ms),
                "took_us": taken.took_us,
            })),
            "sampler": {
                "pid": roster.sampler.pid,
                "starts_total": roster.sampler.starts_total,
                "walked_away_total": roster.sampler.walked_away_total,
                "stuck_pids": roster.sampler.stuck,
            },
            "kernel_log": kernel_log_json(&roster),
            "leases": {
                "source": match &config.leases {
                    LeaseSource::None => "none",
                    LeaseSource::Control => "control",
                    LeaseSource::File(_) => "file",
                },
                "refused_lines": roster.around.lease_file_refused,
            },
            "mqtt": self.mqtt.as_ref().map(|stats| {
                let stats = stats.snapshot();
                json!({
                    "connected": stats.connected == 1,
                    "acknowledged_total": stats.acked_total,
                })
            }),
            "spool": self.spool.as_ref().map(|spool| {
                let health = spool.health();
                json!({
                    "durable": health.durable,
                    "trouble": health.trouble,
                    "records": { "series": health.waiting[0], "edge": health.waiting[1] },
                    "bytes": { "series": health.bytes[0], "edge": health.bytes[1] },
                })
            }),
            "gpus": roster.gpus.iter().map(|gpu| judged_json(gpu, &roster)).collect::<Vec<_>>(),
        })
    }
}

/// Whose identity the node has, and how the TPM fares where it is the TPM's.
fn identity_json(counts: &Counts) -> Json {
    let Some(tpm) = counts.snapshot().tpm else { return json!({ "class": "software-key" }) };
    let (description, certified) = tpm.described.unzip();
    json!({
        "class": "tpm",
        "tpm": {
            "answers": tpm.up,
            "trouble": tpm.trouble,
            "lockout": tpm.lockout,
            "description": description,
            "certified": certified,
            "quote_ms": tpm.quote_ms,
        },
    })
}

/// One GPU with its readings, what is made of them, and who has it.
fn judged_json(gpu: &Gpu, roster: &Roster) -> Json {
    let mut shown = gpu_json(gpu);
    let slot = gpu.identity.slot;
    let Some(judged) = roster.health.gpus.get(usize::from(slot)) else { return shown };
    let occupancy = &judged.occupancy;
    let drained = occupancy.drained.as_ref();
    shown["slow"] = json!(gpu.slow.as_ref().map(slow_json));
    shown["reason"] = json!(roster.reason(slot));
    shown["state_cause"] = json!(judged.state.0.cause.name());
    shown["conditions"] = conditions_json(&judged.conditions);
    shown["maintenance"] = json!(roster.maintenance(slot).map(maintenance_json));
    shown["lease"] = json!(occupancy.lease.as_ref().map(lease_json));
    shown["drained"] = json!(drained.map(|drained| json!({
        "reason": drained.reason,
        "by": drained.by,
        "since_unix_ms": drained.since_unix_ms,
    })));
    shown["occupants"] = judged
        .occupants
        .iter()
        .map(|card| json!({ "serial": card.card.serial, "uuid": card.card.uuid, "since_unix_ms": card.since_unix_ms }))
        .collect();
    let counts = judged.incidents.counts.iter();
    shown["xids"] = counts
        .map(|(code, count)| json!({ "xid": code, "errors": count.errors, "incidents": count.incidents }))
        .collect();
    shown
}

fn maintenance_json(work: &Maintenance) -> Json {
    json!({
        "until_unix_ms": work.until_unix_ms,
        "reason": work.reason,
        "by": work.by,
        "since_unix_ms": work.since_unix_ms,
    })
}

fn lease_json(lease: &Lease) -> Json {
    json!({
        "id": lease.id,
        "reserved": lease.reserved,
        "since_unix_ms": lease.since_unix_ms,
        "until_unix_ms": lease.until_unix_ms,
        "from_file": lease.from_file,
    })
}

/// Whether the kernel log is read; `up` is null before that was tried.
fn kernel_log_json(roster: &Roster) -> Json {
    let trouble = roster.around.kernel_log_trouble.as_deref();
    let counts = roster.around.kernel_log;
    json!({
        "up": trouble.map(str::is_empty),
        "cause": trouble.filter(|cause| !cause.is_empty()),
        "records_total": counts.records,
        "lost_total": counts.lost,
        "unreadable_total": counts.unreadable,
    })
}

/// The conditions that are shown, the gravest first.
fn conditions_json(conditions: &Conditions) -> Json {
    let mut shown: Vec<&Condition> = conditions.visible().collect();
    shown.sort_by_key(|one| (std::cmp::Reverse((one.effect, one.severity)), one.since_unix_ms));
    shown.into_iter().map(condition_json).collect()
}

/// One condition.
pub fn condition_json(condition: &Condition) -> Json {
    json!({
        "code": condition.code.name(),
        "key": condition.key,
        "id": condition.id(),
        "severity": condition.severity.name(),
        "action": condition.action.name(),
        "effect": condition.effect.name(),
        "title": condition.title(),
        "line": rackmark_health::line(condition),
        "text": condition.text(),
        "detail": condition.detail,
        "since_unix_ms": condition.since_unix_ms,
        "last_unix_ms": condition.last_unix_ms,
        "acknowledged": condition.acknowledged.as_ref().map(|by| json!({
            "by": by.by,
            "at_unix_ms": by.at_unix_ms,
        })),
        "gpu_instance": condition.instance.map(|instance| instance.gpu_instance),
        "compute_instance": condition.instance.and_then(|instance| instance.compute_instance),
    })
}

/// One GPU with every reading by its edge name; absent ones say why.
pub fn gpu_json(gpu: &Gpu) -> Json {
    let mut readings = Map::new();
    gpu.fast.each(|at, reading| insert(&mut readings, &Fast::DESCRIPTORS[at], reading));
    if let Some(inventory) = &gpu.inventory {
        inventory.each(|at, reading| insert(&mut readings, &Inventory::DESCRIPTORS[at], reading));
    }
    let (standing, function) = match &gpu.standing {
        Standing::Answering => ("answering", None),
        Standing::Slow => ("slow", gpu.in_call.as_ref().map(|call| call.function.as_str())),
        Standing::Unresponsive { function } => ("unresponsive", Some(function.as_str())),
        Standing::Absent(why) => (why.name(), None),
    };
    json!({
        "slot": gpu.identity.slot,
        "index": gpu.identity.index,
        "name": gpu.identity.name,
        "uuid": gpu.identity.uuid,
        "serial": gpu.identity.serial,
        "pci_address": gpu.identity.address,
        "physical_slot": gpu.physical_slot,
        "standing": standing,
        "hangs_in": function,
        "state": gpu.state.name(),
        "verdict": gpu.verdict.name(),
        "readings": readings,
        "processes": gpu.slow.as_ref().map(|slow| slow.processes.iter().map(process_json).collect::<Vec<_>>()),
        "mig": gpu.mig.iter().map(mig_json).collect::<Vec<_>>(),
    })
}

/// What is read once a minute, and when it was.
fn slow_json(slow: &GpuSlow) -> Json {
    let mut readings = Map::new();
    slow.slow.each(|at, reading| insert(&mut readings, &Slow::DESCRIPTORS[at], reading));
    json!({
        "taken_unix_ms": slow.taken_unix_ms,
        "readings": readings,
        "nvlinks": slow.nvlinks.iter().map(nvlink_json).collect::<Vec<_>>(),
    })
}

/// One NVLink; what is not known is null.
fn nvlink_json(link: &NvLink) -> Json {
    json!({
        "link": link.link,
        "active": link.active.ok(),
        "version": link.version.ok(),
        "remote_type": link.remote_type.as_deref().ok(),
        "crc_flit_errors": link.crc_flit_errors.ok(),
        "crc_data_errors": link.crc_data_errors.ok(),
        "replay_errors": link.replay_errors.ok(),
        "recovery_errors": link.recovery_errors.ok(),
        "transmit_bytes_total": link.transmit_bytes_total.ok(),
        "receive_bytes_total": link.receive_bytes_total.ok(),
    })
}

fn process_json(process: &ProcessUse) -> Json {
    json!({
        "pid": process.pid,
        "kind": process.kind.name(),
        "name": process.name.as_deref().ok(),
        "memory_used_bytes": process.memory_used.ok(),
        "gpu_instance": process.gpu_instance_id,
        "compute_instance": process.compute_instance_id,
    })
}

/// A part of a GPU; what is not known is null.
fn mig_json(mig: &MigInstance) -> Json {
    let bytes = |reading: &Reading<Bytes>| reading.ok().map(|bytes| bytes.0);
    json!({
        "index": mig.index,
        "gpu_instance": mig.gpu_instance_id.ok(),
        "compute_instance": mig.compute_instance_id.ok(),
        "uuid": mig.uuid.as_deref().ok(),
        "profile": mig.name.as_deref().ok(),
        "multiprocessors": mig.multiprocessors.ok(),
        "memory_total_bytes": bytes(&mig.memory_total),
        "memory_used_bytes": bytes(&mig.memory_used),
        "memory_free_bytes": bytes(&mig.memory_free),
        "memory_reserved_bytes": bytes(&mig.memory_reserved),
        "ecc_uncorrected_sram_total": mig.ecc_uncorrected_sram.ok(),
    })
}

/// Adds one reading under its edge name.
pub fn insert(into: &mut Map<String, Json>, descriptor: &Descriptor, reading: Reading<Value<'_>>) {
    let value = match reading {
        Ok(Value::Unsigned(number)) => json!(number),
        Ok(Value::Signed(number)) => json!(number),
        Ok(Value::Text(text)) => json!(text),
        Ok(Value::Flag(flag)) => json!(flag),
        Err(why) => json!({ "no_data": why.to_string() }),
    };
    into.insert(descriptor.edge_name(), value);
}
