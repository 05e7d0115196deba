//! The frames between the daemon and its child processes.
//!
//! Layout: 4 bytes little-endian length of what follows, 1 byte version, then
//! one postcard value. Sizes are checked before anything is allocated; a frame
//! that does not parse ends that child, never the daemon.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::{DriverInfo, GpuEvent, GpuInventory, GpuSlow, NoData, PciAddress, Sample};

/// Version byte of every frame; both sides are installed together, so another
/// version is refused rather than translated.
pub const FRAME_VERSION: u8 = 1;

/// Largest frame: 64 GPUs with 18 NVLinks and 64 processes each stay below it.
pub const FRAME_BYTES_MAX: usize = 1 << 20;

/// Bytes in front of the version byte.
pub const LENGTH_BYTES: usize = 4;

/// Most GPUs one node may have.
pub const GPUS_MAX: usize = 64;

/// Daemon to sampler. Exactly one, first on the stream; the end of the stream
/// is the order to stop.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum SamplerOrder {
    /// Read the GPUs from tick to tick.
    Sample(SamplePlan),
    /// Have GPUs sign, each once, then end. A process of its own does this:
    /// a GPU may take seconds to sign, and sampling goes on meanwhile.
    Attest(Vec<GpuQuestion>),
}

/// One GPU that is to sign.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct GpuQuestion {
    /// Which.
    pub address: PciAddress,
    /// What its report must carry.
    pub nonce: [u8; 32],
}

/// What a GPU signed, and its certificates.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GpuSigned {
    /// The signed report, as NVML gives it: one exchange of SPDM, at most
    /// 8,192 bytes (`NVML_CC_GPU_ATTESTATION_REPORT_SIZE`).
    pub report: Vec<u8>,
    /// Certificates, leaf first, as NVML gives them (PEM), at most 5,120 bytes
    /// (`NVML_GPU_ATTESTATION_CERT_CHAIN_SIZE`).
    pub chain: Vec<u8>,
}

/// How GPUs are sampled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SamplePlan {
    /// Time from tick to tick, in milliseconds (100 to 60,000).
    pub period_ms: u32,
    /// Slow readings are taken every this many ticks (at least 1).
    pub slow_every_ticks: u32,
    /// Measure PCIe throughput, at 20 ms a call.
    pub pcie_throughput: bool,
    /// GPUs that must not be touched, and what to report for them.
    pub leave_alone: Vec<(PciAddress, NoData)>,
}

/// Sampler to daemon.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum SamplerReport {
    /// First frame: the process that speaks.
    Hello {
        /// Its process id.
        pid: u32,
    },
    /// The driver answers, or answers differently than before.
    Driver(DriverInfo),
    /// The driver or its library cannot be used. The sampler keeps trying.
    NoDriver {
        /// What was tried and what came back, in one line.
        cause: String,
    },
    /// A GPU was opened, or its inventory changed.
    Inventory(Box<GpuInventory>),
    /// Slow readings of one GPU.
    Slow(Box<GpuSlow>),
    /// One tick.
    Sample(Sample),
    /// An event of the driver.
    Event(GpuEvent),
    /// What a GPU signed, or why it signs nothing, in one line. Only to [`SamplerOrder::Attest`], once for each GPU.
    Signed {
        /// Which GPU.
        address: PciAddress,
        /// What it signed.
        outcome: Result<GpuSigned, String>,
    },
}

/// Daemon to collector. Exactly one, first on the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct CollectOrder {
    /// Hand over an open kernel log.
    pub kernel_log: bool,
    /// Hand over the tables of the firmware and the boot event log.
    pub tables: bool,
}

/// What stands in a file, or why it cannot be had, in one line.
pub type Table = Result<Vec<u8>, String>;

/// Largest table of the firmware that is handed over; those of servers have a
/// few KiB. An SMBIOS 3 table may be larger, but no known one is.
pub const DMI_BYTES_MAX: usize = 128 << 10;

/// Largest boot event log that is handed over: four times what a firmware with
/// the 64 KiB of the TCG profile's minimum (`LAML`) can hold.
pub const BOOT_EVENT_LOG_BYTES_MAX: usize = 256 << 10;

/// Collector to daemon, in this order and only what was ordered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum CollectReport {
    /// The kernel log. Where there is no error, its descriptor comes along with
    /// the first byte of this frame (`SCM_RIGHTS`).
    KernelLog {
        /// Where it was opened.
        path: String,
        /// Why it could not be opened.
        error: Option<String>,
    },
    /// The tables, each as it stands in its file.
    Tables {
        /// `/sys/firmware/dmi/tables/smbios_entry_point`.
        dmi_entry_point: Table,
        /// `/sys/firmware/dmi/tables/DMI`, at most [`DMI_BYTES_MAX`].
        dmi: Table,
        /// `/sys/kernel/security/tpm0/binary_bios_measurements`, at most [`BOOT_EVENT_LOG_BYTES_MAX`].
        boot_event_log: Table,
    },
    /// Nothing follows.
    Done,
}

