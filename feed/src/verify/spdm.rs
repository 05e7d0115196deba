//! What a device signs about itself: one exchange of SPDM's GET_MEASUREMENTS, request and response, as the driver of
//! a GPU and the action `SPDMGetSignedMeasurements` of a BMC give it.
//!
//! Layout after DMTF DSP0274 1.1, little-endian. Request, 37 bytes: version, code, two parameters, nonce of 32 bytes,
//! slot. Response: version, code, two parameters, number of blocks (one byte), length of the blocks (three), blocks,
//! the responder's nonce of 32 bytes, length of the opaque data (two), opaque data, signature. Version 1.2 signs
//! another message, with the negotiation before it: [`SpdmError::Version`] says so, and nothing is made of it.

/// Longest exchange in bytes. NVML's buffer has 8,192; those of components are of the same order.
pub const EXCHANGE_BYTES: usize = 64 * 1024;
/// Bytes of the request.
pub const REQUEST_BYTES: usize = 37;
/// Bytes of a signature with P-256.
pub const P256_SIGNATURE_BYTES: usize = 64;
/// Bytes of a signature with P-384, which NVIDIA's devices make.
pub const P384_SIGNATURE_BYTES: usize = 96;
/// Most fields of opaque data; a Hopper GPU has about 40.
pub const OPAQUE_FIELDS: usize = 128;

const VERSION_1_1: u8 = 0x11;
const GET_MEASUREMENTS: u8 = 0xe0;
const MEASUREMENTS: u8 = 0x60;
/// First parameter of the request, bit 0: the response shall be signed.
const SIGNED: u8 = 1;

/// Type of the field with the driver's version (NVIDIA attestation-sdk, `OpaqueDataType`; as are those that follow).
pub const OPAQUE_DRIVER_VERSION: u16 = 3;
/// Type of the field with the VBIOS version.
pub const OPAQUE_VBIOS_VERSION: u16 = 6;
/// Type of the field with the id of the firmware, which the leaf certificate has, too.
pub const OPAQUE_FIRMWARE_ID: u16 = 20;

/// Why bytes are no exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SpdmError {
    /// Longer than [`EXCHANGE_BYTES`].
    #[error("report has {0} bytes, at most {EXCHANGE_BYTES} are taken")]
    TooLong(usize),
    /// It ends within this part.
    #[error("report ends within its {0}")]
    Truncated(&'static str),
    /// Another version of SPDM, in its own byte (0x12: 1.2).
    #[error("report has SPDM version {0:#04x}, only 1.1 is taken")]
    Version(u8),
    /// It is no exchange of measurements, or not one with a signature.
    #[error("report is no signed exchange of measurements")]
    OtherMessage,
    /// Number, length and content of the blocks do not agree.
    #[error("blocks of the report do not fill their record")]
    Blocks,
    /// The opaque data is no list of NVIDIA's fields, or has too many.
    #[error("opaque data of the report is no list of fields")]
    Opaque,
    /// What remains is no signature.
    #[error("report ends with {0} bytes, which is no signature")]
    Signature(usize),
}

/// One measurement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Measurement<'a> {
    /// Its index, 1 to 239 of the device's own.
    pub index: u8,
    /// How it is written; 1: after DMTF.
    pub specification: u8,
    /// The rest of the block. After DMTF: type (one byte), length (two), value.
    pub content: &'a [u8],
}

/// An exchange, taken apart. Nothing is copied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exchange<'a> {
    /// The nonce of whoever asked.
    pub nonce: &'a [u8; 32],
    /// The certificate slot that was asked for.
    pub slot: u8,
    /// The blocks, at most 255.
    pub measurements: Vec<Measurement<'a>>,
    /// What the maker adds.
    pub opaque: &'a [u8],
    /// What is signed.
    pub signed: &'a [u8],
    /// `r` and `s`, big-endian, of equal length: [`P256_SIGNATURE_BYTES`] or [`P384_SIGNATURE_BYTES`].
    pub signature: &'a [u8],
}

struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn take(&mut self, count: usize, part: &'static str) -> Result<&'a [u8], SpdmError> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(SpdmError::Truncated(part))?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self, part: &'static str) -> Result<&'a [u8; N], SpdmError> {
        let (taken, rest) = self.0.split_first_chunk().ok_or(SpdmError::Truncated(part))?;
        self.0 = rest;
        Ok(taken)
    }

    /// Version, code, two parameters.
    fn header(&mut self, code: u8, part: &'static str) -> Result<[u8; 2], SpdmError> {
        let [version, found, first, second] = *self.array(part)?;
        match (version, found == code) {
            (VERSION_1_1, true) => Ok([first, second]),
            (VERSION_1_1, false) => Err(SpdmError::OtherMessage),
            (other, _) => Err(SpdmError::Version(other)),
        }
    }
}

impl<'a> Exchange<'a> {
    /// Reads an exchange.
    ///
    /// # Errors
    /// Why the bytes are none.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, SpdmError> {
        if bytes.len() > EXCHANGE_BYTES {
            return Err(SpdmError::TooLong(bytes.len()));
        }
        let mut rest = Bytes(bytes);
        let [attributes, _] = rest.header(GET_MEASUREMENTS, "request")?;
        if attributes & SIGNED == 0 {
            return Err(SpdmError::OtherMessage);
        }
        let nonce = rest.array("request")?;
        let [slot] = *rest.array("request")?;
        rest.header(MEASUREMENTS, "response")?;
        let [count] = *rest.array("response")?;
        let [low, middle, high] = *rest.array("response")?;
        let length = usize::from(low) | usize::from(middle) << 8 | usize::from(high) << 16;
        let measurements = blocks(rest.take(length, "measurements")?, count)?;
        rest.array::<32>("responder's nonce")?;
        let length = u16::from_le_bytes(*rest.array("opaque data")?);
        let opaque = rest.take(usize::from(length), "opaque data")?;
        let signature = rest.0;
        if ![P256_SIGNATURE_BYTES, P384_SIGNATURE_BYTES].contains(&signature.len()) {
            return Err(SpdmError::Signature(signature.len()));
        }
        let signed = bytes.get(..bytes.len() - signature.len()).unwrap_or_default();
        Ok(Self { nonce, slot, measurements, opaque, signed, signature })
    }

    /// The fields of NVIDIA's opaque data: type (two bytes), length (two), value.
    ///
    /// # Errors
    /// [`SpdmError::Opaque`] where it is written otherwise, as other makers' is.
    pub fn fields(&self) -> Result<Vec<(u16, &'a [u8])>, SpdmError> {
        let mut rest = Bytes(self.opaque);
        let mut fields = Vec::new();
        while !rest.0.is_empty() {
            let [kind_low, kind_high, low, high] = *rest.array("").map_err(|_| SpdmError::Opaque)?;
            let length = usize::from(u16::from_le_bytes([low, high]));
            let value = rest.take(length, "").map_err(|_| SpdmError::Opaque)?;
            if fields.len() == OPAQUE_FIELDS {
                return Err(SpdmError::Opaque);
            }
            fields.push((u16::from_le_bytes([kind_low, kind_high]), value));
        }
        Ok(fields)
    }
}

fn blocks(record: &[u8], count: u8) -> Result<Vec<Measurement<'_>>, SpdmError> {
    let mut rest = Bytes(record);
    let mut block = || {
        let [index, specification, low, high] = *rest.array("measurements")?;
        let content = rest.take(usize::from(u16::from_le_bytes([low, high])), "measurements")?;
        Ok(Measurement { index, specification, content })
    };
    let blocks: Result<Vec<_>, SpdmError> = (0..count).map(|_| block()).collect();
    match blocks {
        Ok(blocks) if rest.0.is_empty() => Ok(blocks),
        _ => Err(SpdmError::Blocks),
    }
}

/// The first field of a type.
pub fn field<'a>(fields: &[(u16, &'a [u8])], kind: u16) -> Option<&'a [u8]> {
    fields.iter().find(|(found, _)| *found == kind).map(|(_, value)| *value)
}

/// A text that ends with a zero byte, as the driver's version is; printable ASCII only.
pub fn text(value: &[u8]) -> Option<String> {
    let end = value.iter().position(|byte| *byte == 0).unwrap_or(value.len());
    let text = std::str::from_utf8(value.get(..end)?).ok()?;
    (!text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic())).then(|| text.to_owned())
}

