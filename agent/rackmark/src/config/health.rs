//! What the verdict is told by the operator.

use std::path::PathBuf;

use rackmark_health::Code;

use super::reader::{Reader, nearest};

/// Who tells the agent of leases.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LeaseSource {
    /// Nobody: processes on a GPU mean that it is in use.
    None,
    /// The control verbs.
    Control,
    /// A file, and the control verbs.
    File(PathBuf),
}

pub fn ignored(r: &mut Reader) -> Vec<Code> {
    let mut codes = Vec::new();
    for name in r.texts("health", "ignore", 0..=Code::ALL.len()) {
        match Code::by_name(&name) {
            Some(code) => codes.push(code),
            None => {
                let known = Code::ALL.iter().map(|code| code.name());
                let hint = match nearest(&name, known) {
                    Some(near) => format!("did you mean {near:?}? docs/conditions.md lists every code"),
                    None => "docs/conditions.md lists every code".to_owned(),
                };
                r.wrong_with_hint("health", "ignore", format!("{name:?}"), "is no condition", hint);
            }
        }
    }
    codes
}

pub fn leases(r: &mut Reader) -> Option<LeaseSource> {
    let source = r.text("leases", "source");
    let file = r.text("leases", "file");
    match (source?.as_str(), file) {
        ("none", _) => Some(LeaseSource::None),
        ("control", _) => Some(LeaseSource::Control),
        ("file", Some(file)) => Some(LeaseSource::File(file.into())),
        ("file", None) => {
            r.wrong("leases", "source", "\"file\"", "needs `leases.file`");
            None
        }
        (other, _) => {
            r.wrong("leases", "source", format!("{other:?}"), "is none of \"none\", \"control\", \"file\"");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::{Config, ConfigError};

    fn mistakes(text: &str) -> Vec<String> {
        match Config::parse(text, Path::new("test.toml")) {
            Err(ConfigError::Mistakes { mistakes, .. }) => mistakes.iter().map(ToString::to_string).collect(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn conditions_to_ignore_are_named_by_their_codes() {
        let config =
            Config::parse("[health]\nignore = [\"persistence_off\"]\n", Path::new("t")).expect("valid");
        assert_eq!(config.ignored, [Code::PersistenceOff]);
        let wrong = mistakes("[health]\nignore = [\"persistence_of\", \"noise\"]\n");
        assert_eq!(wrong.len(), 2);
        assert!(wrong[0].contains("persistence_off"), "{}", wrong[0]);
    }

    #[test]
    fn a_lease_file_is_named_where_it_is_the_source() {
        let config =
            Config::parse("[leases]\nsource = \"file\"\nfile = \"/run/x\"\n", Path::new("t")).expect("valid");
        assert_eq!(config.leases, LeaseSource::File("/run/x".into()));
        assert_eq!(mistakes("[leases]\nsource = \"file\"\n").len(), 1);
        assert_eq!(mistakes("[leases]\nsource = \"rumour\"\n").len(), 1);
    }
}
