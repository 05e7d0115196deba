//! From readings and kernel messages to few honest statements with an action.
//!
//! `step` is pure: the same state, the same input and the same
//! clock give the same answer, so that a recording can be judged again.

#![forbid(unsafe_code)]

mod advice;
pub mod burn_in;
mod cards;
mod catalogue;
mod clock;
mod condition;
mod incident;
mod occupancy;
#[cfg(test)]
mod reference_tests;
mod rules;
mod state;
mod step;
pub mod trace;
mod transition;
mod verbs;
mod verdict;
mod view;
mod window;
pub mod xid;

pub use advice::{Action, Effect, Severity};
pub use cards::{Card, Declared, Occupant, Swap};
pub use catalogue::{Code, Ends, Entry};
pub use clock::Now;
pub use condition::{Acknowledged, Condition, Conditions, Instance};
pub use incident::{Count, Incident, Incidents, Witness, XidReport};
pub use occupancy::{
    Availability, BurnInUse, Cause, Drained, Lease, Maintenance, Occupancy, Refusal, Stated, WORDS_BYTES_MAX,
};
pub use state::{Gpu, Judged, Recovery, State};
pub use step::{Input, step};
pub use transition::{ClearedBy, Transition};
pub use verbs::{BurnInResult, FileLease, Verb, carry_out, take_lease_file};
pub use verdict::line;
pub use view::{Disk, GpuView, Gpus, Host, NodeView, Standing};
