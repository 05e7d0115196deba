//! Frames: header and body in one signed block of bytes.

use serde::{Deserialize, Serialize};

use crate::body::Body;
use crate::error::{DecodeError, EncodeError};
use crate::ids::{NodeId, SessionId, SpoolEpoch, Stream};
use crate::keys::{PublicKey, Signature, SigningKey};
use crate::limits;
use crate::schema::{self, SchemaId};

/// First byte of every frame. Not the start of JSON, of UTF-8 text, of gzip, zstd or protobuf.
pub const MAGIC: u8 = 0xB7;
/// Version of the frame layout and of the header.
pub const FRAME_VERSION: u8 = 1;
/// Prefix of the signed bytes: this, then the frame without its signature.
pub const FRAME_DOMAIN: &[u8] = b"rackmark/feed/v1/frame\0";
/// Magic, version, schema id.
const FIXED: usize = 10;
/// Longest header in bytes: 33 node id, 16 session, 10 epoch, 3 stream, 11 sequence number, 10 time.
const HEADER_BYTES: usize = 83;
/// Room for a body (its number included) in a frame with the longest header.
pub const BODY_BYTES: usize = limits::FRAME_BYTES - FIXED - 3 - HEADER_BYTES - Signature::BYTES;

/// What every message says about itself. Its layout belongs to the frame version, so that a reader can
/// route and dedupe a body whose schema it does not know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// The node.
    pub node: NodeId,
    /// The session whose key signs the frame.
    pub session: SessionId,
    /// The spool that stream sequence numbers count in.
    pub epoch: SpoolEpoch,
    /// The stream or level.
    pub stream: Stream,
    /// Sequence number: in a stream it counts within the spool epoch, in a level within the session.
    /// `None` for the will, which is made before it is known when it will be sent, and for replies.
    pub seq: Option<u64>,
    /// When the message was made, milliseconds since 1970.
    pub time_unix_ms: u64,
}

/// A header and a body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// The header.
    pub header: Header,
    /// The body.
    pub body: Body,
}

/// Encodes and signs a message.
///
/// # Errors
/// Whatever a reader would refuse: a limit, a name, a stream that does not carry the body, a sequence number
/// that is missing or out of place, a field for a stricter audience, a key that is not the session's.
pub fn seal(message: &Message, key: &SigningKey) -> Result<Vec<u8>, EncodeError> {
    let Message { header, body } = message;
    if SessionId::of(&key.public()) != header.session {
        return Err(EncodeError::WrongKey);
    }
    body.check()?;
    if header.stream != body.stream() {
        return Err(EncodeError::StreamMismatch { stream: header.stream, body: body.name() });
    }
    if !body.numbering().fits(header.seq.is_some()) {
        return Err(EncodeError::Sequence { body: body.name() });
    }
    let payload = postcard::to_allocvec(header).map_err(EncodeError::Serialize)?;
    let payload = postcard::to_extend(body, payload).map_err(EncodeError::Serialize)?;

    let mut signed = Vec::with_capacity(FRAME_DOMAIN.len() + FIXED + 3 + payload.len() + Signature::BYTES);
    signed.extend_from_slice(FRAME_DOMAIN);
    signed.push(MAGIC);
    signed.push(FRAME_VERSION);
    signed.extend_from_slice(&schema::of(body).id.0);
    let signed = postcard::to_extend(&payload.len(), signed).map_err(EncodeError::Serialize)?;
    let mut signed = signed;
    signed.extend_from_slice(&payload);

    let bytes = signed.len() - FRAME_DOMAIN.len() + Signature::BYTES;
    if bytes > limits::FRAME_BYTES {
        return Err(EncodeError::TooLong { bytes, limit: limits::FRAME_BYTES });
    }
    let signature = key.sign(&signed);
    signed.drain(..FRAME_DOMAIN.len());
    signed.extend_from_slice(&signature.to_bytes());
    Ok(signed)
}

/// A frame that parses. **Nothing in it is verified**: anybody can have written it.
#[derive(Debug, Clone)]
pub struct Frame<'a> {
    bytes: &'a [u8],
    schema: SchemaId,
    header: Header,
    body: &'a [u8],
    signature: Signature,
}

