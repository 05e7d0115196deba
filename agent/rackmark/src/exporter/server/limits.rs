//! What one client may take from the others. All of it stands in
//! `docs/metrics-endpoint.md`.

use std::time::Duration;

/// Connections at a time. A node is scraped by a pair of Prometheus servers and a
/// few people; with TLS a connection costs about 50 KB, so all of them 3 MB.
pub const CONNECTIONS_MAX: usize = 64;

/// Bytes of a request line with its headers. Prometheus sends about 400; proxies
/// and browsers with cookies stay below 8 KiB.
pub const HEAD_BYTES_MAX: usize = 16 * 1024;

/// Time for a request line and its headers, from the first byte, or from the
/// connection for the first request. They are one packet on any network.
pub const HEAD_TIME: Duration = Duration::from_secs(5);

/// Time for a TLS handshake: two round trips and a signature.
pub const HANDSHAKE_TIME: Duration = Duration::from_secs(5);

/// Time in which a client takes its answer, a few hundred KB.
pub const ANSWER_TIME: Duration = Duration::from_secs(30);

/// Time that a connection stays open without a request. Prometheus scrapes every
/// 15 s or 60 s and keeps its connection; three minutes let it miss two scrapes.
pub const IDLE_TIME: Duration = Duration::from_secs(180);

/// Pause after `accept` failed, which it does where the process has no file
/// descriptors left: asking again at once would take a core.
pub const ACCEPT_PAUSE: Duration = Duration::from_millis(500);
