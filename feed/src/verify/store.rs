//! A verifier's memory: what it saw of each node before, so that clones, moves and rollbacks show.
//!
//! One bundle says what a node is now. Only memory shows that one endorsement key speaks from two machines, one
//! GPU from two nodes, that an identity has two holders, or that a TPM's counters went back.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

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
    /// Ids of its GPUs: `key:` and the hash of the device certificate's key where the device signed, `serial:` or
    /// `uuid:` else.
    pub devices: Vec<String>,
    /// Devices that it says it gave away, with the ticket.
    pub declared_away: Vec<(String, String)>,
    /// Digest of its evidence.
    pub evidence: [u8; 32],
    /// The evidence that it says this verifier accepted last.
    pub previous: Option<[u8; 32]>,
}

/// Something that memory shows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "flag", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Flag {
    /// One endorsement key, two machines: a cloned TPM state, or a TPM that was carried over.
    EndorsementKeyAtTwoMachines {
        /// The machine that it was seen in before.
        before: String,
        /// The machine that it is in now.
        now: String,
    },
    /// A device that another node, which is live, has too.
    DeviceAtTwoNodes {
        /// The device.
        device: String,
        /// The other node.
        other: String,
    },
    /// A device that another node had, without a word from that node.
    UndeclaredMove {
        /// The device.
        device: String,
        /// The node that had it.
        from: String,
    },
    /// A device that another node had and said it gave away.
    DeclaredMove {
        /// The device.
        device: String,
        /// The node that had it.
        from: String,
        /// The ticket.
        ticket: String,
    },
    /// The evidence does not follow the one accepted last: two holders of one identity, or one restored from a copy.
    Fork {
        /// What it should name, hex.
        expected: String,
        /// What it names, hex; empty for nothing.
        found: String,
    },
    /// The TPM's counters went back: an old quote, or a TPM restored from a copy.
    Rollback {
        /// Before.
        before: TpmClock,
        /// Now.
        now: TpmClock,
    },
    /// A known endorsement key with another attestation key: it was cleared, or it is enrolled anew.
    NewAttestationKey,
    /// The same TPM with another identity key.
    NewIdentityKey,
    /// There is no room to remember the node or all of its devices.
    NoRoom,
}

impl Flag {
    /// Stable name.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::EndorsementKeyAtTwoMachines { .. } => "endorsement_key_at_two_machines",
            Self::DeviceAtTwoNodes { .. } => "device_at_two_nodes",
            Self::UndeclaredMove { .. } => "undeclared_move",
            Self::DeclaredMove { .. } => "declared_move",
            Self::Fork { .. } => "fork",
            Self::Rollback { .. } => "rollback",
            Self::NewAttestationKey => "new_attestation_key",
            Self::NewIdentityKey => "new_identity_key",
            Self::NoRoom => "no_room",
        }
    }

    /// True where the node cannot be what it says, or not alone. Memory then keeps what it had.
    pub const fn contradicts(&self) -> bool {
        matches!(
            self,
            Self::EndorsementKeyAtTwoMachines { .. }
                | Self::DeviceAtTwoNodes { .. }
                | Self::Fork { .. }
                | Self::Rollback { .. }
        )
    }
}

/// What is remembered of a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Known {
    machine: Option<String>,
    identity: [u8; 32],
    attestation_key: Vec<u8>,
    clock: Option<TpmClock>,
    devices: Vec<String>,
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
}

