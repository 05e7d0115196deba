//! Frame buffer and BAR1.

use super::any_device_calls;
use crate::abi::{self, Bar1Memory, Memory, MemoryV2, Ret, put, take_version, version_word};
use crate::fields::Field;
use crate::world::Here;

/// Total, reserved, used and free bytes of the GPU or MIG device.
fn bytes(here: &Here) -> Result<[u64; 4], Ret> {
    match here.mig() {
        Some(mig) => Ok(mig.memory_bytes),
        None => Ok([
            here.u64(Field::MEMORY_TOTAL)?,
            here.u64(Field::MEMORY_RESERVED)?,
            here.u64(Field::MEMORY_USED)?,
            here.u64(Field::MEMORY_FREE)?,
        ]),
    }
}

any_device_calls! {
    // The first version has no word for reserved memory: it counts as used.
    nvmlDeviceGetMemoryInfo |here| (memory: *mut Memory) {
        let [total, _, _, free] = bytes(&here)?;
        put(memory, Memory { total, free, used: total.saturating_sub(free) })
    }
    nvmlDeviceGetMemoryInfo_v2 |here| (memory: *mut MemoryV2) {
        let version = take_version(memory)?;
        if version != version_word::<MemoryV2>(2) {
            return Err(abi::ARGUMENT_VERSION_MISMATCH);
        }
        let [total, reserved, used, free] = bytes(&here)?;
        put(memory, MemoryV2 { version, total, reserved, free, used })
    }
    nvmlDeviceGetBAR1MemoryInfo |here| (memory: *mut Bar1Memory) {
        let [total, used, free] = match here.mig() {
            Some(mig) => mig.bar1_bytes,
            None => {
                let (total, used) = (here.u64(Field::BAR1_TOTAL)?, here.u64(Field::BAR1_USED)?);
                let free = here.u64(Field::BAR1_FREE).unwrap_or(total.saturating_sub(used));
                [total, used, free]
            }
        };
        put(memory, Bar1Memory { total, free, used })
    }
}
