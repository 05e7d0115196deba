//! The memory pattern: every word of the held memory is written, read and inverted, and read again, pass after pass.

use rackmark_model::gpu_work::{FigureKind, FigurePart, Place};

use super::cuda::{CudaError, Function, Gpu, Stretch};
use super::meter::Work;
use super::modules::Modules;
use super::test::{Judged, Slot, Test, Wrong, scaled};
use crate::abi::{self, MemoryPattern as Parameter, WORD_ERRORS_MAX, WordError, WordErrors};
use crate::golden::mix64;

const PAIR_BYTES: u64 = 16;
/// Pairs of the first launch: 16 MiB.
const FIRST_PAIRS: u64 = 1 << 20;
/// The bit that the self-test flips, in the upper half of its word.
const FLIP_MASK: u64 = 1 << 41;

/// What a launch does to its words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Fill,
    Invert,
    Verify,
}

/// A launch that was queued.
struct Queued {
    step: Step,
    pass: u64,
    /// Index of the first word, and so many.
    first: u64,
    words: u64,
}

pub struct MemoryPattern {
    fill: Function,
    invert: Function,
    verify: Function,
    memory: Stretch,
    seed: u64,
    blocks: u32,
    step: Step,
    /// Pairs that this step has done.
    cursor: u64,
    pairs_a_launch: u64,
    pass: u64,
    queued: std::collections::VecDeque<Queued>,
}

impl MemoryPattern {
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
        let (Some(fill), Some(invert), Some(verify)) = (
            modules.kernel(abi::MEMORY_FILL)?,
            modules.kernel(abi::MEMORY_INVERT)?,
            modules.kernel(abi::MEMORY_VERIFY)?,
        ) else {
            return Ok(None);
        };
        Ok(Some(Self {
            fill,
            invert,
            verify,
            memory,
            seed,
            blocks: gpu.blocks(abi::MEMORY_VERIFY, 0),
            step: Step::Fill,
            cursor: 0,
            pairs_a_launch: FIRST_PAIRS,
            pass: 0,
            queued: std::collections::VecDeque::new(),
        }))
    }

    fn pairs(&self) -> u64 {
        self.memory.bytes / PAIR_BYTES
    }

    fn parameter(&self, slot: &Slot, pair_count: u64, flip: bool) -> Parameter {
        let first_index = 2 * self.cursor;
        Parameter {
            pairs: self.memory.at + self.cursor * PAIR_BYTES,
            pair_count,
            first_index,
            seed: mix64(self.seed ^ self.pass),
            flip_index: self.flip_index(),
            flip_mask: if flip { FLIP_MASK } else { 0 },
            errors: slot.record.at,
            inverted: u32::from(self.step == Step::Verify),
            pass: u32::try_from(self.pass % (1 << 32)).unwrap_or(0),
        }
    }

    /// Somewhere in the first launch, and not its first word.
    fn flip_index(&self) -> u64 {
        2 * FIRST_PAIRS.min(self.pairs()) / 3
    }

    /// Goes on to the next step where this one has done all pairs.
    fn turn(&mut self) {
        if self.cursor < self.pairs() {
            return;
        }
        self.cursor = 0;
        self.step = match self.step {
            Step::Fill => Step::Invert,
            Step::Invert => Step::Verify,
            Step::Verify => {
                self.pass += 1;
                Step::Fill
            }
        };
    }
}

impl Test for MemoryPattern {
    fn record_bytes(&self) -> u64 {
        size_of::<WordErrors>() as u64
    }

    fn memory_bytes(&self) -> u64 {
        if self.pass > 0 { self.pairs() * PAIR_BYTES } else { 0 }
    }

