//! Capacity level: what the node has, per audience.

mod extensions;

use serde::{Deserialize, Serialize};

pub use extensions::{
    CONDITION_EXTENSIONS, CONDITIONS, MAINTENANCE, MAINTENANCE_EXTENSIONS, Maintenance, NODE_VERDICT,
    NodeVerdict, SlotCondition, conditions_extensions, conditions_extensions_within, maintenance_extensions,
    node_verdict_extension,
};

use crate::codes::{ClaimClass, GpuState, Verdict};
use crate::error::{EncodeError, LimitError};
use crate::extension::{self, Extension, Extensions};
use crate::fields::{self, Audience};
use crate::ids::Stream;
use crate::limits;
use crate::value::{NoData, Value};

/// What the node has and how it is. One message per audience, each on its own topic.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capacity {
    /// Who this message is for: public, buyer or operator.
    pub audience: Audience,
    /// True when the numbers come from a simulated driver.
    pub simulated: bool,
    /// Fields of the node: the driver's (reported), the site's (declared).
    #[serde(deserialize_with = "limits::list::<_, FieldGroup, { limits::GROUPS }>")]
    pub groups: Vec<FieldGroup>,
    /// The GPUs, by rising slot.
    #[serde(deserialize_with = "limits::list::<_, GpuCapacity, { limits::GPUS }>")]
    pub gpus: Vec<GpuCapacity>,
    /// Data of later versions.
    #[serde(deserialize_with = "limits::list::<_, Extension, { limits::EXTENSIONS }>")]
    pub extensions: Extensions,
}

/// Fields that are known in the same way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FieldGroup {
    /// How the fields are known.
    pub claim: ClaimClass,
    /// The fields.
    #[serde(deserialize_with = "limits::list::<_, Field, { limits::FIELDS }>")]
    pub fields: Vec<Field>,
}

/// A field: catalogue id and value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Field {
    /// Id in the catalogue ([`crate::fields`]).
    pub id: u16,
    /// The value.
    pub value: Value,
}

impl Field {
    /// A field from an id and anything that is a value.
    pub fn new(id: u16, value: impl Into<Value>) -> Self {
        Self { id, value: value.into() }
    }
}

/// One GPU.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GpuCapacity {
    /// Position in the node, stable within a session: nothing is renumbered when a GPU is lost.
    pub slot: u8,
    /// State.
    pub state: GpuState,
    /// What the health rules say.
    pub verdict: Verdict,
    /// Why the GPU as a whole gives no readings, if it gives none.
    pub no_data: Option<NoData>,
    /// Fields of the GPU.
    #[serde(deserialize_with = "limits::list::<_, FieldGroup, { limits::GROUPS }>")]
    pub groups: Vec<FieldGroup>,
    /// MIG instances on the GPU.
    #[serde(deserialize_with = "limits::list::<_, MigInstance, { limits::MIG_INSTANCES }>")]
    pub mig: Vec<MigInstance>,
}

/// A MIG instance: its index on the GPU and its fields (catalogue ids 2000 and up).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MigInstance {
    /// Index of the MIG device on its GPU.
    pub index: u16,
    /// The fields.
    #[serde(deserialize_with = "limits::list::<_, Field, { limits::FIELDS }>")]
    pub fields: Vec<Field>,
}

impl Capacity {
    /// The level that carries this message.
    pub const fn stream(&self) -> Stream {
        match self.audience {
            Audience::Public => Stream::CapacityPublic,
            Audience::Buyer => Stream::CapacityBuyer,
            // There is no capacity topic of their own for lease holders; the
            // stricter one is the safe answer for them and for unknown codes.
            Audience::LeaseHolder | Audience::Operator | Audience::Unrecognised(_) => {
                Stream::CapacityOperator
            }
        }
    }

    /// This message cut down for a wider audience: fields that the audience may not see are left out,
    /// empty groups go with them; states, verdicts and slots stay. Of the extensions the public keeps the node's
    /// verdict and the times of maintenance; buyers also the reasons of both, and conditions from warning up
    /// without their detail; extensions that this version does not know go to the operator only.
    #[must_use]
    pub fn for_audience(&self, audience: Audience) -> Self {
        let groups = |groups: &[FieldGroup]| -> Vec<FieldGroup> {
            groups
                .iter()
                .map(|g| FieldGroup { claim: g.claim, fields: fields::visible(&g.fields, audience) })
                .filter(|g| !g.fields.is_empty())
                .collect()
        };
        Self {
            audience,
            simulated: self.simulated,
            groups: groups(&self.groups),
            gpus: self
                .gpus
                .iter()
                .map(|gpu| GpuCapacity {
                    slot: gpu.slot,
                    state: gpu.state,
                    verdict: gpu.verdict,
                    no_data: gpu.no_data,
                    groups: groups(&gpu.groups),
                    mig: gpu
                        .mig
                        .iter()
                        .map(|m| MigInstance { index: m.index, fields: fields::visible(&m.fields, audience) })
                        .collect(),
                })
                .collect(),
            extensions: extensions::visible(&self.extensions, audience),
        }
    }

    pub(crate) fn check(&self) -> Result<(), EncodeError> {
        if !matches!(self.audience, Audience::Public | Audience::Buyer | Audience::Operator) {
            return Err(EncodeError::StreamMismatch { stream: self.stream(), body: "capacity" });
        }
        check_groups(&self.groups, self.audience)?;
        limits::check("gpus", self.gpus.len(), limits::GPUS)?;
        for gpu in &self.gpus {
            check_groups(&gpu.groups, self.audience)?;
            check_mig(&gpu.mig, self.audience)?;
        }
        extension::check(&self.extensions)?;
        extensions::check(self)
    }
}

fn check_groups(groups: &[FieldGroup], audience: Audience) -> Result<(), EncodeError> {
    limits::check("field groups", groups.len(), limits::GROUPS)?;
    groups.iter().try_for_each(|group| check_fields(&group.fields, audience))
}

pub(super) fn check_mig(mig: &[MigInstance], audience: Audience) -> Result<(), EncodeError> {
    limits::check("mig instances", mig.len(), limits::MIG_INSTANCES)?;
    mig.iter().try_for_each(|instance| check_fields(&instance.fields, audience))
}

/// Limits, and that every field may be seen by the audience. An id outside the
/// catalogue has no known audience, so only the operator may see it.
pub(super) fn check_fields(fields: &[Field], audience: Audience) -> Result<(), EncodeError> {
    limits::check("fields", fields.len(), limits::FIELDS)?;
    for (at, field) in fields.iter().enumerate() {
        check_value(&field.value)?;
        if fields[..at].iter().any(|earlier| earlier.id == field.id) {
            return Err(EncodeError::FieldTwice { field: field.id });
        }
        if !fields::may_see(field.id, audience) {
            return Err(EncodeError::Audience { field: field.id, audience });
        }
    }
    Ok(())
}

fn check_value(value: &Value) -> Result<(), LimitError> {
    match value {
        Value::Text(text) => limits::check("bytes of a text value", text.len(), limits::TEXT_BYTES),
        _ => Ok(()),
    }
}
