//! Status level: how the node is, and the will.

use serde::{Deserialize, Serialize};

use crate::codes::NodeState;
use crate::error::LimitError;
use crate::extension::{self, Extension, Extensions};
use crate::ids::SessionId;
use crate::limits;

/// How the node is. Also the will, with state `Offline` and no sequence number.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// State of the node.
    pub state: NodeState,
    /// Why, in words for people; may be empty.
    #[serde(deserialize_with = "limits::text::<_, { limits::TEXT_BYTES }>")]
    pub reason: String,
    /// The session that says so (equal to the header's).
    pub session: SessionId,
    /// When the state began, milliseconds since 1970.
    pub since_unix_ms: u64,
    /// A consumer that has heard nothing for this long regards the node as silent.
    pub time_to_live_ms: u64,
    /// Time between fast samples.
    pub sample_period_ms: u64,
    /// True when the numbers come from a simulated driver.
    pub simulated: bool,
    /// GPUs expected and answering.
    pub gpus: GpuCounts,
    /// Version of the agent.
    #[serde(deserialize_with = "limits::text::<_, { limits::TEXT_BYTES }>")]
    pub agent_version: String,
    /// Data of later versions.
    #[serde(deserialize_with = "limits::list::<_, Extension, { limits::EXTENSIONS }>")]
    pub extensions: Extensions,
}

/// How many GPUs there should be and how many answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct GpuCounts {
    /// GPUs that the node should have.
    pub expected: u16,
    /// GPUs that answered the last sample.
    pub answering: u16,
}

impl Status {
    pub(crate) fn check(&self) -> Result<(), LimitError> {
        limits::check("bytes of the status reason", self.reason.len(), limits::TEXT_BYTES)?;
        limits::check("bytes of the agent version", self.agent_version.len(), limits::TEXT_BYTES)?;
        extension::check(&self.extensions)
    }
}
