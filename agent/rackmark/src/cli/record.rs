//! `rackmark record`: a trace of real readings that the simulator can replay.
//!
//! The format is that of [`rackmark_health::trace`].

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use rackmark_health::trace::{About, TraceItem, What, Writer, XidSeen, XidSource};
use rackmark_model::ipc::{SamplePlan, SamplerOrder, SamplerReport};
use rackmark_model::readings::Inventory;
use rackmark_model::{GpuEventKind, NoData};
use tokio::time::{Instant, timeout_at};

use super::one_shot::{block_on, sampler_failure};
use super::{ConfigPath, duration};
use crate::clock;
use crate::exit::{Code, Failure};
use crate::sampling::link::Link;
use crate::sampling::roster::{Change, Gpu, Roster, Standing};

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

/// Progress is told this often.
const PROGRESS: Duration = Duration::from_secs(10);

pub fn run(options: &Options) -> Result<Code, Failure> {
    let config = options.config.load()?;
    let file = File::create(&options.file).map_err(|error| {
        Failure::new(Code::Unavailable, error).hint(format!("cannot write {}", options.file.display()))
    })?;
    let plan = SamplePlan {
        period_ms: config.period.as_millis() as u32,
        slow_every_ticks: config.slow_every_ticks,
        pcie_throughput: config.pcie_throughput,
        leave_alone: Vec::new(),
    };
    let rows = block_on(async {
        let mut link =
            Link::open(&config, &SamplerOrder::Sample(plan.clone())).await.map_err(sampler_failure)?;
        let mut recorder = Recorder::new(options.anonymous, plan.period_ms);
        let (mut file, mut lines) = (BufWriter::new(file), String::new());
        let mut roster = Roster::default();
        let end = Instant::now() + options.length;
        let mut tell = Instant::now() + PROGRESS;
        while let Ok(report) = timeout_at(end, link.next()).await {
            let report = report.map_err(sampler_failure)?;
            let changes = roster.take(&report, clock::now());
            lines.clear();
            recorder.take(&roster, &report, &changes, clock::boot_ms(), &mut lines);
            file.write_all(lines.as_bytes()).map_err(|error| Failure::new(Code::Unavailable, error))?;
            if Instant::now() >= tell {
                tell += PROGRESS;
                let left = end.saturating_duration_since(Instant::now()).as_secs();
                let _ = writeln!(std::io::stderr(), "{} rows, {left} s left", recorder.rows);
            }
        }
        file.flush().map_err(|error| Failure::new(Code::Unavailable, error))?;
        link.walk_away(|_| {}, |_| {});
        Ok(recorder.rows)
    })?;
    if rows == 0 {
        return Err(Failure::new(Code::Unavailable, "no sample was taken")
            .hint("rackmark doctor looks for the cause"));
    }
    let _ = writeln!(std::io::stderr(), "{rows} rows in {}", options.file.display());
    Ok(Code::Ok)
}

/// Turns what the sampler reports into lines of a recording.
struct Recorder {
    anonymous: bool,
    period_ms: u32,
    /// Once all GPUs are known: the writer, and `CLOCK_BOOTTIME` at the start.
    begun: Option<(Writer, u64)>,
    rows: u64,
}

impl Recorder {
    const fn new(anonymous: bool, period_ms: u32) -> Self {
        Self { anonymous, period_ms, begun: None, rows: 0 }
    }

