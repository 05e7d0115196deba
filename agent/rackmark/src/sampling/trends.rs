//! The last quarter of an hour of one GPU in few points, for people who look.
//!
//! The ring holds no time of its own: point `n` of the boot clock lies at place
//! `n % POINTS`, so all GPUs of a node share one axis.

use std::array;

use rackmark_model::Bytes;
use rackmark_model::readings::Fast;

/// Points kept: 15 minutes.
pub const POINTS: usize = 90;

/// Time that one point stands for, in milliseconds of `CLOCK_BOOTTIME`.
pub const POINT_MS: u64 = 10_000;

/// No sample of that point had the value. Not a value: values end below it.
const NONE: u16 = u16::MAX;

/// Temperatures are kept as tenths of a degree above this one, in tenths of a degree Celsius:
/// below absolute zero nothing is lost.
const COLDEST: i64 = -2_732;

/// What is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trend {
    /// `utilization_gpu`, in thousandths.
    Utilization,
    /// `temperature_gpu`, in tenths of a degree Celsius.
    Temperature,
    /// `power_draw`, in tenths of a watt; above 6,553.4 W it stays there.
    Power,
    /// `memory_used` of `memory_total`, in thousandths.
    Memory,
}

impl Trend {
    /// All, in the order they are kept.
    pub const ALL: [Self; 4] = [Self::Utilization, Self::Temperature, Self::Power, Self::Memory];
}

/// One value of each [`Trend`], as it is kept.
type Row = [Option<u16>; Trend::ALL.len()];

/// The trends of one GPU: 90 points of each, 0.8 KB, nothing on the heap.
#[derive(Debug, Clone)]
pub struct Trends {
    ring: [[u16; POINTS]; Trend::ALL.len()],
    /// The point that is being gathered; none before the first sample.
    newest: Option<u64>,
    sums: [u32; Trend::ALL.len()],
    counts: [u16; Trend::ALL.len()],
}

impl Default for Trends {
    fn default() -> Self {
        Self {
            ring: [[NONE; POINTS]; Trend::ALL.len()],
            newest: None,
            sums: [0; Trend::ALL.len()],
            counts: [0; Trend::ALL.len()],
        }
    }
}

impl Trends {
    /// Takes the readings of one sample, taken at `boot_ms` of `CLOCK_BOOTTIME`. What is absent
    /// adds nothing: a point without any value is a gap.
    pub fn take(&mut self, boot_ms: u64, fast: &Fast, memory_total: Option<Bytes>) {
        let share = |part: u64, whole: u64| (whole > 0).then(|| part.saturating_mul(1000) / whole);
        let memory = fast.memory_used.ok().zip(memory_total).and_then(|(used, total)| share(used.0, total.0));
        let temperature = |celsius: i32| u64::try_from(i64::from(celsius) * 10 - COLDEST).ok();
        let row = [
            fast.utilization_gpu.ok().map(|percent| u64::from(percent.0) * 10),
            fast.temperature_gpu.ok().and_then(|celsius| temperature(celsius.0)),
            fast.power_draw.ok().map(|power| u64::from(power.0) / 100),
            memory,
        ];
        self.record(boot_ms, row.map(|value| value.map(kept)));
    }

    fn record(&mut self, boot_ms: u64, row: Row) {
        let point = boot_ms / POINT_MS;
        match self.newest {
            Some(newest) if point == newest => {}
            Some(newest) if point < newest && newest - point < POINTS as u64 => {
                // Late by less than the ring: its point is closed.
                return;
            }
            Some(newest) if point > newest => {
                self.close(newest);
                for skipped in newest + 1..point.min(newest + 1 + POINTS as u64) {
                    self.place(skipped, [NONE; Trend::ALL.len()]);
                }
                self.newest = Some(point);
            }
            // The first one, or a clock that began anew.
            _ => *self = Self { newest: Some(point), ..Self::default() },
        }
        for ((sum, count), value) in self.sums.iter_mut().zip(&mut self.counts).zip(row) {
            if let Some(value) = value.filter(|_| *count < u16::MAX) {
                *sum += u32::from(value);
                *count += 1;
            }
        }
    }

    fn close(&mut self, point: u64) {
        self.place(point, array::from_fn(|trend| self.mean(trend).unwrap_or(NONE)));
        self.sums = [0; Trend::ALL.len()];
        self.counts = [0; Trend::ALL.len()];
    }

    fn place(&mut self, point: u64, row: [u16; Trend::ALL.len()]) {
        let at = (point % POINTS as u64) as usize;
        for (ring, value) in self.ring.iter_mut().zip(row) {
            ring[at] = value;
        }
    }

    fn mean(&self, trend: usize) -> Option<u16> {
        let (sum, count) = (self.sums[trend], u32::from(self.counts[trend]));
        (count > 0).then(|| u16::try_from((sum + count / 2) / count).unwrap_or(NONE - 1))
    }

    /// The points of one trend that end at `now_boot_ms`, oldest first; the last one is still being
    /// gathered. [`Trend::Temperature`] in tenths of a degree may be below zero.
    pub fn points(&self, trend: Trend, now_boot_ms: u64) -> [Option<i32>; POINTS] {
        let last = now_boot_ms / POINT_MS;
        array::from_fn(|at| {
            let point = (last + 1 + at as u64).checked_sub(POINTS as u64)?;
            let newest = self.newest?;
            let value = match newest.checked_sub(point)? {
                0 => self.mean(trend as usize),
                age if age < POINTS as u64 => {
                    let value = self.ring[trend as usize][(point % POINTS as u64) as usize];
                    (value != NONE).then_some(value)
                }
                _ => None,
            };
            let value = i32::from(value?);
            Some(if trend == Trend::Temperature { value + COLDEST as i32 } else { value })
        })
    }
}

fn kept(value: u64) -> u16 {
    u16::try_from(value).unwrap_or(NONE).min(NONE - 1)
}

#[cfg(test)]
#[path = "trends_tests.rs"]
mod tests;
