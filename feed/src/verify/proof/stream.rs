//! ChaCha (D. J. Bernstein) on several independent blocks at once: the compiler turns lanes into vector instructions,
//! and one lane is the scalar form. Words are little endian; the counter has 64 bits (words 12, 13), the nonce 64.

/// Words of a block, each for `L` blocks.
pub type Lanes<const L: usize> = [[u32; L]; 16];

/// Blocks computed side by side where speed counts.
pub const WIDE: usize = 8;

/// "expand 32-byte k", as the cipher has it.
const CONSTANT: [u32; 4] = [0x6170_7865, 0x3320_646e, 0x7962_2d32, 0x6b20_6574];

#[inline(always)]
fn mix<const L: usize>(x: &mut Lanes<L>, sum: usize, term: usize, turned: usize, by: u32) {
    // Plain loops, since closures are not compiled for what the caller is compiled for.
    let (mut added, mut mixed) = ([0; L], [0; L]);
    for lane in 0..L {
        added[lane] = x[sum][lane].wrapping_add(x[term][lane]);
        mixed[lane] = (x[turned][lane] ^ added[lane]).rotate_left(by);
    }
    x[sum] = added;
    x[turned] = mixed;
}

#[inline(always)]
fn quarter<const L: usize>(x: &mut Lanes<L>, a: usize, b: usize, c: usize, d: usize) {
    mix(x, a, b, d, 16);
    mix(x, c, d, b, 12);
    mix(x, a, b, d, 8);
    mix(x, c, d, b, 7);
}

/// `doubles` double rounds without the addition at the end: a permutation of 512 bits.
#[inline(always)]
pub fn permute<const L: usize>(x: &mut Lanes<L>, doubles: usize) {
    for _ in 0..doubles {
        quarter(x, 0, 4, 8, 12);
        quarter(x, 1, 5, 9, 13);
        quarter(x, 2, 6, 10, 14);
        quarter(x, 3, 7, 11, 15);
        quarter(x, 0, 5, 10, 15);
        quarter(x, 1, 6, 11, 12);
        quarter(x, 2, 7, 8, 13);
        quarter(x, 3, 4, 9, 14);
    }
}

/// The block function: permutation, and its input added.
#[inline(always)]
pub fn block<const L: usize>(x: &mut Lanes<L>, doubles: usize) {
    let input = *x;
    permute(x, doubles);
    for (word, before) in x.iter_mut().zip(&input) {
        for lane in 0..L {
            word[lane] = word[lane].wrapping_add(before[lane]);
        }
    }
}

/// The input of the block function for each lane's counter and nonce.
#[inline(always)]
pub fn input<const L: usize>(key: &[u8; 32], counters: [u64; L], nonces: [[u32; 2]; L]) -> Lanes<L> {
    let mut x = [[0; L]; 16];
    for (at, word) in CONSTANT.into_iter().enumerate() {
        x[at] = [word; L];
    }
    for (at, bytes) in key.as_chunks::<4>().0.iter().enumerate() {
        x[4 + at] = [u32::from_le_bytes(*bytes); L];
    }
    for lane in 0..L {
        x[12][lane] = counters[lane] as u32;
        x[13][lane] = (counters[lane] >> 32) as u32;
        x[14][lane] = nonces[lane][0];
        x[15][lane] = nonces[lane][1];
    }
    x
}

#[cfg(test)]
mod tests {
    use super::*;

    /// ChaCha20, key 0, nonce 0, block 0: the published key stream begins with these words.
    #[test]
    fn the_first_block_is_the_published_one() {
        let mut x = input::<1>(&[0; 32], [0], [[0; 2]]);
        block(&mut x, 10);
        assert_eq!([x[0][0], x[1][0]], [0xade0_b876, 0x903d_f1a0]);
    }
}
