//! Tables made here, structure by structure, after the specification.

use proptest::prelude::*;

use super::super::tests::shown;
use super::entry_point::EntryPointError;
use super::*;

/// A table in the making.
#[derive(Default)]
pub(crate) struct Table {
    bytes: Vec<u8>,
    structures: u16,
}

impl Table {
    /// A structure: what follows its header, and its strings.
    pub(crate) fn structure(mut self, kind: u8, body: &[u8], strings: &[&str]) -> Self {
        let length = u8::try_from(HEADER_BYTES + body.len()).expect("length");
        self.bytes.extend([kind, length]);
        self.bytes.extend(self.structures.to_le_bytes());
        self.bytes.extend(body);
        for text in strings {
            self.bytes.extend(text.as_bytes());
            self.bytes.push(0);
        }
        if strings.is_empty() {
            self.bytes.push(0);
        }
        self.bytes.push(0);
        self.structures += 1;
        self
    }

    pub(crate) fn system(self, manufacturer: &str, product: &str, serial: &str) -> Self {
        let mut body = [0; 0x17];
        body[..4].copy_from_slice(&[1, 2, 0, 3]);
        body[4..20].copy_from_slice(&UUID);
        self.structure(1, &body, &[manufacturer, product, serial])
    }

    fn memory(self, size: u16, strings: [&str; 5]) -> Self {
        let mut body = [0; 0x5C - HEADER_BYTES];
        let mut put = |at: usize, bytes: &[u8]| {
            body[at - HEADER_BYTES..][..bytes.len()].copy_from_slice(bytes);
        };
        put(0x0C, &size.to_le_bytes());
        put(0x10, &[1, 2, 0x22]);
        put(0x15, &5600_u16.to_le_bytes());
        put(0x17, &[3, 4, 0, 5]);
        put(0x1C, &131_072_u32.to_le_bytes());
        put(0x20, &0xFFFF_u16.to_le_bytes());
        put(0x58, &4800_u32.to_le_bytes());
        self.structure(17, &body, &strings)
    }

    pub(crate) fn end(self) -> Vec<u8> {
        self.structure(END_OF_TABLE, &[], &[]).bytes
    }
}

/// `00112233-4455-6677-8899-aabbccddeeff` in the byte order of version 2.6 and later (DSP0134, 7.2.1).
const UUID: [u8; 16] =
    [0x33, 0x22, 0x11, 0x00, 0x55, 0x44, 0x77, 0x66, 0x88, 0x99, 0xAA, 0xBB, 0xCC, 0xDD, 0xEE, 0xFF];

fn zero_sum(bytes: &mut [u8], at: usize) {
    bytes[at] = 0;
    bytes[at] = bytes.iter().fold(0_u8, |sum, byte| sum.wrapping_sub(*byte));
}

pub(crate) fn entry_point_64(table_bytes: usize) -> Vec<u8> {
    let mut bytes = b"_SM3_\0\x18\x03\x05\0\x01\0".to_vec();
    bytes.extend(u32::try_from(table_bytes).expect("length").to_le_bytes());
    bytes.extend([0; 8]);
    zero_sum(&mut bytes, 5);
    bytes
}

fn entry_point_32(table_bytes: usize, structures: u16, version: (u8, u8)) -> Vec<u8> {
    let mut bytes = b"_SM_\0\x1F".to_vec();
    bytes.extend([version.0, version.1]);
    bytes.resize(0x10, 0);
    bytes.extend(b"_DMI_\0");
    bytes.extend(u16::try_from(table_bytes).expect("length").to_le_bytes());
    bytes.extend([0; 4]);
    bytes.extend(structures.to_le_bytes());
    bytes.push(version.0 << 4 | version.1);
    zero_sum(&mut bytes[0x10..], 5);
    zero_sum(&mut bytes, 4);
    bytes
}

fn read_table(entry: &[u8], table: &[u8]) -> (Vec<String>, Vec<Finding>) {
    let (mut facts, mut findings) = (Facts::default(), Vec::new());
    read(entry, table, &mut facts, &mut findings);
    (shown(facts), findings)
}

