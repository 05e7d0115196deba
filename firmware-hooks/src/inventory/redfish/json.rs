//! JSON of a stranger: bounded in size, depth and lists, tolerant of a property of another kind than the schema's.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{DeserializeOwned, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use thiserror::Error as ThisError;

/// Largest document, in bytes. Services have some 10 KB in one, a certificate chain or signed measurements included.
pub const DOCUMENT_BYTES_MAX: usize = 1 << 20;

/// Deepest nesting. Documents of the schema have fewer than ten levels.
pub const DEPTH_MAX: usize = 32;

/// A document cannot be used.
#[derive(Debug, ThisError)]
pub enum DocumentError {
    /// It is too large.
    #[error("the document has more than {DOCUMENT_BYTES_MAX} bytes")]
    TooLong,
    /// It is nested too deeply.
    #[error("the document is nested more than {DEPTH_MAX} deep")]
    TooDeep,
    /// It is not JSON, or not of the schema.
    #[error("the document is not JSON of the schema")]
    Json(#[source] serde_json::Error),
    /// What it is for is not in it.
    #[error("the document has no {0}")]
    Without(&'static str),
}

/// Reads a document within the limits. Memory taken is in proportion to the bytes given.
pub(super) fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, DocumentError> {
    if bytes.len() > DOCUMENT_BYTES_MAX {
        return Err(DocumentError::TooLong);
    }
    if is_too_deep(bytes) {
        return Err(DocumentError::TooDeep);
    }
    // A list would be taken for the properties of an object in their order.
    if bytes.trim_ascii_start().first() != Some(&b'{') {
        return Err(DocumentError::Without("object"));
    }
    serde_json::from_slice(bytes).map_err(DocumentError::Json)
}

/// Counts brackets outside of texts, before anything recurses.
fn is_too_deep(bytes: &[u8]) -> bool {
    let (mut depth, mut in_text, mut escaped) = (0_usize, false, false);
    for byte in bytes {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_text => escaped = true,
            b'"' => in_text = !in_text,
            b'[' | b'{' if !in_text => depth += 1,
            b']' | b'}' if !in_text => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > DEPTH_MAX {
            return true;
        }
    }
    false
}

/// A text, or nothing where something else stands.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Text(pub Option<String>);

/// True or false, or nothing where something else stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Flag(pub Option<bool>);

struct TextOrNot;

impl<'de> Visitor<'de> for TextOrNot {
    type Value = Text;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("anything")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Text, E> {
        Ok(Text(Some(text.to_owned())))
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<Text, E> {
        Ok(Text(None))
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<Text, E> {
        Ok(Text(None))
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<Text, E> {
        Ok(Text(None))
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<Text, E> {
        Ok(Text(None))
    }

    fn visit_unit<E: Error>(self) -> Result<Text, E> {
        Ok(Text(None))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Text, A::Error> {
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Text(None))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Text, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Text(None))
    }
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TextOrNot)
    }
}

struct FlagOrNot;

impl<'de> Visitor<'de> for FlagOrNot {
    type Value = Flag;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("anything")
    }

    fn visit_bool<E: Error>(self, flag: bool) -> Result<Flag, E> {
        Ok(Flag(Some(flag)))
    }

    fn visit_str<E: Error>(self, _: &str) -> Result<Flag, E> {
        Ok(Flag(None))
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<Flag, E> {
        Ok(Flag(None))
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<Flag, E> {
        Ok(Flag(None))
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<Flag, E> {
        Ok(Flag(None))
    }

    fn visit_unit<E: Error>(self) -> Result<Flag, E> {
        Ok(Flag(None))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Flag, A::Error> {
        TextOrNot.visit_seq(list).map(|_| Flag(None))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Flag, A::Error> {
        TextOrNot.visit_map(map).map(|_| Flag(None))
    }
}

impl<'de> Deserialize<'de> for Flag {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(FlagOrNot)
    }
}

/// The first `MAX` entries of a list; the rest is read over and counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct First<T, const MAX: usize> {
    pub(super) entries: Vec<T>,
    pub(super) left_out: usize,
}

impl<T, const MAX: usize> Default for First<T, MAX> {
    fn default() -> Self {
        Self { entries: Vec::new(), left_out: 0 }
    }
}

struct FirstOf<T, const MAX: usize>(PhantomData<T>);

impl<'de, T: Deserialize<'de>, const MAX: usize> Visitor<'de> for FirstOf<T, MAX> {
    type Value = First<T, MAX>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        Ok(First::default())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let mut first = First::default();
        while first.entries.len() < MAX {
            let Some(entry) = list.next_element()? else { return Ok(first) };
            first.entries.push(entry);
        }
        while list.next_element::<IgnoredAny>()?.is_some() {
            first.left_out += 1;
        }
        Ok(first)
    }
}

impl<'de, T: Deserialize<'de>, const MAX: usize> Deserialize<'de> for First<T, MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(FirstOf(PhantomData))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Default, PartialEq, Deserialize)]
    #[serde(default)]
    struct Document {
        text: Text,
        flag: Flag,
        list: First<Text, 2>,
    }

    fn read(json: &str) -> Result<Document, DocumentError> {
        parse(json.as_bytes())
    }

    #[test]
    fn what_is_of_another_kind_is_absent_and_the_rest_is_there() {
        for other in ["null", "1", "-1", "1.5", "true", "[1,[2]]", "{\"a\":{\"b\":[]}}"] {
            let found =
                read(&format!("{{\"text\":{other},\"list\":[\"x\"],\"more\":{other}}}")).expect(other);
            assert_eq!((found.text, found.list.entries.len()), (Text(None), 1), "{other}");
        }
        for other in ["null", "1", "-1", "1.5", "\"true\"", "[true]", "{\"a\":true}"] {
            assert_eq!(read(&format!("{{\"flag\":{other}}}")).expect(other).flag, Flag(None), "{other}");
        }
        assert_eq!(read("{\"flag\":true}").expect("flag").flag, Flag(Some(true)));
        assert_eq!(read("{\"list\":null}").expect("null").list, First::default());
    }

    #[test]
    fn a_list_has_an_end() {
        let found = read("{\"list\":[\"a\",\"b\",\"c\",[\"d\"]]}").expect("list").list;
        assert_eq!((found.entries.len(), found.left_out), (2, 2));
    }

    #[test]
    fn depth_is_counted_outside_of_texts() {
        let nested = |levels: usize| format!("{{\"x\":{}{}}}", "[".repeat(levels), "]".repeat(levels));
        assert!(read(&nested(DEPTH_MAX - 1)).is_ok());
        assert!(matches!(read(&nested(DEPTH_MAX)), Err(DocumentError::TooDeep)));
        assert!(matches!(read(&"[".repeat(1 << 19)), Err(DocumentError::TooDeep)));
        let in_text = format!("{{\"text\":\"\\\"{}\"}}", "[{".repeat(100));
        assert!(read(&in_text).is_ok());
    }

    #[test]
    fn what_is_too_long_or_cut_is_refused() {
        let long = format!("{{\"text\":\"{}\"}}", "x".repeat(DOCUMENT_BYTES_MAX));
        assert!(matches!(read(&long), Err(DocumentError::TooLong)));
        let whole = "{\"text\":\"a\",\"list\":[\"b\"]}";
        for other in ["", "[]", "[\"a\"]", "null", "<html>"] {
            assert!(matches!(read(other), Err(DocumentError::Without(_))), "{other}");
        }
        for end in 1..whole.len() {
            assert!(matches!(read(&whole[..end]), Err(DocumentError::Json(_))), "{end}");
        }
    }
}
