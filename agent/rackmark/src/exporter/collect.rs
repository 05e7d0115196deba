//! What is exported, in order. Labels are few: a GPU is its slot, and
//! `rackmark_gpu_info` joins it to everything else it is called.

use rackmark_model::hook::HookEvent;
use rackmark_model::readings::Inventory;
use rackmark_model::{GpuState, Reading, Value};

use super::names::{Family, Names};
use super::server::{CountersSnapshot, Refusal};
use super::{Decimal, Kind, Sink};
use crate::attesting::Figures;
use crate::bmc::BmcState;
use crate::burn_in::Board;
use crate::hooks::EventCounts;
use crate::publish::mqtt::StatsSnapshot;
use crate::publish::spool::Health;
use crate::sampling::roster::{Gpu, Roster};

/// What is not in the roster.
pub struct Around<'a> {
    /// `CLOCK_BOOTTIME` now.
    pub now_boot_ms: u64,
    /// Wall clock now.
    pub now_unix_ms: u64,
    /// The publisher; absent where the feed is off.
    pub mqtt: Option<StatsSnapshot>,
    /// The spool; absent where the feed is off.
    pub spool: Option<Health>,
    /// Declared number of GPUs.
    pub expected_gpus: Option<u32>,
    /// Own memory and processor time.
    pub process: Option<rackmark_hardware::process::ProcessUsage>,
    /// Name of this node.
    pub node: &'a str,
    /// Name of its site.
    pub site: &'a str,
    /// The endpoint itself.
    pub http: CountersSnapshot,
    /// Certificates that this daemon shows to others.
    pub certificates: Vec<Certificate>,
    /// The BMC; absent where none is configured.
    pub bmc: Option<BmcState>,
    /// Hooks of the site, by events that had any.
    pub hooks: Vec<(HookEvent, EventCounts)>,
    /// Evidence and the TPM; absent where the feed is off.
    pub attesting: Option<Figures>,
    /// Burn-ins.
    pub burn_ins: Board,
    /// Commands by verb and outcome.
    pub commands: Vec<(&'static str, &'static str, u64)>,
}

/// A certificate of our own.
#[derive(Debug, Clone)]
pub struct Certificate {
    /// Label `use`: `metrics` for the Prometheus endpoint, `mqtt` for the brokers.
    pub used_for: &'static str,
    /// Its last second, since 1970.
    pub not_after_unix_s: u64,
}

const fn milliseconds(value: u64) -> Decimal {
    Decimal::scaled(value, 3)
}

const fn flag(value: bool) -> Decimal {
    Decimal::whole(value as u64)
}

/// Hands what changes from sample to sample to `sink`.
pub fn collect_live(roster: &Roster, names: &Names, around: &Around<'_>, sink: &mut dyn Sink) {
    node(roster, around, sink);
    sources(roster, around, sink);
    let slots: Vec<String> = roster.gpus.iter().map(|gpu| gpu.identity.slot.to_string()).collect();
    let gpus: Vec<(&Gpu, &str)> = roster.gpus.iter().zip(slots.iter().map(String::as_str)).collect();
    gpu_states(&gpus, sink);
    super::health::judgement(roster, &gpus, sink);
    readings(&gpus, &names.fast, |gpu, take| gpu.fast.each(take), sink);
    if let Some(mqtt) = &around.mqtt {
        publisher(mqtt, around, sink);
    }
    if let Some(health) = &around.spool {
        super::spool::spool(health, sink);
    }
    if let Some(bmc) = &around.bmc {
        super::bmc::bmc(bmc, around.now_boot_ms, sink);
    }
    super::hooks::hooks(&around.hooks, sink);
    if let Some(figures) = &around.attesting {
        super::attesting::attesting(figures, sink);
    }
    super::attesting::commands(&around.commands, sink);
    super::burn_in::burn_ins(&around.burn_ins, sink);
    endpoint(around, sink);
    let mut own = around.certificates.clone();
    let not_after_unix_s = around.mqtt.as_ref().map_or(0, |mqtt| mqtt.certificate_not_after_unix_s);
    own.push(Certificate { used_for: "mqtt", not_after_unix_s });
    certificates(&own, sink);
    if let Some(process) = &around.process {
        sink.family("process_resident_memory_bytes", Kind::Gauge, "Resident memory of the daemon.");
        sink.point(&[], Decimal::whole(process.resident.0));
        sink.family("process_cpu_seconds", Kind::Counter, "Processor time of the daemon.");
        sink.point(&[], milliseconds(process.cpu_time.as_millis() as u64));
    }
}

