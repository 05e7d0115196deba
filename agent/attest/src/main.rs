//! The process with the TPM.
fn main() {}
