//! Random single bits, wrong in memory and in products: every one of them is found, where it is.
//!
//! `RACKMARK_FAULTS` says how many (640 if absent), `RACKMARK_SEED` which ones.

use std::collections::BTreeSet;
use std::time::Instant;

use rackmark_gpu::golden::mix64;
use rackmark_model::gpu_work::{BurnInTest, Format, GpuReport, Miscompare, Place};

use super::support::{Machine, PATIENCE};

/// Faults of a run over memory: one that is stuck may be named twice, and a run names 64.
const OF_MEMORY: u64 = 30;
/// Faults of a run of products.
const OF_PRODUCTS: u64 = 60;
/// Tiles of the smallest product, 256 x 256.
const TILES: u64 = 4;
/// Launches of a product before the first that counts: its time is taken, and the self-test.
const LAUNCHES_BEFORE: u64 = 2;
/// Bytes that a run over memory holds at least.
const HELD_BYTES: u64 = 8 << 20;

const PRODUCTS: [(BurnInTest, &str, u64); 8] = [
    (BurnInTest::GemmPortable(Format::Bf16), "gemm_bf16", 32),
    (BurnInTest::GemmPortable(Format::Fp16), "gemm_fp16", 32),
    (BurnInTest::GemmPortable(Format::Tf32), "gemm_tf32", 32),
    (BurnInTest::GemmPortable(Format::Int8), "gemm_int8", 32),
    (BurnInTest::GemmPortable(Format::Fp64), "gemm_fp64", 64),
    (BurnInTest::GemmHopper(Format::Bf16), "gemm_hopper_bf16", 32),
    (BurnInTest::GemmHopper(Format::Fp8E4m3), "gemm_hopper_fp8", 32),
    (BurnInTest::GemmHopper(Format::Int8), "gemm_hopper_int8", 32),
];

/// Numbers that look random and are the same for the same seed.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix64(self.0) % end
    }
}

/// How many were put in, how many were found, and what was named beside them.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Tally {
    injected: u64,
    detected: u64,
    beside: u64,
}

impl Tally {
    /// Compares what is wrong with what was named.
    fn of<T: Ord>(injected: &BTreeSet<T>, named: &BTreeSet<T>) -> Self {
        let detected = injected.intersection(named).count() as u64;
        Self { injected: injected.len() as u64, detected, beside: named.len() as u64 - detected }
    }

    fn add(self, other: Self) -> Self {
        Self {
            injected: self.injected + other.injected,
            detected: self.detected + other.detected,
            beside: self.beside + other.beside,
        }
    }
}

/// One run over memory: words and bits of them.
fn memory(machine: &Machine, numbers: &mut Numbers, count: u64) -> Tally {
    let mut injected = BTreeSet::new();
    let mut faults = Vec::new();
    while (faults.len() as u64) < count {
        let (offset, bit) = (8 * numbers.below(HELD_BYTES / 8), numbers.below(64));
        if injected.iter().any(|(known, _)| *known == offset) {
            continue;
        }
        injected.insert((offset, bit));
        let kinds = ["once memory_invert", "once memory_verify", "stuck0", "stuck1"];
        faults.push(format!("word 0 {offset} {bit} {}", kinds[numbers.below(4) as usize]));
    }
    machine.only(&faults);
    let ended = machine.worker(0, &[(BurnInTest::MemoryPattern, 20)]).reports();
    let place = |wrong: &Miscompare| match wrong.place {
        Place::Memory { offset } if (wrong.rose | wrong.fell).is_power_of_two() => {
            Some((offset, u64::from((wrong.rose | wrong.fell).trailing_zeros())))
        }
        _ => None,
    };
    Tally::of(&injected, &ended.miscompares().iter().filter_map(place).collect())
}

