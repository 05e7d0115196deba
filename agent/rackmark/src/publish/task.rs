//! Keeps the publisher running under the configuration in force.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rackmark_feed::topic;
use tokio::sync::{mpsc, watch};

use super::feed::SharedFeed;
use super::inbox;
use super::mqtt::{Incoming, Outbox, Publisher, PublisherConfig, RumqttTransport, Will};
use super::renewal::{RenewableFiles, read_credentials};
use crate::attesting::Changes;
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
    incoming: mpsc::Sender<Incoming>,
    feed: SharedFeed,
    roster: SharedRoster,
    changes: Changes,
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
            let files = RenewableFiles::new(&now, outbox.stats(), changes.clone());
            let publisher = Publisher::new(
                RumqttTransport::new(),
                publisher_config(&now),
                outbox.clone(),
                will(&now, feed.clone(), roster.clone()),
                incoming.clone(),
            );
            match publisher {
                Ok(publisher) => {
                    let (renew, renewed) = watch::channel(None);
                    tokio::select! {
                        () = publisher.renewed_by(renewed).run(over) => {}
                        () = files.watch(renew) => {}
                    }
                }
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
    let differs = (&old.brokers, old.keep_alive, old.reconnect_max, &old.credentials, &old.broker_tls)
        != (&new.brokers, new.keep_alive, new.reconnect_max, &new.credentials, &new.broker_tls);
    differs || inbox::subscriptions(old) != inbox::subscriptions(new)
}

fn publisher_config(config: &Config) -> PublisherConfig {
    PublisherConfig {
        brokers: config.brokers.iter().map(|broker| broker.broker(&config.broker_tls)).collect(),
        client_id: format!("rackmark-{}-{}", config.site, config.node),
        credentials: read_credentials(config)
            .inspect_err(|error| tracing::error!(error = chain(error), "the broker gets no password"))
            .unwrap_or(None),
        keep_alive: config.keep_alive,
        reconnect_max: config.reconnect_max,
        connect_timeout: CONNECT_TIMEOUT,
        max_packet_size: INCOMING_BYTES_MAX,
        subscriptions: inbox::subscriptions(config),
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
