//! Downlink frames: one body in one signed block of bytes.

use super::DownlinkBody;
use crate::error::{DecodeError, EncodeError};
use crate::keys::{PublicKey, Signature, SigningKey};
use crate::limits;

/// First byte of every downlink frame; another than the uplink's, so that neither passes for the other.
pub const DOWNLINK_MAGIC: u8 = 0xB8;
/// Version of the downlink frame's layout.
pub const DOWNLINK_VERSION: u8 = 1;
/// Prefix of the signed bytes: this, then the frame without its signature.
pub const DOWNLINK_DOMAIN: &[u8] = b"rackmark/feed/v1/downlink\0";
/// Names of the bodies by number, for errors.
const NAMES: [&str; 3] = ["watermark", "command", "epoch"];

/// Encodes and signs a downlink message.
///
/// # Errors
/// Whatever a node would refuse to parse: a limit, a name, streams out of order.
pub fn seal_downlink(body: &DownlinkBody, key: &SigningKey) -> Result<Vec<u8>, EncodeError> {
    body.check_to_seal()?;
    let body = postcard::to_allocvec(body).map_err(EncodeError::Serialize)?;
    let mut signed = DOWNLINK_DOMAIN.to_vec();
    signed.extend([DOWNLINK_MAGIC, DOWNLINK_VERSION]);
    let mut signed = postcard::to_extend(&body.len(), signed).map_err(EncodeError::Serialize)?;
    signed.extend_from_slice(&body);
    let bytes = signed.len() - DOWNLINK_DOMAIN.len() + Signature::BYTES;
    if bytes > limits::DOWNLINK_BYTES {
        return Err(EncodeError::TooLong { bytes, limit: limits::DOWNLINK_BYTES });
    }
    let signature = key.sign(&signed);
    signed.drain(..DOWNLINK_DOMAIN.len());
    signed.extend_from_slice(&signature.to_bytes());
    Ok(signed)
}

/// A downlink frame that parses. **Nothing in it is verified**: anybody can have written it.
#[derive(Debug, Clone)]
pub struct Downlink<'a> {
    bytes: &'a [u8],
    body: DownlinkBody,
    signature: Signature,
}

impl<'a> Downlink<'a> {
    /// Takes a frame apart, body and all. The input must be exactly one frame.
    ///
    /// # Errors
    /// Why the bytes are not a downlink frame of this version.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        let limit = limits::DOWNLINK_BYTES;
        if bytes.len() > limit {
            return Err(DecodeError::TooLong { bytes: bytes.len(), limit });
        }
        let (magic, rest) = bytes.split_first().ok_or(DecodeError::Truncated)?;
        if *magic != DOWNLINK_MAGIC {
            return Err(DecodeError::Magic { found: *magic });
        }
        let (version, rest) = rest.split_first().ok_or(DecodeError::Truncated)?;
        if *version != DOWNLINK_VERSION {
            return Err(DecodeError::FrameVersion { found: *version });
        }
        let (length, rest) = postcard::take_from_bytes::<u32>(rest).map_err(|_| DecodeError::Truncated)?;
        let length = length as usize;
        if length > limit {
            return Err(DecodeError::TooLong { bytes: length, limit });
        }
        let (body, rest) = rest.split_at_checked(length).ok_or(DecodeError::Truncated)?;
        let (signature, rest) = rest.split_first_chunk::<64>().ok_or(DecodeError::Truncated)?;
        if !rest.is_empty() {
            return Err(DecodeError::Trailing { part: "signature", count: rest.len() });
        }
        Ok(Self { bytes, body: parse_body(body)?, signature: Signature::from_bytes(signature) })
    }

    /// The whole frame.
    pub const fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The body, unverified. A node reads the consumer's name out of it to find the key to verify with.
    pub const fn body(&self) -> &DownlinkBody {
        &self.body
    }

    /// The signature.
    pub const fn signature(&self) -> &Signature {
        &self.signature
    }

    /// Checks the signature with the key that the node holds for the consumer named in the body.
    ///
    /// # Errors
    /// [`DecodeError::Signature`] when it does not fit.
    pub fn verify(self, sender: &PublicKey) -> Result<VerifiedDownlink, DecodeError> {
        let end = self.bytes.len() - Signature::BYTES;
        let signed = [DOWNLINK_DOMAIN, &self.bytes[..end]].concat();
        if sender.verifies(&signed, &self.signature) {
            Ok(VerifiedDownlink(self.body))
        } else {
            Err(DecodeError::Signature)
        }
    }
}

/// A downlink message whose signature fits the sender's key. Whether it is for this node, now, is said by
/// [`super::Watermark::check`] and [`super::Command::check`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedDownlink(DownlinkBody);

impl VerifiedDownlink {
    /// The body.
    pub const fn body(&self) -> &DownlinkBody {
        &self.0
    }

    /// The body, taken out.
    pub fn into_body(self) -> DownlinkBody {
        self.0
    }
}

fn parse_body(bytes: &[u8]) -> Result<DownlinkBody, DecodeError> {
    let (number, _) = postcard::take_from_bytes::<u32>(bytes)
        .map_err(|source| DecodeError::Body { body: "downlink", source })?;
    let body = *NAMES.get(number as usize).ok_or(DecodeError::UnknownBody { number })?;
    let (parsed, rest) = postcard::take_from_bytes::<DownlinkBody>(bytes)
        .map_err(|source| DecodeError::Body { body, source })?;
    if !rest.is_empty() {
        return Err(DecodeError::Trailing { part: "body", count: rest.len() });
    }
    parsed.check_parsed()?;
    Ok(parsed)
}
