//! The proof of capacity played at small sizes: an honest prover, and the cheats. Every trial is seeded by its number.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use rackmark_feed::verify::outcome::Outcome;
use rackmark_feed::verify::proof::{
    judge::{
        Finding, Issued, Limits, Measured, Places, Reason, Verdict, chains_fit, judge, places, tiles_fit,
    },
    memory::{Memory, elements, end, ends, recomputed, recomputed_plainly, walk},
    merkle::{Tree, leaf, root_of, siblings_needed},
    messages::{COMMITMENT_MAX_BYTES, Challenge, Commitment, OPENING_MAX_BYTES, Opening},
    parameters::{Parameters, Set},
    prover::Work,
    seed,
    stream::{Lanes, WIDE, block, input},
    tiles::{fold, folded, folded_plainly, tile},
};

type Digest = [u8; 32];
const FAST: Measured = Measured { tiles_ms: 90, chains_ms: 90 };
const LIMITS: Limits = Limits { tiles_p99_ms: 80, chains_p99_ms: 80, tolerance_percent: 25 };

fn issued(number: u32) -> Issued {
    let random = |what: &str| seed::tagged(what, &[&number.to_le_bytes()]);
    Issued {
        challenge: Challenge {
            set: Set::Test,
            memory_bytes: 0,
            nonce: random("nonce"),
            beacon: random("beacon"),
            gpu: "GPU-0".into(),
            node_key: [7; 32],
            round: number,
        },
        probe_nonce: random("probe"),
        opening_nonce: random("opening"),
        test: true,
    }
}

fn parameters() -> Parameters {
    Set::Test.on(0).unwrap()
}

fn random(seed: u32, at: u64) -> u64 {
    let mut x = input::<1>(&seed::tagged("trial", &[&seed.to_le_bytes()]), [at], [[0; 2]]);
    block(&mut x, 10);
    u64::from(x[0][0]) << 32 | u64::from(x[1][0])
}

fn all_ends(issued: &Issued) -> Vec<[u8; 64]> {
    let challenge = issued.challenge.digest();
    let chains: Vec<u64> = (0..parameters().chains).collect();
    let probe = seed::probe(&challenge, &issued.probe_nonce);
    ends::<WIDE>(&seed::fill(&challenge), &probe, &parameters(), &chains)
}

fn honest(issued: &Issued) -> Work {
    let ends = all_ends(issued);
    Work::new(
        &issued.challenge,
        &parameters(),
        &issued.probe_nonce,
        |seed, at| folded(seed, &parameters(), at),
        |at| ends[at as usize],
    )
    .unwrap()
}

fn bytes<T: serde::Serialize>(value: &T) -> Vec<u8> {
    postcard::to_allocvec(value).unwrap()
}

fn opened(work: &Work, issued: &Issued) -> Opening {
    work.open(&places(&parameters(), &work.commitment, &issued.opening_nonce))
}

fn judged(work: &Work, issued: &Issued) -> Verdict {
    judge(issued, &bytes(&work.commitment), &bytes(&opened(work, issued)), FAST, Some(&LIMITS))
}

#[test]
fn an_honest_prover_passes_and_only_in_time_calibrated_and_not_with_the_test_set() {
    let mut asked = issued(1);
    let work = honest(&asked);
    assert_eq!(judged(&work, &asked).outcome(), Outcome::Verified);
    let (commitment, opening) = (bytes(&work.commitment), bytes(&opened(&work, &asked)));
    let with = |measured, limits| judge(&asked, &commitment, &opening, measured, limits).time;
    assert_eq!(with(FAST, None), (Outcome::NotEstablished, Reason::NotCalibrated));
    let late = (Outcome::NotEstablished, Reason::Late);
    assert_eq!(with(Measured { tiles_ms: 101, ..FAST }, Some(&LIMITS)), late);
    assert_eq!(with(Measured { chains_ms: 101, ..FAST }, Some(&LIMITS)), late);
    asked.test = false;
    let verdict = judge(&asked, &commitment, &opening, FAST, Some(&LIMITS));
    assert_eq!(verdict.tiles, (Outcome::NotEstablished, Reason::ParametersRefused));
}

/// Share of openings without one of `missing` among `all`, `opened` of them: without putting back.
fn escapes(all: u64, missing: u64, opened: u64) -> f64 {
    (0..opened).map(|k| (all - missing).saturating_sub(k) as f64 / (all - k) as f64).product()
}

