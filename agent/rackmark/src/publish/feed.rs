//! When documents are due: levels on change, telemetry when a batch is full,
//! slow readings when they arrive, events as they happen. Everything is signed
//! here and handed to the outbox, which knows neither GPUs nor keys.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use rackmark_feed::{
    Audience, BatchBuilder, Body, Capacity, Cell, Event, EventKind, Evidence, EvidenceCause, FAST_FIELDS,
    GpuCounts, GpuState, NodeId, NodeState, PreviousSession, PublicKey, SampleTime, SessionId, SpoolEpoch,
    Status, Stream, StreamEnd,
};
use rackmark_hardware::host::HostInfo;
use rackmark_model::NoData;
use rackmark_model::ipc::SamplerReport;
use tokio::sync::watch;

use super::drafts::{self, Drafts};
use super::encode::{self, Ids};
use super::health;
use super::identity::{Session, StateDir};
use super::mqtt::{Outbox, Will};
use super::signer::Signer;
use super::spool::{self, Loss, Spool};
use crate::clock;
use crate::config::Config;
use crate::exit::chain;
use crate::inventory::Told;
use crate::sampling::roster::{Change, Identity, Roster};
use crate::sampling::task::{Observer, SharedRoster};

/// A consumer regards a node as silent after this many missed telemetry
/// messages, and never before [`TIME_TO_LIVE_MIN`].
const MISSED_MESSAGES: u32 = 3;
const TIME_TO_LIVE_MIN: Duration = Duration::from_secs(30);

/// A node is never quiet for longer than about twice this, which leaves a third
/// of the shortest time to live for the way.
pub const HEARTBEAT: Duration = Duration::from_secs(10);

/// How long the start waits for the session record to be durable; a disk in order needs milliseconds.
const DURABLE: Duration = Duration::from_millis(500);

/// The will is published this long after the connection broke, so that a short
/// break does not announce a death.
const WILL_DELAY: Duration = Duration::from_secs(10);

/// Turns what sampling reports into messages.
pub struct Feed {
    signer: Signer,
    way: Option<Way>,
    config: watch::Receiver<Arc<Config>>,
    state: StateDir,
    host: Option<HostInfo>,
    ids: Ids,
    batch: Option<BatchBuilder>,
    batched_slots: Vec<u8>,
    drafts: Drafts,
    cells: Vec<[Cell; FAST_FIELDS]>,
    states: Vec<(GpuState, Option<NoData>)>,
    sent: Vec<Capacity>,
    node_state: NodeState,
    node_since_unix_ms: u64,
    counts: Option<GpuCounts>,
    reason: String,
    /// The disk takes no records, and an event says so.
    unwritable: bool,
    /// When the last message was made.
    spoke_boot_ms: u64,
    /// The names of the GPUs as they stand on disk.
    kept_gpus: Vec<Identity>,
}

/// Most events about one look at the machine.
const INVENTORY_EVENTS: usize = 64;

/// Where messages go. There is none where no broker is configured: nothing is signed or kept then.
pub struct Way {
    /// Levels.
    pub outbox: Outbox,
    /// Records.
    pub spool: Spool,
    /// Names the space of the records' numbers.
    pub epoch: SpoolEpoch,
    /// Samples of a batch that the last run did not finish.
    pub drafts: Vec<Vec<u8>>,
}

/// What the feed needs to know of the machine.
pub struct Machine {
    /// Boot id.
    pub boot_id: [u8; 16],
    /// The same as the kernel writes it; empty where it is not known.
    pub boot_text: String,
    /// Processor and memory, where they could be read.
    pub host: Option<HostInfo>,
}

impl Feed {
    /// Publishes the session record, what the last run left, and a first status.
    pub fn begin(
        session: Session,
        way: Option<Way>,
        config: watch::Receiver<Arc<Config>>,
        state: StateDir,
        machine: Machine,
    ) -> Self {
        let now = config.borrow().clone();
        let kept_gpus = state.known_gpus();
        let epoch = way.as_ref().map_or(SpoolEpoch(0), |way| way.epoch);
        let mut feed = Self {
            signer: Signer::new(session, epoch, &now),
            way,
            config,
            state,
            host: machine.host,
            ids: Ids::new(),
            batch: None,
            batched_slots: Vec::new(),
            drafts: Drafts::default(),
            cells: Vec::new(),
            states: Vec::new(),
            sent: Vec::new(),
            node_state: NodeState::Starting,
            node_since_unix_ms: clock::unix_ms(),
            counts: None,
            reason: String::new(),
            unwritable: false,
            spoke_boot_ms: 0,
            kept_gpus,
        };
        feed.introduce(&now, machine.boot_id);
        feed.status("", &Roster::default());
        feed
    }

