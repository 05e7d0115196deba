//! The VRAM proof: elements that are slow to make, and chains of reads that need all of each.

use pulp::{Arch, NullaryFnOnce};

use super::{
    Digest,
    parameters::Parameters,
    stream::{Lanes, WIDE, block, input, permute},
};

/// A state or an element: sixteen words.
pub type Words = [u32; 16];

/// Double rounds of ChaCha20.
const DOUBLES: usize = 10;

/// Elements `indices`: the ChaCha20 input of the fill's key, counter `index` and nonce 0, then the block function
/// `fill_iterations` times, each over what the one before gave.
#[inline(always)]
pub fn elements<const L: usize>(fill: &Digest, iterations: u32, indices: [u64; L]) -> Lanes<L> {
    let mut x = input::<L>(fill, indices, [[0; 2]; L]);
    for _ in 0..iterations {
        block(&mut x, DOUBLES);
    }
    x
}

/// Where a chain reads its elements. A trait and not a closure, which would not be compiled for what its caller is
/// compiled for.
pub trait Memory<const L: usize> {
    /// The elements at these places.
    fn read(&mut self, indices: [u64; L]) -> Lanes<L>;
}

/// Every element is made anew.
struct MadeAnew<'a> {
    fill: &'a Digest,
    iterations: u32,
}

impl<const L: usize> Memory<L> for MadeAnew<'_> {
    #[inline(always)]
    fn read(&mut self, indices: [u64; L]) -> Lanes<L> {
        elements(self.fill, self.iterations, indices)
    }
}

/// Ends of `L` chains in a memory. A chain begins with the ChaCha20 block of the probe's key and counter
/// `chain`. Words 2, 3 of that name its window; words 0, 1 of each state the element in it (high half of the product
/// with the window's length). A step: state ← permutation(state xor element), 20 rounds without the addition.
#[inline(always)]
pub fn walk<const L: usize>(
    probe: &Digest,
    parameters: &Parameters,
    chains: [u64; L],
    memory: &mut impl Memory<L>,
) -> Lanes<L> {
    let mut state = input::<L>(probe, chains, [[0; 2]; L]);
    block(&mut state, DOUBLES);
    let mut bases = [0; L];
    for (lane, base) in bases.iter_mut().enumerate() {
        *base = scaled(state[2][lane], state[3][lane], parameters.windows) * parameters.window_elements;
    }
    for _ in 0..parameters.steps {
        let mut indices = bases;
        for (lane, index) in indices.iter_mut().enumerate() {
            *index += scaled(state[0][lane], state[1][lane], parameters.window_elements);
        }
        let element = memory.read(indices);
        for (word, other) in state.iter_mut().zip(&element) {
            for lane in 0..L {
                word[lane] ^= other[lane];
            }
        }
        permute(&mut state, DOUBLES);
    }
    state
}

/// A number below `bound` from 64 bits; the bias is below `bound` / 2^64.
#[inline(always)]
fn scaled(low: u32, high: u32, bound: u64) -> u64 {
    let value = u64::from(high) << 32 | u64::from(low);
    ((u128::from(value) * u128::from(bound)) >> 64) as u64
}

/// Bytes of one lane, little endian: what a leaf holds.
#[inline(always)]
pub fn end<const L: usize>(state: &Lanes<L>, lane: usize) -> [u8; 64] {
    let mut bytes = [0; 64];
    for (to, word) in bytes.as_chunks_mut::<4>().0.iter_mut().zip(state) {
        *to = word[lane].to_le_bytes();
    }
    bytes
}

/// Ends of chains, with every element made anew, `L` at a time.
#[inline(always)]
pub fn ends<const L: usize>(
    fill: &Digest,
    probe: &Digest,
    parameters: &Parameters,
    chains: &[u64],
) -> Vec<[u8; 64]> {
    let mut memory = MadeAnew { fill, iterations: parameters.fill_iterations };
    let mut ends = Vec::with_capacity(chains.len());
    for group in chains.chunks(L) {
        let mut lanes = [group[0]; L];
        lanes[..group.len()].copy_from_slice(group);
        let state = walk::<L>(probe, parameters, lanes, &mut memory);
        ends.extend((0..group.len()).map(|lane| end(&state, lane)));
    }
    ends
}

/// Ends of chains, one after the other, by plain integers: what the quick way is held against.
pub fn recomputed_plainly(
    fill: &Digest,
    probe: &Digest,
    parameters: &Parameters,
    chains: &[u64],
) -> Vec<[u8; 64]> {
    ends::<1>(fill, probe, parameters, chains)
}

/// Ends of chains, the way that is quick.
pub fn recomputed(fill: &Digest, probe: &Digest, parameters: &Parameters, chains: &[u64]) -> Vec<[u8; 64]> {
    struct Ends<'a>(&'a Digest, &'a Digest, &'a Parameters, &'a [u64]);
    impl NullaryFnOnce for Ends<'_> {
        type Output = Vec<[u8; 64]>;

        #[inline(always)]
        fn call(self) -> Self::Output {
            ends::<WIDE>(self.0, self.1, self.2, self.3)
        }
    }
    Arch::new().dispatch(Ends(fill, probe, parameters, chains))
}
