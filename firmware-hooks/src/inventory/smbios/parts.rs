//! Firmware, system, boards, chassis, processors, slots and the BMC (types 0 to 4, 9 and 38).

use rackmark_model::PciAddress;

use super::super::fact::{Component, Facts, Names};
use super::super::finding::{Finding, FindingCode};
use super::super::pci::sysfs_name;
use super::placeholder::{is_placeholder, is_placeholder_uuid};
use super::{EntryPoint, Structure};

const FIRMWARE: u8 = 0;
const SYSTEM: u8 = 1;
const BOARD: u8 = 2;
const CHASSIS: u8 = 3;
const PROCESSOR: u8 = 4;
const SLOT: u8 = 9;
const IPMI: u8 = 38;

/// The one instance of a part that a machine has once.
const ONLY: &str = "";

pub(super) fn read(
    entry_point: &EntryPoint,
    list: &[Structure<'_>],
    facts: &mut Facts,
    findings: &mut Vec<Finding>,
) {
    let first = |kind| list.iter().find(move |one| one.kind == kind);
    let all = |kind| list.iter().filter(move |one| one.kind == kind);
    if let Some(firmware) = first(FIRMWARE) {
        bios(firmware, facts);
    }
    if let Some(one) = first(SYSTEM) {
        system(entry_point, one, facts, findings);
    }
    for (number, board) in all(BOARD).enumerate() {
        texts(
            board,
            Component::Board,
            &number.to_string(),
            &[
                (4, "manufacturer"),
                (5, "product"),
                (6, "version"),
                (7, "serial"),
                (8, "asset_tag"),
                (0x0A, "location"),
            ],
            facts,
        );
    }
    for (number, chassis) in all(CHASSIS).enumerate() {
        let names = [(4, "manufacturer"), (6, "version"), (7, "serial"), (8, "asset_tag")];
        texts(chassis, Component::Chassis, &number.to_string(), &names, facts);
    }
    let mut names = Names::default();
    for processor in all(PROCESSOR) {
        let name = processor.string(4).unwrap_or_else(|| "unnamed".to_owned());
        self::processor(processor, &names.unique(&name), facts);
    }
    let mut names = Names::default();
    for slot in all(SLOT) {
        let name = slot.string(4).unwrap_or_else(|| "unnamed".to_owned());
        self::slot(slot, &names.unique(&name), facts);
    }
    for (number, controller) in all(IPMI).enumerate() {
        bmc(controller, &number.to_string(), facts);
    }
}

/// Puts strings that say something.
fn texts(
    of: &Structure<'_>,
    component: Component,
    instance: &str,
    names: &[(usize, &str)],
    facts: &mut Facts,
) {
    for (at, field) in names {
        let value = of.string(*at).filter(|text| !is_placeholder(text));
        facts.put_some(component, instance, field, value);
    }
}

fn bios(firmware: &Structure<'_>, facts: &mut Facts) {
    let names = [(4, "vendor"), (5, "version"), (8, "date")];
    texts(firmware, Component::Bios, ONLY, &names, facts);
    let release = |major, minor| match (firmware.byte(major), firmware.byte(minor)) {
        // 255: this machine states none.
        (Some(major), Some(minor)) if major != 0xFF && minor != 0xFF => Some(format!("{major}.{minor}")),
        _ => None,
    };
    facts.put_some(Component::Bios, ONLY, "release", release(0x14, 0x15));
    facts.put_some(Component::Bios, ONLY, "controller_release", release(0x16, 0x17));
}

fn system(entry_point: &EntryPoint, one: &Structure<'_>, facts: &mut Facts, findings: &mut Vec<Finding>) {
    let names =
        [(4, "manufacturer"), (5, "product"), (6, "version"), (7, "serial"), (0x19, "sku"), (0x1A, "family")];
    texts(one, Component::System, ONLY, &names, facts);
    let mut placeholder = |what: &str, text: &str| {
        let detail = format!("the {what} of the system is the placeholder {text:?}");
        findings.push(Finding::new(FindingCode::IdentityPlaceholder, what, detail));
    };
    if let Some(serial) = one.string(7).filter(|serial| is_placeholder(serial)) {
        placeholder("serial", &serial);
    }
    let Some(uuid) = one.array(8).map(|bytes| uuid(bytes, entry_point.version)) else { return };
    if is_placeholder_uuid(&uuid) {
        placeholder("uuid", &uuid);
    } else {
        facts.put(Component::System, ONLY, "uuid", uuid);
    }
}

/// A UUID as it is written. From version 2.6 on its first three parts are little-endian (DSP0134, 7.2.1).
fn uuid(mut bytes: [u8; 16], version: (u8, u8)) -> String {
    if version >= (2, 6) {
        bytes[..4].reverse();
        bytes[4..6].reverse();
        bytes[6..8].reverse();
    }
    let digits = format!("{:032x}", u128::from_be_bytes(bytes));
    let parts = [0..8, 8..12, 12..16, 16..20, 20..32].map(|part| digits.get(part).unwrap_or_default());
    parts.join("-")
}

fn processor(of: &Structure<'_>, instance: &str, facts: &mut Facts) {
    const POPULATED: u8 = 1 << 6;
    let populated = of.byte(0x18).map(|status| status & POPULATED != 0);
    let said = populated.map(|yes| if yes { "yes" } else { "no" });
    facts.put_some(Component::Cpu, instance, "populated", said);
    if populated == Some(false) {
        return;
    }
    let names = [
        (7, "manufacturer"),
        (0x10, "version"),
        (0x20, "serial"),
        (0x21, "asset_tag"),
        (0x22, "part_number"),
    ];
    texts(of, Component::Cpu, instance, &names, facts);
    let id = of.array(8).map(u64::from_le_bytes).filter(|id| *id != 0);
    facts.put_some(Component::Cpu, instance, "id", id.map(|id| format!("{id:016x}")));
    let count = |narrow, wide| match of.byte(narrow) {
        None | Some(0) => None,
        Some(0xFF) => of.word(wide).filter(|count| *count > 0),
        Some(count) => Some(u16::from(count)),
    };
    for (field, narrow, wide) in
        [("cores", 0x23, 0x2A), ("cores_enabled", 0x24, 0x2C), ("threads", 0x25, 0x2E)]
    {
        facts.put_some(Component::Cpu, instance, field, count(narrow, wide).map(|count| count.to_string()));
    }
}

fn slot(of: &Structure<'_>, instance: &str, facts: &mut Facts) {
    let usage = match of.byte(7) {
        Some(3) => Some("available"),
        Some(4) => Some("in_use"),
        Some(5) => Some("unavailable"),
        _ => None,
    };
    facts.put_some(Component::Slot, instance, "usage", usage);
    let address = || {
        let (domain, bus, place) = (of.word(0x0D)?, of.byte(0x0F)?, of.byte(0x10)?);
        // All ones: the slot is none of PCI's.
        let known = (domain, bus, place) != (0xFFFF, 0xFF, 0xFF) && (bus, place) != (0xFF, 0xFF);
        let address = PciAddress { domain: u32::from(domain), bus, device: place >> 3, function: place & 7 };
        known.then(|| sysfs_name(address))
    };
    facts.put_some(Component::Slot, instance, "pci_address", address());
}

fn bmc(of: &Structure<'_>, instance: &str, facts: &mut Facts) {
    // DSP0134, 7.39.1; 0 is unknown.
    let interface = match of.byte(4) {
        Some(1) => Some("KCS"),
        Some(2) => Some("SMIC"),
        Some(3) => Some("BT"),
        Some(4) => Some("SSIF"),
        _ => None,
    };
    facts.put_some(Component::Bmc, instance, "smbios_interface", interface);
    // A digit in each half of the byte; 0 where the firmware did not write it.
    let version = of.byte(5).filter(|digits| *digits != 0);
    let version = version.map(|digits| format!("{}.{}", digits >> 4, digits & 0xF));
    facts.put_some(Component::Bmc, instance, "smbios_ipmi_version", version);
    let address = of.byte(6).filter(|address| *address != 0).map(|address| format!("0x{address:02x}"));
    facts.put_some(Component::Bmc, instance, "smbios_i2c_address", address);
}

/// The strings that the kernel takes from the first structure of each type, by their names in `class/dmi/id`.
pub(super) fn shown_by_the_kernel(list: &[Structure<'_>]) -> Vec<(&'static str, String)> {
    let names = [
        (FIRMWARE, 4, "bios_vendor"),
        (FIRMWARE, 5, "bios_version"),
        (FIRMWARE, 8, "bios_date"),
        (SYSTEM, 4, "sys_vendor"),
        (SYSTEM, 5, "product_name"),
        (SYSTEM, 7, "product_serial"),
        (BOARD, 4, "board_vendor"),
        (BOARD, 5, "board_name"),
        (BOARD, 7, "board_serial"),
        (CHASSIS, 7, "chassis_serial"),
    ];
    let text = |kind, at| list.iter().find(|one| one.kind == kind)?.string(at);
    names.into_iter().filter_map(|(kind, at, name)| Some((name, text(kind, at)?))).collect()
}
