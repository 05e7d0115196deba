//! Keeps the publisher running under the configuration in force.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rackmark_feed::topic;
use tokio::sync::{mpsc, watch};

use super::feed::SharedFeed;
use super::mqtt::{
    Broker, Credentials, Incoming, Outbox, Publisher, PublisherConfig, RumqttTransport, Security, Will,
};
use crate::config::Config;
use crate::exit::chain;
use crate::sampling::task::SharedRoster;

/// How long one connection attempt may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Largest packet this node takes; nothing larger is ever sent to it.
const INCOMING_BYTES_MAX: u32 = 64 * 1024;

/// Publishes until `stop` is set; a changed configuration replaces the publisher.
pub async fn run(
    mut config: watch::Receiver<Arc<Config>>,
    outbox: Outbox,
    feed: SharedFeed,
    roster: SharedRoster,
    stop: watch::Receiver<bool>,
) {
    loop {
        let now = config.borrow_and_update().clone();
        let (mut stopping, mut changing) = (stop.clone(), config.clone());
        let over = async move {
            tokio::select! {
                _ = stopping.wait_for(|stop| *stop) => {}
                _ = changing.wait_for(|new| publishing_differs(&now, new)) => {}
            }
        };
        let now = config.borrow().clone();
        if now.brokers.is_empty() {
            over.await;
        } else {
            // Nothing is subscribed to, so nothing arrives.
            let (incoming, _commands) = mpsc::channel::<Incoming>(1);
            let publisher = Publisher::new(
                RumqttTransport::new(),
                publisher_config(&now),
                outbox.clone(),
                will(&now, feed.clone(), roster.clone()),
                incoming,
            );
            match publisher {
                Ok(publisher) => publisher.run(over).await,
                Err(error) => {
                    tracing::error!(error = chain(&error), "the feed is not published");
                    over.await;
                }
            }
        }
        if *stop.borrow() {
            return;
        }
    }
}

fn publishing_differs(old: &Config, new: &Config) -> bool {
    (&old.brokers, old.keep_alive, &old.credentials) != (&new.brokers, new.keep_alive, &new.credentials)
}

fn publisher_config(config: &Config) -> PublisherConfig {
    let broker = |broker: &crate::config::BrokerAddress| Broker {
        host: broker.host.clone(),
        port: broker.port,
        security: Security::Plain,
    };
    let credentials = config.credentials.as_ref().and_then(|credentials| {
        let text = fs::read_to_string(&credentials.password_file)
            .inspect_err(|error| tracing::error!(file = %credentials.password_file.display(), %error, "cannot read the broker password"))
            .ok()?;
        let password = Bytes::copy_from_slice(text.lines().next().unwrap_or("").as_bytes());
        Some(Credentials { username: credentials.username.clone(), password })
    });
    PublisherConfig {
        brokers: config.brokers.iter().map(broker).collect(),
        client_id: format!("rackmark-{}-{}", config.site, config.node),
        credentials,
        keep_alive: config.keep_alive,
        connect_timeout: CONNECT_TIMEOUT,
        max_packet_size: INCOMING_BYTES_MAX,
        subscriptions: Vec::new(),
    }
}

/// A fresh will for every connection.
fn will(config: &Config, feed: SharedFeed, roster: SharedRoster) -> Box<dyn Fn() -> Will + Send + Sync> {
    let topic = topic::status(&config.site, &config.node).unwrap_or_default();
    Box::new(move || {
        let made = feed.with(&roster, super::feed::Feed::will);
        made.unwrap_or_else(|| Will {
            topic: topic.clone(),
            payload: Bytes::new(),
            delay: Duration::from_secs(10),
        })
    })
}
