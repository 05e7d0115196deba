//! What the kernels must answer, by exact arithmetic on the CPU.

mod memory;

pub use memory::{mix64, pattern_word};
