//! Structures of a TPM, taken apart (TCG TPM 2.0 library, part 2): public areas, quotes, signatures. Big-endian,
//! length-prefixed, total: whatever is not understood to the last byte is refused.

use ring::digest;
use ring::signature as rs;

/// Hash algorithms (`TPM_ALG_ID`).
pub const ALG_SHA1: u16 = 0x0004;
/// SHA-256.
pub const ALG_SHA256: u16 = 0x000b;
/// SHA-384.
pub const ALG_SHA384: u16 = 0x000c;
/// SHA-512.
pub const ALG_SHA512: u16 = 0x000d;
/// SM3-256.
pub const ALG_SM3: u16 = 0x0012;
const ALG_RSA: u16 = 0x0001;
const ALG_AES: u16 = 0x0006;
const ALG_NULL: u16 = 0x0010;
const ALG_RSASSA: u16 = 0x0014;
const ALG_RSAPSS: u16 = 0x0016;
const ALG_ECDSA: u16 = 0x0018;
const ALG_ECC: u16 = 0x0023;
const ALG_CFB: u16 = 0x0043;
const CURVE_P256: u16 = 0x0003;
const CURVE_P384: u16 = 0x0004;
/// The public exponent that 0 stands for.
const RSA_DEFAULT_EXPONENT: u32 = 65537;

/// What a generated structure begins with: `TPM_GENERATED_VALUE`. A restricted key signs no other bytes that begin so.
const GENERATED: u32 = 0xff54_4347;
const ST_ATTEST_QUOTE: u16 = 0x8018;

/// Attributes of an object (`TPMA_OBJECT`).
pub mod attributes {
    /// It never leaves this TPM.
    pub const FIXED_TPM: u32 = 1 << 1;
    /// It never leaves its parent.
    pub const FIXED_PARENT: u32 = 1 << 4;
    /// The TPM made the private part.
    pub const SENSITIVE_DATA_ORIGIN: u32 = 1 << 5;
    /// Failed tries do not lock the TPM, and unclean resets are no failed tries.
    pub const NO_DA: u32 = 1 << 10;
    /// It signs, or opens, only what the TPM made.
    pub const RESTRICTED: u32 = 1 << 16;
    /// It decrypts.
    pub const DECRYPT: u32 = 1 << 17;
    /// It signs.
    pub const SIGN: u32 = 1 << 18;
}

/// Why bytes are not the structure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TpmError {
    /// The bytes end early.
    #[error("structure ends early")]
    Truncated,
    /// Bytes follow.
    #[error("bytes follow the structure")]
    Trailing,
    /// An algorithm, curve or size that is not taken.
    #[error("{what} {value:#06x} is not taken")]
    Refused {
        /// Of what sort.
        what: &'static str,
        /// Its number.
        value: u32,
    },
    /// It does not begin as what a TPM makes.
    #[error("structure was not made by a TPM")]
    NotGenerated,
}

/// A cursor over big-endian bytes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(super) fn take(&mut self, count: usize) -> Result<&'a [u8], TpmError> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(TpmError::Truncated)?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], TpmError> {
        let (taken, rest) = self.0.split_first_chunk().ok_or(TpmError::Truncated)?;
        self.0 = rest;
        Ok(*taken)
    }

    pub(super) fn u8(&mut self) -> Result<u8, TpmError> {
        self.array::<1>().map(|[byte]| byte)
    }

    pub(super) fn u16(&mut self) -> Result<u16, TpmError> {
        self.array().map(u16::from_be_bytes)
    }

    pub(super) fn u32(&mut self) -> Result<u32, TpmError> {
        self.array().map(u32::from_be_bytes)
    }

    pub(super) fn u64(&mut self) -> Result<u64, TpmError> {
        self.array().map(u64::from_be_bytes)
    }

    /// Bytes with a length of two bytes in front (`TPM2B_…`).
    pub(super) fn sized(&mut self) -> Result<&'a [u8], TpmError> {
        let length = self.u16()?;
        self.take(usize::from(length))
    }

    pub(super) fn end(self) -> Result<(), TpmError> {
        if self.0.is_empty() { Ok(()) } else { Err(TpmError::Trailing) }
    }
}

