//! `docs/metrics-dcgm.md` names every family; this keeps it in step.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use super::super::Kind;
use super::{DEFAULT, EXTRA, Family};

/// Family, unit, what it is read from, where it differs from dcgm-exporter.
const NOTES: [(&str, &str, &str, &str); 42] = [
    ("DCGM_FI_DEV_SM_CLOCK", "MHz", "`clock_sm`", ""),
    ("DCGM_FI_DEV_MEM_CLOCK", "MHz", "`clock_memory`", ""),
    ("DCGM_FI_DEV_MEMORY_TEMP", "°C", "`temperature_memory`", ""),
    ("DCGM_FI_DEV_GPU_TEMP", "°C", "`temperature_gpu`", ""),
    ("DCGM_FI_DEV_POWER_USAGE", "W", "`power_draw`", ""),
    ("DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION", "mJ", "`energy_total`", ""),
    ("DCGM_FI_DEV_PCIE_REPLAY_COUNTER", "packets", "`pcie_replays_total`", ""),
    ("DCGM_FI_DEV_GPU_UTIL", "%", "`utilization_gpu`", ""),
    ("DCGM_FI_DEV_MEM_COPY_UTIL", "%", "`utilization_memory`", ""),
    ("DCGM_FI_DEV_ENC_UTIL", "%", "`utilization_encoder`", ""),
    ("DCGM_FI_DEV_DEC_UTIL", "%", "`utilization_decoder`", ""),
    (
        "DCGM_FI_DEV_XID_ERRORS",
        "XID code",
        "The newest XID whose condition stands; otherwise 0",
        "There it never clears. Also of a lost GPU, when it matters most. Label `err_code` as there; no `err_msg`",
    ),
    (
        "DCGM_FI_DEV_FB_FREE",
        "MiB",
        "`memory_free`",
        "Under MIG one series per GPU instance, none for the GPU",
    ),
    ("DCGM_FI_DEV_FB_USED", "MiB", "`memory_used`, without what is reserved", "Under MIG likewise"),
    ("DCGM_FI_DEV_FB_RESERVED", "MiB", "`memory_reserved`", "Under MIG likewise"),
    (
        "DCGM_FI_DEV_NVLINK_BANDWIDTH_TOTAL",
        "MB",
        "`nvlink_transmit_bytes_total` + `nvlink_receive_bytes_total`",
        "A counter, as its type says. There it is a rate in MB/s (1000 KiB) that is only typed as a counter: what a dashboard shows of it there is `rate()` of it here",
    ),
    (
        "DCGM_FI_DEV_VGPU_LICENSE_STATUS",
        "0 or 1",
        "0 where `virtualization_mode` says that this is no vGPU",
        "Absent inside a vGPU: its licence is not read",
    ),
    ("DCGM_FI_DEV_UNCORRECTABLE_REMAPPED_ROWS", "rows", "`remapped_rows_uncorrected`", ""),
    ("DCGM_FI_DEV_CORRECTABLE_REMAPPED_ROWS", "rows", "`remapped_rows_corrected`", ""),
    ("DCGM_FI_DEV_ROW_REMAP_FAILURE", "0 or 1", "`remapped_rows_failed`", ""),
    (
        "DCGM_FI_PROF_GR_ENGINE_ACTIVE",
        "0 to 1",
        "`utilization_gpu`: both say for how much of the time anything ran, `sm_active` how much of the GPU was used",
        "In steps of 0.01, averaged by the driver over up to a second; absent under MIG",
    ),
    (
        "DCGM_FI_PROF_PIPE_TENSOR_ACTIVE",
        "0 to 1",
        "`tensor_active` (GPM, Hopper and later)",
        "Absent before Hopper",
    ),
    ("DCGM_FI_PROF_DRAM_ACTIVE", "0 to 1", "`dram_active` (GPM, Hopper and later)", "Absent before Hopper"),
    (
        "DCGM_FI_PROF_PCIE_TX_BYTES",
        "bytes/s",
        "`pcie_transmit`",
        "Absent unless `sampling.pcie_throughput = true`; the driver samples for 20 ms",
    ),
    ("DCGM_FI_PROF_PCIE_RX_BYTES", "bytes/s", "`pcie_receive`", "Likewise"),
    ("DCGM_FI_DEV_ECC_SBE_VOL_TOTAL", "errors", "`ecc_corrected_volatile_total`", ""),
    ("DCGM_FI_DEV_ECC_DBE_VOL_TOTAL", "errors", "`ecc_uncorrected_volatile_total`", ""),
    ("DCGM_FI_DEV_ECC_SBE_AGG_TOTAL", "errors", "`ecc_corrected_aggregate_total`", ""),
    ("DCGM_FI_DEV_ECC_DBE_AGG_TOTAL", "errors", "`ecc_uncorrected_aggregate_total`", ""),
    ("DCGM_FI_DEV_POWER_VIOLATION", "ns", "`sw_power_cap_time`", ""),
    (
        "DCGM_FI_DEV_THERMAL_VIOLATION",
        "ns",
        "`sw_thermal_time` + `hw_thermal_time`",
        "Time in which driver and hardware both hold the clocks back counts twice",
    ),
    ("DCGM_FI_DEV_SYNC_BOOST_VIOLATION", "ns", "`sync_boost_time`", ""),
    ("DCGM_FI_DEV_RETIRED_SBE", "pages", "`retired_pages_single_bit`", ""),
    ("DCGM_FI_DEV_RETIRED_DBE", "pages", "`retired_pages_double_bit`", ""),
    (
        "DCGM_FI_DEV_RETIRED_PENDING",
        "0 or 1",
        "`retired_pages_pending`",
        "Typed as a counter there, so here too",
    ),
    (
        "DCGM_FI_DEV_NVLINK_CRC_FLIT_ERROR_COUNT_TOTAL",
        "errors",
        "sum over the NVLinks that count them",
        "Absent where one of them could not be read: a sum of fewer would look like a restart",
    ),
    ("DCGM_FI_DEV_NVLINK_CRC_DATA_ERROR_COUNT_TOTAL", "errors", "likewise", "Likewise"),
    ("DCGM_FI_DEV_NVLINK_REPLAY_ERROR_COUNT_TOTAL", "packets", "likewise", "Likewise"),
    ("DCGM_FI_DEV_NVLINK_RECOVERY_ERROR_COUNT_TOTAL", "retrainings", "likewise", "Likewise"),
    ("DCGM_FI_DEV_CLOCKS_EVENT_REASONS", "bitmask of NVML", "`clock_event_reasons`", ""),
    ("DCGM_FI_DEV_CLOCK_THROTTLE_REASONS", "bitmask of NVML", "`clock_event_reasons`", ""),
    (
        "DCGM_EXP_XID_ERRORS_COUNT",
        "XIDs",
        "XIDs since the agent was installed, label `xid`",
        "Only goes up, so `rate()` and `increase()` are right. There it counts within a window and falls back to 0; there is no label `window_size_in_ms`",
    ),
];

