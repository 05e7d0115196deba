//! What the demo shows: only what its consumer verified.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use rackmark_feed::consumer::{Accepted, Refusal};
use rackmark_feed::{Body, Capacity, NoData, TelemetryBatch, Value, fields};

use crate::cli::table::{Cell, Tone, painted, render};

/// The consumer's picture of the node.
pub struct View {
    metrics_url: String,
    broker_url: String,
    capacity: Option<Capacity>,
    simulated: bool,
    newest: BTreeMap<u8, Vec<Option<Value>>>,
    verified: u64,
    telemetry: u64,
    refused: u64,
    bytes: usize,
    gaps: usize,
    node: String,
    /// Site and node name.
    names: Option<String>,
    identity: String,
    burn_in: Option<String>,
    scrapes: u64,
    series: usize,
}

impl View {
    /// Nothing was seen yet.
    pub fn new(metrics_url: String, broker_url: String) -> Self {
        Self {
            metrics_url,
            broker_url,
            capacity: None,
            simulated: false,
            newest: BTreeMap::new(),
            verified: 0,
            telemetry: 0,
            refused: 0,
            bytes: 0,
            gaps: 0,
            node: "waiting for the agent".to_owned(),
            names: None,
            identity: "identity: being asked for".to_owned(),
            burn_in: None,
            scrapes: 0,
            series: 0,
        }
    }

    /// The node as SITE/NODE, once it was heard.
    pub fn node_name(&self) -> Option<String> {
        self.names.clone()
    }

    /// The slot of the last GPU, once the node told of its GPUs.
    pub fn last_gpu(&self) -> Option<usize> {
        self.capacity.as_ref().and_then(|capacity| capacity.gpus.len().checked_sub(1))
    }

    /// What a stranger found out about it.
    pub fn identity(&mut self, line: String) {
        self.identity = line;
    }

    /// What came of the burn-in.
    pub fn burn_in(&mut self, line: String) {
        self.burn_in = Some(line);
    }

    /// One message, judged.
    pub fn take(&mut self, outcome: Result<Accepted, Refusal>, bytes: usize) {
        self.bytes += bytes;
        match outcome {
            Ok(accepted) => self.accepted(accepted),
            Err(Refusal::Held | Refusal::Duplicate) => {}
            Err(_) => self.refused += 1,
        }
    }

    fn accepted(&mut self, accepted: Accepted) {
        self.verified += 1;
        self.names = Some(format!("{}/{}", accepted.site, accepted.node_name));
        self.gaps += accepted.gaps.len();
        self.node = format!("{}/{}  {}", accepted.site, accepted.node_name, accepted.header.node);
        match accepted.body {
            Some(Body::Capacity(capacity)) => {
                self.simulated = capacity.simulated;
                // The operator's document has everything the others have.
                if self.capacity.as_ref().is_none_or(|old| capacity.audience.sees(old.audience)) {
                    self.capacity = Some(capacity);
                }
            }
            Some(Body::Telemetry(batch)) => self.telemetry(&batch),
            Some(Body::Status(status)) => self.simulated = status.simulated,
            _ => {}
        }
        for released in accepted.released.into_iter().flatten() {
            self.accepted(released);
        }
    }

    fn telemetry(&mut self, batch: &TelemetryBatch) {
        self.telemetry += 1;
        let Some(newest) = batch.samples().len().checked_sub(1) else { return };
        for (at, slot) in batch.slots().iter().enumerate() {
            let row = (0..batch.columns().len()).map(|column| batch.value(newest, at, column)).collect();
            self.newest.insert(*slot, row);
        }
    }

    /// The outcome of one scrape.
    pub fn scraped(&mut self, samples: Option<usize>) {
        if let Some(samples) = samples {
            self.scrapes += 1;
            self.series = samples;
        }
    }

    /// Telemetry was verified and a scrape succeeded.
    pub fn proved(&self) -> bool {
        self.telemetry > 0 && self.scrapes > 0
    }

