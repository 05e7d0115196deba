//! Resources as facts.

use serde::Deserialize;

use super::json::{DocumentError, Text, parse};
use super::links::ServiceRoot;
use super::path::ResourcePath;
use crate::inventory::fact::{Component, Fact, Facts};
use crate::inventory::smbios::{is_placeholder, is_placeholder_uuid};

/// The service itself, beside the BMCs it has.
const SERVICE: &str = "service";

/// A kind of resource with facts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resource {
    /// A BMC (`Manager`).
    Manager,
    /// An enclosure or a board (`Chassis`).
    Chassis,
    /// A computer (`ComputerSystem`).
    System,
    /// A piece of firmware (`SoftwareInventory`).
    Firmware,
}

/// What is read of any of them.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", default)]
#[derive(Default)]
struct Description {
    manager_type: Text,
    chassis_type: Text,
    manufacturer: Text,
    model: Text,
    firmware_version: Text,
    bios_version: Text,
    serial_number: Text,
    part_number: Text,
    #[serde(rename = "SKU")]
    sku: Text,
    #[serde(rename = "UUID")]
    uuid: Text,
    asset_tag: Text,
    name: Text,
    version: Text,
    software_id: Text,
    release_date: Text,
}

/// Facts, taken from one document after the other.
#[derive(Debug, Default)]
pub struct Described(Facts);

impl Described {
    /// Takes what the service says of itself.
    pub fn service(&mut self, root: &ServiceRoot) {
        let mut put = |field, value: Option<&String>| {
            self.0.put_some(Component::Bmc, SERVICE, field, value);
        };
        put("redfish_version", root.version.as_ref());
        put("redfish_vendor", root.vendor.as_ref());
        put("redfish_product", root.product.as_ref());
        put("redfish_uuid", uuid(&root.uuid).as_ref());
    }

    /// Takes a document of that kind, which stands at `path`.
    ///
    /// # Errors
    /// [`DocumentError`].
    pub fn resource(
        &mut self,
        kind: Resource,
        path: &ResourcePath,
        bytes: &[u8],
    ) -> Result<(), DocumentError> {
        let found: Description = parse(bytes)?;
        let component = match kind {
            Resource::Manager => Component::Bmc,
            Resource::Chassis => Component::Chassis,
            Resource::System => Component::System,
            Resource::Firmware => Component::Firmware,
        };
        let mut put = |field, value: Option<&str>| self.0.put_some(component, path.name(), field, value);
        let text = |text: &Text| text.0.clone();
        if kind == Resource::Firmware {
            put("name", found.name.0.as_deref());
            put("version", found.version.0.as_deref());
            put("manufacturer", found.manufacturer.0.as_deref());
            put("software_id", found.software_id.0.as_deref());
            put("release_date", found.release_date.0.as_deref());
            return Ok(());
        }
        match kind {
            Resource::Manager => {
                put("redfish_type", found.manager_type.0.as_deref());
                put("redfish_firmware_version", found.firmware_version.0.as_deref());
            }
            Resource::Chassis => put("redfish_type", found.chassis_type.0.as_deref()),
            Resource::System => put("redfish_bios_version", found.bios_version.0.as_deref()),
            Resource::Firmware => {}
        }
        for (field, value) in [
            ("redfish_manufacturer", &found.manufacturer),
            ("redfish_model", &found.model),
            ("redfish_serial", &found.serial_number),
            ("redfish_part_number", &found.part_number),
        ] {
            put(field, text(value).filter(|value| !is_placeholder(value)).as_deref());
        }
        put("redfish_uuid", uuid(&found.uuid.0).as_deref());
        if kind != Resource::Manager {
            for (field, value) in [("redfish_sku", &found.sku), ("redfish_asset_tag", &found.asset_tag)] {
                put(field, text(value).filter(|value| !is_placeholder(value)).as_deref());
            }
        }
        Ok(())
    }

    /// The list in order, without doubles.
    pub fn finish(self) -> Vec<Fact> {
        self.0.finish().0
    }
}

/// A UUID as the kernel writes it; absent where it identifies nothing.
fn uuid(text: &Option<String>) -> Option<String> {
    let text = text.as_ref()?.trim().to_ascii_lowercase();
    (!is_placeholder_uuid(&text)).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(described: Described) -> Vec<String> {
        let line = |fact: &Fact| {
            format!("{} {} {}={}", fact.component.name(), fact.instance, fact.field, fact.value)
        };
        described.finish().iter().map(line).collect()
    }

    fn path(text: &str) -> ResourcePath {
        ResourcePath::parse(text).expect("path")
    }

    #[test]
    fn each_kind_has_its_fields_and_what_a_maker_did_not_write_is_none() {
        let mut described = Described::default();
        let system = br#"{"Id":"1","Manufacturer":"HPE","Model":"ProLiant XL675d","SerialNumber":" CZ123 ","SKU":"P1",
            "UUID":"30373237-3132-4D32-3237-303930304C34","BiosVersion":"A48 v2.60","AssetTag":"","PartNumber":null}"#;
        described.resource(Resource::System, &path("/redfish/v1/Systems/1/"), system).expect("system");
        let manager = br#"{"ManagerType":"BMC","Model":"iLO 6","FirmwareVersion":"iLO 6 v1.55","SKU":"x",
            "UUID":"00000000-0000-0000-0000-000000000000","SerialNumber":"To be filled by O.E.M."}"#;
        described.resource(Resource::Manager, &path("/redfish/v1/Managers/1"), manager).expect("manager");
        let firmware = br#"{"Name":"BIOS","Version":"0","SoftwareId":7,"Model":"x"}"#;
        let at = path("/redfish/v1/UpdateService/FirmwareInventory/BIOS");
        described.resource(Resource::Firmware, &at, firmware).expect("firmware");
        assert_eq!(
            lines(described),
            [
                "system 1 redfish_bios_version=A48 v2.60",
                "system 1 redfish_manufacturer=HPE",
                "system 1 redfish_model=ProLiant XL675d",
                "system 1 redfish_serial=CZ123",
                "system 1 redfish_sku=P1",
                "system 1 redfish_uuid=30373237-3132-4d32-3237-303930304c34",
                "bmc 1 redfish_firmware_version=iLO 6 v1.55",
                "bmc 1 redfish_model=iLO 6",
                "bmc 1 redfish_type=BMC",
                "firmware BIOS name=BIOS",
                "firmware BIOS version=0",
            ]
        );
    }

    #[test]
    fn a_resource_that_is_named_twice_counts_once() {
        let mut described = Described::default();
        for model in ["first", "second"] {
            let json = format!("{{\"Model\":\"{model}\"}}");
            let at = path("/redfish/v1/Chassis/Self");
            described.resource(Resource::Chassis, &at, json.as_bytes()).expect("chassis");
        }
        assert_eq!(lines(described).len(), 1);
    }
}
