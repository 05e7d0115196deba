//! Measurements that components sign, through the BMC (schema `ComponentIntegrity`, SPDM).

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::header::{LOCATION, RETRY_AFTER};
use hyper::{Method, StatusCode};
use rackmark_firmware_hooks::inventory::redfish::{
    Component, ResourcePath, ServiceRoot, SignedMeasurements, Task, TaskEnd, certificate_chain,
};
use serde_json::json;
use thiserror::Error;
use tokio::time::{sleep, timeout};

use super::client::{Answer, Client, Patience};
use super::error::BmcError;
use super::inventory::{members, unusable};
use crate::exit::chain;

/// Most components that are looked at; evidence has room for 96 devices.
const COMPONENTS_MAX: usize = 64;

/// The slot of the certificates that a maker puts into a component (DSP0274).
const SLOT: u8 = 0;

/// All measurements at once (schema `ComponentIntegrity`, `MeasurementIndices`).
const ALL: u8 = 255;

/// Longest wait that a service may ask for between two looks at a task.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(30);

/// What one component says of itself.
#[derive(Debug)]
pub struct ComponentEvidence {
    /// What the BMC calls it.
    pub id: String,
    /// The requests and responses of SPDM, with the nonce in the request and the signature at the end.
    pub measurements: Result<Vec<u8>, NoMeasurements>,
    /// Its certificate chain, PEM as the BMC writes it.
    pub certificate_chain: Option<Vec<u8>>,
}

