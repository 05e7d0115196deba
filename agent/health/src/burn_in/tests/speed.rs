//! How fast it was, against tables and siblings; the tables themselves.

use super::*;

/// A run whose strongest product has this rate.
fn with_rate(giga_operations: u64) -> Worked {
    let mut worked = run(&quick(), None, 0);
    for stage in &mut worked.stages {
        if let StageState::Ended(end) = stage {
            for figure in &mut end.report.figures {
                if figure.kind == FigureKind::GigaOperationsPerSecond && figure.median == 780_000 {
                    figure.median = giga_operations;
                }
            }
        }
    }
    worked
}

#[test]
fn the_floors_of_an_h200_fail_below_550_and_warn_below_650_tera_operations() {
    for (rate, outcome, code) in [
        (700_000, Outcome::Pass, None),
        (649_999, Outcome::Pass, Some(ReasonCode::Slow)),
        (550_000, Outcome::Pass, Some(ReasonCode::Slow)),
        (549_999, Outcome::Fail, Some(ReasonCode::TooSlow)),
        (0, Outcome::Fail, Some(ReasonCode::TooSlow)),
    ] {
        let judgement = judge(UUID, &with_rate(rate), &well());
        assert_eq!(judgement.outcome, outcome, "{rate}");
        assert_eq!(codes(&judgement).into_iter().find(|code| code.weight() != Weight::Notes), code, "{rate}");
    }
}

#[test]
fn a_third_of_the_rate_at_full_clocks_is_noticed_by_the_work_per_clock() {
    let at = quick().stages.iter().position(|stage| stage.test == BurnInTest::GemmHopper(Format::Bf16));
    let mut seen = Seen::default();
    for second in 0..=60 {
        seen.take(&Sampled {
            boot_ms: second * 1_000,
            fast: &fast(),
            slow: Some(&slow()),
            inventory: Some(&inventory()),
            stage: at,
            own_processes: 1,
        });
    }
    seen.slow_after_end = true;
    let judgement = judge(UUID, &with_rate(780_000), &seen);
    let figure = judgement.figures.iter().find(|figure| figure.name() == "gemm_hopper_bf16").expect("there");
    // 780 TFLOP/s of 132 · 4096 · 1.9 GHz = 1027 TFLOP/s.
    assert_eq!((figure.clock_mhz, figure.per_clock_permille), (Some(1_900), Some(759)));
    let judgement = judge(UUID, &with_rate(600_000), &seen);
    assert!(codes(&judgement).contains(&ReasonCode::SlowPerClock), "{:?}", judgement.reasons);
}

#[test]
fn a_model_that_is_not_in_the_table_passes_and_says_that_its_speed_was_not_judged() {
    let mut worked = run(&quick(), None, 0);
    worked.device.as_mut().expect("opened").name = "NVIDIA H200 NVL".into();
    let judgement = judge(UUID, &worked, &well());
    assert_eq!(judgement.outcome, Outcome::Pass);
    assert!(codes(&judgement).contains(&ReasonCode::NoReference));
}

#[test]
fn how_fast_a_simulated_gpu_is_is_not_judged_and_that_is_said() {
    let mut worked = with_rate(1);
    assert_eq!(judge(UUID, &worked, &well()).outcome, Outcome::Fail);
    worked.simulated = true;
    let judgement = judge(UUID, &worked, &well());
    assert_eq!(judgement.outcome, Outcome::Pass);
    assert!(codes(&judgement).contains(&ReasonCode::Simulated));
    assert!(judgement.figures.iter().all(|figure| figure.expected.is_none()));
}

#[test]
fn siblings_are_compared_with_the_others_and_only_warn() {
    let make = |rate| judge(UUID, &with_rate(rate), &well());
    let mut node = [make(780_000), make(790_000), make(740_000), make(785_000)];
    compare_siblings(&mut node.each_mut());
    let slower: Vec<_> =
        node.iter().map(|judgement| codes(judgement).contains(&ReasonCode::SlowerThanSiblings)).collect();
    assert_eq!(slower, [false, false, true, false]);
    assert!(node.iter().all(|judgement| judgement.outcome == Outcome::Pass));
    let mut coarse = [make(7), make(8), make(8)];
    compare_siblings(&mut coarse.each_mut());
    assert!(!codes(&coarse[0]).contains(&ReasonCode::SlowerThanSiblings), "one unit in eight is no finding");
    let mut alone = [make(700_000)];
    compare_siblings(&mut alone.each_mut());
    assert!(!codes(&alone[0]).contains(&ReasonCode::SlowerThanSiblings));
}

