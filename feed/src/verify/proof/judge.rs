//! The verifier's side: which places are opened, and what comes of the answer.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    Digest, memory, merkle,
    messages::{Challenge, Commitment, Opening},
    parameters::{Parameters, Set},
    seed, stream, tiles,
};
use crate::verify::outcome::Outcome;

/// Why a part of a proof came out as it did. Names are stable; the list grows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Reason {
    /// All is as it should be.
    Fits,
    /// Commitment or opening does not parse or is over a limit.
    Malformed,
    /// The commitment is for another challenge: another GPU, round, node or time.
    ChallengeMismatch,
    /// The set shows nothing (tests), or is not made for this much memory.
    ParametersRefused,
    /// What the verifier computed does not lead to the root.
    RootMismatch,
    /// The roots came after the deadline. A slow network is no lie.
    Late,
    /// No calibration for such a card: shadow mode, the time says nothing yet.
    NotCalibrated,
}

impl Reason {
    /// Stable name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Fits => "fits",
            Self::Malformed => "malformed",
            Self::ChallengeMismatch => "challenge_mismatch",
            Self::ParametersRefused => "parameters_refused",
            Self::RootMismatch => "root_mismatch",
            Self::Late => "late",
            Self::NotCalibrated => "not_calibrated",
        }
    }
}

/// A result and its reason.
pub type Finding = (Outcome, Reason);

/// What the verifier says of a proof, part by part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verdict {
    /// The compute proof's opened tiles.
    pub tiles: Finding,
    /// The VRAM proof's opened chains.
    pub chains: Finding,
    /// The time of both.
    pub time: Finding,
}

impl Verdict {
    /// All three together: the worst one.
    pub fn outcome(&self) -> Outcome {
        self.tiles.0.max(self.chains.0).max(self.time.0)
    }

    fn all(outcome: Outcome, reason: Reason) -> Self {
        Self { tiles: (outcome, reason), chains: (outcome, reason), time: (outcome, reason) }
    }
}

/// What decides how fast a card is.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Card {
    /// Model, as the driver names it.
    pub model: String,
    /// Memory, bytes.
    pub memory_bytes: u64,
    /// Enforced power limit, W.
    pub power_limit_w: u32,
    /// ECC is on.
    pub ecc: bool,
    /// MIG is on.
    pub mig: bool,
    /// Confidential computing mode is on.
    pub confidential: bool,
    /// Major version of the driver.
    pub driver_branch: u16,
}

/// How long honest cards of one kind take for one set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// 99th percentile from challenge to the roots of the tiles, ms.
    pub tiles_p99_ms: u32,
    /// 99th percentile from probe nonce to the root of the chains, ms.
    pub chains_p99_ms: u32,
    /// What is allowed beyond, percent.
    pub tolerance_percent: u32,
}

/// Calibrated cards.
pub type Calibration = BTreeMap<(Card, Set), Limits>;

/// The verifier's own clock, ms: nothing that the prover says of time counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Measured {
    /// From challenge to the roots of the tiles.
    pub tiles_ms: u32,
    /// From probe nonce to the root of the chains.
    pub chains_ms: u32,
}

/// What the verifier asked, and what it kept back while it had to.
#[derive(Debug, Clone)]
pub struct Issued {
    /// The challenge.
    pub challenge: Challenge,
    /// Sent when the memory is full.
    pub probe_nonce: Digest,
    /// Sent when the roots are there.
    pub opening_nonce: Digest,
    /// Whether this is a test: only then does `proof-test` mean anything.
    pub test: bool,
}

/// Places that are opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Places {
    /// Tiles of each compute round.
    pub tiles: Vec<BTreeSet<u64>>,
    /// Chains.
    pub chains: BTreeSet<u64>,
}

/// The places that follow from roots and opening nonce: so many different ones, all equally likely (bias below 2^-37).
pub fn places(parameters: &Parameters, commitment: &Commitment, opening_nonce: &Digest) -> Places {
    let roots = commitment.tiles.concat();
    let key = seed::tagged("rackmark/proof/places/1", &[opening_nonce, &roots, &commitment.chains]);
    let mut numbers = (0u64..).map(|at| {
        let mut x = stream::input::<1>(&key, [at], [[0; 2]]);
        stream::block(&mut x, 10);
        u64::from(x[1][0]) << 32 | u64::from(x[0][0])
    });
    let mut draw = |bound: u64, wanted: usize| {
        let mut drawn = BTreeSet::new();
        while drawn.len() < wanted.min(usize::try_from(bound).unwrap_or(usize::MAX)) {
            drawn.extend(numbers.next().map(|number| number % bound));
        }
        drawn
    };
    let mut tiles = vec![BTreeSet::new(); parameters.rounds as usize];
    for place in draw(parameters.tiles() * u64::from(parameters.rounds), parameters.open_tiles) {
        tiles[(place / parameters.tiles()) as usize].insert(place % parameters.tiles());
    }
    Places { tiles, chains: draw(parameters.chains, parameters.open_chains) }
}

