//! From cells to the bit stream. The encoder tries a few codings per column
//! and takes the shortest; which ones it tries is its own affair, the decoder
//! takes any.

use super::bits::{ESCAPE, Writer, natural_bits, zigzag};
use super::column::{Grid, Lean, Runs, against, fill};
use super::{Cell, TelemetryBatch};
use crate::value::NoData;

/// Fast fields that follow another: (field, earlier field, how).
const LEANS: [(u16, u16, Lean); 11] = [
    (7, 6, Lean::Sum),          // memory free + used is the size
    (10, 9, Lean::Difference),  // SM clock and graphics clock
    (12, 9, Lean::Difference),  // video clock moves with the graphics clock
    (15, 14, Lean::Difference), // instant power and power
    (17, 14, Lean::Integral),   // energy is power over time
    (17, 15, Lean::Integral),
    (19, 18, Lean::Difference), // memory temperature and GPU temperature
    (20, 18, Lean::Sum),        // margin + temperature is the threshold
    (20, 19, Lean::Sum),
    (34, 33, Lean::Difference), // NVLink receive and transmit
    (36, 35, Lean::Difference), // tensor pipe and SM
];

pub(super) fn encode(batch: &TelemetryBatch) -> Vec<u8> {
    let samples = batch.samples.len();
    let mut writer = Writer::with_capacity(64 + batch.cells.len() / 2);
    let mut times = Encoder::new(Grid { gpus: 1, samples }, &[]);
    let seq: Vec<Cell> = batch.samples.iter().map(|s| Ok(s.seq)).collect();
    let mono: Vec<Cell> = batch.samples.iter().map(|s| Ok(s.taken_mono_ms)).collect();
    let unix: Vec<Cell> = batch.samples.iter().map(|s| Ok(s.taken_unix_ms)).collect();
    times.column(&mut writer, &seq, &[]);
    times.column(&mut writer, &mono, &[]);
    times.column(&mut writer, &unix, &[(1, Lean::Difference)]);

    let mono: Vec<u64> = batch.samples.iter().map(|s| s.taken_mono_ms).collect();
    let grid = Grid { gpus: batch.slots.len(), samples };
    let mut encoder = Encoder::new(grid, &mono);
    let mut leans = Vec::new();
    for (position, &id) in batch.columns.iter().enumerate() {
        leans.clear();
        leans.extend(LEANS.iter().filter(|(field, _, _)| *field == id).filter_map(|&(_, earlier, lean)| {
            batch.columns[..position].binary_search(&earlier).ok().map(|at| (at, lean))
        }));
        let cells = &batch.cells[position * grid.cells()..][..grid.cells()];
        encoder.column(&mut writer, cells, &leans);
    }
    writer.finish()
}

/// One way to write the values of a column.
#[derive(Debug, Default)]
struct Plan {
    /// Bits without the two that every general column has in common.
    bits: u64,
    lean: Option<(Lean, u64)>,
    shared: bool,
    divisor: u64,
    first_order: bool,
    starts: Vec<i64>,
    drifts: Vec<i64>,
    parameters: Vec<i64>,
    /// Zigzagged residuals of all rows, and how many each row has.
    residuals: Vec<u64>,
    lengths: Vec<usize>,
}

struct Encoder<'a> {
    grid: Grid,
    mono_ms: &'a [u64],
    /// Columns so far, absent cells filled.
    filled: Vec<u64>,
    /// The presence map written last.
    map: Runs,
    base: Vec<u64>,
    values: Vec<i64>,
}

impl<'a> Encoder<'a> {
    fn new(grid: Grid, mono_ms: &'a [u64]) -> Self {
        Self { grid, mono_ms, filled: Vec::new(), map: Vec::new(), base: Vec::new(), values: Vec::new() }
    }

