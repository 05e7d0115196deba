//! When documents are due: levels on change, telemetry when a batch is full,
//! slow readings when they arrive, events as they happen. Everything is signed
//! here and handed to the outbox, which knows neither GPUs nor keys.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use rackmark_feed::{
    Audience, BatchBuilder, Body, Capacity, Cell, Event, EventKind, FAST_FIELDS, GpuCounts, GpuState, Header,
    Message, NodeState, PreviousSession, SampleTime, SessionClaim, SessionId, SpoolEpoch, Status, Stream,
    StreamEnd, Xid, XidSource, seal, topic,
};
use rackmark_hardware::host::HostInfo;
use rackmark_model::NoData;
use rackmark_model::ipc::SamplerReport;
use tokio::sync::watch;

use super::encode::{self, Ids};
use super::identity::{Session, StateDir};
use super::mqtt::{Class, Outbox, Retain, Will};
use crate::clock;
use crate::config::Config;
use crate::exit::chain;
use crate::sampling::roster::{Change, Identity, Roster};
use crate::sampling::task::{Observer, SharedRoster};

/// A consumer regards a node as silent after this many missed telemetry
/// messages, and never before [`TIME_TO_LIVE_MIN`].
const MISSED_MESSAGES: u32 = 3;
const TIME_TO_LIVE_MIN: Duration = Duration::from_secs(30);

/// A node is never quiet for longer than about twice this, which leaves a third
/// of the shortest time to live for the way.
pub const HEARTBEAT: Duration = Duration::from_secs(10);

/// The will is published this long after the connection broke, so that a short
/// break does not announce a death.
const WILL_DELAY: Duration = Duration::from_secs(10);

/// Signs messages and counts them. One per start of the daemon.
pub struct Signer {
    session: Session,
    header: Header,
    topics: Vec<(Stream, String)>,
    seqs: Vec<(Stream, u64)>,
    started_unix_ms: u64,
}

const STREAMS: [Stream; 8] = [
    Stream::Session,
    Stream::Event,
    Stream::Telemetry,
    Stream::TelemetrySlow,
    Stream::Status,
    Stream::CapacityPublic,
    Stream::CapacityBuyer,
    Stream::CapacityOperator,
];

impl Signer {
    /// Begins the sequences of this session under the names of `config`.
    pub fn new(session: Session, config: &Config) -> Self {
        let header = Header {
            node: session.node_id(),
            session: SessionId::of(&session.key.public()),
            epoch: SpoolEpoch(session.epoch),
            stream: Stream::Session,
            seq: None,
            time_unix_ms: 0,
        };
        let topics = STREAMS
            .into_iter()
            .filter_map(|stream| {
                topic::of(stream, &config.site, &config.node).ok().map(|topic| (stream, topic))
            })
            .collect();
        Self { session, header, topics, seqs: Vec::new(), started_unix_ms: clock::unix_ms() }
    }

    /// The topic of a stream.
    fn topic(&self, stream: Stream) -> &str {
        self.topics.iter().find(|(known, _)| *known == stream).map_or("", |(_, topic)| topic)
    }

    /// Signs `body` under the next number of its stream; the will takes none.
    fn sign(&mut self, body: Body, numbered: bool) -> Option<Bytes> {
        let stream = body.stream();
        let seq = numbered.then(|| match self.seqs.iter_mut().find(|(known, _)| *known == stream) {
            Some((_, last)) => {
                *last += 1;
                *last
            }
            None => {
                self.seqs.push((stream, 0));
                0
            }
        });
        let header = Header { stream, seq, time_unix_ms: clock::unix_ms(), ..self.header.clone() };
        match seal(&Message { header, body }, &self.session.key) {
            Ok(frame) => Some(frame.into()),
            Err(error) => {
                tracing::error!(error = chain(&error), %stream, "message could not be made and is not sent");
                None
            }
        }
    }

    fn session_body(
        &self,
        config: &Config,
        boot_id: [u8; 16],
        previous: Option<PreviousSession>,
    ) -> Option<Body> {
        let claim = SessionClaim {
            node: self.header.node,
            site: config.site.clone(),
            node_name: config.node.clone(),
            identity_public_key: self.session.identity.public(),
            session_public_key: self.session.key.public(),
            boot_id,
            spool_epoch: self.header.epoch,
            started_unix_ms: self.started_unix_ms,
            agent_version: env!("CARGO_PKG_VERSION").to_owned(),
            previous,
            extensions: Vec::new(),
        };
        match claim.sign(&self.session.identity) {
            Ok(record) => Some(Body::Session(record)),
            Err(error) => {
                tracing::error!(error = chain(&error), "session record could not be made");
                None
            }
        }
    }

    fn ends(&self) -> PreviousSession {
        let ends = self
            .seqs
            .iter()
            .map(|(stream, last_seq)| StreamEnd { stream: *stream, last_seq: *last_seq })
            .collect();
        PreviousSession { session: self.header.session, spool_epoch: self.header.epoch, ends }
    }
}

/// Turns what sampling reports into messages.
pub struct Feed {
    signer: Signer,
    outbox: Outbox,
    config: watch::Receiver<Arc<Config>>,
    state: StateDir,
    host: Option<HostInfo>,
    ids: Ids,
    batch: Option<BatchBuilder>,
    batched_gpus: usize,
    cells: Vec<[Cell; FAST_FIELDS]>,
    states: Vec<(GpuState, Option<NoData>)>,
    sent: Vec<Capacity>,
    node_state: NodeState,
    node_since_unix_ms: u64,
    counts: Option<GpuCounts>,
    reason: String,
    /// False where no broker is configured: nothing is signed or kept then.
    published: bool,
    /// When the last message was made.
    spoke_boot_ms: u64,
    /// The names of the GPUs as they stand on disk.
    kept_gpus: Vec<Identity>,
}

