//! Chains of arithmetic on every lane of every multiprocessor, bit for bit.

use std::collections::VecDeque;

use rackmark_model::gpu_work::{FigureKind, FigurePart, Place};

use super::cuda::{CudaError, Function, Gpu};
use super::memory_traffic::block_records;
use super::meter::Work;
use super::modules::Modules;
use super::test::{Judged, Slot, Test, Wrong, scaled, words};
use crate::abi::{self, Alu, BlockRecord, THREADS};
use crate::golden::{Chain, chain_results};

/// Steps of a round: what the CPU has to compute once for each kind.
const STEPS: u32 = 128;
const FLIP_THREAD: u32 = 37;
const FLIP_MASK: u64 = 1 << 33;

/// One kind of chain, and what it must answer.
struct Kind {
    chain: Chain,
    function: Function,
    /// Of one round, for each thread of a block.
    golden: Vec<u64>,
    rounds: u32,
}

/// A launch that was queued.
struct Queued {
    kind: usize,
    rounds: u32,
}

pub struct Chains {
    kinds: Vec<Kind>,
    seed: u64,
    blocks: u32,
    queued: VecDeque<Queued>,
    /// The kind whose launch was judged last.
    judged: usize,
}

impl Chains {
    /// None where no kernel of it runs on this GPU.
    ///
    /// # Errors
    /// [`CudaError`].
    pub fn new(gpu: &Gpu, modules: &mut Modules<'_>, seed: u64) -> Result<Option<Self>, CudaError> {
        let mut kinds = Vec::new();
        for chain in Chain::ALL {
            let Some(function) = modules.kernel(chain.kernel())? else { return Ok(None) };
            kinds.push(Kind { chain, function, golden: chain_results(chain, seed, STEPS), rounds: 1 });
        }
        let blocks = gpu.blocks(abi::ALU_FP32, 0);
        Ok(Some(Self { kinds, seed, blocks, queued: VecDeque::new(), judged: 0 }))
    }

    fn block_bytes(&self) -> u64 {
        size_of::<BlockRecord>() as u64 * u64::from(self.blocks)
    }
}

impl Test for Chains {
    fn record_bytes(&self) -> u64 {
        self.block_bytes() + 8 * u64::from(self.blocks) * u64::from(THREADS)
    }

    fn memory_bytes(&self) -> u64 {
        0
    }

    fn self_tests(&self) -> u64 {
        self.kinds.len() as u64
    }

    fn launch(&mut self, gpu: &Gpu, slot: &Slot, number: u64, flip: bool) -> Result<Work, CudaError> {
        let at = usize::try_from(number).unwrap_or(usize::MAX) % self.kinds.len();
        let kind = &self.kinds[at];
        let parameter = Alu {
            sums: slot.record.at + self.block_bytes(),
            blocks: slot.record.at,
            seed: self.seed,
            flip_mask: if flip { FLIP_MASK } else { 0 },
            flip_block: self.blocks - 1,
            flip_thread: FLIP_THREAD,
            steps: STEPS,
            rounds: kind.rounds,
        };
        gpu.set(slot.begin)?;
        gpu.launch(kind.function, self.blocks, &parameter)?;
        gpu.set(slot.end)?;
        self.queued.push_back(Queued { kind: at, rounds: kind.rounds });
        let threads = u64::from(self.blocks) * u64::from(THREADS);
        let steps = u64::from(STEPS) * u64::from(kind.rounds);
        let part = match kind.chain {
            Chain::Fp32 => FigurePart::Fp32,
            Chain::Fp64 => FigurePart::Fp64,
            Chain::Integer => FigurePart::Integer,
            Chain::Exchange => FigurePart::Whole,
        };
        let amount = threads * steps * kind.chain.operations_per_step();
        Ok(Work { part, kind: FigureKind::GigaOperationsPerSecond, amount })
    }

    fn judge(&mut self, number: u64, record: &[u8]) -> Judged {
        let mut judged = Judged::default();
        let Some(queued) = self.queued.pop_front() else { return judged };
        self.judged = queued.kind;
        let block_bytes = usize::try_from(self.block_bytes()).unwrap_or(usize::MAX);
        let Some((blocks, sums)) = record.split_at_checked(block_bytes) else { return judged };
        let blocks: Vec<BlockRecord> = block_records(blocks).collect();
        // A launch that did nothing at all is no work; a block that did not run has wrong sums.
        judged.verified = blocks.iter().any(|block| block.threads > 0);
        if !judged.verified {
            return judged;
        }
        let golden = &self.kinds[queued.kind].golden;
        let places = (0..self.blocks).flat_map(|block| (0..THREADS).map(move |thread| (block, thread)));
        for ((block, thread), sum) in places.zip(words(sums)) {
            let expected = golden[thread as usize].wrapping_mul(u64::from(queued.rounds));
            if sum != expected {
                judged.wrong(Wrong {
                    pass: number,
                    sm: blocks.get(block as usize).map(|block| block.sm),
                    place: Place::Chain { block, thread },
                    rose: sum & !expected,
                    fell: expected & !sum,
                });
            }
        }
        judged
    }

    fn is_spoiled(&self, wrong: &Wrong) -> bool {
        let place = Place::Chain { block: self.blocks - 1, thread: FLIP_THREAD };
        wrong.place == place
    }

    fn scale(&mut self, permille: u64) {
        let kind = &mut self.kinds[self.judged];
        let rounds = scaled(u64::from(kind.rounds), permille).min(1 << 24);
        // Odd, so that a fault of every round cannot cancel.
        kind.rounds = u32::try_from(rounds).unwrap_or(1) | 1;
    }
}
