//! Scattered memory: sums and ends of walks through i · multiplier + offset modulo a power of two.

use super::memory::{COUNTING_STEP, low_word};

/// The place in the table, or the bin, whose turn is at `i`. `mask` is a power of two less 1.
#[must_use]
pub fn scattered_place(i: u64, multiplier: u64, offset: u64, mask: u64) -> u64 {
    i.wrapping_mul(multiplier).wrapping_add(offset) & mask
}

/// Sum of the counting words (`memory_write` with `seed`) at `count` scattered places, from i = `first` on.
#[must_use]
pub fn gathered_sum(first: u64, count: u64, multiplier: u64, offset: u64, mask: u64, seed: u64) -> u64 {
    let places = places_sum(count, multiplier & mask, scattered_place(first, multiplier, offset, mask), mask);
    places.wrapping_mul(COUNTING_STEP).wrapping_add(seed.wrapping_mul(count))
}

/// Where a chase ends: `steps` times place · multiplier + offset.
#[must_use]
pub fn chase_end(start: u64, steps: u64, multiplier: u64, offset: u64, mask: u64) -> u64 {
    // A step is an affine map; so are two, four, eight of them.
    let (mut of_place, mut added) = (multiplier, offset);
    let (mut end, mut steps) = (start, steps);
    while steps > 0 {
        if steps & 1 == 1 {
            end = end.wrapping_mul(of_place).wrapping_add(added);
        }
        added = added.wrapping_mul(of_place.wrapping_add(1));
        of_place = of_place.wrapping_mul(of_place);
        steps >>= 1;
    }
    end & mask
}

/// Sum over i < `count` of (`step` · i + `start`) modulo `mask` + 1: what is added less what wraps.
fn places_sum(count: u64, step: u64, start: u64, mask: u64) -> u64 {
    let modulus = u128::from(mask) + 1;
    let count = u128::from(count);
    let pairs = count.wrapping_mul(count.wrapping_sub(1)) / 2;
    let unwrapped = u128::from(step).wrapping_mul(pairs).wrapping_add(u128::from(start).wrapping_mul(count));
    let wraps = quotients_sum(count, modulus, u128::from(step), u128::from(start));
    low_word(unwrapped.wrapping_sub(wraps.wrapping_mul(modulus)))
}

/// Sum over i < `count` of ⌊(`step` · i + `start`) / `modulus`⌋, by Euclid's descent.
fn quotients_sum(mut count: u128, mut modulus: u128, mut step: u128, mut start: u128) -> u128 {
    let mut sum = 0_u128;
    while count > 0 {
        sum = sum.wrapping_add((step / modulus).wrapping_mul(count * (count - 1) / 2));
        sum = sum.wrapping_add((start / modulus).wrapping_mul(count));
        (step, start) = (step % modulus, start % modulus);
        // The points below the line, counted from the other axis.
        let top = step * count + start;
        (count, start, modulus, step) = (top / modulus, top % modulus, step, modulus);
    }
    sum
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::memory::counting_word;
    use super::*;

    proptest! {
        #[test]
        fn a_gathered_sum_is_that_of_the_words(
            first: u64, count in 0_u64..3_000, multiplier: u64, offset: u64, bits in 1_u32..40, seed: u64,
        ) {
            let (multiplier, mask) = (multiplier | 1, (1 << bits) - 1);
            let sum = (0..count).fold(0_u64, |sum, i| {
                let place = scattered_place(first.wrapping_add(i), multiplier, offset, mask);
                sum.wrapping_add(counting_word(place, seed))
            });
            prop_assert_eq!(gathered_sum(first, count, multiplier, offset, mask, seed), sum);
        }

        #[test]
        fn a_chase_ends_where_single_steps_lead(
            start: u64, steps in 0_u64..2_000, multiplier: u64, offset: u64, bits in 1_u32..40,
        ) {
            let mask = (1 << bits) - 1;
            let end = (0..steps).fold(start & mask, |place, _| scattered_place(place, multiplier, offset, mask));
            prop_assert_eq!(chase_end(start, steps, multiplier, offset, mask), end);
        }
    }

    #[test]
    fn a_chase_goes_through_every_word() {
        let mut seen = vec![false; 1 << 12];
        for steps in 0..1 << 12 {
            let end = chase_end(5, steps, 0x9e37_79b9, 0x1234_5677, (1 << 12) - 1);
            seen[usize::try_from(end).expect("small")] = true;
        }
        assert!(seen.iter().all(|seen| *seen));
    }
}
