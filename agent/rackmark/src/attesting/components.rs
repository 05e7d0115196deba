//! Components of the machine that sign their measurements through the BMC.

use std::time::Duration;

use rackmark_feed::{DeviceEvidence, DeviceKind, limits};

use super::artefacts::Artefacts;
use crate::bmc::{Bmc, ComponentEvidence, Patience, Turn};
use crate::config::Config;
use crate::exit::chain;
use crate::publish::encode;

/// How long all components have together. `rackmark verify` waits 90 s for evidence, and the end of the session and the
/// TPM take some of them.
const WITHIN: Duration = Duration::from_secs(60);

/// Has components sign through the BMC; none where no BMC is configured or it does not do it.
pub async fn signed(
    config: &Config,
    turn: Turn,
    nonce: impl Fn(&str) -> [u8; 32] + Send,
) -> Vec<ComponentEvidence> {
    let Some(settings) = config.bmc.clone().filter(|bmc| bmc.spdm) else { return Vec::new() };
    let patience = Patience { look: WITHIN, component: WITHIN, ..Patience::default() };
    let bmc = Bmc::new(settings, patience, turn);
    bmc.signed_measurements(|id| nonce(name(id))).await.unwrap_or_else(|error| {
        tracing::warn!(error = chain(&error), "no component signs through the BMC");
        Vec::new()
    })
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
