#!/usr/bin/env python3
"""Reads the simulated library with nvidia-ml-py, a client that shares no code with it, and compares.

    independent_client.py NVML_SIM LIBRARY [VECTORS]

NVML_SIM is the `nvml-sim` program, LIBRARY the simulated library, VECTORS a folder with nvidia-smi captures. Every check
runs in a process of its own. The exit status is the number of checks that failed.
"""
import contextlib
import ctypes
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import threading
import time

import pynvml as n
from client_readings import (
    HERE, MIB, clock_event_field, compare_with_capture, compare_with_profile, field, get, handle, same,
)

SIM = os.environ.get("CHECK_SIM", "")
ALL_LINKS = 0xFFFFFFFF
CHECKS = {}


def check(source):
    """Registers a check that runs on a folder prepared from `source` (arguments of `nvml-sim prepare`)."""

    def register(function):
        CHECKS[function.__name__] = (source, function)
        return function

    return register


def folder():
    return os.environ["RACKMARK_SIM_DIR"]


def order(*words):
    subprocess.run([SIM, "do", "--dir", folder(), *map(str, words)], check=True)


def code(call, *arguments):
    """The NVML return code of a call, 0 for success."""
    try:
        call(*arguments)
        return 0
    except n.NVMLError as error:
        return error.value


def profile_check(name, phase, source):
    def run():
        count = compare_with_profile(name, phase)
        print(f"  {count} figures", end="")

    run.__name__ = f"profile_{name}_{phase}".replace("-", "_")
    CHECKS[run.__name__] = (source, run)


for captured in ["h200", "h100-mig", "rtx4080-super"]:
    for phase in ["load", "idle"]:
        profile_check(captured, phase, ["--profile", captured, "--phase", phase])
for modelled in ["h100-sxm-8", "a100-mig-8", "b200-8", "rtx4090-2"]:
    profile_check(modelled, "idle", ["--profile", modelled])


def capture_check(name, path, phase):
    CHECKS[f"capture_{name}_{phase}"] = (["--profile", name, "--phase", phase], lambda: compare_with_capture(path, phase))


def add_capture_checks(vectors):
    files = {"h200": "h200__590.48.01", "h100-mig": "h100-mig__590.48.01", "rtx4080-super": "geforce-rtx-4080-super__595.71.05"}
    for name, file in files.items():
        path = pathlib.Path(vectors) / "nvidia-smi" / f"{file}.txt"
        if path.exists():
            for phase in ["load", "idle"]:
                capture_check(name, path, phase)
        else:
            print("skipped: no vectors")


# --- habits of the driver ----------------------------------------------------------------------------------------


@check(["--scenario", "load"])
def identity():
    uuids, serials = set(), set()
    for index in range(8):
        h = handle(index)
        uuid = n.nvmlDeviceGetUUID(h)
        assert re.fullmatch(r"GPU-51515151-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", uuid), uuid
        uuids.add(uuid)
        serials.add(n.nvmlDeviceGetSerial(h))
        address = n.nvmlDeviceGetPciInfo(h).busId
        for other in [n.nvmlDeviceGetHandleByUUID(uuid), n.nvmlDeviceGetHandleByPciBusId(address), n.nvmlDeviceGetHandleBySerial(n.nvmlDeviceGetSerial(h))]:
            same("index", n.nvmlDeviceGetIndex(other), index)
        short = address[4:].lower()
        same("short address", n.nvmlDeviceGetIndex(n.nvmlDeviceGetHandleByPciBusId(short)), index)
        device = pathlib.Path(folder()) / "sysfs/bus/pci/devices" / short
        same("vendor", (device / "vendor").read_text(), "0x10de\n")
        same("device", (device / "device").read_text(), "0x2330\n")
        same("class", (device / "class").read_text(), "0x030200\n")
        same("driver", (device / "driver").resolve(), (pathlib.Path(folder()) / "sysfs/bus/pci/drivers/nvidia").resolve())
        assert uuid in (pathlib.Path(folder()) / "proc/driver/nvidia/gpus" / short / "information").read_text()
    same("serials", serials, {f"SIM{number:010}" for number in range(1, 9)})
    same("uuids", len(uuids), 8)
    same("no such index", code(n.nvmlDeviceGetHandleByIndex, 8), n.NVML_ERROR_INVALID_ARGUMENT)
    same("no such UUID", code(n.nvmlDeviceGetHandleByUUID, "GPU-0"), n.NVML_ERROR_NOT_FOUND)
    marker = ctypes.CDLL("libnvidia-ml.so.1").rackmark_simulated_nvml
    same("marker", marker(), 1)


