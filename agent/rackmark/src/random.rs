//! Chance, for what many nodes must not do at the same moment.

use ring::rand::{SecureRandom, SystemRandom};

/// A number drawn evenly from 0 to 1; 1 where there is no randomness, which is the whole interval and so the safe choice.
pub fn share() -> f64 {
    let mut bytes = [0_u8; 4];
    match SystemRandom::new().fill(&mut bytes) {
        Ok(()) => f64::from(u32::from_le_bytes(bytes)) / f64::from(u32::MAX),
        Err(_) => 1.0,
    }
}