    /// The session record, which closes the session before; then what that one left.
    fn introduce(&mut self, config: &Config, boot_id: [u8; 16]) {
        let Some(way) = &mut self.way else { return };
        let drafts = std::mem::take(&mut way.drafts);
        let batch_seq = spool::index_of(Stream::Telemetry).map_or(0, |stream| way.spool.numbered(stream));
        let kept = self.state.previous_session();
        let replaced = kept.as_ref().map(|kept| kept.spool_epoch).filter(|old| *old != way.epoch);
        let previous = kept.map(|kept| match kept.spool_epoch == way.epoch {
            // The spool knows to the last number where the session ended, also after a crash.
            true => PreviousSession { ends: ends(&way.spool), ..kept },
            false => kept,
        });
        let index = spool::index_of(Stream::Session).unwrap_or(0);
        let seq = way.spool.numbered(index);
        if let Some(body) = self.signer.session_record(config, boot_id, previous)
            && let Some(payload) = self.record(body, None)
            && let Some(way) = &self.way
        {
            // A number that somebody has seen must not be given again after a crash. A disk that does not
            // answer is not waited for: the node must be verifiable.
            if !way.spool.wait_offered(index, seq, DURABLE) {
                tracing::warn!("the session record is not durable yet and is shown all the same");
            }
            // Also retained, so that whoever comes later can verify.
            way.outbox.level(&self.signer.topic(Stream::Session), payload);
        }
        self.keep();
        if let Some(old_epoch) = replaced {
            self.event(EventKind::SpoolReplaced { old_epoch }, clock::unix_ms(), None, &Roster::default());
        }
        for batch in drafts::recovered(&drafts, batch_seq) {
            tracing::info!(samples = batch.samples().len(), "samples of the last run are recovered");
            self.record(Body::Telemetry(batch), None);
        }
    }

    /// The will for one connection: offline, without a number, signed now.
    pub fn will(&mut self, roster: &Roster) -> Option<Will> {
        let status = self.status_body(NodeState::Offline, "connection lost", roster);
        let topic = self.signer.topic(Stream::Status).to_string();
        let payload = self.signer.sign(Body::Status(status), None)?;
        Some(Will { topic, payload, delay: WILL_DELAY })
    }

    /// Says that the node lives where nothing else did for [`HEARTBEAT`]: while
    /// everything is paused, or where no GPU is known, there is no telemetry, and a consumer would
    /// take the node for silent.
    pub fn heartbeat(&mut self, roster: &Roster) {
        let quiet = clock::boot_ms().saturating_sub(self.spoke_boot_ms);
        if quiet >= HEARTBEAT.as_millis() as u64 {
            self.status(&self.trouble(roster), roster);
        }
    }

    /// Why the node is not what it should be, for the status; empty while all is well.
    fn trouble(&self, roster: &Roster) -> String {
        let spool = || self.way.as_ref().and_then(|way| way.spool.trouble());
        roster.driver_cause.clone().or_else(spool).unwrap_or_default()
    }

    /// Says once that the disk takes no records, and once that it takes them again.
    fn watch_spool(&mut self, roster: &Roster) {
        let Some(way) = &self.way else { return };
        let trouble = way.spool.trouble();
        if trouble.is_some() == self.unwritable {
            return;
        }
        self.unwritable = trouble.is_some();
        let kind = match trouble {
            Some(reason) => EventKind::SpoolUnwritable { reason: encode::cut(&reason) },
            None => EventKind::SpoolWritable,
        };
        self.event(kind, clock::unix_ms(), None, roster);
    }

    /// Declares records that will never come.
    pub fn declare(&mut self, losses: &[Loss]) {
        for loss in losses {
            let stream = spool::STREAMS[loss.stream].0;
            let kind = EventKind::RecordsLost {
                stream,
                epoch: self.signer.header().epoch,
                from_seq: loss.from_seq,
                to_seq: loss.to_seq,
                cause: loss.cause,
            };
            tracing::warn!(%stream, from_seq = loss.from_seq, to_seq = loss.to_seq, cause = loss.cause.name(), "records are lost");
            let event = Event { occurred_unix_ms: clock::unix_ms(), kind, gpu: None, extensions: Vec::new() };
            self.record(Body::Event(event), Some(*loss));
        }
    }

