//! Epoch: a verifier's word that is fresh for a whole fleet (RFC 9334, section 10.3).

use serde::{Deserialize, Serialize};

use crate::error::EncodeError;
use crate::extension::{self, Extension, Extensions};
use crate::{limits, topic};

/// A random id that a verifier publishes for all nodes, retained. Evidence over it was made after it was issued.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Epoch {
    /// The verifier's name, as in the topic.
    #[serde(deserialize_with = "limits::text::<_, { limits::NAME_BYTES }>")]
    pub verifier: String,
    /// Random, new for each epoch.
    pub value: [u8; 32],
    /// When it was issued, milliseconds since 1970.
    pub issued_unix_ms: u64,
    /// From when on nodes ignore it, milliseconds since 1970.
    pub expires_unix_ms: u64,
    /// Data of later versions.
    #[serde(deserialize_with = "limits::list::<_, Extension, { limits::EXTENSIONS }>")]
    pub extensions: Extensions,
}

impl Epoch {
    pub(super) fn check_to_seal(&self) -> Result<(), EncodeError> {
        if !topic::is_name(&self.verifier) {
            return Err(EncodeError::Name { name: self.verifier.chars().take(limits::NAME_BYTES).collect() });
        }
        Ok(extension::check(&self.extensions)?)
    }
}
