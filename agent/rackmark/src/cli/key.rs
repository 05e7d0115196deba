//! `rackmark key`: the keys of consumers, which of them this node listens to, and what operators sign with theirs.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, Subcommand};
use rackmark_feed::{NodeId, PublicKey, SigningKey, Succession, SuccessionReason, topic};
use serde_json::{Value as Json, json};

use super::ConfigPath;
use super::one_shot::print;
use super::table::{Cell, Tone, colour, render};
use crate::attesting::successions::{self, reason};
use crate::clock;
use crate::config::keys_dir::{Entry, Role, read_folder};
use crate::exit::{Code, Failure};
use crate::utc::Utc;

#[derive(Debug, Subcommand)]
pub enum KeyCommand {
    /// Make a key pair for a consumer: the private key into a file, the public one on standard output.
    Make(MakeOptions),
    /// Let this node listen to a consumer.
    Add(AddOptions),
    /// Show the consumers that this node listens to.
    List(ListOptions),
    /// Stop listening to a consumer. The agent follows within seconds.
    Revoke(RevokeOptions),
    /// As an operator, sign that a node is what another id was: after a reimage, with another mainboard or TPM.
    Succeed(SucceedOptions),
}

#[derive(Debug, Args)]
pub struct MakeOptions {
    /// File for the private key; an existing one is never overwritten.
    #[arg(long, value_name = "FILE")]
    private: PathBuf,
}

#[derive(Debug, Args)]
pub struct AddOptions {
    /// Name of the consumer, as in topics.
    name: String,
    /// Its public key, in hexadecimal digits.
    #[arg(long, value_name = "HEX")]
    public: String,
    /// What it may ask for; may be given several times.
    #[arg(long, value_enum, default_value = "buyer")]
    role: Vec<Role>,
    /// Records wait for its confirmation.
    #[arg(long)]
    required: bool,
    /// A few words to be kept with it.
    #[arg(long, value_name = "TEXT", default_value = "")]
    comment: String,
    #[command(flatten)]
    config: ConfigPath,
}

#[derive(Debug, Args)]
pub struct ListOptions {
    /// One JSON array.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    config: ConfigPath,
}

#[derive(Debug, Args)]
pub struct RevokeOptions {
    /// Name of the consumer.
    name: String,
    /// Why.
    #[arg(long, value_name = "TEXT")]
    reason: String,
    #[command(flatten)]
    config: ConfigPath,
}

