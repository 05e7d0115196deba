//! Platform configuration registers of the SHA-256 bank.

use rackmark_model::tpm::TpmFault;
use tss_esapi::Context;
use tss_esapi::interface_types::algorithm::HashingAlgorithm;
use tss_esapi::structures::{PcrSelectionList, PcrSelectionListBuilder, PcrSlot};

use super::fault::Failed;

/// Registers that anybody can reset: a quote of them says nothing.
const RESETTABLE: u32 = 1 << 16 | 1 << 23;

/// Registers of the PC client profile.
const REGISTERS: u32 = 24;

/// Reads of the registers until they stand still. Between boot and login they change a few times a second at most.
pub(super) const READS: usize = 5;

/// Registers at one moment.
pub(super) struct Registers {
    /// Moves with every change of any register.
    pub(super) counter: u32,
    /// By rising index.
    pub(super) values: Vec<(u8, Vec<u8>)>,
}

/// The registers whose bits are set.
pub(super) fn slots(registers: u32) -> Result<Vec<PcrSlot>, Failed> {
    if registers & RESETTABLE != 0 || registers >> REGISTERS != 0 || registers == 0 {
        return Err(Failed::refused(TpmFault::Other, format!("registers {registers:#x} are not quoted")));
    }
    let set = (0..REGISTERS).map(|index| 1_u32 << index).filter(|bit| registers & bit != 0);
    set.map(|bit| PcrSlot::try_from(bit).map_err(Failed::from)).collect()
}

/// A selection of registers.
pub(super) fn selection(slots: &[PcrSlot]) -> Result<PcrSelectionList, Failed> {
    let selection = PcrSelectionListBuilder::new().with_selection(HashingAlgorithm::Sha256, slots);
    selection.build().map_err(Failed::from)
}

/// One command gives eight registers at most, so there are several; the counter says whether they belong together.
pub(super) fn read(context: &mut Context, slots: &[PcrSlot]) -> Result<Registers, Failed> {
    'again: for _ in 0..READS {
        let mut values = Vec::with_capacity(slots.len());
        let mut first = None;
        for chunk in slots.chunks(8) {
            let wanted = selection(chunk)?;
            let (counter, _, digests) =
                context.execute_without_session(|context| context.pcr_read(wanted)).map_err(Failed::from)?;
            if digests.len() != chunk.len() {
                return Err(Failed::refused(TpmFault::Other, "the TPM has no SHA-256 bank"));
            }
            if *first.get_or_insert(counter) != counter {
                continue 'again;
            }
            for (slot, digest) in chunk.iter().zip(digests.value()) {
                let index = u32::from(*slot).trailing_zeros();
                values.push((u8::try_from(index).unwrap_or(u8::MAX), digest.to_vec()));
            }
        }
        return Ok(Registers { counter: first.unwrap_or_default(), values });
    }
    Err(restless())
}

/// They change faster than they can be read.
pub(super) fn restless() -> Failed {
    Failed::passing(TpmFault::Busy, format!("the registers changed during each of {READS} tries"))
}