    /// An answer to a command, or what it asked for, signed.
    pub fn answer(&self, body: Body) -> Option<Bytes> {
        self.signer.sign(body, None)
    }

    /// Shows evidence to everybody, and notes it among the events. Gives its digest.
    pub fn evidence(
        &mut self,
        evidence: Evidence,
        cause: EvidenceCause,
        signed_by: &str,
        roster: &Roster,
    ) -> Option<[u8; 32]> {
        let payload = self.level(Body::Evidence(evidence))?;
        let digest = Evidence::digest(&payload);
        tracing::info!(%cause, signed_by, "evidence is made");
        let kind = EventKind::EvidenceMade { digest, cause, signed_by: signed_by.to_owned() };
        self.event(kind, clock::unix_ms(), None, roster);
        Some(digest)
    }

    /// Notes among the events what is another than before in the machine, and what contradicts itself from now on.
    pub fn inventory(&mut self, told: &Told<'_>, roster: &Roster) {
        let now_unix_ms = clock::unix_ms();
        let kinds = told.changes.iter().map(encode::inventory_changed);
        let kinds = kinds.chain(told.appeared.iter().map(encode::inventory_finding));
        // A machine with another board has hundreds; the first ones say so, and evidence has them all.
        for kind in kinds.take(INVENTORY_EVENTS) {
            self.event(kind, now_unix_ms, None, roster);
        }
    }

    /// Notes among the events that a hook of the site ran.
    pub fn hook_ran(&mut self, ran: EventKind, slot: Option<u8>, roster: &Roster) {
        self.event(ran, clock::unix_ms(), slot, roster);
    }

    /// Who speaks: the node, its identity key and the session's.
    pub fn speaker(&self) -> (NodeId, PublicKey, PublicKey) {
        let (identity, session) = self.signer.keys();
        (self.signer.header().node, identity, session)
    }

    /// Node and session that commands must name.
    pub fn addressee(&self) -> (NodeId, SessionId) {
        (self.signer.header().node, self.signer.header().session)
    }

    /// Says goodbye and notes where the sequences ended.
    pub fn end(&mut self, roster: &Roster) {
        self.flush();
        self.node_state = NodeState::Offline;
        self.node_since_unix_ms = clock::unix_ms();
        self.status("stopped", roster);
        self.keep();
    }

    fn keep_names(&mut self, roster: &Roster) {
        let names = roster.identities();
        if names == self.kept_gpus {
            return;
        }
        match self.state.keep_gpus(&names) {
            Ok(()) => self.kept_gpus = names,
            Err(error) => tracing::warn!(error = chain(&error), "the names of the GPUs are not kept"),
        }
    }

    fn keep(&self) {
        let Some(way) = &self.way else { return };
        let header = self.signer.header();
        let session =
            PreviousSession { session: header.session, spool_epoch: header.epoch, ends: ends(&way.spool) };
        if let Err(error) = self.state.keep_session(session) {
            tracing::warn!(error = chain(&error), "the end of this session is not kept");
        }
    }

    fn level(&mut self, body: Body) -> Option<Bytes> {
        let way = self.way.as_ref()?;
        let stream = body.stream();
        let seq = self.signer.level_number(stream);
        let payload = self.signer.sign(body, Some(seq))?;
        self.spoke_boot_ms = clock::boot_ms();
        way.outbox.level(&self.signer.topic(stream), payload.clone());
        Some(payload)
    }

    /// Numbers and signs a record and hands it to the spool.
    fn record(&mut self, body: Body, declares: Option<Loss>) -> Option<Bytes> {
        let way = self.way.as_ref()?;
        let stream = body.stream();
        let index = spool::index_of(stream)?;
        let seq = way.spool.number(index);
        let Some(payload) = self.signer.sign(body, Some(seq)) else {
            way.spool.skip(index, seq);
            return None;
        };
        self.spoke_boot_ms = clock::boot_ms();
        let topic = self.signer.topic(stream);
        match declares {
            Some(loss) => way.spool.append_declaring(index, seq, topic, payload.clone(), loss),
            None => way.spool.append(index, seq, topic, payload.clone()),
        }
        Some(payload)
    }

