//! The families of dcgm-exporter and the reading behind each.

use rackmark_model::{Bytes, GpuSlow, MigInstance, NoData, NvLink, Quantity, Reading};

use super::super::{Decimal, Kind};
use crate::sampling::roster::Gpu;

/// One family under its name in DCGM.
pub struct Family {
    pub name: &'static str,
    pub kind: Kind,
    pub help: &'static str,
    pub source: Source,
}

/// Where its values come from.
#[derive(Clone, Copy)]
pub enum Source {
    /// A reading of a GPU that answers.
    Reading(fn(&Gpu) -> Option<Decimal>),
    /// Memory: that of the GPU instances under MIG, otherwise that of the GPU.
    Memory { gpu: fn(&Gpu) -> Option<Decimal>, instance: fn(&MigInstance) -> Option<Decimal> },
    /// The newest XID.
    LastXid,
    /// How often each XID came.
    XidCounts,
}

const fn gauge(name: &'static str, help: &'static str, read: fn(&Gpu) -> Option<Decimal>) -> Family {
    Family { name, kind: Kind::Gauge, help, source: Source::Reading(read) }
}

const fn counter(name: &'static str, help: &'static str, read: fn(&Gpu) -> Option<Decimal>) -> Family {
    Family { name, kind: Kind::Counter, help, source: Source::Reading(read) }
}

const fn memory(
    name: &'static str,
    help: &'static str,
    gpu: fn(&Gpu) -> Option<Decimal>,
    instance: fn(&MigInstance) -> Option<Decimal>,
) -> Family {
    Family { name, kind: Kind::Gauge, help, source: Source::Memory { gpu, instance } }
}

