//! `nvmlDeviceGetFieldValues`: figures by field id and scope.

use super::any_device_calls;
use super::nvlink::{link, links_up};
use crate::abi::{self, FieldValue, Ret, put, take};
use crate::fields::Field;
use crate::gpu::field_return;
use crate::world::Here;
use std::ffi::c_int;

/// Most values that one call asks for.
const MAX_VALUES: c_int = 1024;

/// NVML's value types.
enum Typed {
    Unsigned(u32),
    Long(u64),
    Signed(i32),
}

impl Typed {
    /// Value type and the bytes of the union.
    fn parts(self) -> (u32, u64) {
        match self {
            Typed::Unsigned(value) => (1, value.into()),
            Typed::Long(value) => (3, value),
            Typed::Signed(value) => (5, value.cast_unsigned().into()),
        }
    }
}

/// Power fields: scope 0 is the GPU, 1 the module, 2 the memory.
fn scoped(scope: u32, fields: [Option<Field>; 3]) -> Result<Field, Ret> {
    match fields.get(scope as usize) {
        Some(Some(field)) => Ok(*field),
        Some(None) => Err(abi::NOT_SUPPORTED),
        None => Err(abi::INVALID_ARGUMENT),
    }
}

/// A per-link number: one link by scope, or their sum for a scope of all ones.
fn per_link(here: &Here, scope: u32, value: impl Fn(u32) -> Result<u64, Ret>) -> Result<u64, Ret> {
    if scope != u32::MAX {
        link(here, scope)?;
        return value(scope);
    }
    let links = here.u32(Field::NVLINK_LINKS)?;
    if links == 0 {
        return Err(abi::NOT_SUPPORTED);
    }
    (0..links.min(crate::gpu::MAX_LINKS as u32)).map(value).sum()
}

/// Payload of all links, shared evenly by those that are up. The raw counters include the protocol's eighth.
fn traffic(here: &Here, scope: u32, field: Field, raw: bool) -> Result<u64, Ret> {
    let kib = here.u64(field)? / 1024;
    let kib = if raw { kib + kib / 8 } else { kib };
    if scope == u32::MAX {
        return Ok(kib);
    }
    let up = u64::from(links_up(here)?.max(1));
    // The remainder goes to link 0, so that the links add up to their sum.
    let share = if link(here, scope)?.down { 0 } else { kib / up };
    Ok(if scope == 0 { share + kib % up } else { share })
}

