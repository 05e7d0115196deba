//! Recordings: the text form that the agent's recorder writes, and the binary form that the library maps.
//!
//! The binary form is file-backed and read-only, so that a day of recording costs no private memory.

use crate::cell::Cell;
use crate::fields::{FAST, Field, NAMES};
use std::fs::File;
use std::io::{BufRead, Write};
use std::os::fd::AsRawFd;
use std::path::Path;

/// Largest recording in bytes.
pub const MAX_BYTES: u64 = 64 << 20;
/// Most rows of a recording, all GPUs together.
pub const MAX_ROWS: usize = 1_000_000;

const MAGIC: u64 = u64::from_le_bytes(*b"rmtrace1");
/// Numbers of one row: the time, then the fast fields.
const ROW: usize = FAST + 1;
/// Numbers of the head: magic, GPUs, lap in ms, then first row and row count per GPU.
const HEAD: usize = 3;

/// Why a recording cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TraceError {
    /// The file cannot be read.
    #[error("cannot read the recording")]
    Read(#[source] std::io::Error),
    /// The binary form cannot be written.
    #[error("cannot write the replay file")]
    Write(#[source] std::io::Error),
    /// More than [`MAX_BYTES`].
    #[error("recording is larger than {MAX_BYTES} bytes")]
    TooLarge,
    /// A line is not as it must be.
    #[error("line {line} of the recording {problem}")]
    Line {
        /// Line number from 1.
        line: usize,
        /// What is wrong.
        problem: String,
    },
}

/// What a recording says about one GPU.
#[derive(Debug, Clone, PartialEq)]
pub struct Recorded {
    /// Product name.
    pub name: Option<String>,
    /// UUID as recorded.
    pub uuid: String,
    /// Serial number as recorded.
    pub serial: String,
    /// PCI address as recorded.
    pub pci_address: Option<String>,
    /// Inventory figures that this library knows by the same edge name.
    pub cells: Vec<(Field, Cell)>,
}

/// A recording in memory.
#[derive(Debug)]
pub struct Trace {
    /// Driver version.
    pub driver_version: Option<String>,
    /// Milliseconds between samples.
    pub period_ms: u64,
    /// GPUs.
    pub gpus: Vec<Recorded>,
    /// Rows per GPU, each a time and the fast figures, in rising time.
    rows: Vec<Vec<[i64; ROW]>>,
}

fn line_error(line: usize, problem: impl Into<String>) -> TraceError {
    TraceError::Line { line, problem: problem.into() }
}

fn head(text: &str) -> Result<(Option<String>, u64, Vec<Recorded>), TraceError> {
    let json: serde_json::Value =
        serde_json::from_str(text).map_err(|error| line_error(2, format!("is not JSON: {error}")))?;
    let list = json["gpus"].as_array().ok_or_else(|| line_error(2, "has no list `gpus`"))?;
    if list.len() > crate::control::MAX_GPUS {
        return Err(line_error(2, format!("has more than {} GPUs", crate::control::MAX_GPUS)));
    }
    let mut gpus = Vec::new();
    for gpu in list {
        let text = |key: &str| gpu[key].as_str().map(|text| text.chars().take(95).collect::<String>());
        let pci_address = text("pci_address").filter(|address| crate::profile::is_pci_address(address));
        let figures = gpu.as_object().ok_or_else(|| line_error(2, "has a GPU that is no object"))?;
        let cells = figures
            .iter()
            .filter_map(|(key, value)| {
                let field = Field::by_name(key).filter(|field| field.position() >= FAST)?;
                value
                    .as_i64()
                    .or_else(|| value.as_bool().map(i64::from))
                    .map(|value| (field, Cell::value(value)))
            })
            .collect();
        gpus.push(Recorded {
            name: text("name"),
            uuid: text("uuid").unwrap_or_default(),
            serial: text("serial").unwrap_or_default(),
            pci_address: pci_address.map(|address| address.to_uppercase()),
            cells,
        });
    }
    let driver = json["driver_version"].as_str().map(|text| text.chars().take(79).collect());
    Ok((driver, json["period_ms"].as_u64().unwrap_or(1000).clamp(1, 3_600_000), gpus))
}

fn row(line: usize, text: &str, last: &mut [Option<[i64; ROW]>]) -> Result<usize, TraceError> {
    let mut cells = text.split(',');
    let mut number = |what: &str| {
        let cell = cells.next().unwrap_or_default();
        cell.parse::<u32>().map_err(|_| line_error(line, format!("has `{cell}` as its {what}")))
    };
    let (time, gpu) = (number("t_ms")?, number("gpu")? as usize);
    let previous =
        last.get_mut(gpu).ok_or_else(|| line_error(line, format!("names GPU {gpu}, which line 2 lacks")))?;
    let mut row = previous.unwrap_or([Cell::error(crate::cell::NOT_SAMPLED).raw(); ROW]);
    if previous.is_some_and(|previous| previous[0] > i64::from(time)) {
        return Err(line_error(line, "goes back in time"));
    }
    row[0] = i64::from(time);
    for (position, slot) in row[1..].iter_mut().enumerate() {
        let cell =
            cells.next().ok_or_else(|| line_error(line, format!("ends before `{}`", NAMES[position])))?;
        if !cell.is_empty() {
            let parsed = Cell::parse(cell)
                .ok_or_else(|| line_error(line, format!("has `{cell}` as its {}", NAMES[position])))?;
            *slot = parsed.raw();
        }
    }
    if cells.next().is_some() {
        return Err(line_error(line, "has too many cells"));
    }
    *previous = Some(row);
    Ok(gpu)
}

impl Trace {
    /// Reads a recording. Total: any bytes give a recording or an error.
    ///
    /// # Errors
    /// Too large, unreadable, or a line that does not fit, with its number.
    pub fn read(from: impl BufRead) -> Result<Trace, TraceError> {
        let mut lines = from.take(MAX_BYTES + 1).lines();
        let mut size = 0;
        let mut number = 0;
        let mut next = || -> Result<Option<String>, TraceError> {
            number += 1;
            let line = match lines.next() {
                None => return Ok(None),
                Some(line) => line.map_err(TraceError::Read)?,
            };
            size += line.len() as u64 + 1;
            if size > MAX_BYTES + 1 { Err(TraceError::TooLarge) } else { Ok(Some(line)) }
        };
        let others = match next()?.as_deref() {
            Some("rackmark-trace 1") => false,
            Some("rackmark-trace 2") => true,
            _ => return Err(line_error(1, "is not `rackmark-trace 1` or `rackmark-trace 2`")),
        };
        let (driver_version, period_ms, gpus) = head(&next()?.unwrap_or_default())?;
        let columns = next()?.unwrap_or_default();
        let wanted = ["t_ms", "gpu"].into_iter().chain(NAMES[..FAST].iter().copied());
        if !columns.split(',').eq(wanted) {
            return Err(line_error(3, "does not name the columns t_ms, gpu and the 42 fast fields"));
        }
        let mut rows: Vec<Vec<[i64; ROW]>> = vec![Vec::new(); gpus.len()];
        let mut last = vec![None; gpus.len()];
        let mut line = 3;
        let mut total = 0;
        while let Some(text) = next()? {
            line += 1;
            // Version 2 records more than fast figures; a replay has no use for it.
            if text.is_empty() || (others && text.starts_with('@')) {
                continue;
            }
            total += 1;
            if total > MAX_ROWS {
                return Err(line_error(line, format!("is beyond the limit of {MAX_ROWS} rows")));
            }
            let gpu = row(line, &text, &mut last)?;
            if let Some(row) = last[gpu] {
                rows[gpu].push(row);
            }
        }
        Ok(Trace { driver_version, period_ms, gpus, rows })
    }

    /// Writes the binary form.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write(&self, to: &Path) -> Result<(), TraceError> {
        let write = |error| TraceError::Write(error);
        let mut file = std::io::BufWriter::new(File::create(to).map_err(write)?);
        let last =
            self.rows.iter().filter_map(|rows| rows.last()).map(|row| row[0] as u64).max().unwrap_or(0);
        let mut head = vec![MAGIC, self.gpus.len() as u64, last + self.period_ms];
        let mut first = 0;
        for rows in &self.rows {
            head.extend([first, rows.len() as u64]);
            first += rows.len() as u64;
        }
        for number in head {
            file.write_all(&number.to_le_bytes()).map_err(write)?;
        }
        for number in self.rows.iter().flatten().flatten() {
            file.write_all(&number.to_le_bytes()).map_err(write)?;
        }
        file.flush().map_err(write)
    }
}

