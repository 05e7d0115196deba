//! One door to the roster for everything that is not a sampler's report.

use std::sync::PoisonError;

use rackmark_health::Now;

use crate::clock;
use crate::sampling::roster::{Change, Roster};
use crate::sampling::task::{Observer, SharedRoster};

/// Changes the roster and tells the observer, as the sampling task does.
#[derive(Clone)]
pub struct Announcer<O> {
    roster: SharedRoster,
    observer: O,
}

impl<O: Observer> Announcer<O> {
    /// Changes `roster`, tells `observer`.
    pub const fn new(roster: SharedRoster, observer: O) -> Self {
        Self { roster, observer }
    }

    /// Lets `change` act on the roster; what it adds to the list is told at once.
    pub fn announce<T>(&mut self, change: impl FnOnce(&mut Roster, Now, &mut Vec<Change>) -> T) -> T {
        let mut roster = self.roster.write().unwrap_or_else(PoisonError::into_inner);
        let mut changes = Vec::new();
        let done = change(&mut roster, clock::now(), &mut changes);
        roster.settled += u64::from(!changes.is_empty());
        self.observer.reported(&roster, None, &changes);
        done
    }
}
