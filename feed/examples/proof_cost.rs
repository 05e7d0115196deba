//! `cargo run --release -p rackmark-feed --features prover --example proof_cost`: time of a verification on one core and bytes of
//! its opening, at the sizes of an 80 GB card. Siblings are random and the roots follow from them: the verifier's work is the
//! same whoever made the tree.

use std::{hint::black_box, time::Instant};

use rackmark_feed::verify::proof::{
    Digest,
    memory::recomputed,
    merkle::{leaf, root_of, siblings_needed},
    parameters::Set,
    seed::tagged,
    tiles::folded,
};

fn main() {
    for (name, set) in [("", Set::Standard), ("_q64", Set::Full)] {
        let Some(parameters) = set.on(80 << 30) else { continue };
        let mut best_ms = f64::MAX;
        let mut digests = 0;
        for run in 0..5u8 {
            let seed = tagged("cost", &[&[run]]);
            let spread = |count: u64, opened: usize| -> Vec<u64> {
                let width = count / opened as u64;
                (0..opened as u64).map(|at| at * width + u64::from(seed[at as usize % 32]) * 7).collect()
            };
            let per_round = parameters.open_tiles / parameters.rounds as usize;
            let start = Instant::now();
            digests = 0;
            let mut check = |tree: &Digest, count: u64, leaves: Vec<(u64, Digest)>| {
                let siblings = vec![[run; 32]; siblings_needed(count, leaves.iter().map(|(at, _)| *at))];
                digests += siblings.len();
                black_box(root_of(tree, count, &leaves.into_iter().collect(), &siblings));
            };
            for _ in 0..parameters.rounds {
                let leaves = spread(parameters.tiles(), per_round)
                    .into_iter()
                    .map(|at| (at, leaf(&seed, at, &folded(&seed, &parameters, at))))
                    .collect();
                check(&seed, parameters.tiles(), leaves);
            }
            let chains = spread(parameters.chains, parameters.open_chains);
            let ends = recomputed(&seed, &seed, &parameters, &chains);
            let leaves = chains.iter().zip(&ends).map(|(at, end)| (*at, leaf(&seed, *at, end))).collect();
            check(&seed, parameters.chains, leaves);
            best_ms = best_ms.min(start.elapsed().as_secs_f64() * 1e3);
        }
        println!("bench: proof_verify{name}_ms {best_ms:.1} ms");
        println!("bench: proof{name}_kb {:.1} KB", digests as f64 * 32.0 / 1e3);
    }
}