/// One run of products of a format: bits of elements, each in a tile and a launch of its own. `entry` is what the
/// faults are put into.
fn products(
    machine: &Machine,
    numbers: &mut Numbers,
    (test, entry, bits): (BurnInTest, &str, u64),
    count: u64,
) -> Tally {
    let mut injected = BTreeSet::new();
    // Slow enough for a launch to stay one pass, whatever it is aimed at.
    let mut faults = vec!["slow 0 4".to_owned()];
    for n in 0..count {
        let (launch, tile) = (n / TILES, n % TILES);
        injected.insert((launch, tile));
        let (row, column, bit) = (numbers.below(128), numbers.below(128), numbers.below(bits));
        let at = launch + LAUNCHES_BEFORE;
        faults.push(format!("product 0 {entry} {tile} {row} {column} {bit} at {at}"));
    }
    machine.only(&faults);
    let mut worker = machine.worker(0, &[(test, 60_000)]);
    let (mut named, mut last) = (BTreeSet::new(), 0);
    let began = Instant::now();
    // On until all that was put in has had its launch.
    while last <= count / TILES + LAUNCHES_BEFORE && began.elapsed() < PATIENCE {
        match worker.next(PATIENCE).expect("the stream goes on") {
            GpuReport::Miscompare(Miscompare { pass, place: Place::Tile { row, column }, .. }) => {
                named.insert((pass, u64::from(2 * row + column)));
                if named.len() == injected.len() {
                    break;
                }
            }
            GpuReport::Progress(progress) => last = progress.launches,
            _ => {}
        }
    }
    Tally::of(&injected, &named)
}

fn from_environment(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

/// One half of the campaign on a machine of its own.
fn half(seed: u64, count: u64, of_memory: bool) -> Tally {
    let machine = Machine::one();
    let mut numbers = Numbers(seed);
    let mut tally = Tally::default();
    let mut run = 0;
    while tally.injected < count {
        let left = count - tally.injected;
        tally = tally.add(if of_memory {
            memory(&machine, &mut numbers, left.min(OF_MEMORY))
        } else {
            products(&machine, &mut numbers, PRODUCTS[run % PRODUCTS.len()], left.min(OF_PRODUCTS))
        });
        run += 1;
    }
    tally
}

#[test]
fn random_single_bits_are_all_found_where_they_are() {
    let count = from_environment("RACKMARK_FAULTS", 640);
    let seed = from_environment("RACKMARK_SEED", 0x6a09_e667_f3bc_c908);
    let began = Instant::now();
    let (memory, products) = std::thread::scope(|scope| {
        let memory = scope.spawn(|| half(seed, count / 2, true));
        let products = half(mix64(seed), count - count / 2, false);
        (memory.join(), products)
    });
    let memory = memory.expect("it came to an end");
    println!("seed {seed}, {:.1} s: memory {memory:?}, products {products:?}", began.elapsed().as_secs_f64());
    let all = memory.add(products);
    println!("bench: faults_injected {} count", all.injected);
    println!("bench: faults_detected {} count", all.detected);
    if !cfg!(debug_assertions) {
        let bytes = std::fs::metadata(env!("CARGO_BIN_EXE_rackmark-gpu")).expect("it is there").len();
        println!("bench: worker_mb {:.3} MB", bytes as f64 / 1e6);
    }
    assert_eq!(all, Tally { injected: count, detected: count, beside: 0 });
}

/// The campaign can fail: faults in what nobody runs are not counted as found.
#[test]
fn faults_that_do_not_happen_are_not_found() {
    let machine = Machine::one();
    let mut numbers = Numbers(7);
    let (test, _, bits) = PRODUCTS[0];
    let tally = products(&machine, &mut numbers, (test, "gemm_int8", bits), 12);
    assert_eq!(tally, Tally { injected: 12, detected: 0, beside: 0 });
}

#[test]
fn a_wrong_place_is_not_a_find() {
    let (injected, named) = (BTreeSet::from([1, 2, 3]), BTreeSet::from([2, 3, 4]));
    assert_eq!(Tally::of(&injected, &named), Tally { injected: 3, detected: 2, beside: 1 });
}
