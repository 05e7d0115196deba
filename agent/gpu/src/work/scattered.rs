//! Scattered memory: gathered reads, atomic additions, and chases from word to word.

use std::collections::VecDeque;

use rackmark_model::gpu_work::{FigureKind, FigurePart, Place};

use super::cuda::{CudaError, Function, Gpu, Stretch};
use super::memory_traffic::block_records;
use super::meter::Work;
use super::modules::Modules;
use super::test::{Judged, Slot, Test, Wrong, scaled, words};
use crate::abi::{self, Atomic, BlockRecord, Chase, Gather, MemoryTraffic, THREADS};
use crate::golden::{chase_end, gathered_sum, mix64, scattered_place};

/// Largest table, in words: 8 GiB, far beyond every level-2 cache.
const TABLE_WORDS_MAX: u64 = 1 << 30;
/// Bins of the additions: they stay in the level-2 cache, where atomic units are.
const BINS: u64 = 1 << 18;
/// Reads of a block of the first launch; every number of them is a multiple of this.
const GATHER_UNIT: u64 = 4 * THREADS as u64;
const CHASE_STEPS: u64 = 512;
const FLIP_MASK: u64 = 1 << 11;
const BLOCK_BYTES: u64 = size_of::<BlockRecord>() as u64;

/// What a launch did.
#[derive(Debug, Clone, Copy)]
enum Queued {
    Gather { first: u64, per_block: u64 },
    Atomic { first: u64, per_block: u64 },
    Chase { steps: u64 },
}

pub struct Scattered {
    gather: Function,
    atomic: Function,
    chase: Function,
    chase_fill: Function,
    write: Function,
    /// Counting words.
    table: Stretch,
    /// One cycle through all of its words.
    cycle: Stretch,
    mask: u64,
    seed: u64,
    multiplier: u64,
    offset: u64,
    gather_blocks: u32,
    atomic_blocks: u32,
    chase_blocks: u32,
    gather_units: u64,
    atomic_units: u64,
    chase_units: u64,
    filled: bool,
    queued: VecDeque<Queued>,
    judged: Option<Queued>,
}

impl Scattered {
    /// None where no kernel of it runs on this GPU.
    ///
    /// # Errors
    /// [`CudaError`].
    pub fn new(
        gpu: &Gpu,
        modules: &mut Modules<'_>,
        memory: Stretch,
        seed: u64,
    ) -> Result<Option<Self>, CudaError> {
        let (Some(gather), Some(atomic), Some(chase), Some(chase_fill), Some(write)) = (
            modules.kernel(abi::GATHER)?,
            modules.kernel(abi::ATOMIC_ADD)?,
            modules.kernel(abi::CHASE)?,
            modules.kernel(abi::CHASE_FILL)?,
            modules.kernel(abi::MEMORY_WRITE)?,
        ) else {
            return Ok(None);
        };
        // The largest power of two of which two tables fit, with what splitting rounds up.
        let fitting = (memory.bytes / 2).saturating_sub(512) / 8;
        let Some(power) = fitting.checked_ilog2() else { return Ok(None) };
        let table_words = (1 << power).min(TABLE_WORDS_MAX);
        let Some((table, rest)) = memory.split(8 * table_words) else { return Ok(None) };
        let Some((cycle, _)) = rest.split(8 * table_words) else { return Ok(None) };
        let gather_blocks = gpu.blocks(abi::GATHER, 0);
        let atomic_blocks = 1 << gather_blocks.ilog2().min((BINS / u64::from(THREADS)).ilog2());
        Ok(Some(Self {
            gather,
            atomic,
            chase,
            chase_fill,
            write,
            table,
            cycle,
            mask: table_words - 1,
            seed,
            // 1 more than a multiple of 4, as the chase wants it, and large: neighbours are far apart.
            multiplier: mix64(seed) << 2 | 1,
            offset: mix64(seed ^ 1) | 1,
            gather_blocks,
            atomic_blocks,
            chase_blocks: gpu.blocks(abi::CHASE, 0),
            gather_units: 1,
            atomic_units: 1,
            chase_units: 1,
            filled: false,
            queued: VecDeque::new(),
            judged: None,
        }))
    }

