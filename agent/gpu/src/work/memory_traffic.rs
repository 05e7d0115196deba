//! Bandwidth of memory: read, written, copied, and every word looked at.

use std::collections::VecDeque;

use rackmark_model::gpu_work::{FigureKind, FigurePart, Place};

use super::cuda::{CudaError, Function, Gpu, Stretch};
use super::meter::Work;
use super::modules::Modules;
use super::test::{Judged, Slot, Test, Wrong, scaled, words};
use crate::abi::{self, BlockRecord, MemoryTraffic as Parameter, THREADS};
use crate::golden::{counting_sum, mix64};

const PAIR_BYTES: u64 = 16;
/// Pairs of the first launch: 16 MiB.
const FIRST_PAIRS: u64 = 1 << 20;
const FLIP_MASK: u64 = 1 << 17;
const RECORD_BYTES: u64 = size_of::<BlockRecord>() as u64;

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    Read,
    Write,
    Copy,
}

/// A launch that was queued.
struct Queued {
    first_index: u64,
    pairs: u64,
    seed: u64,
    round: u64,
}

pub struct MemoryTraffic {
    read: Function,
    write: Function,
    copy: Function,
    direction: Direction,
    /// What is read; of a copy, where it comes from.
    source: Stretch,
    /// What is written.
    destination: Stretch,
    seed: u64,
    blocks: u32,
    cursor: u64,
    pairs_a_launch: u64,
    /// Passes over the memory.
    round: u64,
    queued: VecDeque<Queued>,
    /// `source` holds counting words.
    written: bool,
}

impl MemoryTraffic {
    /// None where no kernel of it runs on this GPU.
    ///
    /// # Errors
    /// [`CudaError`].
    pub fn new(
        gpu: &Gpu,
        modules: &mut Modules<'_>,
        direction: Direction,
        memory: Stretch,
        seed: u64,
    ) -> Result<Option<Self>, CudaError> {
        let (Some(read), Some(write), Some(copy)) = (
            modules.kernel(abi::MEMORY_READ)?,
            modules.kernel(abi::MEMORY_WRITE)?,
            modules.kernel(abi::MEMORY_COPY)?,
        ) else {
            return Ok(None);
        };
        let half = memory.bytes / 2 / PAIR_BYTES * PAIR_BYTES;
        let (source, destination) = match (direction, memory.split(half)) {
            (Direction::Copy, Some(halves)) => halves,
            _ => (memory, memory),
        };
        Ok(Some(Self {
            read,
            write,
            copy,
            direction,
            source,
            destination,
            seed,
            blocks: gpu.blocks(abi::MEMORY_READ, 0),
            cursor: 0,
            pairs_a_launch: FIRST_PAIRS,
            round: 0,
            queued: VecDeque::new(),
            written: false,
        }))
    }

    fn pairs(&self) -> u64 {
        self.source.bytes.min(self.destination.bytes) / PAIR_BYTES
    }

    /// A launch over these pairs, whose block records go to the second half of the slot's, where it is the reading one.
    fn parameter(&self, slot: &Slot, pairs: u64, reads: bool, flip: bool, seed: u64) -> Parameter {
        let offset = self.cursor * PAIR_BYTES;
        let verifying = reads && self.direction != Direction::Read;
        Parameter {
            source: if verifying { self.destination.at } else { self.source.at } + offset,
            destination: self.destination.at + offset,
            pair_count: pairs,
            first_index: 2 * self.cursor,
            seed,
            flip_index: 2 * self.cursor + 5,
            flip_mask: if flip { FLIP_MASK } else { 0 },
            blocks: slot.record.at + if reads { RECORD_BYTES * u64::from(self.blocks) } else { 0 },
        }
    }

    /// Writes counting words to all of the source.
    fn prepare(&mut self, gpu: &Gpu, slot: &Slot) -> Result<(), CudaError> {
        let parameter = Parameter {
            source: 0,
            destination: self.source.at,
            pair_count: self.source.bytes / PAIR_BYTES,
            first_index: 0,
            seed: self.seed,
            flip_index: 0,
            flip_mask: 0,
            blocks: slot.record.at,
        };
        gpu.launch(self.write, self.blocks, &parameter)?;
        self.written = true;
        // Its block records are not those of the launch that follows.
        gpu.clear(slot.record)
    }
}

