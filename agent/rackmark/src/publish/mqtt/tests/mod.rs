//! Tests of the parts together, over a connection that the test plays itself
//! ([`mock`]), over hostile TCP peers and over a real broker.

mod certificates;
mod failover;
mod hostile;
mod mock;
mod mosquitto;
mod property;
mod queue;
mod rules;
mod simulation;
mod tls;

use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use super::transport::Transport;
use super::{Broker, Incoming, Publisher, PublisherConfig, Security, StatsSnapshot, Will};
use queue::Queued;

/// A running publisher.
struct Running {
    outbox: Queued,
    incoming: mpsc::Receiver<Incoming>,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

/// The publisher's counters, and how many records wait.
#[derive(Debug)]
struct Seen {
    stats: StatsSnapshot,
    waiting: usize,
}

impl std::ops::Deref for Seen {
    type Target = StatsSnapshot;

    fn deref(&self) -> &StatsSnapshot {
        &self.stats
    }
}

impl Running {
    fn stats(&self) -> Seen {
        Seen { stats: self.outbox.stats().snapshot(), waiting: self.outbox.waiting() }
    }

    /// Stops the publisher and says how long it took.
    async fn stop(self) -> Duration {
        let asked = tokio::time::Instant::now();
        self.stop.send(()).expect("the publisher still runs");
        self.task.await.expect("the publisher does not panic");
        asked.elapsed()
    }

    /// Waits on the wall clock until `condition` holds.
    async fn until(&self, what: &str, condition: impl Fn(&Seen) -> bool) {
        let give_up = tokio::time::Instant::now() + Duration::from_secs(30);
        while !condition(&self.stats()) {
            assert!(tokio::time::Instant::now() < give_up, "never: {what}; {:?}", self.stats());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

fn broker(port: u16) -> Broker {
    Broker { host: "127.0.0.1".to_owned(), port, security: Security::Plain }
}

fn config(brokers: Vec<Broker>) -> PublisherConfig {
    PublisherConfig {
        brokers,
        client_id: "node".to_owned(),
        credentials: None,
        keep_alive: Duration::from_secs(5),
        reconnect_max: super::backoff::CAP,
        connect_timeout: Duration::from_secs(3),
        max_packet_size: 64 * 1024,
        subscriptions: Vec::new(),
    }
}

fn will() -> Will {
    Will { topic: "status".to_owned(), payload: Bytes::from_static(b"dead"), delay: Duration::from_secs(10) }
}

fn start<T: Transport<Link: 'static> + 'static>(
    transport: T,
    config: PublisherConfig,
    outbox: Queued,
) -> Running {
    let (incoming_to, incoming) = mpsc::channel(16);
    let (stop, stopped) = oneshot::channel();
    let publisher = Publisher::new(transport, config, (*outbox).clone(), Box::new(will), incoming_to)
        .expect("the test's configuration is valid");
    let task = tokio::spawn(publisher.run(async {
        let _ = stopped.await;
    }));
    Running { outbox, incoming, stop, task }
}
