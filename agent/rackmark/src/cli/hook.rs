//! `rackmark hook`: what the hooks of the site are, and trying them.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::builder::PossibleValuesParser;
use clap::{Args, Subcommand};
use rackmark_model::hook::HookEvent;
use serde_json::{Map, Value as Json};

use super::ConfigPath;
use super::one_shot::print;
use super::pause::failure;
use super::table::{Cell, Tone, colour, render};
use crate::control::client::ask_within;
use crate::control::verbs::Verb;
use crate::exit::{Code, Failure};

/// Each of nine events is looked at by a process of its own; a folder that hangs takes longer.
pub(super) const LIST_PATIENCE: Duration = Duration::from_secs(60);
/// Hooks may take long, and others may run before them.
const TEST_PATIENCE: Duration = Duration::from_secs(3600);
/// Largest document of a test: a request to the agent has a limit.
const INPUT_BYTES_MAX: u64 = 32 << 10;

#[derive(Debug, Subcommand)]
pub enum HookCommand {
    /// Show what would run for each event, and what is left alone and why: exit code 1 where something is refused.
    List(ListOptions),
    /// Run the hooks of an event now, with a sample of its document: exit code 2 where one does not do it.
    Test(TestOptions),
}

#[derive(Debug, Args)]
pub struct ListOptions {
    /// As JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    config: ConfigPath,
}

#[derive(Debug, Args)]
pub struct TestOptions {
    /// The event.
    #[arg(value_name = "EVENT", value_parser = PossibleValuesParser::new(HookEvent::ALL.map(HookEvent::name)))]
    event: String,
    /// File with a JSON object that is given to the hooks instead of the sample; "-" is standard input.
    #[arg(long, value_name = "FILE")]
    input: Option<PathBuf>,
    /// As JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    config: ConfigPath,
}

pub fn run(command: HookCommand) -> Result<Code, Failure> {
    match command {
        HookCommand::List(options) => list(&options),
        HookCommand::Test(options) => test(options),
    }
}

fn list(options: &ListOptions) -> Result<Code, Failure> {
    let config = options.config.load()?;
    let listed = ask_within(&config.control_socket, &Verb::HookList, LIST_PATIENCE).map_err(failure)?;
    print(&if options.json { format!("{listed:#}\n") } else { list_page(&listed, colour()) });
    let odd = array(&listed, "events").iter().any(|event| {
        !event["trouble"].is_null() || array(event, "skipped").iter().any(|file| !is_set_aside(file))
    });
    Ok(if odd { Code::Odd } else { Code::Ok })
}

fn test(options: TestOptions) -> Result<Code, Failure> {
    let config = options.config.load()?;
    let document = options.input.as_deref().map(input).transpose()?;
    let verb = Verb::HookTest { event: options.event, document };
    let outcome = ask_within(&config.control_socket, &verb, TEST_PATIENCE).map_err(failure)?;
    print(&if options.json { format!("{outcome:#}\n") } else { test_page(&outcome, colour()) });
    let failed = array(&outcome, "runs").iter().any(|run| run["result"] != "done");
    let refused = array(&outcome, "skipped").iter().any(|file| !is_set_aside(file));
    let wrong = failed || refused || !outcome["trouble"].is_null();
    Ok(if wrong { Code::Wrong } else { Code::Ok })
}

fn input(path: &Path) -> Result<Map<String, Json>, Failure> {
    let unreadable = |error| Failure::new(Code::Usage, format!("cannot read {}: {error}", path.display()));
    let mut text = Vec::new();
    if path.as_os_str() == "-" {
        std::io::stdin().take(INPUT_BYTES_MAX + 1).read_to_end(&mut text).map_err(unreadable)?;
    } else {
        let file = std::fs::File::open(path).map_err(unreadable)?;
        file.take(INPUT_BYTES_MAX + 1).read_to_end(&mut text).map_err(unreadable)?;
    }
    if text.len() as u64 > INPUT_BYTES_MAX {
        let larger = format!("{} has more than {INPUT_BYTES_MAX} bytes", path.display());
        return Err(Failure::new(Code::Usage, larger));
    }
    serde_json::from_slice(&text).map_err(|error| {
        Failure::new(Code::Usage, format!("{} is not a JSON object: {error}", path.display()))
    })
}

pub(super) fn array<'a>(of: &'a Json, name: &str) -> &'a [Json] {
    of[name].as_array().map_or(&[], Vec::as_slice)
}

pub(super) fn text(of: &Json, name: &str) -> String {
    of[name].as_str().unwrap_or("-").to_owned()
}

/// A file that somebody left there on purpose: a text, an editor's copy, a hook without permission to run.
pub(super) fn is_set_aside(file: &Json) -> bool {
    matches!(file["reason"].as_str(), Some("name" | "not_executable"))
}

