//! `docs/feed.md` keeps step with the code: its tables and examples are made here.
//!
//! `UPDATE_GOLDEN=1` writes them; otherwise a difference fails.

mod messages;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use rackmark_feed::fields::{self, Class};
use rackmark_feed::*;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn update() -> bool {
    std::env::var_os("UPDATE_GOLDEN").is_some_and(|value| value == "1")
}

/// What the independent decoder says about a golden frame.
fn explained(how: &str, name: &str) -> String {
    let python = std::env::var("RACKMARK_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let output = Command::new(&python)
        .arg("-B")
        .arg(root().join("tests/independent_decoder.py"))
        .args([Path::new(how), &root().join("golden/v1").join(name)])
        .output()
        .unwrap_or_else(|error| panic!("cannot run {python} (set RACKMARK_PYTHON): {error}"));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    format!("```text\n{}```\n", String::from_utf8_lossy(&output.stdout))
}

fn schemas() -> String {
    let mut out = String::from("| Body | Kind | Schema id | Text |\n|---|---|---|---|\n");
    for s in schema::all() {
        let _ = writeln!(out, "| {} | {} | `{}` | `{}.txt` |", s.body, s.name, s.id, s.name);
    }
    out
}

/// One line for a code list: number and name of each entry.
fn code_list(heading: &str, entries: impl Iterator<Item = (u64, &'static str)>) -> String {
    let entries: Vec<String> = entries.map(|(code, name)| format!("{code} `{name}`")).collect();
    format!("### {heading}\n\n{}\n\n", entries.join(" · "))
}

macro_rules! code_lists {
    ($($heading:literal $list:ty),+) => {
        [$(code_list($heading, <$list>::ALL.iter().map(|e| (u64::from(e.code()), e.name())))),+].concat()
    };
}

fn codes() -> String {
    let lists = code_lists!(
        "Stream" Stream, "Audience" Audience, "Claim class" ClaimClass, "Node state" NodeState,
        "GPU state" GpuState, "Verdict" Verdict, "NVLink remote" NvLinkRemote, "Process kind" ProcessKind,
        "Loss cause" LossCause, "Reply outcome" ReplyOutcome, "Refusal" Refusal, "Severity" Severity, "Action" Action,
        "Cleared by" ClearedBy, "State cause" StateCause, "Evidence cause" EvidenceCause,
        "Freshness source" FreshnessSource, "Device kind" DeviceKind, "Succession reason" SuccessionReason
    );
    let reasons = NoData::REASONS.iter().map(|reason| (reason.to_number(), reason.name()));
    lists + code_list("Reasons for absent values", reasons).trim_end() + "\n"
}

fn field_tables() -> String {
    let mut out = String::from(
        "# Fields of the feed\n\n\
         Made from the crate's catalogue; see `docs/feed.md`, section 13. The kind says which value a field\n\
         has, unless it is absent. Claim class: reported, but declared where the heading says so.\n\n",
    );
    for (class, heading, note) in [
        (Class::Fast, "Fast", "every sample, the columns of fast telemetry"),
        (Class::Inventory, "Inventory", "per GPU in capacity, at start and on change"),
        (Class::Slow, "Slow", "per GPU in slow telemetry, about once a minute"),
        (Class::Driver, "Driver", "per node in capacity"),
        (Class::Declared, "Declared", "per node in capacity, claim class declared"),
        (Class::Mig, "MIG", "per MIG instance, in capacity and slow telemetry"),
    ] {
        let _ = write!(out, "### {heading}\n\nSent {note}.\n\n");
        out.push_str(
            "| Id | Name | Kind | Unit | Audience | What, and its source |\n|---|---|---|---|---|---|\n",
        );
        for f in fields::all().filter(|f| f.class == class) {
            let kind = f.kind.name();
            let _ = writeln!(
                out,
                "| {} | `{}` | {kind} | {} | {} | {} |",
                f.id, f.name, f.unit, f.audience, f.doc
            );
        }
        out.push('\n');
    }
    out.truncate(out.trim_end().len());
    out.push('\n');
    out
}

/// The columns of fast telemetry, in their order.
fn fast_columns() -> String {
    let names: Vec<String> =
        fields::all().filter(|f| f.class == Class::Fast).map(|f| format!("{} `{}`", f.id, f.name)).collect();
    names.join(",\n") + ".\n"
}

fn limit_table() -> String {
    let mut out = String::from("| What | Most |\n|---|---|\n");
    for (what, most) in [
        ("Bytes of a frame", limits::FRAME_BYTES),
        ("Bytes of a text", limits::TEXT_BYTES),
        ("Bytes of a downlink frame", limits::DOWNLINK_BYTES),
        ("Bytes of a name (site, node, verb, consumer)", limits::NAME_BYTES),
        ("GPUs of a node", limits::GPUS),
        ("Field groups of a node or GPU", limits::GROUPS),
        ("Fields in a list", limits::FIELDS),
        ("MIG instances of a GPU", limits::MIG_INSTANCES),
        ("NVLinks of a GPU", limits::NVLINKS),
        ("Processes of a GPU", limits::PROCESSES),
        ("Streams in a session record or watermark", limits::STREAMS),
        ("Samples in a batch", limits::SAMPLES),
        ("Columns in a batch", limits::COLUMNS),
        ("Runs of columns in a batch", limits::COLUMN_RUNS),
        ("Cells in a batch (samples × GPUs × columns)", limits::CELLS),
        ("Extensions of a body", limits::EXTENSIONS),
        ("Bytes of an extension", limits::EXTENSION_BYTES),
        ("Entries in the list of an extension", limits::EXTENSION_ENTRIES),
        ("Extensions that a writer fills with conditions", body::capacity::CONDITION_EXTENSIONS),
        ("Extensions that a writer fills with maintenance", body::capacity::MAINTENANCE_EXTENSIONS),
        ("Successions in a session record", limits::SUCCESSIONS),
        ("Devices of evidence", limits::DEVICES),
        ("Bytes of a TPM structure", limits::TPM_BYTES),
        ("Bytes of a certificate", limits::CERTIFICATE_BYTES),
        ("Bytes of an artefact", limits::ARTEFACT_BYTES),
        ("Bytes of a piece of an artefact", limits::PIECE_BYTES),
        ("Facts of an inventory", limits::FACTS),
        ("Findings of an inventory", limits::FINDINGS),
        ("Bytes of a credential blob or encrypted secret", limits::CREDENTIAL_BYTES),
        ("Bytes of an event payload", limits::EVENT_BYTES),
        ("Bytes of a verb's payload", limits::VERB_BYTES),
    ] {
        let _ = writeln!(out, "| {what} | {most} |");
    }
    out
}

/// A generated part of the page: its name and what makes it.
type Section = (&'static str, fn() -> String);

#[test]
fn the_page_keeps_step_with_the_code() {
    let path = root().join("../docs/feed.md");
    // In this order: the decoder that explains the examples reads the code lists.
    let sections: [Section; 7] = [
        ("schemas", schemas),
        ("codes", codes),
        ("fast", fast_columns),
        ("limits", limit_table),
        ("frame", || explained("--frame", "will.bin")),
        ("batch", || explained("--bits", "telemetry_example.bin")),
        ("watermark", || explained("--frame", "downlink/watermark.bin")),
    ];
    for (name, make) in sections {
        let page = std::fs::read_to_string(&path).expect("docs/feed.md");
        let begin = format!("<!-- generated: {name} -->\n");
        let from = page.find(&begin).expect("begin mark") + begin.len();
        let to = from + page[from..].find("<!-- end -->").expect("end mark");
        let made = make();
        let kept = &page[from..to];
        if update() {
            let page = format!("{}{made}{}", &page[..from], &page[to..]);
            std::fs::write(&path, page).expect("docs/feed.md");
        } else {
            assert!(kept == made, "section {name} of docs/feed.md is out of step; run with UPDATE_GOLDEN=1");
        }
    }
}

#[test]
fn the_field_list_keeps_step_with_the_catalogue() {
    let (path, made) = (root().join("FIELDS.md"), field_tables());
    if update() {
        std::fs::write(&path, &made).expect("FIELDS.md");
    }
    let kept = std::fs::read_to_string(&path).expect("FIELDS.md");
    assert!(kept == made, "FIELDS.md is out of step; run with UPDATE_GOLDEN=1");
}

/// Constants that the page states in words.
#[test]
fn the_page_states_the_constants() {
    let page = std::fs::read_to_string(root().join("../docs/feed.md")).expect("docs/feed.md");
    for domain in [
        frame::FRAME_DOMAIN,
        downlink::DOWNLINK_DOMAIN,
        schema::SCHEMA_DOMAIN,
        ids::NODE_ID_SOFTWARE_DOMAIN,
        ids::SESSION_ID_DOMAIN,
        body::SESSION_IDENTITY_DOMAIN,
        body::evidence::QUALIFYING_DOMAIN,
        body::evidence::DEVICE_NONCE_DOMAIN,
        body::evidence::ACTIVATION_DOMAIN,
    ] {
        let (zero, text) = domain.split_last().expect("not empty");
        assert_eq!(*zero, 0);
        let text = std::str::from_utf8(text).expect("text");
        assert!(page.contains(&format!("`{text}`")), "{text}");
    }
    assert!(page.contains(&format!("Magic byte `{:02x}`", frame::MAGIC)));
    assert!(page.contains(&format!("Downlink magic byte `{:02x}`", downlink::DOWNLINK_MAGIC)));
    for number in [downlink::COMMAND_AHEAD_MS, limits::DOWNLINK_BYTES as u64, limits::VERB_BYTES as u64] {
        let (thousands, rest) = (number / 1000, number % 1000);
        assert!(page.contains(&format!("{thousands},{rest:03} ")), "{number}");
    }
    for stream in Stream::ALL {
        // The topic of replies ends with a name.
        let suffix = topic::suffix(*stream).unwrap_or("reply/<consumer>");
        let row = page.lines().find(|line| line.starts_with('|') && line.contains(&format!("/{suffix}` |")));
        let row = row.unwrap_or_else(|| panic!("no topic row for {stream}"));
        let audience = stream.audience().expect("a known stream").name().replace('_', " ");
        assert!(row.contains(&format!("| {audience} |")), "{row}");
        assert!(row.ends_with(if stream.is_retained() { "| yes |" } else { "| no |" }), "{row}");
    }
}

/// Every kind of event has a row with its number and name.
#[test]
fn the_page_lists_the_kinds_of_events() {
    let page = std::fs::read_to_string(root().join("../docs/feed.md")).expect("docs/feed.md");
    let events = messages::events()
        .into_iter()
        .chain(messages::conditions::events())
        .chain(messages::identity::events());
    let mut numbers = std::collections::BTreeSet::new();
    for (_, event) in events.filter(|(_, event)| !matches!(event.kind, EventKind::Unrecognised { .. })) {
        let row = format!("\n| {} | `{}` | ", event.kind.code(), event.kind.name());
        assert!(page.contains(&row), "{row}");
        numbers.insert(event.kind.code());
    }
    assert_eq!(numbers, (0..38).collect());
}

/// Each refusal of a node has a row that says which kinds of downlink messages it is for.
#[test]
fn the_page_lists_the_refusals_of_a_node() {
    let page = std::fs::read_to_string(root().join("../docs/feed.md")).expect("docs/feed.md");
    let node = NodeId::from_parts(IdentityClass::Software, [0; 32]);
    let (both, watermark, command) = ("| yes | yes |", "| yes | |", "| | yes |");
    for (refusal, kinds) in [
        (DownlinkRefusal::ForeignNode { found: node }, both),
        (DownlinkRefusal::OtherConsumer { found: String::new() }, watermark),
        (DownlinkRefusal::OtherEpoch { found: SpoolEpoch(0) }, watermark),
        (DownlinkRefusal::OtherSession { found: SessionId([0; 16]) }, command),
        (DownlinkRefusal::Expired { expires_unix_ms: 0 }, command),
        (DownlinkRefusal::TooFarAhead { expires_unix_ms: 0 }, command),
        (DownlinkRefusal::EmptyRange { from_seq: 1, to_seq: 0 }, command),
        (DownlinkRefusal::UnknownVerb { code: 9 }, command),
        (DownlinkRefusal::OtherVerb { found: "" }, command),
    ] {
        assert!(page.contains(&format!("\n| `{}` {kinds} ", refusal.name())), "{refusal}");
        // One vocabulary: the code of the reply has the same name.
        assert_eq!(refusal.code().map(Refusal::name), (kinds != watermark).then(|| refusal.name()));
    }
    let rows = page.split("| Refusal | Watermark | Command | When |").nth(1).expect("the table");
    for refusal in Refusal::ALL {
        assert!(rows.contains(&format!("\n| `{refusal}` ")), "{refusal}");
    }
}
