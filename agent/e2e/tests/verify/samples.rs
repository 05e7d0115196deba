//! A report of a real Hopper GPU with its certificates, and one whose signature is wrong.

use std::path::PathBuf;

use rackmark_e2e::Outcome;
use rackmark_e2e::node_maker::NOW;
use rackmark_feed::DeviceKind;
use rackmark_feed::verify::certificate::{Certificate, CertificateError};
use rackmark_feed::verify::chain;
use rackmark_feed::verify::nvidia::{Judge, Refusal, SignedDevice};
use rackmark_feed::verify::outcome::{Outcome as Result3, Reason};
use rackmark_feed::verify::signatures::Checked;
use rackmark_feed::verify::spdm::Exchange;

struct Samples {
    report: Vec<u8>,
    wrong: Vec<u8>,
    chain: Vec<u8>,
    /// The last of the chain, as if it had come from the maker.
    roots: Vec<Certificate>,
}

impl Samples {
    fn read() -> Outcome<Option<Self>> {
        let folder = std::env::var_os("RACKMARK_VECTORS").map_or_else(
            || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/vectors")),
            PathBuf::from,
        );
        let folder = folder.join("gpu-evidence");
        if !folder.exists() {
            println!("skipped: no vectors");
            return Ok(None);
        }
        let bytes = |name: &str| -> Outcome<Vec<u8>> {
            let text = std::fs::read_to_string(folder.join(name))?;
            let digits = text.trim();
            let pairs = (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(&digits[at..at + 2], 16));
            Ok(pairs.collect::<Result<_, _>>()?)
        };
        let chain = std::fs::read(folder.join("hopperCertChain.txt"))?;
        let roots = chain::parse(&chain)?.split_off(4);
        Ok(Some(Self {
            report: bytes("hopperAttestationReport.txt")?,
            wrong: bytes("hopperAttestationReportInvalidSignature.txt")?,
            chain,
            roots,
        }))
    }

    /// With the nonce that the report says it is for.
    fn judge(&self, report: &[u8]) -> Result<SignedDevice, Refusal> {
        let nonce = Exchange::parse(report).map_or([0; 32], |exchange| *exchange.nonce);
        Judge::new(&self.roots, &[], NOW).device(DeviceKind::Gpu, report, &self.chain, &nonce)
    }
}

#[test]
fn a_real_hopper_gpu_is_shown_with_what_it_signed() -> Outcome<()> {
    let Some(samples) = Samples::read()? else { return Ok(()) };
    let signed = samples.judge(&samples.report).map_err(|refusal| refusal.detail)?;
    assert_eq!(signed.model, "GH100 A01 GSP BROM");
    assert_eq!(signed.serial, "416A5FAFCBD9FA5CA3");
    assert_eq!(signed.driver_version.as_deref(), Some("535.86.09"));
    assert_eq!(signed.vbios_version.as_deref(), Some("96.00.5E.00.01"));
    assert_eq!(signed.firmware_id.len(), 48);
    assert_eq!(Exchange::parse(&samples.report)?.measurements.len(), 64);
    Ok(())
}

#[test]
fn attack_real_report_whose_signature_is_wrong() -> Outcome<()> {
    let Some(samples) = Samples::read()? else { return Ok(()) };
    let refusal = samples.judge(&samples.wrong).expect_err("refused");
    assert_eq!((refusal.outcome, refusal.reason), (Result3::Contradicted, Reason::SignatureMismatch));
    Ok(())
}

#[test]
fn attack_real_report_flipped_cut_or_without_its_root() -> Outcome<()> {
    let Some(samples) = Samples::read()? else { return Ok(()) };
    for at in 0..samples.report.len() {
        let mut report = samples.report.clone();
        report[at] ^= 1 << (at % 8);
        assert!(samples.judge(&report).is_err(), "byte {at}");
        assert!(samples.judge(&samples.report[..at]).is_err(), "cut at {at}");
    }
    let parsed = chain::parse(&samples.chain)?;
    let below = |roots: &[Certificate]| {
        let checked = &mut Checked::default();
        chain::walk_in_order(&parsed, roots, NOW, checked).map(|issuers| issuers.len())
    };
    assert_eq!(below(&samples.roots), Ok(4));
    assert_eq!(below(&parsed[2..3]), Ok(2), "an issuer may be trusted by itself");
    assert_eq!(below(&[]), Err(CertificateError::Untrusted { at: 4 }));
    Ok(())
}
