//! What consumers send to the node: watermarks and commands, each checked
//! against the keys of the configuration before anything is done.

mod allowance;
mod counts;
mod refused;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use rackmark_feed::{
    Body, Command, Downlink, DownlinkBody, NodeId, Refusal, Reply, SessionId, SpoolEpoch, Stream, Topic,
    Verb, Watermark, topic,
};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use self::allowance::Allowances;
pub use self::counts::CommandCounts;
pub use self::refused::Refused;
use super::feed::SharedFeed;
use super::mqtt::{self, Again, Incoming, Outbox, StreamIndex};
use super::spool::{self, STREAMS, Spool};
use crate::attesting::{Ask, Begun, WayBack};
use crate::clock;
use crate::config::{Config, Consumer};
use crate::exit::chain;
use crate::sampling::task::SharedRoster;

/// A required consumer that confirms nothing of what a broker took for this
/// long gets it again: brokers acknowledge and lose. Doubled each time, up to [`STALL_MAX`].
const STALL: Duration = Duration::from_secs(60);
const STALL_MAX: Duration = Duration::from_secs(3600);

/// How often stalls are looked for.
const LOOK: Duration = Duration::from_secs(10);

/// Commands of one consumer remembered until they expire, so that each works once; more in five minutes are refused.
/// [`Allowances`] lets no more through.
const NONCES: usize = 512;

/// The verbs about leases, which lessors may send, too.
const LEASE_VERBS: [&str; 2] = ["lease_start", "lease_end"];

/// Verbs that the attester carries out. Each concerns nothing but what the consumer itself sees, so every consumer
/// may send them.
const ATTESTERS_VERBS: [&str; 4] = ["attest", "activate", "fetch", "accepted"];

/// Does what signed commands ask for, except to send again: the inbox does that itself.
pub trait Carrier: Send + Sync {
    /// Carries out a verb for a consumer who may send it. It must not wait: the inbox takes nothing else meanwhile.
    ///
    /// # Errors
    /// Why it is not done. The consumer is told, signed.
    fn carry_out(&self, verb: &Verb, consumer: &str) -> Result<(), Refused>;
}

/// The topics that this node listens to. Every verb is among them as soon as anyone is allowed, so that who may
/// not send one is told so.
pub fn subscriptions(config: &Config) -> Vec<String> {
    if config.consumers.is_empty() {
        return Vec::new();
    }
    let watermarks =
        config.consumers.iter().map(|consumer| topic::watermark(&config.site, &config.node, &consumer.name));
    let verbs = Verb::NAMES.iter().map(|verb| topic::command(&config.site, &config.node, verb));
    let epochs = config.consumers.iter().map(|consumer| topic::epoch(&consumer.name));
    watermarks.chain(verbs).chain(epochs).filter_map(Result::ok).collect()
}

/// Whether the configuration lets a consumer send a verb.
fn may_send(consumer: &Consumer, verb: &str) -> bool {
    verb == "resend"
        || ATTESTERS_VERBS.contains(&verb)
        || consumer.operator
        || (consumer.lessor && LEASE_VERBS.contains(&verb))
}

fn permitted(consumer: &Consumer, verb: &str) -> Result<(), Refused> {
    if may_send(consumer, verb) {
        return Ok(());
    }
    let lessors = if LEASE_VERBS.contains(&verb) { " and `consumers.lessors`" } else { "" };
    let why = format!("asks for {verb}, which is for `consumers.operators`{lessors}");
    Err(Refused::new(Refusal::WrongRole, why))
}

/// Handles what arrives until `stop` is set.
pub async fn run(mut inbox: Inbox, mut incoming: mpsc::Receiver<Incoming>, mut stop: watch::Receiver<bool>) {
    let mut look = tokio::time::interval(LOOK);
    loop {
        tokio::select! {
            message = incoming.recv() => match message {
                Some(message) => inbox.take(&message),
                None => return,
            },
            _ = look.tick() => inbox.look_for_stalls(Instant::now()),
            _ = stop.wait_for(|stop| *stop) => return,
        }
    }
}

/// How far a required consumer has confirmed a stream.
#[derive(Debug, Clone)]
struct Confirmed {
    below: u64,
    /// Since when it has not moved, and how long it may stay so.
    since: Instant,
    patience: Duration,
}

/// Who does what is asked.
pub struct Doors {
    /// Verbs about the hardware.
    pub carrier: Arc<dyn Carrier>,
    /// Commands for the attester.
    pub asks: mpsc::Sender<Ask>,
    /// Epochs for the attester.
    pub epochs: mpsc::Sender<Begun>,
    /// What becomes of commands.
    pub counts: CommandCounts,
}

