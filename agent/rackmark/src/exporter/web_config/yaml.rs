//! YAML to plain nodes. Every scalar stays a text: what it means is decided by
//! the key it stands at, so that a password hash never becomes a number.

use saphyr_parser::{Event, Parser, ScalarStyle, ScanError};
use thiserror::Error;

/// Tables in tables: the format has three levels, so more is a mistake and not a file.
const DEPTH_MAX: usize = 8;

/// A text is not YAML, or more YAML than the format needs.
#[derive(Debug, Error)]
pub enum YamlError {
    /// The text does not follow YAML's grammar.
    #[error("line {}, column {}: {}", .0.marker().line(), .0.marker().col() + 1, .0.info())]
    Syntax(ScanError),
    /// A key stands twice in one table.
    #[error("line {line}: `{key}` stands twice")]
    Twice {
        /// Line of the second one, from 1.
        line: usize,
        /// The key.
        key: String,
    },
    /// Something that YAML knows and this format does not need.
    #[error("line {line}: {what} cannot be used here")]
    Unneeded {
        /// Its line, from 1.
        line: usize,
        /// What it is.
        what: &'static str,
    },
}

/// One node of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Node {
    /// Nothing stands there.
    Nothing,
    /// A scalar.
    Text(String),
    /// A sequence.
    List(Vec<Node>),
    /// A mapping, in its order; keys are unique.
    Table(Vec<(String, Node)>),
}

impl Node {
    /// What it is, for a person.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Nothing => "empty",
            Self::Text(_) => "a single value",
            Self::List(_) => "a list",
            Self::Table(_) => "a table",
        }
    }
}

/// A collection that is being filled.
enum Open {
    List(Vec<Node>),
    Table(Vec<(String, Node)>, Option<String>),
}

/// Reads the one document of a file; an empty file is [`Node::Nothing`].
///
/// # Errors
/// [`YamlError`].
pub fn parse(text: &str) -> Result<Node, YamlError> {
    let mut open: Vec<Open> = Vec::new();
    let mut root = None;
    for event in Parser::new_from_str(text) {
        let (event, span) = event.map_err(YamlError::Syntax)?;
        let line = span.start.line();
        let unneeded = |what| YamlError::Unneeded { line, what };
        let finished = match event {
            Event::Scalar(text, style, anchor, tag) => {
                if anchor != 0 || tag.is_some() {
                    return Err(unneeded("an anchor or a tag"));
                }
                let nothing = style == ScalarStyle::Plain && matches!(&*text, "" | "~" | "null");
                if nothing { Node::Nothing } else { Node::Text(text.into_owned()) }
            }
            Event::Alias(_) => return Err(unneeded("an alias")),
            Event::SequenceStart(anchor, tag) | Event::MappingStart(anchor, tag)
                if anchor != 0 || tag.is_some() =>
            {
                return Err(unneeded("an anchor or a tag"));
            }
            Event::SequenceStart(..) | Event::MappingStart(..) if open.len() == DEPTH_MAX => {
                return Err(unneeded("so much nesting"));
            }
            Event::SequenceStart(..) => {
                open.push(Open::List(Vec::new()));
                continue;
            }
            Event::MappingStart(..) => {
                open.push(Open::Table(Vec::new(), None));
                continue;
            }
            Event::SequenceEnd | Event::MappingEnd => match open.pop() {
                Some(Open::List(items)) => Node::List(items),
                Some(Open::Table(entries, _)) => Node::Table(entries),
                None => continue,
            },
            Event::DocumentStart(_) if root.is_some() => return Err(unneeded("a second document")),
            Event::DocumentStart(_)
            | Event::DocumentEnd
            | Event::StreamStart
            | Event::StreamEnd
            | Event::Nothing => continue,
        };
        match open.last_mut() {
            None => root = Some(finished),
            Some(Open::List(items)) => items.push(finished),
            Some(Open::Table(entries, key)) => match (key.take(), finished) {
                (Some(name), value) => entries.push((name, value)),
                (None, Node::Text(name)) if entries.iter().any(|(known, _)| *known == name) => {
                    return Err(YamlError::Twice { line, key: name });
                }
                (None, Node::Text(name)) => *key = Some(name),
                (None, _) => return Err(unneeded("a key that is not a text")),
            },
        }
    }
    Ok(root.unwrap_or(Node::Nothing))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Node {
        Node::Text(text.to_owned())
    }

    #[test]
    fn scalars_stay_texts_and_empty_ones_are_nothing() {
        let read = parse("a: 007\nb:\nc: \"null\"\nd: [yes, x]\n").expect("YAML");
        let expected = [
            ("a", text("007")),
            ("b", Node::Nothing),
            ("c", text("null")),
            ("d", Node::List(vec![text("yes"), text("x")])),
        ];
        assert_eq!(read, Node::Table(expected.map(|(key, value)| (key.to_owned(), value)).to_vec()));
        assert_eq!(parse("# nothing\n").expect("YAML"), Node::Nothing);
    }

    #[test]
    fn what_the_format_does_not_need_is_refused_with_its_line() {
        let refused = |text: &str| parse(text).expect_err(text).to_string();
        assert!(refused("a: 1\na: 2\n").contains("line 2: `a` stands twice"), "{}", refused("a: 1\na: 2\n"));
        assert!(refused("a: &x 1\nb: *x\n").contains("anchor"));
        assert!(refused("a: !!str 1\n").contains("tag"));
        assert!(refused("--- a\n--- b\n").contains("second document"));
        assert!(refused("a: [1\n").contains("line "));
        assert!(refused(&"[".repeat(100)).contains("nesting"));
    }
}
