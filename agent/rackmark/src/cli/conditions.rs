//! The table of conditions: what stands, since when, what to do.

use serde_json::Value as Json;

use super::table::{Cell, Tone, painted, render};
use crate::utc::{Span, Utc};

/// Advice is broken into lines of this many characters.
const LINE_CHARS: usize = 96;
/// Advice stands this far in.
const INDENT: &str = "     ";

/// Whose condition it is, and the condition as the control socket gives it.
pub type Standing<'a> = (Option<u64>, &'a Json);

/// The conditions of the node, then those of its GPUs, from the control socket's form.
pub fn standing<'a>(node: &'a Json, gpus: &'a [Json]) -> Vec<Standing<'a>> {
    let of = |from: &'a Json| from["conditions"].as_array().map_or(&[][..], Vec::as_slice);
    let gpus = gpus.iter().flat_map(|gpu| of(gpu).iter().map(move |one| (gpu["slot"].as_u64(), one)));
    of(node).iter().map(|one| (None, one)).chain(gpus).collect()
}

/// The table, with figures and advice below each condition; empty where nothing stands.
pub fn table(conditions: &[Standing<'_>], now_unix_ms: u64, colour: bool) -> String {
    if conditions.is_empty() {
        return String::new();
    }
    let rows: Vec<Vec<Cell>> = conditions.iter().map(|one| row(one, now_unix_ms)).collect();
    let table = render(&["GPU", "CONDITION", "SEVERITY", "SINCE", "WHAT TO DO"], &rows, colour);
    let mut lines = table.lines();
    let mut out = format!("{}\n", lines.next().unwrap_or_default());
    for (line, (_, condition)) in lines.zip(conditions) {
        out.push_str(line);
        out.push('\n');
        for line in explained(condition).iter().flat_map(|text| broken(text)) {
            out.push_str(INDENT);
            out.push_str(&painted(&line, Tone::Faint, colour));
            out.push('\n');
        }
    }
    out
}

fn row((slot, condition): &Standing<'_>, now_unix_ms: u64) -> Vec<Cell> {
    let text = |name: &str| condition[name].as_str().unwrap_or("-");
    let tone = match (condition["acknowledged"].is_null(), text("severity")) {
        (false, _) => Tone::Faint,
        (true, "critical") => Tone::Bad,
        (true, "warning") => Tone::Odd,
        _ => Tone::Plain,
    };
    let since = condition["since_unix_ms"].as_u64().map_or_else(
        || "-".to_owned(),
        |since| format!("{} ago, {}", Span(now_unix_ms.saturating_sub(since)), Utc(since)),
    );
    vec![
        Cell::number(slot.map_or_else(|| "node".to_owned(), |slot| slot.to_string())),
        Cell::text(text("id")).tone(tone),
        Cell::text(text("severity")).tone(tone),
        Cell::text(since),
        Cell::text(action(text("action"))),
    ]
}

/// An action for people, by its name; where it is none of the known ones, the advice below says it all.
fn action(name: &str) -> String {
    if name == rackmark_health::Action::None.name() {
        return "see below".to_owned();
    }
    let known = rackmark_health::Action::ALL.iter().find(|action| action.name() == name);
    known.map_or_else(|| name.to_owned(), |action| action.words().to_owned())
}

/// What it is with its figures, the advice, and who knows of it.
fn explained(condition: &Json) -> Vec<String> {
    let text = |name: &str| condition[name].as_str().filter(|text| !text.is_empty());
    let mut lines = vec![format!("{}. {}", text("line").unwrap_or("-"), text("text").unwrap_or(""))];
    if let Some(by) = condition["acknowledged"]["by"].as_str() {
        let at = condition["acknowledged"]["at_unix_ms"].as_u64().unwrap_or_default();
        lines.push(format!("Acknowledged by {by}, {}.", Utc(at)));
    }
    lines
}

/// A text in lines of at most [`LINE_CHARS`], broken at blanks.
fn broken(text: &str) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    let mut chars = 0;
    for word in text.split_ascii_whitespace() {
        let word_chars = word.chars().count();
        match lines.last_mut() {
            Some(line) if chars + 1 + word_chars <= LINE_CHARS => {
                line.push(' ');
                line.push_str(word);
                chars += 1 + word_chars;
            }
            _ => {
                lines.push(word.to_owned());
                chars = word_chars;
            }
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_condition_says_what_since_when_and_what_to_do() {
        let at = 1_796_119_200_000u64;
        let gpu = json!({ "slot": 3, "conditions": [{
            "id": "xid_79", "severity": "critical", "action": "reboot_node", "since_unix_ms": at,
            "line": "XID 79: fell off the bus (lost)", "text": "Reboot.", "acknowledged": null,
        }] });
        let node = json!({ "conditions": [{
            "id": "disk_low", "severity": "warning", "action": "none", "since_unix_ms": at,
            "line": "disk is nearly full", "text": "Make room.",
            "acknowledged": { "by": "root", "at_unix_ms": at },
        }] });
        assert_eq!(
            table(&standing(&node, &[gpu]), at + 90_000, false),
            " GPU  CONDITION  SEVERITY  SINCE                            WHAT TO DO\n\
             node  disk_low   warning   1 min ago, 2026-12-01 10:00:00Z  see below\n     \
             disk is nearly full. Make room.\n     \
             Acknowledged by root, 2026-12-01 10:00:00Z.\n\
             \u{20}  3  xid_79     critical  1 min ago, 2026-12-01 10:00:00Z  reboot the node\n     \
             XID 79: fell off the bus (lost). Reboot.\n"
        );
        assert_eq!(table(&[], at, false), "");
    }

    #[test]
    fn long_advice_is_broken_at_blanks_and_nothing_is_lost() {
        let text = "word ".repeat(60);
        let lines = broken(&text);
        assert!(lines.len() > 2 && lines.iter().all(|line| line.chars().count() <= LINE_CHARS));
        assert_eq!(lines.join(" "), text.trim());
        assert_eq!(broken(&"x".repeat(200)).len(), 1);
    }
}
