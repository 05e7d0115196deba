//! How the node shows what it is.

use super::reader::Reader;
use super::validated::{CollectLaunch, launch};

/// Whether the TPM is the node's identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TpmUse {
    /// A node that starts for the first time takes the TPM's identity, where there is a TPM; after that it stays
    /// what it was.
    Auto,
    /// The TPM's, whatever the node was before.
    Required,
    /// A software key's.
    Off,
}

/// The TPM and the process that talks to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attest {
    /// Whether it is used.
    pub tpm: TpmUse,
    /// How the process comes to be.
    pub launch: CollectLaunch,
    /// The TPM, for a process started directly.
    pub tcti: String,
}

/// The table `attest`.
pub fn attest(r: &mut Reader) -> Option<Attest> {
    let launch = launch(r, "attest");
    let tcti = r.text("attest", "tcti");
    let text = r.text("attest", "tpm")?;
    let tpm = match text.as_str() {
        "auto" => Some(TpmUse::Auto),
        "required" => Some(TpmUse::Required),
        "off" => Some(TpmUse::Off),
        _ => {
            r.wrong("attest", "tpm", format!("{text:?}"), "is not \"auto\", \"required\" or \"off\"");
            None
        }
    };
    Some(Attest { tpm: tpm?, launch: launch?, tcti: tcti? })
}
