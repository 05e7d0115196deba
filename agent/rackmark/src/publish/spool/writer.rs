//! The thread that owns the disk.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant as Clock};

use bytes::Bytes;
use rackmark_feed::LossCause;
use rackmark_spool as store;
use rackmark_spool::{Class, Medium, Now};
use tokio::time::Instant;

use super::super::mqtt::{Record, StreamIndex};
use super::view::{AHEAD_BYTES, AHEAD_RECORDS};
use super::{Loss, Pending, STREAMS, Shared, State, Told};
use crate::clock;
use crate::exit::chain;

/// A disk that refuses is tried again at this distance.
const RETRY_MS: u64 = 1000;
/// What is due to be freed is looked for at this distance; ages and budgets are in hours and megabytes.
const TRIM_MS: u64 = 30_000;

fn id(stream: StreamIndex) -> u8 {
    STREAMS[stream].1.id
}

/// What both clocks say.
pub fn now() -> Now {
    Now { mono_ms: clock::boot_ms(), unix_ms: clock::unix_ms() }
}

/// Runs until it is told to stop and all is written, or the disk refuses.
pub fn run<M: Medium>(mut writer: Writer<M>) {
    loop {
        writer.wait();
        if !writer.turn(now()) {
            return;
        }
    }
}

/// The work on the disk, one turn at a time.
pub struct Writer<M: Medium> {
    store: store::Spool<M>,
    shared: Arc<Shared>,
    /// Taken from the shared queue and not durable yet.
    pending: VecDeque<Pending>,
    /// Appended and not durable yet, because the disk refused.
    uncommitted: Vec<Written>,
    trimmed_mono_ms: u64,
    /// When the disk refused last.
    failed_mono_ms: Option<u64>,
    now: Now,
}

/// A record that was appended, and the loss that it declares.
type Written = (StreamIndex, Record, Option<Loss>);

/// What one turn has to do besides what is pending.
struct Turn {
    stop: bool,
    acks: Option<u64>,
    holds: [Option<Option<u64>>; 4],
    wanted: bool,
}

impl<M: Medium> Writer<M> {
    /// Begins with what is known since the spool was opened.
    pub fn new(store: store::Spool<M>, shared: &Arc<Shared>, now: Now) -> Self {
        let mut writer = Self {
            store,
            shared: Arc::clone(shared),
            pending: VecDeque::new(),
            uncommitted: Vec::new(),
            trimmed_mono_ms: now.mono_ms,
            failed_mono_ms: None,
            now,
        };
        writer.look_for_losses();
        writer.report();
        writer
    }

    /// Waits until there is something to do.
    fn wait(&self) {
        let mut due_in_ms = (self.trimmed_mono_ms + TRIM_MS).saturating_sub(self.now.mono_ms);
        if let Some(failed) = self.failed_mono_ms.filter(|_| self.unwritten()) {
            due_in_ms = due_in_ms.min((failed + RETRY_MS).saturating_sub(self.now.mono_ms));
        }
        let until = Clock::now() + Duration::from_millis(due_in_ms.max(1));
        let mut state = self.shared.lock();
        while !state.has_work() {
            let left = until.saturating_duration_since(Clock::now());
            if left.is_zero() {
                return;
            }
            state = match self.shared.work.wait_timeout(state, left) {
                Ok((state, _)) => state,
                Err(poisoned) => poisoned.into_inner().0,
            };
        }
    }

    /// One turn of work; false when it was the last.
    pub fn turn(&mut self, now: Now) -> bool {
        self.now = now;
        let turn = self.take();
        for (stream, hold) in turn.holds.into_iter().enumerate() {
            if let Some(hold) = hold {
                self.store.hold(id(stream), hold);
            }
        }
        if let Some(total) = turn.acks {
            self.note_acks(total);
        }
        let due = self.failed_mono_ms.is_none_or(|at| now.mono_ms >= at + RETRY_MS || turn.stop);
        if self.unwritten() && due {
            self.write();
        }
        if turn.wanted {
            self.read_back();
        }
        if now.mono_ms >= self.trimmed_mono_ms + TRIM_MS {
            self.trimmed_mono_ms = now.mono_ms;
            let trimmed = self.store.trim(now);
            self.noticed("free room", trimmed);
        }
        self.look_for_losses();
        self.report();
        !turn.stop
    }

