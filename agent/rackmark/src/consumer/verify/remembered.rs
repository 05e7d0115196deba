//! `rackmark feed memory`: what a verifier remembers, for people, and what people decide of it.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use rackmark_feed::NodeId;
use rackmark_feed::verify::store::Store;
use serde_json::{Value as Json, json};

use super::memory::Memory;
use crate::cli::one_shot::print;
use crate::cli::table::{Cell, Tone, colour, render};
use crate::exit::{Code, Failure};
use crate::utc::Utc;

#[derive(Debug, Subcommand)]
pub enum MemoryCommand {
    /// Show the nodes that are remembered, and the ids that are over.
    List(ListOptions),
    /// Forget a node and its devices, or that its id is over: it may then begin anew.
    Forget(ForgetOptions),
}

/// Which memory.
#[derive(Debug, Args)]
pub(super) struct Folder {
    /// Folder of this verifier's memory: clones, moves and rollbacks show in it alone.
    #[arg(long, value_name = "DIR", default_value = "/var/lib/rackmark-verifier")]
    pub(super) memory: PathBuf,
}

impl Folder {
    /// Opens a memory that is there; a mistyped folder must not look like an empty one.
    fn open(&self) -> Result<Memory, Failure> {
        if !self.memory.is_dir() {
            let words = format!("{} is no folder", self.memory.display());
            return Err(Failure::new(Code::Usage, words).hint("name the verifier's with --memory"));
        }
        open(&self.memory)
    }
}

/// Opens a memory, making its folder where it is missing.
pub(super) fn open(folder: &Path) -> Result<Memory, Failure> {
    Memory::open(folder).map_err(|error| {
        Failure::new(Code::Unavailable, error).hint("name a folder that you may write with --memory")
    })
}

#[derive(Debug, Args)]
pub struct ListOptions {
    /// One JSON object.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    folder: Folder,
}

#[derive(Debug, Args)]
pub struct ForgetOptions {
    /// The node, by its id.
    node: NodeId,
    #[command(flatten)]
    folder: Folder,
}

pub fn run(command: MemoryCommand) -> Result<Code, Failure> {
    match command {
        MemoryCommand::List(options) => {
            let memory = options.folder.open()?;
            print(&match options.json {
                true => format!("{:#}\n", document(&memory.store)),
                false => table(&memory.store, colour()),
            });
            Ok(Code::Ok)
        }
        MemoryCommand::Forget(options) => forget(&options),
    }
}

fn forget(options: &ForgetOptions) -> Result<Code, Failure> {
    let mut memory = options.folder.open()?;
    if !memory.store.forget(&options.node) {
        return Err(Failure::new(Code::Usage, format!("{} is not remembered", options.node))
            .hint("rackmark feed memory list shows who is"));
    }
    memory.keep().map_err(|error| Failure::new(Code::Unavailable, error))?;
    print(&format!("{} is forgotten; its bundles are kept\n", options.node));
    Ok(Code::Ok)
}

fn table(store: &Store, colour: bool) -> String {
    let nodes = store.nodes().map(|known| {
        let devices = known.devices.len().to_string();
        let state = match known.accepted {
            Some(_) => Cell::text("remembered").tone(Tone::Good),
            None => Cell::text("succeeds another, not seen yet").tone(Tone::Odd),
        };
        let seen = Utc(known.seen_unix_ms).to_string();
        vec![
            Cell::text(known.node),
            Cell::text(seen),
            Cell::text(devices),
            Cell::text(known.machine.unwrap_or("-").trim()),
            state,
        ]
    });
    let over = store.superseded().map(|(old, new)| {
        let state = Cell::text(format!("over: {new} succeeds it")).tone(Tone::Faint);
        vec![Cell::text(old), Cell::text("-"), Cell::text("-"), Cell::text("-"), state]
    });
    let rows: Vec<Vec<Cell>> = nodes.chain(over).collect();
    render(&["NODE", "SEEN", "DEVICES", "MACHINE", "STATE"], &rows, colour)
}

fn document(store: &Store) -> Json {
    let nodes: Json = store
        .nodes()
        .map(|known| {
            let accepted = known.accepted.map(|digest| super::hex(&digest));
            json!({
                "node": known.node,
                "machine": known.machine,
                "devices": known.devices,
                "accepted": accepted,
                "seen_unix_ms": known.seen_unix_ms,
            })
        })
        .collect();
    let superseded: Json = store.superseded().map(|(old, new)| json!({ "old": old, "new": new })).collect();
    json!({ "nodes": nodes, "superseded": superseded })
}
