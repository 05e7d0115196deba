//! Works on one GPU: how kernels are called ([`abi`]), what was built of them ([`artefacts`]), what they must answer
//! ([`golden`]), and the process that runs them.

pub mod abi;
pub mod artefacts;
pub mod golden;
mod work;

pub use work::{end, run};
