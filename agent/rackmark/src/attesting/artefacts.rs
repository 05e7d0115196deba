//! What evidence refers to, kept by digest so that a verifier can ask for it.

use std::collections::VecDeque;
use std::sync::Arc;

use rackmark_feed::{Artefact, ArtefactRef, limits};

/// Bytes kept in all: the newest inventory and event log, and reports and chains of a full chassis several times over.
const BYTES_MAX: usize = 4 << 20;

/// Parts of evidence, newest last. What was kept longest goes first when there is no room.
#[derive(Debug, Default)]
pub struct Artefacts {
    kept: VecDeque<(ArtefactRef, Arc<[u8]>)>,
    bytes: usize,
}

impl Artefacts {
    /// Keeps a part and names it. A part over [`limits::ARTEFACT_BYTES`] is not kept.
    pub fn keep(&mut self, bytes: &[u8]) -> Option<ArtefactRef> {
        if bytes.len() > limits::ARTEFACT_BYTES {
            return None;
        }
        let reference = ArtefactRef::of(bytes);
        if !self.still_used(&reference) {
            self.bytes += bytes.len();
            self.kept.push_back((reference, bytes.into()));
        }
        while self.bytes > BYTES_MAX {
            let Some((_, gone)) = self.kept.pop_front() else { break };
            self.bytes -= gone.len();
        }
        Some(reference)
    }

    /// Makes a part the newest one, so that what is in use stays; false where it is not kept.
    pub fn still_used(&mut self, reference: &ArtefactRef) -> bool {
        let at = self.kept.iter().position(|(kept, _)| kept == reference);
        let Some(entry) = at.and_then(|at| self.kept.remove(at)) else { return false };
        self.kept.push_back(entry);
        true
    }

    /// The pieces of a part, in order.
    pub fn pieces(&self, digest: &[u8; 32]) -> Option<Vec<Artefact>> {
        let (_, bytes) = self.kept.iter().find(|(kept, _)| kept.digest == *digest)?;
        Some(Artefact::pieces(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_found_until_there_is_no_room() {
        let mut artefacts = Artefacts::default();
        let first = artefacts.keep(b"first").expect("small");
        assert_eq!(artefacts.pieces(&first.digest).expect("kept").len(), 1);
        let large = limits::ARTEFACT_BYTES;
        for fill in 0..8 {
            artefacts.keep(&vec![fill; large]).expect("fits");
            // Asked for again and again, it stays.
            if fill < 7 {
                artefacts.keep(b"first");
            }
        }
        assert!(artefacts.pieces(&first.digest).is_some());
        artefacts.keep(&vec![9; large]);
        artefacts.keep(&vec![10; large]);
        assert!(artefacts.bytes <= BYTES_MAX);
        assert!(artefacts.keep(&vec![0; large + 1]).is_none());
    }

    #[test]
    fn what_is_still_used_stays() {
        let mut artefacts = Artefacts::default();
        let first = artefacts.keep(b"first").expect("fits");
        for fill in 0..16 {
            artefacts.keep(&vec![fill; limits::ARTEFACT_BYTES]).expect("fits");
            assert!(artefacts.still_used(&first), "{fill}");
        }
        assert!(artefacts.pieces(&first.digest).is_some());
        assert!(!artefacts.still_used(&ArtefactRef::of(b"never kept")));
    }

    #[test]
    fn the_same_part_is_kept_once() {
        let mut artefacts = Artefacts::default();
        artefacts.keep(b"same");
        artefacts.keep(b"same");
        assert_eq!((artefacts.kept.len(), artefacts.bytes), (1, 4));
    }
}
