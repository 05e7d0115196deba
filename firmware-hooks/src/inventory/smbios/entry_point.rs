//! The entry point: which version, and how large the table may be.

use thiserror::Error;

/// What an entry point says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EntryPoint {
    /// Major and minor version.
    pub version: (u8, u8),
    /// Size of the table; the most it may have in version 3.
    pub table_bytes: u32,
    /// Number of structures; not said in version 3.
    pub structures: Option<u16>,
}

/// An entry point that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum EntryPointError {
    /// Neither of the two anchors.
    #[error("the SMBIOS entry point begins with neither _SM_ nor _SM3_")]
    Anchor,
    /// Shorter than it says, or than it has to be.
    #[error("the SMBIOS entry point has {0} bytes, too few")]
    Short(usize),
    /// The bytes do not add up to zero.
    #[error("the checksum of the SMBIOS entry point is wrong")]
    Checksum,
}

/// Length of the 32-bit entry point. Version 2.1 of the specification said one byte less by mistake, and
/// firmware that follows it adds up one byte less.
const LENGTH_32: u8 = 0x1F;

/// Length of the 64-bit entry point.
const LENGTH_64: u8 = 0x18;

/// Reads a 32-bit or a 64-bit entry point.
///
/// # Errors
/// [`EntryPointError`].
pub fn entry_point(bytes: &[u8]) -> Result<EntryPoint, EntryPointError> {
    if bytes.starts_with(b"_SM3_") {
        let stated = byte(bytes, 6)?;
        let own = summed(bytes, stated, LENGTH_64)?;
        return Ok(EntryPoint {
            version: (byte(own, 7)?, byte(own, 8)?),
            table_bytes: u32::from_le_bytes(array(own, 0x0C)?),
            structures: None,
        });
    }
    if !bytes.starts_with(b"_SM_") {
        return Err(EntryPointError::Anchor);
    }
    let stated = byte(bytes, 5)?;
    summed(bytes, stated, LENGTH_32 - 1)?;
    // The second half has an anchor and a sum of its own, and all that is used here.
    let half = bytes.get(0x10..usize::from(LENGTH_32)).ok_or(EntryPointError::Short(bytes.len()))?;
    if !half.starts_with(b"_DMI_") {
        return Err(EntryPointError::Anchor);
    }
    if sum(half) != 0 {
        return Err(EntryPointError::Checksum);
    }
    Ok(EntryPoint {
        version: (byte(bytes, 6)?, byte(bytes, 7)?),
        table_bytes: u32::from(u16::from_le_bytes(array(bytes, 0x16)?)),
        structures: Some(u16::from_le_bytes(array(bytes, 0x1C)?)),
    })
}

/// The bytes that an entry point says are its own, once they add up to zero.
fn summed(bytes: &[u8], stated: u8, least: u8) -> Result<&[u8], EntryPointError> {
    let short = EntryPointError::Short(bytes.len().min(usize::from(stated)));
    let own = bytes.get(..usize::from(stated)).filter(|_| stated >= least).ok_or(short)?;
    if sum(own) == 0 { Ok(own) } else { Err(EntryPointError::Checksum) }
}

fn sum(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0, |sum, byte| sum.wrapping_add(*byte))
}

fn byte(bytes: &[u8], at: usize) -> Result<u8, EntryPointError> {
    bytes.get(at).copied().ok_or(EntryPointError::Short(bytes.len()))
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> Result<[u8; N], EntryPointError> {
    let found = bytes.get(at..).and_then(|rest| rest.first_chunk::<N>());
    found.copied().ok_or(EntryPointError::Short(bytes.len()))
}
