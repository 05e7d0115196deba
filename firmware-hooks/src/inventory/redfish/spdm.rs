//! Measurements that components sign (schema `ComponentIntegrity`, SPDM: DSP0274).

use serde::Deserialize;

use super::json::{DocumentError, First, Flag, Text, parse};
use super::links::{Link, path};
use super::path::ResourcePath;

/// Longest certificate chain, in bytes of PEM. Chains of six P-384 certificates have about 6 KB.
pub const CHAIN_BYTES_MAX: usize = 64 << 10;

/// A component whose integrity the BMC knows something about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Component {
    /// What it is called: the last segment of its path.
    pub id: String,
    /// It speaks SPDM; otherwise it is a TPM or the maker's own.
    pub spdm: bool,
    /// Version of that protocol.
    pub version: Option<String>,
    /// Whether the BMC asks it at all.
    pub enabled: bool,
    /// Where signed measurements are asked for; absent where they cannot be.
    pub action: Option<ResourcePath>,
    /// Its certificate chain.
    pub certificate: Option<ResourcePath>,
}

#[derive(Deserialize)]
struct ComponentDocument {
    #[serde(rename = "ComponentIntegrityType", default)]
    kind: Text,
    #[serde(rename = "ComponentIntegrityTypeVersion", default)]
    version: Text,
    #[serde(rename = "ComponentIntegrityEnabled", default)]
    enabled: Flag,
    #[serde(rename = "SPDM")]
    spdm: Option<Spdm>,
    #[serde(rename = "Actions")]
    actions: Option<Actions>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Spdm {
    identity_authentication: Option<Identity>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Identity {
    responder_authentication: Option<Responder>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Responder {
    component_certificate: Option<Link>,
}

#[derive(Deserialize)]
struct Actions {
    #[serde(rename = "#ComponentIntegrity.SPDMGetSignedMeasurements")]
    signed: Option<Action>,
}

#[derive(Deserialize)]
struct Action {
    #[serde(default)]
    target: Text,
}

impl Component {
    /// Reads the document at `at`. An action that is not one of this component is none.
    ///
    /// # Errors
    /// [`DocumentError`].
    pub fn parse(at: &ResourcePath, bytes: &[u8]) -> Result<Self, DocumentError> {
        let document: ComponentDocument = parse(bytes)?;
        let target = document.actions.and_then(|actions| actions.signed).and_then(|action| action.target.0);
        let action = target.as_deref().and_then(ResourcePath::parse);
        let responder = document.spdm.and_then(|spdm| spdm.identity_authentication);
        let responder = responder.and_then(|identity| identity.responder_authentication);
        Ok(Self {
            id: at.name().to_owned(),
            spdm: document.kind.0.as_deref() == Some("SPDM"),
            version: document.version.0,
            // The property is there from version 1.0 of the schema on; what lacks it is older and has no switch.
            enabled: document.enabled.0 != Some(false),
            action: action.filter(|action| action.is_action_of(at)),
            certificate: path(responder.as_ref().and_then(|known| known.component_certificate.as_ref())),
        })
    }
}

/// The answer to the action.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedMeasurements {
    /// Requests and responses of SPDM, the signature last; Base64.
    pub base64: String,
    /// Version of SPDM.
    pub version: Option<String>,
    /// The certificate chain of the slot that was asked for.
    pub certificate: Option<ResourcePath>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct SignedDocument {
    #[serde(default)]
    signed_measurements: Text,
    #[serde(default)]
    version: Text,
    certificate: Option<Link>,
}

impl SignedMeasurements {
    /// Reads it.
    ///
    /// # Errors
    /// [`DocumentError`].
    pub fn parse(bytes: &[u8]) -> Result<Self, DocumentError> {
        let document: SignedDocument = parse(bytes)?;
        let base64 = document.signed_measurements.0.filter(|text| !text.is_empty());
        Ok(Self {
            base64: base64.ok_or(DocumentError::Without("SignedMeasurements"))?,
            version: document.version.0,
            certificate: path(document.certificate.as_ref()),
        })
    }
}

/// An action that takes longer than its request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Task {
    /// Where the task is.
    pub path: Option<ResourcePath>,
    /// How it ended; absent while it goes on.
    pub end: Option<TaskEnd>,
}

/// How a task ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TaskEnd {
    /// It is done; the result stands there, where the service says so.
    Completed(Option<ResourcePath>),
    /// It is not; its state, as the service writes it.
    Failed(String),
}

/// States of a task that goes on (schema `Task`, `TaskState`).
const GOING_ON: [&str; 9] =
    ["New", "Starting", "Running", "Suspended", "Pending", "Stopping", "Service", "Cancelling", "Validating"];

/// Headers of a task that are looked at.
const HEADERS_MAX: usize = 32;

#[derive(Deserialize)]
struct TaskDocument {
    #[serde(rename = "@odata.id", default)]
    id: Text,
    #[serde(rename = "TaskState", default)]
    state: Text,
    #[serde(rename = "Payload")]
    payload: Option<Payload>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Payload {
    #[serde(default)]
    http_headers: First<Text, HEADERS_MAX>,
}

impl Task {
    /// Reads it.
    ///
    /// # Errors
    /// [`DocumentError`].
    pub fn parse(bytes: &[u8]) -> Result<Self, DocumentError> {
        let document: TaskDocument = parse(bytes)?;
        let state = document.state.0.ok_or(DocumentError::Without("TaskState"))?;
        let end = match state.as_str() {
            "Completed" => Some(TaskEnd::Completed(document.payload.as_ref().and_then(Payload::location))),
            going if GOING_ON.contains(&going) => None,
            _ => Some(TaskEnd::Failed(crate::inventory::fact::clean(&state, 64))),
        };
        Ok(Self { path: document.id.0.as_deref().and_then(ResourcePath::parse), end })
    }
}

impl Payload {
    /// Services that keep a finished task write where its result is among the headers of its request: the last
    /// `Location`, for the request may have had one.
    fn location(&self) -> Option<ResourcePath> {
        let headers = self.http_headers.entries.iter().rev().filter_map(|header| header.0.as_deref());
        let mut pairs = headers.filter_map(|header| header.split_once(':'));
        let (_, location) = pairs.find(|(name, _)| name.trim().eq_ignore_ascii_case("location"))?;
        ResourcePath::parse(location.trim())
    }
}

/// The chain of a certificate document, PEM as the service writes it.
///
/// # Errors
/// [`DocumentError`]; also where it is longer than [`CHAIN_BYTES_MAX`].
pub fn certificate_chain(bytes: &[u8]) -> Result<String, DocumentError> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Document {
        #[serde(default)]
        certificate_string: Text,
    }
    let chain = parse::<Document>(bytes)?.certificate_string.0;
    let chain = chain.filter(|chain| chain.contains("-----BEGIN CERTIFICATE-----"));
    let chain = chain.ok_or(DocumentError::Without("CertificateString"))?;
    if chain.len() > CHAIN_BYTES_MAX {
        return Err(DocumentError::TooLong);
    }
    Ok(chain)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> ResourcePath {
        ResourcePath::parse(text).expect("path")
    }