#[derive(Debug, Args)]
pub struct SucceedOptions {
    /// The node id that the machine had.
    #[arg(long, value_name = "ID")]
    old: NodeId,
    /// The node id that it has now, as `rackmark status` shows it.
    #[arg(long, value_name = "ID")]
    new: NodeId,
    /// Why it has another one.
    #[arg(long, value_parser = reasons())]
    reason: SuccessionReason,
    /// The ticket, for people; at most 512 bytes.
    #[arg(long, value_name = "TEXT", default_value = "")]
    ticket: String,
    /// The operator's private key, as `rackmark key make` writes it.
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// File for the record, named *.toml; an existing one is never overwritten.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

/// Takes a reason by its name.
fn reasons() -> impl TypedValueParser<Value = SuccessionReason> {
    PossibleValuesParser::new(SuccessionReason::ALL.iter().map(|reason| reason.name()))
        .try_map(|name| reason(&name).ok_or("is no reason"))
}

/// Reads a private key.
pub fn private_key(path: &Path) -> Result<SigningKey, Failure> {
    let der = fs::read(path)
        .map_err(|error| Failure::new(Code::Usage, format!("cannot read key {}: {error}", path.display())))?;
    SigningKey::from_pkcs8(&der).map_err(|error| {
        Failure::new(Code::Usage, error).hint(format!("{} is no key of `rackmark key make`", path.display()))
    })
}

pub fn run(command: KeyCommand) -> Result<Code, Failure> {
    match command {
        KeyCommand::Make(options) => make(&options),
        KeyCommand::Add(options) => add(options),
        KeyCommand::List(options) => list(&options),
        KeyCommand::Revoke(options) => revoke(&options),
        KeyCommand::Succeed(options) => succeed(options),
    }
}

fn make(options: &MakeOptions) -> Result<Code, Failure> {
    let der = SigningKey::generate_pkcs8().map_err(|error| Failure::new(Code::Unavailable, error))?;
    create(&options.private, &der, 0o600)?;
    print(&format!("{}\n", private_key(&options.private)?.public()));
    Ok(Code::Ok)
}

/// The folder of the configuration.
fn folder(config: &ConfigPath) -> Result<PathBuf, Failure> {
    config.load()?.keys_dir.ok_or_else(|| {
        Failure::new(Code::Usage, "consumers.keys_dir is not set")
            .hint("name a folder, such as /etc/rackmark/keys.d")
    })
}

fn add(options: AddOptions) -> Result<Code, Failure> {
    if !topic::is_name(&options.name) {
        return Err(Failure::new(Code::Usage, format!("{:?} cannot stand in a topic", options.name)));
    }
    let key = PublicKey::from_hex(&options.public)
        .ok_or_else(|| Failure::new(Code::Usage, format!("{:?} is no public key", options.public)))?;
    let folder = folder(&options.config)?;
    fs::create_dir_all(&folder).map_err(|error| unwritable(&folder, &error))?;
    let entry = Entry {
        public_key: key.to_string(),
        roles: options.role,
        required: options.required,
        added: Utc(clock::unix_ms()).to_string(),
        revoked: None,
        comment: options.comment,
    };
    create(&path(&folder, &options.name), text(&entry)?.as_bytes(), 0o644)?;
    print(&format!("this node listens to {}\n", options.name));
    Ok(Code::Ok)
}

fn list(options: &ListOptions) -> Result<Code, Failure> {
    let entries = read_folder(&folder(&options.config)?).map_err(|error| Failure::new(Code::Usage, error))?;
    if options.json {
        let entries: Json = entries
            .iter()
            .map(|(name, entry)| {
                json!({
                    "name": name,
                    "public_key": entry.public_key,
                    "roles": entry.roles,
                    "required": entry.required,
                    "added": entry.added,
                    "revoked": entry.revoked,
                    "comment": entry.comment,
                })
            })
            .collect();
        print(&format!("{entries}\n"));
        return Ok(Code::Ok);
    }
    let rows: Vec<Vec<Cell>> = entries
        .iter()
        .map(|(name, entry)| {
            let roles: Vec<&str> = entry.roles.iter().map(|role| role.name()).collect();
            let state = match &entry.revoked {
                None => Cell::text("allowed").tone(Tone::Good),
                Some(why) => Cell::text(format!("revoked: {why}")).tone(Tone::Bad),
            };
            vec![
                Cell::text(name),
                Cell::text(roles.join(" ")),
                Cell::text(entry.public_key.chars().take(16).collect::<String>() + "…"),
                Cell::text(&entry.added),
                state,
                Cell::text(&entry.comment),
            ]
        })
        .collect();
    print(&render(&["NAME", "ROLES", "KEY", "ADDED", "STATE", "COMMENT"], &rows, colour()));
    Ok(Code::Ok)
}

fn revoke(options: &RevokeOptions) -> Result<Code, Failure> {
    let folder = folder(&options.config)?;
    let entries = read_folder(&folder).map_err(|error| Failure::new(Code::Usage, error))?;
    let Some((name, mut entry)) = entries.into_iter().find(|(name, _)| *name == options.name) else {
        return Err(Failure::new(Code::Usage, format!("there is no key {}", options.name))
            .hint("keys of the configuration file itself are removed there"));
    };
    entry.revoked = Some(format!("{} {}", Utc(clock::unix_ms()), options.reason));
    // Whole or not at all: half a file would be a mistake in the configuration, and nothing would be revoked.
    let (path, new) = (path(&folder, &name), folder.join(format!(".{name}.new")));
    let _ = fs::remove_file(&new);
    create(&new, text(&entry)?.as_bytes(), 0o644)?;
    fs::rename(&new, &path).map_err(|error| unwritable(&path, &error))?;
    print(&format!("{name} is revoked; the agent follows within seconds\n"));
    Ok(Code::Ok)
}

fn succeed(options: SucceedOptions) -> Result<Code, Failure> {
    let SucceedOptions { old, new, reason, ticket, key, out } = options;
    if old == new {
        return Err(Failure::new(Code::Usage, format!("{old} cannot succeed itself")));
    }
    if out.extension().is_none_or(|extension| extension != "toml") {
        return Err(Failure::new(Code::Usage, format!("{} is not named *.toml", out.display()))
            .hint("the agent reads no other file"));
    }
    let succession = Succession::sign(old, new, reason, ticket, clock::unix_ms(), &private_key(&key)?);
    let text = successions::text(&succession).map_err(|error| Failure::new(Code::Usage, error))?;
    create(&out, text.as_bytes(), 0o644)?;
    print(&format!(
        "{new} is what {old} was, by {}; copy {} into attest.succession_dir of the node and restart its agent\n",
        succession.operator,
        out.display()
    ));
    Ok(Code::Ok)
}

fn path(folder: &Path, name: &str) -> PathBuf {
    folder.join(format!("{name}.toml"))
}

fn text(entry: &Entry) -> Result<String, Failure> {
    toml::to_string(entry).map_err(|error| Failure::new(Code::Internal, error))
}

fn unwritable(path: &Path, error: &std::io::Error) -> Failure {
    Failure::new(Code::Unavailable, format!("cannot write {}: {error}", path.display()))
}

fn create(path: &Path, bytes: &[u8], mode: u32) -> Result<(), Failure> {
    let written = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path)
        .and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()));
    written.map_err(|error| unwritable(path, &error))
}
