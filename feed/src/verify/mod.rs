//! What a verifier does with evidence. Bytes in, findings out: no system library, no TPM, no NVIDIA library,
//! no network, no clock. Every parser here is total and bounded.

pub mod bundle;
pub mod certificate;
pub mod credential;
pub mod endorsement;
pub mod event_log;
pub mod nonces;
pub mod outcome;
pub mod quote;
pub mod report;
pub mod store;
pub mod tpm;
