//! Where each field of a capture goes on the feed, and how its text reads.

use rackmark_feed::{NoData, Value};

/// What a text of `nvidia-smi` means.
#[derive(Debug, Clone, PartialEq)]
pub enum Expected {
    /// `N/A` and its like.
    Absent,
    Number(i128),
    Text(String),
    Flag(bool),
    /// Masked in the capture: anything that is there.
    Something,
}

impl Expected {
    pub fn fits(&self, value: Option<&Value>) -> bool {
        match (self, value) {
            (Self::Absent, Some(Value::NoData(why))) => {
                matches!(why, NoData::NotSupported | NoData::NoPermission)
            }
            (Self::Number(meant), Some(Value::Unsigned(found))) => *meant == i128::from(*found),
            (Self::Number(meant), Some(Value::Signed(found))) => *meant == i128::from(*found),
            (Self::Text(meant), Some(Value::Text(found))) => meant == found,
            (Self::Flag(meant), Some(Value::Flag(found))) => meant == found,
            (Self::Something, Some(value)) => !matches!(value, Value::NoData(_)),
            _ => false,
        }
    }

    pub fn number(&self) -> Option<f64> {
        match self {
            Self::Number(number) => Some(*number as f64),
            Self::Flag(flag) => Some(f64::from(u8::from(*flag))),
            _ => None,
        }
    }

    pub fn is_absent(&self) -> bool {
        *self == Self::Absent
    }
}

type Read = fn(&str) -> Expected;