/// Hands what stays as it is until [`Roster::settled`] moves on to `sink`:
/// names, inventory, slow readings.
pub fn collect_settled(roster: &Roster, names: &Names, sink: &mut dyn Sink) {
    let slots: Vec<String> = roster.gpus.iter().map(|gpu| gpu.identity.slot.to_string()).collect();
    let gpus: Vec<(&Gpu, &str)> = roster.gpus.iter().zip(slots.iter().map(String::as_str)).collect();
    gpu_info(&gpus, sink);
    let slow = |gpu: &Gpu, take: &mut dyn FnMut(usize, Reading<Value<'_>>)| {
        if let Some(known) = gpu.slow.as_ref().filter(|_| gpu.absence().is_none()) {
            known.slow.each(take);
        }
    };
    readings(&gpus, &names.slow, slow, sink);
    let inventory = |gpu: &Gpu, take: &mut dyn FnMut(usize, Reading<Value<'_>>)| {
        if let Some(known) = &gpu.inventory {
            known.each(take);
        }
    };
    readings(&gpus, &names.inventory, inventory, sink);
    super::mig::mig(&gpus, sink);
}

fn node(roster: &Roster, around: &Around<'_>, sink: &mut dyn Sink) {
    let driver = roster.driver.as_ref();
    let version = driver.and_then(|driver| driver.driver_version.as_deref().ok()).unwrap_or("");
    let nvml = driver.and_then(|driver| driver.nvml_version.as_deref().ok()).unwrap_or("");
    let cuda = driver.and_then(|driver| driver.cuda_driver_version.as_deref().ok()).unwrap_or("");
    sink.family("rackmark_node_info", Kind::Gauge, "This node, its agent and its driver.");
    sink.point(
        &[
            ("site", around.site),
            ("node", around.node),
            ("version", env!("CARGO_PKG_VERSION")),
            ("driver_version", version),
            ("nvml_version", nvml),
            ("cuda_driver_version", cuda),
        ],
        Decimal::whole(1),
    );
    sink.family("rackmark_simulated", Kind::Gauge, "1 where the GPUs are simulated, not real.");
    sink.point(&[], flag(roster.simulated()));
    sink.family("rackmark_driver_up", Kind::Gauge, "1 while the NVIDIA driver answers.");
    sink.point(&[], flag(roster.driver.is_some()));
    if let Some(expected) = around.expected_gpus {
        sink.family("rackmark_gpus_expected", Kind::Gauge, "GPUs this node is declared to have.");
        sink.point(&[], Decimal::whole(u64::from(expected)));
    }
    sink.family("rackmark_gpus", Kind::Gauge, "GPUs known on this node, answering or not.");
    sink.point(&[], Decimal::whole(roster.gpus.len() as u64));
}

fn sources(roster: &Roster, around: &Around<'_>, sink: &mut dyn Sink) {
    let fast = roster.taken.as_ref();
    let oldest_slow =
        roster.gpus.iter().filter_map(|gpu| gpu.slow.as_ref()).map(|slow| slow.taken_unix_ms).min();
    let fast_ok = roster.gpus.iter().any(|gpu| gpu.absence().is_none());
    sink.family(
        "rackmark_source_success",
        Kind::Gauge,
        "1 where the newest attempt of this source gave data.",
    );
    sink.point(&[("source", "nvml_fast")], flag(fast_ok));
    sink.point(&[("source", "nvml_slow")], flag(fast_ok && oldest_slow.is_some()));
    if let Some(taken) = fast {
        sink.family(
            "rackmark_source_duration_seconds",
            Kind::Gauge,
            "How long the newest attempt of this source took.",
        );
        sink.point(&[("source", "nvml_fast")], Decimal::scaled(taken.took_us, 6));
        sink.family("rackmark_source_age_seconds", Kind::Gauge, "Age of the newest data of this source.");
        sink.point(
            &[("source", "nvml_fast")],
            milliseconds(around.now_boot_ms.saturating_sub(taken.boot_ms)),
        );
        if let Some(oldest) = oldest_slow {
            sink.point(&[("source", "nvml_slow")], milliseconds(around.now_unix_ms.saturating_sub(oldest)));
        }
    }
    let sampler = &roster.sampler;
    let counters = [
        ("rackmark_samples", "Samples received from the sampler.", sampler.samples_total),
        ("rackmark_sampler_starts", "Samplers started.", sampler.starts_total),
        (
            "rackmark_sampler_walked_away",
            "Samplers left behind because they hung.",
            sampler.walked_away_total,
        ),
        (
            "rackmark_sampler_malformed_frames",
            "Samplers ended for a malformed frame.",
            sampler.malformed_total,
        ),
    ];
    for (name, help, value) in counters {
        sink.family(name, Kind::Counter, help);
        sink.point(&[], Decimal::whole(value));
    }
    sink.family("rackmark_sampler_stuck_processes", Kind::Gauge, "Samplers that outlived SIGKILL.");
    sink.point(&[], Decimal::whole(sampler.stuck.len() as u64));
}

