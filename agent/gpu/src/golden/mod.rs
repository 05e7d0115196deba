//! What the kernels must answer, by exact arithmetic on the CPU.
//!
//! Nothing here is as large as the work it judges. The full-size product (8192 × 8192 × 2048) takes the CPU one pass
//! over its operands, 0.12 s on one core of a release build; memory, traffic and scattered reads have closed forms;
//! chains are the same in every block (docs/decisions/0018).

mod alu;
mod gather;
mod memory;
mod product;

pub use alu::{Chain, chain_results};
pub use gather::{chase_end, gathered_sum, scattered_place};
pub use memory::{COUNTING_STEP, counting_sum, counting_word, mix64, pattern_word};
pub use product::{
    DEPTH_MAX, OperandRange, Problem, Product, TooLarge, column_weight, encoded, operand, row_weight,
};
