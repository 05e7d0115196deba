//! Those who wait until devices have signed for them, while the attester goes on.

use std::sync::{Arc, PoisonError};

use rackmark_feed::Verb;
use rackmark_feed::body::evidence::device_nonce;
use tokio::task::JoinSet;

use super::asked::Ask;
use super::making::Speaker;
use super::{components, gpus};
use crate::bmc::{ComponentEvidence, Turn};
use crate::config::Config;
use crate::sampling::task::SharedRoster;

/// Most who wait at one time: the BMC is asked for one after the other, and each has GPUs sign in a process of its own.
const WAITING_MAX: usize = 4;

/// What devices signed for one who asks.
#[derive(Debug, Default)]
pub struct Signed {
    /// GPUs, through their driver.
    pub gpus: gpus::Signed,
    /// Components, through the BMC.
    pub components: Vec<ComponentEvidence>,
}

/// Those who wait.
#[derive(Default)]
pub struct Waiting(JoinSet<(Ask, Signed)>);

impl Waiting {
    /// Has devices sign for `ask`, who then stands in [`Waiting::next`]. Gives it back where nobody is to be asked, or
    /// where too many wait already: they get evidence in which no device signs, at once.
    ///
    /// # Errors
    /// The ask itself.
    pub fn begin(
        &mut self,
        ask: Ask,
        config: &Arc<Config>,
        roster: &SharedRoster,
        turn: &Turn,
        speaker: &Speaker,
    ) -> Result<(), Box<Ask>> {
        let Verb::Attest { nonce: freshness, devices: true } = ask.verb else { return Err(Box::new(ask)) };
        let gpus = gpus::to_ask(&roster.read().unwrap_or_else(PoisonError::into_inner));
        if gpus.is_empty() && !config.bmc.as_ref().is_some_and(|bmc| bmc.spdm) {
            return Err(Box::new(ask));
        }
        if self.0.len() >= WAITING_MAX {
            tracing::warn!(
                consumer = ask.consumer,
                "too many wait for devices: evidence is made in which none signs"
            );
            return Err(Box::new(ask));
        }
        let (config, turn, session) = (config.clone(), turn.clone(), speaker.session);
        self.0.spawn(async move {
            let nonce = |name: &str| device_nonce(&freshness, &session, name);
            let (gpus, components) =
                tokio::join!(gpus::signed(&config, gpus, nonce), components::signed(&config, turn, nonce));
            (ask, Signed { gpus, components })
        });
        Ok(())
    }

    /// The next who has waited long enough, and what was signed; none where nobody waits.
    pub async fn next(&mut self) -> Option<(Ask, Signed)> {
        self.0.join_next().await?.ok()
    }
}
