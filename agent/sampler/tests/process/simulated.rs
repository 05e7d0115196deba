//! Eight simulated GPUs, with everything that goes wrong on real ones.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use rackmark_model::ipc::{GpuQuestion, SamplePlan, SamplerOrder, SamplerReport};
use rackmark_model::{Bytes, Count, GpuEventKind, NoData, Presence, Sample};

use crate::support::{Machine, all_absent, order, plan};

const GPUS: usize = 8;
const PERIOD_MS: u32 = 200;
const SOON: Duration = Duration::from_secs(3);
/// What is not open is looked at again every 5 s.
const LOOKED_AGAIN: Duration = Duration::from_secs(8);

fn is_open(sample: &Sample, position: usize) -> bool {
    let gpu = &sample.gpus[position];
    gpu.presence == Presence::Open && gpu.in_call.is_none() && gpu.fast.power_draw.is_ok()
}

fn all_open_but(sample: &Sample, position: usize) -> bool {
    (0..GPUS).all(|other| other == position || is_open(sample, other))
}

fn all_open(sample: &Sample) -> bool {
    sample.gpus.len() == GPUS && all_open_but(sample, GPUS)
}

#[test]
fn the_first_sample_is_complete_and_comes_within_200_ms() {
    let machine = Machine::prepare("h100-sxm-8");
    let mut sampler = machine.sampler(&order(1000));
    let sample = sampler.sample(SOON, |_| true);
    let took = sampler.spawned.elapsed();
    assert!(all_open(&sample), "{sample:?}");
    assert!(took < Duration::from_millis(200), "{took:?}");
    assert_eq!(sample.seq, 0);
    assert!(sample.gpus.is_sorted_by_key(|gpu| gpu.address));
    // GPM compares two ticks, so there is nothing yet; PCIe throughput was not ordered.
    for gpu in &sample.gpus {
        assert_eq!(gpu.fast.sm_active, Err(NoData::NotSampled));
        assert_eq!(gpu.fast.pcie_transmit, Err(NoData::NotSampled));
    }
    let second = sampler.sample(SOON, |_| true);
    assert_eq!(second.seq, 1);
    assert!(second.gpus.iter().all(|gpu| gpu.fast.sm_active.is_ok()), "{second:?}");
    assert!((900..=1100).contains(&(second.taken_boot_ms - sample.taken_boot_ms)));
}

#[test]
fn inventory_and_slow_readings_of_every_gpu_come_at_the_start() {
    let machine = Machine::prepare("h100-sxm-8");
    let mut sampler = machine.sampler(&order(PERIOD_MS));
    let (mut driver, mut inventories, mut slow) = (None, Vec::new(), Vec::new());
    sampler.find(SOON, |report| {
        match report {
            SamplerReport::Driver(info) => driver = Some(info),
            SamplerReport::Inventory(inventory) => inventories.push(inventory),
            SamplerReport::Slow(of_gpu) => slow.push(of_gpu),
            _ => {}
        }
        (driver.is_some() && inventories.len() == GPUS && slow.len() == GPUS).then_some(())
    });
    let driver = driver.expect("driver");
    assert!(driver.simulated);
    assert!(
        driver.driver_version.is_ok() && driver.nvml_version.is_ok() && driver.cuda_driver_version.is_ok()
    );
    let uuids: BTreeSet<_> =
        inventories.iter().map(|gpu| gpu.inventory.uuid.clone().expect("uuid")).collect();
    assert_eq!(uuids.len(), GPUS);
    for gpu in &inventories {
        assert_eq!(gpu.inventory.architecture.as_deref(), Ok("hopper"));
        assert_eq!(gpu.inventory.compute_capability.as_deref(), Ok("9.0"));
        assert_eq!(gpu.inventory.pci_address, Ok(gpu.address.to_string()));
    }
    for gpu in &slow {
        assert_eq!(gpu.nvlinks.len(), 18, "{:?}", gpu.nvlinks);
        assert_eq!(gpu.slow.recovery_action.as_deref(), Ok("none"));
        assert!(gpu.slow.remapped_rows_pending.is_ok());
    }
}

