//! The roster against what it promises: names that stay, slots that stay,
//! absence that says why.

use proptest::prelude::*;
use rackmark_model::Count;

use super::*;

const NOW: Now = Now { boot_ms: 3_600_000, unix_ms: 1_790_000_000_000 };

/// What the readings say, without the judgement on them.
fn told(changes: Vec<Change>) -> Vec<Change> {
    changes.into_iter().filter(|change| !matches!(change, Change::Health(_))).collect()
}

fn address(bus: u8) -> PciAddress {
    PciAddress { domain: 0, bus, device: 0, function: 0 }
}

fn inventory(bus: u8) -> SamplerReport {
    let mut inventory = Inventory::absent(NoData::NotSupported);
    inventory.uuid = Ok(format!("GPU-{bus}"));
    inventory.index = Ok(Count(u64::from(bus)));
    SamplerReport::Inventory(Box::new(GpuInventory { address: address(bus), inventory, mig: Vec::new() }))
}

fn sample(gpus: &[(u8, Presence, Option<u64>)]) -> SamplerReport {
    let gpu = |(bus, presence, hangs_ms): &(u8, Presence, Option<u64>)| GpuSample {
        address: address(*bus),
        presence: *presence,
        in_call: hangs_ms.map(|for_ms| InCall { function: "nvmlDeviceGetTemperature".to_owned(), for_ms }),
        fast: Fast::absent(NoData::NotSupported),
    };
    let gpus = gpus.iter().map(gpu).collect();
    SamplerReport::Sample(Sample { seq: 0, taken_boot_ms: 0, taken_unix_ms: 0, took_us: 0, gpus })
}

fn open(buses: &[u8]) -> SamplerReport {
    sample(&buses.iter().map(|bus| (*bus, Presence::Open, None)).collect::<Vec<_>>())
}

#[test]
fn slots_follow_the_addresses_whatever_was_reported_first() {
    let mut roster = Roster::default();
    roster.take(&inventory(9), NOW);
    roster.take(&inventory(3), NOW);
    assert!(roster.gpus.is_empty(), "slots wait for a sample");
    roster.take(&open(&[3, 7, 9]), NOW);
    let names: Vec<_> =
        roster.gpus.iter().map(|gpu| (gpu.identity.slot, gpu.identity.uuid.as_deref())).collect();
    assert_eq!(names, [(0, Some("GPU-3")), (1, None), (2, Some("GPU-9"))]);
}

#[test]
fn what_is_remembered_keeps_its_slot_and_its_name() {
    let mut first = Roster::default();
    first.take(&open(&[3, 9]), NOW);
    first.take(&inventory(9), NOW);
    let mut second = Roster::remembering(first.identities());
    // The first GPU is gone, and another one is new before it.
    second.take(&open(&[1, 9]), NOW);
    let slots: Vec<_> = second.gpus.iter().map(|gpu| (gpu.address.bus, gpu.identity.slot)).collect();
    assert_eq!(slots, [(3, 0), (9, 1), (1, 2)]);
    assert_eq!(second.gpus[1].identity.uuid.as_deref(), Some("GPU-9"));
}

#[test]
fn a_call_is_unresponsive_after_its_time_and_not_before() {
    let mut roster = Roster::default();
    roster.take(&open(&[3]), NOW);
    let changes = told(roster.take(&sample(&[(3, Presence::Open, Some(UNRESPONSIVE_AFTER_MS - 1))]), NOW));
    assert_eq!(changes, []);
    assert_eq!(roster.gpus[0].absence(), Some(NoData::Timeout), "its old readings are not shown");
    let changes = told(roster.take(&sample(&[(3, Presence::Open, Some(UNRESPONSIVE_AFTER_MS))]), NOW));
    assert!(matches!(changes[..], [Change::Unresponsive { slot: 0, .. }]), "{changes:?}");
    assert_eq!((roster.gpus[0].state, roster.gpus[0].verdict), (GpuState::Faulted, Verdict::Unusable));
    // Told to be left alone, it stays named by its call, and is not announced again.
    assert_eq!(told(roster.take(&sample(&[(3, Presence::Absent(NoData::Timeout), None)]), NOW)), []);
    assert_eq!(
        roster.gpus[0].standing,
        Standing::Unresponsive { function: "nvmlDeviceGetTemperature".to_owned() }
    );
    assert_eq!(told(roster.take(&open(&[3]), NOW)), [Change::Answering { slot: 0, again: true }]);
}

#[test]
fn opening_a_gpu_may_take_its_time() {
    let mut roster = Roster::default();
    let opening = |for_ms| sample(&[(3, Presence::Absent(NoData::Timeout), Some(for_ms))]);
    roster.take(&opening(OPENING_AFTER_MS - 1), NOW);
    assert_eq!((&roster.gpus[0].standing, roster.gpus[0].state), (&Standing::Slow, GpuState::Unknown));
    let changes = told(roster.take(&opening(OPENING_AFTER_MS), NOW));
    assert!(matches!(changes[..], [Change::Unresponsive { slot: 0, .. }]), "{changes:?}");
}

#[test]
fn no_gpu_is_ever_schedulable_without_a_judge() {
    let mut roster = Roster::default();
    for presence in [
        Presence::Open,
        Presence::Absent(NoData::GpuLost),
        Presence::Absent(NoData::Paused),
        Presence::Absent(NoData::Suspended),
        Presence::Absent(NoData::DriverGone),
        Presence::Absent(NoData::NotSampled),
    ] {
        roster.take(&sample(&[(3, presence, None)]), NOW);
        assert_ne!(roster.gpus[0].verdict, Verdict::Schedulable, "{presence:?}");
    }
}

#[test]
fn a_silent_sampler_ages_everything_it_said() {
    let mut roster = Roster::default();
    roster.take(&open(&[3, 9]), NOW);
    assert_eq!(told(roster.fell_silent(8000, NOW)).len(), 2);
    assert!(roster.gpus.iter().all(|gpu| gpu.absence() == Some(NoData::Timeout)));
    assert_eq!(told(roster.fell_silent(9000, NOW)), [], "it is announced once");
}

proptest! {
    /// Whatever comes and goes in whatever order: a slot belongs to one address
    /// for good, and slots are dense.
    #[test]
    fn slots_are_never_given_again(buses in proptest::collection::vec(proptest::collection::btree_set(0u8..100, 0..9), 1..20)) {
        let mut roster = Roster::default();
        let mut model: Vec<u8> = Vec::new();
        for present in buses {
            let present: Vec<u8> = present.into_iter().collect();
            for bus in &present {
                if !model.contains(bus) && model.len() < GPUS_MAX {
                    model.push(*bus);
                }
            }
            roster.take(&open(&present), NOW);
            let slots: Vec<u8> = roster.gpus.iter().map(|gpu| gpu.address.bus).collect();
            prop_assert_eq!(&slots, &model);
            prop_assert!(roster.gpus.iter().enumerate().all(|(at, gpu)| usize::from(gpu.identity.slot) == at));
        }
    }
}
