//! The verdict for schedulers, from what is judged already: no driver call, no disk.

use std::sync::PoisonError;

use rackmark_model::Verdict;
use serde_json::{Value as Json, json};

use super::{Verbs, which};

impl Verbs {
    pub(super) fn check(&self, gpu: Option<&str>) -> Result<Json, String> {
        let roster = self.roster.read().unwrap_or_else(PoisonError::into_inner);
        let (verdict, reason) = match gpu {
            None => (roster.health.verdict.verdict, roster.health.verdict.reason.as_str()),
            Some(gpu) => {
                let gpu = which(&roster, gpu)?;
                (gpu.verdict, roster.reason(gpu.identity.slot))
            }
        };
        Ok(json!({ "verdict": verdict.name(), "reason": reason, "exit": exit(verdict) }))
    }
}

/// The exit code that says a verdict to a shell.
const fn exit(verdict: Verdict) -> u8 {
    match verdict {
        Verdict::Schedulable => 0,
        Verdict::Draining => 1,
        Verdict::Unusable | Verdict::Unknown => 2,
    }
}
