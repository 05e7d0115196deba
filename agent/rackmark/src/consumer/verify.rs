//! `rackmark verify` judges a bundle, `rackmark feed verify` asks a node, `rackmark feed memory` is for people who look
//! after what a verifier remembers.

mod asking;
mod memory;
mod remembered;
mod trust;

use std::path::{Path, PathBuf};

use clap::Args;
use rackmark_feed::PublicKey;
use rackmark_feed::verify::bundle::BundleView;
use rackmark_feed::verify::outcome::Outcome;
use rackmark_feed::verify::report::{NodeReport, Question, verify_bundle};
use rackmark_feed::verify::store::Flag;
use serde_json::{Value as Json, json};

use self::asking::ask;
use self::remembered::Folder;
pub use self::remembered::{MemoryCommand, run as run_memory};
use self::trust::TrustStore;
use super::conversation::{Conversation, Target};
use crate::cli::one_shot::{block_on, print};
use crate::cli::table::{Cell, Tone, colour, render};
use crate::clock;
use crate::exit::{Code, Failure};

/// Whom to believe.
#[derive(Debug, Args)]
struct Believed {
    /// Folder with the certificates of TPM and device makers, and keys of other verifiers (see docs/attestation.md).
    #[arg(long, value_name = "DIR", default_value = "/etc/rackmark/trust")]
    trust: PathBuf,
    /// Public key of another verifier whose word counts, in hexadecimal digits; may be given several times.
    #[arg(long, value_name = "HEX")]
    verifier: Vec<String>,
    /// Public key of an operator who may say that a node was another id before, in hexadecimal digits; may be given
    /// several times.
    #[arg(long, value_name = "HEX")]
    operator: Vec<String>,
    /// Simulated GPUs are not taken for a forgery: for demonstrations and tests.
    #[arg(long)]
    simulated: bool,
}

impl Believed {
    fn read(&self) -> Result<TrustStore, Failure> {
        let mut store = TrustStore::read(&self.trust).map_err(|error| Failure::new(Code::Usage, error))?;
        let key = |text: &String| {
            PublicKey::from_hex(text)
                .ok_or_else(|| Failure::new(Code::Usage, format!("{text:?} is no public key")))
        };
        for text in &self.verifier {
            store.believe(key(text)?);
        }
        for text in &self.operator {
            store.believe_operator(key(text)?);
        }
        if self.simulated {
            store.allow_simulated();
        }
        Ok(store)
    }
}

#[derive(Debug, Args)]
pub struct Options {
    /// The bundle.
    bundle: PathBuf,
    #[command(flatten)]
    believed: Believed,
    /// The nonce that the node was asked with, in hexadecimal digits.
    #[arg(long, value_name = "HEX")]
    nonce: Option<String>,
    /// The result as one JSON object.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub struct LiveOptions {
    #[command(flatten)]
    target: Target,
    #[command(flatten)]
    believed: Believed,
    #[command(flatten)]
    memory: Folder,
    /// Write the bundle here, too.
    #[arg(long, value_name = "FILE")]
    save: Option<PathBuf>,
    /// The result as one JSON object.
    #[arg(long)]
    json: bool,
}

pub fn run(options: &Options) -> Result<Code, Failure> {
    let store = options.believed.read()?;
    let bytes = read(&options.bundle)?;
    let view = BundleView::parse(&bytes).map_err(|error| Failure::new(Code::Wrong, error))?;
    let nonce = options.nonce.as_deref().map(|text| {
        PublicKey::from_hex(text).map(|bytes| *bytes.as_bytes()).ok_or_else(|| {
            Failure::new(Code::Usage, format!("{text:?} is no nonce of 64 hexadecimal digits"))
        })
    });
    let nonce = nonce.transpose()?;
    let question =
        Question { now_unix_ms: clock::unix_ms(), nonce: nonce.as_ref(), epochs: &[], activated: None };
    let report = verify_bundle(&view, &store.trust(), &question);
    Ok(show(&report, &[], options.json))
}

