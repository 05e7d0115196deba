//! JSON form of a frame: the decoded fields by name, and the signed bytes.
//!
//! The decoded part is for reading; nothing in it says that a signature fits.
//! Who wants to be sure takes the bytes out with [`from_json`] and verifies them.

mod capacity;
mod downlink;
mod event;
mod evidence;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value as Json, json};

use crate::body::succession::{SUCCESSIONS, Succession};
use crate::body::{
    Body, Capacity, Field, FieldGroup, GpuSlow, MigInstance, NvLink, Process, REFUSAL, Reply, SessionRecord,
    Status, TelemetrySlow,
};
use crate::error::DecodeError;
use crate::extension::Extension;
use crate::fields;
use crate::frame::Frame;
use crate::ids::hex;
use crate::limits;
use crate::schema;
use crate::telemetry::TelemetryBatch;
use crate::value::{NoData, Reading, Value};

pub use downlink::downlink_to_json;

/// Why a JSON document gives no frame.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JsonError {
    /// There is no text under `signed_bytes`.
    #[error("document has no signed_bytes text")]
    Missing,
    /// The text is longer than the longest frame in base64.
    #[error("signed_bytes text is longer than a frame can be")]
    TooLong,
    /// The text is not base64 (RFC 4648 section 4, with padding).
    #[error("signed_bytes is not base64")]
    Base64(#[source] base64::DecodeError),
}

/// The JSON form of a frame.
///
/// Whole numbers are JSON numbers and may be above 2^53. Bytes are base64, ids and keys lower-case hex.
///
/// # Errors
/// A body that does not parse. A body of unknown schema is `null`.
pub fn to_json(frame: &Frame<'_>) -> Result<Json, DecodeError> {
    let header = frame.header();
    let mut units = Map::new();
    let body = match frame.body() {
        Ok(body) => Writer { units: &mut units }.body(&body),
        Err(DecodeError::UnknownSchema(_)) => Json::Null,
        Err(error) => return Err(error),
    };
    Ok(json!({
        "schema": frame.schema().to_string(),
        "kind": schema::by_id(frame.schema()).map(|schema| schema.name),
        "header": {
            "node": header.node.to_string(),
            "session": header.session.to_string(),
            "epoch": header.epoch.to_string(),
            "stream": code(header.stream.name(), header.stream.code()),
            "seq": header.seq,
            "time_unix_ms": header.time_unix_ms,
        },
        "body": body,
        "units": units,
        "signed_bytes": STANDARD.encode(frame.bytes()),
    }))
}

/// The bytes of a frame (uplink or downlink) out of its JSON form, to be parsed and verified. The decoded part is not looked at.
///
/// # Errors
/// Why there are none.
pub fn from_json(document: &Json) -> Result<Vec<u8>, JsonError> {
    let text = document.get("signed_bytes").and_then(Json::as_str).ok_or(JsonError::Missing)?;
    if text.len() > limits::FRAME_BYTES.div_ceil(3) * 4 {
        return Err(JsonError::TooLong);
    }
    STANDARD.decode(text).map_err(JsonError::Base64)
}

/// The name of a code, or the number of one that has none here.
fn code(name: &str, number: u16) -> Json {
    if name == "unrecognised" { json!({ "code": number }) } else { name.into() }
}

fn no_data(reason: NoData) -> Json {
    match reason {
        NoData::Error(code) => json!({ "no_data": "error", "code": code }),
        NoData::Unrecognised(number) => json!({ "no_data": "unrecognised", "number": number }),
        known => json!({ "no_data": known.name() }),
    }
}

fn value(value: &Value) -> Json {
    match value {
        Value::Unsigned(n) => (*n).into(),
        Value::Signed(n) => (*n).into(),
        Value::Text(text) => text.as_str().into(),
        Value::Flag(flag) => (*flag).into(),
        Value::NoData(reason) => no_data(*reason),
    }
}

fn reading<T: Into<Json> + Copy>(reading: &Reading<T>) -> Json {
    match reading {
        Ok(value) => (*value).into(),
        Err(reason) => no_data(*reason),
    }
}

fn extensions(list: &[Extension]) -> Json {
    list.iter().map(|e| json!({ "tag": e.tag, "bytes": STANDARD.encode(&e.bytes) })).collect()
}

