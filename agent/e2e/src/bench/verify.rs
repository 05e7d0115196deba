//! What a verifier's core can do: whole bundles of a server with eight GPUs, and signed messages.

use std::time::Instant;

use rackmark_e2e::Outcome;
use rackmark_e2e::device_maker::{Make, Maker, Report};
use rackmark_e2e::node_maker::{Node, Shown};
use rackmark_feed::verify::bundle::BundleView;
use rackmark_feed::verify::certificate::Certificate;
use rackmark_feed::verify::report::{DeviceLabel, Label, Trust, verify_bundle};
use rackmark_feed::{DeviceKind, Frame};

use super::figure;

/// Bundles that are timed.
const BUNDLES: u32 = 50;
/// Messages that are timed.
const MESSAGES: u32 = 20_000;
/// GPUs of the server.
const GPUS: usize = 8;

pub(crate) fn measure() -> Outcome<()> {
    let maker = Maker::new()?;
    let node = Node::with_tpm(1)?;
    let mut devices = Vec::new();
    for gpu in 0..GPUS {
        let serial = format!("416A5FAFCBD9FA5C{gpu:02}");
        let device = maker.device(&Make { serial: &serial, ..Make::default() })?;
        let name = format!("GPU-00000000-0000-0000-0000-{gpu:012}");
        let report = device.report(&Report { nonce: node.device_nonce(&name), ..Report::default() })?;
        devices.push(Shown { kind: DeviceKind::Gpu, name, report, chain: device.pem() });
    }
    let bundle = node.bundle(&devices, ["580.95.05", "96.00.5E.00.01"])?.to_bytes();
    let anchors = [Certificate::parse(&maker.root.der)?];
    let verifiers = [node.verifier()];
    let trust = Trust { device_anchors: &anchors, verifiers: &verifiers, ..Trust::default() };
    let begun = Instant::now();
    for _ in 0..BUNDLES {
        let report = verify_bundle(&BundleView::parse(&bundle)?, &trust, &node.question());
        let signed = report.devices.iter().filter(|device| device.label == DeviceLabel::DeviceSigned);
        if signed.count() != GPUS || report.label != Label::TpmUncertified {
            return Err(format!("not all is shown: {:?}", report.checks).into());
        }
    }
    figure("verify_bundle_bytes", bundle.len() as f64, "bytes")?;
    figure("verify_bundle_ms", begun.elapsed().as_secs_f64() * 1e3 / f64::from(BUNDLES), "ms")?;
    envelopes(&node)
}

fn envelopes(node: &Node) -> Outcome<()> {
    let frame = node.bundle(&[], ["580.95.05", "96.00.5E.00.01"])?.evidence;
    let key = node.session();
    let begun = Instant::now();
    for _ in 0..MESSAGES {
        Frame::parse(&frame)?.verify(&key)?;
    }
    figure("envelope_verify_per_s", f64::from(MESSAGES) / begun.elapsed().as_secs_f64(), "messages/s")
}
