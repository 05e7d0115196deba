//! Which figure of a capture is which figure of a profile.

use super::{Answers, ImportError, absence};
use crate::cell::Cell;
use crate::fields::{COUNT, Cells, Field};

/// How a text becomes a number.
#[derive(Clone, Copy)]
pub(super) enum Kind {
    /// A whole number, whatever unit follows.
    Whole,
    /// A whole number times a thousand.
    Thousands,
    /// Watts with up to three decimals, as milliwatts.
    Watts,
    /// MiB, as bytes.
    Mebibytes,
    /// Hexadecimal with `0x`.
    Hex,
    /// Enabled, Yes, Active, valid are 1; Disabled, No, Not Active are 0.
    Switch,
    /// `P0`..`P15`.
    PState,
    /// One of some words, by position.
    Word(&'static [&'static str]),
    /// One of some words, with its number.
    Numbered(&'static [(&'static str, i64)]),
}

use Kind::{Hex, Mebibytes, Numbered, PState, Switch, Thousands, Watts, Whole, Word};

const ARCHITECTURES: &[(&str, i64)] =
    &[("Turing", 6), ("Ampere", 7), ("Ada Lovelace", 8), ("Hopper", 9), ("Blackwell", 10)];
const BRANDS: &[(&str, i64)] = &[
    ("Quadro", 1),
    ("Tesla", 2),
    ("GeForce", 5),
    ("Titan", 6),
    ("NVIDIA RTX", 13),
    ("NVIDIA", 14),
    ("GeForce RTX", 15),
];
const VIRTUALIZATION: &[&str] = &["None", "Pass-Through", "VGPU", "Host VGPU", "Host VSGA"];
const RECOVERY: &[&str] = &["None", "Reset", "Reboot", "Drain P2P", "Drain and Reset"];
const COMPUTE_MODES: &[&str] = &["Default", "Exclusive_Thread", "Prohibited", "Exclusive_Process"];
const FABRIC_STATES: &[&str] = &["Not Supported", "Not Started", "In Progress", "Completed"];

