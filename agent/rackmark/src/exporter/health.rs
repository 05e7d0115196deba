//! The judgement as metrics: what stands, verdicts, times in states, XIDs, the kernel log.

use rackmark_health::{Availability, Condition, State};
use rackmark_model::{GpuState, Verdict};

use super::{Decimal, Kind, Sink};
use crate::sampling::roster::{Gpu, Roster};

const fn flag(value: bool) -> Decimal {
    Decimal::whole(value as u64)
}

/// The text of a key; empty for kinds that have none.
fn key(condition: &Condition) -> String {
    if condition.key == 0 { String::new() } else { condition.key.to_string() }
}

/// Hands the judgement to `sink`. `gpus` are those of the roster with their slots as text.
pub fn judgement(roster: &Roster, gpus: &[(&Gpu, &str)], sink: &mut dyn Sink) {
    let health = &roster.health;
    verdicts(health, gpus, sink);
    gpu_conditions(roster, gpus, sink);
    node_conditions(health, sink);
    times(health, gpus, sink);
    maintenance(roster, gpus, sink);
    xids(health, gpus, sink);
    kernel_log(roster, sink);
    sink.family(
        "rackmark_health_implausible_readings",
        Kind::Counter,
        "Looks at a GPU that found readings outside what is physically possible; such readings are not used.",
    );
    sink.point(&[], Decimal::whole(health.implausible_total));
}

fn verdicts(health: &State, gpus: &[(&Gpu, &str)], sink: &mut dyn Sink) {
    sink.family("rackmark_gpu_verdict", Kind::Gauge, "1 for the verdict on this GPU.");
    for (gpu, slot) in gpus {
        for candidate in Verdict::ALL {
            sink.point(&[("gpu", slot), ("verdict", candidate.name())], flag(candidate == gpu.verdict));
        }
    }
    sink.family("rackmark_node_verdict", Kind::Gauge, "1 for the verdict on this node.");
    for candidate in Verdict::ALL {
        sink.point(&[("verdict", candidate.name())], flag(candidate == health.verdict.verdict));
    }
}

fn gpu_conditions(roster: &Roster, gpus: &[(&Gpu, &str)], sink: &mut dyn Sink) {
    let standing = || {
        let judged = roster.health.gpus.iter().zip(gpus);
        judged.flat_map(|(judged, (gpu, slot))| {
            judged.conditions.visible().map(move |condition| (gpu.identity.slot, *slot, condition))
        })
    };
    if standing().next().is_none() {
        return;
    }
    sink.family("rackmark_gpu_condition", Kind::Gauge, "1 for every condition that stands against this GPU.");
    for (position, slot, condition) in standing() {
        let instance = condition.instance.map(|instance| instance.gpu_instance.to_string());
        let labels = [
            ("gpu", slot),
            ("condition", condition.code.name()),
            ("key", &key(condition)),
            ("gpu_instance", instance.as_deref().unwrap_or("")),
            ("severity", condition.severity.name()),
            ("action", condition.action.name()),
            ("maintenance", if roster.maintenance(position).is_some() { "true" } else { "false" }),
        ];
        sink.point(&labels, Decimal::whole(1));
    }
    sink.family(
        "rackmark_gpu_condition_since_timestamp_seconds",
        Kind::Gauge,
        "When a condition of this GPU began, since 1970.",
    );
    for (_, slot, condition) in standing() {
        let instance = condition.instance.map(|instance| instance.gpu_instance.to_string());
        let labels = [
            ("gpu", slot),
            ("condition", condition.code.name()),
            ("key", &key(condition)),
            ("gpu_instance", instance.as_deref().unwrap_or("")),
        ];
        sink.point(&labels, Decimal::scaled(condition.since_unix_ms, 3));
    }
}

fn node_conditions(health: &State, sink: &mut dyn Sink) {
    if health.conditions.visible().next().is_none() {
        return;
    }
    let maintenance = if health.maintenance.is_some() { "true" } else { "false" };
    sink.family(
        "rackmark_node_condition",
        Kind::Gauge,
        "1 for every condition that stands against this node.",
    );
    for condition in health.conditions.visible() {
        let labels = [
            ("condition", condition.code.name()),
            ("key", &key(condition)),
            ("severity", condition.severity.name()),
            ("action", condition.action.name()),
            ("maintenance", maintenance),
        ];
        sink.point(&labels, Decimal::whole(1));
    }
    sink.family(
        "rackmark_node_condition_since_timestamp_seconds",
        Kind::Gauge,
        "When a condition of this node began, since 1970.",
    );
    for condition in health.conditions.visible() {
        let labels = [("condition", condition.code.name()), ("key", &key(condition))];
        sink.point(&labels, Decimal::scaled(condition.since_unix_ms, 3));
    }
}

