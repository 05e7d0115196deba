//! Memory errors, row remapping, page retirement, repair.

use super::{any_device_calls, device_calls};
use crate::abi::{
    self, EccErrorCounts, RepairStatus, Ret, RowRemapperHistogram, SramErrorStatus, SramUniqueCounts,
    UnrepairableMemory, put, take, take_version, version_word,
};
use crate::fields::Field;
use crate::world::Here;
use std::ffi::{c_uint, c_ulonglong};

/// Total of an error type (0 corrected, 1 uncorrected) over a counter type (0 volatile, 1 aggregate).
fn total(error: c_uint, counter: c_uint) -> Result<Field, Ret> {
    match (error, counter) {
        (0, 0) => Ok(Field::ECC_CORRECTED_VOLATILE),
        (1, 0) => Ok(Field::ECC_UNCORRECTED_VOLATILE),
        (0, 1) => Ok(Field::ECC_CORRECTED_AGGREGATE),
        (1, 1) => Ok(Field::ECC_UNCORRECTED_AGGREGATE),
        _ => Err(abi::INVALID_ARGUMENT),
    }
}

/// First of the eight locations of an error and counter type.
fn locations(error: c_uint, counter: c_uint) -> Result<Field, Ret> {
    match (error, counter) {
        (0, 0) => Ok(Field::ECC_COR_VOL_L1),
        (1, 0) => Ok(Field::ECC_UNC_VOL_L1),
        (0, 1) => Ok(Field::ECC_COR_AGG_L1),
        (1, 1) => Ok(Field::ECC_UNC_AGG_L1),
        _ => Err(abi::INVALID_ARGUMENT),
    }
}

fn retired(here: &Here, cause: c_uint, count: *mut c_uint) -> Result<(), Ret> {
    let field = match cause {
        0 => Field::RETIRED_SINGLE,
        1 => Field::RETIRED_DOUBLE,
        _ => return Err(abi::INVALID_ARGUMENT),
    };
    let pages = here.u32(field)?;
    let room = take(count)?;
    put(count, pages)?;
    if room < pages { Err(abi::INSUFFICIENT_SIZE) } else { Ok(()) }
}

/// Made-up page addresses: 64 KiB apart, from 1 MiB on.
fn page_addresses(count: u32) -> Vec<c_ulonglong> {
    (0..u64::from(count)).map(|page| (1 << 20) + (page << 16)).collect()
}

any_device_calls! {
    nvmlDeviceGetMemoryErrorCounter |here| (error: c_uint, counter: c_uint, location: c_uint, count: *mut c_ulonglong) {
        let first = locations(error, counter)?;
        if location >= 8 {
            return Err(abi::INVALID_ARGUMENT);
        }
        if let Some(mig) = here.mig() {
            return match (error, counter, location) {
                (1, 0, 7) => put(count, mig.sram_uncorrected),
                _ => Err(abi::NOT_SUPPORTED),
            };
        }
        here.put_u64(count, first.after(location as usize))
    }
}