#[test]
fn a_lost_gpu_keeps_its_place_and_is_found_again() {
    let machine = Machine::prepare("h100-sxm-8");
    let mut sampler = machine.sampler(&order(PERIOD_MS));
    let before = sampler.sample(SOON, all_open);
    machine.act("lost 1");
    let lost = sampler.gpu(SOON, 1, |gpu| gpu.presence == Presence::Absent(NoData::GpuLost));
    assert!(all_absent(&lost.gpus[1], NoData::GpuLost));
    assert!(all_open_but(&lost, 1), "{lost:?}");
    let addresses = |sample: &Sample| sample.gpus.iter().map(|gpu| gpu.address).collect::<Vec<_>>();
    assert_eq!(addresses(&lost), addresses(&before));
    machine.act("restore 1");
    sampler.sample(LOOKED_AGAIN, all_open);
}

#[test]
fn a_call_that_blocks_is_named_and_holds_nobody_up() {
    let machine = Machine::prepare("h100-sxm-8");
    let mut sampler = machine.sampler(&order(PERIOD_MS));
    sampler.sample(SOON, all_open);
    machine.act("block 3 nvmlDeviceGetPowerUsage forever");
    let blocked = sampler.gpu(SOON, 3, |gpu| gpu.in_call.is_some());
    assert_eq!(blocked.gpus[3].presence, Presence::Open);
    assert!(all_absent(&blocked.gpus[3], NoData::Timeout));
    let first = blocked.gpus[3].in_call.clone().expect("call");
    assert_eq!(first.function, "nvmlDeviceGetPowerUsage");
    assert!(all_open_but(&blocked, 3), "{blocked:?}");
    // The beat goes on, the call grows older, and nobody waits for it twice.
    for _ in 0..5 {
        let next = sampler.sample(SOON, |_| true);
        let call = next.gpus[3].in_call.clone().expect("call");
        assert!(call.for_ms > first.for_ms, "{call:?}");
        assert!(all_open_but(&next, 3), "{next:?}");
        assert!(next.took_us < 150_000, "{}", next.took_us);
    }
    machine.act("clear 3");
    sampler.sample(SOON, all_open);
}

#[test]
fn the_stream_ends_the_process_even_in_a_call_that_blocks() {
    let machine = Machine::prepare("h100-sxm-8");
    let mut sampler = machine.sampler(&order(PERIOD_MS));
    sampler.sample(SOON, all_open);
    machine.act("block all * forever");
    let blocked = sampler.sample(SOON, |sample| sample.gpus.iter().all(|gpu| gpu.in_call.is_some()));
    assert!(blocked.gpus.iter().all(|gpu| all_absent(gpu, NoData::Timeout)));
    let (status, took) = sampler.hang_up();
    assert_eq!(status.code(), Some(0));
    assert!(took < Duration::from_millis(200), "{took:?}");
}

#[test]
fn every_event_of_a_burst_arrives_at_once() {
    let machine = Machine::prepare("h100-sxm-8");
    let mut sampler = machine.sampler(&order(2000));
    sampler.find(SOON, |report| matches!(report, SamplerReport::Slow(_)).then_some(()));
    sampler.sample(SOON, |sample| sample.seq > 0);
    let before = Instant::now();
    machine.act("xid 4 79 5");
    let address = machine.address(4);
    for _ in 0..5 {
        let event = sampler.find(SOON, |report| match report {
            SamplerReport::Event(event) => Some(event),
            _ => None,
        });
        assert_eq!((event.address, event.kind), (address, GpuEventKind::Xid { code: 79 }));
    }
    // Long before the next tick.
    assert!(before.elapsed() < Duration::from_millis(1000), "{:?}", before.elapsed());
}

#[test]
fn a_driver_that_comes_back_in_another_version_is_opened_again() {
    let machine = Machine::prepare("h100-sxm-8");
    let mut sampler = machine.sampler(&order(PERIOD_MS));
    let pid = sampler.pid();
    sampler.sample(SOON, all_open);
    machine.act("driver unload");
    let mut causes = Vec::new();
    let gone = sampler.find(SOON, |report| match report {
        SamplerReport::NoDriver { cause } => {
            causes.push(cause);
            None
        }
        SamplerReport::Sample(sample) if !causes.is_empty() => Some(sample),
        _ => None,
    });
    assert_eq!(causes.len(), 1);
    assert_eq!(gone.gpus.len(), GPUS);
    assert!(gone.gpus.iter().all(|gpu| gpu.presence == Presence::Absent(NoData::DriverGone)), "{gone:?}");
    machine.act("driver load 999.12");
    let info = sampler.find(LOOKED_AGAIN, |report| match report {
        SamplerReport::Driver(info) => Some(info),
        _ => None,
    });
    assert_eq!(info.driver_version.as_deref(), Ok("999.12"));
    sampler.sample(SOON, all_open);
    assert_eq!(sampler.pid(), pid);
}

