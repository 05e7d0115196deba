//! The hooks of the site, with the look that the agent itself takes (`rackmark hook list`).

use serde_json::Value as Json;

use super::{Finding, fine, wrong};
use crate::cli::hook::{LIST_PATIENCE, array, is_set_aside, text};
use crate::config::Config;
use crate::control::client::ask_within;
use crate::control::verbs::Verb;

const CHECK: &str = "hooks";

/// None where there is no folder, where hooks are off, or where no agent answers, which its own check says.
pub(super) fn check(config: &Config) -> Option<Finding> {
    if !config.hooks.enabled || !config.hooks.dir.exists() {
        return None;
    }
    ask_within(&config.control_socket, &Verb::HookList, LIST_PATIENCE).ok().map(|listed| judge(&listed))
}

fn judge(listed: &Json) -> Finding {
    let mut trouble = Vec::new();
    let mut hooks = 0;
    for event in array(listed, "events") {
        hooks += array(event, "hooks").len();
        trouble.extend(event["trouble"].as_str().map(|words| format!("{}: {words}", text(event, "event"))));
        let refused = array(event, "skipped").iter().filter(|file| !is_set_aside(file));
        trouble.extend(refused.map(|file| {
            format!("{}/{} is not run: it {}", text(event, "event"), text(file, "name"), text(file, "words"))
        }));
    }
    let dir = text(listed, "dir");
    if trouble.is_empty() {
        fine(CHECK, format!("{dir}: {hooks} would run"))
    } else {
        let found = format!("{dir}: {}", trouble.join("; "));
        wrong(CHECK, found, "rackmark hook list shows them all, docs/hooks.md says how files have to be")
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::cli::doctor::{Outcome, fixture};

    #[test]
    fn what_is_refused_is_wrong_and_what_is_set_aside_is_not() {
        let listed = |skipped: Json, trouble: Json| {
            json!({ "enabled": true, "dir": "/h", "events": [
                { "event": "lease-start", "hooks": ["10-a", "20-b"], "skipped": skipped, "trouble": trouble },
            ]})
        };
        let aside = json!([{ "name": "README.md", "reason": "name", "words": "has a dot" }]);
        let found = judge(&listed(aside, Json::Null));
        assert_eq!((found.outcome, found.found.as_str()), (Outcome::Fine, "/h: 2 would run"));
        let open = json!([{ "name": "60-open", "reason": "writable", "words": "may be written by others" }]);
        let found = judge(&listed(open, "/h is a link".into()));
        assert_eq!(found.outcome, Outcome::Wrong);
        assert_eq!(
            found.found,
            "/h: lease-start: /h is a link; lease-start/60-open is not run: it may be written by others"
        );
    }

    #[test]
    fn without_a_folder_there_is_nothing_to_say() {
        let root = tempfile::tempdir().expect("folder");
        let more = format!("[hooks]\ndir = {:?}\n", root.path().join("none"));
        assert!(check(&fixture(root.path(), &more)).is_none());
    }
}