impl<'a> Frame<'a> {
    /// Takes a frame apart. The input must be exactly one frame. The body is not looked at.
    ///
    /// # Errors
    /// Why the bytes are not a frame.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        if bytes.len() > limits::FRAME_BYTES {
            return Err(DecodeError::TooLong { bytes: bytes.len(), limit: limits::FRAME_BYTES });
        }
        match *bytes.first().ok_or(DecodeError::Truncated)? {
            MAGIC => {}
            found => return Err(DecodeError::Magic { found }),
        }
        match *bytes.get(1).ok_or(DecodeError::Truncated)? {
            FRAME_VERSION => {}
            found => return Err(DecodeError::FrameVersion { found }),
        }
        let (fixed, rest) = bytes.split_at_checked(FIXED).ok_or(DecodeError::Truncated)?;
        let mut schema = [0; 8];
        schema.copy_from_slice(&fixed[2..]);
        let (length, rest) = postcard::take_from_bytes::<u32>(rest).map_err(|_| DecodeError::Truncated)?;
        let length = length as usize;
        if length > limits::FRAME_BYTES {
            return Err(DecodeError::TooLong { bytes: length, limit: limits::FRAME_BYTES });
        }
        let (payload, rest) = rest.split_at_checked(length).ok_or(DecodeError::Truncated)?;
        let (signature, rest) = rest.split_first_chunk::<64>().ok_or(DecodeError::Truncated)?;
        if !rest.is_empty() {
            return Err(DecodeError::Trailing { part: "signature", count: rest.len() });
        }
        let (header, body) = postcard::take_from_bytes(payload).map_err(DecodeError::Header)?;
        Ok(Self {
            bytes,
            schema: SchemaId(schema),
            header,
            body,
            signature: Signature::from_bytes(signature),
        })
    }

    /// The whole frame.
    pub const fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The schema id.
    pub const fn schema(&self) -> SchemaId {
        self.schema
    }

    /// The header, unverified.
    pub const fn header(&self) -> &Header {
        &self.header
    }

    /// The signature.
    pub const fn signature(&self) -> &Signature {
        &self.signature
    }

    /// The body, unverified. For tools that look at frames, and for session records, which carry the key
    /// that their own frame is verified with.
    ///
    /// # Errors
    /// An unknown schema, or a body that does not fit its schema, the stream or the end of the frame.
    pub fn body(&self) -> Result<Body, DecodeError> {
        let schema = schema::by_id(self.schema).ok_or(DecodeError::UnknownSchema(self.schema))?;
        let body = schema.name;
        let (number, _) = postcard::take_from_bytes::<u32>(self.body)
            .map_err(|source| DecodeError::Body { body, source })?;
        if number != schema.body {
            return Err(DecodeError::BodyMismatch { schema: body });
        }
        let (parsed, rest) = postcard::take_from_bytes::<Body>(self.body)
            .map_err(|source| DecodeError::Body { body, source })?;
        if !rest.is_empty() {
            return Err(DecodeError::Trailing { part: "body", count: rest.len() });
        }
        if parsed.stream() != self.header.stream {
            return Err(DecodeError::StreamMismatch { stream: self.header.stream, body });
        }
        if !parsed.numbering().fits(self.header.seq.is_some()) {
            return Err(DecodeError::Sequence { body });
        }
        Ok(parsed)
    }

    /// Checks the signature with the session key, and that the key belongs to the session in the header.
    ///
    /// # Errors
    /// [`DecodeError::Signature`] when either does not fit.
    pub fn verify(self, session_key: &PublicKey) -> Result<Verified<'a>, DecodeError> {
        let end = self.bytes.len() - Signature::BYTES;
        let mut signed = Vec::with_capacity(FRAME_DOMAIN.len() + end);
        signed.extend_from_slice(FRAME_DOMAIN);
        signed.extend_from_slice(&self.bytes[..end]);
        if SessionId::of(session_key) == self.header.session && session_key.verifies(&signed, &self.signature)
        {
            Ok(Verified(self))
        } else {
            Err(DecodeError::Signature)
        }
    }
}

/// A frame whose signature fits a session key. Whether that key belongs to the node is said by the
/// session record ([`crate::SessionRecord::verify`]).
#[derive(Debug, Clone)]
pub struct Verified<'a>(Frame<'a>);

impl<'a> Verified<'a> {
    /// The frame.
    pub const fn frame(&self) -> &Frame<'a> {
        &self.0
    }

    /// The header.
    pub const fn header(&self) -> &Header {
        &self.0.header
    }

    /// Header and body.
    ///
    /// # Errors
    /// As [`Frame::body`].
    pub fn message(&self) -> Result<Message, DecodeError> {
        Ok(Message { header: self.0.header.clone(), body: self.0.body()? })
    }
}
