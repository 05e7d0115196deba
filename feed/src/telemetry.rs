//! Fast telemetry: samples × GPUs × fields, packed column by column.
//!
//! A batch decodes alone: it needs no earlier message. `docs/feed.md`,
//! "Column coding", describes the bit stream.

mod bits;
mod column;
mod decode;
mod encode;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::error::LimitError;
use crate::extension::{self, Extension, Extensions};
use crate::fields::{self, FAST_FIELDS, Kind};
use crate::limits;
use crate::value::{Reading, Value};

/// One reading. A signed field holds its two's complement bits; see [`signed`].
pub type Cell = Reading<u64>;

/// The bits of a signed value, for a [`Cell`].
pub const fn signed(value: i64) -> u64 {
    value.cast_unsigned()
}

/// When a sample was taken, and its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SampleTime {
    /// Sample number, rising within a session.
    pub seq: u64,
    /// Wall clock, milliseconds since 1970.
    pub taken_unix_ms: u64,
    /// Monotonic clock since boot, milliseconds.
    pub taken_mono_ms: u64,
}

/// Some samples of all GPUs of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TelemetryBatch {
    samples: Vec<SampleTime>,
    slots: Vec<u8>,
    columns: Vec<u16>,
    /// Column after column; in a column GPU after GPU; in a GPU sample after sample.
    cells: Vec<Cell>,
    /// Data of later versions.
    pub extensions: Extensions,
}

/// Why a sample does not fit a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BatchError {
    /// The batch holds [`limits::SAMPLES`] samples.
    #[error("batch is full")]
    Full,
    /// The sample has another number of GPUs than the batch.
    #[error("sample has {found} GPUs, the batch has {expected}")]
    Gpus {
        /// GPUs in the sample.
        found: usize,
        /// GPUs in the batch.
        expected: usize,
    },
    /// Slots do not rise.
    #[error("slots do not rise")]
    Slots,
    /// A count is above its limit.
    #[error("batch is over a limit")]
    Limit(#[from] LimitError),
}

/// Collects samples into a batch.
#[derive(Debug, Clone)]
pub struct BatchBuilder {
    slots: Vec<u8>,
    samples: Vec<SampleTime>,
    /// Sample after sample; in a sample GPU after GPU; in a GPU field after field.
    rows: Vec<Cell>,
}

impl BatchBuilder {
    /// An empty batch over GPUs in these slots.
    ///
    /// # Errors
    /// More than [`limits::GPUS`] slots, or slots that do not rise.
    pub fn new(slots: &[u8]) -> Result<Self, BatchError> {
        limits::check("gpus of a batch", slots.len(), limits::GPUS)?;
        if !rises(slots) {
            return Err(BatchError::Slots);
        }
        Ok(Self { slots: slots.to_vec(), samples: Vec::new(), rows: Vec::new() })
    }

    /// Adds a sample: one row of readings per slot, in slot order, each in field order (ids 0 to 41).
    ///
    /// # Errors
    /// A full batch or another number of GPUs; the batch is left as it was.
    pub fn push(&mut self, time: SampleTime, gpus: &[[Cell; FAST_FIELDS]]) -> Result<(), BatchError> {
        if gpus.len() != self.slots.len() {
            return Err(BatchError::Gpus { found: gpus.len(), expected: self.slots.len() });
        }
        if self.samples.len() == limits::SAMPLES {
            return Err(BatchError::Full);
        }
        self.samples.push(time);
        self.rows.extend(gpus.iter().flatten());
        Ok(())
    }

    /// Number of samples so far.
    pub fn len(&self) -> usize {
        self.samples.len()
    }

    /// True when there are no samples.
    pub fn is_empty(&self) -> bool {
        self.samples.is_empty()
    }

    /// The batch; the builder is then empty and keeps its slots. `None` when there are no samples.
    pub fn finish(&mut self) -> Option<TelemetryBatch> {
        if self.samples.is_empty() {
            return None;
        }
        let (samples, gpus) = (self.samples.len(), self.slots.len());
        let mut cells = Vec::with_capacity(self.rows.len());
        for column in 0..FAST_FIELDS {
            for gpu in 0..gpus {
                cells.extend(
                    (0..samples).map(|sample| self.rows[(sample * gpus + gpu) * FAST_FIELDS + column]),
                );
            }
        }
        self.rows.clear();
        Some(TelemetryBatch {
            samples: std::mem::take(&mut self.samples),
            slots: self.slots.clone(),
            columns: (0..).take(FAST_FIELDS).collect(),
            cells,
            extensions: Vec::new(),
        })
    }
}

impl TelemetryBatch {
    /// A batch from its parts: field ids by rising id, slots rising, cells column after column, in a column
    /// GPU after GPU, in a GPU sample after sample.
    ///
    /// # Errors
    /// Counts over a limit, ids or slots that do not rise, or a number of cells that does not fit.
    pub fn from_parts(
        samples: Vec<SampleTime>,
        slots: Vec<u8>,
        columns: Vec<u16>,
        cells: Vec<Cell>,
    ) -> Result<Self, BatchError> {
        let batch = Self { samples, slots, columns, cells, extensions: Vec::new() };
        if !rises(&batch.slots) || !rises(&batch.columns) {
            return Err(BatchError::Slots);
        }
        batch.check()?;
        let expected = batch.samples.len() * batch.slots.len() * batch.columns.len();
        if batch.cells.len() != expected {
            return Err(
                LimitError { what: "cells of a batch", found: batch.cells.len(), limit: expected }.into()
            );
        }
        Ok(batch)
    }