#[test]
fn attack_skipped_tiles_pass_as_often_as_stated() {
    let parameters = parameters();
    let all = parameters.tiles() * u64::from(parameters.rounds);
    for percent in [1u64, 5, 10, 25] {
        let missing = (all * percent).div_ceil(100);
        let trials = 2_000u32;
        let mut passed = 0;
        for trial in 0..trials {
            let asked = issued(trial);
            let mut skipped = BTreeSet::new();
            let mut at = 0;
            while (skipped.len() as u64) < missing {
                skipped.insert(random(trial, at) % all);
                at += 1;
            }
            // The true fold stands for itself as zeros: which tiles are wrong is all that counts here.
            let counter = Cell::new(0);
            let work = Work::new(
                &asked.challenge,
                &parameters,
                &asked.probe_nonce,
                |_, _| {
                    let at = counter.replace(counter.get() + 1);
                    [u8::from(skipped.contains(&at)); 32]
                },
                |_| [0; 64],
            )
            .unwrap();
            let named = places(&parameters, &work.commitment, &asked.opening_nonce);
            let found = tiles_fit(&parameters, &work.commitment, &work.open(&named), &named, |_, _| [0; 32]);
            passed += u32::from(found.0 == Outcome::Verified);
        }
        let stated = escapes(all, missing, parameters.open_tiles as u64);
        let bound = 5.0 * (stated * (1.0 - stated) / f64::from(trials)).sqrt() + 0.001;
        let share = f64::from(passed) / f64::from(trials);
        println!("skip {percent} %: {share:.4} pass, stated {stated:.4}, trials 0..{trials}");
        assert!((share - stated).abs() < bound, "{percent} %: {share} {stated}");
    }
}

#[test]
fn attack_a_fold_is_not_linear() {
    let tiles = [1u64, 2].map(|at| tile::<1>(&[at as u8; 32], &parameters(), at));
    let mut sum = tiles[0];
    let mut swapped = tiles[0];
    for row in 0..32 {
        for column in 0..32 {
            sum[row][column] += tiles[1][row][column];
        }
    }
    swapped[0].swap(0, 8);
    let words =
        |bytes: [u8; 32]| bytes.as_chunks::<4>().0.iter().map(|w| u32::from_le_bytes(*w)).collect::<Vec<_>>();
    let [a, b, both, zero] = [fold(&tiles[0]), fold(&tiles[1]), fold(&sum), fold(&[[0; 32]; 32])].map(words);
    for at in 0..8 {
        assert_ne!(a[at].wrapping_add(b[at]).wrapping_sub(zero[at]), both[at]);
        assert_ne!(a[at] ^ b[at] ^ zero[at], both[at]);
    }
    assert_ne!(fold(&swapped), fold(&tiles[0]));
}

#[test]
fn attack_answers_to_another_game_do_not_pass() {
    let asked = issued(1);
    let work = honest(&asked);
    let commitment = bytes(&work.commitment);
    let opening = bytes(&opened(&work, &asked));
    // Replay: every field of the challenge is in every seed.
    let others: [fn(&mut Issued); 5] = [
        |other| other.challenge.nonce[0] ^= 1,
        |other| other.challenge.beacon[0] ^= 1,
        |other| other.challenge.gpu.push('1'),
        |other| other.challenge.node_key[0] ^= 1,
        |other| other.challenge.round += 1,
    ];
    for change in others {
        let mut other = asked.clone();
        change(&mut other);
        let verdict = judge(&other, &commitment, &opening, FAST, Some(&LIMITS));
        assert_eq!(verdict.tiles, (Outcome::Contradicted, Reason::ChallengeMismatch));
        // One GPU for two seeds: the roots of the first, said to be of the second.
        let renamed = Commitment { challenge: other.challenge.digest(), ..work.commitment.clone() };
        let named = places(&parameters(), &renamed, &other.opening_nonce);
        let verdict = judge(&other, &bytes(&renamed), &bytes(&work.open(&named)), FAST, Some(&LIMITS));
        let mismatch = (Outcome::Contradicted, Reason::RootMismatch);
        assert_eq!((verdict.tiles, verdict.chains), (mismatch, mismatch));
    }
    // Another round's tree in place of this round's.
    let mut reused = work.commitment.clone();
    reused.tiles[1] = reused.tiles[0];
    let named = places(&parameters(), &reused, &asked.opening_nonce);
    let verdict = judge(&asked, &bytes(&reused), &bytes(&work.open(&named)), FAST, Some(&LIMITS));
    assert_eq!(verdict.tiles, (Outcome::Contradicted, Reason::RootMismatch));
    // No root at first, and one that fits the answer later: the places move with the root.
    let made_up = Commitment { tiles: vec![[0; 32]; 2], chains: [0; 32], ..work.commitment.clone() };
    assert_ne!(
        places(&parameters(), &made_up, &asked.opening_nonce),
        places(&parameters(), &work.commitment, &asked.opening_nonce)
    );
    let verdict = judge(&asked, &bytes(&made_up), &opening, FAST, Some(&LIMITS));
    assert_eq!(verdict.tiles.0.min(verdict.chains.0), Outcome::Contradicted);
    // Grinding: places known from the commitment alone would be another opening nonce's.
    let guessed = work.open(&places(&parameters(), &work.commitment, &[0; 32]));
    let verdict = judge(&asked, &commitment, &bytes(&guessed), FAST, Some(&LIMITS));
    assert_eq!(verdict.tiles.0.min(verdict.chains.0), Outcome::Contradicted);
}

