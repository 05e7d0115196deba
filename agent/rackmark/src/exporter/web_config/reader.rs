//! Takes the keys of one table out one by one and collects what is wrong with
//! them, so that all mistakes of a file are seen at once.

use super::yaml::Node;
use crate::config::{Mistake, nearest};

/// Shown instead of a value that must not reach a terminal or a log.
pub const SECRET: &str = "(not shown)";

/// One table being taken apart.
pub struct Fields {
    path: String,
    known: &'static [&'static str],
    left: Vec<(String, Node)>,
    /// What was wrong so far.
    pub mistakes: Vec<Mistake>,
}

impl Fields {
    /// The fields of the table at `path` (empty for the file itself), whose keys are `known`.
    pub fn new(path: &str, known: &'static [&'static str], node: Node) -> Self {
        let mut fields = Self { path: path.to_owned(), known, left: Vec::new(), mistakes: Vec::new() };
        match node {
            Node::Nothing => {}
            Node::Table(entries) => fields.left = entries,
            other => {
                let problem = format!("is {}, not a table", other.kind());
                let key = if path.is_empty() { "the file" } else { path };
                fields.mistakes.push(mistake(key, shown(&other), problem, list(known)));
            }
        }
        fields
    }

    fn key(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) }
    }

    /// Notes that a key is wrong.
    pub fn wrong(&mut self, name: &str, value: &str, problem: impl Into<String>, hint: impl Into<String>) {
        let key = self.key(name);
        self.mistakes.push(mistake(&key, value, problem, hint));
    }

    /// The node at a key, if there is anything.
    pub fn take(&mut self, name: &str) -> Option<Node> {
        let at = self.left.iter().position(|(key, _)| key == name)?;
        Some(self.left.swap_remove(at).1).filter(|node| *node != Node::Nothing)
    }

    /// A single value that is not empty.
    pub fn text(&mut self, name: &str, hint: &str) -> Option<String> {
        match self.take(name)? {
            Node::Text(text) if !text.is_empty() => Some(text),
            Node::Text(_) => {
                self.wrong(name, "\"\"", "is empty", hint);
                None
            }
            other => {
                self.wrong(name, shown(&other), format!("is {}, not a single value", other.kind()), hint);
                None
            }
        }
    }

    /// `true` or `false`.
    pub fn flag(&mut self, name: &str, default: bool) -> bool {
        let Some(text) = self.text(name, "true or false") else { return default };
        text.parse().unwrap_or_else(|_| {
            self.wrong(name, &text, "is not true or false", "true or false");
            default
        })
    }

    /// A list of values; none where the key is not there.
    pub fn texts(&mut self, name: &str, hint: &str) -> Option<Vec<String>> {
        let items = match self.take(name)? {
            Node::List(items) => items,
            other => {
                self.wrong(name, shown(&other), format!("is {}, not a list", other.kind()), hint);
                return None;
            }
        };
        let mut texts = Vec::with_capacity(items.len());
        for item in items {
            match item {
                Node::Text(text) => texts.push(text),
                other => {
                    self.wrong(name, shown(&other), format!("contains what is {}", other.kind()), hint);
                }
            }
        }
        Some(texts)
    }

    /// All mistakes, with the keys that nobody asked for.
    pub fn finish(mut self) -> Vec<Mistake> {
        for (name, node) in std::mem::take(&mut self.left) {
            let hint = match nearest(&name, self.known.iter().copied()) {
                Some(known) => format!("did you mean `{known}`?"),
                None => list(self.known),
            };
            self.wrong(&name, shown(&node), "is not a known key", hint);
        }
        self.mistakes
    }
}

fn mistake(key: &str, value: &str, problem: impl Into<String>, hint: impl Into<String>) -> Mistake {
    Mistake { key: key.to_owned(), value: value.to_owned(), problem: problem.into(), hint: hint.into() }
}

fn list(known: &[&str]) -> String {
    format!("known are {}", known.join(", "))
}

/// A value in a mistake. Nobody knows what stands at a mistyped key, so only its kind is told.
fn shown(node: &Node) -> &'static str {
    match node {
        Node::Nothing => "",
        Node::Text(_) => SECRET,
        Node::List(_) => "[…]",
        Node::Table(_) => "{…}",
    }
}
