//! `rackmark rma`: one archive for the vendor of a faulty card, without names of people and work.

mod archive;
mod contents;
mod files;
mod redact;

use std::fs::File;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use clap::Args;
use rackmark_model::PciAddress;
use serde_json::{Value as Json, json};
use thiserror::Error;

use self::archive::{Entries, MANIFEST};
use self::redact::Redaction;
use super::ConfigPath;
use super::one_shot::print;
use super::pause::failure;
use super::table::{Cell, Tone, colour, painted, render};
use crate::clock;
use crate::config::Config;
use crate::control::client::ask;
use crate::control::verbs::{ENTRIES_MAX, Verb};
use crate::exit::{Code, Failure};
use crate::utc::Utc;

#[derive(Debug, Args)]
pub struct Options {
    /// The GPU, by slot, UUID, serial number or PCI address.
    gpu: String,
    /// The archive; it must not exist. Without it, a name with serial number and time in this folder.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Leave the names of host, node and site in; those of people and their work stay out.
    #[arg(long)]
    with_names: bool,
    /// Leave out nvidia-bug-report.log.gz, which is copied as it is.
    #[arg(long)]
    without_bug_report: bool,
    /// The manifest as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    config: ConfigPath,
}

/// The archive was not made.
#[derive(Debug, Error)]
enum RmaError {
    /// The agent knows no such GPU.
    #[error("no GPU is called {0:?}")]
    Unknown(String),
    /// The archive cannot be written.
    #[error("cannot write the archive {}", path.display())]
    Write {
        /// Where to.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

pub fn run(options: &Options) -> Result<Code, Failure> {
    let config = options.config.load()?;
    let status = ask(&config.control_socket, &Verb::Status).map_err(failure)?;
    let Some(gpu) = find(&status, &options.gpu) else {
        let hint = "name it by slot, UUID, serial number or PCI address; rackmark status shows them";
        return Err(Failure::new(Code::Usage, RmaError::Unknown(options.gpu.clone())).hint(hint));
    };
    let name = card_name(gpu);
    let verb = Verb::History { gpu: Some(name.clone()), limit: ENTRIES_MAX };
    let history = ask(&config.control_socket, &verb).map_err(failure)?;
    let history = history["entries"].as_array().map_or(&[][..], Vec::as_slice);

    let made_unix_ms = clock::unix_ms();
    let redaction = Redaction::of(names(&config, &status, history, options.with_names));
    let mut entries = contents::entries(&contents::Answers { status: &status, gpu, history }, &redaction);
    let left_out = add_files(&mut entries, options, &config, gpu, &redaction);
    let readme = readme(&name, &entries, &left_out, options, &config, made_unix_ms);
    entries.insert("README.txt".to_owned(), readme.into_bytes());
    let mut manifest = archive::manifest(&entries, made_unix_ms);
    entries.insert(MANIFEST.to_owned(), format!("{manifest:#}\n").into_bytes());

    let stamp: String = Utc(made_unix_ms).to_string().replace(' ', "T").replace([':', '-'], "");
    let folder = format!("rma-{}-{stamp}", file_name(&name));
    let path = options.out.clone().unwrap_or_else(|| format!("{folder}.tar").into());
    write(&path, &folder, &entries, made_unix_ms)?;
    manifest["file"] = json!(path);
    manifest["left_out"] = json!(left_out);
    print(&if options.json { format!("{manifest:#}\n") } else { page(&entries, &left_out, &path, colour()) });
    Ok(Code::Ok)
}

fn find<'a>(status: &'a Json, name: &str) -> Option<&'a Json> {
    let address = name.parse::<PciAddress>().ok();
    status["gpus"].as_array()?.iter().find(|gpu| {
        let at = gpu["pci_address"].as_str().and_then(|at| at.parse().ok());
        (address.is_some() && at == address)
            || gpu["uuid"].as_str() == Some(name)
            || gpu["serial"].as_str() == Some(name)
            || gpu["slot"].as_u64().is_some_and(|slot| slot.to_string() == name)
    })
}

/// The name that stays with the card: a slot may have had another one before.
fn card_name(gpu: &Json) -> String {
    let name = gpu["serial"].as_str().or_else(|| gpu["uuid"].as_str());
    name.map_or_else(|| gpu["slot"].to_string(), str::to_owned)
}

/// A name as a part of a file's name.
fn file_name(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' }).collect()
}

/// Names to be taken out: leases always, host, node and site where nobody asked for them.
fn names(config: &Config, status: &Json, history: &[Json], with_names: bool) -> Vec<String> {
    let gpus = status["gpus"].as_array().into_iter().flatten();
    let mut names: Vec<String> =
        gpus.filter_map(|gpu| gpu["lease"]["id"].as_str().map(str::to_owned)).collect();
    names.extend(history.iter().filter_map(|entry| {
        let text = entry["text"].as_str()?.strip_prefix("lease ")?;
        let lease = text.strip_suffix(" begins").or_else(|| text.strip_suffix(" ended"))?;
        Some(lease.to_owned())
    }));
    if !with_names {
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        let short = host.split('.').next().map(str::to_owned);
        names.extend([host, config.node.clone(), config.site.clone()]);
        names.extend(short);
        names.extend(
            ["name", "site", "id"].iter().filter_map(|of| status["node"][*of].as_str().map(str::to_owned)),
        );
    }
    names
}