@check(["--scenario", "load"])
def structs_and_sizes():
    h = handle()
    library = ctypes.CDLL("libnvidia-ml.so.1")
    memory = n.c_nvmlMemory_v2_t(version=0x01000028)
    same("version", library.nvmlDeviceGetMemoryInfo_v2(h, ctypes.byref(memory)), n.NVML_ERROR_ARGUMENT_VERSION_MISMATCH)
    margin = n.c_nvmlMarginTemperature_v1_t()
    margin.version = 7
    same("version", library.nvmlDeviceGetMarginTemperature(h, ctypes.byref(margin)), n.NVML_ERROR_ARGUMENT_VERSION_MISMATCH)
    count = ctypes.c_uint(0)
    same("size", library.nvmlDeviceGetComputeRunningProcesses_v3(h, ctypes.byref(count), None), n.NVML_ERROR_INSUFFICIENT_SIZE)
    same("count", count.value, 1)
    short = ctypes.create_string_buffer(8)
    same("short text", library.nvmlDeviceGetName(h, short, 8), n.NVML_ERROR_INSUFFICIENT_SIZE)
    same("null", library.nvmlDeviceGetPowerUsage(h, None), n.NVML_ERROR_INVALID_ARGUMENT)
    power = ctypes.c_uint()
    for wrong in [0, 1, 0x51D000010900, 0xFFFFFFFFFFFFFFFF]:
        same("handle", library.nvmlDeviceGetPowerUsage(ctypes.c_void_p(wrong), ctypes.byref(power)), n.NVML_ERROR_INVALID_ARGUMENT)
    for version in [n.nvmlGpuFabricInfo_v2, n.nvmlGpuFabricInfo_v3]:
        kind = n.c_nvmlGpuFabricInfo_v2_t if version == n.nvmlGpuFabricInfo_v2 else n.c_nvmlGpuFabricInfo_v3_t
        info = kind()
        info.version = version
        same("fabric", library.nvmlDeviceGetGpuFabricInfoV(h, ctypes.byref(info)), 0)
        same("fabric state", info.state, n.NVML_GPU_FABRIC_STATE_COMPLETED)
    for kind in [n.c_nvmlPlatformInfo_v1_t, n.c_nvmlPlatformInfo_v2_t]:
        info = kind()
        n.nvmlDeviceGetPlatformInfo(h, ctypes.byref(info))
        same("platform module", ord(info.moduleId), 1)
    sram = n.c_nvmlEccSramErrorStatus_v1_t()
    n.nvmlDeviceGetSramEccErrorStatus(h, ctypes.byref(sram))
    same("SRAM", sram.aggregateUncParity, 0)
    pci = n.nvmlPciInfoExt_v1_t()
    pci.version = n.nvmlPciInfoExt_v1
    n.nvmlDeviceGetPciInfoExt(h, ctypes.byref(pci))
    same("class", (pci.baseClass, pci.subClass, pci.bus), (3, 2, 0x1B))
    same("temperature", n.nvmlDeviceGetTemperatureV(h, 0) in range(25, 95), True)
    same("repair", n.nvmlDeviceGetRepairStatus(h), [0, 0])
    profile = n.nvmlDeviceGetGpuInstanceProfileInfo(h, 2)
    same("instance profile", (profile.id, profile.sliceCount, profile.multiprocessorCount), (9, 3, 60))
    same("nearest", len(n.nvmlDeviceGetTopologyNearestGpus(h, n.NVML_TOPOLOGY_NODE)), 3)
    same("ancestor", n.nvmlDeviceGetTopologyCommonAncestor(h, handle(7)), n.NVML_TOPOLOGY_SYSTEM)
    same("peer", n.nvmlDeviceGetP2PStatus(h, handle(7), n.NVML_P2P_CAPS_INDEX_NVLINK), n.NVML_P2P_STATUS_OK)
    same("affinity", list(n.nvmlDeviceGetCpuAffinity(handle(7), 2)), [0xFF00000000000000, 0x0000FFFFFFFFFFFF])
    same("CC", n.nvmlSystemGetConfComputeState().ccFeature, 0)
    n.nvmlShutdown()
    same("after shutdown", code(n.nvmlDeviceGetPowerUsage, h), n.NVML_ERROR_UNINITIALIZED)
    n.nvmlInit()
    same("after another init", code(n.nvmlDeviceGetPowerUsage, h), 0)


