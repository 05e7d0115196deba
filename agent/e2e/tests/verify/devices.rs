//! What devices sign: good ones, and attacks on every check. All go through a whole bundle.

use rackmark_e2e::Outcome;
use rackmark_e2e::device_maker::{Answer, Device, Issuer, Key, Make, Maker, Report, Word, pem};
use rackmark_e2e::node_maker::{NOW, Node, Shown};
use rackmark_feed::DeviceKind;
use rackmark_feed::verify::bundle::BundleView;
use rackmark_feed::verify::certificate::Certificate;
use rackmark_feed::verify::outcome::{Outcome as Result3, Reason, Subject};
use rackmark_feed::verify::report::{DeviceLabel, NodeReport, Trust, verify_bundle};

const GPU: &str = "GPU-00000000-0000-0000-0000-000000000000";
const OTHER_GPU: &str = "GPU-00000000-0000-0000-0000-000000000001";
/// What the made devices sign.
const VERSIONS: [&str; 2] = ["580.95.05", "96.00.5E.00.01"];
/// Around the verifier's clock.
const CURRENT: [&str; 2] = ["20271228000000Z", "20271229000000Z"];

struct Scene {
    maker: Maker,
    node: Node,
    device: Device,
}

impl Scene {
    fn new() -> Outcome<Self> {
        Self::made(&Make::default())
    }

    fn made(make: &Make<'_>) -> Outcome<Self> {
        let maker = Maker::new()?;
        let device = maker.device(make)?;
        Ok(Self { maker, node: Node::software(1), device })
    }

    /// A good report of the device, for a name.
    fn report(&self, name: &str) -> Outcome<Vec<u8>> {
        self.device.report(&Report { nonce: self.node.device_nonce(name), ..Report::default() })
    }

    fn shown(&self) -> Outcome<Shown> {
        Ok(Shown {
            kind: DeviceKind::Gpu,
            name: GPU.into(),
            report: self.report(GPU)?,
            chain: self.device.pem(),
        })
    }

    fn judge_all(&self, devices: &[Shown], answers: &[Vec<u8>], versions: [&str; 2]) -> Outcome<NodeReport> {
        judge(&self.maker.root, &self.node, devices, answers, versions)
    }

    fn judge(&self, shown: Shown) -> Outcome<(Result3, Reason)> {
        first(&self.judge_all(&[shown], &[], VERSIONS)?)
    }

    fn with_answer(&self, answer: &Answer<'_>) -> Outcome<(Result3, Reason)> {
        first(&self.judge_all(&[self.shown()?], &[answer.der()?], VERSIONS)?)
    }

    /// An answer of the chip's identity about the issuer that provisions devices.
    fn answer(&self, word: Word) -> Answer<'_> {
        Answer {
            of: &self.maker.provisioner,
            issuer: &self.maker.identity,
            signer: &self.maker.identity,
            word,
            between: CURRENT,
        }
    }
}

/// Through the bytes of the bundle, with the root that is trusted.
fn judge(
    root: &Issuer,
    node: &Node,
    devices: &[Shown],
    answers: &[Vec<u8>],
    versions: [&str; 2],
) -> Outcome<NodeReport> {
    let mut bundle = node.bundle(devices, versions)?;
    bundle.revocations = answers.to_vec();
    let bytes = bundle.to_bytes();
    let anchors = [Certificate::parse(&root.der)?];
    let trust = Trust { device_anchors: &anchors, ..Trust::default() };
    Ok(verify_bundle(&BundleView::parse(&bytes)?, &trust, &node.question()))
}

/// What came of the first device; its label agrees with that.
fn first(report: &NodeReport) -> Outcome<(Result3, Reason)> {
    let mut checks = report.checks.iter().filter(|check| check.subject == Subject::Device(0));
    let check = checks.next().ok_or("no check of the device")?;
    let device = report.devices.first().ok_or("no device")?;
    let signed = check.outcome == Result3::Verified;
    assert_eq!(device.label != DeviceLabel::HostReported, signed, "{check:?}");
    assert_eq!((device.key.is_some(), device.signed.is_some()), (signed, signed), "{check:?}");
    if check.outcome == Result3::Contradicted {
        assert!(report.observation.is_none(), "what is contradicted is not remembered");
    }
    Ok((check.outcome, check.reason))
}

const GOOD: (Result3, Reason) = (Result3::Verified, Reason::DeviceSigned);

