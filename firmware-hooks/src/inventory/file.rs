//! Bounded reads. What is not there, or cannot be read, is absent.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

/// Most that is read of one attribute: sysfs gives a page.
const ATTRIBUTE_BYTES_MAX: u64 = 4096;

/// Most entries that are read of one folder. Servers have some hundred PCI devices, and as many again virtual ones.
const ENTRIES_MAX: usize = 4096;

/// The first bytes of a file.
pub(super) fn bytes(path: &Path, most: u64) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path).ok()?.take(most).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

/// The text of a file that may be long.
pub(super) fn long_text(path: &Path, most: u64) -> Option<String> {
    bytes(path, most).map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
}

/// What stands in an attribute, without white space at its ends; absent where nothing does.
pub(super) fn attribute(path: &Path) -> Option<String> {
    let text = long_text(path, ATTRIBUTE_BYTES_MAX)?;
    let text = text.trim_matches(|c: char| c.is_whitespace() || c == '\0');
    (!text.is_empty()).then(|| text.to_owned())
}

/// An attribute that is a number in hexadecimal digits, with `0x` in front.
pub(super) fn hex(path: &Path) -> Option<u32> {
    u32::from_str_radix(attribute(path)?.strip_prefix("0x")?, 16).ok()
}

/// The names in a folder, in order; none where there is no folder.
pub(super) fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten().take(ENTRIES_MAX);
    let mut names: Vec<String> = entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort_unstable();
    names
}

/// The last part of what a link leads to: sysfs names drivers and groups so.
pub(super) fn link_name(link: &Path) -> Option<String> {
    Some(fs::read_link(link).ok()?.file_name()?.to_str()?.to_owned())
}

/// Where a path really is.
pub(super) fn real(path: &Path) -> Option<PathBuf> {
    fs::canonicalize(path).ok()
}
