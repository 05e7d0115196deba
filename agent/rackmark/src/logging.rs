//! Log output: one line per event on standard error, where systemd picks it up.
//!
//! ERROR: something does not work and a person is needed. WARN: odd, nothing
//! lost. INFO: what an operator would tell a colleague. DEBUG and TRACE: for us.

use std::io::IsTerminal;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use tracing::level_filters::LevelFilter;
use tracing::{Level, Metadata};
use tracing_subscriber::Layer;
use tracing_subscriber::fmt;
use tracing_subscriber::layer::{Context, Filter, SubscriberExt};

/// The level in force; it can be changed while running.
#[derive(Debug, Clone)]
pub struct LogLevel(Arc<AtomicU8>);

impl LogLevel {
    /// Sets it.
    pub fn set(&self, level: Level) {
        self.0.store(rank(level), Ordering::Relaxed);
        tracing::callsite::rebuild_interest_cache();
    }
}

/// More verbose is higher.
fn rank(level: Level) -> u8 {
    match level {
        Level::ERROR => 1,
        Level::WARN => 2,
        Level::INFO => 3,
        Level::DEBUG => 4,
        Level::TRACE => 5,
    }
}

impl<S> Filter<S> for LogLevel {
    fn enabled(&self, metadata: &Metadata<'_>, _: &Context<'_, S>) -> bool {
        // Libraries speak up only when something is wrong with them.
        let own = metadata.target().starts_with("rackmark");
        let allowed = self.0.load(Ordering::Relaxed);
        rank(*metadata.level()) <= if own { allowed } else { allowed.min(rank(Level::WARN)) }
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        None
    }
}

/// Sets up logging for this process.
pub fn init(level: Level) -> LogLevel {
    let log_level = LogLevel(Arc::new(AtomicU8::new(rank(level))));
    let layer = fmt::layer()
        .with_writer(std::io::stderr)
        .with_target(false)
        .with_ansi(std::io::stderr().is_terminal());
    // Under systemd the journal stamps each line itself.
    let layer = if std::env::var_os("INVOCATION_ID").is_some() {
        layer.without_time().with_filter(log_level.clone()).boxed()
    } else {
        layer.with_filter(log_level.clone()).boxed()
    };
    let subscriber = tracing_subscriber::registry().with(layer);
    // A second initialisation in one process changes nothing.
    let _ = tracing::subscriber::set_global_default(subscriber);
    log_level
}