#[test]
fn a_driver_that_goes_away_under_a_blocked_call_needs_a_fresh_process() {
    let machine = Machine::prepare("h100-sxm-8");
    let mut sampler = machine.sampler(&order(PERIOD_MS));
    sampler.sample(SOON, all_open);
    machine.act("block 3 nvmlDeviceGetPowerUsage forever");
    sampler.gpu(SOON, 3, |gpu| gpu.in_call.is_some());
    machine.act("driver unload");
    let status = sampler.wait(LOOKED_AGAIN);
    assert_eq!(status.code(), Some(75), "{}", sampler.complaint());
}

#[test]
fn gpus_that_are_not_ours_are_never_touched() {
    let machine = Machine::prepare("h100-sxm-8");
    // Any call to these would block and show.
    for gpu in [0, 2, 4, 6] {
        machine.act(&format!("block {gpu} * forever"));
    }
    machine.bind(0, Some("vfio-pci"));
    machine.write(2, "power/runtime_status", "suspended");
    machine.bind(4, None);
    let leave_alone = vec![(machine.address(6), NoData::Paused)];
    let mut sampler = machine.sampler(&SamplerOrder::Sample(SamplePlan { leave_alone, ..plan(PERIOD_MS) }));
    let reasons =
        [(0, NoData::HandedOver), (2, NoData::Suspended), (4, NoData::DriverGone), (6, NoData::Paused)];
    let end = Instant::now() + Duration::from_secs(6);
    while Instant::now() < end {
        let sample = sampler.sample(SOON, |_| true);
        for (position, why) in reasons {
            let gpu = &sample.gpus[position];
            assert_eq!((gpu.presence, gpu.in_call.clone()), (Presence::Absent(why), None), "{position}");
            assert!(all_absent(gpu, why));
        }
        assert!([1, 3, 5, 7].iter().all(|open| is_open(&sample, *open)), "{sample:?}");
    }
    // Given back, woken up, bound again: picked up without a restart.
    machine.act("clear all");
    machine.bind(0, Some("nvidia"));
    machine.write(2, "power/runtime_status", "active");
    machine.bind(4, Some("nvidia"));
    let back = sampler.sample(LOOKED_AGAIN, |sample| [0, 2, 4].iter().all(|gpu| is_open(sample, *gpu)));
    assert_eq!(back.gpus[6].presence, Presence::Absent(NoData::Paused));
}

#[test]
fn an_open_gpu_is_given_up_when_it_is_handed_over_or_vanishes() {
    let machine = Machine::prepare("h100-sxm-8");
    let mut sampler = machine.sampler(&order(PERIOD_MS));
    sampler.sample(SOON, all_open);
    machine.bind(5, Some("vfio-pci"));
    sampler.gpu(LOOKED_AGAIN, 5, |gpu| gpu.presence == Presence::Absent(NoData::HandedOver));
    let (device, aside) = (machine.device(7), machine.dir.path().join("aside"));
    std::fs::rename(&device, &aside).expect("removed");
    let sample = sampler.gpu(LOOKED_AGAIN, 7, |gpu| gpu.presence == Presence::Absent(NoData::GpuLost));
    assert_eq!(sample.gpus.len(), GPUS);
    assert!(all_absent(&sample.gpus[7], NoData::GpuLost));
    std::fs::rename(&aside, &device).expect("put back");
    sampler.sample(LOOKED_AGAIN, |sample| is_open(sample, 7));
}

#[test]
fn a_gpu_that_may_sleep_is_looked_at_before_every_tick() {
    let machine = Machine::prepare("h100-sxm-8");
    machine.write(1, "power/control", "auto");
    let mut sampler = machine.sampler(&order(PERIOD_MS));
    sampler.sample(SOON, all_open);
    machine.write(1, "power/runtime_status", "suspended");
    machine.act("block 1 * forever");
    let asleep = sampler.gpu(SOON, 1, |gpu| gpu.presence == Presence::Absent(NoData::Suspended));
    assert!(all_open_but(&asleep, 1));
    for _ in 0..5 {
        let still = sampler.sample(SOON, |_| true);
        assert_eq!(still.gpus[1].presence, Presence::Absent(NoData::Suspended));
        assert_eq!(still.gpus[1].in_call, None);
    }
    machine.act("clear 1");
    machine.write(1, "power/runtime_status", "active");
    sampler.sample(SOON, all_open);
}

