//! MQTT 5 publisher: levels and streams of opaque bytes to one broker at a time.
//!
//! The client library is a pipe and never a queue. Every connection uses a
//! fresh client and a fresh event loop with Clean Start, and begins again at
//! the first record that no broker acknowledged. What waits is kept in the
//! [`Outbox`]; what was acknowledged is released there record by record.
//!
//! | Part | Knows |
//! |---|---|
//! | [`Outbox`] | what should be at the broker: the newest levels, answers, the [`Backlog`] of stream records |
//! | [`Session`](session::Session) | one connection's rules: window, reasons; no I/O and no clock of its own |
//! | [`Lanes`](lanes::Lanes), [`Hold`](holds::Hold), [`Pace`](pace::Pace) | whose turn it is, which topics are held, how much of what waited is on its way |
//! | [`Transport`](transport::Transport), [`Link`](transport::Link) | one connection's bytes |
//! | [`Publisher`] | brokers, back-off, silence, shutdown |
//!
//! The module knows nothing of what the payloads mean.

mod backlog;
mod backoff;
mod brokers;
mod dialer;
mod holds;
mod lanes;
mod outbox;
mod pace;
mod publisher;
mod report;
mod rumqtt;
mod session;
mod stats;
mod transport;

#[cfg(test)]
mod tests;

pub use backlog::{Again, Backlog, Class, Found, GivenUp, Reader, Record, StreamIndex};
pub use outbox::{Outbox, Reply};
pub use publisher::{Publisher, PublisherConfig, Will};
pub use rumqtt::{RumqttTransport, secure};
#[cfg(test)]
pub use stats::BrokerInUse;
pub use stats::{PublisherStats, StatsSnapshot, count_refused};
pub use transport::{Broker, Credentials, Incoming, Security};