@check(["--scenario", "load"])
def counters_agree_and_only_grow():
    script = "import pynvml as n; n.nvmlInit(); h=n.nvmlDeviceGetHandleByIndex(3); print(n.nvmlDeviceGetTotalEnergyConsumption(h))"
    h = handle(3)
    time.sleep(2.2)
    last = [0] * 4
    end = time.monotonic() + 3
    looks = 0
    while time.monotonic() < end:
        now = [n.nvmlDeviceGetTotalEnergyConsumption(h), field(h, 138, ALL_LINKS), field(h, 139, ALL_LINKS), field(h, 74)]
        assert all(a >= b for a, b in zip(now, last)), (now, last)
        last = now
        looks += 1
    before = n.nvmlDeviceGetTotalEnergyConsumption(h)
    other = int(subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True).stdout)
    after = n.nvmlDeviceGetTotalEnergyConsumption(h)
    assert before <= other <= after, (before, other, after)
    links = sum(field(h, 138, link) for link in range(18))
    total = field(h, 138, ALL_LINKS)
    assert 0 <= total - links < 50_000_000, (links, total)
    print(f"  {looks} looks", end="")


@check(["--scenario", "load"])
def gpm():
    h = handle()
    assert n.nvmlGpmQueryDeviceSupport(h).isSupportedDevice == 1
    one, two = n.nvmlGpmSampleAlloc(), n.nvmlGpmSampleAlloc()
    n.nvmlGpmSampleGet(h, one)
    time.sleep(1.1)
    n.nvmlGpmSampleGet(h, two)
    request = n.c_nvmlGpmMetricsGet_t()
    request.version = n.NVML_GPM_METRICS_GET_VERSION
    request.numMetrics = 4
    request.sample1, request.sample2 = one, two
    for at, metric in enumerate([2, 5, 10, 999]):
        request.metrics[at].metricId = metric
    n.nvmlGpmMetricsGet(request)
    values = [request.metrics[at].value for at in range(4)]
    assert 10 < values[0] <= 100 and 5 < values[1] < 80 and 5 < values[2] < 80, values
    same("unknown metric", request.metrics[3].nvmlReturn, n.NVML_ERROR_NOT_SUPPORTED)
    n.nvmlGpmSampleFree(one)
    same("freed", code(n.nvmlGpmSampleGet, h, one), n.NVML_ERROR_INVALID_ARGUMENT)


@check(["--profile", "a100-mig-8"])
def mig_and_older_gpus():
    same("GPM", n.nvmlGpmQueryDeviceSupport(handle(0)).isSupportedDevice, 0)
    same("plain", n.nvmlDeviceGetMigMode(handle(0)), [0, 0])
    same("idle", get(n.nvmlDeviceGetUtilizationRates, handle(0)).gpu, 0)
    same("no process utilisation", code(n.nvmlDeviceGetProcessUtilization, handle(0), 0), n.NVML_ERROR_NOT_FOUND)
    h = handle(6)
    same("divided", n.nvmlDeviceGetMigMode(h), [1, 1])
    same("utilisation", code(n.nvmlDeviceGetUtilizationRates, h), n.NVML_ERROR_NOT_SUPPORTED)
    same("devices", n.nvmlDeviceGetMaxMigDeviceCount(h), 7)
    mig = n.nvmlDeviceGetMigDeviceHandleByIndex(h, 1)
    same("is MIG", n.nvmlDeviceIsMigDeviceHandle(mig).value, 1)
    same("name", n.nvmlDeviceGetName(mig), "NVIDIA A100-SXM4-80GB MIG 2g.20gb")
    same("parent", n.nvmlDeviceGetIndex(n.nvmlDeviceGetDeviceHandleFromMigDeviceHandle(mig)), 6)
    same("by UUID", n.nvmlDeviceGetGpuInstanceId(n.nvmlDeviceGetHandleByUUID(n.nvmlDeviceGetUUID(mig))), 5)
    same("beyond", code(n.nvmlDeviceGetMigDeviceHandleByIndex, h, 5), n.NVML_ERROR_NOT_FOUND)
    same("power of a MIG device", code(n.nvmlDeviceGetPowerUsage, mig), n.NVML_ERROR_NOT_SUPPORTED)