    /// Writes the next column. `leans` are earlier columns worth a try.
    fn column(&mut self, writer: &mut Writer, cells: &[Cell], leans: &[(usize, Lean)]) {
        let all_present = self.presence(writer, cells);
        let start = self.filled.len();
        self.filled.extend(cells.iter().map(|cell| cell.unwrap_or(0)));
        let mut present = cells.iter().filter_map(|cell| cell.ok());
        if let Some(first) = present.next() {
            if present.all(|value| value == first) {
                writer.bit(false);
                writer.number(first.cast_signed());
            } else {
                writer.bit(true);
                self.best(cells, all_present, leans).write(writer, all_present && self.grid.gpus > 1);
            }
        }
        fill(&mut self.filled[start..], |at| cells[at].is_ok(), self.grid);
    }

    /// Writes which cells are present. True when all are.
    fn presence(&mut self, writer: &mut Writer, cells: &[Cell]) -> bool {
        if cells.iter().all(Result::is_ok) {
            writer.bit(false);
            return true;
        }
        writer.bit(true);
        let runs = runs(cells);
        if let [(Some(no_data), _)] = runs[..] {
            writer.put(0b11, 2);
            writer.natural(no_data.to_number());
        } else if runs == self.map {
            writer.bit(false);
        } else {
            writer.put(0b10, 2);
            for (kind, length) in &runs {
                writer.natural(kind.map_or(0, |no_data| no_data.to_number() + 1));
                writer.natural(*length as u64 - 1);
            }
            self.map = runs;
        }
        false
    }

    /// The shortest of the codings worth a try.
    fn best(&mut self, cells: &[Cell], all_present: bool, leans: &[(usize, Lean)]) -> Plan {
        let column = self.filled.len() / self.grid.cells() - 1;
        self.base.clear();
        self.base.resize(self.grid.cells(), 0);
        let mut best = self.plan(cells, all_present);
        for &(earlier, lean) in leans {
            let (before, _) = self.filled.split_at(earlier * self.grid.cells() + self.grid.cells());
            against(lean, &before[earlier * self.grid.cells()..], self.grid, self.mono_ms, &mut self.base);
            let mut plan = self.plan(cells, all_present);
            let back = (column - 1 - earlier) as u64;
            plan.bits += 2 + natural_bits(back);
            plan.lean = Some((lean, back));
            if plan.bits < best.bits {
                best = plan;
            }
        }
        best
    }

    /// The shortest coding of the column against `self.base`.
    fn plan(&mut self, cells: &[Cell], all_present: bool) -> Plan {
        let samples = self.grid.samples;
        self.values.clear();
        let mut lengths = Vec::with_capacity(self.grid.gpus);
        for (row, base) in cells.chunks_exact(samples).zip(self.base.chunks_exact(samples)) {
            let before = self.values.len();
            self.values.extend(
                row.iter().zip(base).filter_map(|(cell, base)| {
                    cell.ok().map(|value| value.wrapping_sub(*base).cast_signed())
                }),
            );
            if self.values.len() > before {
                lengths.push(self.values.len() - before);
            }
        }
        let shared = all_present
            && self.grid.gpus > 1
            && self.values.chunks_exact(samples).skip(1).all(|row| row == &self.values[..samples]);
        if shared {
            self.values.truncate(samples);
            lengths.truncate(1);
        }
        let divisor = divide(&mut self.values);
        let best = shortest(&self.values, &lengths);
        Plan { shared, divisor, bits: best.bits + divisor_bits(divisor), ..best }
    }
}

impl Plan {
    fn write(&self, writer: &mut Writer, may_share: bool) {
        writer.bit(self.lean.is_some());
        if let Some((lean, back)) = self.lean {
            writer.put(lean.number(), 2);
            writer.natural(back);
        }
        if may_share {
            writer.bit(self.shared);
        }
        writer.bit(self.divisor > 1);
        if self.divisor > 1 {
            let shift = self.divisor.trailing_zeros();
            writer.natural(u64::from(shift));
            writer.natural(self.divisor >> shift >> 1);
        }
        writer.bit(self.first_order);
        write_list(writer, &self.starts);
        if self.first_order {
            write_list(writer, &self.drifts);
        }
        write_list(writer, &self.parameters);
        let mut residuals = self.residuals.as_slice();
        for (&length, &parameter) in self.lengths.iter().zip(&self.parameters) {
            let (row, rest) = residuals.split_at(length);
            residuals = rest;
            if parameter > 0 {
                row.iter().for_each(|&value| writer.rice(value, parameter as u32 - 1));
            }
        }
    }
}

