//! A verifier's memory: what it saw of each node before, so that clones, moves and rollbacks show.
//!
//! One bundle says what a node is now. Only memory shows that one endorsement key speaks from two machines, one
//! GPU from two nodes, that an identity has two holders, or that a TPM's counters went back.

mod flag;
mod succession;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use self::flag::Flag;
pub use self::succession::Succeeded;

use super::nonces::Nonces;
use crate::ids::{NodeId, hex};

/// A node that was seen within this time counts as live, milliseconds. Nodes make evidence at least daily, by
/// their verifier's epochs.
pub const LIVE_MS: u64 = 24 * 3600 * 1000;
/// Most nodes remembered.
pub const NODES: usize = 65_536;
/// Most devices remembered.
pub const DEVICES: usize = 1 << 20;

/// Counters of a TPM's clock: they only rise, except that the clock may step back over an unclean reset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TpmClock {
    /// Resets of the TPM.
    pub reset_count: u32,
    /// Restarts (resume from sleep) since the last reset.
    pub restart_count: u32,
    /// Milliseconds of power since the TPM was cleared.
    pub clock_ms: u64,
}

/// What one verified bundle says, as far as memory is concerned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observation {
    /// The node.
    pub node: NodeId,
    /// Serial number and UUID of the machine, joined; none where the firmware has none.
    pub machine: Option<String>,
    /// Digest over the identity key.
    pub identity: [u8; 32],
    /// Name of the attestation key; empty without a TPM.
    pub attestation_key: Vec<u8>,
    /// The TPM's clock.
    pub clock: Option<TpmClock>,
    /// Its GPUs, each by all ids that are known of it: `key:` and the hash of the device certificate's key where the
    /// device signed, and `uuid:`. One that signs here and not there is the same device.
    pub devices: Vec<Vec<String>>,
    /// Devices that it says it gave away, with the ticket.
    pub declared_away: Vec<(String, String)>,
    /// Digest of its evidence.
    pub evidence: [u8; 32],
    /// The evidence that it says this verifier accepted last.
    pub previous: Option<[u8; 32]>,
    /// Steps from an old id to a new one that lead to this node, oldest first, by operators that are trusted.
    pub successions: Vec<(NodeId, NodeId)>,
}

/// What is remembered of a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Known {
    machine: Option<String>,
    /// None after a succession, like the machine and the keys of the TPM: they may be new.
    identity: Option<[u8; 32]>,
    attestation_key: Vec<u8>,
    clock: Option<TpmClock>,
    devices: Vec<Vec<String>>,
    declared_away: Vec<(String, String)>,
    /// None after a succession: the new id begins a chain of its own.
    accepted: Option<[u8; 32]>,
    /// The node may not have heard that it was accepted.
    #[serde(default)]
    doubt: Option<Doubt>,
    seen_unix_ms: u64,
}

/// What a node names that did not hear of its last acceptance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Doubt {
    before: Option<[u8; 32]>,
}

/// A verifier's memory. The caller keeps it on disk.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Store {
    /// Nonces that are out.
    pub nonces: Nonces,
    nodes: BTreeMap<String, Known>,
    /// The node that has a device.
    devices: BTreeMap<String, String>,
    /// Ids that are over, and which id came after each.
    superseded: BTreeMap<String, String>,
}

/// What is remembered of a node, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remembered<'a> {
    /// Its id.
    pub node: &'a str,
    /// Serial number and UUID of its machine, where they were seen.
    pub machine: Option<&'a str>,
    /// Devices that it had when it was seen last, as in [`Observation::devices`].
    pub devices: &'a [Vec<String>],
    /// Digest of the evidence that was accepted last; none after a succession, until the first under the new id.
    pub accepted: Option<[u8; 32]>,
    /// When it was seen last, milliseconds since 1970 by the verifier's clock.
    pub seen_unix_ms: u64,
}

impl Store {
    /// Takes an observation of a node whose bundle is verified; its successions first ([`Self::succeed`]). Where a flag
    /// contradicts, nothing else is remembered of it: the first holder keeps the identity until a person decides
    /// ([`Self::forget`]).
    pub fn observe(&mut self, seen: &Observation, now_unix_ms: u64) -> Vec<Flag> {
        let id = seen.node.to_string();
        let mut flags = Vec::new();
        for (old, new) in &seen.successions {
            if self.succeed(old, new) == Succeeded::Refused {
                flags.push(Flag::SuccessionRefused { old: old.to_string(), new: new.to_string() });
            }
        }
        if let Some(by) = self.superseded.get(&id) {
            flags.push(Flag::SupersededNode { by: by.clone() });
        }
        if let Some(known) = self.nodes.get(&id) {
            compare(known, seen, &mut flags);
        }
        for device in &seen.devices {
            flags.extend(self.moved(&id, device, now_unix_ms));
        }
        if flags.iter().any(Flag::contradicts) {
            return flags;
        }
        if self.nodes.len() >= NODES && !self.nodes.contains_key(&id) {
            flags.push(Flag::NoRoom);
            return flags;
        }
        // What it no longer has is still known as its own, so that a move shows where it comes from.
        for device in seen.devices.iter().flatten() {
            if self.devices.len() < DEVICES || self.devices.contains_key(device) {
                self.devices.insert(device.clone(), id.clone());
            } else if flags.last() != Some(&Flag::NoRoom) {
                flags.push(Flag::NoRoom);
            }
        }
        let known = Known {
            machine: seen.machine.clone(),
            identity: Some(seen.identity),
            attestation_key: seen.attestation_key.clone(),
            clock: seen.clock,
            devices: seen.devices.clone(),
            declared_away: seen.declared_away.clone(),
            accepted: Some(seen.evidence),
            doubt: None,
            seen_unix_ms: now_unix_ms,
        };
        self.nodes.insert(id, known);
        flags
    }