#[test]
fn a_device_that_signs_for_this_question_is_shown_with_what_it_signs() -> Outcome<()> {
    let scene = Scene::new()?;
    let report = scene.judge_all(&[scene.shown()?], &[], VERSIONS)?;
    assert_eq!(first(&report)?, GOOD, "{:?}", report.checks);
    let device = &report.devices[0];
    assert_eq!((device.label, device.slot), (DeviceLabel::DeviceSigned, Some(0)));
    let signed = device.signed.as_ref().ok_or("signed")?;
    assert_eq!((&*signed.model, &*signed.serial), ("GH100 A01 GSP BROM", "416A5FAFCBD9FA5CA3"));
    assert_eq!(signed.driver_version.as_deref(), Some(VERSIONS[0]));
    assert_eq!(signed.vbios_version.as_deref(), Some(VERSIONS[1]));
    assert_eq!(signed.firmware_id, [0xf1; 48]);
    assert!(!signed.revocation_answered);
    let key = ring::digest::digest(&ring::digest::SHA256, &scene.device.chip.key.public());
    assert_eq!(device.key.as_ref().map(|key| &key[..]), Some(key.as_ref()));
    let observed = report.observation.ok_or("observation")?;
    assert!(observed.devices[0][0].starts_with("key:"), "{:?}", observed.devices);
    Ok(())
}

#[test]
fn other_forms_of_the_same_are_taken() -> Outcome<()> {
    let scene = Scene::new()?;
    let der = Shown { chain: scene.device.chain.concat(), ..scene.shown()? };
    assert_eq!(scene.judge(der)?, GOOD);
    let padded = Shown { chain: [scene.device.pem(), vec![0; 300]].concat(), ..scene.shown()? };
    assert_eq!(scene.judge(padded)?, GOOD);
    let rootless = Shown { chain: pem(&scene.device.chain[..4]), ..scene.shown()? };
    assert_eq!(scene.judge(rootless)?, GOOD, "the root is the verifier's");
    let older = Report { nonce: scene.node.device_nonce(GPU), firmware: None, ..Report::default() };
    let older = Shown { report: scene.device.report(&older)?, ..scene.shown()? };
    assert_eq!(scene.judge(older)?, GOOD, "older drivers have no such field");
    let tcg = Scene::made(&Make { tcb_info: true, ..Make::default() })?;
    assert_eq!(tcg.judge(tcg.shown()?)?, GOOD);
    Ok(())
}

#[test]
fn a_component_that_signs_by_way_of_the_bmc_is_labelled_so() -> Outcome<()> {
    let scene = Scene::made(&Make { firmware: None, ..Make::default() })?;
    let report = scene.device.report(&Report {
        nonce: scene.node.device_nonce("HGX_IRoT_0"),
        firmware: None,
        ..Report::default()
    })?;
    let shown = |kind, name: &str, report: &[u8]| Shown {
        kind,
        name: name.into(),
        report: report.to_vec(),
        chain: scene.device.pem(),
    };
    let component = [shown(DeviceKind::Component, "HGX_IRoT_0", &report)];
    let judged = scene.judge_all(&component, &[], VERSIONS)?;
    assert_eq!(first(&judged)?, (Result3::Verified, Reason::BmcSigned));
    assert_eq!(judged.devices[0].label, DeviceLabel::BmcSigned);
    // Without an alias the leaf's key is the component's: two below one issuer are two.
    let key = judged.devices[0].key;
    let issuer = ring::digest::digest(&ring::digest::SHA256, &scene.device.chip.key.public());
    assert_ne!(key.as_ref().map(|key| &key[..]), Some(issuer.as_ref()));
    // A GPU needs an alias that names its firmware.
    let silent = Report { nonce: scene.node.device_nonce(GPU), firmware: None, ..Report::default() };
    let gpu = shown(DeviceKind::Gpu, GPU, &scene.device.report(&silent)?);
    assert_eq!(scene.judge(gpu)?, (Result3::NotEstablished, Reason::FirmwareIdMismatch));
    Ok(())
}

#[test]
fn firmware_updates_leave_the_key_and_inventories_may_lag_behind() -> Outcome<()> {
    let mut scene = Scene::new()?;
    let before = scene.judge_all(&[scene.shown()?], &[], VERSIONS)?.devices[0].key;
    scene.device = scene.device.updated([0xf2; 48])?;
    let nonce = scene.node.device_nonce(GPU);
    let report = scene.device.report(&Report { nonce, firmware: Some([0xf2; 48]), ..Report::default() })?;
    let shown = Shown { report, ..scene.shown()? };
    let judged = scene.judge_all(&[shown], &[], ["570.86.10", "96.00.5e.00.01"])?;
    assert_eq!(first(&judged)?, GOOD);
    assert_eq!(judged.devices[0].key, before);
    let differs: Vec<_> = judged.checks.iter().filter(|c| c.reason == Reason::FirmwareDiffers).collect();
    assert_eq!(differs.len(), 1, "the driver, and not the VBIOS: {:?}", judged.checks);
    assert_eq!(differs[0].outcome, Result3::NotEstablished);
    assert_eq!(judged.devices[0].label, DeviceLabel::DeviceSigned);
    Ok(())
}