    fn status_body(&self, state: NodeState, reason: &str, roster: &Roster) -> Status {
        let config = self.config.borrow();
        let message_every = config.period * config.batch_samples as u32;
        let time_to_live = (message_every * MISSED_MESSAGES).max(TIME_TO_LIVE_MIN);
        Status {
            state,
            reason: encode::cut(reason),
            session: self.signer.header().session,
            since_unix_ms: self.node_since_unix_ms,
            time_to_live_ms: time_to_live.as_millis() as u64,
            sample_period_ms: config.period.as_millis() as u64,
            simulated: roster.simulated(),
            gpus: counts(roster, config.expected_gpus),
            agent_version: env!("CARGO_PKG_VERSION").to_owned(),
            extensions: Vec::new(),
        }
    }

    fn status(&mut self, reason: &str, roster: &Roster) {
        let status = self.status_body(self.node_state, reason, roster);
        self.counts = Some(status.gpus);
        reason.clone_into(&mut self.reason);
        self.level(Body::Status(status));
    }

    fn flush(&mut self) {
        let Some(mut batch) = self.batch.take() else { return };
        self.drafts.clear();
        if let Some(batch) = batch.finish() {
            self.record(Body::Telemetry(batch), None);
        }
    }

    fn sample(&mut self, roster: &Roster) {
        let Some(taken) = roster.taken.filter(|_| self.way.is_some()) else { return };
        // A batch has one set of GPUs; a new GPU begins a new batch.
        if self.batch.is_some() && self.batched_slots.len() != roster.gpus.len() {
            self.flush();
        }
        if roster.gpus.is_empty() {
            return;
        }
        if self.batch.is_none() {
            self.batched_slots.clear();
            self.batched_slots.extend(roster.gpus.iter().map(|gpu| gpu.identity.slot));
            match BatchBuilder::new(&self.batched_slots) {
                Ok(batch) => self.batch = Some(batch),
                Err(error) => {
                    tracing::error!(error = chain(&error), "no telemetry batch can be begun");
                    return;
                }
            }
        }
        self.cells.clear();
        self.cells.extend(roster.gpus.iter().map(|gpu| encode::fast(&gpu.fast)));
        let time = SampleTime {
            seq: roster.sampler.samples_total,
            taken_unix_ms: taken.unix_ms,
            taken_mono_ms: taken.boot_ms,
        };
        let Some(batch) = &mut self.batch else { return };
        if let Err(error) = batch.push(time, &self.cells) {
            tracing::error!(error = chain(&error), "sample does not fit the telemetry batch");
        }
        if batch.len() >= self.config.borrow().batch_samples {
            self.flush();
        } else if let (Some(way), Some(stream)) = (&self.way, spool::index_of(Stream::Telemetry)) {
            let (seq, now) = (way.spool.numbered(stream), clock::boot_ms());
            if let Some(bytes) = self.drafts.add(seq, &self.batched_slots, time, &self.cells, now) {
                way.spool.draft(stream, bytes);
            }
        }
    }

    fn capacity(&mut self, roster: &Roster) {
        let config = self.config.borrow().clone();
        let operator = encode::capacity(roster, &config, self.host.as_ref(), &self.ids);
        let public = operator.for_audience(Audience::Public);
        let buyer = operator.for_audience(Audience::Buyer);
        for document in [public, buyer, operator] {
            let old = self.sent.iter().position(|sent| sent.audience == document.audience);
            match old {
                Some(at) if self.sent[at] == document => continue,
                Some(at) => self.sent[at] = document.clone(),
                None => self.sent.push(document.clone()),
            }
            self.level(Body::Capacity(document));
        }
    }

    fn event(&mut self, kind: EventKind, occurred_unix_ms: u64, slot: Option<u8>, roster: &Roster) {
        let gpu = slot.and_then(|slot| roster.gpu(slot)).map(encode::gpu_ref);
        let event = Event { occurred_unix_ms, kind, gpu, extensions: Vec::new() };
        self.record(Body::Event(event), None);
    }