fn list_page(listed: &Json, colour: bool) -> String {
    let mut rows = Vec::new();
    for event in array(listed, "events") {
        let mut row = |file: String, tone, words: String| {
            rows.push(vec![Cell::text(text(event, "event")), Cell::text(file), Cell::text(words).tone(tone)]);
        };
        if let Some(trouble) = event["trouble"].as_str() {
            row("-".to_owned(), Tone::Bad, trouble.to_owned());
        }
        for hook in array(event, "hooks") {
            row(hook.as_str().unwrap_or("-").to_owned(), Tone::Good, "runs".to_owned());
        }
        for file in array(event, "skipped") {
            let tone = if is_set_aside(file) { Tone::Faint } else { Tone::Bad };
            row(text(file, "name"), tone, format!("is not run: {}", text(file, "words")));
        }
    }
    let mut page = format!("hooks of {}\n", text(listed, "dir"));
    if listed["enabled"] == false {
        page.push_str("nothing is run: hooks.enabled is false\n");
    }
    if rows.is_empty() {
        page.push_str("there are none\n");
    } else {
        page.push_str(&render(&["EVENT", "FILE", "WHAT"], &rows, colour));
    }
    page
}

fn test_page(outcome: &Json, colour: bool) -> String {
    let mut rows = Vec::new();
    let mut details = String::new();
    for run in array(outcome, "runs") {
        let result = text(run, "result");
        let tone = if result == "done" { Tone::Good } else { Tone::Bad };
        let took_ms = run["took_ms"].as_u64().unwrap_or(0);
        let fault = run["fault"].as_str().map(|fault| format!("(output: {fault}) ")).unwrap_or_default();
        rows.push(vec![
            Cell::text(text(run, "name")),
            Cell::text(result).tone(tone),
            Cell::number(run["exit"].to_string()),
            Cell::number(format!("{took_ms} ms")),
            Cell::text(format!("{fault}{}", run["message"].as_str().unwrap_or(""))),
        ]);
        for line in run["stderr"].as_str().unwrap_or("").lines() {
            details.push_str(&format!("{}: {line}\n", text(run, "name")));
        }
    }
    for file in array(outcome, "skipped") {
        details.push_str(&format!("{} is not run: it {}\n", text(file, "name"), text(file, "words")));
    }
    if let Some(trouble) = outcome["trouble"].as_str() {
        details.push_str(&format!("not all hooks ran: {trouble}\n"));
    }
    if let Some(veto) = outcome["veto"].as_str() {
        details.push_str(&format!("the answer is no: {veto}\n"));
    }
    if rows.is_empty() && details.is_empty() {
        return format!("{} has no hooks\n", text(outcome, "event"));
    }
    if rows.is_empty() {
        return details;
    }
    render(&["HOOK", "RESULT", "EXIT", "TOOK", "MESSAGE"], &rows, colour) + &details
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_list_says_what_runs_and_what_does_not() {
        let skipped = json!([
            { "name": "README.md", "reason": "name", "words": "has a dot" },
            { "name": "60-open", "reason": "writable", "words": "may be written" },
        ]);
        let listed = json!({ "enabled": true, "dir": "/h", "events": [
            { "event": "lease-start", "hooks": ["10-a"], "skipped": skipped, "trouble": null },
            { "event": "lease-end", "hooks": [], "skipped": [], "trouble": "/h is a link" },
            { "event": "maintenance", "hooks": [], "skipped": [], "trouble": null },
        ]});
        assert_eq!(
            list_page(&listed, false),
            "hooks of /h\n\
             EVENT        FILE       WHAT\n\
             lease-start  10-a       runs\n\
             lease-start  README.md  is not run: has a dot\n\
             lease-start  60-open    is not run: may be written\n\
             lease-end    -          /h is a link\n"
        );
        let none = json!({ "enabled": false, "dir": "/h", "events": [] });
        assert_eq!(
            list_page(&none, false),
            "hooks of /h\nnothing is run: hooks.enabled is false\nthere are none\n"
        );
    }

    #[test]
    fn a_test_shows_each_hook() {
        let outcome = json!({ "event": "lease-end", "runs": [
            { "name": "10-a", "result": "done", "exit": 0, "took_ms": 12, "message": "scrubbed", "fault": null,
              "stderr": "" },
            { "name": "20-b", "result": "failed", "exit": 3, "took_ms": 1, "message": "", "fault": "not_json",
              "stderr": "no such\nthing" },
        ], "skipped": [], "trouble": null, "veto": "20-b failed (exit code 3)" });
        assert_eq!(
            test_page(&outcome, false),
            "HOOK  RESULT  EXIT   TOOK  MESSAGE\n\
             10-a  done       0  12 ms  scrubbed\n\
             20-b  failed     3   1 ms  (output: not_json)\n\
             20-b: no such\n20-b: thing\nthe answer is no: 20-b failed (exit code 3)\n"
        );
        let none = json!({ "event": "lease-end", "runs": [], "skipped": [], "trouble": null, "veto": null });
        assert_eq!(test_page(&none, false), "lease-end has no hooks\n");
    }
}
