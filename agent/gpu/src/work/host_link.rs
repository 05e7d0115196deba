//! The link to the host, each direction and both at once, every word looked at on the other side.

use rackmark_model::gpu_work::{FigureKind, FigurePart, Place};

use super::cuda::{CudaError, Function, Gpu, OtherWay, Pinned, Stretch};
use super::memory_pattern::judge_link;
use super::meter::Work;
use super::modules::Modules;
use super::test::{Judged, Slot, Test, Wrong};
use crate::abi::{self, MemoryPattern as Parameter, WordErrors};
use crate::golden::pattern_word;

/// Bytes of a transfer: long enough that latency is nothing, short enough to be over in some milliseconds.
const TRANSFER_BYTES: u64 = 64 << 20;
const TRANSFER_BYTES_MIN: u64 = 1 << 20;
const FLIP_WORD: usize = 4_097;
const FLIP_MASK: u64 = 1 << 5;

pub struct HostLink {
    fill: Function,
    verify: Function,
    blocks: u32,
    /// What is sent goes there.
    memory: Stretch,
    /// What is fetched comes from there.
    away: Stretch,
    other_way: OtherWay,
    seed: u64,
    /// What is sent, and what must come back.
    sent: Pinned,
    came: Pinned,
    /// The self-test's launch is the one to be judged next.
    flipped: bool,
}

impl HostLink {
    /// None where no kernel of it runs on this GPU, or memory is too small.
    ///
    /// # Errors
    /// [`CudaError`].
    pub fn new(
        gpu: &Gpu,
        modules: &mut Modules<'_>,
        memory: Stretch,
        seed: u64,
    ) -> Result<Option<Self>, CudaError> {
        let (Some(fill), Some(verify)) =
            (modules.kernel(abi::MEMORY_FILL)?, modules.kernel(abi::MEMORY_VERIFY)?)
        else {
            return Ok(None);
        };
        let bytes = TRANSFER_BYTES.min(memory.bytes / 2 / TRANSFER_BYTES_MIN * TRANSFER_BYTES_MIN);
        let Some((memory, rest)) = memory.split(bytes).filter(|_| bytes > 0) else { return Ok(None) };
        let Some((away, _)) = rest.split(bytes) else { return Ok(None) };
        let other_way = gpu.other_way()?;
        let length = usize::try_from(bytes).unwrap_or(usize::MAX);
        let (mut sent, came) = (gpu.pin(length)?, gpu.pin(length)?);
        for (index, word) in (0..).zip(sent.bytes_mut().as_chunks_mut::<8>().0) {
            *word = pattern_word(index, seed, false).to_ne_bytes();
        }
        let blocks = gpu.blocks(abi::MEMORY_VERIFY, 0);
        Ok(Some(Self { fill, verify, blocks, memory, away, other_way, seed, sent, came, flipped: false }))
    }

    fn parameter(&self, of: Stretch, slot: &Slot, flip: bool) -> Parameter {
        Parameter {
            pairs: of.at,
            pair_count: of.bytes / 16,
            first_index: 0,
            seed: self.seed,
            flip_index: FLIP_WORD as u64,
            flip_mask: if flip { FLIP_MASK } else { 0 },
            errors: slot.record.at,
            inverted: 0,
            pass: 0,
        }
    }

    fn words(&self) -> u64 {
        self.memory.bytes / 8
    }
}

/// What a launch of this number measures.
fn part(number: u64) -> FigurePart {
    match number % 3 {
        0 => FigurePart::ToDevice,
        1 => FigurePart::ToHost,
        _ => FigurePart::BothWays,
    }
}

impl Test for HostLink {
    fn record_bytes(&self) -> u64 {
        size_of::<WordErrors>() as u64
    }

    fn memory_bytes(&self) -> u64 {
        self.memory.bytes + self.away.bytes
    }

    fn launch(&mut self, gpu: &Gpu, slot: &Slot, number: u64, flip: bool) -> Result<Work, CudaError> {
        let kind = FigureKind::MegabytesPerSecond;
        self.flipped = flip;
        // What the transfer before left must not be what is looked at, on neither side.
        gpu.clear(self.memory)?;
        self.came.bytes_mut().fill(0);
        gpu.launch(self.fill, self.blocks, &self.parameter(self.away, slot, false))?;
        gpu.set(slot.begin)?;
        let part = part(number);
        let (sent, came) = ((self.memory.at, &self.sent), (&mut self.came, self.away.at));
        let amount = match part {
            FigurePart::ToDevice => {
                gpu.send(sent.0, sent.1)?;
                self.memory.bytes
            }
            FigurePart::ToHost => {
                gpu.fetch(came.0, came.1)?;
                self.away.bytes
            }
            _ => {
                gpu.both_ways(&self.other_way, slot.begin, sent, came)?;
                self.memory.bytes + self.away.bytes
            }
        };
        gpu.set(slot.end)?;
        if part != FigurePart::ToHost {
            gpu.launch(self.verify, self.blocks, &self.parameter(self.memory, slot, flip))?;
        }
        Ok(Work { part, kind, amount })
    }

    fn judge(&mut self, number: u64, record: &[u8]) -> Judged {
        let part = part(number);
        let mut judged = Judged { verified: true, ..Judged::default() };
        if part != FigurePart::ToHost {
            judged = judge_link(record, self.words(), number);
        }
        if part != FigurePart::ToDevice {
            judged.verified &= self.came.bytes().iter().any(|byte| *byte != 0);
            if judged.verified && self.came.bytes() != self.sent.bytes() {
                compare(self.came.bytes(), self.sent.bytes(), number, &mut judged);
            }
        }
        if self.flipped {
            // The comparison on the host is shown the same bit.
            judged.verified &= host_sees_a_flip(self.sent.bytes());
        }
        judged
    }

    fn is_spoiled(&self, wrong: &Wrong) -> bool {
        let place = Place::Link { offset: 8 * FLIP_WORD as u64 };
        wrong.place == place && (wrong.rose | wrong.fell) & FLIP_MASK != 0
    }

    fn scale(&mut self, _: u64) {}

    /// One buffer on the host, one transfer at a time.
    fn depth(&self) -> usize {
        1
    }
}

/// Names every word that differs.
fn compare(came: &[u8], sent: &[u8], pass: u64, judged: &mut Judged) {
    let (came, sent) = (came.as_chunks::<8>().0, sent.as_chunks::<8>().0);
    for (word, (came, sent)) in (0..).zip(came.iter().zip(sent)) {
        if came != sent {
            let (came, sent) = (u64::from_ne_bytes(*came), u64::from_ne_bytes(*sent));
            let place = Place::Link { offset: 8 * word };
            judged.wrong(Wrong { pass, sm: None, place, rose: came & !sent, fell: sent & !came });
        }
    }
}

/// Whether [`compare`] names one spoiled bit, in a copy of the beginning of what is sent.
fn host_sees_a_flip(sent: &[u8]) -> bool {
    let Some(part) = sent.get(..8 * (FLIP_WORD + 1)) else { return false };
    let mut spoiled = part.to_vec();
    spoiled[8 * FLIP_WORD] ^= 1 << 5;
    let mut judged = Judged::default();
    compare(&spoiled, part, 0, &mut judged);
    let [wrong] = judged.first[..] else { return false };
    wrong.place == Place::Link { offset: 8 * FLIP_WORD as u64 } && (wrong.rose | wrong.fell).count_ones() == 1
}
