//! A medium that behaves like a bad day: loses power with writes half done,
//! fills up, turns read-only, flips bits, loses files. Everything is drawn from
//! seeds that the test gives.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::medium::{Medium, list};

/// Smallest part of a write that reaches the medium as a whole, in bytes.
const SECTOR: usize = 512;

/// A write that is not durable yet.
#[derive(Debug, Clone)]
enum Change {
    Write { offset: usize, bytes: Vec<u8> },
    Length(usize),
}

/// Content of a file, whatever its name.
#[derive(Debug, Clone, Default)]
struct Node {
    content: Vec<u8>,
    durable: Vec<u8>,
    changes: Vec<Change>,
}

#[derive(Debug, Default)]
struct State {
    nodes: BTreeMap<u64, Node>,
    names: BTreeMap<String, u64>,
    durable_names: BTreeMap<String, u64>,
    next_node: u64,
    full: bool,
    read_only: bool,
    syncs: u64,
    written_bytes: u64,
    /// Syncs that fail from now on.
    failing_syncs: u64,
}

/// The medium; clones are the same one, so that a test keeps it over restarts.
#[derive(Debug, Clone, Default)]
pub struct Faulty {
    state: Arc<Mutex<State>>,
}

/// SplitMix64 (Steele, Lea, Flood 2014).
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % limit.max(1) as u64) as usize
    }
}

impl Node {
    fn apply(content: &mut Vec<u8>, change: &Change) {
        match change {
            Change::Write { offset, bytes } => {
                let end = offset + bytes.len();
                if content.len() < end {
                    content.resize(end, 0);
                }
                content[*offset..end].copy_from_slice(bytes);
            }
            Change::Length(length) => content.resize(*length, 0),
        }
    }

    fn change(&mut self, change: Change) {
        Self::apply(&mut self.content, &change);
        self.changes.push(change);
    }

    /// Each sector that was written since the last sync is there or not.
    fn cut_power(&mut self, random: &mut Random) {
        for change in std::mem::take(&mut self.changes) {
            match change {
                Change::Write { offset, bytes } => {
                    let mut at = 0;
                    while at < bytes.len() {
                        let end = (((offset + at) / SECTOR + 1) * SECTOR - offset).min(bytes.len());
                        if random.below(2) == 0 {
                            let part = Change::Write { offset: offset + at, bytes: bytes[at..end].to_vec() };
                            Self::apply(&mut self.durable, &part);
                        }
                        at = end;
                    }
                }
                length @ Change::Length(_) if random.below(2) == 0 => Self::apply(&mut self.durable, &length),
                Change::Length(_) => {}
            }
        }
        self.content.clone_from(&self.durable);
    }
}

impl Faulty {
    /// An empty, healthy one.
    pub fn new() -> Self {
        Self::default()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The process ends: nothing that was written is lost.
    pub fn crash(&self) {}

    /// Power is lost: of what was not synced, each sector and each folder's names are there or not.
    pub fn power_cut(&self, seed: u64) {
        let mut random = Random(seed);
        let mut state = self.lock();
        let folder = |path: &str| path.rsplit_once('/').map_or("", |(folder, _)| folder).to_owned();
        let folders: BTreeSet<String> =
            state.names.keys().chain(state.durable_names.keys()).map(|path| folder(path)).collect();
        let mut names = BTreeMap::new();
        for of in folders {
            let kept = if random.below(2) == 0 { &state.names } else { &state.durable_names };
            names.extend(kept.iter().filter(|(path, _)| folder(path) == of).map(|(p, n)| (p.clone(), *n)));
        }
        for node in state.nodes.values_mut() {
            node.cut_power(&mut random);
        }
        state.durable_names.clone_from(&names);
        state.names = names;
    }

    /// No byte more can be stored; what is stored can be written over.
    pub fn set_full(&self, full: bool) {
        self.lock().full = full;
    }

    /// Nothing can be written.
    pub fn set_read_only(&self, read_only: bool) {
        self.lock().read_only = read_only;
    }

    /// The next `count` syncs fail, and what they should have made durable is dropped from the cache as if it were.
    pub fn fail_syncs(&self, count: u64) {
        self.lock().failing_syncs = count;
    }

    /// Changes so many bits of what is stored.
    pub fn flip_bits(&self, seed: u64, bits: usize) {
        let mut random = Random(seed);
        let mut state = self.lock();
        let nodes: Vec<u64> = state.names.values().copied().collect();
        for _ in 0..bits {
            let Some(id) = nodes.get(random.below(nodes.len())) else { return };
            let Some(node) = state.nodes.get_mut(id).filter(|node| !node.content.is_empty()) else {
                continue;
            };
            let (at, bit) = (random.below(node.content.len()), random.below(8));
            node.content[at] ^= 1 << bit;
            if let Some(byte) = node.durable.get_mut(at) {
                *byte ^= 1 << bit;
            }
        }
    }

    /// Cuts one file somewhere.
    pub fn truncate_random(&self, seed: u64) {
        let mut random = Random(seed);
        let mut state = self.lock();
        let nodes: Vec<u64> = state.names.values().copied().collect();
        let Some(id) = nodes.get(random.below(nodes.len())).copied() else { return };
        if let Some(node) = state.nodes.get_mut(&id) {
            let length = random.below(node.content.len() + 1);
            node.content.truncate(length);
            node.durable.truncate(length);
            node.changes.clear();
        }
    }

    /// Takes a file away.
    pub fn remove_file(&self, path: &str) {
        let mut state = self.lock();
        state.names.remove(path);
        state.durable_names.remove(path);
    }

    /// Paths of all files.
    pub fn files(&self) -> Vec<String> {
        self.lock().names.keys().cloned().collect()
    }

    /// Successful syncs of files and folders so far.
    pub fn syncs(&self) -> u64 {
        self.lock().syncs
    }

    /// Bytes written so far.
    pub fn written_bytes(&self) -> u64 {
        self.lock().written_bytes
    }

    fn writable(&self) -> io::Result<MutexGuard<'_, State>> {
        let state = self.lock();
        if state.read_only { Err(io::ErrorKind::ReadOnlyFilesystem.into()) } else { Ok(state) }
    }
}

