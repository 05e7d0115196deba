//! Bytes of segments: a header, then records, each with a checksum.
//!
//! All numbers are little-endian.
//!
//! | Segment header | Bytes |
//! |---|---|
//! | magic `RMSG`, version 1, stream id, 2 zero bytes | 8 |
//! | epoch, first number, made at (ms since 1970) | 24 |
//! | length of the label, label | 2 + n |
//! | CRC-32 of all before | 4 |
//!
//! | Record | Bytes |
//! |---|---|
//! | marker `52 c3 9a 7e` | 4 |
//! | length of the payload | 4 |
//! | number, written at (ms since 1970) | 16 |
//! | CRC-32 of length, number, time and payload, begun with epoch and stream | 4 |
//! | payload | n |

use std::sync::Arc;

/// Largest payload of a record, in bytes: the feed's largest message.
pub const PAYLOAD_BYTES_MAX: usize = 64 * 1024;
/// Largest label of a segment, in bytes.
pub const LABEL_BYTES_MAX: usize = 255;

const MAGIC: [u8; 4] = *b"RMSG";
const VERSION: u8 = 1;
const MARKER: [u8; 4] = [0x52, 0xc3, 0x9a, 0x7e];

/// Bytes before a record's payload.
pub(crate) const RECORD_HEAD: usize = 28;
/// Bytes of the longest segment header.
pub(crate) const SEGMENT_HEAD_MAX: usize = 8 + 24 + 2 + LABEL_BYTES_MAX + 4;

/// A record as it was appended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Its number in the stream.
    pub seq: u64,
    /// The label it was appended with.
    pub label: Arc<str>,
    /// Its bytes.
    pub payload: Vec<u8>,
    /// Wall clock when it was appended, milliseconds since 1970.
    pub written_unix_ms: u64,
}

/// What all records of one stream of one spool have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Space {
    pub(crate) epoch: u64,
    pub(crate) stream: u8,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SegmentHead {
    pub(crate) epoch: u64,
    pub(crate) first: u64,
    pub(crate) made_unix_ms: u64,
    pub(crate) label: Arc<str>,
    /// Its own length.
    pub(crate) bytes: usize,
}

pub(crate) fn segment_head(space: Space, first: u64, made_unix_ms: u64, label: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(SEGMENT_HEAD_MAX);
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&[VERSION, space.stream, 0, 0]);
    for number in [space.epoch, first, made_unix_ms] {
        out.extend_from_slice(&number.to_le_bytes());
    }
    out.extend_from_slice(&(label.len() as u16).to_le_bytes());
    out.extend_from_slice(label.as_bytes());
    let crc = crc32fast::hash(&out);
    out.extend_from_slice(&crc.to_le_bytes());
    out
}

pub(crate) fn parse_segment_head(bytes: &[u8], stream: u8) -> Option<SegmentHead> {
    let fixed = bytes.first_chunk::<34>()?;
    if fixed[..4] != MAGIC || fixed[4] != VERSION || fixed[5] != stream || fixed[6..8] != [0, 0] {
        return None;
    }
    let length = usize::from(u16::from_le_bytes([fixed[32], fixed[33]]));
    let label = bytes.get(34..34 + length)?;
    let crc = u32::from_le_bytes(*bytes.get(34 + length..)?.first_chunk::<4>()?);
    if crc32fast::hash(&bytes[..34 + length]) != crc {
        return None;
    }
    let label = std::str::from_utf8(label).ok().filter(|label| label.len() <= LABEL_BYTES_MAX)?;
    Some(SegmentHead {
        epoch: number(&fixed[8..])?,
        first: number(&fixed[16..])?,
        made_unix_ms: number(&fixed[24..])?,
        label: Arc::from(label),
        bytes: 34 + length + 4,
    })
}

fn number(bytes: &[u8]) -> Option<u64> {
    bytes.first_chunk::<8>().map(|bytes| u64::from_le_bytes(*bytes))
}

fn checksum(space: Space, covered: &[u8], payload: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&space.epoch.to_le_bytes());
    hasher.update(&[space.stream]);
    hasher.update(covered);
    hasher.update(payload);
    hasher.finalize()
}

