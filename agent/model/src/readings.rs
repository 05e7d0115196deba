//! The catalogue of everything that is read from a GPU through NVML.
//!
//! One line per reading gives its name, its typed unit and its NVML source. The
//! same line yields the struct field, its entry in `DESCRIPTORS` and its turn in
//! `each`, so a reading cannot be sampled and then forgotten on the way out.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::units::{
    Bitmask, Bits, Bytes, BytesPerSecond, Celsius, Count, CounterBytes, Lanes, Megahertz, Microseconds,
    Millijoules, Milliwatts, Nanoseconds, Percent, Permille, Quantity, Unit, Value,
};
use crate::{NoData, Reading};

/// Name and unit of one reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Descriptor {
    /// The name without its unit.
    pub stem: &'static str,
    /// The unit of its value.
    pub unit: Unit,
    /// One sentence for people, with its NVML source where that is not obvious.
    pub help: &'static str,
}

impl Descriptor {
    /// The name at the edges: stem and unit, unit last.
    pub fn edge_name(&self) -> String {
        match self.unit.suffix() {
            "" => self.stem.to_owned(),
            suffix => format!("{}_{suffix}", self.stem),
        }
    }

    /// Whether `name` is its edge name; the same as comparing with [`Self::edge_name`], without making it.
    pub fn is_named(&self, name: &str) -> bool {
        let Some(rest) = name.strip_prefix(self.stem) else { return false };
        match self.unit.suffix() {
            "" => rest.is_empty(),
            suffix => rest.strip_prefix('_') == Some(suffix),
        }
    }
}

/// A value that a reading cannot take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum SetError {
    /// There is no reading at this position.
    #[error("there is no reading {0}")]
    Position(usize),
    /// The value is a number where a text belongs, or the like, or is out of range.
    #[error("{0} cannot have this value")]
    Value(&'static str),
}