    fn blocks_max(&self) -> u64 {
        u64::from(self.gather_blocks.max(self.atomic_blocks).max(self.chase_blocks))
    }

    /// Where the bins are: the slot's record behind the block records, zeroed with it.
    fn bins_at(&self) -> u64 {
        (BLOCK_BYTES * self.blocks_max()).next_multiple_of(8)
    }

    fn fill(&mut self, gpu: &Gpu, slot: &Slot) -> Result<(), CudaError> {
        let counting = MemoryTraffic {
            source: 0,
            destination: self.table.at,
            pair_count: self.table.bytes / 16,
            first_index: 0,
            seed: self.seed,
            flip_index: 0,
            flip_mask: 0,
            blocks: slot.record.at,
        };
        gpu.launch(self.write, self.gather_blocks, &counting)?;
        gpu.launch(self.chase_fill, self.gather_blocks, &self.chase_parameter(slot, 0, false))?;
        self.filled = true;
        gpu.clear(slot.record)
    }

    fn chase_parameter(&self, slot: &Slot, steps: u64, flip: bool) -> Chase {
        Chase {
            table: self.cycle.at,
            mask: self.mask,
            multiplier: self.multiplier,
            offset: self.offset,
            start: self.seed & self.mask,
            start_step: self.start_step(),
            steps,
            flip_index: 0,
            flip_mask: if flip { FLIP_MASK } else { 0 },
            blocks: slot.record.at,
        }
    }

    fn start_step(&self) -> u64 {
        ((self.mask + 1) / u64::from(self.chase_blocks.max(1))) | 1
    }

    fn expected(&self, queued: Queued, block: u32) -> u64 {
        match queued {
            Queued::Gather { first, per_block } => {
                let first = first + u64::from(block) * per_block;
                gathered_sum(first, per_block, self.multiplier, self.offset, self.mask, self.seed)
            }
            Queued::Atomic { .. } => 0,
            Queued::Chase { steps } => {
                let start =
                    (self.seed & self.mask).wrapping_add(u64::from(block).wrapping_mul(self.start_step()));
                chase_end(start & self.mask, steps, self.multiplier, self.offset, self.mask)
            }
        }
    }
}

/// What is added to bins.
const ADDEND: u64 = 0x0101_0101_0101_0101;

impl Test for Scattered {
    fn record_bytes(&self) -> u64 {
        self.bins_at() + 8 * BINS
    }

    fn memory_bytes(&self) -> u64 {
        self.table.bytes + self.cycle.bytes
    }

    /// Gathered reads, additions, chases.
    fn self_tests(&self) -> u64 {
        3
    }

