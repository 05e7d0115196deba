//! What verifiers said they accepted last. Each next evidence for them names it, so that of two holders of one
//! identity only one can go on: the other one's chain forks, and the verifier sees it.

use serde::{Deserialize, Serialize};

/// Verifiers remembered; the one heard from longest ago is forgotten first.
const VERIFIERS: usize = 64;

/// One verifier's word.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Word {
    verifier: String,
    digest: [u8; 32],
}

/// The last accepted evidence of each verifier, kept in the state directory.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AcceptedBy {
    words: Vec<Word>,
    /// Evidence that was sent and that nobody accepted yet: only that can be accepted.
    #[serde(skip)]
    sent: Vec<Word>,
}

impl AcceptedBy {
    /// What a verifier accepted last.
    pub fn last(&self, verifier: &str) -> Option<[u8; 32]> {
        self.words.iter().find(|word| word.verifier == verifier).map(|word| word.digest)
    }

    /// Notes that a verifier got this evidence.
    pub fn sent(&mut self, verifier: &str, digest: [u8; 32]) {
        push(&mut self.sent, verifier, digest);
    }

    /// Notes that a verifier accepted evidence. False where that is not what it was sent last: a node's chain
    /// is not steered by whoever names a digest.
    pub fn accept(&mut self, verifier: &str, digest: [u8; 32]) -> bool {
        let sent = self.sent.iter().any(|word| word.verifier == verifier && word.digest == digest);
        if sent {
            push(&mut self.words, verifier, digest);
        }
        sent
    }
}

fn push(words: &mut Vec<Word>, verifier: &str, digest: [u8; 32]) {
    words.retain(|word| word.verifier != verifier);
    words.push(Word { verifier: verifier.to_owned(), digest });
    if words.len() > VERIFIERS {
        words.remove(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_sent_can_be_accepted() {
        let mut accepted = AcceptedBy::default();
        assert!(!accepted.accept("a", [1; 32]));
        accepted.sent("a", [1; 32]);
        assert!(!accepted.accept("b", [1; 32]), "another verifier");
        assert!(accepted.accept("a", [1; 32]));
        assert_eq!(accepted.last("a"), Some([1; 32]));
        assert_eq!(accepted.last("b"), None);
        accepted.sent("a", [2; 32]);
        assert!(!accepted.accept("a", [1; 32]), "an older one");
        assert_eq!(accepted.last("a"), Some([1; 32]));
    }

    #[test]
    fn many_verifiers_push_out_the_oldest() {
        let mut accepted = AcceptedBy::default();
        for verifier in 0..=VERIFIERS {
            let name = format!("v{verifier}");
            accepted.sent(&name, [7; 32]);
            assert!(accepted.accept(&name, [7; 32]));
        }
        assert_eq!(accepted.last("v0"), None);
        assert_eq!(accepted.words.len(), VERIFIERS);
    }
}
