//! The vocabulary that every rackmark process shares: units, readings that may
//! be absent, samples, and the frames that cross process boundaries.
//!
//! Nothing in here performs I/O, reads a clock or starts a task, so that all of
//! it can be replayed from a log and tested without hardware.

#![forbid(unsafe_code)]

pub mod gpu_proof;
pub mod gpu_work;
pub mod hook;
pub mod ipc;
mod no_data;
pub mod readings;
mod sample;
mod state;
pub mod tpm;
mod units;

pub use no_data::{NoData, Reading};
pub use sample::{
    ConfidentialComputing, DriverInfo, GpuEvent, GpuEventKind, GpuInventory, GpuSample, GpuSlow, InCall,
    MigInstance, NvLink, PciAddress, PciAddressError, Presence, ProcessKind, ProcessUse, Sample,
};
pub use state::{GpuState, Verdict};
pub use units::{
    Bitmask, Bits, Bytes, BytesPerSecond, Celsius, Count, CounterBytes, Lanes, Megahertz, Microseconds,
    Millijoules, Milliwatts, Nanoseconds, Percent, Permille, Quantity, Unit, Value,
};
