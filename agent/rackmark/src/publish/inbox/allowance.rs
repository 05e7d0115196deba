//! How often a consumer may ask. A key that fell into wrong hands, or a loop in somebody's script, must not keep a
//! TPM or a disk busy.

use std::time::Duration;

use rackmark_feed::Refusal;
use tokio::time::Instant;

/// Commands that may come at once, and how long one takes to be allowed again.
const COMMANDS: Bucket = Bucket { size: 30, every: Duration::from_secs(1) };
/// Verbs that a TPM answers, which takes up to a second each.
const QUOTES: Bucket = Bucket { size: 6, every: Duration::from_secs(15) };
/// Those verbs.
const QUOTING: [&str; 2] = ["attest", "activate"];
/// Refusals because of the rate that are answered: a flood must not make the node speak as much.
const TOO_OFTEN: Bucket = Bucket { size: 1, every: Duration::from_secs(10) };
/// Other refusals of commands that were not counted as the consumer's that are answered.
const REFUSALS: Bucket = COMMANDS;

#[derive(Debug, Clone, Copy)]
struct Bucket {
    size: u32,
    every: Duration,
}

/// What is left of a bucket.
#[derive(Debug, Clone, Copy)]
struct Level {
    left: u32,
    /// From when on the next one counts.
    since: Instant,
}

impl Level {
    fn full(bucket: Bucket, now: Instant) -> Self {
        Self { left: bucket.size, since: now }
    }

    fn take(&mut self, bucket: Bucket, now: Instant) -> bool {
        let refilled = now.saturating_duration_since(self.since).as_millis() / bucket.every.as_millis();
        let refilled = u32::try_from(refilled).unwrap_or(u32::MAX);
        if self.left.saturating_add(refilled) >= bucket.size {
            *self = Self::full(bucket, now);
        } else {
            self.left += refilled;
            self.since += bucket.every * refilled;
        }
        let some = self.left > 0;
        self.left -= u32::from(some);
        some
    }
}

#[derive(Debug, Clone, Copy)]
struct Levels {
    commands: Level,
    quotes: Level,
    too_often: Level,
    refusals: Level,
}

/// What each consumer has left.
#[derive(Debug, Default)]
pub struct Allowances(Vec<(String, Levels)>);

impl Allowances {
    /// Counts one command of a consumer; false where it is one too many.
    pub fn spend(&mut self, consumer: &str, verb: &str, now: Instant) -> bool {
        let levels = self.levels(consumer, now);
        levels.commands.take(COMMANDS, now) && (!QUOTING.contains(&verb) || levels.quotes.take(QUOTES, now))
    }

    /// Whether a consumer is told that a command in its name is refused, before it counted as one of its own.
    pub fn tell(&mut self, consumer: &str, refusal: Refusal, now: Instant) -> bool {
        let levels = self.levels(consumer, now);
        match refusal {
            Refusal::RateLimited => levels.too_often.take(TOO_OFTEN, now),
            _ => levels.refusals.take(REFUSALS, now),
        }
    }

    fn levels(&mut self, consumer: &str, now: Instant) -> &mut Levels {
        let at = self.0.iter().position(|(known, _)| known == consumer).unwrap_or_else(|| {
            let levels = Levels {
                commands: Level::full(COMMANDS, now),
                quotes: Level::full(QUOTES, now),
                too_often: Level::full(TOO_OFTEN, now),
                refusals: Level::full(REFUSALS, now),
            };
            self.0.push((consumer.to_owned(), levels));
            self.0.len() - 1
        });
        &mut self.0[at].1
    }

    /// Forgets consumers that are no longer allowed at all.
    pub fn retain(&mut self, known: impl Fn(&str) -> bool) {
        self.0.retain(|(name, _)| known(name));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_flood_is_refused_and_told_of_seldom() {
        let now = Instant::now();
        let mut allowances = Allowances::default();
        let at = |ms| now + Duration::from_millis(ms);
        for _ in 0..COMMANDS.size {
            assert!(allowances.spend("a", "drain", now));
        }
        assert!(!allowances.spend("a", "drain", now));
        assert!(!allowances.spend("a", "drain", at(500)));
        assert!(allowances.spend("b", "drain", at(500)), "another consumer has its own");
        assert!(allowances.spend("a", "drain", at(1_000)));
        assert!(!allowances.spend("a", "drain", at(1_001)));
        assert!(allowances.spend("a", "drain", at(60_000)));
        assert!(allowances.tell("a", Refusal::RateLimited, now));
        assert!(!allowances.tell("a", Refusal::RateLimited, at(500)));
        assert!(allowances.tell("a", Refusal::WrongRole, at(500)), "other refusals have their own");
    }

    #[test]
    fn quotes_are_rarer() {
        let now = Instant::now();
        let mut allowances = Allowances::default();
        for _ in 0..QUOTES.size {
            assert!(allowances.spend("a", "attest", now));
        }
        assert!(!allowances.spend("a", "activate", now));
        assert!(allowances.spend("a", "drain", now));
        assert!(allowances.spend("a", "attest", now + QUOTES.every));
    }

    proptest! {
        /// Over any time, no more than what fits a bucket and what it was refilled with.
        #[test]
        fn no_more_than_the_rate(gaps in proptest::collection::vec(0_u64..3_000, 1..400)) {
            let begin = Instant::now();
            let mut now = begin;
            let mut level = Level::full(COMMANDS, begin);
            let mut taken = 0;
            for gap in gaps {
                now += Duration::from_millis(gap);
                taken += u64::from(level.take(COMMANDS, now));
                let most = u64::from(COMMANDS.size) + (now - begin).as_secs() / COMMANDS.every.as_secs();
                prop_assert!(taken <= most, "{taken} of {most}");
            }
        }
    }
}