/// What a server's table says, and nothing is wrong with it.
fn server() -> Vec<u8> {
    let mut firmware = [0; 0x18 - HEADER_BYTES];
    firmware[..5].copy_from_slice(&[1, 2, 0, 0, 3]);
    firmware[0x10..].copy_from_slice(&[5, 27, 0xFF, 0xFF]);
    let mut processor = [0; 0x30 - HEADER_BYTES];
    let mut put = |at: usize, bytes: &[u8]| {
        processor[at - HEADER_BYTES..][..bytes.len()].copy_from_slice(bytes);
    };
    put(4, &[1, 3, 0xB3, 2]);
    put(8, &0xBFEB_FBFF_000C_06F2_u64.to_le_bytes());
    put(0x10, &[3]);
    put(0x18, &[0x41]);
    put(0x23, &[56, 56, 112]);
    let mut empty = processor;
    empty[0x18 - HEADER_BYTES] = 0;
    let mut slot = [0; 0x11 - HEADER_BYTES];
    slot[..4].copy_from_slice(&[1, 0xBE, 0x0D, 4]);
    slot[9..].copy_from_slice(&[0, 0, 0x1B, 0x08]);
    Table::default()
        .structure(0, &firmware, &["Example BIOS", "2.7", "01/31/2026"])
        .system("Example", "GPU server", "S482914X")
        .structure(2, &[1, 2, 3, 4, 5], &["Example", "X13", "1.02", "UM23", "To be filled by O.E.M."])
        .structure(3, &[1, 0x17, 2, 3, 4], &["Example", "1.0", "C4170", "Not Specified"])
        .structure(4, &processor, &["CPU0", "Intel", "Xeon 8480C"])
        .structure(4, &empty, &["CPU1", "Intel", "Xeon 8480C"])
        .structure(9, &slot, &["SLOT 5"])
        .structure(38, &[1, 0x20, 0x20, 0xFF, 0xA3, 0x0C, 0, 0, 0, 0, 0, 0, 0, 0], &[])
        .structure(38, &[0, 0, 0, 0xFF], &[])
        .memory(0x7FFF, ["DIMM 0", "P0 CHANNEL A", "Samsung", "80CE01", "M321RYGA0BB0 "])
        .memory(0x7FFF, ["DIMM 0", "P0 CHANNEL B", "Samsung", "80CE02", "M321RYGA0BB0 "])
        .memory(0, ["DIMM 1", "P0 CHANNEL A", "NO DIMM", "NO DIMM", "NO DIMM"])
        .end()
}

const SERVER: [&str; 45] = [
    "system  manufacturer=Example",
    "system  product=GPU server",
    "system  serial=S482914X",
    "system  uuid=00112233-4455-6677-8899-aabbccddeeff",
    "bios  date=01/31/2026",
    "bios  release=5.27",
    "bios  vendor=Example BIOS",
    "bios  version=2.7",
    "board 0 manufacturer=Example",
    "board 0 product=X13",
    "board 0 serial=UM23",
    "board 0 version=1.02",
    "chassis 0 manufacturer=Example",
    "chassis 0 serial=C4170",
    "chassis 0 version=1.0",
    "cpu CPU0 cores=56",
    "cpu CPU0 cores_enabled=56",
    "cpu CPU0 id=bfebfbff000c06f2",
    "cpu CPU0 manufacturer=Intel",
    "cpu CPU0 populated=yes",
    "cpu CPU0 threads=112",
    "cpu CPU0 version=Xeon 8480C",
    "cpu CPU1 populated=no",
    "memory DIMM 1 populated=no",
    "memory P0 CHANNEL A DIMM 0 configured_speed_mts=4800",
    "memory P0 CHANNEL A DIMM 0 manufacturer=Samsung",
    "memory P0 CHANNEL A DIMM 0 part_number=M321RYGA0BB0",
    "memory P0 CHANNEL A DIMM 0 populated=yes",
    "memory P0 CHANNEL A DIMM 0 serial=80CE01",
    "memory P0 CHANNEL A DIMM 0 size_bytes=137438953472",
    "memory P0 CHANNEL A DIMM 0 speed_mts=5600",
    "memory P0 CHANNEL A DIMM 0 type=DDR5",
    "memory P0 CHANNEL B DIMM 0 configured_speed_mts=4800",
    "memory P0 CHANNEL B DIMM 0 manufacturer=Samsung",
    "memory P0 CHANNEL B DIMM 0 part_number=M321RYGA0BB0",
    "memory P0 CHANNEL B DIMM 0 populated=yes",
    "memory P0 CHANNEL B DIMM 0 serial=80CE02",
    "memory P0 CHANNEL B DIMM 0 size_bytes=137438953472",
    "memory P0 CHANNEL B DIMM 0 speed_mts=5600",
    "memory P0 CHANNEL B DIMM 0 type=DDR5",
    "slot SLOT 5 pci_address=0000:1b:01.0",
    "slot SLOT 5 usage=in_use",
    "bmc 0 smbios_i2c_address=0x20",
    "bmc 0 smbios_interface=KCS",
    "bmc 0 smbios_ipmi_version=2.0",
];

