//! Brokers, connections, silence and shutdown.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::select;
use tokio::sync::mpsc::{self, error::TrySendError};
use tokio::sync::watch;
use tokio::time::{Instant, Sleep, sleep, sleep_until, timeout_at};
use tracing::{debug, info, warn};

use super::backlog::GivenUp;
use super::brokers::{Choice, Leave, STABLE, WayBack, changed, leave_without_will, until_closed};
use super::dialer::Dialer;
use super::holds::HoldCause;
use super::outbox::Outbox;
use super::report::{Repeated, chain};
use super::session::{self, Identity, Send as Outgoing, Session, Verdict};
use super::stats::{PublisherStats, add, set};
use super::transport::{
    Broker, CloseCause, Connection, Credentials, Incoming, Link, LinkEvent, SendRefused, Transport,
    TransportError,
};

/// How long the farewell may wait for its PUBACKs.
const FAREWELL: Duration = Duration::from_secs(1);
/// The whole way out, DISCONNECT included.
const DRAIN: Duration = Duration::from_millis(1500);
/// Shortest keep alive; below it pings would cost more than they tell.
const SHORTEST_KEEP_ALIVE: Duration = Duration::from_secs(5);
/// Will delay: long enough for a reconnect, short enough for a death notice.
pub(super) const WILL_DELAY_S: std::ops::RangeInclusive<u64> = 10..=30;
/// Connections that a protocol error ends, one after the other, before messages go one at a time to find the culprit.
const SUSPICION: u32 = 2;
/// Connections that end with the same single message in flight before that message is given up.
const STRIKES: u32 = 3;

/// What the broker publishes, retained with QoS 1, when the connection ends without our DISCONNECT.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Will {
    /// Topic name.
    pub topic: String,
    /// Opaque bytes.
    pub payload: Bytes,
    /// Will Delay Interval; clamped to 10 to 30 s, whole seconds.
    pub delay: Duration,
}

/// Makes the will of a connection; asked afresh before each attempt.
pub type WillSource = Box<dyn Fn() -> Will + Send + Sync>;

/// Settings of a [`Publisher`].
#[derive(Debug, Clone)]
pub struct PublisherConfig {
    /// Brokers in order of preference, at least one.
    pub brokers: Vec<Broker>,
    /// MQTT client identifier, unique per agent, not empty.
    pub client_id: String,
    /// Name and password, if the brokers ask for them.
    pub credentials: Option<Credentials>,
    /// Keep alive, 5 s to 65,535 s. A silent broker is given up after twice this time and 2 s.
    pub keep_alive: Duration,
    /// Longest pause between rounds of attempts.
    pub reconnect_max: Duration,
    /// Limit for TCP connect and CONNACK together.
    pub connect_timeout: Duration,
    /// Largest packet to be accepted from the broker, in bytes.
    pub max_packet_size: u32,
    /// Exact topics to subscribe to, with QoS 1, after each connect.
    pub subscriptions: Vec<String>,
}

/// Why a [`PublisherConfig`] is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// The list of brokers is empty.
    #[error("no broker is named")]
    NoBroker,
    /// The client identifier is empty.
    #[error("mqtt client identifier is empty")]
    NoClientId,
    /// The keep alive is outside its range.
    #[error("mqtt keep alive of {0:?} is outside 5 s to 65535 s")]
    KeepAlive(Duration),
}

/// Empties an [`Outbox`] to one of several brokers until told to stop.
pub struct Publisher<T> {
    dialer: Arc<Dialer<T>>,
    config: PublisherConfig,
    outbox: Outbox,
    stats: Arc<PublisherStats>,
    incoming: mpsc::Sender<Incoming>,
    renewed: Option<watch::Receiver<Option<Credentials>>>,
    repeated: Repeated,
    /// Topics whose hold was announced.
    announced: Vec<(Arc<str>, HoldCause)>,
    suspicion: u32,
    suspect: Option<(Identity, u32)>,
    /// Levels that are never sent again.
    barred: Vec<Identity>,
}

/// Why a connection is no longer served.
enum End<L> {
    Shutdown,
    Left(Leave<L>),
    Closed(CloseCause),
}

