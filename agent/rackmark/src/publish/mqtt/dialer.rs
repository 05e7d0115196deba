//! Connection attempts.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::timeout;

use super::publisher::{PublisherConfig, WILL_DELAY_S, WillSource};
use super::transport::{Broker, ConnectOptions, Connection, Credentials, Transport, TransportError};

/// Makes connections under the publisher's settings, also one beside another.
pub(super) struct Dialer<T> {
    transport: T,
    config: PublisherConfig,
    will: WillSource,
    /// The credentials in force; renewed while running.
    credentials: Mutex<Option<Credentials>>,
}

impl<T: Transport> Dialer<T> {
    pub(super) fn new(transport: T, config: PublisherConfig, will: WillSource) -> Self {
        let credentials = Mutex::new(config.credentials.clone());
        Self { transport, config, will, credentials }
    }

    /// The broker at a place of the list.
    pub(super) fn broker(&self, at: usize) -> &Broker {
        &self.config.brokers[at]
    }

    /// Uses other credentials from the next attempt on.
    pub(super) fn renew(&self, credentials: Option<Credentials>) {
        *self.credentials.lock().unwrap_or_else(PoisonError::into_inner) = credentials;
    }

    /// One attempt; its outcome is certain soon after the connect timeout.
    pub(super) async fn connect(&self, at: usize) -> Result<Connection<T::Link>, TransportError> {
        let limit = self.config.connect_timeout + Duration::from_secs(1);
        let attempt = self.transport.connect(self.options(at));
        timeout(limit, attempt).await.unwrap_or(Err(TransportError::Timeout))
    }

    fn options(&self, at: usize) -> ConnectOptions {
        let mut will = (self.will)();
        let delay_s = will.delay.as_secs().clamp(*WILL_DELAY_S.start(), *WILL_DELAY_S.end());
        will.delay = Duration::from_secs(delay_s);
        ConnectOptions {
            broker: self.broker(at).clone(),
            client_id: self.config.client_id.clone(),
            credentials: self.credentials.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            keep_alive: self.config.keep_alive,
            connect_timeout: self.config.connect_timeout,
            max_packet_size: self.config.max_packet_size,
            will,
            subscriptions: self.config.subscriptions.clone(),
        }
    }
}