/// Why a component signed nothing.
#[derive(Debug, Error)]
pub enum NoMeasurements {
    /// SPDM is switched off for it; some makers ship it so.
    #[error("SPDM is switched off for this component on the BMC")]
    SwitchedOff,
    /// There is nothing to ask it with.
    #[error("the BMC offers no signed measurements of this component")]
    NotOffered,
    /// The BMC did not do it.
    #[error("the BMC did not ask the component")]
    Bmc(#[source] BmcError),
    /// The BMC began and did not finish.
    #[error("the BMC's task ended as {0}")]
    Task(String),
    /// It took too long, or others took the time.
    #[error("the component did not sign within {} s", .0.as_secs())]
    Late(Duration),
    /// What came is not Base64.
    #[error("the measurements are not Base64")]
    NotBase64,
    /// What came was signed for somebody else, or before.
    #[error("the measurements were not signed for our nonce")]
    AnotherNonce,
}

/// The components that speak SPDM. One whose document cannot be had is left out.
///
/// # Errors
/// [`BmcError`]; [`BmcError::NotOffered`] where the service does not know of any.
pub async fn components(client: &mut Client, root: &ServiceRoot) -> Result<Vec<Component>, BmcError> {
    let none = BmcError::NotOffered("ComponentIntegrity");
    let Some(collection) = &root.component_integrity else { return Err(none) };
    let listed = match members(client, collection, COMPONENTS_MAX).await {
        Err(BmcError::Status { status: StatusCode::NOT_FOUND, .. }) => return Err(none),
        listed => listed?.0,
    };
    let mut components = Vec::new();
    for at in listed {
        let component = match client.get(&at).await {
            Ok(bytes) => Component::parse(&at, &bytes).map_err(|source| unusable(&at, source)),
            Err(error) => Err(error),
        };
        match component {
            Ok(component) if component.spdm => components.push(component),
            Ok(_) => {}
            Err(error) if error.is_of_one_document() => {
                tracing::info!(error = chain(&error), "a component that the BMC lists is not asked");
            }
            Err(error) => return Err(error),
        }
    }
    Ok(components)
}

/// Has one component sign its measurements with this nonce.
pub async fn measure(
    client: &mut Client,
    component: Component,
    nonce: &[u8; 32],
    patience: &Patience,
) -> ComponentEvidence {
    let mut chain_at = component.certificate.clone();
    let signed = match timeout(patience.component, sign(client, &component, nonce, patience)).await {
        Ok(signed) => signed,
        Err(_) => Err(NoMeasurements::Late(patience.component)),
    };
    let measurements = signed.map(|(bytes, certificate)| {
        chain_at = certificate.or(chain_at.take());
        bytes
    });
    let certificate_chain = match chain_at.filter(|_| measurements.is_ok()) {
        Some(at) => chain_of(client, &at).await,
        None => None,
    };
    ComponentEvidence { id: component.id, measurements, certificate_chain }
}

async fn chain_of(client: &mut Client, at: &ResourcePath) -> Option<Vec<u8>> {
    let read = match client.get(at).await {
        Ok(bytes) => certificate_chain(&bytes).map_err(|source| unusable(at, source)),
        Err(error) => Err(error),
    };
    match read {
        Ok(pem) => Some(pem.into_bytes()),
        Err(error) => {
            tracing::info!(error = chain(&error), "a component's certificate chain cannot be had");
            None
        }
    }
}

async fn sign(
    client: &mut Client,
    component: &Component,
    nonce: &[u8; 32],
    patience: &Patience,
) -> Result<(Vec<u8>, Option<ResourcePath>), NoMeasurements> {
    if !component.enabled {
        return Err(NoMeasurements::SwitchedOff);
    }
    let action = component.action.as_ref().ok_or(NoMeasurements::NotOffered)?;
    let digits: String = nonce.iter().map(|byte| format!("{byte:02x}")).collect();
    let body = json!({ "SlotId": SLOT, "MeasurementIndices": [ALL], "Nonce": digits }).to_string();
    let what = format!("POST {}", action.as_str());
    let answer = client.send(Method::POST, action, Some(body.into())).await.map_err(NoMeasurements::Bmc)?;
    let signed = match answer.status {
        StatusCode::OK | StatusCode::CREATED => signed_in(action, &answer.body)?,
        StatusCode::ACCEPTED => wait(client, &answer, &what, patience).await?,
        _ => return Err(NoMeasurements::Bmc(answer.refused(what))),
    };
    // Some services wrap the text.
    let text: String = signed.base64.split_ascii_whitespace().collect();
    let bytes = STANDARD.decode(text).map_err(|_| NoMeasurements::NotBase64)?;
    // The services of some makers keep one result per component: it may be the answer to somebody else.
    if !bytes.windows(nonce.len()).any(|window| window == nonce) {
        return Err(NoMeasurements::AnotherNonce);
    }
    Ok((bytes, signed.certificate))
}

fn signed_in(at: &ResourcePath, body: &[u8]) -> Result<SignedMeasurements, NoMeasurements> {
    SignedMeasurements::parse(body).map_err(|source| NoMeasurements::Bmc(unusable(at, source)))
}

/// Waits for a task. Services differ in what they lead to: a monitor that answers 202 until it gives the result, or
/// the task itself, which says where the result is (DSP0266, 12.6).
async fn wait(
    client: &mut Client,
    accepted: &Answer,
    what: &str,
    patience: &Patience,
) -> Result<SignedMeasurements, NoMeasurements> {
    let named = Task::parse(&accepted.body).ok().and_then(|task| task.path);
    let at = match named {
        _ if accepted.headers.contains_key(LOCATION) => client.location(accepted, what),
        Some(task) => Ok(task),
        None => Err(BmcError::NotOffered("place for the task that it began")),
    };
    let at = at.map_err(NoMeasurements::Bmc)?;
    let mut pause = patience.task;
    loop {
        sleep(pause).await;
        let answer = client.send(Method::GET, &at, None).await.map_err(NoMeasurements::Bmc)?;
        match answer.status {
            StatusCode::ACCEPTED => {}
            StatusCode::OK => {
                let Ok(task) = Task::parse(&answer.body) else { return signed_in(&at, &answer.body) };
                match task.end {
                    None => {}
                    Some(TaskEnd::Failed(state)) => return Err(NoMeasurements::Task(state)),
                    Some(TaskEnd::Completed(result)) => {
                        let none = || BmcError::NotOffered("place for the task's result");
                        let result = result.ok_or_else(|| NoMeasurements::Bmc(none()))?;
                        let bytes = client.get(&result).await.map_err(NoMeasurements::Bmc)?;
                        return signed_in(&result, &bytes);
                    }
                }
            }
            _ => return Err(NoMeasurements::Bmc(answer.refused(format!("GET {}", at.as_str())))),
        }
        let asked = answer.headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
        pause = asked.map_or(patience.task, |seconds| {
            Duration::from_secs(seconds).clamp(patience.task, RETRY_AFTER_MAX)
        });
    }
}
