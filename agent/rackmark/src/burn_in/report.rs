//! Records in words: what the page and the terminal show of them.

use std::collections::BTreeSet;

use rackmark_health::burn_in::{JudgedFigure, Outcome, SelfTest, StageState, Weight, test_name};
use rackmark_model::gpu_work::{FigureKind, Miscompare, Place, SkipReason};

use super::page::{FigureRow, GpuSection, Page, Plot, Tone};
use super::record::{Point, Record};
use crate::utc::{Span, Utc};

/// How an outcome is.
pub const fn tone(outcome: Outcome) -> Tone {
    match outcome {
        Outcome::Pass => Tone::Good,
        Outcome::Inconclusive => Tone::Odd,
        Outcome::Fail => Tone::Bad,
    }
}

/// A rate for people: operations in tera, bytes in giga.
pub fn rate(kind: FigureKind, value: u64) -> String {
    let tenth = |value: u64| format!("{}.{}", value / 10, value % 10);
    match kind {
        FigureKind::GigaOperationsPerSecond if value < 1_000 => format!("{value} Gop/s"),
        FigureKind::GigaOperationsPerSecond => format!("{} Top/s", tenth(value / 100)),
        FigureKind::MegabytesPerSecond if value < 1_000 => format!("{value} MB/s"),
        FigureKind::MegabytesPerSecond => format!("{} GB/s", tenth(value / 100)),
        FigureKind::NanosecondsPerRead => format!("{value} ns"),
    }
}

/// Thousandths as a share.
fn percent(permille: u64) -> String {
    format!("{}.{} %", permille / 10, permille % 10)
}

/// GiB with one decimal.
fn gib(bytes: u64) -> String {
    let tenths = u128::from(bytes) * 10 / (1 << 30);
    format!("{}.{} GiB", tenths / 10, tenths % 10)
}

/// One page about these records, which are of one node.
pub fn page(records: &[Record]) -> Page {
    let first = records.first();
    let about = first.map_or_else(String::new, |record| {
        let took = records.iter().map(Record::took_ms).max().unwrap_or(0);
        let (mode, version) = (record.mode.name(), &record.agent_version);
        format!("{mode}, {}, {}, by {}, rackmark {version}", Utc(record.began_unix_ms), Span(took), record.by)
    });
    Page {
        node: first.map_or_else(String::new, |record| record.node.clone()),
        about,
        simulated: records.iter().any(|record| record.simulated),
        gpus: records.iter().map(section).collect(),
    }
}

fn section(record: &Record) -> GpuSection {
    let outcome = record.judgement.as_ref().map_or(Outcome::Inconclusive, |judgement| judgement.outcome);
    let reasons = record.judgement.iter().flat_map(|judgement| &judgement.reasons);
    let figures = record.judgement.iter().flat_map(|judgement| &judgement.figures);
    GpuSection {
        title: format!("GPU {}", record.card.slot),
        outcome: (outcome.name().to_owned(), tone(outcome)),
        facts: facts(record),
        reasons: reasons.map(|reason| (of_weight(reason.code.weight()), reason.line())).collect(),
        figures: figures.map(figure_row).collect(),
        plots: plots(record),
        stages: stages(record),
        wrong: record.worked.miscompares.iter().map(wrong_row).collect(),
    }
}

/// How a reason is.
pub const fn of_weight(weight: Weight) -> Tone {
    match weight {
        Weight::Fails => Tone::Bad,
        Weight::LeavesOpen | Weight::Warns => Tone::Odd,
        Weight::Notes => Tone::Plain,
    }
}

fn facts(record: &Record) -> Vec<(String, String)> {
    let card = &record.card;
    let mut facts = Vec::new();
    let mut put =
        |name: &str, value: Option<String>| facts.extend(value.map(|value| (name.to_owned(), value)));
    put("Model", card.name.clone());
    put("Serial number", card.serial.clone());
    put("UUID", Some(card.uuid.clone()));
    put("PCI address", Some(card.address.clone()));
    put("Slot", card.physical_slot.clone());
    put("VBIOS", card.vbios_version.clone());
    put("Driver", record.driver_version.clone());
    if let Some(device) = &record.worked.device {
        let (major, minor) = device.compute_capability;
        put("Compute capability", Some(format!("{major}.{minor}, {} SMs", device.multiprocessors)));
        let held = format!("{} of {}", gib(record.memory_bytes()), gib(device.memory_bytes));
        put("Memory tested", Some(held));
    }
    put("Seed", Some(format!("{:#018x}", record.seed)));
    put("Given back in", record.gave_back_ms.map(|ms| format!("{ms} ms")));
    let kernels: BTreeSet<String> = record
        .worked
        .modules
        .iter()
        .map(|module| {
            let [a, b, c, d, ..] = module.sha256;
            format!(
                "{} {a:02x}{b:02x}{c:02x}{d:02x}{}",
                module.module,
                if module.from_ptx { " (PTX)" } else { "" }
            )
        })
        .collect();
    put("Kernels", (!kernels.is_empty()).then(|| kernels.into_iter().collect::<Vec<_>>().join(", ")));
    facts
}