/// What the feed needs to know of the machine.
pub struct Machine {
    /// Boot id.
    pub boot_id: [u8; 16],
    /// Processor and memory, where they could be read.
    pub host: Option<HostInfo>,
}

impl Feed {
    /// Publishes the session record and a first status.
    pub fn begin(
        session: Session,
        outbox: Outbox,
        config: watch::Receiver<Arc<Config>>,
        state: StateDir,
        machine: Machine,
    ) -> Self {
        let now = config.borrow().clone();
        let kept_gpus = state.known_gpus();
        let mut feed = Self {
            signer: Signer::new(session, &now),
            outbox,
            config,
            state,
            host: machine.host,
            ids: Ids::new(),
            batch: None,
            batched_gpus: 0,
            cells: Vec::new(),
            states: Vec::new(),
            sent: Vec::new(),
            node_state: NodeState::Starting,
            node_since_unix_ms: clock::unix_ms(),
            counts: None,
            reason: String::new(),
            published: !now.brokers.is_empty(),
            spoke_boot_ms: 0,
            kept_gpus,
        };
        let previous = feed.state.previous_session();
        if let Some(body) = feed.signer.session_body(&now, machine.boot_id, previous) {
            feed.level(body);
        }
        feed.status("", &Roster::default());
        feed
    }

    /// The will for one connection: offline, without a number, signed now.
    pub fn will(&mut self, roster: &Roster) -> Option<Will> {
        let status = self.status_body(NodeState::Offline, "connection lost", roster);
        let topic = self.signer.topic(Stream::Status).to_owned();
        let payload = self.signer.sign(Body::Status(status), false)?;
        Some(Will { topic, payload, delay: WILL_DELAY })
    }

    /// Says that the node lives where nothing else did for [`HEARTBEAT`]: while
    /// everything is paused, or where no GPU is known, there is no telemetry, and a consumer would
    /// take the node for silent.
    pub fn heartbeat(&mut self, roster: &Roster) {
        let quiet = clock::boot_ms().saturating_sub(self.spoke_boot_ms);
        if quiet >= HEARTBEAT.as_millis() as u64 {
            self.status(roster.driver_cause.as_deref().unwrap_or(""), roster);
        }
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
        if let Err(error) = self.state.keep_session(self.signer.ends()) {
            tracing::warn!(error = chain(&error), "the end of this session is not kept");
        }
    }

    fn level(&mut self, body: Body) {
        if !self.published {
            return;
        }
        let stream = body.stream();
        if let Some(payload) = self.signer.sign(body, true) {
            self.spoke_boot_ms = clock::boot_ms();
            self.outbox.level(self.signer.topic(stream), payload);
        }
    }

    fn stream(&mut self, body: Body, class: Class) {
        if !self.published {
            return;
        }
        let stream = body.stream();
        if let Some(payload) = self.signer.sign(body, true) {
            self.spoke_boot_ms = clock::boot_ms();
            self.outbox.stream(self.signer.topic(stream), payload, class, Retain::No);
        }
    }

    fn status_body(&self, state: NodeState, reason: &str, roster: &Roster) -> Status {
        let config = self.config.borrow();
        let message_every = config.period * config.batch_samples as u32;
        let time_to_live = (message_every * MISSED_MESSAGES).max(TIME_TO_LIVE_MIN);
        Status {
            state,
            reason: encode::cut(reason),
            session: self.signer.header.session,
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
        if let Some(batch) = batch.finish() {
            self.stream(Body::Telemetry(batch), Class::Series);
            self.keep();
        }
    }

    fn sample(&mut self, roster: &Roster) {
        let Some(taken) = roster.taken.filter(|_| self.published) else { return };
        // A batch has one set of GPUs; a new GPU begins a new batch.
        if self.batch.is_some() && self.batched_gpus != roster.gpus.len() {
            self.flush();
        }
        if roster.gpus.is_empty() {
            return;
        }
        if self.batch.is_none() {
            let slots: Vec<u8> = roster.gpus.iter().map(|gpu| gpu.identity.slot).collect();
            match BatchBuilder::new(&slots) {
                Ok(batch) => self.batch = Some(batch),
                Err(error) => {
                    tracing::error!(error = chain(&error), "no telemetry batch can be begun");
                    return;
                }
            }
            self.batched_gpus = slots.len();
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
        self.stream(Body::Event(event), Class::Edge);
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
            Change::Xid { slot, code, seen_unix_ms } => {
                (EventKind::Xid(xid(*code)), Some(*slot), *seen_unix_ms)
            }
            Change::Slow { slot } => {
                if let Some(document) = roster.gpu(*slot).and_then(|gpu| encode::slow(gpu, &self.ids)) {
                    for part in document.split(0) {
                        self.stream(Body::TelemetrySlow(part), Class::Series);
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

fn xid(code: u32) -> Xid {
    Xid {
        code,
        source: XidSource::Driver,
        text: String::new(),
        pid: None,
        process: None,
        gpu_instance_id: None,
        compute_instance_id: None,
        caused_by: None,
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
        let about_capacity =
            changes.iter().any(|change| !matches!(change, Change::Slow { .. } | Change::Xid { .. }));
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
        let reason = roster.driver_cause.as_deref().unwrap_or("");
        if state != self.node_state || self.counts != Some(counts) || reason != self.reason {
            if state != self.node_state {
                self.node_since_unix_ms = clock::unix_ms();
            }
            self.node_state = state;
            self.status(reason, roster);
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
