//! The [`Transport`] over `rumqttc`: a fresh client and event loop per connection, never reused.
//!
//! The library has no token for a publish that survives to its PUBACK without
//! a future per message. It announces `Outgoing::Publish(id)` in the order in
//! which it took the requests, so a queue of tokens next to its request
//! channel tells which token got which packet identifier. That is exact as
//! long as the event loop never resumes a session and no identifier is used
//! twice at a time; the first is the rule here, the second the window's.

use std::collections::VecDeque;
use std::error::Error;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use rumqttc::mqttbytes::QoS;
use rumqttc::mqttbytes::v5::{
    ConnAck, ConnectReturnCode, DisconnectProperties, DisconnectReasonCode, LastWill, LastWillProperties,
    Packet, Publish, PublishProperties,
};
use rumqttc::{
    AsyncClient, ClientError, ConnectionError, Event, EventLoop, MqttOptions, Outgoing, PublishOptions,
    StateError, SubscribeFilterInput, Transport as RumqttcTransport, default_socket_connect,
};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use super::transport::{
    Broker, CloseCause, ConnAckFacts, ConnectOptions, Connection, Incoming, Link, LinkEvent, Security,
    SendRefused, Transport, TransportError,
};
use crate::tls::{TlsSettingsError, handshake};

/// The library's own in-flight limit, above any window; its tables have this size.
const IN_FLIGHT_LIMIT: u16 = 128;
/// Requests on their way to the event loop; above any window, so that it never fills.
const REQUEST_CHANNEL: usize = 128;
/// Events on their way to the publisher, which reads them at once.
const EVENT_CHANNEL: usize = 128;
/// Requests written before one flush.
const REQUEST_BATCH: usize = 32;

/// Connections by `rumqttc`.
#[derive(Debug, Default)]
pub struct RumqttTransport {}

impl RumqttTransport {
    /// A transport without state.
    pub fn new() -> Self {
        Self {}
    }
}

/// Tokens whose publishes wait in the request channel, oldest first.
type Unbound = Arc<Mutex<VecDeque<u64>>>;

/// Sending side of a `rumqttc` connection.
pub struct RumqttLink {
    client: AsyncClient,
    unbound: Unbound,
    _task: PollTask,
}

/// The task that polls the event loop; ends with its handle, and the socket with it.
struct PollTask(JoinHandle<()>);

impl Drop for PollTask {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Transport for RumqttTransport {
    type Link = RumqttLink;

