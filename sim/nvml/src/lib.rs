//! A simulated NVIDIA Management Library.
//!
//! The `cdylib` of this crate speaks the C ABI of `libnvidia-ml.so.1` (NVML 13). It answers from a folder that
//! `nvml-sim prepare` made, named by the environment variable `RACKMARK_SIM_DIR`; without it the library says that
//! no driver is loaded. Everything it says is made up or taken from a captured profile: it carries a marker symbol
//! ([`rackmark_simulated_nvml`]) and obvious serial numbers, and it is never packaged.
#![allow(
    unsafe_code,
    reason = "a C ABI on one side, mmap and futex on the other; every block states why it is sound"
)]

pub mod abi;
pub mod attestation;
pub mod calls;
pub mod cell;
pub mod control;
pub mod curve;
pub mod device_maker;
pub mod dynamics;
pub mod events;
pub mod faults;
pub mod fields;
pub mod folder;
pub mod generation;
pub mod gpu;
pub mod import;
pub mod kernel_log;
pub mod orders;
pub mod profile;
pub mod replay;
pub mod scenario;
pub mod sysfs;
pub mod tables;
pub mod world;

/// The marker: present in this library only, so that anybody can tell it from the real one. Returns 1.
#[unsafe(no_mangle)]
pub extern "C" fn rackmark_simulated_nvml() -> u32 {
    1
}
