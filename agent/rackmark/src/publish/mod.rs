//! From the roster to the broker: who this node is (`identity`), how its
//! documents are made (`encode`), when they are due (`feed`), and the pipe that
//! carries them (`mqtt`).

mod drafts;
pub mod encode;
pub mod feed;
mod health;
pub mod identity;
pub mod inbox;
pub mod mqtt;
mod renewal;
mod signer;
pub mod spool;
pub mod task;
