//! Chains of arithmetic, step by step as the kernels take them.

use super::memory::{COUNTING_STEP, mix64};
use crate::abi::{self, Kernel, THREADS};

/// A kind of chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Chain {
    /// FP32 multiply-adds.
    Fp32,
    /// FP64 multiply-adds.
    Fp64,
    /// 64-bit integer operations.
    Integer,
    /// Shuffles and shared memory.
    Exchange,
}

impl Chain {
    /// Every kind.
    pub const ALL: [Self; 4] = [Self::Fp32, Self::Fp64, Self::Integer, Self::Exchange];

    /// Its kernel.
    #[must_use]
    pub const fn kernel(self) -> Kernel {
        match self {
            Self::Fp32 => abi::ALU_FP32,
            Self::Fp64 => abi::ALU_FP64,
            Self::Integer => abi::ALU_INTEGER,
            Self::Exchange => abi::ALU_EXCHANGE,
        }
    }

    /// Operations of one step of one thread: a multiply-add is two, an integer step four (shift, xor, multiply, add),
    /// an exchange one word through the shuffle and one through shared memory.
    #[must_use]
    pub const fn operations_per_step(self) -> u64 {
        match self {
            Self::Fp32 | Self::Fp64 => 2 * CHAINS as u64,
            Self::Integer => 4 * CHAINS as u64,
            Self::Exchange => 2,
        }
    }
}

/// Chains of a thread.
const CHAINS: usize = 4;

/// What each thread of a block has after one round of `steps` steps.
#[must_use]
pub fn chain_results(chain: Chain, seed: u64, steps: u32) -> Vec<u64> {
    match chain {
        Chain::Fp32 => (0..THREADS).map(|thread| fp32(seed, thread, steps)).collect(),
        Chain::Fp64 => (0..THREADS).map(|thread| fp64(seed, thread, steps)).collect(),
        Chain::Integer => (0..THREADS).map(|thread| integer(seed, thread, steps)).collect(),
        Chain::Exchange => exchange(seed, steps),
    }
}

fn starts(seed: u64, thread: u32) -> [u64; CHAINS] {
    std::array::from_fn(|chain| mix64(seed ^ (u64::from(thread) * CHAINS as u64 + chain as u64)))
}

/// The upper and the lower half of the lower 32 bits.
fn halves(start: u64) -> (u16, u16) {
    let [a, b, c, d, ..] = start.to_le_bytes();
    (u16::from_le_bytes([c, d]), u16::from_le_bytes([a, b]))
}

fn fp32(seed: u64, thread: u32, steps: u32) -> u64 {
    let start = starts(seed, thread).map(halves);
    let mut x = start.map(|(upper, _)| (f32::from(upper) - 32_768.0) / 32_768.0);
    let c = start.map(|(_, lower)| -1.84 - f32::from(lower) * (0.125 / 65_536.0));
    let (mut low, mut high) = (0_u32, 0_u32);
    for _ in 0..steps {
        for (x, c) in x.iter_mut().zip(c) {
            *x = x.mul_add(*x, c);
        }
        low = low.wrapping_add(x[0].to_bits()).wrapping_add(x[1].to_bits());
        high = high.wrapping_add(x[2].to_bits()).wrapping_add(x[3].to_bits());
    }
    u64::from(high) << 32 | u64::from(low)
}

fn fp64(seed: u64, thread: u32, steps: u32) -> u64 {
    let start = starts(seed, thread).map(halves);
    let mut x = start.map(|(upper, _)| (f64::from(upper) - 32_768.0) / 32_768.0);
    let c = start.map(|(_, lower)| -1.84 - f64::from(lower) * (0.125 / 65_536.0));
    let mut result = 0_u64;
    for _ in 0..steps {
        for (x, c) in x.iter_mut().zip(c) {
            *x = x.mul_add(*x, c);
            result = result.wrapping_add(x.to_bits());
        }
    }
    result
}

fn mixed(word: u64) -> u64 {
    (word ^ (word >> 29)).wrapping_mul(COUNTING_STEP)
}

fn integer(seed: u64, thread: u32, steps: u32) -> u64 {
    starts(seed, thread)
        .map(|start| (0..steps).fold(start, |word, step| mixed(word).wrapping_add(u64::from(step))))
        .into_iter()
        .fold(0, u64::wrapping_add)
}

fn exchange(seed: u64, steps: u32) -> Vec<u64> {
    let mut words: Vec<u64> = (0..THREADS).map(|thread| starts(seed, thread)[0]).collect();
    let mut board = words.clone();
    for step in 0..steps as usize {
        let others = words.clone();
        for (thread, word) in words.iter_mut().enumerate() {
            *word = mixed(*word).wrapping_add(others[thread ^ (1 + step % 31)]);
            let shift = step % 8;
            board[(thread << shift | thread >> (8 - shift)) & (THREADS as usize - 1)] = *word;
        }
        for (thread, word) in words.iter_mut().enumerate() {
            let read = board[(thread + 37) & (THREADS as usize - 1)];
            *word = word.wrapping_add(read.wrapping_mul(2));
        }
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chains_stay_finite_and_threads_differ() {
        for chain in Chain::ALL {
            let mut results = chain_results(chain, 11, 1_000);
            results.sort_unstable();
            results.dedup();
            assert_eq!(results.len(), THREADS as usize, "{chain:?}");
        }
        for thread in 0..THREADS {
            let [(upper, lower), ..] = starts(11, thread).map(halves);
            let mut x = (f32::from(upper) - 32_768.0) / 32_768.0;
            let c = -1.84 - f32::from(lower) * (0.125 / 65_536.0);
            for _ in 0..10_000 {
                x = x.mul_add(x, c);
                assert!(x.abs() <= 2.0, "{x}");
            }
        }
    }
}
