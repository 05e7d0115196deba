//! What evidence is due, and when: soon after something changed, at a time of the node's own within a verifier's epoch,
//! and never so often that a slow TPM has no rest.

use std::time::Duration;

use rackmark_feed::EvidenceCause;
use tokio::time::Instant;

use super::task::Begun;
use crate::random;

/// Changes come together: a driver that is loaded changes the inventory, too, once its GPUs are open. One evidence is
/// for all that happens so long after the first of them (ours).
pub const SETTLE: Duration = Duration::from_secs(5);

/// Changes are signed no more often than this: a TPM may take a second and more to sign, and a driver that comes and
/// goes would keep it busy (ours).
pub const CHANGES_EVERY: Duration = Duration::from_secs(60);

/// Epochs of one verifier are answered no more often than this, as its requests for evidence are.
pub const EPOCHS_EVERY: Duration = Duration::from_secs(15);

/// The nodes of a fleet answer an epoch spread over this part of what is left of it, or over
/// [`EPOCH_SPREAD_MAX`] where that is less, so that neither broker nor verifier gets all of them at once (ours).
pub const EPOCH_SPREAD: f64 = 0.1;
/// The longest of those times.
pub const EPOCH_SPREAD_MAX: Duration = Duration::from_secs(60);

/// Pauses after a TPM that did not do it: lockouts heal in minutes to hours, a busy one in seconds.
const RETRY_MIN: Duration = Duration::from_secs(5);
const RETRY_MAX: Duration = Duration::from_secs(600);

/// Evidence that is to be made now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// For whoever reads it: the agent started, or something changed.
    Anyone(EvidenceCause),
    /// Over the epoch of a verifier.
    Epoch(Begun),
}

impl Wanted {
    /// Why.
    pub const fn cause(&self) -> EvidenceCause {
        match self {
            Self::Anyone(cause) => *cause,
            Self::Epoch(_) => EvidenceCause::Epoch,
        }
    }
}

/// The epochs of one verifier.
#[derive(Debug)]
struct OfVerifier {
    name: String,
    /// The newest, and when it is answered.
    wanted: Option<(Begun, Instant)>,
    /// Nothing is answered before.
    from: Instant,
}

/// What is due, and when.
pub struct Due {
    /// For anyone, and from when on.
    anyone: Option<(EvidenceCause, Instant)>,
    /// No other change is signed before.
    changes_from: Instant,
    verifiers: Vec<OfVerifier>,
    /// A TPM that failed is left alone until then.
    rest_until: Instant,
    /// How long the next rest is.
    rest: Duration,
    /// A number from 0 to 1, another one each time.
    chance: fn() -> f64,
}

impl Due {
    /// Evidence of the start is due at once.
    pub fn at_start(now: Instant) -> Self {
        Self {
            anyone: Some((EvidenceCause::Start, now)),
            changes_from: now,
            verifiers: Vec::new(),
            rest_until: now,
            rest: RETRY_MIN,
            chance: random::share,
        }
    }

    /// With another chance than that of the system.
    #[cfg(test)]
    pub fn by(mut self, chance: fn() -> f64) -> Self {
        self.chance = chance;
        self
    }

    /// Something changed. Of several changes that are signed together the most telling one is the cause.
    pub fn changed(&mut self, cause: EvidenceCause, now: Instant) {
        let (cause, at) = match self.anyone {
            Some((waiting, at)) if weight(waiting) >= weight(cause) => (waiting, at),
            Some((_, at)) => (cause, at),
            None => (cause, self.changes_from.max(now + SETTLE)),
        };
        self.anyone = Some((cause, at));
    }

    /// A verifier began an epoch, which takes the place of the one before. One that is over before it could be answered
    /// is left out.
    pub fn began(&mut self, begun: Begun, now_unix_ms: u64, now: Instant) {
        self.verifiers.retain(|one| one.wanted.is_some() || one.from > now);
        let at = self.verifiers.iter().position(|one| one.name == begun.verifier).unwrap_or_else(|| {
            self.verifiers.push(OfVerifier { name: begun.verifier.clone(), wanted: None, from: now });
            self.verifiers.len() - 1
        });
        let left = Duration::from_millis(begun.expires_unix_ms.saturating_sub(now_unix_ms));
        let spread = left.mul_f64(EPOCH_SPREAD).min(EPOCH_SPREAD_MAX);
        let verifier = &mut self.verifiers[at];
        let due = verifier.from.max(now + spread.mul_f64((self.chance)()));
        verifier.wanted = (due < now + left).then_some((begun, due));
    }

    /// When something is due next; none where nothing is.
    pub fn next(&self) -> Option<Instant> {
        let epochs = self.verifiers.iter().filter_map(|one| one.wanted.as_ref()).map(|(_, at)| *at);
        let first = self.anyone.map(|(_, at)| at).into_iter().chain(epochs).min()?;
        Some(first.max(self.rest_until))
    }

    /// What is due now. What stands for anyone goes first.
    pub fn take(&mut self, now: Instant) -> Option<Wanted> {
        if now < self.rest_until {
            return None;
        }
        if let Some((cause, _)) = self.anyone.take_if(|(_, at)| *at <= now) {
            // What the start could not know yet, such as GPUs that are still opened, need not wait.
            if cause != EvidenceCause::Start {
                self.changes_from = now + CHANGES_EVERY;
            }
            return Some(Wanted::Anyone(cause));
        }
        self.verifiers.iter_mut().find_map(|one| {
            let (begun, _) = one.wanted.take_if(|(_, at)| *at <= now)?;
            one.from = now + EPOCHS_EVERY;
            Some(Wanted::Epoch(begun))
        })
    }

    /// It was made.
    pub fn made(&mut self) {
        self.rest = RETRY_MIN;
    }

    /// It was not made: it is due again after a rest, which is given. A newer epoch of the same verifier stays.
    pub fn failed(&mut self, wanted: Wanted, now: Instant) -> Duration {
        let rest = self.rest;
        self.rest_until = now + rest;
        self.rest = (rest * 2).min(RETRY_MAX);
        match wanted {
            Wanted::Anyone(cause) => {
                let waiting = self.anyone.map(|(waiting, _)| waiting);
                let cause = waiting.filter(|waiting| weight(*waiting) > weight(cause)).unwrap_or(cause);
                self.anyone = Some((cause, self.rest_until));
            }
            Wanted::Epoch(begun) => {
                let verifier = self.verifiers.iter_mut().find(|one| one.name == begun.verifier);
                if let Some(verifier) = verifier.filter(|one| one.wanted.is_none()) {
                    verifier.wanted = Some((begun, self.rest_until));
                }
            }
        }
        rest
    }
}

/// How telling a cause is: a start says more than a driver, whose coming changes the inventory.
const fn weight(cause: EvidenceCause) -> u8 {
    match cause {
        EvidenceCause::Start => 3,
        EvidenceCause::DriverChanged => 2,
        EvidenceCause::CertificateChanged => 1,
        _ => 0,
    }
}

#[cfg(test)]
mod tests;
