//! Fast fields: the columns of telemetry batches, in column order. Claim class: reported.

use super::{FieldInfo, table};

/// Number of fast fields: ids 0 to 41.
pub const FAST_FIELDS: usize = 42;

#[rustfmt::skip]
pub(super) static TABLE: [FieldInfo; FAST_FIELDS] = table![Fast;
    0 "utilization_gpu_percent" u L "percent" "Time share in the last period with a kernel running; nvmlDeviceGetUtilizationRates.gpu.",
    1 "utilization_memory_percent" u L "percent" "Time share with the memory controller busy; nvmlDeviceGetUtilizationRates.memory.",
    2 "utilization_encoder_percent" u L "percent" "Video encoder load; nvmlDeviceGetEncoderUtilization.",
    3 "utilization_decoder_percent" u L "percent" "Video decoder load; nvmlDeviceGetDecoderUtilization.",
    4 "utilization_jpeg_percent" u L "percent" "JPEG engine load; nvmlDeviceGetJpgUtilization.",
    5 "utilization_ofa_percent" u L "percent" "Optical flow engine load; nvmlDeviceGetOfaUtilization.",
    6 "memory_used_bytes" u L "bytes" "GPU memory in use, without the driver's reserve; nvmlDeviceGetMemoryInfo_v2.used.",
    7 "memory_free_bytes" u L "bytes" "GPU memory free; nvmlDeviceGetMemoryInfo_v2.free.",
    8 "bar1_used_bytes" u L "bytes" "BAR1 window in use; nvmlDeviceGetBAR1MemoryInfo.bar1Used.",
    9 "clock_graphics_megahertz" u L "megahertz" "Graphics clock now; nvmlDeviceGetClockInfo(GRAPHICS).",
    10 "clock_sm_megahertz" u L "megahertz" "SM clock now; nvmlDeviceGetClockInfo(SM).",
    11 "clock_memory_megahertz" u L "megahertz" "Memory clock now; nvmlDeviceGetClockInfo(MEM).",
    12 "clock_video_megahertz" u L "megahertz" "Video clock now; nvmlDeviceGetClockInfo(VIDEO).",
    13 "performance_state" u L "" "P-state, 0 fastest to 15 slowest; nvmlDeviceGetPerformanceState.",
    14 "power_draw_milliwatts" u L "milliwatts" "Power draw, averaged by the device; nvmlDeviceGetPowerUsage.",
    15 "power_instant_milliwatts" u L "milliwatts" "Power draw at the instant; field NVML_FI_DEV_POWER_INSTANT (186).",
    16 "power_limit_milliwatts" u L "milliwatts" "Power limit in force; nvmlDeviceGetEnforcedPowerLimit.",
    17 "energy_total_millijoules" u L "millijoules" "Energy since the driver loaded; nvmlDeviceGetTotalEnergyConsumption.",
    18 "temperature_gpu_celsius" i L "celsius" "GPU temperature; nvmlDeviceGetTemperature(GPU).",
    19 "temperature_memory_celsius" i L "celsius" "Memory temperature; field NVML_FI_DEV_MEMORY_TEMP (82).",
    20 "temperature_margin_celsius" i L "celsius" "Distance to the nearest slowdown threshold; nvmlDeviceGetMarginTemperature.",
    21 "fan_speed_percent" u L "percent" "Fan speed as a share of the maximum; nvmlDeviceGetFanSpeed.",
    22 "clock_event_reasons_bitmask" u L "bit mask" "Reasons why clocks are held back; nvmlDeviceGetCurrentClocksEventReasons.",
    23 "sw_power_cap_time_nanoseconds" u L "nanoseconds" "Time held back by the software power cap; field NVML_FI_DEV_PERF_POLICY_POWER (74).",
    24 "sync_boost_time_nanoseconds" u L "nanoseconds" "Time held back by sync boost; field NVML_FI_DEV_PERF_POLICY_SYNC_BOOST (76).",
    25 "sw_thermal_time_nanoseconds" u L "nanoseconds" "Time held back by software thermal slowdown; field 251.",
    26 "hw_thermal_time_nanoseconds" u L "nanoseconds" "Time held back by hardware thermal slowdown; field 252.",
    27 "hw_power_brake_time_nanoseconds" u L "nanoseconds" "Time held back by the hardware power brake; field 253.",
    28 "pcie_link_generation" u L "generation" "PCIe generation of the link now; nvmlDeviceGetCurrPcieLinkGeneration.",
    29 "pcie_link_width_lanes" u L "lanes" "PCIe lanes of the link now; nvmlDeviceGetCurrPcieLinkWidth.",
    30 "pcie_replays_total" u L "count" "PCIe replays since the driver loaded; nvmlDeviceGetPcieReplayCounter.",
    31 "pcie_transmit_bytes_per_second" u L "bytes per second" "PCIe bytes sent per second, opt-in; nvmlDeviceGetPcieThroughput(TX) KB/s times 1000.",
    32 "pcie_receive_bytes_per_second" u L "bytes per second" "PCIe bytes received per second, opt-in; nvmlDeviceGetPcieThroughput(RX) KB/s times 1000.",
    33 "nvlink_transmit_bytes_total" u L "bytes" "NVLink bytes sent, all links; field 138 KiB times 1024.",
    34 "nvlink_receive_bytes_total" u L "bytes" "NVLink bytes received, all links; field 139 KiB times 1024.",
    35 "sm_active_permille" u L "permille" "Share of time an SM has work; GPM metric 2 (SM_UTIL) times 10.",
    36 "tensor_active_permille" u L "permille" "Share of tensor pipe in use; GPM metric 5 (ANY_TENSOR_UTIL) times 10.",
    37 "dram_active_permille" u L "permille" "Share of DRAM bandwidth in use; GPM metric 10 (DRAM_BW_UTIL) times 10.",
    38 "processes_compute" u L "count" "Processes with a compute context; count of nvmlDeviceGetComputeRunningProcesses_v3.",
    39 "processes_graphics" u L "count" "Processes with a graphics context; count of nvmlDeviceGetGraphicsRunningProcesses_v3.",
    40 "ecc_corrected_volatile_total" u L "count" "Corrected ECC errors since the driver loaded; nvmlDeviceGetTotalEccErrors(CORRECTED, VOLATILE).",
    41 "ecc_uncorrected_volatile_total" u L "count" "Uncorrected ECC errors since the driver loaded; nvmlDeviceGetTotalEccErrors(UNCORRECTED, VOLATILE).",
];