    /// Appends what a report says to `out`. The roster has taken it already, and `changes` are what it made of it.
    fn take(
        &mut self,
        roster: &Roster,
        report: &SamplerReport,
        changes: &[Change],
        now_boot_ms: u64,
        out: &mut String,
    ) {
        let Some((writer, began)) = &mut self.begun else {
            self.begin(roster, report, out);
            return;
        };
        let since = |boot_ms: u64| boot_ms.saturating_sub(*began);
        let sampled = matches!(report, SamplerReport::Sample(_)).then_some(roster.taken).flatten();
        let arrived = since(sampled.map_or(now_boot_ms, |taken| taken.boot_ms));
        let mut write = |t_ms, what| writer.item(&TraceItem { t_ms, what }, out);
        for change in changes {
            let what = match change {
                Change::Slow { slot } => roster.gpu(*slot).and_then(slow),
                Change::Inventory { slot } => roster.gpu(*slot).and_then(inventory),
                Change::Answering { slot, .. }
                | Change::Unresponsive { slot, .. }
                | Change::Absent { slot, .. } => roster.gpu(*slot).map(presence),
                Change::DriverGone { cause } => Some(What::DriverGone { cause: cause.clone() }),
                Change::DriverBack { version } => Some(What::DriverBack { version: version.clone() }),
                // Written from the report itself, which knows the MIG instance; a new GPU has no place in the head.
                Change::Health(_) | Change::Appeared { .. } => None,
            };
            if let Some(what) = what {
                write(arrived, what);
            }
        }
        if let SamplerReport::Event(event) = report
            && let GpuEventKind::Xid { code } = event.kind
        {
            let gpu = roster.gpus.iter().find(|gpu| gpu.address == event.address);
            let seen = XidSeen {
                gpu: gpu.map(|gpu| gpu.identity.slot),
                pci: Some(event.address),
                code,
                source: XidSource::Driver,
                text: String::new(),
                gpu_instance_id: event.gpu_instance_id,
                compute_instance_id: event.compute_instance_id,
            };
            write(arrived, What::Xid(seen));
        }
        if sampled.is_some() {
            for gpu in &roster.gpus {
                write(arrived, fast(gpu));
            }
            self.rows += roster.gpus.len() as u64;
        }
    }

    /// The head names the GPUs, so it waits for a sample by which all of them are known. What stands then comes first.
    fn begin(&mut self, roster: &Roster, report: &SamplerReport, out: &mut String) {
        let known = |gpu: &Gpu| gpu.inventory.is_some() || gpu.absence().is_some();
        let (SamplerReport::Sample(_), Some(taken)) = (report, roster.taken) else { return };
        if roster.gpus.is_empty() || !roster.gpus.iter().all(known) {
            return;
        }
        let unknown = || Inventory::absent(NoData::NotSampled);
        let driver = roster.driver.as_ref().and_then(|driver| driver.driver_version.clone().ok());
        let about = About {
            recorded_unix_ms: clock::unix_ms(),
            period_ms: u64::from(self.period_ms),
            driver_version: driver.unwrap_or_default(),
            gpus: roster.gpus.iter().map(|gpu| gpu.inventory.clone().unwrap_or_else(unknown)).collect(),
        };
        let mut writer = Writer::begin(&about, self.anonymous, out);
        for gpu in &roster.gpus {
            for what in [Some(presence(gpu)), slow(gpu), Some(fast(gpu))].into_iter().flatten() {
                writer.item(&TraceItem { t_ms: 0, what }, out);
            }
        }
        self.rows = roster.gpus.len() as u64;
        self.begun = Some((writer, taken.boot_ms));
    }
}

fn fast(gpu: &Gpu) -> What {
    What::Fast { gpu: gpu.identity.slot, fast: Box::new(gpu.fast.clone()) }
}

fn slow(gpu: &Gpu) -> Option<What> {
    gpu.slow.as_ref().map(|slow| What::Slow {
        gpu: gpu.identity.slot,
        slow: Box::new(slow.slow.clone()),
        nvlinks: slow.nvlinks.clone(),
        processes: u32::try_from(slow.processes.len()).unwrap_or(u32::MAX),
    })
}

fn inventory(gpu: &Gpu) -> Option<What> {
    let inventory = gpu.inventory.clone()?;
    Some(What::Inventory { gpu: gpu.identity.slot, inventory: Box::new(inventory) })
}

fn presence(gpu: &Gpu) -> What {
    let (absent, function) = match &gpu.standing {
        // Nothing is announced for a call that is out for a moment, nor when it comes back.
        Standing::Answering | Standing::Slow => (None, String::new()),
        Standing::Unresponsive { function } => (Some(NoData::Timeout), function.clone()),
        Standing::Absent(why) => (Some(*why), String::new()),
    };
    What::Presence { gpu: gpu.identity.slot, absent, function }
}

#[cfg(test)]
#[path = "record_tests.rs"]
mod tests;