/// Judges a proof: the bytes that came, and how long they took. `calibration` is for the card as its evidence describes it.
pub fn judge(
    issued: &Issued,
    commitment: &[u8],
    opening: &[u8],
    measured: Measured,
    limits: Option<&Limits>,
) -> Verdict {
    use Outcome::{Contradicted, NotEstablished, Verified};
    let Some(parameters) = issued
        .challenge
        .set
        .on(issued.challenge.memory_bytes)
        .filter(|_| issued.test || issued.challenge.set != Set::Test)
    else {
        return Verdict::all(NotEstablished, Reason::ParametersRefused);
    };
    let (Some(commitment), Some(opening)) = (Commitment::parse(commitment), Opening::parse(opening)) else {
        return Verdict::all(NotEstablished, Reason::Malformed);
    };
    if commitment.challenge != issued.challenge.digest() {
        return Verdict::all(Contradicted, Reason::ChallengeMismatch);
    }
    let rounds = parameters.rounds as usize;
    if commitment.tiles.len() != rounds || opening.tiles.len() != rounds {
        return Verdict::all(NotEstablished, Reason::Malformed);
    }
    let places = places(&parameters, &commitment, &issued.opening_nonce);
    let tiles = tiles_fit(&parameters, &commitment, &opening, &places, |seed, at| {
        tiles::folded(seed, &parameters, at)
    });
    let fill = seed::fill(&commitment.challenge);
    let probe = seed::probe(&commitment.challenge, &issued.probe_nonce);
    let chains = chains_fit(&parameters, &commitment, &opening, &places, &probe, |chains| {
        memory::recomputed(&fill, &probe, &parameters, chains)
    });
    let time = match limits {
        None => (NotEstablished, Reason::NotCalibrated),
        Some(limits) if limits.allow(measured) => (Verified, Reason::Fits),
        Some(_) => (NotEstablished, Reason::Late),
    };
    Verdict { tiles, chains, time }
}

impl Limits {
    fn allow(&self, measured: Measured) -> bool {
        let within = |ms: u32, p99: u32| {
            u64::from(ms) * 100 <= u64::from(p99) * (100 + u64::from(self.tolerance_percent))
        };
        within(measured.tiles_ms, self.tiles_p99_ms) && within(measured.chains_ms, self.chains_p99_ms)
    }
}

fn fits(root: Option<Digest>, committed: &Digest) -> Finding {
    if root.as_ref() == Some(committed) {
        (Outcome::Verified, Reason::Fits)
    } else {
        (Outcome::Contradicted, Reason::RootMismatch)
    }
}

/// The opened tiles against the roots of their rounds; `fold` gives the fold of a tile of a seed.
pub fn tiles_fit(
    parameters: &Parameters,
    commitment: &Commitment,
    opening: &Opening,
    places: &Places,
    mut fold: impl FnMut(&Digest, u64) -> [u8; 32],
) -> Finding {
    let mut before = None;
    for (round, ((root, siblings), tiles)) in
        (0..).zip(commitment.tiles.iter().zip(&opening.tiles).zip(&places.tiles))
    {
        let seed = seed::round(&commitment.challenge, round, before);
        before = Some(root);
        if tiles.is_empty() {
            continue;
        }
        // Counted first: what cannot fit costs no work.
        if siblings.len() != merkle::siblings_needed(parameters.tiles(), tiles.iter().copied()) {
            return (Outcome::Contradicted, Reason::RootMismatch);
        }
        let leaves = tiles.iter().map(|at| (*at, merkle::leaf(&seed, *at, &fold(&seed, *at)))).collect();
        let found = fits(merkle::root_of(&seed, parameters.tiles(), &leaves, siblings), root);
        if found.0 != Outcome::Verified {
            return found;
        }
    }
    (Outcome::Verified, Reason::Fits)
}

/// The opened chains against their root; `probe` is the key of the reads, `ends` gives the ends of chains.
pub fn chains_fit(
    parameters: &Parameters,
    commitment: &Commitment,
    opening: &Opening,
    places: &Places,
    probe: &Digest,
    ends: impl FnOnce(&[u64]) -> Vec<[u8; 64]>,
) -> Finding {
    let chains: Vec<u64> = places.chains.iter().copied().collect();
    if opening.chains.len() != merkle::siblings_needed(parameters.chains, chains.iter().copied()) {
        return (Outcome::Contradicted, Reason::RootMismatch);
    }
    let ends = ends(&chains);
    let leaves = chains.iter().zip(&ends).map(|(at, end)| (*at, merkle::leaf(probe, *at, end))).collect();
    fits(merkle::root_of(probe, parameters.chains, &leaves, &opening.chains), &commitment.chains)
}
