//! Nonces of a verifier: random, remembered before they are sent, for one node, used once, for a limited time.

use serde::{Deserialize, Serialize};

use crate::ids::{NodeId, sha256};

/// How long a nonce may be answered, milliseconds: a slow TPM and eight slow devices take well below a minute.
pub const NONCE_LIFE_MS: u64 = 5 * 60 * 1000;
/// Nonces that may be out at a time.
pub const OPEN_NONCES: usize = 4096;
/// Used nonces whose hashes are remembered, to notice a source that repeats itself.
pub const USED_NONCES: usize = 16_384;

/// Why there is no nonce, or why an answer does not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NonceError {
    /// The source gave a value that it gave before, or one that is no random value.
    #[error("the source of nonces repeats itself")]
    Repeated,
    /// Too many are out.
    #[error("{OPEN_NONCES} nonces are out already")]
    TooMany,
    /// It was never issued, or was used before.
    #[error("the nonce was not issued, or was used before")]
    Unknown,
    /// It was issued for another node.
    #[error("the nonce was issued for another node")]
    OtherNode,
    /// The answer came too late.
    #[error("the nonce has expired")]
    Expired,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Open {
    nonce: [u8; 32],
    node: NodeId,
    issued_unix_ms: u64,
}

/// The nonces of one verifier.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Nonces {
    open: Vec<Open>,
    /// First bytes of the hashes of all values given out, oldest first.
    used: Vec<u64>,
}

impl Nonces {
    /// Issues a nonce for a node from 32 random bytes. The caller stores `self` before it sends the nonce.
    ///
    /// # Errors
    /// [`NonceError::Repeated`] where the bytes are not fresh: the source is broken, and every answer to it
    /// would prove nothing. [`NonceError::TooMany`].
    pub fn issue(
        &mut self,
        random: [u8; 32],
        node: NodeId,
        now_unix_ms: u64,
    ) -> Result<[u8; 32], NonceError> {
        self.open.retain(|open| now_unix_ms.saturating_sub(open.issued_unix_ms) <= NONCE_LIFE_MS);
        let mark = mark(&random);
        let constant = random.iter().all(|byte| *byte == random[0]);
        if constant || self.used.contains(&mark) {
            return Err(NonceError::Repeated);
        }
        if self.open.len() >= OPEN_NONCES {
            return Err(NonceError::TooMany);
        }
        if self.used.len() >= USED_NONCES {
            self.used.remove(0);
        }
        self.used.push(mark);
        self.open.push(Open { nonce: random, node, issued_unix_ms: now_unix_ms });
        Ok(random)
    }

    /// Takes the answer to a nonce: it counts once.
    ///
    /// # Errors
    /// Why it does not count. The nonce is gone all the same, except where another node answered.
    pub fn redeem(&mut self, nonce: &[u8; 32], node: &NodeId, now_unix_ms: u64) -> Result<(), NonceError> {
        let at = self.open.iter().position(|open| open.nonce == *nonce).ok_or(NonceError::Unknown)?;
        if self.open[at].node != *node {
            return Err(NonceError::OtherNode);
        }
        let open = self.open.swap_remove(at);
        match now_unix_ms.saturating_sub(open.issued_unix_ms) <= NONCE_LIFE_MS {
            true => Ok(()),
            false => Err(NonceError::Expired),
        }
    }
}

fn mark(nonce: &[u8; 32]) -> u64 {
    let hash = sha256(b"rackmark/verify/v1/nonce\0", nonce);
    let mut first = [0; 8];
    first.copy_from_slice(&hash[..8]);
    u64::from_le_bytes(first)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::IdentityClass;

    fn node(byte: u8) -> NodeId {
        NodeId::from_parts(IdentityClass::Tpm, [byte; 32])
    }

    fn random(seed: u8) -> [u8; 32] {
        sha256(&[], &[seed])
    }

    #[test]
    fn attack_nonce_used_again() {
        let mut nonces = Nonces::default();
        let nonce = nonces.issue(random(1), node(1), 1_000).expect("fresh");
        assert_eq!(nonces.redeem(&nonce, &node(2), 2_000), Err(NonceError::OtherNode));
        assert_eq!(nonces.redeem(&nonce, &node(1), 2_000), Ok(()));
        assert_eq!(nonces.redeem(&nonce, &node(1), 2_000), Err(NonceError::Unknown));
        let late = nonces.issue(random(2), node(1), 1_000).expect("fresh");
        assert_eq!(nonces.redeem(&late, &node(1), 1_001 + NONCE_LIFE_MS), Err(NonceError::Expired));
    }

    #[test]
    fn attack_constant_source_of_nonces() {
        let mut nonces = Nonces::default();
        nonces.issue(random(1), node(1), 0).expect("fresh");
        assert_eq!(nonces.issue(random(1), node(2), 1), Err(NonceError::Repeated));
        nonces.redeem(&random(1), &node(1), 2).expect("answered");
        assert_eq!(nonces.issue(random(1), node(1), 3), Err(NonceError::Repeated), "used before");
        assert_eq!(nonces.issue([0; 32], node(1), 3), Err(NonceError::Repeated), "a constant");
    }

    #[test]
    fn what_is_out_is_bounded_and_expires() {
        let mut nonces = Nonces::default();
        let value = |n: usize| sha256(&[], &n.to_le_bytes());
        for n in 0..OPEN_NONCES {
            nonces.issue(value(n), node(1), 0).expect("room");
        }
        assert_eq!(nonces.issue(value(OPEN_NONCES), node(1), 1), Err(NonceError::TooMany));
        assert!(nonces.issue(value(OPEN_NONCES), node(1), NONCE_LIFE_MS + 1).is_ok());
        assert_eq!(nonces.open.len(), 1);
    }
}
