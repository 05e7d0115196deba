//! The right answer of a matrix product, without making the product.
//!
//! A tile answers with Σ (c + [`BIAS`]) · u(row) · v(column) modulo 2^64. Because c = Σ a · b, that is
//! `BIAS` · Σu · Σv + Σ_k (Σ_row u · a) · (Σ_column v · b): one pass over the operands gives the weighted rows of every
//! tile row and the weighted columns of every tile column, and a tile is one dot product of those (Freivalds, "Fast
//! probabilistic algorithms", 1979, with weights that everyone knows). 8192 × 8192 × 2048 takes 33.6 million operands
//! and 8.4 million products instead of 137 thousand million.

use std::fmt;

use super::memory::mix64;
use crate::abi::TILE;

/// Most columns of A: up to here the norm bound of [`Product::new`] holds for operands in [-127, 127].
pub const DEPTH_MAX: u32 = 2_048;

/// What is added to every element, so that the bits of c + 1.5 · 2^23 in FP32 are `BIAS` + c.
const BIAS: u64 = 0x4b40_0000;

/// FP32 holds every integer below.
const EXACT_BELOW: u64 = 1 << 24;

/// Which integers operands are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OperandRange {
    /// In [-127, 127]: BF16, FP16, TF32, INT8 and FP64 hold them exactly.
    Wide,
    /// In [-8, 8]: FP8 e4m3 holds them exactly, and 128 products of two add up to at most 2^13, which is what Hopper's
    /// FP8 accumulator is known to keep.
    Narrow,
}

/// Element `index` (row · depth + column) of an operand.
#[must_use]
pub fn operand(index: u64, seed: u64, range: OperandRange) -> i32 {
    let values = match range {
        OperandRange::Wide => 255,
        OperandRange::Narrow => 17,
    };
    let value = ((mix64(index ^ seed) >> 32) * values) >> 32;
    i32::try_from(value).unwrap_or_default() - i32::try_from(values / 2).unwrap_or_default()
}

/// Weight of a row within its tile; odd.
#[must_use]
pub fn row_weight(row: u32) -> u32 {
    weight(row + 1)
}

/// Weight of a column within its tile; odd.
#[must_use]
pub fn column_weight(column: u32) -> u32 {
    weight(column + 1 + TILE)
}

/// The finaliser of MurmurHash3, made odd.
fn weight(position: u32) -> u32 {
    let x = position.wrapping_mul(0x9e37_79b1);
    let x = (x ^ (x >> 16)).wrapping_mul(0x85eb_ca6b);
    let x = (x ^ (x >> 13)).wrapping_mul(0xc2b2_ae35);
    (x ^ (x >> 16)) | 1
}

/// What element c adds to its tile's sum, before its weights.
#[must_use]
pub fn encoded(c: i64) -> u64 {
    c.cast_unsigned().wrapping_add(BIAS)
}

/// A product: C = A · Bᵀ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Problem {
    /// Rows of A and C; a multiple of [`TILE`].
    pub rows: u32,
    /// Rows of B, columns of C; a multiple of [`TILE`].
    pub columns: u32,
    /// Columns of A and B, at most [`DEPTH_MAX`].
    pub depth: u32,
    /// What A grows from.
    pub seed_a: u64,
    /// What B grows from.
    pub seed_b: u64,
    /// Which integers.
    pub range: OperandRange,
}

/// Partial sums of this problem may not be exact in FP32.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooLarge {
    /// Largest square of the norm of a row of A.
    pub square_a: u64,
    /// Largest square of the norm of a row of B.
    pub square_b: u64,
}

impl fmt::Display for TooLarge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (a, b) = (self.square_a, self.square_b);
        write!(f, "operands with rows of squared norms {a} and {b} have partial sums that FP32 may round")
    }
}

impl std::error::Error for TooLarge {}

/// The right answer of every tile of a [`Problem`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Product {
    sums: Vec<u64>,
}

impl Product {
    /// Passes over the operands.
    ///
    /// # Errors
    ///
    /// When a partial sum, in whatever order, could leave what FP32 holds exactly. By Cauchy and Schwarz none exceeds
    /// the largest norm of a row of A times that of a row of B.
    ///
    /// That |c| < 2^22, which the encoding needs, follows for FP8 from 2048 · 64. For the others a c beyond it is 17
    /// standard deviations out (√2048 · 5419 ≈ 245,000 each): it would be a false alarm, never a fault that is missed.
    pub fn new(problem: &Problem) -> Result<Self, TooLarge> {
        let Problem { rows, columns, depth, seed_a, seed_b, range } = *problem;
        let a = Weighted::new(rows, depth, seed_a, range, row_weight);
        let b = Weighted::new(columns, depth, seed_b, range, column_weight);
        if u128::from(a.square) * u128::from(b.square) >= u128::from(EXACT_BELOW * EXACT_BELOW) {
            return Err(TooLarge { square_a: a.square, square_b: b.square });
        }
        let total = |weight: fn(u32) -> u32| (0..TILE).map(|at| u64::from(weight(at))).sum::<u64>();
        let bias = BIAS.wrapping_mul(total(row_weight)).wrapping_mul(total(column_weight));
        let depth = depth as usize;
        let mut sums = Vec::with_capacity(a.vectors.len() / depth * (b.vectors.len() / depth));
        for of_a in a.vectors.chunks_exact(depth) {
            for of_b in b.vectors.chunks_exact(depth) {
                let products = of_a.iter().zip(of_b).map(|(a, b)| a.wrapping_mul(*b));
                sums.push(products.fold(bias, u64::wrapping_add));
            }
        }
        Ok(Self { sums })
    }

