//! The extensions of capacity: conditions, maintenance, the node's verdict.
//!
//! An extension is at most [`limits::EXTENSION_BYTES`] long, so a list goes over several with the same
//! tag. A reader puts them together again. Every function here is total: hostile bytes give an error.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::Capacity;
use crate::body::condition::Condition;
use crate::codes::Verdict;
use crate::error::{EncodeError, ExtensionError, LimitError};
use crate::extension::Extension;
use crate::fields::Audience;
use crate::limits;

/// Tag of [`SlotCondition`]s; may stand several times.
pub const CONDITIONS: u16 = 1;
/// Tag of [`Maintenance`] entries; may stand several times.
pub const MAINTENANCE: u16 = 2;
/// Tag of the [`NodeVerdict`]; stands at most once.
pub const NODE_VERDICT: u16 = 3;

/// Most extensions that a writer fills with conditions, so that others have room among
/// [`limits::EXTENSIONS`].
pub const CONDITION_EXTENSIONS: usize = 12;
/// Most extensions that a writer fills with maintenance.
pub const MAINTENANCE_EXTENSIONS: usize = 2;

/// Bytes of the count in front of a list of up to [`limits::EXTENSION_ENTRIES`].
const COUNT_BYTES: usize = 2;
/// Bytes of an extension besides its content: its tag (below 128) and its length.
const HEAD_BYTES: usize = 3;

/// A condition and where it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SlotCondition {
    /// Slot of the GPU; none for the node.
    pub slot: Option<u8>,
    /// The condition.
    pub condition: Condition,
}

/// A GPU, or the node, that the operator has taken out for work on it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Maintenance {
    /// Slot of the GPU; none for the node.
    pub slot: Option<u8>,
    /// When it is to end, milliseconds since 1970.
    pub until_unix_ms: u64,
    /// Why, for people; may be empty.
    #[serde(deserialize_with = "limits::text::<_, { limits::TEXT_BYTES }>")]
    pub reason: String,
}

/// What the health rules say about the node as a whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeVerdict {
    /// The verdict.
    pub verdict: Verdict,
    /// Why, for people; may be empty.
    #[serde(deserialize_with = "limits::text::<_, { limits::TEXT_BYTES }>")]
    pub reason: String,
}

/// The extensions for these conditions, and how many conditions did not fit.
///
/// The order stays: give the most severe first. Nothing to tell makes one extension with an empty list,
/// which says that there are no conditions; without it nothing is said. What is over a limit of
/// [`Condition`] is left out and counted, too.
pub fn conditions_extensions(conditions: &[SlotCondition]) -> (Vec<Extension>, usize) {
    conditions_extensions_within(conditions, CONDITION_EXTENSIONS * (HEAD_BYTES + limits::EXTENSION_BYTES))
}

/// As [`conditions_extensions`], in at most `room` bytes of the body: what a frame
/// ([`crate::frame::BODY_BYTES`]) has left beside the fields of many GPUs.
pub fn conditions_extensions_within(conditions: &[SlotCondition], room: usize) -> (Vec<Extension>, usize) {
    split(CONDITIONS, conditions, CONDITION_EXTENSIONS, room, |entry| entry.condition.check())
}

/// The extensions for this maintenance, and how many entries did not fit. As [`conditions_extensions`].
pub fn maintenance_extensions(maintenance: &[Maintenance]) -> (Vec<Extension>, usize) {
    split(MAINTENANCE, maintenance, MAINTENANCE_EXTENSIONS, usize::MAX, |entry| {
        limits::check("bytes of the maintenance reason", entry.reason.len(), limits::TEXT_BYTES)
    })
}

/// The extension for the node's verdict.
///
/// # Errors
/// A reason that is too long.
pub fn node_verdict_extension(verdict: &NodeVerdict) -> Result<Extension, EncodeError> {
    limits::check("bytes of the verdict's reason", verdict.reason.len(), limits::TEXT_BYTES)?;
    let bytes = postcard::to_allocvec(verdict).map_err(EncodeError::Serialize)?;
    Ok(Extension { tag: NODE_VERDICT, bytes })
}

/// Packs entries, in their order, into as few extensions as they need; counts those that find no room.
fn split<T: Serialize>(
    tag: u16,
    entries: &[T],
    most: usize,
    room: usize,
    check: impl Fn(&T) -> Result<(), LimitError>,
) -> (Vec<Extension>, usize) {
    let mut packed: Vec<(usize, Vec<u8>)> = vec![(0, Vec::new())];
    let mut room = room.saturating_sub(HEAD_BYTES + COUNT_BYTES);
    let mut left_out = 0;
    for entry in entries {
        let bytes = check(entry).ok().and_then(|()| postcard::to_allocvec(entry).ok());
        let Some(bytes) = bytes else {
            left_out += 1;
            continue;
        };
        let full = packed.last().is_none_or(|(count, list)| {
            *count == limits::EXTENSION_ENTRIES
                || list.len() + bytes.len() > limits::EXTENSION_BYTES - COUNT_BYTES
        });
        let cost = bytes.len() + if full { HEAD_BYTES + COUNT_BYTES } else { 0 };
        if cost > room || (full && packed.len() == most) {
            left_out += 1;
            continue;
        }
        room -= cost;
        if full {
            packed.push((0, Vec::new()));
        }
        if let Some((count, list)) = packed.last_mut() {
            *count += 1;
            list.extend(bytes);
        }
    }
    let extensions = packed
        .into_iter()
        .map(|(count, list)| Extension { tag, bytes: [&varint(count)[..], &list].concat() })
        .collect();
    (extensions, left_out)
}

