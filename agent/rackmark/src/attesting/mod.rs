//! What the node says about itself so that strangers can check it: its identity, and evidence of it, made when
//! the agent starts, when a verifier asks or begins an epoch, and when firmware, driver or certificate change.

mod accepted;
mod artefacts;
mod asked;
mod changes;
mod components;
mod counts;
mod due;
mod gpus;
mod identity;
mod making;
pub mod successions;
mod task;
mod tpm_link;
mod waiting;

pub use accepted::AcceptedBy;
pub use asked::{Ask, WayBack};
pub use changes::{Changes, Noticing};
#[cfg(test)]
pub use counts::TpmFigures;
pub use counts::{Counts, Figures};
pub use identity::{decide, is_there};
pub use making::Speaker;
pub use task::{Attester, Begun, Sources};
pub use tpm_link::REASONS;