pub fn run_live(options: &LiveOptions) -> Result<Code, Failure> {
    let store = options.believed.read()?;
    let mut memory = remembered::open(&options.memory.memory)?;
    block_on(async {
        let mut node = Conversation::begin(&options.target).await?;
        let verified = ask(&mut node, &mut memory, &store).await?;
        if let Some(path) = &options.save {
            std::fs::write(path, verified.bundle.to_bytes()).map_err(|error| {
                Failure::new(Code::Unavailable, format!("cannot write {}: {error}", path.display()))
            })?;
        }
        Ok(show(&verified.report, &verified.flags, options.json))
    })
}

fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    std::fs::read(path)
        .map_err(|error| Failure::new(Code::Usage, format!("cannot read bundle {}: {error}", path.display())))
}

fn show(report: &NodeReport, flags: &[Flag], as_json: bool) -> Code {
    let outcome = report.outcome();
    if as_json {
        print(&format!("{}\n", document(report, flags)));
    } else {
        print(&text(report, colour()));
    }
    match outcome {
        Outcome::Verified => Code::Ok,
        Outcome::NotEstablished => Code::Odd,
        Outcome::Contradicted => Code::Wrong,
    }
}

fn text(report: &NodeReport, colour: bool) -> String {
    let mut text = String::new();
    if let (Some(node), Some((site, name))) = (&report.node, &report.names) {
        text += &format!("{site}/{name}  {node}\n");
    }
    text += &format!("{}\n\n", trust_line(report));
    let rows: Vec<Vec<Cell>> = report
        .checks
        .iter()
        .map(|check| {
            let (word, tone) = match check.outcome {
                Outcome::Verified => ("verified", Tone::Good),
                Outcome::NotEstablished => ("not shown", Tone::Odd),
                Outcome::Contradicted => ("CONTRADICTED", Tone::Bad),
            };
            vec![
                Cell::text(word).tone(tone),
                Cell::text(check.subject.to_string()),
                Cell::text(check.reason.name()),
                Cell::text(check.detail.clone()),
            ]
        })
        .collect();
    text + &render(&["RESULT", "OF", "REASON", ""], &rows, colour)
}

/// One line for people: what stands behind the node and its devices.
fn trust_line(report: &NodeReport) -> String {
    let signed = report.devices.iter().filter(|device| device.signed.is_some()).count();
    let devices = match report.devices.len() {
        0 => String::new(),
        all => format!(", {signed} of {all} devices signed"),
    };
    let make = report.tpm.as_ref().map(|make| format!(" ({} {})", make.manufacturer, make.model));
    let outcome = match report.outcome() {
        Outcome::Verified => "all shown",
        Outcome::NotEstablished => "not all is shown",
        Outcome::Contradicted => "something speaks against it",
    };
    format!("identity: {}{}{devices}; {outcome}", report.label, make.unwrap_or_default())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn document(report: &NodeReport, flags: &[Flag]) -> Json {
    let checks: Json = report
        .checks
        .iter()
        .map(|check| {
            json!({
                "subject": check.subject.to_string(),
                "outcome": check.outcome.name(),
                "reason": check.reason.name(),
                "detail": check.detail,
            })
        })
        .collect();
    let devices: Json = report
        .devices
        .iter()
        .map(|device| {
            json!({
                "slot": device.slot,
                "name": device.name,
                "label": device.label.name(),
                "key": device.key.map(|key| hex(&key)),
                "signed": device.signed.as_ref().map(|signed| json!({
                    "model": signed.model,
                    "serial": signed.serial,
                    "driver_version": signed.driver_version,
                    "vbios_version": signed.vbios_version,
                    "firmware_id": hex(&signed.firmware_id),
                    "revocation_answered": signed.revocation_answered,
                })),
            })
        })
        .collect();
    let successions: Json = report
        .successions
        .iter()
        .map(|succession| {
            json!({
                "old": succession.old.to_string(),
                "new": succession.new.to_string(),
                "reason": succession.reason.name(),
                "ticket": succession.ticket,
                "issued_unix_ms": succession.issued_unix_ms,
                "operator": succession.operator.to_string(),
            })
        })
        .collect();
    json!({
        "node": report.node.map(|node| node.to_string()),
        "names": report.names,
        "outcome": report.outcome().name(),
        "label": report.label.name(),
        "checks": checks,
        "devices": devices,
        "successions": successions,
        "flags": flags,
    })
}