#[test]
fn refusals_and_oddities_become_reasons() {
    let machine = Machine::prepare("h100-sxm-8");
    machine.act("return 0 nvmlDeviceGetPowerUsage 4");
    machine.act("return 1 nvmlDeviceGetPowerUsage 999");
    machine.act("return 2 nvmlDeviceGetPowerUsage 3");
    machine.act("return 3 nvmlDeviceGetPowerUsage 10");
    machine.act("return 4 field:82 2");
    let mut sampler = machine.sampler(&order(PERIOD_MS));
    let sample = sampler.sample(SOON, |sample| sample.gpus.len() == GPUS);
    let power = |position: usize| sample.gpus[position].fast.power_draw;
    assert_eq!(power(0), Err(NoData::NoPermission));
    assert_eq!(power(1), Err(NoData::Error(999)));
    assert_eq!(power(2), Err(NoData::NotSupported));
    assert_eq!(power(3), Err(NoData::Timeout));
    assert!(power(4).is_ok());
    assert_eq!(sample.gpus[4].fast.temperature_memory, Err(NoData::NotSupported));
    assert!(sample.gpus[5].fast.temperature_memory.is_ok());
}

#[test]
fn older_forms_and_sentinels() {
    let machine = Machine::prepare("h100-sxm-8");
    machine.act("return 0 nvmlDeviceGetMemoryInfo_v2 25");
    machine.act("return 1 nvmlDeviceGetCurrentClocksEventReasons 13");
    machine.act("return 2 nvmlDeviceGetMarginTemperature 25");
    machine.act("return 3 nvmlDeviceGetComputeRunningProcesses_v3 6");
    machine.act("return 4 nvmlGpmSampleGet 3");
    machine.act("set 5 power_draw_milliwatts 4294967295");
    let mut sampler = machine.sampler(&order(PERIOD_MS));
    let sample = sampler.sample(SOON, |sample| sample.seq > 0);
    let fast = |position: usize| &sample.gpus[position].fast;
    assert!(fast(0).memory_used.is_ok() && fast(0).memory_free.is_ok());
    assert!(fast(1).clock_event_reasons.is_ok());
    assert_eq!(fast(2).temperature_margin, Err(NoData::NotSupported));
    assert_eq!(fast(3).processes_compute, Ok(Count(0)));
    assert_eq!(fast(4).sm_active, Err(NoData::NotSupported));
    assert_eq!(fast(5).power_draw, Err(NoData::NotSupported));
}

#[test]
fn a_gpu_without_events_costs_the_others_none_and_new_event_types_come_through() {
    let machine = Machine::prepare("h100-sxm-8");
    machine.act("return 0 nvmlDeviceRegisterEvents 3");
    let mut sampler = machine.sampler(&order(PERIOD_MS));
    sampler.sample(SOON, |sample| all_open(sample) && sample.seq > 1);
    machine.act("xid 0 48");
    machine.act("xid 1 94");
    machine.act("recovery 2 reset");
    let mut kinds = Vec::new();
    while kinds.len() < 2 {
        let event = sampler.find(SOON, |report| match report {
            SamplerReport::Event(event) => Some(event),
            _ => None,
        });
        kinds.push((event.address, event.kind));
    }
    assert!(kinds.contains(&(machine.address(1), GpuEventKind::Xid { code: 94 })), "{kinds:?}");
    // nvmlEventTypeGpuRecoveryAction
    let recovery = |kind: GpuEventKind| matches!(kind, GpuEventKind::Other { event_type: 0x8000, .. });
    assert!(
        kinds.iter().any(|(address, kind)| *address == machine.address(2) && recovery(*kind)),
        "{kinds:?}"
    );
    sampler.sample(SOON, all_open);
}

