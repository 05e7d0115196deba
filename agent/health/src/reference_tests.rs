//! `docs/conditions.md` names every condition; this keeps it in step.

use std::fmt::Write as _;

use crate::{Code, Ends, Entry};

fn span(ms: u64) -> String {
    match ms / 1000 {
        0 => "at once".to_owned(),
        seconds if seconds % 60 == 0 => format!("{} min", seconds / 60),
        seconds => format!("{seconds} s"),
    }
}

fn ends(entry: &Entry) -> String {
    match entry.ends {
        Ends::ReadingsFor(0) => "readings that are fine".to_owned(),
        Ends::ReadingsFor(hold_ms) => format!("readings that are fine for {}", span(hold_ms)),
        Ends::QuietFor(quiet_ms) => format!("{} without another one", span(quiet_ms)),
        Ends::AsAdvised => "as the advice on its code says".to_owned(),
        Ends::Acknowledged => "somebody's word".to_owned(),
    }
}

fn hidden_by(entry: &Entry) -> String {
    let names: Vec<String> = entry.hidden_by.iter().map(|code| format!("`{}`", code.name())).collect();
    names.join(", ")
}

#[test]
fn the_condition_reference_is_complete() {
    let mut page = String::from(
        "# Conditions\n\nEverything that can stand against a GPU or a node. `rackmark status` shows what stands, `/metrics` has it as\n`rackmark_gpu_condition` and `rackmark_node_condition`, the feed tells of each beginning and end.\n\n* *Effect* is what it does to the verdict: `drain` lets running work finish, `unknown` says that\n  nothing trustworthy is known of the GPU, `unusable` takes it out at once. A\n  condition of the node acts on all of its GPUs; there `drain`, and `critical` without an effect, make the node draining.\n* *Shown after*: it must hold that long. *Ends by*: an acknowledgement ends those that are not read from readings, and\n  marks the others.\n* Conditions marked with `*` are not raised in `health.boot_grace_secs` after a boot; a GPU that shows one then is\n  *unknown*, still settling.\n* A condition with a key may stand several times: `xid_79`, `nvlink_down_3`. The name without a key stands for all.\n* *Hidden by*: it follows from one of these, so it is not shown while one of them is.\n* XIDs take severity, action and effect from [their own page](xids.md), SXids from whether they are fatal.\n",
    );
    for (of_node, scope) in [(false, "GPU"), (true, "node")] {
        let codes = || Code::ALL.iter().filter(|code| code.is_of_node() == of_node);
        let _ = write!(
            page,
            "\n## Conditions of a {scope}\n\n| Condition | Severity | Effect | Shown after | Ends by | Action |\n|---|---|---|---|---|---|\n",
        );
        for code in codes() {
            let entry = code.entry();
            let star = if entry.settles { " *" } else { "" };
            let varies = matches!(entry.ends, Ends::AsAdvised);
            let fixed = |text: &'static str| if varies { "by code" } else { text };
            let _ = writeln!(
                page,
                "| [`{name}`](#{name}){star} | {} | {} | {} | {} | {} |",
                fixed(entry.severity.name()),
                fixed(entry.effect.name()),
                span(entry.visible_after_ms),
                ends(entry),
                fixed(entry.action.words()),
                name = code.name(),
            );
        }
        for code in codes() {
            let entry = code.entry();
            let key = match code {
                Code::Xid => "\n* Key: the XID.",
                Code::SxId => "\n* Key: the SXid.",
                code if code.has_key() => "\n* Key: number of the link.",
                _ => "",
            };
            let hidden = hidden_by(entry);
            let hidden = if hidden.is_empty() { hidden } else { format!("\n* Hidden by {hidden}.") };
            let _ = write!(
                page,
                "\n### {}\n\n{}. {}\n\n* Rule: {}.{key}{hidden}\n",
                code.name(),
                sentence(entry.title),
                entry.text,
                entry.rule
            );
        }
    }
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/conditions.md");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(path, &page).expect("docs/conditions.md");
    }
    let written = std::fs::read_to_string(path).expect("docs/conditions.md");
    assert!(written == page, "docs/conditions.md is out of date: run `make docs`");
}

/// With a capital at its beginning.
fn sentence(words: &str) -> String {
    let mut chars = words.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}