    /// Sum of one pass over a tile, by its index row by row. Several passes add up.
    #[must_use]
    pub fn tile_sum(&self, tile: usize) -> Option<u64> {
        self.sums.get(tile).copied()
    }

    /// Sums of one pass of every tile, row by row.
    #[must_use]
    pub fn tile_sums(&self) -> &[u64] {
        &self.sums
    }
}

/// An operand, its rows weighted and added up within each tile.
struct Weighted {
    /// `depth` words for each tile.
    vectors: Vec<u64>,
    /// Largest square of the norm of a row.
    square: u64,
}

impl Weighted {
    fn new(rows: u32, depth: u32, seed: u64, range: OperandRange, weight: fn(u32) -> u32) -> Self {
        let (mut vectors, mut square) = (Vec::new(), 0);
        let mut index = 0_u64;
        for row in 0..rows {
            if row % TILE == 0 {
                vectors.resize(vectors.len() + depth as usize, 0_u64);
            }
            let weight = u64::from(weight(row % TILE));
            let first = vectors.len() - depth as usize;
            let mut of_row = 0;
            for word in &mut vectors[first..] {
                let value = i64::from(operand(index, seed, range));
                *word = word.wrapping_add(value.cast_unsigned().wrapping_mul(weight));
                of_row += (value * value).cast_unsigned();
                index += 1;
            }
            square = square.max(of_row);
        }
        Self { vectors, square }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn plain(problem: &Problem, tile_row: u32, tile_column: u32) -> (u64, i64) {
        let depth = u64::from(problem.depth);
        let element = |row: u32, seed, k| i64::from(operand(u64::from(row) * depth + k, seed, problem.range));
        let (mut sum, mut largest) = (0_u64, 0);
        for row in 0..TILE {
            for column in 0..TILE {
                let (a, b) = (tile_row * TILE + row, tile_column * TILE + column);
                let c: i64 =
                    (0..depth).map(|k| element(a, problem.seed_a, k) * element(b, problem.seed_b, k)).sum();
                largest = c.abs().max(largest);
                let weight = u64::from(row_weight(row)).wrapping_mul(u64::from(column_weight(column)));
                sum = sum.wrapping_add(encoded(c).wrapping_mul(weight));
            }
        }
        (sum, largest)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(12))]
        #[test]
        fn a_tile_sum_is_that_of_the_plain_product(
            seed_a: u64, seed_b: u64, depth in 1_u32..160, rows in 1_u32..3, columns in 1_u32..3, narrow: bool,
        ) {
            let range = if narrow { OperandRange::Narrow } else { OperandRange::Wide };
            let problem = Problem { rows: rows * TILE, columns: columns * TILE, depth, seed_a, seed_b, range };
            let product = Product::new(&problem).expect("exact");
            let tile = (rows - 1) * columns + (columns - 1);
            let (sum, largest) = plain(&problem, rows - 1, columns - 1);
            prop_assert_eq!(product.tile_sum(tile as usize), Some(sum));
            prop_assert_eq!(product.tile_sums().len(), (rows * columns) as usize);
            prop_assert!(largest < 1 << 22);
        }
    }

    #[test]
    fn depths_beyond_the_largest_are_refused_and_the_largest_is_not() {
        let problem = |depth| Problem {
            rows: 8_192,
            columns: TILE,
            depth,
            seed_a: 1,
            seed_b: 2,
            range: OperandRange::Wide,
        };
        assert!(Product::new(&problem(DEPTH_MAX)).is_ok());
        assert!(Product::new(&problem(2 * DEPTH_MAX)).is_err());
    }

    #[test]
    fn operands_fill_their_range_and_no_more() {
        for (range, most) in [(OperandRange::Wide, 127), (OperandRange::Narrow, 8)] {
            let values: Vec<i32> = (0..100_000).map(|index| operand(index, 3, range)).collect();
            assert_eq!(values.iter().max(), Some(&most));
            assert_eq!(values.iter().min(), Some(&-most));
        }
    }

    #[test]
    fn weights_are_odd_and_differ() {
        let mut weights: Vec<u32> = (0..TILE).flat_map(|at| [row_weight(at), column_weight(at)]).collect();
        assert!(weights.iter().all(|weight| weight % 2 == 1));
        weights.sort_unstable();
        weights.dedup();
        assert_eq!(weights.len(), 2 * TILE as usize);
    }
}
