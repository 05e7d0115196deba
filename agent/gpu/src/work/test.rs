//! What every test of a burn-in is to the one that runs it.

use std::time::Duration;

use rackmark_model::gpu_work::{LAUNCH_MS, LAUNCHES_QUEUED_MAX, MISCOMPARES_MAX, Place};

use super::cuda::{CudaError, Gpu, Mark, Pinned, Stretch};
use super::meter::Work;

/// A wrong result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wrong {
    /// Of which pass of the test.
    pub pass: u64,
    /// The multiprocessor, where it is known.
    pub sm: Option<u32>,
    /// Where.
    pub place: Place,
    /// Bits that should be clear and are set.
    pub rose: u64,
    /// Bits that should be set and are clear.
    pub fell: u64,
}

/// What became of a launch.
#[derive(Debug, Default)]
pub struct Judged {
    /// The work was done and looked at: without that it counts for nothing.
    pub verified: bool,
    /// Wrong results.
    pub count: u64,
    /// The first of them, at most [`MISCOMPARES_MAX`].
    pub first: Vec<Wrong>,
}

impl Judged {
    /// Adds one.
    pub fn wrong(&mut self, wrong: Wrong) {
        self.count += 1;
        if self.first.len() < MISCOMPARES_MAX as usize {
            self.first.push(wrong);
        }
    }
}

/// Where a launch leaves its record, and the marks around what is measured of it.
pub struct Slot {
    /// On the GPU, zeroed before the launch.
    pub record: Stretch,
    /// The same on the host, once `done` is reached.
    pub fetched: Pinned,
    /// Set before what is measured.
    pub begin: Mark,
    /// Set after it.
    pub end: Mark,
    /// Set after the record was fetched.
    pub done: Mark,
}

/// A test. Launches are numbered from 0; those of the self-test come before them and are numbered from 0 as well.
pub trait Test {
    /// Bytes that a launch writes to its slot.
    fn record_bytes(&self) -> u64;

    /// Bytes of distinct memory that it wrote or read so far.
    fn memory_bytes(&self) -> u64;

    /// Queues launch `number` with its marks; `flip` has it spoil one bit, where [`Test::is_spoiled`] says.
    ///
    /// # Errors
    /// [`CudaError`].
    fn launch(&mut self, gpu: &Gpu, slot: &Slot, number: u64, flip: bool) -> Result<Work, CudaError>;

    /// Launches of the self-test: one for each checker.
    fn self_tests(&self) -> u64 {
        1
    }

    /// Looks at what a launch left. Launches are looked at in their order.
    fn judge(&mut self, number: u64, record: &[u8]) -> Judged;

    /// Whether this is the bit that the self-test's launch, judged last, spoiled, where it is.
    fn is_spoiled(&self, wrong: &Wrong) -> bool;

    /// Makes launches longer or shorter by so many thousandths, where it can.
    fn scale(&mut self, permille: u64);

    /// Launches that may be queued at a time.
    fn depth(&self) -> usize {
        LAUNCHES_QUEUED_MAX as usize
    }

    /// Length that a launch aims at.
    fn aim(&self) -> Duration {
        Duration::from_millis(u64::from(LAUNCH_MS))
    }

    /// Whether it may end here; a pass over memory ends first.
    fn may_end(&self) -> bool {
        true
    }

    /// How long the GPU is to rest before the next launch, so long after the stage began.
    fn rest(&mut self, _since_begin: Duration) -> Option<Duration> {
        None
    }
}

/// `value` changed by thousandths, at least 1.
pub fn scaled(value: u64, permille: u64) -> u64 {
    u64::try_from(u128::from(value) * u128::from(permille) / 1_000).unwrap_or(u64::MAX).max(1)
}

/// The numbers of a record: 8 bytes each, in the order of this machine.
pub fn words(record: &[u8]) -> impl Iterator<Item = u64> + '_ {
    record.chunks_exact(8).map(|bytes| u64::from_ne_bytes(bytes.try_into().unwrap_or_default()))
}
