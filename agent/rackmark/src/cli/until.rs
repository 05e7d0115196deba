//! When something ends by itself: `--for` or `--until`.

use std::time::Duration;

use clap::Args;

use super::duration;
use crate::{clock, utc};

/// An end that must be named.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub struct Until {
    /// For how long, such as 2h; it ends by itself.
    #[arg(long = "for", value_name = "TIME", value_parser = duration::parse)]
    length: Option<Duration>,
    /// When it ends by itself, in UTC, such as 2026-12-01T10:00:00Z.
    #[arg(long, value_name = "TIME", value_parser = utc::parse)]
    until: Option<u64>,
}

/// An end that may be named.
#[derive(Debug, Args)]
#[group(multiple = false)]
pub struct PerhapsUntil {
    /// For how long at most, such as 2h.
    #[arg(long = "for", value_name = "TIME", value_parser = duration::parse)]
    length: Option<Duration>,
    /// When it ends at the latest, in UTC, such as 2026-12-01T10:00:00Z.
    #[arg(long, value_name = "TIME", value_parser = utc::parse)]
    until: Option<u64>,
}

impl Until {
    /// Milliseconds since 1970.
    pub fn unix_ms(&self) -> u64 {
        // One of the two is required.
        end(self.length, self.until).unwrap_or_default()
    }
}

impl PerhapsUntil {
    /// Milliseconds since 1970.
    pub fn unix_ms(&self) -> Option<u64> {
        end(self.length, self.until)
    }
}

fn end(length: Option<Duration>, until: Option<u64>) -> Option<u64> {
    let ahead = |length: Duration| u64::try_from(length.as_millis()).unwrap_or(u64::MAX);
    until.or(length.map(|length| clock::unix_ms().saturating_add(ahead(length))))
}
