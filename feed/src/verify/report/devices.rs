//! The devices of a bundle: what each signed, for which nonce, and whether one signed for two.

use super::{DeviceLabel, DeviceReport, NodeReport, Trust, missing};
use crate::body::evidence::{ArtefactRef, DeviceEvidence, DeviceKind, Evidence};
use crate::inventory::Inventory;
use crate::verify::bundle::find;
use crate::verify::nvidia::{Judge, Refusal, SignedDevice};
use crate::verify::outcome::{Check, Reason, Subject};

type Artefacts<'a> = [([u8; 32], &'a [u8])];

/// Judges every device of the evidence, in its order.
pub(super) fn devices(
    evidence: &Evidence,
    artefacts: &Artefacts<'_>,
    answers: &[&[u8]],
    trust: &Trust<'_>,
    now_unix_ms: u64,
    report: &mut NodeReport,
) {
    let mut judge = Judge::new(trust.device_anchors, answers, now_unix_ms);
    let claimed = &evidence.claim.devices;
    let judged: Vec<_> = (0..)
        .zip(claimed)
        .map(|(at, device)| {
            let nonce = evidence.claim.device_nonce(&device.name);
            judged(Subject::Device(at), device, &nonce, artefacts, &mut judge)
        })
        .collect();
    report.signatures = judge.signatures();
    let twins = twins(claimed, &judged);
    for (at, (device, judged)) in (0..).zip(claimed.iter().zip(judged)) {
        let subject = Subject::Device(at);
        let judged = match judged {
            Ok(signed) if twins.contains(&signed.key) && device.kind == DeviceKind::Gpu => {
                let detail = format!("{} {} signed for another GPU, too", signed.model, signed.serial);
                Err(Check::contradicted(subject, Reason::DeviceTwice, detail))
            }
            other => other,
        };
        let (label, signed) = match judged {
            Ok(signed) => {
                let (label, reason) = match device.kind {
                    DeviceKind::Gpu => (DeviceLabel::DeviceSigned, Reason::DeviceSigned),
                    _ => (DeviceLabel::BmcSigned, Reason::BmcSigned),
                };
                report.checks.push(Check::verified(subject, reason, described(&signed)));
                report.checks.extend(differences(subject, device, &signed, report.inventory.as_ref()));
                (label, Some(signed))
            }
            Err(check) => {
                report.checks.push(check);
                (DeviceLabel::HostReported, None)
            }
        };
        report.devices.push(DeviceReport {
            slot: device.slot,
            name: device.name.clone(),
            label,
            key: signed.as_ref().map(|signed| signed.key),
            signed,
        });
    }
}

fn judged(
    subject: Subject,
    device: &DeviceEvidence,
    nonce: &[u8; 32],
    artefacts: &Artefacts<'_>,
    judge: &mut Judge<'_>,
) -> Result<SignedDevice, Check> {
    let report = device
        .report
        .as_ref()
        .ok_or_else(|| Check::not_established(subject, Reason::HostReported, &device.reason))?;
    if !matches!(device.kind, DeviceKind::Gpu | DeviceKind::Component) {
        let detail = "a kind of device that this verifier does not know";
        return Err(Check::not_established(subject, Reason::FormatUnknown, detail));
    }
    let chain = device.chain.as_ref().ok_or_else(|| {
        Check::not_established(subject, Reason::NoCertificate, "the report comes without certificates")
    })?;
    let bytes = |part: &ArtefactRef| find(artefacts, part).ok_or_else(|| missing(subject, part));
    judge
        .device(device.kind, bytes(report)?, bytes(chain)?, nonce)
        .map_err(|Refusal { outcome, reason, detail }| Check::new(subject, outcome, reason, detail))
}

/// Keys that signed for more than one GPU. A GPU may sign once more as a component of the BMC's.
fn twins(claimed: &[DeviceEvidence], judged: &[Result<SignedDevice, Check>]) -> Vec<[u8; 32]> {
    let gpus = claimed.iter().zip(judged).filter(|(device, _)| device.kind == DeviceKind::Gpu);
    let mut keys: Vec<_> = gpus.filter_map(|(_, judged)| Some(judged.as_ref().ok()?.key)).collect();
    keys.sort_unstable();
    keys.windows(2).filter(|pair| pair[0] == pair[1]).map(|pair| pair[0]).collect()
}

fn described(signed: &SignedDevice) -> String {
    let mut text = format!("{} {}", signed.model, signed.serial);
    for (what, version) in [("driver", &signed.driver_version), ("VBIOS", &signed.vbios_version)] {
        if let Some(version) = version {
            text += &format!(", {what} {version}");
        }
    }
    text + if signed.revocation_answered { ", not revoked" } else { ", revocation not asked" }
}

/// Versions that the device signs and the inventory has otherwise. An inventory lags behind an update, and a device
/// does behind a restart, so that is no fraud.
fn differences(
    subject: Subject,
    device: &DeviceEvidence,
    signed: &SignedDevice,
    inventory: Option<&Inventory>,
) -> Vec<Check> {
    let Some(inventory) = inventory.filter(|_| device.kind == DeviceKind::Gpu) else { return Vec::new() };
    let instance = inventory.values("gpu", "uuid").find(|(_, uuid)| *uuid == device.name).map(|(at, _)| at);
    let vbios = inventory.values("gpu", "vbios_version").find(|(at, _)| Some(*at) == instance);
    let driver = inventory.values("driver", "version").next();
    let pairs = [("driver", &signed.driver_version, driver), ("VBIOS", &signed.vbios_version, vbios)];
    let differs = pairs.into_iter().filter_map(|(what, signed, listed)| {
        let (signed, (_, listed)) = (signed.as_ref()?, listed?);
        let detail = format!("it signs {what} {signed}, the inventory has {listed}");
        (!signed.eq_ignore_ascii_case(listed))
            .then(|| Check::not_established(subject, Reason::FirmwareDiffers, detail))
    });
    differs.collect()
}
