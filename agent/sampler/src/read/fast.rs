use rackmark_model::readings::Fast;
use rackmark_model::{
    Bitmask, Bytes, BytesPerSecond, Celsius, Count, CounterBytes, Lanes, Megahertz, Millijoules, Milliwatts,
    Nanoseconds, NoData, Percent, Permille, Reading,
};

use super::{celsius, celsius_field, count, count_wide, narrow, narrowed, wide};
use crate::nvml::{Clock, Counter, Device, EccKind, FieldQuery, Gpm, SCOPE_ALL_LINKS, SCOPE_GPU, Status};

/// `nvmlPcieUtilCounter_t`: to the host, and from it.
const PCIE_TRANSMIT: u32 = 0;
const PCIE_RECEIVE: u32 = 1;

/// Highest performance state number; 32 is NVML's "unknown".
const PERFORMANCE_STATE_MAX: u32 = 15;

/// Takes the 42 fast readings of one GPU.
pub(crate) struct FastReader {
    gpm: Result<Gpm, Status>,
    pcie_throughput: bool,
}

impl FastReader {
    pub(crate) fn new(device: &Device, pcie_throughput: bool) -> Self {
        Self { gpm: Gpm::open(device), pcie_throughput }
    }

    /// Reads everything; `None` where the GPU or the driver went away meanwhile.
    pub(crate) fn read(&mut self, device: &Device) -> Option<Fast> {
        let utilization = device.utilization().map_err(NoData::from);
        let memory = device.memory().map_err(NoData::from);
        let library = device.library();
        // One driver call for all values that are fields, in this order.
        let fields = FieldQuery::ask(
            device,
            [
                (82, SCOPE_GPU),
                (186, SCOPE_GPU),
                (74, SCOPE_GPU),
                (76, SCOPE_GPU),
                (library.clock_event_field(251), SCOPE_GPU),
                (library.clock_event_field(252), SCOPE_GPU),
                (library.clock_event_field(253), SCOPE_GPU),
                (138, SCOPE_ALL_LINKS),
                (139, SCOPE_ALL_LINKS),
            ],
        );
        let kibibytes = |value: Result<u64, Status>| -> Reading<CounterBytes> {
            value?.checked_mul(1024).map(CounterBytes).ok_or(NoData::NotSupported)
        };
        let [sm_active, tensor_active, dram_active] = self.activity(device);
        let fast = Fast {
            utilization_gpu: utilization.map(|(gpu, _)| Percent(gpu)),
            utilization_memory: utilization.map(|(_, memory)| Percent(memory)),
            utilization_encoder: narrow(device.encoder_utilization(), Percent),
            utilization_decoder: narrow(device.decoder_utilization(), Percent),
            utilization_jpeg: narrow(device.jpeg_utilization(), Percent),
            utilization_ofa: narrow(device.ofa_utilization(), Percent),
            memory_used: memory.and_then(|memory| wide(memory.used, Bytes)),
            memory_free: memory.and_then(|memory| wide(memory.free, Bytes)),
            bar1_used: device.bar1().map(|(_, _, used)| Bytes(used)).map_err(NoData::from),
            clock_graphics: narrow(device.clock(Clock::Graphics), Megahertz),
            clock_sm: narrow(device.clock(Clock::Sm), Megahertz),
            clock_memory: narrow(device.clock(Clock::Memory), Megahertz),
            clock_video: narrow(device.clock(Clock::Video), Megahertz),
            performance_state: performance_state(device),
            power_draw: narrow(device.power_usage(), Milliwatts),
            power_instant: narrowed(fields.unsigned(1), Milliwatts),
            power_limit: narrow(device.power_limit_enforced(), Milliwatts),
            energy_total: wide(device.total_energy(), Millijoules),
            temperature_gpu: celsius(device.temperature_of(0)),
            temperature_memory: celsius_field(fields.signed(0)),
            temperature_margin: device.margin_temperature().map(Celsius).map_err(NoData::from),
            fan_speed: narrow(device.fan_speed(), Percent),
            clock_event_reasons: wide(clock_event_reasons(device), Bitmask),
            sw_power_cap_time: wide(fields.unsigned(2), Nanoseconds),
            sync_boost_time: wide(fields.unsigned(3), Nanoseconds),
            sw_thermal_time: wide(fields.unsigned(4), Nanoseconds),
            hw_thermal_time: wide(fields.unsigned(5), Nanoseconds),
            hw_power_brake_time: wide(fields.unsigned(6), Nanoseconds),
            pcie_link_generation: count(device.pcie_generation()),
            pcie_link_width: narrow(device.pcie_width(), Lanes),
            pcie_replays_total: count(device.pcie_replays()),
            pcie_transmit: self.pcie(device, PCIE_TRANSMIT),
            pcie_receive: self.pcie(device, PCIE_RECEIVE),
            nvlink_transmit_bytes_total: kibibytes(fields.unsigned(7)),
            nvlink_receive_bytes_total: kibibytes(fields.unsigned(8)),
            sm_active,
            tensor_active,
            dram_active,
            processes_compute: count(device.compute_process_count()),
            processes_graphics: count(device.graphics_process_count()),
            ecc_corrected_volatile_total: count_wide(device.ecc_total(EccKind::Corrected, Counter::Volatile)),
            ecc_uncorrected_volatile_total: count_wide(
                device.ecc_total(EccKind::Uncorrected, Counter::Volatile),
            ),
        };
        device.fatal().is_none().then_some(fast)
    }

    fn activity(&mut self, device: &Device) -> [Reading<Permille>; 3] {
        match &mut self.gpm {
            Ok(gpm) => gpm.read(device),
            Err(status) => [Err((*status).into()); 3],
        }
    }

    /// NVML gives kilobytes per second, averaged over the 20 ms that the call takes.
    fn pcie(&self, device: &Device, direction: u32) -> Reading<BytesPerSecond> {
        if !self.pcie_throughput {
            return Err(NoData::NotSampled);
        }
        narrow(device.pcie_throughput(direction), |kilobytes| BytesPerSecond(u64::from(kilobytes) * 1000))
    }
}

fn performance_state(device: &Device) -> Reading<Count> {
    match device.performance_state() {
        Ok(state) if state > PERFORMANCE_STATE_MAX => Err(NoData::NotSupported),
        other => count(other),
    }
}

fn clock_event_reasons(device: &Device) -> Result<u64, Status> {
    match device.clocks_event_reasons() {
        Err(status) if status.wants_older_form() => device.clocks_throttle_reasons(),
        answer => answer,
    }
}
