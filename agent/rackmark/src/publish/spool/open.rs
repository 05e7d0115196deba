//! How a spool comes to be at the start of the daemon.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use rackmark_spool as store;
use rackmark_spool::{Disk, Limits, Medium, Memory, Now, Numbers};
use thiserror::Error;
use tokio::sync::Notify;

use super::view::View;
use super::{Health, STREAMS, Shared, Spool, State, Writer, writer};

/// The spool cannot be used.
#[derive(Debug, Error)]
pub enum OpenError {
    /// Its folder, or what is in it.
    #[error("cannot use the spool in {}", path.display())]
    Spool {
        /// Which folder.
        path: PathBuf,
        /// Why.
        #[source]
        source: store::SpoolError,
    },
    /// No thread could be started for it.
    #[error("cannot start the thread of the spool")]
    Thread(#[source] std::io::Error),
}

impl OpenError {
    /// Another process uses it.
    pub fn in_use(&self) -> bool {
        matches!(self, Self::Spool { source: store::SpoolError::InUse, .. })
    }
}

/// A spool just opened.
pub struct Opened {
    /// Handle.
    pub spool: Spool,
    /// Its thread.
    pub writer: Writer,
    /// Names the space of sequence numbers.
    pub epoch: u64,
    /// Samples of a batch that the last run did not finish.
    pub drafts: Vec<Vec<u8>>,
}

/// What waits in memory where the disk cannot be used: an hour of telemetry, and events.
const MEMORY_LIMITS: Limits = Limits {
    series_bytes: 2 << 20,
    series_age_ms: u64::MAX,
    edge_bytes: 1 << 20,
    edge_age_ms: u64::MAX,
    series_segment_bytes: 256 << 10,
    edge_segment_bytes: 128 << 10,
    keep_series_ms: 0,
    keep_edges_ms: 0,
};

/// Opens the spool in a folder, which is made where it is missing.
///
/// # Errors
/// [`OpenError`].
pub fn open(path: &Path, limits: Limits, new_epoch: u64, wake: Arc<Notify>) -> Result<Opened, OpenError> {
    let failed = |source| OpenError::Spool { path: path.to_owned(), source };
    let medium = Disk::open(path).map_err(failed)?;
    begin(medium, limits, new_epoch, wake, true).map_err(|error| match error {
        Begin::Spool(source) => failed(source),
        Begin::Thread(source) => OpenError::Thread(source),
    })
}

/// A spool that ends with the process, for a node whose disk cannot be used; `trouble` says why.
///
/// # Errors
/// [`OpenError`].
pub fn open_in_memory(trouble: String, new_epoch: u64, wake: Arc<Notify>) -> Result<Opened, OpenError> {
    let opened =
        begin(Memory::new(), MEMORY_LIMITS, new_epoch, wake, false).map_err(|error| match error {
            Begin::Spool(source) => OpenError::Spool { path: "memory".into(), source },
            Begin::Thread(source) => OpenError::Thread(source),
        })?;
    opened.spool.lock().health.trouble = trouble;
    Ok(opened)
}

enum Begin {
    Spool(store::SpoolError),
    Thread(std::io::Error),
}

fn begin<M: Medium + Send + 'static>(
    medium: M,
    limits: Limits,
    new_epoch: u64,
    wake: Arc<Notify>,
    durable: bool,
) -> Result<Opened, Begin> {
    let ByHand { spool, work, epoch, drafts, .. } =
        by_hand(medium, limits, new_epoch, wake, durable, writer::now()).map_err(Begin::Spool)?;
    let thread = std::thread::Builder::new()
        .name("spool".to_owned())
        .spawn(move || writer::run(work))
        .map_err(Begin::Thread)?;
    let writer = Writer { shared: Arc::clone(&spool.shared), thread };
    Ok(Opened { spool, writer, epoch, drafts })
}

/// A spool whose writer has no thread: whoever holds it takes its turns.
pub struct ByHand<M: Medium> {
    pub spool: Spool,
    pub work: writer::Writer<M>,
    pub epoch: u64,
    pub drafts: Vec<Vec<u8>>,
}

/// Opens a spool without a thread.
///
/// # Errors
/// What the store says.
pub fn by_hand<M: Medium>(
    medium: M,
    limits: Limits,
    new_epoch: u64,
    wake: Arc<Notify>,
    durable: bool,
    now: Now,
) -> Result<ByHand<M>, store::SpoolError> {
    let specs = STREAMS.map(|(_, spec)| spec);
    let store::Opened { spool: store, drafts, .. } =
        store::Spool::open(medium, &specs, limits, new_epoch, now)?;
    let positions = specs.map(|spec| store.position(spec.id));
    let views = std::array::from_fn(|stream| {
        let acked = Numbers::new(positions[stream].acked, store.acked_ranges(specs[stream].id));
        View::new(positions[stream].next, acked)
    });
    let state = State {
        views,
        next: positions.map(|position| position.next),
        pending: VecDeque::new(),
        pending_bytes: 0,
        acks_noted: 0,
        acks_dirty: false,
        holds: [None; 4],
        again: VecDeque::new(),
        found: Vec::new(),
        losses: Vec::new(),
        declaring: Vec::new(),
        told: Vec::new(),
        health: Health { durable, ..Health::default() },
        stop: false,
    };
    let shared =
        Arc::new(Shared { state: Mutex::new(state), work: Condvar::new(), wake, lost: Notify::new() });
    let epoch = store.epoch();
    let drafts = drafts.into_iter().flat_map(|(_, samples)| samples).collect();
    let work = writer::Writer::new(store, &shared, now);
    Ok(ByHand { spool: Spool { shared }, work, epoch, drafts })
}

/// Enough for what the last batch and the farewell leave to be written.
pub const END: Duration = Duration::from_millis(700);
