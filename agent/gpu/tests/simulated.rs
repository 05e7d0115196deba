//! The kernels' own source, compiled for the CPU, answers what the golden arithmetic says; and one wrong bit anywhere
//! changes the answer. In `launch` only the tensor product itself is by reference; in `emulated` it is as it is for a GPU,
//! and its instructions are emulated.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rackmark_gpu::abi::{THREADS, TILE};
use rackmark_gpu::golden::{
    Chain, OperandRange, Problem, Product, chain_results, chase_end, counting_sum, gathered_sum, mix64,
    pattern_word,
};

/// The kernels, compiled into a program of `tests/simulated`; the file's name has the hash of what it was compiled from.
fn program(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let sources = folder.join("kernels");
    let main = folder.join(format!("tests/simulated/{name}.cpp"));
    let mut hash = 0;
    let mut files: Vec<PathBuf> =
        sources.read_dir().expect("kernels").flatten().map(|file| file.path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "cu"));
    files.push(main.clone());
    files.sort();
    for file in &files {
        hash = std::fs::read(file)
            .expect("source")
            .iter()
            .fold(hash, |hash, byte| mix64(hash ^ u64::from(*byte)) + 1);
    }
    let target = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let program = target.join(format!("{name}-{hash:016x}"));
    if !program.exists() {
        let unfinished = target.join(format!("{name}-{hash:016x}-{}", std::process::id()));
        let compiled = Command::new("g++")
            .args(["-std=c++17", "-O2", "-Wall", "-Wextra", "-Werror", "-Wno-psabi", "-ffp-contract=off"])
            .args(["-DRACKMARK_SIMULATED", "-I"])
            .arg(&sources)
            .arg(&main)
            .arg("-o")
            .arg(&unfinished)
            .output()
            .expect("g++ is installed");
        assert!(compiled.status.success(), "{}", String::from_utf8_lossy(&compiled.stderr));
        std::fs::rename(&unfinished, &program).expect("renamed");
    }
    program
}

/// Launches line by line; what each line answered.
fn launched(lines: &str) -> Vec<Vec<u64>> {
    answered("launch", lines)
}

fn answered(name: &str, lines: &str) -> Vec<Vec<u64>> {
    let mut child =
        Command::new(program(name)).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("it starts");
    let mut input = child.stdin.take().expect("piped");
    let lines = lines.to_owned();
    let writer = std::thread::Builder::new()
        .name("launches".into())
        .spawn(move || input.write_all(lines.as_bytes()))
        .expect("a thread");
    let output = child.wait_with_output().expect("it ends");
    writer.join().expect("it wrote").expect("all was read");
    assert!(output.status.success(), "{}", output.status);
    String::from_utf8(output.stdout)
        .expect("text")
        .lines()
        .map(|line| line.split_whitespace().map(|number| number.parse().expect("a number")).collect())
        .collect()
}

/// Numbers that look random and are the same every time.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 += 1;
        mix64(self.0)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }
}

#[test]
fn every_flipped_bit_of_memory_is_found_where_it_is() {
    let mut numbers = Numbers(1);
    let mut lines = String::new();
    let mut asked = Vec::new();
    for n in 0..1_000 {
        let (pairs, first, seed) = (1 + numbers.below(700), numbers.next(), numbers.next());
        let (index, bit) = (first.wrapping_add(numbers.below(2 * pairs)), numbers.below(64));
        let (inverted, invert) = (n % 2, n / 2 % 2);
        let mask = 1_u64 << bit;
        writeln!(lines, "pattern {pairs} {first} {seed} {inverted} {index} {mask} {invert} 2").expect("text");
        asked.push((pairs, seed, inverted == 1, invert, index, mask));
    }
    for ((pairs, seed, inverted, invert, index, mask), answer) in asked.into_iter().zip(launched(&lines)) {
        let expected = pattern_word(index, seed, inverted);
        let rose = u64::from(expected & mask == 0);
        // Inverting leaves what should be there: the error is counted once.
        let checked = 2 * pairs * (1 + invert);
        assert_eq!(answer[..7], [1, rose, 1 - rose, checked, index, mask, expected]);
    }
}

#[test]
fn a_read_sums_what_was_written_and_copied_and_shows_every_flipped_bit() {
    let mut numbers = Numbers(2);
    let (mut lines, mut asked) = (String::new(), Vec::new());
    for n in 0..600 {
        let (pairs, first, seed) = (1 + numbers.below(30_000), numbers.next(), numbers.next());
        let blocks = 1 + numbers.below(5);
        let pair = numbers.below(pairs);
        let index = first.wrapping_add(2 * pair + numbers.below(2));
        let mask = if n % 4 == 3 { 0 } else { 1_u64 << numbers.below(64) };
        writeln!(lines, "traffic {pairs} {first} {seed} {index} {mask} {} {blocks}", n % 4 % 3)
            .expect("text");
        asked.push((pairs, first, seed, blocks, pair / 256 % blocks, mask));
    }
    for ((pairs, first, seed, blocks, spoiled, mask), answer) in asked.into_iter().zip(launched(&lines)) {
        for block in 0..blocks {
            let at = usize::try_from(2 * block).expect("small");
            let (blocks, number) =
                (u32::try_from(blocks).expect("small"), u32::try_from(block).expect("small"));
            let sum = counting_sum(pairs, first, seed, blocks, number);
            assert_eq!(answer[at] == sum, mask == 0 || block != spoiled, "block {block} of {blocks}");
            assert_eq!(answer[at + 1], u64::from(THREADS));
        }
    }
}

