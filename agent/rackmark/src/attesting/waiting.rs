//! Those who wait until devices have signed for them, while the attester goes on.

use std::sync::{Arc, PoisonError};

use rackmark_feed::Verb;
use rackmark_feed::body::evidence::device_nonce;
use tokio::task::JoinSet;

use super::asked::Ask;
use super::making::Speaker;
use super::task::Begun;
use super::{components, gpus};
use crate::bmc::{ComponentEvidence, Turn};
use crate::config::Config;
use crate::sampling::task::SharedRoster;

/// Most who wait at one time: the BMC is asked for one after the other, and each has GPUs sign in a process of its own.
const WAITING_MAX: usize = 4;

/// Who waits until devices have signed.
pub enum Waiter {
    /// A consumer that asked.
    Ask(Ask),
    /// Everybody who follows the epoch of a verifier.
    Epoch(Begun),
}

/// What devices signed for one who waits.
#[derive(Debug, Default)]
pub struct Signed {
    /// GPUs, through their driver.
    pub gpus: gpus::Signed,
    /// Components, through the BMC.
    pub components: Vec<ComponentEvidence>,
}

/// Those who wait.
#[derive(Default)]
pub struct Waiting(JoinSet<(Waiter, Signed)>);

impl Waiting {
    /// Has devices sign for `waiter`, who then stands in [`Waiting::next`]. Gives it back where nobody is to be asked, or
    /// where too many wait already: they get evidence in which no device signs, at once. For an epoch GPUs sign only: a
    /// BMC has an account to be locked and a minute's work, and is asked by those who want it.
    ///
    /// # Errors
    /// The waiter itself.
    pub fn begin(
        &mut self,
        waiter: Waiter,
        config: &Arc<Config>,
        roster: &SharedRoster,
        turn: &Turn,
        speaker: &Speaker,
    ) -> Result<(), Box<Waiter>> {
        let (freshness, bmc) = match &waiter {
            Waiter::Ask(Ask { verb: Verb::Attest { nonce, devices: true }, .. }) => {
                (*nonce, config.bmc.as_ref().is_some_and(|bmc| bmc.spdm))
            }
            Waiter::Ask(_) => return Err(Box::new(waiter)),
            Waiter::Epoch(begun) => (begun.value, false),
        };
        let gpus = gpus::to_ask(&roster.read().unwrap_or_else(PoisonError::into_inner));
        if gpus.is_empty() && !bmc {
            return Err(Box::new(waiter));
        }
        if self.0.len() >= WAITING_MAX {
            tracing::warn!("too many wait for devices: evidence is made in which none signs");
            return Err(Box::new(waiter));
        }
        let (config, turn, session) = (config.clone(), turn.clone(), speaker.session);
        self.0.spawn(async move {
            let nonce = |name: &str| device_nonce(&freshness, &session, name);
            let components =
                async { if bmc { components::signed(&config, turn, nonce).await } else { Vec::new() } };
            let (gpus, components) = tokio::join!(gpus::signed(&config, gpus, nonce), components);
            (waiter, Signed { gpus, components })
        });
        Ok(())
    }

    /// The next who has waited long enough, and what was signed; none where nobody waits.
    pub async fn next(&mut self) -> Option<(Waiter, Signed)> {
        self.0.join_next().await?.ok()
    }
}
