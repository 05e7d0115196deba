//! The shipped binaries, run from outside: simulated hardware, a real broker,
//! the agent as a process, and a consumer that trusts nothing but signatures.
//!
//! Every process started here is ended by its pid when its handle is dropped.

pub mod account;
pub mod agent;
pub mod asker;
pub mod broker;
pub mod browser;
pub mod certificates;
pub mod consumer;
pub mod http;
pub mod kernel_log;
pub mod kills;
pub mod node_maker;
pub mod process;
pub mod prometheus;
pub mod proxy;
pub mod sim;
pub mod stats;
pub mod swtpm;
pub mod tpm_proxy;

pub use nvidia_ml::device_maker;

/// A result whose error is a sentence for the person who reads the test log.
pub type Outcome<T> = Result<T, Box<dyn std::error::Error>>;
