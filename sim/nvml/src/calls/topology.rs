//! How GPUs reach each other and the CPUs.

use super::device_calls;
use crate::abi::{self, Device, Ret, put, take};
use crate::fields::Field;
use crate::world::{Handle, enter};
use std::ffi::{c_uint, c_ulong};

const SAME_NODE: c_uint = 40;
const OTHER_NODE: c_uint = 50;

fn level(one: &crate::gpu::Fixed, other: &crate::gpu::Fixed) -> c_uint {
    if one.numa_node == other.numa_node { SAME_NODE } else { OTHER_NODE }
}

/// Both ends of a question about two GPUs. Their states are not held together, so the order does not matter.
fn pair(function: &str, one: Device, other: Device) -> Result<(usize, usize, bool, bool), Ret> {
    let one = enter(function, one)?.physical()?;
    let (first, links, peers) =
        (one.index, one.u32(Field::NVLINK_LINKS).unwrap_or(0), one.u32(Field::P2P_SUPPORTED).unwrap_or(0));
    drop(one);
    let other = enter(function, other)?.physical()?;
    Ok((first, other.index, links > 0, peers > 0))
}

/// NVML's `nvmlDeviceGetTopologyCommonAncestor`.
#[unsafe(no_mangle)]
pub extern "C" fn nvmlDeviceGetTopologyCommonAncestor(one: Device, other: Device, path: *mut c_uint) -> Ret {
    super::answer((|| {
        let (one, other, _, _) = pair("nvmlDeviceGetTopologyCommonAncestor", one, other)?;
        let gpus = &crate::world::ready()?.gpus;
        put(path, if one == other { 0 } else { level(&gpus[one].fixed, &gpus[other].fixed) })
    })())
}

/// NVML's `nvmlDeviceGetP2PStatus`.
#[unsafe(no_mangle)]
pub extern "C" fn nvmlDeviceGetP2PStatus(
    one: Device,
    other: Device,
    capability: c_uint,
    status: *mut c_uint,
) -> Ret {
    super::answer((|| {
        let (one, other, links, peers) = pair("nvmlDeviceGetP2PStatus", one, other)?;
        const CHIPSET_NOT_SUPPORTED: c_uint = 1;
        const NOT_SUPPORTED: c_uint = 5;
        let reachable = one != other && peers;
        put(
            status,
            match capability {
                0 | 1 | 3 | 4 if reachable => 0,
                2 if reachable && links => 0,
                2 => NOT_SUPPORTED,
                0..=4 => CHIPSET_NOT_SUPPORTED,
                _ => return Err(abi::INVALID_ARGUMENT),
            },
        )
    })())
}

device_calls! {
    nvmlDeviceGetTopologyNearestGpus |here| (asked: c_uint, count: *mut c_uint, devices: *mut Device) {
        let gpus = here.world.gpus.iter().enumerate();
        let near: Vec<Device> = gpus
            .filter(|(index, gpu)| *index != here.index && level(&here.gpu.fixed, &gpu.fixed) == asked)
            .map(|(gpu, _)| Handle { incarnation: here.world.incarnation(), gpu, mig: None }.to_device())
            .collect();
        let room = take(count)? as usize;
        put(count, near.len() as c_uint)?;
        if devices.is_null() {
            return Ok(());
        }
        abi::put_array(devices, &near[..near.len().min(room)])
    }
    nvmlDeviceGetCpuAffinity |here| (words: c_uint, set: *mut c_ulong) {
        if words == 0 || set.is_null() {
            return Err(abi::INVALID_ARGUMENT);
        }
        let cpus = u64::from(here.world.profile.cpus_per_numa_node);
        let first = u64::from(here.gpu.fixed.numa_node) * cpus;
        let bits: Vec<c_ulong> = (0..u64::from(words.min(4096)))
            .map(|word| (0..64).filter(|bit| (first..first + cpus).contains(&(word * 64 + bit))).map(|bit| 1 << bit).sum())
            .collect();
        abi::put_array(set, &bits)
    }
}
