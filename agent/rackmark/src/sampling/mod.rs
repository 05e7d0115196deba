//! The near side of the sampler: the stream to it (`link`), what is known of
//! every GPU (`roster`), and the task that keeps one sampler alive and walks
//! away from one that hangs (`task`).

pub mod link;
pub mod narrator;
pub mod roster;
pub mod task;
