//! From readings and kernel messages to few honest statements with an action.
//!
//! `step` is pure: the same state, the same input and the same
//! clock give the same answer, so that a recording can be judged again.

#![forbid(unsafe_code)]

mod advice;
pub mod xid;

pub use advice::{Action, Effect, Severity};