#[test]
fn processes_are_counted_and_listed() {
    let machine = Machine::prepare("h100-sxm-8");
    for pid in 0..40 {
        machine.act(&format!("process 1 add {} trainer {}", 4000 + pid, 1 << 30));
    }
    let mut sampler = machine.sampler(&order(PERIOD_MS));
    let address = machine.address(1);
    let slow = sampler.find(SOON, |report| match report {
        SamplerReport::Slow(slow) if slow.address == address => Some(slow),
        _ => None,
    });
    let sample = sampler.sample(SOON, all_open);
    assert_eq!(sample.gpus[1].fast.processes_compute, Ok(Count(40)));
    assert_eq!(sample.gpus[0].fast.processes_compute, Ok(Count(0)));
    assert_eq!(slow.processes.len(), 40);
    let first = &slow.processes[0];
    assert_eq!((first.name.as_deref(), first.memory_used), (Ok("trainer"), Ok(Bytes(1 << 30))));
    assert_eq!((first.gpu_instance_id, first.compute_instance_id), (None, None));
}

#[test]
fn mig_instances_are_part_of_the_inventory() {
    let machine = Machine::prepare("h100-mig");
    let mut sampler = machine.sampler(&order(PERIOD_MS));
    let inventory = sampler.find(SOON, |report| match report {
        SamplerReport::Inventory(inventory) => Some(inventory),
        _ => None,
    });
    assert_eq!(inventory.inventory.mig_enabled, Ok(true));
    assert!(!inventory.mig.is_empty());
    let uuids: BTreeSet<_> = inventory.mig.iter().map(|mig| mig.uuid.clone().expect("uuid")).collect();
    assert_eq!(uuids.len(), inventory.mig.len());
    for mig in &inventory.mig {
        assert!(mig.gpu_instance_id.is_ok() && mig.compute_instance_id.is_ok(), "{mig:?}");
        assert!(mig.memory_total.is_ok() && mig.multiprocessors.is_ok() && mig.name.is_ok(), "{mig:?}");
    }
}

#[test]
fn pcie_throughput_is_read_where_it_is_ordered() {
    let machine = Machine::prepare("h100-sxm-8");
    let order = SamplerOrder::Sample(SamplePlan { pcie_throughput: true, ..plan(PERIOD_MS) });
    let sample = machine.sampler(&order).sample(SOON, all_open);
    assert!(sample.gpus.iter().all(|gpu| gpu.fast.pcie_transmit.is_ok() && gpu.fast.pcie_receive.is_ok()));
}

#[test]
fn slow_readings_take_turns() {
    let machine = Machine::prepare("h100-sxm-8");
    let order = SamplerOrder::Sample(SamplePlan { slow_every_ticks: 8, ..plan(PERIOD_MS) });
    let mut sampler = machine.sampler(&order);
    let (mut at_once, mut rounds, mut inventories) = (Vec::new(), 0, 0);
    let mut slow_since = 0;
    while rounds < 18 {
        match sampler.next(SOON).expect("goes on") {
            SamplerReport::Slow(_) => slow_since += 1,
            SamplerReport::Inventory(_) => inventories += 1,
            SamplerReport::Sample(_) => {
                at_once.push(std::mem::take(&mut slow_since));
                rounds += 1;
            }
            _ => {}
        }
    }
    // All of them after the first sample, then one GPU a tick. One that is late
    // may slip behind the next sample.
    let later: u32 = at_once[2..].iter().sum();
    assert!((14..=17).contains(&later), "{at_once:?}");
    assert!(at_once[2..].iter().all(|count| *count <= 2), "{at_once:?}");
    // An inventory that did not change is not sent again.
    assert_eq!(inventories, GPUS);
}

#[test]
fn without_sysfs_the_driver_lists_the_gpus() {
    let machine = Machine::prepare("h100-sxm-8");
    let empty = tempfile::tempdir().expect("folder");
    std::fs::create_dir_all(empty.path().join("bus/pci/devices")).expect("folder");
    let mut sampler = machine.sampler_at(empty.path(), &order(PERIOD_MS));
    let sample = sampler.sample(SOON, all_open);
    assert_eq!(sample.gpus[3].address, machine.address(3));
}