/// What dcgm-exporter exports by default, in its order.
pub const DEFAULT: [Family; 25] = [
    gauge("DCGM_FI_DEV_SM_CLOCK", "SM clock, in MHz.", |gpu| number(&gpu.fast.clock_sm, 0)),
    gauge("DCGM_FI_DEV_MEM_CLOCK", "Memory clock, in MHz.", |gpu| number(&gpu.fast.clock_memory, 0)),
    gauge("DCGM_FI_DEV_MEMORY_TEMP", "Temperature of the device memory, in degrees Celsius.", |gpu| {
        number(&gpu.fast.temperature_memory, 0)
    }),
    gauge("DCGM_FI_DEV_GPU_TEMP", "Temperature of the GPU core, in degrees Celsius.", |gpu| {
        number(&gpu.fast.temperature_gpu, 0)
    }),
    gauge("DCGM_FI_DEV_POWER_USAGE", "Power draw, in W.", |gpu| number(&gpu.fast.power_draw, 3)),
    counter("DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION", "Energy since the driver was loaded, in mJ.", |gpu| {
        number(&gpu.fast.energy_total, 0)
    }),
    counter("DCGM_FI_DEV_PCIE_REPLAY_COUNTER", "PCIe packets sent again.", |gpu| {
        number(&gpu.fast.pcie_replays_total, 0)
    }),
    gauge("DCGM_FI_DEV_GPU_UTIL", "Share of time with a kernel running, in percent.", |gpu| {
        number(&gpu.fast.utilization_gpu, 0)
    }),
    gauge("DCGM_FI_DEV_MEM_COPY_UTIL", "Share of time with device memory in use, in percent.", |gpu| {
        number(&gpu.fast.utilization_memory, 0)
    }),
    gauge("DCGM_FI_DEV_ENC_UTIL", "Use of the video encoder, in percent.", |gpu| {
        number(&gpu.fast.utilization_encoder, 0)
    }),
    gauge("DCGM_FI_DEV_DEC_UTIL", "Use of the video decoder, in percent.", |gpu| {
        number(&gpu.fast.utilization_decoder, 0)
    }),
    Family {
        name: "DCGM_FI_DEV_XID_ERRORS",
        kind: Kind::Gauge,
        help: "Code of the newest XID whose condition stands; 0 where there is none.",
        source: Source::LastXid,
    },
    memory(
        "DCGM_FI_DEV_FB_FREE",
        "Device memory free, in MiB.",
        |gpu| mebibytes(&gpu.fast.memory_free),
        |mig| mebibytes(&mig.memory_free),
    ),
    memory(
        "DCGM_FI_DEV_FB_USED",
        "Device memory in use, in MiB.",
        |gpu| mebibytes(&gpu.fast.memory_used),
        |mig| mebibytes(&mig.memory_used),
    ),
    memory(
        "DCGM_FI_DEV_FB_RESERVED",
        "Device memory the driver keeps for itself, in MiB.",
        |gpu| mebibytes(&gpu.inventory.as_ref()?.memory_reserved),
        |mig| mebibytes(&mig.memory_reserved),
    ),
    counter(
        "DCGM_FI_DEV_NVLINK_BANDWIDTH_TOTAL",
        "NVLink payload sent and received, all links, in MB (10^6 bytes).",
        |gpu| {
            let sent = gpu.fast.nvlink_transmit_bytes_total.ok()?;
            let received = gpu.fast.nvlink_receive_bytes_total.ok()?;
            Some(Decimal::scaled(sent.0.saturating_add(received.0), 6))
        },
    ),
    gauge(
        "DCGM_FI_DEV_VGPU_LICENSE_STATUS",
        "1 where a vGPU is licensed; 0 where there is no vGPU.",
        |gpu| {
            let mode = gpu.inventory.as_ref()?.virtualization_mode.as_deref().ok()?;
            // Inside a vGPU a licence would count, and it is not read.
            (mode != "vgpu").then_some(Decimal::whole(0))
        },
    ),
    counter(
        "DCGM_FI_DEV_UNCORRECTABLE_REMAPPED_ROWS",
        "Memory rows remapped for uncorrected errors.",
        |gpu| number(&slow(gpu)?.slow.remapped_rows_uncorrected, 0),
    ),
    counter("DCGM_FI_DEV_CORRECTABLE_REMAPPED_ROWS", "Memory rows remapped for corrected errors.", |gpu| {
        number(&slow(gpu)?.slow.remapped_rows_corrected, 0)
    }),
    gauge("DCGM_FI_DEV_ROW_REMAP_FAILURE", "1 where a memory row could not be remapped.", |gpu| {
        number(&slow(gpu)?.slow.remapped_rows_failed, 0)
    }),
    gauge("DCGM_FI_PROF_GR_ENGINE_ACTIVE", "Share of time with a kernel running, 0 to 1.", |gpu| {
        number(&gpu.fast.utilization_gpu, 2)
    }),
    gauge("DCGM_FI_PROF_PIPE_TENSOR_ACTIVE", "Share of time with the tensor pipes busy, 0 to 1.", |gpu| {
        number(&gpu.fast.tensor_active, 3)
    }),
    gauge("DCGM_FI_PROF_DRAM_ACTIVE", "Share of device memory bandwidth in use, 0 to 1.", |gpu| {
        number(&gpu.fast.dram_active, 3)
    }),
    gauge("DCGM_FI_PROF_PCIE_TX_BYTES", "PCIe traffic from the GPU, in bytes per second.", |gpu| {
        number(&gpu.fast.pcie_transmit, 0)
    }),
    gauge("DCGM_FI_PROF_PCIE_RX_BYTES", "PCIe traffic to the GPU, in bytes per second.", |gpu| {
        number(&gpu.fast.pcie_receive, 0)
    }),
];

