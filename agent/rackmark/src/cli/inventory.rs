//! `rackmark inventory`: what this server is.

use clap::Args;
use serde_json::Value as Json;

use super::ConfigPath;
use super::one_shot::print;
use super::pause::failure;
use super::table::{Cell, Tone, colour, painted, render};
use crate::control::client::ask;
use crate::control::verbs::Verb;
use crate::exit::{Code, Failure};
use crate::utc::Utc;

#[derive(Debug, Args)]
pub struct Options {
    /// As JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    config: ConfigPath,
}

pub fn run(options: &Options) -> Result<Code, Failure> {
    let config = options.config.load()?;
    let inventory = ask(&config.control_socket, &Verb::Inventory).map_err(failure)?;
    if options.json {
        print(&format!("{inventory:#}\n"));
    } else {
        print(&page(&inventory, colour()));
    }
    Ok(Code::Ok)
}

/// Findings first, then one table for each kind of part.
fn page(inventory: &Json, colour: bool) -> String {
    let list = |name: &str| inventory[name].as_array().map_or(&[][..], Vec::as_slice);
    let mut out = String::new();
    if let Some(taken) = inventory["taken_unix_ms"].as_u64() {
        out.push_str(&painted(&format!("as of {}\n", Utc(taken)), Tone::Faint, colour));
    }
    if let Some(left_out @ 1..) = inventory["left_out"].as_u64() {
        out.push_str(&painted(
            &format!("{left_out} facts are left out: there are too many\n"),
            Tone::Odd,
            colour,
        ));
    }
    for finding in list("findings") {
        let text = |name: &str| finding[name].as_str().unwrap_or("-");
        let line = format!("{} {}: {}", text("code"), text("instance"), text("detail"));
        out.push_str(&format!("\n{}\n", painted(&line, Tone::Bad, colour)));
        out.push_str(&format!("  {} {}\n", text("meaning"), text("what_to_do")));
    }
    let facts = list("facts");
    for part in facts.chunk_by(|one, next| one["component"] == next["component"]) {
        let text = |fact: &Json, name: &str| fact[name].as_str().unwrap_or("-").to_owned();
        let mut before = None;
        let rows: Vec<Vec<Cell>> = part
            .iter()
            .map(|fact| {
                // The name of a part stands at its first line only.
                let instance = text(fact, "instance");
                let shown = if before.as_ref() == Some(&instance) { String::new() } else { instance.clone() };
                before = Some(instance);
                vec![
                    Cell::text(shown),
                    Cell::text(text(fact, "field")).tone(Tone::Faint),
                    Cell::text(text(fact, "value")),
                ]
            })
            .collect();
        let name = part.first().map(|fact| text(fact, "component").to_uppercase()).unwrap_or_default();
        out.push_str(&format!("\n{}", render(&[&name, "FIELD", "VALUE"], &rows, colour)));
    }
    out
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn findings_stand_first_and_parts_are_named_once() {
        let fact = |component: &str, instance: &str, field: &str, value: &str| json!({ "component": component, "instance": instance, "field": field, "value": value });
        let inventory = json!({
            "taken_unix_ms": 1_796_119_200_000u64,
            "left_out": 2,
            "facts": [
                fact("system", "", "serial", "S1"),
                fact("gpu", "0000:1b:00.0", "name", "H200"),
                fact("gpu", "0000:1b:00.0", "serial", "1650"),
                fact("gpu", "0000:2b:00.0", "name", "H200"),
            ],
            "findings": [{
                "code": "gpu_uuid_duplicate", "instance": "0000:2b:00.0", "detail": "GPU-1 is also that of 0000:1b:00.0",
                "meaning": "Two GPUs have the same UUID.", "what_to_do": "Inspect.",
            }],
        });
        assert_eq!(
            page(&inventory, false),
            "as of 2026-12-01 10:00:00Z\n\
             2 facts are left out: there are too many\n\n\
             gpu_uuid_duplicate 0000:2b:00.0: GPU-1 is also that of 0000:1b:00.0\n  \
             Two GPUs have the same UUID. Inspect.\n\n\
             SYSTEM  FIELD   VALUE\n        serial  S1\n\n\
             GPU           FIELD   VALUE\n\
             0000:1b:00.0  name    H200\n              serial  1650\n\
             0000:2b:00.0  name    H200\n"
        );
    }
}
