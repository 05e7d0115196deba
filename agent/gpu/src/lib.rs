//! Everything that is known of the kernels without a GPU: how they are called ([`abi`]), what was built of them
//! ([`artefacts`]) and what they must answer ([`golden`]).

pub mod abi;
pub mod artefacts;
pub mod golden;
