//! The numeric figures of a GPU, each with its edge name (name and unit).
//!
//! The first 42 are the fast ones, in the order of a recording; the others change seldom or never.

use crate::cell::Cell;

macro_rules! fields {
    ($($konst:ident = $name:literal),+ $(,)?) => {
        #[allow(non_camel_case_types, clippy::upper_case_acronyms, reason = "only numbers the constants below")]
        #[derive(Clone, Copy)]
        enum Position { $($konst),+ }
        /// Edge names by position.
        pub const NAMES: &[&str] = &[$($name),+];
        /// Number of figures per GPU.
        pub const COUNT: usize = NAMES.len();
        impl Field {
            $(#[doc = concat!("`", $name, "`")] pub const $konst: Field = Field(Position::$konst as u16);)+
        }
    };
}

/// Number of fast fields, the columns of a recording.
pub const FAST: usize = 42;

/// One numeric figure of a GPU.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Field(u16);

impl Field {
    /// By edge name.
    pub fn by_name(name: &str) -> Option<Field> {
        NAMES.iter().position(|known| *known == name).and_then(Field::at)
    }

    /// By position in [`NAMES`].
    pub fn at(position: usize) -> Option<Field> {
        if position < COUNT { u16::try_from(position).ok().map(Field) } else { None }
    }

    /// Position in [`NAMES`] and in [`Cells`].
    pub const fn position(self) -> usize {
        self.0 as usize
    }

    /// The field `by` places after this one. Used where the table lists a family in NVML's own order.
    pub fn after(self, by: usize) -> Field {
        Field::at(self.position() + by).unwrap_or(self)
    }

    /// Edge name.
    pub fn name(self) -> &'static str {
        NAMES[self.position()]
    }

    /// True for counters that only grow, so that a replay adds a lap's growth to every further lap.
    pub fn is_counter(self) -> bool {
        matches!(self.position(), 17 | 23..=27 | 30 | 33 | 34 | 40 | 41)
    }
}

/// All figures of one GPU.
pub type Cells = [Cell; COUNT];