/// The checks, and what is known of each consumer.
pub struct Inbox {
    config: watch::Receiver<Arc<Config>>,
    spool: Spool,
    outbox: Outbox,
    feed: SharedFeed,
    roster: SharedRoster,
    epoch: SpoolEpoch,
    doors: Doors,
    /// Current epoch of each verifier: its value, and when it was issued.
    epochs: Vec<(String, [u8; 32], u64)>,
    allowances: Allowances,
    /// By consumer name and stream.
    confirmed: Vec<(String, [Option<Confirmed>; 4])>,
    /// Nonces of commands with their consumer, and the time they expire.
    nonces: Vec<(String, [u8; 16], u64)>,
}

impl Inbox {
    /// Nothing is confirmed yet; retained watermarks come after the first connect.
    pub fn new(
        config: watch::Receiver<Arc<Config>>,
        spool: Spool,
        outbox: Outbox,
        feed: SharedFeed,
        roster: SharedRoster,
        epoch: SpoolEpoch,
        doors: Doors,
    ) -> Self {
        let mut inbox = Self {
            config,
            spool,
            outbox,
            feed,
            roster,
            epoch,
            doors,
            epochs: Vec::new(),
            allowances: Allowances::default(),
            confirmed: Vec::new(),
            nonces: Vec::new(),
        };
        inbox.hold();
        inbox
    }

    fn addressee(&self) -> (NodeId, SessionId) {
        self.feed.with(&self.roster, |feed, _| feed.addressee())
    }

    fn take(&mut self, message: &Incoming) {
        let config = self.config.borrow().clone();
        let refused = match Topic::parse(&message.topic) {
            Some(Topic::Watermark { consumer, .. }) => self.watermark(&config, consumer, message),
            Some(Topic::Command { verb, .. }) => self.command(&config, verb, message),
            Some(Topic::Epoch { verifier }) => self.epoch(&config, verifier, message),
            _ => Err("is on a topic that nobody reads".to_owned()),
        };
        if let Err(why) = refused {
            mqtt::count_refused(&self.outbox.stats());
            tracing::warn!(topic = message.topic, why, "a message to the node is refused");
        }
    }

