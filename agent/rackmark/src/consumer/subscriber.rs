//! A consumer of the feed, as the CLI and the demo need one: connects, takes
//! everything below `rackmark/v1/`, reconnects. It shares nothing with the
//! agent's publisher but the broker.

use std::time::Duration;

use bytes::Bytes;
use rumqttc::mqttbytes::QoS;
use rumqttc::mqttbytes::v5::Packet;
use rumqttc::{AsyncClient, Event, EventLoop, IncomingPacketSizeLimit, MqttOptions};

use crate::exit::chain;
use crate::publish::mqtt::{Broker, secure};
use crate::tls::TlsSettingsError;

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
    broker: Broker,
    client_id: String,
    filter: String,
    connection: Option<(AsyncClient, EventLoop)>,
}

impl Subscriber {
    /// Prepares a consumer of `filter`.
    pub fn new(broker: Broker, client_id: String, filter: String) -> Self {
        Self { broker, client_id, filter, connection: None }
    }

    /// The next happening. Not to be cancelled while it connects.
    pub async fn next(&mut self) -> Happening {
        loop {
            if self.connection.is_none() {
                match self.connect() {
                    Ok(connection) => self.connection = Some(connection),
                    Err(error) => {
                        tokio::time::sleep(RETRY).await;
                        return Happening::Disconnected(chain(&error));
                    }
                }
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

    fn connect(&self) -> Result<(AsyncClient, EventLoop), TlsSettingsError> {
        let address = (self.broker.url_host(), self.broker.port);
        let mut options = MqttOptions::new(self.client_id.clone(), address);
        options.set_keep_alive(30);
        options.set_incoming_packet_size_limit(IncomingPacketSizeLimit::Bytes(MESSAGE_BYTES_MAX));
        secure(&mut options, &self.broker)?;
        Ok(AsyncClient::builder(options).capacity(8).build())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::publish::mqtt::Security;
    use crate::tls::TlsSettings;

    #[tokio::test(start_paused = true)]
    async fn a_tls_broker_is_not_spoken_to_without_its_files() {
        let tls = TlsSettings { ca_file: "/nowhere/ca.pem".into(), certificate: None, server_name: None };
        let broker = Broker { host: "127.0.0.1".to_owned(), port: 1, security: Security::Tls(tls) };
        let mut subscriber = Subscriber::new(broker, "test".to_owned(), "#".to_owned());
        let Happening::Disconnected(why) = subscriber.next().await else { panic!("connected without files") };
        assert!(why.contains("cannot read /nowhere/ca.pem"), "{why}");
    }
}
