//! Any bytes as a device's report, chain and answer about revocation. The first two numbers (two bytes each) say where
//! the parts end. Nothing is verified but the device of the seeds: the keys of its maker were thrown away.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rackmark_feed::DeviceKind;
use rackmark_feed::verify::certificate::Certificate;
use rackmark_feed::verify::nvidia::Judge;
use rackmark_feed::verify::ocsp::Answer;
use rackmark_feed::verify::spdm::Exchange;

const ROOT: &[u8] = include_bytes!("../seeds/root.der");
/// Of the device of the seeds.
const SERIAL: &str = "416A5FAFCBD9FA5CA3";

fuzz_target!(|bytes: &[u8]| {
    let [a, b, c, d, rest @ ..] = bytes else { return };
    let end =
        |low: &u8, high: &u8, bytes: &[u8]| usize::from(u16::from_le_bytes([*low, *high])).min(bytes.len());
    let (report, rest) = rest.split_at(end(a, b, rest));
    let (chain, answer) = rest.split_at(end(c, d, rest));
    if let Ok(exchange) = Exchange::parse(report) {
        assert_eq!(exchange.signed.len() + exchange.signature.len(), report.len());
        let _ = exchange.fields();
    }
    Answer::parse(bytes);
    let roots = [Certificate::parse(ROOT).expect("own root")];
    let mut judge = Judge::new(&roots, &[answer], 1_830_000_000_000);
    for kind in [DeviceKind::Gpu, DeviceKind::Component] {
        if let Ok(signed) = judge.device(kind, report, chain, &[0x5a; 32]) {
            assert_eq!(signed.serial, SERIAL, "signed with a key that was thrown away");
        }
    }
});
