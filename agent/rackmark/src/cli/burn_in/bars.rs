//! How far a burn-in is: a bar for each GPU where a person looks on, a line now and then where nobody does.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use rackmark_model::gpu_work::FigureKind;
use serde_json::Value as Json;

use crate::burn_in::report;
use crate::clock;

/// Cells of a bar.
const WIDTH: u64 = 24;
/// Between two lines where standard error is no terminal.
const LINE_EVERY: Duration = Duration::from_secs(10);

/// What is drawn on standard error.
pub struct Bars {
    wanted: bool,
    terminal: bool,
    lines: usize,
    told: Option<Instant>,
}

impl Bars {
    /// Nothing is drawn yet; nothing ever is where it is not `wanted`.
    pub fn new(wanted: bool) -> Self {
        Self { wanted, terminal: std::io::stderr().is_terminal(), lines: 0, told: None }
    }

    /// Draws what runs.
    pub fn draw(&mut self, running: &Json, slots: &[String]) {
        if !self.wanted || (!self.terminal && self.told.is_some_and(|told| told.elapsed() < LINE_EVERY)) {
            return;
        }
        let now = clock::unix_ms();
        let lines: Vec<String> = slots
            .iter()
            .filter(|slot| running[slot.as_str()].is_object())
            .map(|slot| line(slot, &running[slot.as_str()], now))
            .collect();
        self.told = Some(Instant::now());
        let mut out = String::new();
        if self.terminal {
            out.push_str(&self.up());
        }
        for line in &lines {
            out.push_str(line);
            out.push_str(if self.terminal { "\u{1b}[K\n" } else { "\n" });
        }
        self.lines = lines.len();
        let _ = std::io::stderr().write_all(out.as_bytes());
    }

    /// Takes the bars away.
    pub fn end(&mut self) {
        if self.wanted && self.terminal {
            let _ = std::io::stderr().write_all(self.up().as_bytes());
        }
        self.lines = 0;
    }

    /// Back to the first line, and everything below it cleared.
    fn up(&self) -> String {
        if self.lines == 0 { String::new() } else { format!("\u{1b}[{}A\u{1b}[J", self.lines) }
    }
}

fn kind(unit: &str) -> Option<FigureKind> {
    Some(match unit {
        "giga_operations_per_second" => FigureKind::GigaOperationsPerSecond,
        "megabytes_per_second" => FigureKind::MegabytesPerSecond,
        "nanoseconds_per_read" => FigureKind::NanosecondsPerRead,
        _ => return None,
    })
}

/// One GPU.
fn line(slot: &str, run: &Json, now_unix_ms: u64) -> String {
    let number = |name: &str| run[name].as_u64();
    if run["phase"] == "waiting" {
        return format!("GPU {slot:>2}  waits until it was idle for 5 s");
    }
    let elapsed = now_unix_ms.saturating_sub(number("began_unix_ms").unwrap_or(now_unix_ms));
    let total = number("total_ms").unwrap_or(0).max(1);
    // What remains to be set up and read is not in the plan's time: the last cell waits for the end.
    let full = (elapsed * WIDTH / total).min(WIDTH - 1);
    let bar: String = (0..WIDTH).map(|cell| if cell < full { '█' } else { '░' }).collect();
    let rate = run["unit"].as_str().and_then(kind).zip(number("rate"));
    let rate = rate.map(|(kind, rate)| report::rate(kind, rate)).unwrap_or_default();
    let unit =
        |value: Option<String>, unit: &str| value.map(|value| format!("{value} {unit}")).unwrap_or_default();
    let celsius = unit(run["temperature_celsius"].as_i64().map(|value| value.to_string()), "°C");
    let watts = unit(number("power_milliwatts").map(|value| (value / 1000).to_string()), "W");
    let test = run["test"].as_str().unwrap_or("");
    let stage = number("stage").map(|stage| stage + 1).unwrap_or(0);
    let (stages, wrong) = (number("stages").unwrap_or(0), number("miscompares").unwrap_or(0));
    format!(
        "GPU {slot:>2}  {bar} {stage:>2}/{stages} {test:<22} {rate:>12} {celsius:>6} {watts:>6}  {wrong} wrong"
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_line_says_what_runs_and_how_it_goes() {
        let run = json!({
            "phase": "running", "began_unix_ms": 1_000, "total_ms": 60_000, "stage": 4, "stages": 17,
            "test": "gemm_hopper_bf16", "rate": 748_230, "unit": "giga_operations_per_second",
            "temperature_celsius": 64, "power_milliwatts": 697_400, "miscompares": 0,
        });
        let drawn = line("3", &run, 31_000);
        assert!(drawn.starts_with("GPU  3  ████████████░░░░░░░░░░░░  5/17 gemm_hopper_bf16"), "{drawn}");
        assert!(drawn.ends_with("748.2 Top/s  64 °C  697 W  0 wrong"), "{drawn}");
        assert_eq!(line("3", &run, 900_000).matches('░').count(), 1, "not done before it is done");
        let waiting = json!({ "phase": "waiting" });
        assert_eq!(line("11", &waiting, 0), "GPU 11  waits until it was idle for 5 s");
    }
}
