use rackmark_model::readings::Slow;
use rackmark_model::{
    Bytes, Count, GpuSlow, Microseconds, Milliwatts, Nanoseconds, NoData, NvLink, PciAddress, Reading,
};

use super::nvlink::read_nvlinks;
use super::processes::read_processes;
use super::{count, count_wide, flag, named, narrowed, wide};
use crate::nvml::{
    Counter, Device, EccKind, FieldQuery, Location, SCOPE_GPU, SCOPE_MEMORY, SCOPE_MODULE, Status,
};

/// `nvmlDeviceGpuRecoveryAction_t` by number.
const RECOVERY_ACTIONS: [&str; 5] = ["none", "reset", "reboot", "drain_p2p", "drain_and_reset"];

/// Reads what changes rarely or is wide.
pub(crate) fn read_slow(device: &Device, address: PciAddress, taken_unix_ms: u64) -> GpuSlow {
    let nvlinks = read_nvlinks(device);
    let slow = slow(device, &nvlinks);
    GpuSlow { address, taken_unix_ms, slow, nvlinks, processes: read_processes(device) }
}

fn slow(device: &Device, nvlinks: &[NvLink]) -> Slow {
    use Counter::{Aggregate, Volatile};
    use EccKind::{Corrected, Uncorrected};
    let ecc = |kind, counter, location| count_wide(device.ecc_at(kind, counter, location));
    let [dram_cv, dram_ca, dram_uv, dram_ua] = [
        ecc(Corrected, Volatile, Location::Dram),
        ecc(Corrected, Aggregate, Location::Dram),
        ecc(Uncorrected, Volatile, Location::Dram),
        ecc(Uncorrected, Aggregate, Location::Dram),
    ];
    let sram = device.sram_errors().map_err(NoData::from);
    let bucket = |position: usize| sram.map(|errors| Count(errors.buckets[position]));
    let rows = device.remapped_rows().map_err(NoData::from);
    let banks = device.remap_histogram().map_err(NoData::from);
    let bank = |position: usize| banks.map(|banks| Count(u64::from(banks[position])));
    let repair = device.repair_status().map_err(NoData::from);
    let encoder = device.encoder_stats().map_err(NoData::from);
    let capture = device.capture_stats().map_err(NoData::from);
    let protected = device.protected_memory().map_err(NoData::from);
    let violation = |policy| wide(device.violation_time(policy), Nanoseconds);
    let counted = |number: u32| Count(u64::from(number));
    let latency = |number: u32| Microseconds(u64::from(number));
    let fields = FieldQuery::ask(
        device,
        [
            (185, SCOPE_MEMORY),
            (185, SCOPE_MODULE),
            (186, SCOPE_MODULE),
            (190, SCOPE_MODULE),
            (95, SCOPE_GPU),
            (230, SCOPE_GPU),
        ],
    );
    Slow {
        ecc_corrected_volatile_dram_total: dram_cv,
        ecc_corrected_volatile_sram_total: ecc(Corrected, Volatile, Location::Sram),
        ecc_uncorrected_volatile_dram_total: dram_uv,
        ecc_uncorrected_volatile_sram_total: ecc(Uncorrected, Volatile, Location::Sram),
        ecc_corrected_aggregate_dram_total: dram_ca,
        ecc_corrected_aggregate_sram_total: ecc(Corrected, Aggregate, Location::Sram),
        ecc_uncorrected_aggregate_dram_total: dram_ua,
        ecc_uncorrected_aggregate_sram_total: ecc(Uncorrected, Aggregate, Location::Sram),
        ecc_corrected_aggregate_total: count_wide(device.ecc_total(Corrected, Aggregate)),
        ecc_uncorrected_aggregate_total: count_wide(device.ecc_total(Uncorrected, Aggregate)),
        // NVML gives DRAM and device memory the same number, so they are read once.
        ecc_corrected_volatile_device_memory_total: dram_cv,
        ecc_corrected_aggregate_device_memory_total: dram_ca,
        ecc_uncorrected_volatile_device_memory_total: dram_uv,
        ecc_uncorrected_aggregate_device_memory_total: dram_ua,
        ecc_corrected_volatile_register_file_total: ecc(Corrected, Volatile, Location::RegisterFile),
        ecc_corrected_aggregate_register_file_total: ecc(Corrected, Aggregate, Location::RegisterFile),
        ecc_uncorrected_volatile_register_file_total: ecc(Uncorrected, Volatile, Location::RegisterFile),
        ecc_uncorrected_aggregate_register_file_total: ecc(Uncorrected, Aggregate, Location::RegisterFile),
        ecc_corrected_volatile_l1_cache_total: ecc(Corrected, Volatile, Location::L1Cache),
        ecc_corrected_aggregate_l1_cache_total: ecc(Corrected, Aggregate, Location::L1Cache),
        ecc_uncorrected_volatile_l1_cache_total: ecc(Uncorrected, Volatile, Location::L1Cache),
        ecc_uncorrected_aggregate_l1_cache_total: ecc(Uncorrected, Aggregate, Location::L1Cache),
        ecc_corrected_volatile_l2_cache_total: ecc(Corrected, Volatile, Location::L2Cache),
        ecc_corrected_aggregate_l2_cache_total: ecc(Corrected, Aggregate, Location::L2Cache),
        ecc_uncorrected_volatile_l2_cache_total: ecc(Uncorrected, Volatile, Location::L2Cache),
        ecc_uncorrected_aggregate_l2_cache_total: ecc(Uncorrected, Aggregate, Location::L2Cache),
        ecc_corrected_volatile_texture_memory_total: ecc(Corrected, Volatile, Location::TextureMemory),
        ecc_corrected_aggregate_texture_memory_total: ecc(Corrected, Aggregate, Location::TextureMemory),
        ecc_uncorrected_volatile_texture_memory_total: ecc(Uncorrected, Volatile, Location::TextureMemory),
        ecc_uncorrected_aggregate_texture_memory_total: ecc(Uncorrected, Aggregate, Location::TextureMemory),
        ecc_corrected_volatile_cbu_total: ecc(Corrected, Volatile, Location::Cbu),
        ecc_corrected_aggregate_cbu_total: ecc(Corrected, Aggregate, Location::Cbu),
        ecc_uncorrected_volatile_cbu_total: ecc(Uncorrected, Volatile, Location::Cbu),
        ecc_uncorrected_aggregate_cbu_total: ecc(Uncorrected, Aggregate, Location::Cbu),
        sram_uncorrected_volatile_parity_total: sram.map(|errors| Count(errors.volatile_parity)),
        sram_uncorrected_volatile_secded_total: sram.map(|errors| Count(errors.volatile_secded)),
        sram_uncorrected_aggregate_parity_total: sram.map(|errors| Count(errors.aggregate_parity)),
        sram_uncorrected_aggregate_secded_total: sram.map(|errors| Count(errors.aggregate_secded)),
        sram_threshold_exceeded: sram.map(|errors| errors.threshold_exceeded),
        sram_bucket_l2_total: bucket(0),
        sram_bucket_sm_total: bucket(1),
        sram_bucket_pcie_total: bucket(2),
        sram_bucket_mcu_total: bucket(3),
        sram_bucket_other_total: bucket(4),
        remapped_rows_corrected: rows.map(|rows| counted(rows.corrected)),
        remapped_rows_uncorrected: rows.map(|rows| counted(rows.uncorrected)),
        remapped_rows_pending: rows.map(|rows| rows.pending),
        remapped_rows_failed: rows.map(|rows| rows.failed),
        remap_banks_max: bank(0),
        remap_banks_high: bank(1),
        remap_banks_partial: bank(2),
        remap_banks_low: bank(3),
        remap_banks_none: bank(4),
        retired_pages_single_bit: count(device.retired_pages(0)),
        retired_pages_double_bit: count(device.retired_pages(1)),
        retired_pages_pending: flag(device.retired_pages_pending()),
        repair_channel_pending: repair.map(|(channel, _)| channel),
        repair_tpc_pending: repair.map(|(_, tpc)| tpc),
        recovery_action: recovery_action(fields.unsigned(5)),
        encoder_sessions: encoder.map(|(sessions, _, _)| counted(sessions)),
        encoder_average_fps: encoder.map(|(_, fps, _)| counted(fps)),
        encoder_average_latency: encoder.map(|(_, _, microseconds)| latency(microseconds)),
        framebuffer_capture_sessions: capture.map(|(sessions, _, _)| counted(sessions)),
        framebuffer_capture_average_fps: capture.map(|(_, fps, _)| counted(fps)),
        framebuffer_capture_average_latency: capture.map(|(_, _, microseconds)| latency(microseconds)),
        memory_power_average: narrowed(fields.unsigned(0), Milliwatts),
        module_power_average: narrowed(fields.unsigned(1), Milliwatts),
        module_power_instant: narrowed(fields.unsigned(2), Milliwatts),
        module_power_limit: narrowed(fields.unsigned(3), Milliwatts),
        protected_memory_total: protected.map(|(total, _, _)| Bytes(total)),
        protected_memory_free: protected.map(|(_, free, _)| Bytes(free)),
        protected_memory_used: protected.map(|(_, _, used)| Bytes(used)),
        violation_power_time: violation(0),
        violation_thermal_time: violation(1),
        violation_sync_boost_time: violation(2),
        violation_board_limit_time: violation(3),
        violation_low_utilization_time: violation(4),
        violation_reliability_time: violation(5),
        pcie_replay_rollovers_total: count_wide(fields.unsigned(4)),
        nvlinks_active: links_active(nvlinks),
        bar1_free: device.bar1().map(|(_, free, _)| Bytes(free)).map_err(NoData::from),
    }
}

fn recovery_action(field: Result<u64, Status>) -> Reading<String> {
    let number = u32::try_from(field?).map_err(|_| NoData::NotSupported)?;
    named(Ok(number), &RECOVERY_ACTIONS)
}

fn links_active(nvlinks: &[NvLink]) -> Reading<Count> {
    if nvlinks.is_empty() {
        return Err(NoData::NotSupported);
    }
    let active = nvlinks.iter().filter(|link| link.active == Ok(true)).count();
    Ok(Count(active as u64))
}
