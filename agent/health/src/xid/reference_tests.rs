//! `docs/xids.md` names every code with our answer; this keeps it in step.

use std::fmt::Write as _;

use super::*;

fn effect(effect: Effect) -> &'static str {
    match effect {
        Effect::None => "none",
        Effect::Drain => "drain",
        Effect::Unknown => "unknown",
        Effect::Unusable => "unusable",
    }
}

fn lasts(lasts: Lasts) -> String {
    match lasts {
        Lasts::Minutes(minutes) => format!("{minutes} minutes"),
        Lasts::UntilGpuReset => "GPU reset".to_owned(),
        Lasts::UntilReboot => "reboot".to_owned(),
        Lasts::UntilAcknowledged => "acknowledgement".to_owned(),
    }
}

#[test]
fn the_xid_reference_is_complete() {
    let mut page = String::from(
        "# XIDs\n\nWhat each XID of the NVIDIA driver asks for. Code, mnemonic and class are facts of NVIDIA's catalogue as of\nOctober 2025; action, severity, effect and title are ours. *Effect* is what the condition does to the verdict on\nits GPU; *lasts* is what ends it, apart from an acknowledgement. A code that is not listed here is kept and shown,\nand answered like an unused one.\n\n| Code | Mnemonic | In use | NVIDIA's class | Action | Severity | Effect | Lasts | Title |\n|---|---|---|---|---|---|---|---|---|\n",
    );
    for xid in CATALOGUE {
        let advice = advice(u32::from(xid.code));
        let star = if differs(u32::from(xid.code)).is_some() { " *" } else { "" };
        let _ = writeln!(
            page,
            "| {}{star} | `{}` | {} | {} | {} | {} | {} | {} | {} |",
            xid.code,
            xid.mnemonic,
            if xid.in_use { "yes" } else { "no" },
            xid.class.catalogue_name(),
            advice.action.words(),
            advice.severity.name(),
            effect(advice.effect),
            lasts(advice.lasts),
            advice.title,
        );
    }
    page.push_str(
        "\n## Differences from the catalogue\n\nMarked with `*` above.\n\n| Code | Action of its class | Our action | Reason |\n|---|---|---|---|\n",
    );
    for difference in DIFFERENCES {
        let class = by_code(u32::from(difference.code)).expect("a code of the catalogue").class;
        let theirs = if class == ActionClass::Unstated { "not stated" } else { class_action(class).words() };
        let _ = writeln!(
            page,
            "| {} | {theirs} | {} | {} |",
            difference.code,
            difference.answer.action.words(),
            difference.reason
        );
    }
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/xids.md");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(path, &page).expect("docs/xids.md");
    }
    let written = std::fs::read_to_string(path).expect("docs/xids.md");
    assert!(written == page, "docs/xids.md is out of date: run `make docs`");
}
