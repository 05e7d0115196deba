//! Small pieces that are kept until they become a record: written over and
//! over in one file, never waited for. A piece: length, round, CRC-32 of round
//! and bytes, bytes. Pieces of another round than the first one's are old.

const HEAD: usize = 12;

/// Where the next piece goes.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Draft {
    pub(crate) end: u64,
    pub(crate) round: u32,
}

impl Draft {
    /// The bytes of a piece.
    pub(crate) fn piece(&self, bytes: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(HEAD + bytes.len());
        out.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
        out.extend_from_slice(&self.round.to_le_bytes());
        out.extend_from_slice(&checksum(self.round, bytes).to_le_bytes());
        out.extend_from_slice(bytes);
        out
    }
}

fn checksum(round: u32, bytes: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&round.to_le_bytes());
    hasher.update(bytes);
    hasher.finalize()
}

/// The pieces in a file, and the round they belong to.
pub(crate) fn parse(file: &[u8]) -> (Vec<Vec<u8>>, u32) {
    let (mut pieces, mut round, mut at) = (Vec::new(), None, 0);
    while let Some(head) = file.get(at..).and_then(<[u8]>::first_chunk::<HEAD>) {
        let word = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        let (length, of, crc) = (word(0) as usize, word(4), word(8));
        let Some(bytes) = file.get(at + HEAD..at + HEAD + length) else { break };
        if checksum(of, bytes) != crc || *round.get_or_insert(of) != of || bytes.is_empty() {
            break;
        }
        pieces.push(bytes.to_vec());
        at += HEAD + length;
    }
    (pieces, round.unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_of_an_earlier_round_do_not_come_back() {
        let mut file = vec![0; 100];
        let mut write = |round, pieces: &[&[u8]]| {
            let mut end = 0;
            for piece in pieces {
                let bytes = Draft { end: 0, round }.piece(piece);
                file[end..end + bytes.len()].copy_from_slice(&bytes);
                end += bytes.len();
            }
            parse(&file).0
        };
        assert_eq!(
            write(1, &[b"one", b"two", b"three"]),
            [b"one".to_vec(), b"two".to_vec(), b"three".to_vec()]
        );
        assert_eq!(write(2, &[b"abc"]), [b"abc".to_vec()]);
    }
}