#[test]
fn attack_malformed_openings_fail_closed() {
    let asked = issued(1);
    let work = honest(&asked);
    let commitment = bytes(&work.commitment);
    let good = opened(&work, &asked);
    let opening = bytes(&good);
    let malformed = |commitment: &[u8], opening: &[u8]| {
        let verdict = judge(&asked, commitment, opening, FAST, Some(&LIMITS));
        assert_ne!(verdict.outcome(), Outcome::Verified);
        verdict.tiles.1
    };
    for length in (0..opening.len()).step_by(97) {
        assert_eq!(malformed(&commitment, &opening[..length]), Reason::Malformed);
    }
    assert_eq!(malformed(&commitment, &[&opening[..], &[0]].concat()), Reason::Malformed);
    assert_eq!(malformed(&commitment, &vec![0; OPENING_MAX_BYTES + 1]), Reason::Malformed);
    assert_eq!(malformed(&vec![0; COMMITMENT_MAX_BYTES + 1], &opening), Reason::Malformed);
    // Claims 2^32 siblings.
    assert_eq!(malformed(&commitment, &[2, 0xff, 0xff, 0xff, 0xff, 0x0f]), Reason::Malformed);
    let fewer = Opening { tiles: good.tiles[..1].to_vec(), ..good.clone() };
    assert_eq!(malformed(&commitment, &bytes(&fewer)), Reason::Malformed);
    let mut more = good.clone();
    more.chains.push([0; 32]);
    malformed(&commitment, &bytes(&more));
    for at in (1..opening.len()).step_by(opening.len() / 8) {
        let mut flipped = opening.clone();
        flipped[at] ^= 1;
        malformed(&commitment, &flipped);
    }
}

struct Gapped<'a, K, I> {
    memory: &'a [Lanes<1>],
    kept: &'a K,
    instead: &'a mut I,
}

impl<K: Fn(u64) -> bool, I: FnMut(u64) -> [u32; 16]> Memory<1> for Gapped<'_, K, I> {
    fn read(&mut self, [at]: [u64; 1]) -> Lanes<1> {
        if (self.kept)(at) { self.memory[at as usize] } else { (self.instead)(at).map(|word| [word]) }
    }
}

/// A prover that keeps some elements whole and answers for the others as `instead` says.
fn with_gap(
    asked: &Issued,
    kept: impl Fn(u64) -> bool,
    mut instead: impl FnMut(u64) -> [u32; 16],
) -> Vec<[u8; 64]> {
    let challenge = asked.challenge.digest();
    let fill = seed::fill(&challenge);
    let memory: Vec<_> = (0..parameters().windows * parameters().window_elements)
        .map(|at| elements::<1>(&fill, parameters().fill_iterations, [at]))
        .collect();
    let probe = seed::probe(&challenge, &asked.probe_nonce);
    (0..parameters().chains)
        .map(|chain| {
            let mut gapped = Gapped { memory: &memory, kept: &kept, instead: &mut instead };
            end(&walk::<1>(&probe, &parameters(), [chain], &mut gapped), 0)
        })
        .collect()
}

