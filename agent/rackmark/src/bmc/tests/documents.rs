//! Documents in the shapes of two makers.

use serde_json::{Value, json};

type Documents = Vec<(String, Value)>;

fn link(path: &str) -> Value {
    json!({ "@odata.id": path })
}

fn collection(path: &str, members: &[&str]) -> (String, Value) {
    let members: Vec<Value> = members.iter().map(|member| link(member)).collect();
    let count = members.len();
    (path.to_owned(), json!({ "@odata.id": path, "Members": members, "Members@odata.count": count }))
}

/// One server with its BMC: numbers as names, slashes at the end of paths.
pub fn server() -> Documents {
    let root = json!({
        "@odata.id": "/redfish/v1/",
        "@odata.type": "#ServiceRoot.v1_13_0.ServiceRoot",
        "Id": "RootService",
        "Name": "Root Service",
        "Vendor": "HPE",
        "Product": "ProLiant XL675d Gen10 Plus",
        "RedfishVersion": "1.13.0",
        "UUID": "4a1cc0ff-98a6-5a4a-8a0a-2f4f9cf5ab3e",
        "Chassis": link("/redfish/v1/Chassis/"),
        "Managers": link("/redfish/v1/Managers/"),
        "Systems": link("/redfish/v1/Systems/"),
        "UpdateService": link("/redfish/v1/UpdateService/"),
        "ComponentIntegrity": link("/redfish/v1/ComponentIntegrity/"),
        "Links": { "Sessions": link("/redfish/v1/SessionService/Sessions") },
        "Oem": { "Hpe": { "Manager": [{ "ManagerType": "iLO 6" }] } },
    });
    let manager = json!({
        "Id": "1", "ManagerType": "BMC", "Model": "iLO 6", "FirmwareVersion": "iLO 6 v1.55",
        "UUID": "5fb3de44-3d28-5b8e-94cc-0b0e5e6d1a1f", "Status": { "State": "Enabled", "Health": "OK" },
        "Oem": { "Hpe": { "Type": "iLO" } },
    });
    let chassis = json!({
        "Id": "Self", "ChassisType": "RackMount", "Manufacturer": "HPE", "Model": "ProLiant XL675d Gen10 Plus",
        "SerialNumber": "CZ2D1X0GS4", "PartNumber": null, "SKU": "P19725-B21", "AssetTag": "",
    });
    let system = json!({
        "Id": "1", "Manufacturer": "HPE", "Model": "ProLiant XL675d Gen10 Plus", "SerialNumber": "CZ2D1X0GS4",
        "SKU": "P19725-B21", "UUID": "32393150-3532-5A43-3244-315830475334", "BiosVersion": "A48 v2.60 (12/02/2022)",
    });
    let component = json!({
        "Id": "1", "ComponentIntegrityType": "SPDM", "ComponentIntegrityTypeVersion": "1.0",
        "ComponentIntegrityEnabled": false, "TargetComponentURI": "/redfish/v1/Systems/1/NetworkInterfaces/1",
        "SPDM": { "Requester": link("/redfish/v1/Managers/1/") },
    });
    vec![
        ("/redfish/v1/".to_owned(), root),
        collection("/redfish/v1/Managers/", &["/redfish/v1/Managers/1/"]),
        ("/redfish/v1/Managers/1/".to_owned(), manager),
        collection("/redfish/v1/Chassis/", &["/redfish/v1/Chassis/Self"]),
        ("/redfish/v1/Chassis/Self".to_owned(), chassis),
        collection("/redfish/v1/Systems/", &["/redfish/v1/Systems/1/"]),
        ("/redfish/v1/Systems/1/".to_owned(), system),
        (
            "/redfish/v1/UpdateService/".to_owned(),
            json!({ "FirmwareInventory": link("/redfish/v1/UpdateService/FirmwareInventory/") }),
        ),
        collection(
            "/redfish/v1/UpdateService/FirmwareInventory/",
            &[
                "/redfish/v1/UpdateService/FirmwareInventory/1/",
                "/redfish/v1/UpdateService/FirmwareInventory/2/",
            ],
        ),
        (
            "/redfish/v1/UpdateService/FirmwareInventory/1/".to_owned(),
            json!({ "Id": "1", "Name": "iLO 6", "Version": "1.55 Sep 26 2023", "Updateable": true }),
        ),
        (
            "/redfish/v1/UpdateService/FirmwareInventory/2/".to_owned(),
            json!({ "Id": "2", "Name": "System ROM", "Version": "A48 v2.60 (12/02/2022)", "Manufacturer": null }),
        ),
        collection("/redfish/v1/ComponentIntegrity/", &["/redfish/v1/ComponentIntegrity/1/"]),
        ("/redfish/v1/ComponentIntegrity/1/".to_owned(), component),
    ]
}

pub const GPU: &str = "/redfish/v1/ComponentIntegrity/HGX_IRoT_GPU_0";
pub const EROT: &str = "/redfish/v1/ComponentIntegrity/HGX_ERoT_FPGA_0";
pub const ACTION: &str = "Actions/ComponentIntegrity.SPDMGetSignedMeasurements";
pub const CHAIN: &str = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n";