/// One figure in words.
pub fn figure_row(judged: &JudgedFigure) -> FigureRow {
    let kind = judged.figure.kind;
    FigureRow {
        name: judged.name(),
        median: rate(kind, judged.figure.median),
        slowest: rate(kind, judged.figure.p5),
        per_clock: judged.per_clock_permille.map(percent).unwrap_or_default(),
        expected: judged.expected.map(|expected| rate(kind, expected)).unwrap_or_default(),
    }
}

fn wrong_row(wrong: &Miscompare) -> [String; 3] {
    let place = match wrong.place {
        Place::Memory { offset } => format!("memory at {offset:#x}"),
        Place::Tile { row, column } => format!("tile {row}, {column}"),
        Place::Chain { block, thread } => format!("block {block}, thread {thread}"),
        Place::Link { offset } => format!("transfer at {offset:#x}"),
    };
    let bits = if wrong.rose | wrong.fell == 0 {
        "by checksum".to_owned()
    } else {
        format!("rose {:#x}, fell {:#x}", wrong.rose, wrong.fell)
    };
    let sm = wrong.sm.map_or_else(String::new, |sm| sm.to_string());
    [format!("{place}, pass {}", wrong.pass), bits, sm]
}

fn stages(record: &Record) -> Vec<[String; 3]> {
    let planned = record.worked.plan.stages.iter().zip(&record.worked.stages);
    let row = |(stage, state): (&rackmark_model::gpu_work::Stage, &StageState)| {
        let (result, time) = match state {
            StageState::Waiting => ("did not begin".to_owned(), String::new()),
            StageState::Began { .. } => ("did not end".to_owned(), String::new()),
            StageState::Skipped(reason) => (format!("left out: {}", skipped(*reason)), String::new()),
            StageState::Ended(ended) => {
                let proved = match ended.self_test {
                    SelfTest::Caught => "the check saw its spoiled bit",
                    SelfTest::Missed => "the check missed its spoiled bit",
                    SelfTest::Absent => "the check was not proved",
                };
                let wrong = match ended.report.miscompares {
                    0 => String::new(),
                    count => format!("{count} wrong results; "),
                };
                (format!("{wrong}{proved}"), Span(u64::from(ended.report.elapsed_ms)).to_string())
            }
        };
        [test_name(stage.test), result, time]
    };
    planned.map(row).collect()
}

const fn skipped(reason: SkipReason) -> &'static str {
    match reason {
        SkipReason::Architecture => "not on this architecture",
        SkipReason::NoPeer => "no other GPU can be reached",
        SkipReason::Memory => "too little memory",
        SkipReason::NoModule => "its kernel would not load",
    }
}

#[expect(clippy::cast_precision_loss, reason = "plots have three digits")]
fn plots(record: &Record) -> Vec<Plot> {
    let mut stages: Vec<(f64, String)> = Vec::new();
    let mut before = None;
    for point in &record.points {
        if point.stage.is_some() && point.stage != before {
            before = point.stage;
            let stage = point.stage.and_then(|stage| record.worked.plan.stages.get(stage as usize));
            stages.extend(stage.map(|stage| (point.at_ms as f64 / 1e3, test_name(stage.test))));
        }
    }
    let plot = |title: &str, unit: &str, value: &dyn Fn(&Point) -> Option<f64>| Plot {
        title: title.to_owned(),
        unit: unit.to_owned(),
        points: record.points.iter().map(|point| (point.at_ms as f64 / 1e3, value(point))).collect(),
        stages: stages.clone(),
    };
    let rate_of = |point: &Point, kind: FigureKind| {
        (point.kind == Some(kind)).then_some(point.rate).flatten().map(|rate| rate as f64 / 1e3)
    };
    vec![
        plot("Computing", "Top/s", &|point| rate_of(point, FigureKind::GigaOperationsPerSecond)),
        plot("Memory and links", "GB/s", &|point| rate_of(point, FigureKind::MegabytesPerSecond)),
        plot("Power", "W", &|point| point.milliwatts.map(|power| f64::from(power) / 1e3)),
        plot("Temperature", "°C", &|point| point.celsius.map(f64::from)),
        plot("SM clock", "MHz", &|point| point.clock_mhz.map(f64::from)),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_shown_in_the_units_people_know() {
        assert_eq!(rate(FigureKind::GigaOperationsPerSecond, 748_230), "748.2 Top/s");
        assert_eq!(rate(FigureKind::GigaOperationsPerSecond, 12), "12 Gop/s");
        assert_eq!(rate(FigureKind::MegabytesPerSecond, 4_301_000), "4301.0 GB/s");
        assert_eq!(rate(FigureKind::NanosecondsPerRead, 731), "731 ns");
        assert_eq!(gib(150_754_820_096), "140.4 GiB");
        assert_eq!(percent(912), "91.2 %");
    }
}