#[test]
fn attack_a_gap_in_memory_is_seen_or_paid_for() {
    let asked = issued(3);
    let parameters = parameters();
    let true_ends = all_ends(&asked);
    let total = parameters.chains * u64::from(parameters.steps);
    let fill = seed::fill(&asked.challenge.digest());
    for held in [90u64, 95, 99] {
        let kept = |at: u64| random(held as u32, at) % 100 < held;
        let all = parameters.windows * parameters.window_elements;
        let missing = (0..all).filter(|at| !kept(*at)).count() as f64 / all as f64;
        // Dropped: hardly a chain is right, and 16 openings never meet only those.
        let dropped = with_gap(&asked, kept, |_| [0; 16]);
        let right = dropped.iter().zip(&true_ends).filter(|(a, b)| a == b).count() as u64;
        let stated = (1.0 - missing).powi(parameters.steps as i32);
        println!("held {held} %: {right} of {} chains right, stated share {stated:.4}", parameters.chains);
        assert!((right as f64) <= parameters.chains as f64 * stated * 4.0 + 4.0);
        assert!(escapes(parameters.chains, parameters.chains - right, 16) < 1e-9);
        // Recomputed or fetched: right, for a call (or a fetch) at each read of the gap.
        let calls = Cell::new(0u64);
        let recomputed = with_gap(&asked, kept, |at| {
            calls.set(calls.get() + 1);
            elements::<1>(&fill, parameters.fill_iterations, [at]).map(|[word]| word)
        });
        assert_eq!(recomputed, true_ends);
        let share = calls.get() as f64 / total as f64;
        println!("held {held} %: {} calls, {share:.4} of the reads, missing {missing:.4}", calls.get());
        assert!((share / missing - 1.0).abs() < 0.1);
    }
}

#[test]
fn attack_a_digest_of_an_element_is_not_enough() {
    let asked = issued(4);
    let true_ends = all_ends(&asked);
    let fill = seed::fill(&asked.challenge.digest());
    // All but one word of each element is stored; every word matters.
    for lost in [0usize, 7, 15] {
        let ends = with_gap(
            &asked,
            |_| false,
            |at| {
                let mut element = elements::<1>(&fill, parameters().fill_iterations, [at]).map(|[word]| word);
                element[lost] = 0;
                element
            },
        );
        assert!(ends.iter().zip(&true_ends).all(|(a, b)| a != b));
    }
}

#[test]
fn one_lane_and_many_agree() {
    let parameters = parameters();
    for at in 0..40 {
        let seed = seed::tagged("lanes", &[&[at as u8]]);
        assert_eq!(tile::<1>(&seed, &parameters, at), tile::<8>(&seed, &parameters, at));
        assert_eq!(tile::<1>(&seed, &parameters, at), tile::<32>(&seed, &parameters, at));
    }
    let short = Parameters { steps: 2, ..parameters };
    let chains: Vec<u64> = (0..100_000).collect();
    let [fill, probe] = [[1; 32], [2; 32]];
    assert!(ends::<1>(&fill, &probe, &short, &chains) == ends::<WIDE>(&fill, &probe, &short, &chains));
}

/// Short parameters, so that there can be many openings.
fn short() -> Parameters {
    Parameters { side_tiles: 4, windows: 2, window_elements: 67, chains: 32, steps: 4, ..parameters() }
}

/// One bit of a root or of a sibling is another, or a sibling is missing.
fn lie(number: u32, root: &mut Digest, siblings: &mut Vec<Digest>) {
    let (byte, bit) = (random(number, 5) as usize % 32, 1 << (random(number, 6) % 8));
    match random(number, 4) % 3 {
        0 => root[byte] ^= bit,
        1 => siblings[0][byte] ^= bit,
        _ => drop(siblings.pop()),
    }
}

/// What plain integers and what vectors say of an opened tile, and whether it is a lie.
fn opened_tile(number: u32, lies: bool) -> [Finding; 2] {
    let parameters = Parameters { rounds: 1, ..short() };
    let challenge = seed::tagged("challenge", &[&number.to_le_bytes()]);
    let at = random(number, 0) % parameters.tiles();
    let tree = seed::round(&challenge, 0, None);
    let mut siblings = vec![challenge; siblings_needed(parameters.tiles(), [at])];
    let leaves = BTreeMap::from([(at, leaf(&tree, at, &folded(&tree, &parameters, at)))]);
    let mut root = root_of(&tree, parameters.tiles(), &leaves, &siblings).unwrap();
    if lies {
        lie(number, &mut root, &mut siblings);
    }
    let commitment = Commitment { challenge, tiles: vec![root], chains: [0; 32] };
    let opening = Opening { tiles: vec![siblings], chains: Vec::new() };
    let places = Places { tiles: vec![BTreeSet::from([at])], chains: BTreeSet::new() };
    [folded_plainly, folded].map(|fold: fn(&Digest, &Parameters, u64) -> [u8; 32]| {
        tiles_fit(&parameters, &commitment, &opening, &places, |seed, at| fold(seed, &parameters, at))
    })
}