    /// The evidence of a node that was accepted last.
    pub fn accepted(&self, node: &NodeId) -> Option<[u8; 32]> {
        self.nodes.get(&node.to_string()).and_then(|known| known.accepted)
    }

    /// Notes, before the node is told that its evidence was accepted, what it names if that does not reach it: the
    /// evidence accepted before. A lost word must not look like a second holder.
    pub fn doubt(&mut self, node: &NodeId, before: Option<[u8; 32]>) {
        if let Some(known) = self.nodes.get_mut(&node.to_string()) {
            known.doubt = Some(Doubt { before });
        }
    }

    /// Notes that the node heard it.
    pub fn confirm(&mut self, node: &NodeId) {
        if let Some(known) = self.nodes.get_mut(&node.to_string()) {
            known.doubt = None;
        }
    }

    /// True when this attestation key of the node was seen before, activated by this verifier.
    pub fn knows_attestation_key(&self, node: &NodeId, name: &[u8]) -> bool {
        !name.is_empty()
            && self.nodes.get(&node.to_string()).is_some_and(|known| known.attestation_key == name)
    }

    /// Forgets a node and its devices, or that an id is over, by a person's decision. True where there was something.
    pub fn forget(&mut self, node: &NodeId) -> bool {
        let id = node.to_string();
        self.devices.retain(|_, holder| *holder != id);
        let known = self.nodes.remove(&id).is_some();
        self.superseded.remove(&id).is_some() || known
    }

    /// Every node that is remembered, by rising id.
    pub fn nodes(&self) -> impl Iterator<Item = Remembered<'_>> {
        self.nodes.iter().map(|(node, known)| Remembered {
            node,
            machine: known.machine.as_deref(),
            devices: &known.devices,
            accepted: known.accepted,
            seen_unix_ms: known.seen_unix_ms,
        })
    }

    /// How many nodes are remembered.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// True where none is.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// What it says that a device is at this node.
    fn moved(&self, node: &str, ids: &[String], now_unix_ms: u64) -> Option<Flag> {
        let elsewhere = |id: &String| self.devices.get(id).filter(|holder| *holder != node);
        let (device, holder) = ids.iter().find_map(|id| Some((id.clone(), elsewhere(id)?)))?;
        let from = holder.clone();
        let Some(known) = self.nodes.get(holder) else { return Some(Flag::UndeclaredMove { device, from }) };
        if let Some((_, ticket)) = known.declared_away.iter().find(|(away, _)| ids.contains(away)) {
            return Some(Flag::DeclaredMove { device, from, ticket: ticket.clone() });
        }
        let live = now_unix_ms.saturating_sub(known.seen_unix_ms) <= LIVE_MS;
        Some(match live && known.devices.iter().flatten().any(|known| ids.contains(known)) {
            true => Flag::DeviceAtTwoNodes { device, other: from },
            false => Flag::UndeclaredMove { device, from },
        })
    }
}

fn compare(known: &Known, seen: &Observation, flags: &mut Vec<Flag>) {
    if let (Some(before), Some(now)) = (&known.machine, &seen.machine)
        && before != now
    {
        flags.push(Flag::EndorsementKeyAtTwoMachines { before: before.clone(), now: now.clone() });
    }
    if let Some(accepted) = known.accepted
        && seen.previous != Some(accepted)
        && known.doubt.is_none_or(|doubt| doubt.before != seen.previous)
    {
        let found = seen.previous.map(|digest| hex(&digest)).unwrap_or_default();
        flags.push(Flag::Fork { expected: hex(&accepted), found });
    }
    if let (Some(before), Some(now)) = (known.clock, seen.clock)
        && seen.attestation_key == known.attestation_key
        && went_back(&before, &now)
    {
        flags.push(Flag::Rollback { before, now });
    }
    if !known.attestation_key.is_empty() && seen.attestation_key != known.attestation_key {
        flags.push(Flag::NewAttestationKey);
    }
    if known.identity.is_some_and(|identity| identity != seen.identity) {
        flags.push(Flag::NewIdentityKey);
    }
}

/// The clock alone may step back when power is lost, but then the reset counter rises.
fn went_back(before: &TpmClock, now: &TpmClock) -> bool {
    let order = |clock: &TpmClock| (clock.reset_count, clock.restart_count, clock.clock_ms);
    order(now) < order(before)
}

#[cfg(test)]
mod succession_tests;
#[cfg(test)]
mod tests;