    fn launch(&mut self, gpu: &Gpu, slot: &Slot, number: u64, flip: bool) -> Result<Work, CudaError> {
        if !self.filled {
            self.fill(gpu, slot)?;
        }
        let flip_mask = if flip { FLIP_MASK } else { 0 };
        let blocks_at = slot.record.at;
        let (multiplier, offset) = (self.multiplier, self.offset);
        gpu.set(slot.begin)?;
        let (queued, work) = match number % 3 {
            0 => {
                let per_block = GATHER_UNIT * self.gather_units;
                let first = mix64(self.seed ^ number) >> 20;
                let gather = Gather {
                    table: self.table.at,
                    mask: self.mask,
                    first,
                    per_block,
                    multiplier,
                    offset,
                    flip_index: first + 3,
                    flip_mask,
                    blocks: blocks_at,
                };
                gpu.launch(self.gather, self.gather_blocks, &gather)?;
                let amount = 8 * per_block * u64::from(self.gather_blocks);
                let work = Work { part: FigurePart::Gather, kind: FigureKind::MegabytesPerSecond, amount };
                (Queued::Gather { first, per_block }, work)
            }
            1 => {
                let per_block = BINS / u64::from(self.atomic_blocks) * self.atomic_units;
                let first = mix64(self.seed ^ number) >> 20;
                let atomic = Atomic {
                    bins: slot.record.at + self.bins_at(),
                    mask: BINS - 1,
                    first,
                    per_block,
                    multiplier,
                    offset,
                    addend: ADDEND,
                    flip_index: first,
                    flip_mask,
                    blocks: blocks_at,
                };
                gpu.launch(self.atomic, self.atomic_blocks, &atomic)?;
                let amount = per_block * u64::from(self.atomic_blocks);
                let work =
                    Work { part: FigurePart::Atomic, kind: FigureKind::GigaOperationsPerSecond, amount };
                (Queued::Atomic { first, per_block }, work)
            }
            _ => {
                let steps = CHASE_STEPS * self.chase_units;
                gpu.launch(self.chase, self.chase_blocks, &self.chase_parameter(slot, steps, flip))?;
                let work =
                    Work { part: FigurePart::Chase, kind: FigureKind::NanosecondsPerRead, amount: steps };
                (Queued::Chase { steps }, work)
            }
        };
        gpu.set(slot.end)?;
        self.queued.push_back(queued);
        Ok(work)
    }

    fn judge(&mut self, number: u64, record: &[u8]) -> Judged {
        let mut judged = Judged::default();
        let Some(queued) = self.queued.pop_front() else { return judged };
        self.judged = Some(queued);
        let Some((blocks, bins)) =
            record.split_at_checked(usize::try_from(self.bins_at()).unwrap_or(usize::MAX))
        else {
            return judged;
        };
        let (count, threads) = match queued {
            Queued::Gather { .. } => (self.gather_blocks, THREADS),
            Queued::Atomic { .. } => (self.atomic_blocks, THREADS),
            Queued::Chase { .. } => (self.chase_blocks, 1),
        };
        let blocks: Vec<BlockRecord> = block_records(blocks).take(count as usize).collect();
        // A launch that did nothing at all is no work; one that left out blocks is wrong.
        judged.verified = blocks.iter().any(|block| block.threads > 0);
        if !judged.verified {
            return judged;
        }
        for (number_of_block, block) in (0..count).zip(&blocks) {
            let expected = self.expected(queued, number_of_block);
            if block.sum != expected || block.threads != threads {
                let place = Place::Chain { block: number_of_block, thread: 0 };
                judged.wrong(Wrong { pass: number, sm: Some(block.sm), place, rose: 0, fell: 0 });
            }
        }
        if let Queued::Atomic { per_block, .. } = queued {
            let additions = per_block * u64::from(count) / BINS;
            let expected = ADDEND.wrapping_mul(additions);
            for (bin, held) in (0..BINS).zip(words(bins)) {
                if held != expected {
                    // Who added wrongly is not known; the bin is.
                    let place = Place::Memory { offset: 8 * bin };
                    let (rose, fell) = (held & !expected, expected & !held);
                    judged.wrong(Wrong { pass: number, sm: None, place, rose, fell });
                }
            }
        }
        judged
    }

    fn is_spoiled(&self, wrong: &Wrong) -> bool {
        match self.judged {
            Some(Queued::Atomic { first, .. }) => {
                let bin = scattered_place(first, self.multiplier, self.offset, BINS - 1);
                wrong.place == Place::Memory { offset: 8 * bin }
            }
            _ => wrong.place == Place::Chain { block: 0, thread: 0 },
        }
    }

    fn scale(&mut self, permille: u64) {
        let units = match self.judged {
            Some(Queued::Atomic { .. }) => &mut self.atomic_units,
            Some(Queued::Chase { .. }) => &mut self.chase_units,
            _ => &mut self.gather_units,
        };
        *units = scaled(*units, permille).min(1 << 20);
    }
}
