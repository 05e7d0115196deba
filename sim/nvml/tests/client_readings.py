"""What a GPU says through nvidia-ml-py, and what profiles and captures say it should say.

Captures are read anew here, so that the importer is not its own judge.
"""
import csv
import pathlib
import re
import tomllib

import pynvml as n

HERE = pathlib.Path(__file__).resolve().parent.parent
MIB = 1 << 20


def get(call, *arguments):
    """What a call returns, or `!` and its return code."""
    try:
        return call(*arguments)
    except n.NVMLError as error:
        return f"!{error.value}"


def same(what, got, wanted):
    assert got == wanted, f"{what}: got {got!r}, wanted {wanted!r}"


def field(handle, number, scope=0):
    value = n.nvmlDeviceGetFieldValues(handle, [(number, scope)])[0]
    if value.nvmlReturn:
        return f"!{value.nvmlReturn}"
    return {1: value.value.uiVal, 3: value.value.ullVal, 5: value.value.siVal}[value.valueType]


def clock_event_field(handle, number):
    """CUDA 13 update 1 (driver 580.82) moved the clock event counters by 18 numbers."""
    major, minor = (int(part) for part in n.nvmlSystemGetDriverVersion().split(".")[:2])
    return field(handle, number + 18 if (major, minor) >= (580, 82) else number)


def handle(index=0):
    return n.nvmlDeviceGetHandleByIndex(index)


# --- what profiles say -------------------------------------------------------------------------------------------

REASONS = {"not_supported": 3, "no_permission": 4, "deprecated": 26}


def profile_figures(name, phase):
    document = tomllib.loads((HERE / "profiles" / f"{name}.toml").read_text())
    figures = document["device"] | {key: value for key, value in document["phase"][phase].items() if not isinstance(value, list)}
    for key, value in figures.items():
        if isinstance(value, str):
            figures[key] = "!" + str(REASONS[value[1:]])
    return document, figures


