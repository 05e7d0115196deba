//! What the endpoint counts about itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::limits::CONNECTIONS_MAX;

/// Why a connection or a request was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// Too many connections.
    Connections,
    /// The TLS handshake failed, for want of a good client certificate or otherwise.
    Tls,
    /// The handshake, the headers or the taking of the answer took too long.
    Timeout,
    /// Too many or too long headers.
    HeaderSize,
    /// It was not HTTP.
    Malformed,
    /// The request had a body.
    Body,
    /// A method other than GET and HEAD.
    Method,
    /// There is nothing at that path.
    Path,
    /// No user, or a wrong password.
    Unauthorized,
    /// Too many passwords waited to be checked.
    AuthBusy,
    /// More requests than the configuration allows.
    RateLimit,
}

impl Refusal {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 11] = [
        Self::Connections,
        Self::Tls,
        Self::Timeout,
        Self::HeaderSize,
        Self::Malformed,
        Self::Body,
        Self::Method,
        Self::Path,
        Self::Unauthorized,
        Self::AuthBusy,
        Self::RateLimit,
    ];

    /// Label `reason`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Connections => "connections",
            Self::Tls => "tls",
            Self::Timeout => "timeout",
            Self::HeaderSize => "header_size",
            Self::Malformed => "malformed",
            Self::Body => "body",
            Self::Method => "method",
            Self::Path => "path",
            Self::Unauthorized => "unauthorized",
            Self::AuthBusy => "auth_busy",
            Self::RateLimit => "rate_limit",
        }
    }
}

/// The counters, and the places for connections.
#[derive(Debug)]
pub struct Counters {
    refused: [AtomicU64; Refusal::ALL.len()],
    places: Arc<Semaphore>,
}

impl Default for Counters {
    fn default() -> Self {
        Self { refused: Default::default(), places: Arc::new(Semaphore::new(CONNECTIONS_MAX)) }
    }
}

/// The counters at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CountersSnapshot {
    /// Open connections.
    pub connections: u64,
    /// Refusals, in the order of [`Refusal::ALL`].
    pub refused: [u64; Refusal::ALL.len()],
}

impl Counters {
    /// Counts one refusal.
    pub fn refuse(&self, refusal: Refusal) {
        self.refused[refusal as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// A place for one more connection, given back when it is dropped.
    pub fn place(&self) -> Option<OwnedSemaphorePermit> {
        self.places.clone().try_acquire_owned().ok()
    }

    /// All of them now.
    pub fn snapshot(&self) -> CountersSnapshot {
        let refused = std::array::from_fn(|at| self.refused[at].load(Ordering::Relaxed));
        CountersSnapshot { connections: (CONNECTIONS_MAX - self.places.available_permits()) as u64, refused }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_refusal_has_its_own_counter() {
        let counters = Counters::default();
        for (at, refusal) in Refusal::ALL.into_iter().enumerate() {
            counters.refuse(refusal);
            assert_eq!(refusal as usize, at, "{}", refusal.name());
        }
        assert_eq!(counters.snapshot().refused, [1; Refusal::ALL.len()]);
    }
}
