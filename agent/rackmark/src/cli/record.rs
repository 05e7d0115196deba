//! `rackmark record`: a trace of real readings that the simulator can replay.
//!
//! Text, so that a trace can be read and compared: a line that names the
//! format, one JSON object with the inventory, a CSV header, then one row per
//! GPU and sample. A cell that is empty repeats the row before; `!reason` says
//! why there is no value.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use rackmark_model::ipc::{SamplerOrder, SamplerReport};
use rackmark_model::readings::{Descriptor, Fast, Inventory};
use rackmark_model::{NoData, Value};
use serde_json::{Map, Value as Json, json};
use tokio::time::{Instant, timeout_at};

use super::one_shot::{block_on, sampler_failure};
use super::{ConfigPath, duration};
use crate::clock;
use crate::control::verbs::insert;
use crate::exit::{Code, Failure};
use crate::sampling::link::Link;
use crate::sampling::roster::{Gpu, Roster};

#[derive(Debug, Args)]
pub struct Options {
    /// File to write.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// For how long, such as 5m.
    #[arg(long = "for", value_name = "TIME", value_parser = duration::parse, default_value = "5m")]
    length: Duration,
    /// Leave out UUIDs, serial numbers and everything else that names this machine.
    #[arg(long)]
    anonymous: bool,
    #[command(flatten)]
    config: ConfigPath,
}

/// Inventory that names one particular machine or board.
const NAMES: [&str; 7] =
    ["uuid", "serial", "chassis_serial", "fabric_cluster_uuid", "fabric_guid", "board_id", "pci_address"];

/// Progress is told this often.
const PROGRESS: Duration = Duration::from_secs(10);

pub fn run(options: &Options) -> Result<Code, Failure> {
    let config = options.config.load()?;
    let file = File::create(&options.file).map_err(|error| {
        Failure::new(Code::Unavailable, error).hint(format!("cannot write {}", options.file.display()))
    })?;
    let order = SamplerOrder {
        period_ms: config.period.as_millis() as u32,
        slow_every_ticks: config.slow_every_ticks,
        pcie_throughput: config.pcie_throughput,
        leave_alone: Vec::new(),
    };
    let rows = block_on(async {
        let mut link = Link::open(&config, &order).await.map_err(sampler_failure)?;
        let mut trace = Trace { out: BufWriter::new(file), began: None, last: Vec::new(), rows: 0 };
        let mut roster = Roster::default();
        let end = Instant::now() + options.length;
        let mut tell = Instant::now() + PROGRESS;
        while let Ok(report) = timeout_at(end, link.next()).await {
            let report = report.map_err(sampler_failure)?;
            let _ = roster.take(&report);
            if matches!(report, SamplerReport::Sample(_)) {
                trace
                    .sample(&roster, options, order.period_ms)
                    .map_err(|error| Failure::new(Code::Unavailable, error))?;
            }
            if Instant::now() >= tell {
                tell += PROGRESS;
                let left = end.saturating_duration_since(Instant::now()).as_secs();
                let _ = writeln!(std::io::stderr(), "{} rows, {left} s left", trace.rows);
            }
        }
        trace.out.flush().map_err(|error| Failure::new(Code::Unavailable, error))?;
        link.walk_away(|_| {}, |_| {});
        Ok(trace.rows)
    })?;
    if rows == 0 {
        return Err(Failure::new(Code::Unavailable, "no sample was taken")
            .hint("rackmark doctor looks for the cause"));
    }
    let _ = writeln!(std::io::stderr(), "{rows} rows in {}", options.file.display());
    Ok(Code::Ok)
}

struct Trace<W> {
    out: W,
    began: Option<u64>,
    last: Vec<Vec<String>>,
    rows: u64,
}

impl<W: std::io::Write> Trace<W> {
    fn sample(&mut self, roster: &Roster, options: &Options, period_ms: u32) -> std::io::Result<()> {
        let Some(taken) = roster.taken else { return Ok(()) };
        // The header names the GPUs, so it waits until all of them are known.
        if self.began.is_none() {
            let known = |gpu: &Gpu| gpu.inventory.is_some() || gpu.absence().is_some();
            if roster.gpus.is_empty() || !roster.gpus.iter().all(known) {
                return Ok(());
            }
            self.began = Some(taken.boot_ms);
            self.last = vec![Vec::new(); roster.gpus.len()];
            self.out.write_all(header(roster, options.anonymous, period_ms).as_bytes())?;
        }
        let since = taken.boot_ms.saturating_sub(self.began.unwrap_or(taken.boot_ms));
        for (at, gpu) in roster.gpus.iter().enumerate().take(self.last.len()) {
            let mut line = format!("{since},{at}");
            let mut cells = Vec::with_capacity(Fast::DESCRIPTORS.len());
            gpu.fast.each(|_, reading| cells.push(cell(reading)));
            for (column, text) in cells.iter().enumerate() {
                let repeated = self.last[at].get(column) == Some(text);
                let _ = write!(line, ",{}", if repeated { "" } else { text });
            }
            line.push('\n');
            self.last[at] = cells;
            self.rows += 1;
            self.out.write_all(line.as_bytes())?;
        }
        Ok(())
    }
}

fn cell(reading: Result<Value<'_>, NoData>) -> String {
    match reading {
        Ok(Value::Unsigned(number)) => number.to_string(),
        Ok(Value::Signed(number)) => number.to_string(),
        Ok(Value::Flag(flag)) => u8::from(flag).to_string(),
        Ok(Value::Text(_)) => "!not_supported".to_owned(),
        Err(why) => format!("!{why}"),
    }
}

fn header(roster: &Roster, anonymous: bool, period_ms: u32) -> String {
    let gpus: Vec<Json> = roster
        .gpus
        .iter()
        .map(|gpu| {
            let mut known = Map::new();
            if let Some(inventory) = &gpu.inventory {
                inventory.each(|at, reading| insert(&mut known, &Inventory::DESCRIPTORS[at], reading));
            }
            if anonymous {
                known.retain(|name, _| !NAMES.contains(&name.as_str()));
            }
            Json::Object(known)
        })
        .collect();
    let driver =
        roster.driver.as_ref().and_then(|driver| driver.driver_version.as_deref().ok()).unwrap_or("");
    let about = json!({
        "recorded_unix_ms": clock::unix_ms(),
        "period_ms": period_ms,
        "driver_version": driver,
        "gpus": gpus,
    });
    let columns: Vec<String> = Fast::DESCRIPTORS.iter().map(Descriptor::edge_name).collect();
    format!("rackmark-trace 1\n{about}\nt_ms,gpu,{}\n", columns.join(","))
}
