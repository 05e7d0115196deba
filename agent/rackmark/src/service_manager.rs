//! Talks to systemd: readiness, status line, watchdog. Without systemd every
//! call does nothing.

use std::time::Duration;

use systemd::daemon;
use tokio::time::{Instant, sleep_until};

/// The service manager.
pub struct ServiceManager {
    /// Time from one sign of life to the next: half of what systemd allows.
    every: Option<Duration>,
    due: Instant,
}

impl ServiceManager {
    /// Asks whether a watchdog waits for this process.
    pub fn new() -> Self {
        let allowed = daemon::watchdog_enabled().ok().filter(|micros| *micros > 0).map(Duration::from_micros);
        let every = allowed.map(|allowed| allowed / 2);
        Self { every, due: Instant::now() }
    }

    /// Returns when a sign of life is due. It is given by the daemon's own
    /// loop, so that it says that this loop turns, not that the driver answers.
    pub async fn watchdog_due(&self) {
        match self.every {
            Some(_) => sleep_until(self.due).await,
            None => std::future::pending().await,
        }
    }

    /// A sign of life.
    pub fn alive(&mut self) {
        if let Some(every) = self.every {
            self.due = Instant::now() + every;
            tell(&[(daemon::STATE_WATCHDOG, "1")]);
        }
    }

    /// Start-up, or a reload, is complete.
    pub fn ready(&self, status: &str) {
        tell(&[(daemon::STATE_READY, "1"), (daemon::STATE_STATUS, status)]);
    }

    /// A reload began.
    pub fn reloading(&self) {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
        let micros = now.tv_sec * 1_000_000 + now.tv_nsec / 1000;
        tell(&[(daemon::STATE_RELOADING, "1"), ("MONOTONIC_USEC", &micros.to_string())]);
    }

    /// The end began.
    pub fn stopping(&self) {
        tell(&[(daemon::STATE_STOPPING, "1")]);
    }
}

fn tell(state: &[(&str, &str)]) {
    if let Err(error) = daemon::notify(state.iter()) {
        tracing::debug!(%error, "systemd could not be told");
    }
}
