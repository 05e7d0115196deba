//! Takes keys out of a parsed file one by one and collects what is wrong with
//! them, so that five mistakes are five lines and not five attempts.

use std::fmt;
use std::ops::RangeInclusive;

use toml::{Table, Value};

use super::keys::KEYS;

/// One thing wrong with a configuration file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// `section.key`.
    pub key: String,
    /// What stands there, as TOML.
    pub value: String,
    /// What is wrong with it.
    pub problem: String,
    /// What to write instead.
    pub hint: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} = {}: {}\n  hint: {}", self.key, self.value, self.problem, self.hint)
    }
}

/// A file being taken apart.
pub struct Reader {
    typed: Table,
    mistakes: Vec<Mistake>,
}

impl Reader {
    pub fn new(typed: Table) -> Self {
        Self { typed, mistakes: Vec::new() }
    }

    /// Removes `section.name` from what was typed; the default where it was not typed.
    fn take(&mut self, section: &str, name: &str) -> Option<Value> {
        let typed = match self.typed.get_mut(section) {
            Some(Value::Table(table)) => table.remove(name),
            _ => None,
        };
        typed.or_else(|| default_value(section, name))
    }

    /// True where the file itself names the key.
    pub fn is_typed(&self, section: &str, name: &str) -> bool {
        matches!(self.typed.get(section), Some(Value::Table(table)) if table.contains_key(name))
    }

    pub fn wrong(&mut self, section: &str, name: &str, value: impl fmt::Display, problem: impl Into<String>) {
        self.wrong_with_hint(section, name, value, problem, hint(section, name));
    }

    /// Where more can be said than what is allowed for the key.
    pub fn wrong_with_hint(
        &mut self,
        section: &str,
        name: &str,
        value: impl fmt::Display,
        problem: impl Into<String>,
        hint: impl Into<String>,
    ) {
        self.mistakes.push(Mistake {
            key: format!("{section}.{name}"),
            value: value.to_string(),
            problem: problem.into(),
            hint: hint.into(),
        });
    }

    pub fn text(&mut self, section: &str, name: &str) -> Option<String> {
        match self.take(section, name)? {
            Value::String(text) if !text.is_empty() => Some(text),
            Value::String(_) => {
                self.wrong(section, name, "\"\"", "is empty");
                None
            }
            other => {
                self.wrong(section, name, &other, format!("is {}, not a text", kind(&other)));
                None
            }
        }
    }

    pub fn flag(&mut self, section: &str, name: &str) -> bool {
        match self.take(section, name) {
            Some(Value::Boolean(flag)) => flag,
            Some(other) => {
                self.wrong(section, name, &other, format!("is {}, not true or false", kind(&other)));
                false
            }
            None => false,
        }
    }

    pub fn number(&mut self, section: &str, name: &str, allowed: RangeInclusive<u32>) -> Option<u32> {
        let value = self.take(section, name)?;
        let Value::Integer(number) = value else {
            self.wrong(section, name, &value, format!("is {}, not a whole number", kind(&value)));
            return None;
        };
        match u32::try_from(number) {
            Ok(number) if allowed.contains(&number) => Some(number),
            _ => {
                let problem = format!("is outside {} to {}", allowed.start(), allowed.end());
                self.wrong(section, name, number, problem);
                None
            }
        }
    }

    pub fn texts(&mut self, section: &str, name: &str, count: RangeInclusive<usize>) -> Vec<String> {
        let Some(value) = self.take(section, name) else { return Vec::new() };
        let Value::Array(items) = &value else {
            self.wrong(section, name, &value, format!("is {}, not a list of texts", kind(&value)));
            return Vec::new();
        };
        if !count.contains(&items.len()) {
            let problem =
                format!("has {} entries, allowed are {} to {}", items.len(), count.start(), count.end());
            self.wrong(section, name, &value, problem);
            return Vec::new();
        }
        let mut texts = Vec::with_capacity(items.len());
        for item in items {
            match item {
                Value::String(text) => texts.push(text.clone()),
                other => {
                    self.wrong(section, name, other, format!("contains {}, not only texts", kind(other)));
                }
            }
        }
        texts
    }

    /// Everything that is wrong, with what was typed and never asked for.
    pub fn finish(mut self) -> Vec<Mistake> {
        for (section, value) in std::mem::take(&mut self.typed) {
            let sections = || KEYS.iter().map(|key| key.section);
            let known = sections().any(|name| name == section);
            match value {
                Value::Table(rest) if known => {
                    for (name, value) in rest {
                        let names = KEYS.iter().filter(|key| key.section == section).map(|key| key.name);
                        self.unknown(format!("{section}.{name}"), &value, "key", nearest(&name, names));
                    }
                }
                other => self.unknown(section.clone(), &other, "table", nearest(&section, sections())),
            }
        }
        self.mistakes
    }

    fn unknown(&mut self, key: String, value: &Value, what: &str, nearest: Option<&str>) {
        let hint = match nearest {
            Some(name) => format!("did you mean `{name}`? `rackmark default-config` lists every {what}"),
            None => format!("remove it; `rackmark default-config` lists every {what}"),
        };
        self.mistakes.push(Mistake {
            key,
            value: value.to_string(),
            problem: format!("is not a known {what}"),
            hint,
        });
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::String(_) => "a text",
        Value::Integer(_) => "a whole number",
        Value::Float(_) => "a decimal number",
        Value::Boolean(_) => "true or false",
        Value::Datetime(_) => "a date",
        Value::Array(_) => "a list",
        Value::Table(_) => "a table",
    }
}

fn find(section: &str, name: &str) -> Option<&'static super::keys::Key> {
    KEYS.iter().find(|key| key.section == section && key.name == name)
}

fn hint(section: &str, name: &str) -> &'static str {
    find(section, name).map_or("", |key| key.doc)
}

fn default_value(section: &str, name: &str) -> Option<Value> {
    let key = find(section, name).filter(|key| key.set)?;
    let mut line = format!("value = {}", key.default).parse::<Table>().ok()?;
    line.remove("value")
}

/// The known name that differs least, if it is close enough to be a slip.
pub fn nearest<'a>(typed: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    known
        .map(|name| (distance(typed, name), name))
        .min()
        .filter(|(far, name)| *far <= name.len() / 3)
        .map(|(_, name)| name)
}

/// Edits from one name to the other.
fn distance(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (above, typed) in from.chars().take(64).enumerate() {
        let mut diagonal = row[0];
        row[0] = above + 1;
        for (at, known) in to.iter().enumerate() {
            let replaced = diagonal + usize::from(typed != *known);
            diagonal = row[at + 1];
            row[at + 1] = replaced.min(row[at] + 1).min(diagonal + 1);
        }
    }
    row[to.len()]
}