/// Formats by their number in the kernels: (format, hopper, range).
const PRODUCTS: [(u32, u32, OperandRange); 8] = [
    (0, 0, OperandRange::Wide),
    (1, 0, OperandRange::Wide),
    (2, 0, OperandRange::Wide),
    (3, 0, OperandRange::Wide),
    (4, 0, OperandRange::Wide),
    (0, 1, OperandRange::Wide),
    (3, 1, OperandRange::Wide),
    (5, 1, OperandRange::Narrow),
];

#[test]
fn one_golden_holds_for_every_format_and_way() {
    let (rows, columns, depth, passes) = (4 * TILE, 2 * TILE, 128, 3_u64);
    for (format, hopper, range) in PRODUCTS {
        let problem = Problem { rows, columns, depth, seed_a: 71, seed_b: 72, range };
        let golden = Product::new(&problem).expect("exact");
        let line = |rotation| {
            format!("product {format} {hopper} {rows} {columns} {depth} 71 72 {passes} {rotation} 4 0 0 0\n")
        };
        let answers = launched(&(line(0) + &line(1)));
        let tiles = golden.tile_sums().len();
        let sms = |answer: &[u64]| -> Vec<u64> { (0..tiles).map(|tile| answer[3 * tile + 2]).collect() };
        for answer in &answers {
            assert_eq!(answer.len(), 6 * tiles);
            for (tile, sum) in golden.tile_sums().iter().enumerate() {
                let place = format!("format {format}, hopper {hopper}, tile {tile}");
                assert_eq!(answer[3 * tile], sum.wrapping_mul(passes), "{place}");
                assert_eq!(answer[3 * tile + 1], 0, "{place}: residue");
                assert_eq!(answer[3 * (tiles + tile)], *sum, "{place}: stored");
                assert_eq!(answer[3 * (tiles + tile) + 1], 0, "{place}: residue of what was stored");
            }
        }
        assert!(sms(&answers[0]).iter().all(|sm| *sm > 0), "every tile names its SM");
        let moved =
            sms(&answers[0]).iter().zip(sms(&answers[1])).filter(|(one, other)| **one != *other).count();
        assert_eq!(moved, tiles, "the next launch gives every tile to another SM");
    }
}

/// Depths are such that every stage of shared memory is used more than once.
#[test]
fn tensor_paths_put_every_product_where_it_belongs() {
    for (format, hopper, range) in PRODUCTS {
        let (rows, columns, blocks) = if hopper == 1 { (4 * TILE, 2 * TILE, 2) } else { (2 * TILE, TILE, 1) };
        let depth = match (format, hopper) {
            (0, 1) => 384,
            (3 | 5, 1) => 896,
            (3, _) => 512,
            (2 | 4, _) => 128,
            _ => 256,
        };
        let golden =
            Product::new(&Problem { rows, columns, depth, seed_a: 8, seed_b: 9, range }).expect("exact");
        let passes = if hopper == 1 { 1 } else { 3 };
        let line =
            format!("product {format} {hopper} {rows} {columns} {depth} 8 9 {passes} 1 {blocks} 0 0 0\n");
        let answer = answered("emulated", &line).remove(0);
        for (tile, sum) in golden.tile_sums().iter().enumerate() {
            let place = format!("format {format}, hopper {hopper}, tile {tile}");
            assert_eq!(answer[3 * tile..3 * tile + 2], [sum.wrapping_mul(passes), 0], "{place}");
        }
    }
}

#[test]
fn every_flip_of_the_self_test_changes_its_tile_and_no_other() {
    let mut numbers = Numbers(3);
    for (format, hopper, range) in PRODUCTS {
        let (rows, columns, depth) = (2 * TILE, 2 * TILE, 128);
        let golden =
            Product::new(&Problem { rows, columns, depth, seed_a: 5, seed_b: 6, range }).expect("exact");
        let (mut lines, mut spoiled) = (String::new(), Vec::new());
        for _ in 0..6 {
            let (tile, element) = (numbers.below(4), numbers.below(u64::from(TILE * TILE)));
            let mask = 1_u64 << numbers.below(if format == 4 { 64 } else { 32 });
            writeln!(
                lines,
                "product {format} {hopper} {rows} {columns} {depth} 5 6 1 0 2 {tile} {element} {mask}"
            )
            .expect("text");
            spoiled.push(tile);
        }
        for (spoiled, answer) in spoiled.into_iter().zip(launched(&lines)) {
            for (tile, sum) in golden.tile_sums().iter().enumerate() {
                // In the record, and in the one of what was stored.
                for at in [3 * tile, 3 * (4 + tile)] {
                    let right = answer[at] == *sum && answer[at + 1] == 0;
                    assert_eq!(
                        right,
                        tile as u64 != spoiled,
                        "format {format}, hopper {hopper}, tile {tile}"
                    );
                }
            }
        }
    }
}

