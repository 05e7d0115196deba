//! The hooks of a site: executables in `hooks.d/<event>/`, run in the order of their names. Which files are run
//! ([`find`]), how one is run ([`run`]) and what its output means ([`output`]). `docs/hooks.md` is the contract.

pub mod find;
pub mod output;
pub mod run;