    /// The consumer of that name in the configuration, if the message carries its signature.
    fn signed<'a>(
        config: &'a Config,
        name: &str,
        message: &Incoming,
    ) -> Result<(&'a Consumer, DownlinkBody), String> {
        let consumer = config.consumers.iter().find(|consumer| consumer.name == name);
        let consumer = consumer.ok_or_else(|| format!("comes from {name}, who is not allowed"))?;
        let downlink = Downlink::parse(&message.payload).map_err(|error| chain(&error))?;
        let verified = downlink.verify(&consumer.key).map_err(|error| chain(&error))?;
        Ok((consumer, verified.into_body()))
    }

    fn watermark(&mut self, config: &Config, name: &str, message: &Incoming) -> Result<(), String> {
        let (consumer, body) = Self::signed(config, name, message)?;
        let DownlinkBody::Watermark(watermark) = body else {
            return Err("is no watermark".to_owned());
        };
        watermark
            .check(&self.addressee().0, self.epoch, &consumer.name)
            .map_err(|refusal| refusal.to_string())?;
        self.confirm(&consumer.name, &watermark, Instant::now());
        self.hold();
        Ok(())
    }

    /// Takes a watermark: it only rises, and never above what a broker acknowledged.
    fn confirm(&mut self, name: &str, watermark: &Watermark, now: Instant) {
        let at = self.confirmed.iter().position(|(known, _)| known == name).unwrap_or_else(|| {
            self.confirmed.push((name.to_owned(), [const { None }; 4]));
            self.confirmed.len() - 1
        });
        for (stream, below) in watermark.below.iter().map(|mark| (mark.stream, mark.below_seq)) {
            let Some(index) = spool::index_of(stream) else { continue };
            let below = below.min(self.spool.acknowledged(index));
            let known = &mut self.confirmed[at].1[index];
            if known.as_ref().is_none_or(|known| below > known.below) {
                *known = Some(Confirmed { below, since: now, patience: STALL });
                self.spool.note_confirmed(name, index, below);
            }
        }
    }

    /// Tells the spool what must stay: above the lowest watermark of those required.
    fn hold(&mut self) {
        let config = self.config.borrow().clone();
        for stream in 0..STREAMS.len() {
            let marks = config.consumers.iter().filter(|consumer| consumer.required).map(|consumer| {
                self.confirmed_by(&consumer.name, stream).map_or(0, |confirmed| confirmed.below)
            });
            self.spool.hold(stream, marks.min());
        }
    }

    fn confirmed_by(&self, name: &str, stream: StreamIndex) -> Option<&Confirmed> {
        self.confirmed.iter().find(|(known, _)| known == name)?.1[stream].as_ref()
    }

    fn look_for_stalls(&mut self, now: Instant) {
        if self.config.has_changed().unwrap_or(false) {
            let config = self.config.borrow_and_update().clone();
            self.allowances.retain(|name| config.consumers.iter().any(|consumer| consumer.name == name));
            self.hold();
        }
        let config = self.config.borrow().clone();
        for (name, streams) in &mut self.confirmed {
            if !config.consumers.iter().any(|consumer| consumer.required && consumer.name == *name) {
                continue;
            }
            for (stream, confirmed) in streams.iter_mut().enumerate() {
                let Some(confirmed) = confirmed else { continue };
                let acked = self.spool.acknowledged(stream);
                if confirmed.below >= acked {
                    confirmed.since = now;
                    continue;
                }
                if now - confirmed.since < confirmed.patience {
                    continue;
                }
                confirmed.since = now;
                confirmed.patience = (confirmed.patience * 2).min(STALL_MAX);
                let again = Again { stream, from_seq: confirmed.below, to_seq: acked - 1 };
                tracing::warn!(consumer = name.as_str(), stream = %STREAMS[stream].0, from_seq = again.from_seq, to_seq = again.to_seq,
                    "acknowledged by a broker and not confirmed by the consumer: sent again");
                self.spool.send_again(again);
            }
        }
    }

    /// An epoch, which comes again after each connect: it counts once.
    fn epoch(&mut self, config: &Config, verifier: &str, message: &Incoming) -> Result<(), String> {
        let (consumer, body) = Self::signed(config, verifier, message)?;
        let DownlinkBody::Epoch(epoch) = body else { return Err("is no epoch".to_owned()) };
        if epoch.verifier != consumer.name {
            return Err("is an epoch of another verifier than its topic".to_owned());
        }
        let now_unix_ms = clock::unix_ms();
        if epoch.expires_unix_ms <= now_unix_ms {
            return Err("is an epoch that is over".to_owned());
        }
        let known = self.epochs.iter().position(|(name, ..)| *name == consumer.name);
        if let Some((_, value, issued_unix_ms)) = known.map(|at| &self.epochs[at]) {
            if *value == epoch.value {
                return Ok(());
            }
            if epoch.issued_unix_ms <= *issued_unix_ms {
                return Err("is an epoch before the current one".to_owned());
            }
        }
        let begun = Begun {
            verifier: consumer.name.clone(),
            value: epoch.value,
            expires_unix_ms: epoch.expires_unix_ms,
        };
        self.doors.epochs.try_send(begun).map_err(|_| "comes while too many epochs begin".to_owned())?;
        let current = (consumer.name.clone(), epoch.value, epoch.issued_unix_ms);
        match known {
            Some(at) => self.epochs[at] = current,
            None => self.epochs.push(current),
        }
        Ok(())
    }

    fn command(&mut self, config: &Config, verb: &str, message: &Incoming) -> Result<(), String> {
        let name =
            Downlink::parse(&message.payload).map_err(|error| chain(&error))?.body().consumer().to_owned();
        let (consumer, body) = Self::signed(config, &name, message)?;
        let DownlinkBody::Command(command) = body else {
            return Err("is no command".to_owned());
        };
        match self.judge(consumer, &command, verb) {
            Ok(()) => {}
            Err(refused) => {
                // Whoever plays commands of others again must not make the node speak as much, nor keep them from
                // being heard: such commands have an allowance of their own.
                let told = self.allowances.tell(&consumer.name, refused.refusal, Instant::now());
                return Err(self.refuse(&command, refused, message, told));
            }
        }
        // The attester answers by itself, when it can.
        if ATTESTERS_VERBS.contains(&command.verb.name()) {
            let handed = self.hand_over(&command, message);
            return handed.map_err(|refused| self.refuse(&command, refused, message, true));
        }
        self.carry_out(&command).map_err(|refused| self.refuse(&command, refused, message, true))?;
        tracing::info!(consumer = consumer.name, verb = command.verb.name(), outcome = "accepted", "command");
        self.doors.counts.note(&command.verb, None);
        self.answer(&command, Reply::accepted(command.nonce, Vec::new()), message);
        Ok(())
    }

    /// Whether a command of this consumer is carried out. It counts against what the consumer may send only where it is
    /// one that the consumer has just made: anybody may play old ones again.
    fn judge(&mut self, consumer: &Consumer, command: &Command, verb_on_topic: &str) -> Result<(), Refused> {
        let (node, session) = self.addressee();
        let now_unix_ms = clock::unix_ms();
        command.check(&node, &session, now_unix_ms)?;
        command.check_topic(verb_on_topic)?;
        permitted(consumer, command.verb.name())?;
        self.nonces.retain(|(_, _, expires_unix_ms)| *expires_unix_ms > now_unix_ms);
        let of_consumer = || self.nonces.iter().filter(|(name, ..)| *name == command.consumer);
        if of_consumer().any(|(_, nonce, _)| *nonce == command.nonce) {
            return Err(Refused::new(Refusal::Replayed, "was taken before"));
        }
        let full = of_consumer().nth(NONCES - 1).is_some();
        if full || !self.allowances.spend(&consumer.name, command.verb.name(), Instant::now()) {
            return Err(Refused::new(Refusal::RateLimited, "comes too soon after others; ask later"));
        }
        self.nonces.push((command.consumer.clone(), command.nonce, command.expires_unix_ms));
        Ok(())
    }

    /// Notes that a command is refused, and tells its consumer so; gives the reason.
    fn refuse(&self, command: &Command, refused: Refused, message: &Incoming, told: bool) -> String {
        let reason = &refused.why;
        let (consumer, verb) = (&command.consumer, command.verb.name());
        tracing::info!(consumer, verb, outcome = "refused", refusal = %refused.refusal, reason, "command");
        self.doors.counts.note(&command.verb, Some(refused.refusal));
        if told {
            self.answer(command, refused.reply(command.nonce), message);
        }
        refused.why
    }

    fn carry_out(&self, command: &Command) -> Result<(), Refused> {
        match &command.verb {
            Verb::Resend { stream, epoch, from_seq, to_seq } => {
                self.send_again(*stream, *epoch, *from_seq, *to_seq)
            }
            verb => self.doors.carrier.carry_out(verb, &command.consumer),
        }
    }

    fn send_again(
        &self,
        stream: Stream,
        epoch: SpoolEpoch,
        from_seq: u64,
        to_seq: u64,
    ) -> Result<(), Refused> {
        let not_kept = |why: String| Refused::new(Refusal::NotKept, why);
        let Some(index) = spool::index_of(stream) else {
            return Err(not_kept(format!("asks for {stream}, which is not kept")));
        };
        if epoch != self.epoch {
            return Err(not_kept("asks for another spool epoch, which is gone".to_owned()));
        }
        let offered = self.spool.offered(index);
        if from_seq >= offered {
            return Err(not_kept("asks for numbers that do not exist".to_owned()));
        }
        let again = Again { stream: index, from_seq, to_seq: to_seq.min(offered - 1) };
        match self.spool.send_again(again) {
            true => Ok(()),
            false => Err(Refused::new(Refusal::Busy, "comes while too much is being sent again; ask later")),
        }
    }

    fn hand_over(&self, command: &Command, message: &Incoming) -> Result<(), Refused> {
        let ask = Ask {
            verb: command.verb.clone(),
            consumer: command.consumer.clone(),
            nonce: command.nonce,
            way_back: self.way_back(command, message),
        };
        self.doors
            .asks
            .try_send(ask)
            .map_err(|_| Refused::new(Refusal::Busy, "comes while too many others wait; ask later"))
    }

    /// Where answers to a command go: to its consumer's topic and nowhere else. A consumer must not make the node
    /// speak on topics of its choice.
    fn way_back(&self, command: &Command, message: &Incoming) -> WayBack {
        let config = self.config.borrow().clone();
        let own = topic::reply(&config.site, &config.node, &command.consumer).ok();
        let topic = message.response_topic.clone().filter(|asked| own.as_ref() == Some(asked));
        if let Some(response_topic) = message.response_topic.as_ref().filter(|_| topic.is_none()) {
            tracing::warn!(
                response_topic,
                "a command asks for its answer on another topic than the consumer's"
            );
        }
        WayBack {
            feed: self.feed.clone(),
            roster: self.roster.clone(),
            outbox: self.outbox.clone(),
            topic,
            correlation: message.correlation_data.clone(),
            counts: self.doors.counts.clone(),
        }
    }

    fn answer(&self, command: &Command, reply: Reply, message: &Incoming) {
        self.way_back(command, message).send(Body::Reply(reply));
    }
}