/// The VBIOS version as NVML writes it (`96.00.5E.00.01`): a little-endian number of 8 bytes, the four bytes below 2³²
/// from the highest, then the byte above them.
pub fn vbios_version(value: &[u8]) -> Option<String> {
    let [d, c, b, a, e, 0, 0, 0] = *value.first_chunk::<8>().filter(|_| value.len() == 8)? else {
        return None;
    };
    Some(format!("{a:02X}.{b:02X}.{c:02X}.{d:02X}.{e:02X}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two blocks, two fields, a signature of zeros.
    fn report() -> Vec<u8> {
        let blocks = [&[1, 1, 3, 0, 0xaa, 0xbb, 0xcc][..], &[2, 1, 0, 0]].concat();
        let opaque = [&[3, 0, 4, 0][..], b"580\0", &[6, 0, 8, 0, 0, 0x5e, 0, 0x96, 1, 0, 0, 0]].concat();
        let length = u8::try_from(blocks.len()).expect("short");
        [
            &[0x11, 0xe0, 1, 0xff][..],
            &[7; 32],
            &[0],
            &[0x11, 0x60, 0, 0, 2, length, 0, 0],
            &blocks,
            &[8; 32],
            &u16::try_from(opaque.len()).expect("short").to_le_bytes(),
            &opaque,
            &[0; P384_SIGNATURE_BYTES],
        ]
        .concat()
    }

    #[test]
    fn every_part_is_found() {
        let bytes = report();
        let exchange = Exchange::parse(&bytes).expect("good");
        assert_eq!((exchange.nonce, exchange.slot), (&[7; 32], 0));
        assert_eq!(exchange.measurements.len(), 2);
        assert_eq!(exchange.measurements[0].content, [0xaa, 0xbb, 0xcc]);
        assert_eq!(exchange.signed.len() + exchange.signature.len(), bytes.len());
        let fields = exchange.fields().expect("fields");
        assert_eq!(field(&fields, OPAQUE_DRIVER_VERSION).and_then(text).as_deref(), Some("580"));
        assert_eq!(
            field(&fields, OPAQUE_VBIOS_VERSION).and_then(vbios_version).as_deref(),
            Some("96.00.5E.00.01")
        );
        assert_eq!(field(&fields, OPAQUE_FIRMWARE_ID), None);
    }

    #[test]
    fn attack_truncated_report() {
        let bytes = report();
        for end in 0..bytes.len() {
            // What remains of the signature of P-384 may be one of P-256; it is not taken for a key of P-384.
            if end != bytes.len() - (P384_SIGNATURE_BYTES - P256_SIGNATURE_BYTES) {
                assert!(Exchange::parse(&bytes[..end]).is_err(), "{end}");
            }
        }
        assert_eq!(Exchange::parse(&[&bytes[..], &[0]].concat()), Err(SpdmError::Signature(97)));
        assert!(matches!(Exchange::parse(&vec![0; EXCHANGE_BYTES + 1]), Err(SpdmError::TooLong(_))));
    }

    #[test]
    fn other_versions_and_messages_are_told_apart() {
        let changed = |at: usize, value: u8| {
            let mut bytes = report();
            bytes[at] = value;
            Exchange::parse(&bytes).expect_err("refused")
        };
        assert_eq!(changed(0, 0x12), SpdmError::Version(0x12));
        assert_eq!(changed(REQUEST_BYTES, 0x12), SpdmError::Version(0x12));
        assert_eq!(changed(1, 0xe1), SpdmError::OtherMessage);
        assert_eq!(changed(2, 0), SpdmError::OtherMessage);
        assert_eq!(changed(REQUEST_BYTES + 4, 3), SpdmError::Blocks);
        assert_eq!(changed(REQUEST_BYTES + 4, 1), SpdmError::Blocks);
    }

    #[test]
    fn opaque_data_of_others_is_no_list_of_fields() {
        let exchange = |opaque| Exchange {
            nonce: &[0; 32],
            slot: 0,
            measurements: Vec::new(),
            opaque,
            signed: &[],
            signature: &[],
        };
        assert_eq!(exchange(b"FMTD\x01\0\0\0").fields(), Err(SpdmError::Opaque));
        assert_eq!(exchange(&[0; 4 * (OPAQUE_FIELDS + 1)]).fields(), Err(SpdmError::Opaque));
        assert_eq!(exchange(&[]).fields(), Ok(Vec::new()));
    }

    #[test]
    fn versions_that_are_none_are_refused() {
        assert_eq!(vbios_version(&[1; 7]), None);
        assert_eq!(vbios_version(&[1; 8]), None);
        assert_eq!(text(b"\0"), None);
        assert_eq!(text(b"5\x1b[31m\0"), None);
    }
}
