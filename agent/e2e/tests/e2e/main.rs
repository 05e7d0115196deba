//! The shipped binaries from outside, one module per promise.

mod broker;
mod captures;
mod config;
mod dcgm;
mod delivery;
mod doctor;
mod example_hooks;
mod examples;
mod exporter;
mod hangs;
mod health;
mod hooks;
mod identity;
mod imports;
mod inventory;
mod kernel_log;
mod line;
mod lost;
mod mtls;
mod operations;
mod page;
mod pause;
mod service;
mod swap;
mod tpm;
mod web_config;
