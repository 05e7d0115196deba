//! Burn-ins: begin, end, look.

use std::sync::PoisonError;

use rackmark_health::burn_in::{MODES, Mode, SOAK_HOURS_MAX, kind_unit, test_name};
use serde_json::{Map, Value as Json, json};
use tokio::sync::{mpsc, oneshot};

use super::{Verbs, stopping, which};
use crate::burn_in::{Last, Record, Request, Running, Wanted};

/// Word of whether a burn-in begins, and why not.
pub(super) type Begun = oneshot::Receiver<Result<(), String>>;

impl Verbs {
    pub(super) async fn burn_in_start(
        &self,
        gpu: Option<&str>,
        mode: &str,
        hours: u16,
        one_by_one: bool,
        by: String,
    ) -> Result<Json, String> {
        let (slots, answered) = self.begin_burn_in(gpu, mode, hours, one_by_one, by)?;
        answered.await.map_err(|_| stopping())??;
        Ok(json!({ "slots": slots }))
    }

    /// Orders a burn-in; on which slots, and word of whether it begins.
    pub(super) fn begin_burn_in(
        &self,
        gpu: Option<&str>,
        mode: &str,
        hours: u16,
        one_by_one: bool,
        by: String,
    ) -> Result<(Vec<u8>, Begun), String> {
        let mode = Mode::by_name(mode).ok_or_else(|| {
            let known = MODES.map(Mode::name).join(", ");
            format!("there is no mode {mode:?}; there are {known}")
        })?;
        if !(1..=SOAK_HOURS_MAX).contains(&hours) {
            return Err(format!("a soak takes 1 to {SOAK_HOURS_MAX} hours"));
        }
        let slots = self.slots(gpu)?;
        if slots.is_empty() {
            return Err("this node has no GPU".to_owned());
        }
        let running = self.board.running();
        if let Some(slot) = slots.iter().find(|slot| running.contains_key(slot)) {
            return Err(format!("a burn-in of GPU {slot} runs already"));
        }
        let (answer, answered) = oneshot::channel();
        let wanted = Wanted { slots: slots.clone(), mode, hours, one_by_one, by };
        self.wish(Request::Start(wanted, answer))?;
        Ok((slots, answered))
    }

    pub(super) async fn burn_in_stop(&self, gpu: Option<&str>, by: String) -> Result<Json, String> {
        match self.end_burn_in(gpu, by)?.await.map_err(|_| stopping())? {
            0 => Err("no burn-in runs".to_owned()),
            told => Ok(json!({ "stopped": told })),
        }
    }

    /// Orders the end of a burn-in; word of how many runs were told.
    pub(super) fn end_burn_in(
        &self,
        gpu: Option<&str>,
        by: String,
    ) -> Result<oneshot::Receiver<usize>, String> {
        let slot = gpu.map(|gpu| self.slots(Some(gpu))).transpose()?.and_then(|slots| slots.first().copied());
        if self.board.running().is_empty() {
            return Err("no burn-in runs".to_owned());
        }
        let (told, answered) = oneshot::channel();
        self.wish(Request::Stop { slot, by, told })?;
        Ok(answered)
    }

    pub(super) fn burn_in_show(&self) -> Json {
        let running: Map<String, Json> = self
            .board
            .running()
            .iter()
            .map(|(slot, running)| (slot.to_string(), running_json(running)))
            .collect();
        let roster = self.roster.read().unwrap_or_else(PoisonError::into_inner);
        let slots = roster.gpus.iter().map(|gpu| gpu.identity.slot);
        let last: Map<String, Json> = slots
            .filter_map(|slot| {
                let last = match self.board.last(slot)? {
                    Last::NotBegun(why) => json!({ "not_begun": why }),
                    Last::Ended(record) => summary(&record),
                };
                Some((slot.to_string(), last))
            })
            .collect();
        json!({ "running": running, "last": last })
    }

    pub(super) fn burn_in_record(&self, gpu: &str) -> Result<Json, String> {
        let slot = self.slots(Some(gpu))?.first().copied().unwrap_or_default();
        match self.board.last(slot) {
            Some(Last::Ended(record)) => {
                let text = record.to_json().map_err(|error| error.to_string())?;
                serde_json::from_slice(&text).map_err(|error| error.to_string())
            }
            Some(Last::NotBegun(why)) => Err(format!("the last burn-in of GPU {slot} did not begin: {why}")),
            None => Err(format!("GPU {slot} was never tested here")),
        }
    }

    fn slots(&self, gpu: Option<&str>) -> Result<Vec<u8>, String> {
        let roster = self.roster.read().unwrap_or_else(PoisonError::into_inner);
        match gpu {
            Some(gpu) => Ok(vec![which(&roster, gpu)?.identity.slot]),
            None => Ok(roster.gpus.iter().map(|gpu| gpu.identity.slot).collect()),
        }
    }

    fn wish(&self, request: Request) -> Result<(), String> {
        self.burn_ins.try_send(request).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => "too many requests at once; ask again".to_owned(),
            mpsc::error::TrySendError::Closed(_) => stopping(),
        })
    }
}

fn running_json(running: &Running) -> Json {
    let point = running.point;
    json!({
        "mode": running.mode.name(),
        "phase": running.phase,
        "began_unix_ms": running.began_unix_ms,
        "total_ms": running.total_ms,
        "stage": running.stage,
        "stages": running.stages,
        "test": running.test.map(test_name),
        "rate": point.rate,
        "unit": point.kind.map(kind_unit),
        "temperature_celsius": point.celsius,
        "power_milliwatts": point.milliwatts,
        "clock_sm_mhz": point.clock_mhz,
        "miscompares": running.miscompares,
    })
}

/// What there is to say about a record without all of it.
fn summary(record: &Record) -> Json {
    let judgement = record.judgement.as_ref();
    json!({
        "mode": record.mode.name(),
        "outcome": judgement.map(|judgement| judgement.outcome.name()),
        "reason": record.reason(),
        "began_unix_ms": record.began_unix_ms,
        "ended_unix_ms": record.ended_unix_ms,
        "by": record.by,
        "simulated": record.simulated,
    })
}
