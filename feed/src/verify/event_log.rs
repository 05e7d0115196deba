//! The measured-boot event log (TCG PC Client Platform Firmware Profile): taken apart and replayed.
//!
//! Both forms are read: SHA-1 only (before TPM 2.0), and crypto-agile with the digests of every bank. Numbers are
//! little-endian. Only the digests of an event are covered by the TPM's registers: its type and, for most types,
//! its data are claims. Decisions here use digests, and data only where it hashes to the digest.

use ring::digest;

use super::tpm;

/// Longest log in bytes.
pub const LOG_BYTES: usize = 256 * 1024;
/// Most events. Real machines have 30 to 250.
pub const EVENTS: usize = 8192;
/// Most banks.
const BANKS: usize = 8;
/// Longest digest in bytes.
const DIGEST_BYTES: u16 = 64;
/// Registers of a PC client TPM.
pub const PCRS: usize = 24;

const SIGNATURE: &[u8; 16] = b"Spec ID Event03\0";
const STARTUP_LOCALITY: &[u8; 16] = b"StartupLocality\0";

/// Event types that decisions look at (`EV_…`).
pub mod kinds {
    /// Nothing is extended.
    pub const NO_ACTION: u32 = 0x0000_0003;
    /// Firmware hands over: what follows is not the firmware's.
    pub const SEPARATOR: u32 = 0x0000_0004;
    /// An action of the firmware, named by its data.
    pub const ACTION: u32 = 0x0000_0005;
    /// A variable that configures drivers, Secure Boot's among them.
    pub const EFI_VARIABLE_DRIVER_CONFIG: u32 = 0x8000_0001;
    /// A boot variable.
    pub const EFI_VARIABLE_BOOT: u32 = 0x8000_0002;
    /// An application that was started, such as a boot loader.
    pub const EFI_BOOT_SERVICES_APPLICATION: u32 = 0x8000_0003;
    /// A driver that was loaded.
    pub const EFI_BOOT_SERVICES_DRIVER: u32 = 0x8000_0004;
    /// The partition table.
    pub const EFI_GPT_EVENT: u32 = 0x8000_0006;
    /// An action of UEFI, named by its data.
    pub const EFI_ACTION: u32 = 0x8000_0007;
    /// The certificate or hash that let an image through.
    pub const EFI_VARIABLE_AUTHORITY: u32 = 0x8000_00e0;
    /// What a boot loader measures for itself.
    pub const IPL: u32 = 0x0000_000d;
}

/// Why bytes are no event log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EventLogError {
    /// Longer than [`LOG_BYTES`].
    #[error("event log has {0} bytes, at most {LOG_BYTES} are taken")]
    TooLong(usize),
    /// More than [`EVENTS`] events.
    #[error("event log has more than {EVENTS} events")]
    TooManyEvents,
    /// It ends within the structure at this offset.
    #[error("event log ends within the event at {0}")]
    Truncated(usize),
    /// The header of the crypto-agile form is not as it should be.
    #[error("event log header does not parse")]
    Header,
    /// An event names a bank that the header does not.
    #[error("event at {at} has a digest of unknown bank {bank:#06x}")]
    Bank {
        /// Offset of the event.
        at: usize,
        /// The bank.
        bank: u16,
    },
    /// An event is for a register that does not exist.
    #[error("event at {at} is for register {index}")]
    Register {
        /// Offset of the event.
        at: usize,
        /// The register.
        index: u32,
    },
}

/// One event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Event<'a> {
    /// The register that it is for.
    pub pcr: u32,
    /// What it claims to be ([`kinds`]).
    pub kind: u32,
    /// Its digests, as they stand in the log.
    digests: &'a [u8],
    agile: bool,
    /// What it claims to have measured.
    pub data: &'a [u8],
}

/// A log, taken apart. Nothing is copied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventLog<'a> {
    events: Vec<Event<'a>>,
    /// Banks with the length of their digests, as the header gives them.
    banks: Vec<(u16, u16)>,
}

/// A cursor over little-endian bytes that knows where it is.
#[derive(Clone, Copy)]
struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let taken = self.bytes.get(self.at..self.at.checked_add(count)?)?;
        self.at += count;
        Some(taken)
    }

    fn u16(&mut self) -> Option<u16> {
        self.take(2)?.try_into().ok().map(u16::from_le_bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        self.take(4)?.try_into().ok().map(u32::from_le_bytes)
    }
}

