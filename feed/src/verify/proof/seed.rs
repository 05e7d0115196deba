//! Seeds: one for each GPU, round and purpose, out of what no prover chooses.

use ring::digest::{Context, SHA256};

use super::Digest;

/// SHA-256 over a domain and fields, each with its length before it (64 bits, little endian): no two lists of fields
/// are the same bytes.
pub fn tagged(domain: &str, fields: &[&[u8]]) -> Digest {
    let mut context = Context::new(&SHA256);
    for field in std::iter::once(&domain.as_bytes()).chain(fields) {
        context.update(&(field.len() as u64).to_le_bytes());
        context.update(field);
    }
    let mut digest = [0; 32];
    digest.copy_from_slice(context.finish().as_ref());
    digest
}

/// Seed of a compute round: of the challenge for the first, of the root before for the others, so rounds have an order.
pub fn round(challenge: &Digest, round: u32, root_before: Option<&Digest>) -> Digest {
    let before: &[u8] = root_before.map_or(&[], |root| root);
    tagged("rackmark/proof/round/1", &[challenge, &round.to_le_bytes(), before])
}

/// Key of the memory's fill.
pub fn fill(challenge: &Digest) -> Digest {
    tagged("rackmark/proof/fill/1", &[challenge])
}

/// Key of the reads, from a nonce that the verifier keeps until the memory is full.
pub fn probe(challenge: &Digest, nonce: &Digest) -> Digest {
    tagged("rackmark/proof/probe/1", &[challenge, nonce])
}
