//! The binary as the daemon uses it, on a software TPM, judged by the verifier that strangers use.

mod attester;
mod device;
mod figures;
mod hostile;
mod keys;
mod moods;
mod power;
mod tools;