/// A baseboard of GPUs with its BMC: names, no slashes, components that sign.
pub fn baseboard() -> Documents {
    let root = json!({
        "@odata.id": "/redfish/v1/",
        "@odata.type": "#ServiceRoot.v1_15_0.ServiceRoot",
        "Id": "RootService",
        "Name": "Root Service",
        "RedfishVersion": "1.9.0",
        "UUID": "7f8a2e20-6a3c-4a38-b7d6-9f0ed2a53c11",
        "Chassis": link("/redfish/v1/Chassis"),
        "Managers": link("/redfish/v1/Managers"),
        "Systems": link("/redfish/v1/Systems"),
        "UpdateService": link("/redfish/v1/UpdateService"),
        "ComponentIntegrity": link("/redfish/v1/ComponentIntegrity"),
        "Links": { "Sessions": link("/redfish/v1/SessionService/Sessions") },
    });
    let gpu = |name: &str, serial: &str| {
        json!({
            "Id": name, "ChassisType": "Module", "Manufacturer": "NVIDIA", "Model": "H200 141GB HBM3",
            "SerialNumber": serial, "PartNumber": "2335-885-A1", "UUID": "B1D0A2E7-9C3F-52D1-A5EC-0D0E6B0D8C5F",
        })
    };
    let component = |path: &str| {
        let name = path.rsplit('/').next().unwrap_or_default();
        json!({
            "Id": name, "ComponentIntegrityType": "SPDM", "ComponentIntegrityTypeVersion": "1.1.0",
            "ComponentIntegrityEnabled": true, "TargetComponentURI": format!("/redfish/v1/Chassis/{name}"),
            "SPDM": {
                "IdentityAuthentication": { "ResponderAuthentication": { "ComponentCertificate":
                    link(&format!("/redfish/v1/Chassis/{name}/Certificates/CertChain")) } },
                "Requester": link("/redfish/v1/Managers/HGX_BMC_0"),
            },
            "Actions": { "#ComponentIntegrity.SPDMGetSignedMeasurements": { "target": format!("{path}/{ACTION}") } },
        })
    };
    let tpm = json!({ "Id": "TPM", "ComponentIntegrityType": "TPM", "ComponentIntegrityEnabled": true });
    let firmware = "/redfish/v1/UpdateService/FirmwareInventory";
    vec![
        ("/redfish/v1/".to_owned(), root),
        collection("/redfish/v1/Managers", &["/redfish/v1/Managers/BMC_0", "/redfish/v1/Managers/HGX_BMC_0"]),
        (
            "/redfish/v1/Managers/BMC_0".to_owned(),
            json!({ "ManagerType": "BMC", "Model": "OpenBmc", "FirmwareVersion": "24.09-1", "SerialNumber": "B1" }),
        ),
        (
            "/redfish/v1/Managers/HGX_BMC_0".to_owned(),
            json!({ "ManagerType": "BMC", "Model": "OpenBmc", "FirmwareVersion": "HGX-22.10-1-rc67" }),
        ),
        collection(
            "/redfish/v1/Chassis",
            &["/redfish/v1/Chassis/HGX_Chassis_0", "/redfish/v1/Chassis/HGX_GPU_SXM_1"],
        ),
        (
            "/redfish/v1/Chassis/HGX_Chassis_0".to_owned(),
            json!({
                "ChassisType": "Module", "Manufacturer": "NVIDIA", "Model": "HGX H200 8-GPU",
                "SerialNumber": "1650523005310", "PartNumber": "935-24287-0301-000", "AssetTag": 7,
            }),
        ),
        ("/redfish/v1/Chassis/HGX_GPU_SXM_1".to_owned(), gpu("HGX_GPU_SXM_1", "1653923024151")),
        collection("/redfish/v1/Systems", &["/redfish/v1/Systems/HGX_Baseboard_0"]),
        (
            "/redfish/v1/Systems/HGX_Baseboard_0".to_owned(),
            json!({ "Manufacturer": "", "Model": "", "SerialNumber": "1650523005310", "UUID": null }),
        ),
        ("/redfish/v1/UpdateService".to_owned(), json!({ "FirmwareInventory": link(firmware) })),
        collection(firmware, &["/redfish/v1/UpdateService/FirmwareInventory/HGX_FW_GPU_SXM_1"]),
        (
            format!("{firmware}/HGX_FW_GPU_SXM_1"),
            json!({ "Name": "Software Inventory", "Version": "96.00.99.00.01", "SoftwareId": "0x2A01" }),
        ),
        collection("/redfish/v1/ComponentIntegrity", &[GPU, EROT, "/redfish/v1/ComponentIntegrity/TPM"]),
        (GPU.to_owned(), component(GPU)),
        (EROT.to_owned(), component(EROT)),
        ("/redfish/v1/ComponentIntegrity/TPM".to_owned(), tpm),
        (
            "/redfish/v1/Chassis/HGX_IRoT_GPU_0/Certificates/CertChain".to_owned(),
            json!({ "CertificateString": CHAIN, "CertificateType": "PEMchain" }),
        ),
    ]
}
