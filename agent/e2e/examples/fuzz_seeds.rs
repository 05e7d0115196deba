//! `cargo run -p rackmark-e2e --example fuzz_seeds`: writes the seeds of the fuzz targets of evidence anew. All of it
//! is made here, with keys that are thrown away.

use std::fs;
use std::path::Path;

use rackmark_e2e::Outcome;
use rackmark_e2e::device_maker::{Answer, Make, Maker, Report, Word, pem};
use rackmark_e2e::node_maker::{Node, Shown};
use rackmark_feed::verify::bundle::BundleView;
use rackmark_feed::{Body, DeviceKind, Frame, json};

fn main() -> Outcome<()> {
    let fuzz = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../feed/fuzz/seeds"));
    let write = |name: &str, bytes: &[u8]| -> Outcome<()> {
        let path = fuzz.join(name);
        fs::create_dir_all(path.parent().ok_or("folder")?)?;
        Ok(fs::write(path, bytes)?)
    };
    let maker = Maker::new()?;
    write("root.der", &maker.root.der)?;
    let device = maker.device(&Make::default())?;
    write("certificate/leaf", &device.chain[0])?;
    write("certificate/chain", &device.chain.concat())?;
    write("certificate/pem", &pem(&device.chain[..1]))?;

    // For the nonce that the target asks with.
    let report = device.report(&Report { nonce: [0x5a; 32], measurements: 2, ..Report::default() })?;
    let answer = Answer {
        of: &maker.provisioner,
        issuer: &maker.identity,
        signer: &maker.identity,
        word: Word::Revoked(6),
        between: ["20271228000000Z", "20271229000000Z"],
    };
    let exchange = |chain: &[Vec<u8>], answer: &[u8]| {
        let chain = chain.concat();
        let length = |bytes: &[u8]| u16::try_from(bytes.len()).unwrap_or_default().to_le_bytes();
        [&length(&report)[..], &length(&chain), &report, &chain, answer].concat()
    };
    write("spdm/report", &exchange(&device.chain[..1], &[]))?;
    write("spdm/chain", &exchange(&device.chain[..4], &[]))?;
    write("spdm/answer", &exchange(&device.chain[..4], &answer.der()?))?;

    let node = Node::with_tpm(1)?;
    let name = "GPU-0".to_owned();
    let report = Report { nonce: node.device_nonce(&name), measurements: 1, ..Report::default() };
    let report = device.report(&report)?;
    let shown = Shown { kind: DeviceKind::Gpu, name, report, chain: device.chain[..4].concat() };
    let mut software = Node::software(2).bundle(&[shown], ["580", "96"])?;
    software.revocations = vec![answer.der()?];
    write("bundle/software", &software.to_bytes())?;
    let tpm = node.bundle(&[], ["580", "96"])?;
    let log = &tpm.artefacts[1];
    write("event_log/short", &log[..1500])?;
    write("event_log/header", &log[..69])?;
    let mut logless = tpm.clone();
    logless.artefacts.truncate(1);
    write("bundle/tpm", &logless.to_bytes())?;

    for (name, bundle) in [("software", &software), ("tpm", &tpm)] {
        let bytes = bundle.to_bytes();
        let view = BundleView::parse(&bytes)?;
        let frame = Frame::parse(view.evidence)?;
        let Body::Evidence(evidence) = frame.body()? else { return Err("no evidence".into()) };
        write(&format!("evidence/{name}"), &postcard::to_allocvec(&evidence)?)?;
        write(&format!("evidence/{name}_json"), json::to_json(&frame)?.to_string().as_bytes())?;
        if let Some(tpm) = evidence.tpm {
            let length = |bytes: &[u8]| u8::try_from(bytes.len()).unwrap_or_default();
            let ends = [length(&tpm.attestation_key), length(&tpm.quoted)];
            write(
                "tpm_structures/quote",
                &[&ends[..], &tpm.attestation_key, &tpm.quoted, &tpm.signature].concat(),
            )?;
            write("tpm_structures/endorsement_key", &tpm.endorsement_key)?;
        }
    }
    Ok(())
}
