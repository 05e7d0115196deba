use rackmark_health::trace::Reader;
use rackmark_model::readings::{Fast, Slow};
use rackmark_model::{
    Celsius, DriverInfo, GpuEvent, GpuInventory, GpuSample, GpuSlow, MigInstance, NvLink, PciAddress,
    Presence, ProcessKind, ProcessUse, Sample,
};

use super::*;

const UUID: &str = "GPU-0b5c1d5e-secret";
const SERIAL: &str = "16500secret";

fn address(bus: u8) -> PciAddress {
    PciAddress { domain: 0, bus, device: 0, function: 0 }
}

fn sample(boot_ms: u64, second: Presence) -> SamplerReport {
    let gpu = |bus, presence| {
        let mut fast = Fast::absent(NoData::NotSupported);
        fast.temperature_gpu = Ok(Celsius(40));
        GpuSample { address: address(bus), presence, in_call: None, fast }
    };
    SamplerReport::Sample(Sample {
        seq: 1,
        taken_boot_ms: boot_ms,
        taken_unix_ms: boot_ms,
        took_us: 1,
        gpus: vec![gpu(0x83, Presence::Open), gpu(0x84, second)],
    })
}

fn inventory_of(bus: u8, ecc_enabled: bool) -> SamplerReport {
    let mut inventory = Inventory::absent(NoData::NotSupported);
    inventory.uuid = Ok(UUID.to_owned());
    inventory.serial = Ok(SERIAL.to_owned());
    inventory.pci_address = Ok(address(bus).to_string());
    inventory.ecc_enabled = Ok(ecc_enabled);
    let mig: Vec<MigInstance> = Vec::new();
    SamplerReport::Inventory(Box::new(GpuInventory { address: address(bus), inventory, mig }))
}

fn slow_of(bus: u8, failed: bool) -> SamplerReport {
    let mut slow = Slow::absent(NoData::NotSupported);
    slow.remapped_rows_failed = Ok(failed);
    let absent = || Err(NoData::NotSupported);
    SamplerReport::Slow(Box::new(GpuSlow {
        address: address(bus),
        taken_unix_ms: 1,
        slow,
        nvlinks: vec![NvLink {
            link: 3,
            active: Ok(false),
            version: Ok(4),
            remote_type: Ok("switch".to_owned()),
            crc_flit_errors: absent(),
            crc_data_errors: absent(),
            replay_errors: Ok(9),
            recovery_errors: absent(),
            transmit_bytes_total: absent(),
            receive_bytes_total: absent(),
        }],
        processes: vec![ProcessUse {
            pid: 4711,
            kind: ProcessKind::Compute,
            name: Ok("secret-job".to_owned()),
            memory_used: Err(NoData::NotSupported),
            gpu_instance_id: None,
            compute_instance_id: None,
        }],
    }))
}

fn xid(bus: u8) -> SamplerReport {
    SamplerReport::Event(GpuEvent {
        address: address(bus),
        seen_unix_ms: 1,
        kind: GpuEventKind::Xid { code: 79 },
        gpu_instance_id: Some(2),
        compute_instance_id: None,
    })
}

fn driver() -> SamplerReport {
    SamplerReport::Driver(DriverInfo {
        driver_version: Ok("570.1".to_owned()),
        nvml_version: Err(NoData::NotSupported),
        cuda_driver_version: Err(NoData::NotSupported),
        driver_branch: Err(NoData::NotSupported),
        confidential_computing: Err(NoData::NotSupported),
        simulated: false,
    })
}

fn recorded(anonymous: bool) -> String {
    let (mut roster, mut recorder, mut out) =
        (Roster::default(), Recorder::new(anonymous, 1000), String::new());
    for (boot_ms, report) in [
        (4000, driver()),
        (4500, inventory_of(0x83, true)),
        (4501, inventory_of(0x84, true)),
        (4502, slow_of(0x84, false)),
        (5001, sample(5000, Presence::Open)),
        (6002, sample(6000, Presence::Open)),
        (6500, slow_of(0x83, true)),
        (6600, xid(0x84)),
        (6700, xid(0x99)),
        (6800, inventory_of(0x83, false)),
        (7003, sample(7000, Presence::Absent(NoData::GpuLost))),
        (7500, SamplerReport::NoDriver { cause: "cannot open /secret/libnvidia-ml.so.1".to_owned() }),
        (7600, driver()),
    ] {
        let changes = roster.take(&report, clock::now());
        recorder.take(&roster, &report, &changes, boot_ms, &mut out);
    }
    assert_eq!(recorder.rows, 6);
    out
}

#[test]
fn everything_the_sampler_reports_is_in_the_recording_in_its_order() {
    let text = recorded(false);
    let reader = Reader::open(text.as_bytes()).expect("head");
    let about = reader.about();
    assert_eq!((about.period_ms, about.driver_version.as_str()), (1000, "570.1"));
    assert_eq!(about.gpus[1].uuid.as_deref(), Ok(UUID));
    let items: Vec<(u64, String)> = reader
        .map(|item| {
            let item = item.expect("item");
            let kind = match item.what {
                What::Fast { gpu, fast } => {
                    assert_eq!(fast.temperature_gpu, Ok(Celsius(40)));
                    format!("fast {gpu}")
                }
                What::Slow { gpu, slow, nvlinks, processes } => {
                    assert_eq!((nvlinks[0].replay_errors, processes), (Ok(9), 1));
                    format!("slow {gpu} {:?}", slow.remapped_rows_failed)
                }
                What::Inventory { gpu, inventory } => format!("inventory {gpu} {:?}", inventory.ecc_enabled),
                What::Xid(seen) => {
                    assert_eq!((seen.source, seen.gpu_instance_id), (XidSource::Driver, Some(2)));
                    format!("xid {:?} {:?} {}", seen.gpu, seen.pci.map(|pci| pci.bus), seen.code)
                }
                What::Presence { gpu, absent, .. } => format!("presence {gpu} {absent:?}"),
                What::DriverGone { cause } => format!("gone {cause}"),
                What::DriverBack { version } => format!("back {version}"),
            };
            (item.t_ms, kind)
        })
        .collect();
    let expected = [
        (0, "presence 0 None"),
        (0, "fast 0"),
        (0, "presence 1 None"),
        (0, "slow 1 Ok(false)"),
        (0, "fast 1"),
        (1000, "fast 0"),
        (1000, "fast 1"),
        (1500, "slow 0 Ok(true)"),
        (1600, "xid Some(1) Some(132) 79"),
        (1700, "xid None Some(153) 79"),
        (1800, "inventory 0 Ok(false)"),
        (2000, "presence 1 Some(GpuLost)"),
        (2000, "fast 0"),
        (2000, "fast 1"),
        (2500, "gone cannot open /secret/libnvidia-ml.so.1"),
        (2600, "back 570.1"),
    ];
    assert_eq!(items, expected.map(|(t_ms, kind)| (t_ms, kind.to_owned())));
}

#[test]
fn an_anonymous_recording_tells_no_uuid_serial_address_or_path() {
    let (open, anonymous) = (recorded(false), recorded(true));
    for name in [UUID, SERIAL, "00000000:8", "/secret/"] {
        assert!(open.contains(name) && !anonymous.contains(name), "{name}");
    }
    assert!(!open.contains("secret-job") && !open.contains("4711"));
    assert_eq!(open.lines().count(), anonymous.lines().count());
}
