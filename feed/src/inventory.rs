//! Inventory: what a machine is made of, as a sorted list of facts, in bytes that do not change while the
//! machine does not. It is an artefact of evidence, named by its digest.
//!
//! Bytes: [`INVENTORY_MAGIC`], then postcard: `list Fact`, `list Finding`; nothing follows. Facts rise by
//! component, instance, field, value; findings by code, instance, detail.

use serde::{Deserialize, Serialize};

use crate::codes::ClaimClass;
use crate::error::LimitError;
use crate::limits;

/// First bytes of every inventory of this version.
pub const INVENTORY_MAGIC: &[u8] = b"rackmark/inventory/v1\0";

/// One thing that is known of the machine. `docs/inventory.md` lists components and fields.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Fact {
    /// Sort of part: `gpu`, `bios`, `chassis`, `nic`, …
    #[serde(deserialize_with = "limits::text::<_, { limits::NAME_BYTES }>")]
    pub component: String,
    /// Which one: PCI address, slot label, device name; empty where there is one only.
    #[serde(deserialize_with = "limits::text::<_, { limits::TEXT_BYTES }>")]
    pub instance: String,
    /// What of it: `serial`, `firmware`, …
    #[serde(deserialize_with = "limits::text::<_, { limits::NAME_BYTES }>")]
    pub field: String,
    /// The value.
    #[serde(deserialize_with = "limits::text::<_, { limits::TEXT_BYTES }>")]
    pub value: String,
    /// How it is known.
    pub claim: Claim,
}

/// How a fact is known: a [`ClaimClass`] that sorts by its code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim(pub ClaimClass);

impl PartialOrd for Claim {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Claim {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.code().cmp(&other.0.code())
    }
}

/// Sources that contradict each other.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Finding {
    /// Stable name of the finding.
    #[serde(deserialize_with = "limits::text::<_, { limits::NAME_BYTES }>")]
    pub code: String,
    /// Where.
    #[serde(deserialize_with = "limits::text::<_, { limits::TEXT_BYTES }>")]
    pub instance: String,
    /// What was found, for people.
    #[serde(deserialize_with = "limits::text::<_, { limits::TEXT_BYTES }>")]
    pub detail: String,
}

/// The whole document.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inventory {
    /// Facts, rising.
    #[serde(deserialize_with = "limits::list::<_, Fact, { limits::FACTS }>")]
    pub facts: Vec<Fact>,
    /// Findings, rising.
    #[serde(deserialize_with = "limits::list::<_, Finding, { limits::FINDINGS }>")]
    pub findings: Vec<Finding>,
}

/// Why bytes are no inventory.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InventoryError {
    /// Another magic, so another version or another thing.
    #[error("inventory has another magic")]
    Magic,
    /// Something does not parse or is over a limit.
    #[error("inventory does not parse")]
    Parse(#[source] postcard::Error),
    /// Bytes follow.
    #[error("inventory has {0} bytes after its end")]
    Trailing(usize),
    /// A list does not rise, so the same machine could have two digests.
    #[error("inventory is not in order")]
    Order,
}

impl Inventory {
    /// The document with both lists in order and without repetition.
    pub fn new(mut facts: Vec<Fact>, mut findings: Vec<Finding>) -> Self {
        facts.sort_unstable();
        facts.dedup();
        findings.sort_unstable();
        findings.dedup();
        Self { facts, findings }
    }

    /// The bytes whose digest evidence carries.
    ///
    /// # Errors
    /// A list or text over a limit.
    pub fn to_bytes(&self) -> Result<Vec<u8>, LimitError> {
        limits::check("facts", self.facts.len(), limits::FACTS)?;
        limits::check("findings", self.findings.len(), limits::FINDINGS)?;
        for fact in &self.facts {
            for name in [&fact.component, &fact.field] {
                limits::check("bytes of a component or field", name.len(), limits::NAME_BYTES)?;
            }
            for text in [&fact.instance, &fact.value] {
                limits::check("bytes of an instance or value", text.len(), limits::TEXT_BYTES)?;
            }
        }
        for finding in &self.findings {
            limits::check("bytes of a finding's code", finding.code.len(), limits::NAME_BYTES)?;
            for text in [&finding.instance, &finding.detail] {
                limits::check("bytes of a finding", text.len(), limits::TEXT_BYTES)?;
            }
        }
        // Lists of texts and numbers always serialize.
        Ok(postcard::to_extend(self, INVENTORY_MAGIC.to_vec()).unwrap_or_default())
    }

    /// Reads a document.
    ///
    /// # Errors
    /// Why the bytes are none.
    pub fn parse(bytes: &[u8]) -> Result<Self, InventoryError> {
        let content = bytes.strip_prefix(INVENTORY_MAGIC).ok_or(InventoryError::Magic)?;
        let (inventory, rest) = postcard::take_from_bytes::<Self>(content).map_err(InventoryError::Parse)?;
        if !rest.is_empty() {
            return Err(InventoryError::Trailing(rest.len()));
        }
        if !inventory.facts.is_sorted_by(|a, b| a < b) || !inventory.findings.is_sorted_by(|a, b| a < b) {
            return Err(InventoryError::Order);
        }
        Ok(inventory)
    }

    /// The values of a field of a component, with their instances.
    pub fn values<'a>(
        &'a self,
        component: &'a str,
        field: &'a str,
    ) -> impl Iterator<Item = (&'a str, &'a str)> {
        self.facts
            .iter()
            .filter(move |fact| fact.component == component && fact.field == field)
            .map(|fact| (fact.instance.as_str(), fact.value.as_str()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fact(component: &str, field: &str, value: &str) -> Fact {
        Fact {
            component: component.into(),
            instance: "0".into(),
            field: field.into(),
            value: value.into(),
            claim: Claim(ClaimClass::Reported),
        }
    }

    #[test]
    fn the_same_machine_has_the_same_bytes() {
        let (a, b) = (fact("bios", "version", "1"), fact("gpu", "serial", "2"));
        let one = Inventory::new(vec![a.clone(), b.clone(), b.clone()], Vec::new());
        let other = Inventory::new(vec![b, a], Vec::new());
        let bytes = one.to_bytes().expect("within limits");
        assert_eq!(bytes, other.to_bytes().expect("within limits"));
        assert_eq!(Inventory::parse(&bytes), Ok(one));
    }

    #[test]
    fn another_order_is_refused() {
        let (a, b) = (fact("bios", "version", "1"), fact("gpu", "serial", "2"));
        let wrong = Inventory { facts: vec![b, a], findings: Vec::new() };
        assert_eq!(Inventory::parse(&wrong.to_bytes().expect("within limits")), Err(InventoryError::Order));
    }

    #[test]
    fn attack_truncated_inventory() {
        let bytes =
            Inventory::new(vec![fact("bios", "version", "1")], Vec::new()).to_bytes().expect("within limits");
        for end in 0..bytes.len() {
            assert!(Inventory::parse(&bytes[..end]).is_err(), "{end}");
        }
        let mut longer = bytes;
        longer.push(0);
        assert_eq!(Inventory::parse(&longer), Err(InventoryError::Trailing(1)));
    }
}
