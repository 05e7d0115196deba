//! The catalogue: every field that the feed can carry, with unit, kind, audience and source.
//!
//! Ids are append-only: an id is never given to another field, a field never
//! changes its unit, kind or audience. To add one, append a line to the table
//! of its class and run the tests with `UPDATE_GOLDEN=1`.

mod fast;
mod inventory;
mod node;
mod slow;

use serde::{Deserialize, Serialize};

use crate::body::Field;
use crate::codes::codes;

pub use fast::FAST_FIELDS;

codes! {
    /// Who may see something. Each one sees all that the ones before it see.
    pub enum Audience {
        /// Everybody.
        Public = 0 "public",
        /// Buyers and brokers that the operator admits.
        Buyer = 1 "buyer",
        /// Whoever holds a lease on the GPU.
        LeaseHolder = 2 "lease_holder",
        /// The operator of the node.
        Operator = 3 "operator",
    }
}

impl Audience {
    /// True when `self` may see what is meant for `other`. Nobody but the operator sees what is meant
    /// for an audience that this version does not know.
    pub const fn sees(self, other: Self) -> bool {
        match (self, other) {
            (Self::Operator, _) => true,
            (Self::Unrecognised(_), _) => matches!(other, Self::Public),
            (_, Self::Unrecognised(_)) => false,
            _ => other.code() <= self.code(),
        }
    }
}

/// Kind of a field's value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Kind {
    /// [`crate::Value::Unsigned`].
    Unsigned,
    /// [`crate::Value::Signed`].
    Signed,
    /// [`crate::Value::Text`].
    Text,
    /// [`crate::Value::Flag`].
    Flag,
}

impl Kind {
    /// The word in documents.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unsigned => "unsigned",
            Self::Signed => "signed",
            Self::Text => "text",
            Self::Flag => "flag",
        }
    }
}

/// Where a field is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Class {
    /// Every sample, in telemetry batches.
    Fast,
    /// At start and on change, in capacity messages.
    Inventory,
    /// About once a minute, in slow telemetry.
    Slow,
    /// Node fields from the driver, in capacity messages.
    Driver,
    /// Node fields from the configuration, in capacity messages.
    Declared,
    /// Fields of a MIG instance, in capacity and slow telemetry.
    Mig,
}

impl Class {
    /// The word in documents.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Fast => "fast",
            Self::Inventory => "inventory",
            Self::Slow => "slow",
            Self::Driver => "driver",
            Self::Declared => "declared",
            Self::Mig => "mig",
        }
    }
}

/// One entry of the catalogue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FieldInfo {
    /// Id on the wire.
    pub id: u16,
    /// Name; ends with the unit where there is one.
    pub name: &'static str,
    /// Unit in words; empty for texts, flags and plain codes.
    pub unit: &'static str,
    /// Kind of the value.
    pub kind: Kind,
    /// Where it is sent.
    pub class: Class,
    /// Who may see it.
    pub audience: Audience,
    /// What it is and where it comes from, in one line.
    pub doc: &'static str,
}

/// Catalogue parts in id order.
static PARTS: [&[FieldInfo]; 6] =
    [&fast::TABLE, inventory::TABLE, slow::TABLE, node::DRIVER, node::DECLARED, node::MIG];

/// Every field, by rising id.
pub fn all() -> impl Iterator<Item = &'static FieldInfo> {
    PARTS.iter().flat_map(|part| part.iter())
}

/// The field with this id.
pub fn by_id(id: u16) -> Option<&'static FieldInfo> {
    PARTS.iter().find_map(|part| part.binary_search_by_key(&id, |f| f.id).ok().map(|at| &part[at]))
}

/// The field with this name.
pub fn by_name(name: &str) -> Option<&'static FieldInfo> {
    all().find(|f| f.name == name)
}

/// True when a field may stand in a message for `audience`. An id outside the
/// catalogue has no known audience, so only the operator may see it.
pub fn may_see(id: u16, audience: Audience) -> bool {
    audience.sees(by_id(id).map_or(Audience::Operator, |f| f.audience))
}

/// The fields that `audience` may see.
pub fn visible(fields: &[Field], audience: Audience) -> Vec<Field> {
    fields.iter().filter(|f| may_see(f.id, audience)).cloned().collect()
}

/// Shorthand for the tables: `u`, `i`, `t`, `f` for the kinds, `P`, `B`, `L`, `O` for the audiences.
macro_rules! table {
    ($class:ident; $($id:literal $name:literal $kind:ident $audience:ident $unit:literal $doc:literal,)+) => {
        [$(crate::fields::FieldInfo {
            id: $id,
            name: $name,
            unit: $unit,
            kind: table!(@kind $kind),
            class: crate::fields::Class::$class,
            audience: table!(@audience $audience),
            doc: $doc,
        },)+]
    };
    (@kind u) => { crate::fields::Kind::Unsigned };
    (@kind i) => { crate::fields::Kind::Signed };
    (@kind t) => { crate::fields::Kind::Text };
    (@kind f) => { crate::fields::Kind::Flag };
    (@audience P) => { crate::fields::Audience::Public };
    (@audience B) => { crate::fields::Audience::Buyer };
    (@audience L) => { crate::fields::Audience::LeaseHolder };
    (@audience O) => { crate::fields::Audience::Operator };
}

use table;
