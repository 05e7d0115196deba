//! Whose identity the node has: the TPM's, or a software key's.
//!
//! A node stays what it was at its first start. Another class is another node id, so a node never becomes more
//! trustworthy in place; an operator links the two ids by a succession.

use rackmark_feed::{IdentityClass, NodeId};
use ring::digest::{SHA256, digest};
use thiserror::Error;

use super::tpm_link::{TpmLink, TpmLinkError};
use crate::config::{Config, TpmUse};
use crate::exit::chain;
use crate::publish::identity::{StateDir, StateError};

/// No identity could be decided on.
#[derive(Debug, Error)]
pub enum IdentityError {
    /// The state directory.
    #[error(transparent)]
    State(#[from] StateError),
    /// There is a TPM, or one is required, and it does not answer.
    #[error("the node's identity is the TPM's, and the TPM cannot be used")]
    Tpm(#[source] TpmLinkError),
    /// A TPM is required and there is none.
    #[error("attest.tpm is \"required\", and this machine has no TPM")]
    Absent,
}

/// The node id that a TPM gives.
pub fn node_of(endorsement_key: &[u8]) -> NodeId {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest(&SHA256, endorsement_key).as_ref());
    NodeId::from_parts(IdentityClass::Tpm, hash)
}

/// Decides whose identity this node has; `None` for the software key's. Only a first start asks the TPM, and waits
/// for it: a node that begins as one thing must not become another because its TPM was slow once.
///
/// # Errors
/// [`IdentityError`].
pub async fn decide(config: &Config, state: &StateDir) -> Result<Option<NodeId>, IdentityError> {
    let known = state.known_node()?;
    let tpm = known.filter(|node| node.class() == IdentityClass::Tpm);
    match (config.attest.tpm, known) {
        (TpmUse::Off, _) => {
            if tpm.is_some() {
                tracing::warn!(
                    "attest.tpm is \"off\": this node has another identity than the TPM gave it before"
                );
            }
            return Ok(None);
        }
        (TpmUse::Auto, Some(known)) if known.class() == IdentityClass::Software => {
            if is_there(config) {
                tracing::info!(
                    "there is a TPM, and this node began with a software key: attest.tpm = \"required\" gives it the TPM's identity, which is another one"
                );
            }
            return Ok(None);
        }
        (TpmUse::Auto, None) if !is_there(config) => return Ok(None),
        (TpmUse::Required, _) if !is_there(config) => return Err(IdentityError::Absent),
        _ => {}
    }
    if tpm.is_some() {
        return Ok(tpm);
    }
    let keys = TpmLink::new(config.attest.clone())
        .open(state.attestation_key())
        .await
        .map_err(IdentityError::Tpm)?;
    if let Err(error) = state.keep_attestation_key(&keys.kept) {
        tracing::warn!(
            error = chain(&error),
            "the attestation key is not kept and will be another one next time"
        );
    }
    let node = node_of(&keys.endorsement);
    state.keep_node(&node)?;
    tracing::info!(%node, tpm = keys.description, certified = keys.certificate.is_some(), "the node's identity is the TPM's");
    Ok(Some(node))
}

/// True where there is a TPM to ask. The unit of the daemon does not see its device, so sysfs is asked too.
pub fn is_there(config: &Config) -> bool {
    match config.attest.tcti.strip_prefix("device:") {
        Some(path) => {
            std::path::Path::new(path).exists() || config.sysfs_root.join("class/tpm/tpm0").exists()
        }
        None => true,
    }
}
