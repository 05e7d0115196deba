//! Conditions: what is wrong with a GPU or a node, since when, and what to do about it.

use serde::{Deserialize, Serialize};

use crate::codes::{Action, Severity};
use crate::error::LimitError;
use crate::limits;

/// Something that is wrong, for as long as it is. Code and key tell it from the others of its GPU (or node).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Condition {
    /// Stable name, such as `row_remap_failed`; at most [`limits::NAME_BYTES`].
    #[serde(deserialize_with = "limits::text::<_, { limits::NAME_BYTES }>")]
    pub code: String,
    /// Which one of its kind: XID or SXid number, number of the NVLink; otherwise 0.
    pub key: u32,
    /// How much it matters.
    pub severity: Severity,
    /// What to do.
    pub action: Action,
    /// Since when, milliseconds since 1970.
    pub since_unix_ms: u64,
    /// True when a person has seen it.
    pub acknowledged: bool,
    /// Figures or the kernel's line, for people; may be empty. At most [`limits::TEXT_BYTES`].
    #[serde(deserialize_with = "limits::text::<_, { limits::TEXT_BYTES }>")]
    pub detail: String,
}

impl Condition {
    pub(super) fn check(&self) -> Result<(), LimitError> {
        check_code(&self.code)?;
        limits::check("bytes of the condition's detail", self.detail.len(), limits::TEXT_BYTES)
    }
}

pub(super) fn check_code(code: &str) -> Result<(), LimitError> {
    limits::check("bytes of the condition's code", code.len(), limits::NAME_BYTES)
}