# --- faults ------------------------------------------------------------------------------------------------------


@check(["--scenario", "load"])
def lost_and_failing():
    h, other = handle(2), handle(3)
    order("lost", 2)
    same("lost", code(n.nvmlDeviceGetPowerUsage, h), n.NVML_ERROR_GPU_IS_LOST)
    same("handle", code(n.nvmlDeviceGetHandleByIndex, 2), n.NVML_ERROR_GPU_IS_LOST)
    same("others", code(n.nvmlDeviceGetPowerUsage, other), 0)
    same("others by UUID", code(n.nvmlDeviceGetHandleByUUID, n.nvmlDeviceGetUUID(other)), 0)
    same("count", n.nvmlDeviceGetCount(), 8)
    order("restore", 2)
    same("restored", code(n.nvmlDeviceGetPowerUsage, h), 0)
    order("return", 2, "GetPowerUsage", "no_permission")
    same("returned", code(n.nvmlDeviceGetPowerUsage, h), n.NVML_ERROR_NO_PERMISSION)
    same("others", code(n.nvmlDeviceGetEnforcedPowerLimit, h), 0)
    order("return", 2, "field:82", 3)
    same("field", [field(h, 82), field(h, 230)], ["!3", 0])
    order("clear", 2)
    same("cleared", [code(n.nvmlDeviceGetPowerUsage, h), isinstance(field(h, 82), int)], [0, True])


@check(["--scenario", "load"])
def blocked():
    h = handle(1)
    order("block", 1, "nvmlDeviceGetPowerUsage", 1)
    start = time.monotonic()
    same("blocked", code(n.nvmlDeviceGetPowerUsage, h), 0)
    took = time.monotonic() - start
    assert 0.95 < took < 2, took
    start = time.monotonic()
    n.nvmlDeviceGetTemperature(h, 0)
    n.nvmlDeviceGetPowerUsage(handle(0))
    assert time.monotonic() - start < 0.5
    order("block", 1, "*", "forever")
    done = []
    thread = threading.Thread(target=lambda: done.append(code(n.nvmlDeviceGetTemperature, h, 0)), daemon=True)
    thread.start()
    time.sleep(0.5)
    same("still blocked", done, [])
    same("open beside it", code(n.nvmlDeviceGetHandleByPciBusId, "00000000:52:00.0"), 0)
    order("clear", 1)
    thread.join(2)
    same("cleared", done, [0])
    with tempfile.TemporaryDirectory() as place:
        fifo = os.path.join(place, "fifo")
        os.mkfifo(fifo)
        order("read-file", 1, "GetTemperature", fifo)
        thread = threading.Thread(target=lambda: done.append(code(n.nvmlDeviceGetTemperature, h, 0)), daemon=True)
        thread.start()
        time.sleep(0.3)
        same("waits for the file", done, [0])
        with open(fifo, "wb") as writer:
            writer.write(b"x")
        thread.join(2)
        same("has read the file", done, [0, 0])


