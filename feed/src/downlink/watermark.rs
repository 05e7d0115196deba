//! Watermarks: how far a consumer has the streams of a node.

use serde::{Deserialize, Serialize};

use super::DownlinkRefusal;
use crate::error::EncodeError;
use crate::extension::{self, Extension, Extensions};
use crate::ids::{NodeId, SpoolEpoch, Stream};
use crate::{limits, topic};

/// "Everything below these numbers is stored here, or known to be lost." Cumulative: it replaces every earlier
/// one. Retained on the consumer's own topic, so that a node that comes back finds the newest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Watermark {
    /// The node that it is for.
    pub node: NodeId,
    /// The consumer that says so, as in the topic.
    #[serde(deserialize_with = "limits::text::<_, { limits::NAME_BYTES }>")]
    pub consumer: String,
    /// The spool that the numbers count in.
    pub epoch: SpoolEpoch,
    /// When it was made, milliseconds since 1970. For people; the order is that of the numbers.
    pub issued_unix_ms: u64,
    /// How far each stream is there, by rising stream code, at most [`limits::STREAMS`]. A stream without an
    /// entry is not there at all.
    #[serde(deserialize_with = "limits::list::<_, StreamBelow, { limits::STREAMS }>")]
    pub below: Vec<StreamBelow>,
    /// Data of later versions.
    #[serde(deserialize_with = "limits::list::<_, Extension, { limits::EXTENSIONS }>")]
    pub extensions: Extensions,
}

/// How far one stream is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamBelow {
    /// The stream.
    pub stream: Stream,
    /// Every number below this one is stored or known to be lost.
    pub below_seq: u64,
}

impl Watermark {
    /// The checks of a node before it believes a watermark whose signature fits: is it for this node, for the
    /// spool in use, and from the consumer whose topic it came on?
    ///
    /// # Errors
    /// The first check that fails.
    pub fn check(
        &self,
        node: &NodeId,
        epoch: SpoolEpoch,
        name_on_topic: &str,
    ) -> Result<(), DownlinkRefusal> {
        if self.node != *node {
            return Err(DownlinkRefusal::ForeignNode { found: self.node });
        }
        if self.consumer != name_on_topic {
            return Err(DownlinkRefusal::OtherConsumer { found: self.consumer.clone() });
        }
        if self.epoch != epoch {
            return Err(DownlinkRefusal::OtherEpoch { found: self.epoch });
        }
        Ok(())
    }

    /// How far a stream is there; 0 without an entry.
    pub fn below(&self, stream: Stream) -> u64 {
        self.below.iter().find(|entry| entry.stream == stream).map_or(0, |entry| entry.below_seq)
    }

    /// True when no stream stands twice.
    pub(super) fn streams_rise(&self) -> bool {
        self.below.windows(2).all(|pair| pair[0].stream.code() < pair[1].stream.code())
    }

    pub(super) fn check_to_seal(&self) -> Result<(), EncodeError> {
        if !topic::is_name(&self.consumer) {
            return Err(EncodeError::Name { name: self.consumer.chars().take(limits::NAME_BYTES).collect() });
        }
        limits::check("streams of a watermark", self.below.len(), limits::STREAMS)?;
        if !self.streams_rise() {
            return Err(EncodeError::StreamOrder);
        }
        Ok(extension::check(&self.extensions)?)
    }
}