device_calls! {
    nvmlDeviceGetEccMode |here| (current: *mut c_uint, pending: *mut c_uint) {
        put(current, here.u32(Field::ECC_MODE)?)?;
        here.put_u32(pending, Field::ECC_MODE_PENDING)
    }
    nvmlDeviceGetDefaultEccMode |here| (mode: *mut c_uint) { here.put_u32(mode, Field::ECC_MODE_DEFAULT) }
    nvmlDeviceGetTotalEccErrors |here| (error: c_uint, counter: c_uint, count: *mut c_ulonglong) {
        here.put_u64(count, total(error, counter)?)
    }
    nvmlDeviceGetDetailedEccErrors |here| (error: c_uint, counter: c_uint, counts: *mut EccErrorCounts) {
        let first = locations(error, counter)?;
        here.u64(total(error, counter)?)?;
        let at = |location| here.u64(first.after(location)).unwrap_or(0);
        put(counts, EccErrorCounts { l1: at(0), l2: at(1), device_memory: at(2), register_file: at(3) })
    }
    nvmlDeviceGetSramEccErrorStatus |here| (status: *mut SramErrorStatus) {
        let version = take_version(status)?;
        if version != version_word::<SramErrorStatus>(1) {
            return Err(abi::ARGUMENT_VERSION_MISMATCH);
        }
        let or_zero = |field| here.u64(field).unwrap_or(0);
        put(status, SramErrorStatus {
            version,
            aggregate_parity: here.u64(Field::SRAM_AGG_PARITY)?,
            aggregate_secded: here.u64(Field::SRAM_AGG_SECDED)?,
            aggregate_corrected: or_zero(Field::ECC_COR_AGG_SRAM),
            volatile_parity: here.u64(Field::SRAM_VOL_PARITY)?,
            volatile_secded: here.u64(Field::SRAM_VOL_SECDED)?,
            volatile_corrected: or_zero(Field::ECC_COR_VOL_SRAM),
            l2: or_zero(Field::SRAM_L2),
            sm: or_zero(Field::SRAM_SM),
            pcie: or_zero(Field::SRAM_PCIE),
            mcu: or_zero(Field::SRAM_MCU),
            other: or_zero(Field::SRAM_OTHER),
            threshold_exceeded: here.u32(Field::SRAM_THRESHOLD_EXCEEDED).unwrap_or(0),
        })
    }
    nvmlDeviceGetSramUniqueUncorrectedEccErrorCounts |here| (counts: *mut SramUniqueCounts) {
        let asked = take(counts)?;
        if asked.version != version_word::<SramUniqueCounts>(1) {
            return Err(abi::ARGUMENT_VERSION_MISMATCH);
        }
        here.u64(Field::SRAM_AGG_PARITY)?;
        put(counts, SramUniqueCounts { entry_count: 0, ..asked })
    }
    nvmlDeviceGetRemappedRows |here| (corrected: *mut c_uint, uncorrected: *mut c_uint, pending: *mut c_uint, failure: *mut c_uint) {
        put(corrected, here.u32(Field::REMAPPED_CORRECTED)?)?;
        put(uncorrected, here.u32(Field::REMAPPED_UNCORRECTED)?)?;
        put(pending, here.u32(Field::REMAPPED_PENDING)?)?;
        here.put_u32(failure, Field::REMAPPED_FAILURE)
    }
    nvmlDeviceGetRowRemapperHistogram |here| (values: *mut RowRemapperHistogram) {
        put(values, RowRemapperHistogram {
            max: here.u32(Field::REMAP_BANKS_MAX)?,
            high: here.u32(Field::REMAP_BANKS_HIGH)?,
            partial: here.u32(Field::REMAP_BANKS_PARTIAL)?,
            low: here.u32(Field::REMAP_BANKS_LOW)?,
            none: here.u32(Field::REMAP_BANKS_NONE)?,
        })
    }
    nvmlDeviceGetRetiredPages |here| (cause: c_uint, count: *mut c_uint, addresses: *mut c_ulonglong) {
        retired(&here, cause, count)?;
        abi::put_array(addresses, &page_addresses(take(count)?))
    }
    nvmlDeviceGetRetiredPages_v2 |here| (cause: c_uint, count: *mut c_uint, addresses: *mut c_ulonglong, stamps: *mut c_ulonglong) {
        retired(&here, cause, count)?;
        let pages = take(count)?;
        abi::put_array(addresses, &page_addresses(pages))?;
        abi::put_array(stamps, &vec![here.world.now_unix_ms() / 1000; pages as usize])
    }
    nvmlDeviceGetRetiredPagesPendingStatus |here| (pending: *mut c_uint) { here.put_u32(pending, Field::RETIRED_PENDING) }
    nvmlDeviceGetRepairStatus |here| (status: *mut RepairStatus) {
        let version = take_version(status)?;
        if version != version_word::<RepairStatus>(1) {
            return Err(abi::ARGUMENT_VERSION_MISMATCH);
        }
        put(status, RepairStatus {
            version,
            channel_pending: here.u32(Field::CHANNEL_REPAIR_PENDING)?,
            tpc_pending: here.u32(Field::TPC_REPAIR_PENDING)?,
        })
    }
    nvmlDeviceGetUnrepairableMemoryFlag_v1 |here| (status: *mut UnrepairableMemory) {
        let version = take_version(status)?;
        if version != version_word::<UnrepairableMemory>(1) {
            return Err(abi::ARGUMENT_VERSION_MISMATCH);
        }
        put(status, UnrepairableMemory { version, flag: here.u32(Field::UNREPAIRABLE_MEMORY)? })
    }
}