@check(["--scenario", "load"])
def errors_and_links():
    h = handle(5)
    order("ecc", 5, "corrected", "+12")
    order("ecc", 5, "uncorrected", "+1")
    same("ECC", [n.nvmlDeviceGetTotalEccErrors(h, kind, counter) for kind in (0, 1) for counter in (0, 1)], [12, 12, 1, 1])
    same("ECC at the DRAM", n.nvmlDeviceGetMemoryErrorCounter(h, 0, 0, 2), 12)
    same("ECC fields", [field(h, 3), field(h, 4)], [12, 1])
    order("remap", 5, "uncorrected", "+2")
    order("remap", 5, "pending", "on")
    same("rows", n.nvmlDeviceGetRemappedRows(h), (0, 2, 1, 0))
    same("row fields", [field(h, number) for number in range(142, 146)], [0, 2, 1, 0])
    banks = n.nvmlDeviceGetRowRemapperHistogram(h)
    same("banks", (banks.max, banks.high), (2558, 2))
    order("pcie", 5, "gen", 3)
    order("pcie", 5, "width", 8)
    order("pcie", 5, "replay", "+57")
    same("PCIe", [n.nvmlDeviceGetCurrPcieLinkGeneration(h), n.nvmlDeviceGetCurrPcieLinkWidth(h), n.nvmlDeviceGetPcieReplayCounter(h)], [3, 8, 57])
    same("PCIe speed", n.nvmlDeviceGetPcieSpeed(h), 8000)
    device = pathlib.Path(folder()) / "sysfs/bus/pci/devices/0000:c3:00.0"
    same("sysfs", (device / "current_link_speed").read_text() + (device / "current_link_width").read_text(), "8.0 GT/s PCIe\n8\n")
    order("nvlink", 5, 4, "crc", "+240")
    order("nvlink", 5, 4, "down")
    same("link", [n.nvmlDeviceGetNvLinkState(h, 4), n.nvmlDeviceGetNvLinkState(h, 5), n.nvmlDeviceGetNvLinkErrorCounter(h, 4, 2)], [0, 1, 240])
    same("link fields", [field(h, 165, 4), field(h, 164, 4), field(h, 163, 4), field(h, 163, ALL_LINKS), field(h, 36), field(h, 38)], [0, 0, 240, 240, 240, 240])
    same("no such link", code(n.nvmlDeviceGetNvLinkState, h, 18), n.NVML_ERROR_INVALID_ARGUMENT)
    order("recovery", 5, "drain-and-reset")
    same("recovery", field(h, 230), 4)
    used = n.nvmlDeviceGetMemoryInfo(h, n.nvmlMemory_v2).used
    order("process", 5, "add", 4242, "miner", 2 * 1024 * MIB)
    assert abs(n.nvmlDeviceGetMemoryInfo(h, n.nvmlMemory_v2).used - used - 2048 * MIB) < 500 * MIB
    same("processes", [process.pid for process in n.nvmlDeviceGetComputeRunningProcesses(h)], [410005, 4242])
    order("process", 5, "remove", 4242)
    same("processes", [process.pid for process in n.nvmlDeviceGetComputeRunningProcesses(h)], [410005])
    order("set", 5, "temperature_gpu_celsius", 91)
    same("temperature", [n.nvmlDeviceGetTemperature(h, 0), n.nvmlDeviceGetMarginTemperature(h)], [91, -4])
    order("throttle", 5, "0x48")
    same("reasons", n.nvmlDeviceGetCurrentClocksEventReasons(h) & 0x48, 0x48)
    time.sleep(3)
    assert clock_event_field(h, 252) > 500_000_000, clock_event_field(h, 252)
    assert n.nvmlDeviceGetClockInfo(h, 1) <= 990
    order("load", 5, "idle")
    time.sleep(2.5)
    same("idle", [n.nvmlDeviceGetUtilizationRates(h).gpu, n.nvmlDeviceGetClockInfo(h, 1)], [0, 345])


@check(["--scenario", "load"])
def events():
    n.nvmlInit()
    h = handle(4)
    sets = n.nvmlEventSetCreate()
    other = n.nvmlEventSetCreate()
    n.nvmlDeviceRegisterEvents(h, n.nvmlEventTypeXidCriticalError | n.nvmlEventTypeDoubleBitEccError, sets)
    n.nvmlDeviceRegisterEvents(handle(3), n.nvmlEventTypeXidCriticalError, other)
    start = time.monotonic()
    same("nothing", code(n.nvmlEventSetWait, sets, 300), n.NVML_ERROR_TIMEOUT)
    assert 0.29 < time.monotonic() - start < 1
    sent = []

    def send():
        time.sleep(0.3)
        sent.append(time.monotonic())
        order("xid", 4, 79, 2)

    thread = threading.Thread(target=send)
    thread.start()
    event = n.nvmlEventSetWait(sets, 10_000)
    woke = time.monotonic() - sent[0]
    thread.join()
    same("event", [event.eventType, event.eventData, n.nvmlDeviceGetIndex(event.device)], [8, 79, 4])
    assert woke < 0.5, woke
    same("second", n.nvmlEventSetWait(sets, 0).eventData, 79)
    same("no third", code(n.nvmlEventSetWait, sets, 0), n.NVML_ERROR_TIMEOUT)
    same("not the other's", code(n.nvmlEventSetWait, other, 0), n.NVML_ERROR_TIMEOUT)
    order("ecc", 4, "uncorrected", "+1")
    same("ECC event", n.nvmlEventSetWait(sets, 1000).eventType, 2)
    same("whole GPU", [event.gpuInstanceId, event.computeInstanceId], [0xFFFFFFFF, 0xFFFFFFFF])
    order("xid", 4, 13, "gi=2", "ci=1")
    event = n.nvmlEventSetWait(sets, 1000)
    same("MIG", [event.eventData, event.gpuInstanceId, event.computeInstanceId], [13, 2, 1])
    order("xid", 4, 79)
    order("lost", 4)
    same("queued first", n.nvmlEventSetWait(sets, 1000).eventData, 79)
    same("lost", code(n.nvmlEventSetWait, sets, 1000), n.NVML_ERROR_GPU_IS_LOST)
    n.nvmlEventSetFree(sets)
    same("freed", code(n.nvmlEventSetWait, sets, 0), n.NVML_ERROR_INVALID_ARGUMENT)
    script = "import pynvml as n; n.nvmlInit(); s=n.nvmlEventSetCreate(); n.nvmlDeviceRegisterEvents(n.nvmlDeviceGetHandleByIndex(3), 8, s)\ntry: n.nvmlEventSetWait(s, 200); print('event')\nexcept n.NVMLError as e: print(e.value)"
    order("xid", 3, 31)
    late = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True).stdout.strip()
    same("a later process", late, "10")
    print(f"  woke {woke * 1000:.1f} ms after the order began", end="")