/// The curve of an elliptic key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Curve {
    /// NIST P-256.
    P256,
    /// NIST P-384.
    P384,
}

impl Curve {
    /// Bytes of a coordinate.
    pub const fn bytes(self) -> usize {
        match self {
            Self::P256 => 32,
            Self::P384 => 48,
        }
    }
}

/// The key itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Key<'a> {
    /// RSA, 2048 to 4096 bits.
    Rsa {
        /// Public exponent.
        exponent: u32,
        /// Modulus, big-endian.
        modulus: &'a [u8],
    },
    /// Elliptic curve.
    Ecc {
        /// The curve.
        curve: Curve,
        /// Uncompressed point: 4, x, y at full length.
        point: Vec<u8>,
    },
}

/// The public area of a key (`TPMT_PUBLIC`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Public<'a> {
    bytes: &'a [u8],
    /// Hash of the key's name.
    pub name_alg: u16,
    /// `TPMA_OBJECT`.
    pub attributes: u32,
    /// Digest of the policy that may use it; empty for none.
    pub auth_policy: &'a [u8],
    /// Bits of the AES-CFB key that protects what is under it; none for a key that signs.
    pub symmetric_bits: Option<u16>,
    /// The only signature scheme and hash that it signs with; none where any goes.
    pub scheme: Option<(u16, u16)>,
    /// The key.
    pub key: Key<'a>,
}

impl<'a> Public<'a> {
    /// Reads a public area.
    ///
    /// # Errors
    /// Why the bytes are none that is taken.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, TpmError> {
        let mut r = Reader::new(bytes);
        let kind = r.u16()?;
        if kind != ALG_RSA && kind != ALG_ECC {
            return Err(TpmError::Refused { what: "key type", value: kind.into() });
        }
        let name_alg = r.u16()?;
        hash_of(name_alg)?;
        let attributes = r.u32()?;
        let auth_policy = r.sized()?;
        let symmetric_bits = match r.u16()? {
            ALG_NULL => None,
            ALG_AES => {
                let bits = r.u16()?;
                let mode = r.u16()?;
                if mode != ALG_CFB || ![128, 192, 256].contains(&bits) {
                    return Err(TpmError::Refused { what: "symmetric mode", value: mode.into() });
                }
                Some(bits)
            }
            other => return Err(TpmError::Refused { what: "symmetric algorithm", value: other.into() }),
        };
        let scheme = match r.u16()? {
            ALG_NULL => None,
            scheme @ (ALG_RSASSA | ALG_RSAPSS | ALG_ECDSA) => Some((scheme, r.u16()?)),
            other => return Err(TpmError::Refused { what: "scheme", value: other.into() }),
        };
        let key = if kind == ALG_RSA { rsa(&mut r)? } else { ecc(&mut r)? };
        r.end()?;
        Ok(Self { bytes, name_alg, attributes, auth_policy, symmetric_bits, scheme, key })
    }

    /// The key's name (`TPMT_HA`): algorithm, then the hash over the public area. Nobody can choose it.
    pub fn name(&self) -> Vec<u8> {
        let mut name = self.name_alg.to_be_bytes().to_vec();
        // The algorithm was checked when the area was read.
        if let Ok(algorithm) = hash_of(self.name_alg) {
            name.extend_from_slice(digest::digest(algorithm, self.bytes).as_ref());
        }
        name
    }

    /// True when all of these attributes are set.
    pub const fn has(&self, attributes: u32) -> bool {
        self.attributes & attributes == attributes
    }
}

fn rsa<'a>(r: &mut Reader<'a>) -> Result<Key<'a>, TpmError> {
    let bits = r.u16()?;
    let exponent = match r.u32()? {
        0 => RSA_DEFAULT_EXPONENT,
        other => other,
    };
    let modulus = r.sized()?;
    if ![2048, 3072, 4096].contains(&bits) || modulus.len() != usize::from(bits / 8) || modulus[0] < 0x80 {
        return Err(TpmError::Refused { what: "RSA key of bits", value: bits.into() });
    }
    if exponent != RSA_DEFAULT_EXPONENT {
        return Err(TpmError::Refused { what: "RSA exponent", value: exponent });
    }
    Ok(Key::Rsa { exponent, modulus })
}

