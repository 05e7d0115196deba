//! The ring against a list that forgets nothing.

use proptest::prelude::*;
use rackmark_model::{Celsius, Milliwatts, NoData, Percent};

use super::*;

/// Every sample ever taken, by its point.
#[derive(Default)]
struct Naive(Vec<(u64, Row)>);

impl Naive {
    fn points(&self, trend: usize, now_boot_ms: u64) -> Vec<Option<u16>> {
        let last = now_boot_ms / POINT_MS;
        (0..POINTS as u64)
            .map(|at| {
                let point = (last + 1 + at).checked_sub(POINTS as u64)?;
                let newest = self.0.last()?.0;
                if newest.saturating_sub(point) >= POINTS as u64 {
                    return None;
                }
                let values: Vec<u64> = self
                    .0
                    .iter()
                    .filter(|(of, _)| *of == point)
                    .filter_map(|(_, row)| row[trend])
                    .map(u64::from)
                    .collect();
                let count = values.len() as u64;
                (count > 0).then(|| ((values.iter().sum::<u64>() + count / 2) / count) as u16)
            })
            .collect()
    }
}

fn readings(percent: u32, celsius: i32, milliwatts: u32, used: u64) -> Fast {
    let mut fast = Fast::absent(NoData::NotSupported);
    fast.utilization_gpu = Ok(Percent(percent));
    fast.temperature_gpu = Ok(Celsius(celsius));
    fast.power_draw = Ok(Milliwatts(milliwatts));
    fast.memory_used = Ok(Bytes(used));
    fast
}

#[test]
fn a_point_is_the_mean_of_its_samples_in_the_units_that_are_promised() {
    let mut trends = Trends::default();
    trends.take(20_000, &readings(50, -3, 699_960, 20), Some(Bytes(80)));
    trends.take(29_999, &readings(51, -4, 700_060, 40), Some(Bytes(80)));
    let last = |trend| trends.points(trend, 29_999)[POINTS - 1];
    assert_eq!(last(Trend::Utilization), Some(505));
    assert_eq!(last(Trend::Temperature), Some(-35));
    assert_eq!(last(Trend::Power), Some(7_000));
    assert_eq!(last(Trend::Memory), Some(375));
}

#[test]
fn what_is_absent_or_did_not_come_is_a_gap_and_never_zero() {
    let mut trends = Trends::default();
    assert!(trends.points(Trend::Power, 5_000_000).iter().all(Option::is_none));
    trends.take(1_000_000, &readings(0, 0, 0, 0), Some(Bytes(80)));
    trends.take(1_010_000, &Fast::absent(NoData::GpuLost), Some(Bytes(80)));
    trends.take(1_040_000, &readings(1, 1, 100, 0), Some(Bytes(80)));
    let tail = |now| trends.points(Trend::Power, now)[POINTS - 6..].to_vec();
    assert_eq!(tail(1_040_000), [None, Some(0), None, None, None, Some(1)]);
    // Nothing comes any more: time goes on all the same.
    assert_eq!(tail(1_060_000), [None, None, None, Some(1), None, None]);
    assert!(trends.points(Trend::Power, 1_040_000 + POINT_MS * POINTS as u64).iter().all(Option::is_none));
}

#[test]
fn memory_of_unknown_or_no_size_has_no_share() {
    let mut trends = Trends::default();
    trends.take(0, &readings(0, 0, 0, 5), None);
    trends.take(1, &readings(0, 0, 0, 5), Some(Bytes(0)));
    assert_eq!(trends.points(Trend::Memory, 1)[POINTS - 1], None);
}

#[test]
fn values_beyond_what_fits_stay_values() {
    let mut trends = Trends::default();
    trends.take(0, &readings(u32::MAX, i32::MAX, u32::MAX, u64::MAX), Some(Bytes(1)));
    for trend in Trend::ALL {
        assert!(trends.points(trend, 0)[POINTS - 1].is_some(), "{trend:?}");
    }
}

#[test]
fn a_clock_that_begins_anew_begins_the_trends_anew() {
    let mut trends = Trends::default();
    trends.take(u64::MAX, &readings(9, 9, 900, 0), None);
    trends.take(30_000, &readings(5, 5, 500, 0), None);
    let points = trends.points(Trend::Power, 30_000);
    assert_eq!((points[POINTS - 1], points.iter().flatten().count()), (Some(5), 1));
}

proptest! {
    #[test]
    fn the_ring_shows_what_a_list_of_all_samples_shows(
        start in 0u64..2_000_000,
        steps in proptest::collection::vec(
            (prop_oneof![4 => 0u64..12_000, 1 => 0u64..1_200_000], proptest::array::uniform4(proptest::option::of(0u16..NONE))),
            1..300,
        ),
        later in 0u64..1_200_000,
    ) {
        let (mut trends, mut naive, mut now) = (Trends::default(), Naive::default(), start);
        for (step, row) in steps {
            now += step;
            trends.record(now, row);
            naive.0.push((now / POINT_MS, row));
        }
        for at in [now, now + later] {
            for trend in Trend::ALL {
                let offset = if trend == Trend::Temperature { COLDEST as i32 } else { 0 };
                let shown: Vec<_> = trends.points(trend, at).iter().map(|point| point.map(|value| (value - offset) as u16)).collect();
                prop_assert_eq!(shown, naive.points(trend as usize, at));
            }
        }
    }
}
