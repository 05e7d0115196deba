//! The 172 codes of NVIDIA's XID catalogue, one a line.
//!
//! Code, whether it is in use, class of the immediate action, mnemonic and follow-up action are facts of the
//! catalogue "Analyzing Xid Errors with the Xid Catalog" (docs.nvidia.com/deploy/xid-errors) as of October 2025;
//! the titles are ours.

use super::{ActionClass, Xid};

/// Title of a code that the catalogue lists as unused.
pub(super) const UNUSED: &str = "a code that NVIDIA lists as unused";

macro_rules! catalogue {
    (@title) => { UNUSED };
    (@title $title:literal) => { $title };
    (@used used) => { true };
    (@used unused) => { false };
    ($($code:literal $used:ident $class:ident, $mnemonic:literal, $follow_up:literal $(, $title:literal)?;)*) => {
        /// Every code of the catalogue, in rising order without gaps from 1.
        pub static CATALOGUE: &[Xid] = &[$(Xid {
            code: $code,
            mnemonic: $mnemonic,
            in_use: catalogue!(@used $used),
            class: ActionClass::$class,
            follow_up: $follow_up,
            title: catalogue!(@title $($title)?),
        }),*];
    };
}

catalogue! {
    1 unused ContactSupport, "ROBUST_CHANNEL_FIFO_ERROR_FIFO_METHOD", "";
    2 unused ContactSupport, "ROBUST_CHANNEL_FIFO_ERROR_SW_METHOD", "";
    3 unused ContactSupport, "ROBUST_CHANNEL_FIFO_ERROR_UNK_METHOD", "";
    4 unused ContactSupport, "ROBUST_CHANNEL_FIFO_ERROR_CHANNEL_BUSY", "";
    5 unused ContactSupport, "ROBUST_CHANNEL_FIFO_ERROR_RUNOUT_OVERFLOW", "";
    6 unused ContactSupport, "ROBUST_CHANNEL_FIFO_ERROR_PARSE_ERR", "";
    7 unused ContactSupport, "ROBUST_CHANNEL_FIFO_ERROR_PTE_ERR", "";
    8 used RestartApp, "ROBUST_CHANNEL_FIFO_ERROR_IDLE_TIMEOUT", "CONTACT_SUPPORT", "the GPU stopped working through its queue";
    9 unused ContactSupport, "ROBUST_CHANNEL_GR_ERROR_INSTANCE", "";
    10 unused ContactSupport, "ROBUST_CHANNEL_GR_ERROR_SINGLE_STEP", "";
    11 used RestartApp, "ROBUST_CHANNEL_GR_ERROR_MISSING_HW", "CHECK_APP/CUDA", "the application sent a corrupt command stream";
    12 unused ContactSupport, "ROBUST_CHANNEL_GR_ERROR_SW_METHOD", "";
    13 used RestartApp, "ROBUST_CHANNEL_GR_EXCEPTION / ROBUST_CHANNEL_GR_ERROR_SW_NOTIFY", "WORKFLOW_XID_13", "graphics or compute engine exception";
    14 unused Ignore, "ROBUST_CHANNEL_FAKE_ERROR", "CONTACT_SUPPORT";
    15 unused ContactSupport, "ROBUST_CHANNEL_SCANLINE_TIMEOUT", "";
    16 unused ContactSupport, "ROBUST_CHANNEL_VBLANK_CALLBACK_TIMEOUT", "CONTACT_SUPPORT";
    17 unused ContactSupport, "ROBUST_CHANNEL_PARAMETER_ERROR", "";
    18 unused ContactSupport, "ROBUST_CHANNEL_BUS_MASTER_TIMEOUT_ERROR", "";
    19 unused ContactSupport, "ROBUST_CHANNEL_DISP_MISSED_NOTIFIER", "";
    20 unused ContactSupport, "ROBUST_CHANNEL_MPEG_ERROR_SW_METHOD", "";
    21 unused ContactSupport, "ROBUST_CHANNEL_ME_ERROR_SW_METHOD", "";
    22 unused ContactSupport, "ROBUST_CHANNEL_VP_ERROR_SW_METHOD", "";
    23 unused ContactSupport, "ROBUST_CHANNEL_RC_LOGGING_ENABLED", "";
    24 unused ContactSupport, "ROBUST_CHANNEL_GR_SEMAPHORE_TIMEOUT", "";
    25 used RestartApp, "ROBUST_CHANNEL_GR_ILLEGAL_NOTIFY", "CHECK_APP/CUDA", "the application sent an illegal notification";
    26 unused ContactSupport, "ROBUST_CHANNEL_FIFO_ERROR_FBISTATE_TIMEOUT", "";
    27 unused ContactSupport, "ROBUST_CHANNEL_VP_ERROR", "";
    28 unused ContactSupport, "ROBUST_CHANNEL_VP2_ERROR", "";
    29 unused ContactSupport, "ROBUST_CHANNEL_BSP_ERROR", "";
    30 unused ContactSupport, "ROBUST_CHANNEL_BAD_ADDR_ACCESS", "";
    31 used RestartApp, "ROBUST_CHANNEL_FIFO_ERROR_MMU_ERR_FLT", "WORKFLOW_XID_31", "MMU fault: access to an unmapped address";
    32 used RestartApp, "ROBUST_CHANNEL_PBDMA_ERROR", "CHECK_APP/CUDA", "the command fetcher met invalid data";
    33 unused ContactSupport, "ROBUST_CHANNEL_SEC_ERROR", "";
    34 unused ContactSupport, "ROBUST_CHANNEL_MSVLD_ERROR", "";
    35 unused ContactSupport, "ROBUST_CHANNEL_MSPDEC_ERROR", "";
    36 unused ContactSupport, "ROBUST_CHANNEL_MSPPP_ERROR", "";
    37 used Ignore, "ROBUST_CHANNEL_FECS_ERR_UNIMP_FIRMWARE_METHOD", "CHECK_APP/CUDA", "firmware method that does not exist was called";
    38 used Ignore, "ROBUST_CHANNEL_FECS_ERR_WATCHDOG_TIMEOUT", "CONTACT_SUPPORT", "context switch firmware watchdog expired";
    39 used RestartApp, "ROBUST_CHANNEL_CE0_ERROR", "CONTACT_SUPPORT", "copy engine 0 error";
    40 used RestartApp, "ROBUST_CHANNEL_CE1_ERROR", "CONTACT_SUPPORT", "copy engine 1 error";
    41 used RestartApp, "ROBUST_CHANNEL_CE2_ERROR", "CONTACT_SUPPORT", "copy engine 2 error";
    42 unused ContactSupport, "ROBUST_CHANNEL_VIC_ERROR", "";
    43 used Ignore, "ROBUST_CHANNEL_RESETCHANNEL_VERIF_ERROR", "CONTACT_SUPPORT", "the application's channel was reset after an error";
    44 used Ignore, "ROBUST_CHANNEL_GR_FAULT_DURING_CTXSW", "CONTACT_SUPPORT", "fault during a context switch";
    45 used WorkflowXid45, "ROBUST_CHANNEL_PREEMPTIVE_REMOVAL", "Solo: RESTART_FM Not Solo: IGNORE (follow other Xid)", "channel removed because its application ended or another XID stopped it";
    46 used ResetGpu, "ROBUST_CHANNEL_GPU_TIMEOUT_ERROR", "CONTACT_SUPPORT", "the GPU stopped answering its driver";
    47 unused ContactSupport, "ROBUST_CHANNEL_NVENC0_ERROR", "";
    48 used WorkflowXid48, "ROBUST_CHANNEL_GPU_ECC_DBE", "WORKFLOW_XID_48", "uncorrectable ECC error in device memory or SRAM";
    49 unused ContactSupport, "SILENT_RUNNING_CONSTANT_LEVEL_SET_BY_REGISTRY", "";
    50 unused ContactSupport, "SILENT_RUNNING_LEVEL_TRANSITION_DUE_TO_RC_ERROR", "";
    51 unused ContactSupport, "SILENT_RUNNING_STRESS_TEST_FAILURE", "";
    52 unused ContactSupport, "SILENT_RUNNING_LEVEL_TRANS_DUE_TO_TEMP_RISE", "";
    53 unused ContactSupport, "SILENT_RUNNING_TEMP_REDUCED_CLOCKING", "";
    54 used CheckMechanicals, "SILENT_RUNNING_PWR_REDUCED_CLOCKING", "CONTACT_SUPPORT", "power cable missing or not seated";
    55 unused ContactSupport, "SILENT_RUNNING_TEMPERATURE_READ_ERROR", "";
    56 unused ContactSupport, "DISPLAY_CHANNEL_EXCEPTION", "";
    57 unused ContactSupport, "FB_LINK_TRAINING_FAILURE_ERROR", "";
    58 unused ContactSupport, "FB_MEMORY_ERROR", "";
    59 unused ContactSupport, "PMU_ERROR", "";
    60 used RestartApp, "ROBUST_CHANNEL_SEC2_ERROR", "INVESTIGATE_SW", "security engine exception";
    61 unused ContactSupport, "PMU_BREAKPOINT", "";
    62 used ResetGpu, "PMU_HALT_ERROR", "CONTACT_SUPPORT", "power management controller halted";
    63 used Ignore, "INFOROM_DRAM_RETIREMENT_EVENT", "IGNORE", "memory row remapped, or page retired";
    64 used ResetGpu, "INFOROM_DRAM_RETIREMENT_FAILURE", "CONTACT_SUPPORT", "memory row could not be remapped, or page not retired";
    65 unused ContactSupport, "ROBUST_CHANNEL_NVENC1_ERROR", "";
    66 used Ignore, "ROBUST_CHANNEL_FECS_ERR_REG_ACCESS_VIOLATION", "INVESTIGATE_SW", "context switch firmware: illegal register access by the driver";
    67 used Ignore, "ROBUST_CHANNEL_FECS_ERR_VERIF_VIOLATION", "CONTACT_SUPPORT", "context switch firmware: verification violation";
    68 used RestartApp, "ROBUST_CHANNEL_NVDEC0_ERROR", "CONTACT_SUPPORT", "video decoder 0 error";
    69 used RestartApp, "ROBUST_CHANNEL_GR_CLASS_ERROR", "CHECK_APP/CUDA", "graphics engine class error";
    70 used RestartApp, "ROBUST_CHANNEL_CE3_ERROR", "CONTACT_SUPPORT", "copy engine 3 error";
    71 used RestartApp, "ROBUST_CHANNEL_CE4_ERROR", "CONTACT_SUPPORT", "copy engine 4 error";
    72 used RestartApp, "ROBUST_CHANNEL_CE5_ERROR", "CONTACT_SUPPORT", "copy engine 5 error";
    73 unused ContactSupport, "ROBUST_CHANNEL_NVENC2_ERROR", "";
    74 used WorkflowNvlinkErr, "NVLINK_ERROR", "CONTACT_SUPPORT", "NVLink error";
    75 used RestartApp, "ROBUST_CHANNEL_CE6_ERROR", "CONTACT_SUPPORT", "copy engine 6 error";
    76 used RestartApp, "ROBUST_CHANNEL_CE7_ERROR", "CONTACT_SUPPORT", "copy engine 7 error";
    77 used RestartApp, "ROBUST_CHANNEL_CE8_ERROR", "CONTACT_SUPPORT", "copy engine 8 error";
    78 used UpdateSwfw, "VGPU_START_ERROR", "UPDATE_SWFW", "virtual GPU could not be started";
    79 used RestartBm, "ROBUST_CHANNEL_GPU_HAS_FALLEN_OFF_THE_BUS", "CONTACT_SUPPORT", "GPU has fallen off the bus";
    80 used RestartApp, "PBDMA_PUSHBUFFER_CRC_MISMATCH", "CHECK_APP/CUDA", "command stream arrived with a wrong checksum";
    81 unused ContactSupport, "ROBUST_CHANNEL_VGA_SUBSYSTEM_ERROR", "";
    82 used RestartApp, "ROBUST_CHANNEL_NVJPG0_ERROR", "CONTACT_SUPPORT", "JPEG engine 0 error";
    83 used RestartApp, "ROBUST_CHANNEL_NVDEC1_ERROR", "CONTACT_SUPPORT", "video decoder 1 error";
    84 used RestartApp, "ROBUST_CHANNEL_NVDEC2_ERROR", "CONTACT_SUPPORT", "video decoder 2 error";
    85 used RestartApp, "ROBUST_CHANNEL_CE9_ERROR", "CONTACT_SUPPORT", "copy engine 9 error";
    86 used RestartApp, "ROBUST_CHANNEL_OFA0_ERROR", "CONTACT_SUPPORT", "optical flow engine 0 error";
    87 unused ContactSupport, "NVTELEMETRY_DRIVER_REPORT", "";
    88 used RestartApp, "ROBUST_CHANNEL_NVDEC3_ERROR", "CONTACT_SUPPORT", "video decoder 3 error";
    89 used RestartApp, "ROBUST_CHANNEL_NVDEC4_ERROR", "CONTACT_SUPPORT", "video decoder 4 error";
    90 unused ContactSupport, "LTC_ERROR", "";
    91 unused ContactSupport, "RESERVED_XID", "";
    92 used Ignore, "EXCESSIVE_SBE_INTERRUPTS", "CONTACT_SUPPORT", "high rate of corrected memory errors";
    93 used Ignore, "INFOROM_ERASE_LIMIT_EXCEEDED", "CONTACT_SUPPORT", "InfoROM wear limit reached";
    94 used RestartApp, "ROBUST_CHANNEL_CONTAINED_ERROR", "IGNORE (sympathetic)", "uncorrectable memory error, contained to one application";
    95 used ResetGpu, "ROBUST_CHANNEL_UNCONTAINED_ERROR", "IGNORE (sympathetic)", "uncorrectable memory error, not contained";
    96 used RestartApp, "ROBUST_CHANNEL_NVDEC5_ERROR", "CONTACT_SUPPORT", "video decoder 5 error";
    97 used RestartApp, "ROBUST_CHANNEL_NVDEC6_ERROR", "CONTACT_SUPPORT", "video decoder 6 error";
    98 used RestartApp, "ROBUST_CHANNEL_NVDEC7_ERROR", "CONTACT_SUPPORT", "video decoder 7 error";
    99 used RestartApp, "ROBUST_CHANNEL_NVJPG1_ERROR", "CONTACT_SUPPORT", "JPEG engine 1 error";
    100 used RestartApp, "ROBUST_CHANNEL_NVJPG2_ERROR", "CONTACT_SUPPORT", "JPEG engine 2 error";
    101 used RestartApp, "ROBUST_CHANNEL_NVJPG3_ERROR", "CONTACT_SUPPORT", "JPEG engine 3 error";
    102 used RestartApp, "ROBUST_CHANNEL_NVJPG4_ERROR", "CONTACT_SUPPORT", "JPEG engine 4 error";
    103 used RestartApp, "ROBUST_CHANNEL_NVJPG5_ERROR", "CONTACT_SUPPORT", "JPEG engine 5 error";
    104 used RestartApp, "ROBUST_CHANNEL_NVJPG6_ERROR", "CONTACT_SUPPORT", "JPEG engine 6 error";
    105 used RestartApp, "ROBUST_CHANNEL_NVJPG7_ERROR", "CONTACT_SUPPORT", "JPEG engine 7 error";
    106 used Ignore, "SMBPBI_TEST_MESSAGE", "IGNORE", "test message of the management controller";
    107 used Ignore, "SMBPBI_TEST_MESSAGE_SILENT", "IGNORE", "silent test message of the management controller";
    108 unused Ignore, "NVLINK_REMOTE_TRANSLATION_ERROR", "XID_137_FLOW";
    109 used ResetGpu, "ROBUST_CHANNEL_CTXSW_TIMEOUT_ERROR", "CONTACT_SUPPORT", "context switch timed out";
    110 used ResetGpu, "SEC_FAULT_ERROR", "INVESTIGATE_SW", "security fault";
    111 unused ContactSupport, "BUNDLE_ERROR_EVENT", "";
    112 unused ContactSupport, "DISP_SUPERVISOR_ERROR", "";
    113 unused ContactSupport, "DP_LT_FAILURE", "";
    114 unused ContactSupport, "HEAD_RG_UNDERFLOW", "";
    115 unused ContactSupport, "CORE_CHANNEL_REGS", "";
    116 unused ContactSupport, "WINDOW_CHANNEL_REGS", "";
    117 unused ContactSupport, "CURSOR_CHANNEL_REGS", "";
    118 unused ContactSupport, "HEAD_REGS", "";
    119 used ResetGpu, "GSP_RPC_TIMEOUT", "INVESTIGATE_SW", "GSP firmware did not answer in time";
    120 used ResetGpu, "GSP_ERROR", "INVESTIGATE_SW", "GSP firmware error";
    121 used Ignore, "C2C_ERROR", "CONTACT_SUPPORT", "errors on the chip-to-chip link to the CPU, corrected";
    122 unused ContactSupport, "SPI_PMU_RPC_READ_FAIL", "";
    123 unused ContactSupport, "SPI_PMU_RPC_WRITE_FAIL", "";
    124 unused ContactSupport, "SPI_PMU_RPC_ERASE_FAIL", "";
    125 unused ContactSupport, "INFOROM_FS_ERROR", "";
    126 used RestartApp, "ROBUST_CHANNEL_CE10_ERROR", "CONTACT_SUPPORT", "copy engine 10 error";
    127 used RestartApp, "ROBUST_CHANNEL_CE11_ERROR", "CONTACT_SUPPORT", "copy engine 11 error";
    128 used RestartApp, "ROBUST_CHANNEL_CE12_ERROR", "CONTACT_SUPPORT", "copy engine 12 error";
    129 used RestartApp, "ROBUST_CHANNEL_CE13_ERROR", "CONTACT_SUPPORT", "copy engine 13 error";
    130 used RestartApp, "ROBUST_CHANNEL_CE14_ERROR", "CONTACT_SUPPORT", "copy engine 14 error";
    131 used RestartApp, "ROBUST_CHANNEL_CE15_ERROR", "CONTACT_SUPPORT", "copy engine 15 error";
    132 used RestartApp, "ROBUST_CHANNEL_CE16_ERROR", "CONTACT_SUPPORT", "copy engine 16 error";
    133 used RestartApp, "ROBUST_CHANNEL_CE17_ERROR", "CONTACT_SUPPORT", "copy engine 17 error";
    134 used RestartApp, "ROBUST_CHANNEL_CE18_ERROR", "CONTACT_SUPPORT", "copy engine 18 error";
    135 used RestartApp, "ROBUST_CHANNEL_CE19_ERROR", "CONTACT_SUPPORT", "copy engine 19 error";
    136 used ResetGpu, "ALI_TRAINING_FAIL", "INVESTIGATE_LINK_SI", "NVLink training failed";
    137 used Ignore, "NVLINK_PRIV_ERR", "XID_137_FLOW", "NVLink access that was not permitted";
    138 unused ContactSupport, "ROBUST_CHANNEL_DLA_ERROR", "";
    139 used RestartApp, "ROBUST_CHANNEL_OFA1_ERROR", "CONTACT_SUPPORT", "optical flow engine 1 error";
    140 used ResetGpu, "UNRECOVERABLE_ECC_ERROR_ESCAPE", "CONTACT_SUPPORT", "uncorrectable ECC error that the driver could not repair";
    141 used Ignore, "ROBUST_CHANNEL_FAST_PATH_ERROR", "CONTACT_SUPPORT", "CUDA fast path error";
    142 used ContactSupport, "ROBUST_CHANNEL_NVENC3_ERROR", "", "video encoder 3 error";
    143 used ResetGpu, "GPU_INIT_ERROR", "CONTACT_SUPPORT", "GPU could not be initialised";
    144 used WorkflowNvlink5Err, "NVLINK_SAW_ERROR", "WORKFLOW_NVLINK5_ERR", "NVLink 5 error in the SAW unit";
    145 used WorkflowNvlink5Err, "NVLINK_RLW_ERROR", "WORKFLOW_NVLINK5_ERR", "NVLink 5 error in the RLW unit";
    146 used WorkflowNvlink5Err, "NVLINK_TLW_ERROR", "WORKFLOW_NVLINK5_ERR", "NVLink 5 error in the TLW unit";
    147 used WorkflowNvlink5Err, "NVLINK_TREX_ERROR", "WORKFLOW_NVLINK5_ERR", "NVLink 5 error in the TREX unit";
    148 used WorkflowNvlink5Err, "NVLINK_NVLPW_CTRL_ERROR", "WORKFLOW_NVLINK5_ERR", "NVLink 5 error in the NVLPW control unit";
    149 used WorkflowNvlink5Err, "NVLINK_NETIR_ERROR", "WORKFLOW_NVLINK5_ERR", "NVLink 5 error in the NETIR unit: a link may be down";
    150 used WorkflowNvlink5Err, "NVLINK_MSE_ERROR", "WORKFLOW_NVLINK5_ERR", "NVLink 5 error in the MSE unit";
    151 used RestartVm, "ROBUST_CHANNEL_KEY_ROTATION_ERROR", "CONTACT_SUPPORT", "confidential computing: key rotation failed";
    152 used Ignore, "ROBUST_CHANNEL_DLA_SMMU_ERROR", "CONTACT_SUPPORT", "deep learning accelerator: address translation error";
    153 used Ignore, "ROBUST_CHANNEL_DLA_TIMEOUT", "CONTACT_SUPPORT", "deep learning accelerator timed out";
    154 used Xid154, "GPU_RECOVERY_ACTION_CHANGED", "N/A Informational only regarding another Xid", "the driver changed what it asks for to recover the GPU";
    155 used ResetGpu, "NVLINK_SW_DEFINED_ERROR", "INVESTIGATE_SW_USER", "NVLink error reported by software";
    156 used ResetGpu, "RESOURCE_RETIREMENT_EVENT", "IGNORE", "a defective unit was retired";
    157 used Ignore, "RESOURCE_RETIREMENT_FAILURE", "CONTACT_SUPPORT", "a defective unit could not be retired";
    158 used ResetGpu, "GPU_FATAL_TIMEOUT", "CONTACT_SUPPORT", "the GPU missed a fatal timeout";
    159 used CheckUvm, "ROBUST_CHANNEL_CHI_NON_DATA_ERROR", "SYMPATHETIC_REPORT_SOLO", "coherent link to the CPU: error other than data";
    160 used Ignore, "CHANNEL_RETIREMENT_EVENT", "INVESTIGATE_SW", "a memory channel was retired";
    161 used Ignore, "CHANNEL_RETIREMENT_FAILURE", "INVESTIGATE_SW", "a memory channel could not be retired";
    162 used Unstated, "PSHC_REENGAGED", "", "power smoothing circuit works again";
    163 used Unstated, "PSHC_DISENGAGED", "", "power smoothing circuit switched off";
    164 used Unstated, "PSHC_LOW_LIFETIME", "", "power smoothing circuit near the end of its life";
    165 used Unstated, "PSHC_ZERO_LIFETIME", "", "power smoothing circuit worn out";
    166 used Unstated, "NVLINK_SECURE_CRYPTO_ERR", "", "confidential computing: NVLink traffic before encryption was set up";
    167 used Unstated, "PCIE_FATAL_TIMEOUT", "", "PCIe did not answer before a fatal timeout";
    168 used Unstated, "REDUCED_GPU_MEMORY_CAPACITY", "", "errors in protected memory: the GPU starts with less of it";
    169 used Unstated, "SEC2_HALT_ERROR", "", "security controller halted";
    170 used Unstated, "NVLINK_SECURE_OTHER", "", "confidential computing: unexpected NVLink interrupt";
    171 used Unstated, "UNCORRECTABLE_DRAM_ERROR", "", "uncorrectable error in DRAM";
    172 used Unstated, "UNCORRECTABLE_SRAM_ERROR", "", "uncorrectable error in SRAM";
}