/// Field ids that stand for one figure, with its type: `u` unsigned, `l` unsigned long long, `s` signed.
#[rustfmt::skip]
const PLAIN: &[(u32, char, Field)] = &[
    (1, 'u', Field::ECC_MODE), (2, 'u', Field::ECC_MODE_PENDING),
    (3, 'l', Field::ECC_CORRECTED_VOLATILE), (4, 'l', Field::ECC_UNCORRECTED_VOLATILE),
    (5, 'l', Field::ECC_CORRECTED_AGGREGATE), (6, 'l', Field::ECC_UNCORRECTED_AGGREGATE),
    (7, 'l', Field::ECC_COR_VOL_L1), (8, 'l', Field::ECC_UNC_VOL_L1),
    (9, 'l', Field::ECC_COR_VOL_L2), (10, 'l', Field::ECC_UNC_VOL_L2),
    (11, 'l', Field::ECC_COR_VOL_DRAM), (12, 'l', Field::ECC_UNC_VOL_DRAM),
    (13, 'l', Field::ECC_COR_VOL_REGISTER), (14, 'l', Field::ECC_UNC_VOL_REGISTER),
    (15, 'l', Field::ECC_COR_VOL_TEXTURE), (16, 'l', Field::ECC_UNC_VOL_TEXTURE),
    (17, 'l', Field::ECC_UNC_VOL_CBU),
    (18, 'l', Field::ECC_COR_AGG_L1), (19, 'l', Field::ECC_UNC_AGG_L1),
    (20, 'l', Field::ECC_COR_AGG_L2), (21, 'l', Field::ECC_UNC_AGG_L2),
    (22, 'l', Field::ECC_COR_AGG_DRAM), (23, 'l', Field::ECC_UNC_AGG_DRAM),
    (24, 'l', Field::ECC_COR_AGG_REGISTER), (25, 'l', Field::ECC_UNC_AGG_REGISTER),
    (26, 'l', Field::ECC_COR_AGG_TEXTURE), (27, 'l', Field::ECC_UNC_AGG_TEXTURE),
    (28, 'l', Field::ECC_UNC_AGG_CBU),
    (29, 'l', Field::RETIRED_SINGLE), (30, 'l', Field::RETIRED_DOUBLE), (31, 'u', Field::RETIRED_PENDING),
    (74, 'l', Field::SW_POWER_CAP_TIME), (75, 'l', Field::SW_THERMAL_TIME), (76, 'l', Field::SYNC_BOOST_TIME),
    (82, 'u', Field::TEMPERATURE_MEMORY), (83, 'l', Field::ENERGY_TOTAL),
    (90, 'u', Field::NVLINK_SPEED), (91, 'u', Field::NVLINK_LINKS),
    (94, 'u', Field::PCIE_REPLAYS), (95, 'u', Field::PCIE_REPLAY_ROLLOVERS),
    (142, 'u', Field::REMAPPED_CORRECTED), (143, 'u', Field::REMAPPED_UNCORRECTED),
    (144, 'u', Field::REMAPPED_PENDING), (145, 'u', Field::REMAPPED_FAILURE),
    (187, 'u', Field::POWER_LIMIT_MIN), (188, 'u', Field::POWER_LIMIT_MAX), (189, 'u', Field::POWER_LIMIT_DEFAULT),
    (190, 'u', Field::POWER_LIMIT), (191, 'l', Field::ENERGY_TOTAL), (192, 'u', Field::POWER_LIMIT_REQUESTED),
    (193, 's', Field::TLIMIT_SHUTDOWN), (194, 's', Field::TLIMIT_SLOWDOWN),
    (195, 's', Field::TLIMIT_MEMORY_MAX), (196, 's', Field::TLIMIT_GPU_MAX),
    (230, 'u', Field::RECOVERY_ACTION),
    (251, 'l', Field::SW_THERMAL_TIME), (252, 'l', Field::HW_THERMAL_TIME), (253, 'l', Field::HW_POWER_BRAKE_TIME),
];

/// Position in [`PLAIN`] by field id; 255 for ids that are not there.
const PLAIN_AT: [u8; 256] = {
    let mut at = [255; 256];
    let mut position = 0;
    while position < PLAIN.len() {
        at[PLAIN[position].0 as usize] = position as u8;
        position += 1;
    }
    at
};

/// Old per-link error counters by id: first id, number of links it covers from `first link` on, and the kind
/// (0 CRC, 1 replay, 2 recovery, 3 always zero). The id after links 0..5 is their total.
const OLD_LINK_ERRORS: &[(u32, u32, u32, usize)] = &[
    (32, 6, 0, 0),
    (39, 6, 0, 3),
    (46, 6, 0, 1),
    (53, 6, 0, 2),
    (96, 6, 6, 0),
    (102, 6, 6, 3),
    (108, 6, 6, 1),
    (114, 6, 6, 2),
    (148, 12, 0, 3),
];

fn link_errors(here: &Here, number: u32, kind: usize) -> Result<u64, Ret> {
    let errors = link(here, number)?.errors;
    Ok(errors.get(kind).copied().unwrap_or(0).into())
}

fn old_link_errors(here: &Here, id: u32) -> Option<Result<u64, Ret>> {
    if let Some(kind) = [(38, 0), (45, 3), (52, 1), (59, 2), (160, 3)]
        .iter()
        .find(|(total, _)| *total == id)
        .map(|(_, kind)| *kind)
    {
        return Some(per_link(here, u32::MAX, |number| link_errors(here, number, kind)));
    }
    let (first, _, link, kind) =
        OLD_LINK_ERRORS.iter().find(|(first, count, ..)| (*first..first + count).contains(&id))?;
    Some(link_errors(here, link + id - first, *kind))
}

/// CUDA 13 update 1 gave the clock event counters (251 to 255) the numbers 269
/// to 273, and theirs to power smoothing, which nothing here has.
fn renumbered(here: &Here, id: u32) -> Result<u32, Ret> {
    match (id, here.world.driver_is_at_least((580, 82))) {
        (269..=273, true) => Ok(id - 18),
        (251..=268, true) | (256..=273, false) => Err(abi::NOT_SUPPORTED),
        (same, _) => Ok(same),
    }
}

