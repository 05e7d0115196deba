//! Documents that lead to others.

use serde::Deserialize;

use super::json::{DocumentError, First, Text, parse};
use super::path::ResourcePath;
use crate::inventory::fact::clean;

/// Most members of one collection that are followed.
pub const MEMBERS_MAX: usize = 256;

/// Longest message of a service that is passed on, in bytes.
const MESSAGE_BYTES_MAX: usize = 200;

/// A reference to another resource.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub(super) struct Link {
    #[serde(rename = "@odata.id", default)]
    id: Text,
}

impl Link {
    pub(super) fn path(&self) -> Option<ResourcePath> {
        ResourcePath::parse(self.id.0.as_deref()?)
    }
}

pub(super) fn path(link: Option<&Link>) -> Option<ResourcePath> {
    link.and_then(Link::path)
}

/// The first document of every service; it is shown without credentials.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceRoot {
    /// Version of the protocol.
    pub version: Option<String>,
    /// Who made the service.
    pub vendor: Option<String>,
    /// Which product it belongs to.
    pub product: Option<String>,
    /// UUID of the service.
    pub uuid: Option<String>,
    /// The BMCs.
    pub managers: Option<ResourcePath>,
    /// The enclosures and boards.
    pub chassis: Option<ResourcePath>,
    /// The computers.
    pub systems: Option<ResourcePath>,
    /// Firmware.
    pub update_service: Option<ResourcePath>,
    /// What can sign measurements.
    pub component_integrity: Option<ResourcePath>,
    /// Where a session begins.
    pub sessions: Option<ResourcePath>,
}

#[derive(Deserialize)]
struct RootDocument {
    #[serde(rename = "RedfishVersion")]
    version: Option<String>,
    #[serde(rename = "Vendor", default)]
    vendor: Text,
    #[serde(rename = "Product", default)]
    product: Text,
    #[serde(rename = "UUID", default)]
    uuid: Text,
    #[serde(rename = "Managers")]
    managers: Option<Link>,
    #[serde(rename = "Chassis")]
    chassis: Option<Link>,
    #[serde(rename = "Systems")]
    systems: Option<Link>,
    #[serde(rename = "UpdateService")]
    update_service: Option<Link>,
    #[serde(rename = "ComponentIntegrity")]
    component_integrity: Option<Link>,
    #[serde(rename = "Links")]
    links: Option<RootLinks>,
}

#[derive(Deserialize)]
struct RootLinks {
    #[serde(rename = "Sessions")]
    sessions: Option<Link>,
}

impl ServiceRoot {
    /// Reads it.
    ///
    /// # Errors
    /// [`DocumentError`]; a document without `RedfishVersion` is another one.
    pub fn parse(bytes: &[u8]) -> Result<Self, DocumentError> {
        let document: RootDocument = parse(bytes)?;
        if document.version.is_none() {
            return Err(DocumentError::Without("RedfishVersion"));
        }
        let sessions = document.links.as_ref().and_then(|links| links.sessions.as_ref());
        Ok(Self {
            version: document.version,
            vendor: document.vendor.0,
            product: document.product.0,
            uuid: document.uuid.0,
            managers: path(document.managers.as_ref()),
            chassis: path(document.chassis.as_ref()),
            systems: path(document.systems.as_ref()),
            update_service: path(document.update_service.as_ref()),
            component_integrity: path(document.component_integrity.as_ref()),
            sessions: path(sessions),
        })
    }
}

/// A page of a collection.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Collection {
    /// Its members, at most [`MEMBERS_MAX`]; one that is named by something else than a path is left out.
    pub members: Vec<ResourcePath>,
    /// Members there was no room for.
    pub left_out: usize,
    /// The next page.
    pub next: Option<ResourcePath>,
}

#[derive(Deserialize)]
struct CollectionDocument {
    #[serde(rename = "Members")]
    members: First<Link, MEMBERS_MAX>,
    #[serde(rename = "Members@odata.nextLink", default)]
    next: Text,
}