#[test]
fn attack_report_for_another_nonce() -> Outcome<()> {
    let scene = Scene::new()?;
    let report = scene.device.report(&Report { nonce: [0x5a; 32], ..Report::default() })?;
    let shown = Shown { report, ..scene.shown()? };
    assert_eq!(scene.judge(shown)?, (Result3::Contradicted, Reason::NonceMismatch));
    Ok(())
}

#[test]
fn attack_report_of_another_session() -> Outcome<()> {
    let scene = Scene::new()?;
    // The same verifier's nonce, answered by another node with this device's report.
    let mut thief = Node::software(2);
    thief.nonce = scene.node.nonce;
    let report = judge(&scene.maker.root, &thief, &[scene.shown()?], &[], VERSIONS)?;
    assert_eq!(first(&report)?, (Result3::Contradicted, Reason::NonceMismatch));
    Ok(())
}

#[test]
fn attack_report_for_another_device_of_the_session() -> Outcome<()> {
    let scene = Scene::new()?;
    let shown = Shown { report: scene.report(OTHER_GPU)?, ..scene.shown()? };
    assert_eq!(scene.judge(shown)?, (Result3::Contradicted, Reason::NonceMismatch));
    Ok(())
}

#[test]
fn attack_report_with_one_bit_flipped_at_every_byte() -> Outcome<()> {
    let scene = Scene::new()?;
    let nonce = scene.node.device_nonce(GPU);
    let good = scene.device.report(&Report { nonce, measurements: 3, ..Report::default() })?;
    assert_eq!(scene.judge(Shown { report: good.clone(), ..scene.shown()? })?, GOOD);
    for at in 0..good.len() {
        let mut report = good.clone();
        report[at] ^= 1 << (at % 8);
        let (outcome, reason) = scene.judge(Shown { report, ..scene.shown()? })?;
        assert_ne!(outcome, Result3::Verified, "byte {at}");
        assert!(
            [Reason::SignatureMismatch, Reason::Malformed, Reason::FormatUnknown].contains(&reason),
            "byte {at}: {reason:?}"
        );
    }
    Ok(())
}

#[test]
fn attack_report_cut_at_every_length() -> Outcome<()> {
    let scene = Scene::new()?;
    let nonce = scene.node.device_nonce(GPU);
    let good = scene.device.report(&Report { nonce, measurements: 3, ..Report::default() })?;
    for end in 0..good.len() {
        let shown = Shown { report: good[..end].to_vec(), ..scene.shown()? };
        assert_ne!(scene.judge(shown)?.0, Result3::Verified, "{end}");
    }
    Ok(())
}

#[test]
fn attack_leaf_of_another_device() -> Outcome<()> {
    let scene = Scene::new()?;
    let other = scene.maker.device(&Make { serial: "4100", ..Make::default() })?;
    let shown = Shown { chain: other.pem(), ..scene.shown()? };
    assert_eq!(scene.judge(shown)?, (Result3::Contradicted, Reason::SignatureMismatch));
    // Its own leaf below the other's certificate, which did not issue it.
    let mixed = [&scene.device.chain[..1], &other.chain[1..]].concat();
    let shown = Shown { chain: pem(&mixed), ..scene.shown()? };
    assert_eq!(scene.judge(shown)?, (Result3::NotEstablished, Reason::ChainUntrusted));
    Ok(())
}

#[test]
fn attack_chain_to_another_root_of_the_same_name() -> Outcome<()> {
    let (scene, forger) = (Scene::new()?, Maker::new()?);
    let report = judge(&forger.root, &scene.node, &[scene.shown()?], &[], VERSIONS)?;
    assert_eq!(first(&report)?, (Result3::NotEstablished, Reason::ChainUntrusted));
    Ok(())
}

#[test]
fn attack_chain_with_an_issuer_that_may_not_issue() -> Outcome<()> {
    let scene = Scene::made(&Make { may_issue: false, ..Make::default() })?;
    assert_eq!(scene.judge(scene.shown()?)?, (Result3::NotEstablished, Reason::ChainUntrusted));
    Ok(())
}

