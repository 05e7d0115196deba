//! The text for a small node on which every case occurs.

use rackmark_model::ipc::SamplerReport;
use rackmark_model::readings::{Fast, Inventory, Slow};
use rackmark_model::{
    Bitmask, Bytes, BytesPerSecond, Celsius, Count, CounterBytes, DriverInfo, GpuEvent, GpuEventKind,
    GpuInventory, GpuSample, GpuSlow, Megahertz, MigInstance, Millijoules, Milliwatts, Nanoseconds, NoData,
    NvLink, PciAddress, Percent, Permille, Presence, Reading, Sample,
};

use super::*;

const NONE: NoData = NoData::NotSupported;

fn address(bus: u8) -> PciAddress {
    PciAddress { domain: 0, bus, device: 0, function: 0 }
}

fn busy() -> Fast {
    Fast {
        clock_sm: Ok(Megahertz(1980)),
        clock_memory: Ok(Megahertz(2619)),
        temperature_gpu: Ok(Celsius(62)),
        temperature_memory: Ok(Celsius(-3)),
        power_draw: Ok(Milliwatts(627_400)),
        energy_total: Ok(Millijoules(123_456_789_012)),
        pcie_replays_total: Ok(Count(4)),
        utilization_gpu: Ok(Percent(97)),
        utilization_memory: Ok(Percent(47)),
        utilization_encoder: Ok(Percent(0)),
        utilization_decoder: Ok(Percent(100)),
        // One byte less than 3 MiB are 2 whole MiB.
        memory_used: Ok(Bytes(3 * 1024 * 1024 - 1)),
        memory_free: Ok(Bytes(81_081 * 1024 * 1024)),
        nvlink_transmit_bytes_total: Ok(CounterBytes(1_500_000)),
        nvlink_receive_bytes_total: Ok(CounterBytes(1_000_001)),
        tensor_active: Ok(Permille(612)),
        dram_active: Ok(Permille(1000)),
        pcie_transmit: Ok(BytesPerSecond(182_000_000)),
        pcie_receive: Ok(BytesPerSecond(431_000_000)),
        ecc_corrected_volatile_total: Ok(Count(1)),
        ecc_uncorrected_volatile_total: Ok(Count(2)),
        sw_power_cap_time: Ok(Nanoseconds(5_000)),
        sync_boost_time: Ok(Nanoseconds(6_000)),
        sw_thermal_time: Ok(Nanoseconds(7_000)),
        hw_thermal_time: Ok(Nanoseconds(8)),
        clock_event_reasons: Ok(Bitmask(0x44)),
        ..Fast::absent(NONE)
    }
}

fn inventory(index: u64, uuid: &str, name: &str) -> Inventory {
    Inventory {
        index: Ok(Count(index)),
        minor_number: Ok(Count(index + 2)),
        uuid: Ok(uuid.to_owned()),
        name: Ok(name.to_owned()),
        virtualization_mode: Ok("none".to_owned()),
        memory_reserved: Ok(Bytes(479 * 1024 * 1024)),
        ..Inventory::absent(NONE)
    }
}

fn link(link: u8, crc_data_errors: Reading<u64>) -> NvLink {
    NvLink {
        link,
        active: Ok(true),
        version: Err(NONE),
        remote_type: Err(NONE),
        crc_flit_errors: Ok(10),
        crc_data_errors,
        replay_errors: Ok(1 + u64::from(link)),
        recovery_errors: Err(NONE),
        transmit_bytes_total: Err(NONE),
        receive_bytes_total: Err(NONE),
    }
}

fn slow(bus: u8) -> SamplerReport {
    SamplerReport::Slow(Box::new(GpuSlow {
        address: address(bus),
        taken_unix_ms: 1,
        slow: Slow {
            remapped_rows_corrected: Ok(Count(3)),
            remapped_rows_uncorrected: Ok(Count(5)),
            remapped_rows_failed: Ok(true),
            ecc_corrected_aggregate_total: Ok(Count(11)),
            ecc_uncorrected_aggregate_total: Ok(Count(12)),
            retired_pages_single_bit: Ok(Count(13)),
            retired_pages_double_bit: Ok(Count(14)),
            retired_pages_pending: Ok(false),
            ..Slow::absent(NONE)
        },
        // A link that does not count is no hindrance, one that could not be read is.
        nvlinks: vec![link(0, Ok(7)), link(1, Err(NONE)), link(2, Ok(20))],
        processes: Vec::new(),
    }))
}

fn mig(index: u32, instance: u32, name: &str, used: Reading<Bytes>) -> MigInstance {
    MigInstance {
        index,
        gpu_instance_id: Ok(instance),
        compute_instance_id: Ok(index),
        uuid: Err(NONE),
        name: Ok(name.to_owned()),
        multiprocessors: Err(NONE),
        copy_engines: Err(NONE),
        decoders: Err(NONE),
        encoders: Err(NONE),
        jpegs: Err(NONE),
        ofas: Err(NONE),
        memory_total: Err(NONE),
        memory_reserved: Err(NONE),
        memory_used: used,
        memory_free: Ok(Bytes(1024 * 1024)),
        bar1_total: Err(NONE),
        bar1_used: Err(NONE),
        bar1_free: Err(NONE),
        ecc_uncorrected_sram: Err(NONE),
    }
}