/// A mapped replay file. Never unmapped.
#[derive(Debug)]
pub struct Recording {
    numbers: &'static [i64],
    gpus: usize,
    lap_ms: u64,
}

impl Recording {
    /// Maps a replay file and checks its head.
    ///
    /// # Errors
    /// Unreadable, or not a replay file.
    pub fn open(path: &Path) -> std::io::Result<Recording> {
        let bad = || std::io::Error::new(std::io::ErrorKind::InvalidData, "not a replay file");
        let file = File::open(path)?;
        let bytes = usize::try_from(file.metadata()?.len()).map_err(|_| bad())?;
        if bytes < HEAD * 8 || !bytes.is_multiple_of(8) {
            return Err(bad());
        }
        // SAFETY: a fresh read-only mapping of the whole file; no other memory is touched.
        let at = unsafe {
            libc::mmap(std::ptr::null_mut(), bytes, libc::PROT_READ, libc::MAP_PRIVATE, file.as_raw_fd(), 0)
        };
        if at == libc::MAP_FAILED {
            return Err(std::io::Error::last_os_error());
        }
        // SAFETY: the mapping is page-aligned, `bytes` long, never unmapped, and nothing writes the file after `prepare`.
        let numbers = unsafe { std::slice::from_raw_parts(at.cast::<i64>(), bytes / 8) };
        let gpus = usize::try_from(numbers[1]).map_err(|_| bad())?;
        let recording = Recording { numbers, gpus, lap_ms: numbers[2].cast_unsigned() };
        let fits = |gpu| recording.span(gpu).is_some();
        if numbers[0].cast_unsigned() != MAGIC
            || gpus > crate::control::MAX_GPUS
            || recording.lap_ms == 0
            || !(0..gpus).all(fits)
        {
            return Err(bad());
        }
        Ok(recording)
    }