/// Figure, name in the CSV, path in the tree, kind.
#[rustfmt::skip]
const FIGURES: &[(Field, &str, &str, Kind)] = &[
    (Field::UTILIZATION_GPU, "utilization.gpu", "Utilization/GPU", Whole),
    (Field::UTILIZATION_MEMORY, "utilization.memory", "Utilization/Memory", Whole),
    (Field::UTILIZATION_ENCODER, "utilization.encoder", "Utilization/Encoder", Whole),
    (Field::UTILIZATION_DECODER, "utilization.decoder", "Utilization/Decoder", Whole),
    (Field::UTILIZATION_JPEG, "utilization.jpeg", "Utilization/JPEG", Whole),
    (Field::UTILIZATION_OFA, "utilization.ofa", "Utilization/OFA", Whole),
    (Field::MEMORY_USED, "memory.used", "FB Memory Usage/Used", Mebibytes),
    (Field::MEMORY_FREE, "memory.free", "FB Memory Usage/Free", Mebibytes),
    (Field::MEMORY_TOTAL, "memory.total", "FB Memory Usage/Total", Mebibytes),
    (Field::MEMORY_RESERVED, "memory.reserved", "FB Memory Usage/Reserved", Mebibytes),
    (Field::BAR1_TOTAL, "", "BAR1 Memory Usage/Total", Mebibytes),
    (Field::BAR1_USED, "", "BAR1 Memory Usage/Used", Mebibytes),
    (Field::BAR1_FREE, "", "BAR1 Memory Usage/Free", Mebibytes),
    (Field::CLOCK_GRAPHICS, "clocks.current.graphics", "Clocks/Graphics", Whole),
    (Field::CLOCK_SM, "clocks.current.sm", "Clocks/SM", Whole),
    (Field::CLOCK_MEMORY, "clocks.current.memory", "Clocks/Memory", Whole),
    (Field::CLOCK_VIDEO, "clocks.current.video", "Clocks/Video", Whole),
    (Field::CLOCK_MAX, "clocks.max.graphics", "Max Clocks/Graphics", Whole),
    (Field::CLOCK_SM_MAX, "clocks.max.sm", "Max Clocks/SM", Whole),
    (Field::CLOCK_MEMORY_MAX, "clocks.max.memory", "Max Clocks/Memory", Whole),
    (Field::CLOCK_VIDEO_MAX, "", "Max Clocks/Video", Whole),
    (Field::CLOCK_BOOST_MAX, "", "Max Customer Boost Clocks/Graphics", Whole),
    (Field::CLOCK_APPLICATION, "clocks.applications.graphics", "Applications Clocks/Graphics", Whole),
    (Field::CLOCK_MEMORY_APPLICATION, "clocks.applications.memory", "Applications Clocks/Memory", Whole),
    (Field::CLOCK_APPLICATION_DEFAULT, "clocks.default_applications.graphics", "Default Applications Clocks/Graphics", Whole),
    (Field::CLOCK_MEMORY_APPLICATION_DEFAULT, "clocks.default_applications.memory", "Default Applications Clocks/Memory", Whole),
    (Field::PERFORMANCE_STATE, "pstate", "Performance State", PState),
    (Field::POWER_MANAGEMENT, "power.management", "", Switch),
    (Field::POWER_DRAW, "power.draw", "GPU Power Readings/Average Power Draw", Watts),
    (Field::POWER_INSTANT, "power.draw.instant", "GPU Power Readings/Instantaneous Power Draw", Watts),
    (Field::POWER_LIMIT, "enforced.power.limit", "GPU Power Readings/Current Power Limit", Watts),
    (Field::POWER_LIMIT_REQUESTED, "power.limit", "GPU Power Readings/Requested Power Limit", Watts),
    (Field::POWER_LIMIT_DEFAULT, "power.default_limit", "GPU Power Readings/Default Power Limit", Watts),
    (Field::POWER_LIMIT_MIN, "power.min_limit", "GPU Power Readings/Min Power Limit", Watts),
    (Field::POWER_LIMIT_MAX, "power.max_limit", "GPU Power Readings/Max Power Limit", Watts),
    (Field::POWER_MODULE_AVERAGE, "module.power.draw.average", "Module Power Readings/Average Power Draw", Watts),
    (Field::POWER_MODULE_INSTANT, "module.power.draw.instant", "Module Power Readings/Instantaneous Power Draw", Watts),
    (Field::POWER_MEMORY_AVERAGE, "", "GPU Memory Power Readings/Average Power Draw", Watts),
    (Field::POWER_MEMORY_INSTANT, "", "GPU Memory Power Readings/Instantaneous Power Draw", Watts),
    (Field::TEMPERATURE_GPU, "temperature.gpu", "Temperature/GPU Current Temp", Whole),
    (Field::TEMPERATURE_MEMORY, "temperature.memory", "Temperature/Memory Current Temp", Whole),
    (Field::TEMPERATURE_MARGIN, "temperature.gpu.tlimit", "Temperature/GPU T.Limit Temp", Whole),
    (Field::TEMPERATURE_SHUTDOWN, "", "Temperature/GPU Shutdown Temp", Whole),
    (Field::TEMPERATURE_SLOWDOWN, "", "Temperature/GPU Slowdown Temp", Whole),
    (Field::TEMPERATURE_GPU_MAX, "", "Temperature/GPU Max Operating Temp", Whole),
    (Field::TEMPERATURE_MEMORY_MAX, "", "Temperature/Memory Max Operating Temp", Whole),
    (Field::TEMPERATURE_TARGET, "", "Temperature/GPU Target Temperature", Whole),
    (Field::TLIMIT_SHUTDOWN, "", "Temperature/GPU Shutdown T.Limit Temp", Whole),
    (Field::TLIMIT_SLOWDOWN, "", "Temperature/GPU Slowdown T.Limit Temp", Whole),
    (Field::TLIMIT_GPU_MAX, "", "Temperature/GPU Max Operating T.Limit Temp", Whole),
    (Field::TLIMIT_MEMORY_MAX, "", "Temperature/Memory Max Operating T.Limit Temp", Whole),
    (Field::FAN_SPEED, "fan.speed", "Fan Speed", Whole),
    (Field::CLOCK_EVENT_REASONS, "clocks_event_reasons.active", "", Hex),
    (Field::CLOCK_EVENT_REASONS_SUPPORTED, "clocks_event_reasons.supported", "", Hex),
    (Field::SW_POWER_CAP_TIME, "clocks_event_reasons_counters.sw_power_cap", "Clocks Event Reasons Counters/SW Power Capping", Thousands),
    (Field::SYNC_BOOST_TIME, "clocks_event_reasons_counters.sync_boost", "Clocks Event Reasons Counters/Sync Boost", Thousands),
    (Field::SW_THERMAL_TIME, "clocks_event_reasons_counters.sw_thermal_slowdown", "Clocks Event Reasons Counters/SW Thermal Slowdown", Thousands),
    (Field::HW_THERMAL_TIME, "clocks_event_reasons_counters.hw_thermal_slowdown", "Clocks Event Reasons Counters/HW Thermal Slowdown", Thousands),
    (Field::HW_POWER_BRAKE_TIME, "clocks_event_reasons_counters.hw_power_brake_slowdown", "Clocks Event Reasons Counters/HW Power Braking", Thousands),
    (Field::PCIE_LINK_GENERATION, "pcie.link.gen.current", "PCI/GPU Link Info/PCIe Generation/Current", Whole),
    (Field::PCIE_LINK_WIDTH, "pcie.link.width.current", "PCI/GPU Link Info/Link Width/Current", Whole),
    (Field::PCIE_GENERATION_MAX, "pcie.link.gen.max", "PCI/GPU Link Info/PCIe Generation/Max", Whole),
    (Field::PCIE_GENERATION_GPU_MAX, "pcie.link.gen.gpumax", "PCI/GPU Link Info/PCIe Generation/Device Max", Whole),
    (Field::PCIE_WIDTH_MAX, "pcie.link.width.max", "PCI/GPU Link Info/Link Width/Max", Whole),
    (Field::PCIE_REPLAYS, "", "PCI/Replays Since Reset", Whole),
    (Field::PCIE_REPLAY_ROLLOVERS, "", "PCI/Replay Number Rollovers", Whole),
    (Field::PCIE_TRANSMIT, "", "PCI/Tx Throughput", Thousands),
    (Field::PCIE_RECEIVE, "", "PCI/Rx Throughput", Thousands),
    (Field::PCI_DEVICE_ID, "pci.device_id", "PCI/Device Id", Hex),
    (Field::PCI_SUBSYSTEM_ID, "pci.sub_device_id", "PCI/Sub System Id", Hex),
    (Field::PCI_BASE_CLASS, "pci.baseClass", "PCI/Base Classcode", Hex),
    (Field::PCI_SUB_CLASS, "pci.subClass", "PCI/Sub Classcode", Hex),
    (Field::BRAND, "", "Product Brand", Numbered(BRANDS)),
    (Field::ARCHITECTURE, "", "Product Architecture", Numbered(ARCHITECTURES)),
    (Field::MULTI_GPU_BOARD, "", "MultiGPU Board", Switch),
    (Field::BOARD_ID, "", "Board ID", Hex),
    (Field::MINOR_NUMBER, "", "Minor Number", Whole),
    (Field::MODULE_ID, "", "Platform Info/Module Id", Whole),
    (Field::INFOROM_VALID, "inforom.checksum_validation", "", Switch),
    (Field::ENCODER_SESSIONS, "encoder.stats.sessionCount", "Encoder Stats/Active Sessions", Whole),
    (Field::ENCODER_RATE, "encoder.stats.averageFps", "Encoder Stats/Average FPS", Whole),
    (Field::ENCODER_LATENCY, "encoder.stats.averageLatency", "Encoder Stats/Average Latency", Whole),
    (Field::FBC_SESSIONS, "", "FBC Stats/Active Sessions", Whole),
    (Field::FBC_RATE, "", "FBC Stats/Average FPS", Whole),
    (Field::FBC_LATENCY, "", "FBC Stats/Average Latency", Whole),
    (Field::ECC_MODE, "ecc.mode.current", "ECC Mode/Current", Switch),
    (Field::ECC_MODE_PENDING, "ecc.mode.pending", "ECC Mode/Pending", Switch),
    (Field::ECC_CORRECTED_VOLATILE, "ecc.errors.corrected.volatile.total", "", Whole),
    (Field::ECC_UNCORRECTED_VOLATILE, "ecc.errors.uncorrected.volatile.total", "", Whole),
    (Field::ECC_CORRECTED_AGGREGATE, "ecc.errors.corrected.aggregate.total", "", Whole),
    (Field::ECC_UNCORRECTED_AGGREGATE, "ecc.errors.uncorrected.aggregate.total", "", Whole),
    (Field::SRAM_VOL_PARITY, "ecc.errors.uncorrected.volatile.sram.parity", "ECC Errors/Volatile/SRAM Uncorrectable Parity", Whole),
    (Field::SRAM_VOL_SECDED, "ecc.errors.uncorrected.volatile.sram.secded", "ECC Errors/Volatile/SRAM Uncorrectable SEC-DED", Whole),
    (Field::SRAM_AGG_PARITY, "ecc.errors.uncorrected.aggregate.sram.parity", "ECC Errors/Aggregate/SRAM Uncorrectable Parity", Whole),
    (Field::SRAM_AGG_SECDED, "ecc.errors.uncorrected.aggregate.sram.secded", "ECC Errors/Aggregate/SRAM Uncorrectable SEC-DED", Whole),
    (Field::SRAM_THRESHOLD_EXCEEDED, "ecc.errors.uncorrected.aggregate.sram.thresholdExceeded", "ECC Errors/Aggregate/SRAM Threshold Exceeded", Switch),
    (Field::SRAM_L2, "ecc.errors.uncorrected.aggregate.sram.l2", "ECC Errors/Aggregate Uncorrectable SRAM Sources/SRAM L2", Whole),
    (Field::SRAM_SM, "ecc.errors.uncorrected.aggregate.sram.sm", "ECC Errors/Aggregate Uncorrectable SRAM Sources/SRAM SM", Whole),
    (Field::SRAM_MCU, "ecc.errors.uncorrected.aggregate.sram.mcu", "ECC Errors/Aggregate Uncorrectable SRAM Sources/SRAM Microcontroller", Whole),
    (Field::SRAM_PCIE, "ecc.errors.uncorrected.aggregate.sram.pcie", "ECC Errors/Aggregate Uncorrectable SRAM Sources/SRAM PCIE", Whole),
    (Field::SRAM_OTHER, "ecc.errors.uncorrected.aggregate.sram.other", "ECC Errors/Aggregate Uncorrectable SRAM Sources/SRAM Other", Whole),
    (Field::RETIRED_SINGLE, "retired_pages.single_bit_ecc.count", "Retired Pages/Single Bit ECC", Whole),
    (Field::RETIRED_DOUBLE, "retired_pages.double_bit.count", "Retired Pages/Double Bit ECC", Whole),
    (Field::RETIRED_PENDING, "retired_pages.pending", "Retired Pages/Pending Page Blacklist", Switch),
    (Field::REMAPPED_CORRECTED, "remapped_rows.correctable", "Remapped Rows/Correctable Error", Whole),
    (Field::REMAPPED_UNCORRECTED, "remapped_rows.uncorrectable", "Remapped Rows/Uncorrectable Error", Whole),
    (Field::REMAPPED_PENDING, "remapped_rows.pending", "Remapped Rows/Pending", Switch),
    (Field::REMAPPED_FAILURE, "remapped_rows.failure", "Remapped Rows/Remapping Failure Occurred", Switch),
    (Field::REMAP_BANKS_MAX, "remapped_rows.histogram.max", "Remapped Rows/Bank Remap Availability Histogram/Max", Whole),
    (Field::REMAP_BANKS_HIGH, "remapped_rows.histogram.high", "Remapped Rows/Bank Remap Availability Histogram/High", Whole),
    (Field::REMAP_BANKS_PARTIAL, "remapped_rows.histogram.partial", "Remapped Rows/Bank Remap Availability Histogram/Partial", Whole),
    (Field::REMAP_BANKS_LOW, "remapped_rows.histogram.low", "Remapped Rows/Bank Remap Availability Histogram/Low", Whole),
    (Field::REMAP_BANKS_NONE, "remapped_rows.histogram.none", "Remapped Rows/Bank Remap Availability Histogram/None", Whole),
    (Field::CHANNEL_REPAIR_PENDING, "", "ECC Errors/Channel Repair Pending", Switch),
    (Field::TPC_REPAIR_PENDING, "", "ECC Errors/TPC Repair Pending", Switch),
    (Field::UNREPAIRABLE_MEMORY, "", "ECC Errors/Unrepairable Memory", Switch),
    (Field::RECOVERY_ACTION, "gpu_recovery_action", "GPU Recovery Action", Word(RECOVERY)),
    (Field::COMPUTE_MODE, "compute_mode", "Compute Mode", Word(COMPUTE_MODES)),
    (Field::PERSISTENCE_MODE, "persistence_mode", "Persistence Mode", Switch),
    // The call that was named for the mode says whether a display is attached.
    (Field::DISPLAY_MODE, "display_attached", "Display Attached", Switch),
    (Field::DISPLAY_ACTIVE, "display_active", "Display Active", Switch),
    (Field::ACCOUNTING_MODE, "accounting.mode", "Accounting Mode", Switch),
    (Field::ACCOUNTING_BUFFER, "accounting.buffer_size", "Accounting Mode Buffer Size", Whole),
    (Field::VIRTUALIZATION_MODE, "", "GPU Virtualization Mode/Virtualization Mode", Word(VIRTUALIZATION)),
    (Field::ADDRESSING_MODE, "addressing_mode", "Addressing Mode", Word(&["None", "HMM", "ATS"])),
    (Field::C2C_MODE, "c2c.mode", "GPU C2C Mode", Switch),
    (Field::GPU_OPERATION_MODE, "gom.current", "GPU Operation Mode/Current", Word(&["All On", "Compute", "Low Double Precision"])),
    (Field::GPU_OPERATION_MODE_PENDING, "gom.pending", "GPU Operation Mode/Pending", Word(&["All On", "Compute", "Low Double Precision"])),
    (Field::GSP_MODE, "gsp.mode.current", "", Switch),
    (Field::GSP_MODE_DEFAULT, "gsp.mode.default", "", Switch),
    (Field::MIG_MODE, "mig.mode.current", "MIG Mode/Current", Switch),
    (Field::MIG_MODE_PENDING, "mig.mode.pending", "MIG Mode/Pending", Switch),
    (Field::FABRIC_STATE, "fabric.state", "Fabric/State", Word(FABRIC_STATES)),
    (Field::FABRIC_STATUS, "fabric.status", "Fabric/Status", Word(&["Success"])),
    (Field::FABRIC_CLIQUE, "fabric.cliqueId", "Fabric/CliqueId", Whole),
    (Field::FABRIC_HEALTH_SUMMARY, "fabric.health.summary", "Fabric/Health/Summary", Word(&["Not Supported", "Healthy", "Unhealthy", "Limited Capacity"])),
    (Field::PLATFORM_SLOT, "platform.slot_number", "Platform Info/Slot Number", Whole),
    (Field::PLATFORM_TRAY, "platform.tray_index", "Platform Info/Tray Index", Whole),
    (Field::PLATFORM_HOST, "platform.host_id", "Platform Info/Host ID", Whole),
    (Field::PLATFORM_PEER_TYPE, "platform.peer_type", "Platform Info/Peer Type", Word(&["Direct Connected", "Switch Connected"])),
    (Field::PLATFORM_MODULE, "platform.module_id", "Platform Info/Module Id", Whole),
    (Field::PROTECTED_MEMORY_TOTAL, "protected_memory.total", "Conf Compute Protected Memory Usage/Total", Mebibytes),
    (Field::PROTECTED_MEMORY_USED, "protected_memory.used", "Conf Compute Protected Memory Usage/Used", Mebibytes),
    (Field::PROTECTED_MEMORY_FREE, "protected_memory.free", "Conf Compute Protected Memory Usage/Free", Mebibytes),
];