@check(["--scenario", "load"])
def driver():
    h = handle()
    time.sleep(1.2)
    before = n.nvmlDeviceGetTotalEnergyConsumption(h)
    order("ecc", 0, "corrected", "+3")
    order("driver", "unload")
    same("gone", code(n.nvmlDeviceGetPowerUsage, h), n.NVML_ERROR_DRIVER_NOT_LOADED)
    same("count", code(n.nvmlDeviceGetCount), n.NVML_ERROR_DRIVER_NOT_LOADED)
    same("init", code(n.nvmlInit), n.NVML_ERROR_DRIVER_NOT_LOADED)
    order("driver", "load", "595.71.05")
    same("old handle", code(n.nvmlDeviceGetPowerUsage, h), n.NVML_ERROR_UNINITIALIZED)
    n.nvmlInit()
    same("version", n.nvmlSystemGetDriverVersion(), "595.71.05")
    same("old handle", code(n.nvmlDeviceGetPowerUsage, h), n.NVML_ERROR_INVALID_ARGUMENT)
    h = handle()
    same("volatile ECC starts anew", [n.nvmlDeviceGetTotalEccErrors(h, 0, 0), n.nvmlDeviceGetTotalEccErrors(h, 0, 1)], [0, 3])
    time.sleep(2.2)
    assert n.nvmlDeviceGetTotalEnergyConsumption(h) < before + 2_000_000


@check(["--scenario", "faults"])
def timeline():
    """The tour, seen as a process sees it that starts later: the start of the timeline is put 75 s back."""
    with contextlib.suppress(n.NVMLError):
        n.nvmlShutdown()
    script = """
import pynvml as n
n.nvmlInit()
h = lambda i: n.nvmlDeviceGetHandleByIndex(i)
def code(i):
    try: h(i); return 0
    except n.NVMLError as e: return e.value
print([n.nvmlDeviceGetTotalEccErrors(h(0), 0, 0), n.nvmlDeviceGetRemappedRows(h(0)), n.nvmlDeviceGetTemperature(h(1), 0), n.nvmlDeviceGetCurrPcieLinkGeneration(h(2)), n.nvmlDeviceGetNvLinkState(h(3), 5), code(4), code(5)])
"""
    path = pathlib.Path(folder()) / "scenario.toml"
    text = path.read_text()
    start = int(re.search(r"start_unix_ms = (\d+)", text)[1])
    path.write_text(text.replace(str(start), str(start - 75_000)))
    out = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True).stdout
    same("after 75 s", out.strip(), "[12, (0, 1, 1, 0), 91, 3, 0, 15, 0]")


def without_folder():
    environment = {key: value for key, value in os.environ.items() if key != "RACKMARK_SIM_DIR"}
    script = "import pynvml as n\ntry: n.nvmlInit(); print('loaded')\nexcept n.NVMLError as e: print(e.value)"
    out = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True, env=environment).stdout
    same("without a folder", out.strip(), str(n.NVML_ERROR_DRIVER_NOT_LOADED))


