#![no_main]

use std::path::PathBuf;

use libfuzzer_sys::fuzz_target;
use rackmark_hardware::ethtool::CardDriver;
use rackmark_firmware_hooks::inventory::{
    FACTS_MAX, Given, Nvml, Roots, Tables, VALUE_BYTES_MAX, gather,
};

/// An entry point of version 3.5 for a table of this length.
fn entry_point(table_bytes: usize) -> Vec<u8> {
    let mut bytes = b"_SM3_\0\x18\x03\x05\0\x01\0".to_vec();
    bytes.extend(u32::try_from(table_bytes).unwrap_or(u32::MAX).to_le_bytes());
    bytes.extend([0; 8]);
    bytes[5] = bytes.iter().fold(0, |sum: u8, byte| sum.wrapping_sub(*byte));
    bytes
}

// The first byte says how the others are taken: as a table with a good entry point, or as an entry point with what follows
// it as the table.
fuzz_target!(|bytes: &[u8]| {
    let Some((how, bytes)) = bytes.split_first() else { return };
    let (entry, table) = if how & 1 == 0 {
        (entry_point(bytes.len()), bytes)
    } else {
        let (entry, table) = bytes.split_at(bytes.len().min(31));
        (entry.to_vec(), table)
    };
    let tables = Tables { smbios: Some((entry, table.to_vec())), boot_event_log: None };
    let nowhere = PathBuf::from("/dev/null/none");
    let roots = Roots { sysfs: nowhere.clone(), proc: nowhere };
    let nvml = Nvml { answers: false, driver_version: None, gpus: &[] };
    let given = Given { tables: &tables, nvml, nvml_library: None, redfish: None, swaps: &[], card_driver: |_| Ok(CardDriver::default()) };
    let inventory = gather(&roots, &given);
    assert!(inventory.facts.len() <= FACTS_MAX && inventory.facts.is_sorted_by(|one, next| one.key() < next.key()));
    for fact in &inventory.facts {
        assert!(!fact.value.is_empty() && fact.value.len() <= VALUE_BYTES_MAX, "{fact:?}");
        assert!(!fact.value.contains(char::is_control), "{fact:?}");
    }
});
