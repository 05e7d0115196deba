//! The verifier against what it did not make itself: a software TPM driven by tpm2-tools, event logs of real
//! machines, a device's certificates.

mod boot_log;
mod bundles;
mod devices;
mod limits;
mod samples;
mod tpm;
