//! The judgement through its public door: every rule at its boundary, and what it promises over time.

#[path = "../world/mod.rs"]
mod world;

mod burn_in;
mod cards;
mod causes;
mod model;
mod occupancy;
mod promises;
mod rules_gpu;
mod rules_links;
mod rules_node;
mod xids;