/// Adds files that are there already; what was left out, and why.
fn add_files(
    entries: &mut Entries,
    options: &Options,
    config: &Config,
    gpu: &Json,
    redaction: &Redaction,
) -> Vec<String> {
    let mut left_out = Vec::new();
    if let Some(uuid) = gpu["uuid"].as_str().filter(|uuid| !uuid.is_empty()) {
        let (taken, refused) = files::burn_in(&config.state_dir.join("burn-in"), uuid);
        for (name, text) in taken {
            entries.insert(format!("burn-in/{}", redaction.line(&name)), redaction.file(&text).into_bytes());
        }
        left_out.extend(refused.iter().map(|line| redaction.line(line)));
    }
    if options.without_bug_report {
        left_out.push(format!("{}: --without-bug-report was given", files::BUG_REPORT));
        return left_out;
    }
    let folders = [".", "/var/log", "/tmp"].map(PathBuf::from);
    match files::bug_report(&folders) {
        Ok(Some(bytes)) => {
            entries.insert(files::BUG_REPORT.to_owned(), bytes);
        }
        Ok(None) => left_out.push(format!(
            "{}: none of root or of whoever made this in the working directory, /var/log or /tmp",
            files::BUG_REPORT
        )),
        Err(error) => left_out.push(format!("{}: {error}", files::BUG_REPORT)),
    }
    left_out
}

fn readme(
    card: &str,
    entries: &Entries,
    left_out: &[String],
    options: &Options,
    config: &Config,
    made_unix_ms: u64,
) -> String {
    let mut out = format!(
        "Facts about the GPU {card} for its vendor.\nMade {} by rackmark {}.\n",
        Utc(made_unix_ms),
        env!("CARGO_PKG_VERSION")
    );
    if options.with_names {
        out.push_str(&format!("Node {} at {}.\n", config.node, config.site));
    }
    out.push_str("\nTaken out, because it is not about the card: processes, users, leases, tenants, IP and MAC addresses");
    out.push_str(if options.with_names { ".\n" } else { ",\nnames of host, node and site.\n" });
    out.push_str(&format!(
        "\"{}\" stands where something was. XIDs have the kernel's words without the process that it named.\n",
        redact::LEFT_OUT
    ));
    if entries.contains_key(files::BUG_REPORT) {
        out.push_str(&format!(
            "\n{} is a copy of the driver's own report. It is NOT redacted: it has names of host and processes.\n",
            files::BUG_REPORT
        ));
    }
    if !left_out.is_empty() {
        out.push_str("\nNot here:\n");
        left_out.iter().for_each(|line| out.push_str(&format!("  {line}\n")));
    }
    out.push_str("\nmanifest.json has the SHA-256 of every other file. Times are in UTC.\n");
    out
}

fn write(path: &Path, folder: &str, entries: &Entries, made_unix_ms: u64) -> Result<(), Failure> {
    let failed = |source: io::Error| {
        let exists = source.kind() == io::ErrorKind::AlreadyExists;
        let failure = Failure::new(Code::Usage, RmaError::Write { path: path.to_owned(), source });
        if exists { failure.hint("--out with another name; nothing is written over") } else { failure }
    };
    let file = File::options().write(true).create_new(true).mode(0o600).open(path).map_err(failed)?;
    archive::write(&file, folder, entries, made_unix_ms).and_then(|()| file.sync_all()).map_err(|error| {
        // Half an archive must not be sent.
        let _ = std::fs::remove_file(path);
        failed(error)
    })
}

fn page(entries: &Entries, left_out: &[String], path: &Path, colour: bool) -> String {
    let rows: Vec<Vec<Cell>> = entries
        .iter()
        .map(|(name, bytes)| {
            let (what, tone) = about(name);
            vec![Cell::text(name), Cell::number(bytes.len().to_string()), Cell::text(what).tone(tone)]
        })
        .collect();
    let mut out = render(&["FILE", "BYTES", "WHAT"], &rows, colour);
    for line in left_out {
        out.push_str(&painted(&format!("not in it: {line}\n"), Tone::Faint, colour));
    }
    out.push_str(&format!("\nwritten to {}\n", path.display()));
    out
}

fn about(entry: &str) -> (&'static str, Tone) {
    match entry {
        "README.txt" => ("what this is, and what was left out", Tone::Plain),
        "card.json" => ("serial and part numbers, place, firmware", Tone::Plain),
        "conditions.json" => ("what stands against it, and what is suggested", Tone::Plain),
        "history.json" => ("what happened to it", Tone::Plain),
        "nvlink.json" => ("its NVLinks and their errors", Tone::Plain),
        "pcie.json" => ("its PCIe link", Tone::Plain),
        "remap.json" => ("ECC errors, remapped rows, retired pages", Tone::Plain),
        "xids.txt" => ("XIDs, with the kernel's words", Tone::Plain),
        MANIFEST => ("SHA-256 of every other file", Tone::Plain),
        files::BUG_REPORT => ("the driver's report, NOT redacted", Tone::Odd),
        _ => ("a burn-in result", Tone::Plain),
    }
}