impl<T: Transport> Publisher<T> {
    /// A publisher that has not connected yet.
    ///
    /// `incoming` receives the messages of subscribed topics; they are dropped and counted while it is full.
    ///
    /// # Errors
    ///
    /// When the configuration is outside its ranges.
    pub fn new(
        transport: T,
        config: PublisherConfig,
        outbox: Outbox,
        will: WillSource,
        incoming: mpsc::Sender<Incoming>,
    ) -> Result<Self, ConfigError> {
        if config.brokers.is_empty() {
            return Err(ConfigError::NoBroker);
        }
        if config.client_id.is_empty() {
            return Err(ConfigError::NoClientId);
        }
        if config.keep_alive < SHORTEST_KEEP_ALIVE || config.keep_alive.as_secs() > u64::from(u16::MAX) {
            return Err(ConfigError::KeepAlive(config.keep_alive));
        }
        Ok(Self {
            dialer: Arc::new(Dialer::new(transport, config.clone(), will)),
            stats: outbox.stats(),
            config,
            outbox,
            incoming,
            renewed: None,
            repeated: Repeated::default(),
            announced: Vec::new(),
            suspicion: 0,
            suspect: None,
            barred: Vec::new(),
        })
    }

    /// Reconnects, with the newest credentials, each time that `renewed` changes:
    /// files that a connection is made from were replaced. Nothing is lost, and
    /// the will is not published.
    #[must_use]
    pub fn renewed_by(mut self, renewed: watch::Receiver<Option<Credentials>>) -> Self {
        self.renewed = Some(renewed);
        self
    }

    /// Runs until `shutdown` resolves, then returns within 1.5 s.
    ///
    /// Levels set before `shutdown` resolves are the farewell: they are
    /// published and their PUBACKs awaited for at most 1 s. If all came, the
    /// DISCONNECT says 0x00 and the broker deletes the will; if not, it says
    /// 0x04 and the broker publishes the will in the farewell's place. A
    /// publisher without a connection returns at once: the broker it lost
    /// publishes the will.
    pub async fn run(mut self, shutdown: impl Future<Output = ()> + Send) {
        let mut shutdown = std::pin::pin!(shutdown);
        let dialer = Arc::clone(&self.dialer);
        let mut renewed = self.renewed.take();
        let mut choice = Choice::new(self.config.brokers.len(), self.config.reconnect_max);
        // The first broker, connected beside a later one.
        let mut back = None;
        loop {
            if let Some(renewed) = &mut renewed
                && renewed.has_changed().unwrap_or(false)
            {
                dialer.renew(renewed.borrow_and_update().clone());
            }
            let returned = back.is_some();
            let connected = match back.take() {
                Some(connection) => Ok(connection),
                None => select! {
                    biased;
                    () = &mut shutdown => return,
                    connected = dialer.connect(choice.at()) => connected,
                },
            };
            let broker = dialer.broker(choice.at());
            let pause = match connected {
                Ok(connection) => {
                    let since = Instant::now();
                    self.connected(choice.at(), broker, &connection);
                    match self.hold(connection, &choice, &mut renewed, shutdown.as_mut()).await {
                        End::Shutdown => {
                            info!(%broker, "mqtt disconnected for shutdown");
                            return;
                        }
                        End::Left(Leave::Renewed) => {
                            info!(%broker, "mqtt disconnected to connect with renewed files");
                            continue;
                        }
                        End::Left(Leave::Back(connection)) => {
                            info!(%broker, "mqtt disconnected: the first broker is back");
                            back = Some(connection);
                            choice.returned();
                            continue;
                        }
                        End::Closed(cause) => {
                            add(&self.stats.disconnects_total);
                            warn!(%broker, cause = chain(&cause), "mqtt connection ended");
                            choice.ended(since.elapsed(), returned)
                        }
                    }
                }
                Err(error) => {
                    add(&self.stats.connect_failures_total);
                    let pause = choice.failed();
                    self.report_failure(broker, &error, choice.attempts());
                    pause
                }
            };

            set(&self.stats.backoff_current_ms, pause.as_millis() as u64);
            select! {
                biased;
                () = &mut shutdown => return,
                () = sleep(pause) => {}
                // Perhaps the files were why the attempts failed.
                () = changed(&mut renewed) => {}
            }
            set(&self.stats.backoff_current_ms, 0);
        }
    }

