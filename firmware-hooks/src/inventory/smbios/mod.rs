//! The tables in which the firmware describes the machine (DMTF DSP0134).
//!
//! Total: any bytes are taken without panic and without allocation that they ask for. A table
//! that breaks off gives what stands in front of the break, and says so.

mod entry_point;
mod memory;
mod parts;
mod placeholder;

use entry_point::{EntryPoint, entry_point};
pub(super) use placeholder::{is_placeholder, is_placeholder_uuid};

use super::fact::Facts;
use super::finding::{Finding, FindingCode};

/// The end-of-table structure (DSP0134, type 127).
const END_OF_TABLE: u8 = 127;

/// Type, length and handle.
const HEADER_BYTES: usize = 4;

/// One structure of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Structure<'a> {
    /// Its type.
    pub kind: u8,
    /// The formatted area with its header.
    formatted: &'a [u8],
    /// The strings, each ended by a zero.
    strings: &'a [u8],
}

impl<'a> Structure<'a> {
    /// The byte at an offset of the specification; absent in structures of older versions.
    pub fn byte(&self, at: usize) -> Option<u8> {
        self.formatted.get(at).copied()
    }

    /// Two bytes.
    pub fn word(&self, at: usize) -> Option<u16> {
        self.array(at).map(u16::from_le_bytes)
    }

    /// Four bytes.
    pub fn double_word(&self, at: usize) -> Option<u32> {
        self.array(at).map(u32::from_le_bytes)
    }

    /// Any number of bytes.
    pub fn array<const N: usize>(&self, at: usize) -> Option<[u8; N]> {
        self.formatted.get(at..)?.first_chunk::<N>().copied()
    }

    /// The string whose number stands at an offset; absent where there is none, or white space only.
    pub fn string(&self, at: usize) -> Option<String> {
        let number = usize::from(self.byte(at)?);
        let bytes = self.strings.split(|byte| *byte == 0).nth(number.checked_sub(1)?)?;
        let text = String::from_utf8_lossy(bytes).trim().to_owned();
        (!text.is_empty()).then_some(text)
    }
}

/// The structures of a table.
#[derive(Debug, Clone)]
pub struct Structures<'a> {
    rest: &'a [u8],
    left: Option<u16>,
    ended: bool,
}

/// The structures of `table`. In version 2 the entry point says how many there are.
pub fn structures<'a>(entry_point: &EntryPoint, table: &'a [u8]) -> Structures<'a> {
    let length = usize::try_from(entry_point.table_bytes).unwrap_or(usize::MAX);
    Structures { rest: table.get(..length).unwrap_or(table), left: entry_point.structures, ended: false }
}

impl Structures<'_> {
    /// Whether the table came to its end as it should; ask when there are no more structures.
    pub const fn complete(&self) -> bool {
        self.ended || matches!(self.left, Some(0)) || (self.left.is_none() && self.rest.is_empty())
    }
}

impl<'a> Iterator for Structures<'a> {
    type Item = Structure<'a>;

    fn next(&mut self) -> Option<Structure<'a>> {
        if self.ended || self.left == Some(0) {
            return None;
        }
        let length = usize::from(*self.rest.get(1)?);
        if length < HEADER_BYTES {
            return None;
        }
        let (formatted, rest) = self.rest.split_at_checked(length)?;
        // Two zeros end the strings; without strings they follow the formatted area at once.
        let end = rest.windows(2).position(|pair| pair == [0, 0])?;
        let (strings, rest) = rest.split_at_checked(end + 2)?;
        self.rest = rest;
        self.left = self.left.map(|left| left - 1);
        let kind = *formatted.first()?;
        self.ended = kind == END_OF_TABLE;
        Some(Structure { kind, formatted, strings })
    }
}

/// Facts of the tables, and what is wrong with them.
pub(super) fn read(entry: &[u8], table: &[u8], facts: &mut Facts, findings: &mut Vec<Finding>) {
    let entry_point = match entry_point(entry) {
        Ok(entry_point) => entry_point,
        Err(error) => {
            findings.push(Finding::new(FindingCode::SmbiosDamaged, "table", error.to_string()));
            return;
        }
    };
    let mut all = structures(&entry_point, table);
    let list: Vec<Structure<'_>> = all.by_ref().collect();
    if !all.complete() {
        let detail = format!("the table breaks off after {} structures", list.len());
        findings.push(Finding::new(FindingCode::SmbiosDamaged, "table", detail));
    }
    parts::read(&entry_point, &list, facts, findings);
    memory::read(&list, facts);
}

/// The strings that the kernel also shows in `class/dmi/id`, by the names there.
pub(super) fn shown_by_the_kernel(entry: &[u8], table: &[u8]) -> Vec<(&'static str, String)> {
    let Ok(entry_point) = entry_point(entry) else { return Vec::new() };
    parts::shown_by_the_kernel(&structures(&entry_point, table).collect::<Vec<_>>())
}

#[cfg(test)]
pub(super) mod tests;