fn value(here: &Here, id: u32, scope: u32) -> Result<Typed, Ret> {
    field_return(&here.state, id)?;
    let id = if id > 250 { renumbered(here, id)? } else { id };
    // Limits have the scopes of the power fields; no profile has a module's.
    if (187..=192).contains(&id) && scope != 0 {
        return Err(abi::NOT_SUPPORTED);
    }
    let plain = PLAIN_AT.get(id as usize).and_then(|at| PLAIN.get(usize::from(*at)));
    if let Some((_, kind, field)) = plain {
        return match kind {
            'u' => here.u32(*field).map(Typed::Unsigned),
            's' => here.i32(*field).map(Typed::Signed),
            _ => here.u64(*field).map(Typed::Long),
        };
    }
    if let Some(errors) = Some(id).filter(|id| *id < 161).and_then(|id| old_link_errors(here, id)) {
        return errors.map(Typed::Long);
    }
    Ok(match id {
        77..=81 => here.u64(Field::SW_POWER_CAP_TIME).map(|_| Typed::Long(0))?,
        84..=89 => {
            link(here, id - 84)?;
            Typed::Unsigned(here.u32(Field::NVLINK_SPEED)?)
        }
        132..=137 => {
            link(here, id - 126)?;
            Typed::Unsigned(here.u32(Field::NVLINK_SPEED)?)
        }
        138 => Typed::Long(traffic(here, scope, Field::NVLINK_TRANSMIT, false)?),
        139 => Typed::Long(traffic(here, scope, Field::NVLINK_RECEIVE, false)?),
        140 => Typed::Long(traffic(here, scope, Field::NVLINK_TRANSMIT, true)?),
        141 => Typed::Long(traffic(here, scope, Field::NVLINK_RECEIVE, true)?),
        147 => Typed::Unsigned(links_up(here)?),
        161 => Typed::Long(per_link(here, scope, |number| link_errors(here, number, 1))?),
        162 => Typed::Long(per_link(here, scope, |number| link_errors(here, number, 2))?),
        163 => Typed::Long(per_link(here, scope, |number| link_errors(here, number, 0))?),
        164 => {
            let speed = if link(here, scope)?.down { 0 } else { here.u32(Field::NVLINK_SPEED)? };
            Typed::Unsigned(speed)
        }
        165 => Typed::Unsigned(u32::from(!link(here, scope)?.down)),
        166 => {
            link(here, scope)?;
            Typed::Unsigned(here.u32(Field::NVLINK_VERSION)?)
        }
        185 => {
            let field = scoped(
                scope,
                [
                    Some(Field::POWER_DRAW),
                    Some(Field::POWER_MODULE_AVERAGE),
                    Some(Field::POWER_MEMORY_AVERAGE),
                ],
            )?;
            Typed::Unsigned(here.u32(field)?)
        }
        186 => {
            let field = scoped(
                scope,
                [
                    Some(Field::POWER_INSTANT),
                    Some(Field::POWER_MODULE_INSTANT),
                    Some(Field::POWER_MEMORY_INSTANT),
                ],
            )?;
            Typed::Unsigned(here.u32(field)?)
        }
        0 => return Err(abi::INVALID_ARGUMENT),
        _ => return Err(abi::NOT_SUPPORTED),
    })
}

any_device_calls! {
    nvmlDeviceGetFieldValues |here| (count: c_int, values: *mut FieldValue) {
        if !(1..=MAX_VALUES).contains(&count) || values.is_null() {
            return Err(abi::INVALID_ARGUMENT);
        }
        let stamp = i64::try_from(here.world.now_unix_ms()).unwrap_or(0) * 1000;
        for at in 0..count as usize {
            let item = values.wrapping_add(at);
            let asked = take(item)?;
            let answer = match here.mig {
                None => value(&here, asked.field_id, asked.scope_id).map(Typed::parts),
                Some(_) => Err(abi::NOT_SUPPORTED),
            };
            let (ret, value_type, value) = match answer {
                Ok((value_type, value)) => (abi::SUCCESS, value_type, value),
                Err(code) => (code, 1, 0),
            };
            put(item, FieldValue { timestamp_us: stamp, latency_us: 1, value_type, ret, value, ..asked })?;
        }
        Ok(())
    }
}