fn sample(gpus: Vec<(u8, Presence, Fast)>) -> SamplerReport {
    let gpus = gpus
        .into_iter()
        .map(|(bus, presence, fast)| GpuSample { address: address(bus), presence, in_call: None, fast })
        .collect();
    SamplerReport::Sample(Sample { seq: 1, taken_boot_ms: 1, taken_unix_ms: 1, took_us: 1, gpus })
}

fn xid(bus: u8, code: u32) -> SamplerReport {
    SamplerReport::Event(GpuEvent {
        address: address(bus),
        seen_unix_ms: 1,
        kind: GpuEventKind::Xid { code },
        gpu_instance_id: None,
        compute_instance_id: None,
    })
}

fn given(bus: u8, inventory: Inventory, mig: Vec<MigInstance>) -> SamplerReport {
    SamplerReport::Inventory(Box::new(GpuInventory { address: address(bus), inventory, mig }))
}

/// GPU 0 has every reading, 1 is divided by MIG and hardly read, 2 was lost
/// after XIDs, and 3 is a vGPU that answers and has nothing to say.
fn node() -> Roster {
    let mut roster = Roster::default();
    let driver = SamplerReport::Driver(DriverInfo {
        driver_version: Ok("590.48.01".to_owned()),
        nvml_version: Err(NONE),
        cuda_driver_version: Err(NONE),
        driver_branch: Err(NONE),
        confidential_computing: Err(NONE),
        simulated: false,
    });
    let divided = vec![
        mig(0, 2, "NVIDIA H100 MIG 1c.3g.40gb", Ok(Bytes(11_091 * 1024 * 1024))),
        mig(1, 2, "NVIDIA H100 MIG 2c.3g.40gb", Ok(Bytes(11_091 * 1024 * 1024))),
        mig(2, 9, "NVIDIA H100 MIG 1g.10gb+me", Ok(Bytes(17 * 1024 * 1024))),
        mig(3, 11, "NVIDIA H100 MIG 1g.10gb", Err(NoData::NoPermission)),
    ];
    let scant = Fast { power_draw: Ok(Milliwatts(71_000)), memory_used: Ok(Bytes(1 << 30)), ..silent() };
    let vgpu = Inventory {
        virtualization_mode: Ok("vgpu".to_owned()),
        memory_reserved: Err(NONE),
        minor_number: Err(NONE),
        ..inventory(3, "GPU-d", "GRID")
    };
    let open = Presence::Open;
    for report in [
        driver,
        sample(vec![
            (0x1B, open, busy()),
            (0x43, open, scant.clone()),
            (0x9D, open, busy()),
            (0xDF, open, silent()),
        ]),
        given(0x1B, inventory(0, "GPU-a", "odd \"name\"\\of\na GPU"), Vec::new()),
        given(0x43, inventory(1, "GPU-b", "NVIDIA H100"), divided),
        given(0x9D, inventory(2, "GPU-c", "NVIDIA H100"), Vec::new()),
        given(0xDF, vgpu, Vec::new()),
        slow(0x1B),
        slow(0x9D),
        xid(0x9D, 79),
        xid(0x9D, 48),
        xid(0x9D, 48),
        sample(vec![
            (0x1B, open, busy()),
            (0x43, open, scant),
            (0x9D, Presence::Absent(NoData::GpuLost), Fast::absent(NoData::GpuLost)),
            (0xDF, open, silent()),
        ]),
    ] {
        roster.take(&report, crate::clock::now());
    }
    roster
}

fn silent() -> Fast {
    Fast::absent(NONE)
}

const PLAIN: Setting<'static> = Setting { node: "gpu-17", hostname_label: "Hostname", extra: false };

/// Lines of one family.
fn lines<'a>(text: &'a str, family: &str) -> Vec<&'a str> {
    text.lines().filter(|line| line.split('{').next() == Some(family)).collect()
}

#[test]
fn the_reference_text_of_a_small_node() {
    let text = text(&node(), &Setting { extra: true, ..PLAIN });
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/exporter/dcgm/small_node.txt");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(path, &text).expect("small_node.txt");
    }
    let written = std::fs::read_to_string(path).expect("small_node.txt");
    assert!(written == text, "not what small_node.txt says:\n{text}");
}