impl Collection {
    /// Reads it.
    ///
    /// # Errors
    /// [`DocumentError`].
    pub fn parse(bytes: &[u8]) -> Result<Self, DocumentError> {
        let document: CollectionDocument = parse(bytes)?;
        Ok(Self {
            members: document.members.entries.iter().filter_map(Link::path).collect(),
            left_out: document.members.left_out,
            next: document.next.0.as_deref().and_then(ResourcePath::parse),
        })
    }
}

/// Where the update service keeps its list of firmware; absent where it has none.
///
/// # Errors
/// [`DocumentError`].
pub fn firmware_inventory(update_service: &[u8]) -> Result<Option<ResourcePath>, DocumentError> {
    #[derive(Deserialize)]
    struct Document {
        #[serde(rename = "FirmwareInventory")]
        firmware: Option<Link>,
    }
    parse(update_service).map(|document: Document| path(document.firmware.as_ref()))
}

/// What a service says of a request that it refused, for people; absent where it says nothing.
pub fn message(bytes: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Document {
        error: Refusal,
    }
    #[derive(Deserialize)]
    struct Refusal {
        #[serde(default)]
        message: Text,
        #[serde(rename = "@Message.ExtendedInfo", default)]
        more: First<Message, 1>,
    }
    #[derive(Deserialize)]
    struct Message {
        #[serde(rename = "Message", default)]
        message: Text,
    }
    let refusal = parse::<Document>(bytes).ok()?.error;
    let more = refusal.more.entries.into_iter().next().and_then(|more| more.message.0);
    let text = clean(&more.or(refusal.message.0)?, MESSAGE_BYTES_MAX);
    (!text.is_empty()).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_root_leads_on_and_what_is_no_path_does_not() {
        let root = br#"{"@odata.id":"/redfish/v1/","RedfishVersion":"1.15.1","Vendor":"Example","Product":null,
            "Managers":{"@odata.id":"/redfish/v1/Managers"},"Chassis":{"@odata.id":"https://other.example/x"},
            "Systems":{"@odata.id":7},"Links":{"Sessions":{"@odata.id":"/redfish/v1/SessionService/Sessions"}}}"#;
        let root = ServiceRoot::parse(root).expect("root");
        assert_eq!(root.vendor.as_deref(), Some("Example"));
        assert_eq!(root.managers.as_ref().map(ResourcePath::as_str), Some("/redfish/v1/Managers"));
        assert_eq!((root.chassis, root.systems, root.product), (None, None, None));
        assert!(root.sessions.is_some());
        assert!(matches!(ServiceRoot::parse(b"{}"), Err(DocumentError::Without(_))));
    }

    #[test]
    fn a_collection_has_members_and_pages() {
        let page = br#"{"Members":[{"@odata.id":"/redfish/v1/Managers/1"},{"@odata.id":"//x/"},{}],
            "Members@odata.nextLink":"/redfish/v1/Managers?$skip=1"}"#;
        let page = Collection::parse(page).expect("collection");
        assert_eq!(page.members.len(), 1);
        assert_eq!(page.next.expect("next").as_str(), "/redfish/v1/Managers?$skip=1");
        let many = "{\"@odata.id\":\"/redfish/v1/a\"},".repeat(MEMBERS_MAX + 3);
        let many = format!("{{\"Members\":[{}]}}", many.trim_end_matches(','));
        let many = Collection::parse(many.as_bytes()).expect("collection");
        assert_eq!((many.members.len(), many.left_out), (MEMBERS_MAX, 3));
    }

    #[test]
    fn refusals_are_passed_on_in_one_line() {
        let said = |json: &str| message(json.as_bytes());
        let both = r#"{"error":{"message":"general","@Message.ExtendedInfo":[{"Message":"SPDM\nis off"}]}}"#;
        assert_eq!(said(both).as_deref(), Some("SPDM\u{fffd}is off"));
        assert_eq!(said(r#"{"error":{"message":"general"}}"#).as_deref(), Some("general"));
        assert_eq!(said("<html>"), None);
        assert_eq!(said(r#"{"error":{}}"#), None);
    }

    #[test]
    fn firmware_may_be_absent() {
        let found = firmware_inventory(br#"{"FirmwareInventory":{"@odata.id":"/redfish/v1/U/F"}}"#);
        assert!(found.expect("document").is_some());
        assert_eq!(firmware_inventory(b"{}").expect("document"), None);
    }
}
