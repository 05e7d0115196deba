//! Named sizes of the game. A wire carries a name and a card's memory, never free numbers.

use serde::{Deserialize, Serialize};

/// A set of parameters. New ones are appended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Set {
    /// `proof-light`: a sixteenth of the memory, for cards that are leased.
    Light,
    /// `proof-standard`: the whole card, 32 tiles and 16 chains opened.
    Standard,
    /// `proof-full`: the whole card, 64 tiles and 64 chains opened.
    Full,
    /// `proof-test`: for tests; shows nothing, and the judge refuses it unless told that this is a test.
    Test,
}

impl Set {
    /// Stable name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Light => "proof-light",
            Self::Standard => "proof-standard",
            Self::Full => "proof-full",
            Self::Test => "proof-test",
        }
    }

    /// What the set means on a card of this much memory (bytes); `None` outside 16 GiB to 1 TiB, tests apart.
    pub fn on(self, memory_bytes: u64) -> Option<Parameters> {
        if self == Self::Test {
            return Some(TEST);
        }
        if !(16 << 30..=1 << 40).contains(&memory_bytes) {
            return None;
        }
        let usable = (memory_bytes - RESERVE_BYTES) / 100 * 92 / ELEMENT_BYTES;
        let light = self == Self::Light;
        let wanted = if light { usable / 16 } else { usable };
        let windows = wanted.div_ceil(WINDOW_ELEMENTS);
        let window_elements = wanted / windows;
        let full = self == Self::Full;
        Some(Parameters {
            side_tiles: if light { 512 } else { 5_120 },
            depth: 8_192,
            rounds: if light { 1 } else { 4 },
            open_tiles: if full { 64 } else { 32 },
            windows,
            window_elements,
            chains: 1 << (windows * window_elements / 16).ilog2(),
            steps: 320,
            fill_iterations: 32,
            open_chains: if full { 64 } else { 16 },
        })
    }
}

/// Bytes of an element of the memory: one ChaCha block.
pub const ELEMENT_BYTES: u64 = 64;
/// 32 GiB: beyond 64 GB for each group of multiprocessors A100-class parts lose random reads (arXiv 2405.11425).
const WINDOW_ELEMENTS: u64 = (32 << 30) / ELEMENT_BYTES;
/// What confidential computing mode holds back (seen as 1.8 GB), whether it is on or not.
const RESERVE_BYTES: u64 = 2 << 30;

const TEST: Parameters = Parameters {
    side_tiles: 8,
    depth: 512,
    rounds: 2,
    open_tiles: 32,
    windows: 3,
    window_elements: 683,
    chains: 256,
    steps: 320,
    fill_iterations: 2,
    open_chains: 16,
};

/// The numbers behind a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parameters {
    /// Tiles along each side of the product; a tile is 32 × 32.
    pub side_tiles: u64,
    /// Terms of each sum, a multiple of 512.
    pub depth: u64,
    /// Products one after another.
    pub rounds: u32,
    /// Tiles opened, over all rounds.
    pub open_tiles: usize,
    /// Windows that tile the memory.
    pub windows: u64,
    /// Elements of 64 bytes in each.
    pub window_elements: u64,
    /// Chains of reads: a sixteenth of the elements, down to a power of two (2^26 on 80 GB).
    pub chains: u64,
    /// Reads of a chain.
    pub steps: u32,
    /// ChaCha20 blocks behind each element.
    pub fill_iterations: u32,
    /// Chains opened.
    pub open_chains: usize,
}

impl Parameters {
    /// Tiles of one round.
    pub const fn tiles(&self) -> u64 {
        self.side_tiles * self.side_tiles
    }

    /// Bytes of memory that the fill holds.
    pub const fn memory_bytes(&self) -> u64 {
        self.windows * self.window_elements * ELEMENT_BYTES
    }
}
