//! Errors of encoding and decoding.

use crate::ids::Stream;
use crate::schema::SchemaId;

/// A count or length above its limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{what}: {found} is above the limit of {limit}")]
pub struct LimitError {
    /// What was counted.
    pub what: &'static str,
    /// How many there are.
    pub found: usize,
    /// How many are allowed.
    pub limit: usize,
}

/// Why a message cannot be sealed into a frame.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EncodeError {
    /// A count or length is above its limit.
    #[error("message is over a limit of the format")]
    Limit(#[from] LimitError),
    /// The frame would be longer than [`crate::limits::FRAME_BYTES`] (downlink:
    /// [`crate::limits::DOWNLINK_BYTES`]).
    #[error("frame of {bytes} bytes is longer than the limit of {limit}")]
    TooLong {
        /// Length the frame would have.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// The header names a stream that does not carry this kind of body.
    #[error("stream {stream} does not carry a {body} body")]
    StreamMismatch {
        /// Stream of the header.
        stream: Stream,
        /// Kind of the body.
        body: &'static str,
    },
    /// A field may not be shown to the audience of the message.
    #[error("field {field} may not go to a message for {audience}")]
    Audience {
        /// Field id.
        field: u16,
        /// Audience of the message.
        audience: crate::fields::Audience,
    },
    /// The content of an extension is one that a reader would refuse.
    #[error("an extension is not as its tag says")]
    Extension(#[from] ExtensionError),
    /// An extension says more than the audience of the message may see.
    #[error("extension {tag} says more than a message for {audience} may")]
    ExtensionAudience {
        /// Tag of the extension.
        tag: u16,
        /// Audience of the message.
        audience: crate::fields::Audience,
    },
    /// A list of fields names an id twice.
    #[error("field {field} stands twice in a list")]
    FieldTwice {
        /// Field id.
        field: u16,
    },
    /// A site, node or consumer name breaks the naming rule.
    #[error("name {name:?} breaks the naming rule (1 to 64 of a-z 0-9 - _ .)")]
    Name {
        /// The name.
        name: String,
    },
    /// The key does not belong to the session id in the header.
    #[error("signing key does not belong to the session named in the header")]
    WrongKey,
    /// Only a status that says offline may go without a sequence number; a reply must.
    #[error("sequence number of a {body} body is missing or out of place")]
    Sequence {
        /// Kind of the body.
        body: &'static str,
    },
    /// The streams of a watermark do not rise.
    #[error("streams of a watermark do not rise by code")]
    StreamOrder,
    /// The serializer failed.
    #[error("message cannot be serialized")]
    Serialize(#[source] postcard::Error),
}

/// Why bytes are refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// Fewer bytes than the frame says, or than the shortest frame has.
    #[error("frame ends early")]
    Truncated,
    /// Longer than [`crate::limits::FRAME_BYTES`] (downlink: [`crate::limits::DOWNLINK_BYTES`]).
    #[error("frame of {bytes} bytes is longer than the limit of {limit}")]
    TooLong {
        /// Length of the input, or the length that the frame states.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// The first byte is not the magic byte: not a rackmark frame.
    #[error("first byte is {found:#04x}, not the magic byte")]
    Magic {
        /// The byte found.
        found: u8,
    },
    /// A frame version that this crate does not know.
    #[error("frame version {found} is not known")]
    FrameVersion {
        /// The version found.
        found: u8,
    },
    /// Bytes follow the signature, the body or the telemetry bit stream.
    #[error("{count} bytes follow the end of the {part}")]
    Trailing {
        /// What ended.
        part: &'static str,
        /// How many bytes follow.
        count: usize,
    },
    /// The header does not parse.
    #[error("header does not parse")]
    Header(#[source] postcard::Error),
    /// A schema id that this crate does not know: a newer or foreign message.
    #[error("schema {0} is not known")]
    UnknownSchema(SchemaId),
    /// The body does not parse under its schema.
    #[error("{body} body does not parse")]
    Body {
        /// Kind of the body.
        body: &'static str,
        /// What the parser said.
        #[source]
        source: postcard::Error,
    },
    /// Schema id and body number disagree.
    #[error("schema names a {schema} body, the body number says otherwise")]
    BodyMismatch {
        /// Kind that the schema id names.
        schema: &'static str,
    },
    /// The header names a stream that does not carry this kind of body.
    #[error("stream {stream} does not carry a {body} body")]
    StreamMismatch {
        /// Stream of the header.
        stream: Stream,
        /// Kind of the body.
        body: &'static str,
    },
    /// A message without a sequence number that is neither a will nor a reply, or a reply with one.
    #[error("sequence number of a {body} body is missing or out of place")]
    Sequence {
        /// Kind of the body.
        body: &'static str,
    },
    /// A downlink body number that this crate does not know: a newer message.
    #[error("downlink body {number} is not known")]
    UnknownBody {
        /// The number found.
        number: u32,
    },
    /// A consumer name breaks the naming rule.
    #[error("downlink message names its sender against the naming rule (1 to 64 of a-z 0-9 - _ .)")]
    Name,
    /// The streams of a watermark do not rise, so one may stand twice.
    #[error("streams of a watermark do not rise by code")]
    StreamOrder,
    /// The signature does not fit the bytes and the key.
    #[error("signature does not fit")]
    Signature,
}

/// Why the content of an extension is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ExtensionError {
    /// The bytes are not what the tag says.
    #[error("extension {tag} does not parse")]
    Content {
        /// Its tag.
        tag: u16,
        /// What the parser said.
        #[source]
        source: postcard::Error,
    },
    /// Bytes follow the content.
    #[error("{count} bytes follow the content of extension {tag}")]
    Trailing {
        /// Its tag.
        tag: u16,
        /// How many bytes follow.
        count: usize,
    },
    /// It stands twice, but may stand once.
    #[error("extension {tag} stands twice")]
    Twice {
        /// Its tag.
        tag: u16,
    },
}

/// Why a key cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// The system's random source failed.
    #[error("random source failed")]
    Random,
    /// Not a PKCS#8 document with an Ed25519 private key.
    #[error("not an ed25519 private key in pkcs#8")]
    Pkcs8,
    /// The identity key does not belong to the node id in the claim.
    #[error("identity key does not belong to the node id")]
    WrongIdentity,
    /// The claim cannot be serialized.
    #[error("session claim cannot be serialized")]
    Claim,
}
