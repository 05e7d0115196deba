//! From the bit stream to cells. Total: any bytes give a batch or an error, in
//! time and memory bounded by the limits.

use super::bits::Reader;
use super::column::{Grid, Lean, Runs, against, fill};
use super::{Cell, SampleTime, TelemetryBatch, Wire, rises};
use crate::limits;
use crate::value::NoData;

/// Why a batch does not decode.
pub(super) type Fault = &'static str;

const ENDS: Fault = "telemetry bit stream ends early";

pub(super) fn decode(wire: Wire) -> Result<TelemetryBatch, Fault> {
    let samples = wire.samples as usize;
    if !(1..=limits::SAMPLES).contains(&samples) {
        return Err("sample count out of range");
    }
    if !rises(&wire.slots) {
        return Err("slots do not rise");
    }
    let mut columns: Vec<u16> = Vec::new();
    for run in &wire.columns {
        if columns.len() + usize::from(run.count) > limits::COLUMNS {
            return Err("too many columns");
        }
        let end = run.first.checked_add(run.count).ok_or("column ids run over")?;
        columns.extend(run.first..end);
    }
    if !rises(&columns) {
        return Err("column ids do not rise");
    }
    let grid = Grid { gpus: wire.slots.len(), samples };
    if grid.cells() * columns.len() > limits::CELLS {
        return Err("too many cells");
    }

    let mut reader = Reader::new(&wire.data);
    let times = decode_columns(&mut reader, 3, Grid { gpus: 1, samples }, &[])?;
    let mut times = times.into_iter().map(|cell| cell.map_err(|_| "a sample time is absent"));
    let mut time_row = || times.by_ref().take(samples).collect::<Result<Vec<u64>, Fault>>();
    let (seq, mono, unix) = (time_row()?, time_row()?, time_row()?);
    let cells = decode_columns(&mut reader, columns.len(), grid, &mono)?;
    if !reader.is_finished() {
        return Err("bits follow the last column");
    }
    let samples = (0..samples)
        .map(|i| SampleTime { seq: seq[i], taken_unix_ms: unix[i], taken_mono_ms: mono[i] })
        .collect();
    Ok(TelemetryBatch { samples, slots: wire.slots, columns, cells, extensions: wire.extensions })
}

/// Decodes `count` columns over the same grid. `mono_ms` empty: no integrals.
fn decode_columns(
    reader: &mut Reader<'_>,
    count: usize,
    grid: Grid,
    mono_ms: &[u64],
) -> Result<Vec<Cell>, Fault> {
    let mut cells: Vec<Cell> = Vec::with_capacity(count * grid.cells());
    // Values with absent cells filled, for later columns to lean on.
    let mut filled: Vec<u64> = Vec::with_capacity(count * grid.cells());
    let mut map: Runs = Vec::new();
    let mut base = Vec::new();
    for column in 0..count {
        let start = cells.len();
        let all_present = presence(reader, grid, &mut map, &mut cells)?;
        filled.resize(start + grid.cells(), 0);
        let (before, values) = filled.split_at_mut(start);
        let present = |at: usize| cells[start + at].is_ok();
        if (0..grid.cells()).any(present) {
            if reader.bit().ok_or(ENDS)? {
                base.clear();
                if reader.bit().ok_or(ENDS)? {
                    let lean =
                        Lean::from_number(reader.take(2).ok_or(ENDS)?).ok_or("unknown kind of lean")?;
                    let back = reader.natural().ok_or(ENDS)?;
                    if back >= column as u64 {
                        return Err("a column leans on one before the first");
                    }
                    if lean == Lean::Integral && mono_ms.is_empty() {
                        return Err("a time column leans on an integral");
                    }
                    let earlier = (column - 1 - back as usize) * grid.cells();
                    against(lean, &before[earlier..][..grid.cells()], grid, mono_ms, &mut base);
                } else {
                    base.resize(grid.cells(), 0);
                }
                general(reader, grid, all_present, present, &base, values)?;
            } else {
                values.fill(reader.number().ok_or(ENDS)?.cast_unsigned());
            }
        }
        for (cell, value) in cells[start..].iter_mut().zip(values.iter()) {
            if let Ok(slot) = cell {
                *slot = *value;
            }
        }
        fill(values, |at| cells[start + at].is_ok(), grid);
    }
    Ok(cells)
}

