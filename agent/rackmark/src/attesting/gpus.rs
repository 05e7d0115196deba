//! GPUs that sign through their driver, each for its own nonce.
//!
//! A sampler of its own has them sign, so that neither sampling nor the attester waits for a GPU.

use std::collections::BTreeMap;
use std::time::Duration;

use rackmark_feed::DeviceEvidence;
use rackmark_model::PciAddress;
use rackmark_model::ipc::{GpuQuestion, GpuSigned, SamplerOrder, SamplerReport};
use tokio::time::{Instant, timeout_at};

use super::artefacts::Artefacts;
use super::making;
use crate::config::Config;
use crate::exit::chain;
use crate::publish::encode;
use crate::sampling::link::Link;
use crate::sampling::roster::{Roster, Standing};

/// How long all GPUs have together; a GPU signs within a second, they do so at the same time, and a driver without
/// persistence mode takes some seconds to open one.
const WITHIN: Duration = Duration::from_secs(30);

/// What a GPU signed, or why it signs nothing, by the name that evidence calls it.
pub type Signed = BTreeMap<String, Result<GpuSigned, String>>;

/// The GPUs that can be asked: those that answer and whose name is known. One that sleeps is left alone.
pub fn to_ask(roster: &Roster) -> Vec<(PciAddress, String)> {
    let answering = roster.gpus.iter().filter(|gpu| gpu.standing == Standing::Answering);
    answering.filter_map(|gpu| Some((gpu.address, making::name(gpu.identity.uuid.as_ref()?)))).collect()
}

/// Has GPUs sign; one that does not in time is named with that.
pub async fn signed(
    config: &Config,
    gpus: Vec<(PciAddress, String)>,
    nonce: impl Fn(&str) -> [u8; 32] + Send,
) -> Signed {
    if gpus.is_empty() {
        return Signed::new();
    }
    let late = || Err(format!("the GPU did not sign within {} s", WITHIN.as_secs()));
    let mut signed: Signed = gpus.iter().map(|(_, name)| (name.clone(), late())).collect();
    let questions = gpus.iter().map(|(address, name)| GpuQuestion { address: *address, nonce: nonce(name) });
    let order = SamplerOrder::Attest(questions.collect());
    let until = Instant::now() + WITHIN;
    let mut left = gpus.len();
    let mut all = |why: String| signed.values_mut().for_each(|outcome| *outcome = Err(why.clone()));
    let mut link = match timeout_at(until, Link::open(config, &order)).await {
        Ok(Ok(link)) => link,
        Ok(Err(error)) => {
            all(format!("no sampler has it sign: {}", chain(&error)));
            return signed;
        }
        Err(_) => return signed,
    };
    while left > 0 {
        match timeout_at(until, link.next()).await {
            Ok(Ok(SamplerReport::Signed { address, outcome })) => {
                let named = gpus.iter().find(|(of, _)| *of == address);
                if let Some(slot) = named.and_then(|(_, name)| signed.get_mut(name)) {
                    *slot = outcome;
                    left -= 1;
                }
            }
            Ok(Ok(SamplerReport::NoDriver { cause })) => {
                signed.values_mut().for_each(|outcome| *outcome = Err(cause.clone()));
                break;
            }
            Ok(Ok(_)) => {}
            Ok(Err(error)) => {
                tracing::warn!(error = chain(&error), left, "GPUs that are to sign");
                break;
            }
            Err(_) => {
                tracing::warn!(left, "GPUs do not sign in time");
                break;
            }
        }
    }
    link.walk_away(
        |pid| tracing::error!(pid, "the process that has GPUs sign hangs in the driver"),
        |pid| tracing::info!(pid, "the process that had GPUs sign has ended after all"),
    );
    signed
}

/// Adds what was signed to the devices of the claim.
pub fn put(signed: Signed, devices: &mut [DeviceEvidence], artefacts: &mut Artefacts) {
    for (name, outcome) in signed {
        let Some(device) = devices.iter_mut().find(|device| device.name == name) else { continue };
        match outcome {
            Ok(signed) => {
                device.report = artefacts.keep(&signed.report);
                device.chain = artefacts.keep(&signed.chain);
                device.reason = String::new();
            }
            Err(why) => device.reason = encode::cut(&why),
        }
    }
}

#[cfg(test)]
mod tests {
    use rackmark_feed::DeviceKind;

    use super::*;

    #[test]
    fn a_device_has_what_it_signed_or_the_reason() {
        let device = |name: &str| DeviceEvidence {
            kind: DeviceKind::Gpu,
            slot: Some(0),
            name: name.to_owned(),
            report: None,
            chain: None,
            reason: "not asked".to_owned(),
        };
        let mut devices = [device("GPU-a"), device("GPU-b"), device("GPU-c")];
        let mut artefacts = Artefacts::default();
        let good = GpuSigned { report: b"report".to_vec(), chain: b"chain".to_vec() };
        let signed =
            [("GPU-a", Ok(good)), ("GPU-b", Err("not supported".to_owned())), ("GPU-x", Err(String::new()))];
        put(signed.map(|(name, outcome)| (name.to_owned(), outcome)).into(), &mut devices, &mut artefacts);
        assert!(devices[0].report.is_some() && devices[0].chain.is_some() && devices[0].reason.is_empty());
        assert_eq!((devices[1].report, devices[1].reason.as_str()), (None, "not supported"));
        assert_eq!(devices[2].reason, "not asked");
    }
}