    async fn connect(&self, options: ConnectOptions) -> Result<Connection<RumqttLink>, TransportError> {
        let mut mqtt = mqtt_options(&options);
        secure(&mut mqtt, &options.broker).map_err(|error| TransportError::Failed(Box::new(error)))?;
        let (client, event_loop) = AsyncClient::builder(mqtt)
            .capacity(REQUEST_CHANNEL)
            .try_build()
            .map_err(|error| TransportError::Failed(Box::new(error)))?;
        if !options.subscriptions.is_empty() {
            let filters = options
                .subscriptions
                .iter()
                .map(|topic| SubscribeFilterInput::new(topic.as_str(), QoS::AtLeastOnce));
            client.try_subscribe_many(filters).map_err(|error| TransportError::Failed(Box::new(error)))?;
        }

        let unbound = Unbound::default();
        let (facts_to, facts) = oneshot::channel();
        let (events_to, events) = mpsc::channel(EVENT_CHANNEL);
        let poller = Poller { unbound: Arc::clone(&unbound), bound: Vec::new(), events: events_to };
        // In a task of its own from the start: whatever the library does there, it cannot stop the publisher.
        let task = PollTask(tokio::spawn(poller.run(event_loop, facts_to)));
        let facts = facts
            .await
            .unwrap_or_else(|_| Err(TransportError::Failed("the connection's task ended".into())))?;
        Ok(Connection { link: RumqttLink { client, unbound, _task: task }, facts, events })
    }
}

/// Makes the library connect to `broker` as its [`Security`] says. The library
/// gets a finished stream: its own TLS would bring the system's certificate
/// store, and knows no server name but the host.
///
/// # Errors
/// [`TlsSettingsError`] where the files for TLS cannot be used.
pub fn secure(mqtt: &mut MqttOptions, broker: &Broker) -> Result<(), TlsSettingsError> {
    let Security::Tls(settings) = &broker.security else { return Ok(()) };
    let config = settings.client_config()?;
    let name = settings.expected_name(&broker.host)?;
    mqtt.set_socket_connector(move |address, network| {
        let (config, name) = (Arc::clone(&config), name.clone());
        async move { handshake(config, name, default_socket_connect(address, network).await?).await }
    });
    Ok(())
}

fn mqtt_options(options: &ConnectOptions) -> MqttOptions {
    let mut mqtt =
        MqttOptions::new(options.client_id.as_str(), (options.broker.url_host(), options.broker.port));
    mqtt.set_transport(RumqttcTransport::tcp());
    if let Some(credentials) = &options.credentials {
        mqtt.set_credentials(credentials.username.as_str(), credentials.password.clone());
    }
    let will_delay = u32::try_from(options.will.delay.as_secs()).unwrap_or(u32::MAX);
    mqtt.set_clean_start(true)
        // A will waits for its delay or for the end of the session, whichever comes first, so the session
        // lasts as long as the will's delay. It is never resumed: every connection starts clean.
        .set_session_expiry_interval(Some(will_delay))
        .set_keep_alive(u16::try_from(options.keep_alive.as_secs()).unwrap_or(u16::MAX))
        .set_connect_timeout(options.connect_timeout)
        .set_max_packet_size(Some(options.max_packet_size))
        .set_outgoing_inflight_upper_limit(IN_FLIGHT_LIMIT)
        .set_max_request_batch(REQUEST_BATCH)
        .set_last_will(LastWill {
            topic: Bytes::from(options.will.topic.clone()),
            message: options.will.payload.clone(),
            qos: QoS::AtLeastOnce,
            retain: true,
            properties: Some(LastWillProperties {
                delay_interval: Some(will_delay),
                payload_format_indicator: None,
                message_expiry_interval: None,
                content_type: None,
                response_topic: None,
                correlation_data: None,
                user_properties: Vec::new(),
            }),
        });
    let mut network = mqtt.network_options();
    network.set_tcp_nodelay(true);
    mqtt.set_network_options(network);
    mqtt
}

impl Link for RumqttLink {
    fn try_publish(
        &mut self,
        token: u64,
        topic: &str,
        payload: Bytes,
        retain: bool,
        correlation: Option<Bytes>,
    ) -> Result<(), SendRefused> {
        let mut options = PublishOptions::at_least_once().retain(retain);
        if let Some(correlation) = correlation {
            options = options.properties(PublishProperties {
                correlation_data: Some(correlation),
                ..PublishProperties::default()
            });
        }
        // One lock over both queues: the event loop may take the request before this call returns.
        let mut unbound = self.unbound.lock().unwrap_or_else(PoisonError::into_inner);
        unbound.push_back(token);
        self.client.try_publish(topic, payload, options).map_err(|error| {
            unbound.pop_back();
            match error {
                ClientError::RequestChannelFull(_) => SendRefused::Full,
                ClientError::InvalidRequest(_) => SendRefused::InvalidTopic,
                _ => SendRefused::Closed,
            }
        })
    }

