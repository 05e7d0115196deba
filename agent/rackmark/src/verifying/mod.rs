//! The verifier's side: whom it believes, what it remembers, and how a node is asked.

mod asking;
mod memory;
mod trust;

pub use asking::ask;
pub use memory::Memory;
pub use trust::TrustStore;
