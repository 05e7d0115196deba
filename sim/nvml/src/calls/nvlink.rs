//! NVLink.

use super::device_calls;
use crate::abi::{self, PciInfo, Ret, fixed_text, put};
use crate::fields::Field;
use crate::gpu::{Link, MAX_LINKS};
use crate::world::Here;
use std::ffi::{c_uint, c_ulonglong};

/// The link `number`, if the GPU has it.
pub(crate) fn link(here: &Here, number: c_uint) -> Result<Link, Ret> {
    let links = here.u32(Field::NVLINK_LINKS)?;
    if links == 0 {
        return Err(abi::NOT_SUPPORTED);
    }
    here.state.links.get(number as usize).filter(|_| number < links).copied().ok_or(abi::INVALID_ARGUMENT)
}

/// Number of links that are up.
pub(crate) fn links_up(here: &Here) -> Result<u32, Ret> {
    let links = here.u32(Field::NVLINK_LINKS)?.min(MAX_LINKS as u32);
    Ok((0..links).filter(|number| !here.state.links[*number as usize].down).count() as u32)
}

device_calls! {
    nvmlDeviceGetNvLinkState |here| (number: c_uint, active: *mut c_uint) {
        put(active, c_uint::from(!link(&here, number)?.down))
    }
    nvmlDeviceGetNvLinkVersion |here| (number: c_uint, version: *mut c_uint) {
        link(&here, number)?;
        here.put_u32(version, Field::NVLINK_VERSION)
    }
    nvmlDeviceGetNvLinkCapability |here| (number: c_uint, capability: c_uint, result: *mut c_uint) {
        link(&here, number)?;
        // Peer access and atomics, system memory access and atomics, and "valid"; no SLI bridge.
        match capability {
            0..=3 | 5 => put(result, 1),
            4 => put(result, 0),
            _ => Err(abi::INVALID_ARGUMENT),
        }
    }
    nvmlDeviceGetNvLinkErrorCounter |here| (number: c_uint, counter: c_uint, value: *mut c_ulonglong) {
        let [crc, replay, recovery] = link(&here, number)?.errors;
        match counter {
            0 => put(value, replay.into()),
            1 => put(value, recovery.into()),
            2 => put(value, crc.into()),
            3 | 4 => put(value, 0),
            _ => Err(abi::INVALID_ARGUMENT),
        }
    }
    nvmlDeviceGetNvLinkRemoteDeviceType |here| (number: c_uint, kind: *mut c_uint) {
        if link(&here, number)?.down {
            return Err(abi::NOT_SUPPORTED);
        }
        here.put_u32(kind, Field::NVLINK_REMOTE_TYPE)
    }
    nvmlDeviceGetNvLinkRemotePciInfo_v2 |here| (number: c_uint, pci: *mut PciInfo) {
        if link(&here, number)?.down {
            return Err(abi::NOT_SUPPORTED);
        }
        // Four simulated switches, or the peer GPU, take the links in turn.
        let bus = 0xC1 + number % 4;
        put(pci, PciInfo {
            bus_id_legacy: fixed_text(&format!("0000:{bus:02X}:00.0")),
            domain: 0,
            bus,
            device: 0,
            pci_device_id: 0x22A3_10DE,
            pci_subsystem_id: 0x1796_10DE,
            bus_id: fixed_text(&format!("00000000:{bus:02X}:00.0")),
        })
    }
}