    fn launch(&mut self, gpu: &Gpu, slot: &Slot, _: u64, flip: bool) -> Result<Work, CudaError> {
        let pair_count = self.pairs_a_launch.min(self.pairs() - self.cursor);
        if flip {
            // What is read is spoiled, not what is stored: afterwards memory is as if nothing had been.
            let mut parameter = self.parameter(slot, pair_count, false);
            gpu.launch(self.fill, self.blocks, &parameter)?;
            parameter = self.parameter(slot, pair_count, true);
            gpu.set(slot.begin)?;
            gpu.launch(self.verify, self.blocks, &parameter)?;
            gpu.set(slot.end)?;
            self.queued.push_back(Queued { step: Step::Verify, pass: 0, first: 0, words: 2 * pair_count });
            return Ok(work(8 * 2 * pair_count));
        }
        let parameter = self.parameter(slot, pair_count, false);
        let (function, bytes_a_word) = match self.step {
            Step::Fill => (self.fill, 8),
            Step::Invert => (self.invert, 16),
            Step::Verify => (self.verify, 8),
        };
        gpu.set(slot.begin)?;
        gpu.launch(function, self.blocks, &parameter)?;
        gpu.set(slot.end)?;
        let (step, pass, first) = (self.step, self.pass, 2 * self.cursor);
        self.queued.push_back(Queued { step, pass, first, words: 2 * pair_count });
        self.cursor += pair_count;
        self.turn();
        Ok(work(bytes_a_word * 2 * pair_count))
    }

    fn judge(&mut self, _: u64, record: &[u8]) -> Judged {
        let mut judged = Judged::default();
        let (Some(queued), Some(errors)) = (self.queued.pop_front(), Errors::of(record)) else {
            return judged;
        };
        let place = |index: u64| Place::Memory { offset: index.wrapping_mul(8) };
        errors.tell(&mut judged, (queued.first, queued.words), queued.pass, place, true);
        // What was filled is verified by the steps after it.
        judged.verified &= queued.step != Step::Fill;
        judged
    }

    fn is_spoiled(&self, wrong: &Wrong) -> bool {
        let place = Place::Memory { offset: self.flip_index() * 8 };
        wrong.place == place && (wrong.rose | wrong.fell) & FLIP_MASK != 0
    }

    fn scale(&mut self, permille: u64) {
        self.pairs_a_launch = scaled(self.pairs_a_launch, permille).max(1 << 10);
    }

    fn may_end(&self) -> bool {
        self.pass > 0 && self.step == Step::Fill && self.cursor == 0
    }
}

fn work(bytes: u64) -> Work {
    Work { part: FigurePart::Whole, kind: FigureKind::MegabytesPerSecond, amount: bytes }
}

/// [`WordErrors`] as it came from the GPU.
struct Errors {
    words: u64,
    checked: u64,
    first: Vec<WordError>,
}

impl Errors {
    fn of(record: &[u8]) -> Option<Self> {
        let words: Vec<u64> = super::test::words(record).collect();
        let [count, _, _, checked, entries @ ..] = &words[..] else { return None };
        let entries = entries.as_chunks::<4>().0;
        let first = entries.iter().map(|[index, difference, expected, sm_and_pass]| {
            let [a, b, c, d, e, f, g, h] = sm_and_pass.to_ne_bytes();
            WordError {
                index: *index,
                difference: *difference,
                expected: *expected,
                sm: u32::from_ne_bytes([a, b, c, d]),
                pass: u32::from_ne_bytes([e, f, g, h]),
            }
        });
        Some(Self { words: *count, checked: *checked, first: first.collect() })
    }

    /// Adds what they say of a look at `words` words from index `first` on.
    fn tell(
        &self,
        judged: &mut Judged,
        (first, words): (u64, u64),
        pass: u64,
        place: impl Fn(u64) -> Place,
        sm_is_to_blame: bool,
    ) {
        judged.verified = self.checked > 0;
        if judged.verified && self.checked != words {
            // Some words were not looked at; where the launch begins is told for all of them.
            judged.wrong(Wrong { pass, sm: None, place: place(first), rose: 0, fell: 0 });
        }
        let kept = usize::try_from(self.words).unwrap_or(usize::MAX).min(WORD_ERRORS_MAX);
        for error in self.first.iter().take(kept) {
            judged.wrong(Wrong {
                pass,
                sm: sm_is_to_blame.then_some(error.sm),
                place: place(error.index),
                rose: error.difference & !error.expected,
                fell: error.difference & error.expected,
            });
        }
        judged.count += self.words - kept as u64;
    }
}

/// Verifies words that came over a link: the record, as [`MemoryPattern`] judges it, of one look at `words` words.
pub fn judge_link(record: &[u8], words: u64, pass: u64) -> Judged {
    let mut judged = Judged::default();
    let Some(errors) = Errors::of(record) else { return judged };
    let place = |index: u64| Place::Link { offset: index.wrapping_mul(8) };
    // Whoever read them is not who is to blame.
    errors.tell(&mut judged, (0, words), pass, place, false);
    judged
}
