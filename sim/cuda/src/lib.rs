//! A simulated CUDA driver library.
//!
//! The `cdylib` of this crate speaks the part of the C ABI of `libcuda.so.1` (CUDA 12.0) that a burn-in needs: devices,
//! primary contexts, modules, memory, streams, events, launches, tensor maps. GPUs and their faults come from a folder
//! that `nvml-sim prepare` and `cuda-sim prepare` made, named by the environment variable `RACKMARK_SIM_DIR`; without it
//! `cuInit` says that there is no device. A launch runs the kernels' own source, compiled for the CPU; what a tensor core
//! would multiply is multiplied by reference, before the kernel's own epilogue. It carries a marker symbol
//! ([`rackmark_simulated_cuda`]) and is never packaged.
#![allow(
    unsafe_code,
    reason = "a C ABI on one side, compiled kernels on the other; every block states why it is sound"
)]

mod calls;
mod codes;
mod device;
mod driver;
pub mod faults;
pub mod folder;
mod work;

/// The marker: present in this library only, so that anybody can tell it from the real one. Returns 1.
#[unsafe(no_mangle)]
pub extern "C" fn rackmark_simulated_cuda() -> u32 {
    1
}