/// The eight memory locations in the CSV, in NVML's order; the shared memory has no name there.
const LOCATIONS: [&str; 8] =
    ["l1_cache", "l2_cache", "dram", "register_file", "texture_memory", "", "cbu", "sram"];

/// A number from a text of a given kind.
pub(super) fn number(key: &str, text: &str, kind: Kind) -> Result<i64, ImportError> {
    let wrong =
        |wanted| ImportError::Figure { key: key.to_owned(), text: text.chars().take(60).collect(), wanted };
    let first = text.split_whitespace().next().unwrap_or_default();
    let whole =
        || first.trim_end_matches(['x', '%']).parse::<i64>().ok().filter(|number| number.abs() < 1 << 40);
    match kind {
        Whole => whole().ok_or_else(|| wrong("a whole number")),
        Thousands => whole().map(|number| number * 1000).ok_or_else(|| wrong("a whole number")),
        Mebibytes => whole().map(|number| number << 20).ok_or_else(|| wrong("a number of MiB")),
        Watts => milli(first).ok_or_else(|| wrong("a number of watts")),
        Hex => first
            .strip_prefix("0x")
            .and_then(|hex| i64::from_str_radix(hex, 16).ok())
            .ok_or_else(|| wrong("a hexadecimal number")),
        Switch => match text {
            "Enabled" | "Yes" | "Active" | "valid" => Ok(1),
            "Disabled" | "No" | "Not Active" | "invalid" => Ok(0),
            _ => Err(wrong("on or off")),
        },
        PState => {
            let state = first.strip_prefix('P').and_then(|state| state.parse().ok());
            state.filter(|state| (0..16).contains(state)).ok_or_else(|| wrong("a performance state"))
        }
        Word(words) => words
            .iter()
            .position(|word| *word == text)
            .map(|at| at as i64)
            .ok_or_else(|| wrong("a word known here")),
        Numbered(words) => words
            .iter()
            .find(|(word, _)| *word == text)
            .map(|(_, number)| *number)
            .ok_or_else(|| wrong("a word known here")),
    }
}

