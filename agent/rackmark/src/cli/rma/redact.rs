//! What a vendor must not learn: who works here, on what, and where this is.

use std::net::IpAddr;

use serde_json::Value as Json;

/// Stands where something was taken out.
pub const LEFT_OUT: &str = "[left out]";

/// Keys, or parts of them between underscores, whose values name people, work or places, whatever is in them.
const KEYS: [&str; 19] = [
    "pid",
    "pids",
    "process",
    "processes",
    "comm",
    "command",
    "user",
    "username",
    "uid",
    "tenant",
    "lease",
    "leases",
    "host",
    "hostname",
    "node",
    "site",
    "ip",
    "mac",
    "by",
];

/// Words before a value in lines of the kernel and of drivers; a value of the second kind may have blanks in it.
const NUMBERS: [&str; 3] = ["pid=", "uid=", "tgid="];
const NAMES: [&str; 5] = ["name=", "comm=", "process=", "user=", "host="];

/// What is taken out of texts.
pub struct Redaction {
    names: Vec<String>,
}

impl Redaction {
    /// Takes out these names wherever they are a whole word, beside everything that shows by its form what it is.
    pub fn of(names: impl IntoIterator<Item = String>) -> Self {
        let mut names: Vec<String> = names.into_iter().filter(|name| !name.trim().is_empty()).collect();
        // The longest first: a name may be a part of another one.
        names.sort_by(|one, other| other.len().cmp(&one.len()).then_with(|| one.cmp(other)));
        names.dedup();
        Self { names }
    }

    /// A line of text.
    pub fn line(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for key in NUMBERS {
            text = after(&text, key, |rest| {
                rest.find(|c: char| c.is_whitespace() || c == ',' || c == ';').unwrap_or(rest.len())
            });
        }
        for key in NAMES {
            text = after(&text, key, |rest| {
                rest.find(", ").or_else(|| rest.find([';', '\n'])).unwrap_or(rest.len())
            });
        }
        // How a condition names the process of its XID; a name may have a bracket in it, so all to the last one goes.
        text = after(&text, "(process ", |rest| rest.rfind(')').unwrap_or(rest.len()));
        for name in &self.names {
            text = whole_word(&text, name);
        }
        addresses(&text)
    }

    /// A value of a document: keys that name somebody go, and every text is a line.
    pub fn value(&self, value: Json) -> Json {
        match value {
            Json::String(text) => Json::String(self.line(&text)),
            Json::Array(items) => items.into_iter().map(|item| self.value(item)).collect(),
            Json::Object(fields) => fields
                .into_iter()
                .filter(|(key, _)| !names_somebody(key))
                .map(|(key, value)| (self.line(&key), self.value(value)))
                .collect::<serde_json::Map<_, _>>()
                .into(),
            plain => plain,
        }
    }

    /// A file of text: a JSON document, one on each line, or lines.
    pub fn file(&self, text: &str) -> String {
        if let Ok(document) = serde_json::from_str::<Json>(text) {
            return format!("{:#}\n", self.value(document));
        }
        text.lines()
            .map(|line| match serde_json::from_str::<Json>(line) {
                Ok(document) => format!("{}\n", self.value(document)),
                Err(_) => format!("{}\n", self.line(line)),
            })
            .collect()
    }
}

fn names_somebody(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    key.split(['_', '-', '.']).any(|part| KEYS.contains(&part))
}

/// Takes out what follows `key`, to the place that `end` finds in it.
fn after(text: &str, key: &str, end: impl Fn(&str) -> usize) -> String {
    let lower = text.to_ascii_lowercase();
    let (mut out, mut at) = (String::new(), 0);
    while let Some(found) = lower[at..].find(key) {
        let value = at + found + key.len();
        out.push_str(&text[at..value]);
        out.push_str(LEFT_OUT);
        at = value + end(&text[value..]);
    }
    out.push_str(&text[at..]);
    out
}