impl Store {
    /// Takes an observation of a node whose bundle is verified. Where a flag contradicts, nothing is remembered
    /// of it: the first holder keeps the identity until a person decides ([`Self::forget`]).
    pub fn observe(&mut self, seen: &Observation, now_unix_ms: u64) -> Vec<Flag> {
        let id = seen.node.to_string();
        let mut flags = Vec::new();
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
        for device in &seen.devices {
            if self.devices.len() < DEVICES || self.devices.contains_key(device) {
                self.devices.insert(device.clone(), id.clone());
            } else if flags.last() != Some(&Flag::NoRoom) {
                flags.push(Flag::NoRoom);
            }
        }
        let known = Known {
            machine: seen.machine.clone(),
            identity: seen.identity,
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

    /// Takes an operator's succession: the new id has the history of the old one.
    pub fn succeed(&mut self, old: &NodeId, new: &NodeId) -> bool {
        let (old, new) = (old.to_string(), new.to_string());
        let Some(known) = self.nodes.remove(&old) else { return false };
        for holder in self.devices.values_mut().filter(|holder| **holder == old) {
            holder.clone_from(&new);
        }
        // The next evidence begins a new chain under the new id, in a machine and with keys that may be new.
        let fresh = Known {
            machine: None,
            clock: None,
            attestation_key: Vec::new(),
            accepted: None,
            doubt: None,
            ..known
        };
        self.nodes.entry(new).or_insert(fresh);
        true
    }

    /// Forgets a node and its devices, by a person's decision.
    pub fn forget(&mut self, node: &NodeId) -> bool {
        let id = node.to_string();
        self.devices.retain(|_, holder| *holder != id);
        self.nodes.remove(&id).is_some()
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
    fn moved(&self, node: &str, device: &str, now_unix_ms: u64) -> Option<Flag> {
        let holder = self.devices.get(device).filter(|holder| *holder != node)?;
        let (device, from) = (device.to_owned(), holder.clone());
        let Some(known) = self.nodes.get(holder) else { return Some(Flag::UndeclaredMove { device, from }) };
        if let Some((_, ticket)) = known.declared_away.iter().find(|(away, _)| *away == device) {
            return Some(Flag::DeclaredMove { device, from, ticket: ticket.clone() });
        }
        let live = now_unix_ms.saturating_sub(known.seen_unix_ms) <= LIVE_MS;
        Some(match live && known.devices.contains(&device) {
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
    if seen.identity != known.identity {
        flags.push(Flag::NewIdentityKey);
    }
}

/// The clock alone may step back when power is lost, but then the reset counter rises.
fn went_back(before: &TpmClock, now: &TpmClock) -> bool {
    let order = |clock: &TpmClock| (clock.reset_count, clock.restart_count, clock.clock_ms);
    order(now) < order(before)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::ids::IdentityClass;

    const DAY: u64 = LIVE_MS;

    fn node(byte: u8) -> NodeId {
        NodeId::from_parts(IdentityClass::Tpm, [byte; 32])
    }

    fn clock(reset_count: u32, restart_count: u32, clock_ms: u64) -> Option<TpmClock> {
        Some(TpmClock { reset_count, restart_count, clock_ms })
    }

    fn seen(of: u8, evidence: u8, previous: Option<u8>) -> Observation {
        Observation {
            node: node(of),
            machine: Some(format!("SERIAL{of}")),
            identity: [of; 32],
            attestation_key: vec![0, 11, of],
            clock: clock(5, 0, 1_000 * u64::from(evidence)),
            devices: vec![format!("serial:{of}")],
            declared_away: Vec::new(),
            evidence: [evidence; 32],
            previous: previous.map(|byte| [byte; 32]),
        }
    }

    fn names(flags: &[Flag]) -> Vec<&'static str> {
        flags.iter().map(Flag::name).collect()
    }

    #[test]
    fn a_chain_goes_on_without_a_flag() {
        let mut store = Store::default();
        assert!(store.observe(&seen(1, 1, None), 0).is_empty());
        assert!(store.observe(&seen(1, 2, Some(1)), DAY).is_empty());
        assert!(store.observe(&seen(1, 3, Some(2)), 2 * DAY).is_empty());
        assert_eq!(store.accepted(&node(1)), Some([3; 32]));
        assert!(store.knows_attestation_key(&node(1), &[0, 11, 1]));
        assert!(!store.knows_attestation_key(&node(1), &[0, 11, 2]));
    }

    #[test]
    fn attack_cloned_state_forks() {
        let mut store = Store::default();
        store.observe(&seen(1, 1, None), 0);
        store.observe(&seen(1, 2, Some(1)), 1);
        // The copy, taken before, goes on from where the original was.
        let flags = store.observe(&seen(1, 9, Some(1)), 2);
        assert_eq!(names(&flags), ["fork"]);
        assert_eq!(store.accepted(&node(1)), Some([2; 32]), "the first holder keeps the identity");
        assert_eq!(names(&store.observe(&seen(1, 9, None), 2)), ["fork"], "a copy that names nothing");
    }

    /// The node never heard that its evidence was accepted, so it names the one before; once.
    #[test]
    fn a_lost_word_of_acceptance_is_no_second_holder() {
        let mut store = Store::default();
        store.observe(&seen(1, 1, None), 0);
        store.doubt(&node(1), None);
        assert!(store.observe(&seen(1, 2, None), 1).is_empty(), "the first one was lost");
        store.doubt(&node(1), Some([1; 32]));
        assert_eq!(names(&store.observe(&seen(1, 3, None), 2)), ["fork"], "that one is over");
        assert!(store.observe(&seen(1, 3, Some(1)), 2).is_empty(), "the second one was lost");
        assert_eq!(names(&store.observe(&seen(1, 4, Some(1)), 3)), ["fork"], "nothing is in doubt");
        store.doubt(&node(1), Some([1; 32]));
        store.confirm(&node(1));
        assert_eq!(names(&store.observe(&seen(1, 4, Some(1)), 3)), ["fork"], "it heard");
    }

    #[test]
    fn attack_one_endorsement_key_at_two_machines() {
        let mut store = Store::default();
        store.observe(&seen(1, 1, None), 0);
        let mut other = seen(1, 2, Some(1));
        other.machine = Some("ANOTHER".into());
        assert_eq!(names(&store.observe(&other, 1)), ["endorsement_key_at_two_machines"]);
    }

    #[test]
    fn attack_one_gpu_at_two_nodes() {
        let mut store = Store::default();
        store.observe(&seen(1, 1, None), 0);
        let mut other = seen(2, 1, None);
        other.devices = vec!["serial:1".into()];
        assert_eq!(names(&store.observe(&other, DAY)), ["device_at_two_nodes"]);
        assert_eq!(store.accepted(&node(2)), None);
    }

    #[test]
    fn attack_undeclared_card_move() {
        let mut store = Store::default();
        store.observe(&seen(1, 1, None), 0);
        let mut without = seen(1, 2, Some(1));
        without.devices.clear();
        store.observe(&without, 1);
        let mut other = seen(2, 1, None);
        other.devices = vec!["serial:1".into()];
        let flags = store.observe(&other, 2);
        assert_eq!(names(&flags), ["undeclared_move"]);
        assert!(!flags[0].contradicts(), "unexplained is not fraud");
        other.evidence = [2; 32];
        other.previous = Some([1; 32]);
        assert!(store.observe(&other, 3).is_empty(), "it is said once");
    }

    #[test]
    fn a_declared_move_is_told_from_an_unexplained_one() {
        let mut store = Store::default();
        store.observe(&seen(1, 1, None), 0);
        let mut without = seen(1, 2, Some(1));
        without.devices.clear();
        without.declared_away = vec![("serial:1".into(), "RMA 4711".into())];
        store.observe(&without, 1);
        let mut other = seen(2, 1, None);
        other.devices = vec!["serial:1".into()];
        let flags = store.observe(&other, 2);
        assert_eq!(
            flags,
            [Flag::DeclaredMove {
                device: "serial:1".into(),
                from: node(1).to_string(),
                ticket: "RMA 4711".into()
            }]
        );
    }

    #[test]
    fn a_silent_node_does_not_hold_its_gpus_for_ever() {
        let mut store = Store::default();
        store.observe(&seen(1, 1, None), 0);
        let mut other = seen(2, 1, None);
        other.devices = vec!["serial:1".into()];
        assert_eq!(names(&store.observe(&other, DAY + 1)), ["undeclared_move"]);
    }

    #[test]
    fn attack_replayed_quote_rolls_back() {
        let mut store = Store::default();
        let mut first = seen(1, 2, None);
        first.clock = clock(5, 3, 1_000);
        store.observe(&first, 0);
        for (reset, restart, ms) in [(4, 9, 9_000), (5, 2, 9_000), (5, 3, 999)] {
            let mut old = seen(1, 3, Some(2));
            old.clock = clock(reset, restart, ms);
            assert_eq!(names(&store.observe(&old, 1)), ["rollback"], "{reset} {restart} {ms}");
        }
        // An unclean power loss: the counter rises while the clock steps back.
        let mut unclean = seen(1, 3, Some(2));
        unclean.clock = clock(6, 0, 717);
        assert!(store.observe(&unclean, 1).is_empty());
    }

    #[test]
    fn a_cleared_tpm_is_a_new_key_and_not_a_new_machine() {
        let mut store = Store::default();
        store.observe(&seen(1, 1, None), 0);
        let mut cleared = seen(1, 2, Some(1));
        cleared.attestation_key = vec![0, 11, 99];
        cleared.clock = clock(0, 0, 5);
        assert_eq!(names(&store.observe(&cleared, 1)), ["new_attestation_key"]);
    }

    #[test]
    fn a_succession_keeps_devices_and_begins_a_chain() {
        let mut store = Store::default();
        store.observe(&seen(1, 1, None), 0);
        assert!(store.succeed(&node(1), &node(2)));
        let mut successor = seen(2, 1, None);
        successor.devices = vec!["serial:1".into()];
        assert_eq!(names(&store.observe(&successor, 1)), ["new_identity_key"]);
        assert!(!store.succeed(&node(1), &node(3)), "it is gone");
        assert_eq!(store.len(), 1);
    }

    proptest! {
        /// However sightings come, a device never counts at two live nodes, and only accepted evidence is the last.
        #[test]
        fn a_device_is_at_one_live_node(steps in proptest::collection::vec((1_u8..4, 0_u8..4, 0_u64..3), 1..60)) {
            let mut store = Store::default();
            let mut now = 0;
            // Naive: who had the device when.
            let mut holders: BTreeMap<u8, (u8, u64)> = BTreeMap::new();
            let mut last: BTreeMap<u8, u8> = BTreeMap::new();
            for (count, (of, device, hours)) in (1_u8..).zip(steps) {
                now += hours * DAY / 2;
                let mut observation = seen(of, count, last.get(&of).copied());
                observation.devices = vec![format!("serial:{device}")];
                let flags = store.observe(&observation, now);
                let taken = holders.iter().any(|(node, (held, at))| {
                    *node != of && *held == device && now - at <= DAY
                });
                // Who was seen later with another device no longer has it.
                prop_assert_eq!(flags.iter().any(Flag::contradicts), taken, "{:?}", flags);
                if !taken {
                    holders.retain(|_, (held, _)| *held != device);
                    holders.insert(of, (device, now));
                    last.insert(of, count);
                }
                prop_assert_eq!(store.accepted(&node(of)), last.get(&of).map(|count| [*count; 32]));
            }
        }
    }
}