#[test]
fn a_server_is_described_through_both_entry_points() {
    let table = server();
    let (facts, findings) = read_table(&entry_point_64(table.len()), &table);
    assert_eq!((facts, findings), (SERVER.map(str::to_owned).to_vec(), Vec::new()));
    let (facts, findings) = read_table(&entry_point_32(table.len(), 13, (2, 8)), &table);
    assert_eq!((facts, findings), (SERVER.map(str::to_owned).to_vec(), Vec::new()));
}

#[test]
fn before_version_2_6_a_uuid_is_written_as_it_stands() {
    let table = Table::default().system("a", "b", "S1").end();
    let (facts, _) = read_table(&entry_point_32(table.len(), 2, (2, 5)), &table);
    assert!(facts.contains(&"system  uuid=33221100-5544-7766-8899-aabbccddeeff".to_owned()), "{facts:?}");
}

#[test]
fn placeholders_are_absent_and_told() {
    let mut body = [0; 0x17];
    body[..4].copy_from_slice(&[1, 2, 0, 3]);
    let strings = ["System manufacturer", "To Be Filled By O.E.M.", "0123456789"];
    let table = Table::default().structure(1, &body, &strings).end();
    let (facts, findings) = read_table(&entry_point_64(table.len()), &table);
    assert_eq!(facts, [""; 0]);
    let found: Vec<_> = findings.iter().map(|finding| (finding.code, finding.instance.as_str())).collect();
    assert_eq!(
        found,
        [(FindingCode::IdentityPlaceholder, "serial"), (FindingCode::IdentityPlaceholder, "uuid")]
    );
}

#[test]
fn a_wrong_entry_point_is_refused_with_its_reason() {
    let table = server();
    let good = [entry_point_64(table.len()), entry_point_32(table.len(), 13, (2, 8))];
    for bytes in &good {
        assert!(entry_point(bytes).is_ok());
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 0x40;
            assert!(entry_point(&damaged).is_err(), "byte {at}");
            assert!(entry_point(&bytes[..at]).is_err(), "{at} bytes");
        }
    }
    let mut damaged = good[0].clone();
    damaged[8] ^= 1;
    let (facts, findings) = read_table(&damaged, &table);
    assert_eq!((facts.len(), findings.len()), (0, 1));
    assert_eq!(findings[0].code, FindingCode::SmbiosDamaged);
    assert_eq!(findings[0].detail, "the checksum of the SMBIOS entry point is wrong");
    assert_eq!(entry_point(b"_DMI_"), Err(EntryPointError::Anchor));
    // The second half of the older one has a sum of its own.
    let mut damaged = good[1].clone();
    damaged[0x16] ^= 1;
    zero_sum(&mut damaged, 4);
    assert_eq!(entry_point(&damaged), Err(EntryPointError::Checksum));
}

#[test]
fn the_length_that_version_2_1_states_is_taken() {
    let mut bytes = entry_point_32(100, 2, (2, 1));
    bytes[5] = 0x1E;
    let last = bytes.pop().expect("last");
    zero_sum(&mut bytes, 4);
    bytes.push(last);
    assert_eq!(entry_point(&bytes).expect("entry point").structures, Some(2));
}

#[test]
fn a_table_that_breaks_off_gives_what_stands_in_front() {
    let table = server();
    let (facts, findings) = read_table(&entry_point_64(table.len()), &table[..table.len() - 10]);
    assert!(facts.len() > 30, "{facts:?}");
    assert_eq!(findings.iter().map(|finding| finding.code).collect::<Vec<_>>(), [FindingCode::SmbiosDamaged]);
    // The entry point bounds the table.
    let (facts, findings) = read_table(&entry_point_64(40), &table);
    assert_eq!((facts.len(), findings.len()), (0, 1));
}

proptest! {
    #[test]
    fn no_table_makes_it_panic(cut: usize, flips in proptest::collection::vec((any::<usize>(), any::<u8>()), 0..8)) {
        let mut table = server();
        for (at, mask) in flips {
            let at = at % table.len();
            table[at] ^= mask;
        }
        let cut = cut % (table.len() + 1);
        let (facts, _) = read_table(&entry_point_64(table.len()), &table[..cut]);
        prop_assert!(facts.len() <= super::super::FACTS_MAX);
        let _ = read_table(&entry_point_32(table.len(), 13, (2, 8)), &table[..cut]);
        let _ = shown_by_the_kernel(&entry_point_64(table.len()), &table[..cut]);
    }

    #[test]
    fn no_bytes_make_it_panic(entry in proptest::collection::vec(any::<u8>(), 0..40), table in proptest::collection::vec(any::<u8>(), 0..400)) {
        let _ = read_table(&entry, &table);
        let _ = read_table(&entry_point_64(table.len()), &table);
    }
}
