//! The shipped binary, spoken to as the daemon speaks to it.

mod simulated;
mod support;
mod without_driver;
