//! Looks at the BMC from time to time, and keeps what it said.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use rackmark_firmware_hooks::inventory::Fact;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep_until};

use super::account::REFUSED;
use super::client::Patience;
use super::error::{BmcError, REASONS};
use super::{Bmc, Seen, Turn};
use crate::clock;
use crate::config::{BmcSettings, Config};
use crate::exit::chain;
use crate::tls::FileWatch;

/// Pause after the first failure; it doubles up to the time between two looks.
const RETRY_MIN: Duration = Duration::from_secs(30);

/// How often files are looked at meanwhile: a corrected password does not wait.
const FILES_EVERY: Duration = Duration::from_secs(5);

/// What is known of the BMC.
#[derive(Debug, Clone, Default)]
pub struct BmcState {
    /// One is configured.
    pub configured: bool,
    /// The newest look succeeded.
    pub up: bool,
    /// What the newest look that succeeded saw; it may be from before `up` went.
    pub facts: Option<Arc<[Fact]>>,
    /// Documents that it skipped.
    pub skipped: usize,
    /// When it was, by `CLOCK_BOOTTIME`.
    pub taken_boot_ms: u64,
    /// How long the newest look took, whatever came of it.
    pub took_us: u64,
    /// Looks that failed, by [`REASONS`].
    pub failures: [u64; REASONS.len()],
}

impl BmcState {
    /// Before the first look: nothing is known of a BMC that is configured, which is not that it says nothing.
    pub fn before(config: &Config) -> Self {
        Self { configured: config.bmc.is_some(), ..Self::default() }
    }

    /// What the BMC says now: nothing where none is configured, absent where it does not answer.
    pub fn said(&self) -> Option<Arc<[Fact]>> {
        if self.configured { self.facts.clone().filter(|_| self.up) } else { Some(Arc::default()) }
    }
}

/// What is known of the BMC, for everybody.
pub type SharedBmc = Arc<RwLock<BmcState>>;

/// Looks until `stop` is set. `changed` is told where the BMC says something else than before.
pub async fn watch(
    mut config: watch::Receiver<Arc<Config>>,
    shared: SharedBmc,
    (turn, patience): (Turn, Patience),
    changed: Arc<Notify>,
    mut stop: watch::Receiver<bool>,
) {
    let mut pause = RETRY_MIN;
    let mut told = None;
    loop {
        let settings = config.borrow_and_update().bmc.clone();
        let Some(settings) = settings else {
            let before = std::mem::take(&mut *shared.write().unwrap_or_else(PoisonError::into_inner));
            if before.configured {
                changed.notify_one();
            }
            tokio::select! {
                // Its sender lives as long as the daemon; without one only the end is waited for.
                Ok(()) = config.changed() => {}
                _ = stop.wait_for(|stop| *stop) => return,
            }
            continue;
        };
        shared.write().unwrap_or_else(PoisonError::into_inner).configured = true;
        let mut files = FileWatch::new(settings.files());
        let began = Instant::now();
        let bmc = Bmc::new(settings.clone(), patience, turn.clone());
        let seen = tokio::select! {
            seen = bmc.facts() => seen,
            _ = stop.wait_for(|stop| *stop) => return,
        };
        let due = began + after(&seen, &settings, &mut pause);
        tell(&seen, &mut told);
        if keep(&shared, seen, began.elapsed()) {
            changed.notify_one();
        }
        tokio::select! {
            () = rest(due, &mut files) => {}
            () = another(&mut config, &settings) => pause = RETRY_MIN,
            _ = stop.wait_for(|stop| *stop) => return,
        }
    }
}

/// How long to wait after a look, from its beginning.
fn after(seen: &Result<Seen, BmcError>, settings: &BmcSettings, pause: &mut Duration) -> Duration {
    match seen {
        Ok(_) => {
            *pause = RETRY_MIN;
            settings.every
        }
        Err(BmcError::NotAuthorised { .. }) => settings.every.max(REFUSED),
        Err(_) => {
            let now = *pause;
            *pause = (now * 2).min(settings.every);
            now
        }
    }
}