impl State {
    fn node(&mut self, path: &str) -> io::Result<&mut Node> {
        let id = self.names.get(path).copied().ok_or(io::ErrorKind::NotFound)?;
        self.nodes.get_mut(&id).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn synced(&mut self) -> io::Result<bool> {
        if self.failing_syncs > 0 {
            self.failing_syncs -= 1;
            return Ok(false);
        }
        self.syncs += 1;
        Ok(true)
    }
}

impl Medium for Faulty {
    fn read_at(&mut self, path: &str, offset: u64, into: &mut [u8]) -> io::Result<usize> {
        let mut state = self.lock();
        let content = &state.node(path)?.content;
        let rest = content.get(offset as usize..).unwrap_or_default();
        let read = rest.len().min(into.len());
        into[..read].copy_from_slice(&rest[..read]);
        Ok(read)
    }

    fn write_at(&mut self, path: &str, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.writable()?;
        if !state.names.contains_key(path) {
            if state.full {
                return Err(io::ErrorKind::StorageFull.into());
            }
            let id = state.next_node;
            state.next_node += 1;
            state.nodes.insert(id, Node::default());
            state.names.insert(path.to_owned(), id);
        }
        let full = state.full;
        let node = state.node(path)?;
        let room = if full { node.content.len().saturating_sub(offset as usize) } else { bytes.len() };
        let written = &bytes[..room.min(bytes.len())];
        node.change(Change::Write { offset: offset as usize, bytes: written.to_vec() });
        let short = written.len() < bytes.len();
        state.written_bytes += room.min(bytes.len()) as u64;
        if short { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }

    fn length(&mut self, path: &str) -> io::Result<u64> {
        Ok(self.lock().node(path)?.content.len() as u64)
    }

    fn set_length(&mut self, path: &str, length: u64) -> io::Result<()> {
        self.writable()?.node(path)?.change(Change::Length(length as usize));
        Ok(())
    }

    fn sync(&mut self, path: &str) -> io::Result<()> {
        let mut state = self.writable()?;
        let good = state.synced()?;
        let node = state.node(path)?;
        if good {
            for change in std::mem::take(&mut node.changes) {
                Node::apply(&mut node.durable, &change);
            }
            return Ok(());
        }
        // As Linux does: the pages are clean now, and hold what the medium does not.
        node.changes.clear();
        Err(io::Error::other("planned"))
    }

    fn make_folder(&mut self, _: &str) -> io::Result<()> {
        Ok(())
    }

    fn sync_folder(&mut self, path: &str) -> io::Result<()> {
        let mut state = self.writable()?;
        if !state.synced()? {
            return Err(io::Error::other("planned"));
        }
        let inside = |name: &str| name.rsplit_once('/').map_or("", |(folder, _)| folder) == path;
        state.durable_names.retain(|name, _| !inside(name));
        let names: Vec<_> = state
            .names
            .iter()
            .filter(|(name, _)| inside(name))
            .map(|(name, id)| (name.clone(), *id))
            .collect();
        state.durable_names.extend(names);
        Ok(())
    }

    fn list(&mut self, path: &str) -> io::Result<Vec<(String, u64)>> {
        let state = self.lock();
        let files = state.names.iter().map(|(name, id)| {
            (name.as_str(), state.nodes.get(id).map_or(0, |node| node.content.len() as u64))
        });
        Ok(list(files, path))
    }

    fn remove(&mut self, path: &str) -> io::Result<()> {
        self.writable()?.names.remove(path).map(|_| ()).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.writable()?;
        let id = state.names.remove(from).ok_or(io::ErrorKind::NotFound)?;
        state.names.insert(to.to_owned(), id);
        Ok(())
    }
}
