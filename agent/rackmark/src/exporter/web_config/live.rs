//! The web configuration in force: looked at again when its files change, and
//! kept where what is there now is of no use.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::{RateLimit, Watches, WebConfig, WebConfigError, load};
use crate::exit::chain;

/// Files are looked at no more often than this: a few `stat` calls for each scrape are nothing,
/// for each of a thousand connections a second they are not.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// A configuration that is being served.
#[derive(Debug)]
pub struct InForce {
    /// What it says.
    pub config: WebConfig,
    bucket: Option<Mutex<Bucket>>,
}

impl InForce {
    fn new(config: WebConfig) -> Self {
        let bucket = config.rate_limit.map(|limit| Mutex::new(Bucket::new(limit, Instant::now())));
        Self { config, bucket }
    }

    /// Takes one request out of the limit; false where none is left.
    pub fn allows_request(&self) -> bool {
        let Some(bucket) = &self.bucket else { return true };
        bucket.lock().unwrap_or_else(PoisonError::into_inner).take(Instant::now())
    }
}

/// A token bucket.
#[derive(Debug)]
struct Bucket {
    limit: RateLimit,
    /// Tokens at `counted`.
    tokens: f64,
    counted: Instant,
}

impl Bucket {
    fn new(limit: RateLimit, now: Instant) -> Self {
        Self { limit, tokens: f64::from(limit.burst), counted: now }
    }

    fn take(&mut self, now: Instant) -> bool {
        let gained = now.saturating_duration_since(self.counted).as_secs_f64();
        let full = f64::from(self.limit.burst);
        self.tokens = (self.tokens + gained / self.limit.interval.as_secs_f64()).min(full);
        self.counted = now;
        let allowed = self.tokens >= 1.0;
        if allowed {
            self.tokens -= 1.0;
        }
        allowed
    }
}

/// Follows a web configuration file.
#[derive(Debug)]
pub struct Live {
    path: PathBuf,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    in_force: Arc<InForce>,
    /// Files of the newest attempt, also of one that failed.
    watches: Watches,
    looked: Instant,
}

impl Live {
    /// Reads the file for the first time.
    ///
    /// # Errors
    /// [`WebConfigError`]: at start there is no older one to stay with.
    pub fn start(path: &Path) -> Result<Self, WebConfigError> {
        let (outcome, watches) = load(path);
        let in_force = Arc::new(InForce::new(outcome?));
        let state = State { in_force, watches, looked: Instant::now() };
        Ok(Self { path: path.to_owned(), state: Mutex::new(state) })
    }

    /// What is in force now, after a look at the files where the last one is a second ago.
    pub fn now(&self) -> Arc<InForce> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.looked.elapsed() >= LOOK_EVERY {
            self.look(&mut state);
            state.looked = Instant::now();
        }
        state.in_force.clone()
    }

    /// What was in force at the last look.
    pub fn latest(&self) -> Arc<InForce> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).in_force.clone()
    }

    fn look(&self, state: &mut State) {
        if !state.watches.changed() {
            return;
        }
        let (outcome, watches) = load(&self.path);
        state.watches = watches;
        match outcome {
            Ok(config) => {
                tracing::info!(path = %self.path.display(), "web configuration is reloaded");
                state.in_force = Arc::new(InForce::new(config));
            }
            Err(error) => tracing::error!(
                error = chain(&error),
                "web configuration is not reloaded, the old one stays in force"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_lets_a_burst_through_and_then_one_per_interval() {
        let begin = Instant::now();
        let mut bucket = Bucket::new(RateLimit { interval: Duration::from_secs(1), burst: 3 }, begin);
        let at = |ms| begin + Duration::from_millis(ms);
        let mut allowed = |ms| bucket.take(at(ms));
        assert_eq!([allowed(0), allowed(0), allowed(0), allowed(0)], [true, true, true, false]);
        assert_eq!([allowed(500), allowed(1100), allowed(1200)], [false, true, false]);
        // It never holds more than the burst.
        assert_eq!(
            [allowed(60_000), allowed(60_000), allowed(60_000), allowed(60_000)],
            [true, true, true, false]
        );
    }
}
