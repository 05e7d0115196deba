//! Messages that came before their session record, held for a while within bounds.

use std::collections::HashMap;

use super::Settings;
use crate::ids::NodeId;

/// A message as it came.
#[derive(Debug, Clone)]
pub(super) struct Pending {
    pub(super) topic: String,
    pub(super) payload: Vec<u8>,
    pub(super) received_unix_ms: u64,
}

/// Held messages by the node id that they name (which nobody has verified).
#[derive(Debug, Default)]
pub(super) struct Held {
    nodes: HashMap<NodeId, Vec<Pending>>,
    bytes: usize,
    /// Messages that were held too long and thrown away.
    pub(super) expired: u64,
}

impl Held {
    /// Keeps a message; false when there is no room.
    pub(super) fn keep(&mut self, node: NodeId, pending: Pending, settings: &Settings) -> bool {
        let (now, size) = (pending.received_unix_ms, pending.payload.len());
        if self.is_full(&node, size, settings) {
            self.expire(now, settings);
        }
        if self.is_full(&node, size, settings) {
            return false;
        }
        self.bytes += size;
        self.nodes.entry(node).or_default().push(pending);
        true
    }

    fn is_full(&self, node: &NodeId, size: usize, settings: &Settings) -> bool {
        self.bytes + size > settings.held_bytes
            || match self.nodes.get(node) {
                Some(list) => list.len() >= settings.held_per_node,
                None => self.nodes.len() >= settings.max_nodes,
            }
    }

    fn expire(&mut self, now_unix_ms: u64, settings: &Settings) {
        let (mut bytes, mut expired) = (0, 0);
        self.nodes.retain(|_, list| {
            list.retain(|pending| {
                let keep = now_unix_ms.saturating_sub(pending.received_unix_ms) <= settings.hold_ms;
                if keep {
                    bytes += pending.payload.len();
                } else {
                    expired += 1;
                }
                keep
            });
            !list.is_empty()
        });
        self.bytes = bytes;
        self.expired += expired;
    }

    /// Takes out everything held for a node.
    pub(super) fn release(&mut self, node: &NodeId) -> Vec<Pending> {
        let list = self.nodes.remove(node).unwrap_or_default();
        self.bytes -= list.iter().map(|pending| pending.payload.len()).sum::<usize>();
        list
    }

    /// Number of messages held now.
    pub(super) fn len(&self) -> usize {
        self.nodes.values().map(Vec::len).sum()
    }
}