#[test]
fn a_gpu_that_blocks_while_it_is_opened_delays_only_the_first_sample() {
    let machine = Machine::prepare("h100-sxm-8");
    machine.act("block 2 * forever");
    let mut sampler = machine.sampler(&order(1000));
    let first = sampler.sample(SOON, |_| true);
    assert!(sampler.spawned.elapsed() < Duration::from_millis(1000));
    assert_eq!(first.gpus[2].presence, Presence::Absent(NoData::Timeout));
    let call = first.gpus[2].in_call.clone().expect("call");
    assert_eq!(call.function, "nvmlDeviceGetHandleByPciBusId_v2");
    assert!(all_open_but(&first, 2), "{first:?}");
    let second = sampler.sample(SOON, |_| true);
    assert!(second.took_us < 200_000 && all_open_but(&second, 2), "{second:?}");
    machine.act("clear 2");
    sampler.sample(SOON, all_open);
}

#[test]
fn a_library_that_is_installed_later_is_picked_up() {
    let machine = Machine::prepare("h100-sxm-8");
    let (library, aside) = (machine.dir.path().join("libnvidia-ml.so.1"), machine.dir.path().join("aside"));
    std::fs::rename(&library, &aside).expect("removed");
    let mut sampler = machine.sampler(&order(PERIOD_MS));
    sampler.sample(SOON, |sample| {
        sample.gpus.iter().all(|gpu| gpu.presence == Presence::Absent(NoData::DriverGone))
    });
    std::fs::rename(&aside, &library).expect("installed");
    sampler.sample(LOOKED_AGAIN, all_open);
}

#[test]
fn a_driver_that_blocks_while_it_is_opened_is_named() {
    let machine = Machine::prepare("h100-sxm-8");
    // Part of opening: the numbering of fields depends on the version.
    machine.act("block 0 nvmlSystemGetDriverVersion forever");
    let mut sampler = machine.sampler(&order(PERIOD_MS));
    for _ in 0..3 {
        let sample = sampler.sample(SOON, |_| true);
        assert_eq!(sample.gpus.len(), GPUS);
        for gpu in &sample.gpus {
            assert_eq!(gpu.presence, Presence::Absent(NoData::Timeout));
            assert_eq!(gpu.in_call.as_ref().map(|call| call.function.as_str()), Some("nvmlInitWithFlags"));
        }
    }
    machine.act("clear all");
    sampler.sample(SOON, all_open);
}

/// Has the first `count` GPUs sign, each for a nonce of its own.
fn to_sign(machine: &Machine, count: usize) -> SamplerOrder {
    let question = |gpu: usize| GpuQuestion {
        address: machine.address(gpu),
        nonce: [u8::try_from(gpu).expect("few"); 32],
    };
    SamplerOrder::Attest((0..count).map(question).collect())
}

#[test]
fn gpus_sign_at_the_same_time_and_one_that_hangs_holds_nobody_up() {
    let machine = Machine::prepare_signing("h100-sxm-8");
    machine.act("block 1 nvmlDeviceGetConfComputeGpuAttestationReport forever");
    let mut sampler = machine.sampler(&to_sign(&machine, 4));
    let mut signed = BTreeSet::new();
    sampler.find(SOON, |report| {
        if let SamplerReport::Signed { address, outcome } = report {
            let outcome = outcome.expect("signed");
            let gpu = (0..4).find(|gpu| machine.address(*gpu) == address).expect("one of ours");
            // SPDM 1.1, GET_MEASUREMENTS; the nonce follows.
            assert_eq!(outcome.report[..2], [0x11, 0xe0]);
            assert_eq!(outcome.report[4..36], [u8::try_from(gpu).expect("few"); 32]);
            assert!(outcome.chain.starts_with(b"-----BEGIN CERTIFICATE-----"));
            signed.insert(gpu);
        }
        (signed.len() == 3).then_some(())
    });
    assert_eq!(signed, BTreeSet::from([0, 2, 3]));
    let (status, took) = sampler.hang_up();
    assert!(status.success() && took < Duration::from_secs(1), "{status} after {took:?}");
}

#[test]
fn gpus_that_do_not_sign_say_so_and_the_process_ends() {
    let machine = Machine::prepare("h100-sxm-8");
    let mut sampler = machine.sampler(&to_sign(&machine, 2));
    for _ in 0..2 {
        let why = sampler.find(SOON, |report| match report {
            SamplerReport::Signed { outcome: Err(why), .. } => Some(why),
            _ => None,
        });
        assert!(why.starts_with("the driver gives no certificates: "), "{why}");
    }
    assert!(sampler.wait(SOON).success());
}
