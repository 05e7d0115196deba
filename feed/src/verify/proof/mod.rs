//! Proof of capacity: the mathematics of the game in `docs/proof.md`. A prover commits to work that needs the whole
//! card, the verifier then names a few places and computes them itself. Bytes and milliseconds in, findings out.

pub mod judge;
pub mod memory;
pub mod merkle;
pub mod messages;
pub mod parameters;
#[cfg(feature = "prover")]
pub mod prover;
pub mod seed;
pub mod stream;
pub mod tiles;

/// SHA-256.
pub type Digest = [u8; 32];