/// Writes bodies and notes the units of the fields that it meets.
struct Writer<'a> {
    units: &'a mut Map<String, Json>,
}

impl Writer<'_> {
    fn body(&mut self, body: &Body) -> Json {
        match body {
            Body::Session(record) => session(record),
            Body::Event(event) => event::event(event),
            Body::Telemetry(batch) => self.telemetry(batch),
            Body::TelemetrySlow(slow) => self.slow(slow),
            Body::Status(status) => self::status(status),
            Body::Capacity(capacity) => self.capacity(capacity),
            Body::Reply(reply) => self::reply(reply),
            Body::Evidence(evidence) => evidence::evidence(evidence),
            Body::Artefact(artefact) => evidence::artefact(artefact),
        }
    }

    /// Name of a field; its unit goes on the list.
    fn name(&mut self, id: u16) -> String {
        match fields::by_id(id) {
            Some(field) => {
                if !field.unit.is_empty() {
                    self.units.insert(field.name.to_owned(), field.unit.into());
                }
                field.name.to_owned()
            }
            None => format!("field_{id}"),
        }
    }

    fn fields(&mut self, fields: &[Field]) -> Json {
        fields.iter().map(|field| (self.name(field.id), value(&field.value))).collect::<Map<_, _>>().into()
    }

    fn groups(&mut self, groups: &[FieldGroup]) -> Json {
        groups
            .iter()
            .map(|group| {
                json!({
                    "claim": code(group.claim.name(), group.claim.code()),
                    "fields": self.fields(&group.fields),
                })
            })
            .collect()
    }

    fn mig(&mut self, instances: &[MigInstance]) -> Json {
        instances.iter().map(|m| json!({ "index": m.index, "fields": self.fields(&m.fields) })).collect()
    }

    fn capacity(&mut self, capacity: &Capacity) -> Json {
        let gpus: Json = capacity
            .gpus
            .iter()
            .map(|gpu| {
                json!({
                    "slot": gpu.slot,
                    "state": code(gpu.state.name(), gpu.state.code()),
                    "verdict": code(gpu.verdict.name(), gpu.verdict.code()),
                    "no_data": gpu.no_data.map(no_data),
                    "groups": self.groups(&gpu.groups),
                    "mig": self.mig(&gpu.mig),
                })
            })
            .collect();
        let mut document = json!({
            "audience": code(capacity.audience.name(), capacity.audience.code()),
            "simulated": capacity.simulated,
            "groups": self.groups(&capacity.groups),
            "gpus": gpus,
            "extensions": extensions(&capacity.extensions),
        });
        capacity::known_extensions(capacity, &mut document);
        document
    }

    fn slow(&mut self, slow: &TelemetrySlow) -> Json {
        let gpus: Json = slow.gpus.iter().map(|gpu| self.gpu_slow(gpu)).collect();
        json!({
            "taken_unix_ms": slow.taken_unix_ms,
            "gpus": gpus,
            "extensions": extensions(&slow.extensions),
        })
    }

    fn gpu_slow(&mut self, gpu: &GpuSlow) -> Json {
        json!({
            "slot": gpu.slot,
            "fields": self.fields(&gpu.fields),
            "nvlinks": gpu.nvlinks.iter().map(nvlink).collect::<Json>(),
            "mig": self.mig(&gpu.mig),
            "processes": gpu.processes.iter().map(process).collect::<Json>(),
        })
    }

    fn telemetry(&mut self, batch: &TelemetryBatch) -> Json {
        let names: Vec<String> = batch.columns().iter().map(|id| self.name(*id)).collect();
        let samples: Json = batch
            .samples()
            .iter()
            .enumerate()
            .map(|(sample, time)| {
                let gpus: Json = batch
                    .slots()
                    .iter()
                    .enumerate()
                    .map(|(gpu, slot)| {
                        let mut row = Map::from_iter([("slot".to_owned(), (*slot).into())]);
                        row.extend(names.iter().enumerate().filter_map(|(column, name)| {
                            Some((name.clone(), value(&batch.value(sample, gpu, column)?)))
                        }));
                        Json::from(row)
                    })
                    .collect();
                json!({
                    "seq": time.seq,
                    "taken_unix_ms": time.taken_unix_ms,
                    "taken_mono_ms": time.taken_mono_ms,
                    "gpus": gpus,
                })
            })
            .collect();
        json!({ "samples": samples, "extensions": extensions(&batch.extensions) })
    }
}

