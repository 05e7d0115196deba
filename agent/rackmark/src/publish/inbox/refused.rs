//! Why a command is not carried out: by name for programs, in words for people.

use rackmark_feed::{DownlinkRefusal, Refusal, Reply};

use crate::publish::encode;

/// A refusal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// By name.
    pub refusal: Refusal,
    /// In words that follow "a command that …".
    pub why: String,
}

impl Refused {
    /// A refusal with its words.
    pub fn new(refusal: Refusal, why: impl Into<String>) -> Self {
        Self { refusal, why: why.into() }
    }

    /// The reply that says so, its words cut to what there is room for.
    pub fn reply(&self, nonce: [u8; 16]) -> Reply {
        Reply::refused(nonce, self.refusal, encode::cut(&self.why))
    }
}

impl From<DownlinkRefusal> for Refused {
    fn from(found: DownlinkRefusal) -> Self {
        // Checks of commands find nothing that has no code.
        Self::new(found.code().unwrap_or(Refusal::NotPossible), found.to_string())
    }
}