const HEAD: &str = "# Metrics under the names of DCGM

`/metrics/dcgm` serves what dcgm-exporter exports by default, with its names, types, units and labels, so that dashboards
and alert rules made for it work as they are. It is served by the same endpoint as `/metrics`, under the same TLS,
passwords and limits, always as classic text: OpenMetrics would want counters that end in `_total`, and DCGM's do not.
For the same reason `promtool check metrics` reads it and ends with code 3: it finds fault with names, nothing else.

```yaml
scrape_configs:
  - job_name: dcgm
    metrics_path: /metrics/dcgm
    static_configs:
      - targets: ['gpu-17:9810']
```

A reading without data has no series, and a family without series is not named. A GPU that does not answer keeps only
its XIDs; `rackmark_gpu_up` of `/metrics` says why.

## Labels

| Label | Value |
|---|---|
| `gpu` | NVML index; the slot where the index was never read. A GPU that was lost before a reboot may share its number with another: `UUID` and `pci_bus_id` tell them apart |
| `UUID`, `modelName` | as NVML gives them; empty where never read |
| `pci_bus_id` | `00000000:1B:00.0` |
| `device` | `nvidia0` for `/dev/nvidia0`, by the minor number. There the number is the index |
| `GPU_I_PROFILE`, `GPU_I_ID` | profile (`3g.40gb`) and number of the GPU instance, on its memory under MIG, which is read every `sampling.slow_every_secs`. There all families are repeated for every instance, so that sums count a GPU many times; here a GPU that is divided has one series for what is not divided |
| `Hostname` | `node.name`. dcgm-exporter renamed the label to `hostname` in May 2026, most dashboards have the older name; `metrics.dcgm_hostname_label` chooses |
| `DCGM_FI_DRIVER_VERSION` | driver version; empty while no driver answers |

Values of labels are escaped. There are no labels for pods, namespaces, containers or jobs.

## Families

Names in `code` are those of `feed/FIELDS.md`.

";

#[test]
fn the_reference_of_dcgm_metrics_is_complete() {
    let mut page = HEAD.to_owned();
    write_table(&mut page, &DEFAULT);
    page.push_str("\n## With `metrics.dcgm_extra = true`\n\n");
    write_table(&mut page, &EXTRA);
    page.push_str("\nNot given, because nothing is read that says the same: `DCGM_FI_DEV_BOARD_LIMIT_VIOLATION`,\n`DCGM_FI_DEV_LOW_UTIL_VIOLATION`, `DCGM_FI_DEV_RELIABILITY_VIOLATION`.\n");
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/metrics-dcgm.md");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(path, &page).expect("docs/metrics-dcgm.md");
    }
    let written = std::fs::read_to_string(path).expect("docs/metrics-dcgm.md");
    assert!(written == page, "docs/metrics-dcgm.md is out of date: run `make docs`");
}

fn write_table(page: &mut String, families: &[Family]) {
    page.push_str("| Family | Type | Unit | Meaning | Read from | Differs |\n|---|---|---|---|---|---|\n");
    for Family { name, kind, help, .. } in families {
        let kind = if *kind == Kind::Counter { "counter" } else { "gauge" };
        let (_, unit, source, differs) = NOTES.iter().find(|note| note.0 == *name).expect(name);
        let _ = writeln!(page, "| `{name}` | {kind} | {unit} | {help} | {source} | {differs} |");
    }
}

#[test]
fn every_family_of_the_reference_exists_once() {
    let families: Vec<&str> = DEFAULT.iter().chain(&EXTRA).map(|family| family.name).collect();
    let noted: BTreeSet<&str> = NOTES.iter().map(|note| note.0).collect();
    assert_eq!(families.iter().copied().collect::<BTreeSet<_>>(), noted);
    assert_eq!(families.len(), noted.len(), "no family twice");
}
