//! `rackmark burn-in`: tests GPUs through the running agent, and shows how far it is and what came of it.

mod bars;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::thread::sleep;
use std::time::Duration;

use clap::Args;
use clap::builder::PossibleValuesParser;
use rackmark_health::burn_in::{MODES, Mode, Outcome, SOAK_HOURS_MAX};
use serde_json::{Value as Json, json};

use super::ConfigPath;
use super::one_shot::print;
use super::pause::failure;
use super::table::{Cell, Tone, colour, render};
use crate::burn_in::page::{self, Tone as Hue};
use crate::burn_in::{Record, report};
use crate::config::Config;
use crate::control::client::ask;
use crate::control::verbs::Verb;
use crate::exit::{Code, Failure};
use crate::utc::{Span, Utc};

/// Between two looks at how far it is.
const LOOK: Duration = Duration::from_millis(500);

#[derive(Debug, Args)]
#[command(
    after_help = "Exit codes: 0 every GPU passed, 1 nothing can be said about one, 2 one failed; 64, 69, 75 and 77 as \
everywhere. The test runs in the agent: Ctrl-C ends this view, --stop ends the test."
)]
pub struct Options {
    /// Slot, UUID, serial number or PCI address; all GPUs where left out.
    #[arg(long, value_name = "GPU")]
    gpu: Option<String>,
    /// probe: 2 s; quick: a minute; acceptance: a quarter of an hour; soak: hours, goes on after a restart.
    #[arg(long, value_name = "MODE", default_value = "quick",
        value_parser = PossibleValuesParser::new(MODES.map(Mode::name)))]
    mode: String,
    /// Hours of a soak.
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=i64::from(SOAK_HOURS_MAX)))]
    hours: u16,
    /// One GPU after the other, not all together.
    #[arg(long)]
    one_by_one: bool,
    /// Show the last results and test nothing.
    #[arg(long, conflicts_with_all = ["stop", "detach"])]
    last: bool,
    /// End what runs and give the GPUs back.
    #[arg(long)]
    stop: bool,
    /// Begin and do not wait.
    #[arg(long)]
    detach: bool,
    /// The results as JSON.
    #[arg(long)]
    json: bool,
    /// Write a report for people into this file.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    #[command(flatten)]
    config: ConfigPath,
}

pub fn run(options: &Options) -> Result<Code, Failure> {
    let config = options.config.load()?;
    let ask = |verb: &Verb| ask(&config.control_socket, verb).map_err(failure);
    if options.stop {
        let told = ask(&Verb::BurnInStop { gpu: options.gpu.clone() })?;
        print(&format!("{} told to end\n", told["stopped"]));
        return Ok(Code::Ok);
    }
    let slots = if options.last {
        let shown = ask(&Verb::BurnInShow)?;
        match &options.gpu {
            Some(gpu) => vec![gpu.clone()],
            None => shown["last"].as_object().map(|last| last.keys().cloned().collect()).unwrap_or_default(),
        }
    } else {
        let begun = ask(&Verb::BurnInStart {
            gpu: options.gpu.clone(),
            mode: options.mode.clone(),
            hours: options.hours,
            one_by_one: options.one_by_one,
        })?;
        let slots = begun["slots"].as_array().map_or(&[][..], Vec::as_slice);
        slots.iter().map(ToString::to_string).collect()
    };
    if options.detach {
        print(&format!(
            "burn-in {} of GPU {} begins; rackmark burn-in --last shows what comes of it\n",
            options.mode,
            slots.join(", ")
        ));
        return Ok(Code::Ok);
    }
    let not_begun = if options.last { Vec::new() } else { follow(options, &config, &slots)? };
    let begun = slots.iter().filter(|slot| !not_begun.iter().any(|(not, _)| not == *slot));
    let (mut records, mut documents) = (Vec::new(), Vec::new());
    for slot in begun {
        let record = ask(&Verb::BurnInRecord { gpu: slot.clone() })?;
        records.push(
            Record::of_json(record.to_string().as_bytes())
                .map_err(|error| Failure::new(Code::Internal, error))?,
        );
        documents.push(record);
    }
    if let Some(file) = &options.html {
        let html = page::render(&report::page(&records));
        std::fs::write(file, html).map_err(|error| {
            Failure::new(Code::Unavailable, format!("cannot write {}: {error}", file.display()))
        })?;
    }
    if options.json {
        let not_begun: Vec<Json> =
            not_begun.iter().map(|(slot, why)| json!({ "gpu": slot, "why": why })).collect();
        print(&format!("{:#}\n", json!({ "records": documents, "not_begun": not_begun })));
    } else {
        print(&shown(&records, &not_begun, colour()));
    }
    Ok(code(&records, &not_begun))
}

