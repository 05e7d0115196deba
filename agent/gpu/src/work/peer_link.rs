//! Links to the other GPUs of the node: words go there and come back, and every one of them is looked at.

use rackmark_model::gpu_work::{FigureKind, FigurePart, Place};

use super::cuda::{CudaError, Function, Gpu, Peer, Stretch};
use super::memory_pattern::judge_link;
use super::meter::Work;
use super::modules::Modules;
use super::test::{Judged, Slot, Test, Wrong};
use crate::abi::{self, MemoryPattern as Parameter, WordErrors};

/// Bytes of a transfer.
const TRANSFER_BYTES: u64 = 64 << 20;
const FLIP_INDEX: u64 = 8_191;
const FLIP_MASK: u64 = 1 << 60;

pub struct PeerLink {
    fill: Function,
    verify: Function,
    blocks: u32,
    out: Stretch,
    back: Stretch,
    peers: Vec<Peer>,
    seed: u64,
}

impl PeerLink {
    /// None where no other GPU can be reached, or no kernel of it runs on this one.
    ///
    /// # Errors
    /// [`CudaError`].
    pub fn new(
        gpu: &Gpu,
        modules: &mut Modules<'_>,
        memory: Stretch,
        seed: u64,
    ) -> Result<Option<Self>, CudaError> {
        let (Some(fill), Some(verify)) =
            (modules.kernel(abi::MEMORY_FILL)?, modules.kernel(abi::MEMORY_VERIFY)?)
        else {
            return Ok(None);
        };
        let bytes = TRANSFER_BYTES.min(memory.bytes / 4 / 256 * 256);
        let Some((out, rest)) = memory.split(bytes) else { return Ok(None) };
        let Some((back, _)) = rest.split(bytes) else { return Ok(None) };
        let peers = gpu.peers(bytes)?;
        if peers.is_empty() || bytes / 8 <= FLIP_INDEX {
            return Ok(None);
        }
        let blocks = gpu.blocks(abi::MEMORY_VERIFY, 0);
        Ok(Some(Self { fill, verify, blocks, out, back, peers, seed }))
    }

    fn parameter(&self, slot: &Slot, memory: Stretch, number: u64, flip: bool) -> Parameter {
        Parameter {
            pairs: memory.at,
            pair_count: memory.bytes / 16,
            first_index: 0,
            seed: self.seed ^ number,
            flip_index: FLIP_INDEX,
            flip_mask: if flip { FLIP_MASK } else { 0 },
            errors: slot.record.at,
            inverted: 0,
            pass: 0,
        }
    }
}

impl Test for PeerLink {
    fn record_bytes(&self) -> u64 {
        size_of::<WordErrors>() as u64
    }

    fn memory_bytes(&self) -> u64 {
        2 * self.out.bytes
    }

    fn launch(&mut self, gpu: &Gpu, slot: &Slot, number: u64, flip: bool) -> Result<Work, CudaError> {
        let at = usize::try_from(number).unwrap_or(usize::MAX) % self.peers.len();
        let peer = &self.peers[at];
        gpu.launch(self.fill, self.blocks, &self.parameter(slot, self.out, number, false))?;
        gpu.set(slot.begin)?;
        gpu.to_peer(peer, self.out)?;
        gpu.back_from(peer, self.back)?;
        gpu.set(slot.end)?;
        gpu.launch(self.verify, self.blocks, &self.parameter(slot, self.back, number, flip))?;
        let part = FigurePart::Peer(u8::try_from(at).unwrap_or(u8::MAX));
        Ok(Work { part, kind: FigureKind::MegabytesPerSecond, amount: 2 * self.out.bytes })
    }

    fn judge(&mut self, number: u64, record: &[u8]) -> Judged {
        judge_link(record, self.back.bytes / 8, number)
    }

    fn is_spoiled(&self, wrong: &Wrong) -> bool {
        let place = Place::Link { offset: 8 * FLIP_INDEX };
        wrong.place == place && (wrong.rose | wrong.fell) & FLIP_MASK != 0
    }

    fn scale(&mut self, _: u64) {}
}