/// The same of two opened chains.
fn opened_chains(number: u32, lies: bool) -> [Finding; 2] {
    let parameters = short();
    let [challenge, fill, probe] =
        ["challenge", "fill", "probe"].map(|what| seed::tagged(what, &[&number.to_le_bytes()]));
    let chains = BTreeSet::from([0, 1].map(|at| random(number, at) % parameters.chains));
    let listed: Vec<u64> = chains.iter().copied().collect();
    let ends = recomputed(&fill, &probe, &parameters, &listed);
    let mut siblings = vec![challenge; siblings_needed(parameters.chains, listed.iter().copied())];
    let leaves = listed.iter().zip(&ends).map(|(at, end)| (*at, leaf(&probe, *at, end))).collect();
    let mut root = root_of(&probe, parameters.chains, &leaves, &siblings).unwrap();
    if lies {
        lie(number, &mut root, &mut siblings);
    }
    let commitment = Commitment { challenge, tiles: Vec::new(), chains: root };
    let opening = Opening { tiles: Vec::new(), chains: siblings };
    let places = Places { tiles: Vec::new(), chains };
    type Ends = fn(&Digest, &Digest, &Parameters, &[u64]) -> Vec<[u8; 64]>;
    [recomputed_plainly, recomputed].map(|ends: Ends| {
        chains_fit(&parameters, &commitment, &opening, &places, &probe, |chains| {
            ends(&fill, &probe, &parameters, chains)
        })
    })
}

#[test]
fn a_hundred_thousand_openings_have_one_verdict_by_plain_integers_and_by_vectors() {
    let mut held = 0;
    for number in 0..100_000 {
        let lies = random(number, 2) % 2 == 1;
        // Tiles cost more.
        let tile = random(number, 3).is_multiple_of(8);
        let [plain, wide] = if tile { opened_tile(number, lies) } else { opened_chains(number, lies) };
        assert_eq!(plain, wide, "opening {number}");
        let wanted = if lies { Outcome::Contradicted } else { Outcome::Verified };
        assert_eq!(plain.0, wanted, "opening {number}");
        held += u32::from(!lies);
    }
    println!("{held} held and {} were refused, openings 0..100000", 100_000 - held);
}

/// Dense FP16 rates with FP32 sums, TFLOP/s, as their makers publish them; of the first, the best that a cheat reaches
/// by other units as well.
const CARDS: [(&str, f64); 5] =
    [("RTX 4090", 300.0), ("A100 SXM", 312.0), ("L40S", 362.0), ("H100 SXM", 989.0), ("B200", 2250.0)];

#[test]
fn attack_a_slower_card_or_one_for_two_does_not_fit_the_window() {
    let asked = issued(5);
    let work = honest(&asked);
    let (commitment, opening) = (bytes(&work.commitment), bytes(&opened(&work, &asked)));
    let time = |tiles_ms: f64, limits: &Limits| {
        let measured = Measured { tiles_ms: tiles_ms as u32, chains_ms: 1_000 };
        judge(&asked, &commitment, &opening, measured, Some(limits)).time
    };
    for (claimed, rate) in CARDS {
        let tiles_ms = 4.0 * 4.4e14 / (rate * 0.75 * 1e12) * 1e3;
        let limits = Limits { tiles_p99_ms: tiles_ms as u32, chains_p99_ms: 1_000, tolerance_percent: 25 };
        assert_eq!(time(tiles_ms, &limits), (Outcome::Verified, Reason::Fits), "{claimed}");
        // Two challenges at once, one card: whichever comes last took twice as long.
        assert_eq!(time(2.0 * tiles_ms, &limits), (Outcome::NotEstablished, Reason::Late), "{claimed}");
        for (real, slower) in CARDS.into_iter().filter(|(_, slower)| slower * 1.26 < rate) {
            let found = time(tiles_ms * rate / slower, &limits);
            assert_eq!(found, (Outcome::NotEstablished, Reason::Late), "{real} as {claimed}");
        }
    }
}