fn endpoint(around: &Around<'_>, sink: &mut dyn Sink) {
    sink.family("rackmark_http_connections", Kind::Gauge, "Open connections of the Prometheus endpoint.");
    sink.point(&[], Decimal::whole(around.http.connections));
    sink.family(
        "rackmark_http_refused",
        Kind::Counter,
        "Connections and requests that the Prometheus endpoint refused, by reason.",
    );
    for (reason, count) in Refusal::ALL.iter().zip(around.http.refused) {
        sink.point(&[("reason", reason.name())], Decimal::whole(count));
    }
}

fn gpu_info(gpus: &[(&Gpu, &str)], sink: &mut dyn Sink) {
    sink.family("rackmark_gpu_info", Kind::Gauge, "Everything a GPU is called.");
    for (gpu, slot) in gpus {
        let identity = &gpu.identity;
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        let (uuid, serial, name) = (text(&identity.uuid), text(&identity.serial), text(&identity.name));
        let index = identity.index.map(|index| index.to_string()).unwrap_or_default();
        let of = |reading: fn(&Inventory) -> &Reading<String>| {
            gpu.inventory.as_ref().and_then(|inventory| reading(inventory).as_deref().ok()).unwrap_or("")
        };
        sink.point(
            &[
                ("gpu", slot),
                ("index", &index),
                ("uuid", &uuid),
                ("serial", &serial),
                ("pci_address", &identity.address),
                ("physical_slot", gpu.physical_slot.as_deref().unwrap_or("")),
                ("name", &name),
                ("architecture", of(|inventory| &inventory.architecture)),
                ("vbios_version", of(|inventory| &inventory.vbios_version)),
                ("inforom_image_version", of(|inventory| &inventory.inforom_image_version)),
                ("gsp_firmware_version", of(|inventory| &inventory.gsp_firmware_version)),
                ("board_part_number", of(|inventory| &inventory.board_part_number)),
            ],
            Decimal::whole(1),
        );
    }
}

fn gpu_states(gpus: &[(&Gpu, &str)], sink: &mut dyn Sink) {
    sink.family("rackmark_gpu_up", Kind::Gauge, "1 while the readings of this GPU are current.");
    for (gpu, slot) in gpus {
        sink.point(&[("gpu", slot)], flag(gpu.absence().is_none()));
    }
    if gpus.iter().any(|(gpu, _)| gpu.absence().is_some()) {
        sink.family("rackmark_gpu_no_data", Kind::Gauge, "1 for GPUs without readings, with the reason.");
        for (gpu, slot) in gpus {
            if let Some(why) = gpu.absence() {
                sink.point(&[("gpu", slot), ("reason", why.name())], Decimal::whole(1));
            }
        }
    }
    sink.family("rackmark_gpu_state", Kind::Gauge, "1 for the state this GPU is in.");
    for (gpu, slot) in gpus {
        let state = gpu.state;
        for candidate in GpuState::ALL {
            sink.point(&[("gpu", slot), ("state", candidate.name())], flag(candidate == state));
        }
    }
}