/// Waits until none of these GPUs is tested any more; those whose test did not begin, and why.
fn follow(options: &Options, config: &Config, slots: &[String]) -> Result<Vec<(String, String)>, Failure> {
    let mut bars = bars::Bars::new(!options.json);
    loop {
        let shown = ask(&config.control_socket, &Verb::BurnInShow).map_err(failure)?;
        let running: BTreeSet<&String> =
            shown["running"].as_object().map(|running| running.keys().collect()).unwrap_or_default();
        bars.draw(&shown["running"], slots);
        if !slots.iter().any(|slot| running.contains(slot)) {
            bars.end();
            let why =
                |slot: &String| Some((slot.clone(), shown["last"][slot]["not_begun"].as_str()?.to_owned()));
            return Ok(slots.iter().filter_map(why).collect());
        }
        sleep(LOOK);
    }
}

fn outcome(record: &Record) -> Outcome {
    record.judgement.as_ref().map_or(Outcome::Inconclusive, |judgement| judgement.outcome)
}

/// The worst of all results; a test that did not begin says nothing.
fn code(records: &[Record], not_begun: &[(String, String)]) -> Code {
    let worst = records.iter().map(outcome).max();
    match worst {
        Some(Outcome::Fail) => Code::Wrong,
        Some(Outcome::Pass) if not_begun.is_empty() => Code::Ok,
        _ => Code::Odd,
    }
}

const fn toned(hue: Hue) -> Tone {
    match hue {
        Hue::Good => Tone::Good,
        Hue::Odd => Tone::Odd,
        Hue::Bad => Tone::Bad,
        Hue::Plain => Tone::Plain,
    }
}

fn shown(records: &[Record], not_begun: &[(String, String)], colour: bool) -> String {
    let mut out = String::new();
    let mut rows = Vec::new();
    for record in records {
        let outcome = outcome(record);
        let words = record.card.name.clone().unwrap_or_default();
        rows.push(vec![
            Cell::number(record.card.slot.to_string()),
            Cell::text(outcome.name()).tone(toned(report::tone(outcome))),
            Cell::text(record.mode.name()),
            Cell::text(if record.simulated { format!("{words} (simulated)") } else { words }),
            Cell::text(record.card.serial.clone().unwrap_or_default()),
            Cell::text(Utc(record.began_unix_ms).to_string()),
            Cell::number(Span(record.took_ms()).to_string()),
        ]);
    }
    if !rows.is_empty() {
        let header = ["GPU", "RESULT", "MODE", "MODEL", "SERIAL", "BEGAN", "TOOK"];
        out.push_str(&render(&header, &rows, colour));
    }
    for (slot, why) in not_begun {
        let result = super::table::painted("not begun", Tone::Odd, colour);
        out.push_str(&format!("GPU {slot}  {result}: {why}\n"));
    }
    for record in records {
        let Some(judgement) = &record.judgement else { continue };
        let figures: Vec<Vec<Cell>> = judgement
            .figures
            .iter()
            .map(report::figure_row)
            .map(|row| {
                vec![
                    Cell::text(row.name),
                    Cell::number(row.median),
                    Cell::number(row.slowest),
                    Cell::number(row.per_clock),
                    Cell::number(row.expected),
                ]
            })
            .collect();
        out.push_str(&format!("\nGPU {}\n", record.card.slot));
        for reason in &judgement.reasons {
            let tone = toned(report::of_weight(reason.code.weight()));
            let line = super::table::painted(&reason.line(), tone, colour);
            out.push_str(&format!("  {}: {line}\n", reason.code.weight().name()));
        }
        if !figures.is_empty() {
            out.push_str(&render(
                &["FIGURE", "MEDIAN", "SLOWEST 5 %", "PER CLOCK", "A GOOD CARD"],
                &figures,
                colour,
            ));
        }
    }
    out
}
