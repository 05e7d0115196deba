//! Counters of the publisher, readable from any thread at the price of a load.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{SystemTime, UNIX_EPOCH};

macro_rules! stats {
    ($($(#[$doc:meta])* $name:ident,)+) => {
        /// Live counters and gauges. Relaxed atomics: each value is right, together they are not one instant.
        #[derive(Debug, Default)]
        pub struct PublisherStats {
            $(pub(super) $name: AtomicU64,)+
        }

        /// The values of [`PublisherStats`] as plain numbers.
        #[derive(Debug, Clone, Default, PartialEq, Eq)]
        pub struct StatsSnapshot {
            $($(#[$doc])* pub $name: u64,)+
        }

        impl PublisherStats {
            /// Reads every value.
            pub fn snapshot(&self) -> StatsSnapshot {
                StatsSnapshot { $($name: self.$name.load(Relaxed),)+ }
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
    /// Series records given up for want of room in the backlog.
    dropped_series_total,
    /// Edge records given up for want of room in the backlog.
    dropped_edge_total,
    /// Messages received on subscribed topics.
    incoming_total,
    /// Of these, given up because the receiver's channel was full.
    incoming_dropped_total,
    /// Gauge: topics held back after a refusal.
    held_topics,
    /// Gauge: records that wait in the backlog, in flight included.
    backlog_messages,
    /// Gauge: their bytes, topics included.
    backlog_bytes,
    /// Gauge: PUBLISH packets without PUBACK on this connection.
    in_flight,
    /// Time of the last accepted PUBLISH in ms since 1970 (wall clock), 0 before the first.
    last_ack_unix_ms,
    /// Gauge: length of the present pause between connection attempts in ms, 0 while connecting or connected.
    backoff_current_ms,
}

impl PublisherStats {
    pub(super) fn note_ack(&self) {
        add(&self.acked_total);
        set(&self.last_ack_unix_ms, unix_ms());
    }
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
