//! Slow telemetry: counters that are read about once a minute, for the operator.

use serde::{Deserialize, Serialize};

use super::capacity::{Field, MigInstance, check_fields, check_mig};
use crate::codes::{NvLinkRemote, ProcessKind};
use crate::error::EncodeError;
use crate::extension::{self, Extension, Extensions};
use crate::fields::Audience;
use crate::limits;
use crate::value::Reading;

/// Slow fields of some or all GPUs of the node. A node that does not fit one
/// frame sends several messages with the same `taken_unix_ms`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TelemetrySlow {
    /// When the readings were taken, milliseconds since 1970.
    pub taken_unix_ms: u64,
    /// The GPUs, by rising slot.
    #[serde(deserialize_with = "limits::list::<_, GpuSlow, { limits::GPUS }>")]
    pub gpus: Vec<GpuSlow>,
    /// Data of later versions.
    #[serde(deserialize_with = "limits::list::<_, Extension, { limits::EXTENSIONS }>")]
    pub extensions: Extensions,
}

/// Slow fields of one GPU.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GpuSlow {
    /// Slot of the GPU.
    pub slot: u8,
    /// Catalogue fields of class slow.
    #[serde(deserialize_with = "limits::list::<_, Field, { limits::FIELDS }>")]
    pub fields: Vec<Field>,
    /// NVLinks.
    #[serde(deserialize_with = "limits::list::<_, NvLink, { limits::NVLINKS }>")]
    pub nvlinks: Vec<NvLink>,
    /// MIG instances.
    #[serde(deserialize_with = "limits::list::<_, MigInstance, { limits::MIG_INSTANCES }>")]
    pub mig: Vec<MigInstance>,
    /// Processes with a context on the GPU.
    #[serde(deserialize_with = "limits::list::<_, Process, { limits::PROCESSES }>")]
    pub processes: Vec<Process>,
}

/// One NVLink of a GPU.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NvLink {
    /// Link number on the GPU (`nvmlDeviceGetNvLinkState`).
    pub link: u8,
    /// True when the link is up.
    pub active: Reading<bool>,
    /// NVLink version as the driver numbers it (`nvmlDeviceGetNvLinkVersion`).
    pub version: Reading<u32>,
    /// What is at the far end (`nvmlDeviceGetNvLinkRemoteDeviceType`).
    pub remote: NvLinkRemote,
    /// CRC errors in flow-control digits (`NVML_NVLINK_ERROR_DL_CRC_FLIT`).
    pub crc_flit_errors: Reading<u64>,
    /// CRC errors in data (`NVML_NVLINK_ERROR_DL_CRC_DATA`).
    pub crc_data_errors: Reading<u64>,
    /// Replays (`NVML_NVLINK_ERROR_DL_REPLAY`).
    pub replay_errors: Reading<u64>,
    /// Recoveries (`NVML_NVLINK_ERROR_DL_RECOVERY`).
    pub recovery_errors: Reading<u64>,
    /// Bytes sent since the driver loaded.
    pub transmit_bytes: Reading<u64>,
    /// Bytes received since the driver loaded.
    pub receive_bytes: Reading<u64>,
}

/// One process with a context on a GPU.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// Process id on the host.
    pub pid: u32,
    /// What kind of context it has.
    pub kind: ProcessKind,
    /// Name of the executable; may be empty.
    #[serde(deserialize_with = "limits::text::<_, { limits::TEXT_BYTES }>")]
    pub name: String,
    /// GPU memory it uses.
    pub memory_used_bytes: Reading<u64>,
    /// GPU instance it runs on, under MIG.
    pub gpu_instance_id: Option<u32>,
    /// Compute instance it runs on, under MIG.
    pub compute_instance_id: Option<u32>,
}

impl TelemetrySlow {
    /// Splits into messages whose bodies take at most `body_bytes` each (0 means: what fits a frame).
    ///
    /// GPUs are kept whole where they fit; one that does not fit alone is cut by its process list, and its
    /// slot then appears in several messages. Returns `self` alone when it fits.
    pub fn split(self, body_bytes: usize) -> Vec<Self> {
        let limit = if body_bytes == 0 { crate::frame::BODY_BYTES } else { body_bytes };
        let mut out = Vec::new();
        let mut pending = vec![self];
        while let Some(mut message) = pending.pop() {
            if message.encoded_len() <= limit {
                out.push(message);
                continue;
            }
            let tail = match message.gpus.as_mut_slice() {
                [] => None,
                [gpu] if gpu.processes.len() > 1 => {
                    let half = gpu.processes.len() / 2;
                    let rest = gpu.processes.split_off(half);
                    Some(vec![GpuSlow {
                        slot: gpu.slot,
                        fields: Vec::new(),
                        nvlinks: Vec::new(),
                        mig: Vec::new(),
                        processes: rest,
                    }])
                }
                // One GPU without processes is far below a frame within the limits
                // of real devices; what is left to refuse, `seal` refuses by name.
                [_] => None,
                more => {
                    let half = more.len() / 2;
                    Some(message.gpus.split_off(half))
                }
            };
            match tail {
                None => out.push(message),
                Some(gpus) => {
                    pending.push(Self { taken_unix_ms: message.taken_unix_ms, gpus, extensions: Vec::new() });
                    pending.push(message);
                }
            }
        }
        out
    }

    fn encoded_len(&self) -> usize {
        // The sizer cannot run out of room, and the types serialize infallibly.
        postcard::experimental::serialized_size(self).unwrap_or(usize::MAX)
    }

    pub(crate) fn check(&self) -> Result<(), EncodeError> {
        limits::check("gpus", self.gpus.len(), limits::GPUS)?;
        for gpu in &self.gpus {
            check_fields(&gpu.fields, Audience::Operator)?;
            check_mig(&gpu.mig, Audience::Operator)?;
            limits::check("nvlinks", gpu.nvlinks.len(), limits::NVLINKS)?;
            limits::check("processes", gpu.processes.len(), limits::PROCESSES)?;
            for process in &gpu.processes {
                limits::check("bytes of a process name", process.name.len(), limits::TEXT_BYTES)?;
            }
        }
        Ok(extension::check(&self.extensions)?)
    }
}
