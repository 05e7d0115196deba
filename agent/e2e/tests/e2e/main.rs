//! The shipped binaries from outside, one module per promise.

mod broker;
mod captures;
mod config;
mod exporter;
mod hangs;
mod imports;
mod line;
mod lost;
mod pause;
mod service;
