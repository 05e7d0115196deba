//! `rackmark explain`: judges a recording again, as the agent would have done.

mod replay;
#[cfg(test)]
mod tests;

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use clap::Args;
use rackmark_health::trace::{BYTES_MAX, Reader};
use rackmark_health::{Condition, Conditions};
use serde_json::{Value as Json, json};

use super::conditions::{standing, table};
use super::one_shot::print;
use super::status::verdict_line;
use super::table::{Cell, Tone, colour, render};
use crate::control::verbs::condition_json;
use crate::exit::{Code, Failure};
use crate::judging::{kind_of, slot_of, words};
use crate::utc::{Span, Utc};

use replay::{Replay, Said};

#[derive(Debug, Args)]
pub struct Options {
    /// Recording, as written by rackmark record.
    #[arg(value_name = "LOG")]
    log: PathBuf,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

pub fn run(options: &Options) -> Result<Code, Failure> {
    let bytes = read(&options.log).map_err(|error| {
        Failure::new(Code::Usage, error).hint(format!("cannot read {}", options.log.display()))
    })?;
    let told = explain(&bytes).map_err(|error| {
        Failure::new(Code::Usage, error)
            .hint(format!("{} is no whole recording of rackmark", options.log.display()))
    })?;
    if options.json {
        print(&format!("{told:#}\n"));
    } else {
        print(&page(&told, colour()));
    }
    Ok(Code::Ok)
}

/// One byte more than the reader takes at most, so that it says what is wrong with a larger file.
fn read(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(BYTES_MAX as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Everything that would have been said, and what stands at the end.
fn explain(bytes: &[u8]) -> Result<Json, rackmark_health::trace::TraceError> {
    let mut reader = Reader::open(bytes)?;
    let about = reader.about().clone();
    let mut replay = Replay::new(&about, bytes.starts_with(b"rackmark-trace 1\n"));
    for item in &mut reader {
        replay.take(item?);
    }
    let (said, state, last_ms) = replay.end();
    let names = |slot: usize| {
        let gpu = about.gpus.get(slot);
        let text =
            |reading: Option<&rackmark_model::Reading<String>>| reading.and_then(|text| text.clone().ok());
        (text(gpu.map(|gpu| &gpu.serial)), text(gpu.map(|gpu| &gpu.uuid)))
    };
    Ok(json!({
        "recorded_unix_ms": about.recorded_unix_ms,
        "period_ms": about.period_ms,
        "driver_version": about.driver_version,
        "lasted_ms": last_ms,
        "said": said.iter().map(said_json).collect::<Vec<_>>(),
        "node": { "verdict": state.verdict.verdict.name(), "reason": state.verdict.reason, "conditions": shown(&state.conditions) },
        "gpus": state.gpus.iter().enumerate().map(|(slot, gpu)| {
            let (serial, uuid) = names(slot);
            json!({
                "slot": slot,
                "serial": serial,
                "uuid": uuid,
                "verdict": gpu.verdict.verdict.name(),
                "reason": gpu.verdict.reason,
                "conditions": shown(&gpu.conditions),
            })
        }).collect::<Vec<_>>(),
    }))
}

fn said_json(said: &Said) -> Json {
    json!({
        "t_ms": said.t_ms,
        "at_unix_ms": said.at_unix_ms,
        "slot": slot_of(&said.what),
        "kind": kind_of(&said.what),
        "text": words(&said.what),
    })
}

fn shown(conditions: &Conditions) -> Vec<Json> {
    conditions.visible().map(|condition: &Condition| condition_json(condition)).collect()
}

/// The page for people.
fn page(told: &Json, colour: bool) -> String {
    let number = |name: &str| told[name].as_u64().unwrap_or_default();
    let gpus = told["gpus"].as_array().map_or(&[][..], Vec::as_slice);
    let driver = told["driver_version"].as_str().filter(|text| !text.is_empty());
    let (began, lasted_ms) = (number("recorded_unix_ms"), number("lasted_ms"));
    let mut out = format!(
        "recorded from {}, {} long; {} GPUs, every {:.1} s, driver {}\n\n",
        Utc(began),
        Span(lasted_ms),
        gpus.len(),
        number("period_ms") as f64 / 1000.0,
        driver.unwrap_or("not known"),
    );
    // States follow from verdicts here: a recording knows nothing of leases.
    let said = told["said"].as_array().into_iter().flatten().filter(|said| said["kind"] != "state");
    let rows: Vec<Vec<Cell>> = said.map(row).collect();
    out.push_str(&match rows.is_empty() {
        true => "nothing to say\n".to_owned(),
        false => render(&["TIME", "AFTER", "GPU", "WHAT"], &rows, colour),
    });
    out.push_str(&format!("\nat the end, {}\n\n", verdict_line(&told["node"], colour)));
    let rows: Vec<Vec<Cell>> = gpus.iter().map(gpu_row).collect();
    out.push_str(&render(&["GPU", "SERIAL", "VERDICT", "REASON"], &rows, colour));
    let conditions = table(&standing(&told["node"], gpus), began + lasted_ms, colour);
    if !conditions.is_empty() {
        out.push('\n');
        out.push_str(&conditions);
    }
    out
}

fn row(said: &Json) -> Vec<Cell> {
    let text = said["text"].as_str().unwrap_or("-");
    vec![
        Cell::text(said["at_unix_ms"].as_u64().map_or_else(|| "-".to_owned(), |at| Utc(at).to_string())),
        Cell::number(format!("{:.1} s", said["t_ms"].as_u64().unwrap_or_default() as f64 / 1000.0)),
        Cell::number(said["slot"].as_u64().map_or_else(|| "node".to_owned(), |slot| slot.to_string())),
        Cell::text(text).tone(super::history::tone(said)),
    ]
}

fn gpu_row(gpu: &Json) -> Vec<Cell> {
    let text = |name: &str| gpu[name].as_str().unwrap_or("-");
    vec![
        Cell::number(gpu["slot"].to_string()),
        Cell::text(text("serial")).tone(Tone::Faint),
        Cell::text(text("verdict")).tone(super::status::verdict_tone(text("verdict"))),
        Cell::text(text("reason")),
    ]
}