    fn span(&self, gpu: usize) -> Option<&'static [i64]> {
        let at = HEAD + 2 * gpu;
        let first = usize::try_from(*self.numbers.get(at)?).ok()?;
        let count = usize::try_from(*self.numbers.get(at + 1)?).ok()?;
        let start = (HEAD + 2 * self.gpus).checked_add(first.checked_mul(ROW)?)?;
        self.numbers.get(start..start.checked_add(count.checked_mul(ROW)?)?)
    }

    /// Index of the row that holds at `ms` into a lap, and the row after it.
    fn at(span: &[i64], ms: u64) -> (usize, Option<u64>) {
        let rows = span.len() / ROW;
        let (mut low, mut high) = (0, rows);
        while low < high {
            let middle = usize::midpoint(low, high);
            if span[middle * ROW].cast_unsigned() <= ms { low = middle + 1 } else { high = middle }
        }
        (low.saturating_sub(1), span.get(low * ROW).map(|time| time.cast_unsigned()))
    }

    /// When the figures of a GPU change next after `now_ms`.
    pub fn next_change_ms(&self, gpu: usize, now_ms: u64) -> u64 {
        let lap = now_ms / self.lap_ms;
        let next = self.span(gpu).and_then(|span| Recording::at(span, now_ms % self.lap_ms).1);
        lap * self.lap_ms + next.unwrap_or(self.lap_ms)
    }

    /// The fast figures of a GPU at `now_ms`. Counters gain a lap's growth with every lap.
    pub fn figures(&self, gpu: usize, now_ms: u64) -> [Cell; FAST] {
        let mut cells = [Cell::error(crate::cell::NOT_SAMPLED); FAST];
        let Some(span) = self.span(gpu).filter(|span| !span.is_empty()) else { return cells };
        let row = Recording::at(span, now_ms % self.lap_ms).0 * ROW;
        let laps = i64::try_from(now_ms / self.lap_ms).unwrap_or(0);
        for (position, cell) in cells.iter_mut().enumerate() {
            *cell = Cell::from_raw(span[row + 1 + position]);
            let Some(value) =
                cell.ok().filter(|_| laps > 0 && Field::at(position).is_some_and(Field::is_counter))
            else {
                continue;
            };
            let figure = |row: usize| Cell::from_raw(span[row * ROW + 1 + position]).ok();
            let ends =
                (0..span.len() / ROW).find_map(figure).zip((0..span.len() / ROW).rev().find_map(figure));
            let growth = ends.map_or(0, |(first, last)| last.saturating_sub(first).max(0));
            *cell = Cell::value(value.saturating_add(growth.saturating_mul(laps)));
        }
        cells
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text(rows: &[&str]) -> String {
        let head = r#"{"recorded_unix_ms":1,"period_ms":1000,"driver_version":"1.2","gpus":[{"name":"X","uuid":"GPU-1","serial":"9","pci_address":"00000000:83:00.0","memory_total_bytes":77}]}"#;
        format!("rackmark-trace 1\n{head}\nt_ms,gpu,{}\n{}\n", NAMES[..FAST].join(","), rows.join("\n"))
    }

    fn full(time: u32, energy: &str) -> String {
        let cells: Vec<String> = (0..FAST)
            .map(|position| if position == 17 { energy.to_owned() } else { "!not_supported".to_owned() })
            .collect();
        format!("{time},0,{}", cells.join(","))
    }

    fn replayed(text: &str) -> Recording {
        let trace = Trace::read(text.as_bytes()).unwrap();
        let file = tempfile::NamedTempFile::new().unwrap();
        trace.write(file.path()).unwrap();
        Recording::open(file.path()).unwrap()
    }

    #[test]
    fn counters_grow_across_laps_and_empty_cells_repeat() {
        let empty = format!("1000,0{}", ",".repeat(FAST));
        let recording = replayed(&text(&[&full(0, "500"), &empty, &full(2000, "800")]));
        let energy = |ms| recording.figures(0, ms)[17].ok();
        assert_eq!(
            [energy(0), energy(1500), energy(2999), energy(3000), energy(5999), energy(6000)],
            [Some(500), Some(500), Some(800), Some(800), Some(1100), Some(1100)]
        );
        assert_eq!(recording.figures(0, 1500)[0], Cell::NOT_SUPPORTED);
        assert_eq!(recording.next_change_ms(0, 1500), 2000);
        assert_eq!(recording.next_change_ms(0, 2500), 3000);
    }

    #[test]
    fn inventory_is_kept_and_mistakes_have_a_line() {
        let trace = Trace::read(text(&[]).as_bytes()).unwrap();
        assert_eq!(trace.gpus[0].cells, vec![(Field::MEMORY_TOTAL, Cell::value(77))]);
        for (rows, problem) in [
            (vec!["0,1"], "line 4 of the recording names GPU 1, which line 2 lacks"),
            (vec!["0,0,5"], "line 4 of the recording ends before `utilization_memory_percent`"),
            (vec!["x,0"], "line 4 of the recording has `x` as its t_ms"),
        ] {
            assert_eq!(Trace::read(text(&rows).as_bytes()).unwrap_err().to_string(), problem);
        }
    }

    #[test]
    fn version_2_replays_its_rows_and_version_1_has_nothing_else() {
        let body = text(&["@0 {\"slow\":{}}", &full(0, "500"), "@7 anything", &full(1000, "600")]);
        let newer = body.replacen("rackmark-trace 1", "rackmark-trace 2", 1);
        assert_eq!(replayed(&newer).figures(0, 1000)[17].ok(), Some(600));
        assert_eq!(
            Trace::read(body.as_bytes()).unwrap_err().to_string(),
            "line 4 of the recording has `@0 {\"slow\":{}}` as its t_ms"
        );
        let newest = body.replacen("rackmark-trace 1", "rackmark-trace 3", 1);
        assert!(Trace::read(newest.as_bytes()).unwrap_err().to_string().starts_with("line 1 "));
    }

    proptest! {
        #[test]
        fn the_parser_is_total(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = Trace::read(bytes.as_slice());
        }

        #[test]
        fn the_row_parser_is_total(row in "[0-9!a-z_:,\\-]{0,300}") {
            let _ = Trace::read(text(&[&row]).as_bytes());
        }

        #[test]
        fn replayed_counters_only_grow(steps in prop::collection::vec(0u32..1000, 2..20), looks in prop::collection::vec(1u64..5000, 1..30)) {
            let mut energy = 0;
            let rows: Vec<String> = steps.iter().enumerate().map(|(second, step)| {
                energy += step;
                full(second as u32 * 1000, &energy.to_string())
            }).collect();
            let recording = replayed(&text(&rows.iter().map(String::as_str).collect::<Vec<_>>()));
            let (mut at, mut last) = (0, 0);
            for look in looks {
                at += look;
                let now = recording.figures(0, at)[17].ok().unwrap();
                prop_assert!(now >= last);
                last = now;
            }
        }
    }
}