impl<'a> EventLog<'a> {
    /// Takes a log apart.
    ///
    /// # Errors
    /// Why the bytes are none.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, EventLogError> {
        if bytes.len() > LOG_BYTES {
            return Err(EventLogError::TooLong(bytes.len()));
        }
        let mut r = Reader { bytes, at: 0 };
        let mut log = Self { events: Vec::new(), banks: vec![(tpm::ALG_SHA1, 20)] };
        if bytes.is_empty() {
            return Ok(log);
        }
        // The first event has the old form in both; in the crypto-agile one it is the header.
        let first = legacy(&mut r)?;
        let agile = first.kind == kinds::NO_ACTION && first.data.starts_with(SIGNATURE);
        if agile {
            log.banks = header(first.data).ok_or(EventLogError::Header)?;
        }
        log.events.push(first);
        while r.at < bytes.len() {
            if log.events.len() == EVENTS {
                return Err(EventLogError::TooManyEvents);
            }
            let event = if agile { log.agile(&mut r)? } else { legacy(&mut r)? };
            // Firmware may leave the rest of its area filled with zeros or ones.
            if event.is_padding() {
                break;
            }
            log.events.push(event);
        }
        Ok(log)
    }

    fn agile(&self, r: &mut Reader<'a>) -> Result<Event<'a>, EventLogError> {
        let start = r.at;
        let truncated = EventLogError::Truncated(start);
        let pcr = register(start, r.u32().ok_or(truncated)?)?;
        let kind = r.u32().ok_or(truncated)?;
        let count = r.u32().ok_or(truncated)? as usize;
        if count > BANKS {
            return Err(EventLogError::Header);
        }
        let digests_at = r.at;
        for _ in 0..count {
            let bank = r.u16().ok_or(truncated)?;
            let known = self.banks.iter().find(|(known, _)| *known == bank);
            let (_, length) = known.ok_or(EventLogError::Bank { at: start, bank })?;
            r.take(usize::from(*length)).ok_or(truncated)?;
        }
        let digests = r.bytes.get(digests_at..r.at).unwrap_or_default();
        let length = r.u32().ok_or(truncated)? as usize;
        let data = r.take(length).ok_or(truncated)?;
        Ok(Event { pcr, kind, digests, agile: true, data })
    }

    /// The events, the header among them.
    pub fn events(&self) -> &[Event<'a>] {
        &self.events
    }

    /// The banks that the log has digests of.
    pub fn banks(&self) -> impl Iterator<Item = u16> {
        self.banks.iter().map(|(bank, _)| *bank)
    }

    /// The digest of an event in a bank.
    pub fn digest(&self, event: &Event<'a>, bank: u16) -> Option<&'a [u8]> {
        if !event.agile {
            return (bank == tpm::ALG_SHA1).then_some(event.digests);
        }
        let mut r = Reader { bytes: event.digests, at: 0 };
        while let Some(found) = r.u16() {
            let (_, length) = self.banks.iter().find(|(known, _)| *known == found)?;
            let digest = r.take(usize::from(*length))?;
            if found == bank {
                return Some(digest);
            }
        }
        None
    }

    /// The values that the registers of a bank have after these events; `None` for a bank whose hash is not known
    /// here or that the log does not have. A register without events has the value that it has after a start.
    pub fn replay(&self, bank: u16) -> Option<Vec<Vec<u8>>> {
        let algorithm = match bank {
            tpm::ALG_SHA1 => &digest::SHA1_FOR_LEGACY_USE_ONLY,
            other => tpm::hash_of(other).ok()?,
        };
        if !self.banks().any(|known| known == bank) {
            return None;
        }
        let length = algorithm.output_len();
        // Registers 17 to 22 start at all ones until a dynamic launch.
        let mut values: Vec<Vec<u8>> =
            (0..PCRS).map(|index| vec![if (17..=22).contains(&index) { 0xff } else { 0 }; length]).collect();
        for event in &self.events {
            if event.kind == kinds::NO_ACTION {
                // The locality of the startup command is in register 0 before anything is measured.
                if let Some([locality]) = event.data.strip_prefix(STARTUP_LOCALITY)
                    && event.pcr == 0
                    && let Some(last) = values[0].last_mut()
                {
                    *last = *locality;
                }
                continue;
            }
            let measured = self.digest(event, bank)?;
            let value = values.get_mut(event.pcr as usize)?;
            let mut context = digest::Context::new(algorithm);
            context.update(value);
            context.update(measured);
            context.finish().as_ref().clone_into(value);
        }
        Some(values)
    }

    /// Whether Secure Boot was on, where the log shows it by an event whose data hashes to its digest.
    pub fn secure_boot(&self) -> Option<bool> {
        let (bank, algorithm) = self.banks().find_map(|bank| Some((bank, tpm::hash_of(bank).ok()?)))?;
        self.events
            .iter()
            .filter(|event| event.pcr == 7 && event.kind == kinds::EFI_VARIABLE_DRIVER_CONFIG)
            .filter(|event| self.digest(event, bank) == Some(digest::digest(algorithm, event.data).as_ref()))
            .find_map(|event| variable(event.data, "SecureBoot"))
            .map(|value| value == [1])
    }

    /// The first event that came after the separator of its register and is none that belongs there. Registers 0 to 7
    /// are the firmware's: after its separator it measures the partition table, boot variables and what lets images
    /// through, no more. Anything else there may be an attempt to reach a wanted value.
    pub fn after_separator(&self) -> Option<&Event<'a>> {
        const ALLOWED: [u32; 9] = [
            kinds::ACTION,
            kinds::EFI_ACTION,
            kinds::EFI_VARIABLE_BOOT,
            kinds::EFI_VARIABLE_DRIVER_CONFIG,
            kinds::EFI_VARIABLE_AUTHORITY,
            kinds::EFI_BOOT_SERVICES_APPLICATION,
            kinds::EFI_BOOT_SERVICES_DRIVER,
            kinds::EFI_GPT_EVENT,
            kinds::IPL,
        ];
        let mut separated = 0_u32;
        for event in self.events.iter().filter(|event| event.pcr < 8 && event.kind != kinds::NO_ACTION) {
            let bit = 1 << event.pcr;
            if separated & bit != 0 && !ALLOWED.contains(&event.kind) {
                return Some(event);
            }
            if event.kind == kinds::SEPARATOR {
                separated |= bit;
            }
        }
        None
    }
}