/// Presence of cells as runs.
fn runs(cells: &[Cell]) -> Runs {
    let mut runs: Runs = Vec::new();
    for cell in cells {
        let kind: Option<NoData> = cell.err();
        match runs.last_mut() {
            Some((last, length)) if *last == kind => *length += 1,
            _ => runs.push((kind, 1)),
        }
    }
    runs
}

/// Divides the values by their greatest common divisor, up to 2^62; returns it.
fn divide(values: &mut [i64]) -> u64 {
    let mut divisor: u64 = 0;
    for value in values.iter() {
        divisor = gcd(divisor, value.unsigned_abs());
        if divisor == 1 {
            return 1;
        }
    }
    if divisor == 0 || divisor > 1 << 62 {
        return 1;
    }
    values.iter_mut().for_each(|value| *value /= divisor.cast_signed());
    divisor
}

fn gcd(mut a: u64, mut b: u64) -> u64 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

fn divisor_bits(divisor: u64) -> u64 {
    if divisor == 1 {
        return 0;
    }
    let shift = divisor.trailing_zeros();
    natural_bits(u64::from(shift)) + natural_bits(divisor >> shift >> 1)
}

/// A plan without residuals and parameters, and an estimate of its bits.
struct Sketch {
    estimate: u64,
    first_order: bool,
    starts: Vec<i64>,
    drifts: Vec<i64>,
}

/// Sketches one coding: `values` in rows of `lengths` against one number per row.
fn sketch(values: &[i64], lengths: &[usize], offsets: &[i64]) -> u64 {
    let bits: u64 = rows(values, lengths)
        .zip(offsets)
        .map(|(row, offset)| {
            let sum: u128 = row.iter().map(|value| u128::from(zigzag(value.wrapping_sub(*offset)))).sum();
            if sum == 0 { 0 } else { row.len() as u64 * sixteenths(sum / row.len() as u128 + 1) / 16 }
        })
        .sum();
    bits + list_bits(offsets)
}

/// Bits of a Rice code of values with this mean (plus 1), in sixteenths of a bit: 1.5 + log2.
fn sixteenths(mean: u128) -> u64 {
    let whole = mean.ilog2();
    let fraction = if whole >= 4 { mean >> (whole - 4) } else { mean << (4 - whole) } - 16;
    24 + 16 * u64::from(whole) + fraction as u64
}

/// The shortest coding of divided values.
fn shortest(values: &[i64], lengths: &[usize]) -> Plan {
    let zero = |starts: Vec<i64>| Sketch {
        estimate: sketch(values, lengths, &starts),
        first_order: false,
        starts,
        drifts: Vec::new(),
    };
    let mut best = zero(vec![median(values); lengths.len()]);
    let mut consider = |sketch: Sketch| {
        if sketch.estimate < best.estimate {
            best = sketch;
        }
    };
    if lengths.len() > 1 {
        consider(zero(rows(values, lengths).map(median).collect()));
    }

    let starts: Vec<i64> = rows(values, lengths).map(|row| row[0]).collect();
    let steps: Vec<i64> = rows(values, lengths)
        .flat_map(|row| row.windows(2).map(|pair| pair[1].wrapping_sub(pair[0])))
        .collect();
    let shorter: Vec<usize> = lengths.iter().map(|length| length - 1).collect();
    if !steps.is_empty() {
        let start_bits = list_bits(&starts);
        let first = |drifts: Vec<i64>| Sketch {
            estimate: start_bits + sketch(&steps, &shorter, &drifts),
            first_order: true,
            starts: starts.clone(),
            drifts,
        };
        consider(first(vec![0; lengths.len()]));
        let common = median(&steps);
        if common != 0 {
            consider(first(vec![common; lengths.len()]));
        }
        if lengths.len() > 1 {
            consider(first(rows(&steps, &shorter).map(median).collect()));
        }
    }

    let (values, lengths, offsets) = if best.first_order {
        (steps.as_slice(), shorter, &best.drifts)
    } else {
        (values, lengths.to_vec(), &best.starts)
    };
    let residuals = rows(values, &lengths)
        .zip(offsets)
        .flat_map(|(row, offset)| row.iter().map(|value| zigzag(value.wrapping_sub(*offset))))
        .collect();
    let mut plan = with_parameters(residuals, lengths);
    plan.bits += list_bits(&best.starts);
    if best.first_order {
        plan.bits += list_bits(&best.drifts);
    }
    Plan { first_order: best.first_order, starts: best.starts, drifts: best.drifts, ..plan }
}