#[test]
fn modes_take_the_time_and_memory_that_they_promise() {
    for (mode, seconds) in [(Mode::Probe, 2), (Mode::Quick, 60), (Mode::Acceptance, 900)] {
        let plan = Plan::of(mode, 0);
        let total = plan.total_ms();
        assert!(total <= seconds * 950 && total * 2 >= seconds * 950, "{}: {total} ms", mode.name());
        assert!(plan.stages.iter().all(|stage| stage.duration_ms >= 20));
        assert_eq!(mode.shares().iter().map(|share| share.permille).sum::<u32>(), 1_000, "{}", mode.name());
        assert_eq!(Mode::by_name(mode.name()), Some(mode));
    }
    let probe = Plan::of(Mode::Probe, 0);
    for memory in [8_000_000_000, MEMORY, 900_000_000_000] {
        assert!(u64::from(probe.memory_permille(memory)) * memory / 1_000 <= 1_000_000_000, "{memory}");
    }
    assert_eq!(Plan::of(Mode::Soak, 24).total_ms(), 24 * Plan::of(Mode::Soak, 1).total_ms());
    assert!(Plan::of(Mode::Soak, 1).total_ms() <= 3_600_000);
}

#[test]
fn the_units_of_the_table_are_sane() {
    for row in ABSOLUTE {
        let what = format!("{:?} {}", row.class, test_name(row.test));
        let rates = [row.peak, row.expected, row.warn_below];
        assert!(rates.iter().all(|rate| rate.kind() == row.peak.kind()), "{what} mixes units");
        match row.peak {
            // 10 to 10,000 TFLOP/s; 100 GB/s to 10 TB/s. A figure typed in the wrong unit is a thousand times off.
            Rate::GigaOperations(value) => assert!((10_000..=10_000_000).contains(&value), "{what}"),
            Rate::Megabytes(value) => assert!((100_000..=10_000_000).contains(&value), "{what}"),
        }
        assert!(row.expected.value() <= row.peak.value(), "{what}: more than the datasheet");
        assert!(row.expected.value() * 3 >= row.peak.value(), "{what}: expects next to nothing");
        assert!(row.warn_below.value() < row.expected.value(), "{what}");
        assert!(row.warn_below.value() * 2 >= row.expected.value(), "{what}: a floor that nothing can miss");
        assert!(!row.source.is_empty(), "{what} has no source");
        if let Some(floor) = row.fail_below {
            assert_eq!(floor.kind(), row.peak.kind(), "{what}");
            assert!(
                floor.value() < row.warn_below.value() && floor.value() * 2 >= row.expected.value(),
                "{what}"
            );
            assert_ne!(row.basis, Basis::Published, "{what}: a reference that is not measured only warns");
        }
        let same =
            |other: &&Absolute| (other.class, other.test, other.part) == (row.class, row.test, row.part);
        assert_eq!(ABSOLUTE.iter().filter(same).count(), 1, "{what} stands twice");
    }
    for row in PER_CLOCK {
        let what = format!("{:?} {}", row.capability, test_name(row.test));
        assert!((64..=16_384).contains(&row.peak) && row.peak.is_power_of_two(), "{what}");
        assert!((300..=950).contains(&row.warn_below_permille), "{what}");
        assert!(row.fail_below_permille.is_none_or(|_| row.basis != Basis::Published), "{what}");
        let same = |other: &&PerClock| {
            (other.capability, other.test, other.part) == (row.capability, row.test, row.part)
        };
        assert_eq!(PER_CLOCK.iter().filter(same).count(), 1, "{what} stands twice");
    }
}

#[test]
fn reasons_have_names_and_words() {
    let names: std::collections::BTreeSet<_> = ReasonCode::ALL.iter().map(|code| code.name()).collect();
    assert_eq!(names.len(), ReasonCode::ALL.len());
    assert!(ReasonCode::ALL.iter().all(|code| !code.words().is_empty()));
    assert!(Outcome::Fail > Outcome::Inconclusive && Outcome::Inconclusive > Outcome::Pass);
}