#[test]
fn no_wrong_element_leaves_a_tile_as_it_was() {
    let mut numbers = Numbers(4);
    for (kind, bits) in [(0, 32), (1, 32), (2, 64)] {
        let mut masks: Vec<u64> = (0..1_500).map(|_| 1 << numbers.below(bits)).collect();
        // Any number of bits, which makes infinities and NaN too.
        masks.extend((0..500).map(|_| (numbers.next() >> (64 - bits)).max(1)));
        let flips: Vec<String> =
            masks.iter().map(|mask| format!("{} {mask}", numbers.below(u64::from(TILE * TILE)))).collect();
        let answer = launched(&format!("flips {kind} 9 {} {}\n", flips.len(), flips.join(" "))).remove(0);
        assert_eq!(answer[1], 0);
        let missed = answer[2..].chunks(2).filter(|record| **record == answer[..2]).count();
        assert_eq!((answer.len(), missed), (2 + 2 * flips.len(), 0), "kind {kind}");
    }
}

#[test]
fn chains_are_those_of_the_cpu_in_every_block_and_a_flip_is_where_it_is() {
    for (kind, chain) in Chain::ALL.into_iter().enumerate() {
        let (steps, rounds, blocks) = (75, 3, 2);
        let line = |mask: u64| format!("chains {kind} 99 {steps} {rounds} {blocks} 1 200 {mask}\n");
        let answers = launched(&(line(0) + &line(1 << 63)));
        let results = chain_results(chain, 99, steps);
        let expected: Vec<u64> =
            results.iter().cycle().take(512).map(|result| result.wrapping_mul(rounds)).collect();
        assert_eq!(answers[0], expected, "{chain:?}");
        let wrong: Vec<usize> = (0..512).filter(|at| answers[1][*at] != expected[*at]).collect();
        assert_eq!(wrong, [256 + 200], "{chain:?}");
    }
}

#[test]
fn scattered_reads_and_additions_have_their_closed_forms() {
    let mut numbers = Numbers(5);
    for flipped in [false, true] {
        let (bits, per_block, blocks) = (11, 2_048, 3_u64);
        let mask = (1_u64 << bits) - 1;
        for _ in 0..40 {
            let (seed, first, offset) = (numbers.next(), numbers.next() >> 20, numbers.next());
            let multiplier = numbers.next() | 1;
            let index = first + numbers.below(blocks * per_block);
            let flip = if flipped { 1_u64 << numbers.below(64) } else { 0 };
            let answer = launched(&format!(
                "scattered {bits} {seed} {first} {per_block} {multiplier} {offset} {blocks} {index} {flip}\n"
            ))
            .remove(0);
            for block in 0..blocks {
                let from = first + block * per_block;
                let sum = gathered_sum(from, per_block, multiplier, offset, mask, seed);
                let spoiled = flipped && (index - first) / per_block == block;
                assert_eq!(answer[usize::try_from(block).expect("small")] == sum, !spoiled);
            }
            assert_eq!(answer[3], u64::from(flipped), "bins that are wrong");
        }
    }
}

#[test]
fn a_chase_ends_where_it_must_unless_a_word_on_its_way_is_wrong() {
    let mut numbers = Numbers(6);
    let (bits, blocks, steps) = (10, 3_u64, 1_024);
    let mask = (1_u64 << bits) - 1;
    for case in 0..60 {
        let (multiplier, offset) = (numbers.next() & !3 | 1, numbers.next() | 1);
        let (start, step, flip) = (numbers.next(), numbers.next(), 1_u64 << numbers.below(64));
        // A word that every chase comes to, the end of block 1, or nothing.
        let (spoiled, index) = [(0, numbers.below(mask + 1)), (1, 1), (2, 0)][case % 3];
        let answer = launched(&format!(
            "chase {bits} {multiplier} {offset} {start} {step} {steps} {blocks} {spoiled} {index} {flip}\n"
        ))
        .remove(0);
        for block in 0..blocks {
            let from = start.wrapping_add(block.wrapping_mul(step));
            let end = chase_end(from, steps, multiplier, offset, mask);
            let right = answer[usize::try_from(block).expect("small")] == end;
            assert_eq!(right, spoiled == 2 || (spoiled == 1 && block != 1), "case {case}, block {block}");
        }
    }
}
