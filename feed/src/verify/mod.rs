//! What a verifier does with evidence. Bytes in, findings out: no system library, no TPM, no NVIDIA library,
//! no network, no clock. Every parser here is total and bounded.

pub mod bundle;
pub mod certificate;
pub mod chain;
pub mod credential;
mod der;
pub mod endorsement;
pub mod event_log;
pub mod nonces;
pub mod nvidia;
pub mod ocsp;
pub mod outcome;
pub mod proof;
pub mod quote;
pub mod report;
pub mod signatures;
pub mod spdm;
pub mod store;
pub mod tpm;