    fn unwritten(&self) -> bool {
        !self.pending.is_empty() || !self.uncommitted.is_empty()
    }

    fn take(&mut self) -> Turn {
        let shared = Arc::clone(&self.shared);
        let mut state = shared.lock();
        self.pending.extend(state.pending.drain(..));
        let acks = std::mem::take(&mut state.acks_dirty).then(|| state.acks_total());
        Turn {
            stop: state.stop,
            acks,
            holds: std::mem::take(&mut state.holds),
            wanted: state.views.iter().any(super::view::View::wants),
        }
    }

    fn note_acks(&mut self, total: u64) {
        for (stream, (_, spec)) in STREAMS.iter().enumerate() {
            let acked = self.shared.lock().views[stream].acked().clone();
            let noted = self.store.ack(spec.id, acked.below(), acked.above());
            self.noticed("note acknowledgements", noted);
        }
        self.shared.lock().acks_noted = total;
        self.shared.wake.notify_one();
    }

    /// Appends what is pending and makes it durable; what could not be appended stays pending.
    fn write(&mut self) {
        self.failed_mono_ms = None;
        let mut written = std::mem::take(&mut self.uncommitted);
        let mut left = VecDeque::new();
        let mut blocked = [false; 4];
        for pending in std::mem::take(&mut self.pending) {
            let stream = pending.stream();
            if blocked[stream] {
                left.push_back(pending);
                continue;
            }
            match pending {
                Pending::Skip { stream, seq } => {
                    let skipped = self.store.skip(id(stream), seq);
                    self.noticed("note a number without a record", skipped);
                }
                Pending::Draft { stream, bytes } => {
                    let kept = self.store.draft(id(stream), &bytes);
                    self.noticed("keep the samples of a batch", kept);
                }
                Pending::Record { stream, seq, topic, payload, declares } => {
                    match self.store.append(id(stream), seq, &topic, &payload, self.now) {
                        Ok(()) => {
                            if STREAMS[stream].0 == rackmark_feed::Stream::Telemetry {
                                let cleared = self.store.clear_draft(id(stream));
                                self.noticed("clear the samples of a batch", cleared);
                            }
                            let record = Record { seq, topic, payload, since: None };
                            written.push((stream, record, declares));
                        }
                        Err(error) => {
                            self.noticed::<()>("append", Err(error));
                            if STREAMS[stream].1.class == Class::Edge {
                                blocked[stream] = true;
                                left.push_back(Pending::Record { stream, seq, topic, payload, declares });
                            }
                        }
                    }
                }
            }
        }
        match self.store.commit() {
            Ok(()) => self.offer(written),
            Err(error) => {
                self.noticed::<()>("make records durable", Err(error));
                self.uncommitted = written;
            }
        }
        self.pending = left;
        let held: usize = self.pending.iter().map(Pending::weight).sum::<usize>()
            + self.uncommitted.iter().map(|(_, record, _)| record.payload.len()).sum::<usize>();
        let mut state = self.shared.lock();
        state.pending_bytes = held + state.pending.iter().map(Pending::weight).sum::<usize>();
    }

