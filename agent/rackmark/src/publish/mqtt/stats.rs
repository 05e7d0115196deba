//! Counters of the publisher, readable from any thread at the price of a load.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use super::transport::Broker;

/// A broker by its place in the list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BrokerInUse {
    /// Place in the configured list, from 0.
    pub place: usize,
    /// `host:port`.
    pub address: String,
}

macro_rules! stats {
    ($($(#[$doc:meta])* $name:ident,)+) => {
        /// Live counters and gauges. Relaxed atomics: each value is right, together they are not one instant.
        #[derive(Debug, Default)]
        pub struct PublisherStats {
            $(pub(super) $name: AtomicU64,)+
            broker: Mutex<Option<BrokerInUse>>,
        }

        /// The values of [`PublisherStats`] as plain numbers.
        #[derive(Debug, Clone, Default, PartialEq, Eq)]
        pub struct StatsSnapshot {
            $($(#[$doc])* pub $name: u64,)+
            /// The broker of the newest connection, the present one or the last.
            pub broker: Option<BrokerInUse>,
        }

        impl PublisherStats {
            /// Reads every value.
            pub fn snapshot(&self) -> StatsSnapshot {
                StatsSnapshot {
                    $($name: self.$name.load(Relaxed),)+
                    broker: self.broker.lock().unwrap_or_else(PoisonError::into_inner).clone(),
                }
            }
        }
    };
}

stats! {
    /// Gauge: 1 between CONNACK and the end of the connection, otherwise 0.
    connected,
    /// Connections that reached a successful CONNACK.
    connects_total,
    /// Attempts that did not.
    connect_failures_total,
    /// Connections that ended, for any cause but our own shutdown.
    disconnects_total,
    /// PUBLISH packets handed to the connection for levels, repeats included.
    published_level_total,
    /// The same for series records.
    published_series_total,
    /// The same for edge records.
    published_edge_total,
    /// PUBLISH packets that the broker accepted.
    acked_total,
    /// PUBACK 0x87: the broker's access rules forbid the topic.
    refused_not_authorized_total,
    /// PUBACK 0x97: quota exceeded.
    refused_quota_total,
    /// PUBACK with any other failure that is tried again.
    refused_other_total,
    /// PUBACK 0x10 for a stream topic: nobody is subscribed; the record is kept.
    no_subscriber_total,
    /// Messages given up because this broker can never take them (too large, invalid topic or payload).
    quarantined_total,
    /// Answers not given because too many waited.
    replies_dropped_total,
    /// Messages received on subscribed topics.
    incoming_total,
    /// Of these, given up because the receiver's channel was full.
    incoming_dropped_total,
    /// Messages to the node that were refused: unknown sender, wrong signature, wrong node, epoch or time.
    incoming_refused_total,
    /// Gauge: topics held back after a refusal.
    held_topics,
    /// Gauge: PUBLISH packets without PUBACK on this connection.
    in_flight,
    /// Time of the last accepted PUBLISH in ms since 1970 (wall clock), 0 before the first.
    last_ack_unix_ms,
    /// Gauge: length of the present pause between connection attempts in ms, 0 while connecting or connected.
    backoff_current_ms,
    /// Connections made to another broker than the connection before.
    failovers_total,
    /// Times that replaced certificate files could not be used, and the old connection stayed.
    renewal_failures_total,
    /// Gauge: last second of the own certificate in s since 1970 (wall clock), 0 without one.
    certificate_not_after_unix_s,
}

impl PublisherStats {
    /// The own certificate, newly loaded, is valid until then; `None` without one.
    pub fn note_certificate(&self, not_after_unix_s: Option<u64>) {
        set(&self.certificate_not_after_unix_s, not_after_unix_s.unwrap_or(0));
    }

    /// Replaced files could not be used.
    pub fn note_renewal_failure(&self) {
        add(&self.renewal_failures_total);
    }

    pub(super) fn note_broker(&self, place: usize, broker: &Broker) {
        let now = BrokerInUse { place, address: broker.to_string() };
        let mut known = self.broker.lock().unwrap_or_else(PoisonError::into_inner);
        if known.as_ref().is_some_and(|known| *known != now) {
            add(&self.failovers_total);
        }
        *known = Some(now);
    }

    pub(super) fn note_ack(&self) {
        add(&self.acked_total);
        set(&self.last_ack_unix_ms, unix_ms());
    }
}

/// Counts a message to the node that its receiver refused.
pub fn count_refused(stats: &PublisherStats) {
    add(&stats.incoming_refused_total);
}

pub(super) fn add(counter: &AtomicU64) {
    counter.fetch_add(1, Relaxed);
}

pub(super) fn set(gauge: &AtomicU64, value: u64) {
    gauge.store(value, Relaxed);
}

fn unix_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}