#[test]
fn attack_chain_that_is_cut_or_out_of_order() -> Outcome<()> {
    let scene = Scene::new()?;
    for length in 1..4 {
        let shown = Shown { chain: pem(&scene.device.chain[..length]), ..scene.shown()? };
        assert_eq!(scene.judge(shown)?, (Result3::NotEstablished, Reason::ChainUntrusted), "{length}");
    }
    let without = |at: usize| {
        let mut chain = scene.device.chain.clone();
        chain.remove(at);
        Ok::<_, Box<dyn std::error::Error>>(scene.judge(Shown { chain: pem(&chain), ..scene.shown()? })?.0)
    };
    // Without its leaf the device's own certificate comes first: it issues, and signs no reports.
    for at in 0..3 {
        assert_eq!(without(at)?, Result3::NotEstablished, "{at}");
    }
    let whole = scene.device.chain[..4].concat();
    let ends: Vec<usize> = (1..=4).map(|count| scene.device.chain[..count].concat().len()).collect();
    for end in (0..whole.len()).filter(|end| !ends.contains(end)) {
        let shown = Shown { chain: whole[..end].to_vec(), ..scene.shown()? };
        assert_eq!(scene.judge(shown)?, (Result3::NotEstablished, Reason::Malformed), "{end}");
    }
    Ok(())
}

#[test]
fn attack_report_signed_by_the_key_of_an_issuer() -> Outcome<()> {
    let scene = Scene::new()?;
    let name = "HGX_IRoT_0";
    let said = Report { nonce: scene.node.device_nonce(name), firmware: None, ..Report::default() };
    let shown = Shown {
        kind: DeviceKind::Component,
        name: name.into(),
        report: scene.device.report_by(&scene.device.chip.key, &said)?,
        chain: pem(&scene.device.chain[1..]),
    };
    assert_eq!(scene.judge(shown)?, (Result3::NotEstablished, Reason::CertificatePurpose));
    Ok(())
}

#[test]
fn attack_one_device_in_two_slots() -> Outcome<()> {
    let scene = Scene::new()?;
    let second = Shown { name: OTHER_GPU.into(), report: scene.report(OTHER_GPU)?, ..scene.shown()? };
    let judged = scene.judge_all(&[scene.shown()?, second], &[], VERSIONS)?;
    assert_eq!(first(&judged)?, (Result3::Contradicted, Reason::DeviceTwice));
    let twice = judged.checks.iter().filter(|check| check.reason == Reason::DeviceTwice).count();
    assert_eq!(twice, 2, "nobody knows in which it is");
    // The BMC's word on the same device is no second device.
    let component = Shown {
        kind: DeviceKind::Component,
        name: "HGX_GPU_SXM_1".into(),
        report: scene.report("HGX_GPU_SXM_1")?,
        ..scene.shown()?
    };
    assert_eq!(first(&scene.judge_all(&[scene.shown()?, component], &[], VERSIONS)?)?, GOOD);
    Ok(())
}

#[test]
fn attack_report_with_the_firmware_of_another() -> Outcome<()> {
    let scene = Scene::new()?;
    let nonce = scene.node.device_nonce(GPU);
    let report = scene.device.report(&Report { nonce, firmware: Some([0xf2; 48]), ..Report::default() })?;
    let shown = Shown { report, ..scene.shown()? };
    assert_eq!(scene.judge(shown)?, (Result3::NotEstablished, Reason::FirmwareIdMismatch));
    Ok(())
}

#[test]
fn attack_alias_that_names_another_device() -> Outcome<()> {
    let other = Key::generate()?.public();
    let scene = Scene::made(&Make { named: Some(&other), ..Make::default() })?;
    assert_eq!(scene.judge(scene.shown()?)?, (Result3::NotEstablished, Reason::CertificateKeyMismatch));
    Ok(())
}

#[test]
fn attack_switch_that_passes_for_a_gpu() -> Outcome<()> {
    let scene = Scene::made(&Make { model: "LS10 A01 FSP BROM", ..Make::default() })?;
    assert_eq!(scene.judge(scene.shown()?)?, (Result3::NotEstablished, Reason::OtherKindOfDevice));
    Ok(())
}

