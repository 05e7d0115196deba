use rackmark_model::{NoData, NvLink, Reading};

use super::named;
use crate::nvml::{Device, FieldQuery, Status};

/// `NVML_NVLINK_MAX_LINKS`.
const LINKS_MAX: usize = 18;

/// `nvmlIntNvLinkDeviceType_t` by number; 255 is NVML's own "unknown".
const REMOTE_TYPES: [&str; 3] = ["gpu", "npu", "switch"];

/// `nvmlNvLinkErrorCounter_t`.
const REPLAY: u32 = 0;
const RECOVERY: u32 = 1;
const CRC_FLIT: u32 = 2;
const CRC_DATA: u32 = 3;

/// The NVLinks this GPU has, up or down.
pub(super) fn read_nvlinks(device: &Device) -> Vec<NvLink> {
    let mut states = [Err(Status::NOT_SUPPORTED); LINKS_MAX];
    for (state, link) in states.iter_mut().zip(0..) {
        *state = device.link_state(link);
    }
    if states.iter().all(|state| !exists(*state)) {
        return Vec::new();
    }
    // Fields 138 and 139: payload sent and received, the link number as scope.
    let traffic: FieldQuery<{ 2 * LINKS_MAX }> = FieldQuery::ask(
        device,
        std::array::from_fn(|position| (138 + position as u32 % 2, (position / 2) as u32)),
    );
    let bytes = |position| -> Reading<u64> {
        // NVML counts KiB here.
        traffic.unsigned(position)?.checked_mul(1024).ok_or(NoData::NotSupported)
    };
    states
        .iter()
        .zip(0u8..)
        .filter(|(state, _)| exists(**state))
        .map(|(state, number)| {
            let link = u32::from(number);
            let errors = |counter| device.link_errors(link, counter).map_err(NoData::from);
            NvLink {
                link: number,
                active: state.map(|state| state != 0).map_err(NoData::from),
                version: generation(device.link_version(link)),
                remote_type: remote_type(device.link_remote_type(link)),
                crc_flit_errors: errors(CRC_FLIT),
                crc_data_errors: errors(CRC_DATA),
                replay_errors: errors(REPLAY),
                recovery_errors: errors(RECOVERY),
                transmit_bytes_total: bytes(2 * usize::from(number)),
                receive_bytes_total: bytes(2 * usize::from(number) + 1),
            }
        })
        .collect()
}

/// A link this GPU does not have is "not supported" or an invalid argument; any
/// other error is the error of a link that is there.
fn exists(state: Result<u32, Status>) -> bool {
    !state.is_err_and(|status| NoData::from(status) == NoData::NotSupported)
}

/// NVML numbers NVLink versions one after the other (`nvmlNvlinkVersion_t`);
/// people count generations.
fn generation(version: Result<u32, Status>) -> Reading<u32> {
    match version? {
        1 => Ok(1),
        2 | 3 => Ok(2),
        4 | 5 => Ok(3),
        6 => Ok(4),
        7 => Ok(5),
        _ => Err(NoData::NotSupported),
    }
}

fn remote_type(value: Result<u32, Status>) -> Reading<String> {
    match value {
        Ok(known) if known < REMOTE_TYPES.len() as u32 => named(value, &REMOTE_TYPES),
        Ok(_) => Ok("unknown".to_owned()),
        Err(status) => Err(status.into()),
    }
}