/// The layout of `docs/proof.md`, bit by bit.
fn entry(seed: &Digest, side: u32, line: u32, at: u64) -> i32 {
    let (piece, within) = (at / 512, (at % 512) as usize);
    let byte = |number: u64, n: usize| {
        let mut x = input::<1>(seed, [number], [[line, side]]);
        block(&mut x, 4);
        x[n / 4][0].to_le_bytes()[n % 4]
    };
    let low = byte(piece * 9 + within as u64 / 64, within % 64);
    let high = byte(piece * 9 + 8, within / 8) >> (within % 8) & 1;
    i32::from(low) + 256 * i32::from(high) - 256
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]
    #[test]
    fn a_sum_is_that_of_the_written_layout(seed: [u8; 32], index in 0u64..64, row in 0usize..32, column in 0usize..32) {
        let sums = tile::<WIDE>(&seed, &parameters(), index);
        let (i, j) = ((index / 8) as u32 * 32 + row as u32, (index % 8) as u32 * 32 + column as u32);
        let naive: i32 = (0..512).map(|at| entry(&seed, 0, i, at) * entry(&seed, 1, j, at)).sum();
        prop_assert_eq!(sums[row][column], naive);
    }
}

fn naive_root(tree: &Digest, leaves: &[Digest]) -> Digest {
    let mut level = leaves.to_vec();
    while level.len() > 1 {
        level = level
            .chunks(2)
            .map(|pair| {
                if pair.len() == 2 {
                    seed::tagged("rackmark/proof/node/1", &[&pair[0], &pair[1]])
                } else {
                    pair[0]
                }
            })
            .collect();
    }
    seed::tagged("rackmark/proof/root/1", &[tree, &(leaves.len() as u64).to_le_bytes(), &level[0]])
}

proptest! {
    #[test]
    fn a_proof_of_many_leaves_is_that_of_the_naive_tree(count in 1usize..200, picks in prop::collection::btree_set(0usize..200, 1..20), flip in 0usize..4096) {
        let tree = [9; 32];
        let leaves: Vec<Digest> = (0..count as u64).map(|at| leaf(&tree, at, &at.to_le_bytes())).collect();
        let picks: BTreeSet<u64> = picks.into_iter().map(|at| (at % count) as u64).collect();
        let listed: Vec<u64> = picks.iter().copied().collect();
        let built = Tree::new(&tree, leaves.clone()).unwrap();
        prop_assert_eq!(built.root(), naive_root(&tree, &leaves));
        let mut siblings = built.open(&listed);
        prop_assert_eq!(siblings.len(), siblings_needed(count as u64, listed.iter().copied()));
        let known: BTreeMap<u64, Digest> = picks.iter().map(|at| (*at, leaves[*at as usize])).collect();
        prop_assert_eq!(root_of(&tree, count as u64, &known, &siblings), Some(built.root()));
        prop_assert_ne!(root_of(&tree, count as u64 + 1, &known, &siblings), Some(built.root()));
        let mut wrong = known.clone();
        *wrong.values_mut().next().unwrap() = [0; 32];
        prop_assert_ne!(root_of(&tree, count as u64, &wrong, &siblings), Some(built.root()));
        if !siblings.is_empty() {
            let at = flip % siblings.len();
            siblings[at][flip % 32] ^= 1;
            prop_assert_ne!(root_of(&tree, count as u64, &known, &siblings), Some(built.root()));
            siblings.pop();
            prop_assert_eq!(root_of(&tree, count as u64, &known, &siblings), None);
        }
    }
}

#[test]
fn places_are_as_many_as_the_set_says() {
    for set in [Set::Light, Set::Standard, Set::Full] {
        let parameters = set.on(80 << 30).unwrap();
        let commitment = Commitment {
            challenge: [0; 32],
            tiles: vec![[1; 32]; parameters.rounds as usize],
            chains: [2; 32],
        };
        let Places { tiles, chains } = places(&parameters, &commitment, &[3; 32]);
        assert_eq!(tiles.iter().map(BTreeSet::len).sum::<usize>(), parameters.open_tiles);
        assert_eq!(chains.len(), parameters.open_chains);
        assert!(set.on(8 << 30).is_none());
        assert!(set.on(2 << 40).is_none());
    }
    assert_eq!(Set::Standard.on(80 << 30).unwrap().chains, 1 << 26);
}
