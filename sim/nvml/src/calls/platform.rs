//! Fabric and platform.

use super::device_calls;
use crate::abi::{
    self, FabricInfo, FabricInfoV2, FabricInfoV3, PlatformInfo, Ret, put, take_version, version_word,
};
use crate::fields::Field;
use crate::profile::Text;
use crate::world::Here;

/// Version 1 and 2 of the platform struct have one layout; only the version in the word differs.
const PLATFORM_V1: u32 = version_word::<PlatformInfo>(1);
const PLATFORM_V2: u32 = version_word::<PlatformInfo>(2);

/// Cluster UUID of a registered fabric: zeros, as captures of single machines have it.
const CLUSTER_UUID: [u8; 16] = [0; 16];

struct Fabric {
    state: u32,
    status: Ret,
    clique: u32,
    health_mask: u32,
    health_summary: u8,
}

/// Fabric membership of a GPU that has a fabric.
fn fabric(here: &Here) -> Fabric {
    match here.state.get(Field::FABRIC_STATE) {
        Ok(_) => Fabric {
            state: here.u32(Field::FABRIC_STATE).unwrap_or(0),
            status: here.u32(Field::FABRIC_STATUS).unwrap_or(0),
            clique: here.u32(Field::FABRIC_CLIQUE).unwrap_or(0),
            health_mask: here.u32(Field::FABRIC_HEALTH_MASK).unwrap_or(0),
            health_summary: here.u8(Field::FABRIC_HEALTH_SUMMARY).unwrap_or(0),
        },
        Err(code) => Fabric { state: 0, status: code, clique: 0, health_mask: 0, health_summary: 0 },
    }
}

device_calls! {
    nvmlDeviceGetGpuFabricInfo |here| (info: *mut FabricInfo) {
        here.state.get(Field::FABRIC_STATE)?;
        let fabric = fabric(&here);
        put(info, FabricInfo { cluster_uuid: CLUSTER_UUID, status: fabric.status, clique: fabric.clique, state: fabric.state })
    }
    nvmlDeviceGetGpuFabricInfoV |here| (info: *mut FabricInfoV3) {
        here.state.get(Field::FABRIC_STATE)?;
        let version = take_version(info)?;
        let Fabric { state, status, clique, health_mask, health_summary } = fabric(&here);
        let v2 = FabricInfoV2 { version, cluster_uuid: CLUSTER_UUID, status, clique, state, health_mask };
        if version == version_word::<FabricInfoV2>(2) {
            put(info.cast::<FabricInfoV2>(), v2)
        } else if version == version_word::<FabricInfoV3>(3) {
            put(info, FabricInfoV3 { version, cluster_uuid: CLUSTER_UUID, status, clique, state, health_mask, health_summary })
        } else {
            Err(abi::ARGUMENT_VERSION_MISMATCH)
        }
    }
    nvmlDeviceGetPlatformInfo |here| (info: *mut PlatformInfo) {
        let version = take_version(info)?;
        if version != PLATFORM_V1 && version != PLATFORM_V2 {
            return Err(abi::ARGUMENT_VERSION_MISMATCH);
        }
        let mut chassis_serial = [0; 16];
        if version == PLATFORM_V2 {
            let text = here.gpu.fixed.text(Text::ChassisSerial).unwrap_or_default();
            for (to, from) in chassis_serial.iter_mut().zip(text.bytes().take(15)) {
                *to = from;
            }
        }
        put(info, PlatformInfo {
            version,
            ib_guid: [0; 16],
            chassis_serial,
            slot: here.u8(Field::PLATFORM_SLOT)?,
            tray: here.u8(Field::PLATFORM_TRAY)?,
            host: here.u8(Field::PLATFORM_HOST)?,
            peer_type: here.u8(Field::PLATFORM_PEER_TYPE)?,
            module: here.u8(Field::PLATFORM_MODULE)?,
        })
    }
}