/// Appends a record's bytes to `out`.
pub(crate) fn write_record(space: Space, seq: u64, unix_ms: u64, payload: &[u8], out: &mut Vec<u8>) {
    let begin = out.len();
    out.extend_from_slice(&MARKER);
    out.extend_from_slice(&(payload.len() as u32).to_le_bytes());
    out.extend_from_slice(&seq.to_le_bytes());
    out.extend_from_slice(&unix_ms.to_le_bytes());
    let crc = checksum(space, &out[begin + 4..begin + 24], payload);
    out.extend_from_slice(&crc.to_le_bytes());
    out.extend_from_slice(payload);
}

/// What stands at the beginning of some bytes of a segment.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum At<'a> {
    /// A whole record.
    Record { seq: u64, unix_ms: u64, payload: &'a [u8] },
    /// Perhaps a record, of which so many bytes are needed.
    More(usize),
    /// No record.
    Nothing,
}

pub(crate) fn record_at(bytes: &[u8], space: Space) -> At<'_> {
    let Some(head) = bytes.first_chunk::<RECORD_HEAD>() else {
        let shown = bytes.len().min(4);
        return if bytes[..shown] == MARKER[..shown] { At::More(RECORD_HEAD) } else { At::Nothing };
    };
    let length = u32::from_le_bytes([head[4], head[5], head[6], head[7]]) as usize;
    if head[..4] != MARKER || length > PAYLOAD_BYTES_MAX {
        return At::Nothing;
    }
    let Some(payload) = bytes.get(RECORD_HEAD..RECORD_HEAD + length) else {
        return At::More(RECORD_HEAD + length);
    };
    let crc = u32::from_le_bytes([head[24], head[25], head[26], head[27]]);
    if checksum(space, &head[4..24], payload) != crc {
        return At::Nothing;
    }
    let (Some(seq), Some(unix_ms)) = (number(&head[8..]), number(&head[16..])) else { return At::Nothing };
    At::Record { seq, unix_ms, payload }
}

/// Where the next record may begin: at or after `from`.
pub(crate) fn next_marker(bytes: &[u8], from: usize) -> Option<usize> {
    let rest = bytes.get(from..)?;
    let whole = rest.windows(MARKER.len()).position(|window| window == MARKER);
    // The marker may lie across the end of what is in hand.
    let cut =
        || (1..MARKER.len()).rev().find(|cut| rest.ends_with(&MARKER[..*cut])).map(|cut| rest.len() - cut);
    whole.or_else(cut).map(|at| from + at)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPACE: Space = Space { epoch: 7, stream: 2 };

    #[test]
    fn a_record_is_found_whole_or_not_at_all() {
        let mut bytes = Vec::new();
        write_record(SPACE, 5, 9, b"payload", &mut bytes);
        assert_eq!(record_at(&bytes, SPACE), At::Record { seq: 5, unix_ms: 9, payload: b"payload" });
        assert_eq!(record_at(&bytes, Space { epoch: 8, ..SPACE }), At::Nothing);
        assert_eq!(record_at(&bytes, Space { stream: 3, ..SPACE }), At::Nothing);
        for cut in 0..bytes.len() {
            assert!(matches!(record_at(&bytes[..cut], SPACE), At::More(_)), "cut at {cut}");
        }
        for bit in 0..bytes.len() * 8 {
            let mut changed = bytes.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert!(!matches!(record_at(&changed, SPACE), At::Record { .. }), "bit {bit}");
        }
    }

    #[test]
    fn a_segment_header_with_a_changed_bit_is_refused() {
        let bytes = segment_head(SPACE, 3, 4, "a/topic");
        let head = parse_segment_head(&bytes, 2).expect("whole");
        assert_eq!((head.epoch, head.first, head.made_unix_ms, &*head.label), (7, 3, 4, "a/topic"));
        assert_eq!(head.bytes, bytes.len());
        for bit in 0..bytes.len() * 8 {
            let mut changed = bytes.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(parse_segment_head(&changed, 2), None, "bit {bit}");
        }
    }

    #[test]
    fn a_marker_is_found_also_where_it_is_cut() {
        assert_eq!(next_marker(b"abR\xc3\x9a\x7ecd", 0), Some(2));
        assert_eq!(next_marker(b"abR\xc3", 1), Some(2));
        assert_eq!(next_marker(b"abcd", 0), None);
    }
}
