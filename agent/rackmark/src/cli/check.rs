//! `rackmark check`: the verdict as one line and an exit code, for schedulers.

use std::time::Duration;

use clap::Args;
use serde_json::{Value as Json, json};

use super::ConfigPath;
use super::one_shot::print;
use crate::control::client::{AskError, ask_within};
use crate::control::verbs::Verb;
use crate::exit::{Code, Failure, chain};

/// An agent that takes longer than this is not there for a scheduler; it answers in about a millisecond.
const PATIENCE: Duration = Duration::from_secs(2);

/// Longest line, in bytes: node-problem-detector and Slurm show that much.
const LINE_BYTES_MAX: usize = 256;

#[derive(Debug, Args)]
pub struct Options {
    /// One GPU, by slot, UUID, serial number or PCI address; the whole node if left out.
    #[arg(long)]
    gpu: Option<String>,
    /// Verdict, reason and exit code as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    config: ConfigPath,
}

pub fn run(options: Options) -> Result<Code, Failure> {
    let config = options.config.load()?;
    let answer = ask_within(&config.control_socket, &Verb::Check { gpu: options.gpu }, PATIENCE);
    let (answer, code) = judged(answer);
    if options.json {
        print(&format!("{answer}\n"));
    } else {
        print(&line(&answer));
    }
    Ok(code)
}

/// The answer and its exit code. An agent that cannot say anything is as good as an unusable node.
fn judged(answer: Result<Json, AskError>) -> (Json, Code) {
    let unknown =
        |reason: String| json!({ "verdict": "unknown", "reason": reason, "exit": Code::Wrong as u8 });
    let answer = answer.unwrap_or_else(|error| match error {
        AskError::Refused(why) => unknown(why),
        error => unknown(chain(&error)),
    });
    let code = match answer["verdict"].as_str() {
        Some("schedulable") => Code::Ok,
        Some("draining") => Code::Odd,
        _ => Code::Wrong,
    };
    (answer, code)
}

fn line(answer: &Json) -> String {
    let verdict = answer["verdict"].as_str().unwrap_or("unknown");
    let mut line = match answer["reason"].as_str() {
        None | Some("") => verdict.to_owned(),
        Some(reason) => format!("{verdict}: {}", reason.replace(char::is_control, " ")),
    };
    line.truncate(line.floor_char_boundary(LINE_BYTES_MAX - 1));
    line.push('\n');
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_verdict_has_its_line_and_code() {
        let said = |verdict: &str, reason: &str| {
            let (answer, code) = judged(Ok(json!({ "verdict": verdict, "reason": reason })));
            (line(&answer), code as u8)
        };
        assert_eq!(said("schedulable", ""), ("schedulable\n".to_owned(), 0));
        assert_eq!(said("draining", "in maintenance"), ("draining: in maintenance\n".to_owned(), 1));
        assert_eq!(said("unusable", "XID 79"), ("unusable: XID 79\n".to_owned(), 2));
        assert_eq!(said("unknown", "no readings"), ("unknown: no readings\n".to_owned(), 2));
        assert_eq!(said("of a later version", "").1, 2);
    }

    #[test]
    fn an_agent_that_does_not_answer_is_unknown_and_said_so() {
        let (answer, code) = judged(Err(AskError::Talk(std::io::ErrorKind::TimedOut.into())));
        assert_eq!(line(&answer), "unknown: the agent did not answer: timed out\n");
        assert_eq!(code, Code::Wrong);
        let (answer, code) = judged(Err(AskError::Refused("no GPU is called \"9\"".to_owned())));
        assert_eq!((line(&answer).as_str(), code), ("unknown: no GPU is called \"9\"\n", Code::Wrong));
    }

    #[test]
    fn the_line_is_short_and_one() {
        let answer = json!({ "verdict": "unusable", "reason": format!("a\nb\u{1b}[31m{}", "é".repeat(300)) });
        let line = line(&answer);
        assert!(line.len() <= LINE_BYTES_MAX, "{}", line.len());
        assert_eq!(line.chars().filter(|char| char.is_control()).count(), 1, "{line:?}");
        assert!(line.ends_with('\n'));
    }
}
