//! Firmware and hardware inventory, and the hooks of a site.
#![forbid(unsafe_code)]

pub mod hooks;
pub mod inventory;