impl Test for MemoryTraffic {
    fn record_bytes(&self) -> u64 {
        2 * RECORD_BYTES * u64::from(self.blocks)
    }

    fn memory_bytes(&self) -> u64 {
        let copied = if self.direction == Direction::Copy { 2 } else { 1 };
        copied * PAIR_BYTES * if self.round > 0 { self.pairs() } else { self.cursor }
    }

    fn launch(&mut self, gpu: &Gpu, slot: &Slot, number: u64, flip: bool) -> Result<Work, CudaError> {
        if !self.written && self.direction != Direction::Write {
            self.prepare(gpu, slot)?;
        }
        let pairs = self.pairs_a_launch.min(self.pairs() - self.cursor);
        let seed = match self.direction {
            Direction::Write => mix64(self.seed ^ number),
            Direction::Read | Direction::Copy => self.seed,
        };
        let bytes = pairs * PAIR_BYTES;
        let measured = match self.direction {
            Direction::Read => (self.read, true, bytes),
            Direction::Write => (self.write, false, bytes),
            Direction::Copy => (self.copy, false, 2 * bytes),
        };
        gpu.set(slot.begin)?;
        gpu.launch(measured.0, self.blocks, &self.parameter(slot, pairs, measured.1, flip, seed))?;
        gpu.set(slot.end)?;
        if self.direction != Direction::Read {
            gpu.launch(self.read, self.blocks, &self.parameter(slot, pairs, true, false, seed))?;
        }
        let queued = Queued { first_index: 2 * self.cursor, pairs, seed, round: self.round };
        self.queued.push_back(queued);
        if !flip {
            self.cursor += pairs;
            if self.cursor >= self.pairs() {
                (self.cursor, self.round) = (0, self.round + 1);
            }
        }
        Ok(Work { part: FigurePart::Whole, kind: FigureKind::MegabytesPerSecond, amount: measured.2 })
    }

    fn judge(&mut self, _: u64, record: &[u8]) -> Judged {
        let mut judged = Judged::default();
        let Some(queued) = self.queued.pop_front() else { return judged };
        let blocks: Vec<BlockRecord> = block_records(record).collect();
        let Some((wrote, read)) = blocks.split_at_checked(self.blocks as usize) else { return judged };
        // A launch that did nothing at all is no work; one that left out blocks is wrong.
        judged.verified = read.iter().any(|block| block.threads > 0);
        if !judged.verified {
            return judged;
        }
        for ((number, block), writer) in (0..self.blocks).zip(read).zip(wrote) {
            let expected = counting_sum(queued.pairs, queued.first_index, queued.seed, self.blocks, number);
            let whole =
                block.threads == THREADS && (self.direction == Direction::Read || writer.threads == THREADS);
            if block.sum != expected || !whole {
                judged.wrong(Wrong {
                    pass: queued.round,
                    sm: Some(block.sm),
                    // The sum of all its threads.
                    place: Place::Chain { block: number, thread: 0 },
                    rose: 0,
                    fell: 0,
                });
            }
        }
        judged
    }

    fn is_spoiled(&self, wrong: &Wrong) -> bool {
        // Word 5 is in the third pair, which the first block reads.
        wrong.place == Place::Chain { block: 0, thread: 0 }
    }

    fn scale(&mut self, permille: u64) {
        self.pairs_a_launch = scaled(self.pairs_a_launch, permille).max(1 << 10);
    }
}

/// Block records as they came from the GPU.
pub fn block_records(record: &[u8]) -> impl Iterator<Item = BlockRecord> + '_ {
    let mut words = words(record);
    std::iter::from_fn(move || {
        let (sum, rest) = (words.next()?, words.next()?);
        let [a, b, c, d, e, f, g, h] = rest.to_ne_bytes();
        Some(BlockRecord {
            sum,
            sm: u32::from_ne_bytes([a, b, c, d]),
            threads: u32::from_ne_bytes([e, f, g, h]),
        })
    })
}
