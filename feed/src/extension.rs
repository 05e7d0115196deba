//! Extensions: how a released body gets new optional data.
//!
//! Every body ends with a list of (tag, bytes). A reader skips tags that it
//! does not know, so an old reader accepts a new writer. Tags are given out
//! once, in `docs/feed.md`, and never reused. Tags 0xF000 and above are for
//! private use.

use serde::{Deserialize, Serialize};

use crate::error::LimitError;
use crate::limits;

/// First tag that nobody will ever assign; free for private use.
pub const PRIVATE_TAGS: u16 = 0xF000;

/// One extension.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Extension {
    /// What the bytes mean.
    pub tag: u16,
    /// The content, at most [`limits::EXTENSION_BYTES`].
    #[serde(deserialize_with = "limits::bytes::<_, { limits::EXTENSION_BYTES }>", serialize_with = "bytes")]
    pub bytes: Vec<u8>,
}

/// The extension list at the end of a body.
pub type Extensions = Vec<Extension>;

pub(crate) fn bytes<S: serde::Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_bytes(bytes)
}

pub(crate) fn check(extensions: &[Extension]) -> Result<(), LimitError> {
    limits::check("extensions", extensions.len(), limits::EXTENSIONS)?;
    extensions
        .iter()
        .try_for_each(|e| limits::check("bytes of an extension", e.bytes.len(), limits::EXTENSION_BYTES))
}