    fn disconnect(&mut self, with_will: bool) {
        let reason = if with_will {
            DisconnectReasonCode::DisconnectWithWillMessage
        } else {
            DisconnectReasonCode::NormalDisconnection
        };
        // Zero ends the session with the connection: a will asked for by 0x04 goes out at once.
        let properties = DisconnectProperties {
            session_expiry_interval: Some(0),
            reason_string: None,
            user_properties: Vec::new(),
            server_reference: None,
        };
        // It fails only where the connection's task has ended: then there is nothing left to disconnect.
        let _ = self.client.try_disconnect_now_with_properties(reason, properties);
    }
}

struct Poller {
    unbound: Unbound,
    /// Packet identifier and token of each publish without PUBACK; as many as the window.
    bound: Vec<(u16, u64)>,
    events: mpsc::Sender<LinkEvent>,
}

type FactsSender = oneshot::Sender<Result<ConnAckFacts, TransportError>>;

impl Poller {
    /// Does nothing but poll and pass on, until the connection ends.
    async fn run(mut self, mut event_loop: EventLoop, facts_to: FactsSender) {
        let mut facts_to = Some(facts_to);
        let cause = loop {
            let event = match event_loop.poll().await {
                Ok(Event::Incoming(Packet::ConnAck(connack))) => {
                    if let Some(facts_to) = facts_to.take() {
                        let _ = facts_to.send(Ok(facts(&connack, event_loop.options.keep_alive())));
                    }
                    continue;
                }
                Ok(Event::Outgoing(Outgoing::Disconnect)) => break CloseCause::Requested,
                Ok(event) => self.translate(event),
                Err(error) => {
                    if let Some(facts_to) = facts_to.take() {
                        let _ = facts_to.send(Err(connect_error(error)));
                        return;
                    }
                    break close_cause(error);
                }
            };
            match event {
                Ok(Some(event)) => {
                    if self.events.send(event).await.is_err() {
                        return;
                    }
                }
                Ok(None) => {}
                Err(cause) => break cause,
            }
        };
        // The socket closes before the publisher hears of it.
        drop(event_loop);
        let _ = self.events.send(LinkEvent::Closed(cause)).await;
    }

