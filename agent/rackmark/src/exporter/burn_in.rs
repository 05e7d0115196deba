//! Burn-ins: what runs, what came of the last ones, and how fast the GPUs were.

use rackmark_health::burn_in::{Outcome, kind_unit};

use super::{Decimal, Kind, Sink};
use crate::burn_in::{Board, Record};

/// Hands what is known of burn-ins to `sink`.
pub fn burn_ins(board: &Board, sink: &mut dyn Sink) {
    let running = board.running();
    if !running.is_empty() {
        sink.family("rackmark_burn_in_running", Kind::Gauge, "1 while the GPU is tested, by mode.");
        for (slot, run) in &running {
            sink.point(&[("gpu", &slot.to_string()), ("mode", run.mode.name())], Decimal::whole(1));
        }
    }
    let results = board.records(|slot, record| (slot.to_string(), Result::of(record)));
    if results.is_empty() {
        return;
    }
    sink.family(
        "rackmark_burn_in_result",
        Kind::Gauge,
        "1 for the outcome of the last burn-in of the GPU, 0 for the others.",
    );
    for (gpu, result) in &results {
        for outcome in Outcome::ALL {
            let labels = [("gpu", gpu.as_str()), ("mode", result.mode), ("outcome", outcome.name())];
            sink.point(&labels, Decimal::whole(u64::from(outcome == result.outcome)));
        }
    }
    sink.family(
        "rackmark_burn_in_end_timestamp_seconds",
        Kind::Gauge,
        "When the last burn-in of the GPU ended, since 1970.",
    );
    for (gpu, result) in &results {
        sink.point(&[("gpu", gpu)], Decimal::scaled(result.ended_unix_ms, 3));
    }
    sink.family(
        "rackmark_burn_in_figure",
        Kind::Gauge,
        "How fast the GPU was in its last burn-in, the sustained median, in the unit that the label names.",
    );
    for (gpu, result) in &results {
        for (figure, unit, median) in &result.figures {
            let labels = [("gpu", gpu.as_str()), ("figure", figure.as_str()), ("unit", unit)];
            sink.point(&labels, Decimal::whole(*median));
        }
    }
}

/// What metrics say of a record.
struct Result {
    mode: &'static str,
    outcome: Outcome,
    ended_unix_ms: u64,
    figures: Vec<(String, &'static str, u64)>,
}

impl Result {
    fn of(record: &Record) -> Self {
        let judgement = record.judgement.as_ref();
        let figures = judgement.iter().flat_map(|judgement| &judgement.figures);
        Self {
            mode: record.mode.name(),
            outcome: judgement.map_or(Outcome::Inconclusive, |judgement| judgement.outcome),
            ended_unix_ms: record.ended_unix_ms.unwrap_or(record.began_unix_ms),
            figures: figures
                .map(|judged| (judged.name(), kind_unit(judged.figure.kind), judged.figure.median))
                .collect(),
        }
    }
}
