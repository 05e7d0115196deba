//! A consumer that speaks to one node over a broker: it hears who the node is, asks, and takes the answers.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use clap::Args;
use rackmark_feed::consumer::Settings;
use rackmark_feed::{
    Body, Command, Consumer, DownlinkBody, NodeId, Reply, SessionId, SigningKey, Stream, Topic, Verb,
    seal_downlink, topic,
};
use ring::rand::{SecureRandom, SystemRandom};
use rumqttc::mqttbytes::QoS;
use rumqttc::mqttbytes::v5::{Packet, PublishProperties};
use rumqttc::{AsyncClient, Event, EventLoop, IncomingPacketSizeLimit, MqttOptions, PublishOptions};
use tokio::time::{Instant, timeout_at};

use crate::cli::ConfigPath;
use crate::cli::key::private_key;
use crate::clock;
use crate::config::BrokerAddress;
use crate::exit::{Code, Failure};
use crate::publish::mqtt::{Broker, Security, secure};

/// How long a node may take to be heard of: its session record is retained, so this is the broker's time.
const HEARD_WITHIN: Duration = Duration::from_secs(10);
/// How long an answer may take; evidence waits for a TPM and for devices.
const ANSWER_WITHIN: Duration = Duration::from_secs(90);
/// How long a command stays valid.
const VALID_FOR_MS: u64 = 120_000;
/// Largest message taken.
const MESSAGE_BYTES_MAX: u32 = 1 << 20;

/// Which node, by which broker, in whose name.
#[derive(Debug, Args)]
pub struct Target {
    /// Broker, such as mqtts://broker.example:8883; the first configured one if left out. The files for mqtts://
    /// are the configured ones.
    #[arg(long, value_name = "URL")]
    broker: Option<String>,
    /// The node, as SITE/NODE.
    #[arg(long, value_name = "SITE/NODE")]
    node: String,
    /// The node id that it must have; any is taken if left out, and shown.
    #[arg(long, value_name = "ID")]
    node_id: Option<String>,
    /// Name under which the node knows the key.
    #[arg(long = "as", value_name = "NAME")]
    name: String,
    /// Private key, as `rackmark key make` writes it.
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    #[command(flatten)]
    config: ConfigPath,
}

/// A broker by its URL, or the first of the configuration.
pub fn broker(named: Option<&str>, config: &ConfigPath) -> Result<Broker, Failure> {
    let named = named.map(|text| {
        BrokerAddress::parse(text).ok_or_else(|| {
            Failure::new(Code::Usage, format!("{text:?} is not a broker"))
                .hint("write mqtts://host:port or mqtt://host:port")
        })
    });
    match named.transpose()? {
        Some(BrokerAddress { host, port, tls: false }) => {
            Ok(Broker { host, port, security: Security::Plain })
        }
        named => {
            let config = config.load()?;
            let address = named.or_else(|| config.brokers.first().cloned()).ok_or_else(|| {
                Failure::new(Code::Usage, "no broker is configured")
                    .hint("name one with --broker mqtts://host:port")
            })?;
            Ok(address.broker(&config.broker_tls))
        }
    }
}

/// 32 bytes that nobody can guess.
pub fn random() -> Result<[u8; 32], Failure> {
    let mut bytes = [0; 32];
    SystemRandom::new()
        .fill(&mut bytes)
        .map_err(|_| Failure::new(Code::Unavailable, "the system gives no random bytes"))?;
    Ok(bytes)
}

/// A node that was heard, and the connection to it.
pub struct Conversation {
    client: AsyncClient,
    events: EventLoop,
    consumer: Consumer,
    name: String,
    key: SigningKey,
    site: String,
    node_name: String,
    node: NodeId,
    session: SessionId,
    record: Bytes,
    /// Came while something else was waited for.
    waiting: VecDeque<(Body, Bytes)>,
}

impl Conversation {
    /// Connects and waits until the node's session record was heard and holds.
    pub async fn begin(target: &Target) -> Result<Self, Failure> {
        let (site, node_name) = target
            .node
            .split_once('/')
            .filter(|(site, node)| topic::is_name(site) && topic::is_name(node))
            .ok_or_else(|| Failure::new(Code::Usage, format!("{:?} is not SITE/NODE", target.node)))?;
        let pinned = target.node_id.as_deref().map(str::parse::<NodeId>).transpose();
        let pinned = pinned.map_err(|error| Failure::new(Code::Usage, error))?;
        let key = private_key(&target.key)?;
        let usage = |error: topic::NameError| Failure::new(Code::Usage, error);
        let session = topic::of(Stream::Session, site, node_name).map_err(usage)?;
        let reply = topic::reply(site, node_name, &target.name).map_err(usage)?;
        let broker = broker(target.broker.as_deref(), &target.config)?;
        let mut options = MqttOptions::new(
            format!("rackmark-{}-{}", target.name, std::process::id()),
            (broker.url_host(), broker.port),
        );
        options.set_keep_alive(30);
        options.set_incoming_packet_size_limit(IncomingPacketSizeLimit::Bytes(MESSAGE_BYTES_MAX));
        secure(&mut options, &broker).map_err(|error| Failure::new(Code::Usage, error))?;
        let (client, events) = AsyncClient::builder(options).capacity(8).build();
        for filter in [&reply, &session] {
            let subscribed = client.subscribe(filter.as_str(), QoS::AtLeastOnce).await;
            subscribed.map_err(|error| Failure::new(Code::Unavailable, error.to_string()))?;
        }
        // A TPM's id is established by evidence, not by the session record.
        let settings = Settings { accept_claimed: true, ..Settings::default() };
        let mut heard = Self {
            client,
            events,
            consumer: Consumer::new(settings),
            name: target.name.clone(),
            key,
            site: site.to_owned(),
            node_name: node_name.to_owned(),
            node: NodeId::from_parts(rackmark_feed::IdentityClass::Software, [0; 32]),
            session: SessionId([0; 16]),
            record: Bytes::new(),
            waiting: VecDeque::new(),
        };
        if let Some(node) = pinned {
            heard.consumer.bind(site, node_name, node);
        }
        let deadline = Instant::now() + HEARD_WITHIN;
        while heard.record.is_empty() {
            let Some((body, bytes)) = heard.receive(deadline).await? else {
                return Err(Failure::new(Code::Unavailable, format!("node {} is not heard", target.node))
                    .hint("is it connected to this broker, and may this client read its session record?"));
            };
            if !matches!(body, Body::Session(_)) {
                heard.waiting.push_back((body, bytes));
            }
        }
        Ok(heard)
    }

