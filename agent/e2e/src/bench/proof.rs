//! What a verification of a proof of capacity costs: time on one core and bytes of the opening, at the sizes of an
//! 80 GB card. Siblings are random and the roots follow from them: the verifier's work is the same whoever made the tree.

use std::{hint::black_box, time::Instant};

use rackmark_e2e::Outcome;
use rackmark_feed::verify::proof::{
    Digest,
    memory::recomputed,
    merkle::{leaf, root_of, siblings_needed},
    parameters::{Parameters, Set},
    seed::tagged,
    tiles::folded,
};

use crate::figure;

/// Measurements of which the best counts: another process on the core only ever adds.
const RUNS: u8 = 5;

pub(super) fn measure() -> Outcome<()> {
    for (name, set) in [("", Set::Standard), ("_q64", Set::Full)] {
        let parameters = set.on(80 << 30).ok_or("a card of 80 GB has no parameters")?;
        let mut best_ms = f64::MAX;
        let mut digests = 0;
        for run in 0..RUNS {
            let start = Instant::now();
            digests = verify(&parameters, run);
            best_ms = best_ms.min(start.elapsed().as_secs_f64() * 1e3);
        }
        figure(&format!("proof_verify{name}_ms"), best_ms, "ms")?;
        figure(&format!("proof{name}_kb"), digests as f64 * 32.0 / 1e3, "KB")?;
    }
    Ok(())
}

/// Leaves, paths and roots of one opening; gives the number of its siblings.
fn verify(parameters: &Parameters, run: u8) -> usize {
    let seed = tagged("cost", &[&[run]]);
    let spread = |count: u64, opened: usize| -> Vec<u64> {
        let width = count / opened as u64;
        (0..opened as u64).map(|at| at * width + u64::from(seed[at as usize % 32]) * 7).collect()
    };
    let mut digests = 0;
    let mut check = |count: u64, leaves: Vec<(u64, Digest)>| {
        let siblings = vec![[run; 32]; siblings_needed(count, leaves.iter().map(|(at, _)| *at))];
        digests += siblings.len();
        black_box(root_of(&seed, count, &leaves.into_iter().collect(), &siblings));
    };
    let per_round = parameters.open_tiles / parameters.rounds as usize;
    for _ in 0..parameters.rounds {
        let places = spread(parameters.tiles(), per_round);
        let fold = |at| (at, leaf(&seed, at, &folded(&seed, parameters, at)));
        check(parameters.tiles(), places.into_iter().map(fold).collect());
    }
    let chains = spread(parameters.chains, parameters.open_chains);
    let ends = recomputed(&seed, &seed, parameters, &chains);
    let leaves = chains.iter().zip(&ends).map(|(at, end)| (*at, leaf(&seed, *at, end))).collect();
    check(parameters.chains, leaves);
    digests
}