/// Where a field goes.
pub enum Carried {
    As(&'static str, Read),
    Not(&'static str),
}

fn absent(text: &str) -> bool {
    matches!(text.trim_start_matches('['), "N/A]" | "N/A" | "")
        || text.contains("deprecated")
        || text.contains("Requested functionality")
}

fn or_absent(text: &str, read: impl FnOnce(&str) -> Option<Expected>) -> Expected {
    if absent(text) {
        return Expected::Absent;
    }
    read(text).unwrap_or_else(|| Expected::Text(format!("unreadable {text:?}")))
}

/// A number, whatever its unit; hexadecimal where it says so.
fn number(text: &str) -> Expected {
    or_absent(text, |text| {
        let word = text.split(' ').next()?.trim_end_matches('x');
        let parsed = match word.strip_prefix("0x") {
            Some(hex) => i128::from_str_radix(hex, 16).ok()?,
            None => word.parse().ok()?,
        };
        Some(Expected::Number(parsed))
    })
}

fn times(text: &str, factor: f64) -> Expected {
    or_absent(text, |text| {
        let figure: f64 = text.split(' ').next()?.parse().ok()?;
        Some(Expected::Number((figure * factor).round() as i128))
    })
}

fn milli(text: &str) -> Expected {
    times(text, 1000.0)
}

fn kilo(text: &str) -> Expected {
    times(text, 1000.0)
}

fn mebi(text: &str) -> Expected {
    times(text, f64::from(1 << 20))
}

fn micro_as_nano(text: &str) -> Expected {
    times(text, 1000.0)
}

fn state_number(text: &str) -> Expected {
    or_absent(text, |text| Some(Expected::Number(text.strip_prefix('P')?.parse().ok()?)))
}

fn text(text: &str) -> Expected {
    or_absent(text, |text| Some(Expected::Text(text.to_owned())))
}

/// Words as the feed writes them: lower case, underscores.
fn words(text: &str) -> Expected {
    or_absent(text, |text| Some(Expected::Text(text.to_lowercase().replace([' ', '-'], "_"))))
}

fn passthrough(text: &str) -> Expected {
    or_absent(text, |text| Some(Expected::Text(text.to_lowercase().replace(['-', ' '], ""))))
}

/// `Ada Lovelace` is `ada`, `Direct Connected` is `direct`.
fn first_word(text: &str) -> Expected {
    or_absent(text, |text| Some(Expected::Text(text.to_lowercase().split(' ').next()?.to_owned())))
}

/// A GUID of zeros is none; `-q` prints it as N/A.
fn guid(text: &str) -> Expected {
    match number(text) {
        Expected::Number(0) => Expected::Absent,
        other => other,
    }
}

fn flag(text: &str) -> Expected {
    or_absent(text, |text| match text {
        "Enabled" | "Yes" | "valid" | "Active" => Some(Expected::Flag(true)),
        "Disabled" | "No" | "Not Active" => Some(Expected::Flag(false)),
        _ => None,
    })
}

fn nvml_success(text: &str) -> Expected {
    or_absent(text, |text| (text == "Success").then_some(Expected::Number(0)))
}

fn masked(text: &str) -> Expected {
    or_absent(text, |_| Some(Expected::Something))
}

fn address(text: &str) -> Expected {
    or_absent(text, |text| Some(Expected::Text(text.to_lowercase())))
}

/// `--query-gpu`.
pub fn csv(key: &str) -> Option<Carried> {
    use Carried::{As, Not};
    if key.starts_with("power_smoothing.") {
        return Some(Not("power smoothing is not read"));
    }
    if key.starts_with("vgpu_") {
        return Some(Not("vGPU capabilities of a hypervisor host"));
    }
    if let Some(counter) = key.strip_prefix("ecc.errors.") {
        return ecc(counter);
    }
    if key.starts_with("fabric.health.") {
        return Some(Not("carried as one bit mask, fabric_health_bitmask"));
    }
    if key.starts_with("clocks_event_reasons.")
        && !["clocks_event_reasons.supported", "clocks_event_reasons.active"].contains(&key)
    {
        return Some(Not("carried as one bit mask, clock_event_reasons_bitmask"));
    }
    Some(match key {
        "timestamp" | "count" | "hostname" => Not("of the query, not of the GPU"),
        "driver_version" => As("driver_version", text),
        "kmd_version" => Not("the same as driver_version on Linux"),
        "name" => As("name", text),
        "serial" => As("serial", masked),
        "uuid" => As("uuid", masked),
        "pci.bus_id" => As("pci_address", address),
        "pci.domain" | "pci.bus" | "pci.device" => Not("part of pci_address"),
        "pci.baseClass" | "pci.subClass" => Not("the class is what made it a GPU"),
        "pci.device_id" => As("pci_device_id", number),
        "pci.sub_device_id" => As("pci_subsystem_id", number),
        "pcie.link.gen.current" | "pcie.link.gen.gpucurrent" => As("pcie_link_generation", number),
        "pcie.link.gen.max" => As("pcie_generation_max", number),
        "pcie.link.gen.gpumax" => As("pcie_generation_device_max", number),
        "pcie.link.gen.hostmax" => Not("NVML has no public call for it"),
        "pcie.link.width.current" => As("pcie_link_width_lanes", number),
        "pcie.link.width.max" => As("pcie_width_max_lanes", number),
        "index" => As("index", number),
        "display_mode" | "power.management" => Not("deprecated by the driver"),
        "display_attached" => As("display_attached", flag),
        "display_active" => As("display_active", flag),
        "persistence_mode" => As("persistence_enabled", flag),
        "addressing_mode" => As("addressing_mode", words),
        "accounting.mode" => As("accounting_enabled", flag),
        "accounting.buffer_size" => As("accounting_buffer_entries", number),
        "driver_model.current" | "driver_model.pending" => Not("Windows"),
        "vbios_version" => As("vbios_version", text),
        "inforom.img" => As("inforom_image_version", text),
        "inforom.oem" => As("inforom_oem_version", text),
        "inforom.ecc" => As("inforom_ecc_version", text),
        "inforom.pwr" => As("inforom_power_version", text),
        "inforom.checksum_validation" => As("inforom_valid", flag),
        "gpu_recovery_action" => As("recovery_action", words),
        "gom.current" | "gom.pending" => Not("GPU operation mode of boards before Volta"),
        "fan.speed" => As("fan_speed_percent", number),
        "pstate" => As("performance_state", state_number),
        "clocks_event_reasons.supported" => As("clock_event_reasons_supported_bitmask", number),
        "clocks_event_reasons.active" => As("clock_event_reasons_bitmask", number),
        "clocks_event_reasons_counters.sw_power_cap" => As("sw_power_cap_time_nanoseconds", micro_as_nano),
        "clocks_event_reasons_counters.sync_boost" => As("sync_boost_time_nanoseconds", micro_as_nano),
        "clocks_event_reasons_counters.sw_thermal_slowdown" => {
            As("sw_thermal_time_nanoseconds", micro_as_nano)
        }
        "clocks_event_reasons_counters.hw_thermal_slowdown" => {
            As("hw_thermal_time_nanoseconds", micro_as_nano)
        }
        "clocks_event_reasons_counters.hw_power_brake_slowdown" => {
            As("hw_power_brake_time_nanoseconds", micro_as_nano)
        }
        "memory.total" => As("memory_total_bytes", mebi),
        "memory.reserved" => As("memory_reserved_bytes", mebi),
        "memory.used" => As("memory_used_bytes", mebi),
        "memory.free" => As("memory_free_bytes", mebi),
        "compute_mode" => As("compute_mode", words),
        "compute_cap" => As("compute_capability", text),
        "utilization.gpu" => As("utilization_gpu_percent", number),
        "utilization.memory" => As("utilization_memory_percent", number),
        "utilization.encoder" => As("utilization_encoder_percent", number),
        "utilization.decoder" => As("utilization_decoder_percent", number),
        "utilization.jpeg" => As("utilization_jpeg_percent", number),
        "utilization.ofa" => As("utilization_ofa_percent", number),
        "encoder.stats.sessionCount" => As("encoder_sessions", number),
        "encoder.stats.averageFps" => As("encoder_average_fps", number),
        "encoder.stats.averageLatency" => As("encoder_average_latency_microseconds", number),
        "dramEncryption.mode.current" | "dramEncryption.mode.pending" => Not("DRAM encryption is not read"),
        "ecc.mode.current" => As("ecc_enabled", flag),
        "ecc.mode.pending" => As("ecc_pending_enabled", flag),
        "retired_pages.single_bit_ecc.count" => As("retired_pages_single_bit", number),
        "retired_pages.double_bit.count" => As("retired_pages_double_bit", number),
        "retired_pages.pending" => As("retired_pages_pending", flag),
        "remapped_rows.correctable" => As("remapped_rows_corrected", number),
        "remapped_rows.uncorrectable" => As("remapped_rows_uncorrected", number),
        "remapped_rows.correctable_inactive" | "remapped_rows.uncorrectable_inactive" => {
            Not("needs a newer call than the bindings have")
        }
        "remapped_rows.pending" => As("remapped_rows_pending", flag),
        "remapped_rows.failure" => As("remapped_rows_failed", flag),
        "remapped_rows.histogram.max" => As("remap_banks_max", number),
        "remapped_rows.histogram.high" => As("remap_banks_high", number),
        "remapped_rows.histogram.partial" => As("remap_banks_partial", number),
        "remapped_rows.histogram.low" => As("remap_banks_low", number),
        "remapped_rows.histogram.none" => As("remap_banks_none", number),
        "temperature.gpu" => As("temperature_gpu_celsius", number),
        "temperature.gpu.tlimit" => As("temperature_margin_celsius", number),
        "temperature.memory" => As("temperature_memory_celsius", number),
        "power.draw" | "power.draw.average" => As("power_draw_milliwatts", milli),
        "power.draw.instant" => As("power_instant_milliwatts", milli),
        "power.limit" => As("power_limit_requested_milliwatts", milli),
        "enforced.power.limit" => As("power_limit_milliwatts", milli),
        "power.default_limit" => As("power_limit_default_milliwatts", milli),
        "power.min_limit" => As("power_limit_min_milliwatts", milli),
        "power.max_limit" => As("power_limit_max_milliwatts", milli),
        "module.power.draw.average" => As("module_power_average_milliwatts", milli),
        "module.power.draw.instant" => As("module_power_instant_milliwatts", milli),
        "module.power.limit" => As("module_power_limit_milliwatts", milli),
        "module.enforced.power.limit"
        | "module.power.default_limit"
        | "module.power.min_limit"
        | "module.power.max_limit" => Not("of a module only its power and its limit are read"),
        "edpp_multiplier" => Not("NVML has no public call for it"),
        "clocks.current.graphics" => As("clock_graphics_megahertz", number),
        "clocks.current.sm" => As("clock_sm_megahertz", number),
        "clocks.current.memory" => As("clock_memory_megahertz", number),
        "clocks.current.video" => As("clock_video_megahertz", number),
        "clocks.applications.graphics" => As("application_clock_graphics_megahertz", number),
        "clocks.applications.memory" => As("application_clock_memory_megahertz", number),
        "clocks.default_applications.graphics" | "clocks.default_applications.memory" => {
            Not("deprecated by the driver")
        }
        "clocks.max.graphics" => As("clock_graphics_max_megahertz", number),
        "clocks.max.sm" => As("clock_sm_max_megahertz", number),
        "clocks.max.memory" => As("clock_memory_max_megahertz", number),
        "mig.mode.current" => As("mig_enabled", flag),
        "mig.mode.pending" => As("mig_pending_enabled", flag),
        "gsp.mode.current" => As("gsp_firmware_enabled", flag),
        "gsp.mode.default" => As("gsp_firmware_default_enabled", flag),
        "c2c.mode" => As("c2c_enabled", flag),
        "protected_memory.total" => As("protected_memory_total_bytes", mebi),
        "protected_memory.used" => As("protected_memory_used_bytes", mebi),
        "protected_memory.free" => As("protected_memory_free_bytes", mebi),
        "fabric.state" => As("fabric_state", fabric_state),
        "fabric.status" => As("fabric_status", nvml_success),
        "fabric.cliqueId" => As("fabric_clique", number),
        "fabric.clusterUuid" => As("fabric_cluster_uuid", text),
        "platform.chassis_serial_number" => Not("empty in every capture; NVML gives an empty text as none"),
        "platform.slot_number" => As("slot_number", number),
        "platform.tray_index" => As("tray_index", number),
        "platform.host_id" => As("host_id", number),
        "platform.peer_type" => As("peer_type", first_word),
        "platform.module_id" => As("module_id", number),
        "platform.gpu_fabric_guid" => As("fabric_guid", guid),
        _ => return None,
    })
}

fn fabric_state(text: &str) -> Expected {
    words(text)
}

/// `corrected.volatile.dram` and its like.
fn ecc(counter: &str) -> Option<Carried> {
    use Carried::As;
    Some(match counter {
        "corrected.volatile.total" => As("ecc_corrected_volatile_total", number),
        "uncorrected.volatile.total" => As("ecc_uncorrected_volatile_total", number),
        "corrected.aggregate.total" => As("ecc_corrected_aggregate_total", number),
        "uncorrected.aggregate.total" => As("ecc_uncorrected_aggregate_total", number),
        "uncorrected.volatile.sram.parity" => As("sram_uncorrected_volatile_parity_total", number),
        "uncorrected.volatile.sram.secded" => As("sram_uncorrected_volatile_secded_total", number),
        "uncorrected.aggregate.sram.parity" => As("sram_uncorrected_aggregate_parity_total", number),
        "uncorrected.aggregate.sram.secded" => As("sram_uncorrected_aggregate_secded_total", number),
        "uncorrected.aggregate.sram.thresholdExceeded" => As("sram_threshold_exceeded", flag),
        "uncorrected.aggregate.sram.l2" => As("sram_bucket_l2_total", number),
        "uncorrected.aggregate.sram.sm" => As("sram_bucket_sm_total", number),
        "uncorrected.aggregate.sram.mcu" => As("sram_bucket_mcu_total", number),
        "uncorrected.aggregate.sram.pcie" => As("sram_bucket_pcie_total", number),
        "uncorrected.aggregate.sram.other" => As("sram_bucket_other_total", number),
        other => {
            let name = format!("ecc_{}_total", other.replace('.', "_"));
            As(rackmark_feed::fields::by_name(&name)?.name, number)
        }
    })
}

/// Where `-q` repeats the CSV.
const IN_CSV: &[&str] = &[
    "Accounting Mode",
    "Addressing Mode",
    "Applications Clocks / ",
    "Clocks / ",
    "Clocks Event Reasons",
    "Compute Mode",
    "Conf Compute Protected Memory Usage / ",
    "DRAM Encryption Mode / ",
    "Default Applications Clocks / ",
    "Display ",
    "Driver Model / ",
    "ECC Errors / Aggregate",
    "ECC Errors / Volatile / ",
    "ECC Mode / ",
    "Encoder Stats / ",
    "FB Memory Usage / ",
    "Fabric / ",
    "Fan Speed",
    "GPU C2C Mode",
    "GPU Operation Mode / ",
    "GPU Power Readings / ",
    "GPU Recovery Action",
    "GPU UUID",
    "Inforom Version / ",
    "MIG Mode / ",
    "Max Clocks / ",
    "Module Power Readings / ",
    "PCI / Base Classcode",
    "PCI / Bus",
    "PCI / Device",
    "PCI / Domain",
    "PCI / GPU Link Info / ",
    "PCI / Sub",
    "Performance State",
    "Persistence Mode",
    "Platform Info / ",
    "Product Name",
    "Remapped Rows",
    "Retired Pages / ",
    "Serial Number",
    "Temperature / GPU Current Temp",
    "Temperature / GPU T.Limit Temp",
    "Temperature / Memory Current Temp",
    "Utilization / ",
    "VBIOS Version",
];

/// What `-q` alone has and the agent does not read.
const NOT_READ: &[&str] = &[
    "Clock Policy / ",
    "Deferred Clocks / ",
    "GPU Memory Power Readings / Instantaneous Power Draw",
    "GPU Virtualization Mode / Host VGPU Mode",
    "GPU Virtualization Mode / vGPU Heterogeneous Mode",
    "IBMNPU / ",
    "Inforom BBX Object Flush / ",
    "PCI / Atomic Caps ",
    "PCI / Bridge Chip / ",
    "Power Smoothing",
    "Temperature / GPU Target Temperature",
    "Workload Power Profiles / ",
];

/// `-q`: only what the CSV does not have; the rest repeats it, taken some
/// milliseconds apart.
pub fn query(key: &str) -> Option<Carried> {
    use Carried::{As, Not};
    Some(match key {
        "Product Brand" => As("brand", masked),
        "Product Architecture" => As("architecture", first_word),
        "Minor Number" => As("minor_number", number),
        "MultiGPU Board" => As("multi_gpu_board", flag),
        "Board ID" => As("board_id", number),
        "Board Part Number" => As("board_part_number", text),
        "GPU Virtualization Mode / Virtualization Mode" => As("virtualization_mode", passthrough),
        "GSP Firmware Version" => As("gsp_firmware_version", text),
        "PCI / Replays Since Reset" => As("pcie_replays_total", number),
        "PCI / Replay Number Rollovers" => As("pcie_replay_rollovers_total", number),
        "PCI / Tx Throughput" => As("pcie_transmit_bytes_per_second", kilo),
        "PCI / Rx Throughput" => As("pcie_receive_bytes_per_second", kilo),
        "BAR1 Memory Usage / Total" => As("bar1_total_bytes", mebi),
        "BAR1 Memory Usage / Used" => As("bar1_used_bytes", mebi),
        "BAR1 Memory Usage / Free" => As("bar1_free_bytes", mebi),
        "FBC Stats / Active Sessions" => As("framebuffer_capture_sessions", number),
        "FBC Stats / Average FPS" => As("framebuffer_capture_average_fps", number),
        "FBC Stats / Average Latency" => As("framebuffer_capture_average_latency_microseconds", number),
        "ECC Errors / Channel Repair Pending" => As("repair_channel_pending", flag),
        "ECC Errors / TPC Repair Pending" => As("repair_tpc_pending", flag),
        "Temperature / GPU Shutdown T.Limit Temp" => As("margin_shutdown_celsius", number),
        "Temperature / GPU Slowdown T.Limit Temp" => As("margin_slowdown_celsius", number),
        "Temperature / GPU Max Operating T.Limit Temp" => As("margin_gpu_max_celsius", number),
        "Temperature / Memory Max Operating T.Limit Temp" => As("margin_memory_max_celsius", number),
        "Temperature / GPU Shutdown Temp" => As("temperature_shutdown_celsius", number),
        "Temperature / GPU Slowdown Temp" => As("temperature_slowdown_celsius", number),
        "Temperature / GPU Max Operating Temp" => As("temperature_gpu_max_celsius", number),
        "Temperature / Memory Max Operating Temp" => As("temperature_memory_max_celsius", number),
        "GPU Memory Power Readings / Average Power Draw" => As("memory_power_average_milliwatts", milli),
        "Max Clocks / Video" => As("clock_video_max_megahertz", number),
        "Max Customer Boost Clocks / Graphics" => As("clock_graphics_customer_max_megahertz", number),
        "GPU PDI" | "GPU Part Number" | "FRU Part Number" => Not("NVML has no public call for it"),
        "ECC Errors / Unrepairable Memory" => Not("missing from the bindings"),
        "Sparse Operation Mode" | "EDPp Multiplier" | "Capabilities / EGM" => {
            Not("NVML has no public call for it")
        }
        key if IN_CSV.iter().any(|part| key.starts_with(part)) => {
            Not("in the CSV of the same capture, taken some ms apart")
        }
        key if NOT_READ.iter().any(|part| key.starts_with(part)) => Not("of a feature that is not read"),
        _ => return None,
    })
}

/// A MIG device of `-q`.
pub fn mig(key: &str) -> Option<(&'static str, Read)> {
    Some(match key {
        "Index" => ("mig_gpu_instance_id", masked as Read),
        "GPU Instance ID" => ("mig_gpu_instance_id", number),
        "Compute Instance ID" => ("mig_compute_instance_id", number),
        "Device Attributes / Shared / Multiprocessor count" => ("mig_multiprocessors", number),
        "Device Attributes / Shared / Copy Engine count" => ("mig_copy_engines", number),
        "Device Attributes / Shared / Encoder count" => ("mig_encoders", number),
        "Device Attributes / Shared / Decoder count" => ("mig_decoders", number),
        "Device Attributes / Shared / OFA count" => ("mig_ofas", number),
        "Device Attributes / Shared / JPG count" => ("mig_jpegs", number),
        "ECC Errors / Volatile / SRAM Uncorrectable" => ("mig_ecc_uncorrected_sram_total", number),
        "Shared FB Memory Usage / Total" => ("mig_memory_total_bytes", mebi),
        "Shared FB Memory Usage / Reserved" => ("mig_memory_reserved_bytes", mebi),
        "Shared FB Memory Usage / Used" => ("mig_memory_used_bytes", mebi),
        "Shared FB Memory Usage / Free" => ("mig_memory_free_bytes", mebi),
        "Shared BAR1 Memory / Total" => ("mig_bar1_total_bytes", mebi),
        "Shared BAR1 Memory / Used" => ("mig_bar1_used_bytes", mebi),
        "Shared BAR1 Memory / Free" => ("mig_bar1_free_bytes", mebi),
        _ => return None,
    })
}

const UNITS: [(&str, &str, f64); 14] = [
    ("_percent", "_ratio", 1e-2),
    ("_permille", "_ratio", 1e-3),
    ("_milliwatts", "_watts", 1e-3),
    ("_millijoules", "_joules", 1e-3),
    ("_megahertz", "_hertz", 1e6),
    ("_microseconds", "_seconds", 1e-6),
    ("_nanoseconds", "_seconds", 1e-9),
    ("_celsius", "_celsius", 1.0),
    ("_bytes_per_second", "_bytes_per_second", 1.0),
    ("_bytes", "_bytes", 1.0),
    ("_bitmask", "_bitmask", 1.0),
    ("_lanes", "_lanes", 1.0),
    ("_bits", "", 1.0),
    ("", "", 1.0),
];

fn unit(name: &str) -> (&'static str, &'static str, f64) {
    UNITS.into_iter().find(|(suffix, _, _)| name.ends_with(suffix)).unwrap_or(("", "", 1.0))
}

/// What one of the feed's units is in the scrape's.
pub fn scale(name: &str) -> f64 {
    unit(name).2
}

/// The series of a numeric field; the driver is not a GPU's.
pub fn series(name: &str) -> Option<String> {
    let field = rackmark_feed::fields::by_name(name)?;
    if field.id >= 1000 {
        return None;
    }
    let (suffix, base, _) = unit(name);
    let stem = name.strip_suffix(suffix)?;
    let counter = stem.ends_with("_time") || suffix != "_bytes" && stem.ends_with("_total");
    let stem = if counter { stem.strip_suffix("_total").unwrap_or(stem) } else { stem };
    Some(format!("rackmark_gpu_{stem}{base}{}", if counter { "_total" } else { "" }))
}