    /// Serves a connection, and looks for the first broker beside it.
    async fn hold(
        &mut self,
        connection: Connection<T::Link>,
        choice: &Choice,
        renewed: &mut Option<watch::Receiver<Option<Credentials>>>,
        mut shutdown: Pin<&mut (impl Future<Output = ()> + Send)>,
    ) -> End<T::Link> {
        let (dialer, stats) = (Arc::clone(&self.dialer), Arc::clone(&self.stats));
        let way_back = WayBack::default();
        let mut walk = std::pin::pin!(way_back.walk(choice, &dialer, &stats));
        let end = {
            let leave = std::pin::pin!(async {
                select! {
                    () = changed(renewed) => Leave::Renewed,
                    Some(connection) = walk.as_mut() => Leave::Back(connection),
                }
            });
            self.serve(connection, shutdown.as_mut(), leave).await
        };
        self.disconnected();
        match end {
            // Brokers of one cluster end the old connection themselves before they answer the new one.
            End::Closed(cause) if way_back.is_attempting() => {
                way_back.make_last();
                select! {
                    biased;
                    () = &mut shutdown => End::Shutdown,
                    back = walk.as_mut() => back.map_or(End::Closed(cause), |to| End::Left(Leave::Back(to))),
                }
            }
            end => end,
        }
    }

    fn report_failure(&mut self, broker: &Broker, error: &TransportError, attempts: u32) {
        let error = chain(error);
        if self.repeated.is_due(&format!("{broker} {error}"), Instant::now()) {
            warn!(%broker, error, attempts, "mqtt connection failed; trying again with growing pauses");
        } else {
            debug!(%broker, error, attempts, "mqtt connection failed");
        }
    }

    fn connected(&mut self, at: usize, broker: &Broker, connection: &Connection<T::Link>) {
        let facts = &connection.facts;
        self.stats.note_broker(at, broker);
        add(&self.stats.connects_total);
        set(&self.stats.connected, 1);
        info!(%broker, receive_maximum = facts.receive_maximum, "mqtt connected");
        if !facts.retain_available {
            warn!(%broker, "broker keeps no retained messages: late subscribers see a level only when it changes");
        }
        if let Some(assigned) = &facts.assigned_client_id {
            debug!(%broker, assigned, "broker assigned a client identifier");
        }
    }

    fn disconnected(&self) {
        for gauge in [&self.stats.connected, &self.stats.in_flight, &self.stats.held_topics] {
            set(gauge, 0);
        }
    }

    async fn serve(
        &mut self,
        connection: Connection<T::Link>,
        mut shutdown: Pin<&mut (impl Future<Output = ()> + Send)>,
        mut leave: Pin<&mut (impl Future<Output = Leave<T::Link>> + Send)>,
    ) -> End<T::Link> {
        let Connection { mut link, facts, mut events } = connection;
        let window = if self.suspicion >= SUSPICION { 1 } else { session::window(facts.receive_maximum) };
        self.outbox.forget_replies();
        let mut session = Session::new(&facts, window, &self.outbox, &self.barred);
        let mut silence = Silence::new(facts.keep_alive, self.config.keep_alive);
        let mut timer = Timer::new();
        let outbox = self.outbox.clone();
        loop {
            let now = Instant::now();
            self.send_all(&mut session, &mut link, now);
            silence.note_in_flight(session.in_flight(), now);
            set(&self.stats.in_flight, session.in_flight() as u64);
            set(&self.stats.held_topics, session.held() as u64);
            timer.set(silence.deadline().into_iter().chain(session.next_probe(now)).min());

            select! {
                biased;
                () = &mut shutdown => {
                    self.farewell(session, link, events).await;
                    return End::Shutdown;
                }
                left = leave.as_mut() => {
                    leave_without_will(link, events).await;
                    return End::Left(left);
                }
                event = events.recv() => {
                    let now = Instant::now();
                    silence.heard(now);
                    if let Some(cause) = self.handle(event, &mut session, &mut silence, now) {
                        self.suspect(&session, &cause, silence.connected_at.elapsed() >= STABLE);
                        return End::Closed(cause);
                    }
                }
                () = outbox.changed() => {}
                () = timer.elapsed() => {
                    if silence.deadline().is_some_and(|deadline| deadline <= Instant::now()) {
                        return End::Closed(CloseCause::Lost("broker fell silent".into()));
                    }
                }
            }
        }
    }