def readings(h):
    """Figures by edge name, each by its own NVML call."""
    clock = lambda kind: get(n.nvmlDeviceGetClockInfo, h, kind)
    top = lambda kind: get(n.nvmlDeviceGetMaxClockInfo, h, kind)
    part = lambda value, at: value if isinstance(value, str) else value[at]
    member = lambda value, name: value if isinstance(value, str) else getattr(value, name)
    rates = get(n.nvmlDeviceGetUtilizationRates, h)
    memory = get(n.nvmlDeviceGetMemoryInfo, h, n.nvmlMemory_v2)
    bar1 = get(n.nvmlDeviceGetBAR1MemoryInfo, h)
    limits = get(n.nvmlDeviceGetPowerManagementLimitConstraints, h)
    ecc = get(n.nvmlDeviceGetEccMode, h)
    mig = get(n.nvmlDeviceGetMigMode, h)
    rows = get(n.nvmlDeviceGetRemappedRows, h)
    banks = get(n.nvmlDeviceGetRowRemapperHistogram, h)
    encoder = get(n.nvmlDeviceGetEncoderStats, h)
    gsp = get(n.nvmlDeviceGetGspFirmwareMode, h)
    return {
        "utilization_gpu_percent": member(rates, "gpu"),
        "utilization_memory_percent": member(rates, "memory"),
        "utilization_encoder_percent": part(get(n.nvmlDeviceGetEncoderUtilization, h), 0),
        "utilization_decoder_percent": part(get(n.nvmlDeviceGetDecoderUtilization, h), 0),
        "utilization_jpeg_percent": part(get(n.nvmlDeviceGetJpgUtilization, h), 0),
        "utilization_ofa_percent": part(get(n.nvmlDeviceGetOfaUtilization, h), 0),
        "memory_used_bytes": member(memory, "used"),
        "memory_free_bytes": member(memory, "free"),
        "memory_total_bytes": member(memory, "total"),
        "memory_reserved_bytes": member(memory, "reserved"),
        "bar1_used_bytes": member(bar1, "bar1Used"),
        "bar1_total_bytes": member(bar1, "bar1Total"),
        "clock_graphics_megahertz": clock(0),
        "clock_sm_megahertz": clock(1),
        "clock_memory_megahertz": clock(2),
        "clock_video_megahertz": clock(3),
        "clock_graphics_max_megahertz": top(0),
        "clock_sm_max_megahertz": top(1),
        "clock_memory_max_megahertz": top(2),
        "clock_video_max_megahertz": top(3),
        "clock_graphics_customer_boost_max_megahertz": get(n.nvmlDeviceGetMaxCustomerBoostClock, h, 0),
        "clock_graphics_application_megahertz": get(n.nvmlDeviceGetApplicationsClock, h, 0),
        "clock_memory_application_default_megahertz": get(n.nvmlDeviceGetDefaultApplicationsClock, h, 2),
        "performance_state": get(n.nvmlDeviceGetPerformanceState, h),
        "power_draw_milliwatts": get(n.nvmlDeviceGetPowerUsage, h),
        "power_instant_milliwatts": field(h, 186),
        "power_memory_average_milliwatts": field(h, 185, 2),
        "power_limit_milliwatts": get(n.nvmlDeviceGetEnforcedPowerLimit, h),
        "power_limit_requested_milliwatts": get(n.nvmlDeviceGetPowerManagementLimit, h),
        "power_limit_default_milliwatts": get(n.nvmlDeviceGetPowerManagementDefaultLimit, h),
        "power_limit_min_milliwatts": part(limits, 0),
        "power_limit_max_milliwatts": part(limits, 1),
        "power_management_mode": get(n.nvmlDeviceGetPowerManagementMode, h),
        "temperature_gpu_celsius": get(n.nvmlDeviceGetTemperature, h, 0),
        "temperature_memory_celsius": field(h, 82),
        "temperature_margin_celsius": get(n.nvmlDeviceGetMarginTemperature, h),
        "temperature_shutdown_celsius": get(n.nvmlDeviceGetTemperatureThreshold, h, 0),
        "temperature_slowdown_celsius": get(n.nvmlDeviceGetTemperatureThreshold, h, 1),
        "temperature_memory_max_celsius": get(n.nvmlDeviceGetTemperatureThreshold, h, 2),
        "temperature_gpu_max_celsius": get(n.nvmlDeviceGetTemperatureThreshold, h, 3),
        "temperature_target_celsius": get(n.nvmlDeviceGetTemperatureThreshold, h, 5),
        "tlimit_shutdown_celsius": field(h, 193),
        "tlimit_slowdown_celsius": field(h, 194),
        "tlimit_memory_max_celsius": field(h, 195),
        "tlimit_gpu_max_celsius": field(h, 196),
        "fan_speed_percent": get(n.nvmlDeviceGetFanSpeed, h),
        "clock_event_reasons_bitmask": get(n.nvmlDeviceGetCurrentClocksEventReasons, h),
        "clock_event_reasons_supported_bitmask": get(n.nvmlDeviceGetSupportedClocksEventReasons, h),
        "sw_power_cap_time_nanoseconds": field(h, 74),
        "sync_boost_time_nanoseconds": field(h, 76),
        "sw_thermal_time_nanoseconds": clock_event_field(h, 251),
        "hw_thermal_time_nanoseconds": clock_event_field(h, 252),
        "hw_power_brake_time_nanoseconds": clock_event_field(h, 253),
        "pcie_link_generation": get(n.nvmlDeviceGetCurrPcieLinkGeneration, h),
        "pcie_link_generation_max": get(n.nvmlDeviceGetMaxPcieLinkGeneration, h),
        "pcie_link_generation_gpu_max": get(n.nvmlDeviceGetGpuMaxPcieLinkGeneration, h),
        "pcie_link_width_lanes": get(n.nvmlDeviceGetCurrPcieLinkWidth, h),
        "pcie_link_width_max_lanes": get(n.nvmlDeviceGetMaxPcieLinkWidth, h),
        "pcie_replays_total": get(n.nvmlDeviceGetPcieReplayCounter, h),
        "pci_device_id": member(get(n.nvmlDeviceGetPciInfo, h), "pciDeviceId"),
        "pci_subsystem_id": member(get(n.nvmlDeviceGetPciInfo, h), "pciSubSystemId"),
        "brand": get(n.nvmlDeviceGetBrand, h),
        "architecture": get(n.nvmlDeviceGetArchitecture, h),
        "cores_total": get(n.nvmlDeviceGetNumGpuCores, h),
        "memory_bus_width_bits": get(n.nvmlDeviceGetMemoryBusWidth, h),
        "compute_capability_major": part(get(n.nvmlDeviceGetCudaComputeCapability, h), 0),
        "compute_capability_minor": part(get(n.nvmlDeviceGetCudaComputeCapability, h), 1),
        "encoder_sessions": part(encoder, 0),
        "encoder_frames_per_second": part(encoder, 1),
        "encoder_latency_microseconds": part(encoder, 2),
        "ecc_mode_current": part(ecc, 0),
        "ecc_mode_pending": part(ecc, 1),
        "ecc_corrected_volatile_total": get(n.nvmlDeviceGetTotalEccErrors, h, 0, 0),
        "ecc_uncorrected_volatile_total": get(n.nvmlDeviceGetTotalEccErrors, h, 1, 0),
        "ecc_corrected_aggregate_total": get(n.nvmlDeviceGetTotalEccErrors, h, 0, 1),
        "ecc_uncorrected_aggregate_total": get(n.nvmlDeviceGetTotalEccErrors, h, 1, 1),
        "ecc_uncorrected_volatile_sram_total": get(n.nvmlDeviceGetMemoryErrorCounter, h, 1, 0, 7),
        "ecc_corrected_aggregate_dram_total": get(n.nvmlDeviceGetMemoryErrorCounter, h, 0, 1, 2),
        "remapped_rows_corrected_total": part(rows, 0),
        "remapped_rows_uncorrected_total": part(rows, 1),
        "remapped_rows_pending": part(rows, 2),
        "remapped_rows_failure": part(rows, 3),
        "remap_banks_max": member(banks, "max"),
        "remap_banks_high": member(banks, "high"),
        "remap_banks_none": member(banks, "none"),
        "recovery_action": field(h, 230),
        "compute_mode": get(n.nvmlDeviceGetComputeMode, h),
        "persistence_mode": get(n.nvmlDeviceGetPersistenceMode, h),
        "display_mode": get(n.nvmlDeviceGetDisplayMode, h),
        "display_active": get(n.nvmlDeviceGetDisplayActive, h),
        "accounting_mode": get(n.nvmlDeviceGetAccountingMode, h),
        "accounting_buffer_size": get(n.nvmlDeviceGetAccountingBufferSize, h),
        "virtualization_mode": get(n.nvmlDeviceGetVirtualizationMode, h),
        "gsp_mode_current": part(gsp, 0),
        "gsp_mode_default": part(gsp, 1),
        "mig_mode_current": part(mig, 0),
        "mig_mode_pending": part(mig, 1),
        "module_id": get(n.nvmlDeviceGetModuleId, h),
        "nvlink_speed_megabytes_per_second": field(h, 164, 0),
        "nvlink_version": get(n.nvmlDeviceGetNvLinkVersion, h, 0),
    }