    fn change(&mut self, change: &Change, roster: &Roster) {
        let now = clock::unix_ms();
        let (kind, slot, at) = match change {
            Change::DriverBack { version } => (EventKind::DriverBack { version: version.clone() }, None, now),
            Change::DriverGone { .. } => (EventKind::DriverGone, None, now),
            Change::Answering { slot, again: true } => (EventKind::GpuRestored, Some(*slot), now),
            Change::Unresponsive { slot, function, for_ms } => {
                let since_unix_ms = now.saturating_sub(*for_ms);
                (EventKind::GpuUnresponsive { call: function.clone(), since_unix_ms }, Some(*slot), now)
            }
            Change::Absent { slot, why: NoData::GpuLost } => (EventKind::GpuLost, Some(*slot), now),
            Change::Absent { slot, why: NoData::Suspended } => (EventKind::GpuSuspended, Some(*slot), now),
            Change::Absent { slot, why: NoData::HandedOver } => (EventKind::GpuHandedOver, Some(*slot), now),
            Change::Health(transition) => health::event(transition, now),
            Change::Slow { slot } => {
                if let Some(document) = roster.gpu(*slot).and_then(|gpu| encode::slow(gpu, &self.ids)) {
                    for part in document.split(0) {
                        self.record(Body::TelemetrySlow(part), None);
                    }
                }
                return;
            }
            Change::Appeared { .. }
            | Change::Answering { again: false, .. }
            | Change::Absent { .. }
            | Change::Inventory { .. } => return,
        };
        self.event(kind, at, slot, roster);
    }
}

fn counts(roster: &Roster, expected: Option<u32>) -> GpuCounts {
    let known = u32::try_from(roster.gpus.len()).unwrap_or(u32::MAX);
    let answering = roster.gpus.iter().filter(|gpu| gpu.absence().is_none()).count();
    let small = |count| u16::try_from(count).unwrap_or(u16::MAX);
    GpuCounts {
        expected: small(expected.unwrap_or(known)),
        answering: u16::try_from(answering).unwrap_or(u16::MAX),
    }
}

/// The last numbers used in the streams.
fn ends(spool: &Spool) -> Vec<StreamEnd> {
    let end = |(index, (stream, _)): (usize, &(Stream, _))| {
        let last_seq = spool.numbered(index).checked_sub(1)?;
        Some(StreamEnd { stream: *stream, last_seq })
    };
    spool::STREAMS.iter().enumerate().filter_map(end).collect()
}

impl Observer for Feed {
    fn reported(&mut self, roster: &Roster, report: Option<&SamplerReport>, changes: &[Change]) {
        for change in changes {
            self.change(change, roster);
        }
        if let Some(SamplerReport::Sample(_)) = report {
            self.sample(roster);
        }
        let states_differ = self.states.len() != roster.gpus.len()
            || self
                .states
                .iter()
                .zip(&roster.gpus)
                .any(|(old, gpu)| *old != (encode::state(gpu), gpu.absence()));
        let about_capacity = changes.iter().any(|change| !matches!(change, Change::Slow { .. }));
        if about_capacity || states_differ {
            self.states.clear();
            self.states.extend(roster.gpus.iter().map(|gpu| (encode::state(gpu), gpu.absence())));
            self.capacity(roster);
        }
        let all_paused =
            !roster.gpus.is_empty() && roster.gpus.iter().all(|gpu| gpu.absence() == Some(NoData::Paused));
        let state = if all_paused {
            NodeState::Paused
        } else if roster.taken.is_some() || roster.driver_cause.is_some() {
            NodeState::Online
        } else {
            self.node_state
        };
        let counts = counts(roster, self.config.borrow().expected_gpus);
        self.watch_spool(roster);
        let reason = self.trouble(roster);
        if state != self.node_state || self.counts != Some(counts) || reason != self.reason {
            if state != self.node_state {
                self.node_since_unix_ms = clock::unix_ms();
            }
            self.node_state = state;
            self.status(&reason, roster);
        }
        if changes.iter().any(|change| matches!(change, Change::Inventory { .. } | Change::Appeared { .. })) {
            self.keep_names(roster);
        }
    }
}

/// The feed behind a lock, for the publisher that asks for a will and for the
/// end of the daemon.
#[derive(Clone)]
pub struct SharedFeed(Arc<std::sync::Mutex<Feed>>);

impl SharedFeed {
    /// Shares `feed`.
    pub fn new(feed: Feed) -> Self {
        Self(Arc::new(std::sync::Mutex::new(feed)))
    }

    /// Calls `with` on the feed and the roster.
    pub fn with<T>(&self, roster: &SharedRoster, with: impl FnOnce(&mut Feed, &Roster) -> T) -> T {
        let roster = roster.read().unwrap_or_else(PoisonError::into_inner);
        with(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner), &roster)
    }
}

impl Observer for SharedFeed {
    fn reported(&mut self, roster: &Roster, report: Option<&SamplerReport>, changes: &[Change]) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).reported(roster, report, changes);
    }
}
