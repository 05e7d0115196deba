//! What the two sides say: challenge, commitment, opening. Postcard, bounded before anything is allocated.

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::{Digest, parameters::Set, seed::tagged};

/// Longest challenge, bytes.
pub const CHALLENGE_MAX_BYTES: usize = 512;
/// Longest commitment, bytes.
pub const COMMITMENT_MAX_BYTES: usize = 512;
/// Longest opening, bytes: 110 KB and some room.
pub const OPENING_MAX_BYTES: usize = 128 << 10;

/// What the verifier asks of one GPU. Two nonces stay with the verifier: the probe's until the fill is done, the
/// opening's until the roots are there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Challenge {
    /// The sizes.
    pub set: Set,
    /// The card's memory as it was offered, bytes.
    pub memory_bytes: u64,
    /// The verifier's random number.
    pub nonce: Digest,
    /// A public random value that neither side chooses.
    pub beacon: Digest,
    /// The GPU: UUID, or the attested device id where there is one.
    pub gpu: String,
    /// The node's public key.
    pub node_key: [u8; 32],
    /// Number of this challenge at the verifier for this GPU.
    pub round: u32,
}

impl Challenge {
    /// Reads one; `None` if it does not parse or is too long.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        parse(bytes, CHALLENGE_MAX_BYTES)
    }

    /// What all seeds come from.
    pub fn digest(&self) -> Digest {
        tagged(
            "rackmark/proof/challenge/1",
            &[
                self.set.name().as_bytes(),
                &self.memory_bytes.to_le_bytes(),
                &self.nonce,
                &self.beacon,
                self.gpu.as_bytes(),
                &self.node_key,
                &self.round.to_le_bytes(),
            ],
        )
    }
}

/// The prover's roots.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Commitment {
    /// [`Challenge::digest`].
    pub challenge: Digest,
    /// Root of each compute round.
    pub tiles: Vec<Digest>,
    /// Root over the ends of the chains.
    pub chains: Digest,
}

/// The prover's answer to the places that the verifier named: siblings alone, since the verifier computes the leaves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Opening {
    /// Siblings in the tree of each compute round.
    pub tiles: Vec<Vec<Digest>>,
    /// Siblings in the tree of chains.
    pub chains: Vec<Digest>,
}

fn parse<T: DeserializeOwned + Serialize>(bytes: &[u8], max_bytes: usize) -> Option<T> {
    if bytes.len() > max_bytes {
        return None;
    }
    let parsed = postcard::from_bytes(bytes).ok()?;
    // One meaning has one form: no trailing bytes, no longer way to write a length.
    (postcard::to_allocvec(&parsed).ok()? == bytes).then_some(parsed)
}

impl Commitment {
    /// Reads one; `None` if it does not parse or is too long.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        parse(bytes, COMMITMENT_MAX_BYTES)
    }
}

impl Opening {
    /// As it goes to the verifier.
    ///
    /// # Errors
    /// Never for one that fits the memory.
    pub fn to_bytes(&self) -> Result<Vec<u8>, postcard::Error> {
        postcard::to_allocvec(self)
    }

    /// Reads one; `None` if it does not parse or is too long.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        parse(bytes, OPENING_MAX_BYTES)
    }
}
