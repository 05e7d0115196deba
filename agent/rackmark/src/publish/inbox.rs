//! What consumers send to the node: watermarks and commands, each checked
//! against the keys of the configuration before anything is done.

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use rackmark_feed::{
    Command, Downlink, DownlinkBody, NodeId, Reply, ReplyOutcome, SessionId, SpoolEpoch, Stream, Topic, Verb,
    Watermark, topic,
};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::encode;
use super::feed::{Feed, SharedFeed};
use super::mqtt::{self, Again, Incoming, Outbox, StreamIndex};
use super::spool::{self, STREAMS, Spool};
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

/// Commands remembered until they expire, so that each works once; more in five minutes are refused.
const NONCES: usize = 256;

/// The verbs about leases, which lessors may send, too.
const LEASE_VERBS: [&str; 2] = ["lease_start", "lease_end"];

/// Does what signed commands ask for, except to send again: the inbox does that itself.
pub trait Carrier: Send + Sync {
    /// Carries out a verb for a consumer who may send it. It must not wait: the inbox takes nothing else meanwhile.
    ///
    /// # Errors
    /// Why it is not done, for people, worded to follow "a command that …". The consumer is told, signed.
    fn carry_out(&self, verb: &Verb, consumer: &str) -> Result<(), String>;
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
    watermarks.chain(verbs).filter_map(Result::ok).collect()
}

/// Whether the configuration lets a consumer send a verb. To send again is for everyone who is allowed at all.
fn may_send(consumer: &Consumer, verb: &str) -> bool {
    verb == "resend" || consumer.operator || (consumer.lessor && LEASE_VERBS.contains(&verb))
}

fn permitted(consumer: &Consumer, verb: &str) -> Result<(), String> {
    if may_send(consumer, verb) {
        return Ok(());
    }
    Err(match LEASE_VERBS.contains(&verb) {
        true => format!("asks for {verb}, which is for `consumers.operators` and `consumers.lessors`"),
        false => format!("asks for {verb}, which is for `consumers.operators`"),
    })
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

/// The checks, and what is known of each consumer.
pub struct Inbox {
    config: watch::Receiver<Arc<Config>>,
    spool: Spool,
    outbox: Outbox,
    feed: SharedFeed,
    roster: SharedRoster,
    epoch: SpoolEpoch,
    carrier: Arc<dyn Carrier>,
    /// By consumer name and stream.
    confirmed: Vec<(String, [Option<Confirmed>; 4])>,
    /// Nonces of commands, with the time they expire.
    nonces: Vec<([u8; 16], u64)>,
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
        carrier: Arc<dyn Carrier>,
    ) -> Self {
        let mut inbox = Self {
            config,
            spool,
            outbox,
            feed,
            roster,
            epoch,
            carrier,
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
            let _ = self.config.borrow_and_update();
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

    fn command(&mut self, config: &Config, verb: &str, message: &Incoming) -> Result<(), String> {
        let name =
            Downlink::parse(&message.payload).map_err(|error| chain(&error))?.body().consumer().to_owned();
        let (consumer, body) = Self::signed(config, &name, message)?;
        let DownlinkBody::Command(command) = body else {
            return Err("is no command".to_owned());
        };
        let (node, session) = self.addressee();
        let outcome = command
            .check(&node, &session, clock::unix_ms())
            .and_then(|()| command.check_topic(verb))
            .map_err(|refusal| refusal.to_string())
            // Before the nonce is kept: who may not ask may not fill the list of nonces either.
            .and_then(|()| permitted(consumer, command.verb.name()))
            .and_then(|()| self.once(&command))
            .and_then(|()| self.carry_out(&command));
        let (outcome_code, reason) = match &outcome {
            Ok(()) => (ReplyOutcome::Accepted, String::new()),
            Err(why) => (ReplyOutcome::Refused, encode::cut(why)),
        };
        tracing::info!(consumer = consumer.name, verb = command.verb.name(), outcome = %outcome_code, reason, "command");
        self.answer(&command, outcome_code, reason, message);
        outcome
    }

    fn once(&mut self, command: &Command) -> Result<(), String> {
        let now_unix_ms = clock::unix_ms();
        self.nonces.retain(|(_, expires_unix_ms)| *expires_unix_ms > now_unix_ms);
        if self.nonces.iter().any(|(nonce, _)| *nonce == command.nonce) {
            return Err("was carried out before".to_owned());
        }
        if self.nonces.len() == NONCES {
            return Err("comes after too many others; ask later".to_owned());
        }
        self.nonces.push((command.nonce, command.expires_unix_ms));
        Ok(())
    }

    fn carry_out(&self, command: &Command) -> Result<(), String> {
        match &command.verb {
            Verb::Resend { stream, epoch, from_seq, to_seq } => {
                self.send_again(*stream, *epoch, *from_seq, *to_seq)
            }
            verb => self.carrier.carry_out(verb, &command.consumer),
        }
    }

    fn send_again(
        &self,
        stream: Stream,
        epoch: SpoolEpoch,
        from_seq: u64,
        to_seq: u64,
    ) -> Result<(), String> {
        let Some(index) = spool::index_of(stream) else {
            return Err(format!("asks for {stream}, which is not kept"));
        };
        if epoch != self.epoch {
            return Err("asks for another spool epoch, which is gone".to_owned());
        }
        let offered = self.spool.offered(index);
        if from_seq > to_seq || from_seq >= offered {
            return Err("asks for numbers that do not exist".to_owned());
        }
        let again = Again { stream: index, from_seq, to_seq: to_seq.min(offered - 1) };
        match self.spool.send_again(again) {
            true => Ok(()),
            false => Err("comes while too much is being sent again; ask later".to_owned()),
        }
    }

    fn answer(&self, command: &Command, outcome: ReplyOutcome, reason: String, message: &Incoming) {
        let Some(response_topic) = &message.response_topic else { return };
        // Nowhere else: a consumer must not make the node speak on topics of its choice.
        let config = self.config.borrow().clone();
        let own = topic::reply(&config.site, &config.node, &command.consumer);
        if own.as_ref() != Ok(response_topic) {
            tracing::warn!(
                response_topic,
                "a command asks for its answer on another topic than the consumer's"
            );
            return;
        }
        let reply = Reply { nonce: command.nonce, outcome, reason, extensions: Vec::new() };
        if let Some(payload) = self.feed.with(&self.roster, |feed: &mut Feed, _| feed.reply(reply)) {
            let topic = Arc::from(response_topic.as_str());
            self.outbox.reply(mqtt::Reply { topic, payload, correlation: message.correlation_data.clone() });
        }
    }
}
