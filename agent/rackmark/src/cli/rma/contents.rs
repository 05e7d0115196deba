//! What goes into the archive, from what the agent says. Facts are named one by one: what is new in the
//! agent's answers does not reach a vendor by itself.

use serde_json::{Map, Value as Json, json};

use super::archive::Entries;
use super::redact::Redaction;
use crate::utc::Utc;

/// Readings that say what the card is: these, and those whose names begin with one of [`CARD_STARTS`].
const CARD: [&str; 10] = [
    "architecture",
    "brand",
    "board_id",
    "board_part_number",
    "chassis_serial",
    "memory_total_bytes",
    "module_id",
    "pci_device_id",
    "pci_subsystem_id",
    "slot_number",
];
const CARD_STARTS: [&str; 3] = ["vbios_", "inforom_", "gsp_"];
const REMAP_STARTS: [&str; 7] = ["ecc_", "sram_", "remap", "retired_", "repair_", "recovery_action", "row_"];
const PCIE_STARTS: [&str; 2] = ["pcie_", "pci_"];
const NVLINK: [&str; 5] = ["fabric_state", "fabric_status", "fabric_health", "peer_type", "module_id"];

/// Kinds of history that tell of the card; the others tell of people and their work.
const CARD_KINDS: [&str; 8] = [
    "condition_raised",
    "condition_cleared",
    "xid",
    "incident_ended",
    "verdict",
    "card_replaced",
    "card_moved",
    "state",
];

/// Words of what happened to memory, in the history's texts.
const MEMORY_WORDS: [&str; 5] = ["remap", "retired", "ecc", "row", "sram"];

/// What the agent answered.
pub struct Answers<'a> {
    /// To `status`.
    pub status: &'a Json,
    /// The GPU's part of it.
    pub gpu: &'a Json,
    /// To `history`, of this card.
    pub history: &'a [Json],
}

/// Every entry that is made of the agent's answers.
pub fn entries(answers: &Answers<'_>, redaction: &Redaction) -> Entries {
    let history: Vec<Json> = answers.history.iter().filter_map(|entry| told(entry, redaction)).collect();
    let documents = [
        ("card.json", card(answers)),
        ("conditions.json", conditions(answers.gpu, redaction)),
        ("remap.json", remap(answers.gpu, &history)),
        ("pcie.json", readings(&answers.gpu["readings"], &[], &PCIE_STARTS)),
        ("nvlink.json", nvlink(answers.gpu)),
    ];
    let mut entries: Entries = documents
        .into_iter()
        .map(|(path, document)| (path.to_owned(), format!("{document:#}\n").into_bytes()))
        .collect();
    entries.insert("xids.txt".to_owned(), xids(answers.gpu, &history).into_bytes());
    entries.insert("history.json".to_owned(), format!("{:#}\n", Json::Array(history)).into_bytes());
    entries
}

fn readings(from: &Json, names: &[&str], starts: &[&str]) -> Json {
    let all = from.as_object().into_iter().flatten();
    all.filter(|(name, _)| {
        names.contains(&name.as_str()) || starts.iter().any(|start| name.starts_with(start))
    })
    .map(|(name, value)| (name.clone(), value.clone()))
    .collect::<Map<_, _>>()
    .into()
}

fn card(answers: &Answers<'_>) -> Json {
    let (gpu, status) = (answers.gpu, answers.status);
    json!({
        "name": gpu["name"],
        "serial": gpu["serial"],
        "uuid": gpu["uuid"],
        "slot": gpu["slot"],
        "physical_slot": gpu["physical_slot"],
        "pci_address": gpu["pci_address"],
        "standing": gpu["standing"],
        "driver_version": status["driver"]["driver_version"],
        "cuda_driver_version": status["driver"]["cuda_driver_version"],
        "simulated": status["simulated"],
        "readings": readings(&gpu["readings"], &CARD, &CARD_STARTS),
    })
}

fn conditions(gpu: &Json, redaction: &Redaction) -> Json {
    let standing = gpu["conditions"].as_array().into_iter().flatten();
    standing
        .map(|condition| {
            let text = |name: &str| condition[name].as_str().map(|text| redaction.line(text));
            let action = rackmark_health::Action::ALL
                .iter()
                .find(|action| Some(action.name()) == condition["action"].as_str());
            json!({
                "id": condition["id"],
                "severity": condition["severity"],
                "line": text("line"),
                "text": text("text"),
                "detail": text("detail"),
                "action": condition["action"],
                "suggested_action": action.map(|action| action.words()),
                "since": condition["since_unix_ms"].as_u64().map(|at| Utc(at).to_string()),
                "since_unix_ms": condition["since_unix_ms"],
                "last_unix_ms": condition["last_unix_ms"],
            })
        })
        .collect()
}

