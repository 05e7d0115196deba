//! The verbs about hooks of the site: what would run, and running them to try them.

use rackmark_model::hook::{HookEvent, HookRun, OutputFault, Skip};
use serde_json::{Map, Value as Json, json};

use super::Verbs;
use crate::hooks::{Content, Listed, Outcome};

impl Verbs {
    /// What every event would run.
    pub(super) async fn hook_list(&self) -> Json {
        let settings = self.config.borrow().hooks.clone();
        let events = settings.list().await;
        let events: Json = events.iter().map(|(event, listed)| listed_json(*event, listed)).collect();
        json!({ "enabled": settings.enabled, "dir": settings.dir, "events": events })
    }

    /// Runs the hooks of an event now, with a document of whoever asks or a sample.
    pub(super) async fn hook_test(
        &self,
        event: &str,
        document: Option<Map<String, Json>>,
    ) -> Result<Json, String> {
        let event = HookEvent::by_name(event).ok_or_else(|| format!("there is no event {event:?}"))?;
        let content = match document {
            Some(document) => Content::Given { event, document },
            None => Content::sample(event),
        };
        let outcome = self.hooks.run(content, true).await?;
        Ok(outcome_json(event, &outcome))
    }
}

fn listed_json(event: HookEvent, listed: &Listed) -> Json {
    json!({
        "event": event.name(), "hooks": listed.hooks, "skipped": skipped_json(&listed.skipped),
        "trouble": listed.trouble,
    })
}

fn outcome_json(event: HookEvent, outcome: &Outcome) -> Json {
    json!({
        "event": event.name(),
        "runs": outcome.runs.iter().map(run_json).collect::<Json>(),
        "skipped": skipped_json(&outcome.skipped),
        "trouble": outcome.trouble,
        "veto": outcome.veto().filter(|_| event.may_veto()),
    })
}

fn skipped_json(skipped: &[(String, Skip)]) -> Json {
    let one = |(name, reason): &(String, Skip)| json!({ "name": name, "reason": reason.name(), "words": reason.words() });
    skipped.iter().map(one).collect()
}

fn run_json(run: &HookRun) -> Json {
    let facts: Map<String, Json> =
        run.output.facts.iter().map(|(name, value)| (name.clone(), value.as_str().into())).collect();
    json!({
        "name": run.name, "result": run.end.result().name(), "exit": run.end.code(), "took_ms": run.took_ms,
        "message": run.output.message, "facts": facts, "fault": run.output.fault.map(OutputFault::name),
        "stderr": run.stderr, "stdout_cut": run.stdout_cut, "stderr_cut": run.stderr_cut,
    })
}
