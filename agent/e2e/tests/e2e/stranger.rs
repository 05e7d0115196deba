//! Somebody who asks nodes what they are, with the shipped command line.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use rackmark_e2e::Outcome;
use rackmark_e2e::agent::{Agent, Setup};
use rackmark_e2e::process::binary;
use rackmark_e2e::sim::Sim;
use rackmark_e2e::swtpm::Chip;
use serde_json::Value as Json;
use tempfile::TempDir;

/// A consumer with a key, a verifier's memory and its trust.
pub struct Stranger {
    /// Everything it has.
    pub folder: TempDir,
    /// Its public key.
    pub public: String,
}

pub fn rackmark(arguments: &[&str]) -> Outcome<Output> {
    Ok(Command::new(binary("rackmark")).args(arguments).output()?)
}

pub fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

impl Stranger {
    pub fn new() -> Outcome<Self> {
        let folder = TempDir::new()?;
        let file = folder.path().join("key").display().to_string();
        let made = rackmark(&["key", "make", "--private", &file])?;
        assert!(made.status.success(), "{}", said(&made));
        let public = String::from_utf8(made.stdout)?.trim().to_owned();
        Ok(Self { folder, public })
    }

    pub fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    /// Believes in the maker of a TPM.
    pub fn trust(&self, chip: &Chip) -> Outcome<()> {
        let trust = self.folder.path().join("trust/tpm");
        fs::create_dir_all(trust.join("roots"))?;
        fs::create_dir_all(trust.join("issuers"))?;
        let [root, issuer] = chip.maker()?;
        fs::write(trust.join("roots/maker.der"), root)?;
        fs::write(trust.join("issuers/maker.der"), issuer)?;
        Ok(())
    }

    pub fn ask(&self, port: u16, memory: &str, more: &[&str]) -> Outcome<(Option<i32>, Json)> {
        let (broker, key) = (format!("mqtt://127.0.0.1:{port}"), self.path("key"));
        let (memory, trust) = (self.path(memory), self.path("trust"));
        let mut arguments =
            vec!["feed", "verify", "--broker", &broker, "--node", "test/node", "--as", "acme"];
        arguments.extend(["--key", &key, "--memory", &memory, "--trust", &trust, "--simulated", "--json"]);
        arguments.extend(more);
        let output = rackmark(&arguments)?;
        let document =
            serde_json::from_slice(&output.stdout).map_err(|error| format!("{error}: {}", said(&output)))?;
        Ok((output.status.code(), document))
    }

    pub fn ctl(&self, port: u16, verb: &[&str]) -> Outcome<Output> {
        self.ctl_as("acme", port, verb)
    }

    /// The same under another name.
    pub fn ctl_as(&self, name: &str, port: u16, verb: &[&str]) -> Outcome<Output> {
        let (broker, key) = (format!("mqtt://127.0.0.1:{port}"), self.path("key"));
        let mut arguments =
            vec!["ctl", "--broker", &broker, "--node", "test/node", "--as", name, "--key", &key];
        arguments.extend(verb);
        rackmark(&arguments)
    }
}

pub fn keys(folder: &Path) -> PathBuf {
    folder.join("keys.d")
}

pub fn setup(sim: &Sim, port: u16, folder: &Path) -> Setup {
    Setup::on(sim).broker(port).line("consumers", format!("keys_dir = {:?}", keys(folder)))
}

pub fn allow(stranger: &Stranger, agent: &Agent, role: &str) -> Outcome<()> {
    let added = agent.cli(&["key", "add", "acme", "--public", &stranger.public, "--role", role])?;
    assert!(added.status.success(), "{}", said(&added));
    Ok(())
}

/// Outcome and reason of the checks of a subject.
pub fn checks(document: &Json, subject: &str) -> Vec<(String, String)> {
    let all = document["checks"].as_array().cloned().unwrap_or_default();
    let text = |value: &Json| value.as_str().unwrap_or_default().to_owned();
    all.iter()
        .filter(|check| check["subject"] == subject)
        .map(|check| (text(&check["outcome"]), text(&check["reason"])))
        .collect()
}

pub fn is(document: &Json, subject: &str, outcome: &str, reason: &str) {
    let found = checks(document, subject);
    assert!(found.contains(&(outcome.to_owned(), reason.to_owned())), "{subject}: {found:?}\n{document:#}");
}
