//! What a hook says on standard output: one JSON object, `{"message": "…", "facts": {"name": "value"}}`, both
//! optional, or nothing at all. Every sequence of bytes has a meaning; whatever is wrong has a name.

use rackmark_model::hook::{HookOutput, OutputFault};
use serde_json::{Map, Value};

/// Most bytes of standard output that are read.
pub const STDOUT_BYTES_MAX: usize = 64 << 10;
/// Most bytes of standard error that are kept.
pub const STDERR_BYTES_MAX: usize = 16 << 10;
/// Longest message in bytes, as on the feed; a longer one is cut.
pub const MESSAGE_BYTES_MAX: usize = 512;
/// Most facts of one hook.
pub const FACTS_MAX: usize = 32;
/// Longest name of a fact in bytes; one with a longer name is left out.
pub const FACT_NAME_BYTES_MAX: usize = 64;
/// Longest value of a fact in bytes; a longer one is cut.
pub const FACT_VALUE_BYTES_MAX: usize = 256;

/// Takes an output apart; `cut` says that there was more of it than is read.
pub fn parse(bytes: &[u8], cut: bool) -> HookOutput {
    let fault = |fault| HookOutput { fault: Some(fault), ..HookOutput::default() };
    if cut {
        return fault(OutputFault::TooLong);
    }
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return HookOutput::default();
    }
    match serde_json::from_slice(bytes) {
        Ok(Value::Object(said)) => object(&said),
        Ok(_) => fault(OutputFault::NotAnObject),
        Err(_) => fault(OutputFault::NotJson),
    }
}

fn object(said: &Map<String, Value>) -> HookOutput {
    let mut output = HookOutput::default();
    match said.get("message") {
        None | Some(Value::Null) => {}
        Some(Value::String(text)) => output.message = clean(text, MESSAGE_BYTES_MAX),
        Some(_) => output.fault = Some(OutputFault::Message),
    }
    match said.get("facts") {
        None | Some(Value::Null) => {}
        Some(Value::Object(facts)) => {
            for (name, value) in facts {
                match fact(name, value) {
                    Some(fact) if output.facts.len() < FACTS_MAX => output.facts.push(fact),
                    _ => output.fault = Some(OutputFault::Facts),
                }
            }
        }
        Some(_) => output.fault = Some(OutputFault::Facts),
    }
    output
}

fn fact(name: &str, value: &Value) -> Option<(String, String)> {
    if name.is_empty() || name.len() > FACT_NAME_BYTES_MAX || name.contains(char::is_control) {
        return None;
    }
    let text = match value {
        Value::String(text) => clean(text, FACT_VALUE_BYTES_MAX),
        Value::Number(_) | Value::Bool(_) => clean(&value.to_string(), FACT_VALUE_BYTES_MAX),
        Value::Null | Value::Array(_) | Value::Object(_) => return None,
    };
    Some((name.to_owned(), text))
}

/// Standard error as text for the log: lines stay, other control characters do not.
pub fn words(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let text = text.replace(|character: char| character.is_control() && character != '\n', " ");
    text.trim().to_owned()
}

fn clean(text: &str, bytes_max: usize) -> String {
    let text = text.replace(char::is_control, " ");
    let text = text.trim();
    text[..text.floor_char_boundary(bytes_max)].to_owned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parsed(text: &str) -> HookOutput {
        parse(text.as_bytes(), false)
    }

    fn fault(text: &str) -> Option<OutputFault> {
        parsed(text).fault
    }

    #[test]
    fn a_message_and_facts_are_read_and_other_fields_are_not() {
        let said = parsed(
            r#" {"message": " drained\n2 jobs ", "facts": {"jobs": 2, "by": "slurm", "forced": false}, "more": [1]} "#,
        );
        assert_eq!(said.message, "drained 2 jobs");
        let facts: Vec<_> = said.facts.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        assert_eq!(facts, [("by", "slurm"), ("forced", "false"), ("jobs", "2")]);
        assert_eq!(said.fault, None);
    }

    #[test]
    fn nothing_said_is_no_fault() {
        for text in ["", " \n", "{}", r#"{"message": null, "facts": null}"#] {
            assert_eq!(parsed(text), HookOutput::default(), "{text:?}");
        }
    }

    #[test]
    fn every_fault_has_its_name() {
        assert_eq!(fault("done"), Some(OutputFault::NotJson));
        assert_eq!(fault("{} {}"), Some(OutputFault::NotJson));
        assert_eq!(parse(b"{\"message\": \"\xff\"}", false).fault, Some(OutputFault::NotJson));
        assert_eq!(fault(&"[".repeat(10_000)), Some(OutputFault::NotJson));
        assert_eq!(fault("\"done\""), Some(OutputFault::NotAnObject));
        assert_eq!(fault(r#"{"message": 1}"#), Some(OutputFault::Message));
        assert_eq!(fault(r#"{"facts": []}"#), Some(OutputFault::Facts));
        assert_eq!(fault(r#"{"facts": {"a": {}}}"#), Some(OutputFault::Facts));
        assert_eq!(parse(b"{}", true).fault, Some(OutputFault::TooLong));
        // What is right of it is taken all the same.
        let said = parsed(r#"{"message": "half", "facts": {"a": 1, "b": []}}"#);
        assert_eq!((said.message.as_str(), said.facts.len()), ("half", 1));
        assert_eq!(said.fault, Some(OutputFault::Facts));
    }

    #[test]
    fn all_of_it_is_bounded() {
        let facts: Vec<String> =
            (0..40).map(|number| format!("\"f{number}\": \"{}\"", "é".repeat(300))).collect();
        let said =
            parsed(&format!(r#"{{"message": "{}", "facts": {{{}}}}}"#, "é".repeat(400), facts.join(",")));
        assert_eq!(said.message.len(), MESSAGE_BYTES_MAX);
        assert_eq!(said.facts.len(), FACTS_MAX);
        assert!(said.facts.iter().all(|(_, value)| value.len() == FACT_VALUE_BYTES_MAX));
        assert_eq!(fault(&format!("{{\"facts\": {{\"{}\": 1}}}}", "x".repeat(65))), Some(OutputFault::Facts));
    }

    #[test]
    fn standard_error_keeps_its_lines() {
        assert_eq!(words(b"one\x1b[31m\ntwo\xff\n"), "one [31m\ntwo\u{fffd}");
    }

    proptest! {
        #[test]
        fn any_bytes_have_a_meaning(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let said = parse(&bytes, false);
            prop_assert!(said.message.len() <= MESSAGE_BYTES_MAX);
        }
    }
}