#[test]
fn answers_about_revocation_count_when_they_are_current_and_signed() -> Outcome<()> {
    let scene = Scene::new()?;
    let judged = scene.judge_all(&[scene.shown()?], &[scene.answer(Word::Good).der()?], VERSIONS)?;
    assert_eq!(first(&judged)?, GOOD, "{:?}", judged.checks);
    assert!(judged.devices[0].signed.as_ref().is_some_and(|signed| signed.revocation_answered));
    let responder = scene.maker.responder(true)?;
    let delegated = Answer { signer: &responder, ..scene.answer(Word::Good) };
    assert_eq!(scene.with_answer(&delegated)?, GOOD);
    let revoked = Answer { signer: &responder, ..scene.answer(Word::Revoked(1)) };
    assert_eq!(scene.with_answer(&revoked)?, (Result3::Contradicted, Reason::CertificateRevoked));
    Ok(())
}

#[test]
fn attack_revoked_device() -> Outcome<()> {
    let scene = Scene::new()?;
    let revoked = (Result3::Contradicted, Reason::CertificateRevoked);
    assert_eq!(scene.with_answer(&scene.answer(Word::Revoked(1)))?, revoked);
    // A revocation does not age, and a good answer beside it does not undo it.
    let old = Answer { between: ["20260101000000Z", "20260102000000Z"], ..scene.answer(Word::Revoked(1)) };
    assert_eq!(scene.with_answer(&old)?, revoked);
    let answers = [scene.answer(Word::Good).der()?, old.der()?];
    assert_eq!(first(&scene.judge_all(&[scene.shown()?], &answers, VERSIONS)?)?, revoked);
    // Suspended, or not known: no fraud, and not shown.
    let held = scene.with_answer(&scene.answer(Word::Revoked(6)))?;
    assert_eq!(held, (Result3::NotEstablished, Reason::CertificateOnHold));
    let unknown = scene.with_answer(&scene.answer(Word::Unknown))?;
    assert_eq!(unknown, (Result3::NotEstablished, Reason::RevocationUnknown));
    Ok(())
}

#[test]
fn attack_answer_about_another_certificate() -> Outcome<()> {
    let scene = Scene::new()?;
    let other = Maker::new()?;
    // The same serial number, by an issuer of the same name with another key: nothing is said of this one.
    let foreign = Answer {
        of: &other.provisioner,
        issuer: &other.identity,
        signer: &other.identity,
        ..scene.answer(Word::Good)
    };
    let judged = scene.judge_all(&[scene.shown()?], &[foreign.der()?], VERSIONS)?;
    assert_eq!(first(&judged)?, GOOD);
    assert!(judged.devices[0].signed.as_ref().is_some_and(|signed| !signed.revocation_answered));
    let sibling = Answer { of: &scene.maker.identity, ..scene.answer(Word::Good) };
    let judged = scene.judge_all(&[scene.shown()?], &[sibling.der()?], VERSIONS)?;
    assert!(judged.devices[0].signed.as_ref().is_some_and(|signed| !signed.revocation_answered));
    Ok(())
}

#[test]
fn attack_stale_answer() -> Outcome<()> {
    let scene = Scene::new()?;
    for between in [["20271201000000Z", "20271228131959Z"], ["20271228133001Z", "20271229000000Z"]] {
        let stale = Answer { between, ..scene.answer(Word::Good) };
        assert_eq!(scene.with_answer(&stale)?, (Result3::NotEstablished, Reason::RevocationUnknown));
    }
    // To the last second, and within the clocks' difference.
    for between in [["20271201000000Z", "20271228132000Z"], ["20271228132500Z", "20271229000000Z"]] {
        let current = Answer { between, ..scene.answer(Word::Good) };
        assert_eq!(scene.with_answer(&current)?, GOOD, "{NOW}");
    }
    Ok(())
}

#[test]
fn attack_answer_signed_by_nobody_who_may() -> Outcome<()> {
    let scene = Scene::new()?;
    let (purposeless, stranger) = (scene.maker.responder(false)?, Maker::new()?.responder(true)?);
    for signer in [&purposeless, &stranger, &scene.maker.provisioner, &scene.device.chip] {
        for word in [Word::Good, Word::Revoked(1)] {
            let answer = Answer { signer, ..scene.answer(word) };
            let judged = scene.with_answer(&answer)?;
            assert_eq!(judged, (Result3::NotEstablished, Reason::RevocationUnknown), "{word:?}");
        }
    }
    let mut flipped = scene.answer(Word::Good).der()?;
    let last = flipped.len() - 1;
    flipped[last] ^= 1;
    let judged = scene.judge_all(&[scene.shown()?], &[flipped], VERSIONS)?;
    assert_eq!(first(&judged)?, (Result3::NotEstablished, Reason::RevocationUnknown));
    Ok(())
}