    #[test]
    fn a_component_and_its_action() {
        let at = path("/redfish/v1/ComponentIntegrity/HGX_IRoT_GPU_0");
        let json = |target: &str, enabled: &str| {
            format!(
                r##"{{"ComponentIntegrityType":"SPDM","ComponentIntegrityTypeVersion":"1.1.0",
                "ComponentIntegrityEnabled":{enabled},"SPDM":{{"IdentityAuthentication":{{"ResponderAuthentication":
                {{"ComponentCertificate":{{"@odata.id":"/redfish/v1/Chassis/HGX_IRoT_GPU_0/Certificates/CertChain"}}}}}}}},
                "Actions":{{"#ComponentIntegrity.SPDMGetSignedMeasurements":{{"target":"{target}"}}}}}}"##
            )
        };
        let own = format!("{}/Actions/ComponentIntegrity.SPDMGetSignedMeasurements", at.as_str());
        let found = Component::parse(&at, json(&own, "true").as_bytes()).expect("component");
        assert!(found.spdm && found.enabled && found.action.is_some() && found.certificate.is_some());
        assert_eq!(found.id, "HGX_IRoT_GPU_0");
        let foreign = "/redfish/v1/Systems/1/Actions/ComputerSystem.Reset";
        let found = Component::parse(&at, json(foreign, "false").as_bytes()).expect("component");
        assert_eq!((found.action, found.enabled), (None, false));
        let found = Component::parse(&at, br#"{"ComponentIntegrityType":"TPM"}"#).expect("component");
        assert!(!found.spdm && found.enabled);
    }

    #[test]
    fn a_task_goes_on_or_ends() {
        let end = |state: &str| {
            let json = format!(
                r#"{{"@odata.id":"/redfish/v1/TaskService/Tasks/6","TaskState":"{state}","Payload":{{"HttpHeaders":
                ["Host: x","Location: /redfish/v1/old","location: /redfish/v1/data","Location: https://other/"]}}}}"#
            );
            Task::parse(json.as_bytes()).expect("task").end
        };
        assert_eq!((end("Running"), end("New")), (None, None));
        assert_eq!(end("Exception"), Some(TaskEnd::Failed("Exception".to_owned())));
        assert_eq!(end("Completed"), Some(TaskEnd::Completed(None)), "the last one leads away");
        let json = br#"{"TaskState":"Completed","Payload":{"HttpHeaders":["Location: /redfish/v1/data"]}}"#;
        let task = Task::parse(json).expect("task");
        assert_eq!(task.end, Some(TaskEnd::Completed(Some(path("/redfish/v1/data")))));
        assert!(matches!(Task::parse(b"{}"), Err(DocumentError::Without(_))));
    }

    #[test]
    fn measurements_and_chains_are_there_or_the_document_is_refused() {
        let found = SignedMeasurements::parse(br#"{"SignedMeasurements":"EeAB","Version":"1.1.0"}"#);
        assert_eq!(found.expect("measurements").base64, "EeAB");
        assert!(SignedMeasurements::parse(br#"{"SignedMeasurements":""}"#).is_err());
        let chain = |text: &str| certificate_chain(format!("{{\"CertificateString\":{text:?}}}").as_bytes());
        assert!(chain("-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n").is_ok());
        assert!(matches!(chain("AA=="), Err(DocumentError::Without(_))));
        let long = format!("-----BEGIN CERTIFICATE-----{}", "A".repeat(CHAIN_BYTES_MAX));
        assert!(matches!(chain(&long), Err(DocumentError::TooLong)));
    }
}
