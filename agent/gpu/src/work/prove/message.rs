//! Messages of leaves and nodes as SHA-256 takes them, with zeros where a launch puts its own bytes: fields and their
//! lengths are those of `rackmark_feed::verify::proof::seed::tagged`.

const LEAF: &str = "rackmark/proof/leaf/1";
const NODE: &str = "rackmark/proof/node/1";

/// A leaf of this tree, its number and content open.
pub(super) fn leaf(tree: &[u8; 32], content_bytes: usize) -> [u32; 48] {
    padded(LEAF, &[tree, &[0; 8], &vec![0; content_bytes]])
}

/// A node, its children open.
pub(super) fn node() -> [u32; 32] {
    padded(NODE, &[&[0; 32], &[0; 32]])
}

/// All fields with their lengths, one bit, zeros, and the length in bits, as big-endian words.
fn padded<const WORDS: usize>(domain: &str, fields: &[&[u8]]) -> [u32; WORDS] {
    let mut bytes = Vec::with_capacity(4 * WORDS);
    for field in std::iter::once(&domain.as_bytes()).chain(fields) {
        bytes.extend((field.len() as u64).to_le_bytes());
        bytes.extend(*field);
    }
    let bits = bytes.len() as u64 * 8;
    bytes.push(0x80);
    bytes.resize(4 * WORDS - 8, 0);
    bytes.extend(bits.to_be_bytes());
    let mut words = [0; WORDS];
    for (word, bytes) in words.iter_mut().zip(bytes.as_chunks::<4>().0) {
        *word = u32::from_be_bytes(*bytes);
    }
    words
}