/// The count in front of a list, at most [`limits::EXTENSION_ENTRIES`].
fn varint(count: usize) -> Vec<u8> {
    match count {
        0..0x80 => vec![count as u8],
        _ => vec![(count & 0x7f) as u8 | 0x80, (count >> 7) as u8],
    }
}

/// A list of one extension.
#[derive(Serialize, Deserialize)]
#[serde(bound(deserialize = "T: DeserializeOwned"))]
struct List<T>(#[serde(deserialize_with = "limits::list::<_, T, { limits::EXTENSION_ENTRIES }>")] Vec<T>);

fn whole<T: DeserializeOwned>(extension: &Extension) -> Result<T, ExtensionError> {
    let tag = extension.tag;
    match postcard::take_from_bytes(&extension.bytes) {
        Ok((content, [])) => Ok(content),
        Ok((_, rest)) => Err(ExtensionError::Trailing { tag, count: rest.len() }),
        Err(source) => Err(ExtensionError::Content { tag, source }),
    }
}

fn joined<T: DeserializeOwned>(extensions: &[Extension], tag: u16) -> Result<Vec<T>, ExtensionError> {
    let mut all = Vec::new();
    for extension in extensions.iter().filter(|extension| extension.tag == tag) {
        all.extend(whole::<List<T>>(extension)?.0);
    }
    Ok(all)
}

impl Capacity {
    /// The conditions of the GPUs and of the node, in the writer's order (most severe first). Empty also
    /// where the message says nothing of conditions: then no extension has the tag [`CONDITIONS`].
    ///
    /// # Errors
    /// An extension that is not as its tag says.
    pub fn conditions(&self) -> Result<Vec<SlotCondition>, ExtensionError> {
        joined(&self.extensions, CONDITIONS)
    }

    /// What is under maintenance.
    ///
    /// # Errors
    /// An extension that is not as its tag says.
    pub fn maintenance(&self) -> Result<Vec<Maintenance>, ExtensionError> {
        joined(&self.extensions, MAINTENANCE)
    }

    /// What the health rules say about the node, if the message says it.
    ///
    /// # Errors
    /// An extension that is not as its tag says, or stands twice.
    pub fn node_verdict(&self) -> Result<Option<NodeVerdict>, ExtensionError> {
        let mut found = self.extensions.iter().filter(|extension| extension.tag == NODE_VERDICT);
        match (found.next(), found.next()) {
            (None, _) => Ok(None),
            (Some(one), None) => whole(one).map(Some),
            (Some(_), Some(_)) => Err(ExtensionError::Twice { tag: NODE_VERDICT }),
        }
    }
}

/// How much of the extensions an audience may see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sight {
    /// That the node is well or not, and until when something is out; no words.
    Outline,
    /// What concerns a buyer: conditions from warning up without details, reasons.
    Summary,
    /// Everything.
    Whole,
}

impl Sight {
    const fn of(audience: Audience) -> Self {
        match audience {
            Audience::Operator => Self::Whole,
            Audience::Buyer | Audience::LeaseHolder => Self::Summary,
            Audience::Public | Audience::Unrecognised(_) => Self::Outline,
        }
    }
}

/// What of the extensions may go into a message for `audience`. One that is not known, or is not as its
/// tag says, goes to the operator only: nobody can say what is in it.
pub(super) fn visible(extensions: &[Extension], audience: Audience) -> Vec<Extension> {
    match Sight::of(audience) {
        Sight::Whole => extensions.to_vec(),
        sight => extensions.iter().filter_map(|extension| cut(extension, sight)).collect(),
    }
}

/// The extension as `sight` shows it; `None` when nothing of it may be seen.
fn cut(extension: &Extension, sight: Sight) -> Option<Extension> {
    fn written<T: Serialize>(tag: u16, content: &T) -> Option<Extension> {
        Some(Extension { tag, bytes: postcard::to_allocvec(content).ok()? })
    }
    match (extension.tag, sight) {
        (CONDITIONS, Sight::Summary) => {
            let mut list: List<SlotCondition> = whole(extension).ok()?;
            list.0.retain(|entry| entry.condition.severity.concerns_buyers());
            list.0.iter_mut().for_each(|entry| entry.condition.detail.clear());
            written(extension.tag, &list)
        }
        (MAINTENANCE, Sight::Outline) => {
            let mut list: List<Maintenance> = whole(extension).ok()?;
            list.0.iter_mut().for_each(|entry| entry.reason.clear());
            written(extension.tag, &list)
        }
        (MAINTENANCE, Sight::Summary) => written(extension.tag, &whole::<List<Maintenance>>(extension).ok()?),
        (NODE_VERDICT, sight) => {
            let mut content: NodeVerdict = whole(extension).ok()?;
            if sight == Sight::Outline {
                content.reason.clear();
            }
            written(extension.tag, &content)
        }
        _ => None,
    }
}

/// Before sealing: the known extensions are as their tags say, and show the audience no more than it may see.
pub(super) fn check(capacity: &Capacity) -> Result<(), EncodeError> {
    capacity.conditions()?;
    capacity.maintenance()?;
    capacity.node_verdict()?;
    let (audience, sight) = (capacity.audience, Sight::of(capacity.audience));
    if sight == Sight::Whole {
        return Ok(());
    }
    let known = |tag| matches!(tag, CONDITIONS | MAINTENANCE | NODE_VERDICT);
    match capacity.extensions.iter().find(|e| known(e.tag) && cut(e, sight).as_ref() != Some(*e)) {
        Some(extension) => Err(EncodeError::ExtensionAudience { tag: extension.tag, audience }),
        None => Ok(()),
    }
}