fn ecc<'a>(r: &mut Reader<'a>) -> Result<Key<'a>, TpmError> {
    let curve = match r.u16()? {
        CURVE_P256 => Curve::P256,
        CURVE_P384 => Curve::P384,
        other => return Err(TpmError::Refused { what: "curve", value: other.into() }),
    };
    let kdf = r.u16()?;
    if kdf != ALG_NULL {
        return Err(TpmError::Refused { what: "key derivation", value: kdf.into() });
    }
    let mut point = vec![4];
    for _ in 0..2 {
        pad(&mut point, r.sized()?, curve.bytes())?;
    }
    Ok(Key::Ecc { curve, point })
}

/// A number at full length: TPMs may leave leading zeros out.
fn pad(out: &mut Vec<u8>, number: &[u8], length: usize) -> Result<(), TpmError> {
    let missing = length
        .checked_sub(number.len())
        .ok_or(TpmError::Refused { what: "number of bytes", value: u32::MAX })?;
    out.resize(out.len() + missing, 0);
    out.extend_from_slice(number);
    Ok(())
}

/// The hash with this number.
pub(super) fn hash_of(algorithm: u16) -> Result<&'static digest::Algorithm, TpmError> {
    match algorithm {
        ALG_SHA256 => Ok(&digest::SHA256),
        ALG_SHA384 => Ok(&digest::SHA384),
        ALG_SHA512 => Ok(&digest::SHA512),
        other => Err(TpmError::Refused { what: "hash", value: other.into() }),
    }
}

/// A signature (`TPMT_SIGNATURE`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signature<'a> {
    scheme: u16,
    hash: u16,
    /// For RSA the number; for ECDSA r and s, each with its length in front.
    value: SignatureValue<'a>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum SignatureValue<'a> {
    Rsa(&'a [u8]),
    Ecdsa(&'a [u8], &'a [u8]),
}

impl<'a> Signature<'a> {
    /// Reads a signature.
    ///
    /// # Errors
    /// Why the bytes are none that is taken.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, TpmError> {
        let mut r = Reader::new(bytes);
        let scheme = r.u16()?;
        if ![ALG_RSASSA, ALG_RSAPSS, ALG_ECDSA].contains(&scheme) {
            return Err(TpmError::Refused { what: "signature scheme", value: scheme.into() });
        }
        let hash = r.u16()?;
        let value = match scheme {
            ALG_ECDSA => SignatureValue::Ecdsa(r.sized()?, r.sized()?),
            _ => SignatureValue::Rsa(r.sized()?),
        };
        r.end()?;
        Ok(Self { scheme, hash, value })
    }

    /// True when `key` made it over `message` with the scheme that the key is for.
    ///
    /// # Errors
    /// [`TpmError::Refused`]: the algorithms are not taken, or not those of the key.
    pub fn verify(&self, key: &Public<'_>, message: &[u8]) -> Result<bool, TpmError> {
        if key.scheme.is_some_and(|scheme| scheme != (self.scheme, self.hash)) {
            return Err(TpmError::Refused {
                what: "scheme beside that of the key",
                value: self.scheme.into(),
            });
        }
        let refused = TpmError::Refused { what: "hash of a signature", value: self.hash.into() };
        match (&key.key, &self.value) {
            (Key::Rsa { exponent, modulus }, SignatureValue::Rsa(signature)) => {
                let algorithm: &rs::RsaParameters = match (self.scheme, self.hash) {
                    (ALG_RSASSA, ALG_SHA256) => &rs::RSA_PKCS1_2048_8192_SHA256,
                    (ALG_RSASSA, ALG_SHA384) => &rs::RSA_PKCS1_2048_8192_SHA384,
                    (ALG_RSAPSS, ALG_SHA256) => &rs::RSA_PSS_2048_8192_SHA256,
                    (ALG_RSAPSS, ALG_SHA384) => &rs::RSA_PSS_2048_8192_SHA384,
                    _ => return Err(refused),
                };
                let exponent = exponent.to_be_bytes();
                let key = rs::RsaPublicKeyComponents { n: *modulus, e: &exponent[1..] };
                Ok(key.verify(algorithm, message, signature).is_ok())
            }
            (Key::Ecc { curve, point }, SignatureValue::Ecdsa(r, s)) => {
                let algorithm: &dyn rs::VerificationAlgorithm = match (curve, self.hash) {
                    (Curve::P256, ALG_SHA256) => &rs::ECDSA_P256_SHA256_FIXED,
                    (Curve::P384, ALG_SHA384) => &rs::ECDSA_P384_SHA384_FIXED,
                    _ => return Err(refused),
                };
                let mut signature = Vec::with_capacity(2 * curve.bytes());
                pad(&mut signature, r, curve.bytes())?;
                pad(&mut signature, s, curve.bytes())?;
                let key = rs::UnparsedPublicKey::new(algorithm, point);
                Ok(key.verify(message, &signature).is_ok())
            }
            _ => Err(TpmError::Refused { what: "scheme for another sort of key", value: self.scheme.into() }),
        }
    }
}

