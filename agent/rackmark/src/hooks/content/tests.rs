//! `docs/hooks.md` shows one document of each event and every code; they are made here.

use std::fmt::Write as _;

use rackmark_model::hook::{DOCUMENT_BYTES_MAX, HookEnd};

use super::*;

/// The tables stand below this line.
const BEGINNING: &str = "<!-- Generated from here on: `make docs`. -->\n";

fn around(event: HookEvent) -> [(&'static str, Json); 7] {
    [
        ("version", VERSION.into()),
        ("event", event.name().into()),
        ("test", false.into()),
        ("site", "fra1".into()),
        ("node", "gpu-17".into()),
        ("node_id", format!("sw:{}", "0f".repeat(32)).into()),
        ("at_unix_ms", 1_796_119_200_000_u64.into()),
    ]
}

/// When an event comes, and what its fields are.
const fn words(event: HookEvent) -> (&'static str, &'static str) {
    match event {
        HookEvent::InventoryChanged => (
            "The server is another one than at the look before, also at one before a restart, or other findings stand.",
            "`changes` (at most 64; `changes_left_out` counts the rest) as in `rackmark inventory`, `from` or `to` null where there is none; `findings` (at most 64): what contradicts itself now.",
        ),
        HookEvent::VerdictChanged => (
            "The verdict on a GPU, or on the node, is another one.",
            "`gpu`: null for the node; `from`, `to`: `schedulable`, `draining`, `unusable` or `unknown`; `reason`: may be empty. While hooks are busy, changes of one GPU become one: `from` is what hooks saw last.",
        ),
        HookEvent::BeforeBurnIn => {
            ("A burn-in is about to begin. A hook may say no.", "`gpus`; `level`: how thorough it is.")
        }
        HookEvent::AfterBurnIn => (
            "A burn-in ended.",
            "`gpus`; `verdict`: `pass`, `fail` or `inconclusive`; `reason`: may be empty.",
        ),
        HookEvent::Quarantine => (
            "Somebody drained GPUs: `rackmark drain`, a signed command, or hooks of a lease that said no. What conditions do comes with `verdict-changed`.",
            "`gpus`; `reason`; `by`: who, as far as the agent knows.",
        ),
        HookEvent::Unquarantine => ("Somebody ended a drain.", "`gpus` that were drained; `by`."),
        HookEvent::LeaseStart => (
            "A lease or a reservation began, by a verb, a signed command or the lease file. A hook may say no.",
            "`lease`: its name; `gpus`; `reserved`: a promise only; `until_unix_ms`: when it ends at the latest, or null.",
        ),
        HookEvent::LeaseEnd => {
            ("A lease ended, also because its time was over. A hook may say no.", "`lease`; `gpus`.")
        }
        HookEvent::Maintenance => (
            "Planned work began or ended.",
            "`gpu`: null for the whole node; `phase`: `start` or `end`; `until_unix_ms`, `reason`: null at the end.",
        ),
    }
}

fn reference() -> String {
    let mut page = String::from("\n## Events and their documents\n");
    for event in HookEvent::ALL {
        let (when, fields) = words(event);
        let document: Json =
            serde_json::from_slice(&line(&Content::sample(event), around(event))).expect("JSON");
        let _ =
            write!(page, "\n### `{}`\n\n{when}\n\n{fields}\n\n```json\n{document:#}\n```\n", event.name());
    }
    page
}

#[test]
fn the_hook_reference_is_complete() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/hooks.md");
    let written = std::fs::read_to_string(path).expect("docs/hooks.md");
    let (contract, _) = written.split_once(BEGINNING).expect("the line above the documents");
    let page = format!("{contract}{BEGINNING}{}", reference());
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(path, &page).expect("docs/hooks.md");
    } else {
        assert!(written == page, "docs/hooks.md is out of date: run `make docs`");
    }
    // The table of exit codes above it says what the agent does.
    for code in 0..=u8::MAX {
        let result = HookEnd::Exited(code).result().name();
        let row = format!("| {code} | `{result}` |");
        assert!(result == "failed" || contract.contains(&row), "{row}");
    }
    assert!(contract.contains("| any other | `failed` |"));
}

#[test]
fn a_document_is_one_line_and_its_frame_wins() {
    let document = json!({ "event": "lease-start", "test": false, "mine": "a\nb" });
    let Json::Object(document) = document else { panic!("object") };
    let given = Content::Given { event: HookEvent::Maintenance, document };
    let bytes = line(&given, [("event", "maintenance".into()), ("test", true.into())]);
    assert_eq!(
        String::from_utf8(bytes).expect("text"),
        "{\"event\":\"maintenance\",\"mine\":\"a\\nb\",\"test\":true}\n"
    );
}

#[test]
fn the_largest_documents_have_room() {
    use rackmark_firmware_hooks::inventory::{Component, FindingCode, VALUE_BYTES_MAX};
    // Values have no control characters; of what is left a quote takes most room.
    let longest = "\"".repeat(VALUE_BYTES_MAX);
    let change = Changed {
        component: Component::Memory,
        instance: longest.clone(),
        field: "part_number".to_owned(),
        from: Some(longest.clone()),
        to: Some(longest.clone()),
    };
    let finding =
        Finding { code: FindingCode::ProcfsGpuWithoutPciDevice, instance: longest.clone(), detail: longest };
    let content = Content::Inventory { changes: vec![change; 4096], findings: vec![finding; 256] };
    let bytes = line(&content, around(HookEvent::InventoryChanged));
    println!("{} of {DOCUMENT_BYTES_MAX} bytes", bytes.len());
    assert!(bytes.len() <= DOCUMENT_BYTES_MAX);
    let document: Json = serde_json::from_slice(&bytes).expect("JSON");
    assert_eq!(document["changes_left_out"], 4096 - 64);
}
