//! Evidence, the TPM, and the commands of consumers.

use super::{Decimal, Kind, Sink};
use crate::attesting::{Figures, REASONS};

/// Hands the figures of evidence and TPM to `sink`.
pub fn attesting(figures: &Figures, sink: &mut dyn Sink) {
    sink.family(
        "rackmark_evidence",
        Kind::Counter,
        "Evidence of what the node is that was made, or failed, by cause.",
    );
    for (cause, outcome, count) in figures.evidence() {
        sink.point(&[("cause", cause), ("outcome", outcome)], Decimal::whole(count));
    }
    let Some(tpm) = &figures.tpm else { return };
    if let Some(up) = tpm.up {
        sink.family("rackmark_tpm_up", Kind::Gauge, "1 where the TPM carried out the newest order.");
        sink.point(&[], Decimal::whole(u64::from(up)));
    }
    sink.family(
        "rackmark_tpm_lockout",
        Kind::Gauge,
        "1 where the TPM said last that it refuses keys with passwords for a time.",
    );
    sink.point(&[], Decimal::whole(u64::from(tpm.lockout)));
    if let Some(quote_ms) = tpm.quote_ms {
        sink.family(
            "rackmark_tpm_quote_duration_seconds",
            Kind::Gauge,
            "How long the newest quote took in the TPM.",
        );
        sink.point(&[], Decimal::scaled(u64::from(quote_ms), 3));
    }
    sink.family("rackmark_tpm_failures", Kind::Counter, "Orders to the TPM that failed, by reason.");
    for (reason, count) in REASONS.iter().zip(tpm.failures) {
        sink.point(&[("reason", reason)], Decimal::whole(count));
    }
}

/// Hands what became of commands, by verb and outcome, to `sink`.
pub fn commands(counts: &[(&'static str, &'static str, u64)], sink: &mut dyn Sink) {
    if counts.is_empty() {
        return;
    }
    sink.family(
        "rackmark_commands",
        Kind::Counter,
        "Commands of consumers whose signature fits, by verb and outcome: accepted, or the name of the refusal.",
    );
    for (verb, outcome, count) in counts {
        sink.point(&[("verb", verb), ("outcome", outcome)], Decimal::whole(*count));
    }
}
