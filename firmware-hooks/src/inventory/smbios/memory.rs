//! Memory modules and the places for them (type 17).

use super::super::fact::{Component, Facts, Names};
use super::Structure;
use super::placeholder::is_placeholder;

const MEMORY_DEVICE: u8 = 17;

/// Names of memory types that servers have (DSP0134, 7.18.2).
const TYPES: [(u8, &str); 9] = [
    (0x18, "DDR3"),
    (0x1A, "DDR4"),
    (0x1E, "LPDDR4"),
    (0x1F, "non-volatile"),
    (0x20, "HBM"),
    (0x21, "HBM2"),
    (0x22, "DDR5"),
    (0x23, "LPDDR5"),
    (0x24, "HBM3"),
];

pub(super) fn read(list: &[Structure<'_>], facts: &mut Facts) {
    let devices: Vec<&Structure<'_>> = list.iter().filter(|one| one.kind == MEMORY_DEVICE).collect();
    let locator = |device: &Structure<'_>| device.string(0x10).unwrap_or_else(|| "unnamed".to_owned());
    // Some firmware calls the modules of every channel alike and tells them apart by the bank.
    let ambiguous = |name: &str| devices.iter().filter(|other| locator(other) == name).count() > 1;
    let mut names = Names::default();
    for device in &devices {
        let own = locator(device);
        let bank = device.string(0x11).filter(|bank| !is_placeholder(bank));
        let name = match bank {
            Some(bank) if ambiguous(&own) => format!("{bank} {own}"),
            _ => own,
        };
        module(device, &names.unique(&name), facts);
    }
}

fn module(device: &Structure<'_>, instance: &str, facts: &mut Facts) {
    let mut put = |field, value: Option<String>| {
        facts.put_some(Component::Memory, instance, field, value);
    };
    let size = size_bytes(device);
    put("populated", size.map(|size| yes_or_no(size > 0)));
    if size == Some(0) {
        return;
    }
    let text = |at| device.string(at).filter(|text| !is_placeholder(text));
    put("size_bytes", size.map(|size| size.to_string()));
    let kind = device.byte(0x12).and_then(|kind| TYPES.iter().find(|(known, _)| *known == kind));
    put("type", kind.map(|(_, name)| (*name).to_owned()));
    put("speed_mts", speed(device, 0x15, 0x54));
    put("configured_speed_mts", speed(device, 0x20, 0x58));
    put("manufacturer", text(0x17));
    put("serial", text(0x18));
    put("part_number", text(0x1A));
    put("firmware_version", text(0x2B));
}

fn yes_or_no(yes: bool) -> String {
    if yes { "yes" } else { "no" }.to_owned()
}

/// The size of a module: 0 where the place is empty, absent where the firmware does not know.
fn size_bytes(device: &Structure<'_>) -> Option<u64> {
    const EXTENDED: u16 = 0x7FFF;
    const UNKNOWN: u16 = 0xFFFF;
    const IN_KIBIBYTES: u16 = 0x8000;
    match device.word(0x0C)? {
        UNKNOWN => None,
        EXTENDED => Some(u64::from(device.double_word(0x1C)? & 0x7FFF_FFFF) << 20),
        size if size & IN_KIBIBYTES != 0 => Some(u64::from(size & !IN_KIBIBYTES) << 10),
        size => Some(u64::from(size) << 20),
    }
}

/// Transfers per second, in millions; from a wider field where the first is full.
fn speed(device: &Structure<'_>, at: usize, extended_at: usize) -> Option<String> {
    let speed = match device.word(at)? {
        0 => return None,
        0xFFFF => device.double_word(extended_at)?,
        speed => u32::from(speed),
    };
    (speed > 0).then(|| speed.to_string())
}