    fn offer(&mut self, written: Vec<Written>) {
        let since = Some(Instant::now());
        let mut declared = Vec::new();
        let mut state = self.shared.lock();
        for (stream, mut record, declares) in written {
            record.since = since;
            let seq = record.seq;
            state.views[stream].offer(record);
            let Some(loss) = declares else { continue };
            state.declaring.retain(|known| *known != loss);
            state.told.push(Told { stream, seq, loss });
            let cause = LossCause::ALL.iter().position(|cause| *cause == loss.cause).unwrap_or(0);
            state.health.lost[loss.stream][cause] += loss.to_seq - loss.from_seq + 1;
            if loss.cause == LossCause::Refused {
                state.views[loss.stream].settle(loss.from_seq, loss.to_seq + 1);
                state.acks_dirty = true;
                continue;
            }
            declared.push(store::Loss {
                stream: id(loss.stream),
                from_seq: loss.from_seq,
                to_seq: loss.to_seq,
                cause: match loss.cause {
                    LossCause::Evicted => store::LossCause::Evicted,
                    LossCause::NotWritten => store::LossCause::NotWritten,
                    _ => store::LossCause::Damaged,
                },
            });
        }
        for (stream, (_, spec)) in STREAMS.iter().enumerate() {
            state.views[stream].skip_to(self.store.position(spec.id).committed);
        }
        drop(state);
        self.shared.wake.notify_one();
        // Not under the lock: it may unlink files, and sampling must not wait for that.
        for loss in &declared {
            if let Err(error) = self.store.declared(loss) {
                tracing::warn!(
                    error = chain(&error),
                    "a declared loss is not noted and may be declared again"
                );
            }
        }
    }

    fn read_back(&mut self) {
        let mut any = false;
        for stream in 0..STREAMS.len() {
            loop {
                let Some((reader, from)) = self.shared.lock().views[stream].wanted() else { break };
                let read = self.store.read(id(stream), from, AHEAD_RECORDS, AHEAD_BYTES);
                let end = self.store.position(id(stream)).committed;
                let Some(records) = self.noticed("read records back", read) else { break };
                let records = records
                    .into_iter()
                    .map(|record| Record {
                        seq: record.seq,
                        topic: record.label,
                        payload: Bytes::from(record.payload),
                        since: None,
                    })
                    .collect();
                self.shared.lock().views[stream].loaded(reader, from, records, end);
                any = true;
            }
        }
        // A reader that got nothing asks again at its next turn, not at once.
        if any {
            self.shared.wake.notify_one();
        }
    }

    fn look_for_losses(&mut self) {
        let found = self.store.losses();
        let mut any = false;
        let mut state = self.shared.lock();
        state.found.clear();
        for loss in found {
            let Some(stream) = STREAMS.iter().position(|(_, spec)| spec.id == loss.stream) else { continue };
            let cause = match loss.cause {
                store::LossCause::Evicted => LossCause::Evicted,
                store::LossCause::NotWritten => LossCause::NotWritten,
                store::LossCause::Damaged => LossCause::Damaged,
            };
            let loss = Loss { stream, from_seq: loss.from_seq, to_seq: loss.to_seq, cause };
            // What is being declared now comes off when that is durable.
            if !state.declaring.iter().any(|known| known.overlaps(&loss)) {
                state.found.push(loss);
                any = true;
            }
        }
        state.tell_again();
        any |= !state.losses.is_empty();
        drop(state);
        if any {
            self.shared.lost.notify_one();
        }
    }

    fn report(&mut self) {
        let (series, edges) = (self.store.usage(Class::Series), self.store.usage(Class::Edge));
        let mut state = self.shared.lock();
        state.health.waiting = [series.records, edges.records];
        state.health.bytes = [series.bytes, edges.bytes];
        if self.failed_mono_ms.is_none() && state.health.durable {
            state.health.trouble.clear();
        }
    }

    /// Passes a result on; a failure is said once and shown until the disk works again.
    fn noticed<T>(&mut self, what: &str, result: Result<T, store::SpoolError>) -> Option<T> {
        let error = match result {
            Ok(value) => return Some(value),
            Err(error) => error,
        };
        self.failed_mono_ms = Some(self.now.mono_ms);
        let trouble = format!("cannot {what}: {}", chain(&error));
        let mut state = self.shared.lock();
        if state.health.trouble.is_empty() {
            tracing::error!(error = trouble, "the spool cannot be written; events wait in memory");
        }
        state.health.trouble = trouble;
        None
    }
}

impl State {
    fn has_work(&self) -> bool {
        self.stop
            || !self.pending.is_empty()
            || self.acks_dirty
            || self.holds.iter().any(Option::is_some)
            || self.views.iter().any(super::view::View::wants)
    }
}
