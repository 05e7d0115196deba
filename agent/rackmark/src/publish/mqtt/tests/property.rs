//! Whatever the broker answers, in whatever order, and whenever the network
//! fails: every record is accepted at least once, no connection uses a token
//! twice, and no more is in flight than the window allows.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;

use super::super::session::window;
use super::super::transport::ConnAckFacts;
use super::mock::{MockBroker, MockConnection, Plan, Published, facts, lost, mock};
use super::queue::{EDGES, Queued, SERIES};
use super::{broker, config, start};

#[derive(Debug, Clone)]
enum Step {
    /// A record of one of two streams of its class.
    Append { topic: u8, edge: bool },
    /// A new payload for one of two levels.
    Level { topic: u8 },
    /// The broker answers one of the messages in flight.
    Answer { which: prop::sample::Index, reason: u8 },
    /// The broker takes all in flight, newest first.
    AcceptAll,
    /// The network fails; the next broker has this receive maximum.
    Disconnect { receive_maximum: u16 },
    /// Time passes.
    Wait { ms: u16 },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let reason = prop_oneof![
        6 => Just(0x00_u8),
        3 => Just(0x10),
        1 => prop::sample::select(vec![0x80_u8, 0x83, 0x87, 0x97]),
    ];
    let step = prop_oneof![
        8 => (0..2_u8, any::<bool>()).prop_map(|(topic, edge)| Step::Append { topic, edge }),
        1 => (0..2_u8).prop_map(|topic| Step::Level { topic }),
        8 => (any::<prop::sample::Index>(), reason).prop_map(|(which, reason)| Step::Answer { which, reason }),
        1 => Just(Step::AcceptAll),
        1 => (1..100_u16).prop_map(|receive_maximum| Step::Disconnect { receive_maximum }),
        2 => (0..3000_u16).prop_map(|ms| Step::Wait { ms }),
    ];
    prop::collection::vec(step, 1..250)
}

/// The broker's side, which checks what it sees.
struct Checker {
    broker: MockBroker,
    connection: MockConnection,
    window: u64,
    in_flight: BTreeMap<u64, Published>,
    last_token: u64,
    /// Per topic: the last record seen on this connection, and whether the topic was refused on it.
    order: BTreeMap<String, (u64, bool)>,
    accepted: BTreeSet<u64>,
    levels: BTreeMap<String, u64>,
}

fn quiet(receive_maximum: u16) -> ConnAckFacts {
    ConnAckFacts { keep_alive: Duration::ZERO, ..facts(receive_maximum) }
}

fn number(published: &Published) -> u64 {
    std::str::from_utf8(&published.payload).unwrap().parse().unwrap()
}

impl Checker {
    async fn look(&mut self) {
        for published in self.connection.burst().await {
            assert!(published.token > self.last_token, "token {} again", published.token);
            self.last_token = published.token;
            if published.retain {
                assert!(published.topic.starts_with("level"));
            } else {
                let entry = self.order.entry(published.topic.clone()).or_insert((0, false));
                let number = number(&published);
                // What is new of a series goes before what has waited.
                let in_order = number > entry.0 || !EDGES.contains(&&*published.topic);
                assert!(entry.1 || in_order, "{} out of order on {}", number, published.topic);
                entry.0 = number;
            }
            self.in_flight.insert(published.token, published);
            let oldest = *self.in_flight.keys().next().unwrap();
            let distance = self.last_token - oldest + 1;
            assert!(distance <= self.window, "{distance} in a window of {}", self.window);
        }
    }

    async fn answer(&mut self, token: u64, reason: u8) {
        let published = self.in_flight.remove(&token).unwrap();
        self.connection.answer(&published, reason).await;
        let accepted = reason == 0 || (reason == 0x10 && published.retain);
        if published.retain {
            if accepted {
                self.levels.insert(published.topic.clone(), number(&published));
            }
        } else if accepted {
            self.accepted.insert(number(&published));
        } else {
            self.order.get_mut(&published.topic).unwrap().1 = true;
        }
    }

    async fn accept_all(&mut self) {
        let tokens: Vec<u64> = self.in_flight.keys().rev().copied().collect();
        for token in tokens {
            self.answer(token, 0).await;
        }
    }

    async fn reconnect(&mut self, receive_maximum: u16) {
        self.broker.plan(Plan::Accept(quiet(receive_maximum)));
        self.connection.close(lost()).await;
        self.connection = self.broker.connection().await;
        self.window = u64::from(window(receive_maximum));
        self.in_flight.clear();
        self.order.clear();
        self.last_token = 0;
    }
}

async fn play(steps: Vec<Step>) {
    let outbox = Queued::new();
    let (transport, mut broker_end) = mock();
    broker_end.plan(Plan::Accept(quiet(20)));
    let running = start(transport, config(vec![broker(1)]), outbox.clone());
    let connection = broker_end.connection().await;
    let mut checker = Checker {
        broker: broker_end,
        connection,
        window: 16,
        in_flight: BTreeMap::new(),
        last_token: 0,
        order: BTreeMap::new(),
        accepted: BTreeSet::new(),
        levels: BTreeMap::new(),
    };
    let (mut appended, mut levels) = (0_u64, BTreeMap::new());
    for step in steps {
        match step {
            Step::Append { topic, edge } => {
                appended += 1;
                let streams = if edge { &EDGES[..] } else { &SERIES[..] };
                outbox.stream(streams[usize::from(topic)], appended.to_string());
            }
            Step::Level { topic } => {
                let version = levels.entry(format!("level{topic}")).or_insert(0_u64);
                *version += 1;
                outbox.level(&format!("level{topic}"), Bytes::from(version.to_string()));
            }
            Step::Answer { which, reason } => {
                checker.look().await;
                if !checker.in_flight.is_empty() {
                    let tokens: Vec<u64> = checker.in_flight.keys().copied().collect();
                    checker.answer(*which.get(&tokens), reason).await;
                }
            }
            Step::AcceptAll => {
                checker.look().await;
                checker.accept_all().await;
            }
            Step::Disconnect { receive_maximum } => checker.reconnect(receive_maximum).await,
            Step::Wait { ms } => {
                // A message that waits too long for its answer ends the connection; that has its own test.
                checker.look().await;
                checker.accept_all().await;
                tokio::time::sleep(Duration::from_millis(ms.into())).await;
            }
        }
        checker.look().await;
    }
    // The longest pause of a held topic is 600 s.
    for _ in 0..3000 {
        checker.look().await;
        checker.accept_all().await;
        // The publisher still has the answers to read.
        tokio::time::sleep(Duration::from_millis(1)).await;
        let stats = running.stats();
        if (stats.waiting, stats.in_flight) == (0, 0) && checker.levels == levels {
            break;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    let stats = running.stats();
    assert_eq!(checker.accepted, (1..=appended).collect(), "{stats:?}");
    assert_eq!(checker.levels, levels, "{stats:?}");
    assert_eq!((stats.waiting, stats.quarantined_total, stats.in_flight), (0, 0, 0));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn every_record_is_accepted_at_least_once(steps in steps()) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(play(steps));
    }
}