#[test]
fn a_gpu_with_every_reading_has_every_family_once() {
    let text = text(&node(), &PLAIN);
    for family in &DEFAULT {
        let of_gpu_0 = lines(&text, family.name).iter().filter(|line| line.contains("{gpu=\"0\",")).count();
        assert_eq!(of_gpu_0, 1, "{}", family.name);
    }
    assert!(EXTRA.iter().all(|family| lines(&text, family.name).is_empty()), "left out by default");
    assert_eq!(
        lines(&text, "DCGM_FI_DEV_POWER_USAGE")[0],
        "DCGM_FI_DEV_POWER_USAGE{gpu=\"0\",UUID=\"GPU-a\",pci_bus_id=\"00000000:1B:00.0\",device=\"nvidia2\",modelName=\"odd \\\"name\\\"\\\\of\\na GPU\",Hostname=\"gpu-17\",DCGM_FI_DRIVER_VERSION=\"590.48.01\"} 627.4"
    );
}

#[test]
fn memory_of_a_divided_gpu_is_told_per_gpu_instance() {
    let text = text(&node(), &PLAIN);
    let used: Vec<_> = lines(&text, "DCGM_FI_DEV_FB_USED")
        .into_iter()
        .filter(|line| line.contains("{gpu=\"1\","))
        .map(|line| line[line.find("GPU_I_PROFILE").expect("an instance")..].to_owned())
        .collect();
    assert_eq!(used.len(), 2, "compute instances share their memory: {used:?}");
    assert!(used[0].starts_with("GPU_I_PROFILE=\"3g.40gb\",GPU_I_ID=\"2\",") && used[0].ends_with("} 11091"));
    assert!(used[1].starts_with("GPU_I_PROFILE=\"1g.10gb+me\",GPU_I_ID=\"9\",") && used[1].ends_with("} 17"));
    assert!(!lines(&text, "DCGM_FI_DEV_FB_RESERVED").iter().any(|line| line.contains("{gpu=\"1\",")));
    // What is not divided stays one series.
    assert_eq!(lines(&text, "DCGM_FI_DEV_POWER_USAGE").len(), 2);
    assert!(!lines(&text, "DCGM_FI_DEV_POWER_USAGE")[1].contains("GPU_I"));
}

#[test]
fn a_lost_gpu_keeps_its_xid_and_nothing_else() {
    let text = text(&node(), &PLAIN);
    let lost: Vec<_> = text.lines().filter(|line| line.contains("{gpu=\"2\",")).collect();
    assert_eq!(lost.len(), 1, "{lost:?}");
    assert!(lost[0].starts_with("DCGM_FI_DEV_XID_ERRORS{") && lost[0].ends_with(",err_code=\"48\"} 48"));
    assert!(lost[0].contains("pci_bus_id=\"00000000:9D:00.0\""));
}

#[test]
fn an_absent_reading_is_no_series() {
    let text = text(&node(), &PLAIN);
    let of_vgpu: Vec<_> = text.lines().filter(|line| line.contains("{gpu=\"3\",")).collect();
    assert_eq!(of_vgpu.len(), 1, "{of_vgpu:?}");
    assert!(of_vgpu[0].starts_with("DCGM_FI_DEV_XID_ERRORS{") && of_vgpu[0].ends_with("} 0"));
    assert!(of_vgpu[0].contains("device=\"\""), "no minor number was read");
    assert_eq!(super::text(&Roster::default(), &PLAIN), "", "no head without a point");
}

#[test]
fn the_label_of_the_node_is_the_configured_one() {
    let text = text(&node(), &Setting { hostname_label: "hostname", node: "a\"b", extra: false });
    let temperature = lines(&text, "DCGM_FI_DEV_GPU_TEMP")[0];
    assert!(
        temperature.contains(",hostname=\"a\\\"b\",") && !temperature.contains("Hostname"),
        "{temperature}"
    );
}

#[test]
fn a_link_that_could_not_be_read_leaves_no_sum() {
    let mut roster = node();
    let crc = |roster: &Roster| {
        let text = text(roster, &Setting { extra: true, ..PLAIN });
        lines(&text, "DCGM_FI_DEV_NVLINK_CRC_DATA_ERROR_COUNT_TOTAL").first().map(|line| (*line).to_owned())
    };
    assert!(crc(&roster).expect("a sum").ends_with("} 27"));
    if let SamplerReport::Slow(mut slow) = slow(0x1B) {
        slow.nvlinks[1].crc_data_errors = Err(NoData::Timeout);
        roster.take(&SamplerReport::Slow(slow), crate::clock::now());
    }
    assert_eq!(crc(&roster), None, "a sum over fewer links would look like a reset");
}

#[test]
fn a_gpu_without_an_index_is_numbered_by_its_slot() {
    let mut roster = Roster::default();
    roster.take(&sample(vec![(1, Presence::Open, busy()), (2, Presence::Open, busy())]), crate::clock::now());
    let text = text(&roster, &PLAIN);
    let temperatures = lines(&text, "DCGM_FI_DEV_GPU_TEMP");
    assert!(temperatures[0].contains("{gpu=\"0\",UUID=\"\",pci_bus_id=\"00000000:01:00.0\","));
    assert!(temperatures[1].contains("{gpu=\"1\",UUID=\"\",pci_bus_id=\"00000000:02:00.0\","));
}
