//! The frames of a proof of capacity (`docs/proof.md`): the order is first on the stream, then one [`ProveStep`] after the
//! other; reports are among those of [`crate::gpu_work::GpuReport`]. The compute rounds begin with the order.

use serde::{Deserialize, Serialize};

/// Longest challenge, in bytes: twice what one has.
pub const CHALLENGE_BYTES_MAX: usize = 512;

/// One proof on one GPU.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProveOrder {
    /// Its UUID, `GPU-…`, as NVML and CUDA both give it.
    pub gpu_uuid: String,
    /// The verifier's challenge as it came, at most [`CHALLENGE_BYTES_MAX`].
    pub challenge: Vec<u8>,
    /// Whether the smallest set, which shows nothing, may be worked on.
    pub allow_test: bool,
}

/// What the daemon says next, each once and in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ProveStep {
    /// The roots of the tiles were sent: fill the memory.
    Fill,
    /// The memory is full: walk the chains.
    Probe {
        /// The verifier's nonce.
        nonce: [u8; 32],
    },
    /// The root of the chains was sent: open the places that follow.
    Open {
        /// The verifier's nonce.
        nonce: [u8; 32],
    },
}

/// What came of a step. Times are the process' own, for the operator: the verifier has a clock of its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ProveReport {
    /// The compute rounds are done.
    Tiles {
        /// Root of each.
        roots: Vec<[u8; 32]>,
        /// From the order on, in microseconds.
        took_us: u64,
    },
    /// The memory is full.
    Filled {
        /// So much of it, in bytes.
        bytes: u64,
        /// From the step on, in microseconds.
        took_us: u64,
    },
    /// The chains were walked.
    Chains {
        /// Root over their ends.
        root: [u8; 32],
        /// From the step on, in microseconds.
        took_us: u64,
    },
    /// The answer, as it goes to the verifier, at most 128 KiB.
    Opening(Vec<u8>),
}
