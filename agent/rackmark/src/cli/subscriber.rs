//! A consumer of the feed, as the CLI and the demo need one: connects, takes
//! everything below `rackmark/v1/`, reconnects. It shares nothing with the
//! agent's publisher but the broker.

use std::time::Duration;

use bytes::Bytes;
use rumqttc::mqttbytes::QoS;
use rumqttc::mqttbytes::v5::Packet;
use rumqttc::{AsyncClient, Event, EventLoop, IncomingPacketSizeLimit, MqttOptions};

use crate::config::BrokerAddress;

/// Pause before another connection attempt.
const RETRY: Duration = Duration::from_secs(1);
/// Largest message taken; the feed's frames are at most 64 KiB, JSON bridges more.
const MESSAGE_BYTES_MAX: u32 = 1 << 20;

/// A message as it arrived.
pub struct Message {
    pub topic: String,
    pub payload: Bytes,
}

/// What happened on the connection.
pub enum Happening {
    /// Connected and subscribed.
    Connected,
    /// The connection broke, or there was none; another attempt follows.
    Disconnected(String),
    /// A message.
    Message(Message),
}

/// One consumer.
pub struct Subscriber {
    broker: BrokerAddress,
    client_id: String,
    filter: String,
    connection: Option<(AsyncClient, EventLoop)>,
}

impl Subscriber {
    /// Prepares a consumer of `filter`.
    pub fn new(broker: BrokerAddress, client_id: String, filter: String) -> Self {
        Self { broker, client_id, filter, connection: None }
    }

    /// The next happening. Not to be cancelled while it connects.
    pub async fn next(&mut self) -> Happening {
        loop {
            if self.connection.is_none() {
                self.connection = Some(self.connect());
            }
            let Some((client, events)) = &mut self.connection else { continue };
            match events.poll().await {
                Ok(Event::Incoming(Packet::ConnAck(_))) => {
                    if client.subscribe(self.filter.as_str(), QoS::AtLeastOnce).await.is_ok() {
                        return Happening::Connected;
                    }
                    self.connection = None;
                }
                Ok(Event::Incoming(Packet::Publish(publish))) => {
                    let topic = String::from_utf8_lossy(&publish.topic).into_owned();
                    return Happening::Message(Message { topic, payload: publish.payload });
                }
                Ok(_) => {}
                Err(error) => {
                    self.connection = None;
                    tokio::time::sleep(RETRY).await;
                    return Happening::Disconnected(error.to_string());
                }
            }
        }
    }

    fn connect(&self) -> (AsyncClient, EventLoop) {
        let address = (self.broker.host.clone(), self.broker.port);
        let mut options = MqttOptions::new(self.client_id.clone(), address);
        options.set_keep_alive(30);
        options.set_incoming_packet_size_limit(IncomingPacketSizeLimit::Bytes(MESSAGE_BYTES_MAX));
        AsyncClient::builder(options).capacity(8).build()
    }
}