    /// The samples, oldest first.
    pub fn samples(&self) -> &[SampleTime] {
        &self.samples
    }

    /// The slots of the GPUs, rising.
    pub fn slots(&self) -> &[u8] {
        &self.slots
    }

    /// The field ids of the columns, rising. Ids that the catalogue does not know come from newer agents.
    pub fn columns(&self) -> &[u16] {
        &self.columns
    }

    /// The cells of a column by its position: GPU after GPU, in a GPU sample after sample.
    pub fn column(&self, position: usize) -> Option<&[Cell]> {
        let length = self.samples.len() * self.slots.len();
        (position < self.columns.len()).then(|| &self.cells[position * length..][..length])
    }

    /// One reading by positions (not by slot or field id).
    pub fn cell(&self, sample: usize, gpu: usize, column: usize) -> Option<Cell> {
        (sample < self.samples.len() && gpu < self.slots.len())
            .then(|| self.column(column).map(|cells| cells[gpu * self.samples.len() + sample]))
            .flatten()
    }

    /// One reading as a value, signed where the catalogue says so.
    pub fn value(&self, sample: usize, gpu: usize, column: usize) -> Option<Value> {
        let id = *self.columns.get(column)?;
        Some(match self.cell(sample, gpu, column)? {
            Ok(bits) => match fields::by_id(id) {
                Some(field) if field.kind == Kind::Signed => Value::Signed(bits.cast_signed()),
                _ => Value::Unsigned(bits),
            },
            Err(no_data) => Value::NoData(no_data),
        })
    }

    /// The bit stream of the columns alone, without frame and extensions.
    pub fn encode_columns(&self) -> Vec<u8> {
        encode::encode(self)
    }

    /// Cuts the batch in two by samples, for a frame that would be too long. `None` for a single sample.
    pub fn split(&self) -> Option<(Self, Self)> {
        let (count, half) = (self.samples.len(), self.samples.len() / 2);
        if half == 0 {
            return None;
        }
        let part = |from: usize, to: usize| Self {
            samples: self.samples[from..to].to_vec(),
            slots: self.slots.clone(),
            columns: self.columns.clone(),
            cells: self.cells.chunks_exact(count).flat_map(|row| row[from..to].iter().copied()).collect(),
            extensions: self.extensions.clone(),
        };
        Some((part(0, half), part(half, count)))
    }

    pub(crate) fn check(&self) -> Result<(), LimitError> {
        let (samples, gpus, columns) = (self.samples.len(), self.slots.len(), self.columns.len());
        if samples == 0 {
            return Err(LimitError { what: "missing samples of a batch", found: 1, limit: 0 });
        }
        limits::check("samples of a batch", samples, limits::SAMPLES)?;
        limits::check("gpus of a batch", gpus, limits::GPUS)?;
        limits::check("columns of a batch", columns, limits::COLUMNS)?;
        limits::check("runs of columns", runs(&self.columns).len(), limits::COLUMN_RUNS)?;
        limits::check("cells of a batch", samples * gpus * columns, limits::CELLS)?;
        extension::check(&self.extensions)
    }
}

fn rises<T: PartialOrd>(list: &[T]) -> bool {
    list.windows(2).all(|pair| pair[0] < pair[1])
}

/// Rising ids as runs of (first, count).
fn runs(ids: &[u16]) -> Vec<ColumnRun> {
    let mut runs: Vec<ColumnRun> = Vec::new();
    for &id in ids {
        match runs.last_mut() {
            Some(run) if u32::from(run.first) + u32::from(run.count) == u32::from(id) => run.count += 1,
            _ => runs.push(ColumnRun { first: id, count: 1 }),
        }
    }
    runs
}

/// Columns with consecutive ids.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct ColumnRun {
    first: u16,
    count: u16,
}

/// The batch as it is on the wire.
#[derive(Serialize, Deserialize)]
struct Wire {
    samples: u32,
    #[serde(serialize_with = "extension::bytes", deserialize_with = "limits::bytes::<_, { limits::GPUS }>")]
    slots: Vec<u8>,
    #[serde(deserialize_with = "limits::list::<_, ColumnRun, { limits::COLUMN_RUNS }>")]
    columns: Vec<ColumnRun>,
    #[serde(
        serialize_with = "extension::bytes",
        deserialize_with = "limits::bytes::<_, { limits::FRAME_BYTES }>"
    )]
    data: Vec<u8>,
    #[serde(deserialize_with = "limits::list::<_, Extension, { limits::EXTENSIONS }>")]
    extensions: Extensions,
}

impl Serialize for TelemetryBatch {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Wire {
            // At most `limits::SAMPLES`, by `check`.
            samples: u32::try_from(self.samples.len()).map_err(serde::ser::Error::custom)?,
            slots: self.slots.clone(),
            columns: runs(&self.columns),
            data: self.encode_columns(),
            extensions: self.extensions.clone(),
        }
        .serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for TelemetryBatch {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let wire = Wire::deserialize(deserializer)?;
        decode::decode(wire).map_err(serde::de::Error::custom)
    }
}