/// Takes out `name` in any case where no letter or digit stands beside it.
fn whole_word(text: &str, name: &str) -> String {
    let (lower, name) = (text.to_ascii_lowercase(), name.to_ascii_lowercase());
    let (mut out, mut at) = (String::new(), 0);
    while let Some(found) = lower[at..].find(&name) {
        let (from, to) = (at + found, at + found + name.len());
        let joined = lower[..from].chars().next_back().is_some_and(char::is_alphanumeric)
            || lower[to..].chars().next().is_some_and(char::is_alphanumeric);
        out.push_str(&text[at..from]);
        out.push_str(if joined { &text[from..to] } else { LEFT_OUT });
        at = to;
    }
    out.push_str(&text[at..]);
    out
}

/// Takes out IP and MAC addresses. PCI addresses have another form, and stay.
fn addresses(text: &str) -> String {
    let belongs = |c: char| c.is_ascii_alphanumeric() || matches!(c, ':' | '.' | '-');
    let mut out = String::new();
    let mut rest = text;
    while !rest.is_empty() {
        let word = rest.find(|c| !belongs(c)).unwrap_or(rest.len());
        let (token, more) = rest.split_at(word);
        out.push_str(if is_address(token) { LEFT_OUT } else { token });
        let other = more.find(belongs).unwrap_or(more.len());
        out.push_str(&more[..other]);
        rest = &more[other..];
    }
    out
}

fn is_address(token: &str) -> bool {
    let token = token.trim_end_matches(['.', ':', '-']);
    let host = match token.rsplit_once(':') {
        Some((host, port)) if host.contains('.') && port.parse::<u16>().is_ok() => host,
        _ => token,
    };
    let pairs = |by: char| {
        let parts: Vec<&str> = token.split(by).collect();
        parts.len() == 6
            && parts.iter().all(|part| part.len() == 2 && part.bytes().all(|b| b.is_ascii_hexdigit()))
    };
    host.parse::<IpAddr>().is_ok() || pairs(':') || pairs('-')
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn names_of_people_work_and_places_are_taken_out_and_facts_stay() {
        let redaction = Redaction::of(["rack7".to_owned(), "job-1".to_owned(), "rack7.example".to_owned()]);
        for (text, left) in [
            (
                "NVRM: Xid (PCI:0000:1b:00): 31, pid=1234, name=python my job, Ch 00000008",
                "NVRM: Xid (PCI:0000:1b:00): 31, pid=[left out], name=[left out], Ch 00000008",
            ),
            ("PID=7 Name=a", "PID=[left out] Name=[left out]"),
            ("off the bus (off. (process 4242, my (job)))", "off the bus (off. (process [left out])"),
            ("rack7.example: rack71 on RACK7", "[left out]: rack71 on [left out]"),
            ("lease job-1 begins", "lease [left out] begins"),
            (
                "from 10.1.2.3:9810 and fe80::1, 02:42:ac:11:00:02.",
                "from [left out] and [left out], [left out]",
            ),
            (
                "XID 79 on 0000:1b:00.0, driver 590.48.01, VBIOS 96.00.74.00.11",
                "XID 79 on 0000:1b:00.0, driver 590.48.01, VBIOS 96.00.74.00.11",
            ),
        ] {
            assert_eq!(redaction.line(text), left);
        }
        let document = json!({
            "verdict": "fail", "pid": 7, "lease_id": "x", "node": { "name": "y" }, "foreign_processes": ["z"],
            "steps": [{ "text": "job-1 stood in the way", "errors": 3 }],
        });
        let left = json!({
            "verdict": "fail", "steps": [{ "text": "[left out] stood in the way", "errors": 3 }],
        });
        assert_eq!(redaction.value(document.clone()), left);
        assert_eq!(
            redaction.file(&format!("{document}\npid=7 rack7")),
            format!("{left}\npid=[left out] [left out]\n")
        );
    }
}
