//! JSON form of the extensions of capacity.

use serde_json::{Value as Json, json};

use super::code;
use crate::body::capacity::{CONDITIONS, MAINTENANCE, NODE_VERDICT};
use crate::body::{Capacity, Condition};

pub(super) fn condition(condition: &Condition) -> Json {
    json!({
        "code": condition.code,
        "key": condition.key,
        "severity": code(condition.severity.name(), condition.severity.code()),
        "action": code(condition.action.name(), condition.action.code()),
        "since_unix_ms": condition.since_unix_ms,
        "acknowledged": condition.acknowledged,
        "detail": condition.detail,
    })
}

/// Puts what the known extensions say beside the raw list. A tag that is absent gives no key; content that
/// does not parse gives `null`, which is not "none".
pub(super) fn known_extensions(capacity: &Capacity, document: &mut Json) {
    let says = |tag| capacity.extensions.iter().any(|extension| extension.tag == tag);
    if says(CONDITIONS) {
        document["conditions"] = capacity.conditions().map_or(Json::Null, |list| {
            list.iter().map(|e| json!({ "slot": e.slot, "condition": condition(&e.condition) })).collect()
        });
    }
    if says(MAINTENANCE) {
        document["maintenance"] = capacity.maintenance().map_or(Json::Null, |list| {
            list.iter()
                .map(|e| json!({ "slot": e.slot, "until_unix_ms": e.until_unix_ms, "reason": e.reason }))
                .collect()
        });
    }
    if says(NODE_VERDICT) {
        document["node_verdict"] = match capacity.node_verdict() {
            Ok(Some(said)) => json!({
                "verdict": code(said.verdict.name(), said.verdict.code()),
                "reason": said.reason,
            }),
            _ => Json::Null,
        };
    }
}
