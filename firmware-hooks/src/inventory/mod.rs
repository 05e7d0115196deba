//! What a server is: its parts, their serial numbers and their firmware, as a
//! flat list of facts, and what contradicts itself in it.
//!
//! [`gather()`] reads sysfs and procfs below roots that are parameters, and takes
//! what only others can have: tables that only root may read, and what NVML
//! says of the GPUs. The same state of a machine gives the same list, whatever
//! the order in which the kernel lists its folders. Every fact is *reported*:
//! software of this host says so, nothing here is signed by hardware.
//!
//! Nothing is read that would wake a sleeping GPU: reading the state of a PCIe
//! link resumes the device, and so the link of one that sleeps is left alone.

mod bmc;
mod catalogue;
mod cpu;
mod cross_check;
mod diff;
mod digest;
mod fact;
mod file;
mod finding;
mod gather;
mod gpu;
mod kernel;
mod mounts;
mod nic;
mod nvme;
mod pci;
mod rdma;
pub mod redfish;
mod smbios;
mod swap;
#[cfg(test)]
mod tests;
mod tpm;
mod uefi;

pub use catalogue::{FIELDS, Field, Source};
pub use cross_check::{Contradictions, Listed, NvmlGpu, cross_check};
pub use diff::{Changed, Unseen, diff};
pub use fact::{Component, FACTS_MAX, Fact, VALUE_BYTES_MAX};
pub use finding::{FINDINGS_MAX, Finding, FindingCode};
pub use gather::{Given, Inventory, Nvml, Roots, Tables, gather};
pub use gpu::ProcGpu;
pub use mounts::Mount;
pub use pci::PciDevice;
pub use swap::DeclaredSwap;