    /// The node.
    pub const fn node(&self) -> NodeId {
        self.node
    }

    /// The frame of its session record.
    pub fn record(&self) -> &[u8] {
        &self.record
    }

    /// The key.
    pub const fn key(&self) -> &SigningKey {
        &self.key
    }

    /// Sends a command and waits for the node's word.
    pub async fn command(&mut self, verb: Verb) -> Result<Reply, Failure> {
        let random = random()?;
        let mut nonce = [0; 16];
        nonce.copy_from_slice(&random[..16]);
        let verb_topic = topic::command(&self.site, &self.node_name, verb.name());
        let verb_topic = verb_topic.map_err(|error| Failure::new(Code::Usage, error))?;
        let reply = topic::reply(&self.site, &self.node_name, &self.name);
        let reply = reply.map_err(|error| Failure::new(Code::Usage, error))?;
        let command = Command {
            node: self.node,
            session: self.session,
            consumer: self.name.clone(),
            expires_unix_ms: clock::unix_ms() + VALID_FOR_MS,
            nonce,
            verb,
            extensions: Vec::new(),
        };
        let payload = seal_downlink(&DownlinkBody::Command(command), &self.key)
            .map_err(|error| Failure::new(Code::Usage, error))?;
        let properties = PublishProperties {
            response_topic: Some(reply),
            correlation_data: Some(Bytes::copy_from_slice(&nonce)),
            ..PublishProperties::default()
        };
        let options = PublishOptions::at_least_once().properties(properties);
        let sent = self.client.publish(verb_topic, payload, options).await;
        sent.map_err(|error| Failure::new(Code::Unavailable, error.to_string()))?;
        let deadline = Instant::now() + ANSWER_WITHIN;
        loop {
            match self.receive(deadline).await? {
                Some((Body::Reply(reply), _)) if reply.nonce == nonce => return Ok(reply),
                Some(other) => self.waiting.push_back(other),
                None => {
                    return Err(Failure::new(Code::Unavailable, "the node does not answer").hint(
                        "does it know this key under this name, and may this client read the reply topic?",
                    ));
                }
            }
        }
    }

    /// The next message of the node that `wanted` takes.
    pub async fn wait<T>(
        &mut self,
        mut wanted: impl FnMut(&Body, &Bytes) -> Option<T>,
    ) -> Result<T, Failure> {
        let deadline = Instant::now() + ANSWER_WITHIN;
        loop {
            let next = match self.waiting.pop_front() {
                Some(next) => Some(next),
                None => self.receive(deadline).await?,
            };
            let Some((body, bytes)) = next else {
                return Err(Failure::new(Code::Unavailable, "the node does not send what it announced"));
            };
            if let Some(found) = wanted(&body, &bytes) {
                return Ok(found);
            }
        }
    }

    /// One message of the node whose signature holds; none when the time is over.
    async fn receive(&mut self, deadline: Instant) -> Result<Option<(Body, Bytes)>, Failure> {
        loop {
            let Ok(polled) = timeout_at(deadline, self.events.poll()).await else { return Ok(None) };
            let publish = match polled {
                Ok(Event::Incoming(Packet::Publish(publish))) => publish,
                Ok(_) => continue,
                Err(error) => {
                    return Err(Failure::new(Code::Unavailable, error.to_string())
                        .hint("is the broker reachable, and does it let this client in?"));
                }
            };
            let topic = String::from_utf8_lossy(&publish.topic).into_owned();
            if !matches!(Topic::parse(&topic), Some(Topic::Node { .. } | Topic::Reply { .. })) {
                continue;
            }
            let accepted = match self.consumer.accept(&topic, &publish.payload, clock::unix_ms()) {
                Ok(accepted) => accepted,
                Err(refusal) => {
                    tracing::debug!(topic, %refusal, "a message is refused");
                    if self.record.is_empty() && topic.ends_with("/session") {
                        return Err(Failure::new(Code::Wrong, refusal));
                    }
                    continue;
                }
            };
            // A node that has just found a reader sends the records of its earlier sessions, too.
            if accepted.header.stream == Stream::Session && !accepted.late {
                self.node = accepted.header.node;
                self.session = accepted.header.session;
                self.record = publish.payload.clone();
            }
            if let Some(body) = accepted.body {
                return Ok(Some((body, publish.payload)));
            }
        }
    }
}