fn times(health: &State, gpus: &[(&Gpu, &str)], sink: &mut dyn Sink) {
    sink.family(
        "rackmark_gpu_state_seconds",
        Kind::Counter,
        "Time this GPU spent in each state since the agent was installed.",
    );
    for (judged, (_, slot)) in health.gpus.iter().zip(gpus) {
        for (state, ms) in GpuState::ALL.iter().zip(judged.state_ms) {
            if ms > 0 {
                sink.point(&[("gpu", slot), ("state", state.name())], Decimal::scaled(ms, 3));
            }
        }
    }
    sink.family(
        "rackmark_gpu_availability_seconds",
        Kind::Counter,
        "Time this GPU was offered, sold, out as planned, out for a fault, or unknown.",
    );
    for (judged, (_, slot)) in health.gpus.iter().zip(gpus) {
        for (class, ms) in Availability::ALL.iter().zip(judged.availability_ms) {
            sink.point(&[("gpu", slot), ("class", class.name())], Decimal::scaled(ms, 3));
        }
    }
}

fn maintenance(roster: &Roster, gpus: &[(&Gpu, &str)], sink: &mut dyn Sink) {
    let held = || {
        gpus.iter()
            .filter_map(|(gpu, slot)| Some((*slot, roster.maintenance(gpu.identity.slot)?.until_unix_ms)))
    };
    if held().next().is_none() {
        return;
    }
    sink.family(
        "rackmark_gpu_maintenance_until_timestamp_seconds",
        Kind::Gauge,
        "When the maintenance of this GPU ends by itself, since 1970; only while it lasts.",
    );
    for (slot, until_unix_ms) in held() {
        sink.point(&[("gpu", slot)], Decimal::scaled(until_unix_ms, 3));
    }
}

fn xids(health: &State, gpus: &[(&Gpu, &str)], sink: &mut dyn Sink) {
    if health.gpus.iter().any(|gpu| !gpu.incidents.counts.is_empty()) {
        sink.family(
            "rackmark_gpu_xid_errors",
            Kind::Counter,
            "XIDs of this GPU by code, both witnesses merged, since the agent was installed.",
        );
        for (judged, (_, slot)) in health.gpus.iter().zip(gpus) {
            for (code, count) in &judged.incidents.counts {
                sink.point(&[("gpu", slot), ("xid", &code.to_string())], Decimal::whole(count.errors));
            }
        }
        sink.family(
            "rackmark_gpu_xid_incidents",
            Kind::Counter,
            "Incidents of this GPU by XID: all repeats of a cause are one.",
        );
        for (judged, (_, slot)) in health.gpus.iter().zip(gpus) {
            for (code, count) in &judged.incidents.counts {
                sink.point(&[("gpu", slot), ("xid", &code.to_string())], Decimal::whole(count.incidents));
            }
        }
    }
    if !health.sxids.is_empty() {
        sink.family("rackmark_nvswitch_sxid_errors", Kind::Counter, "SXids of NVSwitches by code.");
        for (address, counts) in &health.sxids {
            for (code, count) in counts {
                let labels = [("pci_address", address.as_str()), ("sxid", &code.to_string())];
                sink.point(&labels, Decimal::whole(*count));
            }
        }
    }
}

fn kernel_log(roster: &Roster, sink: &mut dyn Sink) {
    let Some(trouble) = &roster.around.kernel_log_trouble else { return };
    sink.family("rackmark_kernel_log_up", Kind::Gauge, "1 while the kernel log can be read.");
    sink.point(&[], flag(trouble.is_empty()));
    let counts = roster.around.kernel_log;
    let counters = [
        ("rackmark_kernel_log_records", "Kernel log records read.", counts.records),
        ("rackmark_kernel_log_lost", "Kernel log records overwritten before they were read.", counts.lost),
        (
            "rackmark_kernel_log_unreadable",
            "Kernel log records that are not of the format.",
            counts.unreadable,
        ),
    ];
    for (name, help, value) in counters {
        sink.family(name, Kind::Counter, help);
        sink.point(&[], Decimal::whole(value));
    }
}