/// What dcgm-exporter has but leaves out by default.
pub const EXTRA: [Family; 17] = [
    counter("DCGM_FI_DEV_ECC_SBE_VOL_TOTAL", "Corrected ECC errors since the driver was loaded.", |gpu| {
        number(&gpu.fast.ecc_corrected_volatile_total, 0)
    }),
    counter("DCGM_FI_DEV_ECC_DBE_VOL_TOTAL", "Uncorrected ECC errors since the driver was loaded.", |gpu| {
        number(&gpu.fast.ecc_uncorrected_volatile_total, 0)
    }),
    counter("DCGM_FI_DEV_ECC_SBE_AGG_TOTAL", "Corrected ECC errors over the life of the GPU.", |gpu| {
        number(&slow(gpu)?.slow.ecc_corrected_aggregate_total, 0)
    }),
    counter("DCGM_FI_DEV_ECC_DBE_AGG_TOTAL", "Uncorrected ECC errors over the life of the GPU.", |gpu| {
        number(&slow(gpu)?.slow.ecc_uncorrected_aggregate_total, 0)
    }),
    counter("DCGM_FI_DEV_POWER_VIOLATION", "Time held back by the power cap, in ns.", |gpu| {
        number(&gpu.fast.sw_power_cap_time, 0)
    }),
    counter("DCGM_FI_DEV_THERMAL_VIOLATION", "Time held back by heat, in ns.", |gpu| {
        let (software, hardware) = (gpu.fast.sw_thermal_time.ok()?, gpu.fast.hw_thermal_time.ok()?);
        Some(Decimal::whole(software.0.saturating_add(hardware.0)))
    }),
    counter("DCGM_FI_DEV_SYNC_BOOST_VIOLATION", "Time held back by sync boost, in ns.", |gpu| {
        number(&gpu.fast.sync_boost_time, 0)
    }),
    counter("DCGM_FI_DEV_RETIRED_SBE", "Memory pages retired for repeated single-bit errors.", |gpu| {
        number(&slow(gpu)?.slow.retired_pages_single_bit, 0)
    }),
    counter("DCGM_FI_DEV_RETIRED_DBE", "Memory pages retired for double-bit errors.", |gpu| {
        number(&slow(gpu)?.slow.retired_pages_double_bit, 0)
    }),
    counter("DCGM_FI_DEV_RETIRED_PENDING", "1 while memory pages wait to be retired.", |gpu| {
        number(&slow(gpu)?.slow.retired_pages_pending, 0)
    }),
    counter("DCGM_FI_DEV_NVLINK_CRC_FLIT_ERROR_COUNT_TOTAL", "CRC errors in flits, all NVLinks.", |gpu| {
        over_links(gpu, |link| link.crc_flit_errors)
    }),
    counter("DCGM_FI_DEV_NVLINK_CRC_DATA_ERROR_COUNT_TOTAL", "CRC errors in data, all NVLinks.", |gpu| {
        over_links(gpu, |link| link.crc_data_errors)
    }),
    counter("DCGM_FI_DEV_NVLINK_REPLAY_ERROR_COUNT_TOTAL", "Packets sent again, all NVLinks.", |gpu| {
        over_links(gpu, |link| link.replay_errors)
    }),
    counter(
        "DCGM_FI_DEV_NVLINK_RECOVERY_ERROR_COUNT_TOTAL",
        "Times a link was retrained, all NVLinks.",
        |gpu| over_links(gpu, |link| link.recovery_errors),
    ),
    gauge("DCGM_FI_DEV_CLOCKS_EVENT_REASONS", "Why clocks are lower than asked, as NVML's bits.", |gpu| {
        number(&gpu.fast.clock_event_reasons, 0)
    }),
    gauge("DCGM_FI_DEV_CLOCK_THROTTLE_REASONS", "The same under its older name.", |gpu| {
        number(&gpu.fast.clock_event_reasons, 0)
    }),
    Family {
        name: "DCGM_EXP_XID_ERRORS_COUNT",
        kind: Kind::Counter,
        help: "XIDs since the agent was installed, by code.",
        source: Source::XidCounts,
    },
];

/// `decimals` is how many places the reading's unit stands below that of the family.
fn number<Q: Quantity>(reading: &Reading<Q>, decimals: i8) -> Option<Decimal> {
    Decimal::of(reading.as_ref().ok()?.value(), decimals)
}

/// Whole mebibytes, as DCGM gives them.
fn mebibytes(reading: &Reading<Bytes>) -> Option<Decimal> {
    reading.ok().map(|bytes| Decimal::whole(bytes.0 >> 20))
}

fn slow(gpu: &Gpu) -> Option<&GpuSlow> {
    gpu.slow.as_ref()
}

/// The sum over the links that count such errors; none where a link that does
/// could not be read, because the sum would seem to fall and count again.
fn over_links(gpu: &Gpu, of: fn(&NvLink) -> Reading<u64>) -> Option<Decimal> {
    let mut sum = None;
    for link in &slow(gpu)?.nvlinks {
        match of(link) {
            Ok(count) => sum = Some(sum.unwrap_or(0_u64).saturating_add(count)),
            Err(NoData::NotSupported) => {}
            Err(_) => return None,
        }
    }
    sum.map(Decimal::whole)
}