/// A decimal number with up to three decimals, times a thousand, exactly.
fn milli(text: &str) -> Option<i64> {
    let (whole, decimals) = text.split_once('.').unwrap_or((text, ""));
    if decimals.len() > 3 || !decimals.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let thousandths: i64 = format!("{decimals:0<3}").parse().ok()?;
    whole
        .parse::<i64>()
        .ok()
        .filter(|whole| (0..1 << 40).contains(whole))
        .map(|whole| whole * 1000 + thousandths)
}

fn cell(answers: &Answers, csv: &str, tree: &str, kind: Kind) -> Result<Cell, ImportError> {
    let Some(text) = answers.text(csv, tree) else { return Ok(Cell::NOT_SUPPORTED) };
    match absence(text) {
        Some(code) => Ok(Cell::error(code)),
        None => number(if csv.is_empty() { tree } else { csv }, text, kind).map(Cell::value),
    }
}

/// All figures of a phase that a capture gives.
pub(super) fn cells(answers: &Answers) -> Result<Cells, ImportError> {
    let mut cells = [Cell::NOT_SUPPORTED; COUNT];
    for (field, csv, tree, kind) in FIGURES {
        cells[field.position()] = cell(answers, csv, tree, *kind)?;
    }
    for (first, name) in [
        (Field::ECC_COR_VOL_L1, "corrected.volatile"),
        (Field::ECC_UNC_VOL_L1, "uncorrected.volatile"),
        (Field::ECC_COR_AGG_L1, "corrected.aggregate"),
        (Field::ECC_UNC_AGG_L1, "uncorrected.aggregate"),
    ] {
        for (at, location) in LOCATIONS.iter().enumerate() {
            cells[first.after(at).position()] =
                cell(answers, &format!("ecc.errors.{name}.{location}"), "", Whole)?;
        }
    }
    if let Some((major, minor)) = answers.text("compute_cap", "").and_then(|text| text.split_once('.')) {
        cells[Field::COMPUTE_CAPABILITY_MAJOR.position()] = Cell::value(number("compute_cap", major, Whole)?);
        cells[Field::COMPUTE_CAPABILITY_MINOR.position()] = Cell::value(number("compute_cap", minor, Whole)?);
    }
    Ok(cells)
}
