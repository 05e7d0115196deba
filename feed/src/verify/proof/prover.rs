//! A prover on the CPU, for tests and small sizes: what it does for each tile and chain is the caller's.

use super::{
    Digest,
    judge::Places,
    merkle::{Tree, leaf},
    messages::{Challenge, Commitment, Opening},
    parameters::Parameters,
    seed,
};

/// Work that was committed to.
#[derive(Debug)]
pub struct Work {
    /// Its roots.
    pub commitment: Commitment,
    tiles: Vec<Tree>,
    chains: Tree,
}

impl Work {
    /// Does all the work: `fold` gives the fold of a tile of a round's seed, `end` the end of a chain. `None` only for
    /// parameters without tiles or chains.
    pub fn new(
        challenge: &Challenge,
        parameters: &Parameters,
        probe_nonce: &Digest,
        mut fold: impl FnMut(&Digest, u64) -> [u8; 32],
        mut end: impl FnMut(u64) -> [u8; 64],
    ) -> Option<Self> {
        let challenge = challenge.digest();
        let mut roots: Vec<Digest> = Vec::new();
        let mut tiles = Vec::new();
        for round in 0..parameters.rounds {
            let seed = seed::round(&challenge, round, roots.last());
            let leaves = (0..parameters.tiles()).map(|at| leaf(&seed, at, &fold(&seed, at))).collect();
            let tree = Tree::new(&seed, leaves)?;
            roots.push(tree.root());
            tiles.push(tree);
        }
        let probe = seed::probe(&challenge, probe_nonce);
        let chains = (0..parameters.chains).map(|at| leaf(&probe, at, &end(at))).collect();
        let chains = Tree::new(&probe, chains)?;
        let commitment = Commitment { challenge, tiles: roots, chains: chains.root() };
        Some(Self { commitment, tiles, chains })
    }

    /// Opens places.
    pub fn open(&self, places: &Places) -> Opening {
        let listed = |set: &std::collections::BTreeSet<u64>| set.iter().copied().collect::<Vec<_>>();
        Opening {
            tiles: self
                .tiles
                .iter()
                .zip(&places.tiles)
                .map(|(tree, set)| if set.is_empty() { Vec::new() } else { tree.open(&listed(set)) })
                .collect(),
            chains: self.chains.open(&listed(&places.chains)),
        }
    }
}