    fn translate(&mut self, event: Event) -> Result<Option<LinkEvent>, CloseCause> {
        Ok(Some(match event {
            Event::Outgoing(Outgoing::Publish(id)) => {
                let token = self.unbound.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
                self.bound.push((id, token.ok_or_else(out_of_step)?));
                return Ok(None);
            }
            Event::Incoming(Packet::PubAck(puback)) => {
                let at = self.bound.iter().position(|(id, _)| *id == puback.pkid).ok_or_else(out_of_step)?;
                let (_, token) = self.bound.swap_remove(at);
                LinkEvent::Acked { token, reason: puback.reason as u8 }
            }
            Event::Incoming(Packet::Publish(publish)) => match incoming(publish) {
                Some(incoming) => LinkEvent::Incoming(incoming),
                None => LinkEvent::Alive,
            },
            Event::Incoming(Packet::SubAck(suback)) => {
                use rumqttc::mqttbytes::v5::SubscribeReasonCode as Code;
                match suback.return_codes.into_iter().find(|code| !matches!(code, Code::Success(_))) {
                    Some(code) => LinkEvent::SubscriptionRefused(format!("{code:?}")),
                    None => LinkEvent::Alive,
                }
            }
            Event::Incoming(_) => LinkEvent::Alive,
            Event::Outgoing(_) | Event::Auth(_) => return Ok(None),
        }))
    }
}

fn out_of_step() -> CloseCause {
    CloseCause::Lost("packet identifiers do not match the messages sent".into())
}

fn facts(connack: &ConnAck, keep_alive: Duration) -> ConnAckFacts {
    let properties = connack.properties.as_ref();
    ConnAckFacts {
        receive_maximum: properties.and_then(|p| p.receive_max).unwrap_or(u16::MAX),
        maximum_packet_size: properties.and_then(|p| p.max_packet_size),
        retain_available: properties.and_then(|p| p.retain_available) != Some(0),
        keep_alive,
        assigned_client_id: properties.and_then(|p| p.assigned_client_identifier.clone()),
    }
}

fn incoming(publish: Publish) -> Option<Incoming> {
    let properties = publish.properties.unwrap_or_default();
    Some(Incoming {
        topic: String::from_utf8(publish.topic.into()).ok()?,
        payload: publish.payload,
        response_topic: properties.response_topic,
        correlation_data: properties.correlation_data,
    })
}

fn connect_error(error: ConnectionError) -> TransportError {
    match error {
        ConnectionError::ConnectionRefused(code) => {
            TransportError::Refused { code: connack_code(code), name: format!("{code:?}") }
        }
        ConnectionError::Timeout(_) => TransportError::Timeout,
        other => TransportError::Failed(Box::new(other)),
    }
}

/// Which side's fault the end was, as far as it can be told.
fn close_cause(error: ConnectionError) -> CloseCause {
    use DisconnectReasonCode as Code;
    let ours: bool = match &error {
        ConnectionError::MqttState(
            StateError::Deserialization(_) | StateError::OutgoingPacketTooLarge { .. },
        ) => true,
        ConnectionError::MqttState(StateError::ServerDisconnect { reason_code, .. }) => matches!(
            reason_code,
            Code::MalformedPacket
                | Code::ProtocolError
                | Code::TopicNameInvalid
                | Code::PacketTooLarge
                | Code::PayloadFormatInvalid
                | Code::RetainNotSupported
                | Code::QoSNotSupported
        ),
        _ => false,
    };
    let error: Box<dyn Error + Send + Sync> = Box::new(error);
    if ours { CloseCause::Protocol(error) } else { CloseCause::Lost(error) }
}

/// The CONNACK reason code of the library's name for it (MQTT 5, table 3-1; the first two are MQTT 3.1.1's).
fn connack_code(code: ConnectReturnCode) -> u8 {
    use ConnectReturnCode as Code;
    match code {
        Code::Success => 0x00,
        Code::RefusedProtocolVersion => 0x01,
        Code::BadClientId => 0x02,
        Code::ServiceUnavailable => 0x03,
        Code::UnspecifiedError => 0x80,
        Code::MalformedPacket => 0x81,
        Code::ProtocolError => 0x82,
        Code::ImplementationSpecificError => 0x83,
        Code::UnsupportedProtocolVersion => 0x84,
        Code::ClientIdentifierNotValid => 0x85,
        Code::BadUserNamePassword => 0x86,
        Code::NotAuthorized => 0x87,
        Code::ServerUnavailable => 0x88,
        Code::ServerBusy => 0x89,
        Code::Banned => 0x8a,
        Code::BadAuthenticationMethod => 0x8c,
        Code::TopicNameInvalid => 0x90,
        Code::PacketTooLarge => 0x95,
        Code::QuotaExceeded => 0x97,
        Code::PayloadFormatInvalid => 0x99,
        Code::RetainNotSupported => 0x9a,
        Code::QoSNotSupported => 0x9b,
        Code::UseAnotherServer => 0x9c,
        Code::ServerMoved => 0x9d,
        Code::ConnectionRateExceeded => 0x9f,
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Broker, Will};
    use super::*;

    #[test]
    fn every_connection_starts_clean_and_its_session_lasts_as_long_as_the_wills_delay() {
        let options = mqtt_options(&ConnectOptions {
            broker: Broker { host: "127.0.0.1".to_owned(), port: 1, security: Security::Plain },
            client_id: "node".to_owned(),
            credentials: None,
            keep_alive: Duration::from_secs(30),
            connect_timeout: Duration::from_secs(7),
            max_packet_size: 5000,
            will: Will {
                topic: "status".to_owned(),
                payload: Bytes::from_static(b"dead"),
                delay: Duration::from_secs(20),
            },
            subscriptions: Vec::new(),
        });
        assert!(options.clean_start());
        assert_eq!(options.session_expiry_interval(), Some(20));
        assert_eq!(options.max_packet_size(), Some(5000));
        assert_eq!(options.get_outgoing_inflight_upper_limit(), Some(IN_FLIGHT_LIMIT));
        assert_eq!(options.connect_timeout(), Duration::from_secs(7));
        assert_eq!(options.keep_alive(), Duration::from_secs(30));
        let will = options.last_will().unwrap();
        assert_eq!((will.qos, will.retain), (QoS::AtLeastOnce, true));
        assert_eq!(will.properties.unwrap().delay_interval, Some(20));
    }
}