macro_rules! readings {
    ($(#[$meta:meta])* $name:ident { $(#[doc = $doc:literal] $field:ident: $ty:ty,)* }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
        pub struct $name {
            $(#[doc = $doc] pub $field: Reading<$ty>,)*
        }

        impl $name {
            /// Name and unit of each reading, in the order of [`Self::each`].
            pub const DESCRIPTORS: &'static [Descriptor] = &[
                $(Descriptor { stem: stringify!($field), unit: <$ty as Quantity>::UNIT, help: $doc.trim_ascii_start() },)*
            ];

            /// Every reading absent for the same reason.
            pub const fn absent(why: NoData) -> Self {
                Self { $($field: Err(why),)* }
            }

            /// Calls `visit` with the position and value of each reading.
            pub fn each<'a>(&'a self, mut visit: impl FnMut(usize, Reading<Value<'a>>)) {
                self.each_of(&mut visit);
            }

            /// One copy of the machine code for everybody who visits, some 14 kB for each otherwise.
            fn each_of<'a>(&'a self, visit: &mut dyn FnMut(usize, Reading<Value<'a>>)) {
                let mut position = 0;
                $(
                    visit(position, self.$field.as_ref().map(Quantity::value).map_err(|why| *why));
                    position += 1;
                )*
                debug_assert_eq!(position, Self::DESCRIPTORS.len());
            }

            /// The position of the reading with this edge name.
            pub fn position(edge_name: &str) -> Option<usize> {
                Self::DESCRIPTORS.iter().position(|descriptor| descriptor.is_named(edge_name))
            }

            /// Sets the reading at a position, the way back of [`Self::each`].
            ///
            /// # Errors
            /// No such position, or a value of another kind or out of range; nothing changes then.
            pub fn set(&mut self, position: usize, reading: Reading<Value<'_>>) -> Result<(), SetError> {
                let mut at = 0;
                $(
                    if at == position {
                        self.$field = match reading {
                            Ok(value) => {
                                Ok(<$ty as Quantity>::from_value(value).ok_or(SetError::Value(stringify!($field)))?)
                            }
                            Err(why) => Err(why),
                        };
                        return Ok(());
                    }
                    at += 1;
                )*
                Err(SetError::Position(position.max(at)))
            }
        }
    };
}

readings! {
    /// What changes from second to second: 42 readings, taken at every sample.
    Fast {
        /// Share of time with a kernel running (`nvmlDeviceGetUtilizationRates`).
        utilization_gpu: Percent,
        /// Share of time with device memory being read or written.
        utilization_memory: Percent,
        /// Video encoder (`nvmlDeviceGetEncoderUtilization`).
        utilization_encoder: Percent,
        /// Video decoder (`nvmlDeviceGetDecoderUtilization`).
        utilization_decoder: Percent,
        /// JPEG engine (`nvmlDeviceGetJpgUtilization`).
        utilization_jpeg: Percent,
        /// Optical flow engine (`nvmlDeviceGetOfaUtilization`).
        utilization_ofa: Percent,
        /// Device memory in use (`nvmlDeviceGetMemoryInfo_v2`).
        memory_used: Bytes,
        /// Device memory free.
        memory_free: Bytes,
        /// BAR1 aperture in use (`nvmlDeviceGetBAR1MemoryInfo`).
        bar1_used: Bytes,
        /// Graphics clock (`nvmlDeviceGetClockInfo`).
        clock_graphics: Megahertz,
        /// Streaming multiprocessor clock.
        clock_sm: Megahertz,
        /// Memory clock.
        clock_memory: Megahertz,
        /// Video engine clock.
        clock_video: Megahertz,
        /// 0 (fastest) to 15 (`nvmlDeviceGetPerformanceState`).
        performance_state: Count,
        /// Power, averaged by the driver on recent GPUs (`nvmlDeviceGetPowerUsage`).
        power_draw: Milliwatts,
        /// Power at this instant (field 186).
        power_instant: Milliwatts,
        /// The limit in force (`nvmlDeviceGetEnforcedPowerLimit`).
        power_limit: Milliwatts,
        /// Energy since the driver was loaded (`nvmlDeviceGetTotalEnergyConsumption`).
        energy_total: Millijoules,
        /// GPU core (`nvmlDeviceGetTemperature`).
        temperature_gpu: Celsius,
        /// Device memory (field 82).
        temperature_memory: Celsius,
        /// Distance to the nearest slowdown limit (`nvmlDeviceGetMarginTemperature`).
        temperature_margin: Celsius,
        /// Fan, of its maximum (`nvmlDeviceGetFanSpeed`).
        fan_speed: Percent,
        /// Why clocks are lower than asked (`nvmlDeviceGetCurrentClocksEventReasons`).
        clock_event_reasons: Bitmask,
        /// Time held back by the power cap (field 74).
        sw_power_cap_time: Nanoseconds,
        /// Time held back by sync boost (field 76).
        sync_boost_time: Nanoseconds,
        /// Time held back by the driver's thermal control (field 251).
        sw_thermal_time: Nanoseconds,
        /// Time held back by the hardware's thermal control (field 252).
        hw_thermal_time: Nanoseconds,
        /// Time held back by the power brake signal (field 253).
        hw_power_brake_time: Nanoseconds,
        /// PCIe generation now (`nvmlDeviceGetCurrPcieLinkGeneration`).
        pcie_link_generation: Count,
        /// PCIe width now (`nvmlDeviceGetCurrPcieLinkWidth`).
        pcie_link_width: Lanes,
        /// PCIe packets sent again (`nvmlDeviceGetPcieReplayCounter`).
        pcie_replays_total: Count,
        /// PCIe traffic from the GPU; off by default, the driver samples for 20 ms.
        pcie_transmit: BytesPerSecond,
        /// PCIe traffic to the GPU; off by default.
        pcie_receive: BytesPerSecond,
        /// NVLink payload sent, all links (field 138).
        nvlink_transmit_bytes_total: CounterBytes,
        /// NVLink payload received, all links (field 139).
        nvlink_receive_bytes_total: CounterBytes,
        /// Share of time with a warp resident (GPM metric 2).
        sm_active: Permille,
        /// Share of time with the tensor pipes busy (GPM metric 5).
        tensor_active: Permille,
        /// Share of device memory bandwidth in use (GPM metric 10).
        dram_active: Permille,
        /// Processes with a compute context.
        processes_compute: Count,
        /// Processes with a graphics context.
        processes_graphics: Count,
        /// Corrected ECC errors since the driver was loaded.
        ecc_corrected_volatile_total: Count,
        /// Uncorrected ECC errors since the driver was loaded.
        ecc_uncorrected_volatile_total: Count,
    }
}

readings! {
    /// What a GPU is and how it is set up: read when it is opened and again
    /// with every slow sample.
    Inventory {
        /// Product name.
        name: String,
        /// Product line.
        brand: String,
        /// Architecture name, lower case (`hopper`).
        architecture: String,
        /// CUDA compute capability (`9.0`).
        compute_capability: String,
        /// CUDA cores.
        cuda_cores: Count,
        /// Device memory.
        memory_total: Bytes,
        /// Device memory the driver keeps for itself.
        memory_reserved: Bytes,
        /// Width of the memory bus, in bits.
        memory_bus_width: Bits,
        /// Size of the BAR1 aperture.
        bar1_total: Bytes,
        /// NVML UUID.
        uuid: String,
        /// Serial number on the board.
        serial: String,
        /// PCI address as NVML writes it (`00000000:83:00.0`).
        pci_address: String,
        /// PCI device and vendor id, device in the upper half.
        pci_device_id: Count,
        /// PCI subsystem id.
        pci_subsystem_id: Count,
        /// NVML index at the time of opening.
        index: Count,
        /// The `N` of `/dev/nvidiaN`.
        minor_number: Count,
        /// Board id; equal for GPUs that share a board.
        board_id: Count,
        /// Board part number.
        board_part_number: String,
        /// Several GPUs on one board.
        multi_gpu_board: bool,
        /// VBIOS version.
        vbios_version: String,
        /// InfoROM image version.
        inforom_image_version: String,
        /// InfoROM OEM object version.
        inforom_oem_version: String,
        /// InfoROM ECC object version.
        inforom_ecc_version: String,
        /// InfoROM power object version.
        inforom_power_version: String,
        /// InfoROM configuration checksum.
        inforom_checksum: Count,
        /// The InfoROM passes its own checksum test.
        inforom_valid: bool,
        /// GSP firmware version.
        gsp_firmware_version: String,
        /// GSP firmware is in use.
        gsp_firmware_enabled: bool,
        /// GSP firmware is in use by default.
        gsp_firmware_default_enabled: bool,
        /// Highest PCIe generation of this GPU in this system.
        pcie_generation_max: Count,
        /// Highest PCIe generation of the GPU itself.
        pcie_generation_device_max: Count,
        /// Widest PCIe link of this GPU in this system.
        pcie_width_max: Lanes,
        /// Power limit the board starts with.
        power_limit_default: Milliwatts,
        /// Lowest power limit that can be set.
        power_limit_min: Milliwatts,
        /// Highest power limit that can be set.
        power_limit_max: Milliwatts,
        /// Power limit that was asked for.
        power_limit_requested: Milliwatts,
        /// Highest graphics clock.
        clock_graphics_max: Megahertz,
        /// Highest SM clock.
        clock_sm_max: Megahertz,
        /// Highest memory clock.
        clock_memory_max: Megahertz,
        /// Highest video clock.
        clock_video_max: Megahertz,
        /// Highest graphics clock a customer may set.
        clock_graphics_customer_max: Megahertz,
        /// Clock event reasons this GPU can give.
        clock_event_reasons_supported: Bitmask,
        /// Shuts down at this temperature.
        temperature_shutdown: Celsius,
        /// Slows down at this temperature.
        temperature_slowdown: Celsius,
        /// Device memory slows down at this temperature.
        temperature_memory_max: Celsius,
        /// Highest operating temperature.
        temperature_gpu_max: Celsius,
        /// Margin at which it shuts down (field 193).
        margin_shutdown: Celsius,
        /// Margin at which it slows down (field 194).
        margin_slowdown: Celsius,
        /// Margin of the device memory (field 195).
        margin_memory_max: Celsius,
        /// Margin at the highest operating temperature (field 196).
        margin_gpu_max: Celsius,
        /// ECC is on.
        ecc_enabled: bool,
        /// ECC will be on after the next reset.
        ecc_pending_enabled: bool,
        /// MIG is on.
        mig_enabled: bool,
        /// MIG will be on after the next reset.
        mig_pending_enabled: bool,
        /// Persistence mode is on.
        persistence_enabled: bool,
        /// Compute mode.
        compute_mode: String,
        /// A display is attached.
        display_attached: bool,
        /// A display is in use.
        display_active: bool,
        /// Process accounting is on.
        accounting_enabled: bool,
        /// Size of the accounting buffer.
        accounting_buffer_entries: Count,
        /// Virtualization mode.
        virtualization_mode: String,
        /// How the GPU addresses host memory.
        addressing_mode: String,
        /// The chip-to-chip link is on.
        c2c_enabled: bool,
        /// NUMA node of the GPU's own memory.
        numa_node: i32,
        /// Fans on the board.
        fans: Count,
        /// State of the NVLink fabric registration.
        fabric_state: String,
        /// NVML return code of that registration.
        fabric_status: Count,
        /// Fabric clique.
        fabric_clique: Count,
        /// Fabric cluster.
        fabric_cluster_uuid: String,
        /// Fabric health flags.
        fabric_health: Bitmask,
        /// Serial number of the chassis.
        chassis_serial: String,
        /// Slot in the chassis.
        slot_number: Count,
        /// Tray in the chassis.
        tray_index: Count,
        /// Host in the slot.
        host_id: Count,
        /// What its NVLinks lead to.
        peer_type: String,
        /// Module on the baseboard.
        module_id: Count,
        /// Fabric GUID.
        fabric_guid: Count,
        /// Graphics clock applications asked for.
        application_clock_graphics: Megahertz,
        /// Memory clock applications asked for.
        application_clock_memory: Megahertz,
    }
}

readings! {
    /// What changes rarely or is wide: read once a minute by default.
    Slow {
        /// Corrected errors in DRAM since the driver was loaded.
        ecc_corrected_volatile_dram_total: Count,
        /// Corrected errors in SRAM since the driver was loaded.
        ecc_corrected_volatile_sram_total: Count,
        /// Uncorrected errors in DRAM since the driver was loaded.
        ecc_uncorrected_volatile_dram_total: Count,
        /// Uncorrected errors in SRAM since the driver was loaded.
        ecc_uncorrected_volatile_sram_total: Count,
        /// Corrected errors in DRAM over the life of the GPU.
        ecc_corrected_aggregate_dram_total: Count,
        /// Corrected errors in SRAM over the life of the GPU.
        ecc_corrected_aggregate_sram_total: Count,
        /// Uncorrected errors in DRAM over the life of the GPU.
        ecc_uncorrected_aggregate_dram_total: Count,
        /// Uncorrected errors in SRAM over the life of the GPU.
        ecc_uncorrected_aggregate_sram_total: Count,
        /// All corrected errors over the life of the GPU.
        ecc_corrected_aggregate_total: Count,
        /// All uncorrected errors over the life of the GPU.
        ecc_uncorrected_aggregate_total: Count,
        /// Corrected errors in device memory since the driver was loaded.
        ecc_corrected_volatile_device_memory_total: Count,
        /// Corrected errors in device memory over the life of the GPU.
        ecc_corrected_aggregate_device_memory_total: Count,
        /// Uncorrected errors in device memory since the driver was loaded.
        ecc_uncorrected_volatile_device_memory_total: Count,
        /// Uncorrected errors in device memory over the life of the GPU.
        ecc_uncorrected_aggregate_device_memory_total: Count,
        /// Corrected errors in the register file since the driver was loaded.
        ecc_corrected_volatile_register_file_total: Count,
        /// Corrected errors in the register file over the life of the GPU.
        ecc_corrected_aggregate_register_file_total: Count,
        /// Uncorrected errors in the register file since the driver was loaded.
        ecc_uncorrected_volatile_register_file_total: Count,
        /// Uncorrected errors in the register file over the life of the GPU.
        ecc_uncorrected_aggregate_register_file_total: Count,
        /// Corrected errors in the L1 cache since the driver was loaded.
        ecc_corrected_volatile_l1_cache_total: Count,
        /// Corrected errors in the L1 cache over the life of the GPU.
        ecc_corrected_aggregate_l1_cache_total: Count,
        /// Uncorrected errors in the L1 cache since the driver was loaded.
        ecc_uncorrected_volatile_l1_cache_total: Count,
        /// Uncorrected errors in the L1 cache over the life of the GPU.
        ecc_uncorrected_aggregate_l1_cache_total: Count,
        /// Corrected errors in the L2 cache since the driver was loaded.
        ecc_corrected_volatile_l2_cache_total: Count,
        /// Corrected errors in the L2 cache over the life of the GPU.
        ecc_corrected_aggregate_l2_cache_total: Count,
        /// Uncorrected errors in the L2 cache since the driver was loaded.
        ecc_uncorrected_volatile_l2_cache_total: Count,
        /// Uncorrected errors in the L2 cache over the life of the GPU.
        ecc_uncorrected_aggregate_l2_cache_total: Count,
        /// Corrected errors in the texture memory since the driver was loaded.
        ecc_corrected_volatile_texture_memory_total: Count,
        /// Corrected errors in the texture memory over the life of the GPU.
        ecc_corrected_aggregate_texture_memory_total: Count,
        /// Uncorrected errors in the texture memory since the driver was loaded.
        ecc_uncorrected_volatile_texture_memory_total: Count,
        /// Uncorrected errors in the texture memory over the life of the GPU.
        ecc_uncorrected_aggregate_texture_memory_total: Count,
        /// Corrected errors in the CBU since the driver was loaded.
        ecc_corrected_volatile_cbu_total: Count,
        /// Corrected errors in the CBU over the life of the GPU.
        ecc_corrected_aggregate_cbu_total: Count,
        /// Uncorrected errors in the CBU since the driver was loaded.
        ecc_uncorrected_volatile_cbu_total: Count,
        /// Uncorrected errors in the CBU over the life of the GPU.
        ecc_uncorrected_aggregate_cbu_total: Count,
        /// SRAM parity errors since the driver was loaded.
        sram_uncorrected_volatile_parity_total: Count,
        /// SRAM SEC-DED errors since the driver was loaded.
        sram_uncorrected_volatile_secded_total: Count,
        /// SRAM parity errors over the life of the GPU.
        sram_uncorrected_aggregate_parity_total: Count,
        /// SRAM SEC-DED errors over the life of the GPU.
        sram_uncorrected_aggregate_secded_total: Count,
        /// SRAM errors passed the threshold for replacement.
        sram_threshold_exceeded: bool,
        /// Uncorrected SRAM errors in L2.
        sram_bucket_l2_total: Count,
        /// Uncorrected SRAM errors in the SMs.
        sram_bucket_sm_total: Count,
        /// Uncorrected SRAM errors in the PCIe unit.
        sram_bucket_pcie_total: Count,
        /// Uncorrected SRAM errors in the microcontrollers.
        sram_bucket_mcu_total: Count,
        /// Uncorrected SRAM errors elsewhere.
        sram_bucket_other_total: Count,
        /// Rows remapped for corrected errors.
        remapped_rows_corrected: Count,
        /// Rows remapped for uncorrected errors.
        remapped_rows_uncorrected: Count,
        /// A remapping waits for a reset.
        remapped_rows_pending: bool,
        /// A remapping failed.
        remapped_rows_failed: bool,
        /// Banks with every spare row left.
        remap_banks_max: Count,
        /// Banks with many spare rows left.
        remap_banks_high: Count,
        /// Banks with some spare rows left.
        remap_banks_partial: Count,
        /// Banks with few spare rows left.
        remap_banks_low: Count,
        /// Banks with no spare row left.
        remap_banks_none: Count,
        /// Pages retired for repeated single-bit errors.
        retired_pages_single_bit: Count,
        /// Pages retired for double-bit errors.
        retired_pages_double_bit: Count,
        /// Pages wait for a reset to be retired.
        retired_pages_pending: bool,
        /// A memory channel repair waits for a reset.
        repair_channel_pending: bool,
        /// A TPC repair waits for a reset.
        repair_tpc_pending: bool,
        /// What the driver asks for (field 230): `none`, `reset`, `reboot`, `drain_p2p`, `drain_and_reset`.
        recovery_action: String,
        /// Encoder sessions.
        encoder_sessions: Count,
        /// Frames per second over all encoder sessions.
        encoder_average_fps: Count,
        /// Latency over all encoder sessions.
        encoder_average_latency: Microseconds,
        /// Frame buffer capture sessions.
        framebuffer_capture_sessions: Count,
        /// Frames per second over all capture sessions.
        framebuffer_capture_average_fps: Count,
        /// Latency over all capture sessions.
        framebuffer_capture_average_latency: Microseconds,
        /// Power of the device memory (field 185, memory scope).
        memory_power_average: Milliwatts,
        /// Power of the whole module (field 185, module scope).
        module_power_average: Milliwatts,
        /// Power of the whole module at this instant (field 186, module scope).
        module_power_instant: Milliwatts,
        /// Power limit of the whole module.
        module_power_limit: Milliwatts,
        /// Memory set aside for confidential computing.
        protected_memory_total: Bytes,
        /// Of it, in use.
        protected_memory_used: Bytes,
        /// Of it, free.
        protected_memory_free: Bytes,
        /// Time below the wanted clocks for power.
        violation_power_time: Nanoseconds,
        /// Time below the wanted clocks for heat.
        violation_thermal_time: Nanoseconds,
        /// Time below the wanted clocks for sync boost.
        violation_sync_boost_time: Nanoseconds,
        /// Time below the wanted clocks for a board limit.
        violation_board_limit_time: Nanoseconds,
        /// Time below the wanted clocks for low utilization.
        violation_low_utilization_time: Nanoseconds,
        /// Time below the wanted clocks for reliability.
        violation_reliability_time: Nanoseconds,
        /// Times the PCIe replay number wrapped (field 95).
        pcie_replay_rollovers_total: Count,
        /// NVLinks that are up.
        nvlinks_active: Count,
        /// BAR1 aperture free.
        bar1_free: Bytes,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fast_class_has_the_42_readings_the_feed_promises() {
        assert_eq!(Fast::DESCRIPTORS.len(), 42);
    }

    #[test]
    fn edge_names_end_in_their_unit_and_are_unique() {
        let mut names: Vec<String> = [Fast::DESCRIPTORS, Inventory::DESCRIPTORS, Slow::DESCRIPTORS]
            .concat()
            .iter()
            .map(Descriptor::edge_name)
            .collect();
        assert!(names.contains(&"power_draw_milliwatts".to_owned()));
        assert!(names.contains(&"nvlink_transmit_bytes_total".to_owned()));
        let before = names.len();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), before);
    }

    #[test]
    fn each_visits_every_reading_in_descriptor_order() {
        let mut fast = Fast::absent(NoData::NotSupported);
        fast.power_draw = Ok(Milliwatts(627_400));
        let mut seen = Vec::new();
        fast.each(|position, reading| seen.push((position, reading.is_ok())));
        assert_eq!(seen.len(), 42);
        let present: Vec<_> =
            seen.iter().filter(|(_, ok)| *ok).map(|(at, _)| Fast::DESCRIPTORS[*at].stem).collect();
        assert_eq!(present, ["power_draw"]);
    }

    #[test]
    fn a_reading_is_found_by_its_edge_name_alone() {
        for (position, descriptor) in Slow::DESCRIPTORS.iter().enumerate() {
            assert_eq!(Slow::position(&descriptor.edge_name()), Some(position));
        }
        for wrong in
            ["", "power_draw", "power_draw_milliwatts_", "power_draw_watts", "xpower_draw_milliwatts"]
        {
            assert_eq!(Fast::position(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_value_of_another_kind_or_out_of_range_is_refused_and_changes_nothing() {
        let mut inventory = Inventory::absent(NoData::NotSupported);
        let mut set = |name: &str, value: Value<'_>| {
            let position = Inventory::position(name).expect(name);
            inventory.set(position, Ok(value)).is_ok()
        };
        assert!(set("memory_total_bytes", Value::Signed(7)) && !set("memory_total_bytes", Value::Signed(-7)));
        assert!(set("numa_node", Value::Signed(-1)) && !set("numa_node", Value::Unsigned(1 << 40)));
        assert!(set("name", Value::Text("H200")) && !set("name", Value::Unsigned(1)));
        assert!(set("ecc_enabled", Value::Unsigned(1)) && !set("ecc_enabled", Value::Unsigned(2)));
        assert!(!set("ecc_enabled", Value::Text("true")));
        assert_eq!(inventory.memory_total, Ok(Bytes(7)));
        assert_eq!((inventory.numa_node, inventory.ecc_enabled), (Ok(-1), Ok(true)));
        let beyond = Inventory::DESCRIPTORS.len();
        assert_eq!(inventory.set(beyond, Err(NoData::Timeout)), Err(SetError::Position(beyond)));
    }
}
