//! Tests of the parts together, over a connection that the test plays itself
//! ([`mock`]), over hostile TCP peers and over a real broker.

mod hostile;
mod mock;
mod mosquitto;
mod property;
mod rules;

use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use super::transport::Transport;
use super::{Broker, Incoming, Outbox, Publisher, PublisherConfig, Security, StatsSnapshot, Will};

/// A running publisher.
struct Running {
    outbox: Outbox,
    incoming: mpsc::Receiver<Incoming>,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Running {
    fn stats(&self) -> StatsSnapshot {
        self.outbox.stats().snapshot()
    }

    /// Stops the publisher and says how long it took.
    async fn stop(self) -> Duration {
        let asked = tokio::time::Instant::now();
        self.stop.send(()).expect("the publisher still runs");
        self.task.await.expect("the publisher does not panic");
        asked.elapsed()
    }

    /// Waits on the wall clock until `condition` holds.
    async fn until(&self, what: &str, condition: impl Fn(&StatsSnapshot) -> bool) {
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
    outbox: Outbox,
) -> Running {
    let (incoming_to, incoming) = mpsc::channel(16);
    let (stop, stopped) = oneshot::channel();
    let publisher = Publisher::new(transport, config, outbox.clone(), Box::new(will), incoming_to)
        .expect("the test's configuration is valid");
    let task = tokio::spawn(publisher.run(async {
        let _ = stopped.await;
    }));
    Running { outbox, incoming, stop, task }
}
