//! `docs/inventory.md` names every field and every finding; its tables are made here.

use std::fmt::Write as _;

use rackmark_firmware_hooks::inventory::{Component, FIELDS, FindingCode};

/// The tables stand below this line.
const BEGINNING: &str = "<!-- Generated from here on: `make docs`. -->\n";

fn tables() -> String {
    let mut page = String::from("\n## Fields\n");
    for component in Component::ALL {
        let _ = write!(
            page,
            "\n### `{}`\n\n| Field | Unit or form | Source | Where | Meaning |\n|---|---|---|---|---|\n",
            component.name()
        );
        for field in FIELDS.iter().filter(|field| field.component == *component) {
            // Names of functions are code already.
            let place =
                if field.place.contains('`') { field.place.to_owned() } else { format!("`{}`", field.place) };
            let _ = writeln!(
                page,
                "| `{}` | {} | {} | {place} | {} |",
                field.name,
                field.unit,
                field.source.words(),
                field.meaning
            );
        }
    }
    page.push_str("\n## Findings\n\n| Finding | Meaning | What to do |\n|---|---|---|\n");
    for code in FindingCode::ALL {
        let _ = writeln!(page, "| `{}` | {} | {} |", code.name(), code.meaning(), code.todo());
    }
    page
}

#[test]
fn the_page_has_every_field_and_every_finding() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/inventory.md");
    let written = std::fs::read_to_string(path).expect("docs/inventory.md");
    let (words, _) = written.split_once(BEGINNING).expect("the line above the tables");
    let page = format!("{words}{BEGINNING}{}", tables());
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(path, &page).expect("docs/inventory.md");
    } else {
        assert!(written == page, "docs/inventory.md is out of date: run `make docs`");
    }
}
