//! `rackmark history`: what happened to GPUs and node.

use clap::Args;
use serde_json::Value as Json;

use super::ConfigPath;
use super::one_shot::print;
use super::pause::failure;
use super::table::{Cell, Tone, colour, render};
use crate::control::client::ask;
use crate::control::verbs::{ENTRIES_MAX, Verb};
use crate::exit::{Code, Failure};
use crate::utc::Utc;

#[derive(Debug, Args)]
pub struct Options {
    /// One GPU, by slot, UUID, serial number (also of a card that has left) or PCI address.
    #[arg(long)]
    gpu: Option<String>,
    /// The newest entries only, so many.
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = limit)]
    limit: usize,
    /// As JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    config: ConfigPath,
}

fn limit(text: &str) -> Result<usize, String> {
    let number = text.parse().ok().filter(|number| (1..=ENTRIES_MAX).contains(number));
    number.ok_or_else(|| format!("a number of entries, 1 to {ENTRIES_MAX}"))
}

pub fn run(options: Options) -> Result<Code, Failure> {
    let config = options.config.load()?;
    let nothing = match &options.gpu {
        None => "nothing has happened\n".to_owned(),
        Some(gpu) => format!("nothing has happened to a GPU of the name {gpu}\n"),
    };
    let verb = Verb::History { gpu: options.gpu, limit: options.limit };
    let answer = ask(&config.control_socket, &verb).map_err(failure)?;
    let entries = answer["entries"].as_array().map_or(&[][..], Vec::as_slice);
    if options.json {
        print(&format!("{:#}\n", answer["entries"]));
    } else if entries.is_empty() {
        print(&nothing);
    } else {
        print(&page(entries, colour()));
    }
    Ok(Code::Ok)
}

/// Oldest first, as a log.
fn page(entries: &[Json], colour: bool) -> String {
    let row = |entry: &Json| {
        let gpu = entry["slot"].as_u64().map_or_else(|| "node".to_owned(), |slot| slot.to_string());
        vec![
            Cell::text(entry["at_unix_ms"].as_u64().map_or_else(|| "-".to_owned(), |at| Utc(at).to_string())),
            Cell::number(gpu),
            Cell::text(entry["serial"].as_str().unwrap_or("-")).tone(Tone::Faint),
            Cell::text(entry["text"].as_str().unwrap_or("-")).tone(tone(entry)),
        ]
    };
    render(&["TIME", "GPU", "SERIAL", "WHAT"], &entries.iter().map(row).collect::<Vec<_>>(), colour)
}

/// The kinds that a person looks for stand out.
pub fn tone(entry: &Json) -> Tone {
    let text = entry["text"].as_str().unwrap_or("");
    match entry["kind"].as_str() {
        Some("verdict") if text.starts_with("unusable") => Tone::Bad,
        Some("verdict") if text.starts_with("schedulable") => Tone::Good,
        Some("verdict" | "condition_raised" | "xid" | "sxid" | "kernel_log_lost" | "card_changed") => {
            Tone::Odd
        }
        Some("state" | "incident_ended") => Tone::Faint,
        _ => Tone::Plain,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_oldest_stands_first_and_the_node_is_named() {
        let entries = [
            json!({ "at_unix_ms": 1_796_119_200_000u64, "slot": 1, "serial": "S1", "kind": "xid", "text": "XID 79" }),
            json!({ "at_unix_ms": 1_796_119_201_000u64, "kind": "clock_stepped", "text": "wall clock was set" }),
        ];
        assert_eq!(
            page(&entries, false),
            "TIME                   GPU  SERIAL  WHAT\n\
             2026-12-01 10:00:00Z     1  S1      XID 79\n\
             2026-12-01 10:00:01Z  node  -       wall clock was set\n"
        );
    }
}
