//! What the kernel says about this machine, read from sysfs and procfs.
//!
//! Nothing here opens a device or calls a driver: reading these files never
//! wakes a sleeping GPU. Every reader takes the root of the tree it reads
//! (`/sys`, `/proc`), so that a folder can stand in for it.

#![forbid(unsafe_code)]

mod file;
pub mod host;
pub mod pci;
pub mod process;

pub use file::ReadError;
