//! What memory does with an operator's succession.

use super::{Known, NODES, Store};
use crate::ids::NodeId;

/// What came of a succession.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Succeeded {
    /// The new id has the history of the old one, as far as there was any, and the old one is over.
    Taken,
    /// It was taken before.
    Known,
    /// It does not fit what is remembered, and changed nothing.
    Refused,
}

impl Store {
    /// Takes an operator's succession, which the caller has checked: the new id has the history of the old one, and the
    /// old one is over. Once for each pair.
    ///
    /// A new id with a history of its own keeps it: two machines are then remembered as two until a person decides
    /// ([`Store::forget`]). An id is succeeded by one other, and never by way of itself.
    pub fn succeed(&mut self, old: &NodeId, new: &NodeId) -> Succeeded {
        let (old, new) = (old.to_string(), new.to_string());
        if let Some(by) = self.superseded.get(&old) {
            return if *by == new { Succeeded::Known } else { Succeeded::Refused };
        }
        let remembered = self.nodes.contains_key(&old);
        let taken = self.nodes.contains_key(&new) || self.superseded.contains_key(&new);
        if remembered && taken || self.leads_to(&new, &old) || self.superseded.len() >= NODES {
            return Succeeded::Refused;
        }
        if let Some(known) = self.nodes.remove(&old) {
            for holder in self.devices.values_mut().filter(|holder| **holder == old) {
                holder.clone_from(&new);
            }
            // The next evidence begins a new chain under the new id, in a machine and with keys that may be new.
            let fresh = Known {
                machine: None,
                identity: None,
                attestation_key: Vec::new(),
                clock: None,
                accepted: None,
                doubt: None,
                ..known
            };
            self.nodes.insert(new.clone(), fresh);
        }
        self.superseded.insert(old, new);
        Succeeded::Taken
    }

    /// The id that came after a node that is over.
    pub fn successor(&self, node: &NodeId) -> Option<&str> {
        self.superseded.get(&node.to_string()).map(String::as_str)
    }

    /// Every id that is over with the one that came after it, by rising id.
    pub fn superseded(&self) -> impl Iterator<Item = (&str, &str)> {
        self.superseded.iter().map(|(old, new)| (old.as_str(), new.as_str()))
    }

    /// True where `from` is `to`, or was succeeded by it, at once or by way of others. It ends, since no succession is
    /// taken that closes a circle.
    fn leads_to(&self, from: &str, to: &str) -> bool {
        let mut at = from;
        while at != to {
            match self.superseded.get(at) {
                Some(next) => at = next,
                None => return false,
            }
        }
        true
    }
}
