//! Power pulses: the strongest product of this GPU, switched on and off, half of each period each.

use std::time::Duration;

use super::cuda::{CudaError, Gpu, Stretch};
use super::meter::Work;
use super::modules::Modules;
use super::product::Product;
use super::test::{Judged, Slot, Test, Wrong};
use rackmark_model::gpu_work::{Format, LAUNCH_MS};

/// Periods, in milliseconds: 1 Hz to 500 Hz. Each has its turn for [`TURN`].
const PERIODS_MS: [u64; 5] = [1_000, 200, 40, 8, 2];
/// Longest turn of a period.
const TURN: Duration = Duration::from_secs(2);

pub struct Pulse {
    product: Product,
    /// When the pulse that is on began, and the period's place.
    began: Duration,
    period: usize,
    turn_began: Duration,
}

impl Pulse {
    /// None where no product runs on this GPU.
    ///
    /// # Errors
    /// [`CudaError`].
    pub fn new(
        gpu: &Gpu,
        modules: &mut Modules<'_>,
        memory: Stretch,
        seed: u64,
    ) -> Result<Option<Self>, CudaError> {
        for way in [(Format::Bf16, true), (Format::Bf16, false)] {
            if let Some(product) = Product::new(gpu, modules, way, memory, seed)? {
                let zero = Duration::ZERO;
                return Ok(Some(Self { product, began: zero, period: 0, turn_began: zero }));
            }
        }
        Ok(None)
    }

    fn half(&self) -> Duration {
        Duration::from_micros(PERIODS_MS[self.period] * 1_000 / 2)
    }
}

impl Test for Pulse {
    fn record_bytes(&self) -> u64 {
        self.product.record_bytes()
    }

    fn memory_bytes(&self) -> u64 {
        self.product.memory_bytes()
    }

    fn launch(&mut self, gpu: &Gpu, slot: &Slot, number: u64, flip: bool) -> Result<Work, CudaError> {
        self.product.launch(gpu, slot, number, flip)
    }

    fn judge(&mut self, number: u64, record: &[u8]) -> Judged {
        self.product.judge(number, record)
    }

    fn is_spoiled(&self, wrong: &Wrong) -> bool {
        self.product.is_spoiled(wrong)
    }

    fn scale(&mut self, permille: u64) {
        self.product.scale(permille);
    }

    fn aim(&self) -> Duration {
        // Short pulses are one launch.
        self.half().min(Duration::from_millis(u64::from(LAUNCH_MS)))
    }

    fn rest(&mut self, since_begin: Duration) -> Option<Duration> {
        if since_begin.saturating_sub(self.began) < self.half() {
            return None;
        }
        let half = self.half();
        if since_begin.saturating_sub(self.turn_began) >= TURN {
            self.period = (self.period + 1) % PERIODS_MS.len();
            self.turn_began = since_begin;
        }
        self.began = since_begin + half;
        Some(half)
    }
}
