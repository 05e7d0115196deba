//! What a burn-in of one GPU means: pass, fail or inconclusive, and why.
//!
//! The GPU process says what it computed ([`Worked`]), the samples of the same time say how the GPU and the node were
//! ([`Seen`]); [`judge()`] makes a [`Judgement`] of both. `fail` beats `inconclusive`, and that beats `pass`: a GPU passes
//! only where every stage that it was to run did run, was proved able to see a wrong bit, and nothing was wrong.

mod floors;
mod judge;
mod mode;
mod names;
mod occupying;
mod reason;
mod seen;
mod siblings;
#[cfg(test)]
mod tests;
mod worked;

pub use floors::{ABSOLUTE, Absolute, Basis, Class, PER_CLOCK, PerClock, Rate};
pub use judge::{JudgedFigure, Judgement, Outcome, judge};
pub use mode::{MODES, Mode, Plan, SOAK_HOURS_MAX, Share};
pub use names::{figure_name, kind_unit, test_name};
pub(crate) use occupying::{occupy, release, stuck};
pub use reason::{Reason, ReasonCode, Weight};
pub use seen::{Sampled, Seen, XID_LIST_MAX};
pub use siblings::compare as compare_siblings;
pub use worked::{Ended, Ending, SelfTest, StageState, Strange, Worked};