/// A frame that cannot be taken.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum FrameError {
    /// Larger than [`FRAME_BYTES_MAX`] or shorter than its version byte.
    #[error("frame length {0} is outside 1 to {FRAME_BYTES_MAX} bytes")]
    Length(usize),
    /// The other side was built from another version.
    #[error("frame version {0} is not {FRAME_VERSION}")]
    Version(u8),
    /// Not a value of the expected type.
    #[error("frame content does not parse")]
    Content(#[source] postcard::Error),
    /// More bytes than the value needs.
    #[error("frame has {0} bytes after its content")]
    Trailing(usize),
}

/// Encodes `message` as one frame, replacing what is in `buffer`.
///
/// # Errors
/// [`FrameError::Length`] where the frame would be too large.
pub fn encode<T: Serialize>(message: &T, buffer: &mut Vec<u8>) -> Result<(), FrameError> {
    buffer.clear();
    buffer.extend_from_slice(&[0; LENGTH_BYTES]);
    buffer.push(FRAME_VERSION);
    *buffer = postcard::to_extend(message, std::mem::take(buffer)).map_err(FrameError::Content)?;
    let length = buffer.len() - LENGTH_BYTES;
    let stated = checked_length(length)?;
    buffer[..LENGTH_BYTES].copy_from_slice(&stated.to_le_bytes());
    Ok(())
}

/// The number of bytes that follow a frame's length prefix.
///
/// # Errors
/// [`FrameError::Length`] where no valid frame has that length.
pub fn body_length(prefix: [u8; LENGTH_BYTES]) -> Result<usize, FrameError> {
    let length = u32::from_le_bytes(prefix) as usize;
    checked_length(length).map(|_| length)
}

/// Decodes what follows the length prefix.
///
/// # Errors
/// Any [`FrameError`]: wrong version, content that does not parse, bytes left over.
pub fn decode<T: DeserializeOwned>(body: &[u8]) -> Result<T, FrameError> {
    let (&version, content) = body.split_first().ok_or(FrameError::Length(0))?;
    if version != FRAME_VERSION {
        return Err(FrameError::Version(version));
    }
    let (message, rest) = postcard::take_from_bytes(content).map_err(FrameError::Content)?;
    if rest.is_empty() { Ok(message) } else { Err(FrameError::Trailing(rest.len())) }
}

fn checked_length(length: usize) -> Result<u32, FrameError> {
    match u32::try_from(length) {
        Ok(stated) if (1..=FRAME_BYTES_MAX).contains(&length) => Ok(stated),
        _ => Err(FrameError::Length(length)),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::readings::Fast;
    use crate::{GpuSample, Presence};

    fn sample() -> Sample {
        let address = "0000:1b:00.0".parse().expect("address");
        Sample {
            seq: 7,
            taken_boot_ms: 1_000,
            taken_unix_ms: 2_000,
            took_us: 300,
            gpus: vec![GpuSample {
                address,
                presence: Presence::Open,
                in_call: None,
                fast: Fast::absent(NoData::NotSupported),
            }],
        }
    }

    #[test]
    fn a_report_survives_the_frame() {
        let report = SamplerReport::Sample(sample());
        let mut frame = Vec::new();
        encode(&report, &mut frame).expect("encodes");
        let prefix = frame[..LENGTH_BYTES].try_into().expect("prefix");
        assert_eq!(body_length(prefix), Ok(frame.len() - LENGTH_BYTES));
        assert_eq!(decode::<SamplerReport>(&frame[LENGTH_BYTES..]), Ok(report));
    }

    #[test]
    fn the_largest_tables_fit_a_frame() {
        let report = CollectReport::Tables {
            dmi_entry_point: Err("x".repeat(4096)),
            dmi: Ok(vec![1; DMI_BYTES_MAX]),
            boot_event_log: Ok(vec![2; BOOT_EVENT_LOG_BYTES_MAX]),
        };
        let mut frame = Vec::new();
        encode(&report, &mut frame).expect("fits");
        assert_eq!(decode::<CollectReport>(&frame[LENGTH_BYTES..]), Ok(report));
    }

    #[test]
    fn a_foreign_version_is_refused() {
        assert_eq!(
            decode::<SamplerReport>(&[FRAME_VERSION + 1, 0]),
            Err(FrameError::Version(FRAME_VERSION + 1))
        );
    }

    #[test]
    fn trailing_bytes_are_refused() {
        let mut frame = Vec::new();
        encode(&SamplerReport::Hello { pid: 1 }, &mut frame).expect("encodes");
        frame.push(0);
        assert_eq!(decode::<SamplerReport>(&frame[LENGTH_BYTES..]), Err(FrameError::Trailing(1)));
    }

    #[test]
    fn absurd_lengths_are_refused_before_allocation() {
        assert_eq!(body_length(u32::MAX.to_le_bytes()), Err(FrameError::Length(u32::MAX as usize)));
        assert_eq!(body_length([0; 4]), Err(FrameError::Length(0)));
    }

    proptest! {
        #[test]
        fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..512)) {
            let _ = decode::<SamplerReport>(&bytes);
            let _ = decode::<CollectReport>(&bytes);
            let _ = decode::<CollectOrder>(&bytes);
        }
    }
}