fn rows<'a>(values: &'a [i64], lengths: &'a [usize]) -> impl Iterator<Item = &'a [i64]> {
    lengths.iter().scan(values, |rest, &length| {
        let (row, after) = rest.split_at(length);
        *rest = after;
        Some(row)
    })
}

/// The middle value; 0 for none.
fn median(values: &[i64]) -> i64 {
    let mut sorted = values.to_vec();
    match sorted.len() {
        0 => 0,
        length => *sorted.select_nth_unstable(length / 2).1,
    }
}

/// Chooses Rice parameters for residuals: one per row, or one for all rows.
fn with_parameters(residuals: Vec<u64>, lengths: Vec<usize>) -> Plan {
    let (common, common_bits) = parameter(&residuals);
    let common = vec![common; lengths.len()];
    let common_bits = common_bits + list_bits(&common);
    if lengths.len() > 1 {
        let mut own = Vec::with_capacity(lengths.len());
        let mut own_bits = 0;
        let mut rest = residuals.as_slice();
        for &length in &lengths {
            let (row, after) = rest.split_at(length);
            rest = after;
            let (parameter, bits) = parameter(row);
            own.push(parameter);
            own_bits += bits;
        }
        own_bits += list_bits(&own);
        if own_bits < common_bits {
            return Plan { bits: own_bits, parameters: own, residuals, lengths, ..Plan::default() };
        }
    }
    Plan { bits: common_bits, parameters: common, residuals, lengths, ..Plan::default() }
}

/// Best parameter (0: all are zero; else Rice parameter + 1) and the bits it takes.
fn parameter(residuals: &[u64]) -> (i64, u64) {
    let sum: u128 = residuals.iter().map(|&value| u128::from(value)).sum();
    if sum == 0 {
        return (0, 0);
    }
    // Below the mean's bit length the quotients are near 1 or 2; the best
    // parameter is within one of it unless values are far from geometric.
    let mean = (sum / residuals.len() as u128) as u64;
    let near = (64 - mean.leading_zeros()).min(62);
    let (mut best, mut best_bits) = (0, u64::MAX);
    for k in near.saturating_sub(2)..=near + 1 {
        let bits = residuals
            .iter()
            .map(|&value| match value >> k {
                quotient if quotient < ESCAPE => quotient + 1 + u64::from(k),
                _ => ESCAPE + 64,
            })
            .sum();
        if bits < best_bits {
            (best, best_bits) = (k, bits);
        }
    }
    (i64::from(best) + 1, best_bits)
}

fn list_shape(list: &[i64]) -> (i64, u32) {
    let least = list.iter().copied().min().unwrap_or(0);
    let spread = list.iter().map(|value| value.wrapping_sub(least).cast_unsigned()).max().unwrap_or(0);
    (least, 64 - spread.leading_zeros())
}

fn list_bits(list: &[i64]) -> u64 {
    let (least, width) = list_shape(list);
    let rows = list.len() as u64;
    natural_bits(zigzag(least))
        + if rows > 1 { natural_bits(u64::from(width)) + rows * u64::from(width) } else { 0 }
}

fn write_list(writer: &mut Writer, list: &[i64]) {
    let (least, width) = list_shape(list);
    writer.number(least);
    if list.len() > 1 {
        writer.natural(u64::from(width));
        list.iter().for_each(|value| writer.put(value.wrapping_sub(least).cast_unsigned(), width));
    }
}