def compare_with_profile(name, phase):
    document, wanted = profile_figures(name, phase)
    h = handle()
    # The draw of a model is noisy at rest too.
    moving = {"power_draw_milliwatts", "power_instant_milliwatts"} if document["source"] == "model" else set()
    got = readings(h)
    for key, value in got.items():
        if key in moving:
            assert abs(value - wanted[key]) < wanted[key] * 0.02, (key, value, wanted[key])
        else:
            same(f"{name} {phase} {key}", value, wanted.get(key, "!3"))
    same("name", n.nvmlDeviceGetName(h), document["text"]["name"])
    same("driver", n.nvmlSystemGetDriverVersion(), document["system"]["driver_version"])
    same("CUDA", n.nvmlSystemGetCudaDriverVersion(), document["system"]["cuda_version"])
    same("VBIOS", n.nvmlDeviceGetVbiosVersion(h), document["text"]["vbios_version"])
    same("count", n.nvmlDeviceGetCount(), document["gpus"])
    return len(got)


# --- captures ----------------------------------------------------------------------------------------------------

# name in the CSV answer: (edge name, factor, decimals)
CSV = {
    "pcie.link.gen.current": "pcie_link_generation", "pcie.link.gen.max": "pcie_link_generation_max",
    "pcie.link.gen.gpumax": "pcie_link_generation_gpu_max", "pcie.link.width.current": "pcie_link_width_lanes",
    "pcie.link.width.max": "pcie_link_width_max_lanes", "fan.speed": "fan_speed_percent", "pstate": "performance_state",
    "clocks_event_reasons.supported": "clock_event_reasons_supported_bitmask",
    "clocks_event_reasons.active": "clock_event_reasons_bitmask",
    "clocks_event_reasons_counters.sw_power_cap": "sw_power_cap_time_nanoseconds",
    "clocks_event_reasons_counters.sync_boost": "sync_boost_time_nanoseconds",
    "clocks_event_reasons_counters.sw_thermal_slowdown": "sw_thermal_time_nanoseconds",
    "clocks_event_reasons_counters.hw_thermal_slowdown": "hw_thermal_time_nanoseconds",
    "clocks_event_reasons_counters.hw_power_brake_slowdown": "hw_power_brake_time_nanoseconds",
    "memory.total": "memory_total_bytes", "memory.reserved": "memory_reserved_bytes", "memory.used": "memory_used_bytes",
    "memory.free": "memory_free_bytes", "utilization.gpu": "utilization_gpu_percent",
    "utilization.memory": "utilization_memory_percent", "utilization.encoder": "utilization_encoder_percent",
    "utilization.decoder": "utilization_decoder_percent", "utilization.jpeg": "utilization_jpeg_percent",
    "utilization.ofa": "utilization_ofa_percent", "encoder.stats.sessionCount": "encoder_sessions",
    "encoder.stats.averageFps": "encoder_frames_per_second", "encoder.stats.averageLatency": "encoder_latency_microseconds",
    "ecc.mode.current": "ecc_mode_current", "ecc.mode.pending": "ecc_mode_pending",
    "ecc.errors.corrected.volatile.total": "ecc_corrected_volatile_total",
    "ecc.errors.uncorrected.volatile.total": "ecc_uncorrected_volatile_total",
    "ecc.errors.corrected.aggregate.total": "ecc_corrected_aggregate_total",
    "ecc.errors.uncorrected.aggregate.total": "ecc_uncorrected_aggregate_total",
    "ecc.errors.uncorrected.volatile.sram": "ecc_uncorrected_volatile_sram_total",
    "ecc.errors.corrected.aggregate.dram": "ecc_corrected_aggregate_dram_total",
    "remapped_rows.correctable": "remapped_rows_corrected_total",
    "remapped_rows.uncorrectable": "remapped_rows_uncorrected_total", "remapped_rows.pending": "remapped_rows_pending",
    "remapped_rows.failure": "remapped_rows_failure", "remapped_rows.histogram.max": "remap_banks_max",
    "remapped_rows.histogram.high": "remap_banks_high", "remapped_rows.histogram.none": "remap_banks_none",
    "temperature.gpu": "temperature_gpu_celsius", "temperature.gpu.tlimit": "temperature_margin_celsius",
    "temperature.memory": "temperature_memory_celsius", "power.management": "power_management_mode",
    "power.draw": "power_draw_milliwatts", "power.draw.instant": "power_instant_milliwatts",
    "power.limit": "power_limit_requested_milliwatts", "enforced.power.limit": "power_limit_milliwatts",
    "power.default_limit": "power_limit_default_milliwatts", "power.min_limit": "power_limit_min_milliwatts",
    "power.max_limit": "power_limit_max_milliwatts", "clocks.current.graphics": "clock_graphics_megahertz",
    "clocks.current.sm": "clock_sm_megahertz", "clocks.current.memory": "clock_memory_megahertz",
    "clocks.current.video": "clock_video_megahertz", "clocks.applications.graphics": "clock_graphics_application_megahertz",
    "clocks.default_applications.memory": "clock_memory_application_default_megahertz",
    "clocks.max.graphics": "clock_graphics_max_megahertz", "clocks.max.sm": "clock_sm_max_megahertz",
    "clocks.max.memory": "clock_memory_max_megahertz", "mig.mode.current": "mig_mode_current",
    "mig.mode.pending": "mig_mode_pending", "gsp.mode.current": "gsp_mode_current", "gsp.mode.default": "gsp_mode_default",
    "display_attached": "display_mode", "display_active": "display_active", "persistence_mode": "persistence_mode",
    "accounting.mode": "accounting_mode", "accounting.buffer_size": "accounting_buffer_size",
    "gpu_recovery_action": "recovery_action", "pci.device_id": "pci_device_id", "pci.sub_device_id": "pci_subsystem_id",
    "platform.module_id": "module_id", "compute_mode": "compute_mode",
}
TREE = {
    "Tx Throughput": "tx", "Rx Throughput": "rx", "Replays Since Reset": "pcie_replays_total",
    "GPU Shutdown T.Limit Temp": "tlimit_shutdown_celsius", "GPU Slowdown T.Limit Temp": "tlimit_slowdown_celsius",
    "GPU Max Operating T.Limit Temp": "tlimit_gpu_max_celsius", "GPU Shutdown Temp": "temperature_shutdown_celsius",
    "Memory Max Operating T.Limit Temp": "tlimit_memory_max_celsius", "GPU Slowdown Temp": "temperature_slowdown_celsius",
    "GPU Max Operating Temp": "temperature_gpu_max_celsius", "GPU Target Temperature": "temperature_target_celsius",
}
WORDS = {"Enabled": 1, "Disabled": 0, "Yes": 1, "No": 0, "None": 0, "Default": 0}


