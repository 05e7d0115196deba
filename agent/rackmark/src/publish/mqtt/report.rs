//! What the log says, and how often.

use std::error::Error;
use std::time::Duration;

use tokio::time::Instant;

/// A state that lasts is said again at this distance.
const REPEAT: Duration = Duration::from_secs(60);

/// Messages remembered; the oldest is forgotten first, so a long list of brokers stays bounded.
const REMEMBERED: usize = 16;

/// Lets a message through when it is new, and once a minute while it keeps coming.
#[derive(Debug, Default)]
pub(super) struct Repeated {
    said: Vec<(String, Instant)>,
}

impl Repeated {
    pub(super) fn is_due(&mut self, message: &str, now: Instant) -> bool {
        self.said.retain(|(_, at)| now - *at < REPEAT);
        if self.said.iter().any(|(said, _)| said == message) {
            return false;
        }
        if self.said.len() == REMEMBERED {
            self.said.remove(0);
        }
        self.said.push((message.to_owned(), now));
        true
    }
}

/// The error and its causes on one line.
pub(super) fn chain(error: &dyn Error) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let text = error.to_string();
        // Some libraries repeat the cause in their own text.
        if !line.ends_with(&text) {
            line.push_str(": ");
            line.push_str(&text);
        }
        cause = error.source();
    }
    line
}
