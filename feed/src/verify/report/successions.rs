//! The successions of a session record: whether they lead here, and whose word they are.

use super::{NodeReport, Trust};
use crate::body::{SessionClaim, SuccessionError};
use crate::verify::outcome::{Check, Reason, Subject};

/// Judges what the session record says of other ids. Nothing is trusted that comes before a step by a stranger: what
/// leads here is as good as its worst step.
pub(super) fn successions(claim: &SessionClaim, trust: &Trust<'_>, report: &mut NodeReport) {
    let subject = Subject::Succession;
    let mut list = match claim.successions() {
        Ok(list) => list,
        Err(error) => {
            let reason = match &error {
                SuccessionError::Extension(_) => Reason::Malformed,
                SuccessionError::Signature(_) => Reason::SignatureMismatch,
                SuccessionError::Unlinked(_)
                | SuccessionError::AnotherNode(_)
                | SuccessionError::Circle(_) => Reason::SuccessionMismatch,
            };
            report.checks.push(Check::contradicted(subject, reason, error.to_string()));
            return;
        }
    };
    let stranger = list.iter().rposition(|succession| !trust.operators.contains(&succession.operator));
    let trusted = list.split_off(stranger.map_or(0, |at| at + 1));
    for succession in &list {
        let detail = format!("{} is said to be this machine, by {}", succession.old, succession.operator);
        report.checks.push(Check::not_established(subject, Reason::OperatorUntrusted, detail));
    }
    for succession in &trusted {
        let detail = format!("it was {}: {}, {}", succession.old, succession.reason, succession.ticket);
        report.checks.push(Check::verified(subject, Reason::Succeeded, detail));
    }
    report.successions = trusted;
}