fields! {
    UTILIZATION_GPU = "utilization_gpu_percent",
    UTILIZATION_MEMORY = "utilization_memory_percent",
    UTILIZATION_ENCODER = "utilization_encoder_percent",
    UTILIZATION_DECODER = "utilization_decoder_percent",
    UTILIZATION_JPEG = "utilization_jpeg_percent",
    UTILIZATION_OFA = "utilization_ofa_percent",
    MEMORY_USED = "memory_used_bytes",
    MEMORY_FREE = "memory_free_bytes",
    BAR1_USED = "bar1_used_bytes",
    CLOCK_GRAPHICS = "clock_graphics_megahertz",
    CLOCK_SM = "clock_sm_megahertz",
    CLOCK_MEMORY = "clock_memory_megahertz",
    CLOCK_VIDEO = "clock_video_megahertz",
    PERFORMANCE_STATE = "performance_state",
    POWER_DRAW = "power_draw_milliwatts",
    POWER_INSTANT = "power_instant_milliwatts",
    POWER_LIMIT = "power_limit_milliwatts",
    ENERGY_TOTAL = "energy_total_millijoules",
    TEMPERATURE_GPU = "temperature_gpu_celsius",
    TEMPERATURE_MEMORY = "temperature_memory_celsius",
    TEMPERATURE_MARGIN = "temperature_margin_celsius",
    FAN_SPEED = "fan_speed_percent",
    CLOCK_EVENT_REASONS = "clock_event_reasons_bitmask",
    SW_POWER_CAP_TIME = "sw_power_cap_time_nanoseconds",
    SYNC_BOOST_TIME = "sync_boost_time_nanoseconds",
    SW_THERMAL_TIME = "sw_thermal_time_nanoseconds",
    HW_THERMAL_TIME = "hw_thermal_time_nanoseconds",
    HW_POWER_BRAKE_TIME = "hw_power_brake_time_nanoseconds",
    PCIE_LINK_GENERATION = "pcie_link_generation",
    PCIE_LINK_WIDTH = "pcie_link_width_lanes",
    PCIE_REPLAYS = "pcie_replays_total",
    PCIE_TRANSMIT = "pcie_transmit_bytes_per_second",
    PCIE_RECEIVE = "pcie_receive_bytes_per_second",
    NVLINK_TRANSMIT = "nvlink_transmit_bytes_total",
    NVLINK_RECEIVE = "nvlink_receive_bytes_total",
    SM_ACTIVE = "sm_active_permille",
    TENSOR_ACTIVE = "tensor_active_permille",
    DRAM_ACTIVE = "dram_active_permille",
    PROCESSES_COMPUTE = "processes_compute",
    PROCESSES_GRAPHICS = "processes_graphics",
    ECC_CORRECTED_VOLATILE = "ecc_corrected_volatile_total",
    ECC_UNCORRECTED_VOLATILE = "ecc_uncorrected_volatile_total",
    // --- what the device is
    BRAND = "brand",
    ARCHITECTURE = "architecture",
    COMPUTE_CAPABILITY_MAJOR = "compute_capability_major",
    COMPUTE_CAPABILITY_MINOR = "compute_capability_minor",
    CORES = "cores_total",
    MEMORY_BUS_WIDTH = "memory_bus_width_bits",
    MULTI_GPU_BOARD = "multi_gpu_board",
    BOARD_ID = "board_id",
    MINOR_NUMBER = "minor_number",
    MODULE_ID = "module_id",
    INFOROM_VALID = "inforom_valid",
    INFOROM_CHECKSUM = "inforom_checksum",
    PCI_DEVICE_ID = "pci_device_id",
    PCI_SUBSYSTEM_ID = "pci_subsystem_id",
    PCI_BASE_CLASS = "pci_base_class",
    PCI_SUB_CLASS = "pci_sub_class",
    PCIE_GENERATION_MAX = "pcie_link_generation_max",
    PCIE_GENERATION_GPU_MAX = "pcie_link_generation_gpu_max",
    PCIE_WIDTH_MAX = "pcie_link_width_max_lanes",
    PCIE_REPLAY_ROLLOVERS = "pcie_replay_rollovers_total",
    MEMORY_TOTAL = "memory_total_bytes",
    MEMORY_RESERVED = "memory_reserved_bytes",
    BAR1_TOTAL = "bar1_total_bytes",
    BAR1_FREE = "bar1_free_bytes",
    // --- clocks: four in NVML's order graphics, SM, memory, video
    CLOCK_MAX = "clock_graphics_max_megahertz",
    CLOCK_SM_MAX = "clock_sm_max_megahertz",
    CLOCK_MEMORY_MAX = "clock_memory_max_megahertz",
    CLOCK_VIDEO_MAX = "clock_video_max_megahertz",
    CLOCK_BOOST_MAX = "clock_graphics_customer_boost_max_megahertz",
    CLOCK_APPLICATION = "clock_graphics_application_megahertz",
    CLOCK_MEMORY_APPLICATION = "clock_memory_application_megahertz",
    CLOCK_APPLICATION_DEFAULT = "clock_graphics_application_default_megahertz",
    CLOCK_MEMORY_APPLICATION_DEFAULT = "clock_memory_application_default_megahertz",
    CLOCK_EVENT_REASONS_SUPPORTED = "clock_event_reasons_supported_bitmask",
    // --- power and temperature limits
    POWER_MANAGEMENT = "power_management_mode",
    POWER_LIMIT_REQUESTED = "power_limit_requested_milliwatts",
    POWER_LIMIT_MIN = "power_limit_min_milliwatts",
    POWER_LIMIT_MAX = "power_limit_max_milliwatts",
    POWER_LIMIT_DEFAULT = "power_limit_default_milliwatts",
    POWER_MODULE_AVERAGE = "power_module_average_milliwatts",
    POWER_MODULE_INSTANT = "power_module_instant_milliwatts",
    POWER_MEMORY_AVERAGE = "power_memory_average_milliwatts",
    POWER_MEMORY_INSTANT = "power_memory_instant_milliwatts",
    TEMPERATURE_SHUTDOWN = "temperature_shutdown_celsius",
    TEMPERATURE_SLOWDOWN = "temperature_slowdown_celsius",
    TEMPERATURE_MEMORY_MAX = "temperature_memory_max_celsius",
    TEMPERATURE_GPU_MAX = "temperature_gpu_max_celsius",
    TEMPERATURE_TARGET = "temperature_target_celsius",
    TLIMIT_SHUTDOWN = "tlimit_shutdown_celsius",
    TLIMIT_SLOWDOWN = "tlimit_slowdown_celsius",
    TLIMIT_MEMORY_MAX = "tlimit_memory_max_celsius",
    TLIMIT_GPU_MAX = "tlimit_gpu_max_celsius",
    FANS = "fans",
    // --- encoder and frame-buffer capture
    ENCODER_SESSIONS = "encoder_sessions",
    ENCODER_RATE = "encoder_frames_per_second",
    ENCODER_LATENCY = "encoder_latency_microseconds",
    FBC_SESSIONS = "fbc_sessions",
    FBC_RATE = "fbc_frames_per_second",
    FBC_LATENCY = "fbc_latency_microseconds",
    // --- memory errors: eight locations in NVML's order
    // (l1, l2, dram, register file, texture, shared, cbu, sram) for each of four counters
    ECC_MODE = "ecc_mode_current",
    ECC_MODE_PENDING = "ecc_mode_pending",
    ECC_MODE_DEFAULT = "ecc_mode_default",
    ECC_CORRECTED_AGGREGATE = "ecc_corrected_aggregate_total",
    ECC_UNCORRECTED_AGGREGATE = "ecc_uncorrected_aggregate_total",
    ECC_COR_VOL_L1 = "ecc_corrected_volatile_l1_total",
    ECC_COR_VOL_L2 = "ecc_corrected_volatile_l2_total",
    ECC_COR_VOL_DRAM = "ecc_corrected_volatile_dram_total",
    ECC_COR_VOL_REGISTER = "ecc_corrected_volatile_register_file_total",
    ECC_COR_VOL_TEXTURE = "ecc_corrected_volatile_texture_total",
    ECC_COR_VOL_SHARED = "ecc_corrected_volatile_shared_total",
    ECC_COR_VOL_CBU = "ecc_corrected_volatile_cbu_total",
    ECC_COR_VOL_SRAM = "ecc_corrected_volatile_sram_total",
    ECC_UNC_VOL_L1 = "ecc_uncorrected_volatile_l1_total",
    ECC_UNC_VOL_L2 = "ecc_uncorrected_volatile_l2_total",
    ECC_UNC_VOL_DRAM = "ecc_uncorrected_volatile_dram_total",
    ECC_UNC_VOL_REGISTER = "ecc_uncorrected_volatile_register_file_total",
    ECC_UNC_VOL_TEXTURE = "ecc_uncorrected_volatile_texture_total",
    ECC_UNC_VOL_SHARED = "ecc_uncorrected_volatile_shared_total",
    ECC_UNC_VOL_CBU = "ecc_uncorrected_volatile_cbu_total",
    ECC_UNC_VOL_SRAM = "ecc_uncorrected_volatile_sram_total",
    ECC_COR_AGG_L1 = "ecc_corrected_aggregate_l1_total",
    ECC_COR_AGG_L2 = "ecc_corrected_aggregate_l2_total",
    ECC_COR_AGG_DRAM = "ecc_corrected_aggregate_dram_total",
    ECC_COR_AGG_REGISTER = "ecc_corrected_aggregate_register_file_total",
    ECC_COR_AGG_TEXTURE = "ecc_corrected_aggregate_texture_total",
    ECC_COR_AGG_SHARED = "ecc_corrected_aggregate_shared_total",
    ECC_COR_AGG_CBU = "ecc_corrected_aggregate_cbu_total",
    ECC_COR_AGG_SRAM = "ecc_corrected_aggregate_sram_total",
    ECC_UNC_AGG_L1 = "ecc_uncorrected_aggregate_l1_total",
    ECC_UNC_AGG_L2 = "ecc_uncorrected_aggregate_l2_total",
    ECC_UNC_AGG_DRAM = "ecc_uncorrected_aggregate_dram_total",
    ECC_UNC_AGG_REGISTER = "ecc_uncorrected_aggregate_register_file_total",
    ECC_UNC_AGG_TEXTURE = "ecc_uncorrected_aggregate_texture_total",
    ECC_UNC_AGG_SHARED = "ecc_uncorrected_aggregate_shared_total",
    ECC_UNC_AGG_CBU = "ecc_uncorrected_aggregate_cbu_total",
    ECC_UNC_AGG_SRAM = "ecc_uncorrected_aggregate_sram_total",
    SRAM_VOL_PARITY = "sram_uncorrected_volatile_parity_total",
    SRAM_VOL_SECDED = "sram_uncorrected_volatile_secded_total",
    SRAM_AGG_PARITY = "sram_uncorrected_aggregate_parity_total",
    SRAM_AGG_SECDED = "sram_uncorrected_aggregate_secded_total",
    SRAM_THRESHOLD_EXCEEDED = "sram_threshold_exceeded",
    SRAM_L2 = "sram_uncorrected_aggregate_l2_total",
    SRAM_SM = "sram_uncorrected_aggregate_sm_total",
    SRAM_PCIE = "sram_uncorrected_aggregate_pcie_total",
    SRAM_MCU = "sram_uncorrected_aggregate_mcu_total",
    SRAM_OTHER = "sram_uncorrected_aggregate_other_total",
    RETIRED_SINGLE = "retired_pages_single_bit_total",
    RETIRED_DOUBLE = "retired_pages_double_bit_total",
    RETIRED_PENDING = "retired_pages_pending",
    REMAPPED_CORRECTED = "remapped_rows_corrected_total",
    REMAPPED_UNCORRECTED = "remapped_rows_uncorrected_total",
    REMAPPED_PENDING = "remapped_rows_pending",
    REMAPPED_FAILURE = "remapped_rows_failure",
    REMAP_BANKS_MAX = "remap_banks_max",
    REMAP_BANKS_HIGH = "remap_banks_high",
    REMAP_BANKS_PARTIAL = "remap_banks_partial",
    REMAP_BANKS_LOW = "remap_banks_low",
    REMAP_BANKS_NONE = "remap_banks_none",
    CHANNEL_REPAIR_PENDING = "channel_repair_pending",
    TPC_REPAIR_PENDING = "tpc_repair_pending",
    UNREPAIRABLE_MEMORY = "unrepairable_memory",
    RECOVERY_ACTION = "recovery_action",
    // --- modes
    COMPUTE_MODE = "compute_mode",
    PERSISTENCE_MODE = "persistence_mode",
    DISPLAY_MODE = "display_mode",
    DISPLAY_ACTIVE = "display_active",
    ACCOUNTING_MODE = "accounting_mode",
    ACCOUNTING_BUFFER = "accounting_buffer_size",
    VIRTUALIZATION_MODE = "virtualization_mode",
    ADDRESSING_MODE = "addressing_mode",
    C2C_MODE = "c2c_mode",
    GPU_OPERATION_MODE = "gpu_operation_mode_current",
    GPU_OPERATION_MODE_PENDING = "gpu_operation_mode_pending",
    GSP_MODE = "gsp_mode_current",
    GSP_MODE_DEFAULT = "gsp_mode_default",
    GPU_NUMA_NODE = "gpu_numa_node",
    MIG_MODE = "mig_mode_current",
    MIG_MODE_PENDING = "mig_mode_pending",
    MIG_DEVICES_MAX = "mig_devices_max",
    // --- fabric, platform, confidential computing
    FABRIC_STATE = "fabric_state",
    FABRIC_STATUS = "fabric_status",
    FABRIC_CLIQUE = "fabric_clique",
    FABRIC_HEALTH_MASK = "fabric_health_mask",
    FABRIC_HEALTH_SUMMARY = "fabric_health_summary",
    PLATFORM_SLOT = "platform_slot",
    PLATFORM_TRAY = "platform_tray",
    PLATFORM_HOST = "platform_host",
    PLATFORM_PEER_TYPE = "platform_peer_type",
    PLATFORM_MODULE = "platform_module",
    PROTECTED_MEMORY_TOTAL = "protected_memory_total_bytes",
    PROTECTED_MEMORY_USED = "protected_memory_used_bytes",
    PROTECTED_MEMORY_FREE = "protected_memory_free_bytes",
    // --- links
    NVLINK_LINKS = "nvlink_links",
    NVLINK_SPEED = "nvlink_speed_megabytes_per_second",
    NVLINK_VERSION = "nvlink_version",
    NVLINK_REMOTE_TYPE = "nvlink_remote_type",
    P2P_SUPPORTED = "p2p_supported",
    GPM_SUPPORTED = "gpm_supported",
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fast_fields_come_first_and_names_are_unique() {
        assert_eq!(Field::by_name("ecc_uncorrected_volatile_total").map(Field::position), Some(FAST - 1));
        assert_eq!(Field::by_name("energy_total_millijoules").map(Field::is_counter), Some(true));
        for (position, name) in NAMES.iter().enumerate() {
            assert_eq!(Field::by_name(name).map(Field::position), Some(position), "{name}");
        }
        assert_eq!(Field::ECC_COR_VOL_L1.after(7), Field::ECC_COR_VOL_SRAM);
        assert_eq!(Field::ECC_UNC_AGG_L1.after(7), Field::ECC_UNC_AGG_SRAM);
        assert_eq!(Field::CLOCK_MAX.after(3), Field::CLOCK_VIDEO_MAX);
    }
}
