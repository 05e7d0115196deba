//! The compute proof: operands from a key, sums of exact integers, tiles folded into 256 bits.
//!
//! Layout of operands: row i of A and column j of B are ChaCha8 streams (4 double rounds) under the round's seed, nonce words
//! (i, 0) and (j, 1), block counter from 0. Nine blocks give 512 entries: blocks 0 to 7 are the low eight bits of
//! entries 0 to 511 in the order of bytes; bit b of byte n of block 8 is bit 8 of entry 8n + b. The entry is these nine
//! bits less 256: each value of [-256, 255] has one pattern, so none is likelier than another.
//!
//! A sum of 8,192 products is below 2^29 in magnitude, so `i32` is exact always. In FP32 it is exact below 2^24: 8.5 standard
//! deviations of about 2.0e6.

use pulp::{Arch, NullaryFnOnce};

use super::{
    Digest,
    parameters::Parameters,
    stream::{Lanes, WIDE, block, input},
};

/// Rows and columns of a tile.
pub const TILE: usize = 32;
/// Entries that nine blocks give.
const PIECE: usize = 512;

type Operand = [[i16; PIECE]; TILE];

/// Sums of a tile, `[row][column]`.
pub type Tile = [[i32; TILE]; TILE];

#[inline(always)]
fn bytes<const L: usize>(x: &Lanes<L>, lane: usize) -> [u8; 64] {
    let mut bytes = [0; 64];
    for (to, word) in bytes.as_chunks_mut::<4>().0.iter_mut().zip(x) {
        *to = word[lane].to_le_bytes();
    }
    bytes
}

/// Entries `512 × piece` and on of the 32 rows (`side` 0) or columns (`side` 1) from `first`.
#[inline(always)]
fn expand<const L: usize>(seed: &Digest, side: u32, first: u32, piece: u64, out: &mut Operand) {
    for group in (0..TILE).step_by(L) {
        let mut nonces = [[0, side]; L];
        for (lane, nonce) in nonces.iter_mut().enumerate() {
            nonce[0] = first + (group + lane) as u32;
        }
        let mut blocks = [[[0; L]; 16]; 9];
        for (at, x) in blocks.iter_mut().enumerate() {
            *x = input::<L>(seed, [piece * 9 + at as u64; L], nonces);
            block(x, 4);
        }
        for lane in 0..L {
            let high = bytes(&blocks[8], lane);
            for (at, x) in blocks[..8].iter().enumerate() {
                for (n, byte) in bytes(x, lane).into_iter().enumerate() {
                    let entry = at * 64 + n;
                    let top = i16::from(high[entry / 8] >> (entry % 8) & 1);
                    out[group + lane][entry] = (i16::from(byte) | top << 8) - 256;
                }
            }
        }
    }
}

#[inline(always)]
fn dot(row: &[i16; PIECE], column: &[i16; PIECE]) -> i32 {
    let mut sum = 0;
    for (a, b) in row.iter().zip(column) {
        sum += i32::from(*a) * i32::from(*b);
    }
    sum
}

/// Tile `index` (row of tiles × tiles of a side + column) with `L` streams side by side; `L` divides 32.
#[inline(always)]
pub fn tile<const L: usize>(seed: &Digest, parameters: &Parameters, index: u64) -> Tile {
    let first = |at: u64| at as u32 * TILE as u32;
    let (row, column) = (first(index / parameters.side_tiles), first(index % parameters.side_tiles));
    let mut sums = [[0; TILE]; TILE];
    let mut rows = [[0; PIECE]; TILE];
    let mut columns = [[0; PIECE]; TILE];
    for piece in 0..parameters.depth / PIECE as u64 {
        expand::<L>(seed, 0, row, piece, &mut rows);
        expand::<L>(seed, 1, column, piece, &mut columns);
        for (sums, row) in sums.iter_mut().zip(&rows) {
            for (sum, column) in sums.iter_mut().zip(&columns) {
                *sum += dot(row, column);
            }
        }
    }
    sums
}

/// The fold: word w takes columns w, w + 8, w + 16, w + 24 of each row in this order, s ← rotl(s + c, 7) xor s; after each
/// row every word adds its right neighbour, turned by 13. Additions and xors do not commute: the fold of a sum of tiles is
/// not the sum of their folds.
#[inline(always)]
pub fn fold(tile: &Tile) -> [u8; 32] {
    let mut words: [u32; 8] = std::array::from_fn(|at| at as u32 + 1);
    for row in tile {
        for columns in row.as_chunks::<8>().0 {
            for (word, sum) in words.iter_mut().zip(columns) {
                *word ^= word.wrapping_add(sum.cast_unsigned()).rotate_left(7);
            }
        }
        let before = words;
        for (at, word) in words.iter_mut().enumerate() {
            *word = word.wrapping_add(before[(at + 1) % 8].rotate_left(13));
        }
    }
    let mut bytes = [0; 32];
    for (to, word) in bytes.as_chunks_mut::<4>().0.iter_mut().zip(words) {
        *to = word.to_le_bytes();
    }
    bytes
}

/// Fold of a tile, one stream after the other, by plain integers: what the quick way is held against.
pub fn folded_plainly(seed: &Digest, parameters: &Parameters, index: u64) -> [u8; 32] {
    fold(&tile::<1>(seed, parameters, index))
}

/// Fold of a tile, the way that is quick.
pub fn folded(seed: &Digest, parameters: &Parameters, index: u64) -> [u8; 32] {
    struct Folded<'a>(&'a Digest, &'a Parameters, u64);
    impl NullaryFnOnce for Folded<'_> {
        type Output = [u8; 32];

        #[inline(always)]
        fn call(self) -> [u8; 32] {
            fold(&tile::<WIDE>(self.0, self.1, self.2))
        }
    }
    Arch::new().dispatch(Folded(seed, parameters, index))
}
