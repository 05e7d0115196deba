//! Burn-in: who may begin ([`gate`]), one process for each GPU ([`link`]), what it said and what was seen meanwhile
//! ([`run`]), and what is kept of it ([`record`]). The kernels and the process: `agent/gpu`; what a result means:
//! `rackmark_health::burn_in`.

mod board;
mod fresh;
mod gate;
mod link;
pub mod page;
pub mod record;
pub mod report;
mod run;
mod store;
mod stuck;
mod task;

pub use board::{Board, Last, Running};
pub use record::Record;
pub use task::{BurnIns, Request, Wanted};
