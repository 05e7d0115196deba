//! A transport whose broker is the test.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;

use super::super::transport::{
    Broker, CloseCause, ConnAckFacts, ConnectOptions, Connection, Link, LinkEvent, SendRefused, Transport,
    TransportError,
};

/// What the next connection attempt meets. The default plan accepts.
pub(super) enum Plan {
    Accept(ConnAckFacts),
    AcceptAfter(Duration),
    Refuse(u8),
    Hang,
}

/// The publisher's end.
pub(super) struct MockTransport {
    plan: Arc<Mutex<VecDeque<Plan>>>,
    attempts: Arc<Mutex<Vec<Broker>>>,
    connections: mpsc::Sender<MockConnection>,
    stuck: Arc<AtomicBool>,
}

/// The test's end.
pub(super) struct MockBroker {
    pub(super) plan: Arc<Mutex<VecDeque<Plan>>>,
    pub(super) attempts: Arc<Mutex<Vec<Broker>>>,
    connections: mpsc::Receiver<MockConnection>,
    /// Set: later connections never get around to their DISCONNECT, as one stuck in a write.
    pub(super) stuck: Arc<AtomicBool>,
}

/// The test's end of one connection.
pub(super) struct MockConnection {
    pub(super) options: ConnectOptions,
    pub(super) published: mpsc::Receiver<Published>,
    pub(super) events: mpsc::Sender<LinkEvent>,
    /// Set by DISCONNECT: whether it asks for the will.
    pub(super) disconnect: Arc<Mutex<Option<bool>>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Published {
    pub(super) token: u64,
    pub(super) topic: String,
    pub(super) payload: Bytes,
    pub(super) retain: bool,
    pub(super) correlation: Option<Bytes>,
}

pub(super) struct MockLink {
    published: mpsc::Sender<Published>,
    events: mpsc::Sender<LinkEvent>,
    disconnect: Arc<Mutex<Option<bool>>>,
    stuck: bool,
}

pub(super) fn facts(receive_maximum: u16) -> ConnAckFacts {
    ConnAckFacts {
        receive_maximum,
        maximum_packet_size: None,
        retain_available: true,
        keep_alive: Duration::from_secs(5),
        assigned_client_id: None,
    }
}

pub(super) fn mock() -> (MockTransport, MockBroker) {
    let plan = Arc::new(Mutex::new(VecDeque::new()));
    let attempts = Arc::new(Mutex::new(Vec::new()));
    let stuck = Arc::new(AtomicBool::new(false));
    let (to, from) = mpsc::channel(8);
    let transport = MockTransport {
        plan: Arc::clone(&plan),
        attempts: Arc::clone(&attempts),
        connections: to,
        stuck: Arc::clone(&stuck),
    };
    (transport, MockBroker { plan, attempts, connections: from, stuck })
}

impl Transport for MockTransport {
    type Link = MockLink;

    async fn connect(&self, options: ConnectOptions) -> Result<Connection<MockLink>, TransportError> {
        self.attempts.lock().unwrap().push(options.broker.clone());
        let plan = self.plan.lock().unwrap().pop_front();
        let facts = match plan {
            None => facts(u16::MAX),
            Some(Plan::Accept(facts)) => facts,
            Some(Plan::AcceptAfter(pause)) => {
                tokio::time::sleep(pause).await;
                facts(u16::MAX)
            }
            Some(Plan::Refuse(code)) => {
                return Err(TransportError::Refused { code, name: "planned".to_owned() });
            }
            Some(Plan::Hang) => std::future::pending().await,
        };
        let (published_to, published) = mpsc::channel(128);
        let (events_to, events) = mpsc::channel(128);
        let disconnect = Arc::new(Mutex::new(None));
        let link = MockLink {
            published: published_to,
            events: events_to.clone(),
            disconnect: Arc::clone(&disconnect),
            stuck: self.stuck.load(Ordering::Relaxed),
        };
        let connection = MockConnection { options, published, events: events_to, disconnect };
        self.connections.send(connection).await.expect("the test still runs");
        Ok(Connection { link, facts, events })
    }
}

impl Link for MockLink {
    fn try_publish(
        &mut self,
        token: u64,
        topic: &str,
        payload: Bytes,
        retain: bool,
        correlation: Option<Bytes>,
    ) -> Result<(), SendRefused> {
        if topic.contains('#') {
            return Err(SendRefused::InvalidTopic);
        }
        let published = Published { token, topic: topic.to_owned(), payload, retain, correlation };
        self.published.try_send(published).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => SendRefused::Full,
            mpsc::error::TrySendError::Closed(_) => SendRefused::Closed,
        })
    }

    fn disconnect(&mut self, with_will: bool) {
        *self.disconnect.lock().unwrap() = Some(with_will);
        if !self.stuck {
            let _ = self.events.try_send(LinkEvent::Closed(CloseCause::Requested));
        }
    }
}

impl MockBroker {
    pub(super) async fn connection(&mut self) -> MockConnection {
        self.connections.recv().await.expect("the publisher still runs")
    }

    pub(super) fn plan(&self, plan: Plan) {
        self.plan.lock().unwrap().push_back(plan);
    }
}

impl MockConnection {
    /// The next publish.
    pub(super) async fn next(&mut self) -> Published {
        self.published.recv().await.expect("the connection still stands")
    }

    /// All that is published without an answer of ours.
    pub(super) async fn burst(&mut self) -> Vec<Published> {
        let mut burst = Vec::new();
        // Paused time moves only when every task waits.
        while let Ok(Some(published)) =
            tokio::time::timeout(Duration::from_millis(1), self.published.recv()).await
        {
            burst.push(published);
        }
        burst
    }

    pub(super) async fn answer(&self, published: &Published, reason: u8) {
        let acked = LinkEvent::Acked { token: published.token, reason };
        self.events.send(acked).await.expect("the publisher still listens");
    }

    pub(super) async fn close(&self, cause: CloseCause) {
        self.events.send(LinkEvent::Closed(cause)).await.expect("the publisher still listens");
    }
}

/// The network went away.
pub(super) fn lost() -> CloseCause {
    CloseCause::Lost("planned".into())
}
