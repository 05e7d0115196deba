//! What the spool knows besides its records: two slots in one file, of which
//! the one that was made durable last is never written over.
//!
//! A slot: magic `RMLG`, version 1, number of streams, 2 zero bytes; generation,
//! epoch; per stream id, number of ranges, 6 zero bytes, next, committed,
//! acknowledged, 8 ranges of 2 numbers; CRC-32 of all before.

use crate::numbers::Numbers;

/// Most streams of a spool.
pub(crate) const STREAMS_MAX: usize = 16;
/// Ranges above the acknowledged prefix that are kept.
pub(crate) const RANGES: usize = 8;
/// Distance of the slots: a page, so that a torn write of one leaves the other alone.
pub(crate) const SLOT_BYTES: u64 = 4096;
/// Length of the file.
pub(crate) const FILE_BYTES: u64 = 2 * SLOT_BYTES;

const MAGIC: [u8; 4] = *b"RMLG";
const VERSION: u8 = 1;
const HEAD: usize = 24;
const ENTRY: usize = 8 + 24 + RANGES * 16;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) stream: u8,
    /// No number below is given to a new record.
    pub(crate) next: u64,
    /// Every record below was durable, or was declared or is to be declared lost.
    pub(crate) committed: u64,
    pub(crate) acked: Numbers,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ledger {
    pub(crate) generation: u64,
    pub(crate) epoch: u64,
    pub(crate) entries: Vec<Entry>,
}

impl Ledger {
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(HEAD + self.entries.len() * ENTRY + 4);
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&[VERSION, self.entries.len() as u8, 0, 0]);
        out.extend_from_slice(&self.generation.to_le_bytes());
        out.extend_from_slice(&self.epoch.to_le_bytes());
        for entry in &self.entries {
            // The longest ranges are worth most; a lost one is delivered again.
            let mut ranges = entry.acked.above().to_vec();
            ranges.sort_by_key(|(from, to)| std::cmp::Reverse(to - from));
            ranges.truncate(RANGES);
            out.extend_from_slice(&[entry.stream, ranges.len() as u8, 0, 0, 0, 0, 0, 0]);
            for number in [entry.next, entry.committed, entry.acked.below()] {
                out.extend_from_slice(&number.to_le_bytes());
            }
            ranges.resize(RANGES, (0, 0));
            for (from, to) in ranges {
                out.extend_from_slice(&from.to_le_bytes());
                out.extend_from_slice(&to.to_le_bytes());
            }
        }
        let crc = crc32fast::hash(&out);
        out.extend_from_slice(&crc.to_le_bytes());
        out
    }

    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        let head = bytes.first_chunk::<HEAD>()?;
        let count = usize::from(head[5]);
        if head[..4] != MAGIC || head[4] != VERSION || head[6..8] != [0, 0] || count > STREAMS_MAX {
            return None;
        }
        let end = HEAD + count * ENTRY;
        let crc = u32::from_le_bytes(*bytes.get(end..)?.first_chunk::<4>()?);
        if crc32fast::hash(bytes.get(..end)?) != crc {
            return None;
        }
        let number = |at: usize| bytes[at..].first_chunk::<8>().map(|bytes| u64::from_le_bytes(*bytes));
        let entries = (0..count).map(|n| {
            let at = HEAD + n * ENTRY;
            let mut acked = Numbers::new(number(at + 24)?, &[]);
            for range in 0..usize::from(bytes[at + 1]).min(RANGES) {
                acked.insert(number(at + 32 + range * 16)?, number(at + 40 + range * 16)?);
            }
            Some(Entry { stream: bytes[at], next: number(at + 8)?, committed: number(at + 16)?, acked })
        });
        Some(Self { generation: number(8)?, epoch: number(16)?, entries: entries.collect::<Option<_>>()? })
    }
}

// A slot must fit its place.
const _: () = assert!(HEAD + STREAMS_MAX * ENTRY + 4 <= SLOT_BYTES as usize);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_comes_back_as_it_was_or_not_at_all() {
        let entry =
            |stream| Entry { stream, next: 9, committed: 8, acked: Numbers::new(3, &[(4, 5), (6, 8)]) };
        let ledger = Ledger { generation: 5, epoch: 6, entries: vec![entry(0), entry(2)] };
        let bytes = ledger.to_bytes();
        assert_eq!(Ledger::parse(&bytes), Some(ledger));
        for bit in 0..bytes.len() * 8 {
            let mut changed = bytes.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Ledger::parse(&changed), None, "bit {bit}");
        }
        for cut in 0..bytes.len() {
            assert_eq!(Ledger::parse(&bytes[..cut]), None, "cut at {cut}");
        }
    }

    #[test]
    fn the_longest_ranges_are_kept() {
        let above: Vec<(u64, u64)> = (1..20).map(|n| (n * 100, n * 100 + n)).collect();
        let entry = Entry { stream: 0, next: 9999, committed: 9999, acked: Numbers::new(0, &above) };
        let ledger = Ledger { generation: 0, epoch: 0, entries: vec![entry] };
        let read = Ledger::parse(&ledger.to_bytes()).expect("whole");
        assert_eq!(read.entries[0].acked.above(), &above[11..]);
    }
}
