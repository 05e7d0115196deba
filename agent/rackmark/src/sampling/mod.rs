//! The near side of the sampler: the stream to it (`link`), what is known of
//! every GPU (`roster`, with its `trends`), and the task that keeps one sampler alive and walks
//! away from one that hangs (`task`). Beside it the kernel log, which names what
//! NVML does not: how an open one is had (`collect_link`) and the task that
//! listens to it (`kernel_log`).

pub mod collect_link;
pub mod frames;
pub mod kernel_log;
pub mod link;
pub mod narrator;
pub mod roster;
pub mod task;
pub mod trends;

pub use link::beside_this_binary;