    fn send_all(&mut self, session: &mut Session, link: &mut T::Link, now: Instant) {
        while let Some(send) = session.next(&self.outbox, now) {
            if !self.send(session, link, send, now) {
                break;
            }
        }
        if let Some(topic) = session.take_oversized()
            && self.repeated.is_due(&format!("oversized {topic}"), now)
        {
            warn!(%topic, "message given up: larger than the broker's maximum packet size");
        }
    }

    /// Whether more may follow.
    fn send(&mut self, session: &mut Session, link: &mut T::Link, send: Outgoing, now: Instant) -> bool {
        let Outgoing { token, topic, payload, retain, correlation } = send;
        match link.try_publish(token, &topic, payload, retain, correlation) {
            Ok(()) => true,
            Err(SendRefused::InvalidTopic) => {
                session.answered(token, session::reason::TOPIC_NAME_INVALID, &self.outbox, now);
                if self.repeated.is_due(&format!("invalid {topic}"), now) {
                    warn!(%topic, "message given up: no valid mqtt topic name");
                }
                true
            }
            // The event that explains it is on its way.
            Err(SendRefused::Full | SendRefused::Closed) => {
                session.take_back(token, now);
                false
            }
        }
    }

    fn handle(
        &mut self,
        event: Option<LinkEvent>,
        session: &mut Session,
        silence: &mut Silence,
        now: Instant,
    ) -> Option<CloseCause> {
        match event {
            None => return Some(CloseCause::Lost("the connection's task ended".into())),
            Some(LinkEvent::Closed(cause)) => return Some(cause),
            Some(LinkEvent::Alive) => {}
            Some(LinkEvent::SubscriptionRefused(reason)) => {
                warn!(reason, "broker refused a subscription: commands will not arrive");
            }
            Some(LinkEvent::Incoming(message)) => {
                add(&self.stats.incoming_total);
                if let Err(error) = self.incoming.try_send(message) {
                    add(&self.stats.incoming_dropped_total);
                    if let TrySendError::Full(message) = error
                        && self.repeated.is_due("incoming", now)
                    {
                        warn!(topic = message.topic, "message dropped: too many wait to be handled");
                    }
                }
            }
            Some(LinkEvent::Acked { token, reason }) => {
                silence.progressed(now);
                match session.answered(token, reason, &self.outbox, now) {
                    Verdict::Accepted { released: false, .. } => {}
                    Verdict::Accepted { topic, released: true } => {
                        self.announced.retain(|(announced, _)| *announced != topic);
                        info!(%topic, "broker takes the topic again");
                    }
                    Verdict::Held { topic, cause, first } => self.announce(&topic, cause, first),
                    Verdict::Quarantined { topic, reason } => {
                        if self.repeated.is_due(&format!("{reason} {topic}"), now) {
                            warn!(%topic, reason = format!("0x{reason:02x}"), "message given up: refused by the broker");
                        }
                    }
                    Verdict::OutOfStep => {
                        return Some(CloseCause::Lost("PUBACK for a message that is not in flight".into()));
                    }
                }
            }
        }
        None
    }

    fn announce(&mut self, topic: &Arc<str>, cause: HoldCause, first: bool) {
        if !first || self.announced.iter().any(|known| known.0 == *topic && known.1 == cause) {
            return;
        }
        self.announced.retain(|(announced, _)| announced != topic);
        self.announced.push((Arc::clone(topic), cause));
        match cause {
            HoldCause::NoSubscriber => {
                info!(%topic, "nobody is subscribed: records are kept and the topic is held");
            }
            HoldCause::NotAuthorized => warn!(%topic, "broker does not authorize the topic: it is held"),
            HoldCause::Quota => warn!(%topic, "broker's quota is exceeded: the topic is held"),
            HoldCause::Other(reason) => {
                warn!(%topic, reason = format!("0x{reason:02x}"), "broker refuses the topic: it is held");
            }
        }
    }