/// One family per reading, its points from every GPU that has it.
fn readings(
    gpus: &[(&Gpu, &str)],
    families: &[Family],
    each: impl Fn(&Gpu, &mut dyn FnMut(usize, Reading<Value<'_>>)),
    sink: &mut dyn Sink,
) {
    let mut table = vec![None; gpus.len() * families.len()];
    for (row, (gpu, _)) in gpus.iter().enumerate() {
        each(gpu, &mut |at, reading| {
            table[row * families.len() + at] = reading.ok().and_then(|value| families[at].value(value));
        });
    }
    for (at, family) in families.iter().enumerate() {
        let mut begun = false;
        for (row, (_, slot)) in gpus.iter().enumerate() {
            let Some(value) = table[row * families.len() + at] else { continue };
            if !begun {
                sink.family(&family.name, family.kind, family.help);
                begun = true;
            }
            sink.point(&[("gpu", slot)], value);
        }
    }
}

/// Own certificates by use; one that is valid until 1970 is none.
fn certificates(own: &[Certificate], sink: &mut dyn Sink) {
    let shown = || own.iter().filter(|certificate| certificate.not_after_unix_s > 0);
    if shown().next().is_none() {
        return;
    }
    sink.family(
        "rackmark_tls_certificate_not_after_timestamp_seconds",
        Kind::Gauge,
        "When the agent's own certificate for this use expires, since 1970.",
    );
    for certificate in shown() {
        sink.point(&[("use", certificate.used_for)], Decimal::whole(certificate.not_after_unix_s));
    }
}

fn publisher(mqtt: &StatsSnapshot, around: &Around<'_>, sink: &mut dyn Sink) {
    let counters = [
        ("rackmark_mqtt_connects", "Connections that reached CONNACK.", mqtt.connects_total),
        ("rackmark_mqtt_connect_failures", "Connection attempts that failed.", mqtt.connect_failures_total),
        ("rackmark_mqtt_disconnects", "Connections that ended unasked.", mqtt.disconnects_total),
        ("rackmark_mqtt_acknowledged", "PUBLISH packets the broker accepted.", mqtt.acked_total),
        (
            "rackmark_mqtt_no_subscriber",
            "PUBACK 0x10 for a stream: nobody listens, the record is kept.",
            mqtt.no_subscriber_total,
        ),
        ("rackmark_mqtt_quarantined", "Messages this broker can never take.", mqtt.quarantined_total),
        (
            "rackmark_mqtt_failovers",
            "Connections made to another broker than the one before.",
            mqtt.failovers_total,
        ),
        (
            "rackmark_mqtt_tls_renewal_failures",
            "Replaced certificate files that could not be used.",
            mqtt.renewal_failures_total,
        ),
        ("rackmark_mqtt_incoming", "Messages received.", mqtt.incoming_total),
        (
            "rackmark_mqtt_incoming_dropped",
            "Messages received and dropped for want of room.",
            mqtt.incoming_dropped_total,
        ),
        (
            "rackmark_mqtt_incoming_refused",
            "Messages received and refused: sender, signature, node, epoch or time.",
            mqtt.incoming_refused_total,
        ),
        (
            "rackmark_mqtt_replies_dropped",
            "Answers not given because too many waited.",
            mqtt.replies_dropped_total,
        ),
    ];
    for (name, help, value) in counters {
        sink.family(name, Kind::Counter, help);
        sink.point(&[], Decimal::whole(value));
    }
    sink.family("rackmark_mqtt_published", Kind::Counter, "PUBLISH packets sent, repeats included.");
    sink.point(&[("class", "level")], Decimal::whole(mqtt.published_level_total));
    sink.point(&[("class", "series")], Decimal::whole(mqtt.published_series_total));
    sink.point(&[("class", "edge")], Decimal::whole(mqtt.published_edge_total));
    sink.family("rackmark_mqtt_refused", Kind::Counter, "PUBACKs with a failure that is tried again.");
    sink.point(&[("reason", "not_authorized")], Decimal::whole(mqtt.refused_not_authorized_total));
    sink.point(&[("reason", "quota")], Decimal::whole(mqtt.refused_quota_total));
    sink.point(&[("reason", "other")], Decimal::whole(mqtt.refused_other_total));
    let gauges = [
        ("rackmark_mqtt_connected", "1 while connected to a broker.", Decimal::whole(mqtt.connected)),
        ("rackmark_mqtt_held_topics", "Topics held back after a refusal.", Decimal::whole(mqtt.held_topics)),
        ("rackmark_mqtt_in_flight", "PUBLISH packets without PUBACK.", Decimal::whole(mqtt.in_flight)),
        (
            "rackmark_mqtt_backoff_seconds",
            "Present pause between connection attempts.",
            milliseconds(mqtt.backoff_current_ms),
        ),
    ];
    for (name, help, value) in gauges {
        sink.family(name, Kind::Gauge, help);
        sink.point(&[], value);
    }
    if let Some(broker) = mqtt.broker.as_ref().filter(|_| mqtt.connected == 1) {
        sink.family(
            "rackmark_mqtt_broker_info",
            Kind::Gauge,
            "The broker in use, with its place in mqtt.brokers, from 0.",
        );
        sink.point(&[("broker", &broker.address), ("place", &broker.place.to_string())], Decimal::whole(1));
    }
    if mqtt.last_ack_unix_ms > 0 {
        sink.family(
            "rackmark_mqtt_last_acknowledged_age_seconds",
            Kind::Gauge,
            "Since the last accepted PUBLISH.",
        );
        sink.point(&[], milliseconds(around.now_unix_ms.saturating_sub(mqtt.last_ack_unix_ms)));
    }
}
