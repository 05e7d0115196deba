//! The running agent: does it answer, and are its socket and its port its own?

use serde_json::Value as Json;

use super::holders::{self, Holder};
use super::{Finding, fine, odd, wrong};
use crate::config::Config;
use crate::control::client::ask;
use crate::control::verbs::Verb;
use crate::exit::chain;

/// Beginning of the names of our own processes.
const OWN_NAME: &str = "rackmark";

pub(super) fn checks(config: &Config) -> Vec<Finding> {
    let status = ask(&config.control_socket, &Verb::Status);
    let answers = status.is_ok();
    let agent = match &status {
        Ok(status) => agent(status),
        Err(error) => wrong("agent", chain(error), "start it: systemctl start rackmark"),
    };
    let socket = config.control_socket.display().to_string();
    let port = config.metrics_listen.to_string();
    vec![
        agent,
        held(
            "control socket",
            &socket,
            &holders::of_socket(&config.proc_root, &config.control_socket),
            answers,
        ),
        held("metrics port", &port, &holders::of_port(&config.proc_root, config.metrics_listen), answers),
    ]
}

fn agent(status: &Json) -> Finding {
    let version = status["agent_version"].as_str().unwrap_or("unknown");
    match status.pointer("/spool/trouble").and_then(Json::as_str) {
        Some(trouble) if !trouble.is_empty() => wrong(
            "agent",
            format!("runs, version {version}; {trouble}"),
            "repair the disk under state.dir; the agent needs a restart only if it began without it",
        ),
        _ => fine("agent", format!("runs, version {version}")),
    }
}

/// Judges who holds `what`, knowing whether the agent `answers`.
fn held(check: &'static str, what: &str, holder: &Holder, answers: bool) -> Finding {
    match holder {
        Holder::Process { pid, name } if name.starts_with(OWN_NAME) => {
            fine(check, format!("{what}, held by {name} (pid {pid})"))
        }
        Holder::Process { pid, name } => wrong(
            check,
            format!("{what} is held by {name} (pid {pid})"),
            "stop that program, or give the agent another place: metrics.listen, control.socket",
        ),
        Holder::Nobody if answers => wrong(
            check,
            format!("nobody listens on {what}, though the agent runs"),
            "the agent runs with another configuration, or could not take it; see its log",
        ),
        Holder::Nobody => fine(check, format!("{what} is free for the agent")),
        Holder::Somebody { uid } => {
            let who = uid.map_or_else(|| "somebody".to_owned(), |uid| format!("a process of user {uid}"));
            let found = format!("{what}, held by {who}");
            if answers {
                fine(check, found)
            } else {
                odd(check, found, "run doctor as root to see which it is")
            }
        }
        Holder::Unknown => odd(check, "procfs has no table of sockets", "see hardware.proc_root"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::cli::doctor::{Outcome, fixture};

    #[test]
    fn a_port_of_another_program_is_wrong_and_a_free_one_only_while_the_agent_runs() {
        let process = |name: &str| Holder::Process { pid: 7, name: name.to_owned() };
        for (holder, answers, expected) in [
            (process("rackmark"), true, Outcome::Fine),
            (process("nginx"), true, Outcome::Wrong),
            (process("nginx"), false, Outcome::Wrong),
            (Holder::Nobody, true, Outcome::Wrong),
            (Holder::Nobody, false, Outcome::Fine),
            (Holder::Somebody { uid: Some(9) }, true, Outcome::Fine),
            (Holder::Somebody { uid: None }, false, Outcome::Odd),
            (Holder::Unknown, true, Outcome::Odd),
        ] {
            let found = held("metrics port", "127.0.0.1:9810", &holder, answers);
            assert_eq!(found.outcome, expected, "{found:?}");
        }
    }

    #[test]
    fn an_agent_that_does_not_answer_or_cannot_keep_records_is_wrong() {
        let root = tempfile::tempdir().expect("folder");
        let found = checks(&fixture(root.path(), ""));
        assert_eq!(found[0].outcome, Outcome::Wrong);
        assert!(found[0].hint.contains("systemctl start"), "{found:?}");
        assert_eq!(
            agent(&json!({ "agent_version": "1", "spool": { "trouble": "" } })).outcome,
            Outcome::Fine
        );
        let trouble = agent(&json!({ "agent_version": "1", "spool": { "trouble": "no room" } }));
        assert!(trouble.outcome == Outcome::Wrong && trouble.found.contains("no room"), "{trouble:?}");
    }
}
