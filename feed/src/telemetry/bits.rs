//! Bits, first bit highest, and the self-delimiting numbers in them.

/// Quotients of the Rice code up to this are unary; larger values are written whole.
pub(super) const ESCAPE: u64 = 20;

pub(super) const fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)).cast_unsigned()
}

pub(super) const fn unzigzag(value: u64) -> i64 {
    (value >> 1).cast_signed() ^ -((value & 1).cast_signed())
}

/// Bits that [`Writer::natural`] takes.
pub(super) fn natural_bits(value: u64) -> u64 {
    let length = natural_length(value);
    u64::from(2 * (32 - length.leading_zeros()) - 1 + length - 1)
}

/// Bit length of value + 1, which may need 65 bits.
fn natural_length(value: u64) -> u32 {
    value.checked_add(1).map_or(65, |m| 64 - m.leading_zeros())
}

/// Appends bits.
#[derive(Debug, Default)]
pub(super) struct Writer {
    bytes: Vec<u8>,
    /// Bits not yet in `bytes`, right aligned.
    pending: u64,
    /// How many; always below 8 between calls.
    count: u32,
}

impl Writer {
    pub(super) fn with_capacity(bytes: usize) -> Self {
        Self { bytes: Vec::with_capacity(bytes), pending: 0, count: 0 }
    }

    /// Appends the low `bits` (0 to 64) of `value`.
    pub(super) fn put(&mut self, value: u64, bits: u32) {
        if bits > 32 {
            self.put_short(value >> 32, bits - 32);
            self.put_short(value, 32);
        } else {
            self.put_short(value, bits);
        }
    }

    fn put_short(&mut self, value: u64, bits: u32) {
        self.pending = self.pending << bits | (value & ((1 << bits) - 1));
        self.count += bits;
        while self.count >= 8 {
            self.count -= 8;
            self.bytes.push((self.pending >> self.count) as u8);
        }
        self.pending &= (1 << self.count) - 1;
    }

    pub(super) fn bit(&mut self, bit: bool) {
        self.put_short(u64::from(bit), 1);
    }

    /// Appends a number from 0 up in the Elias delta code of number + 1.
    pub(super) fn natural(&mut self, value: u64) {
        let length = natural_length(value);
        let digits = 32 - length.leading_zeros();
        self.put(0, digits - 1);
        self.put(u64::from(length), digits);
        self.put(value.wrapping_add(1), length - 1);
    }

    /// Appends any number: zigzag, then [`Self::natural`].
    pub(super) fn number(&mut self, value: i64) {
        self.natural(zigzag(value));
    }

    /// Appends a value in the Rice code with parameter `k` (0 to 63).
    pub(super) fn rice(&mut self, value: u64, k: u32) {
        let quotient = value >> k;
        if quotient < ESCAPE {
            self.put((1 << (quotient + 1)) - 2, quotient as u32 + 1);
            self.put(value, k);
        } else {
            self.put((1 << ESCAPE) - 1, ESCAPE as u32);
            self.put(value, 64);
        }
    }

    /// The bytes; the last one is filled up with zero bits.
    pub(super) fn finish(mut self) -> Vec<u8> {
        if self.count > 0 {
            let fill = 8 - self.count;
            self.put_short(0, fill);
        }
        self.bytes
    }
}

/// Takes bits. Every method gives `None` at the end of the bytes.
#[derive(Debug)]
pub(super) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// Takes 0 to 64 bits.
    pub(super) fn take(&mut self, bits: u32) -> Option<u64> {
        if self.at + bits as usize > self.bytes.len() * 8 {
            return None;
        }
        let mut value: u64 = 0;
        let mut left = bits;
        while left > 0 {
            let free = 8 - (self.at % 8) as u32;
            let step = free.min(left);
            let byte = self.bytes[self.at / 8] >> (free - step);
            value = value << step | u64::from(byte) & ((1 << step) - 1);
            self.at += step as usize;
            left -= step;
        }
        Some(value)
    }

    pub(super) fn bit(&mut self) -> Option<bool> {
        self.take(1).map(|bit| bit == 1)
    }

    pub(super) fn natural(&mut self) -> Option<u64> {
        let mut digits = 1;
        while !self.bit()? {
            digits += 1;
            if digits > 7 {
                return None;
            }
        }
        let length = 1 << (digits - 1) | self.take(digits - 1)?;
        match length {
            65 => (self.take(64)? == 0).then_some(u64::MAX),
            1..=64 => {
                let low = self.take(length as u32 - 1)?;
                Some((1 << (length - 1) | low) - 1)
            }
            _ => None,
        }
    }

    pub(super) fn number(&mut self) -> Option<i64> {
        self.natural().map(unzigzag)
    }

    pub(super) fn rice(&mut self, k: u32) -> Option<u64> {
        let mut quotient = 0;
        while self.bit()? {
            quotient += 1;
            if quotient == ESCAPE {
                return self.take(64);
            }
        }
        // A quotient that runs over the top cannot come from an encoder.
        (quotient <= u64::MAX >> k).then_some(())?;
        Some(quotient << k | self.take(k)?)
    }

    /// True at the end: fewer than 8 bits left, all zero.
    pub(super) fn is_finished(&mut self) -> bool {
        let left = self.bytes.len() * 8 - self.at;
        left < 8 && self.take(left as u32) == Some(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn naturals_of_every_length_take_the_bits_that_are_counted() {
        let mut values = vec![0, u64::MAX, u64::MAX - 1];
        values.extend((0..64).flat_map(|n| [1 << n, (1 << n) - 1, (1 << n) + 1]));
        for value in values {
            let mut writer = Writer::default();
            writer.natural(value);
            let bits = writer.bytes.len() as u64 * 8 + u64::from(writer.count);
            assert_eq!(bits, natural_bits(value), "{value}");
            let bytes = writer.finish();
            let mut reader = Reader::new(&bytes);
            assert_eq!(reader.natural(), Some(value));
            assert!(reader.is_finished());
        }
    }

    proptest! {
        #[test]
        fn anything_written_reads_back(items in prop::collection::vec((any::<u64>(), 0u32..64, 0u8..4), 0..200)) {
            let mut writer = Writer::default();
            for &(value, width, kind) in &items {
                match kind {
                    0 => writer.put(value, width),
                    1 => writer.natural(value >> width),
                    2 => writer.number((value >> width).cast_signed()),
                    _ => writer.rice(value, width),
                }
            }
            let bytes = writer.finish();
            let mut reader = Reader::new(&bytes);
            for &(value, width, kind) in &items {
                match kind {
                    0 => prop_assert_eq!(reader.take(width), Some(value & ((1 << width) - 1))),
                    1 => prop_assert_eq!(reader.natural(), Some(value >> width)),
                    2 => prop_assert_eq!(reader.number(), Some((value >> width).cast_signed())),
                    _ => prop_assert_eq!(reader.rice(width), Some(value)),
                }
            }
            prop_assert!(reader.is_finished());
        }
    }
}