def capture_value(text):
    """A capture's text as the number NVML would give; written anew here, so that the importer is not its own judge."""
    text = text.strip()
    bare = text.strip("[]")
    if bare in ("N/A", "Not Supported", ""):
        return "!3"
    if bare == "Requested functionality has been deprecated":
        return "!26"
    if text in WORDS:
        return WORDS[text]
    if text.startswith("0x"):
        return int(text, 16)
    if re.fullmatch(r"P\d+", text):
        return int(text[1:])
    number, _, unit = text.partition(" ")
    factor = {"MiB": MIB, "us": 1000, "W": 1000}.get(unit, 1)
    return round(float(number) * factor) if "." in number else int(number.rstrip("x")) * factor


def capture_sections(path, phase):
    parts = re.split(r"#{80}\n# ([^\n]*)\n(?:# [^\n]*\n)*#{80}\n", path.read_text())
    sections = dict(zip(parts[1::2], parts[2::2]))
    table = next(text for title, text in sections.items() if title.startswith(f"{phase} :: query-gpu (csv"))
    tree = next(text for title, text in sections.items() if title.startswith(f"{phase} :: query (-q)"))
    rows = list(csv.reader(table.strip().splitlines(), skipinitialspace=True))
    return dict(zip([title.split(" [")[0] for title in rows[0]], rows[1])), tree


