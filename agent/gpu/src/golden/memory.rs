//! Words of memory: closed forms.

/// A bijection of 64-bit words in which every input bit reaches every output bit (the finaliser of SplitMix64:
/// Steele, Lea, Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014).
#[must_use]
pub fn mix64(word: u64) -> u64 {
    let word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

/// Word `index` of the memory pattern.
#[must_use]
pub fn pattern_word(index: u64, seed: u64, inverted: bool) -> u64 {
    let word = mix64(index ^ seed);
    if inverted { !word } else { word }
}
