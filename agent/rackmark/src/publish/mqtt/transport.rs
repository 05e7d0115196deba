//! One connection to a broker, seen from the publisher.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;

use super::publisher::Will;
use crate::tls::TlsSettings;

/// Where a broker listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broker {
    /// Host name or address, an IPv6 address with or without brackets.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// How the bytes are protected on the way.
    pub security: Security,
}

impl Broker {
    /// The host as it stands before a port: an IPv6 address in brackets.
    pub fn url_host(&self) -> Cow<'_, str> {
        if self.host.contains(':') && !self.host.starts_with('[') {
            Cow::Owned(format!("[{}]", self.host))
        } else {
            Cow::Borrowed(&self.host)
        }
    }
}

impl fmt::Display for Broker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.url_host(), self.port)
    }
}

/// Protection of the bytes between agent and broker, chosen per broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Security {
    /// TCP without encryption: loopback and protected networks.
    Plain,
    /// TLS with files that are read at each connect.
    Tls(TlsSettings),
}

/// Name and password for CONNECT.
#[derive(Clone)]
pub struct Credentials {
    /// User name.
    pub username: String,
    /// Password.
    pub password: Bytes,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("username", &self.username).finish_non_exhaustive()
    }
}

/// All that one connection attempt needs.
#[derive(Debug, Clone)]
pub struct ConnectOptions {
    /// Broker to connect to.
    pub broker: Broker,
    /// MQTT client identifier.
    pub client_id: String,
    /// Name and password, if the broker asks for them.
    pub credentials: Option<Credentials>,
    /// Longest silence of the client, 5 s or more.
    pub keep_alive: Duration,
    /// Limit for TCP connect and CONNACK together.
    pub connect_timeout: Duration,
    /// Largest packet we accept in bytes; announced to the broker.
    pub max_packet_size: u32,
    /// What the broker publishes when the connection ends without DISCONNECT.
    pub will: Will,
    /// Exact topics to subscribe to.
    pub subscriptions: Vec<String>,
}

/// What the broker's CONNACK says about this connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnAckFacts {
    /// Publishes with QoS 1 that the broker takes unacknowledged; 65,535 when not stated.
    pub receive_maximum: u16,
    /// Largest packet in bytes that the broker takes, `None` without limit.
    pub maximum_packet_size: Option<u32>,
    /// Whether the broker keeps retained messages.
    pub retain_available: bool,
    /// Keep alive in effect: the broker's where it states one, otherwise ours. Zero turns pings off.
    pub keep_alive: Duration,
    /// Client identifier that the broker assigned, if it did.
    pub assigned_client_id: Option<String>,
}

/// A message received on a subscribed topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Incoming {
    /// Topic name.
    pub topic: String,
    /// Opaque bytes, below the announced packet size.
    pub payload: Bytes,
    /// Topic for the answer.
    pub response_topic: Option<String>,
    /// Bytes to return with the answer.
    pub correlation_data: Option<Bytes>,
}

/// What a connection reports.
#[derive(Debug)]
pub enum LinkEvent {
    /// The broker answered the publish with this token; `reason` is the PUBACK reason code.
    Acked {
        /// Token given to [`Link::try_publish`].
        token: u64,
        /// MQTT 5 reason code.
        reason: u8,
    },
    /// A message for us.
    Incoming(Incoming),
    /// The broker refused a subscription, with the name of its reason.
    SubscriptionRefused(String),
    /// A packet without news (PINGRESP): the broker is alive.
    Alive,
    /// The connection is over. Nothing follows.
    Closed(CloseCause),
}

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
pub enum CloseCause {
    /// The network or the peer ended it, or the peer fell silent.
    #[error("connection lost")]
    Lost(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// One side saw something that the protocol does not allow; a message of ours may be the reason.
    #[error("protocol error")]
    Protocol(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// We sent DISCONNECT.
    #[error("disconnected on request")]
    Requested,
}

/// Why an attempt gave no connection.
#[derive(Debug, thiserror::Error)]
pub enum TransportError {
    /// CONNACK with a failure.
    #[error("broker refused the connection: {name} (0x{code:02x})")]
    Refused {
        /// MQTT 5 reason code.
        code: u8,
        /// Its name.
        name: String,
    },
    /// No TCP or TLS connection, or the peer does not speak MQTT 5.
    #[error("no connection to the broker")]
    Failed(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// Nothing within the connect timeout.
    #[error("broker did not answer in time")]
    Timeout,
}

/// Why a message was not taken by [`Link::try_publish`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SendRefused {
    /// The way to the connection's task is full; try again after the next event.
    #[error("request channel is full")]
    Full,
    /// The topic is no valid MQTT topic name.
    #[error("topic is not valid")]
    InvalidTopic,
    /// The connection has ended.
    #[error("connection has ended")]
    Closed,
}

/// A connection just made.
#[derive(Debug)]
pub struct Connection<L> {
    /// The sending side. Dropping it ends the connection at once, without DISCONNECT.
    pub link: L,
    /// What the broker said.
    pub facts: ConnAckFacts,
    /// What happens on it, in order. Ends after [`LinkEvent::Closed`].
    pub events: mpsc::Receiver<LinkEvent>,
}

/// Makes connections, each one fresh: nothing of an earlier one is carried over,
/// and one may be made beside another.
pub trait Transport: Send + Sync {
    /// The sending side of a connection.
    type Link: Link;

    /// Connects, and subscribes where asked. Dropping the future gives the attempt up.
    fn connect(
        &self,
        options: ConnectOptions,
    ) -> impl Future<Output = Result<Connection<Self::Link>, TransportError>> + Send;
}

/// The sending side of a connection. No call waits.
pub trait Link: Send {
    /// Hands over a message to be published with QoS 1. `token` comes back in
    /// [`LinkEvent::Acked`]; `correlation` is the correlation data of an answer.
    fn try_publish(
        &mut self,
        token: u64,
        topic: &str,
        payload: Bytes,
        retain: bool,
        correlation: Option<Bytes>,
    ) -> Result<(), SendRefused>;

    /// Sends DISCONNECT ahead of all that waits: reason 0x04, which asks the
    /// broker to publish the will, if `with_will`, otherwise 0x00, which deletes it.
    fn disconnect(&mut self, with_will: bool);
}
