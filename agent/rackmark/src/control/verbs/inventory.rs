//! What this server is, from the newest look: no driver call, no disk.

use std::sync::PoisonError;

use serde_json::{Value as Json, json};

use super::Verbs;
use crate::inventory::digest_hex;

impl Verbs {
    pub(super) fn inventory(&self) -> Result<Json, String> {
        let inventory = self.inventory.read().unwrap_or_else(PoisonError::into_inner);
        let Some(kept) = inventory.as_ref() else {
            return Err("the first look at this server is not over; ask again".to_owned());
        };
        let findings = kept.inventory.findings.iter().map(|finding| {
            let (code, meaning) = (finding.code.name(), finding.code.meaning());
            json!({
                "code": code, "instance": finding.instance, "detail": finding.detail,
                "meaning": meaning, "what_to_do": finding.code.todo(),
            })
        });
        Ok(json!({
            "taken_unix_ms": kept.taken_unix_ms,
            "digest": digest_hex(&kept.inventory),
            "left_out": kept.inventory.left_out,
            "facts": kept.inventory.facts,
            "findings": findings.collect::<Vec<_>>(),
        }))
    }
}