def compare_with_capture(path, phase):
    table, tree = capture_sections(path, phase)
    h = handle()
    got = readings(h) | {"tx": get(n.nvmlDeviceGetPcieThroughput, h, 0), "rx": get(n.nvmlDeviceGetPcieThroughput, h, 1)}
    wanted = {edge: capture_value(table[title]) for title, edge in CSV.items()}
    for title, edge in TREE.items():
        found = re.search(rf"^\s+{re.escape(title)}\s+: (.*)$", tree, re.M)
        wanted[edge] = capture_value(found[1]) if found else "!3"
    for edge, value in wanted.items():
        same(f"{path.name} {phase} {edge}", got[edge], value)
    processes = []
    for found in re.finditer(r"Process ID\s+: (\d+)\n\s+Type\s+: (\S+)\n\s+Name\s+: (.*)\n\s+Used GPU Memory\s+: (\d+) MiB", tree):
        processes.append((int(found[1]), found[2], found[3], int(found[4]) * MIB))
    listed = lambda call: sorted((process.pid, process.usedGpuMemory) for process in call(h))
    same("compute", listed(n.nvmlDeviceGetComputeRunningProcesses), sorted((p[0], p[3]) for p in processes if "C" in p[1]))
    same("graphics", listed(n.nvmlDeviceGetGraphicsRunningProcesses), sorted((p[0], p[3]) for p in processes if "G" in p[1]))
    for pid, _, name, _ in processes:
        same("process name", n.nvmlSystemGetProcessName(pid), name)
    serial = get(n.nvmlDeviceGetSerial, h)
    same("serial", serial, "!3" if table["serial"] == "[N/A]" else "SIM0000000001")
    devices = re.findall(r"MIG Device\n(?:.*\n)*?\s+Free\s+: \d+ MiB\n(?:.*\n)*?\s+Free\s+: \d+ MiB", tree)
    for index, text in enumerate(devices):
        numbers = [int(x) for x in re.findall(r": (\d+)", text)]
        mig = n.nvmlDeviceGetMigDeviceHandleByIndex(h, index)
        attributes = n.nvmlDeviceGetAttributes(mig)
        memory = n.nvmlDeviceGetMemoryInfo(mig, n.nvmlMemory_v2)
        bar1 = n.nvmlDeviceGetBAR1MemoryInfo(mig)
        same(f"MIG {index}", [
            index, n.nvmlDeviceGetGpuInstanceId(mig), n.nvmlDeviceGetComputeInstanceId(mig), attributes.multiprocessorCount,
            attributes.sharedCopyEngineCount, attributes.sharedEncoderCount, attributes.sharedDecoderCount,
            attributes.sharedOfaCount, attributes.sharedJpegCount, n.nvmlDeviceGetMemoryErrorCounter(mig, 1, 0, 7),
            memory.total // MIB, memory.reserved // MIB, memory.used // MIB, memory.free // MIB, bar1.bar1Total // MIB,
            bar1.bar1Used // MIB, bar1.bar1Free // MIB,
        ], numbers)
    print(f"  {len(wanted)} figures, {len(processes)} processes, {len(devices)} MIG devices", end="")
