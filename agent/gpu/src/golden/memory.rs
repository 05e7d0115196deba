//! Words of memory: closed forms.

use crate::abi::THREADS;

/// Step from one counting word to the next: 2^64 divided by the golden ratio, made odd.
pub const COUNTING_STEP: u64 = 0x9e37_79b9_7f4a_7c15;

/// A bijection of 64-bit words in which every input bit reaches every output bit (the finaliser of SplitMix64:
/// Steele, Lea, Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014).
#[must_use]
pub fn mix64(word: u64) -> u64 {
    let word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

/// Word `index` of the memory pattern.
#[must_use]
pub fn pattern_word(index: u64, seed: u64, inverted: bool) -> u64 {
    let word = mix64(index ^ seed);
    if inverted { !word } else { word }
}

/// Word `index` of what `memory_write` leaves.
#[must_use]
pub fn counting_word(index: u64, seed: u64) -> u64 {
    index.wrapping_mul(COUNTING_STEP).wrapping_add(seed)
}

/// Sum of the counting words that `block` of `blocks` reads in `memory_read`, of `pair_count` pairs from word
/// `first_index` on.
#[must_use]
pub fn counting_sum(pair_count: u64, first_index: u64, seed: u64, blocks: u32, block: u32) -> u64 {
    let width = u64::from(THREADS);
    let stride = u64::from(blocks.max(1)) * width;
    let start = u64::from(block) * width;
    // Rows of a block's width that are full, and what is left of the last one.
    let full = (pair_count + stride).saturating_sub(start + width) / stride;
    let rest = pair_count.saturating_sub(start + full * stride).min(width);
    let rows = run(start, width, stride, full);
    let last = run(start + full * stride, rest, stride, 1);
    let (pairs, places) = (rows.0 + last.0, rows.1.wrapping_add(last.1));
    // Pair p holds words 2p and 2p + 1 beyond the first.
    let words = 2 * pairs;
    let indices = places.wrapping_mul(4).wrapping_add(pairs).wrapping_add(first_index.wrapping_mul(words));
    indices.wrapping_mul(COUNTING_STEP).wrapping_add(seed.wrapping_mul(words))
}

/// Pairs in `rows` rows of `width` from `start` on, `stride` apart: how many, and the sum of their places.
fn run(start: u64, width: u64, stride: u64, rows: u64) -> (u64, u64) {
    let pairs = width * rows;
    let sum = u128::from(pairs) * u128::from(start)
        + u128::from(rows) * triangle(width)
        + u128::from(width) * u128::from(stride) * triangle(rows);
    (pairs, low_word(sum))
}

/// 0 + 1 + … + (`count` - 1).
fn triangle(count: u64) -> u128 {
    u128::from(count) * u128::from(count.saturating_sub(1)) / 2
}

/// The value modulo 2^64.
#[expect(clippy::cast_possible_truncation, reason = "sums are compared modulo 2^64")]
pub(super) fn low_word(value: u128) -> u64 {
    value as u64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_sum_of_a_block_is_that_of_the_words_it_reads(
            pair_count in 0_u64..20_000, first_index: u64, seed: u64, blocks in 1_u32..9, block in 0_u32..9,
        ) {
            prop_assume!(block < blocks);
            let width = u64::from(THREADS);
            let sum = (0..pair_count)
                .filter(|pair| pair / width % u64::from(blocks) == u64::from(block))
                .flat_map(|pair| [2 * pair, 2 * pair + 1])
                .fold(0_u64, |sum, word| {
                    sum.wrapping_add(counting_word(first_index.wrapping_add(word), seed))
                });
            prop_assert_eq!(counting_sum(pair_count, first_index, seed, blocks, block), sum);
        }
    }

    #[test]
    fn the_pattern_is_a_bijection_on_what_can_be_tried() {
        let mut words: Vec<u64> = (0..100_000).map(|index| pattern_word(index, 7, false)).collect();
        words.sort_unstable();
        words.dedup();
        assert_eq!(words.len(), 100_000);
        assert_eq!(pattern_word(3, 7, true), !pattern_word(3, 7, false));
    }
}