impl Event<'_> {
    /// An "event" that the parser made of unused area: no register, no type, no digest, no data.
    fn is_padding(&self) -> bool {
        self.pcr == 0 && self.kind == 0 && self.data.is_empty() && self.digests.iter().all(|byte| *byte == 0)
    }
}

fn register(at: usize, index: u32) -> Result<u32, EventLogError> {
    // All ones: an event that is for no register (EV_NO_ACTION of some firmware).
    if (index as usize) < PCRS || index == u32::MAX {
        Ok(index)
    } else {
        Err(EventLogError::Register { at, index })
    }
}

/// `TCG_PCR_EVENT`.
fn legacy<'a>(r: &mut Reader<'a>) -> Result<Event<'a>, EventLogError> {
    let start = r.at;
    let truncated = EventLogError::Truncated(start);
    let pcr = register(start, r.u32().ok_or(truncated)?)?;
    let kind = r.u32().ok_or(truncated)?;
    let digests = r.take(20).ok_or(truncated)?;
    let length = r.u32().ok_or(truncated)? as usize;
    let data = r.take(length).ok_or(truncated)?;
    Ok(Event { pcr, kind, digests, agile: false, data })
}

/// `TCG_EfiSpecIdEventStruct`: the banks with the length of their digests.
fn header(data: &[u8]) -> Option<Vec<(u16, u16)>> {
    let mut r = Reader { bytes: data, at: SIGNATURE.len() };
    // Platform class, minor, major, errata, size of a native word.
    r.take(8)?;
    let count = r.u32()? as usize;
    if count == 0 || count > BANKS {
        return None;
    }
    let mut banks = Vec::with_capacity(count);
    for _ in 0..count {
        let (bank, length) = (r.u16()?, r.u16()?);
        let expected = match bank {
            tpm::ALG_SHA1 => 20,
            tpm::ALG_SHA256 | tpm::ALG_SM3 => 32,
            tpm::ALG_SHA384 => 48,
            tpm::ALG_SHA512 => 64,
            _ => length,
        };
        let known = banks.iter().any(|(known, _)| *known == bank);
        if length != expected || length == 0 || length > DIGEST_BYTES || known {
            return None;
        }
        banks.push((bank, length));
    }
    let vendor = r.take(1)?;
    r.take(usize::from(*vendor.first()?))?;
    (r.at == data.len()).then_some(banks)
}

/// The value of a UEFI variable in `UEFI_VARIABLE_DATA`, if it has this name.
fn variable<'a>(data: &'a [u8], name: &str) -> Option<&'a [u8]> {
    let mut r = Reader { bytes: data, at: 16 };
    let size = |r: &mut Reader<'_>| {
        let low = r.u32()?;
        (r.u32()? == 0).then_some(low as usize)
    };
    let (name_length, value_length) = (size(&mut r)?, size(&mut r)?);
    let units = r
        .take(name_length.checked_mul(2)?)?
        .chunks_exact(2)
        .map(|pair| u16::from_le_bytes([pair[0], pair[1]]));
    let value = r.take(value_length)?;
    units.eq(name.encode_utf16()).then_some(value)
}
