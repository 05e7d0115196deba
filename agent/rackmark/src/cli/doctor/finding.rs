//! What a check of `rackmark doctor` found, and how findings are shown.

use serde_json::{Value as Json, json};

use crate::cli::table::{Cell, Tone, painted, render};
use crate::exit::Code;

/// How a check ended, from best to worst.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Outcome {
    Fine,
    Odd,
    Wrong,
}

impl Outcome {
    fn word(self) -> &'static str {
        match self {
            Self::Fine => "ok",
            Self::Odd => "odd",
            Self::Wrong => "wrong",
        }
    }

    fn tone(self) -> Tone {
        match self {
            Self::Fine => Tone::Good,
            Self::Odd => Tone::Odd,
            Self::Wrong => Tone::Bad,
        }
    }
}

/// One check and what it found.
#[derive(Debug)]
pub(super) struct Finding {
    pub check: &'static str,
    pub outcome: Outcome,
    pub found: String,
    pub hint: &'static str,
}

pub(super) fn fine(check: &'static str, found: impl Into<String>) -> Finding {
    Finding { check, outcome: Outcome::Fine, found: found.into(), hint: "" }
}

pub(super) fn odd(check: &'static str, found: impl Into<String>, hint: &'static str) -> Finding {
    Finding { check, outcome: Outcome::Odd, found: found.into(), hint }
}

pub(super) fn wrong(check: &'static str, found: impl Into<String>, hint: &'static str) -> Finding {
    Finding { check, outcome: Outcome::Wrong, found: found.into(), hint }
}

/// The exit code, by the worst finding.
pub(super) fn code(findings: &[Finding]) -> Code {
    match findings.iter().map(|finding| finding.outcome).max() {
        None | Some(Outcome::Fine) => Code::Ok,
        Some(Outcome::Odd) => Code::Odd,
        Some(Outcome::Wrong) => Code::Wrong,
    }
}

/// For programs.
pub(super) fn as_json(findings: &[Finding]) -> Json {
    let one = |finding: &Finding| {
        json!({
            "check": finding.check,
            "outcome": finding.outcome.word(),
            "found": finding.found,
            "hint": finding.hint,
        })
    };
    Json::Array(findings.iter().map(one).collect())
}

/// For people: every check in a line, then what to do about the worst first, then
/// the sum.
pub(super) fn as_page(findings: &[Finding], colour: bool) -> String {
    let rows: Vec<Vec<Cell>> = findings
        .iter()
        .map(|finding| {
            let found = cut(finding.found.lines().next().unwrap_or(""), finding.outcome);
            vec![
                Cell::text(marked(finding.outcome)).tone(finding.outcome.tone()),
                Cell::text(finding.check),
                Cell::text(found),
            ]
        })
        .collect();
    let mut page = render(&["", "CHECK", "FOUND"], &rows, colour);
    for outcome in [Outcome::Wrong, Outcome::Odd] {
        for finding in findings.iter().filter(|finding| finding.outcome == outcome) {
            let check = painted(finding.check, outcome.tone(), colour);
            page.push_str(&format!("\n{check}: {}\n", finding.found));
            if !finding.hint.is_empty() {
                page.push_str(&format!("  hint: {}\n", finding.hint));
            }
        }
    }
    let count = |outcome| findings.iter().filter(|finding| finding.outcome == outcome).count();
    let (odd, wrong) = (count(Outcome::Odd), count(Outcome::Wrong));
    let sum = match (odd, wrong) {
        (0, 0) => format!("All {} checks are ok.", findings.len()),
        (odd, 0) => format!("{odd} of {} checks odd: it works, but look at it.", findings.len()),
        (odd, wrong) => format!("{wrong} of {} checks wrong, {odd} odd.", findings.len()),
    };
    page.push_str(&format!("\n{sum}\n"));
    page
}

/// Longest text of a finding in the table, in characters: the whole of it stands below.
const CELL_CHARS_MAX: usize = 72;

fn cut(text: &str, outcome: Outcome) -> String {
    if outcome == Outcome::Fine || text.chars().count() <= CELL_CHARS_MAX {
        return text.to_owned();
    }
    text.chars().take(CELL_CHARS_MAX - 1).chain(['…']).collect()
}

/// Stands out also without colour.
fn marked(outcome: Outcome) -> String {
    match outcome {
        Outcome::Wrong => outcome.word().to_uppercase(),
        _ => outcome.word().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_finding_makes_the_code_and_leads_the_page() {
        let mut findings = vec![fine("one", "as it should be")];
        assert_eq!(code(&findings), Code::Ok);
        assert!(as_page(&findings, false).ends_with("All 1 checks are ok.\n"));
        findings.push(odd("two", "strange", "look at it"));
        assert_eq!(code(&findings), Code::Odd);
        findings.push(wrong("three", "first line\nsecond line", "mend it"));
        assert_eq!(code(&findings), Code::Wrong);
        let page = as_page(&findings, false);
        let (three, two) = (page.find("\nthree: "), page.find("\ntwo: "));
        assert!(three.is_some() && three < two, "{page}");
        assert_eq!(page.matches("second line").count(), 1, "the table has one line for each check: {page}");
        assert!(page.ends_with("1 of 3 checks wrong, 1 odd.\n"), "{page}");
        findings.push(odd("four", "x".repeat(100), "look"));
        let page = as_page(&findings, false);
        assert!(page.contains("xxx…\n") && page.contains(&"x".repeat(100)), "cut in the table only: {page}");
        let json = as_json(&findings);
        assert_eq!(
            json[2],
            json!({ "check": "three", "outcome": "wrong", "found": "first line\nsecond line", "hint": "mend it" })
        );
    }
}
