//! Components of the machine that sign their measurements through the BMC.

use std::time::Duration;

use rackmark_feed::body::evidence::device_nonce;
use rackmark_feed::{DeviceEvidence, DeviceKind, Verb, limits};
use tokio::task::JoinSet;

use super::artefacts::Artefacts;
use super::asked::Ask;
use super::making::Speaker;
use crate::bmc::{Bmc, ComponentEvidence, Patience, Turn};
use crate::config::Config;
use crate::exit::chain;
use crate::publish::encode;

/// How long all components have together. `rackmark verify` waits 90 s for evidence, and the end of the session and the
/// TPM take some of them.
const WITHIN: Duration = Duration::from_secs(60);

/// Most who wait for components at one time; the BMC is asked for one after the other.
const WAITING_MAX: usize = 4;

/// Those who wait for components, while the attester goes on.
#[derive(Default)]
pub struct Waiting(JoinSet<(Ask, Vec<ComponentEvidence>)>);

impl Waiting {
    /// Has components sign for `ask`, who then stands in [`Waiting::next`]. Gives it back where nobody is to be asked, or
    /// where too many wait already: they get evidence without components, at once.
    ///
    /// # Errors
    /// The ask itself.
    pub fn begin(
        &mut self,
        ask: Ask,
        config: &Config,
        turn: &Turn,
        speaker: &Speaker,
    ) -> Result<(), Box<Ask>> {
        let Verb::Attest { nonce: freshness, devices: true } = ask.verb else { return Err(Box::new(ask)) };
        let Some(settings) = config.bmc.clone().filter(|bmc| bmc.spdm) else { return Err(Box::new(ask)) };
        if self.0.len() >= WAITING_MAX {
            tracing::warn!(
                consumer = ask.consumer,
                "too many wait for the BMC: evidence is made without components"
            );
            return Err(Box::new(ask));
        }
        let patience = Patience { look: WITHIN, component: WITHIN, ..Patience::default() };
        let bmc = Bmc::new(settings, patience, turn.clone());
        let session = speaker.session;
        self.0.spawn(async move {
            let nonce = |id: &str| device_nonce(&freshness, &session, name(id));
            let signed = bmc.signed_measurements(nonce).await.unwrap_or_else(|error| {
                tracing::warn!(error = chain(&error), "no component signs through the BMC");
                Vec::new()
            });
            (ask, signed)
        });
        Ok(())
    }

    /// The next who has waited long enough, and what the components signed; none where nobody waits.
    pub async fn next(&mut self) -> Option<(Ask, Vec<ComponentEvidence>)> {
        self.0.join_next().await?.ok()
    }
}

/// A component as evidence names it, its parts kept.
pub fn device(signed: &ComponentEvidence, artefacts: &mut Artefacts) -> DeviceEvidence {
    let mut keep = |bytes: Option<&[u8]>| bytes.and_then(|bytes| artefacts.keep(bytes));
    let report = keep(signed.measurements.as_deref().ok());
    let chain_of = keep(signed.certificate_chain.as_deref());
    let reason = match &signed.measurements {
        Err(why) => chain(why),
        Ok(_) if report.is_none() => "the measurements are too large".to_owned(),
        Ok(_) => String::new(),
    };
    DeviceEvidence {
        kind: DeviceKind::Component,
        slot: None,
        name: name(&signed.id).to_owned(),
        report,
        chain: chain_of,
        reason: encode::cut(&reason),
    }
}

/// What a component is called on the feed: the BMC's name for it, cut to what there is room for.
fn name(id: &str) -> &str {
    id.get(..id.floor_char_boundary(limits::NAME_BYTES)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bmc::NoMeasurements;

    #[test]
    fn a_component_has_its_parts_or_a_reason() {
        let mut artefacts = Artefacts::default();
        let id = "x".repeat(limits::NAME_BYTES + 1);
        let signed = ComponentEvidence {
            id: id.clone(),
            measurements: Ok(b"signed".to_vec()),
            certificate_chain: Some(b"chain".to_vec()),
        };
        let found = device(&signed, &mut artefacts);
        assert_eq!((found.name.len(), found.reason.as_str()), (limits::NAME_BYTES, ""));
        let report = found.report.expect("report");
        assert!(artefacts.pieces(&report.digest).is_some() && found.chain.is_some());
        let off = NoMeasurements::SwitchedOff;
        let signed = ComponentEvidence { id, measurements: Err(off), certificate_chain: None };
        let found = device(&signed, &mut artefacts);
        assert!(found.report.is_none() && found.reason.contains("switched off"), "{}", found.reason);
        let measurements = Ok(vec![0; limits::ARTEFACT_BYTES + 1]);
        let signed = ComponentEvidence { id: String::new(), measurements, certificate_chain: None };
        assert!(device(&signed, &mut artefacts).reason.contains("too large"));
    }
}
