//! What became of commands, for the metrics.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use rackmark_feed::{Refusal, Verb};

/// Commands whose signature fitted, by verb and outcome. Both are names of the feed's lists, so there are no more series
/// than those have entries, whatever is sent.
#[derive(Debug, Clone, Default)]
pub struct CommandCounts(Arc<Mutex<BTreeMap<(&'static str, &'static str), u64>>>);

impl CommandCounts {
    /// A command was accepted, or refused.
    pub fn note(&self, verb: &Verb, refused: Option<Refusal>) {
        let outcome = refused.map_or("accepted", Refusal::name);
        *self.0.lock().unwrap_or_else(PoisonError::into_inner).entry((verb.name(), outcome)).or_default() +=
            1;
    }

    /// Verb, outcome and number of those that came.
    pub fn snapshot(&self) -> Vec<(&'static str, &'static str, u64)> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.iter().map(|((verb, outcome), count)| (*verb, *outcome, *count)).collect()
    }
}