/// Appends a column's cells: zero where present, else the reason. True when all are present.
fn presence(
    reader: &mut Reader<'_>,
    grid: Grid,
    map: &mut Runs,
    cells: &mut Vec<Cell>,
) -> Result<bool, Fault> {
    if !reader.bit().ok_or(ENDS)? {
        cells.resize(cells.len() + grid.cells(), Ok(0));
        return Ok(true);
    }
    if reader.bit().ok_or(ENDS)? {
        if reader.bit().ok_or(ENDS)? {
            let no_data = reason(reader.natural().ok_or(ENDS)?)?;
            cells.resize(cells.len() + grid.cells(), Err(no_data));
            return Ok(false);
        }
        map.clear();
        let mut left = grid.cells();
        while left > 0 {
            let kind = match reader.natural().ok_or(ENDS)? {
                0 => None,
                n => Some(reason(n - 1)?),
            };
            let more = reader.natural().ok_or(ENDS)?;
            if more >= left as u64 {
                return Err("presence map runs over the column");
            }
            let length = more as usize + 1;
            map.push((kind, length));
            left -= length;
        }
    } else if map.is_empty() {
        return Err("no presence map to repeat");
    }
    for (kind, length) in map.iter() {
        cells.resize(cells.len() + length, kind.map_or(Ok(0), Err));
    }
    Ok(false)
}

fn reason(number: u64) -> Result<NoData, Fault> {
    NoData::from_number(number).ok_or("no-data number out of range")
}

/// Reads the general form of a column into `values`.
fn general(
    reader: &mut Reader<'_>,
    grid: Grid,
    all_present: bool,
    present: impl Fn(usize) -> bool,
    base: &[u64],
    values: &mut [u64],
) -> Result<(), Fault> {
    let shared = all_present && grid.gpus > 1 && reader.bit().ok_or(ENDS)?;
    let divisor = if reader.bit().ok_or(ENDS)? {
        let shift = reader.natural().ok_or(ENDS)?;
        let odd = reader.natural().ok_or(ENDS)?;
        divisor(shift, odd).ok_or("divisor out of range")?
    } else {
        1
    };
    let first_order = reader.bit().ok_or(ENDS)?;
    let row = |gpu: usize| gpu * grid.samples..(gpu + 1) * grid.samples;
    let gpus: Vec<usize> =
        (0..if shared { 1 } else { grid.gpus }).filter(|&gpu| row(gpu).any(&present)).collect();
    let starts = list(reader, gpus.len())?;
    let drifts = if first_order { list(reader, gpus.len())? } else { Vec::new() };
    let parameters = list(reader, gpus.len())?;
    for (i, &gpu) in gpus.iter().enumerate() {
        let parameter = match parameters[i] {
            0 => None,
            k @ 1..=64 => Some(k as u32 - 1),
            _ => return Err("rice parameter out of range"),
        };
        let mut residual = || match parameter {
            None => Ok(0),
            Some(k) => reader.rice(k).map(super::bits::unzigzag).ok_or(ENDS),
        };
        let mut last = starts[i];
        let mut first = true;
        for at in row(gpu).filter(|&at| present(at)) {
            let quotient = if first_order {
                if !first {
                    last = last.wrapping_add(drifts[i]).wrapping_add(residual()?);
                }
                first = false;
                last
            } else {
                starts[i].wrapping_add(residual()?)
            };
            values[at] = quotient.cast_unsigned().wrapping_mul(divisor);
        }
    }
    if shared {
        let (head, rest) = values.split_at_mut(grid.samples);
        rest.chunks_exact_mut(grid.samples).for_each(|row| row.copy_from_slice(head));
    }
    values.iter_mut().zip(base).for_each(|(value, base)| *value = value.wrapping_add(*base));
    Ok(())
}

/// `(2 × odd + 1) << shift`, when it is from 2 to 2^62.
fn divisor(shift: u64, odd: u64) -> Option<u64> {
    let odd = odd.checked_mul(2)?.checked_add(1)?;
    let fits = shift <= 62 && odd <= (1 << 62) >> shift;
    (fits && (shift > 0 || odd > 1)).then(|| odd << shift)
}

/// One number per row: the smallest, then how far each is above it.
fn list(reader: &mut Reader<'_>, rows: usize) -> Result<Vec<i64>, Fault> {
    let least = reader.number().ok_or(ENDS)?;
    let width = if rows > 1 { reader.natural().ok_or(ENDS)? } else { 0 };
    if width > 64 {
        return Err("list width out of range");
    }
    (0..rows).map(|_| Ok(least.wrapping_add(reader.take(width as u32).ok_or(ENDS)?.cast_signed()))).collect()
}
