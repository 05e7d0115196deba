//! Kinds with a payload of their own: code, length, bytes.
//!
//! Event kinds and verbs grow at the end. The length lets a reader step over
//! a kind that it does not know and keep its payload.

use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::limits;

/// A text within the limit, alone or in a tuple.
#[derive(Deserialize)]
pub(crate) struct Text(
    #[serde(deserialize_with = "limits::text::<_, { limits::TEXT_BYTES }>")] pub(crate) String,
);

/// A name within the limit, alone or in a tuple.
#[derive(Deserialize)]
pub(crate) struct Name(
    #[serde(deserialize_with = "limits::text::<_, { limits::NAME_BYTES }>")] pub(crate) String,
);

/// Parses a payload that must be used up whole.
pub(crate) fn whole<T: DeserializeOwned>(payload: &[u8]) -> Result<T, &'static str> {
    match postcard::take_from_bytes(payload) {
        Ok((value, [])) => Ok(value),
        Ok(_) => Err("bytes follow the payload"),
        Err(_) => Err("payload does not parse"),
    }
}

/// Writes code, length and payload.
pub(crate) fn serialize<S: Serializer>(
    code: u16,
    payload: Result<Vec<u8>, postcard::Error>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    use serde::ser::{Error, SerializeTuple};
    struct Payload(Vec<u8>);
    impl Serialize for Payload {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            serializer.serialize_bytes(&self.0)
        }
    }
    let payload = payload.map_err(S::Error::custom)?;
    let mut tuple = serializer.serialize_tuple(2)?;
    tuple.serialize_element(&code)?;
    tuple.serialize_element(&Payload(payload))?;
    tuple.end()
}

/// Reads code and payload; the length is checked before anything is copied.
pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
    limit: usize,
    deserializer: D,
) -> Result<(u16, &'de [u8]), D::Error> {
    let (code, payload) = <(u16, &[u8])>::deserialize(deserializer)?;
    if payload.len() > limit {
        return Err(D::Error::custom("payload too long"));
    }
    Ok((code, payload))
}
