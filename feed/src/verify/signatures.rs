//! Signatures that are checked for the devices of one bundle: each once, and not without end.
//!
//! Chains, reports and answers come from strangers, and a signature is what costs time: about a third of a millisecond
//! with P-384. So what was checked is remembered, since the upper parts of chains are shared and one answer may speak
//! of many certificates; and what may be checked is counted. Beyond [`SIGNATURES`] nothing holds.

use std::collections::BTreeMap;

use super::certificate::{Certificate, verifies_fixed};
use crate::ids::sha256;

/// Most signatures checked for the devices of a bundle. Each of [`crate::limits::DEVICES`] devices needs its report, its
/// alias and its own certificate, 288 together, and five more where nothing of their chains is shared; the answers
/// about revocation need at most 80.
pub const SIGNATURES: usize = 1024;

/// The signatures of one bundle that were checked.
#[derive(Debug, Default)]
pub struct Checked {
    /// By digest of what is signed and digest of the key.
    known: BTreeMap<[[u8; 32]; 2], bool>,
    count: usize,
    exhausted: bool,
}

impl Checked {
    /// How many were checked, at most [`SIGNATURES`].
    pub const fn count(&self) -> usize {
        self.count
    }

    /// True once one was not checked because there were too many before it.
    pub const fn is_exhausted(&self) -> bool {
        self.exhausted
    }

    /// True when the key of `issuer` signed `certificate`.
    pub(super) fn is_signed_by(&mut self, certificate: &Certificate, issuer: &Certificate) -> bool {
        let pair = [sha256(&[], certificate.der()), sha256(&[], issuer.spki())];
        self.once(pair, || certificate.is_signed_by(issuer))
    }

    /// True when the key of `leaf` signed the report.
    pub(super) fn is_reported_by(&mut self, leaf: &Certificate, signed: &[u8], signature: &[u8]) -> bool {
        self.checks(|| verifies_fixed(leaf.key(), signed, signature))
    }

    /// What a check comes to whose pair of digests, of what is signed with its signature and of the key, may be known.
    pub(super) fn once(&mut self, pair: [[u8; 32]; 2], check: impl FnOnce() -> bool) -> bool {
        if let Some(known) = self.known.get(&pair) {
            return *known;
        }
        let holds = self.checks(check);
        // What was not checked is not known.
        if !self.exhausted {
            self.known.insert(pair, holds);
        }
        holds
    }

    fn checks(&mut self, check: impl FnOnce() -> bool) -> bool {
        if self.count == SIGNATURES {
            self.exhausted = true;
            return false;
        }
        self.count += 1;
        check()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_known_costs_nothing_and_beyond_the_last_nothing_holds() {
        let mut checked = Checked::default();
        let pair = |n: usize| [sha256(&[], &n.to_le_bytes()), [0; 32]];
        for n in 0..SIGNATURES {
            assert!(checked.once(pair(n), || true));
            assert!(checked.once(pair(n), || false), "it is known");
        }
        assert_eq!((checked.count(), checked.is_exhausted()), (SIGNATURES, false));
        assert!(!checked.once(pair(SIGNATURES), || true));
        assert_eq!((checked.count(), checked.is_exhausted()), (SIGNATURES, true));
        assert!(checked.once(pair(0), || false), "what is known still holds");
    }
}
