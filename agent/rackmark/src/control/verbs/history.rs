//! What happened, from the files of the history.

use std::sync::PoisonError;
use std::time::Duration;

use rackmark_model::PciAddress;
use serde_json::{Value as Json, json};

use super::Verbs;
use crate::judging::read_history;

/// Most entries of one answer: with the longest texts they stay below the largest answer.
pub const ENTRIES_MAX: usize = 4000;

/// A history of two files is read in milliseconds; a disk that takes longer hangs.
const READ_TIME: Duration = Duration::from_secs(5);

impl Verbs {
    pub(super) async fn history(&self, gpu: Option<String>, limit: usize) -> Result<Json, String> {
        if !(1..=ENTRIES_MAX).contains(&limit) {
            return Err(format!("a history has 1 to {ENTRIES_MAX} entries"));
        }
        let gpu = gpu.map(|name| self.as_written(name));
        let folder = self.state_dir.clone();
        // A disk that hangs must not hold up the agent, nor whoever asks, nor take a thread for each question.
        let Ok(place) = self.reading.clone().try_acquire_owned() else {
            return Err("the history is being read for somebody else; ask again".to_owned());
        };
        let read = tokio::task::spawn_blocking(move || {
            let _place = place;
            read_history(&folder, gpu.as_deref(), limit)
        });
        let Ok(read) = tokio::time::timeout(READ_TIME, read).await else {
            return Err("the disk with the history does not answer".to_owned());
        };
        match read {
            Ok(Ok(entries)) => Ok(json!({ "entries": entries })),
            Ok(Err(error)) => Err(format!("the history cannot be read: {error}")),
            Err(error) => Err(format!("the history was not read to its end: {error}")),
        }
    }

    /// The history knows slots, serial numbers and UUIDs, also of cards that have left; an address becomes a slot.
    fn as_written(&self, name: String) -> String {
        if name.parse::<PciAddress>().is_err() {
            return name;
        }
        let roster = self.roster.read().unwrap_or_else(PoisonError::into_inner);
        roster.find(&name).map_or(name, |gpu| gpu.identity.slot.to_string())
    }
}