    /// The page.
    pub fn page(&self, colour: bool) -> String {
        let mut out = format!("rackmark demo: what a consumer of the feed sees   {}\n", self.node);
        if self.simulated {
            out.push_str(&painted("SIMULATED GPUs: no figure on this page is real.\n", Tone::Odd, colour));
        }
        let _ = writeln!(out, "{}", self.identity);
        if let Some(line) = &self.burn_in {
            let _ = writeln!(out, "{line}");
        }
        let _ = writeln!(out, "metrics {}   broker {}\n", self.metrics_url, self.broker_url);
        let Some(capacity) = &self.capacity else {
            out.push_str("waiting for the first capacity message\n");
            return out;
        };
        let rows: Vec<Vec<Cell>> = capacity.gpus.iter().map(|gpu| self.row(gpu)).collect();
        let header =
            ["GPU", "NAME", "STATE", "VERDICT", "UTIL", "TENSOR", "MEMORY", "TEMP", "POWER", "SM CLOCK"];
        out.push_str(&render(&header, &rows, colour));
        let _ = writeln!(
            out,
            "\n{} messages verified ({} telemetry, {} refused, {} gaps), {} bytes; {} scrapes, {} series",
            self.verified, self.telemetry, self.refused, self.gaps, self.bytes, self.scrapes, self.series
        );
        out.push_str(&painted("Ctrl-C ends the demo\n", Tone::Faint, colour));
        out
    }

    fn row(&self, gpu: &rackmark_feed::GpuCapacity) -> Vec<Cell> {
        let named = |name: &str| {
            let id = fields::by_name(name)?.id;
            let mut all = gpu.groups.iter().flat_map(|group| &group.fields);
            all.find(|field| field.id == id).map(|field| field.value.clone())
        };
        let fast = |name: &str| {
            let column = usize::from(fields::by_name(name)?.id);
            match self.newest.get(&gpu.slot)?.get(column)?.as_ref()? {
                Value::Unsigned(number) => Some(*number as f64),
                Value::Signed(number) => Some(*number as f64),
                _ => None,
            }
        };
        let figure = |name: &str, per: f64, unit: &str| {
            Cell::number(
                fast(name).map_or_else(|| "-".to_owned(), |value| format!("{:.0}{unit}", value / per)),
            )
        };
        let memory = match (fast("memory_used_bytes"), named("memory_total_bytes")) {
            (Some(used), Some(Value::Unsigned(total))) => {
                format!("{:.0}/{:.0} GiB", used / GIB, total as f64 / GIB)
            }
            _ => "-".to_owned(),
        };
        let name = match named("name") {
            Some(Value::Text(name)) => name,
            _ => "-".to_owned(),
        };
        let (state, tone) = match gpu.no_data {
            None => (gpu.state.to_string(), Tone::Good),
            Some(why @ (NoData::GpuLost | NoData::Timeout | NoData::DriverGone)) => {
                (why.name().to_owned(), Tone::Bad)
            }
            Some(why) => (why.name().to_owned(), Tone::Odd),
        };
        vec![
            Cell::number(gpu.slot.to_string()),
            Cell::text(name),
            Cell::text(state).tone(tone),
            Cell::text(gpu.verdict.to_string()).tone(Tone::Faint),
            figure("utilization_gpu_percent", 1.0, " %"),
            figure("tensor_active_permille", 10.0, " %"),
            Cell::number(memory),
            figure("temperature_gpu_celsius", 1.0, " °C"),
            figure("power_draw_milliwatts", 1000.0, " W"),
            figure("clock_sm_megahertz", 1.0, " MHz"),
        ]
    }

    /// The last line.
    pub fn closing(&self) -> String {
        let label = if self.simulated { "simulated GPUs" } else { "real GPUs" };
        format!(
            "demo on {label}: {} telemetry messages verified, {} scrapes succeeded\n",
            self.telemetry, self.scrapes
        )
    }
}

const GIB: f64 = (1u64 << 30) as f64;
