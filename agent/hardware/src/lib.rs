//! What the kernel says about this machine, read from sysfs, procfs and
//! the kernel log.
//!
//! Nothing here opens a GPU or calls its driver: reading these files never
//! wakes a sleeping GPU. Every reader takes the file or the root of the tree it
//! reads (`/sys`, `/proc`), so that another can stand in for it; [`ethtool`] alone
//! asks the kernel by a call.

pub mod blocked;
pub mod clocks;
pub mod disk;
pub mod ethtool;
mod file;
pub mod host;
pub mod host_facts;
pub mod kmsg;
pub mod pci;
pub mod pci_slots;
pub mod process;
pub mod services;
mod stat;

pub use file::ReadError;
