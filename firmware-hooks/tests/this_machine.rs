//! Reads the machine the test runs on, as it is: it may have no firmware tables, no TPM and no GPU.

use std::path::PathBuf;

use rackmark_firmware_hooks::inventory::{
    Component, FIELDS, Given, Nvml, Roots, Tables, VALUE_BYTES_MAX, gather,
};
use rackmark_hardware::ethtool::card_driver;

#[test]
fn the_real_machine_is_described_twice_alike() {
    let roots = Roots { sysfs: PathBuf::from("/sys"), proc: PathBuf::from("/proc") };
    let table = |name: &str| std::fs::read(roots.sysfs.join(name)).ok();
    let tables = Tables {
        smbios: table("firmware/dmi/tables/smbios_entry_point").zip(table("firmware/dmi/tables/DMI")),
        boot_event_log: table("kernel/security/tpm0/binary_bios_measurements"),
    };
    let nvml = Nvml { answers: false, driver_version: None, gpus: &[] };
    let given =
        Given { tables: &tables, nvml, nvml_library: None, redfish: Some(&[]), swaps: &[], card_driver };
    let began = std::time::Instant::now();
    let inventory = gather(&roots, &given);
    println!("{} facts in {:?}", inventory.facts.len(), began.elapsed());
    for fact in &inventory.facts {
        println!("{} {} {} = {}", fact.component.name(), fact.instance, fact.field, fact.value);
        assert!(!fact.value.is_empty() && fact.value.len() <= VALUE_BYTES_MAX, "{fact:?}");
        assert!(!fact.value.contains(char::is_control), "{fact:?}");
        let known = FIELDS.iter().any(|field| field.component == fact.component && field.name == fact.field);
        assert!(known, "{fact:?}");
    }
    for finding in &inventory.findings {
        println!("finding {} {}: {}", finding.code.name(), finding.instance, finding.detail);
    }
    let has = |component, field: &str| {
        inventory.facts.iter().any(|fact| fact.component == component && fact.field == field)
    };
    assert!(has(Component::Kernel, "release") && has(Component::Cpu, "logical"));
    assert_eq!(inventory.left_out, 0);
    assert_eq!(gather(&roots, &given), inventory);
}