/// The TPM's clock, as signed (`TPMS_CLOCK_INFO`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClockInfo {
    /// Milliseconds of power since the TPM was cleared.
    pub clock_ms: u64,
    /// Resets.
    pub reset_count: u32,
    /// Restarts since the last reset.
    pub restart_count: u32,
    /// False for some seconds after an unclean reset: the clock may have stepped back.
    pub safe: bool,
}

/// Registers of one bank.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Selection {
    /// `TPM_ALG_ID` of the bank.
    pub bank: u16,
    /// Bit n: register n.
    pub mask: u32,
}

/// A quote (`TPMS_ATTEST` of that type).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attest<'a> {
    /// Name of the key that signs, qualified by its hierarchy.
    pub qualified_signer: &'a [u8],
    /// What the caller had it sign.
    pub extra_data: &'a [u8],
    /// The clock.
    pub clock: ClockInfo,
    /// Version of the TPM's firmware, as its maker counts.
    pub firmware_version: u64,
    /// The registers.
    pub selections: Vec<Selection>,
    /// Hash over their values.
    pub pcr_digest: &'a [u8],
}

/// Most banks in a quote (`HASH_COUNT` of any known TPM is below).
const BANKS: u32 = 16;
/// Registers of a PC client TPM, in bytes of a selection: 24 bits.
const SELECT_BYTES: u8 = 4;

impl<'a> Attest<'a> {
    /// Reads a quote.
    ///
    /// # Errors
    /// Why the bytes are none.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, TpmError> {
        let mut r = Reader::new(bytes);
        if r.u32()? != GENERATED {
            return Err(TpmError::NotGenerated);
        }
        let kind = r.u16()?;
        if kind != ST_ATTEST_QUOTE {
            return Err(TpmError::Refused { what: "attestation of type", value: kind.into() });
        }
        let qualified_signer = r.sized()?;
        let extra_data = r.sized()?;
        let clock_ms = r.u64()?;
        let reset_count = r.u32()?;
        let restart_count = r.u32()?;
        let safe = match r.u8()? {
            0 => false,
            1 => true,
            other => return Err(TpmError::Refused { what: "flag", value: other.into() }),
        };
        let firmware_version = r.u64()?;
        let count = r.u32()?;
        if count > BANKS {
            return Err(TpmError::Refused { what: "number of banks", value: count });
        }
        let mut selections = Vec::with_capacity(count as usize);
        for _ in 0..count {
            let bank = r.u16()?;
            let length = r.u8()?;
            if length > SELECT_BYTES {
                return Err(TpmError::Refused { what: "selection of bytes", value: length.into() });
            }
            let mut mask = 0;
            for (at, byte) in r.take(usize::from(length))?.iter().enumerate() {
                mask |= u32::from(*byte) << (8 * at);
            }
            selections.push(Selection { bank, mask });
        }
        let pcr_digest = r.sized()?;
        r.end()?;
        let clock = ClockInfo { clock_ms, reset_count, restart_count, safe };
        Ok(Self { qualified_signer, extra_data, clock, firmware_version, selections, pcr_digest })
    }
}
