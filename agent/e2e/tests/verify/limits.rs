//! The costliest bundles that fit into the limits: what a verifier spends on them is counted.

use rackmark_e2e::Outcome;
use rackmark_e2e::device_maker::{Answer, Device, Issuer, Make, Maker, Report, Word, answer_about_aliases};
use rackmark_e2e::node_maker::{Node, Shown};
use rackmark_feed::verify::bundle::{ANSWERS, BundleView};
use rackmark_feed::verify::certificate::Certificate;
use rackmark_feed::verify::ocsp::{SIGNERS, SUBJECTS};
use rackmark_feed::verify::outcome::{Outcome as Result3, Reason, Subject};
use rackmark_feed::verify::report::{DeviceLabel, NodeReport, Trust, verify_bundle};
use rackmark_feed::verify::signatures::SIGNATURES;
use rackmark_feed::{DeviceKind, limits};

/// Around the verifier's clock.
const CURRENT: [&str; 2] = ["20271228000000Z", "20271229000000Z"];

/// A node with as many devices as evidence may have, each with a key of its own.
struct Crowd {
    maker: Maker,
    node: Node,
    devices: Vec<Device>,
}

impl Crowd {
    fn new() -> Outcome<Self> {
        let maker = Maker::new()?;
        let devices: Outcome<Vec<Device>> = (0..limits::DEVICES)
            .map(|at| maker.device(&Make { serial: &format!("41{at:03}"), ..Make::default() }))
            .collect();
        Ok(Self { devices: devices?, maker, node: Node::software(1) })
    }

    /// The first of its devices.
    fn judge(&self, count: usize, answers: Vec<Vec<u8>>) -> Outcome<NodeReport> {
        let mut shown = Vec::new();
        for (at, device) in self.devices.iter().take(count).enumerate() {
            let name = format!("GPU-00000000-0000-0000-0000-{at:012}");
            let nonce = self.node.device_nonce(&name);
            let report = device.report(&Report { nonce, measurements: 1, ..Report::default() })?;
            shown.push(Shown { kind: DeviceKind::Gpu, name, report, chain: device.pem() });
        }
        let mut bundle = self.node.bundle(&shown, ["580.95.05", "96.00.5E.00.01"])?;
        bundle.revocations = answers;
        let bytes = bundle.to_bytes();
        let anchors = [Certificate::parse(&self.maker.root.der)?];
        let trust = Trust { device_anchors: &anchors, ..Trust::default() };
        Ok(verify_bundle(&BundleView::parse(&bytes)?, &trust, &self.node.question()))
    }

    /// Answers that nobody who may has signed, about as many devices as they may speak of, with as many certificates
    /// that might have signed them as they may bring.
    fn crafted(&self, count: usize) -> Outcome<Vec<Vec<u8>>> {
        let stranger = Maker::new()?.responder(true)?;
        let signers: Outcome<Vec<Issuer>> = (0..SIGNERS).map(|_| self.maker.responder(true)).collect();
        let signers = signers?;
        let with: Vec<&Issuer> = signers.iter().collect();
        let about: Vec<&Device> = self.devices.iter().take(SUBJECTS).collect();
        let answer = |_| answer_about_aliases(&about, Word::Good, CURRENT, &stranger, &with);
        (0..count).map(answer).collect()
    }

    fn good(&self) -> Answer<'_> {
        Answer {
            of: &self.maker.provisioner,
            issuer: &self.maker.identity,
            signer: &self.maker.identity,
            word: Word::Good,
            between: CURRENT,
        }
    }
}

fn signed(report: &NodeReport) -> usize {
    report.devices.iter().filter(|device| device.label == DeviceLabel::DeviceSigned).count()
}

fn why(report: &NodeReport, reason: Reason) -> usize {
    let of_devices = report.checks.iter().filter(|check| matches!(check.subject, Subject::Device(_)));
    of_devices.filter(|check| check.reason == reason && check.outcome == Result3::NotEstablished).count()
}

#[test]
fn the_largest_honest_bundle_is_judged_whole() -> Outcome<()> {
    let crowd = Crowd::new()?;
    let responder = crowd.maker.responder(true)?;
    let answers: Outcome<Vec<Vec<u8>>> =
        (0..ANSWERS).map(|_| Answer { signer: &responder, ..crowd.good() }.der()).collect();
    let report = crowd.judge(limits::DEVICES, answers?)?;
    assert_eq!(signed(&report), limits::DEVICES, "{:?}", report.checks);
    // Report, alias and device of each; two issuers; of each answer the issuer's signature and the responder's, whose
    // certificate is one.
    assert_eq!(report.signatures, limits::DEVICES * 3 + 2 + ANSWERS * 2 + 1);
    Ok(())
}

#[test]
fn attack_bundle_that_keeps_the_verifier_busy() -> Outcome<()> {
    let crowd = Crowd::new()?;
    let report = crowd.judge(limits::DEVICES, crowd.crafted(ANSWERS)?)?;
    assert_eq!(report.signatures, SIGNATURES, "no more, whatever is in it");
    assert_eq!(signed(&report), 0);
    let (unsigned, beyond) =
        (why(&report, Reason::RevocationUnknown), why(&report, Reason::TooManySignatures));
    assert!(unsigned > 0 && beyond > 0, "{unsigned} {beyond}");
    assert_eq!(unsigned + beyond, limits::DEVICES);
    Ok(())
}

/// The answer that a device is good is looked at, the one that it is revoked no more: it is not shown to be good.
#[test]
fn attack_revocation_buried_below_other_answers() -> Outcome<()> {
    /// Signatures that a device costs besides answers: report, alias, its own certificate.
    const OWN: usize = 3;
    let crowd = Crowd::new()?;
    let crafted = crowd.crafted(ANSWERS - 2)?;
    // The device within whose answers the verifier stops looking.
    let left =
        |first: usize| -> Outcome<usize> { Ok(SIGNATURES - crowd.judge(first, crafted.clone())?.signatures) };
    let (mut at, mut beyond) = (0, SUBJECTS);
    while beyond - at > 1 {
        let middle = at.midpoint(beyond);
        if left(middle)? > 0 { at = middle } else { beyond = middle }
    }
    let left = left(at)?;
    assert!(OWN < left && left < OWN + 1 + crafted.len(), "{left}");
    let device = &crowd.devices[at];
    let said = |word| answer_about_aliases(&[device], word, CURRENT, &device.chip, &[]);
    let good = said(Word::Good)?;
    let alone = crowd.judge(at + 1, vec![good.clone(), said(Word::Revoked(1))?])?;
    assert_eq!(why(&alone, Reason::TooManySignatures), 0);
    assert_eq!(alone.outcome(), Result3::Contradicted, "it is revoked");
    let report = crowd.judge(at + 1, [vec![good], crafted, vec![said(Word::Revoked(1))?]].concat())?;
    assert_eq!(report.signatures, SIGNATURES);
    assert_eq!(why(&report, Reason::TooManySignatures), 1);
    assert_eq!(report.devices.last().map(|device| device.label), Some(DeviceLabel::HostReported));
    Ok(())
}