/// Waits until the configuration says something else of the BMC.
async fn another(config: &mut watch::Receiver<Arc<Config>>, settings: &BmcSettings) {
    let changed = config.wait_for(|config| config.bmc.as_ref() != Some(settings)).await.is_ok();
    if !changed {
        std::future::pending::<()>().await;
    }
}

/// Waits until the time has come, or a file is another one.
async fn rest(due: Instant, files: &mut FileWatch) {
    while Instant::now() < due && !files.changed() {
        sleep_until(due.min(Instant::now() + FILES_EVERY)).await;
    }
}

/// The log has each trouble once, and its end.
fn tell(seen: &Result<Seen, BmcError>, told: &mut Option<String>) {
    match seen {
        Ok(seen) => {
            if told.take().is_some() {
                tracing::info!("the BMC answers again");
            }
            tracing::debug!(facts = seen.facts.len(), skipped = seen.skipped, "the BMC was looked at");
        }
        Err(error) => {
            let words = chain(error);
            if told.as_ref() != Some(&words) {
                tracing::warn!(error = words, "the BMC was not looked at");
                *told = Some(words);
            }
        }
    }
}

/// Keeps a look; true where the BMC says something else now than before.
fn keep(shared: &SharedBmc, seen: Result<Seen, BmcError>, took: Duration) -> bool {
    let mut state = shared.write().unwrap_or_else(PoisonError::into_inner);
    let before = state.said();
    state.took_us = took.as_micros() as u64;
    state.up = seen.is_ok();
    match seen {
        Ok(Seen { facts, skipped }) => {
            state.facts = Some(facts.into());
            state.skipped = skipped;
            state.taken_boot_ms = clock::boot_ms();
        }
        Err(error) => {
            let reason = REASONS.iter().position(|reason| *reason == error.reason());
            if let Some(count) = reason.and_then(|at| state.failures.get_mut(at)) {
                *count += 1;
            }
        }
    }
    state.up && before != state.said()
}

#[cfg(test)]
mod tests {
    use hyper::StatusCode;

    use super::*;
    use crate::config::BmcAddress;

    #[test]
    fn pauses_grow_and_a_refused_account_waits_longest() {
        let settings = |every| BmcSettings {
            address: BmcAddress { host: "b".to_owned(), port: 443 },
            username_file: "/u".into(),
            password_file: "/p".into(),
            ca_file: None,
            certificate_sha256: Some([0; 32]),
            every: Duration::from_secs(every),
            spdm: false,
        };
        let (hourly, mut pause) = (settings(3600), RETRY_MIN);
        let failed = || Err(BmcError::NotOffered("x"));
        let waits: Vec<_> = (0..9).map(|_| after(&failed(), &hourly, &mut pause).as_secs()).collect();
        assert_eq!(waits, [30, 60, 120, 240, 480, 960, 1920, 3600, 3600]);
        assert_eq!(after(&Ok(Seen::default()), &hourly, &mut pause), hourly.every);
        assert_eq!(pause, RETRY_MIN);
        let refused = Err(BmcError::NotAuthorised {
            what: String::new(),
            status: StatusCode::UNAUTHORIZED,
            message: None,
        });
        assert_eq!(after(&refused, &settings(60), &mut pause), REFUSED);
        assert_eq!(after(&refused, &settings(86_400), &mut pause).as_secs(), 86_400);
    }

    #[tokio::test(start_paused = true)]
    async fn a_rest_ends_in_time_or_when_a_file_is_another() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("password");
        let mut files = FileWatch::new([path.clone()]);
        let began = Instant::now();
        rest(began + Duration::from_secs(3600), &mut files).await;
        assert_eq!(began.elapsed(), Duration::from_secs(3600));
        std::fs::write(&path, "new").expect("write");
        let began = Instant::now();
        rest(began + Duration::from_secs(3600), &mut files).await;
        assert!(began.elapsed() <= FILES_EVERY, "{:?}", began.elapsed());
    }
}
