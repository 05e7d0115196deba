//! From a roster to a view.

use rackmark_health::{Action, Severity};
use rackmark_model::ipc::SamplerReport;
use rackmark_model::readings::Fast;
use rackmark_model::{GpuSample, GpuState, Percent, Presence, Sample};

use super::*;
use crate::exporter::page::view::Place;
use crate::sampling::trends::{POINTS, Trend};

const SETTING: Setting<'_> = Setting {
    site: "site",
    node: "node",
    node_id: "id",
    expected_gpus: Some(2),
    now_unix_ms: 9_000_000,
    now_boot_ms: 1_002_500,
    mqtt: None,
    spool: None,
};

fn roster(gpus: &[(u8, Presence)]) -> Roster {
    let gpu = |(bus, presence): &(u8, Presence)| {
        let mut fast = Fast::absent(NoData::NotSupported);
        fast.utilization_gpu = Ok(Percent(50));
        fast.processes_compute = Ok(Count(2));
        let fast = match presence {
            Presence::Open => fast,
            Presence::Absent(why) => Fast::absent(*why),
        };
        let address = format!("0000:{bus:02x}:00.0").parse().expect("address");
        GpuSample { address, presence: *presence, in_call: None, fast }
    };
    let mut roster = Roster::default();
    let gpus = gpus.iter().map(gpu).collect();
    let sample = Sample { seq: 1, taken_boot_ms: 1_000_000, taken_unix_ms: 0, took_us: 0, gpus };
    roster.take(&SamplerReport::Sample(sample), crate::clock::now());
    roster
}

fn condition(place: Place, severity: Severity, acknowledged: bool) -> ConditionView<'static> {
    ConditionView {
        place,
        code: "code",
        key: 0,
        severity,
        title: "".into(),
        text: "".into(),
        action: Action::None,
        detail: "".into(),
        since_unix_ms: 0,
        acknowledged,
    }
}

#[test]
fn a_node_without_a_sample_knows_nothing_and_says_so() {
    let roster = Roster::default();
    let view = build(&roster, &SETTING, NodeFacts::of(&roster), |gpu| GpuFacts::of(&roster, gpu));
    assert!(matches!(view.driver, DriverView::NotAsked));
    assert!(matches!(view.broker, BrokerView::Off));
    assert_eq!((view.sample_age_ms, view.gpus.len(), view.verdict), (None, 0, Verdict::Unknown));
}

#[test]
fn a_gpu_keeps_its_readings_and_a_lost_one_says_why_it_has_none() {
    let roster = roster(&[(3, Presence::Open), (9, Presence::Absent(NoData::GpuLost))]);
    let view = build(&roster, &SETTING, NodeFacts::of(&roster), |gpu| GpuFacts::of(&roster, gpu));
    assert_eq!(view.sample_age_ms, Some(2_500));
    let (open, lost) = (&view.gpus[0], &view.gpus[1]);
    assert_eq!(
        (open.utilization, open.processes, open.state),
        (Ok(Percent(50)), Ok(Count(2)), GpuState::InUse)
    );
    assert_eq!((open.absence, open.temperature), (None, Err(NoData::NotSupported)));
    assert_eq!(open.trends.points(Trend::Utilization, SETTING.now_boot_ms)[POINTS - 1], Some(500));
    assert_eq!((lost.absence, lost.verdict, lost.slot), (Some(NoData::GpuLost), Verdict::Unusable, 1));
    assert_eq!(lost.trends.points(Trend::Utilization, SETTING.now_boot_ms)[POINTS - 1], None);
}

#[test]
fn conditions_of_the_node_and_its_gpus_are_one_list_worst_first() {
    let roster = roster(&[(3, Presence::Open), (9, Presence::Open)]);
    let node = NodeFacts {
        conditions: vec![
            condition(Place::Node, Severity::Info, false),
            condition(Place::Node, Severity::Critical, true),
        ],
        ..NodeFacts::of(&roster)
    };
    let view = build(&roster, &SETTING, node, |gpu| GpuFacts {
        verdict: Verdict::Draining,
        conditions: vec![
            condition(Place::Gpu(gpu.identity.slot), Severity::Warning, false),
            condition(Place::Gpu(gpu.identity.slot), Severity::Critical, gpu.identity.slot == 0),
        ],
        ..GpuFacts::of(&roster, gpu)
    });
    let order: Vec<_> = view
        .conditions
        .iter()
        .map(|condition| (condition.severity, condition.place, condition.acknowledged))
        .collect();
    assert_eq!(
        order,
        [
            (Severity::Critical, Place::Gpu(1), false),
            (Severity::Warning, Place::Gpu(0), false),
            (Severity::Warning, Place::Gpu(1), false),
            (Severity::Info, Place::Node, false),
            (Severity::Critical, Place::Node, true),
            (Severity::Critical, Place::Gpu(0), true),
        ]
    );
    assert!(view.gpus.iter().all(|gpu| gpu.verdict == Verdict::Draining));
}

#[test]
fn the_broker_is_named_while_connected_and_after() {
    let mut stats = StatsSnapshot::default();
    assert!(matches!(broker(Some(&stats)), BrokerView::Away { last: None }));
    stats.broker = Some(crate::publish::mqtt::BrokerInUse { place: 0, address: "b:1883".to_owned() });
    stats.connected = 1;
    assert!(matches!(broker(Some(&stats)), BrokerView::Connected { address } if address == "b:1883"));
    stats.connected = 0;
    assert!(matches!(broker(Some(&stats)), BrokerView::Away { last: Some(address) } if address == "b:1883"));
}