fn session(record: &SessionRecord) -> Json {
    let claim = &record.claim;
    let previous = claim.previous.as_ref().map(|previous| {
        let ends: Json = previous
            .ends
            .iter()
            .map(|end| {
                json!({ "stream": code(end.stream.name(), end.stream.code()), "last_seq": end.last_seq })
            })
            .collect();
        json!({
            "session": previous.session.to_string(),
            "spool_epoch": previous.spool_epoch.to_string(),
            "ends": ends,
        })
    });
    let mut document = json!({
        "node": claim.node.to_string(),
        "site": claim.site,
        "node_name": claim.node_name,
        "identity_public_key": claim.identity_public_key.to_string(),
        "session_public_key": claim.session_public_key.to_string(),
        "boot_id": hex(&claim.boot_id),
        "spool_epoch": claim.spool_epoch.to_string(),
        "started_unix_ms": claim.started_unix_ms,
        "agent_version": claim.agent_version,
        "previous": previous,
        "extensions": extensions(&claim.extensions),
        "identity_signature": hex(&record.identity_signature.to_bytes()),
    });
    // As for capacity: a tag that is absent gives no key, content that does not parse gives null.
    if claim.extensions.iter().any(|extension| extension.tag == SUCCESSIONS) {
        document["successions"] =
            claim.said_successions().map_or(Json::Null, |list| list.iter().map(succession).collect());
    }
    document
}

/// One succession by the names of its fields.
fn succession(succession: &Succession) -> Json {
    json!({
        "old": succession.old.to_string(),
        "new": succession.new.to_string(),
        "reason": code(succession.reason.name(), succession.reason.code()),
        "ticket": succession.ticket,
        "issued_unix_ms": succession.issued_unix_ms,
        "operator": succession.operator.to_string(),
        "signature": succession.signature.to_string(),
    })
}

fn status(status: &Status) -> Json {
    json!({
        "state": code(status.state.name(), status.state.code()),
        "reason": status.reason,
        "session": status.session.to_string(),
        "since_unix_ms": status.since_unix_ms,
        "time_to_live_ms": status.time_to_live_ms,
        "sample_period_ms": status.sample_period_ms,
        "simulated": status.simulated,
        "gpus": { "expected": status.gpus.expected, "answering": status.gpus.answering },
        "agent_version": status.agent_version,
        "extensions": extensions(&status.extensions),
    })
}

fn reply(reply: &Reply) -> Json {
    let mut document = json!({
        "nonce": hex(&reply.nonce),
        "outcome": code(reply.outcome.name(), reply.outcome.code()),
        "reason": reply.reason,
        "extensions": extensions(&reply.extensions),
    });
    if reply.extensions.iter().any(|extension| extension.tag == REFUSAL) {
        let refusal = reply.refusal();
        document["refusal"] = refusal.map_or(Json::Null, |refusal| code(refusal.name(), refusal.code()));
    }
    document
}

fn nvlink(link: &NvLink) -> Json {
    json!({
        "link": link.link,
        "active": reading(&link.active),
        "version": reading(&link.version),
        "remote": code(link.remote.name(), link.remote.code()),
        "crc_flit_errors": reading(&link.crc_flit_errors),
        "crc_data_errors": reading(&link.crc_data_errors),
        "replay_errors": reading(&link.replay_errors),
        "recovery_errors": reading(&link.recovery_errors),
        "transmit_bytes": reading(&link.transmit_bytes),
        "receive_bytes": reading(&link.receive_bytes),
    })
}

fn process(process: &Process) -> Json {
    json!({
        "pid": process.pid,
        "kind": code(process.kind.name(), process.kind.code()),
        "name": process.name,
        "memory_used_bytes": reading(&process.memory_used_bytes),
        "gpu_instance_id": process.gpu_instance_id,
        "compute_instance_id": process.compute_instance_id,
    })
}