CHECKS["without_folder"] = (["--profile", "h200"], without_folder)

def fast_names():
    text = (HERE / "src/fields.rs").read_text()
    return re.findall(r'^    [A-Z0-9_]+ = "(\w+)",', text, re.M)[:42]


def write_recording(path):
    names = fast_names()
    cells = {"energy_total_millijoules": "1000", "power_draw_milliwatts": "300000", "temperature_memory_celsius": "!not_supported",
             "utilization_gpu_percent": "50", "pcie_transmit_bytes_per_second": "!not_sampled", "processes_compute": "2"}
    first = ",".join(cells.get(name, "0") for name in names)
    second = ",".join({"energy_total_millijoules": "1300", "power_draw_milliwatts": "!gpu_lost"}.get(name, "") for name in names)
    path.write_text(
        'rackmark-trace 1\n{"recorded_unix_ms":1,"period_ms":1000,"driver_version":"555.1","gpus":[{"name":"NVIDIA H200",'
        '"uuid":"GPU-aaaaaaaa-0000-0000-0000-000000000000","serial":"1650","pci_address":"00000000:47:00.0","memory_total_bytes":1048576}]}\n'
        f"t_ms,gpu,{','.join(names)}\n0,0,{first}\n1000,0,{second}\n")


@check(["--trace", "RECORDING"])
def replay():
    h = handle()
    same("name", [n.nvmlDeviceGetName(h), n.nvmlSystemGetDriverVersion(), n.nvmlDeviceGetPciInfo(h).busId], ["NVIDIA H200", "555.1", "00000000:47:00.0"])
    same("identity stays simulated", [n.nvmlDeviceGetUUID(h)[:12], n.nvmlDeviceGetSerial(h)], ["GPU-51515151", "SIM0000000001"])
    same("inventory", n.nvmlDeviceGetMemoryInfo(h, n.nvmlMemory_v2).total, 1048576)
    powers, energies = set(), []
    end = time.monotonic() + 4.2
    while time.monotonic() < end:
        powers.add(get(n.nvmlDeviceGetPowerUsage, h))
        energies.append(n.nvmlDeviceGetTotalEnergyConsumption(h))
        time.sleep(0.02)
    same("powers", powers, {300000, "!15"})
    same("growing", energies, sorted(energies))
    assert set(energies) >= {1300, 1600} and all((e - 1000) % 300 == 0 for e in energies), set(energies)
    same("missing", field(h, 82), "!3")
    same("not sampled falls back", isinstance(get(n.nvmlDeviceGetPcieThroughput, h, 0), int), True)
    same("processes", len(n.nvmlDeviceGetComputeRunningProcesses(h)), 2)


# --- runner ------------------------------------------------------------------------------------------------------


def run_child(name):
    n.nvmlInit()
    CHECKS[name][1]()


def main(sim, library, vectors):
    add_capture_checks(vectors) if vectors else print("skipped: no vectors")
    failed = 0
    for name, (source, _) in CHECKS.items():
        with tempfile.TemporaryDirectory() as place:
            place = pathlib.Path(place)
            if "RECORDING" in source:
                write_recording(place / "recording")
                source = ["--trace", str(place / "recording")]
            target = place / "sim"
            subprocess.run([sim, "prepare", *source, "--dir", str(target), "--library", library], check=True, stdout=subprocess.DEVNULL)
            environment = os.environ | {
                "RACKMARK_SIM_DIR": str(target), "LD_LIBRARY_PATH": str(target), "CHECK_SIM": sim, "CHECK_NAME": name, "CHECK_VECTORS": vectors or "",
            }
            done = subprocess.run([sys.executable, __file__], env=environment, capture_output=True, text=True)
            print(f"{'ok' if done.returncode == 0 else 'FAILED':<7}{name}{done.stdout.rstrip()}")
            if done.returncode:
                failed += 1
                print(done.stderr)
    print(f"{len(CHECKS) - failed} of {len(CHECKS)} checks passed")
    return failed


if __name__ == "__main__":
    if "CHECK_NAME" in os.environ:
        if os.environ["CHECK_VECTORS"]:
            add_capture_checks(os.environ["CHECK_VECTORS"])
        run_child(os.environ["CHECK_NAME"])
    else:
        sys.exit(main(sys.argv[1], sys.argv[2], sys.argv[3] if len(sys.argv) > 3 else None))
