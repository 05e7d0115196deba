//! What the encoder and the decoder of columns agree on.

use crate::value::NoData;

/// Cells of one column as a grid: `gpus` rows of `samples` cells.
#[derive(Debug, Clone, Copy)]
pub(super) struct Grid {
    pub(super) gpus: usize,
    pub(super) samples: usize,
}

impl Grid {
    pub(super) const fn cells(self) -> usize {
        self.gpus * self.samples
    }
}

/// How a column leans on an earlier one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lean {
    /// The column minus the earlier one is coded.
    Difference,
    /// The column plus the earlier one is coded.
    Sum,
    /// The column minus the time integral of the earlier one (per second) is coded.
    Integral,
}

impl Lean {
    pub(super) const fn number(self) -> u64 {
        match self {
            Self::Difference => 0,
            Self::Sum => 1,
            Self::Integral => 2,
        }
    }

    pub(super) const fn from_number(number: u64) -> Option<Self> {
        match number {
            0 => Some(Self::Difference),
            1 => Some(Self::Sum),
            2 => Some(Self::Integral),
            _ => None,
        }
    }
}

/// What the cells of a column are taken against: zero without a reference.
/// `mono_ms` are the sample times; empty where an integral is not allowed.
pub(super) fn against(lean: Lean, earlier: &[u64], grid: Grid, mono_ms: &[u64], out: &mut Vec<u64>) {
    out.clear();
    match lean {
        Lean::Difference => out.extend_from_slice(earlier),
        Lean::Sum => out.extend(earlier.iter().map(|v| v.wrapping_neg())),
        Lean::Integral => {
            for row in earlier.chunks_exact(grid.samples) {
                let mut sum: u64 = 0;
                for (i, value) in row.iter().enumerate() {
                    if i > 0 {
                        let passed = mono_ms[i].wrapping_sub(mono_ms[i - 1]);
                        sum = sum.wrapping_add(value.wrapping_mul(passed));
                    }
                    out.push(sum / 1000);
                }
            }
        }
    }
}

/// Presence of the cells of a column: runs of (reason or present, length).
pub(super) type Runs = Vec<(Option<NoData>, usize)>;

/// Fills absent cells with the value before them in their row, or zero.
pub(super) fn fill(values: &mut [u64], present: impl Fn(usize) -> bool, grid: Grid) {
    let mut last = 0;
    for (at, value) in values.iter_mut().enumerate() {
        if at % grid.samples == 0 {
            last = 0;
        }
        if present(at) {
            last = *value;
        } else {
            *value = last;
        }
    }
}