/// An entry of the history as it may be told; none where it is about people or work.
fn told(entry: &Json, redaction: &Redaction) -> Option<Json> {
    let (kind, text) = (entry["kind"].as_str()?, entry["text"].as_str()?);
    if !CARD_KINDS.contains(&kind) {
        return None;
    }
    let text = match kind {
        // A reason may be what a person typed, and a cause or ticket is the site's.
        "verdict" => text.split(':').next()?,
        "state" => text.split(',').next()?,
        "card_replaced" => text.split(';').next()?,
        _ => text,
    };
    let at = entry["at_unix_ms"].as_u64()?;
    Some(json!({
        "at": Utc(at).to_string(),
        "at_unix_ms": at,
        "kind": kind,
        "serial": entry["serial"],
        "uuid": entry["uuid"],
        "text": redaction.line(text),
    }))
}

fn xids(gpu: &Json, history: &[Json]) -> String {
    let mut out =
        String::from("Counts since the agent was installed, then each incident with the kernel's words.\n\n");
    for count in gpu["xids"].as_array().into_iter().flatten() {
        out.push_str(&format!(
            "XID {}: {} errors, {} incidents\n",
            count["xid"], count["errors"], count["incidents"]
        ));
    }
    out.push('\n');
    for entry in
        history.iter().filter(|entry| matches!(entry["kind"].as_str(), Some("xid" | "incident_ended")))
    {
        let text = |name: &str| entry[name].as_str().unwrap_or("-");
        out.push_str(&format!("{}  {}\n", text("at"), text("text")));
    }
    out
}

fn remap(gpu: &Json, history: &[Json]) -> Json {
    let of_memory = history.iter().filter(|entry| {
        let text = entry["text"].as_str().unwrap_or_default().to_ascii_lowercase();
        MEMORY_WORDS.iter().any(|word| text.contains(word))
    });
    json!({
        "taken_unix_ms": gpu["slow"]["taken_unix_ms"],
        "now": readings(&gpu["slow"]["readings"], &[], &REMAP_STARTS),
        "since_driver_load": readings(&gpu["readings"], &[], &["ecc_"]),
        "history": of_memory.collect::<Vec<_>>(),
    })
}

fn nvlink(gpu: &Json) -> Json {
    json!({
        "taken_unix_ms": gpu["slow"]["taken_unix_ms"],
        "links": gpu["slow"]["nvlinks"],
        "readings": readings(&gpu["readings"], &NVLINK, &["nvlink_"]),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn planted_names_reach_no_entry() {
        let condition = json!({
            "id": "xid_31", "severity": "warning", "action": "none", "line": "XID 31 on secret-host",
            "detail": "pid=1234, name=secret-python", "text": "see 10.9.8.7", "since_unix_ms": 1000,
            "acknowledged": { "by": "secret-user" },
        });
        let gpu = json!({
            "slot": 0, "serial": "S1", "uuid": "GPU-1", "conditions": [condition],
            "lease": { "id": "secret-lease" }, "maintenance": { "by": "secret-user", "reason": "secret-reason" },
            "processes": [{ "pid": 1234, "name": "secret-python" }],
            "readings": { "vbios_version": "96.00.74.00.11", "fabric_cluster_uuid": "secret-cluster", "pcie_replays_total": 4 },
            "slow": { "readings": { "remapped_rows_uncorrected": 2 }, "nvlinks": [], "taken_unix_ms": 5 },
            "xids": [{ "xid": 31, "errors": 2, "incidents": 1 }],
        });
        let status = json!({ "node": { "name": "secret-host", "site": "secret-site" }, "driver": { "driver_version": "590.48.01" } });
        let entry = |kind: &str, text: &str| json!({ "at_unix_ms": 1000, "slot": 0, "serial": "S1", "kind": kind, "text": text });
        let history = [
            entry("xid", "XID 31: pid=1234, name=secret-python, Ch 00000008 of secret-lease"),
            entry("lease_started", "lease secret-lease begins"),
            entry("acknowledged", "xid_31 is acknowledged by secret-user"),
            entry("verdict", "draining after schedulable: secret-reason"),
            entry("card_replaced", "card S1 in the place of card S0; ticket secret-ticket"),
            entry("condition_raised", "a row of secret-site was remapped"),
        ];
        let redaction = Redaction::of(["secret-host", "secret-site", "secret-lease"].map(str::to_owned));
        let entries = entries(&Answers { status: &status, gpu: &gpu, history: &history }, &redaction);
        let all: String = entries.values().map(|bytes| String::from_utf8_lossy(bytes)).collect();
        for name in ["secret", "1234", "10.9.8.7"] {
            assert!(!all.contains(name), "{name} in\n{all}");
        }
        for fact in [
            "96.00.74.00.11",
            "590.48.01",
            "XID 31",
            "Ch 00000008",
            "\"remapped_rows_uncorrected\": 2",
            "was remapped",
        ] {
            assert!(all.contains(fact), "{fact} not in\n{all}");
        }
    }
}