    /// Looks for a message that makes brokers end the connection. One that
    /// does it alone [`STRIKES`] times is given up: all others wait behind it.
    fn suspect(&mut self, session: &Session, cause: &CloseCause, stable: bool) {
        if !matches!(cause, CloseCause::Protocol(_)) || session.in_flight() == 0 {
            self.suspicion = 0;
            self.suspect = None;
            return;
        }
        self.suspicion = if stable { 1 } else { self.suspicion.saturating_add(1) };
        let Some(identity) = session.sole_in_flight().cloned() else { return };
        let strikes = match self.suspect.take() {
            Some((known, strikes)) if known == identity => strikes + 1,
            _ => 1,
        };
        if strikes < STRIKES {
            self.suspect = Some((identity, strikes));
            return;
        }
        warn!(message = ?identity, strikes, cause = chain(cause), "message given up: it ends every connection");
        add(&self.stats.quarantined_total);
        match identity {
            Identity::Record { stream, seq } => self.outbox.lock().backlog.give_up(GivenUp { stream, seq }),
            // Neither is sent a second time by itself.
            Identity::Again { .. } | Identity::Reply => {}
            Identity::Level { ref topic, .. } => {
                let topic = Arc::clone(topic);
                self.barred
                    .retain(|known| !matches!(known, Identity::Level { topic: old, .. } if *old == topic));
                self.barred.push(identity);
            }
        }
    }

    async fn farewell(
        &mut self,
        mut session: Session,
        mut link: T::Link,
        mut events: mpsc::Receiver<LinkEvent>,
    ) {
        let begun = Instant::now();
        let mut silence = Silence::new(Duration::ZERO, self.config.keep_alive);
        let mut closed = false;
        while !closed {
            let now = Instant::now();
            while let Some(send) = session.next_level(&self.outbox, now) {
                if !self.send(&mut session, &mut link, send, now) {
                    break;
                }
            }
            if session.levels_settled(&self.outbox) {
                break;
            }
            let Ok(event) = timeout_at(begun + FAREWELL, events.recv()).await else { break };
            closed = self.handle(event, &mut session, &mut silence, Instant::now()).is_some();
        }
        if closed {
            return;
        }
        let settled = session.levels_settled(&self.outbox);
        link.disconnect(!settled);
        if !settled {
            warn!("broker did not accept the farewell in time; it was asked to publish the will");
        }
        // Past the limit the connection is dropped, which ends it without DISCONNECT.
        let _ = timeout_at(begun + DRAIN, until_closed(&mut events)).await;
    }
}

/// Watches from outside the connection's task for a broker that no longer
/// answers: the task itself may be stuck in a write.
struct Silence {
    connected_at: Instant,
    heard: Instant,
    progress: Option<Instant>,
    /// Limit for any packet; none if the broker turned keep alive off.
    idle_limit: Option<Duration>,
    /// Limit for the next PUBACK while publishes are in flight.
    busy_limit: Duration,
}

impl Silence {
    fn new(in_effect: Duration, configured: Duration) -> Self {
        let limit = |keep_alive: Duration| keep_alive * 2 + Duration::from_secs(2);
        let now = Instant::now();
        Self {
            connected_at: now,
            heard: now,
            progress: None,
            idle_limit: (!in_effect.is_zero()).then(|| limit(in_effect)),
            busy_limit: limit(configured),
        }
    }

    fn heard(&mut self, now: Instant) {
        self.heard = now;
    }

    fn progressed(&mut self, now: Instant) {
        self.progress = Some(now);
    }

    fn note_in_flight(&mut self, in_flight: usize, now: Instant) {
        self.progress = if in_flight == 0 { None } else { self.progress.or(Some(now)) };
    }

    fn deadline(&self) -> Option<Instant> {
        let idle = self.idle_limit.map(|limit| self.heard + limit);
        let busy = self.progress.map(|since| since + self.busy_limit);
        idle.into_iter().chain(busy).min()
    }
}

/// A sleep that is moved only when it must ring earlier: deadlines mostly move away.
struct Timer {
    sleep: Pin<Box<Sleep>>,
    armed: bool,
}

impl Timer {
    fn new() -> Self {
        Self { sleep: Box::pin(sleep_until(Instant::now())), armed: false }
    }

    fn set(&mut self, deadline: Option<Instant>) {
        if let Some(deadline) = deadline
            && (!self.armed || deadline < self.sleep.deadline())
        {
            self.sleep.as_mut().reset(deadline);
            self.armed = true;
        }
    }

    async fn elapsed(&mut self) {
        if !self.armed {
            std::future::pending::<()>().await;
        }
        self.sleep.as_mut().await;
        self.armed = false;
    }
}
