//! The link to the host, both directions, every word looked at on the other side.

use rackmark_model::gpu_work::{FigureKind, FigurePart, Place};

use super::cuda::{CudaError, Function, Gpu, Pinned, Stretch};
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
    memory: Stretch,
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
        let bytes = TRANSFER_BYTES.min(memory.bytes / TRANSFER_BYTES_MIN * TRANSFER_BYTES_MIN);
        let Some((memory, _)) = memory.split(bytes).filter(|_| bytes > 0) else { return Ok(None) };
        let length = usize::try_from(bytes).unwrap_or(usize::MAX);
        let (mut sent, came) = (gpu.pin(length)?, gpu.pin(length)?);
        for (index, word) in (0..).zip(sent.bytes_mut().as_chunks_mut::<8>().0) {
            *word = pattern_word(index, seed, false).to_ne_bytes();
        }
        let blocks = gpu.blocks(abi::MEMORY_VERIFY, 0);
        Ok(Some(Self { fill, verify, blocks, memory, seed, sent, came, flipped: false }))
    }

    fn parameter(&self, slot: &Slot, flip: bool) -> Parameter {
        Parameter {
            pairs: self.memory.at,
            pair_count: self.memory.bytes / 16,
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

impl Test for HostLink {
    fn record_bytes(&self) -> u64 {
        size_of::<WordErrors>() as u64
    }

    fn memory_bytes(&self) -> u64 {
        self.memory.bytes
    }

    fn launch(&mut self, gpu: &Gpu, slot: &Slot, number: u64, flip: bool) -> Result<Work, CudaError> {
        let kind = FigureKind::MegabytesPerSecond;
        self.flipped = flip;
        // What the transfer before left must not be what is looked at.
        gpu.clear(self.memory)?;
        if number.is_multiple_of(2) {
            gpu.set(slot.begin)?;
            gpu.send(self.memory.at, &self.sent)?;
            gpu.set(slot.end)?;
            gpu.launch(self.verify, self.blocks, &self.parameter(slot, flip))?;
            return Ok(Work { part: FigurePart::ToDevice, kind, amount: self.memory.bytes });
        }
        self.came.bytes_mut().fill(0);
        gpu.launch(self.fill, self.blocks, &self.parameter(slot, false))?;
        gpu.set(slot.begin)?;
        gpu.fetch(&mut self.came, self.memory.at)?;
        gpu.set(slot.end)?;
        Ok(Work { part: FigurePart::ToHost, kind, amount: self.memory.bytes })
    }

    fn judge(&mut self, number: u64, record: &[u8]) -> Judged {
        if number.is_multiple_of(2) {
            let mut judged = judge_link(record, self.words(), number);
            if self.flipped {
                // The comparison on the host is shown the same bit.
                let own = host_sees_a_flip(self.sent.bytes());
                judged.verified &= own;
            }
            return judged;
        }
        let mut judged =
            Judged { verified: self.came.bytes().iter().any(|byte| *byte != 0), ..Judged::default() };
        if judged.verified && self.came.bytes() != self.sent.bytes() {
            compare(self.came.bytes(), self.sent.bytes(), number, &mut judged);
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
